/* SPDX-License-Identifier: MIT */
#include "support.h"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

struct outcome run_apart(void (*function)(void *argument), void *argument)
{
    struct outcome outcome = {0};
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        struct rlimit no_core = {0};
        (void)setrlimit(RLIMIT_CORE, &no_core);
        (void)signal(SIGABRT, SIG_DFL);
        (void)dup2(ends[1], STDERR_FILENO);
        (void)close(ends[0]);
        (void)close(ends[1]);
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
    cr_assert_eq(waitpid(child, &outcome.status, 0), child);
    return outcome;
}

void check_aborts(void (*function)(void *argument), void *argument, const char *line)
{
    struct outcome outcome = run_apart(function, argument);
    cr_assert(WIFSIGNALED(outcome.status) && WTERMSIG(outcome.status) == SIGABRT, "status %#x, said: %s",
              (unsigned)outcome.status, outcome.text);
    cr_assert_eq(strncmp(outcome.text, line, strlen(line)), 0, "said: %s", outcome.text);
}

void check_says(void (*function)(void *argument), void *argument, const char *text)
{
    struct outcome outcome = run_apart(function, argument);
    cr_assert(WIFEXITED(outcome.status) && WEXITSTATUS(outcome.status) == 0, "status %#x, said: %s",
              (unsigned)outcome.status, outcome.text);
    cr_assert_str_eq(outcome.text, text);
}
