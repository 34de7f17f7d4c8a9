/* SPDX-License-Identifier: MIT */
#include "pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "audit.h"
#include "fake_os.h"
#include "fork.h"
#include "report.h"
#include "stamp.h"
#include "support.h"

static struct bp_pool pool;
static struct bp_options options;
static size_t page;

/* A small pool. Tests that want another one change `options` and call make_pool() themselves. */
static void init_options(void)
{
    fake_os_install();
    page = bp_os_page_bytes();
    bp_options_init(&options);
    options.min_size_bytes = 1;
    options.shard_count = 2;
    options.thread_cache_buffers = 4;
    options.cache_bytes = 4 * BP_GIB;
}

static void make_pool(void)
{
    cr_assert_eq(bp_pool_init(&pool, 0, &options), 0);
}

static void make_usual_pool(void)
{
    init_options();
    make_pool();
}

TestSuite(pool, .init = make_usual_pool);
TestSuite(special_pool, .init = init_options);

/* As the library and the preload object put the two paths together. */
static void *allocate(size_t size)
{
    void *block = size - 1 < pool.max_size_bytes ? bp_pool_alloc_fast(0, size) : NULL;
    return block ? block : bp_pool_alloc_slow(&pool, size, 1);
}

static void release(void *block)
{
    size_t offset = bp_arena_offset(&pool.arena, block);
    if (!bp_pool_free_fast(&pool, 0, block, offset))
        bp_pool_free_slow(&pool, block);
}

static void check_audit(size_t live_count)
{
    struct audit audit = audit_pool(&pool);
    if (audit.problem[0] != '\0')
        check_failed(__FILE__, __LINE__, "%s", audit.problem);
    check_size(audit.live_count, live_count);
}

static size_t counted(enum bp_counter which)
{
    struct bp_stats_snapshot stats;
    bp_report_snapshot(&pool, &stats);
    return stats.counters[which];
}

static const size_t some_sizes[] = {1,      4095,   4096,   4097,        61440,  61441,         65536,
                                    100000, 131072, 262144, 300 * 1024,  BP_MIB, BP_MIB + 4096, 5000000,
                                    16 * BP_MIB, 33 * BP_MIB};

Test(pool, blocks_hold_what_was_asked_for)
{
    void *blocks[LENGTH(some_sizes)];
    for (size_t i = 0; i < LENGTH(some_sizes); i++) {
        blocks[i] = allocate(some_sizes[i]);
        cr_assert_not_null(blocks[i]);
        cr_assert_eq((uintptr_t)blocks[i] % 64, 0);
        cr_assert(bp_arena_contains(&pool.arena, blocks[i]));
        size_t usable = bp_pool_usable_bytes(&pool, blocks[i]);
        cr_assert_geq(usable, some_sizes[i]);
        cr_assert_lt(usable, some_sizes[i] + page);
        stamp(blocks[i], 0, usable, i);
    }
    check_audit(LENGTH(some_sizes));
    for (size_t i = 0; i < LENGTH(some_sizes); i++) {
        cr_assert(stamp_holds(blocks[i], 0, some_sizes[i], i), "%zu bytes", some_sizes[i]);
        release(blocks[i]);
    }
    check_audit(0);
}

Test(pool, a_freed_block_is_recycled)
{
    for (size_t i = 0; i < LENGTH(some_sizes); i++) {
        char *block = allocate(some_sizes[i]);
        *block = 1;
        release(block);
        cr_assert_eq(allocate(some_sizes[i]), block, "%zu bytes", some_sizes[i]);
        release(block);
    }
    struct bp_stats_snapshot stats;
    bp_report_snapshot(&pool, &stats);
    check_size(stats.large_requests, 2 * LENGTH(some_sizes));
    cr_assert_geq(stats.thread_cache_hits, LENGTH(some_sizes));
}

Test(pool, sizes_outside_the_range_are_refused_and_counted)
{
    cr_assert_null(bp_pool_alloc_slow(&pool, BP_SIZE_MAX_BYTES + 1, 1));
    cr_assert_null(bp_pool_alloc_slow(&pool, SIZE_MAX, 1));
    cr_assert_null(bp_pool_alloc_slow(&pool, SIZE_MAX - 4096, 4096));
    cr_assert_null(bp_pool_alloc_slow(&pool, 1, 2 * BP_ALIGN_MAX_BYTES));
    cr_assert_null(bp_pool_calloc(&pool, BP_SIZE_MAX_BYTES + 1));
    check_size(counted(BP_COUNT_oversize), 5);
    check_audit(0);
}

Test(pool, the_largest_block_there_is)
{
    char *block = allocate(BP_SIZE_MAX_BYTES);
    cr_assert_not_null(block);
    block[0] = 1;
    block[BP_SIZE_MAX_BYTES - 1] = 2;
    check_audit(1);
    cr_assert_null(bp_pool_realloc(&pool, block, BP_SIZE_MAX_BYTES + 1));
    cr_assert_eq(block[BP_SIZE_MAX_BYTES - 1], 2);
    release(block);
    check_audit(0);
}

Test(pool, aligned_blocks_up_to_1_gib)
{
    static const size_t sizes[] = {1, 100000, BP_MIB, 3 * BP_MIB + 5};
    for (size_t align = 1; align <= BP_ALIGN_MAX_BYTES; align *= 2) {
        void *blocks[LENGTH(sizes)];
        for (size_t i = 0; i < LENGTH(sizes); i++) {
            blocks[i] = bp_pool_alloc_slow(&pool, sizes[i], align);
            cr_assert_not_null(blocks[i], "%zu at %zu", sizes[i], align);
            cr_assert_eq((uintptr_t)blocks[i] % align, 0, "%zu at %zu", sizes[i], align);
            stamp(blocks[i], 0, sizes[i], align + i);
        }
        check_audit(LENGTH(sizes));
        for (size_t i = 0; i < LENGTH(sizes); i++) {
            cr_assert(stamp_holds(blocks[i], 0, sizes[i], align + i));
            release(blocks[i]);
        }
    }
    check_audit(0);
}

/* What an aligned request leaves is good for others, and the other way round. */
Test(pool, aligned_and_other_blocks_share_slots)
{
    for (int round = 0; round < 100; round++) {
        size_t align = (size_t)64 << round % 7;
        void *aligned = bp_pool_alloc_slow(&pool, 100000, align);
        cr_assert_eq((uintptr_t)aligned % align, 0);
        stamp(aligned, 0, 100000, 1);
        release(aligned);
        size_t size = 100000 + (size_t)round * 100;
        void *block = allocate(size);
        stamp(block, 0, size, 2);
        cr_assert(stamp_holds(block, 0, size, 2));
        check_audit(1);
        release(block);
    }
    check_audit(0);
}

/* Whatever lay there before. Sizes go up and down, so that fresh pages lie behind dirty ones. */
Test(pool, calloc_is_zero_after_a_dirty_history)
{
    static const size_t sizes[] = {100000, 30000, 120000, 5000000, 200, 131000, 4900000, 65536, 300000, 700000, 100001};
    for (int round = 0; round < 5; round++) {
        for (size_t i = 0; i < LENGTH(sizes); i++) {
            size_t size = sizes[i];
            char *dirty = allocate(sizes[(i * 3 + 1) % LENGTH(sizes)]);
            memset(dirty, 0xff, bp_pool_usable_bytes(&pool, dirty));
            char *zeros = bp_pool_calloc(&pool, size);
            cr_assert(is_zero(zeros, size), "%zu bytes in round %d", size, round);
            release(dirty);
            memset(zeros, 0xff, bp_pool_usable_bytes(&pool, zeros));
            release(zeros);
            zeros = bp_pool_calloc(&pool, size);
            cr_assert(is_zero(zeros, size), "%zu bytes again in round %d", size, round);
            memset(zeros, 0xff, bp_pool_usable_bytes(&pool, zeros));
            release(zeros);
        }
    }
    check_audit(0);
    cr_assert_gt(counted(BP_COUNT_calloc_bytes_zeroed), 0);
}

