/* SPDX-License-Identifier: MIT */
#include "populate.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "fake_os.h"
#include "os.h"
#include "support.h"

enum { CLASS = 8, BLOCK_PAGES = 256, BLOCKS = 40, ENOUGH = 17 };

static struct bp_populate populate;
static struct bp_arena arena;
static struct bp_slot slots[BLOCKS];
static char *memory;
static size_t page;
static size_t block_bytes;

static void map_blocks(void)
{
    fake_os_install();
    arena.page_bytes = page = bp_os_page_bytes();
    block_bytes = BLOCK_PAGES * page;
    memory = mmap(NULL, BLOCKS * block_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(memory, MAP_FAILED);
    check(madvise(memory, BLOCKS * block_bytes, MADV_NOHUGEPAGE) == 0);
    if (bp_os_default.populate(memory, page) != 0)
        cr_skip_test("this kernel does not populate");
    check(madvise(memory, page, MADV_DONTNEED) == 0);
}

TestSuite(populate, .init = map_blocks);

static size_t resident_pages(char *start, size_t bytes)
{
    static unsigned char vector[BLOCKS * BLOCK_PAGES];
    check(mincore(start, bytes, vector) == 0);
    size_t count = 0;
    for (size_t i = 0; i < bytes / page; i++)
        count += vector[i] & 1;
    return count;
}

static char *block(size_t number)
{
    return memory + number * block_bytes;
}

static size_t take_of(size_t number, size_t class_index, bool zero, size_t bytes)
{
    slots[number] = (struct bp_slot){.home = block(number), .class_index = (uint8_t)class_index, .dirty_bytes = bytes};
    return bp_populate_fresh(&populate, &arena, &slots[number], zero);
}

static size_t take(size_t number)
{
    return take_of(number, CLASS, false, block_bytes);
}

static size_t grow(char *base, size_t before_bytes, size_t bytes)
{
    const struct bp_slot slot = {.home = base, .dirty_bytes = bytes};
    return bp_populate_growth(&populate, &arena, &slot, before_bytes);
}

static void touch(char *start, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += page)
        start[i] = 1;
}

/* Blocks that are touched as they come, until the next would be populated. */
static void teach(void)
{
    for (size_t i = 0; i < ENOUGH - 1; i++) {
        check_size(take(i), 0);
        touch(block(i), block_bytes);
    }
}

Test(populate, a_program_that_touches_all_gets_batches)
{
    teach();
    for (size_t i = ENOUGH; i < BLOCKS; i++) {
        size_t bytes = take(i);
        check_size(resident_pages(block(i), block_bytes) * page, bytes);
        cr_assert(bytes >= block_bytes / 16 * 15 && bytes < block_bytes, "%zu of %zu", bytes, block_bytes);
        touch(block(i), block_bytes);
    }
}

Test(populate, a_program_that_touches_nothing_gets_nothing)
{
    for (size_t i = 0; i < BLOCKS; i++)
        check_size(take(i), 0);
    check_size(resident_pages(memory, BLOCKS * block_bytes), 0);
    check_size(fake_os.populate.calls, 0);
}

Test(populate, neither_does_one_that_touches_a_part)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        check_size(take(i), 0);
        touch(block(i), block_bytes / 2);
    }
}

Test(populate, one_block_that_is_not_touched_starts_the_count_anew)
{
    teach();
    cr_assert_gt(take(ENOUGH), 0, "and it stays as it is");
    for (size_t i = ENOUGH + 1; i < BLOCKS - 1; i++) {
        check_size(take(i), 0);
        touch(block(i), (i & 1) * block_bytes);
    }
}

Test(populate, classes_and_zeroed_blocks_are_seen_apart)
{
    teach();
    check_size(take_of(ENOUGH, CLASS + 1, false, block_bytes), 0);
    check_size(take_of(ENOUGH, CLASS, true, block_bytes), 0);
}

