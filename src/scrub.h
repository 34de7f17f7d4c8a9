/* SPDX-License-Identifier: MIT */
#ifndef BP_SCRUB_H
#define BP_SCRUB_H
/*
 * Scrub: what a program wrote is gone before another request can see it (BUFPOOL_SCRUB).
 *
 * free:      when a block is freed, or shrinks. So all memory of the pool is zero that is in no live block, and calloc
 *            clears nothing; what a program writes to a block after it freed it is its own error.
 * alloc:     before a block is handed out, or grows. What waits in the pool is as the program left it.
 * How:       zeros are written, or pages dropped where the block was used sparsely, as for calloc (clear.h).
 * Hit path:  neither may take it. Thread caches keep nothing then, so every hit misses and every free is slow.
 * Tainted:   memory that may be protected, or a file by now, is left alone: its slot is mapped anew before another
 *            request can see it. Such a block does not grow in place, over what was not erased.
 * Layer:     6.
 */
#include "arena.h"
#include "clear.h"
#include "counters.h"
#include "options.h"

/* Scrubs what may be other than zero from one offset to another, from the slot's base. */
void bp_scrub_range(struct bp_arena *arena, struct bp_clear *clear, struct bp_slot *slot, size_t from_bytes,
                    size_t to_bytes, struct bp_counters *counters);
/* A block that is being freed: its slot ends up zero, and clean where its pages were dropped. */
void bp_scrub_block(struct bp_arena *arena, struct bp_clear *clear, struct bp_slot *slot,
                    struct bp_counters *counters);
/*
 * A live block that ended at `before_bytes` ends at `after_bytes` now. Of the slot, `warm_bytes` may have been other
 * than zero before that.
 */
void bp_scrub_resized(struct bp_arena *arena, struct bp_clear *clear, enum bp_scrub when, struct bp_slot *slot,
                      size_t before_bytes, size_t after_bytes, size_t warm_bytes, struct bp_counters *counters);

#endif
