/* SPDX-License-Identifier: MIT */
/*
 * Makes a burst of large blocks and then waits for the memory to go back to the kernel, as its own books show.
 * Arguments: how it passes the time (small: small requests; calloc, realloc: small ones of these; vanished: as small,
 * and the threads of the burst left by the raw system call, so that no destructor of theirs ran; large: large ones of
 * another size; sleep; forked: not at all, it is a child that looks), the most that may be left in MiB, and, if the
 * threads of the burst are to live on asleep, their number; 0 and the MiB of each of its 256 blocks, if they are not to
 * be one.
 */
#include <dirent.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/syscall.h>
#include <time.h>

#include "victim.h"

enum { BURST_THREADS = 8, BLOCKS = 32, SLEEPERS_MAX = 1000, WAIT_MS = 3000, STEP_MS = 5 };

static sem_t filled;
static size_t block_bytes = MIB;
static int vanishes;
static pthread_barrier_t all_full; /* without it the threads could run in turn and the burst be one thread high */

static void *burst(void *unused)
{
    void *blocks[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++)
        stamp(blocks[i] = make(block_bytes), block_bytes, i);
    (void)pthread_barrier_wait(&all_full);
    for (size_t i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    if (vanishes)
        (void)syscall(SYS_exit, 0);
    return unused;
}

/* Waits until this is the only thread. The others cannot be joined: nobody told the C library that they ended. */
static void await_vanished(void)
{
    for (int entries = 0; entries != 3;) { /* "." and ".." */
        DIR *tasks = opendir("/proc/self/task");
        CHECK(tasks != NULL);
        for (entries = 0; readdir(tasks);)
            entries++;
        (void)closedir(tasks);
        (void)usleep(1000);
    }
}

static void *free_and_sleep(void *block)
{
    free(block);
    CHECK(sem_post(&filled) == 0);
    for (;;)
        pause();
}

static void pass_time(const char *how)
{
    static void *resized;
    for (size_t i = 0; strcmp(how, "calloc") == 0 && i < 2000; i++)
        free(calloc(1, 100));
    for (size_t i = 0; strcmp(how, "realloc") == 0 && i < 2000; i++)
        CHECK((resized = realloc(resized, 100 + i)) != NULL);
    if (strcmp(how, "small") == 0 || vanishes)
        for (int i = 0; i < 2000; i++)
            free(make(100));
    if (strcmp(how, "large") == 0) {
        void *one = make(300 * KIB);
        void *other = make(700 * KIB);
        free(one);
        free(other);
    }
}

int main(int argc, char **argv)
{
    CHECK(argc >= 3);
    const char *how = argv[1];
    size_t limit_bytes = strtoul(argv[2], NULL, 10) * MIB;
    size_t sleepers = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
    CHECK(sleepers <= SLEEPERS_MAX);
    if (argc > 4)
        block_bytes = strtoul(argv[4], NULL, 10) * MIB;
    vanishes = strcmp(how, "vanished") == 0;
    pthread_t threads[SLEEPERS_MAX];
    exercise(0);
    CHECK(sem_init(&filled, 0, 0) == 0);
    CHECK(pthread_barrier_init(&all_full, NULL, BURST_THREADS) == 0);
    void *blocks[SLEEPERS_MAX];
    for (size_t i = 0; i < sleepers; i++)
        stamp(blocks[i] = make(MIB), MIB, i);
    for (size_t i = 0; i < sleepers; i++)
        CHECK(pthread_create(&threads[i], NULL, free_and_sleep, blocks[i]) == 0);
    for (size_t i = 0; i < sleepers; i++)
        CHECK(sem_wait(&filled) == 0);
    for (size_t i = 0; sleepers == 0 && i < BURST_THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, burst, NULL) == 0);
    for (size_t i = 0; sleepers == 0 && i < BURST_THREADS; i++)
        CHECK((vanishes ? pthread_detach(threads[i]) : pthread_join(threads[i], NULL)) == 0);
    if (vanishes)
        await_vanished();

    if (strcmp(how, "forked") == 0) {
        pid_t child = fork();
        if (child == 0)
            _exit(resident_bytes() > limit_bytes);
        reap(child);
        return done();
    }
    const struct timespec step = {.tv_nsec = STEP_MS * 1000000};
    size_t left_bytes = SIZE_MAX;
    for (int waited_ms = 0; waited_ms < WAIT_MS && left_bytes > limit_bytes; waited_ms += STEP_MS) {
        pass_time(how);
        (void)nanosleep(&step, NULL);
        left_bytes = resident_bytes();
    }
    if (left_bytes > limit_bytes)
        dprintf(2, "%zu MiB left\n", left_bytes / MIB);
    CHECK(left_bytes <= limit_bytes);
    exercise(1);
    return done();
}
