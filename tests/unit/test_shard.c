/* SPDX-License-Identifier: MIT */
#include "shard.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "fake_os.h"
#include "support.h"

enum { CLASS = 20 - BP_STRIDE_SHIFT_MIN, SHARD_COUNT = 4, NO_LIMIT = 1000 };

static struct bp_meta meta;
static struct bp_budget budget;
static struct bp_arena arena;
static struct bp_shards shards;
static struct bp_counters counters;
static size_t page;

static void make_shards(void)
{
    fake_os_install();
    bp_meta_init(&meta);
    budget = (struct bp_budget){.cached_limit_bytes = SIZE_MAX, .footprint_limit_bytes = SIZE_MAX};
    page = bp_os_page_bytes();
    cr_assert_eq(bp_arena_init(&arena, &meta, &budget), 0);
    cr_assert_eq(bp_shards_init(&shards, SHARD_COUNT, NO_LIMIT, &arena, &budget, &meta), 0);
}

TestSuite(shard, .init = make_shards);

static struct bp_slot *take_slot(size_t class_index, size_t pages)
{
    struct bp_slot *slot = bp_arena_take(&arena, 0, class_index);
    check(bp_arena_extend(&arena, slot, pages * page) == 0);
    slot->next = NULL;
    return slot;
}

/* Slots with so many pages each, the first at the head; 0 ends the list. */
static struct bp_chain chain_of(const size_t *pages)
{
    struct bp_chain chain = {0};
    struct bp_slot **tail = &chain.head;
    for (; *pages != 0; pages++) {
        *tail = take_slot(CLASS, *pages);
        tail = &(*tail)->next;
        chain.count++;
        chain.bytes += *pages * page;
    }
    return chain;
}

static void push(unsigned shard, const size_t *pages)
{
    struct bp_chain chain = chain_of(pages);
    check(bp_budget_charge_cached(&budget, chain.bytes));
    bp_shard_push(&shards, shard, CLASS, chain, &counters);
}

static void push_cold(unsigned shard, const size_t *pages)
{
    struct bp_chain chain = chain_of(pages);
    check(bp_budget_charge_cached(&budget, chain.bytes));
    bp_shard_push_cold(&shards, shard, CLASS, chain, &counters);
}

static struct bp_chain pop(unsigned shard, size_t pages, size_t count)
{
    return bp_shard_pop(&shards, shard, CLASS, pages * page, count, SIZE_MAX, &counters);
}

#define PAGES(...) ((const size_t[]){__VA_ARGS__, 0})

Test(shard, best_fit_is_the_least_that_is_enough)
{
    struct bp_chain chain = chain_of(PAGES(9, 4, 7, 5, 20));
    check_size((*bp_best_fit(&chain.head, 5 * page))->dirty_bytes, 5 * page);
    check_size((*bp_best_fit(&chain.head, 6 * page))->dirty_bytes, 7 * page);
    check_size((*bp_best_fit(&chain.head, 8 * page))->dirty_bytes, 9 * page);
    check_size((*bp_best_fit(&chain.head, 0))->dirty_bytes, 4 * page);
}

Test(shard, without_enough_the_most_is_best)
{
    struct bp_chain chain = chain_of(PAGES(9, 4, 20, 5));
    check_size((*bp_best_fit(&chain.head, 21 * page))->dirty_bytes, 20 * page);
}

Test(shard, among_equals_the_newest_is_best)
{
    struct bp_chain chain = chain_of(PAGES(9, 4, 4, 4));
    cr_assert_eq(bp_best_fit(&chain.head, 2 * page), &chain.head->next);
    struct bp_slot *none = NULL;
    cr_assert_null(bp_best_fit(&none, page));
}

Test(shard, best_fit_looks_at_the_first_few_only)
{
    struct bp_chain chain = chain_of(PAGES(9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 2));
    check_size((*bp_best_fit(&chain.head, 2 * page))->dirty_bytes, 9 * page);
}

Test(shard, what_is_pushed_comes_back_newest_first)
{
    push(0, PAGES(3));
    push(0, PAGES(3));
    struct bp_slot *newest = shards.shards[0].bins[CLASS].hot;
    struct bp_chain chain = pop(0, 3, 1);
    cr_assert_eq(chain.head, newest);
    check_size(chain.count, 1);
    check_size(chain.bytes, 3 * page);
    cr_assert_null(chain.head->next);
}

Test(shard, an_empty_bin_gives_nothing)
{
    push(0, PAGES(3));
    check_size(pop(1, 3, 1).count, 0);
    cr_assert_null(bp_shard_pop(&shards, 0, CLASS + 1, page, 1, SIZE_MAX, &counters).head);
    check_size(pop(0, 3, 9).count, 1);
    check_size(pop(0, 3, 9).count, 0);
}

