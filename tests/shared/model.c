/* SPDX-License-Identifier: MIT */
#include "model.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "audit.h"
#include "fake_os.h"
#include "fork.h"
#include "report.h"
#include "stamp.h"

enum {
    BLOCKS_MAX = 48,
    THREADS_MAX = 4,
    STEPS_PER_AUDIT = 64,
    FORKS_MAX = 2,
    SIZE_SHIFT_MIN = 6,
    ODD_ERRNO = 4321,
};

struct shadow {
    char *block; /* NULL: none */
    char *last;  /* the block before */
    size_t size;
    uint64_t cookie;
};

/* The first is the caller's; the others are made when it is their turn. */
struct actor {
    pthread_t thread;
    sem_t turn;
    bool exists;
    bool leaves;
};

static struct model {
    struct bp_pool pool;
    const struct model_setup *setup;
    struct model_bytes *bytes;
    struct model_outcome outcome;
    size_t requests;        /* that the pool must have counted */
    unsigned actor;         /* whose turn it is */
    struct actor actors[THREADS_MAX];
    struct shadow shadows[BLOCKS_MAX];
} model;

#define CHECK(condition) ((condition) ? (void)0 : fail(#condition, __LINE__))

static void fail(const char *what, int line)
{
    bp_fatal("model: step %zu of thread %u: %s (line %d)", model.outcome.steps, model.actor, what, line);
}

/* --- what the bytes say ------------------------------------------------------------------------------------------ */

static bool has_bytes(void)
{
    return model.bytes->at < model.bytes->size;
}

static unsigned next_byte(struct model_bytes *bytes)
{
    return bytes->at < bytes->size ? bytes->data[bytes->at++] : 0;
}

static unsigned next(void)
{
    return next_byte(model.bytes);
}

/* Sizes of every magnitude, and often those around the boundary of a page; sometimes none or far too much. */
static size_t next_size(void)
{
    unsigned shape = next();
    size_t fraction = next() << 8;
    fraction |= next();
    size_t magnitudes = bp_ceil_log2(model.setup->size_max >> SIZE_SHIFT_MIN);
    if (fraction == 0xffff)
        return (shape & 1) != 0 ? 0 : SIZE_MAX >> (shape >> 4);
    size_t magnitude = (size_t)1 << (SIZE_SHIFT_MIN + (shape & 31) % magnitudes);
    size_t size = magnitude + (magnitude * fraction >> 16);
    unsigned place = shape >> 5;
    return place < 5 ? size : bp_align_up(size, 4096) + place - 6;
}

static struct shadow *next_shadow(void)
{
    return &model.shadows[next() % BLOCKS_MAX];
}

/* --- blocks ------------------------------------------------------------------------------------------------------ */

static void check_block(const struct shadow *shadow)
{
    size_t usable = bp_pool_usable_bytes(&model.pool, shadow->block);
    CHECK(usable >= shadow->size && usable < shadow->size + bp_os_page_bytes());
    CHECK(stamp_holds(shadow->block, 0, shadow->size, shadow->cookie));
    CHECK((uintptr_t)shadow->block % BP_COLOUR_STEP_BYTES == 0);
    CHECK(bp_pool_check_sized(&model.pool, shadow->block, shadow->size, 1, "free_sized"));
}

static void check_blocks(void)
{
    for (size_t i = 0; i < BLOCKS_MAX; i++) {
        if (model.shadows[i].block)
            check_block(&model.shadows[i]);
    }
}

/* The program writes wherever it may. */
static void own(struct shadow *shadow, char *block, size_t size)
{
    *shadow = (struct shadow){.block = block, .size = size, .cookie = random_mix(model.outcome.steps + 1)};
    memset(block + size, 0xdd, bp_pool_usable_bytes(&model.pool, block) - size);
    stamp(block, 0, size, shadow->cookie);
}

/* Where the program has not written yet, from the old end of its block: nobody's bytes may be there. */
static void check_erased(const char *block, size_t from)
{
    size_t usable = bp_pool_usable_bytes(&model.pool, block);
    if (model.setup->options.scrub != BP_SCRUB_OFF && from < usable)
        CHECK(is_zero(block + from, usable - from));
}

enum request { PLAIN, ZEROED, ALIGNED };

