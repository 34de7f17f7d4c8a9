/* SPDX-License-Identifier: MIT */
#ifndef BP_TCACHE_H
#define BP_TCACHE_H
/*
 * Thread caches: a few free buffers of each class that one thread keeps for itself.
 *
 * Why:       the hit path is plain loads and stores of one thread's memory: no atomic operation, no fence, no lock.
 * Layer:     7.
 * Owns:      the slots in its bins.
 * Locking:   caches->lock (BP_RANK_THREADS) for the list of caches. The bins belong to one thread; those of the orphan
 *            cache, which serves threads that have none, to whoever holds orphan_lock (BP_RANK_ORPHAN).
 * Invariant: bin->cached_bytes == sum of dirty_bytes in its list <= bin->allowance_bytes; cache->allowance_bytes == sum
 *            over the bins, which the budget holds as cached; so is what is on its way home.
 * Places:    a cache keeps buffers of one place only, that of the CPU its thread runs on; see places.c.
 * Life:      made by a thread's first miss, drained into its home shard when the thread ends, or when the thread has
 *            not used it for a while: see bp_tcaches_drain(). A thread that has ended its cache and still calls us
 *            (from a later destructor) is served by the orphan cache.
 * Fork:      the child drains the caches of the threads it does not have.
 */
#include "counters.h"
#include "shard.h"

enum {
    BP_POOLS_MAX = 8,
    BP_THREAD_CACHE_MAX = 64,
};
_Static_assert(BP_CLASS_COUNT <= 32, "a bit for each class");

/*
 * What a hit touches. head_block repeats what head leads to: a free stores the pointer it was given there before the
 * slot's record is found, and the next allocation loads it without waiting for that (9 cycles of a pair of 29). An
 * alignment may have put that before home; room_bytes counts from home, so there is room.
 */
struct bp_bin {
    _Alignas(BP_CACHELINE_BYTES) char *head_block; /* owner: where the next block begins; NULL when the bin is empty */
    struct bp_slot *head;         /* owner: newest first */
    _Atomic(size_t) cached_bytes; /* owner writes, the report reads; so are all counts */
    size_t allowance_bytes;       /* owner: how far cached_bytes may rise without asking */
    _Atomic(size_t) hits;
    _Atomic(size_t) hit_bytes;    /* requested by hits of every source */
    size_t gives;                 /* owner: buffers kept on the slow path; never more than were taken */
};
_Static_assert(sizeof(struct bp_bin) == BP_CACHELINE_BYTES, "one cache line a bin");

/* Requests of a class that the thread cache could not serve. */
struct bp_misses {
    _Atomic(size_t) shard_hits;
    _Atomic(size_t) stolen;
    _Atomic(size_t) fresh;
};

/* What a thread has to do with one place; only where there are several. */
struct bp_tcache_place {
    struct bp_slot *away;         /* owner: buffers of this place that were freed elsewhere and not yet sent home */
    size_t away_count;            /* owner */
    _Atomic(size_t) away_bytes;   /* owner writes, as all that follows */
    _Atomic(size_t) local_hits;   /* requests of the thread while its place was this one: buffers of this place, */
    _Atomic(size_t) remote_hits;  /* of others, */
    _Atomic(size_t) stolen;       /* of either, from another shard than its own, */
    _Atomic(size_t) fresh;        /* and fresh memory, */
    _Atomic(size_t) fallbacks;    /* some of it although the node was full */
};

struct bp_tcache {
    struct bp_bin bins[BP_CLASS_COUNT];
    _Atomic(size_t) allowance_bytes; /* owner writes */
    struct bp_tcaches *caches;       /* const */
    struct bp_thread *thread;        /* lock of caches, but for the owner: whose it is; NULL in the orphan cache */
    struct bp_tcache *next;          /* lock of caches */
    struct bp_tcache *previous;      /* lock of caches */
    struct bp_tcache *older;         /* const: the record that was made before this one */
    unsigned shard;                  /* owner: home shard, of the cache's place */
    _Atomic(unsigned) place;         /* owner writes: whose buffers it keeps */
    _Atomic(unsigned) choice;        /* owner writes: the place that its policy asks for, or BP_PLACE_OF_CPU */
    size_t epoch;                    /* owner: of bp_numa when the choice was made */
    _Atomic(size_t) hits_placed;     /* owner writes: so many of the hits are counted in `places` */
    size_t checks;                   /* owner: see bp_tcache_check_place() */
    struct bp_tcache_place *places;  /* const: NULL when there is one place */
    bool detached;                   /* lock of caches: being drained */
    uint32_t idle_bins;              /* lock of caches: a bit for each class that was not needed at the last look */
    size_t takes_seen[BP_CLASS_COUNT]; /* lock of caches: what the owner had taken by then */
    struct bp_misses misses[BP_CLASS_COUNT];
    struct bp_counters counters;
};

