/* SPDX-License-Identifier: MIT */
#include "evict.h"

#include "fake_os.h"
#include "os.h"
#include "support.h"
#include "tcache.h"

enum { CLASS = 20 - BP_STRIDE_SHIFT_MIN, OTHER = CLASS + 2, HUGE = CLASS + 3, LIMIT_MIB = 32 };

#define LIMIT_BYTES (LIMIT_MIB * BP_MIB)

static struct bp_meta meta;
static struct bp_budget budget;
static struct bp_arena arena;
static struct bp_shards shards;
static struct bp_tcaches caches;
static struct bp_counters counters;

/* Without thread caches: every free meets the budget. */
static void make_all(enum bp_eviction policy)
{
    fake_os_install();
    bp_meta_init(&meta);
    budget = (struct bp_budget){.cached_limit_bytes = LIMIT_BYTES, .footprint_limit_bytes = SIZE_MAX};
    cr_assert_eq(bp_arena_init(&arena, &meta, &budget), 0);
    cr_assert_eq(bp_shards_init(&shards, 2, 100000, &arena, &budget, &meta), 0);
    cr_assert_eq(bp_tcaches_init(&caches, 0, 0, BP_GIB, &shards, &meta), 0);
    shards.evict.policy = policy;
    bp_store_relaxed(&arena.can_move, false);
}

static void make_clockpro(void)
{
    make_all(BP_EVICTION_CLOCKPRO);
}

TestSuite(evict, .init = make_clockpro);

static size_t cached_mib(size_t class_index)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < shards.count; i++)
        bytes += bp_load_relaxed(&shards.shards[i].bins[class_index].bytes);
    return bytes / BP_MIB;
}

/* `count` blocks of the class at once, and then none. Returns how many were fresh. */
static size_t burst(size_t class_index, size_t bytes, size_t count)
{
    struct bp_slot *slots[LIMIT_MIB * 2];
    check(count <= LENGTH(slots));
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    size_t fresh = 0;
    for (size_t i = 0; i < count; i++) {
        bool stolen;
        slots[i] = bp_tcache_refill(cache, class_index, bytes, &stolen);
        if (!slots[i]) {
            fresh++;
            bp_evict_missed(&shards.evict, class_index, bytes, LIMIT_BYTES);
            slots[i] = bp_arena_take(&arena, 0, class_index);
            check(bp_arena_extend(&arena, slots[i], bytes) == 0);
        }
    }
    for (size_t i = 0; i < count; i++) {
        bp_tcache_give(cache, slots[i]);
        check(bp_load_relaxed(&budget.cached_bytes) <= LIMIT_BYTES);
    }
    bp_tcache_leave(cache);
    return fresh;
}

static size_t goal_mib(void)
{
    return bp_load_relaxed(&shards.evict.trial_bytes_goal) / BP_MIB;
}

Test(evict, what_is_used_again_and_again_stays_when_much_is_used_once)
{
    for (int i = 0; i < 4; i++)
        (void)burst(CLASS, BP_MIB, LIMIT_MIB - 4);
    for (size_t class_index = HUGE; class_index < HUGE + 2; class_index++) {
        (void)burst(class_index, 7 * BP_MIB, 8);
        check_size(burst(CLASS, BP_MIB, LIMIT_MIB - 8), 0);
    }
}

Test(evict, a_newcomer_on_trial_makes_way_for_the_next)
{
    for (int i = 0; i < 4; i++)
        (void)burst(CLASS, BP_MIB, LIMIT_MIB);
    (void)burst(OTHER, 2 * BP_MIB, 1);
    check_size(cached_mib(OTHER), 2);
    check_size(bp_evict_trial_bytes(&shards.evict), 2 * BP_MIB);
    (void)burst(OTHER + 1, 2 * BP_MIB, 1);
    check_size(cached_mib(OTHER), 0);
    check_size(cached_mib(OTHER + 1), 2);
    check_size(cached_mib(CLASS), LIMIT_MIB - 2);
}

/* The old size gives way without any sweep. */
Test(evict, what_is_left_of_a_class_on_trial_stays_on_trial)
{
    (void)burst(CLASS, BP_MIB, 30); /* hot, and the rest is for trial */
    (void)burst(OTHER, BP_MIB, 2);
    check_size(bp_evict_trial_bytes(&shards.evict), 2 * BP_MIB);
    (void)burst(HUGE, BP_MIB, 1);
    check_size(cached_mib(OTHER) + cached_mib(HUGE), 2);
    check_size(bp_evict_trial_bytes(&shards.evict), 2 * BP_MIB);
}

Test(evict, a_program_that_goes_over_to_another_size_finds_it_warm)
{
    for (int i = 0; i < 4; i++)
        (void)burst(CLASS, BP_MIB, LIMIT_MIB);
    size_t fresh = 16;
    for (int i = 0; i < 8; i++)
        fresh = burst(OTHER, 2 * BP_MIB, 16);
    check_size(fresh, 0);
    check_size(cached_mib(OTHER), LIMIT_MIB);
}