static void make_block(struct shadow *shadow, enum request request)
{
    size_t size = next_size();
    size_t align = 1;
    bool serves = size - 1 < model.pool.max_size_bytes;
    char *block = NULL;
    if (request == ZEROED) {
        block = bp_pool_calloc(&model.pool, size);
        CHECK(!block || is_zero(block, size));
    } else if (request == ALIGNED) {
        align = (size_t)1 << next() % 33;
        block = bp_pool_alloc_slow(&model.pool, size, align);
        CHECK(!block || align <= BP_ALIGN_MAX_BYTES);
    } else {
        block = serves ? bp_pool_alloc_fast(model.setup->pool_id, size) : NULL;
        if (!block)
            block = bp_pool_alloc_slow(&model.pool, size, 1);
    }
    model.requests++;
    model.outcome.refused += block == NULL;
    if (!block)
        return;
    CHECK(serves && (uintptr_t)block % align == 0);
    check_erased(block, 0);
    own(shadow, block, size);
}

static void change_block(struct shadow *shadow)
{
    size_t size = next_size();
    size_t usable = bp_pool_usable_bytes(&model.pool, shadow->block);
    char *block = bp_pool_realloc(&model.pool, shadow->block, size);
    if (!block)
        return; /* it must be as it was: the next look at it will tell */
    CHECK(stamp_holds(block, 0, bp_min(size, shadow->size), shadow->cookie));
    model.outcome.moved_or_copied += block != shadow->block;
    check_erased(block, usable);
    own(shadow, block, size);
}

static void drop_block(struct shadow *shadow)
{
    char *block = shadow->block;
    shadow->last = block;
    shadow->block = NULL;
    size_t offset = bp_arena_offset(&model.pool.arena, block);
    bool kept = shadow->size % 2 == 0
                    ? bp_pool_free_fast(&model.pool, model.setup->pool_id, block, offset)
                    : bp_pool_free_fast_sized(&model.pool, model.setup->pool_id, block, offset, shadow->size);
    if (!kept)
        bp_pool_free_slow(&model.pool, block);
}

static void drop_blocks(size_t every)
{
    for (size_t i = 0; i < BLOCKS_MAX; i += every) {
        if (model.shadows[i].block)
            drop_block(&model.shadows[i]);
    }
}

/* A pointer into a block, into a slot that is free, or anywhere in the pool; never one that the program holds. */
static char *wrong_pointer(const struct shadow *shadow)
{
    unsigned shape = next();
    size_t distance = (size_t)(next() + 1) << shape % 24;
    char *start = shadow->block ? shadow->block : shadow->last;
    if ((shape & 128) != 0 || !start)
        start = model.pool.arena.spans->base;
    char *p = (shape & 64) != 0 ? start - distance : start + distance;
    if ((shape & 32) != 0)
        p = start;
    if (!bp_arena_contains(&model.pool.arena, p) || bp_arena_live_slot(&model.pool.arena, p))
        return NULL;
    return p;
}

/* With ON_ERROR=warn nothing must come of it. */
static void misuse(const struct shadow *shadow)
{
    char *p = model.pool.arena.spans ? wrong_pointer(shadow) : NULL;
    if (!p)
        return;
    model.outcome.misused++;
    switch (next() % 4) {
    case 0:
        CHECK(bp_pool_usable_bytes(&model.pool, p) == 0);
        break;
    case 1:
        CHECK(bp_pool_realloc(&model.pool, p, next_size()) == NULL);
        break;
    case 2:
        CHECK(!bp_pool_check_sized(&model.pool, p, next_size(), 1, "free_sized"));
        break;
    default:
        CHECK(!bp_pool_free_fast(&model.pool, model.setup->pool_id, p, bp_arena_offset(&model.pool.arena, p)));
        bp_pool_free_slow(&model.pool, p);
        break;
    }
}

/* --- the whole --------------------------------------------------------------------------------------------------- */

static size_t live_count(void)
{
    size_t count = 0;
    for (size_t i = 0; i < BLOCKS_MAX; i++)
        count += model.shadows[i].block != NULL;
    return count;
}

static struct audit check_slots(void)
{
    struct audit audit = audit_pool(&model.pool);
    if (audit.problem[0] != '\0')
        fail(audit.problem, __LINE__);
    CHECK(audit.live_count == live_count());
    CHECK(audit.lost_count <= fake_os.renew.failed + fake_os.move.failed);
    return audit;
}