/*
 * Where there are several places, rows of bins follow a cache that are always full: the hit path of a free finds its
 * bin by the slot's key less the thread's place, and only what belongs to that place finds the cache itself.
 */
enum { BP_ROW_BYTES = BP_CACHELINE_BYTES << BP_KEY_PLACE_SHIFT };
_Static_assert(sizeof(struct bp_tcache) <= BP_ROW_BYTES, "a row fits behind the cache");

/* Can all CPUs be made to pass a memory barrier? */
enum bp_fence { BP_FENCE_UNKNOWN, BP_FENCE_YES, BP_FENCE_NO };

/* All thread caches of one pool. */
struct bp_tcaches {
    struct bp_lock lock;
    struct bp_lock orphan_lock;
    struct bp_numa *numa;       /* const: NULL when there is one place */
    struct bp_shards *shards;   /* const */
    struct bp_meta *meta;       /* const */
    unsigned id;                /* const: index into bp_thread.caches */
    _Atomic(int) fence;         /* enum bp_fence: can idle threads' caches be drained? relaxed */
    _Atomic(bool) keeps_slack;  /* relaxed: live blocks give nothing back, as that would call others under our locks */
    size_t buffers_max;         /* const: a bin may hold the memory of so many of the largest buffers of its class */
    size_t bytes_share;         /* const: per thread, perhaps a part of the memory */
    struct bp_tcache *list;     /* lock */
    struct bp_tcache *unused;   /* lock: records of ended threads */
    _Atomic(struct bp_tcache *) newest; /* of all records; lock; release: pairs with acquire in bp_tcaches_visit() */
    unsigned next_shard;        /* lock */
    _Atomic(size_t) thread_count; /* lock: caches in the list; read by all */
    _Atomic(size_t) thread_total; /* lock: threads that ever had one; read by all */
    struct bp_tcache retired;   /* lock: the counts of ended threads; its bins are empty */
    struct bp_tcache orphan;    /* orphan_lock */
};

/*
 * A thread's caches. Never NULL: bp_tcache_none before the first miss, bp_tcache_gone after the end. Both hold
 * nothing and have no room, so every operation on them takes the slow path.
 *
 * busy is set around every operation, by plain stores. Whoever wants to drain an idle thread's cache replaces the
 * pointer by bp_tcache_none, makes every CPU of the process pass a memory barrier, and then looks at busy: when it is
 * clear, no operation is under way and the next one will find the replacement. So the owner pays two stores and no
 * barrier.
 */
struct bp_thread {
    uint32_t place_keys[BP_POOLS_MAX]; /* the place of the cache, as in a key; behind busy a pair takes 0.1 ns more */
    _Atomic(struct bp_tcache *) caches[BP_POOLS_MAX];
    _Atomic(bool) busy;
    bool known[BP_POOLS_MAX]; /* was counted as a thread of the pool */
};

extern BP_HIDDEN BP_THREAD_LOCAL struct bp_thread bp_thread;
/* The first of each, and rows behind it. Never written. */
enum { BP_EMPTY_COUNT = (size_t)BP_PLACES_MAX * BP_ROW_BYTES / sizeof(struct bp_tcache) + 1 };
extern struct bp_tcache bp_tcache_none[BP_EMPTY_COUNT];
extern struct bp_tcache bp_tcache_gone[BP_EMPTY_COUNT];

/* The compiler keeps what is between the two there; the processor is seen to by the drainer's barrier. */
BP_ALWAYS_INLINE struct bp_tcache *bp_thread_begin(unsigned id)
{
    bp_store_relaxed(&bp_thread.busy, true);
    atomic_signal_fence(memory_order_seq_cst);
    return bp_load_relaxed(&bp_thread.caches[id]);
}

BP_ALWAYS_INLINE void bp_thread_end(void)
{
    bp_store_release(&bp_thread.busy, false); /* pairs with acquire in drain.c: comes_to_rest(), bp_tcaches_drain() */
}

/*
 * 0, or a negative errno when the process has no thread-specific key left (thread caches then stay off). -ENOBUFS:
 * there was no memory for several places, and nothing works.
 */
int bp_tcaches_init(struct bp_tcaches *caches, unsigned id, size_t buffers_max, size_t bytes_share,
                    struct bp_shards *shards, struct bp_meta *meta);
/* Forgets every thread's cache of this pool. No thread may be using it. */
void bp_tcaches_fini(struct bp_tcaches *caches);

/* This thread's cache for a slow operation; made now if need be. bp_tcache_leave() ends the operation. */
struct bp_tcache *bp_tcache_enter(struct bp_tcaches *caches);
void bp_tcache_leave(struct bp_tcache *cache);

