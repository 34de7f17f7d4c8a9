/* SPDX-License-Identifier: MIT */
#include "tcache.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/single_threaded.h>


/* Less than this is not kept of a buffer that passes the budget: moving it would not pay. */
enum { KEEP_MIN_BYTES = 256 * 1024 };
/* A thread that takes more than that from a shard at once has cold buffers, and others have none. */
enum { REFILL_MAX_BYTES = 4 * 1024 * 1024 };

struct bp_tcache bp_tcache_none[BP_EMPTY_COUNT];
struct bp_tcache bp_tcache_gone[BP_EMPTY_COUNT];

#define NONE bp_tcache_none
BP_THREAD_LOCAL struct bp_thread bp_thread = {.caches = {NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE}};
_Static_assert(BP_POOLS_MAX == 8, "an initialiser for every pool");

/* One key for all pools: its destructor is how a thread's end is seen. */
static pthread_key_t exit_key;
static pthread_once_t exit_key_once = PTHREAD_ONCE_INIT;
static int exit_key_error;

/* The pools that live, by id. */
static _Atomic(struct bp_tcaches *) pools[BP_POOLS_MAX];

/*
 * Held by threads that end while they look at a pool, and alone by whoever destroys that. Before all locks of a pool,
 * after bufpool.c's.
 */
#define ENDS PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP
static pthread_rwlock_t ends[BP_POOLS_MAX] = {ENDS, ENDS, ENDS, ENDS, ENDS, ENDS, ENDS, ENDS};

static bool is_real(const struct bp_tcache *cache)
{
    return cache != bp_tcache_none && cache != bp_tcache_gone;
}

static void retire(struct bp_tcache *cache);

static void end_in_pool(unsigned id)
{
    (void)pthread_rwlock_rdlock(&ends[id]);
    /* Either we get the cache or a drainer has it. release: pairs with acquire in replace() */
    struct bp_tcache *cache = bp_exchange_acq_rel(&bp_thread.caches[id], bp_tcache_gone);
    struct bp_tcaches *caches = bp_load_relaxed(&pools[id]);
    if (is_real(cache)) {
        retire(cache);
    } else if (caches) { /* a drainer may still look at this thread's memory, which is gone when the thread is */
        (void)bp_lock_acquire(&caches->lock);
        bp_lock_release(&caches->lock);
    }
    (void)pthread_rwlock_unlock(&ends[id]);
}

static void on_thread_exit(void *unused)
{
    (void)unused;
    for (unsigned id = 0; id < BP_POOLS_MAX; id++) {
        if (bp_thread.known[id])
            end_in_pool(id);
        else
            bp_store_relaxed(&bp_thread.caches[id], bp_tcache_gone);
    }
}

static void make_exit_key(void)
{
    exit_key_error = pthread_key_create(&exit_key, on_thread_exit);
}

int bp_tcaches_init(struct bp_tcaches *caches, unsigned id, size_t buffers_max, size_t bytes_share,
                    struct bp_shards *shards, struct bp_meta *meta)
{
    *caches = (struct bp_tcaches){
        .id = id, .buffers_max = buffers_max, .bytes_share = bytes_share, .shards = shards, .meta = meta};
    bp_lock_init(&caches->lock, BP_RANK_THREADS);
    bp_lock_init(&caches->orphan_lock, BP_RANK_ORPHAN);
    if (__libc_single_threaded)
        (void)bp_tcaches_can_fence(caches);
    caches->orphan.caches = caches;
    caches->retired.caches = caches;
    caches->numa = shards->arena->place_count > 1 ? shards->arena->numa : NULL;
    (void)pthread_once(&exit_key_once, make_exit_key);
    if (!bp_tcache_add_places(&caches->orphan) || !bp_tcache_add_places(&caches->retired))
        return -ENOBUFS;
    bp_store_relaxed(&pools[id], caches); /* not of a pool that came to nothing: a thread may know one of this id */
    return -exit_key_error;
}

