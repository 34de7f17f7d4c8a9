/* SPDX-License-Identifier: MIT */
#include "out.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "support.h"

/* What the C library makes of the same format is right. */
#define check_format(...)                                                                                              \
    do {                                                                                                               \
        char right_[256];                                                                                           \
        char data_[256] = "";                                                                                          \
        struct bp_text text_ = {.data = data_, .size = sizeof data_};                                                  \
        (void)snprintf(right_, sizeof right_, __VA_ARGS__);                                                      \
        bp_text_add(&text_, __VA_ARGS__);                                                                              \
        cr_assert_str_eq(data_, right_);                                                                            \
        check_size(text_.length, strlen(right_));                                                                   \
    } while (0)

Test(out, converts_as_printf_does)
{
    int here;
    check_format("plain");
    check_format("%s and %s", "one", "two");
    check_format("%c%c", 'a', 'z');
    check_format("%d %d %d %d", 0, -1, 2147483647, -2147483647 - 1);
    check_format("%u %u", 0u, 4294967295u);
    check_format("%zu %zu", (size_t)0, SIZE_MAX);
    check_format("%lu %lx %x", 18446744073709551615ul, 0xdeadbeeful, 0xffu);
    check_format("%p", (void *)&here);
    check_format("100 %% of %s%%", "it");
    check_format("%s", "");
}

Test(out, pads_as_printf_does)
{
    check_format("[%8zu] [%-8zu]", (size_t)42, (size_t)42);
    check_format("[%10s] [%-10s]", "text", "text");
    check_format("[%3u] [%-3u]", 12345u, 12345u);
    check_format("[%12lu]", 7ul);
}

Test(out, truncates_instead_of_overflowing)
{
    for (size_t size = 1; size < 24; size++) {
        char data[32];
        memset(data, '#', sizeof data);
        struct bp_text text = {.data = data, .size = size};
        bp_text_add(&text, "%s", "0123456789");
        bp_text_add(&text, "%8zu", (size_t)77);
        bp_text_add_json(&text, "\"\n");
        check_size(text.length, size - 1);
        check_size(strlen(data), size - 1);
        for (size_t i = size; i < sizeof data; i++)
            cr_assert_eq(data[i], '#', "byte %zu of a buffer of %zu was written", i, size);
    }
}

Test(out, byte_counts_take_the_largest_unit)
{
    static const struct {
        size_t bytes;
        const char *shown;
    } cases[] = {
        {0, "0"},
        {1, "1"},
        {1023, "1023"},
        {1024, "1K"},
        {1536, "1.5K"},
        {64 * BP_KIB, "64K"},
        {99 * BP_KIB + 512, "99.5K"},
        {100 * BP_KIB + 512, "100K"},
        {BP_MIB - 1, "1023K"},
        {BP_MIB, "1M"},
        {3 * BP_GIB / 2, "1.5G"},
        {16 * BP_GIB, "16G"},
        {64 * BP_TIB, "64T"},
        {SIZE_MAX, "15.9E"},
    };
    for (size_t i = 0; i < LENGTH(cases); i++) {
        char data[32] = "";
        struct bp_text text = {.data = data, .size = sizeof data};
        bp_text_add_bytes(&text, cases[i].bytes);
        cr_assert_str_eq(data, cases[i].shown, "%zu is shown as %s", cases[i].bytes, data);
    }
}

Test(out, json_strings_come_back_from_a_parser)
{
    char every_byte[128];
    for (int i = 0; i < 127; i++)
        every_byte[i] = (char)(i + 1);
    every_byte[127] = '\0';
    const char *strings[] = {"", "plain", "\"quoted\" and \\", "tab\tnew\nline", "h\xc3\xa9llo", every_byte};
    for (size_t i = 0; i < LENGTH(strings); i++) {
        char data[1024] = "";
        struct bp_text text = {.data = data, .size = sizeof data};
        bp_text_add_json(&text, strings[i]);
        cJSON *parsed = cJSON_Parse(data);
        cr_assert(cJSON_IsString(parsed), "%s", data);
        cr_assert_str_eq(parsed->valuestring, strings[i]);
        cJSON_Delete(parsed);
    }
}

enum { MUCH_BYTES = 1 << 20 };

struct reader {
    int fd;
    size_t length;
    char *data;
};

static void *read_slowly(void *argument)
{
    struct reader *reader = argument;
    ssize_t got;
    do {
        (void)usleep(3000);
        got = read(reader->fd, reader->data + reader->length, MUCH_BYTES / 8);
        if (got > 0)
            reader->length += (size_t)got;
    } while (got > 0 || (got < 0 && errno == EINTR));
    return NULL;
}

