/* SPDX-License-Identifier: MIT */
#include "huge.h"

#include <string.h>

#include "audit.h"
#include "fake_os.h"
#include "fork.h"
#include "os.h"
#include "pool.h"
#include "stamp.h"
#include "support.h"

static struct bp_pool pool;
static struct bp_options options;
static struct bp_arena *const arena = &pool.arena;

enum { CLASS_2M = 21 - BP_STRIDE_SHIFT_MIN, CLASS_4M, CLASS_8M, CLASS_16M, CLASS_32M, CLASS_64M };

static void init_options(void)
{
    fake_os_install();
    bp_options_init(&options);
    options.min_size_bytes = 1;
    options.cache_bytes = 4 * BP_GIB;
}

TestSuite(huge, .init = init_options);

static void make_pool(enum bp_hugepages mode)
{
    options.hugepages = mode;
    cr_assert_eq(bp_pool_init(&pool, 0, &options), 0);
}

/* As where the system gives huge pages to everybody, or to nobody unasked. */
static void make_inheriting_pool(bool system_gives)
{
    make_pool(BP_HUGEPAGES_INHERIT);
    arena->huge.whole_stride_bytes = system_gives ? 8 * BP_MIB : SIZE_MAX;
}

static struct bp_slot *take(size_t class_index, size_t bytes)
{
    struct bp_slot *slot = bp_arena_take(arena, 0, class_index);
    cr_assert_not_null(slot);
    cr_assert(bp_arena_settle(arena, slot, bp_class_stride_bytes(class_index), 1));
    cr_assert_eq(bp_arena_extend(arena, slot, bytes), 0);
    return slot;
}

static void check_audit(void)
{
    struct audit audit = audit_pool(&pool);
    cr_assert_str_empty(audit.problem, "%s", audit.problem);
}

Test(huge, inherited_by_slots_that_fill_them)
{
    make_inheriting_pool(true);
    check_size(take(CLASS_4M, 3 * BP_MIB)->dirty_bytes, 3 * BP_MIB);
    cr_assert_gt(fake_os.not_huge_bytes, 0);
    size_t not_huge_bytes = fake_os.not_huge_bytes;
    check_size(take(CLASS_8M, 5 * BP_MIB)->dirty_bytes, 6 * BP_MIB);
    check_size(fake_os.not_huge_bytes, not_huge_bytes);
    check_size(fake_os.huge_bytes, 0);
}

Test(huge, inherited_where_there_are_none)
{
    make_inheriting_pool(false);
    check_size(take(CLASS_8M, 5 * BP_MIB)->dirty_bytes, 5 * BP_MIB);
    check_size(fake_os.not_huge_bytes + fake_os.huge_bytes, 0);
}

Test(huge, off_for_all_and_for_good)
{
    make_pool(BP_HUGEPAGES_OFF);
    struct bp_slot *slot = take(CLASS_64M, 40 * BP_MIB);
    check_size(slot->dirty_bytes, 40 * BP_MIB);
    cr_assert_geq(fake_os.not_huge_bytes, 64 * BP_MIB);
    size_t not_huge_bytes = fake_os.not_huge_bytes;
    cr_assert(bp_arena_renew(arena, slot));
    check_size(fake_os.not_huge_bytes - not_huge_bytes, 64 * BP_MIB);
    check_size(fake_os.huge_bytes, 0);
}

/* The kernel may have unmapped the new place before it failed: then that was mapped anew. */
Test(huge, refused_again_where_a_move_failed)
{
    make_inheriting_pool(true);
    struct bp_slot *from = take(CLASS_64M, 40 * BP_MIB);
    struct bp_slot *to = take(CLASS_4M, BP_MIB);
    size_t not_huge_bytes = fake_os.not_huge_bytes;
    fake_os.move.fail = FAIL_ALWAYS;
    if (bp_arena_may_move(arena))
        cr_assert_eq(bp_arena_move(arena, from, to, 2 * BP_MIB), fake_os.move_error);
    if (fake_os.move.calls > 0)
        check_size(fake_os.not_huge_bytes - not_huge_bytes, 2 * BP_MIB);
    check_size(to->dirty_bytes, BP_MIB);
}

