/* SPDX-License-Identifier: MIT */
#include "ticker.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>

#include "dump.h"
#include "os.h"
#include "out.h"
#include "process.h"
#include "real.h"
#include "retry.h"
#include "watch.h"

enum {
    /* Small requests between two looks at the clock. */
    CALLS_PER_LOOK = 256,
    STACK_BYTES = 64 * 1024,
    WAIT_MIN_NS = 1000000,
};

_Atomic(bool) bp_ticker_armed;
static BP_THREAD_LOCAL unsigned calls_left = 1;

/* Of the table of the underlying allocator the functions that a program calls most, in the ways that are ours. */
static const struct bp_real ticking;
static const struct bp_real answering;
static const struct bp_real retrying; /* neither is wanted */

static bool has_to_tick(void)
{
    return bp_decay_has_work(&bp_process_pool.decay, &bp_process_pool.budget);
}

/* Asked before the last one that looks at the clock stops doing so. */
static bool finds_slack(void)
{
    return bp_decay_finds_slack(&bp_process_pool.decay, &bp_process_pool.caches);
}

static const struct bp_real *calls_for_now(void)
{
    if (bp_load_relaxed(&bp_dump_asked) != 0)
        return &answering;
    if (bp_load_relaxed(&bp_ticker_armed))
        return &ticking;
    return bp_retry_is_on() ? &retrying : &bp_real_underlying;
}

/*
 * After every change of what calls_for_now() looks at, in threads and signal handlers alike: makes the table and the
 * limit of the hit path agree. They are words that other threads read, any value will do for a while; but the last one
 * stays, so whoever writes looks again after that. The first fence lets the change be seen before what follows from it:
 * whoever writes after us finds it when he looks again. tests/models/table.pml is this.
 */
static void set_calls(void)
{
    const struct bp_real *calls;
    atomic_thread_fence(memory_order_seq_cst);
    do {
        calls = calls_for_now();
        __atomic_store_n(&bp_real.malloc, calls->malloc, __ATOMIC_RELAXED);
        __atomic_store_n(&bp_real.calloc, calls->calloc, __ATOMIC_RELAXED);
        __atomic_store_n(&bp_real.realloc, calls->realloc, __ATOMIC_RELAXED);
        size_t hit_max_bytes = calls == &answering ? 0 : bp_process_options.max_size_bytes;
        __atomic_store_n(&bp_hit_max_bytes, hit_max_bytes, __ATOMIC_RELAXED);
        atomic_thread_fence(memory_order_seq_cst);
    } while (calls != calls_for_now());
}

static void disarm(void)
{
    bp_store_relaxed(&bp_ticker_armed, false);
    set_calls();
    if (has_to_tick()) /* since we looked */
        bp_ticker_arm();
}

BP_COLD static void look_at_clock(void)
{
    calls_left = CALLS_PER_LOOK;
    bp_pool_tick(&bp_process_pool);
    if (!has_to_tick() && !finds_slack())
        disarm();
}

static void count_down(void)
{
    if (BP_UNLIKELY(--calls_left == 0))
        look_at_clock();
}

static void *ticking_malloc(size_t size)
{
    count_down();
    return bp_retry_malloc(size);
}

static void *ticking_calloc(size_t count, size_t size)
{
    count_down();
    return bp_retry_calloc(count, size);
}

static void *ticking_realloc(void *p, size_t size)
{
    count_down();
    return bp_retry_realloc(p, size);
}

static const struct bp_real retrying = {
    .malloc = bp_retry_malloc,
    .calloc = bp_retry_calloc,
    .realloc = bp_retry_realloc,
};
static const struct bp_real ticking = {.malloc = ticking_malloc, .calloc = ticking_calloc, .realloc = ticking_realloc};

static void *answering_malloc(size_t size)
{
    bp_ticker_answer_now();
    return bp_retry_malloc(size);
}

static void *answering_calloc(size_t count, size_t size)
{
    bp_ticker_answer_now();
    return bp_retry_calloc(count, size);
}

static void *answering_realloc(void *p, size_t size)
{
    bp_ticker_answer_now();
    return bp_retry_realloc(p, size);
}

static const struct bp_real answering = {
    .malloc = answering_malloc, .calloc = answering_calloc, .realloc = answering_realloc};

void bp_ticker_answer_now(void)
{
    bp_dump_answer();
    set_calls();
}

/* --- the thread, if wanted ---------------------------------------------------------------------------------------- */

static _Atomic(bool) has_thread;

static void *run(void *unused)
{
    (void)pthread_setname_np(pthread_self(), "bufpool");
    struct bp_decay *decay = &bp_process_pool.decay;
    struct bp_watch watch;
    bp_watch_open(&watch);
    while (has_to_tick() || finds_slack()) {
        uint64_t now_ns = bp_os.now_ns();
        uint64_t due_ns = bp_load_relaxed(&decay->due_ns);
        uint64_t wait_ns = due_ns > now_ns ? due_ns - now_ns : WAIT_MIN_NS;
        bp_watch_wait(&watch, wait_ns);
        bp_pool_tick(&bp_process_pool);
        bp_ticker_answer();
    }
    /* Nothing to do until something is cached again, which arms the ticker anew: a thread is made quickly enough. */
    bp_store_relaxed(&has_thread, false);
    disarm();
    return unused;
}

/* With a small stack, unless the program's thread-local memory, which lies there, is too much for that. */
static int make_thread(void)
{
    pthread_t thread;
    pthread_attr_t attributes;
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    size_t usual_bytes = 0;
    (void)pthread_attr_getstacksize(&attributes, &usual_bytes);
    (void)pthread_attr_setstacksize(&attributes, bp_max(STACK_BYTES, (size_t)PTHREAD_STACK_MIN));
    int error = pthread_create(&thread, &attributes, run, NULL);
    if (error == EINVAL && pthread_attr_setstacksize(&attributes, usual_bytes) == 0)
        error = pthread_create(&thread, &attributes, run, NULL);
    (void)pthread_attr_destroy(&attributes);
    return error;
}

/* Signals are the program's: all are blocked in this thread. */
static void start_thread(void)
{
    bool expected = false;
    if (!bp_replace_relaxed(&has_thread, &expected, true))
        return;
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = make_thread();
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0 && bp_process_options.verbose)
        bp_say("BUFPOOL_BACKGROUND=1: no thread could be made (errno %d); memory is given back as the program runs",
               error);
    /* After a failure it stays set: not tried again at every free. */
}

/* ------------------------------------------------------------------------------------------------------------------ */

void bp_ticker_hurry(void)
{
    if (bp_real_underlying.malloc)
        set_calls();
}

void bp_ticker_start_retrying(void)
{
    int saved_errno = errno;
    if (bp_retry_start())
        set_calls();
    errno = saved_errno;
}

void bp_ticker_start(void)
{
    if (!has_to_tick() || !bp_real_is_found())
        return;
    bool expected = false;
    if (!bp_replace_relaxed(&bp_ticker_armed, &expected, true))
        return;
    int saved_errno = errno;
    set_calls();
    if (bp_process_options.background)
        start_thread();
    errno = saved_errno;
}

void bp_ticker_after_fork(void)
{
    bp_store_relaxed(&has_thread, false);
    if (bp_load_relaxed(&bp_ticker_armed))
        disarm();
}