Test(pool, calloc_of_fresh_memory_clears_nothing)
{
    char *zeros = bp_pool_calloc(&pool, 3 * BP_MIB);
    cr_assert(is_zero(zeros, 3 * BP_MIB));
    check_size(counted(BP_COUNT_calloc_bytes_not_zeroed), 3 * BP_MIB);
    check_size(counted(BP_COUNT_calloc_bytes_zeroed), 0);
}

/* The kernel did not take the memory back: what is called clean is not. */
Test(pool, calloc_is_zero_though_purges_failed)
{
    fake_os.purge.fail = FAIL_ALWAYS;
    for (int round = 0; round < 10; round++) {
        char *dirty = allocate(300000);
        memset(dirty, 0xff, bp_pool_usable_bytes(&pool, dirty));
        release(dirty);
        (void)bp_pool_trim(&pool);
        char *zeros = bp_pool_calloc(&pool, 100000 + (size_t)round * 20000);
        cr_assert(is_zero(zeros, 100000 + (size_t)round * 20000));
        release(zeros);
        check_audit(0);
    }
}

Test(pool, realloc_keeps_the_contents)
{
    static const size_t sizes[] = {100, 5000, 100000, 131072, 3 * BP_MIB, 20 * BP_MIB, 5 * BP_MIB, 700, 64 * BP_MIB, 1};
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        for (size_t j = 0; j < LENGTH(sizes); j++) {
            void *block = allocate(sizes[i]);
            stamp(block, 0, sizes[i], i);
            block = bp_pool_realloc(&pool, block, sizes[j]);
            cr_assert_not_null(block);
            cr_assert(stamp_holds(block, 0, bp_min(sizes[i], sizes[j]), i), "%zu to %zu", sizes[i], sizes[j]);
            cr_assert_geq(bp_pool_usable_bytes(&pool, block), sizes[j]);
            stamp(block, 0, sizes[j], j);
            check_audit(1);
            release(block);
        }
    }
    check_audit(0);
}

Test(pool, realloc_grows_step_by_step_to_any_size)
{
    size_t size = 1000;
    void *block = allocate(size);
    stamp(block, 0, size, 7);
    while (size < 64 * BP_MIB) {
        size_t larger = size + size / 3 + 77;
        block = bp_pool_realloc(&pool, block, larger);
        cr_assert(stamp_holds(block, 0, size, 7), "%zu to %zu", size, larger);
        stamp(block, size, larger, 7);
        size = larger;
        check_audit(1);
    }
    release(block);
    check_audit(0);
}

Test(pool, realloc_within_the_slot_stays)
{
    void *block = allocate(70000);
    cr_assert_eq(bp_pool_realloc(&pool, block, 70001), block);
    cr_assert_eq(bp_pool_realloc(&pool, block, 120000), block);
    cr_assert_eq(bp_pool_realloc(&pool, block, 66000), block);
    check_size(counted(BP_COUNT_realloc_in_place), 3);
    struct bp_stats_snapshot stats;
    bp_report_snapshot(&pool, &stats);
    check_size(stats.large_requests, 1);
}

Test(pool, realloc_to_much_less_gives_the_tail_back)
{
    char *block = allocate(20 * BP_MIB);
    memset(block, 0xff, 20 * BP_MIB);
    size_t before = pool.budget.footprint_bytes;
    cr_assert_eq(bp_pool_realloc(&pool, block, BP_MIB), block);
    cr_assert_geq(before - pool.budget.footprint_bytes, 18 * BP_MIB);
    check_size(counted(BP_COUNT_realloc_trimmed_bytes), before - pool.budget.footprint_bytes);
    cr_assert_eq(block[BP_MIB - 1], (char)0xff);
    check_audit(1);
    release(block);
    char *zeros = bp_pool_calloc(&pool, 18 * BP_MIB);
    cr_assert(is_zero(zeros, 18 * BP_MIB));
}

Test(pool, realloc_gives_a_large_tail_back_whatever_is_left)
{
    char *block = allocate(100 * BP_MIB);
    size_t before = pool.budget.footprint_bytes;
    cr_assert_eq(bp_pool_realloc(&pool, block, 90 * BP_MIB), block);
    check_size(pool.budget.footprint_bytes, before);
    cr_assert_eq(bp_pool_realloc(&pool, block, 60 * BP_MIB), block);
    check_size(before - pool.budget.footprint_bytes, 40 * BP_MIB);
    check_audit(1);
}

/* A block that got a buffer of a larger one keeps all of it, until somebody lacks it. */
Test(special_pool, what_a_live_block_leaves_unused_serves_others)
{
    options.max_bytes = 200 * BP_MIB;
    make_pool();
    release(allocate(100 * BP_MIB));
    char *block = allocate(51 * BP_MIB);
    stamp(block, 0, 51 * BP_MIB, 5);
    cr_assert_geq(pool.budget.footprint_bytes, 100 * BP_MIB);
    cr_assert_not_null(allocate(140 * BP_MIB));
    cr_assert(stamp_holds(block, 0, 51 * BP_MIB, 5));
    cr_assert_geq(counted(BP_COUNT_slack_bytes), 48 * BP_MIB);
    check_audit(2);
    cr_assert_null(allocate(60 * BP_MIB));
    release(block);
    check_audit(1);
}

Test(pool, a_trim_takes_what_live_blocks_leave_unused)
{
    release(allocate(100 * BP_MIB));
    char *block = allocate(51 * BP_MIB);
    stamp(block, 0, 51 * BP_MIB, 5);
    cr_assert_geq(bp_pool_trim(&pool), 48 * BP_MIB);
    cr_assert(stamp_holds(block, 0, 51 * BP_MIB, 5));
    block = bp_pool_realloc(&pool, block, 60 * BP_MIB);
    cr_assert(is_zero(block + 52 * BP_MIB, 8 * BP_MIB));
    check_audit(1);
}

Test(pool, where_taking_it_would_call_others_live_blocks_keep_it)
{
    release(allocate(100 * BP_MIB));
    char *block = allocate(51 * BP_MIB);
    bp_store_relaxed(&pool.caches.keeps_slack, true);
    check_size(bp_pool_trim(&pool), 0);
    check(!bp_decay_finds_slack(&pool.decay, &pool.caches));
    bp_store_relaxed(&pool.caches.keeps_slack, false);
    check(bp_decay_finds_slack(&pool.decay, &pool.caches));
    cr_assert_geq(bp_pool_trim(&pool), 48 * BP_MIB);
    release(block);
}

/* That is done under locks, and who watches memory that goes may wait for who waits for them. */
Test(pool, what_has_no_pages_is_closed_without_telling_anybody)
{
    release(allocate(3 * BP_MIB));
    char *block = allocate(100 * BP_MIB);
    (void)bp_pool_trim(&pool);
    size_t renewals = fake_os.renew.calls;
    bp_pool_charge_commit(&pool);
    check_size(fake_os.renew.calls, renewals);
    cr_assert_geq(fake_os.close.calls, 3); /* behind the block, the clean slot, and what is behind that */
    release(block);
}

Test(pool, a_calloc_that_drops_pages_keeps_none_behind_them)
{
    char *large = allocate(1000 * BP_MIB);
    stamp(large, 0, 1000 * BP_MIB, 5);
    release(large);
    char *block = bp_pool_calloc(&pool, 600 * BP_MIB);
    cr_assert_leq(pool.budget.footprint_bytes, 600 * BP_MIB + 2 * page);
    cr_assert_geq(counted(BP_COUNT_slack_bytes), 399 * BP_MIB);
    cr_assert(is_zero(block, 600 * BP_MIB));
    check_audit(1);
}

