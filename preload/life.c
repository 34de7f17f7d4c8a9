/* SPDX-License-Identifier: MIT */
/*
 * Life: what happens when the process starts, forks and ends.
 *
 * Layer: P3.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "entry.h"
#include "fork.h"
#include "process.h"
#include "report.h"
#include "ticker.h"

/* Defined by programs that carry a sanitizer, which must see every allocation itself. */
extern void __asan_init(void) __attribute__((weak)); // NOLINT(bugprone-reserved-identifier)
extern void __hwasan_init(void) __attribute__((weak)); // NOLINT(bugprone-reserved-identifier)
extern void __lsan_init(void) __attribute__((weak)); // NOLINT(bugprone-reserved-identifier)
extern void __msan_init(void) __attribute__((weak)); // NOLINT(bugprone-reserved-identifier)
extern void __tsan_init(void) __attribute__((weak)); // NOLINT(bugprone-reserved-identifier)

static const char *mode = "off"; /* for the report */
static _Atomic(pid_t) reporter;  /* the process that has not reported yet; 0 when there is nothing to do */

/* --- start ------------------------------------------------------------------------------------------------------ */

static bool has_sanitizer(void)
{
    return __asan_init || __hwasan_init || __lsan_init || __msan_init || __tsan_init;
}

/* Valgrind's tools preload their own allocator beside us. */
static bool has_valgrind(void)
{
    const char *preload = getenv("LD_PRELOAD");
    return preload && strstr(preload, "vgpreload_");
}

/* Why requests are not to be served from the pool; NULL when they are. */
static const char *reason_to_stay_out(const struct bp_options *options)
{
    const char *program = program_invocation_short_name;
    if (options->mode == BP_MODE_OFF)
        return "BUFPOOL_MODE";
    if (has_sanitizer())
        return "a sanitizer is in the program";
    if (has_valgrind())
        return "the program runs under valgrind";
    if (options->only[0] != '\0' && !bp_options_match(options->only, program))
        return "BUFPOOL_ONLY";
    if (bp_options_match(options->skip, program))
        return "BUFPOOL_SKIP";
    return NULL;
}

/*
 * The lock of the C library's list of streams, which a thread may take again that holds it.
 *
 * fork() takes it, with several threads, after our handlers have run. Who holds it may wait for a stream (fflush of
 * all) whose holder waits for memory (getline): our locks come after it, as the C library's own malloc's do. In the
 * child fork() makes it new.
 */
extern void _IO_list_lock(void);   // NOLINT(bugprone-reserved-identifier)
extern void _IO_list_unlock(void); // NOLINT(bugprone-reserved-identifier)

/* What the fork that is going on locked; under the streams' lock if there are several threads. */
static struct bp_pool *locked_pool;
static bool has_locked_streams;

static void before_fork(void)
{
    bool has_threads = !__libc_single_threaded;
    if (has_threads)
        _IO_list_lock();
    has_locked_streams = has_threads;
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
    struct bp_pool *pool = bp_process_pool_peek();
    if (pool) {
        bp_pools_postfork_child(&pool, 1);
        bp_ticker_after_fork();
    }
    if (bp_process_options.stats != BP_STATS_OFF)
        bp_store_relaxed(&reporter, getpid());
}

static void report_at_quick_exit(void);

