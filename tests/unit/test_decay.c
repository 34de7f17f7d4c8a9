/* SPDX-License-Identifier: MIT */
#include "decay.h"

#include "fake_os.h"
#include "os.h"
#include "support.h"

enum { CLASS = 20 - BP_STRIDE_SHIFT_MIN, DECAY_MS = 2000, INTERVAL_MS = DECAY_MS / 2 };

static struct bp_meta meta;
static struct bp_budget budget;
static struct bp_arena arena;
static struct bp_shards shards;
static struct bp_tcaches caches;
static struct bp_decay decay;
static struct bp_counters counters;
static size_t page;

static void make_all(void)
{
    fake_os_install();
    bp_meta_init(&meta);
    page = bp_os_page_bytes();
    budget = (struct bp_budget){.cached_share = SIZE_MAX / 4};
    bp_budget_follow_memory(&budget);
    cr_assert_eq(bp_arena_init(&arena, &meta, &budget), 0);
    cr_assert_eq(bp_shards_init(&shards, 2, 100000, &arena, &budget, &meta), 0);
    cr_assert_eq(bp_tcaches_init(&caches, 0, 8, BP_GIB, &shards, &meta), 0);
    fake_os.now_ns = 1000000;
    bp_decay_init(&decay, DECAY_MS, &budget);
}

TestSuite(decay, .init = make_all);

static void push(size_t mib)
{
    for (size_t i = 0; i < mib; i++) {
        struct bp_slot *slot = bp_arena_take(&arena, 0, CLASS);
        check(bp_arena_extend(&arena, slot, BP_MIB) == 0);
        check(bp_budget_charge_cached(&budget, BP_MIB));
        slot->next = NULL;
        bp_shard_push(&shards, i & 1, CLASS, (struct bp_chain){slot, 1, BP_MIB}, &counters);
    }
}

static size_t cached_mib(void)
{
    return bp_shards_cached_bytes(&shards) / BP_MIB;
}

/* Lets time pass, with one tick at its end. */
static void pass_ms(uint64_t ms)
{
    fake_os.now_ns += ms * 1000000;
    if (bp_decay_is_due(&decay, fake_os.now_ns))
        bp_decay_tick(&decay, &caches, fake_os.now_ns);
}

Test(decay, what_nobody_needs_is_gone_after_five_quarters_of_its_time)
{
    pass_ms(INTERVAL_MS);
    push(300);
    pass_ms(INTERVAL_MS - 1);
    check_size(cached_mib(), 300);
    pass_ms(1); /* the first sweep that sees it: it may have come a moment ago */
    check_size(cached_mib(), 300);
    size_t before = 300;
    for (int ms = 0; ms < DECAY_MS * 5 / 4 - INTERVAL_MS; ms += 5) {
        pass_ms(5);
        cr_assert_leq(cached_mib(), before);
        before = cached_mib();
    }
    check_size(cached_mib(), 0);
    check_size(decay.counters.values[BP_COUNT_decayed_bytes], 300 * BP_MIB);
    check_size(budget.footprint_bytes, 0);
    check_size(budget.cached_bytes, 0);
}

Test(decay, a_burst_goes_in_slices)
{
    push(1000);
    pass_ms(INTERVAL_MS);
    pass_ms(INTERVAL_MS);
    cr_assert_geq(cached_mib(), 1000 - 16 - 1, "not all at once");
    pass_ms(INTERVAL_MS / 4);
    cr_assert_leq(cached_mib(), 510);
    cr_assert_geq(cached_mib(), 450);
    pass_ms(INTERVAL_MS / 4 + 5);
    check_size(cached_mib(), 0);
}

Test(decay, one_late_tick_catches_up)
{
    push(1000);
    pass_ms(INTERVAL_MS);
    pass_ms(INTERVAL_MS);
    pass_ms(INTERVAL_MS - 1);
    check_size(cached_mib(), 0);
}

Test(decay, what_is_needed_now_and_then_stays)
{
    push(100);
    pass_ms(0);
    for (int i = 0; i < 10; i++) {
        struct bp_chain chain = {0};
        for (unsigned shard = 0; shard < 2; shard++) {
            chain = bp_shard_pop(&shards, shard, CLASS, BP_MIB, 30, SIZE_MAX, &counters);
            check_size(chain.count, 30);
            check(bp_budget_charge_cached(&budget, chain.bytes));
            bp_shard_push(&shards, shard, CLASS, chain, &counters);
        }
        pass_ms(INTERVAL_MS);
        pass_ms(INTERVAL_MS - 1);
    }
    check_size(cached_mib(), 60);
}

