/* SPDX-License-Identifier: MIT */
#include "pool.h"

#include "audit.h"
#include "fake_os.h"
#include "report.h"
#include "stamp.h"
#include "support.h"

enum { FROM_BYTES = 200 * 1024, LARGE_CLASS = 26 - BP_STRIDE_SHIFT_MIN };

static struct bp_pool pool;

static void make_pool(void)
{
    fake_os_install();
    struct bp_options options;
    bp_options_init(&options);
    options.cache_bytes = BP_GIB;
    cr_assert_eq(bp_pool_init(&pool, 0, &options), 0);
}

TestSuite(growth, .init = make_pool);

static size_t counted(enum bp_counter counter)
{
    struct bp_stats_snapshot stats;
    bp_report_snapshot(&pool, &stats);
    return stats.counters[counter];
}

static size_t class_of(const char *block)
{
    return bp_arena_live_slot(&pool.arena, block)->class_index;
}

/* A block that grows by halves, every byte checked that it had. */
static char *grow_from(size_t bytes, size_t to_bytes)
{
    char *block = bp_pool_alloc_slow(&pool, bytes, 1);
    stamp(block, 0, bytes, 3);
    while (bytes < to_bytes) {
        size_t more_bytes = bp_min(bytes + bytes / 2, to_bytes);
        block = bp_pool_realloc(&pool, block, more_bytes);
        cr_assert(stamp_holds(block, 0, bytes, 3));
        stamp(block, bytes, more_bytes, 3);
        bytes = more_bytes;
    }
    return block;
}

static char *grow_to(size_t to_bytes)
{
    return grow_from(FROM_BYTES, to_bytes);
}

Test(growth, a_block_gets_the_room_that_those_before_it_needed)
{
    bp_pool_free_slow(&pool, grow_to(64 * BP_MIB));
    bp_pool_free_slow(&pool, grow_to(64 * BP_MIB));
    size_t moved = counted(BP_COUNT_realloc_moved);
    size_t copied = counted(BP_COUNT_realloc_copied);
    size_t footprint_bytes = pool.budget.footprint_bytes;
    cr_assert_geq(moved, 2);
    for (int i = 0; i < 10; i++)
        bp_pool_free_slow(&pool, grow_to(64 * BP_MIB));
    check_size(counted(BP_COUNT_realloc_moved), moved);
    check_size(counted(BP_COUNT_realloc_copied), copied + 10);
    cr_assert_leq(pool.budget.footprint_bytes, footprint_bytes, "in memory that was there");
    check_size(audit_pool(&pool).live_count, 0);
}

Test(growth, so_do_two_in_turn)
{
    for (int i = 0; i < 3; i++) {
        char *one = grow_to(20 * BP_MIB);
        char *other = grow_to(20 * BP_MIB);
        bp_pool_free_slow(&pool, one);
        bp_pool_free_slow(&pool, other);
    }
    size_t moved = counted(BP_COUNT_realloc_moved);
    char *one = grow_to(20 * BP_MIB);
    char *other = grow_to(20 * BP_MIB);
    check_size(counted(BP_COUNT_realloc_moved), moved);
    bp_pool_free_slow(&pool, one);
    bp_pool_free_slow(&pool, other);
}

Test(growth, many_small_ones_after_a_large_one_do_not)
{
    enum { SMALL_ONES = 100 };
    char *blocks[SMALL_ONES];
    bp_pool_free_slow(&pool, grow_to(64 * BP_MIB));
    bp_pool_free_slow(&pool, grow_to(64 * BP_MIB));
    size_t large = 0;
    for (int i = 0; i < SMALL_ONES; i++) {
        blocks[i] = grow_to(2 * FROM_BYTES);
        large += class_of(blocks[i]) >= LARGE_CLASS;
    }
    check_size(large, 4);
    for (int i = 0; i < SMALL_ONES; i++)
        bp_pool_free_slow(&pool, blocks[i]);
}

