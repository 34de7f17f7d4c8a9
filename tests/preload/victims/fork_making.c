/* SPDX-License-Identifier: MIT */
/*
 * Forks at all times of another thread's first large request. Whatever memory a child that forks after it gets, all
 * children get.
 */
#include <pthread.h>

#include "victim.h"

enum { ROUNDS = 60, SPINS_PER_ROUND = 4000 };

static volatile int is_started;
static volatile int may_go;

static void *ask_first(void *unused)
{
    is_started = 1;
    while (!may_go) {
    }
    free(make(MIB));
    return unused;
}

/* Blocks of 1 MiB that the C library maps lie 16 bytes from a page's start, others at multiples of 64. */
static int is_mapped_alone(void)
{
    free(make(MIB));
    void *block = make(MIB);
    int is_odd = (uintptr_t)block % 64 != 0;
    free(block);
    return is_odd;
}

static int ask_in_child(void)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        _exit(2 + is_mapped_alone());
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) >= 2);
    return WEXITSTATUS(status) - 2;
}

static int ask_meanwhile(int round)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, ask_first, NULL) == 0);
    while (!is_started)
        (void)usleep(10);
    may_go = 1;
    for (volatile int i = 0; i < round * SPINS_PER_ROUND; i = i + 1) {
    }
    int answer = ask_in_child();
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(answer == is_mapped_alone());
    return answer;
}

int main(void)
{
    for (int round = 0; round < ROUNDS; round++) {
        pid_t child = fork(); /* where nothing large was asked for so far */
        if (child == 0)
            _exit(ask_meanwhile(round) > 1);
        reap(child);
    }
    return done();
}
