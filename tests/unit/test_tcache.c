/* SPDX-License-Identifier: MIT */
#include "tcache.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <time.h>

#include "fake_os.h"
#include "support.h"

enum { KEY = 20, CLASS = KEY - BP_STRIDE_SHIFT_MIN, SHARD_COUNT = 2, ID = 3, BUFFERS_MAX = 4, BYTES_MAX_PAGES = 5000 };

static struct bp_meta meta;
static struct bp_budget budget;
static struct bp_arena arena;
static struct bp_shards shards;
static struct bp_tcaches caches;
static size_t page;

static void make_caches(size_t buffers_max)
{
    fake_os_install();
    bp_meta_init(&meta);
    budget = (struct bp_budget){.cached_limit_bytes = SIZE_MAX, .footprint_limit_bytes = SIZE_MAX};
    page = bp_os_page_bytes();
    cr_assert_eq(bp_arena_init(&arena, &meta, &budget), 0);
    cr_assert_eq(bp_shards_init(&shards, SHARD_COUNT, 1000, &arena, &budget, &meta), 0);
    cr_assert_eq(bp_tcaches_init(&caches, ID, buffers_max, BYTES_MAX_PAGES * page, &shards, &meta), 0);
}

static void make_usual_caches(void)
{
    make_caches(BUFFERS_MAX);
}

static void make_caches_without_room(void)
{
    make_caches(0);
}

TestSuite(tcache, .init = make_usual_caches);
TestSuite(tcache_0, .init = make_caches_without_room);

/* A buffer with so many pages, in the program's hands. */
static struct bp_slot *take_slot(size_t class_index, size_t pages)
{
    struct bp_slot *slot = bp_arena_take(&arena, 0, class_index);
    check(bp_arena_extend(&arena, slot, pages * page) == 0);
    slot->next = NULL;
    return slot;
}

/* As if this thread had taken it. */
static void give(struct bp_tcache *cache, struct bp_slot *slot)
{
    bp_owner_add(&cache->misses[slot->class_index].fresh, 1u);
    bp_tcache_give(cache, slot);
}

static void give_fresh(struct bp_tcache *cache, size_t pages)
{
    give(cache, take_slot(CLASS, pages));
}

/* The largest buffer of the class. */
static size_t full_pages(void)
{
    return bp_class_stride_bytes(CLASS) / page;
}

static size_t bin_count(const struct bp_tcache *cache, size_t class_index)
{
    size_t count = 0;
    for (const struct bp_slot *slot = cache->bins[class_index].head; slot; slot = slot->next)
        count++;
    return count;
}

static size_t shard_count(unsigned shard)
{
    return shards.shards[shard].bins[CLASS].count;
}

/* What the budget holds as cached is in shards or allowed to threads. */
static void check_charges(const struct bp_tcache *cache)
{
    check_size(budget.cached_bytes, bp_shards_cached_bytes(&shards) + cache->allowance_bytes);
    check(bp_tcache_cached_bytes(cache) <= cache->allowance_bytes);
}

Test(tcache, a_thread_has_none_until_it_enters)
{
    cr_assert_eq(bp_thread.caches[ID], bp_tcache_none);
    cr_assert_null(bp_tcache_pop(bp_thread.caches[ID], CLASS, 1));
    struct bp_slot *slot = take_slot(CLASS, 1);
    slot->live = slot->home;
    cr_assert_not(bp_tcache_push(bp_thread.caches[ID], KEY, slot, slot->home), "full and empty at once");
    cr_assert_eq(slot->live, slot->home, "untouched");

    struct bp_tcache *cache = bp_tcache_enter(&caches);
    cr_assert_eq(cache, bp_thread.caches[ID]);
    cr_assert_eq(bp_tcache_enter(&caches), cache);
    check_size(caches.thread_count, 1);
    bp_tcache_leave(cache);
    cr_assert_eq(bp_thread.caches[0], bp_tcache_none, "of this pool only");
}

Test(tcache, a_buffer_given_is_the_next_hit)
{
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    struct bp_slot *slot = take_slot(CLASS, 40);
    give(cache, slot);
    check_size(bp_tcache_cached_bytes(cache), 40 * page);
    size_t size = 39 * page;
    cr_assert_eq(bp_tcache_pop(cache, CLASS, size), slot->home);
    cr_assert_eq(slot->live, slot->home);
    check_size(slot->size_bytes, size);
    check_size(bp_tcache_cached_bytes(cache), 0);
    check_size(cache->bins[CLASS].hits, 1);
    check_size(cache->bins[CLASS].hit_bytes, size);
    cr_assert_null(bp_tcache_pop(cache, CLASS, size));
    check_charges(cache);
}

