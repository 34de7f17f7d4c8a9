/* SPDX-License-Identifier: MIT */
#ifndef BP_POOL_H
#define BP_POOL_H
/*
 * Pool: one arena, its shards and its thread caches behind allocate and free.
 *
 * Why:     the preload object has one pool, programs that use the library may have several; nothing here is global but
 *          bp_thread.
 * Layer:   10.
 * Owns:    all of it.
 * Failure: NULL means that the caller should use another allocator; counters say why. errno is never changed.
 * Fork:    see fork.h.
 */
#include "clear.h"
#include "decay.h"
#include "growth.h"
#include "harden.h"
#include "options.h"
#include "outgrow.h"
#include "populate.h"
#include "scrub.h"

struct bp_pool {
    /* Read by every call. */
    struct bp_arena arena;
    size_t min_size_bytes; /* const */
    size_t max_size_bytes; /* const */
    struct bp_shards shards;
    struct bp_tcaches caches;
    struct bp_budget budget;
    struct bp_decay decay;
    struct bp_clear clear;
    struct bp_populate populate;
    struct bp_outgrow outgrow;
    struct bp_growth growth;
    _Atomic(size_t) spare_bytes; /* what bp_pool_make_way() left the last time; relaxed */
    _Atomic(size_t) slack_pause; /* so often what live blocks leave unused is not looked for; relaxed */
    struct bp_meta meta;
    struct bp_numa *numa;  /* const: NULL when memory comes from wherever the kernel takes it */
    unsigned cpu_count;    /* const */
    bool drops_at_fork;    /* const */
    enum bp_scrub scrub;   /* const */
    enum bp_on_error on_error; /* const */
    bool is_hardened;          /* const: see harden.h */
    size_t paranoid_every;     /* const: of so many freed blocks, one is looked at by plain.h; 0: none */
    _Atomic(size_t) paranoid_count; /* frees so far, if so; relaxed */
};

/*
 * Makes a pool in zeroed memory. `id` is its index into what bp_thread has of each. 0 or a negative errno, with
 * everything given back.
 */
int bp_pool_init(struct bp_pool *pool, unsigned id, const struct bp_options *options);
/* Gives everything back, live blocks included. No thread may be using the pool. */
void bp_pool_fini(struct bp_pool *pool);

/* The smallest request that pools serve under these options: a slot has at least two pages. */
size_t bp_pool_min_size_bytes(const struct bp_options *options);

/* A block, aligned to a power of two. Sizes outside the pool's range and alignments above 1 GiB get NULL. */
void *bp_pool_alloc_slow(struct bp_pool *pool, size_t size_bytes, size_t align_bytes);
/* A block of zeros. */
void *bp_pool_calloc(struct bp_pool *pool, size_t size_bytes);
/* Frees a pointer that the arena contains. If it is not a live block of this pool, that is misuse (misuse.h). */
void bp_pool_free_slow(struct bp_pool *pool, void *p);
/*
 * A block with the same contents, at the same address or another, which has been freed then. NULL leaves the block
 * alone: the pool cannot serve `size_bytes`, or `p` was misused.
 */
void *bp_pool_realloc(struct bp_pool *pool, void *p, size_t size_bytes);
/* Counts a block that its caller copies: realloc_in or realloc_out. */
void bp_pool_count_copied(struct bp_pool *pool, enum bp_counter kind, size_t bytes);
/* What the program may use of a live block: its size rounded up to the end of the page. 0 after misuse. */
size_t bp_pool_usable_bytes(struct bp_pool *pool, const void *p);
/* The slot whose live block is `p`, given to `call`. NULL: there is none, and that was misuse. */
struct bp_slot *bp_pool_live_slot(struct bp_pool *pool, const void *p, const char *call);
/*
 * Is there one, for a program that gives back a block of this size and alignment? A block of another one is misuse
 * too, but the pointer is right: true. Every size from what was asked for to what may be used agrees.
 */
