/* SPDX-License-Identifier: MIT */
/*
 * Life: what happens when the process starts, forks and ends.
 *
 * Layer: P3.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "devices.h"
#include "dump.h"
#include "entry.h"
#include "fork.h"
#include "onsignal.h"
#include "os.h"
#include "out.h"
#include "process.h"
#include "ticker.h"
#include "watch.h"

/* Defined by programs that carry a sanitizer, which must see every allocation itself. */
extern void __asan_init(void) __attribute__((weak)); // NOLINT(bugprone-reserved-identifier)
extern void __hwasan_init(void) __attribute__((weak)); // NOLINT(bugprone-reserved-identifier)
extern void __lsan_init(void) __attribute__((weak)); // NOLINT(bugprone-reserved-identifier)
extern void __msan_init(void) __attribute__((weak)); // NOLINT(bugprone-reserved-identifier)
extern void __tsan_init(void) __attribute__((weak)); // NOLINT(bugprone-reserved-identifier)

/* --- start ------------------------------------------------------------------------------------------------------ */

/* Is the first definition of a function of the C library one that comes before us, such as the program's own? */
static bool is_replaced(const char *name)
{
    return dlsym(RTLD_DEFAULT, name) != dlsym(RTLD_NEXT, name);
}

/*
 * gcc's runtimes, linked in statically, show none of the names above, but all that they replace. An allocator in the
 * program does not replace sigaction, nor a program that looks after its signals __libc_memalign.
 */
static bool has_sanitizer(void)
{
    return __asan_init || __hwasan_init || __lsan_init || __msan_init || __tsan_init ||
           (is_replaced("sigaction") && is_replaced("__libc_memalign"));
}

/* Valgrind's tools preload their own allocator beside us. */
static bool has_valgrind(void)
{
    const char *preload = getenv("LD_PRELOAD");
    return preload && strstr(preload, "vgpreload_");
}

/* The option that excludes this program, which then is as if we were not there; NULL when none does. */
static const char *exclusion(const struct bp_options *options)
{
    const char *program = program_invocation_short_name;
    if (options->only[0] != '\0' && !bp_options_match(options->only, program))
        return "BUFPOOL_ONLY";
    return bp_options_match(options->skip, program) ? "BUFPOOL_SKIP" : NULL;
}

/* Why requests are not to be served from the pool; NULL when they are. */
static const char *reason_to_stay_out(const struct bp_options *options)
{
    if (options->min_size_bytes > options->max_size_bytes)
        return "BUFPOOL_MIN_SIZE is above BUFPOOL_MAX_SIZE";
    if (options->mode == BP_MODE_OFF)
        return "BUFPOOL_MODE";
    if (has_sanitizer())
        return "a sanitizer is in the program";
    if (has_valgrind())
        return "the program runs under valgrind";
    return exclusion(options);
}

/*
 * The lock of the C library's list of streams, which a thread may take again that holds it.
 *
 * fork() takes it, with several threads, after our handlers have run. Whoever holds it may wait for a stream (fflush of
 * all) whose holder waits for memory (getline): our locks come after it, as the C library's own malloc's do. In the
 * child fork() makes it new.
 */
extern void _IO_list_lock(void);   // NOLINT(bugprone-reserved-identifier)
extern void _IO_list_unlock(void); // NOLINT(bugprone-reserved-identifier)

/*
 * What the fork that is going on locked; under the streams' lock if there are several threads. Written only when it
 * changes: a shell forks again and again, and parent and child would copy the page each time.
 */
static struct bp_pool *locked_pool;
static bool has_locked_streams;

static void before_fork(void)
{
    bool has_threads = !__libc_single_threaded;
    if (has_threads)
        _IO_list_lock();
    if (has_locked_streams != has_threads)
        has_locked_streams = has_threads;
    if (locked_pool != bp_process_pool_peek())
        locked_pool = bp_process_pool_peek();
    if (locked_pool)
        bp_pools_prefork(&locked_pool, 1);
}

