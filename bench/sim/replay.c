/* SPDX-License-Identifier: MIT */
/*
 * Replays a trace through the pool: the code that runs is the code that ships, thread caches, shards and decay
 * included. Only the kernel is simulated (nobody touches the memory that it gives) and so is the clock. Each thread of
 * the trace is a thread here, but one runs at a time, so the outcome is always the same.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "os.h"
#include "outcome.h"
#include "pool.h"

enum {
    TICK_US = 2000,   /* somebody makes small requests, or BUFPOOL_BACKGROUND=1 */
    SHARDS = 4,
    START_NS = 1000000000,
};

struct worker {
    struct player *player;
    pthread_t thread;
    sem_t go;
    size_t from; /* events to play: from == to ends the thread */
    size_t to;
};

struct player {
    const struct trace *trace;
    struct outcome outcome;
    void **blocks;
    uint64_t live_bytes;  /* of blocks that the pool holds, in whole pages */
    uint64_t time_us;     /* up to which spare_byte_us was added up */
    uint64_t next_tick_us;
    sem_t done;
    struct bp_pool pool;
    struct worker workers[TRACE_THREADS_MAX];
};

/* One thread runs at a time; semaphores pass these on. */
static uint64_t now_ns;
static uint64_t purged_bytes;
static bool cannot_move;
static struct bp_arena *arena; /* of the pool that plays */
static const void *vacated;    /* where the last pages of a slot were that were moved just now */

/* A realloc of a small block touches it, so the pages are real; but hardly any are ever touched. */
static int purge(void *address, size_t bytes)
{
    purged_bytes += bytes;
    return bp_os_default.purge(address, bytes);
}

/* What a slot never had is mapped anew with it, and was not purged; nor was what it has no more. */
static int renew(void *address, size_t bytes, bool accessible)
{
    struct bp_owner *owner = bp_owner_at(arena, bp_arena_offset(arena, address));
    const struct bp_slot *slot = bp_slot_of(bp_owner_records(owner), owner, address);
    size_t start_bytes = (size_t)((char *)address - bp_slot_base(arena, slot));
    if (address != vacated)
        purged_bytes += bp_min(bytes, slot->dirty_bytes - bp_min(slot->dirty_bytes, start_bytes));
    vacated = NULL;
    return bp_os_default.renew(address, bytes, accessible);
}

static int populate(void *address, size_t bytes)
{
    (void)address;
    (void)bytes;
    return -ENOSYS;
}

static int resident(const void *address)
{
    (void)address;
    return 1;
}

static int move(void *from, void *to, size_t bytes)
{
    (void)to;
    (void)bytes;
    vacated = cannot_move ? NULL : from;
    return cannot_move ? -ENOSYS : 0;
}

static bool undo_move(void *from, void *to, size_t bytes, bool is_half)
{
    (void)from;
    (void)to;
    (void)bytes;
    (void)is_half;
    return true;
}

static int fence(void)
{
    return 0;
}

static uint64_t clock_ns(void)
{
    return now_ns;
}

static void simulate_kernel(void)
{
    bp_os = bp_os_default;
    bp_os.renew = renew;
    bp_os.purge = purge;
    bp_os.populate = populate;
    bp_os.resident = resident;
    bp_os.move = move;
    bp_os.undo_move = undo_move;
    bp_os.fence = fence;
    bp_os.now_ns = clock_ns;
    now_ns = START_NS;
    purged_bytes = 0;
}

static uint64_t footprint(const struct player *player)
{
    return bp_load_relaxed(&player->pool.budget.footprint_bytes);
}

static void pass_time(struct player *player, uint64_t time_us)
{
    uint64_t spare_bytes = footprint(player) - player->live_bytes;
    player->outcome.spare_byte_us += (double)spare_bytes * (double)(time_us - player->time_us);
    player->time_us = time_us;
    now_ns = START_NS + time_us * 1000;
}

static void pass_time_with_ticks(struct player *player, uint64_t time_us)
{
    for (; player->next_tick_us <= time_us; player->next_tick_us += TICK_US) {
        pass_time(player, player->next_tick_us);
        bp_pool_tick(&player->pool);
    }
    pass_time(player, time_us);
}

static void *allocate(struct player *player, size_t bytes)
{
    if (bytes > player->pool.max_size_bytes)
        return NULL;
    void *block = bp_pool_alloc_fast(0, bytes);
    return block ? block : bp_pool_alloc_slow(&player->pool, bytes, 1);
}

