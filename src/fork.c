/* SPDX-License-Identifier: MIT */
#include "fork.h"

#include <sys/single_threaded.h>

#include "os.h"

/* Does something with each pool; the caller's loops over ranks keep the lock order. */
#define FOR_EACH_POOL(pool) \
    for (size_t i = 0; i < count; i++) \
        for (struct bp_pool *pool = pools[i]; pool; pool = NULL)

/* Forks below which a lock was held, one in the other; only ever above zero in a process with one thread. */
static unsigned nested_forks;

static bool are_free(struct bp_pool *const *pools, size_t count)
{
    FOR_EACH_POOL(pool)
    {
        if (!bp_lock_is_free(&pool->caches.lock) || !bp_lock_is_free(&pool->caches.orphan_lock) ||
            !bp_shards_are_free(&pool->shards) || !bp_lock_is_free(&pool->arena.lock) ||
            !bp_lock_is_free(&pool->meta.lock))
            return false;
    }
    return true;
}

/* The end of a fork: true when its beginning locked nothing. */
static bool was_nested(void)
{
    if (nested_forks == 0)
        return false;
    nested_forks--;
    return true;
}

void bp_pools_prefork(struct bp_pool *const *pools, size_t count)
{
    FOR_EACH_POOL(pool)
        bp_huge_prefork(&pool->arena.huge);
    if (__libc_single_threaded && !are_free(pools, count)) {
        nested_forks++;
        return;
    }
    FOR_EACH_POOL(pool)
        (void)bp_lock_acquire(&pool->caches.lock);
    FOR_EACH_POOL(pool)
        (void)bp_lock_acquire(&pool->caches.orphan_lock);
    FOR_EACH_POOL(pool)
        bp_shards_lock_all(&pool->shards);
    FOR_EACH_POOL(pool)
        (void)bp_lock_acquire(&pool->arena.lock);
    FOR_EACH_POOL(pool)
        (void)bp_lock_acquire(&pool->meta.lock);
}

void bp_pools_postfork_parent(struct bp_pool *const *pools, size_t count)
{
    if (was_nested())
        return;
    FOR_EACH_POOL(pool)
    {
        bp_lock_release(&pool->meta.lock);
        bp_lock_release(&pool->arena.lock);
        bp_shards_unlock_all(&pool->shards);
        bp_lock_release(&pool->caches.orphan_lock);
        bp_lock_release(&pool->caches.lock);
    }
}

void bp_pools_postfork_child(struct bp_pool *const *pools, size_t count)
{
    if (was_nested())
        return;
    FOR_EACH_POOL(pool)
    {
        bp_lock_reinit(&pool->meta.lock);
        bp_lock_reinit(&pool->arena.lock);
        bp_shards_reinit_locks(&pool->shards);
        bp_lock_reinit(&pool->caches.orphan_lock);
        bp_lock_reinit(&pool->caches.lock);
    }
    FOR_EACH_POOL(pool)
    {
        bp_arena_after_fork(&pool->arena);
        bp_tcaches_after_fork(&pool->caches);
        bp_decay_after_fork(&pool->decay);
        /* What the child would share and, on its first write, copy: garbage. */
        if (pool->drops_at_fork && !bp_load_relaxed(&pool->caches.keeps_slack)) /* who watches may be in a lock */
            bp_count(&pool->decay.counters, BP_COUNT_fork_dropped_bytes,
                     bp_shards_purge(&pool->shards, 0, SIZE_MAX, &pool->decay.counters));
        bp_budget_after_fork(&pool->budget, bp_os.now_ns());
    }
}
