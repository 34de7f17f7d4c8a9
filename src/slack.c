/* SPDX-License-Identifier: MIT */
/*
 * Slack: what live blocks leave unused of their slots. A warm buffer may be twice as large as the block that gets it,
 * or more where that spares fresh memory, and a block that shrank keeps up to half. Declared in arena.h.
 *
 * Layer: 3.
 */
#include "arena.h"

/* Less than this of a slot is left to it: see BP_MOVE_MIN_BYTES. */
static bool may_have_slack(const struct bp_span *span)
{
    return bp_class_stride_bytes(span->class_index) > BP_MOVE_MIN_BYTES;
}

/* As blocks come and go meanwhile, a guess; where they begin in their slots is not asked. */
static size_t guess_bytes(const struct bp_arena *arena, const struct bp_slot *slot)
{
    size_t dirty_bytes = bp_slot_dirty_bytes(slot);
    size_t used_bytes = bp_arena_whole_bytes(arena, slot->class_index, bp_slot_size_bytes(slot) + BP_COLOUR_BYTES);
    if (!bp_slot_block(slot) || dirty_bytes < used_bytes + BP_MOVE_MIN_BYTES)
        return 0;
    return dirty_bytes - used_bytes;
}

size_t bp_arena_slack_bytes(struct bp_arena *arena)
{
    size_t bytes = 0;
    (void)bp_lock_acquire(&arena->lock);
    for (const struct bp_span *span = arena->spans; span; span = span->next) {
        for (size_t i = 0; may_have_slack(span) && i < span->carved_count; i++)
            bytes += guess_bytes(arena, &span->slots[i]);
    }
    bp_lock_release(&arena->lock);
    return bytes;
}

/* Was the block there at an earlier look? If none saw it before, this one did. */
static bool is_old(struct bp_slot *slot, size_t look)
{
    size_t mark = look << 1 | 1;
    if ((slot->look_mark & 1) == 0)
        slot->look_mark = mark;
    return slot->look_mark != mark;
}

/* Gives back the last of what the block leaves unused, `most_bytes` of it, if that is much. Returns the bytes. */
static size_t trim_slot(struct bp_arena *arena, struct bp_slot *slot, size_t look, size_t most_bytes)
{
    const char *block = bp_slot_block(slot);
    if (!block)
        return 0;
    size_t extent = bp_arena_whole_bytes(arena, slot->class_index,
                                         bp_slot_extent(arena, slot, block, slot->size_bytes));
    if (slot->dirty_bytes < extent + BP_MOVE_MIN_BYTES || (look != 0 && !is_old(slot, look)))
        return 0;
    size_t slack_bytes = bp_min(slot->dirty_bytes - extent, most_bytes);
    return bp_arena_purge(arena, slot, bp_align_up(slot->dirty_bytes - slack_bytes, arena->page_bytes));
}

size_t bp_arena_trim_live(struct bp_arena *arena, size_t look, size_t most_bytes)
{
    size_t trimmed_bytes = 0;
    (void)bp_lock_acquire(&arena->lock);
    for (const struct bp_span *span = arena->spans; span; span = span->next) {
        for (size_t i = 0; may_have_slack(span) && i < span->carved_count; i++)
            trimmed_bytes += trim_slot(arena, &span->slots[i], look, most_bytes - trimmed_bytes);
    }
    bp_lock_release(&arena->lock);
    return trimmed_bytes;
}