Test(tcache, a_hit_needs_enough_memory_and_not_twice_too_much)
{
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    struct bp_slot *slot = take_slot(CLASS, 40);
    size_t room = slot->room_bytes;
    give(cache, slot);
    cr_assert_null(bp_tcache_pop(cache, CLASS, room + 1));
    cr_assert_null(bp_tcache_pop(cache, CLASS, (room - 1) / 2));
    cr_assert_eq(bp_tcache_pop(cache, CLASS, room), slot->home);
    cr_assert(bp_tcache_push(cache, KEY, slot, slot->home));
    cr_assert_eq(bp_tcache_pop(cache, CLASS, (room + 1) / 2), slot->home);
}

Test(tcache, hits_are_newest_first)
{
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    struct bp_slot *slots[3];
    for (int i = 0; i < 3; i++) {
        slots[i] = take_slot(CLASS, 10);
        give(cache, slots[i]);
    }
    for (int i = 3; i-- > 0;)
        cr_assert_eq(bp_tcache_pop(cache, CLASS, 8 * page), slots[i]->home);
}

Test(tcache, push_is_bounded_by_the_allowance_of_the_class)
{
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    struct bp_slot *slot = take_slot(CLASS, 10);
    slot->live = slot->home;
    cr_assert_not(bp_tcache_push(cache, KEY, slot, slot->home), "nothing is allowed yet");
    give_fresh(cache, 12);
    void *block = bp_tcache_pop(cache, CLASS, 11 * page);
    cr_assert_not_null(block);
    cr_assert(bp_tcache_push(cache, KEY, slot, slot->home), "within what was allowed");
    cr_assert_null(slot->live);
    struct bp_slot *other = take_slot(CLASS, 3);
    cr_assert_not(bp_tcache_push(cache, KEY, other, other->home), "the allowance is used up");
    cr_assert_eq(cache->bins[CLASS].head, slot, "and nothing changed");
    other = take_slot(CLASS, 2);
    cr_assert(bp_tcache_push(cache, KEY, other, other->home));
    other = take_slot(CLASS + 1, 1);
    cr_assert_not(bp_tcache_push(cache, KEY + 1, other, other->home), "of this class only");
    check_charges(cache);
}

/* An aligned block starts before its slot's usual place. Recycled it is good for less, never for more. */
Test(tcache, a_block_that_was_pushed_elsewhere_still_holds_the_next_request)
{
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    struct bp_slot *slot;
    do
        slot = take_slot(CLASS, 10);
    while (slot->home == bp_slot_base(&arena, slot));
    give(cache, slot);
    cr_assert_not_null(bp_tcache_pop(cache, CLASS, 8 * page));
    char *base = bp_slot_base(&arena, slot);
    slot->live = base;
    cr_assert(bp_tcache_push(cache, KEY, slot, base));
    char *block = bp_tcache_pop(cache, CLASS, slot->room_bytes);
    cr_assert_eq(slot->live, block);
    cr_assert(block >= base && block + slot->room_bytes <= base + slot->dirty_bytes);
}

Test(tcache, overflow_goes_to_the_home_shard_in_halves)
{
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    for (int i = 0; i < BUFFERS_MAX; i++)
        give_fresh(cache, full_pages());
    check_size(shard_count(cache->shard), 0);
    struct bp_slot *newest = cache->bins[CLASS].head;
    give_fresh(cache, full_pages());
    check_size(shard_count(cache->shard), BUFFERS_MAX / 2);
    check_size(bin_count(cache, CLASS), BUFFERS_MAX / 2 + 1);
    cr_assert_eq(cache->bins[CLASS].head->next, newest, "the oldest leave");
    check_size(cache->counters.values[BP_COUNT_flushes], 1);
    check_size(shard_count(cache->shard ^ 1), 0);
    check_charges(cache);
}

