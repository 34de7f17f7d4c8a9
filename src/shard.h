/* SPDX-License-Identifier: MIT */
#ifndef BP_SHARD_H
#define BP_SHARD_H
/*
 * Shards: stores of free buffers that threads share.
 *
 * Why:       a thread cache holds a few buffers; what does not fit must stay warm and be found by other threads, and a
 *            lock that all threads take would be the bottleneck. Each thread has a home shard; who finds it empty looks
 *            into the others (steals). Lists move in batches.
 * Layer:     4.
 * Owns:      the slots in its lists.
 * Locking:   shard->lock (BP_RANK_SHARD), a few list operations long. No system call under it.
 * Invariant: bin->bytes == sum of dirty_bytes in its list; the budget holds the sum over all bins as cached.
 * Fork:      locked in prepare, re-initialised in the child.
 */
#include "arena.h"
#include "counters.h"

enum { BP_SHARDS_MAX = 128 };

/* Slots linked by `next`, with their number and memory. */
struct bp_chain {
    struct bp_slot *head;
    size_t count;
    size_t bytes;
};

struct bp_shard {
    _Alignas(BP_CACHELINE_BYTES) struct bp_lock lock;
    struct {
        struct bp_slot *head;     /* lock */
        _Atomic(size_t) count;    /* lock; read without it as a hint that looking pays */
        _Atomic(size_t) bytes;    /* lock; read without it by the report */
    } bins[BP_CLASS_COUNT];
};

struct bp_shards {
    struct bp_shard *shards;  /* const */
    unsigned count;           /* const: a power of two */
    size_t buffers_max;       /* const: per bin */
    struct bp_arena *arena;   /* const */
    struct bp_budget *budget; /* const */
};

/* 0 or -ENOMEM. */
int bp_shards_init(struct bp_shards *shards, unsigned count, size_t buffers_max, struct bp_arena *arena,
                   struct bp_budget *budget, struct bp_meta *meta);

/*
 * Up to `count` free buffers of the class from one shard. The first is the one whose memory fits `dirty_bytes` best;
 * the others follow while all of them together stay below `bytes_max`. They are no longer charged as cached.
 */
struct bp_chain bp_shard_pop(struct bp_shards *shards, unsigned shard, size_t class_index, size_t dirty_bytes,
                             size_t count, size_t bytes_max, struct bp_counters *counters);

/* Gives free buffers of one class to a shard. What a limit forbids is purged and goes to the arena as clean. */
void bp_shard_push(struct bp_shards *shards, unsigned shard, size_t class_index, struct bp_chain chain,
                   struct bp_counters *counters);

/* Purges what shards hold until `bytes` were given back or nothing is left. Returns the bytes given back. */
size_t bp_shards_purge(struct bp_shards *shards, size_t bytes, struct bp_counters *counters);

/* Bytes and buffers that are free in shards. */
size_t bp_shards_cached_bytes(const struct bp_shards *shards);

void bp_shards_lock_all(struct bp_shards *shards);
void bp_shards_unlock_all(struct bp_shards *shards);
void bp_shards_reinit_locks(struct bp_shards *shards);

/*
 * Of the first few slots of a list, the link to the one that suits a request of `dirty_bytes` best: the least memory
 * that is enough, else the most. NULL for an empty list. Lists are newest first, so among equals the warmest wins.
 */
struct bp_slot **bp_best_fit(struct bp_slot **head, size_t dirty_bytes);

#endif
