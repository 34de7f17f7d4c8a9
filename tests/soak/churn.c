/* SPDX-License-Identifier: MIT */
/*
 * Threads that come and go until SIGTERM: eight every 50 ms, near 30,000 in three minutes. Each allocates, checks what
 * its predecessor left to it and frees that, and leaves half of its own blocks to its successor.
 */
#include "victim.h"
#include <pthread.h>
#include <signal.h>

enum { WIDTH = 8, LEFT = 3, PAUSE_US = 50000 };

static const size_t some[] = {64 * KIB, 130 * KIB, 300 * KIB, 300 * KIB, MIB, 3 * MIB};
static volatile sig_atomic_t stopped;

struct heir {
    uint64_t seed; /* 0: nothing was left yet */
    unsigned char *blocks[LEFT];
};

static void *live_shortly(void *argument)
{
    struct heir *heir = argument;
    unsigned char *blocks[LENGTH(some)];
    for (size_t i = 0; i < LENGTH(some); i++)
        stamp(blocks[i] = make(some[i]), some[i], heir->seed + 1 + i);
    for (size_t i = 0; i < LEFT && heir->seed != 0; i++) {
        CHECK(stamped(heir->blocks[i], some[2 * i], heir->seed + 2 * i));
        free(heir->blocks[i]);
    }
    heir->seed++;
    for (size_t i = 0; i < LENGTH(some); i++) {
        CHECK(stamped(blocks[i], some[i], heir->seed + i));
        if (i % 2 == 0)
            heir->blocks[i / 2] = blocks[i];
        else
            free(blocks[i]);
    }
    return NULL;
}

static void stop(int number)
{
    stopped = number;
}

int main(void)
{
    struct heir heirs[WIDTH] = {0};
    size_t made = 0;
    CHECK(signal(SIGTERM, stop) != SIG_ERR);
    for (; !stopped; made += WIDTH) {
        pthread_t threads[WIDTH];
        for (size_t i = 0; i < WIDTH; i++)
            CHECK(pthread_create(&threads[i], NULL, live_shortly, &heirs[i]) == 0);
        for (size_t i = 0; i < WIDTH; i++)
            CHECK(pthread_join(threads[i], NULL) == 0);
        (void)usleep(PAUSE_US);
    }
    printf("%zu threads\n", made);
    return fflush(stdout) != 0;
}
