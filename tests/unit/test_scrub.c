/* SPDX-License-Identifier: MIT */
/* The random histories of test_model.c look at every byte that blocks show; here is what they cannot see. */
#include "scrub.h"

#include <string.h>
#include <sys/mman.h>

#include "audit.h"
#include "fake_os.h"
#include "pool.h"
#include "report.h"
#include "stamp.h"
#include "support.h"

static struct bp_pool pool;
static size_t page;

static void make_pool(enum bp_scrub scrub)
{
    fake_os_install();
    page = bp_os_page_bytes();
    struct bp_options options;
    bp_options_init(&options);
    options.min_size_bytes = 1;
    options.cache_bytes = 4 * BP_GIB;
    options.scrub = scrub;
    cr_assert_eq(bp_pool_init(&pool, 0, &options), 0);
}

static void make_freeing_pool(void)
{
    make_pool(BP_SCRUB_FREE);
}

static void make_allocating_pool(void)
{
    make_pool(BP_SCRUB_ALLOC);
}

TestSuite(scrub_free, .init = make_freeing_pool);
TestSuite(scrub_alloc, .init = make_allocating_pool);

static size_t counted(enum bp_counter which)
{
    struct bp_stats_snapshot stats;
    bp_report_snapshot(&pool, &stats);
    return stats.counters[which];
}

static void check_audit(size_t live_count)
{
    struct audit audit = audit_pool(&pool);
    if (audit.problem[0] != '\0')
        check_failed(__FILE__, __LINE__, "%s", audit.problem);
    check_size(audit.live_count, live_count);
}

/* A block that is written to wherever it may be. */
static char *make(size_t size)
{
    char *block = bp_pool_alloc_fast(0, size);
    if (!block)
        block = bp_pool_alloc_slow(&pool, size, 1);
    memset(block, 0xaa, bp_pool_usable_bytes(&pool, block));
    return block;
}

static void drop(char *block)
{
    if (!bp_pool_free_fast(&pool, 0, block, bp_arena_offset(&pool.arena, block)))
        bp_pool_free_slow(&pool, block);
}

/* The whole dirty extent of a slot. */
static bool slot_is_zero(const struct bp_slot *slot)
{
    return is_zero(bp_slot_base(&pool.arena, slot), slot->dirty_bytes);
}

Test(scrub_free, nothing_is_left_after_free)
{
    static const size_t sizes[] = {1, 4096, 65536, 300001, 5 * BP_MIB, 40 * BP_MIB};
    for (int turn = 0; turn < 3; turn++) {
        for (size_t i = 0; i < LENGTH(sizes); i++) {
            char *block = make(sizes[i]);
            const struct bp_slot *slot = bp_arena_live_slot(&pool.arena, block);
            drop(block);
            cr_assert(slot_is_zero(slot), "%zu", sizes[i]);
        }
    }
    cr_assert_gt(counted(BP_COUNT_scrubbed_bytes), 3 * 5 * BP_MIB);
    check_audit(0);
}

Test(scrub_free, the_tail_goes_when_a_block_shrinks)
{
    char *block = make(BP_MIB);
    size_t kept = 600000;
    cr_assert_eq(bp_pool_realloc(&pool, block, kept), block);
    const struct bp_slot *slot = bp_arena_live_slot(&pool.arena, block);
    size_t end = bp_slot_extent(&pool.arena, slot, block, kept);
    cr_assert_gt(slot->dirty_bytes, end, "not trimmed");
    cr_assert(is_zero(bp_slot_base(&pool.arena, slot) + end, slot->dirty_bytes - end));
    cr_assert_eq(block[kept - 1], (char)0xaa);
}

Test(scrub_free, calloc_clears_nothing)
{
    drop(make(BP_MIB));
    char *block = bp_pool_calloc(&pool, BP_MIB);
    cr_assert(is_zero(block, BP_MIB));
    check_size(counted(BP_COUNT_calloc_bytes_zeroed), 0);
    check_size(counted(BP_COUNT_calloc_bytes_not_zeroed), BP_MIB);
}

Test(scrub_free, a_sparse_block_stays_sparse)
{
    char *block = bp_pool_alloc_slow(&pool, 200 * BP_MIB, 1);
    block[0] = block[100 * BP_MIB] = 1;
    drop(block);
    check_size(pool.budget.footprint_bytes, 0);
    check_size(counted(BP_COUNT_scrubbed_bytes), 0);
    cr_assert_geq(counted(BP_COUNT_scrub_dropped_bytes), 200 * BP_MIB);
    check_audit(0);
}

Test(scrub_free, zeros_are_written_where_the_kernel_keeps_the_pages)
{
    char *block = bp_pool_alloc_slow(&pool, 20 * BP_MIB, 1);
    block[0] = block[10 * BP_MIB] = 1;
    const struct bp_slot *slot = bp_arena_live_slot(&pool.arena, block);
    fake_os.purge.fail = FAIL_ALWAYS;
    drop(block);
    cr_assert_geq(slot->dirty_bytes, 20 * BP_MIB);
    cr_assert(slot_is_zero(slot));
    check_size(counted(BP_COUNT_scrub_dropped_bytes), 0);
}

