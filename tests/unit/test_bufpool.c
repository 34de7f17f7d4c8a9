/* SPDX-License-Identifier: MIT */
#include <bufpool/bufpool.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stamp.h"
#include "support.h"

enum { POOLS_MAX = 8, KIB = 1024, MIB = 1024 * 1024 };

static struct bufpool *pool;

static void make_pool(void)
{
    struct bufpool_config config = {.struct_bytes = sizeof config, .cache_bytes = (size_t)1 << 30, .shard_count = 2};
    cr_assert_eq(bufpool_create(&config, &pool), 0);
}

static void destroy_pool(void)
{
    bufpool_destroy(pool);
}

TestSuite(bufpool, .init = make_pool, .fini = destroy_pool);

static struct bufpool_stats stats_of(struct bufpool *of)
{
    struct bufpool_stats stats = {.struct_bytes = sizeof stats};
    check(bufpool_get_stats(of, &stats) == 0);
    return stats;
}

Test(bufpool, blocks_come_and_go)
{
    char *block = bufpool_alloc(pool, MIB);
    cr_assert_not_null(block);
    cr_assert_eq((uintptr_t)block % 64, 0);
    cr_assert(bufpool_owns(pool, block) && bufpool_owns(pool, block + MIB - 1));
    cr_assert_not(bufpool_owns(pool, &block));
    cr_assert_not(bufpool_owns(pool, NULL));
    cr_assert_geq(bufpool_usable_size(pool, block), MIB);
    memset(block, 1, bufpool_usable_size(pool, block));
    bufpool_free(pool, block);
    bufpool_free(pool, NULL);
    cr_assert_eq(bufpool_alloc(pool, MIB), block);
}

Test(bufpool, small_sizes_are_served_as_well)
{
    for (size_t size = 1; size < 10000; size += 61) {
        char *block = bufpool_alloc(pool, size);
        cr_assert_not_null(block);
        memset(block, 1, size);
        cr_assert_geq(bufpool_usable_size(pool, block), size);
        bufpool_free(pool, block);
    }
}

Test(bufpool, sizes_outside_1_byte_to_16_gib_are_refused)
{
    const size_t too_large = ((size_t)16 << 30) + 1;
    static const size_t sizes[] = {((size_t)16 << 30) + 1, SIZE_MAX / 2, SIZE_MAX - 4096, SIZE_MAX};
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        cr_assert_null(bufpool_alloc(pool, sizes[i]), "%zu bytes", sizes[i]);
        cr_assert_null(bufpool_calloc(pool, sizes[i]), "%zu bytes", sizes[i]);
        cr_assert_null(bufpool_aligned_alloc(pool, 4096, sizes[i]), "%zu bytes", sizes[i]);
        cr_assert_null(bufpool_realloc(pool, NULL, sizes[i]), "%zu bytes", sizes[i]);
    }
    void *block = bufpool_alloc(pool, 5000);
    stamp(block, 0, 5000, 1);
    cr_assert_null(bufpool_realloc(pool, block, too_large));
    cr_assert(stamp_holds(block, 0, 5000, 1));
    check_size(stats_of(pool).refused, 4 * LENGTH(sizes) + 1);
}

Test(bufpool, nothing_is_not_a_size)
{
    cr_assert_null(bufpool_alloc(pool, 0));
    cr_assert_null(bufpool_calloc(pool, 0));
    cr_assert_null(bufpool_aligned_alloc(pool, 4096, 0));
    cr_assert_null(bufpool_realloc(pool, NULL, 0));
    void *block = bufpool_alloc(pool, 5000);
    stamp(block, 0, 5000, 1);
    cr_assert_null(bufpool_realloc(pool, block, 0));
    cr_assert(stamp_holds(block, 0, 5000, 1));
    bufpool_free(pool, block);
}

