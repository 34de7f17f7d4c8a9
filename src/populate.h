/* SPDX-License-Identifier: MIT */
#ifndef BP_POPULATE_H
#define BP_POPULATE_H
/*
 * Populate: asks the kernel for fresh pages in batches, where the program is seen to touch all that it gets.
 *
 * Why:    a page that is faulted in by itself costs a third more than one of a batch. But a program that asks for much
 *         and touches little must stay small.
 * How:    one page in 64, a canary, is never asked for: if it is resident, the program has touched it. A fresh block of
 *         a class is populated when the last ones in a row that were fresh had sixteen times its size and were touched;
 *         one that was not starts the count anew. A block that grows is its own witness: it gets a sixteenth of what
 *         it has if that was touched to its end, or nearly, as a program that appends in pieces may find no room for
 *         the last one. So what is populated and not touched stays below a sixteenth of what was.
 * Layer:  3. Stateless but for hints; relaxed.
 * Limits: with several threads only small blocks, as others may be about to touch a large one, all at once and each
 *         near its own memory. Nothing where pages come in larger pieces anyway: a canary would be resident with its
 *         neighbours. Nor after a block for which the program wished for huge pages once it had it.
 */
#include "arena.h"

/* Fresh blocks of one class: the last one, and what was touched since one was not. */
struct bp_populate_class {
    _Atomic(const struct bp_slot *) witness;
    _Atomic(const char *) witness_base;
    _Atomic(size_t) witness_bytes;
    _Atomic(size_t) touched_bytes;
};

struct bp_populate {
    struct bp_populate_class classes[BP_CLASS_COUNT][2]; /* those that asked for zeros may be used in another way */
    _Atomic(bool) is_off;
};

/* For a slot all of whose pages are fresh. Returns the bytes populated. */
size_t bp_populate_fresh(struct bp_populate *populate, const struct bp_arena *arena, const struct bp_slot *slot,
                         bool zero);
/* For a live slot that had `before_bytes` of pages, and has fresh ones behind them. */
size_t bp_populate_growth(struct bp_populate *populate, const struct bp_arena *arena, const struct bp_slot *slot,
                          size_t before_bytes);

#endif