/* A loop that has two at a time goes on with the same two, in the same order. */
Test(tcache, of_large_buffers_the_one_with_the_lowest_address_is_the_next_hit)
{
    enum { LARGE_KEY = 23, LARGE = LARGE_KEY - BP_STRIDE_SHIFT_MIN };
    check(bp_class_is_large(LARGE) && !bp_class_is_large(LARGE - 1));
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    struct bp_slot *slots[3];
    for (size_t i = 0; i < LENGTH(slots); i++)
        slots[i] = take_slot(LARGE, 5);
    check(slots[0]->home < slots[1]->home && slots[1]->home < slots[2]->home);
    static const size_t orders[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (size_t i = 0; i < LENGTH(orders); i++) {
        for (size_t j = 0; j < LENGTH(slots); j++) {
            struct bp_slot *slot = slots[orders[i][j]];
            bp_owner_add(&cache->misses[LARGE].fresh, 1u);
            if (!bp_tcache_push(cache, LARGE_KEY, slot, slot->home))
                bp_tcache_give(cache, slot);
            check_size(bin_count(cache, LARGE), 1);
        }
        check_charges(cache);
        cr_assert_eq(bp_tcache_pop(cache, LARGE, 4 * page), slots[0]->home);
        slots[0]->live = NULL;
        bool stolen;
        for (int j = 0; j < 2; j++) {
            struct bp_slot *slot = bp_tcache_refill(cache, LARGE, 5 * page, &stolen);
            cr_assert(slot == slots[1] || slot == slots[2]);
            check_size(bin_count(cache, LARGE), 0);
        }
        check_charges(cache);
    }
}

/* Its buffers must be found by the threads that take them. */
Test(tcache, a_thread_that_only_frees_keeps_nothing)
{
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    bp_tcache_give(cache, take_slot(CLASS, 5));
    check_size(shard_count(cache->shard), 1);
    check_size(cache->allowance_bytes, 0);
    /* It took two, so it keeps two; what it frees beyond them empties the bin. */
    give_fresh(cache, 5);
    give_fresh(cache, 5);
    check_size(bin_count(cache, CLASS), 2);
    bp_tcache_give(cache, take_slot(CLASS, 5));
    check_size(bin_count(cache, CLASS), 0);
    check_size(shard_count(cache->shard), 4);
    check_size(cache->allowance_bytes, 0);
    check_charges(cache);
}

Test(tcache, one_buffer_of_each_class_may_pass_the_bytes_of_a_thread)
{
    caches.bytes_share = 100 * page;
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    give_fresh(cache, 150);
    check_size(bin_count(cache, CLASS), 1);
    give(cache, take_slot(CLASS + 1, 150));
    check_size(bin_count(cache, CLASS + 1), 1);
    give_fresh(cache, 1);
    check_size(bin_count(cache, CLASS), 1);
    check_size(shard_count(cache->shard), 1);
    check_charges(cache);
}

Test(tcache, a_part_of_the_memory_is_a_part_of_what_there_is)
{
    caches.bytes_share = BP_PERCENT(50);
    bp_store_relaxed(&budget.memory_bytes, 600 * page);
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    give_fresh(cache, 100);
    give_fresh(cache, 100);
    check_size(bin_count(cache, CLASS), 2);
    bp_store_relaxed(&budget.memory_bytes, 200 * page); /* a container's limit was lowered */
    give_fresh(cache, 100);
    check_size(bin_count(cache, CLASS), 1);
    check_charges(cache);
}

Test(tcache, of_a_buffer_that_passes_the_budget_a_part_is_kept)
{
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    bp_store_relaxed(&budget.cached_limit_bytes, 300 * page);
    give_fresh(cache, 100);
    give_fresh(cache, 110);
    give_fresh(cache, 150);
    check_size(budget.cached_bytes, 300 * page);
    check_size(budget.footprint_bytes, 300 * page);
    check_size(cache->counters.values[BP_COUNT_drops], 1);
    check_size(cache->counters.values[BP_COUNT_dropped_bytes], 60 * page);
    give_fresh(cache, 150); /* now there is no room at all */
    check_size(cache->counters.values[BP_COUNT_dropped_bytes], 210 * page);
    bp_tcache_flush(cache);
    (void)bp_shards_purge(&shards, 0, SIZE_MAX, &cache->counters);
    bp_store_relaxed(&budget.cached_limit_bytes, 180 * page);
    give_fresh(cache, 200); /* others have a right to the other half */
    check_size(budget.footprint_bytes, 90 * page);
    check_charges(cache);
    bp_tcache_leave(cache);
}

Test(tcache, of_a_small_budget_a_thread_keeps_a_part)
{
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    bp_store_relaxed(&budget.cached_limit_bytes, 10 * full_pages() * page);
    give_fresh(cache, full_pages());
    check_size(shard_count(cache->shard), 0);
    bp_tcache_flush(cache);
    bp_store_relaxed(&caches.thread_count, 8); /* a part of 15: less than this buffer */
    give_fresh(cache, full_pages());
    check_size(bp_tcache_cached_bytes(cache), 0);
    check_size(shard_count(cache->shard), 2);
    give_fresh(cache, full_pages() / 2);
    check_size(bp_tcache_cached_bytes(cache), full_pages() / 2 * page);
    bp_store_relaxed(&caches.thread_count, 1);
    give_fresh(cache, full_pages());
    check_size(bin_count(cache, CLASS), 2);
    check_charges(cache);
    bp_tcache_leave(cache);
}

Test(tcache, without_budget_nothing_is_kept)
{
    budget.cached_limit_bytes = 5 * page;
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    give_fresh(cache, 4);
    check_size(bin_count(cache, CLASS), 1);
    give_fresh(cache, 8);
    cr_assert_leq(budget.cached_bytes, 5 * page);
    cr_assert_geq(cache->counters.values[BP_COUNT_drops], 1);
    cr_assert_leq(budget.footprint_bytes, 5 * page);
    check_charges(cache);
}

Test(tcache, take_gives_the_best_fit)
{
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    give_fresh(cache, 3);
    give_fresh(cache, 9);
    give_fresh(cache, 5);
    struct bp_slot *slot = bp_tcache_take(cache, CLASS, 4 * page);
    check_size(slot->dirty_bytes, 5 * page);
    check_size(bin_count(cache, CLASS), 2);
    check_size(bp_tcache_take(cache, CLASS, 20 * page)->dirty_bytes, 9 * page);
    check_size(bp_tcache_take(cache, CLASS, 20 * page)->dirty_bytes, 3 * page);
    cr_assert_null(bp_tcache_take(cache, CLASS, page));
    cr_assert_null(cache->bins[CLASS].head_block);
    check_charges(cache);
}

/* Puts so many buffers of two pages into a shard. */
static void fill_shard(unsigned shard, size_t count)
{
    static struct bp_counters counters;
    while (count-- > 0) {
        check(bp_budget_charge_cached(&budget, 2 * page));
        bp_shard_push(&shards, shard, CLASS, (struct bp_chain){take_slot(CLASS, 2), 1, 2 * page}, &counters);
    }
}

Test(tcache, refill_brings_one_buffer_and_half_a_bin)
{
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    fill_shard(cache->shard, 10);
    bool stolen = true;
    struct bp_slot *slot = bp_tcache_refill(cache, CLASS, 2 * page, &stolen);
    cr_assert_not_null(slot);
    cr_assert_not(stolen);
    check_size(bin_count(cache, CLASS), BUFFERS_MAX / 2);
    check_size(shard_count(cache->shard), 10 - 1 - BUFFERS_MAX / 2);
    check_size(cache->counters.values[BP_COUNT_refills], 1);
    check_charges(cache);
}

Test(tcache, refill_steals_when_the_home_shard_is_empty)
{
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    fill_shard(cache->shard ^ 1, 1);
    bool stolen = false;
    cr_assert_not_null(bp_tcache_refill(cache, CLASS, 2 * page, &stolen));
    cr_assert(stolen);
    cr_assert_null(bp_tcache_refill(cache, CLASS, 2 * page, &stolen));
}

Test(tcache, refill_puts_back_what_it_may_not_keep)
{
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    fill_shard(cache->shard, 5);
    budget.cached_limit_bytes = budget.cached_bytes;
    fill_shard(cache->shard ^ 1, 0);
    /* Only what leaves the shard makes room in the budget. */
    bool stolen;
    cr_assert_not_null(bp_tcache_refill(cache, CLASS, 2 * page, &stolen));
    check_charges(cache);
    check_size(bin_count(cache, CLASS) + shard_count(cache->shard), 4);
}

Test(tcache, flush_gives_everything_to_the_home_shard)
{
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    give_fresh(cache, 3);
    give_fresh(cache, 4);
    give(cache, take_slot(CLASS + 2, 5));
    bp_tcache_flush(cache);
    check_size(bp_tcache_cached_bytes(cache), 0);
    check_size(cache->allowance_bytes, 0);
    check_size(bp_shards_cached_bytes(&shards), 12 * page);
    check_size(budget.cached_bytes, 12 * page);
    cr_assert_null(cache->bins[CLASS].head_block);
}

/* The budget was full of what this thread was allowed: handing over must not drop it. */
Test(tcache, flush_drops_nothing_at_the_limit)
{
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    give_fresh(cache, 3);
    give(cache, take_slot(CLASS + 2, 5));
    budget.cached_limit_bytes = budget.cached_bytes;
    bp_tcache_flush(cache);
    check_size(bp_shards_cached_bytes(&shards), 8 * page);
    check_size(cache->counters.values[BP_COUNT_drops], 0);
}

Test(tcache_0, without_room_everything_goes_to_the_shard)
{
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    struct bp_slot *slot = take_slot(CLASS, 2);
    slot->live = slot->home;
    cr_assert_not(bp_tcache_push(cache, KEY, slot, slot->home));
    slot->live = NULL;
    give(cache, slot);
    check_size(bin_count(cache, CLASS), 0);
    check_size(cache->allowance_bytes, 0);
    check_size(shard_count(cache->shard), 1);
    bool stolen;
    cr_assert_eq(bp_tcache_refill(cache, CLASS, 2 * page, &stolen), slot);
    fill_shard(cache->shard, 3);
    cr_assert_not_null(bp_tcache_refill(cache, CLASS, 2 * page, &stolen));
    check_size(bin_count(cache, CLASS), 0);
    check_size(shard_count(cache->shard), 2);
}

static void *fill_and_end(void *unused)
{
    (void)unused;
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    give_fresh(cache, 3);
    give_fresh(cache, 4);
    (void)bp_tcache_pop(cache, CLASS, 3 * page);
    bp_count(&cache->counters, BP_COUNT_refills, 5);
    bp_tcache_leave(cache);
    return NULL;
}

static void run_thread(void *(*function)(void *argument), void *argument)
{
    pthread_t thread;
    check(pthread_create(&thread, NULL, function, argument) == 0);
    (void)pthread_join(thread, NULL);
}

static void add_up(const struct bp_tcache *cache, void *sums)
{
    size_t *sum = sums;
    sum[0] += cache->counters.values[BP_COUNT_refills];
    sum[1] += cache->bins[CLASS].hits;
    sum[2]++;
}

Test(tcache, a_threads_end_drains_its_cache_and_keeps_its_counts)
{
    run_thread(fill_and_end, NULL);
    check_size(caches.thread_count, 0);
    check_size(caches.thread_total, 1);
    check_size(bp_tcaches_cached_bytes(&caches), 0);
    check_size(bp_shards_cached_bytes(&shards), 3 * page);
    check_size(budget.cached_bytes, 3 * page);
    size_t sums[3] = {0};
    bp_tcaches_visit(&caches, add_up, sums);
    check_size(sums[0], 5);
    check_size(sums[1], 1);
}

Test(tcache, records_of_ended_threads_are_used_again)
{
    size_t mapped = 0;
    for (int i = 0; i < 50; i++) {
        run_thread(fill_and_end, NULL);
        if (i == 0)
            mapped = meta.mapped_bytes;
    }
    check_size(caches.thread_total, 50);
    cr_assert_leq(meta.mapped_bytes, mapped + 64 * BP_KIB, "fifty records were made");
    size_t sums[3] = {0};
    bp_tcaches_visit(&caches, add_up, sums);
    check_size(sums[0], 250);
    check_size(sums[2], 3); /* that of all fifty, the ended threads' and the orphan cache's */
}

Test(tcache, threads_start_at_different_shards)
{
    struct bp_tcache *own = bp_tcache_enter(&caches);
    run_thread(fill_and_end, NULL);
    check_size(shard_count(own->shard), 0);
    check_size(shard_count(own->shard ^ 1), 1);
}

/* A destructor that runs after ours: made earlier, and it comes back until the C library gives up. */
static pthread_key_t late_key;
static size_t late_rounds;
static bool late_was_gone;
static bool late_was_orphan;

static void call_late(void *argument)
{
    if (++late_rounds < 3) {
        (void)pthread_setspecific(late_key, argument);
        return;
    }
    late_was_gone = bp_thread.caches[ID] == bp_tcache_gone;
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    late_was_orphan = cache == &caches.orphan;
    give_fresh(cache, 3);
    bp_tcache_leave(cache);
}

static void *use_cache_late(void *unused)
{
    (void)pthread_setspecific(late_key, &late_key);
    return fill_and_end(unused);
}

Test(tcache, after_its_end_a_thread_is_served_by_the_orphan_cache)
{
    cr_assert_eq(pthread_key_create(&late_key, call_late), 0);
    run_thread(use_cache_late, NULL);
    check_size(late_rounds, 3);
    cr_assert(late_was_gone && late_was_orphan);
    check_size(caches.thread_count, 0);
    check_size(bp_shards_cached_bytes(&shards) + bp_tcaches_cached_bytes(&caches), 6 * page);
    run_thread(use_cache_late, NULL);
    (void)bp_lock_acquire(&caches.orphan_lock);
    bp_lock_release(&caches.orphan_lock);
}

Test(tcache, without_memory_for_a_record_the_orphan_cache_serves)
{
    struct bp_slot *slot = take_slot(CLASS, 3);
    while (meta.left > 0)
        (void)bp_meta_alloc(&meta, BP_CACHELINE_BYTES);
    fake_os.map.fail = FAIL_ALWAYS;
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    cr_assert_eq(cache, &caches.orphan);
    bp_tcache_give(cache, slot);
    bp_tcache_leave(cache);
    check_size(bp_shards_cached_bytes(&shards), 3 * page);
    fake_os.map.fail = 0;
    cr_assert_neq(bp_tcache_enter(&caches), &caches.orphan, "it is tried again");
}

Test(tcache, the_end_of_a_pool_is_seen_by_threads_that_live_on)
{
    give_fresh(bp_tcache_enter(&caches), 3);
    bp_tcaches_fini(&caches);
    cr_assert_eq(bp_thread.caches[ID], bp_tcache_none);
}

/* Threads of the parent that a child does not have. */
static pthread_barrier_t barrier;

/* The thread is where its free has just linked a buffer and not counted it. */
static void push_half(struct bp_tcache *cache, struct bp_slot *slot)
{
    slot->live = NULL;
    slot->next = cache->bins[CLASS].head;
    cache->bins[CLASS].head = slot;
}

static size_t half_pushed_pages;

static void *fill_and_wait(void *unused)
{
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    give_fresh(cache, 3);
    struct bp_slot *slot = half_pushed_pages > 0 ? take_slot(CLASS, half_pushed_pages) : NULL;
    if (slot)
        push_half(cache, slot);
    (void)pthread_barrier_wait(&barrier);
    (void)pthread_barrier_wait(&barrier);
    if (slot) /* the parent's thread ends without it */
        cache->bins[CLASS].head = slot->next;
    return unused;
}

static void look_in_child(void *unused)
{
    (void)unused;
    bp_shards_reinit_locks(&shards);
    bp_lock_reinit(&caches.orphan_lock);
    bp_lock_reinit(&caches.lock);
    bp_tcaches_after_fork(&caches);
    check_size(caches.thread_count, 0);
    check_size(caches.thread_total, 0);
    check(bp_thread.caches[ID] == bp_tcache_none);
    check_size(bp_shards_cached_bytes(&shards), (7 + 3 + half_pushed_pages) * page);
    check_size(budget.cached_bytes, bp_shards_cached_bytes(&shards));
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    check_size(cache->counters.values[BP_COUNT_refills], 0);
    bp_tcache_leave(cache);
    check_size(caches.thread_total, 1);
    run_thread(fill_and_end, NULL);
    check_size(bp_shards_cached_bytes(&shards), (7 + 6 + half_pushed_pages) * page);
}

static void check_child_recovers(void)
{
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    give_fresh(cache, 7);
    bp_count(&cache->counters, BP_COUNT_refills, 9);
    bp_tcache_leave(cache);
    (void)pthread_barrier_init(&barrier, NULL, 2);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, fill_and_wait, NULL), 0);
    (void)pthread_barrier_wait(&barrier);

    (void)bp_lock_acquire(&caches.lock);
    (void)bp_lock_acquire(&caches.orphan_lock);
    bp_shards_lock_all(&shards);
    check_says(look_in_child, NULL, "");
    bp_shards_unlock_all(&shards);
    bp_lock_release(&caches.orphan_lock);
    bp_lock_release(&caches.lock);
    (void)pthread_barrier_wait(&barrier);
    (void)pthread_join(thread, NULL);
    check_size(cache->counters.values[BP_COUNT_refills], 9);
}