Test(special_pool, a_block_that_is_moved_to_grow_takes_the_room_of_what_is_free)
{
    options.max_bytes = 300 * BP_MIB;
    make_pool();
    void *large = allocate(200 * BP_MIB);
    void *block = allocate(60 * BP_MIB);
    stamp(block, 0, 60 * BP_MIB, 5);
    release(large);
    block = bp_pool_realloc(&pool, block, 120 * BP_MIB);
    cr_assert(stamp_holds(block, 0, 60 * BP_MIB, 5));
    check_size(counted(BP_COUNT_realloc_moved), pool.arena.can_move ? 1 : 0);
    check_audit(1);
}

Test(pool, a_large_block_grows_without_copying)
{
    void *block = allocate(10 * BP_MIB);
    stamp(block, 0, 10 * BP_MIB, 3);
    block = bp_pool_realloc(&pool, block, 100 * BP_MIB);
    cr_assert(stamp_holds(block, 0, 10 * BP_MIB, 3));
    if (fake_os.move.calls > 0 && !pool.arena.can_move)
        cr_skip_test("this kernel cannot move pages");
    check_size(counted(BP_COUNT_realloc_moved), 1);
    check_size(counted(BP_COUNT_realloc_copied), 0);
    check_audit(1);
}

/* Wherever a series of moves breaks off, the contents and the sums hold. */
Test(pool, moves_that_fail_are_made_up_for)
{
    for (size_t skip = 0; skip < 6; skip++) {
        fake_os.move.skip = skip;
        fake_os.move.fail = FAIL_ALWAYS;
        size_t size = 300000;
        void *block = allocate(size);
        stamp(block, 0, size, skip);
        while (size < 40 * BP_MIB) {
            block = bp_pool_realloc(&pool, block, size * 2);
            cr_assert(stamp_holds(block, 0, size, skip), "%zu bytes, %zu moves", size, skip);
            stamp(block, size, size * 2, skip);
            size *= 2;
            check_audit(1);
        }
        release(block);
    }
    check_audit(0);
}

/* Older kernels unmap the new place, and then refuse; before it is mapped again a thread may map something there. */
Test(pool, what_another_thread_has_where_pages_could_not_go_stays_its_own)
{
    fake_os.moves_one_mapping = true;
    fake_os.moves_leave_foreign = true;
    for (size_t skip = 0; skip < 6; skip++) {
        size_t size = 3 * BP_MIB;
        char *block = allocate(size);
        stamp(block, 0, size, skip);
        release(allocate(40 * BP_MIB)); /* a warm place */
        fake_os.move.skip = skip;
        fake_os.move.fail = 1;
        while (size < 40 * BP_MIB) {
            block = bp_pool_realloc(&pool, block, size * 2);
            cr_assert(stamp_holds(block, 0, size, skip), "%zu bytes, %zu moves", size, skip);
            stamp(block, size, size * 2, skip);
            size *= 2;
        }
        release(block);
    }
    cr_assert(fake_os_foreign_holds());
    for (int i = 0; i < 3; i++) {
        release(allocate(40 * BP_MIB));
        bp_pool_trim(&pool);
    }
    cr_assert(fake_os_foreign_holds());
    cr_assert_gt(counted(BP_COUNT_lost), 0);
    bp_pool_fini(&pool);
    cr_assert(fake_os_foreign_holds());
}

Test(pool, a_kernel_that_cannot_move_is_not_asked_again)
{
    fake_os.move.fail = FAIL_ALWAYS;
    fake_os.move_error = -EINVAL;
    void *block = allocate(BP_MIB);
    block = bp_pool_realloc(&pool, block, 20 * BP_MIB);
    block = bp_pool_realloc(&pool, block, 400 * BP_MIB);
    check_size(fake_os.move.calls, 1);
    check_size(counted(BP_COUNT_realloc_copied), 2);
    check_size(counted(BP_COUNT_realloc_copied_refused), 1);
    check_size(counted(BP_COUNT_realloc_copied_mappings), 1);
    check_audit(1);
}

Test(pool, a_block_that_grows_onto_a_warm_buffer_changes_places_with_it)
{
    void *large = allocate(60 * BP_MIB);
    release(large);
    void *block = allocate(6 * BP_MIB);
    stamp(block, 0, 6 * BP_MIB, 3);
    block = bp_pool_realloc(&pool, block, 16 * BP_MIB);
    cr_assert(stamp_holds(block, 0, 6 * BP_MIB, 3));
    if (!pool.arena.can_move)
        cr_skip_test("this kernel cannot move pages");
    check_size(counted(BP_COUNT_realloc_moved), 1);
    check_size(counted(BP_COUNT_realloc_exchanged), 0);
    release(block);
    block = allocate(30 * BP_MIB);
    stamp(block, 0, 30 * BP_MIB, 4);
    block = bp_pool_realloc(&pool, block, 33 * BP_MIB);
    block = bp_pool_realloc(&pool, block, 64 * BP_MIB);
    cr_assert(stamp_holds(block, 0, 30 * BP_MIB, 4));
    check_size(counted(BP_COUNT_realloc_copied), 0);
    check_audit(1);
}

/* The program's own mappings come first. */
Test(pool, pages_stay_where_they_are_when_mappings_run_short)
{
    fake_os.mappings_max = 16384 + 20;
    size_t moved = 0;
    void *blocks[40];
    for (size_t i = 0; i < LENGTH(blocks); i++) {
        if (i == 10)
            fake_os.mappings_max = 16384; /* what the moves took */
        blocks[i] = allocate(300000);
        stamp(blocks[i], 0, 300000, i);
        blocks[i] = bp_pool_realloc(&pool, blocks[i], 3000000);
        moved = counted(BP_COUNT_realloc_moved);
    }
    if (pool.arena.can_move)
        check_size(moved, 10);
    check_size(counted(BP_COUNT_realloc_copied_mappings), LENGTH(blocks) - moved);
    for (size_t i = 0; i < LENGTH(blocks); i++) {
        cr_assert(stamp_holds(blocks[i], 0, 300000, i));
        release(blocks[i]);
    }
    cr_assert_leq(fake_os.mappings_left.calls, 2, "counting takes time");
    check_audit(0);
}

Test(pool, realloc_too_large_leaves_the_block)
{
    void *block = allocate(100000);
    stamp(block, 0, 100000, 9);
    cr_assert_null(bp_pool_realloc(&pool, block, BP_SIZE_MAX_BYTES + 1));
    cr_assert_null(bp_pool_realloc(&pool, block, SIZE_MAX));
    cr_assert(stamp_holds(block, 0, 100000, 9));
    check_audit(1);
    release(block);
}

Test(pool, memory_of_one_size_serves_another)
{
    void *blocks[8];
    for (size_t i = 0; i < LENGTH(blocks); i++) {
        blocks[i] = allocate(4 * BP_MIB);
        memset(blocks[i], 0xff, 4 * BP_MIB);
    }
    for (size_t i = 0; i < LENGTH(blocks); i++)
        release(blocks[i]);
    bp_tcache_flush(bp_thread.caches[0]);
    char *zeros = bp_pool_calloc(&pool, 30 * BP_MIB);
    cr_assert(is_zero(zeros, 30 * BP_MIB));
    stamp(zeros, 0, 30 * BP_MIB, 4);
    check_audit(1);
    for (size_t i = 0; i < LENGTH(blocks); i++) {
        blocks[i] = bp_pool_calloc(&pool, 4 * BP_MIB);
        cr_assert(is_zero(blocks[i], 4 * BP_MIB));
        memset(blocks[i], 0xee, 4 * BP_MIB);
    }
    cr_assert(stamp_holds(zeros, 0, 30 * BP_MIB, 4));
    check_audit(1 + LENGTH(blocks));
}

static void leave_two(size_t first, size_t second)
{
    void *blocks[] = {allocate(first), allocate(second)};
    release(blocks[0]);
    release(blocks[1]);
    check_size(counted(BP_COUNT_borrowed), 0);
}

