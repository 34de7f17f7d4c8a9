/* SPDX-License-Identifier: MIT */
#ifndef BP_CLEAR_H
#define BP_CLEAR_H
/*
 * Clear: makes recycled memory read zero, by writing zeros or by giving the pages back.
 *
 * Why:    writing is several times faster where the program touches all of it afterwards; but a program that asks for
 *         zeros by the gigabyte and touches a little must stay small, as it does where each block is mapped by itself.
 * How:    the kernel is asked of a few pages whether they are resident. Mostly not: the block was used sparsely, and
 *         the rest may go as well. Mostly resident: used densely, or written by us. Then the pages are dropped once; if
 *         the next block of the class is dense again, that is how the program is, and zeros are written for a while,
 *         longer each time that this proves right. Small blocks are always written, huge ones always dropped.
 * Layer:  4. Stateless but for one pair of numbers a class; relaxed, as they are hints.
 */
#include "arena.h"

struct bp_clear_class {
    _Atomic(size_t) writes_left; /* before the next look */
    _Atomic(size_t) writes;      /* what writes_left was set to last */
    _Atomic(bool) is_probing;    /* the pages of the last block were dropped */
};

struct bp_clear {
    struct bp_clear_class classes[BP_CLASS_COUNT];
};

/* How to make `bytes` at `p`, of a slot of the class, zero: true to drop the pages, false to write. */
bool bp_clear_should_drop(struct bp_clear *clear, size_t class_index, const char *p, size_t bytes);
/* How to make something zero. */
enum bp_clear_by {
    BP_CLEAR_WRITING,
    BP_CLEAR_DROPPING,
    BP_CLEAR_MAPPING, /* drops advice about the pages as well */
};

/* The same, for a part of a slot: who did not ask for huge pages must not get them where he touches little. */
enum bp_clear_by bp_clear_choose(struct bp_clear *clear, const struct bp_slot *slot, const char *p, size_t bytes);
/* Makes the bytes zero. Where the kernel refuses, writes. */
void bp_clear_bytes(char *p, size_t bytes, enum bp_clear_by by);

#endif
