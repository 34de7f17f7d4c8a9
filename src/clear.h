/* SPDX-License-Identifier: MIT */
#ifndef BP_CLEAR_H
#define BP_CLEAR_H
/*
 * Clear: makes recycled memory read zero, by writing zeros or by giving the pages back.
 *
 * Why:    writing is several times faster where the program touches all of it afterwards; but a program that asks for
 *         zeros by the gigabyte and touches a little must stay small, as it does where each block is mapped by itself.
 * How:    the kernel is asked of a few pages whether they are resident. Mostly not: the block was used sparsely, and
 *         the rest may go as well. Mostly resident: used densely, or written by us. To tell the two apart zeros are
 *         written, but these few pages are given back: the program alone can make them resident again. Small blocks
 *         are always written, huge ones always dropped; the middling are looked at the more often the larger they are.
 * Layer:  3. Stateless but for a number and a flag a class; relaxed, as they are hints.
 */
#include "arena.h"

struct bp_clear {
    bool always_writes; /* const: the kernel rounds what is dropped of reserved huge pages, and does not say so */
    _Atomic(size_t) writes_left[BP_CLASS_COUNT]; /* before the next look */
    _Atomic(bool) is_probing[BP_CLASS_COUNT];    /* a few pages of the last block were given back */
};

/* How to make something zero. */
enum bp_clear_by {
    BP_CLEAR_WRITING,
    BP_CLEAR_PROBING, /* writing, but for a few pages */
    BP_CLEAR_DROPPING,
    BP_CLEAR_MAPPING, /* drops advice about the pages as well */
};

static inline bool bp_clear_writes(enum bp_clear_by by)
{
    return by <= BP_CLEAR_PROBING;
}

/*
 * How to make `bytes` at `p`, a part of the slot, zero. Who did not ask for huge pages must not get them where he
 * touches little; and those that are there are not split for a look.
 */
enum bp_clear_by bp_clear_choose(struct bp_clear *clear, const struct bp_arena *arena, const struct bp_slot *slot,
                                 const char *p, size_t bytes);
/* Makes the bytes, which the slot's owner has, zero. Where the kernel refuses, writes. */
void bp_clear_bytes(struct bp_arena *arena, const struct bp_slot *slot, char *p, size_t bytes, enum bp_clear_by by);

#endif