Test(decay, nothing_happens_before_it_is_due)
{
    push(10);
    pass_ms(0);
    size_t sweeps = decay.counters.values[BP_COUNT_sweeps];
    for (int i = 1; i < INTERVAL_MS; i++)
        pass_ms(1);
    check_size(decay.counters.values[BP_COUNT_sweeps], sweeps);
    pass_ms(1);
    check_size(decay.counters.values[BP_COUNT_sweeps], sweeps + 1);
}

/* A live block of a byte in a buffer of so many MiB. */
static struct bp_slot *make_slack(size_t mib)
{
    struct bp_slot *slot = bp_arena_take(&arena, 0, CLASS + 10);
    check(bp_arena_extend(&arena, slot, mib * BP_MIB) == 0);
    slot->next = NULL;
    bp_slot_set_block(slot, slot->home, 1);
    return slot;
}

Test(decay, what_live_blocks_leave_unused_goes_after_one_interval_or_two)
{
    make_slack(400);
    pass_ms(INTERVAL_MS); /* the first look that sees it: it may have been made a moment ago */
    check_size(budget.footprint_bytes, 400 * BP_MIB);
    pass_ms(INTERVAL_MS);
    cr_assert_geq(budget.footprint_bytes, (400 - 16) * BP_MIB, "not all at once");
    for (int ms = 0; ms <= INTERVAL_MS / 2; ms += 5)
        pass_ms(5);
    check_size(budget.footprint_bytes, page);
    check_size(decay.counters.values[BP_COUNT_slack_bytes], 400 * BP_MIB - page);
    cr_assert(bp_decay_has_work(&decay, &budget), "until the next look");
    pass_ms(INTERVAL_MS);
    cr_assert_not(bp_decay_has_work(&decay, &budget));
}

Test(decay, a_late_tick_does_not_hold_all_threads_up_for_long)
{
    make_slack(400);
    pass_ms(INTERVAL_MS);
    pass_ms(INTERVAL_MS);
    size_t before = budget.footprint_bytes;
    pass_ms(INTERVAL_MS - 1);
    check_size(before - budget.footprint_bytes, 64 * BP_MIB);
}

Test(decay, blocks_that_live_shorter_keep_it)
{
    struct bp_slot *slot = make_slack(400);
    for (int i = 0; i < 10; i++) {
        pass_ms(INTERVAL_MS / 2);
        pass_ms(INTERVAL_MS / 2);
        slot->next = NULL; /* freed, and handed out again */
    }
    check_size(budget.footprint_bytes, 400 * BP_MIB);
}

/* Sweeps that come early, as the budget asks for them, make no block older than it is. */
Test(decay, early_sweeps_do_not_age_blocks)
{
    make_slack(400);
    budget.cached_limit_bytes = BP_MIB;
    shards.evict.policy = BP_EVICTION_AUTO;
    pass_ms(INTERVAL_MS);
    size_t sweeps = decay.counters.values[BP_COUNT_sweeps];
    for (int i = 0; i < 10; i++) {
        fake_os.now_ns += 1000000;
        bp_store_relaxed(&shards.evict.refused_bytes, BP_GIB);
        bp_decay_tick(&decay, &caches, fake_os.now_ns);
    }
    check_size(decay.counters.values[BP_COUNT_sweeps], sweeps + 10);
    check_size(budget.footprint_bytes, 400 * BP_MIB);
}

/* Nothing ticks for what would stay anyhow. */
Test(decay, a_kernel_without_barriers_leaves_slack_where_it_is)
{
    make_slack(400);
    fake_os.fence.fail = FAIL_ALWAYS;
    for (int i = 0; i < 5; i++)
        pass_ms(INTERVAL_MS);
    check_size(budget.footprint_bytes, 400 * BP_MIB);
    cr_assert_not(bp_decay_has_work(&decay, &budget));
    cr_assert_not(bp_decay_finds_slack(&decay, &caches));
}