void bp_tcaches_fini(struct bp_tcaches *caches)
{
    (void)pthread_rwlock_wrlock(&ends[caches->id]);
    (void)bp_lock_acquire(&caches->lock);
    for (struct bp_tcache *cache = caches->list; cache; cache = cache->next)
        bp_store_relaxed(&cache->thread->caches[caches->id], NONE);
    caches->list = NULL;
    bp_store_relaxed(&pools[caches->id], NULL);
    bp_lock_release(&caches->lock);
    (void)pthread_rwlock_unlock(&ends[caches->id]);
}

/*
 * Gives this thread a cache, unless it has one: a drainer may have put the old one back meanwhile. False when there is
 * no memory for it.
 */
static bool add_cache(struct bp_tcaches *caches)
{
    (void)bp_lock_acquire(&caches->lock);
    struct bp_tcache *cache = bp_load_relaxed(&bp_thread.caches[caches->id]);
    if (cache == NONE) {
        cache = caches->unused;
        if (cache)
            caches->unused = cache->next;
        else
            cache = bp_tcache_make_record(caches);
        if (cache) {
            cache->thread = &bp_thread;
            cache->shard = bp_shard_in(caches->shards, 0, caches->next_shard++);
            bp_store_relaxed(&cache->place, 0);
            cache->epoch = SIZE_MAX;
            bp_thread.place_keys[caches->id] = 0;
            memset(cache->takes_seen, 0, sizeof cache->takes_seen);
            cache->previous = NULL;
            cache->next = caches->list;
            if (caches->list)
                caches->list->previous = cache;
            caches->list = cache;
            bp_owner_add(&caches->thread_count, 1);
            bp_owner_add(&caches->thread_total, !bp_thread.known[caches->id]);
            bp_thread.known[caches->id] = true;
            bp_store_relaxed(&bp_thread.caches[caches->id], cache);
        }
    }
    bp_lock_release(&caches->lock);
    return cache != NULL;
}

/* The cache leaves the list; its counts stay. It must be flushed. */
static void remove_cache_locked(struct bp_tcache *cache)
{
    struct bp_tcaches *caches = cache->caches;
    if (cache->previous)
        cache->previous->next = cache->next;
    else
        caches->list = cache->next;
    if (cache->next)
        cache->next->previous = cache->previous;
    bp_tcache_fold_counts(&caches->retired, cache);
    cache->next = caches->unused;
    caches->unused = cache;
    bp_owner_sub(&caches->thread_count, 1);
}

static void retire(struct bp_tcache *cache)
{
    struct bp_tcaches *caches = cache->caches;
    bp_tcache_flush(cache);
    (void)bp_lock_acquire(&caches->lock);
    remove_cache_locked(cache);
    bp_lock_release(&caches->lock);
}

struct bp_tcache *bp_tcache_enter(struct bp_tcaches *caches)
{
    for (;;) {
        struct bp_tcache *cache = bp_thread_begin(caches->id);
        if (BP_LIKELY(is_real(cache))) {
            bp_tcache_follow(cache);
            return cache;
        }
        bp_thread_end();
        if (cache != bp_tcache_none || exit_key_error != 0 || !add_cache(caches))
            break;
        /* May allocate a little, which comes back here only if small requests are pooled: the cache stands. */
        (void)pthread_setspecific(exit_key, caches);
    }
    (void)bp_lock_acquire(&caches->orphan_lock);
    bp_tcache_follow(&caches->orphan);
    return &caches->orphan;
}

void bp_tcache_leave(struct bp_tcache *cache)
{
    if (BP_UNLIKELY(cache == &cache->caches->orphan))
        bp_lock_release(&cache->caches->orphan_lock);
    else
        bp_thread_end();
}

