/* SPDX-License-Identifier: MIT */
/*
 * Many threads on one pool: stress SECONDS [SEED].
 *
 * Every block carries its size and a cookie, and the cookie's stamp in every cache line. Threads hand blocks to each
 * other, live for a few hundred operations, die with full caches, come back in the destructors that run after the
 * cache's end, and fork in the middle. Another thread reads the report all the time. The pool changes from round to
 * round; after each the slots are walked and must add up. Nothing here uses malloc or stdio, as children must not.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "audit.h"
#include "fake_os.h"
#include "fork.h"
#include "report.h"
#include "stamp.h"

#if defined(__SANITIZE_THREAD__)
#define HAS_FORK 0 /* its runtime does not survive in the child of a process with threads */
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAS_FORK 0
#endif
#endif
#ifndef HAS_FORK
#define HAS_FORK 1
#endif

enum { WORKERS = 6, OWN_BLOCKS = 12, MAILBOXES = 64, LIFE_STEPS = 600, FORK_ONE_IN = 1500, DECAY_MS = 8 };

/* At the start of every block. */
struct header {
    size_t size;
    uint64_t cookie;
};

struct worker {
    uint64_t random;
    struct header *blocks[OWN_BLOCKS];
};

/* What makes a round different from the next. */
struct round {
    const char *name;
    size_t thread_cache_buffers;
    size_t cache_bytes;
    size_t max_bytes;
    size_t shard_count;
    size_t size_max;
    unsigned failing_one_in;
    enum bp_eviction eviction;
};

static const struct round rounds[] = {
    {"usual", 4, 512 * BP_MIB, 0, 4, 2 * BP_MIB, 0, BP_EVICTION_AUTO},
    {"one shard, tiny caches", 1, 512 * BP_MIB, 0, 1, 300 * BP_KIB, 0, BP_EVICTION_AUTO},
    {"no thread caches", 0, 512 * BP_MIB, 0, 2, BP_MIB, 0, BP_EVICTION_AUTO},
    {"little cache", 8, 4 * BP_MIB, 0, 4, BP_MIB, 0, BP_EVICTION_AUTO},
    {"no cache", 4, 0, 0, 4, BP_MIB, 0, BP_EVICTION_AUTO},
    {"little memory", 4, 512 * BP_MIB, 48 * BP_MIB, 4, 3 * BP_MIB, 0, BP_EVICTION_AUTO},
    {"large blocks", 2, BP_GIB, 0, 4, 16 * BP_MIB, 0, BP_EVICTION_AUTO},
    {"failing kernel", 4, 64 * BP_MIB, 0, 4, 3 * BP_MIB, 4, BP_EVICTION_AUTO},
    {"clockpro", 2, 4 * BP_MIB, 0, 4, 600 * BP_KIB, 20, BP_EVICTION_CLOCKPRO},
};
enum { ROUNDS = sizeof rounds / sizeof rounds[0] };

static const struct round *round_now;
static struct bp_pool pool;
static unsigned pool_id;
static _Atomic(struct header *) mailboxes[MAILBOXES];
static _Atomic(bool) round_over;
static _Atomic(uint64_t) next_seed;
static _Atomic(size_t) steps_total;
static _Atomic(size_t) forks_total;
static _Atomic(size_t) refused_total;
static pthread_key_t late_key;

#define CHECK(condition, what)                                                                                         \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            bp_fatal("stress: round \"%s\": %s (line %d)", round_now->name, what, __LINE__);                           \
    } while (0)

static size_t below(struct worker *worker, size_t limit)
{
    return (size_t)random_below(&worker->random, limit);
}

static void check_block(const struct header *block)
{
    CHECK(stamp_holds(block, sizeof *block, block->size, block->cookie), "a block lost its contents");
    CHECK(bp_pool_usable_bytes(&pool, block) >= block->size, "a block lost its size");
}

static void own(struct worker *worker, struct header *block, size_t size)
{
    block->size = size;
    block->cookie = random_mix(worker->random);
    stamp(block, sizeof *block, size, block->cookie);
}

static void drop_block(struct header *block)
{
    check_block(block);
    block->cookie = 0; /* freed twice or used after, it will show */
    size_t offset = bp_arena_offset(&pool.arena, block);
    if (!bp_pool_free_fast(&pool, pool_id, block, offset))
        bp_pool_free_slow(&pool, block);
}

static size_t any_size(struct worker *worker)
{
    size_t size = sizeof(struct header) + below(worker, round_now->size_max >> below(worker, 6));
    return below(worker, 4) == 0 ? bp_align_up(size, 4096) : size;
}

