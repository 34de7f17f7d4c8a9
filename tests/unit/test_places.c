/* SPDX-License-Identifier: MIT */
/* A pool on machines with several nodes: the kernel's part is pretended, so pages lie where they were bound. */
#include "pool.h"

#include <linux/mempolicy.h>
#include <pthread.h>
#include <string.h>

#include "audit.h"
#include "fake_os.h"
#include "machines.h"
#include "report.h"
#include "support.h"

enum { ID = 0, SIZE = 100 * 1024 };

static struct bp_pool pool;
static struct bp_options options;

static void init_options(void)
{
    fake_os_install();
    fake_os.allowed_nodes = UINT64_MAX;
    bp_options_init(&options);
    options.min_size_bytes = 1;
    options.cache_bytes = BP_GIB;
}

static void make_pool(unsigned machine)
{
    machine_enter(&machines[machine]);
    cr_assert_eq(bp_pool_init(&pool, ID, &options), 0);
}

static void make_two(void)
{
    init_options();
    make_pool(TWO_NODES);
}

static void check_pool(void)
{
    struct audit audit = audit_pool(&pool);
    cr_assert_str_empty(audit.problem, "%s", audit.problem);
    machine_leave();
}

TestSuite(places, .init = make_two, .fini = check_pool);
TestSuite(special_places, .init = init_options, .fini = check_pool);

static char *take(size_t bytes)
{
    char *block = bp_pool_alloc_fast(ID, bytes);
    block = block ? block : bp_pool_alloc_slow(&pool, bytes, 1);
    cr_assert_not_null(block);
    return block;
}

/* The thread runs elsewhere from now on, and has a slow operation. */
static void move_to(int cpu)
{
    fake_os.cpu = cpu;
    bp_pool_follow_policy(&pool);
}

/* True when the hit path served it. */
static bool release(char *block)
{
    if (bp_pool_free_fast(&pool, ID, block, bp_arena_offset(&pool.arena, block)))
        return true;
    bp_pool_free_slow(&pool, block);
    return false;
}

static unsigned place_of(const char *block)
{
    return bp_slot_place(&pool.arena, bp_arena_live_slot(&pool.arena, block));
}

static struct bp_stats_snapshot *stats(void)
{
    static struct bp_stats_snapshot snapshot;
    bp_report_snapshot(&pool, &snapshot);
    return &snapshot;
}

static void check_sums(void)
{
    const struct bp_stats_snapshot *all = stats();
    struct bp_place_stats sum = {0};
    for (unsigned i = 0; i < all->place_count; i++) {
        sum.live_bytes += all->places[i].live_bytes;
        sum.cached_bytes += all->places[i].cached_bytes;
        sum.local_hits += all->places[i].local_hits + all->places[i].remote_hits;
        sum.stolen += all->places[i].stolen;
        sum.fresh += all->places[i].fresh;
    }
    check_size(sum.live_bytes, all->live_bytes);
    check_size(sum.cached_bytes, all->cached_bytes);
    check_size(sum.local_hits, all->thread_cache_hits + all->shard_hits + all->stolen);
    check_size(sum.stolen, all->stolen);
    check_size(sum.fresh, all->fresh);
}

Test(places, memory_is_of_the_node_that_the_thread_runs_on)
{
    char *near = take(SIZE);
    cr_assert_eq(place_of(near), 0);
    cr_assert_eq(fake_os.bound.policy.nodes, 1);
    fake_os.cpu = 5;
    char *far = take(SIZE);
    cr_assert_eq(place_of(far), 1);
    cr_assert_eq(fake_os.bound.policy.mode, MPOL_PREFERRED);
    cr_assert_eq(fake_os.bound.policy.nodes, 2);
    check_sums();
    release(near);
    release(far);
    check_sums();
}

Test(places, hits_are_local)
{
    char *block = take(SIZE);
    release(block);
    cr_assert_eq(take(SIZE), block);
    cr_assert(release(block), "the hit path takes it back");
    check_size(stats()->places[0].local_hits, 1);
    check_sums();
}