Test(bufpool, calloc_is_zero_and_realloc_keeps)
{
    char *block = bufpool_calloc(pool, 300 * KIB);
    cr_assert(is_zero(block, 300 * KIB));
    stamp(block, 0, 300 * KIB, 2);
    block = bufpool_realloc(pool, block, 30 * MIB);
    cr_assert(stamp_holds(block, 0, 300 * KIB, 2));
    block = bufpool_realloc(pool, block, 100 * KIB);
    cr_assert(stamp_holds(block, 0, 100 * KIB, 2));
    bufpool_free(pool, block);
    cr_assert(is_zero(bufpool_calloc(pool, 100 * KIB), 100 * KIB));
    cr_assert_not_null(bufpool_realloc(pool, NULL, MIB));
}

Test(bufpool, alignments_are_powers_of_two_up_to_1_gib)
{
    for (size_t align = 1; align <= (size_t)1 << 30; align *= 2) {
        void *block = bufpool_aligned_alloc(pool, align, 100000);
        cr_assert_not_null(block, "%zu", align);
        cr_assert_eq((uintptr_t)block % align, 0);
        bufpool_free(pool, block);
    }
    static const size_t wrong[] = {0, 3, 96, 4097, (size_t)1 << 31, SIZE_MAX, (size_t)1 << 63};
    for (size_t i = 0; i < LENGTH(wrong); i++)
        cr_assert_null(bufpool_aligned_alloc(pool, wrong[i], 100000), "%zu", wrong[i]);
}

Test(bufpool, errno_stays_as_it_was)
{
    errno = 77;
    bufpool_free(pool, bufpool_alloc(pool, MIB));
    (void)bufpool_alloc(pool, SIZE_MAX);
    (void)bufpool_trim(pool);
    struct bufpool *other = NULL;
    cr_assert_eq(bufpool_create(NULL, &other), 0);
    bufpool_destroy(other);
    cr_assert_eq(errno, 77);
}

Test(bufpool, trim_returns_what_was_cached)
{
    for (int i = 0; i < 3; i++)
        bufpool_free(pool, bufpool_alloc(pool, (size_t)(i + 1) * MIB));
    size_t cached = stats_of(pool).cached_bytes;
    cr_assert_geq(cached, 3 * MIB);
    check_size(bufpool_trim(pool), cached);
    check_size(stats_of(pool).cached_bytes, 0);
    check_size(bufpool_trim(pool), 0);
}

Test(bufpool, stats_add_up)
{
    void *blocks[20];
    for (size_t i = 0; i < LENGTH(blocks); i++)
        blocks[i] = bufpool_alloc(pool, MIB);
    for (size_t i = 0; i < LENGTH(blocks); i++)
        bufpool_free(pool, blocks[i]);
    for (size_t i = 0; i < LENGTH(blocks) / 2; i++)
        blocks[i] = bufpool_alloc(pool, MIB);
    (void)bufpool_alloc(pool, SIZE_MAX);
    struct bufpool_stats stats = stats_of(pool);
    check_size(stats.requests, 31);
    check_size(stats.fresh, 20);
    check_size(stats.refused, 1);
    check_size(stats.thread_cache_hits + stats.shard_hits + stats.stolen, 10);
    cr_assert(stats.live_bytes >= 10 * MIB && stats.live_bytes < 11 * MIB);
    cr_assert(stats.cached_bytes >= 10 * MIB && stats.cached_bytes < 11 * MIB);
    cr_assert(stats.peak_live_bytes >= 20 * MIB && stats.peak_live_bytes < 22 * MIB);
    cr_assert_geq(stats.peak_cached_bytes, stats.cached_bytes);
}

Test(bufpool, the_version_is_the_headers)
{
    char expected[32];
    (void)snprintf(expected, sizeof expected, "%d.%d", BUFPOOL_VERSION_MAJOR, BUFPOOL_VERSION_MINOR);
    cr_assert_str_eq(bufpool_version(), expected);
}

/* Structs of other versions. */