Test(decay, a_little_slack_is_nobodys_business)
{
    make_slack(15);
    for (int i = 0; i < 10; i++)
        pass_ms(INTERVAL_MS);
    check_size(budget.footprint_bytes, 15 * BP_MIB);
    cr_assert_not(bp_decay_finds_slack(&decay, &caches));
    make_slack(15);
    cr_assert(bp_decay_finds_slack(&decay, &caches));
}

Test(decay, zero_means_never)
{
    bp_decay_init(&decay, 0, &budget);
    push(10);
    make_slack(400);
    cr_assert_not(bp_decay_finds_slack(&decay, &caches));
    cr_assert_not(bp_decay_is_due(&decay, UINT64_MAX - 1));
}

static void follow_memory(size_t decay_ms)
{
    push(100);
    budget.cached_share = BP_PERCENT(25);
    budget.memory_bytes = BP_TIB; /* as it was before */
    bp_decay_init(&decay, decay_ms, &budget);
    pass_ms(999);
    check_size(budget.memory_bytes, BP_TIB);
    for (int second = 0; second < 2; second++) {
        pass_ms(1000);
        cr_assert_lt(budget.memory_bytes, BP_TIB);
        budget.memory_bytes = BP_TIB;
    }
    check_size(cached_mib(), 100);
    check_size(decay.counters.values[BP_COUNT_sweeps], 0);
    bp_decay_notify(&decay, BP_NOTICE_SHORT); /* pressure is off */
    cr_assert_not(bp_decay_is_due(&decay, fake_os.now_ns));
}

Test(decay, but_a_part_of_the_memory_is_a_part_of_what_there_is)
{
    follow_memory(0);
}

Test(decay, so_it_is_where_sweeps_are_rare)
{
    follow_memory(3600000);
}

Test(decay, a_second_thread_does_not_wait_for_the_first)
{
    push(10);
    pass_ms(INTERVAL_MS);
    decay.ticking = true;
    pass_ms(INTERVAL_MS);
    check_size(cached_mib(), 10);
    bp_decay_after_fork(&decay);
    pass_ms(0);
    check_size(cached_mib(), 0);
}

Test(decay, an_idle_threads_cache_goes_too)
{
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    bp_owner_add(&cache->misses[CLASS].fresh, 1u);
    struct bp_slot *slot = bp_arena_take(&arena, 0, CLASS);
    check(bp_arena_extend(&arena, slot, BP_MIB) == 0);
    bp_tcache_give(cache, slot);
    bp_tcache_leave(cache);
    check_size(bp_tcaches_cached_bytes(&caches), BP_MIB);
    pass_ms(INTERVAL_MS);
    pass_ms(INTERVAL_MS);
    check_size(budget.footprint_bytes, 0);
    check_size(budget.cached_bytes, 0);
    check_size(decay.counters.values[BP_COUNT_drained_caches], 1);
}

/* Locked memory: it is not tried for ever. */
Test(decay, a_kernel_that_keeps_the_memory_ends_the_slices)
{
    push(100);
    pass_ms(0);
    fake_os.purge.fail = FAIL_ALWAYS;
    pass_ms(INTERVAL_MS);
    size_t calls = fake_os.purge.calls;
    for (int i = 0; i < 400; i++)
        pass_ms(1);
    check_size(fake_os.purge.calls, calls);
}

/* --- a full budget ----------------------------------------------------------------------------------------------- */

static void fill_budget(enum bp_eviction policy)
{
    budget.cached_limit_bytes = 20 * BP_MIB;
    shards.evict.policy = policy;
    push(20);
    pass_ms(INTERVAL_MS);
}

enum { SMALL_CLASS = CLASS - 3, SMALL_BYTES = 128 * 1024 };

/* The program asks for another size, and finds no room for what it frees. */
static void refuse_of(size_t class_index, size_t bytes, size_t count)
{
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    for (size_t i = 0; i < count; i++) {
        struct bp_slot *slot = bp_arena_take(&arena, 0, class_index);
        check(bp_arena_extend(&arena, slot, bytes) == 0);
        bp_owner_add(&cache->misses[class_index].fresh, 1u);
        bp_tcache_give(cache, slot);
    }
    bp_tcache_leave(cache);
}

static void refuse(size_t mib)
{
    refuse_of(SMALL_CLASS, SMALL_BYTES, mib * BP_MIB / SMALL_BYTES);
}

