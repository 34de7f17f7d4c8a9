/* SPDX-License-Identifier: MIT */
#ifndef BP_GROWTH_H
#define BP_GROWTH_H
/*
 * Growth: how much room a block gets that outgrew its slot.
 *
 * Why:    room is address space, which costs nothing; a move takes as long as touching hundreds of pages. Programs grow
 *         buffers to the same sizes again and again, so one that begins as others did gets the room they needed.
 * How:    for each class one block that was moved out of a slot of it is followed, until it ends. If it did where the
 *         one before it had, in a slot of that class or a neighbour, then the next few blocks that outgrow such a slot
 *         get one like that. Only a few, until another one was seen to its end: a thousand small ones may follow, and
 *         each would get a large warm buffer. Where blocks end here and there, all are moved as if nothing was known.
 * Layer:  3. Hints only: a slot's record is never unmapped, and what it says is at worst of another block.
 * Fork:   the child goes on with what was learned.
 */
#include "arena.h"

struct bp_growth {
    struct {
        _Atomic(struct bp_slot *) followed; /* the slot that the block has now; NULL: none; release */
        _Atomic(size_t) goal;               /* class; relaxed */
        _Atomic(size_t) left;               /* so many more blocks get it; relaxed */
    } classes[BP_CLASS_COUNT];
};

/*
 * The class for a block that outgrew a slot of class `from` and needs one of `least` at least. More than that only as
 * far as the arena has room for many such slots.
 */
size_t bp_growth_class(struct bp_growth *growth, const struct bp_arena *arena, size_t from, size_t least);
/* The block was moved. */
void bp_growth_moved(struct bp_growth *growth, struct bp_slot *from, struct bp_slot *to);

#endif
