/* SPDX-License-Identifier: MIT */
/*
 * Sends itself a signal, as somebody would who wants to know what it does, and goes on. The argument says how: with
 * small requests, with large ones, with a hit, asleep, with a handler of its own (installed before every library's or
 * later), as a child, cancelled, or with the signal coming all the time in all threads.
 */
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "victim.h"

enum { ROUNDS = 300, THREADS = 3 };

static volatile sig_atomic_t seen;
static volatile int is_over;

static void on_signal(int number)
{
    seen += number == SIGUSR2;
}

/* Runs before the constructors of all libraries. */
static void install_first(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "chained") == 0)
        (void)signal(SIGUSR2, on_signal);
}
__attribute__((section(".preinit_array"), used)) static void (*const first)(int, char **) = install_first;

static void *work(void *unused)
{
    for (uint64_t i = 0; !is_over; i++)
        exercise(i);
    return unused;
}

/* No request is a cancellation point, whatever it answers. */
static void *survive(void *unused)
{
    CHECK(pthread_cancel(pthread_self()) == 0 && raise(SIGUSR2) == 0);
    free(make(100));
    return unused;
}

static void cancelled(void)
{
    pthread_t thread;
    void *result = &thread;
    CHECK(pthread_create(&thread, NULL, survive, NULL) == 0);
    CHECK(pthread_join(thread, &result) == 0 && result == NULL);
}

static void storm(void)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, NULL) == 0);
    const struct timespec pause = {.tv_nsec = 200000};
    for (int i = 0; i < ROUNDS; i++) {
        CHECK(kill(getpid(), SIGUSR2) == 0);
        CHECK(pthread_kill(threads[i % THREADS], SIGUSR2) == 0);
        free(make(100));
        (void)nanosleep(&pause, NULL);
    }
    is_over = 1;
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "small";
    void *kept = make(5 * MIB);
    void *freed[40];
    for (size_t i = 0; i < LENGTH(freed); i++)
        stamp(freed[i] = make(MIB), MIB, i);
    for (size_t i = 0; i < LENGTH(freed); i++)
        free(freed[i]);
    if (strcmp(how, "storm") == 0) {
        storm();
    } else if (strcmp(how, "cancelled") == 0) {
        cancelled();
    } else {
        if (strcmp(how, "own") == 0)
            (void)signal(SIGUSR2, on_signal);
        CHECK(raise(SIGUSR2) == 0);
    }
    CHECK(seen == (strcmp(how, "own") == 0 || strcmp(how, "chained") == 0));
    if (strcmp(how, "sleep") == 0) {
        const struct timespec pause = {.tv_nsec = 600000000};
        (void)nanosleep(&pause, NULL);
        _exit(done());
    }
    if (strcmp(how, "hit") == 0) { /* and nothing else that could answer */
        free(make(MIB));
        _exit(done());
    }
    if (strcmp(how, "fork") == 0) {
        pid_t child = fork();
        if (child == 0) {
            exercise(1);
            _exit(0);
        }
        reap(child);
    }
    if (strcmp(how, "large") == 0)
        free(make(11 * MIB));
    else
        free(make(100));
    free(make(12 * MIB));
    free(kept);
    return done();
}