Test(bufpool, an_older_caller_gets_the_fields_it_knows)
{
    (void)bufpool_alloc(pool, MIB);
    struct {
        size_t struct_bytes;
        uint64_t requests;
        uint64_t beyond;
    } old = {.struct_bytes = offsetof(struct bufpool_stats, thread_cache_hits), .beyond = 77};
    cr_assert_eq(bufpool_get_stats(pool, (struct bufpool_stats *)&old), 0);
    check_size(old.requests, 1);
    check_size(old.beyond, 77);
    check_size(old.struct_bytes, offsetof(struct bufpool_stats, thread_cache_hits));
}

Test(bufpool, stats_of_no_version_are_refused)
{
    struct bufpool_stats stats = {.struct_bytes = sizeof stats + 1, .requests = 77};
    cr_assert_eq(bufpool_get_stats(pool, &stats), -EINVAL);
    stats.struct_bytes = 0;
    cr_assert_eq(bufpool_get_stats(pool, &stats), -EINVAL);
    check_size(stats.requests, 77);
}

static int create_and_destroy(const struct bufpool_config *config)
{
    struct bufpool *made = NULL;
    int error = bufpool_create(config, &made);
    cr_assert_eq(error != 0, made == NULL, "ret_pool is set on success only");
    bufpool_destroy(made);
    return error;
}

Test(bufpool, configurations_of_any_version)
{
    cr_assert_eq(create_and_destroy(NULL), 0);
    struct bufpool_config config = {.struct_bytes = sizeof(size_t), .shard_count = 1000};
    cr_assert_eq(create_and_destroy(&config), 0, "an older caller did not set what it does not know");
    config.struct_bytes = sizeof config + 1;
    cr_assert_eq(create_and_destroy(&config), -EINVAL);
    config.struct_bytes = 0;
    cr_assert_eq(create_and_destroy(&config), -EINVAL);
}

Test(bufpool, fields_out_of_range_are_refused)
{
#define CONFIG(...) &(struct bufpool_config){.struct_bytes = sizeof(struct bufpool_config), __VA_ARGS__}
    cr_assert_eq(create_and_destroy(CONFIG(.shard_count = 128)), 0);
    cr_assert_eq(create_and_destroy(CONFIG(.shard_count = 129)), -EINVAL);
    cr_assert_eq(create_and_destroy(CONFIG(.thread_cache_count = 64)), 0);
    cr_assert_eq(create_and_destroy(CONFIG(.thread_cache_count = 65)), -EINVAL);
    cr_assert_eq(create_and_destroy(CONFIG(.shard_count = UINT32_MAX)), -EINVAL);
}

/* A number of bytes is a number of bytes, however large: it is taken as a limit or refused, never as something else. */
static void check_huge_limit(size_t bytes)
{
    struct bufpool *made = NULL;
    int error = bufpool_create(CONFIG(.cache_bytes = bytes, .max_bytes = bytes, .thread_cache_bytes = bytes), &made);
    if (error == -EINVAL)
        return;
    cr_assert_eq(error, 0);
    void *block = bufpool_alloc(made, MIB);
    cr_assert_not_null(block, "limit %zu", bytes);
    bufpool_free(made, block);
    cr_assert_geq(stats_of(made).cached_bytes, MIB, "limit %zu", bytes);
    bufpool_destroy(made);
}

Test(bufpool, huge_limits_are_no_limits)
{
    check_huge_limit((size_t)1 << 50);
    check_huge_limit((size_t)1 << 62);
    check_huge_limit(((size_t)1 << 62) + 1);
    check_huge_limit((size_t)1 << 63);
    check_huge_limit(SIZE_MAX);
}

Test(bufpool, max_bytes_is_a_limit)
{
    struct bufpool *small = NULL;
    cr_assert_eq(bufpool_create(CONFIG(.max_bytes = 4 * MIB), &small), 0);
    void *block = bufpool_alloc(small, 3 * MIB);
    cr_assert_not_null(block);
    cr_assert_null(bufpool_alloc(small, 2 * MIB));
    bufpool_free(small, block);
    cr_assert_not_null(bufpool_alloc(small, 2 * MIB));
    bufpool_destroy(small);
}