static void after_fork_in_parent(void)
{
    if (locked_pool) /* and not one that was made meanwhile */
        bp_pools_postfork_parent(&locked_pool, 1);
    if (has_locked_streams)
        _IO_list_unlock();
}

static void after_fork_in_child(void)
{
    bp_process_after_fork();
    struct bp_pool *pool = bp_process_pool_peek();
    if (pool) {
        bp_pools_postfork_child(&pool, 1);
        bp_ticker_after_fork();
    }
    bp_dump_start();
    bp_ticker_hurry(); /* what was asked of the parent is not asked of us */
}

/* Where somebody will read what comes of it: it takes the loader a while. */
static void look_for_another_malloc(const struct bp_options *options)
{
    bool reports = options->stats != BP_STATS_OFF || options->stats_signal[0] != '\0';
    if ((!reports && !options->verbose) || !bp_real_is_replaced("malloc"))
        return;
    bp_dump_mode_reason = "another malloc is asked first";
    if (options->verbose)
        bp_say("in %s %s", program_invocation_short_name, bp_dump_mode_reason);
}

__attribute__((constructor)) static void start(void)
{
    int saved_errno = errno;
    struct bp_options *options = &bp_process_options;
    bp_options_init(options);
    if (getauxval(AT_SECURE)) /* the environment may be an attacker's */
        return;
    bp_process_start();
    bp_out_remember_stderr();
    bp_options_read(options, environ);
    if (options->help)
        bp_options_help();
    const char *complaint = options->underlying != BP_UNDERLYING_NEXT ? bp_real_complaint() : NULL;
    if (complaint)
        bp_warn("BUFPOOL_UNDERLYING=%s: %s; using next",
                options->underlying == BP_UNDERLYING_LIBC ? "libc" : "jemalloc", complaint);

    if (exclusion(options))
        options->stats = BP_STATS_OFF;
    const char *reason = reason_to_stay_out(options);
    if (reason)
        bp_dump_mode_reason = reason;
    /* Registered as early as we can: handlers that were registered before ours see our locks free. */
    if (!reason || options->stats != BP_STATS_OFF)
        (void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    bp_dump_start();
    if (options->stats != BP_STATS_OFF)
        (void)at_quick_exit(bp_dump_at_end);
    if (!reason) {
        bp_dump_mode = "pool";
        look_for_another_malloc(options);
        bp_devices_start();
        bp_watch_start(environ);
        bp_hit_max_bytes = options->max_size_bytes;
        bp_store_relaxed(&bp_threshold_bytes, bp_pool_min_size_bytes(options));
        /* Now what is to be there at the first request; and as those that came while it makes a pool are not erased. */
        if (options->prefill[0] != '\0' || options->scrub != BP_SCRUB_OFF || options->harden != 0)
            (void)bp_process_pool_get();
        struct bp_pool *pool = bp_process_pool_peek();
        if (pool && pool->arena.is_limited)
            bp_ticker_start_retrying();
        if (pool && bp_load_relaxed(&pool->budget.cached_bytes) > 0)
            bp_ticker_arm();
        if (options->stats_signal[0] != '\0')
            bp_onsignal_start(options->stats_signal);
    } else if (options->verbose) {
        bp_say("not active in %s: %s", program_invocation_short_name, reason);
    }
    if (options->harden != 0) {
        if (!reason)
            bp_dump_mode = "hardened";
        bp_os_seal(&bp_sealed, sizeof bp_sealed);
    }
    errno = saved_errno;
}

/* --- end -------------------------------------------------------------------------------------------------------- */

__attribute__((destructor)) static void report_at_exit(void)
{
    bp_dump_at_end();
}

BP_EXPORT void _exit(int status) // NOLINT(bugprone-reserved-identifier)
{
    bp_dump_at_end();
    for (;;)
        (void)syscall(SYS_exit_group, status);
}

BP_EXPORT void _Exit(int status) // NOLINT(bugprone-reserved-identifier)
{
    _exit(status);
}