bool bp_pool_check_sized(struct bp_pool *pool, const void *p, size_t size_bytes, size_t align_bytes,
                         const char *call);
/* Was something written behind a live block? Then that was misuse, if the pool can tell: see harden.h. */
void bp_pool_check_overrun(struct bp_pool *pool, const struct bp_slot *slot, const char *call);
/* Purges all that is free, but for caches of threads that are in the middle of an operation. Returns the bytes. */
size_t bp_pool_trim(struct bp_pool *pool);
/*
 * Gives address space back that no live block needs, for good: the pool grows no more, and slots are used once. Returns
 * the bytes.
 */
size_t bp_pool_cede(struct bp_pool *pool);
/*
 * The same for a request of `size_bytes` that failed elsewhere, if the address space is limited and there may be enough
 * of it then; what was never used first. True: it is worth asking again.
 */
bool bp_pool_make_way(struct bp_pool *pool, size_t size_bytes);
/*
 * For a program that limits its data, which is what is accessible: pages are made so only as far as requests need them
 * from now on, and those that no block needs no longer are.
 */
void bp_pool_charge_commit(struct bp_pool *pool);
/*
 * For a program that locks all its memory, present and future: address space that is not used counts against its limit
 * and goes back, and as accessible pages are resident at once, the same is done as where they are charged.
 */
void bp_pool_lock_down(struct bp_pool *pool);
/* This thread has changed its memory policy: what it has cached may be of the wrong node. */
void bp_pool_follow_policy(struct bp_pool *pool);
/* Ages what is free, if it is time to: see decay.h. Slow operations do it themselves. */
void bp_pool_tick(struct bp_pool *pool);

/* The class that a request is served from. */
static inline size_t bp_pool_class_for(const struct bp_pool *pool, size_t size_bytes, size_t align_bytes)
{
    return BP_UNLIKELY(pool->is_hardened) ? bp_harden_class_of(&pool->arena, size_bytes, align_bytes)
                                          : bp_class_of_aligned(size_bytes, align_bytes);
}

/*
 * The hit path. `size_bytes` is within the pool's range; `id` is the pool's, given by the caller as one with a single
 * pool knows it when it is compiled.
 */
BP_ALWAYS_INLINE void *bp_pool_alloc_fast(unsigned id, size_t size_bytes)
{
    void *block = bp_tcache_pop(bp_thread_begin(id), bp_class_of(size_bytes), size_bytes);
    bp_thread_end();
    return block;
}

/* The hit path for a pointer at an offset within the arena. False leaves everything to bp_pool_free_slow(). */
BP_ALWAYS_INLINE bool bp_pool_free_fast(struct bp_pool *pool, unsigned id, void *p, size_t offset)
{
    struct bp_owner *owner = bp_owner_at(&pool->arena, offset);
    uintptr_t records = bp_owner_records(owner);
    if (BP_UNLIKELY(records == 0))
        return false;
    unsigned key = owner->key;
    struct bp_slot *slot = bp_slot_by_key(records, key, p);
    if (BP_UNLIKELY(slot->live != p))
        return false;
    struct bp_tcache *cache = bp_thread_begin(id);
    bool kept = bp_tcache_push(cache, key ^ bp_thread.place_keys[id], slot, p);
    bp_thread_end();
    return kept;
}

/* As bp_pool_free_fast(), for a block that was asked for with this very size. */
BP_ALWAYS_INLINE bool bp_pool_free_fast_sized(struct bp_pool *pool, unsigned id, void *p, size_t offset,
                                              size_t size_bytes)
{
    struct bp_owner *owner = bp_owner_at(&pool->arena, offset);
    uintptr_t records = bp_owner_records(owner);
    if (BP_UNLIKELY(records == 0 || bp_slot_of(records, owner, p)->size_bytes != size_bytes))
        return false;
    return bp_pool_free_fast(pool, id, p, offset);
}

#endif
