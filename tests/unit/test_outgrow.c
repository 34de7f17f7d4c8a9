/* SPDX-License-Identifier: MIT */
#include "pool.h"

#include <string.h>

#include "audit.h"
#include "fake_os.h"
#include "report.h"
#include "support.h"

enum { OLD_BYTES = 32 * 1024 * 1024 };

static struct bp_pool pool;

static void make_pool(void)
{
    fake_os_install();
    struct bp_options options;
    bp_options_init(&options);
    options.cache_bytes = BP_GIB;
    options.hugepages = BP_HUGEPAGES_OFF;
    cr_assert_eq(bp_pool_init(&pool, 0, &options), 0);
}

TestSuite(outgrow, .init = make_pool);

/* Two blocks; the first is written, and as much of the second as is said. Then the first is freed. */
static char *outgrow(size_t new_bytes, size_t written_bytes)
{
    char *old = bp_pool_alloc_slow(&pool, OLD_BYTES, 1);
    memset(old, 1, OLD_BYTES);
    char *new = bp_pool_alloc_slow(&pool, new_bytes, 1);
    memset(new, 2, written_bytes);
    bp_pool_free_slow(&pool, old);
    return new;
}

static size_t given_back(void)
{
    struct bp_stats_snapshot stats;
    bp_report_snapshot(&pool, &stats);
    struct audit audit = audit_pool(&pool);
    if (audit.problem[0] != '\0')
        check_failed(__FILE__, __LINE__, "%s", audit.problem);
    return stats.counters[BP_COUNT_outgrown_bytes];
}

Test(outgrow, what_was_copied_to_a_block_twice_as_large_is_not_kept)
{
    (void)outgrow(2 * (size_t)OLD_BYTES, OLD_BYTES);
    cr_assert_geq(given_back(), OLD_BYTES);
    cr_assert_geq(fake_os.purged_bytes, OLD_BYTES);
}

Test(outgrow, half_is_kept_where_the_larger_block_lacks_half)
{
    (void)outgrow((size_t)OLD_BYTES / 2 * 3, OLD_BYTES);
    cr_assert_geq(given_back(), OLD_BYTES / 16 * 7);
    cr_assert_leq(given_back(), OLD_BYTES / 16 * 9);
}

Test(outgrow, all_is_kept_where_nothing_was_copied)
{
    (void)outgrow(2 * (size_t)OLD_BYTES, OLD_BYTES / 2);
    check_size(given_back(), 0);
}

Test(outgrow, all_is_kept_where_the_larger_block_is_full)
{
    (void)outgrow(2 * (size_t)OLD_BYTES, 2 * (size_t)OLD_BYTES);
    check_size(given_back(), 0);
}

Test(outgrow, a_block_is_outgrown_once)
{
    char *other = bp_pool_alloc_slow(&pool, OLD_BYTES, 1);
    memset(other, 1, OLD_BYTES);
    (void)outgrow(2 * (size_t)OLD_BYTES, OLD_BYTES);
    size_t before = given_back();
    bp_pool_free_slow(&pool, other);
    check_size(given_back(), before);
}

Test(outgrow, what_the_kernel_does_not_tell_is_taken_as_resident)
{
    fake_os.resident.fail = FAIL_ALWAYS;
    (void)outgrow(2 * (size_t)OLD_BYTES, OLD_BYTES);
    check_size(given_back(), 0);
}

Test(outgrow, small_blocks_are_not_looked_at)
{
    char *old = bp_pool_alloc_slow(&pool, BP_MIB, 1);
    (void)bp_pool_alloc_slow(&pool, 2 * (size_t)OLD_BYTES, 1);
    size_t looks = fake_os.resident.calls;
    bp_pool_free_slow(&pool, old);
    check_size(fake_os.resident.calls, looks);
}