Test(places, what_is_of_another_node_goes_home)
{
    char *blocks[40];
    for (size_t i = 0; i < LENGTH(blocks); i++)
        blocks[i] = take(SIZE);
    fake_os.cpu = 4;
    release(take(SIZE)); /* so that the thread has a cache at the other node */
    for (size_t i = 0; i < LENGTH(blocks); i++)
        cr_assert_not(release(blocks[i]), "the hit path leaves it");
    const struct bp_stats_snapshot *now = stats();
    check_size(now->counters[BP_COUNT_sent_home], LENGTH(blocks));
    cr_assert_geq(now->places[0].cached_bytes, LENGTH(blocks) * SIZE);
    check_sums();
    /* Nothing of it serves here, and all of it there. */
    char *other = take(SIZE);
    cr_assert_eq(place_of(other), 1);
    release(other);
    move_to(0);
    size_t fresh = stats()->fresh;
    for (size_t i = 0; i < LENGTH(blocks); i++) {
        blocks[i] = take(SIZE);
        cr_assert_eq(place_of(blocks[i]), 0);
    }
    check_size(stats()->fresh, fresh);
    for (size_t i = 0; i < LENGTH(blocks); i++)
        release(blocks[i]);
    check_sums();
}

Test(places, a_few_wait_for_each_other)
{
    char *blocks[3] = {take(SIZE), take(SIZE), take(SIZE)};
    fake_os.cpu = 4;
    for (size_t i = 0; i < LENGTH(blocks); i++)
        release(blocks[i]);
    check_size(stats()->counters[BP_COUNT_sent_home], 0);
    check_sums();
    fake_os.cpu = 0;
    cr_assert_eq(place_of(blocks[0] = take(SIZE)), 0);
    check_size(stats()->counters[BP_COUNT_sent_home], 3);
    release(blocks[0]);
}

static void *take_and_sleep(void *unused)
{
    (void)unused;
    release(take(SIZE));
    return NULL;
}

Test(places, a_thread_that_ends_leaves_its_buffers_at_their_node)
{
    fake_os.cpu = 6;
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, take_and_sleep, NULL), 0);
    (void)pthread_join(thread, NULL);
    cr_assert_gt(stats()->places[1].cached_bytes, 0);
    check_sums();
    char *block = take(SIZE);
    check_size(stats()->fresh, 1);
    release(block);
}

Test(places, the_sweep_finds_a_thread_that_has_moved_and_only_hits)
{
    char *block = take(SIZE);
    release(block);
    struct bp_counters counters = {0};
    struct bp_tcache *cache = pool.caches.list;
    cr_assert_not(bp_tcache_is_astray(cache));
    fake_os.cpu = 7; /* this thread asks about itself */
    cr_assert(bp_tcache_is_astray(cache));
    cr_assert_eq(take(SIZE), block, "a hit, and nobody looked");
    release(block);
    check_size(bp_tcaches_drain(&pool.caches, true, &counters), 1);
    block = take(SIZE);
    cr_assert_eq(place_of(block), 1);
    release(block);
}

Test(places, a_full_node_serves_warm_buffers_of_the_nearest)
{
    char *blocks[4];
    fake_os.cpu = 4;
    for (size_t i = 0; i < LENGTH(blocks); i++)
        blocks[i] = take(SIZE);
    for (size_t i = 0; i < LENGTH(blocks); i++)
        release(blocks[i]);
    machine_set_free(&machines[TWO_NODES], 0, 1);
    move_to(0);
    char *stolen = take(SIZE);
    cr_assert_eq(place_of(stolen), 1);
    const struct bp_stats_snapshot *now = stats();
    check_size(now->places[0].remote_hits, 1);
    check_size(now->places[0].stolen, 1);
    check_size(now->places[0].fallbacks, 0);
    char *fresh = take(20 * BP_MIB);
    cr_assert_eq(place_of(fresh), 0);
    check_size(stats()->places[0].fallbacks, 1);
    check_sums();
    release(stolen);
    release(fresh);
}

