/* SPDX-License-Identifier: MIT */
/* A signal handler that ends the program in the middle of whatever it does: _exit() is safe there. */
#include <signal.h>
#include <sys/time.h>

#include "victim.h"

enum { CHILDREN = 150 };

static void leave(int signal_number)
{
    (void)signal_number;
    _exit(0);
}

static void run(uint64_t seed)
{
    const struct sigaction action = {.sa_handler = leave};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    const struct itimerval once = {.it_value = {.tv_usec = 300 + (suseconds_t)(mix(seed) % 3000)}};
    CHECK(setitimer(ITIMER_REAL, &once, NULL) == 0);
    void *blocks[64] = {0};
    for (uint64_t state = seed;;) {
        size_t slot = roll(&state) % LENGTH(blocks);
        free(blocks[slot]);
        blocks[slot] = calloc(1, 64 * KIB + roll(&state) % (256 * KIB));
    }
}

int main(void)
{
    for (uint64_t i = 0; i < CHILDREN; i++) {
        pid_t child = fork();
        if (child == 0)
            run(i);
        reap(child);
    }
    return done();
}