/* The best fitting buffer of the bin, if it has any. */
struct bp_slot *bp_tcache_take(struct bp_tcache *cache, size_t class_index, size_t dirty_bytes);
/* A buffer from the home shard or another one of its place, and half a bin of others into the cache if it is small. */
struct bp_slot *bp_tcache_refill(struct bp_tcache *cache, size_t class_index, size_t dirty_bytes, bool *ret_stolen);
/*
 * Keeps a free buffer, or gives half of its bin to the home shard. A thread that frees more than it takes keeps none:
 * its buffers go where the threads that take them look. Buffers of other places are sent home. What the budget does
 * not cover is purged.
 */
void bp_tcache_give(struct bp_tcache *cache, struct bp_slot *slot);
/* Gives everything to the home shard. */
void bp_tcache_flush(struct bp_tcache *cache);

/*
 * Moves what threads hold that are not in the middle of an operation to the shards: of all threads, or of those with
 * buffers of a class of which they took none since the last call. Buffers of such classes become cold; where the caches
 * of all threads are drained, everything does. The thread
 * starts with a new cache when it comes back. Returns the number of caches drained, and counts them in `counters`. Not
 * for a thread that is in the orphan cache.
 */
size_t bp_tcaches_drain(struct bp_tcaches *caches, bool idle_only, struct bp_counters *counters);

/*
 * Calls `work` while no other thread is in the middle of an operation; slow ones that would begin meanwhile wait.
 * False, and it was not called, where one does not end within a moment (or is under way at all, for one that does not
 * wait) or nobody can tell. The other threads' caches are drained by that. Not for a thread that is in the orphan
 * cache.
 */
enum bp_patience { BP_WAIT_NOT, BP_WAIT_A_MOMENT };
bool bp_tcaches_at_rest(struct bp_tcaches *caches, enum bp_patience patience, void (*work)(void *context),
                        void *context);

/*
 * Gives back what live blocks leave unused of their slots, where no operation of another thread is in the way. Returns
 * the bytes, and counts them. Not for a thread that is in the orphan cache.
 */
size_t bp_tcaches_trim_live(struct bp_tcaches *caches, struct bp_counters *counters);
/* Can there be anything of it? Nobody can tell when threads are at rest where there are no barriers. */
bool bp_tcaches_can_trim_live(const struct bp_tcaches *caches);
/* The same of blocks that an earlier look saw, up to so many bytes, and if no operation is under way at the moment. */
size_t bp_tcaches_trim_old(struct bp_tcaches *caches, size_t look, size_t most_bytes, struct bp_counters *counters);

/*
 * Calls `visit` with every block of counts: of live threads, of ended ones, of the orphan cache. Never waits long: a
 * signal handler may end the program, and so ask for the report, in the middle of anything.
 */
void bp_tcaches_visit(struct bp_tcaches *caches, void (*visit)(const struct bp_tcache *cache, void *context),
                      void *context);
/* Bytes in the bins of one cache, and of all. */
size_t bp_tcache_cached_bytes(const struct bp_tcache *cache);
size_t bp_tcaches_cached_bytes(struct bp_tcaches *caches);
/* Threads that ever had a cache. */
size_t bp_tcaches_thread_total(const struct bp_tcaches *caches);
/* Adds the counts of one cache to another's and clears them. Both are the caller's. */
void bp_tcache_fold_counts(struct bp_tcache *to, struct bp_tcache *from);

/* In the child, with all locks usable: recovers what all threads had cached and starts counting at zero. */
void bp_tcaches_after_fork(struct bp_tcaches *caches);

/* Takes memory of a class as cached into the budget, at the price of idle allowances and of what the policy gives. */
bool bp_tcache_charge(struct bp_tcache *cache, size_t class_index, size_t bytes);

/* --- what tcache.c and drain.c share ----------------------------------------------------------------------------- */

/*
 * Can idle threads' caches be drained? The kernel takes 10 ms to get ready for the first barrier of a process with
 * several threads: so that is asked when the pool is made only if there is one thread, else by the first drain, under
 * no lock.
 */
bool bp_tcaches_can_fence(struct bp_tcaches *caches);
/* How many buffers of the class the owner has taken. */
size_t bp_tcache_takes(const struct bp_tcache *cache, size_t class_index);
/*
 * Gives everything to the home shard, as cold what has its class's bit in `cold_bins`; the cache leaves the list. What
 * the shards do not take is added to `ret_rest`, to be dropped when the lock is released.
 */
void bp_tcache_empty_locked(struct bp_tcache *cache, uint32_t cold_bins, struct bp_chain *ret_rest,
                            struct bp_counters *counters);

/* --- several places: places.c; with one place nothing happens here ----------------------------------------------- */

