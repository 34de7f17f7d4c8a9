/* SPDX-License-Identifier: MIT */
#include "harden.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake_os.h"
#include "os.h"
#include "pool.h"
#include "report.h"
#include "stamp.h"
#include "support.h"

static struct bp_pool pool;
static size_t page;

static bool has_guards; /* as the kernel that the test pretends */

static void make_pool(void)
{
    fake_os_install();
    fake_os.guard.fail = has_guards ? 0 : FAIL_ALWAYS;
    page = bp_os_page_bytes();
    struct bp_options options;
    bp_options_init(&options);
    options.min_size_bytes = 1;
    options.harden = 1;
    options.on_error = BP_ON_ERROR_WARN;
    cr_assert_eq(bp_pool_init(&pool, 0, &options), 0);
}

static void make_pool_with_guards(void)
{
    has_guards = true;
    make_pool();
    has_guards = bp_load_relaxed(&pool.arena.has_guards); /* the kernel that is really there may have none */
}

TestSuite(guards, .init = make_pool_with_guards);
TestSuite(protection, .init = make_pool);

/* A test for kernels with guards and for those without. */
#define TEST_BOTH(name)                                                                                                \
    static void name(void);                                                                                            \
    Test(guards, name)                                                                                                 \
    {                                                                                                                  \
        name();                                                                                                        \
    }                                                                                                                  \
    Test(protection, name)                                                                                             \
    {                                                                                                                  \
        name();                                                                                                        \
    }                                                                                                                  \
    static void name(void)

static size_t counted(enum bp_counter which)
{
    struct bp_stats_snapshot stats;
    bp_report_snapshot(&pool, &stats);
    return stats.counters[which];
}

static char *make(size_t size, size_t align)
{
    cr_assert_null(bp_pool_alloc_fast(0, size));
    char *block = bp_pool_alloc_slow(&pool, size, align);
    cr_assert_not_null(block);
    cr_assert_eq((uintptr_t)block % align, 0);
    check_size(bp_pool_usable_bytes(&pool, block), size);
    cr_assert(is_zero(block, size));
    memset(block, 1, size);
    return block;
}

static void drop(char *block)
{
    cr_assert_not(bp_pool_free_fast(&pool, 0, block, bp_arena_offset(&pool.arena, block)));
    bp_pool_free_slow(&pool, block);
}

/* The kernel reads from the address for us, so that a page without access is an error and not a signal. */
static bool is_accessible(const char *p)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    bool accessible = write(ends[1], p, 1) == 1;
    (void)close(ends[0]);
    (void)close(ends[1]);
    return accessible;
}

TEST_BOTH(a_block_ends_at_an_inaccessible_page)
{
    static const size_t sizes[] = {1, 15, 16, 17, 4095, 4096, 4097, 8191, 65536, 65537, 1000000, 1048576, 40000000};
    static const size_t aligns[] = {1, 16, 64, 4096, 65536, 2097152};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (size_t j = 0; j < sizeof aligns / sizeof aligns[0]; j++) {
            char *block = make(sizes[i], aligns[j]);
            char *end = block + sizes[i];
            char *guard = (char *)bp_align_up((uintptr_t)end, page);
            cr_assert_lt((size_t)(guard - end), bp_max(aligns[j], (size_t)16), "%zu aligned to %zu", sizes[i],
                         aligns[j]);
            cr_assert_not(is_accessible(guard));
            cr_assert_not(is_accessible((char *)bp_align_down((uintptr_t)block, page) - 1));
            drop(block);
            cr_assert_not(is_accessible(block));
            cr_assert_not(is_accessible(end - 1));
        }
    }
    check_size(counted(BP_COUNT_misuses), 0);
    check_size(bp_load_relaxed(&pool.budget.footprint_bytes), 0);
}

TEST_BOTH(what_lies_between_is_checked)
{
    static const size_t sizes[] = {100001, 100015, 70007};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char *block = make(sizes[i], 1);
        block[sizes[i]] ^= 1;
        drop(block);
        check_size(counted(BP_COUNT_misuses), i + 1);
    }
    char *block = make(100001, 1);
    block[100001] = 0;
    block = bp_pool_realloc(&pool, block, 200000);
    cr_assert_not_null(block);
    check_size(counted(BP_COUNT_misuses), 4);
    char *aligned = make(100000, 4096);
    aligned[100000 + 2000] ^= 0x20;
    drop(aligned);
    check_size(counted(BP_COUNT_misuses), 5);
}