Test(tcache, a_child_recovers_what_other_threads_had)
{
    check_child_recovers();
}

Test(tcache, a_child_recovers_a_buffer_that_was_just_being_freed)
{
    half_pushed_pages = 5;
    check_child_recovers();
}

/* In an operation that was interrupted by the handler that forked: it goes on with the cache it has. */
static void look_in_interrupted_child(void *unused)
{
    (void)unused;
    bp_shards_reinit_locks(&shards);
    bp_lock_reinit(&caches.orphan_lock);
    bp_lock_reinit(&caches.lock);
    bp_tcaches_after_fork(&caches);
    struct bp_tcache *cache = bp_thread.caches[ID];
    check(cache != bp_tcache_none);
    check_size(bp_tcache_cached_bytes(cache), 7 * page);
    check_size(caches.thread_total, 1);
    check_charges(cache);
}

Test(tcache, a_child_of_an_interrupted_operation_keeps_its_cache)
{
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    give_fresh(cache, 7);
    (void)bp_lock_acquire(&caches.lock);
    (void)bp_lock_acquire(&caches.orphan_lock);
    bp_shards_lock_all(&shards);
    check_says(look_in_interrupted_child, NULL, "");
}

/* --- draining ---------------------------------------------------------------------------------------------------- */

static struct bp_counters drain_counters;

