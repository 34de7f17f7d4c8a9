/* SPDX-License-Identifier: MIT */
#include "prefill.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <stdio.h>

#include "audit.h"
#include "fake_os.h"
#include "machines.h"
#include "os.h"
#include "report.h"
#include "support.h"

static struct bp_pool pool;
static struct bp_options options;

static void init_options(void)
{
    fake_os_install();
    fake_os.populates_nothing = true;
    bp_options_init(&options);
    options.cache_bytes = 16 * BP_TIB;
    options.shard_count = 4;
}

TestSuite(prefill, .init = init_options, .fini = machine_leave);

static void prefill(void *list)
{
    check(bp_pool_init(&pool, 0, &options) == 0);
    bp_prefill(&pool, list);
    struct audit audit = audit_pool(&pool);
    if (audit.problem[0] != '\0' || audit.live_count > 0 || audit.lost_count > 0)
        check_failed(__FILE__, __LINE__, "%s", audit.problem);
}

/* What is said, in a process of its own: one line or none. */
static void check_line(const char *list, const char *reason)
{
    char copy[64];
    char line[256] = "";
    (void)snprintf(copy, sizeof copy, "%s", list);
    if (reason)
        (void)snprintf(line, sizeof line, "bufpool: BUFPOOL_PREFILL=%s: %s\n", list, reason);
    struct fake_os before = fake_os;
    check_says(prefill, copy, line);
    fake_os = before;
}

/* One line, after which `count` buffers are there. */
static void check_cut(const char *list, size_t count, const char *reason)
{
    char copy[64];
    check_line(list, reason);
    (void)snprintf(copy, sizeof copy, "%s", list);
    prefill(copy);
    check_size(audit_pool(&pool).cached_count, count);
}

static struct bp_stats_snapshot stats_now(void)
{
    struct bp_stats_snapshot stats;
    bp_report_snapshot(&pool, &stats);
    return stats;
}

/* Of two slots one begins too late for so large a buffer, and the kernel does not let it begin anew. */
Test(prefill, slots_that_keep_memory_in_the_wrong_place_are_left)
{
    prefill((char[]){"17M:2"});
    fake_os.purge.fail = FAIL_ALWAYS;
    (void)bp_pool_trim(&pool);
    bp_prefill(&pool, (char[]){"32764K:2"});
    struct audit audit = audit_pool(&pool);
    cr_assert_str_empty(audit.problem, "%s", audit.problem);
    cr_assert_leq(audit.cached_count, 1);
}

/* What could not be emptied holds more than the next buffer needs. */
Test(prefill, a_slot_that_keeps_memory_counts_with_all_of_it)
{
    fake_os.populate.fail = fake_os.purge.fail = 1;
    fake_os.populate_error = -ENOMEM;
    prefill((char[]){"1900K:1,1100K:1"});
    struct audit audit = audit_pool(&pool);
    check_size(audit.cached_count, 1);
    cr_assert_geq(audit.cached_bytes, 1900 * BP_KIB);
}

Test(prefill, the_first_requests_hit)
{
    check_cut("1M:64,256K:8", 72, NULL);
    check_size(fake_os.populated_bytes, pool.budget.footprint_bytes);
    check_size(stats_now().counters[BP_COUNT_prefilled_bytes], pool.budget.footprint_bytes);
    for (int i = 0; i < 64; i++)
        cr_assert_not_null(bp_pool_calloc(&pool, BP_MIB));
    for (int i = 0; i < 8; i++)
        cr_assert_not_null(bp_pool_alloc_slow(&pool, 256 * BP_KIB, 1));
    struct bp_stats_snapshot stats = stats_now();
    check_size(stats.large_requests, 72);
    check_size(stats.fresh + stats.forwarded, 0);
    /* Each was large enough, whatever its colour. */
    check_size(stats.counters[BP_COUNT_grown_bytes], 0);
}

Test(prefill, an_empty_list_makes_nothing)
{
    check_cut("", 0, NULL);
    check_size(fake_os.populate.calls, 0);
}

Test(prefill, a_list_that_is_none_makes_nothing)
{
    check_cut("1M:2,lots", 0, "not a list of sizes and numbers; accepted: a list such as 1M:64,256K:8@1; using none");
    check_size(fake_os.populate.calls, 0);
}

Test(prefill, is_cut_to_the_budget)
{
    options.cache_bytes = 3 * BP_MIB;
    check_cut("1M:64,256K:8", 5, "made 5 of 72 buffers: BUFPOOL_CACHE_BYTES allows no more");
}

Test(prefill, is_cut_to_the_footprint)
{
    options.max_bytes = 3 * BP_MIB;
    check_cut("1M:64", 2, "made 2 of 64 buffers: BUFPOOL_MAX_BYTES allows no more");
}

Test(prefill, is_cut_to_the_shards)
{
    options.shard_buffers = 2;
    check_cut("1M:64", 8, "made 8 of 64 buffers: BUFPOOL_SHARD_BUFFERS allows no more");
}

Test(prefill, is_cut_to_the_sizes)
{
    options.max_size_bytes = BP_MIB;
    check_cut("32K:3,64K:1,1M:2,2M:1", 3, "made 3 of 7 buffers: not between BUFPOOL_MIN_SIZE and BUFPOOL_MAX_SIZE");
}

Test(prefill, is_cut_to_what_the_kernel_gives)
{
    fake_os.populate.skip = 3;
    fake_os.populate.fail = FAIL_ALWAYS;
    fake_os.populate_error = -ENOMEM;
    check_cut("1M:64", 3, "made 3 of 64 buffers: no memory for more");
}

