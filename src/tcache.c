/* SPDX-License-Identifier: MIT */
#include "tcache.h"

#include <errno.h>
#include <pthread.h>

struct bp_tcache bp_tcache_none;
struct bp_tcache bp_tcache_gone;

#define NONE &bp_tcache_none
BP_THREAD_LOCAL struct bp_tcache *bp_tls[] = {NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE};
_Static_assert(sizeof bp_tls / sizeof bp_tls[0] == BP_POOLS_MAX, "an initialiser for every pool");

/* One key for all pools: its destructor is how a thread's end is seen. */
static pthread_key_t exit_key;
static pthread_once_t exit_key_once = PTHREAD_ONCE_INIT;
static int exit_key_error;

static bool is_real(const struct bp_tcache *cache)
{
    return cache != &bp_tcache_none && cache != &bp_tcache_gone;
}

static void retire(struct bp_tcache *cache);

static void on_thread_exit(void *unused)
{
    (void)unused;
    for (unsigned id = 0; id < BP_POOLS_MAX; id++) {
        struct bp_tcache *cache = bp_tls[id];
        bp_tls[id] = &bp_tcache_gone;
        if (is_real(cache))
            retire(cache);
    }
}

static void make_exit_key(void)
{
    exit_key_error = pthread_key_create(&exit_key, on_thread_exit);
}

int bp_tcaches_init(struct bp_tcaches *caches, unsigned id, size_t buffers_max, size_t bytes_max,
                    struct bp_shards *shards, struct bp_meta *meta)
{
    *caches = (struct bp_tcaches){
        .id = id, .buffers_max = buffers_max, .bytes_max = bytes_max, .shards = shards, .meta = meta};
    bp_lock_init(&caches->lock, BP_RANK_THREADS);
    bp_lock_init(&caches->orphan_lock, BP_RANK_ORPHAN);
    caches->orphan.caches = caches;
    caches->retired.caches = caches;
    (void)pthread_once(&exit_key_once, make_exit_key);
    return -exit_key_error;
}

void bp_tcaches_fini(struct bp_tcaches *caches)
{
    (void)bp_lock_acquire(&caches->lock);
    for (struct bp_tcache *cache = caches->list; cache; cache = cache->next)
        *cache->home = NONE;
    caches->list = NULL;
    bp_lock_release(&caches->lock);
}

/* A record in the list of caches, or NULL when there is no memory for it. */
static struct bp_tcache *add_cache(struct bp_tcaches *caches)
{
    (void)bp_lock_acquire(&caches->lock);
    struct bp_tcache *cache = caches->unused;
    if (cache)
        caches->unused = cache->next;
    else
        cache = bp_meta_alloc(caches->meta, sizeof *cache);
    if (cache) {
        cache->caches = caches;
        cache->home = &bp_tls[caches->id];
        cache->shard = caches->next_shard++ & (caches->shards->count - 1);
        cache->count_max = caches->buffers_max;
        cache->previous = NULL;
        cache->next = caches->list;
        if (caches->list)
            caches->list->previous = cache;
        caches->list = cache;
        caches->thread_count++;
        caches->thread_total++;
    }
    bp_lock_release(&caches->lock);
    return cache;
}

/* Adds the counts of `from` to `to` and clears them. */
static void fold_counts(struct bp_tcache *to, struct bp_tcache *from)
{
#define FOLD(field)                                                                                                    \
    do {                                                                                                               \
        bp_owner_add(&to->field, bp_load_relaxed(&from->field));                                                       \
        bp_store_relaxed(&from->field, 0);                                                                             \
    } while (0)
    for (unsigned i = 0; i < BP_CLASS_COUNT; i++) {
        FOLD(bins[i].hits);
        FOLD(bins[i].hit_bytes);
        FOLD(misses[i].shard_hits);
        FOLD(misses[i].stolen);
        FOLD(misses[i].fresh);
    }
    for (unsigned i = 0; i < BP_COUNTER_COUNT; i++)
        FOLD(counters.values[i]);
#undef FOLD
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
    fold_counts(&caches->retired, cache);
    cache->next = caches->unused;
    caches->unused = cache;
    caches->thread_count--;
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
    struct bp_tcache *cache = bp_tls[caches->id];
    if (BP_LIKELY(is_real(cache)))
        return cache;
    if (cache == &bp_tcache_none && exit_key_error == 0) {
        cache = add_cache(caches);
        if (cache) {
            bp_tls[caches->id] = cache;
            /* May allocate a little, which comes back here only if small requests are pooled: the cache stands. */
            (void)pthread_setspecific(exit_key, cache);
            return cache;
        }
    }
    (void)bp_lock_acquire(&caches->orphan_lock);
    return &caches->orphan;
}

