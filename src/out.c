/* SPDX-License-Identifier: MIT */
#include "out.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "atomic.h"

enum {
    LINE_BYTES = 512,
    WARNINGS_MAX = 16,
};

static _Atomic(unsigned) warnings_count;
static BP_THREAD_LOCAL bool has_own_files;
static _Atomic(bool) quiet;
static bool stderr_known;
static struct stat stderr_at_start; /* st_mode is 0 if it was closed */

static void add_bytes(struct bp_text *text, const char *data, size_t length)
{
    size_t room = text->size - 1 - text->length;
    if (length > room)
        length = room;
    memcpy(text->data + text->length, data, length);
    text->length += length;
    text->data[text->length] = '\0';
}

static void add_padded(struct bp_text *text, const char *data, size_t length, size_t width, bool left)
{
    size_t pad = width > length ? width - length : 0;
    for (size_t i = 0; !left && i < pad; i++)
        add_bytes(text, " ", 1);
    add_bytes(text, data, length);
    for (size_t i = 0; left && i < pad; i++)
        add_bytes(text, " ", 1);
}

/* Digits of `value` written so that they end at `end`; returns their first. */
static char *digits_before(char *end, uint64_t value, unsigned base)
{
    do {
        *--end = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    return end;
}

static void text_vadd(struct bp_text *text, const char *format, va_list args)
{
    for (const char *f = format; *f != '\0'; f++) {
        if (*f != '%') {
            const char *stop = strchr(f, '%');
            size_t length = stop ? (size_t)(stop - f) : strlen(f);
            add_bytes(text, f, length);
            f += length - 1;
            continue;
        }
        f++;
        bool left = *f == '-';
        f += left;
        size_t width = 0;
        for (; *f >= '0' && *f <= '9'; f++)
            width = width * 10 + (size_t)(*f - '0');
        bool wide = *f == 'z' || *f == 'l';
        f += wide;

        char number[32];
        char *end = number + sizeof number;
        char *start = end;
        const char *string = NULL;
        switch (*f) {
        case 's':
            string = va_arg(args, const char *);
            break;
        case 'c':
            *--start = (char)va_arg(args, int);
            break;
        case 'd': {
            int value = va_arg(args, int);
            start = digits_before(end, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 10);
            if (value < 0)
                *--start = '-';
            break;
        }
        case 'u':
            start = digits_before(end, wide ? va_arg(args, size_t) : va_arg(args, unsigned), 10);
            break;
        case 'x':
            start = digits_before(end, wide ? va_arg(args, size_t) : va_arg(args, unsigned), 16);
            break;
        case 'p':
            start = digits_before(end, (uintptr_t)va_arg(args, void *), 16);
            *--start = 'x';
            *--start = '0';
            break;
        default: /* '%%', and a mistake shows itself */
            *--start = *f;
            break;
        }
        if (string)
            add_padded(text, string, strlen(string), width, left);
        else
            add_padded(text, start, (size_t)(end - start), width, left);
    }
}

void bp_text_add(struct bp_text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    text_vadd(text, format, args);
    va_end(args);
}

void bp_text_add_bytes(struct bp_text *text, size_t bytes)
{
    static const char units[] = "\0KMGTPE";
    unsigned unit = 0;
    size_t whole = bytes;
    size_t rest = 0;
    while (whole >= 1024) {
        rest = whole % 1024;
        whole /= 1024;
        unit++;
    }
    bp_text_add(text, "%zu", whole);
    if (rest != 0 && whole < 100 && rest * 10 / 1024 != 0)
        bp_text_add(text, ".%zu", rest * 10 / 1024);
    if (unit != 0)
        bp_text_add(text, "%c", units[unit]);
}

void bp_text_clean(struct bp_text *text)
{
    for (size_t i = 0; i < text->length; i++) {
        if ((unsigned char)text->data[i] < ' ' || text->data[i] == '\x7f')
            text->data[i] = '?';
    }
}

void bp_text_add_json(struct bp_text *text, const char *string)
{
    add_bytes(text, "\"", 1);
    for (const unsigned char *s = (const unsigned char *)string; *s != '\0'; s++) {
        if (*s == '"' || *s == '\\')
            bp_text_add(text, "\\%c", *s);
        else if (*s < 0x20)
            bp_text_add(text, "\\u00%c%c", '0' + (*s >> 4), "0123456789abcdef"[*s & 15]);
        else
            add_bytes(text, (const char *)s, 1);
    }
    add_bytes(text, "\"", 1);
}

/*
 * What a write may raise although the program has not written: a pipe has no reader, a file has its largest size, a
 * terminal is another job's. A signal that was pending before is the program's.
 */
struct held {
    sigset_t before;
    sigset_t ours;
};

static bool hold_signals(struct held *held)
{
    static const int raised[] = {SIGPIPE, SIGXFSZ, SIGTTOU};
    sigset_t pending;
    (void)sigemptyset(&held->ours);
    (void)sigemptyset(&pending);
    (void)sigpending(&pending);
    for (size_t i = 0; i < sizeof raised / sizeof raised[0]; i++) {
        if (!sigismember(&pending, raised[i]))
            (void)sigaddset(&held->ours, raised[i]);
    }
    return pthread_sigmask(SIG_BLOCK, &held->ours, &held->before) == 0;
}

static void release_signals(const struct held *held, bool may_be_pending)
{
    static const struct timespec now;
    while (may_be_pending && syscall(SYS_rt_sigtimedwait, &held->ours, NULL, &now, (size_t)_NSIG / 8) > 0)
        ;
    (void)pthread_sigmask(SIG_SETMASK, &held->before, NULL);
}

bool bp_write_full(int fd, const char *data, size_t size)
{
    int saved_errno = errno;
    struct held held;
    bool holds = !bp_load_relaxed(&quiet) && hold_signals(&held);
    bool ok = true;
    while (size > 0) {
        ssize_t written = syscall(SYS_write, fd, data, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            ok = false;
            break;
        }
        data += written;
        size -= (size_t)written;
    }
    if (holds)
        release_signals(&held, !ok);
    errno = saved_errno;
    return ok;
}

void bp_out_close(int fd)
{
    int saved_errno = errno;
    (void)syscall(SYS_close, fd);
    errno = saved_errno;
}

int bp_out_leave_standard(int fd)
{
    if (fd < 0 || fd > STDERR_FILENO)
        return fd;
    int saved_errno = errno;
    int moved = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    bp_out_close(fd);
    errno = saved_errno;
    return moved;
}

static bool read_status(int fd, struct stat *ret_status)
{
    int saved_errno = errno;
    bool ok = syscall(SYS_newfstatat, fd, "", ret_status, AT_EMPTY_PATH) == 0;
    errno = saved_errno;
    return ok;
}

void bp_out_keep_quiet(void)
{
    bp_store_relaxed(&quiet, true);
}

void bp_out_remember_stderr(void)
{
    if (!read_status(STDERR_FILENO, &stderr_at_start))
        stderr_at_start.st_mode = 0;
    stderr_known = true;
}

/* A descriptor of the process itself stands in the place of the three standard ones. */
bool bp_out_leave_files(void)
{
    int saved_errno = errno;
    has_own_files = has_own_files || syscall(SYS_close_range, 0u, ~0u, CLOSE_RANGE_UNSHARE) == 0;
    if (has_own_files && syscall(SYS_pidfd_open, getpid(), 0) == STDIN_FILENO) {
        (void)dup(STDIN_FILENO);
        (void)dup(STDIN_FILENO);
    }
    errno = saved_errno;
    return has_own_files;
}

static int borrow_stderr(void)
{
    int saved_errno = errno;
    int fd = (int)syscall(SYS_pidfd_getfd, STDIN_FILENO, STDERR_FILENO, 0);
    errno = saved_errno;
    return fd;
}

int bp_out_stderr(void)
{
    int fd = has_own_files ? borrow_stderr() : STDERR_FILENO;
    struct stat now;
    bool same = !stderr_known || (stderr_at_start.st_mode != 0 && read_status(fd, &now) &&
                                  now.st_dev == stderr_at_start.st_dev && now.st_ino == stderr_at_start.st_ino);
    if (same)
        return fd;
    if (fd > STDERR_FILENO)
        bp_out_close(fd);
    return -1;
}

static void say_line(const char *format, va_list args)
{
    char data[LINE_BYTES];
    struct bp_text text = {.data = data, .size = sizeof data};
    bp_text_add(&text, "bufpool: ");
    text_vadd(&text, format, args);
    bp_text_clean(&text);
    if (text.length == text.size - 1)
        text.length--;
    add_bytes(&text, "\n", 1);
    int fd = bp_out_stderr();
    if (fd >= 0)
        (void)bp_write_full(fd, text.data, text.length);
    if (fd > STDERR_FILENO)
        bp_out_close(fd);
}

void bp_say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say_line(format, args);
    va_end(args);
}

void bp_warn(const char *format, ...)
{
    unsigned count = bp_add_relaxed(&warnings_count, 1u);
    if (count >= WARNINGS_MAX) {
        if (count == WARNINGS_MAX)
            bp_say("further warnings are not shown");
        return;
    }
    va_list args;
    va_start(args, format);
    say_line(format, args);
    va_end(args);
}

void bp_fatal(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say_line(format, args);
    va_end(args);
    abort();
}

void bp_assert_failed(const char *what, const char *file, int line)
{
    bp_fatal("assertion failed: %s (%s:%d)", what, file, line);
}
