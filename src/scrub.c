/* SPDX-License-Identifier: MIT */
#include "scrub.h"

static void count(struct bp_counters *counters, bool dropped, size_t bytes)
{
    bp_count(counters, dropped ? BP_COUNT_scrub_dropped_bytes : BP_COUNT_scrubbed_bytes, bytes);
}

void bp_scrub_range(struct bp_arena *arena, struct bp_clear *clear, struct bp_slot *slot, size_t from_bytes,
                    size_t to_bytes, struct bp_counters *counters)
{
    to_bytes = bp_min(to_bytes, slot->dirty_bytes);
    if (from_bytes >= to_bytes || bp_slot_is_tainted(slot))
        return;
    char *p = bp_slot_base(arena, slot) + from_bytes;
    size_t bytes = to_bytes - from_bytes;
    enum bp_clear_by by = bp_clear_choose(clear, arena, slot, p, bytes);
    bp_clear_bytes(arena, slot, p, bytes, by);
    count(counters, !bp_clear_writes(by), bytes);
}

void bp_scrub_block(struct bp_arena *arena, struct bp_clear *clear, struct bp_slot *slot,
                    struct bp_counters *counters)
{
    /* With the colour before the block, where a program that writes below it leaves something. */
    char *base = bp_slot_base(arena, slot);
    size_t bytes = bp_slot_extent(arena, slot, bp_slot_block(slot), slot->size_bytes);
    if (bp_slot_is_tainted(slot))
        return;
    enum bp_clear_by by = bp_clear_choose(clear, arena, slot, base, bytes);
    if (!bp_clear_writes(by)) {
        bp_slot_clear_block(slot); /* a slot may be mapped anew as a whole then */
        size_t purged = bp_arena_purge(arena, slot, 0);
        if (purged > 0) {
            count(counters, true, purged);
            return;
        }
    }
    bp_clear_bytes(arena, slot, base, bytes, bp_clear_writes(by) ? by : BP_CLEAR_WRITING);
    count(counters, false, bytes);
}

void bp_scrub_resized(struct bp_arena *arena, struct bp_clear *clear, enum bp_scrub when, struct bp_slot *slot,
                      size_t before_bytes, size_t after_bytes, size_t warm_bytes, struct bp_counters *counters)
{
    if (when == BP_SCRUB_FREE && after_bytes < before_bytes)
        bp_scrub_range(arena, clear, slot, after_bytes, before_bytes, counters);
    else if (when == BP_SCRUB_ALLOC && after_bytes > before_bytes)
        bp_scrub_range(arena, clear, slot, before_bytes, bp_min(after_bytes, warm_bytes), counters);
}