Test(huge, on_as_far_as_a_slot_is_used)
{
    make_pool(BP_HUGEPAGES_ON);
    struct bp_slot *slot = take(CLASS_8M, 3 * BP_MIB);
    check_size(slot->dirty_bytes, 4 * BP_MIB);
    check_size(fake_os.huge_bytes, 4 * BP_MIB);
    check_size(pool.budget.footprint_bytes, 4 * BP_MIB);
    cr_assert_eq(bp_arena_extend(arena, slot, 5 * BP_MIB), 0);
    check_size(fake_os.huge_bytes, 6 * BP_MIB);
    check_size(take(CLASS_2M, BP_MIB)->dirty_bytes, BP_MIB);
    check_size(fake_os.huge_bytes, 6 * BP_MIB);
    check_size(arena->huge.advised_bytes, 6 * BP_MIB);
}

/* Whole ones are given back, and what follows starts without advice. */
Test(huge, purged_as_a_whole)
{
    make_pool(BP_HUGEPAGES_ON);
    struct bp_slot *slot = take(CLASS_8M, 7 * BP_MIB);
    check_size(bp_arena_purge(arena, slot, 5 * BP_MIB), 2 * BP_MIB);
    check_size(slot->dirty_bytes, 6 * BP_MIB);
    check_size(bp_arena_purge(arena, slot, 5 * BP_MIB), 0);
    check_size(bp_arena_purge(arena, slot, 0), 6 * BP_MIB);
    check_size(fake_os.renew.calls, 2);
    check_size(fake_os.purge.calls, 0);
    check_size(pool.budget.footprint_bytes, 0);
}

Test(huge, no_advice_stays_where_pages_moved_away)
{
    make_pool(BP_HUGEPAGES_ON);
    char *block = bp_pool_alloc_slow(&pool, 7 * BP_MIB, 1);
    block = bp_pool_realloc(&pool, block, 20 * BP_MIB);
    cr_assert_not_null(block);
    if (!arena->can_move)
        cr_skip_test("this kernel cannot move pages and keep the place");
    check_size(fake_os.renew.calls, 1);
    check_audit();
}

/* What a program touches here and there must not become huge because another block of the class was dense. */
Test(huge, calloc_leaves_no_advice_on_what_is_used_sparsely)
{
    make_pool(BP_HUGEPAGES_ON);
    const size_t size = 40 * BP_MIB;
    char *dense = bp_pool_alloc_slow(&pool, size, 1);
    memset(dense, 1, size);
    char *sparse = bp_pool_alloc_slow(&pool, size, 1);
    check_size(fake_os.huge_bytes, 42 * BP_MIB); /* advised, as the one before is dense */
    bp_pool_free_slow(&pool, sparse);
    cr_assert_eq(bp_pool_calloc(&pool, size), sparse);
    check_size(fake_os.renew.calls, 1);
    check_size(fake_os.purge.calls, 0);
    bp_pool_free_slow(&pool, dense);
    char *zeroed = bp_pool_calloc(&pool, size);
    cr_assert(zeroed == dense && is_zero(zeroed, size));
    check_size(fake_os.renew.calls, 1); /* dense: cleared */
    check_audit();
}

/* Of a large extent nobody knows whether it will be used, unless the one before was. */
Test(huge, on_for_large_extents_after_dense_use)
{
    make_pool(BP_HUGEPAGES_ON);
    struct bp_slot *first = take(CLASS_64M, 60 * BP_MIB);
    struct bp_slot *second = take(CLASS_64M, 60 * BP_MIB);
    check_size(fake_os.huge_bytes, 0);
    memset(bp_slot_base(arena, second), 1, 50 * BP_MIB);
    (void)take(CLASS_64M, 60 * BP_MIB);
    check_size(fake_os.huge_bytes, 60 * BP_MIB);
    (void)take(CLASS_64M, 60 * BP_MIB);
    check_size(fake_os.huge_bytes, 60 * BP_MIB);
    /* What grows shows itself. */
    cr_assert_eq(bp_arena_extend(arena, second, 64 * BP_MIB), 0);
    check_size(fake_os.huge_bytes, 64 * BP_MIB);
    cr_assert_eq(bp_arena_extend(arena, first, 64 * BP_MIB), 0);
    check_size(fake_os.huge_bytes, 64 * BP_MIB);
}

