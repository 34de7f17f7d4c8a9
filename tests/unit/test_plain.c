/* SPDX-License-Identifier: MIT */
#include "plain.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fake_os.h"
#include "os.h"
#include "pool.h"
#include "report.h"
#include "support.h"

enum { PAGES = 16 };

static size_t page;
static char *range;

/* As the arena makes it: reserved, and in the middle of that accessible. */
static void make_range(void)
{
    page = bp_os_page_bytes();
    range = bp_os.reserve((size_t)3 * PAGES * page);
    cr_assert_not_null(range);
    range += PAGES * page;
    cr_assert_eq(bp_os.commit(range, PAGES * page), 0);
    memset(range, 1, PAGES * page);
}

static int look(void)
{
    return bp_plain_check(range, PAGES * page, "");
}

TestSuite(plain, .init = make_range);

/* By number: the address sanitizer's mlock() does nothing. */
static long lock(const char *p)
{
    return syscall(SYS_mlock, p, 1);
}

Test(plain, what_was_given_is_plain)
{
    errno = 5;
    cr_assert_eq(look(), 1);
    cr_assert_eq(errno, 5);
    cr_assert_eq(bp_plain_check(range + page, page, ""), 1);
    cr_assert_eq(bp_os.purge(range, PAGES * page), 0);
    cr_assert_eq(look(), 1);
    bp_os_name(range, 4 * page, "another name splits the mapping");
    cr_assert_eq(look(), 1);
}

Test(plain, what_is_beside_does_not_matter)
{
    cr_assert_eq(mprotect(range, page, PROT_NONE), 0);
    cr_assert_eq(bp_plain_check(range + page, (PAGES - 1) * page, ""), 1);
    cr_assert_eq(bp_plain_check(range, page, ""), 0);
}

Test(plain, what_we_asked_for_ourselves_is_plain)
{
    if (bp_os.advise_huge(range, PAGES * page, false) != 0 || look() == 1)
        cr_skip_test("this kernel has no huge pages");
    cr_assert_eq(bp_plain_check(range, PAGES * page, "hg lo "), 0);
    cr_assert_eq(bp_plain_check(range, PAGES * page, "lo nh "), 1);
}

Test(plain, access_is_seen)
{
    cr_assert_eq(mprotect(range + 5 * page, page, PROT_READ), 0);
    cr_assert_eq(look(), 0);
    cr_assert_eq(mprotect(range + 5 * page, page, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
    cr_assert_eq(look(), 0);
    cr_assert_eq(mprotect(range + 5 * page, page, PROT_READ | PROT_WRITE), 0);
    cr_assert_eq(look(), 1);
    cr_assert_eq(bp_plain_check(range, (PAGES + 1) * page, ""), 0);
    cr_assert_eq(bp_plain_check(range - page, 2 * page, ""), 0);
}

Test(plain, holes_and_other_mappings_are_seen)
{
    static const size_t places[] = {0, 7, PAGES - 1};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char *hole = range + places[i] * page;
        cr_assert_eq(munmap(hole, page), 0);
        cr_assert_eq(look(), 0);
        int fd = memfd_create("plain", MFD_CLOEXEC);
        cr_assert_eq(ftruncate(fd, (off_t)page), 0);
        cr_assert_eq(mmap(hole, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0), hole);
        cr_assert_eq(look(), 0);
        cr_assert_eq(bp_os.renew(hole, page, true), 0);
        cr_assert_eq(look(), 1);
    }
}

Test(plain, advice_and_locks_are_seen)
{
    static const int advices[] = {MADV_DONTFORK, MADV_WIPEONFORK, MADV_DONTDUMP, MADV_NOHUGEPAGE, MADV_RANDOM};
    for (size_t i = 0; i < sizeof advices / sizeof advices[0]; i++) {
        cr_assert_eq(madvise(range + 3 * page, page, advices[i]), 0);
        cr_assert_eq(look(), 0, "advice %d", advices[i]);
        cr_assert_eq(bp_os.renew(range + 3 * page, page, true), 0);
        cr_assert_eq(look(), 1);
    }
    cr_assert_eq(lock(range + 3 * page), 0);
    cr_assert_eq(look(), 0);
}

Test(plain, without_proc_nothing_can_be_told)
{
    errno = 5;
    bp_os.root = "/nonexistent";
    cr_assert_eq(look(), -ENOENT);
    bp_os.root = "";
    cr_assert_eq(errno, 5);
    bp_os_keep_quiet();
    cr_assert_eq(look(), -EPERM);
}

/* --- a pool that looks ------------------------------------------------------------------------------------------- */

static struct bp_pool pool;

static void make_pool(size_t paranoid)
{
    struct bp_options options;
    bp_options_init(&options);
    options.cache_bytes = 4 * BP_GIB;
    options.paranoid = paranoid;
    cr_assert_eq(bp_pool_init(&pool, 0, &options), 0);
}

static size_t counted(enum bp_counter which)
{
    struct bp_stats_snapshot stats;
    bp_report_snapshot(&pool, &stats);
    return stats.counters[which];
}

/* Allocates, locks a page if asked to, and frees, as a program does. */
static char *use(bool locks)
{
    char *block = bp_pool_alloc_slow(&pool, BP_MIB, 1);
    memset(block, 1, BP_MIB);
    if (locks)
        cr_assert_eq(lock(block), 0);
    cr_assert_not(bp_pool_free_fast(&pool, 0, block, bp_arena_offset(&pool.arena, block)));
    bp_pool_free_slow(&pool, block);
    return block;
}

Test(plain, a_paranoid_pool_renews_what_is_not)
{
    make_pool(1);
    char *block = use(false);
    cr_assert_eq(use(true), block);
    check_size(counted(BP_COUNT_unseen), 1);
    check_size(counted(BP_COUNT_renewed), 1);
    for (int i = 0; i < 3; i++)
        (void)use(false);
    check_size(counted(BP_COUNT_renewed), 1);
}

Test(plain, it_may_look_at_a_part_only)
{
    make_pool(4);
    for (int i = 0; i < 12; i++)
        (void)use(true);
    check_size(counted(BP_COUNT_unseen), 3);
    check_size(counted(BP_COUNT_renewed), 3);
}

Test(plain, what_cannot_be_told_is_renewed)
{
    make_pool(1);
    bp_os.root = "/nonexistent";
    (void)use(false);
    check_size(counted(BP_COUNT_unseen), 0);
    check_size(counted(BP_COUNT_renewed), 1);
}
