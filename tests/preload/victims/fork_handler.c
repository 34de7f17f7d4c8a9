/* SPDX-License-Identifier: MIT */
/*
 * A signal handler that forks, in a process with one thread, while the program allocates and forks itself: POSIX calls
 * fork safe there, and the C library keeps that promise. Some of the signals meet a fork or an allocation half way.
 */
#include <signal.h>
#include <sys/time.h>

#include "victim.h"

enum { HANDLER_FORKS = 300 };

static volatile sig_atomic_t forks_left = HANDLER_FORKS;

static void fork_here(int signal_number)
{
    (void)signal_number;
    if (forks_left <= 0)
        return;
    forks_left--;
    int saved_errno = errno;
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    int status;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    errno = saved_errno;
}

int main(void)
{
    struct sigaction action = {.sa_handler = fork_here, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    const struct itimerval often = {.it_interval = {.tv_usec = 500}, .it_value = {.tv_usec = 500}};
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    void *blocks[64] = {0};
    uint64_t state = 1;
    do { /* once at least: on a busy machine one signal may follow the other so that nothing else happens */
        for (int i = 0; i < 200; i++) {
            size_t slot = roll(&state) % LENGTH(blocks);
            free(blocks[slot]);
            blocks[slot] = make(64 * KIB + roll(&state) % (256 * KIB));
        }
        pid_t child = fork();
        if (child == 0) {
            exercise(1);
            _exit(0);
        }
        int status;
        CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    } while (forks_left > 0);
    return done();
}