Test(pool, a_larger_buffer_that_is_enough_is_better_than_one_to_be_extended)
{
    leave_two(600 * BP_KIB, 1200 * BP_KIB);
    size_t footprint = pool.budget.footprint_bytes;
    void *block = allocate(1000 * BP_KIB);
    check_size(counted(BP_COUNT_borrowed), 1);
    void *other = allocate(600 * BP_KIB);
    check_size(counted(BP_COUNT_borrowed), 1);
    check_size(pool.budget.footprint_bytes, footprint);
    check_audit(2);
    release(block);
    release(other);
}

Test(pool, a_buffer_that_lacks_little_is_better_than_a_larger_one)
{
    leave_two(900 * BP_KIB, 1200 * BP_KIB);
    void *block = allocate(1000 * BP_KIB);
    check_size(counted(BP_COUNT_borrowed), 0);
    check_audit(1);
    release(block);
}

Test(pool, a_buffer_to_be_extended_is_better_than_one_twice_too_large)
{
    leave_two(600 * BP_KIB, 2040 * BP_KIB);
    void *block = allocate(900 * BP_KIB);
    check_size(counted(BP_COUNT_borrowed), 0);
    check_audit(1);
    release(block);
}

/* As a vector does: what it left behind serves its next size. */
Test(pool, doubling_by_hand_uses_its_own_old_buffers)
{
    size_t size = 16 * BP_MIB;
    char *block = allocate(size);
    stamp(block, 0, size, 1);
    for (; size < 512 * BP_MIB; size *= 2) {
        char *next = allocate(2 * size);
        cr_assert(stamp_holds(block, 0, size, 1));
        stamp(next, 0, 2 * size, 1);
        release(block);
        block = next;
    }
    if (!pool.arena.can_move)
        cr_skip_test("this kernel cannot move pages");
    cr_assert_geq(counted(BP_COUNT_exchanged_bytes), 128 * BP_MIB);
    cr_assert_leq(pool.budget.peak_footprint_bytes, 512 * BP_MIB * 2);
    check_audit(1);
}

Test(pool, errno_is_never_changed)
{
    errno = 77;
    void *block = allocate(100000);
    block = bp_pool_realloc(&pool, block, 5 * BP_MIB);
    (void)bp_pool_alloc_slow(&pool, SIZE_MAX, 1);
    release(block);
    fake_os.commit.fail = FAIL_ALWAYS;
    (void)allocate(BP_GIB);
    (void)bp_pool_trim(&pool);
    cr_assert_eq(errno, 77);
}

Test(pool, trim_gives_all_free_memory_back)
{
    void *kept = allocate(100000);
    void *blocks[12];
    for (size_t i = 0; i < LENGTH(blocks); i++)
        blocks[i] = allocate(200000);
    for (size_t i = 0; i < LENGTH(blocks); i++)
        release(blocks[i]);
    size_t free_bytes = audit_pool(&pool).cached_bytes;
    cr_assert_geq(free_bytes, 12 * 200000);
    check_size(bp_pool_trim(&pool), free_bytes);
    check_size(fake_os.purged_bytes, free_bytes);
    check_size(bp_pool_trim(&pool), 0);
    struct audit audit = audit_pool(&pool);
    check_size(audit.cached_bytes, 0);
    check_size(pool.budget.footprint_bytes, audit.live_bytes);
    release(kept);
    check_audit(0);
}

/* Errors of the program. */

static char *misused;

static void free_twice(void *unused)
{
    (void)unused;
    release(misused);
    release(misused);
}

static void free_inside(void *unused)
{
    (void)unused;
    release(misused + 64);
}

static void free_nowhere(void *unused)
{
    (void)unused;
    release(misused + 16 * BP_GIB);
}

static void free_next_slot(void *unused)
{
    (void)unused;
    release(misused + bp_class_stride_bytes(bp_class_of(100000)) * 3);
}

static void realloc_freed(void *unused)
{
    (void)unused;
    release(misused);
    (void)bp_pool_realloc(&pool, misused, 200000);
}

static void size_of_freed(void *unused)
{
    (void)unused;
    release(misused);
    (void)bp_pool_usable_bytes(&pool, misused);
}

Test(pool, misuse_stops_the_program_and_says_why)
{
    misused = allocate(100000);
    static const struct {
        void (*function)(void *unused);
        const char *what;
        const char *why;
    } cases[] = {
        {free_twice, "free", "a block that is free already (class 128K, pid "},
        {free_inside, "free", "bytes into the block of 100000 bytes at 0x"},
        {free_nowhere, "free", "no block was ever there (pid "},
        {free_next_slot, "free", "no block was ever there (pid "},
        {realloc_freed, "realloc", "a block that is free already (class 128K, pid "},
        {size_of_freed, "malloc_usable_size", "a block that is free already (class 128K, pid "},
    };
    for (size_t i = 0; i < LENGTH(cases); i++) {
        char line[64];
        (void)snprintf(line, sizeof line, "bufpool: %s(0x", cases[i].what);
        check_aborts(cases[i].function, NULL, line);
        cr_assert_not_null(strstr(run_apart(cases[i].function, NULL).text, cases[i].why), "%s", cases[i].why);
    }
}

/* Limits. */

Test(special_pool, without_cache_bytes_nothing_is_kept)
{
    options.cache_bytes = 0;
    make_pool();
    for (int i = 0; i < 20; i++) {
        char *block = bp_pool_calloc(&pool, 300000);
        cr_assert(is_zero(block, 300000));
        memset(block, 0xff, 300000);
        release(block);
        check_size(pool.budget.footprint_bytes, 0);
        check_size(pool.budget.cached_bytes, 0);
    }
    check_size(counted(BP_COUNT_drops), 20);
    check_audit(0);
}

Test(special_pool, cache_bytes_is_a_hard_limit)
{
    options.cache_bytes = 5 * BP_MIB;
    make_pool();
    void *blocks[32];
    for (size_t i = 0; i < LENGTH(blocks); i++)
        blocks[i] = allocate(100000 + i * 30000);
    for (size_t i = 0; i < LENGTH(blocks); i++) {
        release(blocks[i]);
        cr_assert_leq(audit_pool(&pool).cached_bytes, 5 * BP_MIB);
    }
    check_audit(0);
    cr_assert_gt(audit_pool(&pool).cached_bytes, 3 * BP_MIB, "and it is used");
    struct bp_stats_snapshot stats;
    bp_report_snapshot(&pool, &stats);
    cr_assert_leq(stats.peak_cached_bytes, 5 * BP_MIB);
}

Test(special_pool, max_bytes_is_a_hard_limit_of_what_is_live)
{
    options.max_bytes = 8 * BP_MIB;
    make_pool();
    void *first = allocate(5 * BP_MIB);
    cr_assert_not_null(first);
    cr_assert_null(allocate(4 * BP_MIB));
    check_size(counted(BP_COUNT_over_budget), 1);
    cr_assert_not_null(allocate(2 * BP_MIB));
    check_audit(2);
    release(first);
    void *second = allocate(4 * BP_MIB);
    cr_assert_not_null(second);
    check_audit(2);
}

/* What is cached counts, but never stands in the way of a request. */
Test(special_pool, cached_memory_makes_room_for_requests_under_max_bytes)
{
    options.max_bytes = 8 * BP_MIB;
    make_pool();
    void *blocks[7];
    for (size_t i = 0; i < LENGTH(blocks); i++)
        blocks[i] = allocate(BP_MIB);
    for (size_t i = 0; i < LENGTH(blocks); i++)
        release(blocks[i]);
    cr_assert_not_null(allocate(6 * BP_MIB), "nothing is live, 8 MiB are allowed");
    cr_assert_leq(pool.budget.footprint_bytes, 8 * BP_MIB);
    check_audit(1);
}