static size_t drain(bool idle_only)
{
    return bp_tcaches_drain(&caches, idle_only, &drain_counters);
}

static struct bp_tcache *fill_and_leave(void)
{
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    give_fresh(cache, 3);
    give_fresh(cache, 4);
    bp_tcache_leave(cache);
    return cache;
}

Test(tcache, a_cache_that_was_not_used_between_two_looks_is_drained)
{
    struct bp_tcache *cache = fill_and_leave();
    check_size(drain(true), 0);
    cr_assert_eq(bp_thread.caches[ID], cache, "it was used since");
    check_size(drain(true), 1);
    cr_assert_eq(bp_thread.caches[ID], bp_tcache_none);
    check_size(drain_counters.values[BP_COUNT_drained_caches], 1);
    check_size(bp_shards_cold_bytes(&shards), 7 * page);
    check_size(budget.cached_bytes, 7 * page);
    check_size(bp_tcaches_cached_bytes(&caches), 0);
    check_size(caches.thread_count, 0);
    check_size(drain(true), 0);
    (void)fill_and_leave();
    check_size(caches.thread_total, 1);
}

Test(tcache, a_cache_that_is_used_is_left_alone)
{
    struct bp_tcache *cache = fill_and_leave();
    for (int i = 0; i < 3; i++) {
        check_size(drain(true), 0);
        cr_assert_not_null(bp_tcache_pop(cache, CLASS, 2 * page));
        give_fresh(cache, 3);
    }
    cr_assert_eq(bp_thread.caches[ID], cache);
}