void bp_tcache_leave(struct bp_tcache *cache)
{
    if (BP_UNLIKELY(cache == &cache->caches->orphan))
        bp_lock_release(&cache->caches->orphan_lock);
}

/* Checks the equations of the cache. */
BP_FOR_ASSERTIONS static bool cache_adds_up(const struct bp_tcache *cache)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < BP_CLASS_COUNT; i++) {
        size_t count = 0;
        for (const struct bp_slot *slot = cache->bins[i].head; slot; slot = slot->next) {
            BP_ASSERT(slot->live == NULL && slot->class_index == i);
            count++;
            bytes += slot->dirty_bytes;
        }
        BP_ASSERT(count == cache->bins[i].count);
        BP_ASSERT((cache->bins[i].head == NULL) == (cache->bins[i].head_block == NULL));
    }
    return bytes == bp_load_relaxed(&cache->cached_bytes) && bytes <= cache->allowance_bytes;
}

/* Lets the cache hold `bytes` in all, if the budget has room for that. */
static bool raise_allowance(struct bp_tcache *cache, size_t bytes)
{
    if (bytes <= cache->allowance_bytes)
        return true;
    if (!bp_budget_charge_cached(cache->caches->shards->budget, bytes - cache->allowance_bytes))
        return false;
    cache->allowance_bytes = bytes;
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
    bin->count--;
    bp_owner_sub(&cache->cached_bytes, slot->dirty_bytes);
    BP_ASSERT_SLOW(cache_adds_up(cache));
    return slot;
}

/* Keeps the slot if the bin has room, within what this thread may hold. One buffer of each class may exceed that. */
static bool keep(struct bp_tcache *cache, struct bp_slot *slot)
{
    struct bp_bin *bin = &cache->bins[slot->class_index];
    size_t cached_bytes = bp_load_relaxed(&cache->cached_bytes) + slot->dirty_bytes;
    if (bin->count >= cache->count_max || (bin->count > 0 && cached_bytes > cache->caches->bytes_max) ||
        !raise_allowance(cache, cached_bytes))
        return false;
    slot->next = bin->head;
    bin->head = slot;
    update_head_block(bin);
    bin->count++;
    bp_store_relaxed(&cache->cached_bytes, cached_bytes);
    return true;
}

static void push_to_shard(struct bp_tcache *cache, size_t class_index, struct bp_chain chain)
{
    bp_count(&cache->counters, BP_COUNT_flushes, 1);
    bp_shard_push(cache->caches->shards, cache->shard, class_index, chain, &cache->counters);
}

/* Gives the oldest buffers of a bin to the home shard, all but `keep_count`. */
static void flush_bin(struct bp_tcache *cache, size_t class_index, size_t keep_count)
{
    struct bp_bin *bin = &cache->bins[class_index];
    struct bp_slot **link = &bin->head;
    for (size_t i = 0; i < keep_count && *link; i++)
        link = &(*link)->next;
    struct bp_chain chain = {.head = *link};
    for (struct bp_slot *slot = chain.head; slot; slot = slot->next) {
        chain.count++;
        chain.bytes += slot->dirty_bytes;
    }
    if (chain.count == 0)
        return;
    *link = NULL;
    update_head_block(bin);
    bin->count -= chain.count;
    bp_owner_sub(&cache->cached_bytes, chain.bytes);
    push_to_shard(cache, class_index, chain);
}

struct bp_slot *bp_tcache_refill(struct bp_tcache *cache, size_t class_index, size_t dirty_bytes, bool *ret_stolen)
{
    struct bp_shards *shards = cache->caches->shards;
    size_t count = 1 + cache->count_max / 2;
    size_t bytes_max = dirty_bytes + cache->caches->bytes_max -
                       bp_min(cache->caches->bytes_max, bp_load_relaxed(&cache->cached_bytes));
    struct bp_chain chain = {0};
    unsigned step = 0;
    for (; step < shards->count && !chain.head; step++)
        chain = bp_shard_pop(shards, (cache->shard + step) & (shards->count - 1), class_index, dirty_bytes, count,
                             bytes_max, &cache->counters);
    struct bp_slot *first = chain.head;
    if (!first)
        return NULL;
    *ret_stolen = step > 1;
    bp_count(&cache->counters, BP_COUNT_refills, 1);