/* The block was copied half way, and the kernel does not take its old pages back. */
Test(scrub_free, what_a_broken_move_leaves_behind_goes_too)
{
    char *block = make(BP_MIB);
    struct bp_slot *slot = bp_arena_live_slot(&pool.arena, block);
    slot->seam_count = 1;
    slot->seam_pages[0] = 64;
    pool.arena.moves_across = BP_ACROSS_NO;
    fake_os.move.skip = 1;
    fake_os.move.fail = FAIL_ALWAYS;
    fake_os.renew.fail = FAIL_ALWAYS;
    fake_os.purge.fail = FAIL_ALWAYS;
    char *moved = bp_pool_realloc(&pool, block, 20 * BP_MIB);
    if (counted(BP_COUNT_realloc_moved) == 0)
        cr_skip_test("this kernel cannot move pages");
    cr_assert_gt(slot->dirty_bytes, 0);
    cr_assert(slot_is_zero(slot));
    cr_assert(moved[0] == (char)0xaa && moved[BP_MIB - 1] == (char)0xaa);
    check_audit(1);
}

Test(scrub_free, what_was_written_below_a_block_goes_too)
{
    char *block = make(BP_MIB);
    while ((uintptr_t)block % page == 0)
        block = make(BP_MIB);
    const struct bp_slot *slot = bp_arena_live_slot(&pool.arena, block);
    block[-1] = 1;
    drop(block);
    cr_assert(slot_is_zero(slot));
}

/* The program lets nobody write to the second half of its block, and the kernel does not take its pages back. */
static char *make_protected(void)
{
    char *block = make(BP_MIB);
    char *half = (char *)bp_align_up((uintptr_t)block + 500000, page); // NOLINT(performance-no-int-to-ptr)
    bp_arena_taint(&pool.arena, half, page);
    cr_assert_eq(mprotect(half, 500000, PROT_READ), 0);
    fake_os.purge.fail = FAIL_ALWAYS;
    return block;
}

Test(scrub_free, tainted_memory_is_not_touched)
{
    char *block = make_protected();
    cr_assert_eq(bp_pool_realloc(&pool, block, 900000), block);
    drop(block);
    check_size(counted(BP_COUNT_scrubbed_bytes), 0);
    check_size(counted(BP_COUNT_renewed), 1);
}

Test(scrub_free, threads_keep_no_buffers)
{
    for (int i = 0; i < 100; i++)
        drop(make(100000));
    check_size(bp_tcaches_cached_bytes(&pool.caches), 0);
    check_size(counted(BP_COUNT_drops), 0);
    struct bp_stats_snapshot stats;
    bp_report_snapshot(&pool, &stats);
    check_size(stats.shard_hits, 99);
}

Test(scrub_alloc, a_block_shows_zeros_to_the_end_of_its_page)
{
    static const size_t sizes[] = {1, 5000, 65536, 300001, 5 * BP_MIB};
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        drop(make(2 * sizes[i]));
        char *block = bp_pool_alloc_slow(&pool, sizes[i], 1);
        cr_assert(is_zero(block, bp_pool_usable_bytes(&pool, block)), "%zu", sizes[i]);
        drop(block);
        block = bp_pool_alloc_slow(&pool, sizes[i], 4096);
        cr_assert(is_zero(block, bp_pool_usable_bytes(&pool, block)), "%zu, aligned", sizes[i]);
        drop(block);
    }
    cr_assert_gt(counted(BP_COUNT_scrubbed_bytes), 0);
    check_audit(0);
}

Test(scrub_alloc, a_block_that_grows_shows_zeros)
{
    drop(make(BP_MIB));
    char *block = make(600000);
    cr_assert_eq(bp_pool_realloc(&pool, block, BP_MIB), block);
    size_t end = bp_align_up((size_t)block + 600000, page) - (size_t)block;
    cr_assert(is_zero(block + end, BP_MIB - end));
    cr_assert_eq(block[end - 1], (char)0xaa);
}

/* Others' bytes wait behind it, where the program lets nobody write. */
Test(scrub_alloc, a_tainted_block_grows_elsewhere)
{
    drop(make(BP_MIB));
    char *block = make(600000);
    char *end = (char *)bp_align_up((uintptr_t)block + 600000, page); // NOLINT(performance-no-int-to-ptr)
    bp_arena_taint(&pool.arena, end, page);
    cr_assert_eq(mprotect(end, page, PROT_READ), 0);
    char *moved = bp_pool_realloc(&pool, block, BP_MIB);
    cr_assert_neq(moved, block);
    size_t kept = (size_t)(end - block);
    cr_assert(is_zero(moved + kept, BP_MIB - kept));
    cr_assert_eq(moved[kept - 1], (char)0xaa);
    check_size(counted(BP_COUNT_renewed), 1);
    check_audit(1);
}

Test(scrub_alloc, what_is_clean_is_not_cleared)
{
    char *block = bp_pool_alloc_slow(&pool, 10 * BP_MIB, 1);
    cr_assert_not_null(block);
    check_size(counted(BP_COUNT_scrubbed_bytes) + counted(BP_COUNT_scrub_dropped_bytes), 0);
}
