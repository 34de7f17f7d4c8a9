/* SPDX-License-Identifier: MIT */
#include "pool.h"

#include "os.h"

enum { SHARDS_MIN = 4 };

size_t bp_pool_min_size_bytes(const struct bp_options *options)
{
    return bp_max(options->min_size_bytes, bp_os_page_bytes());
}

static unsigned ceil_pow2(unsigned x)
{
    return x <= 1 ? 1 : 1u << (32 - __builtin_clz(x - 1));
}

int bp_pool_init(struct bp_pool *pool, unsigned id, const struct bp_options *options)
{
    pool->cpu_count = bp_os_cpu_count();
    pool->min_size_bytes = bp_pool_min_size_bytes(options);
    pool->max_size_bytes = options->max_size_bytes;
    bp_budget_init(&pool->budget, options);

    size_t shard_count = options->shard_count;
    if (shard_count == 0)
        shard_count = bp_max(pool->cpu_count, SHARDS_MIN);
    shard_count = bp_min(ceil_pow2((unsigned)shard_count), BP_SHARDS_MAX);

    bp_meta_init(&pool->meta);
    int error = bp_arena_init(&pool->arena, &pool->meta, &pool->budget);
    bp_arena_set_huge(&pool->arena, (enum bp_hugepages)options->hugepages);
    pool->clear.always_writes = options->hugepages == BP_HUGEPAGES_HUGETLB;
    if (options->pin != 0)
        bp_arena_pin(&pool->arena);
    if (error == 0)
        error = bp_shards_init(&pool->shards, (unsigned)shard_count, options->shard_buffers, &pool->arena,
                               &pool->budget, &pool->meta);
    if (error == 0) {
        pool->scrub = (enum bp_scrub)options->scrub;
        size_t bytes = bp_options_share_bytes(options->thread_cache_bytes, pool->budget.memory_bytes);
        pool->paranoid_every = options->paranoid;
        pool->is_hardened = options->harden != 0;
        /* No free may take the hit path then; and pages that are moved would take along what is to be found on them. */
        bool by_hits = pool->scrub == BP_SCRUB_OFF && options->paranoid == 0 && !pool->is_hardened;
        size_t buffers = by_hits ? options->thread_cache_buffers : 0;
        if (options->paranoid != 0)
            bp_store_relaxed(&pool->arena.can_move, false);
        if (pool->is_hardened)
            bp_arena_harden(&pool->arena);
        /* Without a key no thread's end is seen: all threads then share the orphan cache, which works. */
        (void)bp_tcaches_init(&pool->caches, id, buffers, bytes, &pool->shards, &pool->meta);
        bp_decay_init(&pool->decay, options->decay_ms);
        pool->shards.evict.policy = (enum bp_eviction)options->eviction;
        bp_pressure_init(&pool->decay.pressure, options->pressure == BP_PRESSURE_AUTO, pool->decay.swept_ns);
        pool->drops_at_fork = options->fork == BP_FORK_DROP;
        pool->on_error = (enum bp_on_error)options->on_error;
        return 0;
    }
    bp_arena_fini(&pool->arena);
    bp_meta_fini(&pool->meta);
    return error;
}

void bp_pool_fini(struct bp_pool *pool)
{
    bp_tcaches_fini(&pool->caches);
    bp_arena_fini(&pool->arena);
    bp_meta_fini(&pool->meta);
}

void bp_pool_tick(struct bp_pool *pool)
{
    uint64_t now_ns = bp_os.now_ns();
    if (BP_UNLIKELY(bp_shards_want_sweep(&pool->shards) || bp_decay_is_due(&pool->decay, now_ns)))
        bp_decay_tick(&pool->decay, &pool->caches, now_ns);
    bp_budget_note_cached(&pool->budget, now_ns);
}