Test(shard, a_batch_starts_with_the_best_and_holds_what_was_asked_for)
{
    push(0, PAGES(3, 8, 5, 4));
    struct bp_chain chain = pop(0, 5, 3);
    check_size(chain.count, 3);
    check_size(chain.head->dirty_bytes, 5 * page);
    check_size(chain.bytes, (5 + 3 + 8) * page);
    check_size(shards.shards[0].bins[CLASS].count, 1);
    check_size(pop(0, 0, 3).bytes, 4 * page);
}

Test(shard, a_batch_stays_below_its_bytes_but_for_the_first)
{
    push(0, PAGES(3, 8, 5, 4));
    struct bp_chain chain = bp_shard_pop(&shards, 0, CLASS, 8 * page, 4, page, &counters);
    check_size(chain.count, 1);
    check_size(chain.bytes, 8 * page);
    chain = bp_shard_pop(&shards, 0, CLASS, 0, 4, 8 * page, &counters);
    check_size(chain.count, 2);
    check_size(chain.bytes, (3 + 5) * page);
}

Test(shard, what_it_holds_is_charged_as_cached)
{
    push(0, PAGES(3, 8));
    push(2, PAGES(5));
    check_size(budget.cached_bytes, 16 * page);
    check_size(bp_shards_cached_bytes(&shards), 16 * page);
    (void)pop(0, 8, 1);
    check_size(budget.cached_bytes, 8 * page);
    check_size(bp_shards_cached_bytes(&shards), 8 * page);
}

Test(shard, beyond_its_number_buffers_are_dropped)
{
    cr_assert_eq(bp_shards_init(&shards, SHARD_COUNT, 2, &arena, &budget, &meta), 0);
    push(0, PAGES(1, 2, 3, 4));
    check_size(shards.shards[0].bins[CLASS].count, 2);
    check_size(budget.cached_bytes, 3 * page);
    check_size(counters.values[BP_COUNT_drops], 2);
    check_size(counters.values[BP_COUNT_dropped_bytes], 7 * page);
    push(1, PAGES(5));
    check_size(shards.shards[1].bins[CLASS].count, 1);
    push(0, PAGES(6));
    check_size(bp_shards_cached_bytes(&shards), 8 * page);
}

Test(shard, shards_without_room_keep_nothing)
{
    cr_assert_eq(bp_shards_init(&shards, SHARD_COUNT, 0, &arena, &budget, &meta), 0);
    push(0, PAGES(1, 2));
    check_size(budget.cached_bytes, 0);
    check_size(counters.values[BP_COUNT_drops], 2);
}

Test(shard, purging_takes_large_buffers_first_and_stops_when_there_is_enough)
{
    struct bp_slot *small = take_slot(CLASS - 2, 2);
    struct bp_slot *large = take_slot(CLASS + 2, 1000);
    check(bp_budget_charge_cached(&budget, 1002 * page));
    bp_shard_push(&shards, 3, CLASS - 2, (struct bp_chain){small, 1, 2 * page}, &counters);
    bp_shard_push(&shards, 1, CLASS + 2, (struct bp_chain){large, 1, 1000 * page}, &counters);
    push(0, PAGES(3));
    check_size(bp_shards_purge(&shards, 0, 900 * page, &counters), 1000 * page);
    check_size(bp_shards_cached_bytes(&shards), 5 * page);
    check_size(bp_shards_purge(&shards, 0, SIZE_MAX, &counters), 5 * page);
    check_size(budget.cached_bytes, 0);
    check_size(budget.footprint_bytes, 0);
    check_size(bp_shards_purge(&shards, 0, SIZE_MAX, &counters), 0);
}

Test(shard, purging_nothing_takes_nothing)
{
    push(0, PAGES(3));
    check_size(bp_shards_purge(&shards, 0, 0, &counters), 0);
    check_size(bp_shards_cached_bytes(&shards), 3 * page);
}

/* Locked memory: nothing was given back, and nothing is counted as if it were. */
Test(shard, a_purge_that_fails_counts_nothing_and_ends)
{
    push(0, PAGES(3, 4));
    fake_os.purge.fail = FAIL_ALWAYS;
    check_size(bp_shards_purge(&shards, 0, SIZE_MAX, &counters), 0);
    check_size(budget.footprint_bytes, 7 * page);
    check_size(budget.cached_bytes, 0);
}

static size_t cold_pages(void)
{
    return bp_shards_cold_bytes(&shards) / page;
}

