/* SPDX-License-Identifier: MIT */
#ifndef BP_COUNTERS_H
#define BP_COUNTERS_H
/*
 * Counters: one block a thread, written by its owner with plain stores, added up by readers at any time.
 *
 * Why:   counters shared by all threads cost more than the allocation they count.
 * Layer: 1.
 */
#include "atomic.h"

enum bp_counter {
#define CNT(name, meaning) BP_COUNT_##name,
#include "counters.def"
#undef CNT
    BP_COUNTER_COUNT
};

struct bp_counters {
    _Atomic(size_t) values[BP_COUNTER_COUNT];
};

/* By the owner of the block only. */
BP_ALWAYS_INLINE void bp_count(struct bp_counters *counters, enum bp_counter which, size_t amount)
{
    bp_owner_add(&counters->values[which], amount);
}

#endif