/* Checks the equations of the cache. */
BP_FOR_ASSERTIONS static bool cache_adds_up(const struct bp_tcache *cache)
{
    size_t allowance_bytes = 0;
    for (unsigned i = 0; i < BP_CLASS_COUNT; i++) {
        const struct bp_bin *bin = &cache->bins[i];
        size_t bytes = 0;
        for (const struct bp_slot *slot = bin->head; slot; slot = slot->next) {
            BP_ASSERT(slot->live == NULL && slot->class_index == i);
            bytes += slot->dirty_bytes;
        }
        BP_ASSERT(bytes == bp_load_relaxed(&bin->cached_bytes) && bytes <= bin->allowance_bytes);
        BP_ASSERT((bin->head == NULL) == (bin->head_block == NULL));
        allowance_bytes += bin->allowance_bytes;
    }
    return allowance_bytes + bp_tcache_away_bytes(cache) == bp_load_relaxed(&cache->allowance_bytes);
}

static struct bp_budget *budget_of(const struct bp_tcache *cache)
{
    return cache->caches->shards->budget;
}

static void lower_allowance(struct bp_tcache *cache, struct bp_bin *bin, size_t bytes)
{
    bin->allowance_bytes -= bytes;
    bp_owner_sub(&cache->allowance_bytes, bytes);
}

/* Returns what the bins are allowed but do not hold to the budget. */
static size_t release_unused(struct bp_tcache *cache)
{
    size_t released_bytes = 0;
    for (size_t i = 0; i < BP_CLASS_COUNT; i++) {
        struct bp_bin *bin = &cache->bins[i];
        size_t unused_bytes = bin->allowance_bytes - bp_load_relaxed(&bin->cached_bytes);
        lower_allowance(cache, bin, unused_bytes);
        released_bytes += unused_bytes;
    }
    bp_budget_return_cached(budget_of(cache), released_bytes);
    return released_bytes;
}

bool bp_tcache_charge(struct bp_tcache *cache, size_t class_index, size_t bytes)
{
    struct bp_budget *budget = budget_of(cache);
    if (bytes > bp_load_relaxed(&budget->cached_limit_bytes))
        return false;
    if (bp_budget_charge_cached(budget, bytes) || (release_unused(cache) > 0 && bp_budget_charge_cached(budget, bytes)))
        return true;
    size_t evicted_bytes = bp_shards_make_room(cache->caches->shards, bp_tcache_place(cache), class_index, bytes,
                                               &cache->counters);
    bp_count(&cache->counters, BP_COUNT_evicted_bytes, evicted_bytes);
    return evicted_bytes > 0 && bp_budget_charge_cached(budget, bytes);
}

/*
 * What a thread may hold of the budget: all if there is no other, else an equal part of a good half. The rest is for
 * the shards, where every thread finds it: a small budget would otherwise lie in caches, most of it for nobody.
 */
static size_t share_bytes(const struct bp_tcache *cache)
{
    size_t threads = bp_max(bp_load_relaxed(&cache->caches->thread_count), 1);
    return bp_load_relaxed(&budget_of(cache)->cached_limit_bytes) / (2 * threads - 1);
}

/* What it may hold whatever the budget; the memory that this may be a part of changes. */
static size_t thread_max_bytes(const struct bp_tcaches *caches)
{
    return bp_options_share_bytes(caches->bytes_share, bp_load_relaxed(&caches->shards->budget->memory_bytes));
}

/* Lets the bin hold `bytes`, if thread and budget have room. One buffer of each class may pass a thread's own limit. */
static bool raise_allowance(struct bp_tcache *cache, struct bp_bin *bin, size_t bytes)
{
    if (bytes <= bin->allowance_bytes)
        return true;
    size_t bytes_max = share_bytes(cache);
    if (bin->head)
        bytes_max = bp_min(bytes_max, thread_max_bytes(cache->caches));
    if (bp_load_relaxed(&cache->allowance_bytes) + bytes - bin->allowance_bytes > bytes_max) {
        (void)release_unused(cache);
        if (bp_load_relaxed(&cache->allowance_bytes) + bytes - bin->allowance_bytes > bytes_max)
            return false;
    }
    if (!bp_budget_charge_cached(budget_of(cache), bytes - bin->allowance_bytes)) {
        (void)release_unused(cache); /* which may lower this very allowance */
        if (!bp_tcache_charge(cache, (size_t)(bin - cache->bins), bytes - bin->allowance_bytes))
            return false;
    }
    bp_owner_add(&cache->allowance_bytes, bytes - bin->allowance_bytes);
    bin->allowance_bytes = bytes;
    return true;
}

