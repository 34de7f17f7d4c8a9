/* SPDX-License-Identifier: MIT */
#ifndef BP_OUTGROW_H
#define BP_OUTGROW_H
/*
 * Outgrow: a block that was copied into a larger one, and freed.
 *
 * Why:    that is how vectors grow. What the larger block has beyond the copy is not there yet, and will be; were the
 *         old block kept as well, the process would hold half as much again as without us, just where it is largest.
 * How:    the last large block that got fresh memory is remembered. When a smaller one is freed, the kernel is asked of
 *         a few pages: if the larger one was touched as far as the smaller one reaches, as much
 *         of the smaller one is given back as the larger one has yet to touch.
 * Cost:   it happens to a larger block once, so for every fresh byte at most one is given back early; until then each
 *         free of a smaller large one asks of up to sixteen pages.
 * Layer:  3. Hints only; relaxed.
 */
#include "arena.h"

struct bp_outgrow {
    _Atomic(const char *) base; /* of the block's slot; NULL: none */
    _Atomic(size_t) bytes;      /* its dirty extent */
};

/* The slot, which is being handed out, got `fresh_bytes` that nobody has touched. */
void bp_outgrow_note(struct bp_outgrow *outgrow, const struct bp_arena *arena, const struct bp_slot *slot,
                     size_t fresh_bytes);
/* How much of a slot that is being freed should be kept, in whole pages. */
size_t bp_outgrow_keep_bytes(struct bp_outgrow *outgrow, const struct bp_arena *arena, const struct bp_slot *slot);

#endif
