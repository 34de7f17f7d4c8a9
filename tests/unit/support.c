/* SPDX-License-Identifier: MIT */
#include "support.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static bool is_apart;

void check_failed(const char *file, int line, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (is_apart) {
        (void)dprintf(STDERR_FILENO, "%s:%d: %s\n", file, line, text);
        _exit(1);
    }
    cr_assert_fail("%s:%d: %s", file, line, text);
}

struct outcome run_apart(void (*function)(void *argument), void *argument)
{
    struct outcome outcome = {0};
    int ends[2];
    check(pipe(ends) == 0);
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        struct rlimit no_core = {0};
        (void)setrlimit(RLIMIT_CORE, &no_core);
        (void)signal(SIGABRT, SIG_DFL);
        (void)dup2(ends[1], STDERR_FILENO);
        (void)close(ends[0]);
        (void)close(ends[1]);
        is_apart = true;
        function(argument);
        _exit(0);
    }
    (void)close(ends[1]);
    size_t length = 0;
    ssize_t got;
    while (length < sizeof outcome.text - 1 &&
           (got = read(ends[0], outcome.text + length, sizeof outcome.text - 1 - length)) > 0)
        length += (size_t)got;
    (void)close(ends[0]);
    check(waitpid(child, &outcome.status, 0) == child);
    return outcome;
}

void check_aborts(void (*function)(void *argument), void *argument, const char *line)
{
    struct outcome outcome = run_apart(function, argument);
    if (!WIFSIGNALED(outcome.status) || WTERMSIG(outcome.status) != SIGABRT ||
        strncmp(outcome.text, line, strlen(line)) != 0)
        check_failed(__FILE__, __LINE__, "status %#x, said: %s", (unsigned)outcome.status, outcome.text);
}

void check_says(void (*function)(void *argument), void *argument, const char *text)
{
    struct outcome outcome = run_apart(function, argument);
    if (outcome.status != 0 || strcmp(outcome.text, text) != 0)
        check_failed(__FILE__, __LINE__, "status %#x, said: %s, should have said: %s", (unsigned)outcome.status,
                     outcome.text, text);
}