/* As NumPy does, after malloc: pages that were populated would be in its way. */
Test(populate, blocks_that_get_huge_pages_are_left_alone)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        check_size(take(i), 0);
        touch(block(i), block_bytes);
        slots[i].wants_huge = true;
    }
}

Test(populate, small_blocks_are_left_to_faults)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        check_size(take_of(i, CLASS, false, 128 * BP_KIB), 0);
        touch(block(i), 128 * BP_KIB);
    }
    check_size(fake_os.resident.calls, 0);
}

Test(populate, a_kernel_that_cannot_is_asked_once)
{
    fake_os.populate.fail = FAIL_ALWAYS;
    teach();
    for (size_t i = ENOUGH; i < BLOCKS; i++) {
        check_size(take(i), 0);
        touch(block(i), block_bytes);
    }
    check_size(fake_os.populate.calls, 1);
}

Test(populate, where_nobody_can_tell_nothing_is_populated)
{
    fake_os.resident.fail = FAIL_ALWAYS;
    teach();
    check_size(take(ENOUGH), 0);
}

Test(populate, growth_gets_a_sixteenth_of_what_was_touched)
{
    size_t before_bytes = 20 * block_bytes;
    touch(memory, before_bytes);
    size_t bytes = grow(memory, before_bytes, BLOCKS * block_bytes);
    check_size(resident_pages(memory + before_bytes, 20 * block_bytes) * page, bytes);
    cr_assert(bytes > before_bytes / 17 && bytes <= before_bytes / 16, "%zu", bytes);
}

Test(populate, growth_by_steps_is_seen_to_be_touched_each_time)
{
    size_t has_bytes = 20 * block_bytes;
    touch(memory, has_bytes);
    for (; has_bytes < 30 * block_bytes; has_bytes += block_bytes) {
        cr_assert_gt(grow(memory, has_bytes, has_bytes + block_bytes), 0);
        touch(memory + has_bytes, block_bytes - 2 * page); /* as one that appends pieces */
    }
    size_t more = 0;
    for (; has_bytes < BLOCKS * block_bytes; has_bytes += block_bytes)
        more += grow(memory, has_bytes, has_bytes + block_bytes);
    cr_assert_leq(more, block_bytes, "it stopped touching: %zu", more);
}

static void *grow_large(void *large)
{
    static size_t small_bytes;
    check_size(grow(large, 128 * BP_MIB, 256 * BP_MIB), 0);
    small_bytes = grow(large, 128 * BP_MIB, 132 * BP_MIB);
    return &small_bytes;
}

/* Large ones may be touched by many threads at once. */
Test(populate, with_several_threads_small_blocks_only)
{
    char *large = mmap(NULL, 256 * BP_MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(large != MAP_FAILED && madvise(large, 256 * BP_MIB, MADV_NOHUGEPAGE) == 0);
    memset(large, 1, 128 * BP_MIB);
    pthread_t thread;
    void *small_bytes = NULL;
    check(pthread_create(&thread, NULL, grow_large, large) == 0);
    check(pthread_join(thread, &small_bytes) == 0);
    cr_assert_gt(*(size_t *)small_bytes, 3 * BP_MIB);
}

Test(populate, in_huge_pages_a_canary_says_nothing)
{
    size_t bytes = 64 * BP_MIB;
    char *huge = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(huge != MAP_FAILED);
    char *aligned = (char *)bp_align_up((uintptr_t)huge, 2 * BP_MIB);
    if (madvise(aligned, 32 * BP_MIB, MADV_HUGEPAGE) != 0)
        cr_skip_test("no huge pages");
    memset(aligned, 1, 16 * BP_MIB);
    if (resident_pages(aligned + 15 * BP_MIB, BP_MIB) < BP_MIB / page)
        cr_skip_test("no huge pages");
    (void)grow(aligned, 16 * BP_MIB, 24 * BP_MIB);
    cr_assert(populate.is_off);
    cr_assert_leq(fake_os.populate.calls, 1);
}
