/* SPDX-License-Identifier: MIT */
#include "budget.h"

#include <linux/mempolicy.h>
#include <pthread.h>
#include <sched.h>

#include "fake_os.h"
#include "machines.h"
#include "os.h"
#include "support.h"

Test(budget, grants_up_to_the_limit_exactly)
{
    struct bp_budget budget = {.cached_limit_bytes = 100, .footprint_limit_bytes = 1000};
    cr_assert(bp_budget_charge_cached(&budget, 60));
    cr_assert(bp_budget_charge_cached(&budget, 40));
    cr_assert_not(bp_budget_charge_cached(&budget, 1));
    check_size(budget.cached_bytes, 100);
    cr_assert(bp_budget_charge_footprint(&budget, 1000));
    cr_assert_not(bp_budget_charge_footprint(&budget, 1));
    check_size(budget.footprint_bytes, 1000);
}

Test(budget, what_is_refused_changes_nothing)
{
    struct bp_budget budget = {.cached_limit_bytes = 100, .footprint_limit_bytes = 100};
    cr_assert(bp_budget_charge_cached(&budget, 30));
    cr_assert_not(bp_budget_charge_cached(&budget, 71));
    cr_assert_not(bp_budget_charge_cached(&budget, SIZE_MAX), "the sum must not wrap");
    check_size(budget.cached_bytes, 30);
    check_size(budget.peak_cached_bytes, 30);
}

Test(budget, nothing_is_always_granted)
{
    struct bp_budget budget = {.cached_limit_bytes = 0, .footprint_limit_bytes = SIZE_MAX};
    cr_assert(bp_budget_charge_cached(&budget, 0));
    cr_assert_not(bp_budget_charge_cached(&budget, 1));
    cr_assert(bp_budget_charge_footprint(&budget, SIZE_MAX));
}

Test(budget, what_comes_back_can_be_charged_again_and_peaks_stay)
{
    struct bp_budget budget = {.cached_limit_bytes = 100, .footprint_limit_bytes = 100};
    cr_assert(bp_budget_charge_cached(&budget, 80));
    bp_budget_return_cached(&budget, 80);
    cr_assert(bp_budget_charge_cached(&budget, 20));
    check_size(budget.cached_bytes, 20);
    check_size(budget.peak_cached_bytes, 80);

    cr_assert(bp_budget_charge_footprint(&budget, 100));
    bp_budget_return_footprint(&budget, 70);
    cr_assert(bp_budget_charge_footprint(&budget, 70));
    check_size(budget.footprint_bytes, 100);
    check_size(budget.peak_footprint_bytes, 100);
}

enum { CHARGERS = 4, CHARGES = 20000, LIMIT = 10 };
static struct bp_budget shared = {.cached_limit_bytes = LIMIT};

static void *charge_and_return(void *ret_granted)
{
    size_t *granted = ret_granted;
    while (*granted < CHARGES) {
        if (!bp_budget_charge_cached(&shared, 4)) {
            (void)sched_yield(); /* who holds the rest may wait for this CPU */
            continue;
        }
        ++*granted;
        check(bp_load_relaxed(&shared.cached_bytes) <= LIMIT);
        bp_budget_return_cached(&shared, 4);
    }
    return NULL;
}

Test(budget, threads_never_pass_the_limit_and_lose_nothing)
{
    pthread_t threads[CHARGERS];
    size_t granted[CHARGERS] = {0};
    for (int i = 0; i < CHARGERS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, charge_and_return, &granted[i]), 0);
    for (int i = 0; i < CHARGERS; i++)
        (void)pthread_join(threads[i], NULL);
    check_size(shared.cached_bytes, 0);
    cr_assert_leq(shared.peak_cached_bytes, 8);
}

enum { MS = 1000 * 1000 };

Test(budget, the_mean_weighs_what_was_cached_with_its_time)
{
    struct bp_budget budget = {.cached_limit_bytes = BP_GIB};
    bp_budget_after_fork(&budget, 1000 * MS);
    check_size(bp_budget_mean_cached_bytes(&budget, 1000 * MS), 0);
    cr_assert(bp_budget_charge_cached(&budget, 40 * BP_MIB));
    bp_budget_note_cached(&budget, 1000 * MS);
    bp_budget_note_cached(&budget, 1300 * MS);
    bp_budget_return_cached(&budget, 30 * BP_MIB);
    bp_budget_note_cached(&budget, 1300 * MS);
    check_size(bp_budget_mean_cached_bytes(&budget, 1300 * MS), 40 * BP_MIB);
    check_size(bp_budget_mean_cached_bytes(&budget, 1600 * MS), 25 * BP_MIB);
    bp_budget_note_cached(&budget, 1900 * MS);
    check_size(bp_budget_mean_cached_bytes(&budget, 1900 * MS), 20 * BP_MIB);
    bp_budget_after_fork(&budget, 2000 * MS);
    check_size(bp_budget_mean_cached_bytes(&budget, 2100 * MS), 10 * BP_MIB);
}