/* After every change of a bin's list outside the hit path. */
static void update_head_block(struct bp_bin *bin)
{
    bin->head_block = bin->head ? bin->head->home : NULL;
}

struct bp_slot *bp_tcache_take(struct bp_tcache *cache, size_t class_index, size_t dirty_bytes)
{
    struct bp_bin *bin = &cache->bins[class_index];
    struct bp_slot **link = bp_best_fit(&bin->head, dirty_bytes);
    if (!link)
        return NULL;
    struct bp_slot *slot = *link;
    *link = slot->next;
    update_head_block(bin);
    bp_owner_sub(&bin->cached_bytes, slot->dirty_bytes);
    bin->gives -= bin->gives > 0; /* it may come back unused, and a request of another class does not count here */
    BP_ASSERT_SLOW(cache_adds_up(cache));
    return slot;
}

/* Keeps the slot if the bin has room, within what this thread may hold. */
static bool keep(struct bp_tcache *cache, struct bp_slot *slot)
{
    struct bp_bin *bin = &cache->bins[slot->class_index];
    size_t cached_bytes = bp_load_relaxed(&bin->cached_bytes) + slot->dirty_bytes;
    if (cached_bytes > cache->caches->buffers_max * bp_class_stride_bytes(slot->class_index) ||
        (bin->head && bp_class_is_large(slot->class_index)) || !raise_allowance(cache, bin, cached_bytes))
        return false;
    slot->next = bin->head;
    bin->head = slot;
    update_head_block(bin);
    bp_store_relaxed(&bin->cached_bytes, cached_bytes);
    return true;
}

/* Buffers that are charged already, to the home shard. */
static void push_to_shard(struct bp_tcache *cache, size_t class_index, struct bp_chain chain)
{
    bp_count(&cache->counters, BP_COUNT_flushes, 1);
    bp_shard_push(cache->caches->shards, cache->shard, class_index, chain, &cache->counters);
}

/*
 * One that is not. What of it passes the budget goes back to the kernel, and the rest stays; of one larger than half of
 * the budget no more than that, as it would take the room of all others.
 */
static void charge_and_push(struct bp_tcache *cache, struct bp_slot *slot)
{
    struct bp_shards *shards = cache->caches->shards;
    slot->next = NULL;
    struct bp_chain chain = {.head = slot, .count = 1, .bytes = slot->dirty_bytes};
    bool charged = bp_tcache_charge(cache, slot->class_index, chain.bytes);
    if (!charged) {
        size_t limit_bytes = bp_load_relaxed(&shards->budget->cached_limit_bytes);
        if (!bp_arena_can_move(shards->arena, chain.bytes))
            bp_evict_refused(&shards->evict, slot->class_index, chain.bytes, limit_bytes);
        bp_count(&cache->counters, BP_COUNT_drops, 1);
        size_t room_bytes = bp_min(bp_budget_room_bytes(shards->budget), limit_bytes / 2);
        room_bytes = bp_align_down(room_bytes, shards->arena->page_bytes);
        if (room_bytes >= KEEP_MIN_BYTES) {
            bp_count(&cache->counters, BP_COUNT_dropped_bytes, bp_arena_purge(shards->arena, slot, room_bytes));
            chain.bytes = slot->dirty_bytes;
            charged = bp_tcache_charge(cache, slot->class_index, chain.bytes);
        }
    }
    if (charged)
        push_to_shard(cache, slot->class_index, chain);
    else
        bp_count(&cache->counters, BP_COUNT_dropped_bytes, bp_shards_drop(shards, chain));
}