/* What lies free in other classes of the node is better than what is warm elsewhere, and no fallback. */
Test(places, a_full_node_serves_pages_of_its_own_first)
{
    machine_set_free(&machines[TWO_NODES], 0, 1);
    release(take(60 * BP_MIB));
    check_size(stats()->places[0].fallbacks, 1);
    fake_os.cpu = 4;
    release(take(3 * BP_MIB));
    move_to(0);
    char *moved = take(3 * BP_MIB);
    cr_assert_eq(place_of(moved), 0);
    const struct bp_stats_snapshot *now = stats();
    check_size(now->counters[BP_COUNT_exchanged], 1);
    cr_assert_geq(now->counters[BP_COUNT_exchanged_bytes], 3 * BP_MIB);
    check_size(now->places[0].stolen, 0);
    check_size(now->places[0].fallbacks, 1);
    check_sums();
    release(moved);
}

Test(places, a_policy_that_no_place_can_keep_is_forwarded)
{
    fake_os.policy = (struct bp_policy){MPOL_INTERLEAVE, 3};
    char *own = take(SIZE);
    cr_assert_eq(place_of(own), 2);
    fake_os.policy = (struct bp_policy){MPOL_INTERLEAVE, 1};
    bp_pool_follow_policy(&pool);
    cr_assert_null(bp_pool_alloc_slow(&pool, SIZE, 1));
    cr_assert_null(bp_pool_calloc(&pool, SIZE));
    release(own);
    check_size(stats()->forwarded, 2);
    check_size(stats()->counters[BP_COUNT_own_policy], 2);
    fake_os.policy = (struct bp_policy){MPOL_BIND, 2};
    bp_pool_follow_policy(&pool);
    char *bound = take(SIZE);
    cr_assert_eq(place_of(bound), 1);
    release(bound);
    check_sums();
}

Test(places, a_block_that_grows_keeps_its_place)
{
    char *block = take(BP_MIB);
    memset(block, 1, BP_MIB);
    fake_os.cpu = 4;
    block = bp_pool_realloc(&pool, block, 5 * BP_MIB);
    cr_assert_not_null(block);
    cr_assert_eq(place_of(block), stats()->counters[BP_COUNT_realloc_moved] == 1 ? 0 : 1);
    cr_assert_eq(block[BP_MIB - 1], 1);
    release(block);
    check_sums();
}

/* Fresh memory is taken rather than pages of another node. */
Test(special_places, pages_are_not_moved_between_nodes)
{
    options.cache_bytes = 30 * BP_MIB;
    make_pool(TWO_NODES);
    char *large = take(60 * BP_MIB); /* more than may be cached: pages are moved where that is possible */
    release(take(20 * BP_MIB));
    move_to(4);
    char *far = take(3 * BP_MIB);
    cr_assert_eq(place_of(far), 1);
    check_size(stats()->counters[BP_COUNT_exchanged], 0);
    move_to(0);
    char *near = take(3 * BP_MIB);
    check_size(stats()->counters[BP_COUNT_exchanged], 1);
    check_sums();
    release(near);
    release(far);
    release(large);
}

/* A burst on one node makes room at the cost of that node. */
Test(special_places, who_needs_room_pays_for_it)
{
    options.max_bytes = 70 * BP_MIB;
    options.thread_cache_buffers = 0;
    make_pool(TWO_NODES);
    static const int cpus[] = {0, 4};
    for (size_t i = 0; i < LENGTH(cpus); i++) {
        move_to(cpus[i]);
        char *blocks[6];
        for (size_t j = 0; j < LENGTH(blocks); j++)
            blocks[j] = take(5 * BP_MIB);
        for (size_t j = 0; j < LENGTH(blocks); j++)
            release(blocks[j]);
    }
    size_t cached_bytes = stats()->places[0].cached_bytes;
    cr_assert_geq(cached_bytes, 30 * BP_MIB);
    char *block = take(25 * BP_MIB); /* at CPU 4 */
    cr_assert_eq(place_of(block), 1);
    check_size(stats()->places[0].cached_bytes, cached_bytes);
    cr_assert_lt(stats()->places[1].cached_bytes, cached_bytes);
    release(block);
    check_sums();
}

