/* SPDX-License-Identifier: MIT */
/*
 * Runs a program and watches its system calls, telling those that a library in it makes from the program's own; can let
 * some of the library's fail. x86-64.
 *
 *   calls --library NAME --log FILE [--fail ERRNO --at N [--on]] PROGRAM ARGUMENT...
 *
 * --fail  this error for the N-th call of the library, counted over all threads and forked children; with --on for
 *         that and all that follow
 * The log has a line "own NUMBER COUNT" for each system call that the library made, "all NUMBER COUNT" for each that
 * was made at all, and "failed NUMBER" for the first that was made to fail. The exit status is the program's, or 128
 * and the signal.
 *
 * A call is the library's if libc's syscall() makes it and returns into the library's text: the return address lies
 * where the stack pointer is. (In others of libc's functions something else lies there, such as what the library's last
 * call left.) What the library calls by name has a frame of libc's in between, so for the calls in `by_name` the
 * nearest address of code outside libc decides. Threads are made from too deep in libc: whoever makes them, they count
 * as the program's; and so do calls that the library only watches.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dlfcn.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CALLS = 512, TASKS = 4096, AREAS = 512, FRAME_WORDS = 24, FAILED = 125 };

struct area {
    uintptr_t start, end;
    bool is_library, is_libc;
};

/* A thread or process that is watched, and the code that is mapped in it. */
struct task {
    pid_t id;
    bool is_inside;  /* a system call */
    bool will_fail;  /* the one it is in */
    bool is_known; /* the code of the library and of libc */
    size_t area_count;
    struct area *areas;
};

static struct task tasks[TASKS];
static size_t task_count;
static const char *library = "";
static long fail_errno, first_failed = -1;
static unsigned long fail_at, own_total, own_counts[CALLS], all_counts[CALLS];
static bool fail_on;

static const long by_name[] = {
    SYS_openat, SYS_close,   SYS_dup,     SYS_pread64,      SYS_ppoll,          SYS_socket, SYS_connect,
    SYS_uname,  SYS_geteuid, SYS_getpid,  SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigpending,
    SYS_sched_yield,         SYS_clock_nanosleep,           SYS_exit_group,
};
static uintptr_t syscall_offset; /* of libc's syscall() in libc's code */
enum { SYSCALL_BYTES = 64 };

static void die(const char *what)
{
    perror(what);
    exit(FAILED);
}

static struct task *task_of(pid_t id)
{
    struct task *unused = NULL;
    for (size_t i = 0; i < task_count; i++) {
        if (tasks[i].id == id)
            return &tasks[i];
        if (tasks[i].id == 0)
            unused = &tasks[i];
    }
    if (!unused) {
        if (task_count == TASKS)
            die("too many threads");
        unused = &tasks[task_count++];
    }
    *unused = (struct task){.id = id, .areas = unused->areas};
    if (!unused->areas && !(unused->areas = calloc(AREAS, sizeof *unused->areas)))
        die("calloc");
    return unused;
}

/* Reads what code is mapped; done at each call until library and libc are among it, as within the first fifty. */
static void read_areas(struct task *task)
{
    char path[64], line[4096], access[8];
    snprintf(path, sizeof path, "/proc/%d/maps", (int)task->id);
    FILE *maps = fopen(path, "r");
    bool has_library = false, has_libc = false;
    task->area_count = 0;
    while (maps && task->area_count < AREAS && fgets(line, sizeof line, maps)) {
        struct area *area = &task->areas[task->area_count];
        if (sscanf(line, "%lx-%lx %7s", &area->start, &area->end, access) != 3 || access[2] != 'x')
            continue;
        area->is_library = strstr(line, library) != NULL;
        bool is_libc = strstr(line, "/libc.so") || strstr(line, "/libc-");
        area->is_libc = is_libc || strstr(line, "[vdso]");
        has_library = has_library || area->is_library;
        has_libc = has_libc || is_libc;
        task->area_count++;
    }
    task->is_known = has_library && has_libc;
    if (maps)
        fclose(maps);
}

static const struct area *area_of(const struct task *task, uintptr_t address)
{
    for (size_t i = 0; i < task->area_count; i++)
        if (address >= task->areas[i].start && address < task->areas[i].end)
            return &task->areas[i];
    return NULL;
}

/* This process has the same libc. */
static void find_syscall(void)
{
    uintptr_t address = (uintptr_t)dlsym(RTLD_DEFAULT, "syscall");
    struct task *self = task_of(getpid());
    read_areas(self);
    const struct area *area = area_of(self, address);
    if (!area || !area->is_libc)
        die("syscall");
    syscall_offset = address - area->start;
    self->id = 0;
}

static bool is_in_syscall(const struct task *task, uintptr_t code)
{
    const struct area *area = area_of(task, code);
    return area && area->is_libc && code - area->start - syscall_offset < SYSCALL_BYTES;
}

static bool is_by_name(long number)
{
    for (size_t i = 0; i < sizeof by_name / sizeof *by_name; i++)
        if (by_name[i] == number)
            return true;
    return false;
}

