/* SPDX-License-Identifier: MIT */
/*
 * Drain: threads' caches that are taken from them while they are in no operation. Declared in tcache.h.
 *
 * Layer: 7. tests/models/drain.pml is this protocol.
 */
#include <sched.h>

#include "os.h"
#include "tcache.h"

/* How often an operation of another thread may be found under way by a thread that waits for it. */
static const int rest_tries[] = {[BP_WAIT_NOT] = 1, [BP_WAIT_A_MOMENT] = 200};

/* Looks of which classes the owner took nothing since the last look. True when it holds buffers of one of them. */
static bool look_for_idle_bins_locked(struct bp_tcache *cache)
{
    bool found = false;
    cache->idle_bins = 0;
    for (size_t class_index = 0; class_index < BP_CLASS_COUNT; class_index++) {
        size_t now = bp_tcache_takes(cache, class_index);
        bool is_idle = now == cache->takes_seen[class_index];
        cache->takes_seen[class_index] = now;
        cache->idle_bins |= (uint32_t)is_idle << class_index;
        found = found || (is_idle && bp_load_relaxed(&cache->bins[class_index].cached_bytes) > 0);
    }
    return found;
}

/* Replaces the owner's pointer, if it is still what it was. */
static bool replace(struct bp_tcache *cache, struct bp_tcache *from, struct bp_tcache *to)
{
    /* acquire: pairs with release in end_in_pool(), whose thread has done its last operation */
    return atomic_compare_exchange_strong_explicit(&cache->thread->caches[cache->caches->id], &from, to,
                                                   memory_order_acquire, memory_order_acquire);
}

/* Detaches caches that hold something, all or those that hold what their threads seem not to need. */
static size_t detach_locked(struct bp_tcaches *caches, bool idle_only)
{
    size_t count = 0;
    for (struct bp_tcache *cache = caches->list; cache; cache = cache->next) {
        bool wanted = look_for_idle_bins_locked(cache) || !idle_only || bp_tcache_is_astray(cache);
        wanted = wanted && bp_load_relaxed(&cache->allowance_bytes) > 0;
        cache->detached = wanted && replace(cache, cache, bp_tcache_none);
        count += cache->detached;
    }
    return count;
}

bool bp_tcaches_can_fence(struct bp_tcaches *caches)
{
    if (bp_load_relaxed(&caches->fence) == BP_FENCE_UNKNOWN)
        bp_store_relaxed(&caches->fence, bp_os.fence() == 0 ? BP_FENCE_YES : BP_FENCE_NO);
    return bp_load_relaxed(&caches->fence) == BP_FENCE_YES;
}

size_t bp_tcaches_drain(struct bp_tcaches *caches, bool idle_only, struct bp_counters *counters)
{
    if (caches->numa && idle_only)
        bp_add_relaxed(&caches->numa->epoch, (size_t)1);
    if (bp_load_relaxed(&caches->shards->budget->cached_bytes) == 0 || !bp_tcaches_can_fence(caches))
        return 0;
    size_t drained_count = 0;
    struct bp_chain rest = {0};
    (void)bp_lock_acquire(&caches->lock);
    if (detach_locked(caches, idle_only) > 0) {
        bool fenced = bp_os.fence() == 0;
        struct bp_tcache *next;
        for (struct bp_tcache *cache = caches->list; cache; cache = next) {
            next = cache->next;
            if (!cache->detached)
                continue;
            cache->detached = false;
            /* acquire: pairs with release in bp_thread_end(), so that we see what the owner's last operation did */
            bool busy = !fenced || bp_load_acquire(&cache->thread->busy);
            /* In the middle of an operation, and goes on with this cache; unless it found it gone when it ended. */
            if (busy && replace(cache, bp_tcache_none, cache))
                continue;
            /* It belongs to us now. No system call: what nobody needs waits in cold lists. */
            bp_tcache_empty_locked(cache, idle_only ? cache->idle_bins : UINT32_MAX, &rest, counters);
            drained_count++;
        }
    }
    bp_lock_release(&caches->lock);
    bp_count(counters, BP_COUNT_dropped_bytes, bp_shards_drop(caches->shards, rest));
    bp_count(counters, BP_COUNT_drained_caches, drained_count);
    return drained_count;
}