static struct header *make_block(struct worker *worker)
{
    size_t size = any_size(worker);
    size_t align = (size_t)64 << below(worker, 12);
    struct header *block;
    switch (below(worker, 6)) {
    case 0:
        block = bp_pool_calloc(&pool, size);
        CHECK(!block || is_zero(block, size), "calloc is not zero");
        break;
    case 1:
        block = bp_pool_alloc_slow(&pool, size, align);
        CHECK((uintptr_t)block % align == 0, "an alignment is wrong");
        break;
    default:
        block = bp_pool_alloc_fast(pool_id, size);
        if (!block)
            block = bp_pool_alloc_slow(&pool, size, 1);
        break;
    }
    if (block)
        own(worker, block, size);
    else
        bp_add_relaxed(&refused_total, 1u);
    return block;
}

static struct header *change_block(struct worker *worker, struct header *block)
{
    struct header before = *block;
    size_t size = any_size(worker);
    check_block(block);
    struct header *changed = bp_pool_realloc(&pool, block, size);
    if (!changed) {
        check_block(block);
        return block;
    }
    CHECK(stamp_holds(changed, sizeof before, bp_min(size, before.size), before.cookie), "realloc lost contents");
    own(worker, changed, size);
    return changed;
}

/* Leaves a block, or none, to whoever looks into the box next, and takes what is there. */
static struct header *swap_mail(struct worker *worker, struct header *block)
{
    return bp_exchange_acq_rel(&mailboxes[below(worker, MAILBOXES)], block);
}

#if HAS_FORK
/* The child has the blocks of its thread and can go on. */
static void live_as_child(struct worker *worker)
{
    for (size_t i = 0; i < OWN_BLOCKS; i++) {
        if (worker->blocks[i])
            drop_block(worker->blocks[i]);
    }
    for (size_t i = 0; i < OWN_BLOCKS; i++)
        worker->blocks[i] = make_block(worker);
    (void)bp_pool_trim(&pool);
    for (size_t i = 0; i < OWN_BLOCKS; i++) {
        if (worker->blocks[i])
            drop_block(worker->blocks[i]);
    }
    _exit(0);
}

static void fork_now(struct worker *worker)
{
    bp_pools_prefork((struct bp_pool *[]){&pool}, 1);
    pid_t child = fork();
    if (child == 0) {
        bp_pools_postfork_child((struct bp_pool *[]){&pool}, 1);
        live_as_child(worker);
    }
    bp_pools_postfork_parent((struct bp_pool *[]){&pool}, 1);
    CHECK(child > 0, "cannot fork");
    int status = 1;
    CHECK(waitpid(child, &status, 0) == child && status == 0, "a child failed");
    bp_add_relaxed(&forks_total, 1u);
}
#else
static void fork_now(struct worker *worker)
{
    (void)worker;
}
#endif

static void step(struct worker *worker)
{
    struct header **block = &worker->blocks[below(worker, OWN_BLOCKS)];
    size_t kind = below(worker, 100);
    if (kind < 15)
        *block = swap_mail(worker, *block);
    else if (!*block)
        *block = make_block(worker);
    else if (kind < 30)
        *block = change_block(worker, *block);
    else {
        drop_block(*block);
        *block = NULL;
    }
    if (below(worker, FORK_ONE_IN) == 0)
        fork_now(worker);
}

/* Blocks go to whoever comes later; what lies in the cache is the pool's to recover. */
static void leave(struct worker *worker)
{
    for (size_t i = 0; i < OWN_BLOCKS; i++) {
        struct header *other = worker->blocks[i] ? swap_mail(worker, worker->blocks[i]) : NULL;
        if (other)
            drop_block(other);
    }
}

/* Runs twice: before the end of this thread's cache or after it, as the C library likes, and surely after it. */
static void use_late(void *again)
{
    struct worker worker = {.random = random_mix(bp_add_relaxed(&next_seed, RANDOM_STEP))};
    for (int i = 0; i < 20; i++) {
        struct header *block = make_block(&worker);
        if (block)
            drop_block(block);
    }
    if (again)
        (void)pthread_setspecific(late_key, NULL);
}

static void *live(void *unused)
{
    struct worker worker = {.random = random_mix(bp_add_relaxed(&next_seed, RANDOM_STEP))};
    if (below(&worker, 4) == 0)
        (void)pthread_setspecific(late_key, &pool);
    size_t steps = 1 + below(&worker, LIFE_STEPS);
    size_t i = 0;
    for (; i < steps && !bp_load_relaxed(&round_over); i++)
        step(&worker);
    bp_add_relaxed(&steps_total, i);
    leave(&worker);
    return unused;
}