/* A thread that goes on with another size keeps what it needs warm, and not what it does not. */
Test(tcache, a_class_that_an_active_thread_does_not_need_goes_cold)
{
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    give_fresh(cache, 5);
    give(cache, take_slot(CLASS - 1, 3));
    bp_tcache_leave(cache);
    check_size(drain(true), 0);
    cache = bp_tcache_enter(&caches);
    struct bp_slot *slot = bp_tcache_take(cache, CLASS - 1, page);
    give(cache, slot);
    bp_tcache_leave(cache);
    check_size(drain(true), 1);
    check_size(bp_shards_cached_bytes(&shards), 8 * page);
    check_size(bp_shards_cold_bytes(&shards), 5 * page);
    check_size(bp_tcaches_cached_bytes(&caches), 0);
}

Test(tcache, draining_all_asks_for_no_idleness)
{
    (void)fill_and_leave();
    check_size(drain(false), 1);
    check_size(bp_shards_cold_bytes(&shards), 7 * page);
}

static pthread_t leaver;
static sem_t leaver_is_ready;
static sem_t leaver_may_go;
static bool left_early;

static void *leave_when_told(void *unused)
{
    (void)fill_and_leave();
    (void)sem_post(&leaver_is_ready);
    (void)sem_wait(&leaver_may_go);
    return unused;
}