Test(growth, one_that_stays_small_ends_it)
{
    bp_pool_free_slow(&pool, grow_to(64 * BP_MIB));
    bp_pool_free_slow(&pool, grow_to(64 * BP_MIB));
    bp_pool_free_slow(&pool, grow_to(2 * FROM_BYTES));
    char *block = grow_to(2 * FROM_BYTES);
    cr_assert_lt(class_of(block), LARGE_CLASS);
    bp_pool_free_slow(&pool, block);
}

Test(growth, where_sizes_differ_nothing_is_known)
{
    for (int i = 0; i < 6; i++) {
        char *block = grow_to(i % 2 == 0 ? 64 * BP_MIB : 2 * FROM_BYTES);
        cr_assert(i % 2 == 0 || class_of(block) < LARGE_CLASS);
        bp_pool_free_slow(&pool, block);
    }
}

/* Memory that lies free in other classes, not more of it. */
Test(growth, in_place_takes_what_is_free_where_the_pool_may_not_grow)
{
    char *block = grow_to(20 * BP_MIB);
    char *large = bp_pool_alloc_slow(&pool, 100 * BP_MIB, 1);
    stamp(large, 0, 100 * BP_MIB, 4);
    bp_pool_free_slow(&pool, large);
    size_t footprint_bytes = pool.budget.footprint_bytes;
    size_t in_place = counted(BP_COUNT_realloc_in_place);
    block = bp_pool_realloc(&pool, block, 60 * BP_MIB);
    check_size(counted(BP_COUNT_realloc_in_place), in_place + 1);
    cr_assert(stamp_holds(block, 0, 20 * BP_MIB, 3));
    if (counted(BP_COUNT_exchanged) + counted(BP_COUNT_exchange_refused) == 0)
        cr_assert_not(bp_load_relaxed(&pool.arena.can_move), "this kernel can move pages");
    else
        check_size(pool.budget.footprint_bytes, footprint_bytes);
    bp_pool_free_slow(&pool, block);
    check_size(audit_pool(&pool).live_count, 0);
}

Test(growth, the_largest_class_is_the_end)
{
    enum { LAST = BP_CLASS_COUNT - 1 };
    cr_assert_geq(pool.arena.bytes / 64, BP_GIB);
    bp_store_relaxed(&pool.arena.bytes, SIZE_MAX);
    check_size(bp_growth_class(&pool.growth, &pool.arena, LAST, LAST), LAST);
    check_size(bp_growth_class(&pool.growth, &pool.arena, LAST, LAST - 1), LAST);
}

/* As where the program limits its address space. */
Test(growth, where_addresses_are_few_a_block_gets_what_it_needs)
{
    bp_store_relaxed(&pool.arena.bytes, 64 * 4 * BP_MIB);
    check_size(bp_growth_class(&pool.growth, &pool.arena, 0, LARGE_CLASS - 6), LARGE_CLASS - 4);
    check_size(bp_growth_class(&pool.growth, &pool.arena, 0, LARGE_CLASS), LARGE_CLASS);
}

/* Slots of large classes begin late, and one without room to grow must not begin too late for the block itself. */
Test(growth, where_addresses_are_few_a_block_fits_in_what_it_gets)
{
    enum { BLOCKS = 4 };
    const size_t bytes = 64 * BP_MIB - 2 * BP_COLOUR_BYTES;
    char *blocks[BLOCKS];
    bp_store_relaxed(&pool.arena.bytes, 64 * 32 * BP_MIB);
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = grow_from(20 * BP_MIB, bytes);
        const struct bp_slot *slot = bp_arena_live_slot(&pool.arena, blocks[i]);
        cr_assert_leq(bp_slot_extent(&pool.arena, slot, blocks[i], bytes), bp_slot_reach_bytes(&pool.arena, slot));
    }
    for (int i = 0; i < BLOCKS; i++) {
        cr_assert(stamp_holds(blocks[i], 0, bytes, 3));
        bp_pool_free_slow(&pool, blocks[i]);
    }
    check_size(audit_pool(&pool).live_count, 0);
}