/* Several pools. */

Test(bufpool, eight_pools_and_no_ninth)
{
    struct bufpool *others[POOLS_MAX - 1];
    for (size_t i = 0; i < LENGTH(others); i++)
        cr_assert_eq(bufpool_create(NULL, &others[i]), 0);
    cr_assert_eq(create_and_destroy(NULL), -EMFILE);
    bufpool_destroy(others[3]);
    cr_assert_eq(bufpool_create(NULL, &others[3]), 0);
    for (size_t i = 0; i < LENGTH(others); i++)
        bufpool_destroy(others[i]);
}

Test(bufpool, pools_are_apart)
{
    struct bufpool *other = NULL;
    cr_assert_eq(bufpool_create(NULL, &other), 0);
    void *block = bufpool_alloc(pool, MIB);
    void *others = bufpool_alloc(other, MIB);
    cr_assert(bufpool_owns(pool, block) && !bufpool_owns(other, block));
    cr_assert(bufpool_owns(other, others) && !bufpool_owns(pool, others));
    stamp(block, 0, MIB, 1);
    stamp(others, 0, MIB, 2);
    bufpool_free(pool, block);
    check_size(stats_of(pool).live_bytes, 0);
    cr_assert_geq(stats_of(other).live_bytes, MIB);
    check_size(stats_of(other).requests, 1);
    cr_assert_eq(bufpool_alloc(pool, MIB), block);
    bufpool_destroy(other);
    stamp(block, 0, MIB, 3);
}

Test(bufpool, pools_can_be_made_for_ever)
{
    for (int i = 0; i < 100; i++) {
        struct bufpool *other = NULL;
        cr_assert_eq(bufpool_create(NULL, &other), 0);
        void *block = bufpool_alloc(other, MIB);
        cr_assert(is_zero(bufpool_calloc(other, MIB), MIB));
        bufpool_free(other, block);
        bufpool_destroy(other);
    }
    bufpool_destroy(NULL);
}

/* Threads that had a cache of a pool that is gone; later ones get the same place among the pools. */
static pthread_barrier_t barrier;
static struct bufpool *changing;

static void *use_two_pools(void *unused)
{
    bufpool_free(changing, bufpool_alloc(changing, MIB));
    (void)pthread_barrier_wait(&barrier); /* the pool is replaced now */
    (void)pthread_barrier_wait(&barrier);
    void *block = bufpool_calloc(changing, 2 * MIB);
    bool ok = bufpool_owns(changing, block) && is_zero(block, 2 * MIB);
    memset(block, 1, 2 * MIB);
    bufpool_free(changing, block);
    return ok ? unused : NULL;
}

Test(bufpool, threads_outlive_a_pool_of_which_they_had_a_cache)
{
    cr_assert_eq(bufpool_create(NULL, &changing), 0);
    (void)pthread_barrier_init(&barrier, NULL, 4);
    pthread_t threads[3];
    for (size_t i = 0; i < LENGTH(threads); i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, use_two_pools, &barrier), 0);
    (void)pthread_barrier_wait(&barrier);
    bufpool_destroy(changing);
    cr_assert_eq(bufpool_create(NULL, &changing), 0);
    (void)pthread_barrier_wait(&barrier);
    for (size_t i = 0; i < LENGTH(threads); i++) {
        void *ok = NULL;
        (void)pthread_join(threads[i], &ok);
        cr_assert_not_null(ok);
    }
    struct bufpool_stats stats = stats_of(changing);
    check_size(stats.live_bytes, 0);
    check_size(stats.requests, 3);
    bufpool_destroy(changing);
}