Test(budget, a_clock_that_goes_back_does_the_mean_no_harm)
{
    struct bp_budget budget = {.cached_limit_bytes = BP_GIB};
    bp_budget_after_fork(&budget, 100 * MS);
    cr_assert(bp_budget_charge_cached(&budget, BP_MIB));
    bp_budget_note_cached(&budget, 100 * MS);
    bp_budget_note_cached(&budget, 200 * MS);
    bp_budget_note_cached(&budget, 150 * MS);
    check_size(bp_budget_mean_cached_bytes(&budget, 150 * MS), BP_MIB);
    check_size(bp_budget_mean_cached_bytes(&budget, 300 * MS), BP_MIB);
}

Test(budget, a_forked_child_has_peaks_of_its_own)
{
    struct bp_budget budget = {.cached_limit_bytes = BP_GIB, .footprint_limit_bytes = BP_GIB};
    cr_assert(bp_budget_charge_cached(&budget, 40) && bp_budget_charge_footprint(&budget, 90));
    bp_raise_relaxed(&budget.peak_live_bytes, (size_t)70);
    bp_budget_return_cached(&budget, 30);
    bp_budget_return_footprint(&budget, 40);
    bp_budget_after_fork(&budget, MS);
    check_size(budget.peak_cached_bytes, 10);
    check_size(budget.peak_footprint_bytes, 50);
    check_size(budget.peak_live_bytes, 40);
}

/* --- memory nodes ------------------------------------------------------------------------------------------------- */

static struct bp_options options;

static void enter_four_nodes(void)
{
    fake_os_install();
    fake_os.allowed_nodes = UINT64_MAX;
    bp_options_init(&options);
    machine_enter(&machines[FOUR_NODES]);
}

TestSuite(nodes, .init = enter_four_nodes, .fini = machine_leave);

static size_t memory_mib(void)
{
    struct bp_budget budget;
    bp_budget_init(&budget, &options);
    return budget.memory_bytes / BP_MIB;
}

/* Kernels that add memory to a node when it is first needed say less of their nodes than of the machine. */
Test(nodes, all_of_them_have_as_much_as_the_machine_whatever_they_say)
{
    check_size(memory_mib(), bp_os_memory_bytes() / BP_MIB);
    fake_os.allowed_nodes = 0xf;
    check_size(memory_mib(), bp_os_memory_bytes() / BP_MIB);
    for (unsigned node = 0; node < 4; node++)
        machine_set_free(&machines[FOUR_NODES], node, 1);
    struct bp_budget budget;
    bp_budget_init(&budget, &options);
    cr_assert_gt(bp_budget_free_bytes(&budget), 4 * BP_MIB);
    fake_os.allowed_nodes = 7;
    check_size(bp_budget_free_bytes(&budget), 3 * BP_MIB);
}

Test(nodes, those_of_the_cpuset_are_all_there_is)
{
    fake_os.allowed_nodes = 6;
    check_size(memory_mib(), 1024);
}

Test(nodes, so_are_those_that_the_program_is_bound_to)
{
    fake_os.policy = (struct bp_policy){MPOL_BIND | MPOL_F_STATIC_NODES, 2};
    check_size(memory_mib(), 512);
    fake_os.policy.mode = MPOL_PREFERRED;
    cr_assert_gt(memory_mib(), 512, "others will do");
    options.numa = (struct bp_numa_choice){.mode = BP_NUMA_BIND, .nodes = 0xe};
    check_size(memory_mib(), 3 * 512);
}

Test(nodes, a_cpuset_may_change)
{
    struct bp_budget budget;
    bp_budget_init(&budget, &options);
    check(bp_budget_charge_cached(&budget, 300 * BP_MIB));
    bp_budget_follow_memory(&budget);
    check_size(bp_budget_excess_bytes(&budget), 0);
    fake_os.allowed_nodes = 2;
    bp_budget_follow_memory(&budget);
    check_size(bp_budget_excess_bytes(&budget), 300 * BP_MIB - 512 * BP_MIB / 100 * 25);
}

Test(nodes, so_may_what_is_all_whatever_the_limits_are)
{
    struct bp_budget budget;
    options.cache_bytes = 100 * BP_MIB;
    bp_budget_init(&budget, &options);
    fake_os.allowed_nodes = 2;
    bp_budget_follow_memory(&budget);
    check_size(budget.roomy_bytes, 512 * BP_MIB / 8 * 7);
    check_size(budget.cached_limit_bytes, 100 * BP_MIB);
}

Test(nodes, what_they_have_is_read_when_they_change)
{
    struct bp_budget budget;
    fake_os.allowed_nodes = 6;
    bp_budget_init(&budget, &options);
    const char *root = bp_os.root;
    bp_os.root = "/nowhere";
    bp_budget_follow_memory(&budget);
    check_size(budget.memory_bytes, BP_GIB);
    bp_os.root = root;
    fake_os.allowed_nodes = 2;
    bp_budget_follow_memory(&budget);
    check_size(budget.memory_bytes, BP_GIB / 2);
}

Test(nodes, what_nobody_can_tell_limits_nothing)
{
    options.numa = (struct bp_numa_choice){.mode = BP_NUMA_BIND, .nodes = 1 << 9}; /* there is none such */
    cr_assert_gt(memory_mib(), 512);
    fake_os.get_policy.fail = FAIL_ALWAYS;
    check_size(memory_mib(), bp_os_memory_bytes() / BP_MIB);
    fake_os.get_policy.fail = 0;
    bp_os.root = "/nowhere";
    check_size(memory_mib(), bp_os_memory_bytes() / BP_MIB);
}