__attribute__((constructor)) static void start(void)
{
    int saved_errno = errno;
    struct bp_options *options = &bp_process_options;
    bp_options_init(options);
    if (getauxval(AT_SECURE)) /* the environment may be an attacker's */
        return;
    bp_out_remember_stderr();
    bp_options_read(options, environ);
    if (options->help)
        bp_options_help();
    const char *complaint = options->underlying != BP_UNDERLYING_NEXT ? bp_real_complaint() : NULL;
    if (complaint)
        bp_warn("BUFPOOL_UNDERLYING=%s: %s; using next",
                options->underlying == BP_UNDERLYING_LIBC ? "libc" : "jemalloc", complaint);

    const char *reason = reason_to_stay_out(options);
    /* Registered as early as we can: handlers that were registered before ours see our locks free. */
    if (!reason || options->stats != BP_STATS_OFF)
        (void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    if (options->stats != BP_STATS_OFF) {
        bp_store_relaxed(&reporter, getpid());
        (void)at_quick_exit(report_at_quick_exit);
    }
    if (!reason) {
        mode = "pool";
        bp_process_pool.max_size_bytes = options->max_size_bytes;
        bp_store_relaxed(&bp_threshold_bytes, bp_pool_min_size_bytes(options));
    } else if (options->verbose) {
        bp_say("not active in %s: %s", program_invocation_short_name, reason);
    }
    errno = saved_errno;
}

/* --- end -------------------------------------------------------------------------------------------------------- */

/* The path with %p, %e, %t and %% expanded. */
static void expand_path(struct bp_text *path, const char *pattern)
{
    for (const char *c = pattern; *c != '\0'; c++) {
        if (c[0] != '%' || c[1] == '\0') {
            bp_text_add(path, "%c", *c);
            continue;
        }
        switch (*++c) {
        case 'p':
            bp_text_add(path, "%d", (int)getpid());
            break;
        case 'e':
            bp_text_add(path, "%s", program_invocation_short_name);
            break;
        case 't':
            bp_text_add(path, "%zu", (size_t)time(NULL));
            break;
        case '%':
            bp_text_add(path, "%%");
            break;
        default:
            bp_text_add(path, "%%%c", *c);
            break;
        }
    }
}

/* Reports are appended, in one write: several processes may share a file. */
static int open_report(void)
{
    if (bp_process_options.stats_file[0] == '\0')
        return bp_out_stderr();
    char path[2 * BP_TEXT_OPTION_BYTES];
    struct bp_text text = {.data = path, .size = sizeof path};
    expand_path(&text, bp_process_options.stats_file);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644);
    if (fd < 0)
        bp_warn("BUFPOOL_STATS_FILE=%s: cannot open (%s); no report written", path, strerrordesc_np(errno));
    return fd;
}

/* Once a process. A child of vfork() shares our memory and is not us: the report stays with the parent. */
static void report(void)
{
    if (bp_load_relaxed(&reporter) == 0) /* no system call for nothing: the program may be under a filter of them */
        return;
    pid_t pid = getpid();
    pid_t expected = pid;
    if (!atomic_compare_exchange_strong(&reporter, &expected, 0))
        return;
    int saved_errno = errno;
    static char data[32 * 1024]; /* the stack of the thread that ends the program may be small */
    static struct bp_stats_snapshot stats;
    struct bp_text text = {.data = data, .size = sizeof data};
    struct bp_pool *pool = bp_process_pool_peek();
    if (pool) /* not one that a signal handler, which ends the program, interrupted in the making */
        bp_report_snapshot(pool, &stats);
    if (bp_process_options.stats == BP_STATS_JSON)
        bp_report_json(&text, &stats, mode, program_invocation_short_name, pid);
    else
        bp_report_text(&text, &stats, mode, program_invocation_short_name, pid);
    /* Opened when all is ready: a process that is killed meanwhile leaves no empty file. */
    int fd = open_report();
    if (fd >= 0)
        (void)bp_write_full(fd, text.data, text.length);
    if (fd > STDERR_FILENO)
        (void)close(fd);
    errno = saved_errno;
}

__attribute__((destructor)) static void report_at_exit(void)
{
    report();
}

static void report_at_quick_exit(void)
{
    report();
}

BP_EXPORT void _exit(int status) // NOLINT(bugprone-reserved-identifier)
{
    report();
    for (;;)
        (void)syscall(SYS_exit_group, status);
}

BP_EXPORT void _Exit(int status) // NOLINT(bugprone-reserved-identifier)
{
    _exit(status);
}