TEST_BOTH(a_resized_block_moves_and_keeps_its_bytes)
{
    char *block = make(100000, 1);
    for (size_t size = 100000; size > 60000; size -= 3333) {
        char *moved = bp_pool_realloc(&pool, block, size - 3333);
        cr_assert_neq(moved, block);
        cr_assert_not(is_accessible(block));
        size_t class_index = bp_arena_live_slot(&pool.arena, moved)->class_index;
        check_size(class_index, bp_pool_class_for(&pool, size - 3333, 1)); /* no room that it could not grow into */
        for (size_t i = 0; i < size - 3333; i++)
            cr_assert_eq(moved[i], 1);
        cr_assert_eq((uintptr_t)(moved + bp_align_up(size - 3333, 16)) % page, 0);
        block = moved;
    }
    drop(block);
    check_size(counted(BP_COUNT_misuses), 0);
}

/* A freed address does not come back before as many others as the quarantine holds, and not in order. */
TEST_BOTH(addresses_come_back_late_and_in_no_order)
{
    enum { TURNS = BP_QUARANTINE_SLOTS };
    static char *seen[TURNS];
    size_t ascending = 0;
    for (size_t i = 0; i < TURNS; i++) {
        seen[i] = make(100000, 1);
        for (size_t j = 0; j < i; j++)
            cr_assert_neq(seen[j], seen[i], "turn %zu has the address of turn %zu", i, j);
        ascending += i > 0 && seen[i] > seen[i - 1];
        drop(seen[i]);
    }
    cr_assert_gt(ascending, TURNS / 8);
    cr_assert_lt(ascending, TURNS - TURNS / 8);
    size_t again = 0;
    for (size_t i = 0; i < 4 * TURNS; i++) {
        char *block = make(100000, 1);
        for (size_t j = 0; j < TURNS; j++)
            again += seen[j] == block;
        drop(block);
    }
    cr_assert_gt(again, 0);
}

TEST_BOTH(a_full_address_space_gives_quarantined_slots)
{
    size_t large = BP_SIZE_MAX_BYTES / 2;
    size_t slots = pool.arena.reservation_bytes / (2 * large) + 2;
    for (size_t i = 0; i < slots; i++) {
        char *block = bp_pool_alloc_slow(&pool, large, 1);
        cr_assert_not_null(block, "turn %zu of %zu", i, slots);
        drop(block);
    }
}

TEST_BOTH(what_cannot_be_mapped_anew_is_lost_and_not_reused)
{
    char *block = make(100000, 1);
    fake_os.renew.fail = FAIL_ALWAYS;
    fake_os.guard.fail = FAIL_ALWAYS;
    drop(block);
    check_size(counted(BP_COUNT_lost), 1);
    fake_os.renew.fail = 0;
    fake_os.guard.fail = 0;
    for (int i = 0; i < 600; i++) {
        char *other = make(100000, 1);
        cr_assert_neq(other, block);
        drop(other);
    }
}

TEST_BOTH(two_pools_differ_in_their_secrets)
{
    static struct bp_pool other;
    struct bp_options options;
    bp_options_init(&options);
    options.harden = 1;
    cr_assert_eq(bp_pool_init(&other, 1, &options), 0);
    cr_assert_neq(other.arena.secret, 0);
    cr_assert_neq(other.arena.secret, pool.arena.secret);
}

static size_t count_mappings(void)
{
    return (size_t)65530 - bp_os_default.mappings_left();
}

/* Live and free blocks by turns: with protection each of them takes two mappings. */
TEST_BOTH(guards_take_no_mappings)
{
    enum { BLOCKS = 400 };
    static char *blocks[BLOCKS];
    size_t before = count_mappings();
    for (size_t i = 0; i < BLOCKS; i++)
        blocks[i] = make(100000, 1);
    for (size_t i = 0; i < BLOCKS; i += 2)
        drop(blocks[i]);
    size_t added = count_mappings() - before;
    if (has_guards)
        cr_assert_lt(added, BLOCKS / 10);
    else
        cr_assert_gt(added, BLOCKS / 2);
    for (size_t i = 0; i < BLOCKS; i++)
        cr_assert_eq(is_accessible(blocks[i]), i % 2 == 1);
}