/* A record with all that places need. NULL without memory for it. */
struct bp_tcache *bp_tcache_make_record(struct bp_tcaches *caches);
/* The same for a record that is there. False without memory for it. */
bool bp_tcache_add_places(struct bp_tcache *cache);
/* The work of bp_tcache_follow(). */
void bp_tcache_follow_slow(struct bp_tcache *cache);
/* Does the owner run elsewhere? For another thread to ask. */
bool bp_tcache_is_astray(const struct bp_tcache *cache);
/* Keeps a buffer of another place, to send it home with others. */
void bp_tcache_send_home(struct bp_tcache *cache, struct bp_slot *slot);
/* Sends all such buffers now, as hot or as cold. What the shards do not take is added to `ret_rest`. */
void bp_tcache_send_all_home(struct bp_tcache *cache, bool hot, struct bp_chain *ret_rest,
                             struct bp_counters *counters);
/* Bytes on their way home to one place, and to all. */
size_t bp_tcache_away_bytes_to(const struct bp_tcache *cache, unsigned place);
size_t bp_tcache_away_bytes(const struct bp_tcache *cache);
/* In a forked child, of a thread that it does not have: as recount() in tcache.c. Returns the bytes. */
size_t bp_tcache_recount_away(struct bp_tcache *cache);
/* A buffer of another place, the nearest that has one. */
struct bp_slot *bp_tcache_steal(struct bp_tcache *cache, size_t class_index, size_t dirty_bytes);
/* Now and then, for a free buffer that is about to be used: are its pages where they should be? Mends it if not. */
void bp_tcache_check_place(struct bp_tcache *cache, struct bp_slot *slot);
/* The hits of bins, which do not know the place, are counted for the present one. */
void bp_tcache_place_hits(struct bp_tcache *cache);
size_t bp_tcache_unplaced_hits(const struct bp_tcache *cache);
/* Adds the counts of all places to those of another cache, if that counts, and clears them. */
void bp_tcache_fold_places(struct bp_tcache *to, struct bp_tcache *from);

BP_ALWAYS_INLINE unsigned bp_tcache_place(const struct bp_tcache *cache)
{
    return bp_load_relaxed(&cache->place);
}

/* At the start of a slow operation: if the thread is at another place than its cache, the cache moves there. */
BP_ALWAYS_INLINE void bp_tcache_follow(struct bp_tcache *cache)
{
    if (BP_UNLIKELY(cache->places != NULL))
        bp_tcache_follow_slow(cache);
}

/* ------------------------------------------------------------------------------------------------------------------ */

/* The hit path of an allocation of `size_bytes` in its class, or NULL. Between bp_thread_begin() and _end(). */
BP_ALWAYS_INLINE void *bp_tcache_pop(struct bp_tcache *cache, size_t class_index, size_t size_bytes)
{
    struct bp_bin *bin = &cache->bins[class_index];
    char *block = bin->head_block;
    if (BP_UNLIKELY(!block))
        return NULL;
    /*
     * The newest buffer will do if its memory is enough (the difference wraps if not) and at most twice
     * what is needed; otherwise the slow path looks for a better one.
     */
    struct bp_slot *slot = bin->head;
    if (BP_UNLIKELY(slot->room_bytes - size_bytes > size_bytes))
        return NULL;
    struct bp_slot *next = slot->next;
    bin->head = next;
    bin->head_block = next ? next->home : NULL;
    bp_owner_sub(&bin->cached_bytes, slot->dirty_bytes);
    bp_owner_add(&bin->hits, 1u);
    bp_owner_add(&bin->hit_bytes, size_bytes);
    bp_slot_set_block(slot, block, size_bytes);
    return block;
}

/*
 * The hit path of a free. `key` is that of the slot, less the thread's own place: what is left of it leads to a row of
 * bins that are always full, so that buffers of other places take the slow path without a test of their own.
 * False when the allowance is used up; the slot is then untouched.
 */
BP_ALWAYS_INLINE bool bp_tcache_push(struct bp_tcache *cache, unsigned key, struct bp_slot *slot, char *block)
{
    struct bp_bin *bin = (struct bp_bin *)(void *)cache + key - BP_STRIDE_SHIFT_MIN;
    size_t cached_bytes = bp_load_relaxed(&bin->cached_bytes) + bp_slot_dirty_bytes(slot);
    if (BP_UNLIKELY(cached_bytes > bin->allowance_bytes))
        return false;
    bp_slot_clear_block(slot);
    slot->next = bin->head;
    atomic_signal_fence(memory_order_seq_cst); /* a forked child walks this list: link before head */
    bin->head = slot;
    bin->head_block = block;
    bp_store_relaxed(&bin->cached_bytes, cached_bytes);
    return true;
}

#endif
