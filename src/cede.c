/* SPDX-License-Identifier: MIT */
/*
 * Cede: address space that goes back to a program which has come to the end of what it may have. Declared in arena.h.
 *
 * The arena was shrunk before, so it has holes. A ceded slot is torn, too: it never grows again.
 *
 * Layer: 3.
 */
#include "arena.h"
#include "os.h"

/* What lies outside an extent is worth the mappings of the kernel that it takes from here on. */
#define CEDED_MIN_BYTES (64 * BP_KIB)

static void cede(struct bp_arena *arena, struct bp_slot *slot)
{
    char *base = bp_slot_base(arena, slot);
    size_t reach_bytes = bp_slot_reach_bytes(arena, slot);
    size_t late_bytes = bp_class_stride_bytes(slot->class_index) - reach_bytes;
    size_t kept_bytes = slot->dirty_bytes + bp_slot_gap_bytes(arena, slot);
    /* First nothing there is ours, then it is somebody else's. */
    slot->torn = slot->ceded = true;
    bp_store_relaxed(&arena->is_ceded, true);
    bp_arena_unmap(arena, base - late_bytes, late_bytes);
    bp_arena_unmap(arena, base + kept_bytes, reach_bytes - kept_bytes);
}

/* Not what the kernel would not purge, nor what the program changed: it may have mapped something of its own there. */
static bool may_go(const struct bp_slot *slot)
{
    return slot->dirty_bytes == 0 && !bp_slot_is_tainted(slot);
}

static void cede_list(struct bp_arena *arena, struct bp_slot **link)
{
    while (*link) {
        struct bp_slot *slot = *link;
        if (may_go(slot)) {
            *link = slot->next;
            cede(arena, slot);
        } else {
            link = &slot->next;
        }
    }
}

void bp_arena_cede_clean(struct bp_arena *arena)
{
    (void)bp_lock_acquire(&arena->lock);
    BP_ASSERT(bp_load_relaxed(&arena->has_holes));
    for (unsigned place = 0; place < arena->place_count; place++) {
        for (size_t class_index = 0; class_index < BP_CLASS_COUNT; class_index++)
            cede_list(arena, &arena->places[place].clean[class_index]);
    }
    size_t kept_count = 0;
    for (size_t i = 0; i < arena->quarantine_count; i++) {
        struct bp_slot *slot = arena->quarantine[i];
        if (may_go(slot))
            cede(arena, slot);
        else
            arena->quarantine[kept_count++] = slot;
    }
    arena->quarantine_count = kept_count;
    bp_lock_release(&arena->lock);
}

void bp_arena_cede_unused(struct bp_arena *arena)
{
    size_t mappings_left = bp_os.mappings_left() / 2;
    (void)bp_lock_acquire(&arena->lock);
    BP_ASSERT(bp_load_relaxed(&arena->has_holes));
    for (const struct bp_span *span = arena->spans; span; span = span->next) {
        for (size_t i = 0; i < span->carved_count && mappings_left >= 2; i++) {
            struct bp_slot *slot = &span->slots[i];
            bool is_in_use = slot->dirty_bytes > 0 && !slot->torn && !bp_slot_is_tainted(slot);
            if (!is_in_use || bp_class_stride_bytes(span->class_index) < slot->dirty_bytes + CEDED_MIN_BYTES)
                continue;
            cede(arena, slot);
            mappings_left -= 2;
        }
    }
    bp_lock_release(&arena->lock);
}

void bp_arena_unmap_span(struct bp_arena *arena, const struct bp_span *span)
{
    if (!bp_load_relaxed(&arena->is_ceded)) {
        bp_arena_unmap(arena, span->base, span->slot_count << span->stride_shift);
        return;
    }
    for (size_t i = 0; i < span->carved_count; i++) {
        struct bp_slot *slot = &span->slots[i];
        if (slot->ceded)
            bp_arena_unmap(arena, bp_slot_base(arena, slot), slot->dirty_bytes + bp_slot_gap_bytes(arena, slot));
        else
            bp_arena_unmap(arena, span->base + (i << span->stride_shift), bp_class_stride_bytes(span->class_index));
    }
}

size_t bp_arena_spare_bytes(struct bp_arena *arena)
{
    size_t held_bytes = arena->reservation_bytes - bp_load_relaxed(&arena->ceded_bytes);
    size_t footprint_bytes = bp_load_relaxed(&arena->budget->footprint_bytes);
    size_t live_bytes = footprint_bytes - bp_min(footprint_bytes, bp_load_relaxed(&arena->budget->cached_bytes));
    return held_bytes - bp_min(held_bytes, live_bytes);
}
