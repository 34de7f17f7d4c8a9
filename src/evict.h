/* SPDX-License-Identifier: MIT */
#ifndef BP_EVICT_H
#define BP_EVICT_H
/*
 * Eviction: who goes when a buffer is freed and the budget is full.
 *
 * lifo:  the last one in is the first one out: the newcomer, unless there is cold memory. What is cached stays until a
 *        sweep finds that nobody needed it. No scan of buffers that are used once can push it out.
 * auto:  the same for buffers whose pages can be moved: a program that goes over to other sizes takes them from what
 *        is cached of the old ones, so nothing is gained by purging that. For those that cannot (small ones, an old
 *        kernel, memory that is charged as it is committed) sweeps come by demand, too: when as much as may be cached
 *        has been refused, nobody waits for the clock. What was not needed while that much was, becomes cold and makes
 *        room. So it is with BUFPOOL_DECAY_MS=0.
 *
 * Measured: bench/README.md has both beside the optimum, and what CLOCK-Pro came to.
 * Layer:    2. The sweep itself is decay.h's, and what it finds shard.h's.
 */
#include "atomic.h"
#include "options.h"

struct bp_evict {
    enum bp_eviction policy;       /* const */
    _Atomic(size_t) refused_bytes; /* since the last sweep; relaxed */
};

/*
 * A buffer whose pages cannot be moved was given back for want of room. One that is larger than all the room there is
 * says nothing.
 */
BP_ALWAYS_INLINE void bp_evict_refused(struct bp_evict *evict, size_t bytes, size_t limit_bytes)
{
    if (bytes <= limit_bytes)
        bp_add_relaxed(&evict->refused_bytes, bytes);
}

BP_ALWAYS_INLINE bool bp_evict_wants_sweep(struct bp_evict *evict, size_t limit_bytes)
{
    return evict->policy != BP_EVICTION_LIFO && bp_load_relaxed(&evict->refused_bytes) > limit_bytes;
}

BP_ALWAYS_INLINE void bp_evict_swept(struct bp_evict *evict)
{
    bp_store_relaxed(&evict->refused_bytes, 0);
}

#endif
