/* SPDX-License-Identifier: MIT */
#ifndef BP_BUDGET_H
#define BP_BUDGET_H
/*
 * Budget: the two byte counts of a pool that have hard limits.
 *
 * Why:       a pool that never shrinks is a leak. Both counts change on slow paths only: the fast path moves buffers
 *            inside a thread's allowance, which was charged when it was granted.
 * Layer:     2.
 * Invariant: footprint_bytes == sum of dirty_bytes over all slots, live or free, and <= footprint_limit_bytes.
 *            cached_bytes == bytes in shards + allowances of thread caches, and <= cached_limit_bytes.
 *            So what is really free never passes cached_limit_bytes.
 * Nodes:     both are sums over all memory nodes, as memory is short for all at once where any node will do. Where
 *            not (a cpuset, numactl --membind, BUFPOOL_NUMA=bind) their memory is all there is.
 */
#include "atomic.h"
#include "options.h"

struct bp_budget {
    size_t cached_share;    /* const: the limits as configured, perhaps a part of memory_bytes */
    size_t footprint_share; /* const */
    uint64_t bound_nodes;   /* const: whose memory the program is bound to; all of them: to none */
    uint64_t nodes;         /* whose memory it can come from now, or 0; who ticks (decay.h) writes, as what follows */
    size_t node_bytes;      /* and how much these have; 0: as much as the machine, or unknown */
    _Atomic(size_t) memory_bytes; /* what this process may use; relaxed */
    size_t squeeze;         /* so many times the limit of what may be cached is halved */
    _Atomic(size_t) cached_limit_bytes;
    _Atomic(size_t) footprint_limit_bytes; /* SIZE_MAX when there is none */
    _Atomic(size_t) roomy_bytes; /* from this footprint on memory that is cached is given back before more is taken */
    _Alignas(BP_CACHELINE_BYTES) _Atomic(size_t) cached_bytes;
    _Atomic(size_t) peak_cached_bytes;
    /*
     * The mean of cached_bytes over time. Whoever moves noted_ms on adds what was noted before for as long as it was
     * so: exact but for the clock's steps, if it is noted again after every change. What threads take out of their
     * allowances and put back does not change cached_bytes, and so counts as cached.
     */
    _Atomic(size_t) noted_ms;
    _Atomic(size_t) noted_kib;
    _Atomic(size_t) kib_ms; /* up to noted_ms */
    size_t start_ms;        /* const, but for a fork */
    _Alignas(BP_CACHELINE_BYTES) _Atomic(size_t) footprint_bytes;
    _Atomic(size_t) peak_footprint_bytes;
    _Atomic(size_t) peak_live_bytes;
};

void bp_budget_init(struct bp_budget *budget, const struct bp_options *options);
/* The memory nodes that this process's memory can come from, as bits; none when nobody can tell. */
uint64_t bp_budget_nodes(const struct bp_budget *budget);
/* What of their memory, or of the machine's if that is less, nobody uses at the moment. */
size_t bp_budget_free_bytes(const struct bp_budget *budget);
/*
 * The memory limit of a container, and its nodes, may change while the program runs: sets anew the limits that are a
 * part of it, and how much of it may be taken before what is cached is given back. What nodes have is read again when
 * these are others than before.
 */
void bp_budget_follow_memory(struct bp_budget *budget);
/* Are there such limits? */
bool bp_budget_is_share(const struct bp_budget *budget);
/* By how much what is cached passes its limit. */
size_t bp_budget_excess_bytes(const struct bp_budget *budget);
/* In a forked child, which counts anew: peaks and the mean begin with what there is. */
void bp_budget_after_fork(struct bp_budget *budget, uint64_t now_ns);
/* Notes what is cached now, for the mean. */
void bp_budget_note_cached(struct bp_budget *budget, uint64_t now_ns);
size_t bp_budget_mean_cached_bytes(const struct bp_budget *budget, uint64_t now_ns);
/* Halves the limit of what may be cached so many times, for as long as memory is short; 0: no more. */
void bp_budget_squeeze(struct bp_budget *budget, size_t halvings);

BP_ALWAYS_INLINE bool bp_budget_charge_cached(struct bp_budget *budget, size_t bytes)
{
    if (!bp_add_below_relaxed(&budget->cached_bytes, bytes, bp_load_relaxed(&budget->cached_limit_bytes)))
        return false;
    bp_raise_relaxed(&budget->peak_cached_bytes, bp_load_relaxed(&budget->cached_bytes));
    return true;
}

/* How much more may be cached, for now. */
BP_ALWAYS_INLINE size_t bp_budget_room_bytes(const struct bp_budget *budget)
{
    size_t limit_bytes = bp_load_relaxed(&budget->cached_limit_bytes);
    return limit_bytes - bp_min(limit_bytes, bp_load_relaxed(&budget->cached_bytes));
}

BP_ALWAYS_INLINE void bp_budget_return_cached(struct bp_budget *budget, size_t bytes)
{
    bp_sub_relaxed(&budget->cached_bytes, bytes);
}

BP_ALWAYS_INLINE bool bp_budget_charge_footprint(struct bp_budget *budget, size_t bytes)
{
    if (!bp_add_below_relaxed(&budget->footprint_bytes, bytes, bp_load_relaxed(&budget->footprint_limit_bytes)))
        return false;
    bp_raise_relaxed(&budget->peak_footprint_bytes, bp_load_relaxed(&budget->footprint_bytes));
    return true;
}

BP_ALWAYS_INLINE void bp_budget_return_footprint(struct bp_budget *budget, size_t bytes)
{
    bp_sub_relaxed(&budget->footprint_bytes, bytes);
}

#endif