/* As before, when a shard has a little and the thread's own cache the most. */
Test(special_pool, the_own_cache_makes_room_after_the_shards_did)
{
    options.max_bytes = 8 * BP_MIB;
    make_pool();
    void *small = allocate(100000);
    void *large[2] = {allocate(3 * BP_MIB), allocate(3 * BP_MIB)};
    release(small);
    bp_tcache_flush(bp_thread.caches[0]);
    release(large[0]);
    release(large[1]);
    cr_assert_gt(bp_shards_cached_bytes(&pool.shards), 0);
    cr_assert_not_null(allocate(7 * BP_MIB), "nothing is live, 8 MiB are allowed");
    check_audit(1);
}

Test(special_pool, realloc_beyond_max_bytes_leaves_the_block)
{
    options.max_bytes = 8 * BP_MIB;
    make_pool();
    void *block = allocate(5 * BP_MIB);
    stamp(block, 0, 5 * BP_MIB, 5);
    cr_assert_null(bp_pool_realloc(&pool, block, 9 * BP_MIB));
    cr_assert_null(bp_pool_realloc(&pool, block, 100 * BP_MIB));
    cr_assert(stamp_holds(block, 0, 5 * BP_MIB, 5));
    check_audit(1);
    release(block);
    check_audit(0);
}

Test(special_pool, without_thread_caches_shards_serve)
{
    options.thread_cache_buffers = 0;
    make_pool();
    void *block = allocate(100000);
    release(block);
    cr_assert_eq(allocate(100000), block);
    struct bp_stats_snapshot stats;
    bp_report_snapshot(&pool, &stats);
    check_size(stats.thread_cache_hits, 0);
    check_size(stats.shard_hits, 1);
    check_audit(1);
}

Test(special_pool, shards_are_rounded_up_to_a_power_of_two)
{
    options.shard_count = 5;
    make_pool();
    check_size(pool.shards.count, 8);
    bp_pool_fini(&pool);
    options.shard_count = 128;
    make_pool();
    check_size(pool.shards.count, 128);
}

Test(special_pool, auto_values_are_chosen)
{
    bp_options_init(&options);
    make_pool();
    cr_assert(pool.shards.count >= 4 && bp_is_pow2(pool.shards.count));
    cr_assert(pool.caches.buffers_max >= 2 && pool.caches.buffers_max <= BP_THREAD_CACHE_MAX);
    check_size(pool.budget.cached_limit_bytes, bp_os_memory_bytes() / 100 * 25);
    check_size(pool.budget.footprint_limit_bytes, SIZE_MAX);
    check_size(pool.min_size_bytes, 64 * BP_KIB);
}

/* Slots of large classes begin late, where what they are asked for leaves room. */
Test(pool, blocks_of_any_size_and_alignment_share_the_slots_of_a_large_class)
{
    static const struct {
        size_t size_bytes, align_bytes;
    } requests[] = {{17 * BP_MIB, 1},           {32 * BP_MIB - 4097, 1},      {20 * BP_MIB, 16 * BP_MIB},
                    {32 * BP_MIB - 4096, 4096}, {30 * BP_MIB, 32 * BP_MIB}, {31 * BP_MIB, 2 * BP_MIB}};
    for (size_t round = 0; round < 4; round++) {
        void *blocks[2 * LENGTH(requests)];
        for (size_t i = 0; i < LENGTH(blocks); i++) {
            size_t which = i * (round + 1) % LENGTH(requests);
            blocks[i] = bp_pool_alloc_slow(&pool, requests[which].size_bytes, requests[which].align_bytes);
            cr_assert_eq((uintptr_t)blocks[i] % requests[which].align_bytes, 0);
            stamp(blocks[i], requests[which].size_bytes - page, page, round + i);
            stamp(blocks[i], 0, page, round + i);
        }
        check_audit(LENGTH(blocks));
        for (size_t i = 0; i < LENGTH(blocks); i++) {
            size_t which = i * (round + 1) % LENGTH(requests);
            cr_assert(stamp_holds(blocks[i], 0, page, round + i));
            cr_assert(stamp_holds(blocks[i], requests[which].size_bytes - page, page, round + i));
            release(blocks[i]);
        }
        check_audit(0);
    }
}

Test(pool, what_a_slot_loses_that_begins_elsewhere_is_counted)
{
    void *blocks[] = {allocate(17 * BP_MIB), allocate(17 * BP_MIB)}; /* one of them begins late */
    for (size_t i = 0; i < LENGTH(blocks); i++)
        release(blocks[i]);
    for (size_t i = 0; i < LENGTH(blocks); i++)
        cr_assert_not_null(allocate(32 * BP_MIB - BP_COLOUR_BYTES));
    cr_assert_geq(counted(BP_COUNT_settled_bytes), 17 * BP_MIB);
    check_size(counted(BP_COUNT_settled_bytes), fake_os.purged_bytes);
    check_audit(LENGTH(blocks));
}

/* The kernel refuses. */

Test(pool, a_slot_that_keeps_memory_where_a_request_cannot_use_it_is_left)
{
    void *blocks[] = {allocate(17 * BP_MIB), allocate(17 * BP_MIB)}; /* one of them begins late */
    for (size_t i = 0; i < LENGTH(blocks); i++)
        release(blocks[i]);
    fake_os.purge.fail = FAIL_ALWAYS;
    size_t size = 32 * BP_MIB - BP_COLOUR_BYTES;
    size_t refused = 0;
    for (size_t i = 0; i < LENGTH(blocks); i++) {
        blocks[i] = allocate(size);
        refused += !blocks[i];
        check_audit(i + 1 - refused);
    }
    cr_assert_gt(refused, 0);
    check_size(counted(BP_COUNT_no_memory), refused);
    fake_os.purge.fail = 0;
    cr_assert_not_null(allocate(size));
    check_audit(LENGTH(blocks) + 1 - refused);
}

Test(pool, without_memory_there_is_no_block_and_old_ones_stay)
{
    void *block = allocate(100000);
    stamp(block, 0, 100000, 6);
    fake_os.commit.fail = FAIL_ALWAYS;
    cr_assert_null(allocate(5 * BP_MIB));
    cr_assert_null(bp_pool_calloc(&pool, 5 * BP_MIB));
    cr_assert_null(bp_pool_alloc_slow(&pool, 5 * BP_MIB, BP_MIB));
    cr_assert_null(bp_pool_realloc(&pool, block, 5 * BP_MIB));
    check_size(counted(BP_COUNT_no_memory), 4);
    cr_assert(stamp_holds(block, 0, 100000, 6));
    check_audit(1);
    fake_os.commit.fail = 0;
    block = bp_pool_realloc(&pool, block, 5 * BP_MIB);
    cr_assert(stamp_holds(block, 0, 100000, 6));
    check_audit(1);
}

Test(pool, when_memory_is_short_free_buffers_are_given_back_first)
{
    release(allocate(100000));
    bp_tcache_flush(bp_thread.caches[0]);
    fake_os.commit.fail = 1;
    cr_assert_not_null(allocate(5 * BP_MIB));
    cr_assert_gt(fake_os.purged_bytes, 0);
    check_audit(1);
}

Test(pool, near_the_end_of_memory_what_is_free_makes_room_for_what_is_new)
{
    pool.budget.roomy_bytes = 20 * BP_MIB;
    pool.arena.can_move = false; /* or pages would move from there to here */
    void *blocks[16];
    for (size_t i = 0; i < LENGTH(blocks); i++)
        blocks[i] = allocate(1000000);
    for (size_t i = 0; i < LENGTH(blocks); i++)
        release(blocks[i]);
    size_t purged_bytes = fake_os.purged_bytes;
    for (size_t i = 0; i < 10; i++) {
        blocks[i] = allocate(9000000);
        cr_assert_not_null(blocks[i], "a program that needs more than that gets it");
        size_t live_bytes = (i + 1) * (9000000 + 2 * page);
        cr_assert_leq(pool.budget.footprint_bytes, bp_max(20 * BP_MIB, live_bytes));
    }
    cr_assert_geq(fake_os.purged_bytes - purged_bytes, 14 * BP_MIB);
    check_audit(10);
}