/* Takes the oldest buffers out of a bin, all but those whose memory fits in `keep_bytes`, with their charge. */
static struct bp_chain cut_bin(struct bp_tcache *cache, size_t class_index, size_t keep_bytes)
{
    struct bp_bin *bin = &cache->bins[class_index];
    struct bp_slot **link = &bin->head;
    size_t kept_bytes = 0;
    while (*link && kept_bytes + (*link)->dirty_bytes <= keep_bytes) {
        kept_bytes += (*link)->dirty_bytes;
        link = &(*link)->next;
    }
    struct bp_chain chain = {.head = *link};
    for (const struct bp_slot *slot = chain.head; slot; slot = slot->next) {
        chain.count++;
        chain.bytes += slot->dirty_bytes;
    }
    *link = NULL;
    update_head_block(bin);
    bp_store_relaxed(&bin->cached_bytes, kept_bytes);
    lower_allowance(cache, bin, chain.bytes);
    return chain;
}

/* Gives the older half of a full bin to the home shard; the bin may fill again if the budget has room for that too. */
static void flush_half(struct bp_tcache *cache, size_t class_index)
{
    struct bp_bin *bin = &cache->bins[class_index];
    struct bp_chain chain = cut_bin(cache, class_index, bp_load_relaxed(&bin->cached_bytes) / 2);
    if (chain.count == 0)
        return;
    push_to_shard(cache, class_index, chain);
    (void)raise_allowance(cache, bin, bin->allowance_bytes + chain.bytes);
}

struct bp_slot *bp_tcache_refill(struct bp_tcache *cache, size_t class_index, size_t dirty_bytes, bool *ret_stolen)
{
    struct bp_tcaches *caches = cache->caches;
    struct bp_shards *shards = caches->shards;
    size_t bytes_max = bp_min(caches->buffers_max * bp_class_stride_bytes(class_index), thread_max_bytes(caches)) / 2;
    bytes_max = bp_min(bytes_max, REFILL_MAX_BYTES);
    size_t others_max = bp_class_is_large(class_index) ? 0 : caches->buffers_max / 2;
    struct bp_chain chain = {0};
    unsigned step = 0;
    for (; step < shards->per_place && !chain.head; step++) {
        unsigned shard = bp_shard_in(shards, bp_tcache_place(cache), cache->shard + step);
        chain = bp_shard_pop(shards, shard, class_index, dirty_bytes, 1 + others_max, dirty_bytes + bytes_max,
                             &cache->counters);
    }
    struct bp_slot *first = chain.head;
    if (!first)
        return NULL;
    bp_tcache_check_place(cache, first);
    *ret_stolen = step > 1;
    bp_count(&cache->counters, BP_COUNT_refills, 1);

    for (struct bp_slot *slot = first->next, *next; slot; slot = next) {
        next = slot->next;
        if (!keep(cache, slot))
            charge_and_push(cache, slot);
    }
    BP_ASSERT_SLOW(cache_adds_up(cache));
    return first;
}

size_t bp_tcache_takes(const struct bp_tcache *cache, size_t class_index)
{
    const struct bp_misses *misses = &cache->misses[class_index];
    return bp_load_relaxed(&cache->bins[class_index].hits) + bp_load_relaxed(&misses->shard_hits) +
           bp_load_relaxed(&misses->stolen) + bp_load_relaxed(&misses->fresh);
}

void bp_tcache_give(struct bp_tcache *cache, struct bp_slot *slot)
{
    size_t class_index = slot->class_index;
    struct bp_bin *bin = &cache->bins[class_index];
    if (BP_UNLIKELY(bp_slot_place(cache->caches->shards->arena, slot) != bp_tcache_place(cache))) {
        bp_tcache_send_home(cache, slot);
        return;
    }
    if (bin->gives >= bp_tcache_takes(cache, class_index)) {
        struct bp_chain chain = cut_bin(cache, class_index, 0);
        if (chain.count > 0)
            push_to_shard(cache, class_index, chain);
        charge_and_push(cache, slot);
    } else if (keep(cache, slot)) {
        bin->gives++;
    } else if (bp_class_is_large(class_index) && bin->head && bin->head->home < slot->home) {
        charge_and_push(cache, slot);
    } else {
        flush_half(cache, class_index);
        if (keep(cache, slot))
            bin->gives++;
        else
            charge_and_push(cache, slot);
    }
    BP_ASSERT_SLOW(cache_adds_up(cache));
}