static void check_sums(void)
{
    struct audit audit = check_slots();
    struct bp_stats_snapshot stats;
    bp_report_snapshot(&model.pool, &stats);
    CHECK(stats.footprint_bytes == stats.live_bytes + stats.cached_bytes);
    CHECK(stats.cached_bytes == audit.cached_bytes);
    CHECK(stats.live_bytes == audit.live_bytes + audit.clean_bytes + audit.lost_bytes);
    CHECK(stats.large_requests >= model.requests);
    CHECK(stats.large_requests <= model.requests + stats.counters[BP_COUNT_realloc_copied] + stats.forwarded);
    CHECK(stats.forwarded >= model.outcome.refused);
    CHECK(stats.counters[BP_COUNT_misuses] == model.outcome.misused);
    const size_t *counts = stats.counters;
    CHECK(counts[BP_COUNT_realloc_moved] + counts[BP_COUNT_realloc_copied] == model.outcome.moved_or_copied);
    CHECK(counts[BP_COUNT_realloc_copied] ==
          counts[BP_COUNT_realloc_copied_small] + counts[BP_COUNT_realloc_copied_changed] +
              counts[BP_COUNT_realloc_copied_mappings] + counts[BP_COUNT_realloc_copied_refused]);
    CHECK(counts[BP_COUNT_realloc_exchanged] <= counts[BP_COUNT_realloc_moved]);
}

/* Both forms of the report, into too little room or enough. */
static void write_reports(void)
{
    static char data[64 * 1024];
    struct bp_stats_snapshot stats;
    bp_report_snapshot(&model.pool, &stats);
    struct bp_text text = {.data = data, .size = 1 + (size_t)next() * 256};
    const struct bp_report_subject subject = {.program = "model", .mode = "pool", .pid = 1};
    bp_report_text(&text, &stats, &subject);
    CHECK(text.length < text.size && data[text.length] == '\0');
    text.length = 0;
    bp_report_json(&text, &stats, &subject);
    CHECK(text.length < text.size && data[text.length] == '\0');
}

/* The child has all blocks, and no thread but its own; it goes on a little. */
static void live_as_child(void)
{
    check_blocks();
    (void)check_slots();
    drop_blocks(2);
    for (size_t i = 0; i < 4; i++) {
        struct shadow *shadow = next_shadow();
        if (!shadow->block)
            make_block(shadow, ZEROED);
    }
    check_blocks();
    (void)bp_pool_trim(&model.pool);
    drop_blocks(1);
    (void)check_slots();
    _exit(0);
}

static void fork_now(void)
{
    if (model.outcome.forked == FORKS_MAX)
        return;
    model.outcome.forked++;
    struct bp_pool *pool = &model.pool;
    bp_pools_prefork(&pool, 1);
    pid_t child = fork();
    if (child == 0) {
        bp_pools_postfork_child(&pool, 1);
        live_as_child();
    }
    bp_pools_postfork_parent(&pool, 1);
    CHECK(child > 0);
    int status = 1;
    while (waitpid(child, &status, 0) < 0)
        CHECK(errno == EINTR);
    CHECK(status == 0);
}

/* --- the kernel -------------------------------------------------------------------------------------------------- */

static struct fake_call *const calls[] = {
    &fake_os.reserve, &fake_os.map, &fake_os.commit, &fake_os.purge, &fake_os.move, &fake_os.fence, &fake_os.renew,
    &fake_os.lock, &fake_os.advise_huge, &fake_os.map_huge,
};

static void read_failure(struct model_bytes *bytes)
{
    static const int move_errors[] = {-EFAULT, -ENOMEM, -ENOSYS, -EINVAL};
    struct fake_call *call = calls[next_byte(bytes) % (sizeof calls / sizeof calls[0])];
    unsigned when = next_byte(bytes);
    call->skip = when & 15;
    call->fail = when >> 4 == 15 ? FAIL_ALWAYS : when >> 4;
    fake_os.move_error = move_errors[when % 4];
}

static void heal_kernel(void)
{
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        calls[i]->skip = calls[i]->fail = 0;
}

/* The program changes attributes of pages: of a part of a block, or of all that is near it. */
static void taint(const struct shadow *shadow)
{
    unsigned shape = next();
    char *start = shadow->block ? shadow->block : shadow->last;
    if (start)
        bp_arena_taint(&model.pool.arena, start + ((size_t)next() << shape % 16), (size_t)1 << shape / 16 * 2);
}

/* --- threads ----------------------------------------------------------------------------------------------------- */

static void await_turn(struct actor *actor)
{
    while (sem_wait(&actor->turn) != 0)
        CHECK(errno == EINTR);
}

static void live(void);

static pthread_key_t late_key;
static pthread_once_t late_once = PTHREAD_ONCE_INIT;