Test(bufpool, trim_takes_what_other_threads_keep)
{
    changing = pool;
    (void)pthread_barrier_init(&barrier, NULL, 2);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, use_two_pools, &barrier), 0);
    (void)pthread_barrier_wait(&barrier);
    size_t cached = stats_of(pool).cached_bytes;
    cr_assert_geq(cached, MIB);
    check_size(bufpool_trim(pool), cached);
    (void)pthread_barrier_wait(&barrier);
    void *ok = NULL;
    (void)pthread_join(thread, &ok);
    cr_assert_not_null(ok);
}

/* Says that it is done, and ends: the pool goes while the thread gives its cache back. */
static _Atomic(unsigned) done_count;

static void *use_and_end(void *unused)
{
    void *block = bufpool_alloc(changing, MIB);
    bufpool_free(changing, block);
    atomic_fetch_add(&done_count, 1);
    (void)unused;
    return block;
}

Test(bufpool, a_pool_goes_while_threads_end)
{
    enum { ROUNDS = 300 };
    for (unsigned round = 0; round < ROUNDS; round++) {
        cr_assert_eq(bufpool_create(NULL, &changing), 0);
        pthread_t threads[3];
        atomic_store(&done_count, 0);
        for (size_t i = 0; i < LENGTH(threads); i++)
            cr_assert_eq(pthread_create(&threads[i], NULL, use_and_end, NULL), 0);
        while (atomic_load(&done_count) < LENGTH(threads))
            (void)sched_yield();
        bufpool_destroy(changing);
        for (size_t i = 0; i < LENGTH(threads); i++) {
            void *block = NULL;
            (void)pthread_join(threads[i], &block);
            cr_assert_not_null(block);
        }
    }
}

/* Errors of the program. */

static void free_foreign(void *address)
{
    bufpool_free(pool, address);
}

static void free_twice(void *block)
{
    bufpool_free(pool, block);
    bufpool_free(pool, block);
}

Test(bufpool, misuse_stops_the_program)
{
    int local;
    check_aborts(free_foreign, &local, "bufpool: bufpool_free(0x");
    cr_assert_not_null(strstr(run_apart(free_foreign, &local).text, "not of this pool\n"));
    char *block = bufpool_alloc(pool, MIB);
    check_aborts(free_twice, block, "bufpool: free(0x");
    check_aborts(free_foreign, block + 4096, "bufpool: free(0x");
}

/* Fork. */

static void work_in_child(void *block)
{
    check(stamp_holds(block, 0, MIB, 5));
    block = bufpool_realloc(pool, block, 20 * MIB);
    check(stamp_holds(block, 0, MIB, 5));
    bufpool_free(pool, block);
    bufpool_free(pool, bufpool_alloc(pool, MIB));
    struct bufpool *other = NULL;
    check(bufpool_create(NULL, &other) == 0);
    bufpool_destroy(other);
    check_size(stats_of(pool).live_bytes, 0);
    (void)bufpool_trim(pool);
}

Test(bufpool, a_child_uses_the_pool_and_its_blocks)
{
    void *block = bufpool_alloc(pool, MIB);
    stamp(block, 0, MIB, 5);
    check_says(work_in_child, block, "");
    cr_assert(stamp_holds(block, 0, MIB, 5));
    bufpool_free(pool, block);
    check_size(stats_of(pool).live_bytes, 0);
}

static void use_both(void *other)
{
    bufpool_free(other, bufpool_alloc(other, MIB));
    bufpool_free(pool, bufpool_alloc(pool, MIB));
}

Test(bufpool, a_child_uses_several_pools)
{
    struct bufpool *other = NULL;
    cr_assert_eq(bufpool_create(NULL, &other), 0);
    use_both(other);
    check_says(use_both, other, "");
    use_both(other);
    bufpool_destroy(other);
}

static void fork_and_use(void *block)
{
    check_says(work_in_child, block, "");
}

Test(bufpool, a_child_has_children)
{
    void *block = bufpool_alloc(pool, MIB);
    stamp(block, 0, MIB, 5);
    check_says(fork_and_use, block, "");
}
