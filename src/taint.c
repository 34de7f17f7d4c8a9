/* SPDX-License-Identifier: MIT */
/*
 * Taint: slots in whose range the program changes more than bytes. Declared in arena.h.
 *
 * Layer: 3.
 */
#include "arena.h"

static void taint_slot(struct bp_slot *slot)
{
    __atomic_store_n(&slot->tainted, true, __ATOMIC_RELAXED);
    char *live = __atomic_load_n(&slot->live, __ATOMIC_RELAXED);
    /* The slot need not be the caller's own: somebody may be freeing its block, and then the flag alone is seen. */
    char *marked = (char *)((uintptr_t)live | BP_TAINT_MARK); // NOLINT(performance-no-int-to-ptr)
    if (live && live != marked)
        (void)__atomic_compare_exchange_n(&slot->live, &live, marked, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    else if (!live)
        slot->room_bytes = 0; /* free: too small for any hit */
}

/* Calls `mark` with every slot that the range overlaps. */
static void mark_slots(struct bp_arena *arena, const void *address, size_t bytes, void (*mark)(struct bp_slot *slot))
{
    uintptr_t base = bp_load_relaxed(&arena->base);
    uintptr_t start = bp_max((uintptr_t)address, base);
    uintptr_t end = (uintptr_t)address + bp_min(bytes, UINTPTR_MAX - (uintptr_t)address);
    end = bp_min(end, base + bp_load_relaxed(&arena->bytes));
    while (start < end) {
        struct bp_owner *owner = bp_owner_at(arena, start - base);
        uintptr_t records = bp_owner_records(owner);
        size_t step_bytes = (size_t)1 << (records != 0 ? bp_key_stride_shift(owner->key) : arena->unit_shift);
        if (records != 0)
            mark(bp_slot_of(records, owner, (const void *)start)); // NOLINT(performance-no-int-to-ptr)
        start = bp_align_down(start, step_bytes) + step_bytes;
    }
}

void bp_arena_taint(struct bp_arena *arena, const void *address, size_t bytes)
{
    mark_slots(arena, address, bytes, taint_slot);
}

void bp_arena_want_huge(struct bp_arena *arena, const void *address, size_t bytes)
{
    mark_slots(arena, address, bytes, bp_slot_want_huge);
}