/* The drainer has detached the cache, and will look at its thread. */
static void tell_to_leave(void)
{
    const struct timespec pause = {.tv_nsec = 50 * 1000 * 1000};
    (void)sem_post(&leaver_may_go);
    (void)nanosleep(&pause, NULL);
    left_early = pthread_tryjoin_np(leaver, NULL) == 0;
}

/* A thread with a cache, which ends when all CPUs are made to pass a barrier for it. */
static void prepare_leaver(void)
{
    (void)sem_init(&leaver_is_ready, 0, 0);
    (void)sem_init(&leaver_may_go, 0, 0);
    caches.fence = BP_FENCE_YES; /* else the first barrier is to find that out */
    cr_assert_eq(pthread_create(&leaver, NULL, leave_when_told, NULL), 0);
    (void)sem_wait(&leaver_is_ready);
    fake_os.in_fence = tell_to_leave;
}

Test(tcache, a_thread_does_not_end_while_a_drainer_looks_at_it)
{
    prepare_leaver();
    check_size(drain(false), 1);
    fake_os.in_fence = NULL;
    cr_assert_not(left_early);
    cr_assert_eq(pthread_join(leaver, NULL), 0);
    check_size(caches.thread_count, 0);
}

Test(tcache, an_operation_under_way_keeps_its_cache)
{
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    give_fresh(cache, 3);
    check_size(drain(false), 0);
    cr_assert_eq(bp_thread.caches[ID], cache);
    check_size(bp_tcache_cached_bytes(cache), 3 * page);
    bp_tcache_leave(cache);
    check_size(drain(false), 1);
}

/* As with a kernel without barriers; in a process with one thread, or with several. */
static void make_caches_anew(bool single_threaded)
{
    bp_tcaches_fini(&caches);
    fake_os.fence = (struct fake_call){.fail = 1};
    __libc_single_threaded = single_threaded;
    int error = bp_tcaches_init(&caches, ID, BUFFERS_MAX, page, &shards, &meta);
    __libc_single_threaded = false;
    cr_assert_eq(error, 0);
}

Test(tcache, without_the_barrier_nothing_is_drained)
{
    struct bp_tcache *cache = fill_and_leave();
    fake_os.fence.fail = FAIL_ALWAYS;
    check_size(drain(false), 0);
    cr_assert_eq(bp_thread.caches[ID], cache);
    make_caches_anew(true);
    check_size(fake_os.fence.calls, 1);
    (void)fill_and_leave();
    check_size(drain(false), 0);
    check_size(fake_os.fence.calls, 1); /* it is not asked again */
}

Test(tcache, where_there_are_threads_nobody_waits_for_a_barrier_before_there_is_something_to_drain)
{
    make_caches_anew(false);
    check_size(drain(false), 0); /* there is nothing */
    check_size(fake_os.fence.calls, 0); /* the first one takes 10 ms then */
    (void)fill_and_leave();
    check_size(drain(false), 0);
    check_size(fake_os.fence.calls, 1);
}

static void count_call(void *count)
{
    ++*(int *)count;
}

