/* SPDX-License-Identifier: MIT */
#include "outgrow.h"

#include "os.h"

enum {
    /* Below it a few megabytes more do not matter, and time does. */
    OUTGROWN_MIN_BYTES = 16 * 1024 * 1024,
    LOOKS = 8,
};

void bp_outgrow_note(struct bp_outgrow *outgrow, const struct bp_arena *arena, const struct bp_slot *slot,
                     size_t fresh_bytes)
{
    if (fresh_bytes < OUTGROWN_MIN_BYTES)
        return;
    bp_store_relaxed(&outgrow->bytes, slot->dirty_bytes);
    bp_store_relaxed(&outgrow->base, bp_slot_base(arena, slot));
}

/* Of LOOKS pages, the last of as many equal parts of a range, how many are resident. Unknown ones are. */
static size_t look(const struct bp_arena *arena, const char *base, size_t start_bytes, size_t end_bytes)
{
    size_t resident = 0;
    for (size_t i = 1; i <= LOOKS; i++) {
        size_t offset = start_bytes + (end_bytes - start_bytes) / LOOKS * i - arena->page_bytes;
        resident += bp_os.resident(base + bp_align_down(offset, arena->page_bytes)) != 0;
    }
    return resident;
}

size_t bp_outgrow_keep_bytes(struct bp_outgrow *outgrow, const struct bp_arena *arena, const struct bp_slot *slot)
{
    const char *base = bp_load_relaxed(&outgrow->base);
    size_t end_bytes = bp_load_relaxed(&outgrow->bytes);
    /* Without the page that the copy may not have reached: the two blocks have colours of their own. */
    size_t copied_bytes = slot->dirty_bytes - arena->page_bytes;
    if (BP_LIKELY(!base) || slot->dirty_bytes < OUTGROWN_MIN_BYTES || slot->dirty_bytes >= end_bytes ||
        base == bp_slot_base(arena, slot) || look(arena, base, 0, copied_bytes) < LOOKS)
        return slot->dirty_bytes;
    size_t lacking = LOOKS - look(arena, base, slot->dirty_bytes, end_bytes);
    size_t lacking_bytes = (end_bytes - slot->dirty_bytes) / LOOKS * lacking;
    if (lacking_bytes < BP_MOVE_MIN_BYTES)
        return slot->dirty_bytes;
    bp_store_relaxed(&outgrow->base, NULL);
    size_t keep_bytes = bp_align_down(slot->dirty_bytes - bp_min(slot->dirty_bytes, lacking_bytes), arena->page_bytes);
    return keep_bytes < BP_MOVE_MIN_BYTES ? 0 : keep_bytes;
}
