/* SPDX-License-Identifier: MIT */
/*
 * Random histories of one thread, against a model that knows what every block must hold.
 *
 * Checked all the time: contents, zeroing, alignment, usable size, that blocks do not overlap (their stamps would not
 * hold), and every so often the equations of the whole pool. A seed that failed is shown and repeats the history.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "audit.h"
#include "fake_os.h"
#include "report.h"
#include "stamp.h"
#include "support.h"

enum { BLOCKS_MAX = 48, STEPS_PER_AUDIT = 64 };

struct shadow {
    char *block; /* NULL: none */
    size_t size;
    uint64_t cookie;
};

struct history {
    uint64_t seed;
    uint64_t random;
    size_t steps;
    size_t size_max; /* of most blocks */
    struct bp_options options;
    struct bp_pool pool;
    struct shadow shadows[BLOCKS_MAX];
    size_t requests; /* that the pool must have counted */
    size_t refused;
    size_t moved_or_copied; /* blocks that realloc put elsewhere */
};

static struct history history;

#define check_step(condition) check_step_of(condition, 0)
#define check_step_of(condition, size)                                                                                 \
    cr_assert((condition), "seed %lu, size %zu: %s", (unsigned long)history.seed, (size_t)(size), #condition)

static size_t below(size_t limit)
{
    return (size_t)random_below(&history.random, limit);
}

/* Sizes of every magnitude, and often those around the boundary of a class or a page. */
static size_t any_size(void)
{
    size_t magnitude = (size_t)1 << (6 + below(40));
    while (magnitude > history.size_max)
        magnitude /= 1 + below(history.size_max);
    size_t size = 1 + magnitude + below(magnitude + 1);
    if (below(3) == 0)
        size = bp_align_up(size, 4096) + below(3) - 1;
    return size == 0 ? 1 : size;
}

static void check_block(const struct shadow *shadow)
{
    size_t usable = bp_pool_usable_bytes(&history.pool, shadow->block);
    check_step(stamp_holds(shadow->block, 0, shadow->size, shadow->cookie));
    check_step(usable >= shadow->size && usable < shadow->size + bp_os_page_bytes());
    check_step((uintptr_t)shadow->block % 64 == 0);
}

/* The program writes wherever it may. */
static void own(struct shadow *shadow, void *block, size_t size)
{
    *shadow = (struct shadow){.block = block, .size = size, .cookie = random_mix(history.random)};
    memset((char *)block + size, 0xdd, bp_pool_usable_bytes(&history.pool, block) - size);
    stamp(block, 0, size, shadow->cookie);
}

static void *allocate(size_t size)
{
    void *block = size - 1 < history.pool.max_size_bytes ? bp_pool_alloc_fast(0, size) : NULL;
    return block ? block : bp_pool_alloc_slow(&history.pool, size, 1);
}

static void make_block(struct shadow *shadow)
{
    size_t size = any_size();
    size_t align = 1;
    void *block;
    size_t kind = below(4);
    if (kind == 0) {
        block = bp_pool_calloc(&history.pool, size);
        check_step_of(!block || is_zero(block, size), size);
    } else if (kind == 1) {
        align = (size_t)1 << below(23);
        block = bp_pool_alloc_slow(&history.pool, size, align);
    } else {
        block = allocate(size);
    }
    history.requests++;
    history.refused += block == NULL;
    if (!block)
        return;
    check_step((uintptr_t)block % align == 0);
    own(shadow, block, size);
}

static void change_block(struct shadow *shadow)
{
    size_t size = below(2) ? any_size() : shadow->size + below(shadow->size);
    char *block = bp_pool_realloc(&history.pool, shadow->block, size);
    if (!block)
        return; /* it must be as it was: the next look at it will tell */
    check_step_of(stamp_holds(block, 0, bp_min(size, shadow->size), shadow->cookie), size);
    history.moved_or_copied += block != shadow->block;
    own(shadow, block, size);
}

static void drop_block(struct shadow *shadow)
{
    size_t offset = bp_arena_offset(&history.pool.arena, shadow->block);
    if (!bp_pool_free_fast(&history.pool, 0, shadow->block, offset))
        bp_pool_free_slow(&history.pool, shadow->block);
    shadow->block = NULL;
}

static void check_sums(void)
{
    struct audit audit = audit_pool(&history.pool);
    cr_assert_str_empty(audit.problem, "seed %lu: %s", (unsigned long)history.seed, audit.problem);
    size_t live_count = 0;
    for (size_t i = 0; i < BLOCKS_MAX; i++)
        live_count += history.shadows[i].block != NULL;
    check_step(audit.live_count == live_count);

    struct bp_stats_snapshot stats;
    bp_report_snapshot(&history.pool, &stats);
    check_step(stats.footprint_bytes == stats.live_bytes + stats.cached_bytes);
    check_step(stats.cached_bytes == audit.cached_bytes);
    check_step(stats.live_bytes == audit.live_bytes + audit.clean_bytes);
    check_step(stats.large_requests >= history.requests);
    check_step(stats.large_requests <= history.requests + stats.counters[BP_COUNT_realloc_copied] + stats.forwarded);
    check_step(stats.forwarded >= history.refused);
    check_step(stats.counters[BP_COUNT_realloc_moved] + stats.counters[BP_COUNT_realloc_copied] ==
               history.moved_or_copied);
}

static void step(void)
{
    struct shadow *shadow = &history.shadows[below(BLOCKS_MAX)];
    if (shadow->block)
        check_block(shadow);
    size_t kind = below(100);
    if (kind == 0)
        (void)bp_pool_trim(&history.pool);
    else if (kind == 1)
        bp_add_relaxed(&fake_os.now_ns, (uint64_t)below(2 * history.options.decay_ms) * 1000000);
    else if (kind == 2)
        bp_pool_tick(&history.pool);
    else if (!shadow->block)
        make_block(shadow);
    else if (kind < 35)
        change_block(shadow);
    else
        drop_block(shadow);
}

static void live_through(void)
{
    fake_os_install();
    history.random = history.seed;
    fake_os.random = ~history.seed;
    cr_assert_eq(bp_pool_init(&history.pool, 0, &history.options), 0);
    for (size_t i = 0; i < history.steps; i++) {
        step();
        if (i % STEPS_PER_AUDIT == 0)
            check_sums();
    }
    for (size_t i = 0; i < BLOCKS_MAX; i++) {
        if (history.shadows[i].block) {
            check_block(&history.shadows[i]);
            drop_block(&history.shadows[i]);
        }
    }
    check_sums();
}

/* A small pool; BUFPOOL_TEST_SEED repeats a history. */
static void init_history(void)
{
    memset(&history, 0, sizeof history);
    const char *seed = getenv("BUFPOOL_TEST_SEED");
    history.seed = seed ? strtoul(seed, NULL, 0) : 20240229;
    history.steps = 6000;
    history.size_max = 2 * BP_MIB;
    bp_options_init(&history.options);
    history.options.min_size_bytes = 1;
    history.options.shard_count = 2;
    history.options.thread_cache_buffers = 3;
    history.options.thread_cache_bytes = 8 * BP_MIB;
    history.options.cache_bytes = 64 * BP_MIB;
}

TestSuite(model, .init = init_history, .timeout = 100);

Test(model, of_a_small_pool)
{
    live_through();
}

Test(model, of_other_seeds)
{
    for (uint64_t i = 1; i <= 6; i++) {
        init_history();
        history.seed += i;
        history.steps = 1500;
        live_through();
        bp_pool_fini(&history.pool);
    }
}

Test(model, without_thread_caches_and_little_cache)
{
    history.options.thread_cache_buffers = 0;
    history.options.cache_bytes = 3 * BP_MIB;
    live_through();
    cr_assert_gt(fake_os.purge.calls, 0);
}

Test(model, without_cache)
{
    history.options.cache_bytes = 0;
    live_through();
    check_size(history.pool.budget.peak_cached_bytes, 0);
}

Test(model, under_a_limit_of_all_memory)
{
    history.options.max_bytes = 20 * BP_MIB;
    live_through();
    cr_assert_gt(history.refused, 0);
    cr_assert_leq(history.pool.budget.peak_footprint_bytes, 20 * BP_MIB);
}

Test(model, in_16_mib_of_address_space)
{
    fake_os.reserve_max_bytes = 16 * BP_MIB;
    live_through();
    cr_assert_gt(history.refused, 0);
}

Test(model, with_large_blocks)
{
    history.size_max = 30 * BP_MIB;
    history.steps = 800;
    history.options.cache_bytes = 400 * BP_MIB;
    live_through();
}

Test(model, with_a_kernel_that_fails_at_random)
{
    fake_os.commit.one_in = 3;
    fake_os.purge.one_in = 3;
    fake_os.move.one_in = 3;
    history.options.cache_bytes = 10 * BP_MIB;
    live_through();
    cr_assert_gt(fake_os.purge.failed, 0);
    cr_assert_gt(fake_os.commit.failed, 0);
}

Test(model, with_records_that_fail_at_random)
{
    fake_os.map.skip = 4;
    fake_os.map.one_in = 2;
    live_through();
}

Test(model, with_charged_memory_that_fails_at_random)
{
    struct rlimit limit;
    (void)getrlimit(RLIMIT_DATA, &limit);
    limit.rlim_cur = (rlim_t)bp_min((size_t)1 << 44, limit.rlim_max);
    cr_assert_eq(setrlimit(RLIMIT_DATA, &limit), 0);
    fake_os.commit.one_in = 10;
    live_through();
    cr_assert(history.pool.arena.commit_is_charged);
    cr_assert_gt(fake_os.commit.failed, 0);
}
