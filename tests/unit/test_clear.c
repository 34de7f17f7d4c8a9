/* SPDX-License-Identifier: MIT */
#include "clear.h"

#include <string.h>
#include <sys/mman.h>

#include "fake_os.h"
#include "os.h"
#include "support.h"

enum { CLASS = 10, PAGES = 16 * 256 };

static struct bp_clear clear;
static struct bp_arena arena = {.huge.whole_stride_bytes = SIZE_MAX, .place_count = 1};
static struct bp_slot slot = {.class_index = CLASS};
static char *block;
static size_t page;
static size_t bytes;

static void make_block(void)
{
    fake_os_install();
    page = bp_os_page_bytes();
    bytes = PAGES * page;
    block = mmap(NULL, 2 * bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(block, MAP_FAILED);
}

TestSuite(clear, .init = make_block);

static size_t resident_pages(void)
{
    static unsigned char vector[PAGES];
    check(mincore(block, bytes, vector) == 0);
    size_t count = 0;
    for (size_t i = 0; i < PAGES; i++)
        count += vector[i] & 1;
    return count;
}

static bool is_zero(void)
{
    return block[0] == 0 && memcmp(block, block + 1, bytes - 1) == 0;
}

static enum bp_clear_by choose(size_t size)
{
    return bp_clear_choose(&clear, &arena, &slot, block, size);
}

/* As calloc does. */
static enum bp_clear_by clear_block(size_t size)
{
    enum bp_clear_by by = choose(size);
    bp_clear_bytes(&arena, &slot, block, size, by);
    return by;
}

static void touch(size_t every_pages)
{
    for (size_t i = 0; i < bytes / page; i += every_pages)
        block[i * page] = 1;
}

Test(clear, every_byte_of_the_range_and_no_other_becomes_zero)
{
    for (enum bp_clear_by by = BP_CLEAR_WRITING; by <= BP_CLEAR_MAPPING; by++) {
        for (size_t start = 0; start < 3 * page; start += page / 2 + 1) {
            memset(block, 'x', bytes);
            size_t length = bytes / 2 + 77;
            bp_clear_bytes(&arena, &slot, block + start, length, by);
            for (size_t i = 0; i < bytes; i++)
                if ((block[i] == 0) != (i >= start && i < start + length))
                    check_failed(__FILE__, __LINE__, "byte %zu, start %zu", i, start);
        }
    }
}

Test(clear, dropped_pages_are_not_resident)
{
    for (enum bp_clear_by by = BP_CLEAR_DROPPING; by <= BP_CLEAR_MAPPING; by++) {
        memset(block, 'x', bytes);
        bp_clear_bytes(&arena, &slot, block, bytes, by);
        check_size(resident_pages(), 0);
        cr_assert(is_zero());
    }
}

Test(clear, where_the_kernel_keeps_the_pages_zeros_are_written)
{
    memset(block, 'x', bytes);
    fake_os.purge.fail = fake_os.renew.fail = FAIL_ALWAYS;
    for (enum bp_clear_by by = BP_CLEAR_DROPPING; by <= BP_CLEAR_MAPPING; by++) {
        memset(block, 'x', bytes);
        bp_clear_bytes(&arena, &slot, block, bytes, by);
        cr_assert(is_zero());
    }
}

Test(clear, small_ranges_are_written_and_huge_ones_dropped_without_looking)
{
    check_size(choose(16 * BP_MIB - 1), BP_CLEAR_WRITING);
    check_size(choose(BP_GIB), BP_CLEAR_DROPPING);
    check_size(fake_os.resident.calls, 0);
}

Test(clear, what_was_used_sparsely_is_dropped)
{
    touch(8);
    for (int turn = 0; turn < 100; turn++)
        check_size(choose(bytes), BP_CLEAR_DROPPING);
}

Test(clear, a_probe_leaves_zeros_and_few_pages_out)
{
    memset(block, 'x', bytes);
    check_size(clear_block(bytes), BP_CLEAR_PROBING);
    size_t left_out = PAGES - resident_pages();
    cr_assert(left_out >= 16 && left_out < 32, "%zu", left_out);
    cr_assert(is_zero());
}

Test(clear, what_is_dense_is_written_and_looked_at_now_and_then)
{
    size_t probes = 0;
    for (int turn = 0; turn < 170; turn++) {
        memset(block, 'x', bytes);
        enum bp_clear_by by = clear_block(turn % 2 == 0 ? bytes : bytes + BP_MIB);
        cr_assert(bp_clear_writes(by), "turn %d", turn);
        probes += by == BP_CLEAR_PROBING;
        touch(1);
    }
    check_size(probes, 10);
    cr_assert_lt(fake_os.resident.calls, 10 * 2 * 32);
}

/* A program that used its blocks densely and changes. */
Test(clear, a_probe_finds_out_that_use_became_sparse)
{
    memset(block, 'x', bytes);
    int turns = 0;
    while (bp_clear_writes(clear_block(bytes)))
        cr_assert_lt(turns++, 18);
    for (int turn = 0; turn < 10; turn++) {
        block[(size_t)turn * page] = 1;
        check_size(clear_block(bytes), BP_CLEAR_DROPPING);
    }
    touch(1);
    check_size(clear_block(bytes), BP_CLEAR_PROBING);
}

/* Pages of a size are looked at for larger ones, too. */
Test(clear, a_probe_of_one_size_tells_of_another)
{
    memset(block, 'x', 2 * bytes);
    check_size(clear_block(bytes), BP_CLEAR_PROBING);
    clear.writes_left[CLASS] = 0;
    check_size(choose(bytes + bytes / 3), BP_CLEAR_DROPPING);
}

Test(clear, huge_pages_are_not_split_for_a_look)
{
    slot.wants_huge = true;
    memset(block, 'x', bytes);
    check_size(choose(bytes), BP_CLEAR_WRITING);
    check_size(choose(BP_GIB), BP_CLEAR_MAPPING);
    slot.wants_huge = false;
    clear.writes_left[CLASS] = 0;
    arena.huge.whole_stride_bytes = bp_class_stride_bytes(CLASS);
    check_size(choose(bytes), BP_CLEAR_WRITING);
}

/* Advice of ours goes with pages that were used sparsely: each touch would bring a huge one again. */
Test(clear, our_advice_is_dropped_with_what_is_sparse)
{
    bp_huge_init(&arena.huge, BP_HUGEPAGES_ON);
    touch(8);
    check_size(choose(bytes), BP_CLEAR_MAPPING);
    check_size(choose(2 * bytes), BP_CLEAR_MAPPING);
    memset(block, 'x', bytes);
    check_size(choose(bytes), BP_CLEAR_WRITING);
    /* What is too large to be written, and dense, is advised again when it is touched. */
    fake_os.resident.fail = FAIL_ALWAYS;
    check_size(choose(BP_GIB), BP_CLEAR_DROPPING);
}

Test(clear, where_nobody_can_tell_it_writes)
{
    fake_os.resident.fail = FAIL_ALWAYS;
    for (int turn = 0; turn < 100; turn++)
        cr_assert(bp_clear_writes(choose(bytes)));
}

Test(clear, what_is_pinned_is_written)
{
    slot.pinned = true;
    cr_assert_eq(choose(BP_GIB), BP_CLEAR_WRITING);
    slot.wants_huge = true;
    cr_assert_eq(choose(BP_GIB), BP_CLEAR_WRITING);
}
