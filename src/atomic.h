/* SPDX-License-Identifier: MIT */
#ifndef BP_ATOMIC_H
#define BP_ATOMIC_H
/*
 * Atomics whose memory order is in the name, and only the orders in use.
 *
 * Layer: 0. The pairs of release and acquire are listed in src/README.md and named at each use.
 */
#include <stdatomic.h>

#include "base.h"

#define bp_load_relaxed(p) atomic_load_explicit((p), memory_order_relaxed)
#define bp_load_acquire(p) atomic_load_explicit((p), memory_order_acquire)
#define bp_store_relaxed(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)
#define bp_store_release(p, v) atomic_store_explicit((p), (v), memory_order_release)
#define bp_add_relaxed(p, v) atomic_fetch_add_explicit((p), (v), memory_order_relaxed)
#define bp_sub_relaxed(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_relaxed)
/* *p from `*seen` to v; false, and *seen is what it was, if it was something else. */
#define bp_replace_relaxed(p, seen, v)                                                                                 \
    atomic_compare_exchange_strong_explicit((p), (seen), (v), memory_order_relaxed, memory_order_relaxed)
#define bp_exchange_acq_rel(p, v) atomic_exchange_explicit((p), (v), memory_order_acq_rel)

/*
 * A word with one writer, read by anybody at any time: the owner's update needs no bus lock, and readers see some
 * recent value. On x86-64 one instruction, which no compiler makes of an atomic load, add and store.
 */
BP_ALWAYS_INLINE void bp_owner_add(_Atomic(size_t) *p, size_t v)
{
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
    __asm__("addq %1, %0" : "+m"(*p) : "er"(v) : "cc");
#else
    bp_store_relaxed(p, bp_load_relaxed(p) + v);
#endif
}

BP_ALWAYS_INLINE void bp_owner_sub(_Atomic(size_t) *p, size_t v)
{
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
    __asm__("subq %1, %0" : "+m"(*p) : "er"(v) : "cc");
#else
    bp_store_relaxed(p, bp_load_relaxed(p) - v);
#endif
}

/* Raises *p to at least v. Relaxed: a maximum orders nothing. */
BP_ALWAYS_INLINE void bp_raise_relaxed(_Atomic(size_t) *p, size_t v)
{
    size_t seen = bp_load_relaxed(p);
    while (seen < v &&
           !atomic_compare_exchange_weak_explicit(p, &seen, v, memory_order_relaxed, memory_order_relaxed)) {
    }
}

/* Takes one from *p unless it is zero. */
BP_ALWAYS_INLINE bool bp_take_one_relaxed(_Atomic(size_t) *p)
{
    size_t seen = bp_load_relaxed(p);
    while (seen > 0) {
        if (atomic_compare_exchange_weak_explicit(p, &seen, seen - 1, memory_order_relaxed, memory_order_relaxed))
            return true;
    }
    return false;
}

/* Takes up to v from *p. Returns how much that was. */
BP_ALWAYS_INLINE size_t bp_take_relaxed(_Atomic(size_t) *p, size_t v)
{
    size_t seen = bp_load_relaxed(p);
    while (seen > 0 && v > 0 &&
           !atomic_compare_exchange_weak_explicit(p, &seen, seen - (v < seen ? v : seen), memory_order_relaxed,
                                                  memory_order_relaxed)) {
    }
    return v < seen ? v : seen;
}

/* Adds v to *p unless the sum would pass limit. */
BP_ALWAYS_INLINE bool bp_add_below_relaxed(_Atomic(size_t) *p, size_t v, size_t limit)
{
    size_t seen = bp_load_relaxed(p);
    do {
        if (seen > limit || v > limit - seen)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(p, &seen, seen + v, memory_order_relaxed, memory_order_relaxed));
    return true;
}

#endif
