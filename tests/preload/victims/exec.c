/* SPDX-License-Identifier: MIT */
/* Replaces itself ten times, with large blocks live and threads running. */
#include "victim.h"
#include <pthread.h>

static void *allocate(void *seed)
{
    for (;;)
        exercise((uintptr_t)seed);
    return NULL;
}

int main(int argc, char **argv)
{
    int left = argc > 1 ? atoi(argv[1]) : 10;
    exercise(4);
    if (left == 0)
        return done();
    void *live = make(20 * MIB);
    stamp(live, 20 * MIB, 1);
    for (uintptr_t i = 0; i < 2; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, allocate, (void *)i) == 0);
    }
    exercise(5);
    char fewer[12];
    snprintf(fewer, sizeof fewer, "%d", left - 1);
    execl("/proc/self/exe", argv[0], fewer, (char *)NULL);
    CHECK(!"exec came back");
}