Test(prefill, pages_are_touched_where_the_kernel_populates_none)
{
    fake_os.populate.fail = FAIL_ALWAYS;
    check_cut("1M:2", 2, NULL);
    const char *block = bp_pool_alloc_slow(&pool, BP_MIB, 1);
    for (size_t at = 0; at < BP_MIB; at += bp_os_page_bytes()) {
        uintptr_t address = bp_align_down((uintptr_t)block + at, bp_os_page_bytes());
        cr_assert_eq(bp_os_default.resident((const void *)address), 1); // NOLINT(performance-no-int-to-ptr)
    }
}

Test(prefill, is_cut_to_the_machine)
{
    prefill((char[]){"1G:10000"});
    size_t made_bytes = stats_now().counters[BP_COUNT_prefilled_bytes];
    cr_assert_lt(made_bytes, bp_os_memory_bytes() / 8 * 7);
    cr_assert_leq(fake_os.populated_bytes, made_bytes);
}

/* Hot for one sweep, cold after the next. */
Test(prefill, what_nobody_needs_is_given_back)
{
    prefill((char[]){"1M:64"});
    uint64_t interval_ns = pool.decay.interval_ns;
    fake_os.now_ns += interval_ns;
    bp_pool_tick(&pool);
    check_size(audit_pool(&pool).cached_count, 64);
    for (int i = 0; i < 8; i++) {
        fake_os.now_ns += interval_ns / 2;
        bp_pool_tick(&pool);
    }
    check_size(audit_pool(&pool).cached_count, 0);
}

/* --- several memory nodes ----------------------------------------------------------------------------------------- */

static void enter(unsigned machine)
{
    fake_os.allowed_nodes = UINT64_MAX;
    machine_enter(&machines[machine]);
}

/* How many buffers of so many MiB each place has. */
static void check_places(size_t mib, const size_t *counts)
{
    for (unsigned place = 0; place < pool.shards.arena->place_count; place++) {
        size_t bytes = bp_shards_place_bytes(&pool.shards, place);
        cr_assert(bytes >= counts[place] * mib * BP_MIB && bytes <= counts[place] * (mib * BP_MIB + 8192),
                  "place %u has %zu KiB", place, bytes / BP_KIB);
    }
}

#define CHECK_PLACES(mib, ...) check_places(mib, (size_t[BP_PLACES_MAX]){__VA_ARGS__})

Test(prefill, buffers_are_of_the_node_that_is_named)
{
    enter(TWO_NODES);
    check_cut("1M:8@1", 8, NULL);
    CHECK_PLACES(1, 0, 8);
    /* In all of its shards. */
    for (unsigned i = 0; i < pool.shards.per_place; i++)
        check_size(pool.shards.shards[bp_shard_in(&pool.shards, 1, i)].bins[21 - BP_STRIDE_SHIFT_MIN].count,
                   8 / pool.shards.per_place);
    fake_os.cpu = 4;
    cr_assert_not_null(bp_pool_alloc_slow(&pool, BP_MIB, 1));
    check_size(stats_now().fresh, 0);
}

Test(prefill, of_several_nodes_each_has_its_part)
{
    enter(FOUR_NODES);
    check_cut("3M:8,3M:3@2,3M:3", 14, NULL);
    CHECK_PLACES(3, 3, 3, 5, 3);
}

Test(prefill, nodes_without_cpus_get_what_is_asked_for_by_name)
{
    enter(MEMORY_ONLY);
    check_cut("1M:4,1M:5@2", 9, NULL);
    CHECK_PLACES(1, 2, 2, 5);
}

Test(prefill, a_full_node_gets_nothing)
{
    enter(TWO_NODES);
    machine_set_free(&machines[TWO_NODES], 0, 4);
    check_cut("1M:6,1M:2@0", 6, "made 6 of 8 buffers: no memory for more");
    CHECK_PLACES(1, 0, 6);
}

Test(prefill, a_node_that_cannot_be_used_is_skipped)
{
    enter(CPU_ONLY);
    check_cut("1M:1@1,1M:2@7,1M:3@2,1M:4@999", 3, "made 3 of 10 buffers: no memory is kept apart for the node");
    CHECK_PLACES(1, 0, 3);
}

Test(prefill, where_nodes_are_not_told_apart_none_can_be_named)
{
    enter(TWO_NODES);
    options.numa.mode = BP_NUMA_OFF;
    check_cut("1M:1@1", 0, "made 0 of 1 buffers: no memory is kept apart for the node");
}

Test(prefill, the_only_node_can_be_named)
{
    static const char unknown[] = "made 0 of 1 buffers: no memory is kept apart for the node";
    check_line("1M:1@0", NULL);
    check_line("1M:1@1", unknown);
    enter(TWO_NODES);
    fake_os.policy = (struct bp_policy){MPOL_BIND, 2};
    check_line("1M:1@1", NULL);
    check_line("1M:1@0", unknown);
    fake_os.get_policy.fail = FAIL_ALWAYS;
    check_cut("1M:2@0", 2, NULL);
}

Test(prefill, memory_that_is_bound_is_all_there_is)
{
    enter(TWO_NODES);
    fake_os.policy = (struct bp_policy){MPOL_BIND, 2};
    check_cut("64M:100", 6, "made 6 of 100 buffers: no memory for more");
}