void bp_tcache_flush(struct bp_tcache *cache)
{
    for (size_t class_index = 0; class_index < BP_CLASS_COUNT; class_index++) {
        struct bp_chain chain = cut_bin(cache, class_index, 0);
        if (chain.count > 0)
            push_to_shard(cache, class_index, chain);
    }
    struct bp_chain rest = {0};
    bp_tcache_send_all_home(cache, true, &rest, &cache->counters);
    bp_count(&cache->counters, BP_COUNT_dropped_bytes, bp_shards_drop(cache->caches->shards, rest));
    (void)release_unused(cache);
}

void bp_tcache_empty_locked(struct bp_tcache *cache, uint32_t cold_bins, struct bp_chain *ret_rest,
                            struct bp_counters *counters)
{
    struct bp_tcaches *caches = cache->caches;
    for (size_t class_index = 0; class_index < BP_CLASS_COUNT; class_index++) {
        struct bp_chain chain = cut_bin(cache, class_index, 0);
        bool hot = (cold_bins >> class_index & 1) == 0;
        if (chain.count > 0)
            bp_shard_offer(caches->shards, cache->shard, class_index, chain, hot, ret_rest, counters);
    }
    bp_tcache_send_all_home(cache, false, ret_rest, counters);
    (void)release_unused(cache);
    remove_cache_locked(cache);
}

/* --- a forked child --------------------------------------------------------------------------------------------- */

/*
 * Another thread may have been anywhere in its cache when the process was copied. Its stores reached the copy in
 * program order, and the list is changed by one store to head, so the list is sound; the sums beside it may be one
 * buffer off and are made anew. A buffer between list and program is lost to the child.
 */
static void recount(struct bp_tcache *cache)
{
    size_t allowance_bytes = 0;
    for (size_t i = 0; i < BP_CLASS_COUNT; i++) {
        struct bp_bin *bin = &cache->bins[i];
        size_t bytes = 0;
        update_head_block(bin);
        for (struct bp_slot *slot = bin->head; slot; slot = slot->next) {
            bp_slot_clear_block(slot);
            bytes += slot->dirty_bytes;
        }
        bp_store_relaxed(&bin->cached_bytes, bytes);
        bin->allowance_bytes = bytes;
        allowance_bytes += bytes;
    }
    allowance_bytes += bp_tcache_recount_away(cache);
    bp_store_relaxed(&cache->allowance_bytes, allowance_bytes);
}

void bp_tcaches_after_fork(struct bp_tcaches *caches)
{
    ends[caches->id] = (pthread_rwlock_t)ENDS; /* threads that were ending are not here */
    struct bp_tcache *next;
    for (struct bp_tcache *cache = caches->list; cache; cache = next) {
        next = cache->next;
        if (cache->thread == &bp_thread) {
            if (bp_load_relaxed(&bp_thread.busy))
                continue; /* forked by a signal handler, in the middle of an operation that will go on */
            bp_store_relaxed(&bp_thread.caches[caches->id], NONE);
        }
        recount(cache);
        retire(cache);
    }
    /* Without what was charged by operations that will not go on here. */
    size_t cached_bytes = bp_shards_cached_bytes(caches->shards) + bp_load_relaxed(&caches->orphan.allowance_bytes);
    if (caches->list)
        cached_bytes += bp_load_relaxed(&caches->list->allowance_bytes);
    bp_store_relaxed(&caches->shards->budget->cached_bytes, cached_bytes);
    struct bp_tcache discarded = {0};
    bp_tcache_fold_counts(&discarded, &caches->retired);
    bp_tcache_fold_counts(&discarded, &caches->orphan);
    if (caches->list)
        bp_tcache_fold_counts(&discarded, caches->list);
    bp_store_relaxed(&caches->thread_total, bp_load_relaxed(&caches->thread_count));
    bp_thread.known[caches->id] = caches->list != NULL;
}
