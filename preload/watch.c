/* SPDX-License-Identifier: MIT */
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "os.h"
#include "out.h"
#include "process.h"

enum { PATH_BYTES = 1024, WRITE_BYTES = 512 };

/* Any task standing still for 200 ms in 2 s: systemd's default, and a window that needs no privileges. */
static const char trigger[] = "some 200000 2000000";
static const int flags = O_NONBLOCK | O_CLOEXEC | O_NOCTTY;

/* Of the environment; const once the constructor has run. */
static char asked_path[PATH_BYTES];
static char asked_data[WRITE_BYTES];
static size_t asked_data_bytes;

/* --- the protocol of systemd.io/MEMORY_PRESSURE ------------------------------------------------------------------ */

static int sextet(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c != '\0' ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* Decodes base64 into `data`. Returns the number of bytes, or -1 when it is none or too long. */
static long decode(const char *text, char *data, size_t size)
{
    unsigned bits = 0;
    unsigned bit_count = 0;
    size_t length = 0;
    for (; *text != '\0' && *text != '='; text++) {
        int value = sextet(*text);
        if (value < 0 || length == size)
            return -1;
        bits = bits << 6 | (unsigned)value;
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            data[length++] = (char)(bits >> bit_count);
        }
    }
    return strspn(text, "=") == strlen(text) ? (long)length : -1;
}

static const char *find(char *const *environment, const char *name)
{
    size_t length = strlen(name);
    for (; environment && *environment; environment++) {
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
            return *environment + length + 1;
    }
    return NULL;
}