/* Its thread finds no cache from now on. Has the last operation that found one ended? */
static bool comes_to_rest(const struct bp_tcache *cache, enum bp_patience patience)
{
    for (int i = 0; i < rest_tries[patience]; i++) {
        if (!bp_load_acquire(&cache->thread->busy)) /* pairs with release in bp_thread_end() */
            return true;
        (void)sched_yield();
    }
    return false;
}

bool bp_tcaches_at_rest(struct bp_tcaches *caches, enum bp_patience patience, void (*work)(void *context),
                        void *context)
{
    if (!bp_tcaches_can_fence(caches))
        return false;
    (void)bp_lock_acquire(&caches->lock);
    (void)bp_lock_acquire(&caches->orphan_lock);
    for (struct bp_tcache *cache = caches->list; cache; cache = cache->next)
        cache->detached = cache->thread != &bp_thread && replace(cache, cache, bp_tcache_none);
    bool rests = bp_os.fence() == 0;
    struct bp_tcache *next;
    struct bp_chain rest = {0};
    for (struct bp_tcache *cache = caches->list; cache && rests; cache = cache->next)
        rests = !cache->detached || comes_to_rest(cache, patience);
    if (rests)
        work(context);
    for (struct bp_tcache *cache = caches->list; cache; cache = next) {
        next = cache->next;
        /*
         * What was done is seen by a thread that makes a cache anew, under our lock; not by one that finds its old one.
         * That goes back where nothing was done, unless its thread has ended without it.
         */
        if (cache->detached && (rests || !replace(cache, bp_tcache_none, cache)))
            bp_tcache_empty_locked(cache, 0, &rest, &caches->retired.counters);
        cache->detached = false;
    }
    bp_count(&caches->retired.counters, BP_COUNT_dropped_bytes, rest.bytes); /* which the lock guards */
    bp_lock_release(&caches->orphan_lock);
    bp_lock_release(&caches->lock);
    (void)bp_shards_drop(caches->shards, rest);
    return rests;
}

struct trim {
    struct bp_arena *arena;
    size_t look;
    size_t most_bytes;
    size_t trimmed_bytes;
};

static void trim_live(void *context)
{
    struct trim *trim = context;
    trim->trimmed_bytes = bp_arena_trim_live(trim->arena, trim->look, trim->most_bytes);
}

bool bp_tcaches_can_trim_live(const struct bp_tcaches *caches)
{
    bool can_fence = bp_load_relaxed(&caches->fence) != BP_FENCE_NO && !bp_os_is_quiet();
    return can_fence && !bp_load_relaxed(&caches->keeps_slack);
}

static size_t trim_at_rest(struct bp_tcaches *caches, enum bp_patience patience, struct trim trim,
                           struct bp_counters *counters)
{
    trim.arena = caches->shards->arena;
    if (!bp_tcaches_can_trim_live(caches) || bp_os.is_watched())
        return 0;
    (void)bp_tcaches_at_rest(caches, patience, trim_live, &trim);
    bp_count(counters, BP_COUNT_slack_bytes, trim.trimmed_bytes);
    return trim.trimmed_bytes;
}

size_t bp_tcaches_trim_live(struct bp_tcaches *caches, struct bp_counters *counters)
{
    return trim_at_rest(caches, BP_WAIT_A_MOMENT, (struct trim){.most_bytes = SIZE_MAX}, counters);
}

size_t bp_tcaches_trim_old(struct bp_tcaches *caches, size_t look, size_t most_bytes, struct bp_counters *counters)
{
    return trim_at_rest(caches, BP_WAIT_NOT, (struct trim){.look = look, .most_bytes = most_bytes}, counters);
}