Test(shard, a_sweep_makes_cold_what_was_not_needed_since_the_last)
{
    push(0, PAGES(1, 2, 3));
    bp_shards_sweep(&shards);
    check_size(cold_pages(), 0);
    /* At one time two were out, so one was not needed: the oldest. */
    struct bp_chain chain = pop(0, 0, 2);
    check_size(chain.bytes, 3 * page);
    check(bp_budget_charge_cached(&budget, chain.bytes));
    bp_shard_push(&shards, 0, CLASS, chain, &counters);
    push(0, PAGES(4));
    bp_shards_sweep(&shards);
    check_size(cold_pages(), 3);
    bp_shards_sweep(&shards);
    check_size(cold_pages(), 1 + 2 + 3 + 4);
    check_size(bp_shards_cached_bytes(&shards), 10 * page);
}

Test(shard, cold_buffers_serve_when_no_hot_one_is_enough)
{
    push_cold(0, PAGES(4, 6));
    push(0, PAGES(3));
    check_size(pop(0, 2, 9).bytes, 3 * page);
    push(0, PAGES(3));
    check_size(pop(0, 5, 9).bytes, 6 * page);
    check_size(cold_pages(), 4);
    check_size(pop(0, 9, 9).bytes, 4 * page);
    check_size(pop(0, 9, 9).bytes, 3 * page);
    check_size(budget.cached_bytes, 0);
    check_size(cold_pages(), 0);
}

Test(shard, cold_memory_is_purged_first)
{
    push(0, PAGES(3));
    push_cold(1, PAGES(4, 6));
    check_size(bp_shards_purge_cold(&shards, 0, 5 * page, &counters), 10 * page);
    check_size(bp_shards_purge_cold(&shards, 0, SIZE_MAX, &counters), 0);
    push_cold(1, PAGES(4));
    check_size(bp_shards_purge(&shards, 0, 4 * page, &counters), 4 * page);
    check_size(bp_shards_cached_bytes(&shards), 3 * page);
    check_size(cold_pages(), 0);
    check_size(budget.footprint_bytes, 3 * page);
}

Test(shard, cold_buffers_count_against_its_number)
{
    cr_assert_eq(bp_shards_init(&shards, SHARD_COUNT, 2, &arena, &budget, &meta), 0);
    push_cold(0, PAGES(1, 2, 3));
    push(0, PAGES(4));
    check_size(bp_shards_cached_bytes(&shards), 3 * page);
    check_size(budget.cached_bytes, 3 * page);
    check_size(counters.values[BP_COUNT_drops], 2);
}

Test(shard, without_memory_there_are_no_shards)
{
    while (meta.left > 0)
        (void)bp_meta_alloc(&meta, BP_CACHELINE_BYTES);
    fake_os.map.fail = FAIL_ALWAYS;
    struct bp_shards none;
    cr_assert_eq(bp_shards_init(&none, SHARD_COUNT, NO_LIMIT, &arena, &budget, &meta), -ENOMEM);
}

Test(shard, all_are_locked_and_unlocked_for_a_fork)
{
    bp_shards_lock_all(&shards);
    for (unsigned i = 0; i < SHARD_COUNT; i++)
        cr_assert_neq(pthread_mutex_trylock(&shards.shards[i].lock.mutex), 0, "shard %u is free", i);
    bp_shards_unlock_all(&shards);
    push(3, PAGES(1));
    check_size(pop(3, 1, 1).count, 1);
}

/* In the child, the locks are as if never taken: also for the check of their order. */
static void use_in_child(void *lower_rank)
{
    bp_shards_reinit_locks(&shards);
    push(0, PAGES(2));
    check_size(pop(0, 2, 1).count, 1);
    (void)bp_lock_acquire(lower_rank);
    bp_lock_release(lower_rank);
}

Test(shard, locks_work_in_a_child)
{
    struct bp_lock lower = BP_LOCK_INITIALIZER(BP_RANK_THREADS);
    bp_shards_lock_all(&shards);
    check_says(use_in_child, &lower, "");
    bp_shards_unlock_all(&shards);
}

enum { WORKERS = 3, ROUNDS = 3000 };

static void *push_and_pop(void *own_counters)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct bp_chain chain = bp_shard_pop(&shards, round & 1, CLASS, page, 1 + round % 3, SIZE_MAX, own_counters);
        for (struct bp_slot *slot = chain.head; slot; slot = slot->next)
            *slot->home = (char)round;
        if (chain.head && bp_budget_charge_cached(&budget, chain.bytes))
            bp_shard_push(&shards, ~round & 1, CLASS, chain, own_counters);
    }
    return NULL;
}

Test(shard, threads_lose_nothing)
{
    push(0, PAGES(1, 2, 3, 4, 5, 6, 7, 8));
    pthread_t threads[WORKERS];
    static struct bp_counters own[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, push_and_pop, &own[i]), 0);
    for (int i = 0; i < WORKERS; i++)
        (void)pthread_join(threads[i], NULL);
    check_size(bp_shards_cached_bytes(&shards), 36 * page);
    check_size(budget.cached_bytes, 36 * page);
    check_size(pop(0, 0, 99).count + pop(1, 0, 99).count, 8);
}
