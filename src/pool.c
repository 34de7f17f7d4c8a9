/* SPDX-License-Identifier: MIT */
#include "pool.h"

#include <errno.h>

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

/* As many as were asked for, about one for each CPU otherwise, in equal parts for all places. */
static unsigned count_shards(const struct bp_pool *pool, const struct bp_options *options)
{
    size_t wanted = options->shard_count != 0 ? options->shard_count : bp_max(pool->cpu_count, SHARDS_MIN);
    unsigned places = pool->arena.place_count;
    unsigned total = ceil_pow2((unsigned)bp_min(wanted, BP_SHARDS_MAX));
    return ceil_pow2((total + places - 1) / places) * places;
}

static int make_parts(struct bp_pool *pool, unsigned id, const struct bp_options *options)
{
    int error = bp_arena_init(&pool->arena, &pool->meta, &pool->budget);
    if (error != 0)
        return error;
    pool->numa = bp_numa_make(&pool->meta, options->numa);
    error = bp_arena_use_places(&pool->arena, pool->numa);
    if (error != 0)
        return error;
    bp_arena_set_huge(&pool->arena, (enum bp_hugepages)options->hugepages);
    pool->clear.always_writes = options->hugepages == BP_HUGEPAGES_HUGETLB;
    if (options->pin != 0)
        bp_arena_pin(&pool->arena);
    if (options->paranoid != 0) /* attributes that it is to find would move along with the pages */
        bp_store_relaxed(&pool->arena.can_move, false);
    if (pool->is_hardened)
        bp_arena_harden(&pool->arena);
    error = bp_shards_init(&pool->shards, count_shards(pool, options), options->shard_buffers, &pool->arena,
                           &pool->budget, &pool->meta);
    if (error != 0)
        return error;
    /* With these no free may take the hit path. */
    bool by_hits = pool->scrub == BP_SCRUB_OFF && options->paranoid == 0 && !pool->is_hardened;
    size_t buffers = by_hits ? options->thread_cache_buffers : 0;
    /* Without a key no thread's end is seen: all threads then share the orphan cache, which works. */
    error = bp_tcaches_init(&pool->caches, id, buffers, options->thread_cache_bytes, &pool->shards, &pool->meta);
    return error == -ENOBUFS ? -ENOMEM : 0;
}

int bp_pool_init(struct bp_pool *pool, unsigned id, const struct bp_options *options)
{
    pool->cpu_count = bp_os_cpu_count();
    pool->min_size_bytes = bp_pool_min_size_bytes(options);
    pool->max_size_bytes = options->max_size_bytes;
    pool->scrub = (enum bp_scrub)options->scrub;
    pool->paranoid_every = options->paranoid;
    pool->is_hardened = options->harden != 0;
    pool->drops_at_fork = options->fork == BP_FORK_DROP;
    pool->on_error = (enum bp_on_error)options->on_error;
    bp_budget_init(&pool->budget, options);
    bp_meta_init(&pool->meta);
    int error = make_parts(pool, id, options);
    if (error != 0) {
        bp_arena_fini(&pool->arena);
        bp_meta_fini(&pool->meta);
        return error;
    }
    bp_decay_init(&pool->decay, options->decay_ms, &pool->budget);
    pool->shards.evict.policy = (enum bp_eviction)options->eviction;
    bool looks = options->pressure == BP_PRESSURE_AUTO && options->decay_ms != 0;
    bp_pressure_init(&pool->decay.pressure, looks, pool->decay.swept_ns);
    return 0;
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

static void close_slots(void *arena)
{
    bp_arena_close_slots(arena);
}

void bp_pool_charge_commit(struct bp_pool *pool)
{
    bool was_open = !bp_load_relaxed(&pool->arena.commit_is_charged);
    bp_arena_charge_commit(&pool->arena);
    if (was_open)
        (void)bp_tcaches_at_rest(&pool->caches, BP_WAIT_A_MOMENT, close_slots, &pool->arena);
}

void bp_pool_lock_down(struct bp_pool *pool)
{
    bp_arena_shrink(&pool->arena);
    bp_pool_charge_commit(pool);
}

void bp_pool_follow_policy(struct bp_pool *pool)
{
    if (pool->caches.numa) {
        bp_add_relaxed(&pool->numa->epoch, (size_t)1);
        bp_tcache_leave(bp_tcache_enter(&pool->caches));
    }
}
