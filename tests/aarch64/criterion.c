/* SPDX-License-Identifier: MIT */
/*
 * As much of Criterion as the unit tests need, with its own headers, for where its library does not work: it starts
 * the program again for each test, which the kernel does not do for another processor's, and shares a file with it, at
 * which qemu-user fails where pages are larger than the machine's. Here each test is a forked child.
 *
 * Arguments name suites and tests, as "suite::test" or a part of that; without any, all run. TAP on standard output.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SKIPPED = 77, LIMIT_S = 120 };

extern struct criterion_test *__start_cr_tst[], *__stop_cr_tst[];
/* Not every program has suites. */
extern struct criterion_suite *__start_cr_sts[] __attribute__((weak)), *__stop_cr_sts[] __attribute__((weak));

struct criterion_options criterion_options;

static const struct criterion_test *running;

static const struct criterion_suite *suite_of(const struct criterion_test *test)
{
    for (struct criterion_suite **suite = __start_cr_sts; suite < __stop_cr_sts; suite++) {
        if (*suite && strcmp((*suite)->name, test->category) == 0)
            return *suite;
    }
    return NULL;
}

void criterion_internal_test_setup(void)
{
    const struct criterion_suite *suite = suite_of(running);
    if (suite && suite->data && suite->data->init)
        suite->data->init();
    if (running->data->init)
        running->data->init();
}

void criterion_internal_test_main(void (*test)(void))
{
    test();
}

void criterion_internal_test_teardown(void)
{
    const struct criterion_suite *suite = suite_of(running);
    if (running->data->fini)
        running->data->fini();
    if (suite && suite->data && suite->data->fini)
        suite->data->fini();
}

static _Noreturn void leave(int status)
{
    fflush(NULL);
    _exit(status);
}

void criterion_abort_test(void)
{
    leave(1);
}

void criterion_skip_test(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("# skip: ");
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    leave(SKIPPED);
}

void criterion_send_assert(struct criterion_assert_stats *stats)
{
    if (!stats->passed)
        printf("# %s:%u: %s\n", stats->file, stats->line, stats->message);
}

void cri_asserts_passed_incr(void)
{
}

char *cr_translate_assert_msg(int message, ...)
{
    va_list arguments;
    va_start(arguments, message);
    char *text = strdup(va_arg(arguments, const char *));
    va_end(arguments);
    return text;
}

int cr_asprintf(char **ret_text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(ret_text, format, arguments);
    va_end(arguments);
    return length;
}

void cr_asprintf_free(char *text)
{
    free(text);
}

static bool is_asked_for(const char *name, char **parts)
{
    bool found = !*parts;
    for (; *parts; parts++)
        found = found || strstr(name, *parts);
    return found;
}

/* True unless it failed. */
static bool run(const struct criterion_test *test, const char *name)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        setpgid(0, 0);
        const struct criterion_suite *suite = suite_of(test);
        double limit_s = test->data->timeout > 0 ? test->data->timeout : LIMIT_S;
        if (suite && suite->data && suite->data->timeout > limit_s)
            limit_s = suite->data->timeout;
        alarm(4 * (unsigned)limit_s); /* under an emulator, beside other work */
        running = test;
        test->test();
        leave(0);
    }
    int status = 0;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    bool is_skipped = code == SKIPPED && test->data->exit_code == 0;
    bool passed = child > 0 && signal == test->data->signal && (code == test->data->exit_code || is_skipped);
    printf("%s - %s%s", passed ? "ok" : "not ok", name, is_skipped ? " # SKIP" : "");
    if (!passed && signal)
        printf(" (signal %d)", signal);
    printf("\n");
    return passed;
}

int main(int argc, char **argv)
{
    bool passed = argc > 0;
    for (struct criterion_test **test = __start_cr_tst; test < __stop_cr_tst; test++) {
        char name[256];
        if (!*test)
            continue;
        snprintf(name, sizeof name, "%s::%s", (*test)->category, (*test)->name);
        if (is_asked_for(name, argv + 1))
            passed = run(*test, name) && passed;
    }
    return passed ? 0 : 1;
}