Test(decay, a_full_budget_asks_for_a_sweep_when_as_much_was_refused)
{
    fill_budget(BP_EVICTION_AUTO);
    refuse(20);
    cr_assert_not(bp_shards_want_sweep(&shards));
    pass_ms(1);
    check_size(bp_shards_cold_bytes(&shards), 0);
    refuse(1);
    cr_assert(bp_shards_want_sweep(&shards));
    bp_decay_tick(&decay, &caches, fake_os.now_ns);
    cr_assert_not(bp_shards_want_sweep(&shards));
    refuse(5);
    cr_assert_geq(bp_tcaches_cached_bytes(&caches) + bp_shards_cached_bytes(&shards), 5 * BP_MIB);
    cr_assert_leq(budget.cached_bytes, 20 * BP_MIB);
}

Test(decay, without_a_clock_a_full_budget_still_gets_its_sweep)
{
    bp_decay_init(&decay, 0, &budget);
    fill_budget(BP_EVICTION_AUTO);
    refuse(21);
    bp_decay_tick(&decay, &caches, fake_os.now_ns);
    check_size(bp_shards_cold_bytes(&shards), 0); /* they came since the last sweep: there was none */
    refuse(21);
    bp_decay_tick(&decay, &caches, fake_os.now_ns);
    check_size(bp_shards_cold_bytes(&shards), 20 * BP_MIB);
    bp_decay_tick(&decay, &caches, fake_os.now_ns);
    check_size(cached_mib(), 20);
    refuse(20);
    check_size(bp_shards_cold_bytes(&shards), 0);
    check_size(decay.counters.values[BP_COUNT_decayed_bytes], 0);
}

Test(decay, lifo_waits_for_the_clock)
{
    fill_budget(BP_EVICTION_LIFO);
    refuse(100);
    cr_assert_not(bp_shards_want_sweep(&shards));
    pass_ms(1);
    check_size(cached_mib(), 20);
}

/* What is cached can give them its pages. */
Test(decay, buffers_whose_pages_can_be_moved_ask_for_nothing)
{
    fill_budget(BP_EVICTION_AUTO);
    refuse_of(CLASS - 1, BP_MIB / 2, 100);
    cr_assert_not(bp_shards_want_sweep(&shards));
    arena.can_move = false;
    refuse_of(CLASS - 1, BP_MIB / 2, 41);
    cr_assert(bp_shards_want_sweep(&shards));
}

/* It would ask for the sweep alone, and never fit. */
Test(decay, a_buffer_larger_than_the_budget_asks_for_nothing)
{
    fill_budget(BP_EVICTION_AUTO);
    budget.cached_limit_bytes = SMALL_BYTES / 2;
    refuse(10);
    cr_assert_not(bp_shards_want_sweep(&shards));
}

/* A container's limit that was lowered. */
Test(decay, what_passes_a_new_limit_goes_at_the_next_sweep)
{
    push(100);
    pass_ms(0);
    budget.cached_limit_bytes = 30 * BP_MIB;
    bp_decay_init(&decay, DECAY_MS, &budget);
    pass_ms(INTERVAL_MS);
    cr_assert_leq(cached_mib(), 30);
    check_size(decay.counters.values[BP_COUNT_evicted_bytes], 70 * BP_MIB);
}

/* A thread that uses its cache keeps it, but not beyond the limit of all. */
Test(decay, a_new_limit_holds_for_caches_in_use_too)
{
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    bp_owner_add(&cache->misses[CLASS].fresh, 4u);
    for (int i = 0; i < 4; i++) {
        struct bp_slot *slot = bp_arena_take(&arena, 0, CLASS);
        check(bp_arena_extend(&arena, slot, BP_MIB) == 0);
        bp_tcache_give(cache, slot);
    }
    bp_tcache_leave(cache);
    check_size(bp_tcaches_cached_bytes(&caches), 4 * BP_MIB);
    budget.cached_limit_bytes = 2 * BP_MIB;
    pass_ms(INTERVAL_MS);
    cr_assert_leq(budget.cached_bytes, 2 * BP_MIB);
    cr_assert_leq(budget.footprint_bytes, 2 * BP_MIB);
    cr_assert_geq(decay.counters.values[BP_COUNT_evicted_bytes], 2 * BP_MIB);
}
