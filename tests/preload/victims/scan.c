/* SPDX-License-Identifier: MIT */
/*
 * A program with 64 hot blocks of 1 MiB makes one of 2 GiB, once, and writes an eighth of it. The hot ones must stay
 * warm, which the faults show, and the other must go, as resident memory shows. Arguments: whether the hot blocks are
 * free or live when the large one is freed; how long the program may wait for its memory to be given back, in ms, as it
 * goes on with its hot blocks.
 */
#include <sys/resource.h>
#include <time.h>

#include "victim.h"

enum { HOT = 64, STEP_MS = 2, LEFT_MIB_MAX = 160 };

static void *hot[HOT];

static void up(void)
{
    for (size_t i = 0; i < HOT; i++)
        stamp(hot[i] = make(MIB), MIB, i);
}

static void down(void)
{
    for (size_t i = HOT; i-- > 0;)
        free(hot[i]);
}

static long faults(void)
{
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    return usage.ru_minflt;
}

static size_t resident_mib(void)
{
    size_t pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    CHECK(statm && fscanf(statm, "%*u %zu", &pages) == 1);
    (void)fclose(statm);
    return pages * (size_t)sysconf(_SC_PAGESIZE) / MIB;
}

static void scan(int are_live)
{
    void *large = make(2 * GIB);
    memset(large, 1, 2 * GIB / 8);
    if (are_live)
        up();
    free(large);
    if (are_live)
        down();
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    int wait_ms = (int)strtol(argv[2], NULL, 10);
    for (int i = 0; i < 20; i++) {
        up();
        down();
    }
    scan(strcmp(argv[1], "live") == 0);
    long before = faults();
    const struct timespec step = {.tv_nsec = STEP_MS * 1000000};
    size_t left_mib = SIZE_MAX;
    for (int waited_ms = 0; waited_ms <= wait_ms && left_mib > LEFT_MIB_MAX; waited_ms += STEP_MS) {
        up();
        down();
        left_mib = resident_mib();
        (void)nanosleep(&step, NULL);
    }
    long lost = faults() - before;
    long hot_pages = HOT * (long)(MIB / (size_t)sysconf(_SC_PAGESIZE));
    if (lost > hot_pages / 4 || left_mib > LEFT_MIB_MAX)
        dprintf(2, "%ld faults, %zu MiB left\n", lost, left_mib);
    CHECK(lost <= hot_pages / 4);
    CHECK(left_mib <= LEFT_MIB_MAX);
    exercise(1);
    return done();
}