/* An access that a guard stops is a signal in a forked child, too. */
Test(guards, a_child_has_them)
{
    char *block = make(100000, 1);
    char *freed = make(100000, 1);
    drop(freed);
    pid_t child = fork();
    if (child == 0) {
        bool right = is_accessible(block) && !is_accessible(freed) &&
                     !is_accessible((char *)bp_align_up((uintptr_t)block + 100000, page));
        _exit(right ? 0 : 1);
    }
    int status = -1;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0);
}

/* Whenever the kernel refuses a guard, protection takes its place; what it cannot open again is not used. */
Test(guards, refused_later)
{
    fake_os.guard.one_in = 3;
    for (size_t turn = 0; turn < 4 * BP_QUARANTINE_SLOTS; turn++) {
        size_t size = 70000 + turn * 97 % 50000;
        char *block = make(size, 1);
        cr_assert_not(is_accessible((char *)bp_align_up((uintptr_t)block + size, page)));
        drop(block);
        cr_assert_not(is_accessible(block));
    }
    fake_os.guard.one_in = 0;
    fake_os.unguard.fail = FAIL_ALWAYS;
    size_t refused = 0;
    for (size_t turn = 0; turn < 4 * BP_QUARANTINE_SLOTS; turn++) {
        char *block = bp_pool_alloc_slow(&pool, 100000, 1);
        refused += !block;
        if (block)
            drop(block);
    }
    if (has_guards)
        cr_assert_gt(refused, 0);
    fake_os.unguard.fail = 0;
    for (size_t turn = 0; turn < 4 * BP_QUARANTINE_SLOTS; turn++)
        drop(make(100000, 1));
    check_size(counted(BP_COUNT_lost), 0);
    check_size(bp_load_relaxed(&pool.budget.footprint_bytes), 0);
}

/* Locked memory can have no guards, and what is accessible of it is resident. */
TEST_BOTH(a_program_that_locks_its_memory)
{
    char *before = make(100000, 1);
    drop(make(100000, 1));
    bp_pool_lock_down(&pool);
    for (int turn = 0; turn < 40; turn++) {
        size_t size = 90000 + (size_t)turn * 700; /* of the class that has slots already */
        char *block = make(size, 1);
        cr_assert_not(is_accessible((char *)bp_align_up((uintptr_t)block + size, page)));
        drop(block);
        cr_assert_not(is_accessible(block));
    }
    drop(before);
    cr_assert_not(is_accessible(before));
    check_size(counted(BP_COUNT_misuses), 0);
}

/* What the program did to the pages ends with the block, guards of its own among it. */
TEST_BOTH(a_tainted_slot_is_mapped_anew)
{
    char *block = make(100000, 1);
    char *page_of = (char *)bp_align_up((uintptr_t)block, page);
    bp_arena_taint(&pool.arena, page_of, page);
    cr_assert_eq(mprotect(page_of, page, PROT_READ), 0);
    size_t renewals = fake_os.renew.calls;
    drop(block);
    cr_assert_gt(fake_os.renew.calls, renewals);
    cr_assert_not(is_accessible(block));
    for (int turn = 0; turn < 3 * BP_QUARANTINE_SLOTS; turn++)
        drop(make(100000, 1));
    check_size(counted(BP_COUNT_lost), 0);
}

/* A system that gives huge pages to all: what is made accessible is no whole huge page then. */
Test(protection, blocks_do_not_end_at_huge_pages)
{
    static struct bp_pool other;
    struct bp_options options;
    bp_options_init(&options);
    options.harden = 1;
    options.hugepages = BP_HUGEPAGES_ON;
    cr_assert_eq(bp_pool_init(&other, 1, &options), 0);
    char *block = bp_pool_alloc_slow(&other, 20 * BP_MIB + 1, 1);
    cr_assert_not_null(block);
    cr_assert_not(is_accessible((char *)bp_align_up((uintptr_t)block + 20 * BP_MIB + 1, page)));
}