/* Runs twice: before or after the end of this thread's cache, and surely after it. */
static void use_late(void *again)
{
    char *block = bp_pool_alloc_slow(&model.pool, 100000, 1);
    model.requests++;
    model.outcome.refused += block == NULL;
    if (block)
        bp_pool_free_slow(&model.pool, block);
    if (again != &late_key)
        (void)pthread_setspecific(late_key, &late_key);
}

static void make_late_key(void)
{
    CHECK(pthread_key_create(&late_key, use_late) == 0);
}

static void *act(void *argument)
{
    struct actor *actor = argument;
    (void)pthread_setspecific(late_key, actor);
    await_turn(actor);
    live();
    return NULL;
}

static void make_actor(struct actor *actor)
{
    *actor = (struct actor){.exists = true};
    CHECK(sem_init(&actor->turn, 0, 0) == 0);
    CHECK(pthread_create(&actor->thread, NULL, act, actor) == 0);
}

/* Lets another thread go on, and waits for what comes after. */
static void switch_to(unsigned number)
{
    unsigned self = model.actor;
    struct actor *to = &model.actors[number];
    if (number == self)
        return;
    if (!to->exists)
        make_actor(to);
    model.actor = number;
    (void)sem_post(&to->turn);
    await_turn(&model.actors[self]);
}

/* Ends a thread whose turn it is not. */
static void end_actor(unsigned number)
{
    struct actor *actor = &model.actors[number];
    if (number == 0 || number == model.actor || !actor->exists)
        return;
    actor->leaves = true;
    (void)sem_post(&actor->turn);
    CHECK(pthread_join(actor->thread, NULL) == 0);
    (void)sem_destroy(&actor->turn);
    actor->exists = false;
}

/* --- steps ------------------------------------------------------------------------------------------------------- */

static void do_rare(void)
{
    unsigned what = next();
    if (what < 8)
        fork_now();
    else if (what < 16)
        write_reports();
    else if (what == 16)
        bp_arena_shrink(&model.pool.arena);
    else if (what == 17)
        bp_pool_lock_down(&model.pool);
    else if (what == 18)
        (void)bp_pool_cede(&model.pool);
}

static void step(void)
{
    unsigned kind = next() % 64;
    struct shadow *shadow = next_shadow();
    model.outcome.steps++;
    if (shadow->block)
        check_block(shadow);
    errno = ODD_ERRNO;
    if (kind < 36) {
        if (shadow->block)
            drop_block(shadow);
        else
            make_block(shadow, kind < 26 ? PLAIN : kind < 31 ? ZEROED : ALIGNED);
    } else if (kind < 52) {
        if (shadow->block)
            change_block(shadow);
        else
            make_block(shadow, PLAIN);
    } else if (kind == 52) {
        (void)bp_pool_trim(&model.pool);
    } else if (kind == 53) {
        bp_add_relaxed(&fake_os.now_ns, (uint64_t)next() * 50 * 1000 * 1000);
        bp_pool_tick(&model.pool);
    } else if (kind == 54) {
        taint(shadow);
    } else if (kind == 55) {
        read_failure(model.bytes);
    } else if (kind == 56) {
        misuse(shadow);
    } else if (kind == 57) {
        heal_kernel();
    } else if (kind == 58) {
        check_sums();
    }
    CHECK(errno == ODD_ERRNO);
    if (kind == 59)
        end_actor(next() % THREADS_MAX);
    else if (kind == 60)
        do_rare();
    else if (kind > 60)
        switch_to(next() % THREADS_MAX);
}

/* Until the bytes are used up, which the first thread must see, or this thread is to leave. */
static void live(void)
{
    struct actor *self = &model.actors[model.actor];
    while (!self->leaves && has_bytes()) {
        step();
        if (!self->leaves && model.outcome.steps % STEPS_PER_AUDIT == 0)
            check_sums();
    }
    if (!self->leaves && self != &model.actors[0])
        switch_to(0);
}

/* --- beginning and end ------------------------------------------------------------------------------------------- */

void model_setup_init(struct model_setup *setup)
{
    *setup = (struct model_setup){.size_max = 2 * BP_MIB};
    bp_options_init(&setup->options);
    setup->options.min_size_bytes = 1;
    setup->options.on_error = BP_ON_ERROR_WARN;
    setup->options.shard_count = 2;
    setup->options.thread_cache_buffers = 3;
    setup->options.thread_cache_bytes = 8 * BP_MIB;
    setup->options.cache_bytes = 64 * BP_MIB;
}