Test(special_pool, charged_memory_that_is_refused_leaves_the_old_block)
{
    struct rlimit limit;
    (void)getrlimit(RLIMIT_DATA, &limit);
    limit.rlim_cur = (rlim_t)bp_min((size_t)1 << 44, limit.rlim_max);
    cr_assert_eq(setrlimit(RLIMIT_DATA, &limit), 0);
    make_pool();
    cr_assert(pool.arena.commit_is_charged);
    void *block = allocate(300000);
    stamp(block, 0, 300000, 6);
    fake_os.commit.fail = FAIL_ALWAYS;
    cr_assert_null(bp_pool_realloc(&pool, block, 400000), "in place");
    cr_assert_null(bp_pool_realloc(&pool, block, 50 * BP_MIB), "elsewhere");
    cr_assert_null(allocate(100000));
    cr_assert(stamp_holds(block, 0, 300000, 6));
    check_audit(1);
    fake_os.commit.fail = 0;
    block = bp_pool_realloc(&pool, block, 50 * BP_MIB);
    cr_assert(stamp_holds(block, 0, 300000, 6));
    check_audit(1);
}

Test(special_pool, a_pool_that_cannot_be_made_holds_nothing)
{
    fake_os.reserve.fail = FAIL_ALWAYS;
    cr_assert_eq(bp_pool_init(&pool, 0, &options), -ENOMEM);
    check_size(fake_os.mapped_bytes, 0);
    fake_os.reserve.fail = 0;
    for (size_t maps = 0; maps < 2; maps++) {
        memset(&pool, 0, sizeof pool);
        fake_os.map = (struct fake_call){.skip = maps, .fail = FAIL_ALWAYS};
        options.shard_count = 128;
        cr_assert_eq(bp_pool_init(&pool, 0, &options), -ENOMEM, "after %zu mappings", maps);
        check_size(fake_os.mapped_bytes, 0);
    }
}

Test(pool, its_end_gives_everything_back)
{
    (void)allocate(5 * BP_MIB);
    release(allocate(100000));
    bp_pool_fini(&pool);
    check_size(fake_os.mapped_bytes, 0);
    cr_assert_eq(bp_thread.caches[0], bp_tcache_none);
}

/* Threads. */

static void *free_here(void *block)
{
    release(block);
    return NULL;
}

static void run_thread(void *(*function)(void *argument), void *argument)
{
    pthread_t thread;
    check(pthread_create(&thread, NULL, function, argument) == 0);
    (void)pthread_join(thread, NULL);
}

Test(pool, a_block_may_be_freed_by_another_thread)
{
    void *block = allocate(300000);
    run_thread(free_here, block);
    check_audit(0);
    check_size(pool.caches.thread_count, 1);
    cr_assert_eq(allocate(300000), block, "and it comes back from a shard");
}

static pthread_key_t late_key;
static size_t late_rounds;

static void allocate_late(void *argument)
{
    if (++late_rounds < 3) {
        (void)pthread_setspecific(late_key, argument);
        return;
    }
    for (int i = 0; i < 10; i++) {
        void *block = allocate(300000);
        memset(block, 0xff, 300000);
        release(block);
    }
}

static void *be_late(void *argument)
{
    (void)pthread_setspecific(late_key, argument);
    release(allocate(300000));
    return NULL;
}

Test(pool, a_thread_may_allocate_after_its_cache_ended)
{
    cr_assert_eq(pthread_key_create(&late_key, allocate_late), 0);
    run_thread(be_late, &late_key);
    check_size(late_rounds, 3);
    check_audit(0);
}

/* Attributes. */

Test(pool, a_tainted_block_goes_by_the_slow_path_and_its_slot_is_mapped_anew)
{
    char *block = allocate(300000);
    stamp(block, 0, 300000, 1);
    bp_arena_taint(&pool.arena, block + 5 * page, page);
    size_t offset = bp_arena_offset(&pool.arena, block);
    cr_assert_not(bp_pool_free_fast(&pool, 0, block, offset));
    cr_assert(stamp_holds(block, 0, 300000, 1), "it is the program's until it is freed");
    cr_assert_geq(bp_pool_usable_bytes(&pool, block), 300000);
    check_audit(1);
    bp_pool_free_slow(&pool, block);
    check_size(counted(BP_COUNT_renewed), 1);
    check_size(fake_os.renew.calls, 1);
    check_size(pool.budget.footprint_bytes, 0);
    check_audit(0);
    char *next = bp_pool_calloc(&pool, 300000);
    cr_assert_eq(next, block, "the slot serves again");
    cr_assert(bp_pool_free_fast(&pool, 0, next, offset) || counted(BP_COUNT_renewed) == 1);
}

Test(pool, what_was_not_touched_is_not_tainted)
{
    char *block = allocate(300000);
    char *other = allocate(300000);
    bp_arena_taint(&pool.arena, other, 300000);
    bp_arena_taint(&pool.arena, &block, sizeof block);
    bp_arena_taint(&pool.arena, NULL, 4096);
    bp_arena_taint(&pool.arena, (char *)bp_load_relaxed(&pool.arena.base) - page, page);
    release(block);
    check_size(counted(BP_COUNT_renewed), 0);
    release(other);
    check_size(counted(BP_COUNT_renewed), 1);
    check_audit(0);
}

/* As NumPy does with every block of 4 MiB or more. */
Test(pool, a_block_with_huge_pages_is_recycled_warm)
{
    char *block = allocate(5000000);
    bp_arena_want_huge(&pool.arena, block + page, 4000000);
    release(block);
    cr_assert_eq(allocate(5000000), block);
    check_size(counted(BP_COUNT_renewed), 0);
    check_size(fake_os.renew.calls, 0);
    char *other = allocate(5000000);
    release(block);
    release(other);
    (void)bp_pool_trim(&pool);
    check_size(fake_os.renew.calls, 1); /* its advice ends with its pages */
    check_size(fake_os.purge.calls, 1);
    check_size(pool.budget.footprint_bytes, 0);
    check_audit(0);
    block = bp_pool_calloc(&pool, 5000000);
    cr_assert(is_zero(block, 5000000));
    release(block);
    (void)bp_pool_trim(&pool);
    check_size(fake_os.renew.calls, 1);
}

Test(pool, huge_pages_that_cannot_be_mapped_anew_are_given_back_as_others)
{
    char *block = allocate(5000000);
    stamp(block, 0, 5000000, 1);
    bp_arena_want_huge(&pool.arena, block, 5000000);
    release(block);
    fake_os.renew.fail = FAIL_ALWAYS;
    cr_assert_geq(bp_pool_trim(&pool), 5000000);
    check_size(pool.budget.footprint_bytes, 0);
    check_audit(0);
    block = bp_pool_calloc(&pool, 5000000);
    cr_assert(is_zero(block, 5000000));
}

Test(pool, advice_on_huge_pages_ends_where_the_pages_moved_away)
{
    char *block = allocate(5000000);
    const struct bp_slot *slot = bp_arena_live_slot(&pool.arena, block);
    bp_arena_want_huge(&pool.arena, block, 5000000);
    block = bp_pool_realloc(&pool, block, 50000000);
    if (counted(BP_COUNT_realloc_moved) == 0)
        cr_skip_test("this kernel cannot move pages and keep the place");
    cr_assert(bp_slot_wants_huge(bp_arena_live_slot(&pool.arena, block)));
    cr_assert_not(bp_slot_wants_huge(slot));
    check_size(fake_os.renew.calls, 1);
    check_audit(1);
}

/* Sparse use after dense use with huge pages: not one of them more. */
Test(pool, zeros_by_dropping_pages_come_without_huge_pages)
{
    size_t size = 300 * BP_MIB;
    char *block = allocate(size);
    bp_arena_want_huge(&pool.arena, block, size);
    release(block);
    block = bp_pool_calloc(&pool, size);
    check_size(fake_os.renew.calls, 1);
    cr_assert(block[0] == 0 && block[size - 1] == 0);
    check_audit(1);
}