/* What is taken from the reserved pool is a mapping of its own, which nothing has bound yet. */
Test(special_places, huge_pages_of_the_reserved_pool_are_bound)
{
    options.hugepages = BP_HUGEPAGES_HUGETLB;
    options.numa = (struct bp_numa_choice){.mode = BP_NUMA_BIND, .nodes = 3};
    make_pool(TWO_NODES);
    move_to(4);
    char *block = take(5 * BP_MIB);
    check_size(fake_os.map_huge.calls, 1);
    cr_assert_eq(fake_os.bound.address, bp_slot_base(&pool.arena, bp_arena_live_slot(&pool.arena, block)));
    check_size(fake_os.bound.bytes, 6 * BP_MIB);
    cr_assert_eq(fake_os.bound.policy.mode, MPOL_PREFERRED, "a wish: the node may have none left");
    cr_assert_eq(fake_os.bound.policy.nodes, 2);
    release(block);
    fake_os.map_huge.fail = 1;
    size_t binds = fake_os.bind.calls;
    block = take(20 * BP_MIB);
    check_size(fake_os.bind.calls, binds + 1); /* that of the span */
    release(block);
}

static int on_the_other(const void *page)
{
    (void)page;
    return 1;
}

static void reuse(size_t bytes, size_t times)
{
    for (size_t i = 0; i < times; i++)
        release(take(bytes));
}

Test(special_places, misplaced_pages_are_found_and_mended)
{
    options.thread_cache_buffers = 0;
    make_pool(TWO_NODES);
    reuse(SIZE, 40);
    check_size(stats()->counters[BP_COUNT_misplaced_pages], 0);
    cr_assert_gt(stats()->counters[BP_COUNT_checked_pages], 0);
    fake_os.node_of = on_the_other;
    reuse(SIZE, 20);
    cr_assert_gt(stats()->counters[BP_COUNT_misplaced_pages], 0);
    cr_assert_geq(stats()->counters[BP_COUNT_migrated_bytes], SIZE);
    cr_assert(fake_os.bound.move);
    cr_assert_eq(stats()->places[0].survey.cached_misplaced, stats()->places[0].survey.cached_pages);
    cr_assert_gt(stats()->places[0].survey.cached_pages, 0);
    reuse(20 * BP_MIB, 40);
    cr_assert_geq(stats()->counters[BP_COUNT_misplaced_dropped_bytes], 20 * BP_MIB);
}

Test(special_places, a_range_that_is_mapped_anew_is_bound_anew)
{
    make_pool(TWO_NODES);
    fake_os.cpu = 4;
    char *block = take(SIZE);
    size_t binds = fake_os.bind.calls;
    bp_arena_taint(&pool.arena, block, 1);
    release(block);
    check_size(fake_os.renew.calls, 1);
    check_size(fake_os.bind.calls, binds + 1);
    cr_assert_eq(fake_os.bound.policy.nodes, 2);
}

/* --- eight nodes with 256 CPUs: the figures of src/README.md ------------------------------------------------------ */

/* The linker sends calls between the core's files through here. */
struct bp_chain __real_bp_shard_pop(struct bp_shards *shards, unsigned shard, size_t class_index, size_t dirty_bytes,
                                    size_t count, size_t bytes_max, struct bp_counters *counters);
struct bp_chain __wrap_bp_shard_pop(struct bp_shards *shards, unsigned shard, size_t class_index, size_t dirty_bytes,
                                    size_t count, size_t bytes_max, struct bp_counters *counters);
static size_t looks;
static size_t locks;