Test(evict, under_lifo_it_waits_for_a_sweep)
{
    make_all(BP_EVICTION_LIFO);
    bp_store_relaxed(&arena.can_move, false);
    (void)burst(CLASS, BP_MIB, LIMIT_MIB);
    for (int i = 0; i < 8; i++)
        check_size(burst(OTHER, 2 * BP_MIB, 16), 16);
    check_size(cached_mib(CLASS), LIMIT_MIB);
}

/* What is cached can give the newcomer its pages: nothing is gained by purging it. */
Test(evict, a_newcomer_whose_pages_can_be_moved_pushes_nothing_out)
{
    bp_store_relaxed(&arena.can_move, true);
    (void)burst(CLASS, BP_MIB, LIMIT_MIB);
    for (int i = 0; i < 8; i++)
        (void)burst(OTHER, 2 * BP_MIB, 16);
    check_size(cached_mib(CLASS), LIMIT_MIB);
}

Test(evict, a_miss_within_the_test_raises_the_goal_and_proves_the_bytes)
{
    bp_evict_gave_back(&shards.evict, CLASS, 4 * BP_MIB, LIMIT_BYTES);
    bp_evict_missed(&shards.evict, OTHER, BP_MIB, LIMIT_BYTES);
    check_size(goal_mib(), 0);
    bp_evict_missed(&shards.evict, CLASS, 3 * BP_MIB, LIMIT_BYTES);
    check_size(goal_mib(), 3);
    check_size(bp_load_relaxed(&shards.evict.classes[CLASS].proven_bytes), 3 * BP_MIB);
    bp_evict_missed(&shards.evict, CLASS, 3 * BP_MIB, LIMIT_BYTES);
    check_size(goal_mib(), 4); /* no more was gone */
}

Test(evict, a_test_that_ends_lowers_the_goal)
{
    bp_evict_gave_back(&shards.evict, CLASS, 8 * BP_MIB, LIMIT_BYTES);
    bp_evict_missed(&shards.evict, CLASS, 6 * BP_MIB, LIMIT_BYTES);
    check_size(goal_mib(), 6);
    bp_evict_gave_back(&shards.evict, OTHER, LIMIT_BYTES / 2, LIMIT_BYTES); /* the generation ends */
    check_size(goal_mib(), 6);
    bp_evict_gave_back(&shards.evict, HUGE, LIMIT_BYTES / 2 + BP_MIB, LIMIT_BYTES); /* and the next */
    check_size(goal_mib(), 0); /* 2 MiB of CLASS, and OTHER */
    bp_evict_missed(&shards.evict, CLASS, 2 * BP_MIB, LIMIT_BYTES);
    check_size(goal_mib(), 0); /* it was forgotten */
}

Test(evict, the_goal_stays_within_what_may_be_cached)
{
    for (int i = 0; i < 100; i++) {
        bp_evict_gave_back(&shards.evict, CLASS, BP_MIB, LIMIT_BYTES);
        bp_evict_missed(&shards.evict, CLASS, BP_MIB, LIMIT_BYTES);
    }
    check_size(goal_mib(), LIMIT_MIB);
}

/* And what the policy counts is what lies there. */
Test(evict, every_policy_keeps_the_budget)
{
    enum bp_eviction policies[] = {BP_EVICTION_AUTO, BP_EVICTION_LIFO, BP_EVICTION_CLOCKPRO};
    for (size_t i = 0; i < LENGTH(policies); i++) {
        make_all(policies[i]);
        unsigned random = 1;
        for (int round = 0; round < 500; round++) {
            random = random * 1103515245 + 12345;
            size_t class_index = CLASS - 4 + (random >> 16) % 8;
            size_t bytes = bp_class_stride_bytes(class_index) / 2;
            (void)burst(class_index, bytes, 1 + (random >> 20) % bp_min(LIMIT_BYTES / bytes + 4, 64));
            for (size_t j = 0; j < BP_CLASS_COUNT && policies[i] == BP_EVICTION_CLOCKPRO; j++) {
                size_t cached_bytes = 0;
                for (unsigned k = 0; k < shards.count; k++)
                    cached_bytes += bp_load_relaxed(&shards.shards[k].bins[j].bytes);
                check_size(bp_load_relaxed(&shards.evict.classes[j].resident_bytes), cached_bytes);
            }
        }
        check_size(bp_load_relaxed(&budget.cached_bytes), bp_shards_cached_bytes(&shards));
        (void)bp_shards_purge(&shards, 0, SIZE_MAX, &counters);
        check_size(bp_load_relaxed(&budget.cached_bytes), 0);
        check_size(bp_evict_trial_bytes(&shards.evict), 0);
    }
}
