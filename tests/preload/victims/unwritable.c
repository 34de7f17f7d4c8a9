/* SPDX-License-Identifier: MIT */
/*
 * Whatever an allocator has to say cannot be written, which is nothing to the program: its standard error is a pipe
 * without a reader, or no file may grow. It writes nothing there itself, and ends as it would.
 */
#include "victim.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "";
    if (strcmp(how, "pipe") == 0) {
        int ends[2];
        char argument[] = "piped";
        char *again[] = {argv[0], argument, NULL};
        CHECK(pipe(ends) == 0 && dup2(ends[1], STDERR_FILENO) >= 0 && close(ends[0]) == 0 && close(ends[1]) == 0);
        execv("/proc/self/exe", again);
        CHECK(!"exec came back");
    }
    exercise(1);
    sigset_t mine, before, pending;
    (void)sigemptyset(&mine);
    (void)sigaddset(&mine, SIGPIPE);
    CHECK(sigprocmask(SIG_BLOCK, &mine, &before) == 0 && raise(SIGPIPE) == 0);
    CHECK(raise(SIGURG) == 0); /* which may ask for a report */
    free(make(100));
    CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE));
    CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR && signal(SIGPIPE, SIG_DFL) != SIG_ERR); /* it is no longer pending */
    CHECK(sigprocmask(SIG_SETMASK, &before, NULL) == 0);

    int status = done();
    const struct rlimit none = {0, 0};
    CHECK(strcmp(how, "size") != 0 || setrlimit(RLIMIT_FSIZE, &none) == 0);
    return status;
}