Test(pool, a_tainted_block_grows_in_place_or_by_copying)
{
    char *block = allocate(300000);
    stamp(block, 0, 300000, 1);
    bp_arena_taint(&pool.arena, block, 1);
    cr_assert_eq(bp_pool_realloc(&pool, block, 400000), block);
    block = bp_pool_realloc(&pool, block, 5000000);
    cr_assert(stamp_holds(block, 0, 300000, 1));
    check_size(counted(BP_COUNT_realloc_moved), 0);
    check_size(counted(BP_COUNT_realloc_copied), 1);
    check_size(counted(BP_COUNT_realloc_copied_changed), 1);
    check_size(counted(BP_COUNT_renewed), 1);
    check_audit(1);
    release(block);
    check_audit(0);
}

/* What it lost meanwhile, with all that the program did to it, it gets again as plain memory. */
Test(pool, a_tainted_block_that_shrinks_and_grows_is_plain_at_its_end)
{
    char *block = allocate(300000);
    stamp(block, 0, 200000, 1);
    char *last = (char *)bp_align_up((uintptr_t)block + 250000, page);
    bp_arena_taint(&pool.arena, last, page);
    cr_assert_eq(mprotect(last, page, PROT_READ), 0);
    cr_assert_eq(bp_pool_realloc(&pool, block, 200000), block);
    cr_assert_eq(bp_pool_realloc(&pool, block, 300000), block);
    stamp(block, 0, 300000, 1);
    check_audit(1);
    release(block);
    check_audit(0);
}

/* And if the kernel refuses that, elsewhere. */
Test(pool, a_tainted_block_whose_end_stays_as_it_is_shrinks_by_copying)
{
    char *block = allocate(300000);
    stamp(block, 0, 200000, 1);
    bp_arena_taint(&pool.arena, block + 250000, page);
    fake_os.renew.fail = 1;
    char *moved = bp_pool_realloc(&pool, block, 200000);
    cr_assert(moved != block && stamp_holds(moved, 0, 200000, 1));
    check_audit(1);
}

Test(pool, a_range_over_everything_taints_live_and_free)
{
    void *blocks[LENGTH(some_sizes)];
    for (int turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < LENGTH(some_sizes); i++)
            blocks[i] = allocate(some_sizes[i]);
        for (size_t i = 0; i < LENGTH(some_sizes); i += 2)
            release(blocks[i]);
        bp_arena_taint(&pool.arena, NULL, SIZE_MAX);
        for (size_t i = 1; i < LENGTH(some_sizes); i += 2)
            release(blocks[i]);
    }
    for (size_t i = 0; i < LENGTH(some_sizes); i++)
        blocks[i] = allocate(some_sizes[i]);
    cr_assert_geq(counted(BP_COUNT_renewed) + fake_os.renew.calls, LENGTH(some_sizes));
    for (size_t i = 0; i < LENGTH(some_sizes); i++)
        release(blocks[i]);
}

static int (*real_move)(void *from, void *to, size_t bytes);

static int move_and_taint_all(void *from, void *to, size_t bytes)
{
    int error = real_move(from, to, bytes);
    bp_arena_taint(&pool.arena, NULL, SIZE_MAX);
    return error;
}

/* As another thread may do, when it loads a library that registers memory with devices. */
Test(pool, a_block_that_is_tainted_while_it_moves_has_an_address_without_a_mark)
{
    char *block = allocate(6 * BP_MIB);
    stamp(block, 0, 6 * BP_MIB, 3);
    real_move = bp_os.move;
    bp_os.move = move_and_taint_all;
    block = bp_pool_realloc(&pool, block, 16 * BP_MIB);
    bp_os.move = real_move;
    cr_assert(bp_arena_contains(&pool.arena, block));
    cr_assert(stamp_holds(block, 0, 6 * BP_MIB, 3));
    check_audit(1);
    release(block);
    check_audit(0);
}

Test(pool, a_slot_that_cannot_be_mapped_anew_is_given_up)
{
    char *block = allocate(300000);
    bp_arena_taint(&pool.arena, block, 1);
    fake_os.renew.fail = FAIL_ALWAYS;
    release(block);
    check_size(counted(BP_COUNT_lost), 1);
    check_size(counted(BP_COUNT_renewed), 0);
    cr_assert_gt(pool.budget.footprint_bytes, 0, "nobody knows what it holds");
    for (int i = 0; i < 10; i++)
        cr_assert_neq(allocate(300000), block);
}

Test(pool, locked_down_it_makes_accessible_only_what_is_asked_for)
{
    char *block = allocate(300000);
    release(block);
    bp_pool_lock_down(&pool);
    size_t commits = fake_os.commit.calls;
    for (size_t i = 0; i < LENGTH(some_sizes); i++) {
        char *p = allocate(some_sizes[i]);
        if (p)
            stamp(p, 0, some_sizes[i], i);
        if (p)
            release(p);
    }
    cr_assert_geq(fake_os.commit.calls, commits);
    cr_assert_not(pool.arena.can_move);
    check_audit(0);
}

/* Leaves so much address space to this process, of what it does not use yet. */
static void limit_address_space(size_t bytes)
{
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    cr_assert_eq(getrlimit(RLIMIT_AS, &limit), 0);
    char statm[64];
    cr_assert_gt(bp_os_read_file("/proc/self/statm", statm, sizeof statm), 0);
    limit.rlim_cur = strtoul(statm, NULL, 10) * bp_os_page_bytes() + bytes;
    cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
}

Test(pool, it_makes_way_only_where_that_can_help)
{
    release(allocate(300000));
    cr_assert_not(bp_pool_make_way(&pool, 300000), "the address space is not limited");
    limit_address_space(BP_MIB);
    cr_assert_not(bp_pool_make_way(&pool, SIZE_MAX));
    cr_assert_not(bp_pool_make_way(&pool, SIZE_MAX / 2));
    check_size(pool.arena.ceded_bytes, 0);
    cr_assert_not_null(allocate(20 * BP_MIB));
    cr_assert(bp_pool_make_way(&pool, 300000));
    cr_assert_geq(pool.arena.ceded_bytes, pool.arena.reservation_bytes / 2);
}