    struct bp_chain rest = {.head = first->next, .count = chain.count - 1, .bytes = chain.bytes - first->dirty_bytes};
    while (rest.head) {
        struct bp_slot *slot = rest.head;
        struct bp_slot *next = slot->next;
        if (!keep(cache, slot)) {
            push_to_shard(cache, class_index, rest);
            break;
        }
        rest.head = next;
        rest.count--;
        rest.bytes -= slot->dirty_bytes;
    }
    BP_ASSERT_SLOW(cache_adds_up(cache));
    return first;
}

void bp_tcache_give(struct bp_tcache *cache, struct bp_slot *slot)
{
    size_t class_index = slot->class_index;
    if (!keep(cache, slot)) {
        flush_bin(cache, class_index, cache->bins[class_index].count / 2);
        if (!keep(cache, slot)) {
            slot->next = NULL;
            push_to_shard(cache, class_index,
                          (struct bp_chain){.head = slot, .count = 1, .bytes = slot->dirty_bytes});
        }
    }
    BP_ASSERT_SLOW(cache_adds_up(cache));
}

void bp_tcache_flush(struct bp_tcache *cache)
{
    struct bp_budget *budget = cache->caches->shards->budget;
    for (size_t class_index = 0; class_index < BP_CLASS_COUNT; class_index++) {
        size_t moving_bytes = 0;
        for (const struct bp_slot *slot = cache->bins[class_index].head; slot; slot = slot->next)
            moving_bytes += slot->dirty_bytes;
        /* The shard charges what it gets: hand its part of the allowance over first. */
        size_t returned_bytes = bp_min(moving_bytes, cache->allowance_bytes);
        bp_budget_return_cached(budget, returned_bytes);
        cache->allowance_bytes -= returned_bytes;
        flush_bin(cache, class_index, 0);
    }
    bp_budget_return_cached(budget, cache->allowance_bytes);
    cache->allowance_bytes = 0;
}

void bp_tcaches_visit(struct bp_tcaches *caches, void (*visit)(const struct bp_tcache *cache, void *context),
                      void *context)
{
    (void)bp_lock_acquire(&caches->lock);
    for (struct bp_tcache *cache = caches->list; cache; cache = cache->next)
        visit(cache, context);
    visit(&caches->retired, context);
    visit(&caches->orphan, context);
    bp_lock_release(&caches->lock);
}

static void add_cached_bytes(const struct bp_tcache *cache, void *context)
{
    size_t *sum = context;
    *sum += bp_load_relaxed(&cache->cached_bytes);
}

size_t bp_tcaches_cached_bytes(struct bp_tcaches *caches)
{
    size_t sum = 0;
    bp_tcaches_visit(caches, add_cached_bytes, &sum);
    return sum;
}

size_t bp_tcaches_thread_total(struct bp_tcaches *caches)
{
    (void)bp_lock_acquire(&caches->lock);
    size_t total = caches->thread_total;
    bp_lock_release(&caches->lock);
    return total;
}

/*
 * Another thread may have been anywhere in its cache when the process was copied. Its stores reached the copy in
 * program order, and the list is changed by one store to head, so the list is sound; the sums beside it may be one
 * buffer off and are made anew. A buffer between list and program is lost to the child.
 */
static void recount(struct bp_tcache *cache)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < BP_CLASS_COUNT; i++) {
        struct bp_bin *bin = &cache->bins[i];
        bin->count = 0;
        update_head_block(bin);
        for (struct bp_slot *slot = bin->head; slot; slot = slot->next) {
            slot->live = NULL;
            bin->count++;
            bytes += slot->dirty_bytes;
        }
    }
    bp_store_relaxed(&cache->cached_bytes, bytes);
    if (cache->allowance_bytes < bytes)
        (void)raise_allowance(cache, bytes);
}

void bp_tcaches_after_fork(struct bp_tcaches *caches)
{
    struct bp_tcache *own = bp_tls[caches->id];
    struct bp_tcache *next;
    for (struct bp_tcache *cache = caches->list; cache; cache = next) {
        next = cache->next;
        if (cache == own)
            continue;
        recount(cache);
        retire(cache);
    }
    struct bp_tcache discarded = {0};
    fold_counts(&discarded, &caches->retired);
    fold_counts(&discarded, &caches->orphan);
    if (is_real(own))
        fold_counts(&discarded, own);
    caches->thread_total = caches->thread_count;
}
