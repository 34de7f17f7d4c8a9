/* SPDX-License-Identifier: MIT */
#include "measure.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "os.h"
#include "support.h"

static struct bp_os_lines lines;
static struct bp_measured measured;
static char *range;

enum { RANGE_BYTES = 8 * 1024 * 1024 };

static void map_range(void)
{
    range = bp_os.reserve(RANGE_BYTES);
    cr_assert_not_null(range);
    bp_os_name(range, RANGE_BYTES, "measured");
    cr_assert_eq(bp_os.commit(range, RANGE_BYTES / 2), 0);
}

TestSuite(measure, .init = map_range);

static void measure(void)
{
    errno = 7;
    cr_assert(bp_measure(range, RANGE_BYTES, &lines, &measured));
    cr_assert_eq(errno, 7);
}

Test(measure, what_was_touched_is_resident)
{
    measure();
    check_size(measured.resident_bytes, 0);
    (void)madvise(range, RANGE_BYTES, MADV_NOHUGEPAGE);
    memset(range, 1, 3 * BP_MIB);
    measure();
    check_size(measured.resident_bytes, 3 * BP_MIB);
    check_size(measured.huge_bytes, 0);
    cr_assert_eq(bp_os.purge(range, BP_MIB), 0);
    measure();
    check_size(measured.resident_bytes, 2 * BP_MIB);
}

Test(measure, others_do_not_count)
{
    static char other[4096 * 100];
    memset(other, 1, sizeof other);
    cr_assert_eq(munmap(range + 4 * BP_MIB, 4 * BP_MIB), 0);
    measure();
    check_size(measured.resident_bytes, 0);
}

Test(measure, what_was_freed_lazily_is_still_there)
{
    (void)madvise(range, RANGE_BYTES, MADV_NOHUGEPAGE);
    memset(range, 1, 2 * BP_MIB);
    if (madvise(range, BP_MIB, MADV_FREE) != 0)
        cr_skip_test("this kernel frees nothing lazily");
    measure();
    check_size(measured.resident_bytes, 2 * BP_MIB);
    /* The kernel notes it in batches. */
    cr_assert_geq(measured.lazily_freed_bytes, BP_MIB / 2);
    cr_assert_leq(measured.lazily_freed_bytes, BP_MIB);
}

static void measure_quietly(void *unused)
{
    (void)unused;
    bp_os_keep_quiet();
    memset(range, 1, BP_MIB);
    check(!bp_measure(range, RANGE_BYTES, &lines, &measured));
    check_size(measured.resident_bytes, 0);
}

Test(measure, nothing_is_opened_where_a_filter_may_follow)
{
    check_says(measure_quietly, NULL, "");
}
