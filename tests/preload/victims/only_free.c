/* SPDX-License-Identifier: MIT */
/* Threads that never allocate free what the main thread made, live on idle, and die: nothing is lost with them. */
#include "victim.h"
#include <pthread.h>
#include <sys/resource.h>

enum { threads = 6, share = 12, rounds = 40 };

static void *blocks[threads][share];
static pthread_barrier_t barrier;

static void *free_share(void *mine)
{
    for (int round = 0; round < rounds; round++) {
        pthread_barrier_wait(&barrier);
        for (size_t i = 0; i < share; i++) {
            CHECK(stamped(((void **)mine)[i], 200 * KIB + i, i));
            free(((void **)mine)[i]);
        }
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

int main(void)
{
    pthread_t thread[threads];
    CHECK(pthread_barrier_init(&barrier, NULL, threads + 1) == 0);
    for (size_t t = 0; t < threads; t++)
        CHECK(pthread_create(&thread[t], NULL, free_share, blocks[t]) == 0);
    for (int round = 0; round < rounds; round++) {
        for (size_t t = 0; t < threads; t++)
            for (size_t i = 0; i < share; i++)
                stamp(blocks[t][i] = make(200 * KIB + i), 200 * KIB + i, i);
        pthread_barrier_wait(&barrier);
        pthread_barrier_wait(&barrier);
    }
    for (size_t t = 0; t < threads; t++)
        CHECK(pthread_join(thread[t], NULL) == 0);
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    CHECK(usage.ru_maxrss < 128 * 1024); /* KiB; 15 MiB are live at most, 560 MiB passed through */
    return done();
}
