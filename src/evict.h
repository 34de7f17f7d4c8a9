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
 *        room. The same with BUFPOOL_DECAY_MS=0.
 * clockpro: CLOCK-Pro (Jiang, Chen, Zhang, 2005) for buffers. A newcomer enters on trial and may push out what is on
 *        trial, but not what has proven itself; what is asked for again has. As buffers of a class are interchangeable,
 *        all that it keeps is bytes per class (struct bp_evict_class):
 *
 *        | CLOCK-Pro                        | here                                                                 |
 *        |----------------------------------|----------------------------------------------------------------------|
 *        | page                             | bytes of a class that lie in shards                                  |
 *        | resident cold page               | `trial_bytes` of them; the rest is hot                               |
 *        | non-resident page in its test    | `gone_bytes`: of the class, given back for want of room              |
 *        | test period                      | until from a half to all of what may be cached was given back since  |
 *        | reference bit                    | `low_bytes`: the least that lay there since the hot hand came by     |
 *        | access of a cold page            | a request takes it; its bytes are `proven_bytes`, and enter as hot   |
 *        | access of a non-resident page    | a miss in the class: as above, and the target for trial grows by it  |
 *        | end of a test without an access  | `gone_bytes` are forgotten, and the target shrinks by them           |
 *        | HAND_cold                        | the classes in turn, what is on trial of each                        |
 *        | HAND_hot                         | the classes in turn: what nobody needed since its last visit goes on |
 *        |                                  | trial; where all was needed it does at the next visit                |
 *        | HAND_test                        | nothing walks: two generations of `gone_bytes`, turned over          |
 *
 *        Simpler than the paper: what is resident and on trial stays so until it is asked for or given back, and a
 *        request that finds it does not move the target. The hands see shards only; what lies in thread caches comes
 *        there by sweeps, so these come by demand as with auto. A newcomer whose pages can be moved turns no hand, and
 *        is refused as with auto.
 *
 * What a sweep found cold goes first under any of them.
 * Measured: bench/README.md has all beside the optimum. clockpro is behind auto on average, so auto is the default.
 *
 * Layer:    2. The sweep itself is decay.h's, and what it finds, and the purging, shard.h's.
 * Locking:  none. All counts are relaxed and saturate: threads that meet in a class may misjudge a buffer, no more.
 * Fork:     the child goes on with what was learned.
 */
#include "atomic.h"
#include "options.h"
#include "sizeclass.h"

/* Of clockpro. */
struct bp_evict_class {
    _Atomic(size_t) resident_bytes; /* in shards */
    _Atomic(size_t) trial_bytes;    /* of them */
    _Atomic(size_t) low_bytes;
    _Atomic(size_t) proven_bytes;   /* in use: they will enter as hot */
    _Atomic(size_t) gone_bytes[2];  /* this generation's, by its lowest bit, and the one's before */
};

struct bp_evict {
    enum bp_eviction policy;          /* const */
    _Atomic(size_t) refused_bytes;    /* since the last sweep; relaxed */
    _Atomic(size_t) trial_bytes_goal; /* CLOCK-Pro's target for cold pages, adaptive */
    _Atomic(size_t) generation;
    _Atomic(size_t) aged_bytes;       /* given back in this generation */
    _Atomic(size_t) cold_hand;        /* classes, modulo their number */
    _Atomic(size_t) hot_hand;
    struct bp_evict_class classes[BP_CLASS_COUNT];
};

BP_ALWAYS_INLINE bool bp_evict_is_clockpro(const struct bp_evict *evict)
{
    return evict->policy == BP_EVICTION_CLOCKPRO;
}

/* For clockpro alone; under the others nothing is done. */

/* Bytes of a class came to lie in a shard; left one, for whatever reason; were taken from one by a request. */
void bp_evict_entered(struct bp_evict *evict, size_t class_index, size_t bytes, size_t limit_bytes);
void bp_evict_left(struct bp_evict *evict, size_t class_index, size_t bytes);
void bp_evict_used(struct bp_evict *evict, size_t class_index, size_t bytes, size_t limit_bytes);
/* A request found no buffer. */
void bp_evict_missed(struct bp_evict *evict, size_t class_index, size_t bytes, size_t limit_bytes);
/* Bytes of a class were given back for want of room: a newcomer's; some of the `trial_bytes` that lay on trial. */
void bp_evict_gave_back(struct bp_evict *evict, size_t class_index, size_t bytes, size_t limit_bytes);
void bp_evict_replaced(struct bp_evict *evict, size_t class_index, size_t trial_bytes, size_t bytes,
                       size_t limit_bytes);
/*
 * A buffer of the class wants room of `bytes`: puts on trial what is hot beyond all but the goal, or, if the newcomer
 * has proven itself, as much as that needs. Is enough on trial then?
 */
bool bp_evict_prepare(struct bp_evict *evict, size_t class_index, size_t bytes, size_t limit_bytes);
/* The class that must give back next, and up to how much; BP_CLASS_COUNT: none may be pushed out. */
size_t bp_evict_next(struct bp_evict *evict, size_t *ret_bytes);

/* How much of what lies in shards is on trial. */
size_t bp_evict_trial_bytes(const struct bp_evict *evict);

/*
 * A buffer whose pages cannot be moved was given back for want of room. One that is larger than all the room there is
 * says nothing.
 */
BP_ALWAYS_INLINE void bp_evict_refused(struct bp_evict *evict, size_t class_index, size_t bytes, size_t limit_bytes)
{
    if (bytes > limit_bytes)
        return;
    bp_add_relaxed(&evict->refused_bytes, bytes);
    bp_evict_gave_back(evict, class_index, bytes, limit_bytes);
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