/* One worker after another. */
static void *keep_alive(void *unused)
{
    while (!bp_load_relaxed(&round_over)) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, live, NULL) == 0, "cannot make a thread");
        (void)pthread_join(thread, NULL);
    }
    return unused;
}

static void *look_on(void *unused)
{
    static char data[64 * 1024];
    for (unsigned look = 1; !bp_load_relaxed(&round_over); look++) {
        struct bp_stats_snapshot stats;
        bp_report_snapshot(&pool, &stats);
        CHECK(stats.peak_cached_bytes <= stats.cache_limit_bytes, "the cache passed its limit");
        CHECK(stats.footprint_bytes <= pool.budget.footprint_limit_bytes, "the footprint passed its limit");
        struct bp_text text = {.data = data, .size = sizeof data};
        bp_report_json(&text, &stats, &(struct bp_report_subject){.program = "stress", .mode = "pool"});
        bp_add_relaxed(&fake_os.now_ns, 2000000);
        bp_pool_tick(&pool);
        if (look % 16 == 0)
            (void)bp_pool_trim(&pool);
        (void)usleep(2000);
    }
    return unused;
}

static void make_pool(unsigned number)
{
    struct bp_options options;
    bp_options_init(&options);
    options.min_size_bytes = 1;
    options.thread_cache_buffers = round_now->thread_cache_buffers;
    options.cache_bytes = round_now->cache_bytes;
    options.max_bytes = round_now->max_bytes;
    options.shard_count = round_now->shard_count;
    options.decay_ms = DECAY_MS;
    options.eviction = round_now->eviction;
    fake_os.commit.one_in = 0;
    memset(&pool, 0, sizeof pool);
    pool_id = number % BP_POOLS_MAX;
    CHECK(bp_pool_init(&pool, pool_id, &options) == 0, "cannot make a pool");
    fake_os.commit.one_in = fake_os.purge.one_in = fake_os.move.one_in = round_now->failing_one_in;
    fake_os.fence.one_in = round_now->failing_one_in;
}

/* Nobody is left: what lies in the mailboxes is all that lives. */
static void end_pool(void)
{
    for (size_t i = 0; i < MAILBOXES; i++) {
        struct header *block = bp_exchange_acq_rel(&mailboxes[i], NULL);
        if (block)
            drop_block(block);
    }
    struct audit audit = audit_pool(&pool);
    CHECK(audit.problem[0] == '\0', audit.problem);
    CHECK(audit.live_count == 0, "blocks were lost");
    bp_pool_fini(&pool);
    CHECK(fake_os.mapped_bytes == 0, "memory was not given back");
}

static void run_round(unsigned number, uint64_t milliseconds)
{
    round_now = &rounds[number % ROUNDS];
    bp_store_relaxed(&round_over, false);
    make_pool(number);
    pthread_t threads[WORKERS + 1];
    for (int i = 0; i <= WORKERS; i++)
        CHECK(pthread_create(&threads[i], NULL, i < WORKERS ? keep_alive : look_on, NULL) == 0, "cannot make a thread");
    struct timespec time = {.tv_sec = (time_t)(milliseconds / 1000), .tv_nsec = (long)(milliseconds % 1000) * 1000000};
    (void)nanosleep(&time, NULL);
    bp_store_relaxed(&round_over, true);
    for (int i = 0; i <= WORKERS; i++)
        (void)pthread_join(threads[i], NULL);
    end_pool();
}

int main(int argc, char **argv)
{
    uint64_t seconds = argc > 1 ? strtoul(argv[1], NULL, 10) : 8;
    uint64_t seed = argc > 2 ? strtoul(argv[2], NULL, 0) : (uint64_t)time(NULL);
    bp_say("stress: %lu s, seed %lu", (unsigned long)seconds, (unsigned long)seed);
    next_seed = seed;
    fake_os.random = ~seed;
    fake_os_install();
    if (!HAS_FORK)
        fake_os.reserve_max_bytes = 64 * BP_GIB; /* ThreadSanitizer's map of memory has no place for more */
    if (pthread_key_create(&late_key, use_late) != 0)
        return 1;
    /* Every pool comes up at least twice, and more often in a long run. */
    unsigned count = ROUNDS * (seconds < 60 ? 2 : (unsigned)seconds / 30);
    for (unsigned number = 0; number < count; number++)
        run_round(number, seconds * 1000 / count);
    bp_say("stress: %zu steps, %zu forks, %zu requests refused", steps_total, forks_total, refused_total);
    return 0;
}
