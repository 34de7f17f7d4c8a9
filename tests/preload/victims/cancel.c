/* SPDX-License-Identifier: MIT */
/* Deferred cancellation: no allocation is a cancellation point, not even the first; cancelled threads leak nothing. */
#include "victim.h"
#include <pthread.h>
#include <stdatomic.h>

static void *cancelled_before(void *survived)
{
    pthread_cancel(pthread_self());
    exercise(1); /* the first large blocks of this thread, and at first of the process */
    void *block = calloc(1, 3 * MIB);
    CHECK(block != NULL);
    block = realloc(block, 9 * MIB);
    CHECK(block != NULL);
    free(block);
    atomic_fetch_add((atomic_int *)survived, 1);
    pthread_testcancel();
    CHECK(!"pthread_testcancel came back");
    return NULL;
}

static void *cancelled_within(void *unused)
{
    for (;;) {
        void *block = make(500 * KIB);
        pthread_cleanup_push(free, block);
        exercise(2);
        pthread_testcancel();
        pthread_cleanup_pop(1);
    }
    return unused;
}

int main(void)
{
    atomic_int survived = 0;
    for (int i = 1; i <= 100; i++) {
        pthread_t before, within;
        void *result;
        CHECK(pthread_create(&before, NULL, cancelled_before, &survived) == 0);
        CHECK(pthread_create(&within, NULL, cancelled_within, NULL) == 0);
        CHECK(pthread_join(before, &result) == 0 && result == PTHREAD_CANCELED);
        CHECK(survived == i);
        exercise(3);
        CHECK(pthread_cancel(within) == 0);
        CHECK(pthread_join(within, &result) == 0 && result == PTHREAD_CANCELED);
    }
    return done();
}
