/* SPDX-License-Identifier: MIT */
#include "arena.h"

#include <string.h>

#include "fake_os.h"
#include "stamp.h"
#include "support.h"

enum { CLASS_256K = 18 - BP_STRIDE_SHIFT_MIN, CLASS_64M = 26 - BP_STRIDE_SHIFT_MIN };

static struct bp_meta meta;
static struct bp_budget budget;
static struct bp_arena arena;
static size_t page;

static void make_arena(void)
{
    fake_os_install();
    bp_meta_init(&meta);
    budget = (struct bp_budget){.cached_limit_bytes = SIZE_MAX, .footprint_limit_bytes = SIZE_MAX};
    page = bp_os_page_bytes();
    cr_assert_eq(bp_arena_init(&arena, &meta, &budget), 0);
}

TestSuite(slack, .init = make_arena);

/* A live block, stamped, in a slot that has more memory. */
static struct bp_slot *make_block(size_t class_index, size_t size_bytes, size_t dirty_bytes)
{
    struct bp_slot *slot = bp_arena_take(&arena, 0, class_index);
    cr_assert_not_null(slot);
    cr_assert_eq(bp_arena_extend(&arena, slot, dirty_bytes), 0);
    memset(bp_slot_base(&arena, slot), 0x55, dirty_bytes);
    slot->next = NULL;
    bp_slot_set_block(slot, slot->home, size_bytes);
    stamp(slot->home, 0, size_bytes, 7);
    return slot;
}

static void check_block(const struct bp_slot *slot)
{
    cr_assert(stamp_holds(bp_slot_block(slot), 0, slot->size_bytes, 7));
}

/* What the slot keeps if all that its block does not need is given back. */
static size_t needed_bytes(const struct bp_slot *slot)
{
    return bp_slot_extent(&arena, slot, bp_slot_block(slot), slot->size_bytes);
}

Test(slack, is_seen_but_for_what_is_little)
{
    check_size(bp_arena_slack_bytes(&arena), 0);
    make_block(CLASS_64M, 10 * BP_MIB, 40 * BP_MIB);
    size_t bytes = bp_arena_slack_bytes(&arena);
    cr_assert(bytes <= 30 * BP_MIB && bytes >= 30 * BP_MIB - BP_COLOUR_BYTES);
    make_block(CLASS_64M, 10 * BP_MIB, 10 * BP_MIB + 64 * BP_KIB);
    make_block(CLASS_256K, 10 * BP_KIB, 256 * BP_KIB);
    check_size(bp_arena_slack_bytes(&arena), bytes);
}

/* What cannot be given back must not let all threads be stopped for it again and again. */
Test(slack, within_a_huge_page_is_not_seen)
{
    arena.huge.whole_stride_bytes = 8 * BP_MIB;
    struct bp_slot *slot = make_block(CLASS_64M, 9 * BP_MIB, 10 * BP_MIB);
    check_size(bp_arena_slack_bytes(&arena), 0);
    check_size(bp_arena_trim_live(&arena, 0, SIZE_MAX), 0);
    cr_assert_eq(bp_arena_extend(&arena, slot, 16 * BP_MIB), 0);
    check_size(bp_arena_slack_bytes(&arena), 6 * BP_MIB);
    check_size(bp_arena_trim_live(&arena, 0, SIZE_MAX), 6 * BP_MIB);
    check_size(bp_arena_slack_bytes(&arena), 0);
    check_block(slot);
}

Test(slack, of_free_memory_there_is_none)
{
    struct bp_slot *slot = make_block(CLASS_64M, 10 * BP_MIB, 40 * BP_MIB);
    bp_slot_clear_block(slot);
    check_size(bp_arena_slack_bytes(&arena), 0);
    check_size(bp_arena_trim_live(&arena, 0, SIZE_MAX), 0);
}

Test(slack, goes_from_the_end_and_in_parts_of_any_size)
{
    struct bp_slot *slot = make_block(CLASS_64M, 10 * BP_MIB, 40 * BP_MIB);
    size_t trimmed_bytes = bp_arena_trim_live(&arena, 0, 16 * BP_MIB + 1);
    check_size(trimmed_bytes, 16 * BP_MIB);
    check_size(slot->dirty_bytes, 24 * BP_MIB);
    check_size(budget.footprint_bytes, 24 * BP_MIB);
    bp_arena_trim_live(&arena, 0, SIZE_MAX);
    check_size(slot->dirty_bytes, needed_bytes(slot));
    check_size(bp_arena_trim_live(&arena, 0, SIZE_MAX), 0);
    check_size(bp_arena_slack_bytes(&arena), 0);
    check_block(slot);
}

Test(slack, of_young_blocks_stays)
{
    struct bp_slot *old = make_block(CLASS_64M, 10 * BP_MIB, 40 * BP_MIB);
    check_size(bp_arena_trim_live(&arena, 1, SIZE_MAX), 0);
    check_size(bp_arena_trim_live(&arena, 1, SIZE_MAX), 0);
    struct bp_slot *young = make_block(CLASS_64M, 20 * BP_MIB, 40 * BP_MIB);
    bp_arena_trim_live(&arena, 2, SIZE_MAX);
    check_size(old->dirty_bytes, needed_bytes(old));
    check_size(young->dirty_bytes, 40 * BP_MIB);
    bp_arena_trim_live(&arena, 3, SIZE_MAX);
    check_size(young->dirty_bytes, needed_bytes(young));
    check_block(old);
    check_block(young);
}

/* A free links the slot into a list, which the mark must not outlive. */
Test(slack, a_block_that_was_freed_meanwhile_is_another_one)
{
    struct bp_slot *slot = make_block(CLASS_64M, 10 * BP_MIB, 40 * BP_MIB);
    bp_arena_trim_live(&arena, 1, SIZE_MAX);
    bp_slot_clear_block(slot);
    slot->next = NULL;
    bp_slot_set_block(slot, slot->home, 10 * BP_MIB);
    check_size(bp_arena_trim_live(&arena, 2, SIZE_MAX), 0);
    cr_assert_gt(bp_arena_trim_live(&arena, 3, SIZE_MAX), 0);
}

Test(slack, a_block_that_grows_again_finds_zeros)
{
    struct bp_slot *slot = make_block(CLASS_64M, 10 * BP_MIB, 40 * BP_MIB);
    bp_arena_trim_live(&arena, 0, SIZE_MAX);
    size_t before = slot->dirty_bytes;
    cr_assert_eq(bp_arena_extend(&arena, slot, 40 * BP_MIB), 0);
    const char *base = bp_slot_base(&arena, slot);
    for (size_t i = before; i < 40 * BP_MIB; i += page)
        check_size((size_t)base[i], 0);
    check_block(slot);
}