struct bp_chain __wrap_bp_shard_pop(struct bp_shards *shards, unsigned shard, size_t class_index, size_t dirty_bytes,
                                    size_t count, size_t bytes_max, struct bp_counters *counters)
{
    looks++;
    locks += bp_load_relaxed(&shards->shards[shard].bins[class_index].count) != 0;
    return __real_bp_shard_pop(shards, shard, class_index, dirty_bytes, count, bytes_max, counters);
}

static void make_eight(void)
{
    options.shard_count = BP_SHARDS_MAX; /* as 256 CPUs would have it */
    make_pool(EIGHT_NODES);
}

static size_t used_bytes(void)
{
    return pool.meta.mapped_bytes - pool.meta.left;
}

Test(special_places, of_eight_nodes_each_has_sixteen_shards)
{
    make_eight();
    check_size(pool.arena.place_count, 9);
    check_size(pool.shards.per_place, 16);
    check_size(pool.shards.count, 144);
    check_size(pool.shards.count * sizeof(struct bp_shard) / BP_KIB, 198);
    check_size(sizeof *pool.numa / BP_KIB, 9);
    check_size(pool.arena.place_count * sizeof *pool.arena.places / BP_KIB, 3);
    size_t before_bytes = used_bytes();
    release(take(SIZE));
    size_t thread_bytes = used_bytes() - before_bytes;
    cr_assert(thread_bytes >= 64 * BP_KIB && thread_bytes <= 96 * BP_KIB, "%zu", thread_bytes);
    cr_assert_lt(before_bytes, BP_MIB + 512 * BP_KIB, "%zu with a megabyte of owner records", before_bytes);
}

/* Of the class and larger ones, and then, as the node is full, of the class in all others. */
Test(special_places, the_longest_search_for_a_buffer)
{
    make_eight();
    release(take(20 * BP_MIB));
    looks = 0;
    char *block = take(BP_MIB);
    check_size(looks, 2 * 16);
    (void)bp_pool_trim(&pool);
    for (unsigned node = 0; node < 8; node++)
        machine_set_free(&machines[EIGHT_NODES], node, 1);
    looks = 0;
    char *other = take(3 * BP_GIB); /* more than may be used before the node is looked at again */
    check_size(looks, 4 * 16 + 7 * 16);
    check_size(locks, 0);
    check_size(stats()->places[0].fallbacks, 1);
    release(block);
    release(other);
}

Test(special_places, the_nearest_node_that_has_a_buffer_is_asked)
{
    make_eight();
    static const int cpus[] = {127, 33, 64}; /* of nodes 7, 2, 4 */
    for (size_t i = 0; i < LENGTH(cpus); i++) {
        move_to(cpus[i]);
        release(take(SIZE));
    }
    machine_set_free(&machines[EIGHT_NODES], 0, 1);
    move_to(0);
    static const unsigned places[] = {2, 4, 7, 0};
    char *blocks[LENGTH(places)];
    locks = 0;
    for (size_t i = 0; i < LENGTH(places); i++) {
        blocks[i] = take(SIZE);
        cr_assert_eq(place_of(blocks[i]), places[i], "%zu: place %u", i, place_of(blocks[i]));
    }
    check_size(stats()->places[0].stolen, 3);
    check_size(locks, 3);
    for (size_t i = 0; i < LENGTH(places); i++)
        release(blocks[i]);
    check_sums();
}

/* ------------------------------------------------------------------------------------------------------------------ */

Test(special_places, without_memory_for_places_there_is_no_pool)
{
    machine_enter(&machines[TWO_NODES]);
    for (size_t maps = 0; maps < 20; maps++) {
        fake_os.map = (struct fake_call){.skip = maps, .fail = FAIL_ALWAYS};
        int error = bp_pool_init(&pool, ID, &options);
        if (error == 0)
            break;
        check_size(fake_os.mapped_bytes, 0);
    }
    fake_os.map = (struct fake_call){0};
    release(take(SIZE));
}
