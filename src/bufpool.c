/* SPDX-License-Identifier: MIT */
/*
 * The public API over pool.h: checks arguments, keeps the list of pools, wires fork.
 *
 * Layer: 14.
 */
#include "include/bufpool/bufpool.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/single_threaded.h>

#include "fork.h"
#include "os.h"
#include "pool.h"
#include "report.h"

#define API __attribute__((visibility("default")))

#define STRING_OF(x) #x
#define VERSION_STRING(major, minor) STRING_OF(major) "." STRING_OF(minor)

struct bufpool {
    struct bp_pool pool;
};

/* Taken before every other lock, and only while no pool is in an operation of this thread. */
static pthread_mutex_t pools_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct bp_pool *pools[BP_POOLS_MAX];
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

/* Held already: by the code below the signal handler that forks. See bp_pools_prefork(). */
static unsigned nested_forks;

static void before_fork(void)
{
    if (!__libc_single_threaded)
        (void)pthread_mutex_lock(&pools_mutex);
    else if (pthread_mutex_trylock(&pools_mutex) != 0)
        nested_forks++;
    bp_pools_prefork(pools, BP_POOLS_MAX);
}

static void after_fork_in_parent(void)
{
    bp_pools_postfork_parent(pools, BP_POOLS_MAX);
    if (nested_forks > 0)
        nested_forks--;
    else
        (void)pthread_mutex_unlock(&pools_mutex);
}

static void after_fork_in_child(void)
{
    bp_pools_postfork_child(pools, BP_POOLS_MAX);
    if (nested_forks > 0)
        nested_forks--;
    else
        (void)pthread_mutex_init(&pools_mutex, NULL);
}

static void register_fork(void)
{
    (void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* The configuration's fields as options. Versions differ in length only. */
static int read_config(const struct bufpool_config *given, struct bp_options *options)
{
    struct bufpool_config config = {0};
    if (given) {
        if (given->struct_bytes < sizeof(size_t) || given->struct_bytes > sizeof config)
            return -EINVAL;
        memcpy(&config, given, given->struct_bytes);
    }
    if (config.thread_cache_count > BP_THREAD_CACHE_MAX || config.shard_count > BP_SHARDS_MAX)
        return -EINVAL;
    if ((config.cache_bytes | config.max_bytes | config.thread_cache_bytes) >= BP_PERCENT_FLAG)
        return -EINVAL; /* options keep percentages there */
    bp_options_init(options);
    options->min_size_bytes = 1;
    if (config.cache_bytes != 0)
        options->cache_bytes = config.cache_bytes;
    if (config.max_bytes != 0)
        options->max_bytes = config.max_bytes;
    if (config.thread_cache_bytes != 0)
        options->thread_cache_bytes = config.thread_cache_bytes;
    if (config.thread_cache_count != 0)
        options->thread_cache_buffers = config.thread_cache_count;
    if (config.shard_count != 0)
        options->shard_count = config.shard_count;
    return 0;
}

API int bufpool_create(const struct bufpool_config *config, struct bufpool **ret_pool)
{
    struct bp_options options;
    int error = read_config(config, &options);
    if (error != 0)
        return error;
    (void)pthread_once(&fork_once, register_fork);

    size_t record_bytes = bp_align_up(sizeof(struct bufpool), bp_os_page_bytes());
    struct bufpool *pool = bp_os.map(record_bytes);
    if (!pool)
        return -ENOMEM;
    (void)pthread_mutex_lock(&pools_mutex);
    unsigned id = 0;
    while (id < BP_POOLS_MAX && pools[id])
        id++;
    error = id == BP_POOLS_MAX ? -EMFILE : bp_pool_init(&pool->pool, id, &options);
    if (error == 0) {
        pools[id] = &pool->pool;
    }
    (void)pthread_mutex_unlock(&pools_mutex);
    if (error != 0) {
        (void)bp_os.unmap(pool, record_bytes);
        return error;
    }
    *ret_pool = pool;
    return 0;
}

API void bufpool_destroy(struct bufpool *pool)
{
    if (!pool)
        return;
    (void)pthread_mutex_lock(&pools_mutex);
    bp_pool_fini(&pool->pool);
    pools[pool->pool.caches.id] = NULL;
    (void)pthread_mutex_unlock(&pools_mutex);
    (void)bp_os.unmap(pool, bp_align_up(sizeof *pool, bp_os_page_bytes()));
}

API void *bufpool_alloc(struct bufpool *pool, size_t size_bytes)
{
    if (size_bytes - 1 < pool->pool.max_size_bytes) {
        void *block = bp_pool_alloc_fast(pool->pool.caches.id, size_bytes);
        if (block)
            return block;
    }
    return bp_pool_alloc_slow(&pool->pool, size_bytes, 1);
}

API void *bufpool_calloc(struct bufpool *pool, size_t size_bytes)
{
    return bp_pool_calloc(&pool->pool, size_bytes);
}

API void *bufpool_aligned_alloc(struct bufpool *pool, size_t align_bytes, size_t size_bytes)
{
    return bp_is_pow2(align_bytes) ? bp_pool_alloc_slow(&pool->pool, size_bytes, align_bytes) : NULL;
}

API void *bufpool_realloc(struct bufpool *pool, void *block, size_t size_bytes)
{
    return block ? bp_pool_realloc(&pool->pool, block, size_bytes) : bufpool_alloc(pool, size_bytes);
}

API void bufpool_free(struct bufpool *pool, void *block)
{
    if (!block)
        return;
    size_t offset = bp_arena_offset(&pool->pool.arena, block);
    if (offset >= bp_load_relaxed(&pool->pool.arena.bytes))
        bp_fatal("bufpool_free(%p): not of this pool", block);
    if (!bp_pool_free_fast(&pool->pool, pool->pool.caches.id, block, offset))
        bp_pool_free_slow(&pool->pool, block);
}

API size_t bufpool_usable_size(struct bufpool *pool, const void *block)
{
    return bp_pool_usable_bytes(&pool->pool, block);
}

API bool bufpool_owns(struct bufpool *pool, const void *address)
{
    return bp_arena_contains(&pool->pool.arena, address);
}

API size_t bufpool_trim(struct bufpool *pool)
{
    return bp_pool_trim(&pool->pool);
}

API int bufpool_get_stats(struct bufpool *pool, struct bufpool_stats *stats)
{
    if (stats->struct_bytes < sizeof(size_t) || stats->struct_bytes > sizeof *stats)
        return -EINVAL;
    struct bp_stats_snapshot seen;
    bp_report_snapshot(&pool->pool, &seen);
    struct bufpool_stats full = {
        .struct_bytes = stats->struct_bytes,
        .requests = seen.large_requests,
        .thread_cache_hits = seen.thread_cache_hits,
        .shard_hits = seen.shard_hits,
        .stolen = seen.stolen,
        .fresh = seen.fresh,
        .refused = seen.forwarded,
        .live_bytes = seen.live_bytes,
        .cached_bytes = seen.cached_bytes,
        .peak_live_bytes = seen.peak_live_bytes,
        .peak_cached_bytes = seen.peak_cached_bytes,
    };
    memcpy(stats, &full, stats->struct_bytes);
    return 0;
}

API const char *bufpool_version(void)
{
    return VERSION_STRING(BUFPOOL_VERSION_MAJOR, BUFPOOL_VERSION_MINOR);
}
