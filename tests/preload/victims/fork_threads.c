/* SPDX-License-Identifier: MIT */
/*
 * Forks while eight threads allocate. The child checks and frees its parent's blocks, allocates, starts threads of
 * its own and ends in a different way each time.
 */
#include "victim.h"
#include <pthread.h>
#include <stdatomic.h>

enum { threads = 8, forks = 24 };

static atomic_bool enough;

static void *allocate(void *seed)
{
    uint64_t dice = (uintptr_t)seed;
    void *held[4] = {0};
    size_t held_size[4] = {0};
    while (!atomic_load_explicit(&enough, memory_order_relaxed)) {
        size_t i = roll(&dice) % LENGTH(held);
        CHECK(stamped(held[i], held_size[i], i));
        free(held[i]);
        held_size[i] = 1000 + roll(&dice) % (2 * MIB);
        held[i] = roll(&dice) % 4 ? malloc(held_size[i]) : calloc(1, held_size[i]);
        CHECK(held[i] != NULL);
        stamp(held[i], held_size[i], i);
    }
    for (size_t i = 0; i < LENGTH(held); i++)
        free(held[i]);
    return NULL;
}

static void *exercise_once(void *seed)
{
    exercise((uintptr_t)seed);
    return NULL;
}

static void be_child(void *const *inherited, size_t count, int how)
{
    pthread_t own[3];
    for (size_t i = 0; i < count; i++) {
        CHECK(stamped(inherited[i], 100 * KIB << i, i));
        free(inherited[i]);
    }
    for (uintptr_t seed = 0; seed < 20; seed++)
        exercise(seed);
    for (size_t i = 0; i < LENGTH(own); i++)
        CHECK(pthread_create(&own[i], NULL, exercise_once, (void *)i) == 0);
    for (size_t i = 0; i < LENGTH(own); i++)
        CHECK(pthread_join(own[i], NULL) == 0);
    if (how == 0)
        _exit(0);
    if (how == 1)
        quick_exit(0);
    exit(0);
}

int main(void)
{
    pthread_t workers[threads];
    void *blocks[6];
    for (size_t i = 0; i < LENGTH(blocks); i++)
        stamp(blocks[i] = make(100 * KIB << i), 100 * KIB << i, i);
    for (size_t i = 0; i < threads; i++)
        CHECK(pthread_create(&workers[i], NULL, allocate, (void *)(i + 1)) == 0);
    for (int i = 0; i < forks; i++) {
        pid_t child = fork();
        if (child == 0)
            be_child(blocks, LENGTH(blocks), i % 3);
        exercise((uint64_t)i);
        reap(child);
    }
    atomic_store(&enough, 1);
    for (size_t i = 0; i < threads; i++)
        CHECK(pthread_join(workers[i], NULL) == 0);
    for (size_t i = 0; i < LENGTH(blocks); i++) {
        CHECK(stamped(blocks[i], 100 * KIB << i, i)); /* what the children did stayed with them */
        free(blocks[i]);
    }
    return done();
}