Test(tcache, at_rest_nobody_is_in_the_middle_of_an_operation)
{
    int calls = 0;
    struct bp_tcache *cache = fill_and_leave();
    cr_assert(bp_tcaches_at_rest(&caches, BP_WAIT_A_MOMENT, count_call, &calls));
    cr_assert_eq(calls, 1);
    cr_assert_eq(bp_thread.caches[ID], cache, "who asks keeps what it has");
    check_size(bp_tcache_cached_bytes(cache), 7 * page);

    cr_assert_eq(bp_tcache_enter(&caches), cache);
    cr_assert(bp_tcaches_at_rest(&caches, BP_WAIT_A_MOMENT, count_call, &calls), "who asks may be in one");
    cr_assert_eq(bp_thread.caches[ID], cache);
    bp_tcache_leave(cache);

    struct bp_thread other = {.busy = true};
    other.caches[ID] = cache;
    cache->thread = &other;
    cr_assert_not(bp_tcaches_at_rest(&caches, BP_WAIT_A_MOMENT, count_call, &calls));
    cr_assert_eq(other.caches[ID], cache);
    other.busy = false;
    fake_os.fence.fail = 1;
    cr_assert_not(bp_tcaches_at_rest(&caches, BP_WAIT_A_MOMENT, count_call, &calls));
    cr_assert_eq(other.caches[ID], cache);
    cr_assert(bp_tcaches_at_rest(&caches, BP_WAIT_A_MOMENT, count_call, &calls));
    cr_assert_eq(calls, 3);
    cr_assert_eq(other.caches[ID], bp_tcache_none, "only who makes a cache anew sees what was done");
    check_size(caches.thread_count, 0);
    check_size(bp_shards_cached_bytes(&shards), 7 * page);
    bp_thread.caches[ID] = bp_tcache_none;
}

Test(tcache, a_thread_does_not_end_while_others_are_at_rest)
{
    int calls = 0;
    prepare_leaver();
    cr_assert(bp_tcaches_at_rest(&caches, BP_WAIT_A_MOMENT, count_call, &calls));
    fake_os.in_fence = NULL;
    cr_assert_not(left_early);
    cr_assert_eq(pthread_join(leaver, NULL), 0);
    check_size(caches.thread_count, 0);
    check_size(budget.cached_bytes, 7 * page);
}

static _Atomic(bool) stop_workers;

/* Takes and gives, and checks that each buffer is its own while it has it. */
static void *work(void *unused)
{
    for (size_t round = 0; !bp_load_relaxed(&stop_workers); round++) {
        char *block = bp_tcache_pop(bp_thread_begin(ID), CLASS, 2 * page);
        bp_thread_end();
        if (!block) {
            struct bp_tcache *cache = bp_tcache_enter(&caches);
            bool stolen;
            struct bp_slot *slot = bp_tcache_take(cache, CLASS, 3 * page);
            if (!slot)
                slot = bp_tcache_refill(cache, CLASS, 3 * page, &stolen);
            if (!slot)
                slot = take_slot(CLASS, 3);
            bp_owner_add(&cache->misses[CLASS].fresh, 1u);
            block = slot->live = slot->home;
            bp_tcache_leave(cache);
        }
        struct bp_owner *owner = bp_owner_at(&arena, bp_arena_offset(&arena, block));
        struct bp_slot *slot = bp_slot_of(bp_owner_records(owner), owner, block);
        memcpy(block, &round, sizeof round);
        check(slot->live == block);
        if (round % 64 == 0)
            (void)sched_yield();
        check(memcmp(block, &round, sizeof round) == 0);
        bool kept = bp_tcache_push(bp_thread_begin(ID), KEY, slot, block);
        bp_thread_end();
        if (!kept) {
            struct bp_tcache *cache = bp_tcache_enter(&caches);
            slot->live = NULL;
            bp_tcache_give(cache, slot);
            bp_tcache_leave(cache);
        }
    }
    return unused;
}

enum { DRAIN_WORKERS = 4, DRAINS = 2000 };

Test(tcache, draining_and_working_threads_share_no_buffer)
{
    pthread_t threads[DRAIN_WORKERS];
    for (int i = 0; i < DRAIN_WORKERS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, work, NULL), 0);
    while (drain_counters.values[BP_COUNT_drained_caches] < DRAINS)
        (void)drain(false);
    bp_store_relaxed(&stop_workers, true);
    for (int i = 0; i < DRAIN_WORKERS; i++)
        (void)pthread_join(threads[i], NULL);
    check_size(caches.thread_count, 0);
    check_size(caches.thread_total, DRAIN_WORKERS);
    check_size(budget.cached_bytes, bp_shards_cached_bytes(&shards));
    check_size(budget.cached_bytes, budget.footprint_bytes);
}
