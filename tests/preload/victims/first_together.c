/* SPDX-License-Identifier: MIT */
/* Threads whose first large requests come in the same instant: none of them may be served from elsewhere. */
#include <pthread.h>

#include "victim.h"

enum { THREADS = 16 };

static pthread_barrier_t all_ready;

static void *ask(void *unused)
{
    (void)pthread_barrier_wait(&all_ready);
    void *block = make(MIB);
    stamp(block, MIB, 1);
    free(block);
    return unused;
}

int main(void)
{
    pthread_t threads[THREADS];
    CHECK(pthread_barrier_init(&all_ready, NULL, THREADS) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, ask, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    return done();
}
