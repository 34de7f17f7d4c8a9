/* SPDX-License-Identifier: MIT */
#ifndef BP_SHARD_H
#define BP_SHARD_H
/*
 * Shards: stores of free buffers that threads share.
 *
 * Why:       a thread cache holds a few buffers; what does not fit must stay warm and be found by other threads, and a
 *            lock that all threads take would be the bottleneck. Each thread has a home shard; who finds it empty looks
 *            into the others (steals). Lists move in batches.
 * Layer:     5.
 * Owns:      the slots in its lists.
 * Locking:   shard->lock (BP_RANK_SHARD), a few list operations long. No system call under it.
 * Ageing:    a bin's buffers are hot or cold. Every sweep finds how many of the hot ones nobody needed since the last
 *            (the low-water mark of their number, so the oldest) and makes them cold. Cold ones still serve requests,
 *            after the hot ones, and are purged first.
 * Invariant: bin->bytes == sum of dirty_bytes in both lists; the budget holds the sum over all bins as cached.
 * Fork:      locked in prepare, re-initialised in the child.
 */
#include "arena.h"
#include "counters.h"
#include "evict.h"

enum { BP_SHARDS_MAX = 128 };

/* Slots linked by `next`, with their number and memory. */
struct bp_chain {
    struct bp_slot *head;
    size_t count;
    size_t bytes;
};

struct bp_shard {
    _Alignas(BP_CACHELINE_BYTES) struct bp_lock lock;
    struct bp_shard_bin {
        struct bp_slot *hot;         /* lock: newest first */
        struct bp_slot *cold;        /* lock */
        size_t hot_count;            /* lock */
        size_t hot_low;              /* lock: the least hot_count since the last sweep */
        _Atomic(size_t) count;       /* lock; hot and cold; read without it as a hint that looking pays */
        _Atomic(size_t) bytes;       /* lock; hot and cold; read without it by the report */
        _Atomic(size_t) cold_bytes;  /* lock; as above */
    } bins[BP_CLASS_COUNT];
};

struct bp_shards {
    struct bp_shard *shards;  /* const */
    unsigned count;           /* const: of all places together, one after the other */
    unsigned per_place;       /* const: a power of two */
    size_t buffers_max;       /* const: per bin */
    struct bp_arena *arena;   /* const */
    struct bp_budget *budget; /* const */
    struct bp_evict evict;
};

/* `count` is a power of two for each of the arena's places. 0 or -ENOMEM. */
int bp_shards_init(struct bp_shards *shards, unsigned count, size_t buffers_max, struct bp_arena *arena,
                   struct bp_budget *budget, struct bp_meta *meta);

/* The shard of a place that corresponds to this one, of any place. */
static inline unsigned bp_shard_in(const struct bp_shards *shards, unsigned place, unsigned shard)
{
    return place * shards->per_place + (shard & (shards->per_place - 1));
}

/*
 * Up to `count` free buffers of the class from one shard. The first is the one whose memory fits `dirty_bytes` best;
 * the others follow while all of them together stay within `bytes_max`. They are no longer charged as cached.
 */
struct bp_chain bp_shard_pop(struct bp_shards *shards, unsigned shard, size_t class_index, size_t dirty_bytes,
                             size_t count, size_t bytes_max, struct bp_counters *counters);

/*
 * Gives free buffers of one class, charged as cached already, to a shard. What passes its limit is purged and goes to
 * the arena as clean.
 */
void bp_shard_push(struct bp_shards *shards, unsigned shard, size_t class_index, struct bp_chain chain,
                   struct bp_counters *counters);
/* As bp_shard_push(), for buffers that nobody needed for a while. */
void bp_shard_push_cold(struct bp_shards *shards, unsigned shard, size_t class_index, struct bp_chain chain,
                        struct bp_counters *counters);
/*
 * As either, but what passes the limit is put in front of `ret_rest`, with no charge, for bp_shards_drop(): that makes
 * system calls, and whoever watches them may wait for a lock of ours.
 */
void bp_shard_offer(struct bp_shards *shards, unsigned shard, size_t class_index, struct bp_chain chain, bool hot,
                    struct bp_chain *ret_rest, struct bp_counters *counters);
/* Purges free slots that are not charged as cached, and gives them to the arena. Returns the bytes given back. */
size_t bp_shards_drop(struct bp_shards *shards, struct bp_chain chain);

/* Makes cold what nobody needed since the last sweep. */
void bp_shards_sweep(struct bp_shards *shards);
/* Is one wanted for lack of room? */
BP_ALWAYS_INLINE bool bp_shards_want_sweep(struct bp_shards *shards)
{
    return bp_evict_wants_sweep(&shards->evict, bp_load_relaxed(&shards->budget->cached_limit_bytes));
}
/*
 * Purges cold buffers until `bytes` were given back or none is left, of a place first and then of the others: who needs
 * room pays for it. Returns the bytes given back.
 */
size_t bp_shards_purge_cold(struct bp_shards *shards, unsigned place, size_t bytes, struct bp_counters *counters);
/* As bp_shards_purge_cold(), and then hot ones. */
size_t bp_shards_purge(struct bp_shards *shards, unsigned place, size_t bytes, struct bp_counters *counters);

/*
 * Makes room for a buffer of the class, as far as the policy gives it any: of what is cold, and then of what it says.
 * Returns the bytes given back.
 */
size_t bp_shards_make_room(struct bp_shards *shards, unsigned place, size_t class_index, size_t bytes,
                           struct bp_counters *counters);

/* Bytes that are free in shards, in those of a place, and those of all that are cold. */
size_t bp_shards_cached_bytes(const struct bp_shards *shards);
size_t bp_shards_place_bytes(const struct bp_shards *shards, unsigned place);
size_t bp_shards_cold_bytes(const struct bp_shards *shards);

bool bp_shards_are_free(struct bp_shards *shards);
void bp_shards_lock_all(struct bp_shards *shards);
void bp_shards_unlock_all(struct bp_shards *shards);
void bp_shards_reinit_locks(struct bp_shards *shards);

/*
 * Of the first few slots of a list, the link to the one that suits a request of `dirty_bytes` best: the least memory
 * that is enough, else the most. NULL for an empty list. Lists are newest first, so among equals the warmest wins.
 */
struct bp_slot **bp_best_fit(struct bp_slot **head, size_t dirty_bytes);

#endif