void model_setup_read(struct model_setup *setup, struct model_bytes *bytes)
{
    static const size_t cache_bytes[] = {0, 64 * BP_KIB, 3 * BP_MIB, 64 * BP_MIB};
    static const size_t max_bytes[] = {0, 0, 512 * BP_KIB, 6 * BP_MIB};
    static const size_t buffers[] = {0, 1, 3, 32};
    static const size_t thread_bytes[] = {0, 256 * BP_KIB, 8 * BP_MIB, 32 * BP_MIB};
    static const size_t shard_buffers[] = {0, 1, 4, 65536};
    static const size_t size_max[] = {32 * BP_KIB, 256 * BP_KIB, BP_MIB, 4 * BP_MIB};
    static const size_t reservation_bytes[] = {16 * BP_MIB, 256 * BP_MIB, BP_GIB, 64 * BP_GIB};
    static const size_t decay_ms[] = {0, 8, 100, 2000};

    static const enum bp_scrub scrub[8] = {[5] = BP_SCRUB_FREE, [6] = BP_SCRUB_ALLOC, [7] = BP_SCRUB_ALLOC};

    model_setup_init(setup);
    struct bp_options *options = &setup->options;
    unsigned limits = next_byte(bytes);
    options->cache_bytes = cache_bytes[limits & 3];
    options->max_bytes = max_bytes[limits >> 2 & 3];
    options->thread_cache_buffers = buffers[limits >> 4 & 3];
    options->thread_cache_bytes = thread_bytes[limits >> 6];
    unsigned shape = next_byte(bytes);
    options->shard_buffers = shard_buffers[shape & 3];
    options->shard_count = (size_t)1 << (shape >> 2 & 3);
    setup->size_max = size_max[shape >> 4 & 3];
    fake_os.reserve_max_bytes = reservation_bytes[shape >> 6];
    unsigned rest = next_byte(bytes);
    options->decay_ms = decay_ms[rest & 3];
    options->fork = (rest & 4) != 0 ? BP_FORK_KEEP : BP_FORK_DROP;
    options->max_size_bytes = (rest & 8) != 0 ? options->max_size_bytes : BP_MIB;
    setup->commit_is_charged = (rest & 16) != 0;
    setup->pool_id = rest >> 5;
    options->eviction = setup->pool_id % 3;
    unsigned kernel = next_byte(bytes);
    options->scrub = scrub[kernel >> 2 & 7];
    options->pin = kernel >> 5 & 1;
    options->hugepages = kernel >> 6;
    fake_os.moves_one_mapping = kernel % 4 == 2;
    if (kernel % 4 == 3)
        read_failure(bytes);
}

/* A limit on data makes the pool commit what it uses, and no more. */
static int init_pool(bool commit_is_charged)
{
    struct rlimit before;
    CHECK(getrlimit(RLIMIT_DATA, &before) == 0);
    if (commit_is_charged) {
        struct rlimit limit = {.rlim_cur = bp_min((rlim_t)1 << 44, before.rlim_max), .rlim_max = before.rlim_max};
        CHECK(setrlimit(RLIMIT_DATA, &limit) == 0);
    }
    errno = ODD_ERRNO;
    int error = bp_pool_init(&model.pool, model.setup->pool_id, &model.setup->options);
    CHECK(errno == ODD_ERRNO);
    CHECK(setrlimit(RLIMIT_DATA, &before) == 0);
    return error;
}

struct model_outcome model_live(const struct model_setup *setup, struct model_bytes *bytes)
{
    memset(&model, 0, sizeof model);
    model.setup = setup;
    model.bytes = bytes;
    (void)pthread_once(&late_once, make_late_key);
    CHECK(sem_init(&model.actors[0].turn, 0, 0) == 0);
    model.actors[0].exists = true;
    fake_os_install();

    if (init_pool(setup->commit_is_charged) == 0) {
        model.outcome.made = true;
        live();
        for (unsigned i = 1; i < THREADS_MAX; i++)
            end_actor(i);
        check_blocks();
        drop_blocks(1);
        check_sums();
        heal_kernel();
        (void)bp_pool_trim(&model.pool);
        check_sums();
        model.outcome.commit_is_charged = model.pool.arena.commit_is_charged;
        model.outcome.peak_cached_bytes = model.pool.budget.peak_cached_bytes;
        model.outcome.peak_footprint_bytes = model.pool.budget.peak_footprint_bytes;
        bp_pool_fini(&model.pool);
    }
    CHECK(fake_os.mapped_bytes == 0);
    (void)sem_destroy(&model.actors[0].turn);
    return model.outcome;
}
