/* SPDX-License-Identifier: MIT */
#include "clear.h"

#include <string.h>
#include <sys/mman.h>

#include "fake_os.h"
#include "os.h"
#include "support.h"

enum { CLASS = 10, PAGES = 16 * 256 };

static struct bp_clear clear;
static char *block;
static size_t page;
static size_t bytes;

static void make_block(void)
{
    fake_os_install();
    page = bp_os_page_bytes();
    bytes = PAGES * page;
    block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
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

static bool should_drop(void)
{
    return bp_clear_should_drop(&clear, CLASS, block, bytes);
}

Test(clear, every_byte_of_the_range_and_no_other_becomes_zero)
{
    for (enum bp_clear_by by = BP_CLEAR_WRITING; by <= BP_CLEAR_MAPPING; by++) {
        for (size_t start = 0; start < 3 * page; start += page / 2 + 1) {
            memset(block, 'x', bytes);
            size_t length = bytes / 2 + 77;
            bp_clear_bytes(block + start, length, by);
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
        bp_clear_bytes(block, bytes, by);
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
        bp_clear_bytes(block, bytes, by);
        cr_assert(is_zero());
    }
}

Test(clear, small_ranges_are_written_and_huge_ones_dropped_without_looking)
{
    cr_assert_not(bp_clear_should_drop(&clear, CLASS, block, 16 * BP_MIB - 1));
    cr_assert(bp_clear_should_drop(&clear, CLASS, block, BP_GIB));
    check_size(fake_os.resident.calls, 0);
}

Test(clear, what_was_used_sparsely_is_dropped)
{
    for (size_t i = 0; i < PAGES; i += 8)
        block[i * page] = 1;
    for (int turn = 0; turn < 100; turn++)
        cr_assert(should_drop());
}

Test(clear, what_is_dense_is_written_with_rarer_and_rarer_probes)
{
    memset(block, 'x', bytes);
    size_t probes = 0;
    for (int turn = 0; turn < 3000; turn++)
        probes += should_drop();
    check_size(probes, 5);
}

/* A program that used its blocks densely and changes. */
Test(clear, a_probe_finds_out_that_use_became_sparse)
{
    memset(block, 'x', bytes);
    int turns = 0;
    while (!should_drop())
        turns++;
    cr_assert_leq(turns, 1, "the first time it looks");
    bp_clear_bytes(block, bytes, BP_CLEAR_DROPPING);
    for (int turn = 0; turn < 10; turn++) {
        block[turn * page] = 1;
        cr_assert(should_drop());
        bp_clear_bytes(block, bytes, BP_CLEAR_DROPPING);
    }
}

Test(clear, where_nobody_can_tell_it_writes_but_for_probes)
{
    fake_os.resident.fail = FAIL_ALWAYS;
    size_t drops = 0;
    for (int turn = 0; turn < 1000; turn++)
        drops += should_drop();
    cr_assert_leq(drops, 8);
}
