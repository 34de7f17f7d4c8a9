/* SPDX-License-Identifier: MIT */
#include "growth.h"

enum {
    /* Room of which nothing is known: so many doublings more. */
    USUAL_CLASSES = 3,
    BLOCKS_PER_GOAL = 4,
    /* A slot has no more than such a part of all addresses. */
    ARENA_PART = 64,
};

size_t bp_growth_class(struct bp_growth *growth, const struct bp_arena *arena, size_t from, size_t least)
{
    /* acquire: pairs with release in bp_growth_moved(), as another thread may have carved the slot */
    struct bp_slot *slot = bp_load_acquire(&growth->classes[from].followed);
    if (slot && !bp_slot_block(slot)) {
        /* Where it ended its memory is still warm. */
        size_t goal = bp_min(slot->class_index, bp_class_of(bp_slot_size_bytes(slot)) + USUAL_CLASSES);
        size_t before = bp_load_relaxed(&growth->classes[from].goal);
        bool agree = goal <= before + 1 && before <= goal + 1;
        bp_store_relaxed(&growth->classes[from].goal, goal);
        bp_store_relaxed(&growth->classes[from].left, agree ? BLOCKS_PER_GOAL : 0);
        bp_store_relaxed(&growth->classes[from].followed, NULL);
    }
    size_t class_index = least + USUAL_CLASSES;
    size_t goal = bp_load_relaxed(&growth->classes[from].goal);
    if (goal > class_index && bp_take_one_relaxed(&growth->classes[from].left))
        class_index = goal;
    class_index = bp_min(class_index, BP_CLASS_COUNT - 1);
    size_t most_bytes = bp_load_relaxed(&arena->bytes) / ARENA_PART;
    while (class_index > least && bp_class_stride_bytes(class_index) > most_bytes)
        class_index--;
    return class_index;
}

void bp_growth_moved(struct bp_growth *growth, struct bp_slot *from, struct bp_slot *to)
{
    for (size_t i = 0; i < BP_CLASS_COUNT; i++) {
        if (bp_load_relaxed(&growth->classes[i].followed) == from)
            bp_store_release(&growth->classes[i].followed, to); /* pairs with acquire in bp_growth_class() */
    }
    if (!bp_load_relaxed(&growth->classes[from->class_index].followed))
        bp_store_release(&growth->classes[from->class_index].followed, to); /* as above */
}