static void ignore_signal(int number)
{
    (void)number;
}

Test(out, writes_all_of_it_in_spite_of_signals)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    struct reader reader = {.fd = ends[0], .data = malloc(2 * MUCH_BYTES)};
    char *sent = malloc(MUCH_BYTES);
    for (size_t i = 0; i < MUCH_BYTES; i++)
        sent[i] = (char)(i * 7 / 5);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, read_slowly, &reader), 0);

    struct sigaction action = {.sa_handler = ignore_signal};
    (void)sigaction(SIGALRM, &action, NULL);
    struct itimerval often = {.it_interval.tv_usec = 500, .it_value.tv_usec = 500};
    (void)setitimer(ITIMER_REAL, &often, NULL);
    errno = 77;
    cr_assert(bp_write_full(ends[1], sent, MUCH_BYTES));
    cr_assert_eq(errno, 77);
    (void)setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);

    (void)close(ends[1]);
    (void)pthread_join(thread, NULL);
    check_size(reader.length, MUCH_BYTES);
    cr_assert_eq(memcmp(reader.data, sent, MUCH_BYTES), 0);
    free(sent);
    free(reader.data);
}

Test(out, a_pipe_without_a_reader_raises_nothing)
{
    int ends[2];
    sigset_t pending;
    cr_assert_eq(pipe(ends), 0);
    (void)close(ends[0]);
    errno = 77;
    cr_assert_not(bp_write_full(ends[1], "x", 1));
    cr_assert_eq(errno, 77);
    sigset_t mine;
    sigset_t before;
    (void)sigemptyset(&mine);
    (void)sigaddset(&mine, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &mine, &before);
    cr_assert_not(sigismember(&before, SIGPIPE));
    cr_assert_not(bp_write_full(ends[1], "x", 1));
    cr_assert_eq(sigpending(&pending), 0);
    cr_assert_not(sigismember(&pending, SIGPIPE), "ours does not wait for the program");
    (void)raise(SIGPIPE);
    cr_assert_not(bp_write_full(ends[1], "x", 1));
    cr_assert_eq(sigpending(&pending), 0);
    cr_assert(sigismember(&pending, SIGPIPE), "its own does");
    (void)signal(SIGPIPE, SIG_IGN);
    (void)close(ends[1]);
}

Test(out, a_write_that_fails_says_so_and_keeps_errno)
{
    errno = 77;
    cr_assert_not(bp_write_full(-1, "x", 1));
    cr_assert_eq(errno, 77);
    cr_assert(bp_write_full(-1, "", 0), "nothing to write cannot fail");
}

static void say_something(void *unused)
{
    (void)unused;
    bp_say("%s %d", "number", 5);
}

Test(out, says_one_line)
{
    check_says(say_something, NULL, "bufpool: number 5\n");
}

static void say_too_much(void *unused)
{
    (void)unused;
    char long_text[2000];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    bp_say("%s", long_text);
    bp_say("next");
}

Test(out, a_line_that_is_too_long_is_cut_and_still_a_line)
{
    struct outcome outcome = run_apart(say_too_much, NULL);
    const char *end = strchr(outcome.text, '\n');
    cr_assert_not_null(end);
    cr_assert_geq(end - outcome.text, 400);
    cr_assert_str_eq(end, "\nbufpool: next\n");
}

static void warn_often(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < 40; i++)
        bp_warn("warning %u", i);
    bp_say("said all the same");
}

Test(out, warnings_are_limited)
{
    char expected[2048] = "";
    for (unsigned i = 0; i < 16; i++)
        (void)snprintf(expected + strlen(expected), 32, "bufpool: warning %u\n", i);
    strcat(expected, "bufpool: further warnings are not shown\nbufpool: said all the same\n");
    check_says(warn_often, NULL, expected);
}

static void stop(void *unused)
{
    (void)unused;
    bp_fatal("free(%p): %s", NULL, "wrong");
}

static void fail_assertion(void *unused)
{
    (void)unused;
    bp_assert_failed("1 == 2", "file.c", 12);
}

Test(out, fatal_says_why_and_aborts)
{
    check_aborts(stop, NULL, "bufpool: free(0x0): wrong\n");
    check_aborts(fail_assertion, NULL, "bufpool: assertion failed: 1 == 2 (file.c:12)\n");
}