Test(pool, it_gives_up_what_was_never_used_before_what_is_warm)
{
    char *block = allocate(300000);
    stamp(block, 0, 300000, 1);
    release(allocate(20 * BP_MIB));
    limit_address_space(BP_MIB);
    cr_assert(bp_pool_make_way(&pool, 10 * BP_MIB));
    cr_assert_geq(pool.budget.cached_bytes, 20 * BP_MIB, "what is warm stays");
    cr_assert_not_null(mmap(NULL, 10 * BP_MIB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

    size_t ceded_bytes = pool.arena.ceded_bytes;
    limit_address_space(BP_MIB);
    cr_assert(bp_pool_make_way(&pool, 10 * BP_MIB));
    cr_assert_geq(pool.arena.ceded_bytes, ceded_bytes + 32 * BP_MIB);
    cr_assert_neq(mmap(NULL, 10 * BP_MIB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), MAP_FAILED);
    check_audit(1);
    cr_assert(stamp_holds(block, 0, 300000, 1));
    for (int i = 0; i < 3; i++)
        cr_assert_not(bp_pool_make_way(&pool, BP_MIB), "there is no more");

    char *grown = bp_pool_realloc(&pool, block, 500000);
    cr_assert_null(grown, "there is nowhere to grow to");
    cr_assert(stamp_holds(block, 0, 300000, 1));
    ceded_bytes = pool.arena.ceded_bytes;
    release(block);
    check_audit(0);
    (void)bp_pool_make_way(&pool, BP_MIB); /* unless the free did it */
    cr_assert_geq(pool.arena.ceded_bytes, ceded_bytes + 300000);
    check_size(pool.budget.footprint_bytes, 0);
}

Test(pool, blocks_of_slots_that_were_ceded_come_and_go)
{
    char *blocks[LENGTH(some_sizes)];
    for (size_t i = 0; i < LENGTH(some_sizes); i++) {
        blocks[i] = allocate(some_sizes[i]);
        if (blocks[i])
            stamp(blocks[i], 0, some_sizes[i], i);
    }
    cr_assert_gt(bp_pool_cede(&pool), 0);
    for (size_t i = 0; i < LENGTH(some_sizes); i++) {
        if (!blocks[i])
            continue;
        cr_assert(stamp_holds(blocks[i], 0, some_sizes[i], i));
        release(blocks[i]);
        blocks[i] = allocate(some_sizes[i]); /* of what is in its thread's cache, or none */
        if (blocks[i])
            release(blocks[i]);
    }
    check_audit(0);
    (void)bp_pool_cede(&pool);
    check_size(pool.budget.footprint_bytes, 0);
}

/* What the kernel has of the arena that can be written to. */
static size_t writable_bytes(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    cr_assert_not_null(maps);
    size_t bytes = 0;
    char line[512];
    while (fgets(line, sizeof line, maps)) {
        char *at;
        uintptr_t start = strtoull(line, &at, 16);
        uintptr_t end = strtoull(at + 1, &at, 16);
        if (bp_arena_contains(&pool.arena, (void *)start) && at[2] == 'w')
            bytes += end - start;
    }
    (void)fclose(maps);
    return bytes;
}

static void *take_and_free(void *unused)
{
    release(bp_pool_realloc(&pool, allocate(100000), 5000000));
    return unused;
}

/* A block that grew has a slot many times its size, and another one begins late. */
Test(pool, locked_down_it_keeps_no_more_accessible_than_blocks_use)
{
    size_t sizes[] = {20 * BP_MIB, 17 * BP_MIB, 33 * BP_MIB, 300000};
    char *blocks[LENGTH(sizes)];
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        blocks[i] = bp_pool_realloc(&pool, allocate(sizes[i] / 4), sizes[i]);
        stamp(blocks[i], 0, sizes[i], i);
    }
    release(allocate(9000000));
    run_thread(take_and_free, NULL);
    const struct bp_tcache *cache = bp_thread.caches[0];
    bp_pool_lock_down(&pool);
    size_t slack_bytes = 512 * BP_KIB; /* of each slot */
    cr_assert_leq(writable_bytes(), pool.budget.footprint_bytes + 8 * slack_bytes);
    cr_assert_eq(bp_thread.caches[0], cache);
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        cr_assert(stamp_holds(blocks[i], 0, sizes[i], i));
        blocks[i] = bp_pool_realloc(&pool, blocks[i], sizes[i] + 3 * BP_MIB);
        cr_assert(stamp_holds(blocks[i], 0, sizes[i], i));
        stamp(blocks[i], 0, sizes[i] + 3 * BP_MIB, i);
        check_audit(LENGTH(sizes));
    }
    run_thread(take_and_free, NULL);
    for (size_t i = 0; i < LENGTH(sizes); i++)
        release(blocks[i]);
    (void)bp_pool_trim(&pool);
    check_audit(0);
    cr_assert_leq(writable_bytes(), 8 * slack_bytes);
}

/* Fork. */

static void use_in_child(void *block)
{
    bp_pools_postfork_child((struct bp_pool *[]){&pool}, 1);
    check(stamp_holds(block, 0, 300000, 8));
    struct bp_stats_snapshot stats;
    bp_report_snapshot(&pool, &stats);
    check_size(stats.large_requests, 0);
    check_size(stats.threads, 0);
    check_audit(1);
    release(block);
    for (int i = 0; i < 50; i++)
        release(bp_pool_realloc(&pool, allocate(100000), 100000 * (size_t)(i + 1)));
    run_thread(free_here, allocate(100000));
    (void)bp_pool_trim(&pool);
    check_audit(0);
}

Test(pool, a_child_starts_with_the_parents_memory_and_its_own_counts)
{
    void *block = allocate(300000);
    stamp(block, 0, 300000, 8);
    release(allocate(100000));
    bp_pools_prefork((struct bp_pool *[]){&pool}, 1);
    check_says(use_in_child, block, "");
    bp_pools_postfork_parent((struct bp_pool *[]){&pool}, 1);
    cr_assert(stamp_holds(block, 0, 300000, 8));
    check_audit(1);
    release(block);
    check_audit(0);
}

static _Atomic(bool) done;

static void *allocate_and_free(void *unused)
{
    while (!bp_load_acquire(&done)) {
        void *block = allocate(100000);
        void *other = bp_pool_calloc(&pool, 200000);
        stamp(block, 0, 100000, 1);
        release(other);
        release(block);
    }
    return unused;
}

/* Fills many blocks at once: two that overlap would spoil each other. */
static void check_blocks_are_apart(void)
{
    void *blocks[24];
    for (size_t i = 0; i < LENGTH(blocks); i++) {
        blocks[i] = allocate(50000 + i * 10000);
        stamp(blocks[i], 0, 50000 + i * 10000, i);
    }
    for (size_t i = 0; i < LENGTH(blocks); i++) {
        check(stamp_holds(blocks[i], 0, 50000 + i * 10000, i));
        release(blocks[i]);
    }
}

static void fork_again(void *unused)
{
    bp_pools_postfork_child((struct bp_pool *[]){&pool}, 1);
    check_blocks_are_apart();
    bp_pools_prefork((struct bp_pool *[]){&pool}, 1);
    pid_t child = fork();
    if (child == 0) {
        bp_pools_postfork_child((struct bp_pool *[]){&pool}, 1);
        check_blocks_are_apart();
        _exit(0);
    }
    bp_pools_postfork_parent((struct bp_pool *[]){&pool}, 1);
    int status = 1;
    (void)waitpid(child, &status, 0);
    check(status == 0);
    (void)unused;
}

/* Wherever the other thread was. A buffer that it was just taking is lost to the child, which is all. */
Test(pool, children_work_though_other_threads_were_busy)
{
    pthread_t threads[2];
    for (size_t i = 0; i < LENGTH(threads); i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, allocate_and_free, NULL), 0);
    for (int i = 0; i < 30; i++) {
        bp_pools_prefork((struct bp_pool *[]){&pool}, 1);
        struct outcome outcome = run_apart(fork_again, NULL);
        bp_pools_postfork_parent((struct bp_pool *[]){&pool}, 1);
        cr_assert_eq(outcome.status, 0, "%s", outcome.text);
    }
    bp_store_release(&done, true);
    for (size_t i = 0; i < LENGTH(threads); i++)
        (void)pthread_join(threads[i], NULL);
    check_audit(0);
}

/* The report. */

Test(pool, requests_are_counted_once_each_whatever_becomes_of_them)
{
    size_t requests = 0;
    void *blocks[64] = {0};
    for (size_t i = 0; i < 1000; i++) {
        size_t at = i * 7 % LENGTH(blocks);
        if (blocks[at])
            release(blocks[at]);
        blocks[at] = i % 3 == 0 ? bp_pool_calloc(&pool, 50000 + i * 100) : allocate(50000 + i % 10 * 90000);
        requests++;
    }
    cr_assert_null(bp_pool_alloc_slow(&pool, SIZE_MAX, 1));
    fake_os.commit.fail = FAIL_ALWAYS;
    cr_assert_null(allocate(BP_GIB));
    struct bp_stats_snapshot stats;
    bp_report_snapshot(&pool, &stats);
    check_size(stats.large_requests, requests + 2);
    check_size(stats.forwarded, 2);
    check_size(stats.large_requests,
               stats.thread_cache_hits + stats.shard_hits + stats.stolen + stats.fresh + stats.forwarded);
    struct audit audit = audit_pool(&pool);
    check_size(stats.live_bytes, audit.live_bytes);
    check_size(stats.cached_bytes, audit.cached_bytes);
    check_size(stats.footprint_bytes, audit.live_bytes + audit.cached_bytes);
    cr_assert_geq(stats.peak_live_bytes, stats.live_bytes);
}
