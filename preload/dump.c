/* SPDX-License-Identifier: MIT */
#include "dump.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "os.h"
#include "process.h"
#include "report.h"

/* A report while it is made. */
struct draft {
    struct bp_stats_snapshot stats;
    struct bp_os_lines lines;
    char data[32 * 1024];
};

const char *bp_dump_mode = "off";
const char *bp_dump_mode_reason = "";
_Atomic(unsigned) bp_dump_asked;
static char program[256];       /* its name when it started: many write a title over that */
static _Atomic(pid_t) reporter; /* the process that has not reported its end yet; 0 when there is nothing to do */

void bp_dump_start(void)
{
    if (bp_load_relaxed(&bp_dump_asked) != 0) /* no page of a forked child is copied for nothing */
        bp_store_relaxed(&bp_dump_asked, 0);
    struct bp_text name = {.data = program, .size = sizeof program};
    if (program[0] == '\0')
        bp_text_add(&name, "%s", program_invocation_short_name);
    if (bp_process_options.stats != BP_STATS_OFF)
        bp_store_relaxed(&reporter, getpid());
}

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
            bp_text_add(path, "%s", program);
            break;
        case 't':
            bp_text_add(path, "%zu", bp_clock_seconds());
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

/*
 * Reports are appended, in one write: several processes may share a file. A symbolic link that belongs to neither this
 * user nor root may be somebody's way to have another file written to; a FIFO must not keep the program from its end.
 */
static int open_file(const char *path)
{
    int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    long fd = syscall(SYS_openat, AT_FDCWD, path, flags | O_NOFOLLOW, 0600);
    struct stat link;
    if (fd < 0 && errno == ELOOP && lstat(path, &link) == 0) {
        errno = ELOOP;
        if (link.st_uid == 0 || link.st_uid == geteuid())
            fd = syscall(SYS_openat, AT_FDCWD, path, flags, 0600);
    }
    return bp_out_leave_standard((int)fd);
}

static int open_report(void)
{
    if (bp_process_options.stats_file[0] == '\0')
        return bp_out_stderr();
    char path[2 * BP_TEXT_OPTION_BYTES];
    struct bp_text text = {.data = path, .size = sizeof path};
    expand_path(&text, bp_process_options.stats_file);
    int fd = open_file(path);
    if (fd < 0)
        bp_warn("BUFPOOL_STATS_FILE=%s: cannot open (%s); no report written", path, strerrordesc_np(errno));
    return fd;
}

static void write_report(struct draft *draft, enum bp_report_reason reason)
{
    int saved_errno = errno;
    struct bp_text text = {.data = draft->data, .size = sizeof draft->data};
    struct bp_report_subject subject = {.program = program,
                                        .mode = bp_dump_mode,
                                        .mode_reason = bp_dump_mode_reason,
                                        .pid = getpid(),
                                        .reason = reason};
    if (bp_process_pool_is_refused()) {
        subject.mode = "forward";
        subject.mode_reason = "no address space";
    }
    struct bp_pool *pool = bp_process_pool_peek();
    if (pool) { /* not one that a signal handler, which ends the program, interrupted in the making */
        bp_report_snapshot(pool, &draft->stats);
        bp_report_measure(pool, &draft->lines, &draft->stats);
    }
    if (bp_process_options.stats == BP_STATS_JSON)
        bp_report_json(&text, &draft->stats, &subject);
    else
        bp_report_text(&text, &draft->stats, &subject);
    /* Opened when all is ready: a process that is killed meanwhile leaves no empty file. */
    int fd = open_report();
    if (fd >= 0)
        (void)bp_write_full(fd, text.data, text.length);
    if (fd > STDERR_FILENO)
        bp_out_close(fd);
    errno = saved_errno;
}

void bp_dump_at_end(void)
{
    /* The stack of the thread that ends the program may be small. Aligned, it lies away from variables that are. */
    _Alignas(BP_CACHELINE_BYTES) static struct draft draft;
    /* A filter of system calls may forbid what a report takes, and end a program that has nothing else to do. */
    if (bp_load_relaxed(&reporter) == 0 || bp_os_is_quiet())
        return;
    pid_t expected = getpid();
    if (bp_replace_relaxed(&reporter, &expected, 0))
        write_report(&draft, BP_REPORT_AT_END);
}

void bp_dump_answer(void)
{
    unsigned asked = atomic_exchange_explicit(&bp_dump_asked, 0, memory_order_relaxed);
    struct draft *draft = asked && !bp_os_is_quiet() ? bp_os.map(sizeof *draft) : NULL;
    if (draft) {
        write_report(draft, BP_REPORT_ON_SIGNAL);
        (void)bp_os.unmap(draft, sizeof *draft);
    }
    struct bp_pool *pool = (asked & BP_ASKED_TRIM) != 0 ? bp_process_pool_peek() : NULL;
    if (pool)
        (void)bp_pool_trim(pool);
}
