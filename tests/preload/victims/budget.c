/* SPDX-License-Identifier: MIT */
/*
 * 64 threads replace blocks of random sizes, in all the ways that there are, and another process looks, with the
 * kernel's eyes, at how much is resident in the pool: where the first of all blocks lay, and as far around that as
 * mappings follow each other. Arguments: how much it may be when all blocks are free, and at any time (MiB); how many
 * steps each thread makes before all are free.
 */
#include <fcntl.h>
#include <pthread.h>

#include "victim.h"

enum { THREADS = 64, BLOCKS = 8, ROUNDS = 6, LOOK_US = 2000 };

static pthread_barrier_t all_full; /* else the threads could run in turn */
static pthread_barrier_t all_free;
static pthread_barrier_t looked_at;
static size_t step_count;
static unsigned long pool_start, pool_end;

static void *replace(void *block, size_t size, uint64_t how)
{
    if (how % 4 == 0) {
        block = realloc(block, size);
    } else {
        free(block);
        block = how % 4 == 1 ? calloc(1, size) : how % 4 == 2 ? memalign(4 * KIB << how % 10, size) : malloc(size);
    }
    CHECK(block);
    return block;
}

static void *churn(void *argument)
{
    uint64_t dice = (uint64_t)(uintptr_t)argument;
    for (int round = 0; round < ROUNDS; round++) {
        unsigned char *blocks[BLOCKS] = {0};
        size_t sizes_of[BLOCKS] = {0};
        for (size_t step = 0; step < step_count; step++) {
            size_t i = roll(&dice) % BLOCKS;
            CHECK(!blocks[i] || stamped(blocks[i], sizes_of[i], i));
            sizes_of[i] = (64 * KIB << roll(&dice) % 6) + roll(&dice) % (64 * KIB);
            stamp(blocks[i] = replace(blocks[i], sizes_of[i], roll(&dice)), sizes_of[i], i);
        }
        (void)pthread_barrier_wait(&all_full);
        for (size_t i = 0; i < BLOCKS; i++)
            free(blocks[i]);
        (void)pthread_barrier_wait(&all_free);
        (void)pthread_barrier_wait(&looked_at);
    }
    return NULL;
}

static void find_pool(void)
{
    char line[512];
    unsigned long start;
    unsigned long end;
    unsigned long block = (unsigned long)(uintptr_t)make(MIB);
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps);
    while (fgets(line, sizeof line, maps) && sscanf(line, "%lx-%lx", &start, &end) == 2) {
        if (start != pool_end && pool_start <= block && block < pool_end)
            break;
        pool_start = start == pool_end ? pool_start : start;
        pool_end = end;
    }
    (void)fclose(maps);
    free((void *)block);
    CHECK(pool_end - pool_start >= GIB);
}

/* What is resident of the pool in the process. */
static size_t resident_bytes_of(pid_t pid)
{
    char path[64];
    char line[512];
    size_t kib = 0;
    size_t total_kib = 0;
    unsigned long start;
    unsigned long end;
    int is_pool = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/smaps", (int)pid);
    FILE *smaps = fopen(path, "r");
    CHECK(smaps);
    while (fgets(line, sizeof line, smaps)) {
        if (sscanf(line, "Rss: %zu kB", &kib) == 1)
            total_kib += is_pool ? kib : 0;
        else if (sscanf(line, "%lx-%lx", &start, &end) == 2)
            is_pool = start < pool_end && end > pool_start;
    }
    (void)fclose(smaps);
    return total_kib * KIB;
}

static void run_threads(int rest, int go_on)
{
    pthread_t threads[THREADS];
    char byte = 0;
    CHECK(pthread_barrier_init(&all_full, NULL, THREADS) == 0);
    CHECK(pthread_barrier_init(&all_free, NULL, THREADS + 1) == 0);
    CHECK(pthread_barrier_init(&looked_at, NULL, THREADS + 1) == 0);
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, churn, (void *)i) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        (void)pthread_barrier_wait(&all_free);
        CHECK(write(rest, &byte, 1) == 1 && read(go_on, &byte, 1) == 1);
        (void)pthread_barrier_wait(&looked_at);
    }
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

int main(int argc, char **argv)
{
    int rest[2];
    int go_on[2];
    CHECK(argc == 4 && pipe2(rest, O_NONBLOCK) == 0 && pipe(go_on) == 0);
    size_t cached_max_bytes = strtoul(argv[1], NULL, 10) * MIB;
    size_t max_bytes = strtoul(argv[2], NULL, 10) * MIB;
    step_count = strtoul(argv[3], NULL, 10);
    find_pool();
    /* The report is of the process that the tests started, so the other one looks. */
    pid_t pid = getpid();
    pid_t observer = fork();
    if (observer == 0) {
        for (int round = 0; round < ROUNDS;) {
            char byte;
            size_t bytes = resident_bytes_of(pid);
            if (bytes > max_bytes)
                dprintf(2, "%zu MiB are resident\n", bytes / MIB);
            CHECK(bytes <= max_bytes);
            if (read(rest[0], &byte, 1) != 1) {
                (void)usleep(LOOK_US);
                continue;
            }
            bytes = resident_bytes_of(pid);
            if (bytes > cached_max_bytes)
                dprintf(2, "%zu MiB are free and resident\n", bytes / MIB);
            CHECK(bytes <= cached_max_bytes);
            CHECK(write(go_on[1], &byte, 1) == 1);
            round++;
        }
        _exit(0);
    }
    CHECK(close(go_on[1]) == 0);
    run_threads(rest[1], go_on[0]);
    reap(observer);
    return done();
}