void bp_watch_start(char *const *environment)
{
    struct bp_options *options = &bp_process_options;
    const char *path = find(environment, "MEMORY_PRESSURE_WATCH");
    if (options->pressure == BP_PRESSURE_OFF || !path || path[0] == '\0')
        return;
    if (strcmp(path, "/dev/null") == 0) {
        options->pressure = BP_PRESSURE_OFF;
        return;
    }
    if (!options->background) /* nobody would wait */
        return;
    const char *data = find(environment, "MEMORY_PRESSURE_WRITE");
    long length = data ? decode(data, asked_data, sizeof asked_data) : 0;
    if (path[0] != '/' || strlen(path) >= sizeof asked_path)
        bp_warn("MEMORY_PRESSURE_WATCH=%s: not an absolute path; not watched", path);
    else if (length < 0)
        bp_warn("MEMORY_PRESSURE_WRITE=%s: not base64, or too long; MEMORY_PRESSURE_WATCH is not watched", data);
    else {
        memcpy(asked_path, path, strlen(path) + 1);
        asked_data_bytes = (size_t)length;
    }
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

/* --- what is watched --------------------------------------------------------------------------------------------- */

/* Opens `path` and writes `data` into it. Returns the descriptor, or -1 with errno set. */
static int open_asking(const char *path, const char *data, size_t bytes, bool is_socket)
{
    int fd = is_socket ? connect_to(path) : open(path, O_RDWR | flags);
    if (fd < 0 && !is_socket && bytes == 0)
        fd = open(path, O_RDONLY | flags);
    if (fd < 0 || bytes == 0 || syscall(SYS_write, fd, data, bytes) == (long)bytes)
        return fd;
    int error = errno;
    (void)close(fd);
    errno = error;
    return -1;
}

/* What $MEMORY_PRESSURE_WATCH names. */
static void open_asked(struct pollfd *polled)
{
    static bool has_complained;
    if (asked_path[0] == '\0')
        return;
    struct stat status;
    if (stat(asked_path, &status) == 0) {
        polled->fd = open_asking(asked_path, asked_data, asked_data_bytes, S_ISSOCK(status.st_mode));
        polled->events = S_ISREG(status.st_mode) ? POLLPRI : POLLIN;
    }
    if (polled->fd < 0 && !has_complained)
        bp_warn("MEMORY_PRESSURE_WATCH=%s: cannot be watched (%s)", asked_path, strerrordesc_np(errno));
    has_complained = polled->fd < 0;
}

/* A trigger of our own. */
static void open_trigger(const char *path, const char *data, void *context)
{
    (void)data;
    struct pollfd *polled = context;
    if (polled->fd < 0)
        *polled = (struct pollfd){.fd = open_asking(path, trigger, sizeof trigger, false), .events = POLLPRI};
}

/* The kernel says that a file has changed since it was read by this descriptor. False when it cannot be read. */
static bool read_again(int fd)
{
    char data[512];
    return pread(fd, data, sizeof data, 0) >= 0;
}

static void open_limits(const char *path, const char *data, void *context)
{
    (void)data;
    struct pollfd *polled = context;
    if (polled->fd < 0) /* the nearest cgroup comes first */
        *polled = (struct pollfd){.fd = open(path, O_RDONLY | flags), .events = POLLPRI};
}

void bp_watch_open(struct bp_watch *watch)
{
    struct pollfd *memory_short = &watch->polled[BP_WATCH_SHORT];
    struct pollfd *limits = &watch->polled[BP_WATCH_LIMITS];
    memory_short->fd = limits->fd = -1;
    if (bp_process_options.pressure == BP_PRESSURE_OFF || bp_os_is_quiet() || !bp_out_leave_files())
        return;
    open_asked(memory_short);
    (void)bp_os_visit_cgroups("memory.pressure", NULL, open_trigger, memory_short);
    open_trigger("/proc/pressure/memory", NULL, memory_short);
    (void)bp_os_visit_cgroups("memory.events.local", NULL, open_limits, limits);
    if (limits->fd >= 0)
        (void)read_again(limits->fd);
    if (bp_process_options.verbose)
        bp_say("background thread: notices of short memory: %s; of limits that are met: %s",
               memory_short->fd >= 0 ? "yes" : "no", limits->fd >= 0 ? "yes" : "no");
}

/* --- waiting ----------------------------------------------------------------------------------------------------- */

static void stop_watching(struct pollfd *polled)
{
    (void)close(polled->fd);
    polled->fd = -1;
}

static void hear(struct bp_watch *watch)
{
    struct bp_decay *decay = &bp_process_pool.decay;
    struct pollfd *memory_short = &watch->polled[BP_WATCH_SHORT];
    struct pollfd *limits = &watch->polled[BP_WATCH_LIMITS];
    bool is_short = (memory_short->revents & POLLPRI) != 0;
    if ((memory_short->revents & POLLIN) != 0) {
        char data[512]; /* says nothing */
        is_short = read(memory_short->fd, data, sizeof data) > 0;
    }
    /* The kernel adds POLLERR for a file without a trigger, or of a cgroup that is gone. */
    if ((memory_short->revents & (POLLERR | POLLHUP | POLLNVAL)) != 0) {
        is_short = is_short && (memory_short->revents & POLLERR) == 0;
        stop_watching(memory_short);
    }
    if (is_short)
        bp_decay_notify(decay, BP_NOTICE_SHORT);
    if (limits->revents != 0) {
        bp_decay_notify(decay, BP_NOTICE_LOOK);
        if (!read_again(limits->fd))
            stop_watching(limits);
    }
}

/* Not inlined: with the thread sanitizer, gcc 12 takes `polled` for its first member and warns of ppoll's access. */
static __attribute__((noinline)) bool watches_any(const struct pollfd polled[BP_WATCH_COUNT])
{
    for (int i = 0; i < BP_WATCH_COUNT; i++) {
        if (polled[i].fd >= 0)
            return true;
    }
    return false;
}

void bp_watch_wait(struct bp_watch *watch, uint64_t wait_ns)
{
    struct timespec wait = {.tv_sec = (time_t)(wait_ns / 1000000000), .tv_nsec = (long)(wait_ns % 1000000000)};
    /* What was heard last is acted on first: notices may come faster than that. */
    bool has_heard = bp_load_relaxed(&bp_process_pool.decay.pressure.notice) != BP_NOTICE_NONE;
    if (!watches_any(watch->polled) || has_heard || bp_os_is_quiet())
        (void)nanosleep(&wait, NULL);
    else if (ppoll(watch->polled, BP_WATCH_COUNT, &wait, NULL) > 0)
        hear(watch);
}