static void release(struct player *player, void *block)
{
    struct bp_pool *pool = &player->pool;
    if (block && !bp_pool_free_fast(pool, 0, block, bp_arena_offset(&pool->arena, block)))
        bp_pool_free_slow(pool, block);
}

/* What the pool does not serve, another allocator would: all of it fresh. */
static void *reallocate(struct player *player, void *block, size_t bytes)
{
    void *moved = block ? bp_pool_realloc(&player->pool, block, bytes) : NULL;
    if (!moved)
        release(player, block);
    return moved;
}

static void play_event(struct player *player, const struct event *event)
{
    pass_time_with_ticks(player, event->time_us);
    uint64_t page_bytes = player->pool.arena.page_bytes;
    uint64_t before_bytes = bp_align_up(event->before_bytes, page_bytes);
    uint64_t after_bytes = bp_align_up(event->after_bytes, page_bytes);
    uint64_t footprint_before = footprint(player);
    uint64_t purged_before = purged_bytes;
    void **block = &player->blocks[event->block];
    if (*block)
        player->live_bytes -= before_bytes;
    if (before_bytes == 0) {
        *block = allocate(player, event->after_bytes);
    } else if (after_bytes == 0) {
        release(player, *block);
        *block = NULL;
    } else {
        *block = reallocate(player, *block, event->after_bytes);
    }
    if (*block)
        player->live_bytes += after_bytes;
    struct outcome *outcome = &player->outcome;
    if (after_bytes > before_bytes) {
        uint64_t needed_bytes = after_bytes - before_bytes;
        uint64_t fresh_bytes = footprint(player) - footprint_before + purged_bytes - purged_before;
        if (!*block)
            fresh_bytes = needed_bytes;
        outcome->requests++;
        outcome->request_bytes += needed_bytes;
        outcome->fresh_bytes += fresh_bytes;
        outcome->hits += is_hit(fresh_bytes, needed_bytes);
    }
    outcome->peak_spare_bytes = bp_max(outcome->peak_spare_bytes, footprint(player) - player->live_bytes);
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    for (;;) {
        while (sem_wait(&worker->go) != 0) {
        }
        if (worker->from == worker->to)
            return NULL;
        for (size_t i = worker->from; i < worker->to; i++)
            play_event(worker->player, &worker->player->trace->events[i]);
        (void)sem_post(&worker->player->done);
    }
}

static void hand_over(struct worker *worker, size_t from, size_t to)
{
    worker->from = from;
    worker->to = to;
    (void)sem_post(&worker->go);
}

static void play(struct player *player)
{
    const struct trace *trace = player->trace;
    for (size_t from = 0, to; from < trace->count; from = to) {
        unsigned thread = trace->events[from].thread;
        for (to = from + 1; to < trace->count && trace->events[to].thread == thread; to++) {
        }
        hand_over(&player->workers[thread], from, to);
        while (sem_wait(&player->done) != 0) {
        }
    }
}

struct outcome replay(const struct trace *trace, const struct rules *rules)
{
    simulate_kernel();
    cannot_move = rules->cannot_move;
    struct bp_options options;
    bp_options_init(&options);
    options.shard_count = SHARDS;
    options.cache_bytes = rules->cache_bytes;
    options.decay_ms = rules->decay_ms;
    options.max_bytes = 0;
    options.pressure = BP_PRESSURE_OFF;
    options.eviction = rules->eviction;

    static struct player the_player; /* the pool wants its cache lines aligned */
    struct player *player = &the_player;
    memset(player, 0, sizeof *player);
    player->trace = trace;
    player->blocks = must_resize(NULL, trace->block_count * sizeof *player->blocks);
    memset(player->blocks, 0, trace->block_count * sizeof *player->blocks);
    player->time_us = trace->events[0].time_us;
    player->next_tick_us = player->time_us;
    now_ns = START_NS + player->time_us * 1000;
    if (bp_pool_init(&player->pool, 0, &options) != 0 || sem_init(&player->done, 0, 0) != 0)
        fail("cannot make a pool");
    arena = &player->pool.arena;
    for (unsigned i = 0; i < trace->thread_count; i++) {
        struct worker *worker = &player->workers[i];
        worker->player = player;
        if (sem_init(&worker->go, 0, 0) != 0 || pthread_create(&worker->thread, NULL, work, worker) != 0)
            fail("cannot make a thread");
    }
    play(player);
    for (unsigned i = 0; i < trace->thread_count; i++) {
        hand_over(&player->workers[i], 0, 0);
        (void)pthread_join(player->workers[i].thread, NULL);
    }
    bp_pool_fini(&player->pool);
    free(player->blocks);
    return player->outcome;
}