static bool is_own(struct task *task, long number, uintptr_t code, uintptr_t stack)
{
    if (!task->is_known)
        read_areas(task);
    if (!task->is_known)
        return false;
    bool look_on = is_by_name(number);
    if (!look_on && !is_in_syscall(task, code))
        return false;
    for (size_t i = 0; i < (look_on ? FRAME_WORDS : 1); i++) {
        errno = 0;
        uintptr_t word = (uintptr_t)ptrace(PTRACE_PEEKDATA, task->id, stack + i * sizeof word, 0);
        const struct area *area = errno == 0 ? area_of(task, word) : NULL;
        if (area && !area->is_libc)
            return area->is_library;
    }
    return false;
}

static void on_call(struct task *task)
{
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, task->id, 0, &registers) != 0)
        return; /* it was killed meanwhile */
    task->is_inside = !task->is_inside;
    if (task->is_inside) {
        long number = (long)registers.orig_rax;
        if (number < 0 || number >= CALLS)
            return;
        all_counts[number]++;
        if (!is_own(task, number, registers.rip, registers.rsp))
            return;
        own_counts[number]++;
        if (number == SYS_exit_group)
            return; /* the program's _exit by way of the library; nobody's process goes on after it */
        own_total++;
        if (fail_errno == 0 || (fail_on ? own_total < fail_at : own_total != fail_at))
            return;
        task->will_fail = true;
        if (first_failed < 0)
            first_failed = number;
        registers.orig_rax = (unsigned long long)-1;
        (void)ptrace(PTRACE_SETREGS, task->id, 0, &registers);
    } else if (task->will_fail) {
        task->will_fail = false;
        registers.rax = (unsigned long long)-fail_errno;
        (void)ptrace(PTRACE_SETREGS, task->id, 0, &registers);
    }
}

/* Looks at one stop; returns the signal that the program is to get as it goes on. */
static int on_stop(pid_t id, int status)
{
    struct task *task = task_of(id);
    int signal = WSTOPSIG(status);
    if (signal == (SIGTRAP | 0x80)) {
        on_call(task);
        return 0;
    }
    if (status >> 8 == (SIGTRAP | (PTRACE_EVENT_EXEC << 8)))
        task->is_known = false;
    if (status >> 16 != 0) /* an event; PTRACE_EVENT_STOP is the first stop of a new thread, and a group's */
        return 0;
    return signal;
}

static void write_log(const char *path)
{
    FILE *log = fopen(path, "w");
    if (!log)
        die(path);
    for (int number = 0; number < CALLS; number++)
        if (own_counts[number] != 0)
            fprintf(log, "own %d %lu\n", number, own_counts[number]);
    for (int number = 0; number < CALLS; number++)
        if (all_counts[number] != 0)
            fprintf(log, "all %d %lu\n", number, all_counts[number]);
    fprintf(log, "failed %ld\n", first_failed);
    if (fclose(log) != 0)
        die(path);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"library", required_argument, NULL, 'l'}, {"log", required_argument, NULL, 'f'},
        {"fail", required_argument, NULL, 'e'},    {"at", required_argument, NULL, 'n'},
        {"on", no_argument, NULL, 'o'},            {NULL, 0, NULL, 0},
    };
    const char *log = NULL;
    for (int option; (option = getopt_long(argc, argv, "+", options, NULL)) != -1;) {
        switch (option) {
        case 'l':
            library = optarg;
            break;
        case 'f':
            log = optarg;
            break;
        case 'e':
            fail_errno = strtol(optarg, NULL, 10);
            break;
        case 'n':
            fail_at = strtoul(optarg, NULL, 10);
            break;
        case 'o':
            fail_on = true;
            break;
        default:
            return FAILED;
        }
    }
    if (!log || *library == '\0' || !argv[optind])
        return FAILED;
    find_syscall();

    pid_t first = fork();
    if (first == 0) {
        (void)raise(SIGSTOP);
        /* The program's environment comes in ours under another name: we ourselves are not to be preloaded. */
        const char *preload = getenv("CALLS_PRELOAD");
        if (preload)
            (void)setenv("LD_PRELOAD", preload, 1);
        (void)unsetenv("CALLS_PRELOAD");
        execvp(argv[optind], argv + optind);
        _exit(FAILED);
    }
    int status;
    if (first < 0 || waitpid(first, &status, WUNTRACED) != first)
        die("fork");
    long watched = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                   PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
    if (ptrace(PTRACE_SEIZE, first, 0, watched) != 0)
        die("ptrace");
    (void)kill(first, SIGCONT);

    int result = FAILED;
    pid_t id;
    while ((id = waitpid(-1, &status, __WALL)) > 0) {
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (id == first)
                result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            task_of(id)->id = 0;
            continue;
        }
        int signal = on_stop(id, status);
        /* A group stop is left as it is until SIGCONT. */
        bool is_group_stop = status >> 16 == PTRACE_EVENT_STOP && WSTOPSIG(status) != SIGTRAP;
        (void)ptrace(is_group_stop ? PTRACE_LISTEN : PTRACE_SYSCALL, id, 0, signal);
    }
    write_log(log);
    return result;
}