Test(huge, reserved_pages_only_where_nothing_is_yet)
{
    make_pool(BP_HUGEPAGES_HUGETLB);
    char *block = bp_pool_alloc_slow(&pool, 3 * BP_MIB, 1);
    stamp(block, 0, 3 * BP_MIB, 1);
    check_size(fake_os.huge_bytes, 4 * BP_MIB);
    check_size(arena->huge.hugetlb_bytes, 4 * BP_MIB);
    struct bp_slot *slot = bp_arena_live_slot(arena, block);
    cr_assert_eq(bp_arena_extend(arena, slot, slot->dirty_bytes), 0);
    cr_assert(stamp_holds(block, 0, 3 * BP_MIB, 1));
    /* Pages are copied. */
    char *grown = bp_pool_realloc(&pool, block, 9 * BP_MIB);
    cr_assert(grown && stamp_holds(grown, 0, 3 * BP_MIB, 1));
    check_size(fake_os.move.calls, 0);
    bp_pool_free_slow(&pool, grown);
    /* The kernel would drop fewer than it is asked for. */
    char *zeroed = bp_pool_calloc(&pool, 9 * BP_MIB);
    cr_assert(is_zero(zeroed, 9 * BP_MIB));
    check_size(fake_os.purge.calls, 0);
    check_audit();
}

static void use_up(void *unused)
{
    (void)unused;
    make_pool(BP_HUGEPAGES_HUGETLB);
    fake_os.map_huge.fail = FAIL_ALWAYS;
    for (int i = 0; i < 2; i++) {
        char *block = bp_pool_alloc_slow(&pool, 3 * BP_MIB, 1);
        check(block != NULL);
        stamp(block, 0, 3 * BP_MIB, 1);
    }
    check_size(arena->huge.hugetlb_bytes, 0);
}

static void fork_twice(void *unused)
{
    (void)unused;
    make_pool(BP_HUGEPAGES_HUGETLB);
    struct bp_pool *const pools[] = {&pool};
    bp_pools_prefork(pools, 1); /* nothing is at stake yet */
    bp_pools_postfork_parent(pools, 1);
    check(bp_pool_alloc_slow(&pool, 3 * BP_MIB, 1) != NULL);
    for (int i = 0; i < 2; i++) {
        bp_pools_prefork(pools, 1);
        bp_pools_postfork_parent(pools, 1);
    }
}

Test(huge, that_reserved_pages_do_not_survive_a_fork_is_said_once)
{
    check_says(fork_twice, NULL,
               "bufpool: BUFPOOL_HUGEPAGES=hugetlb: this process forks; what it writes to after that must be copied to "
               "other reserved huge pages, and where there are none the child is killed\n");
}

Test(huge, reserved_pages_that_are_used_up_are_said_once)
{
    check_says(use_up, NULL,
               "bufpool: BUFPOOL_HUGEPAGES=hugetlb: the reserved pool (vm.nr_hugepages) has no more; "
               "using ordinary pages\n");
}

Test(huge, the_limit_counts_whole_pages)
{
    options.max_bytes = 7 * BP_MIB;
    make_pool(BP_HUGEPAGES_ON);
    char *block = bp_pool_alloc_slow(&pool, 3 * BP_MIB, 1);
    cr_assert_not_null(block);
    cr_assert_null(bp_pool_alloc_slow(&pool, 3 * BP_MIB, 1));
    bp_pool_free_slow(&pool, block);
    /* What is free makes room. */
    cr_assert_not_null(bp_pool_alloc_slow(&pool, 5 * BP_MIB, 1));
    check_audit();
}

Test(huge, a_block_that_moves_ends_at_a_whole_page)
{
    make_pool(BP_HUGEPAGES_ON);
    char *block = bp_pool_alloc_slow(&pool, 3 * BP_MIB, 1);
    stamp(block, 0, 3 * BP_MIB, 1);
    block = bp_pool_realloc(&pool, block, 9 * BP_MIB);
    cr_assert(block && stamp_holds(block, 0, 3 * BP_MIB, 1));
    check_size(bp_arena_live_slot(arena, block)->dirty_bytes, 10 * BP_MIB);
    check_audit();
}
