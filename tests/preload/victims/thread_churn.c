/* SPDX-License-Identifier: MIT */
/* Ten thousand threads, each ending with whatever its caches hold; memory must not pile up with the dead. */
#include "victim.h"
#include <pthread.h>

/* All hold their blocks at once: what the program needs does not hang on the scheduler. */
static pthread_barrier_t all_hold;

static void *live_shortly(void *seed)
{
    static const size_t some[] = {64 * KIB, 130 * KIB, 130 * KIB, 300 * KIB, 300 * KIB, MIB};
    unsigned char *blocks[LENGTH(some)];
    for (size_t i = 0; i < LENGTH(some); i++) {
        blocks[i] = make(some[i]);
        blocks[i][0] = blocks[i][some[i] - 1] = (unsigned char)((uintptr_t)seed + i);
    }
    (void)pthread_barrier_wait(&all_hold);
    for (size_t i = 0; i < LENGTH(some); i++) {
        CHECK(blocks[i][0] == (unsigned char)((uintptr_t)seed + i) && blocks[i][some[i] - 1] == blocks[i][0]);
        free(blocks[i]);
    }
    return NULL;
}

static long resident_pages(void)
{
    long all, resident;
    FILE *statm = fopen("/proc/self/statm", "r");
    CHECK(statm != NULL && fscanf(statm, "%ld %ld", &all, &resident) == 2);
    fclose(statm);
    return resident;
}

int main(int argc, char **argv)
{
    uintptr_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 10000;
    pthread_t threads[4];
    CHECK(pthread_barrier_init(&all_hold, NULL, LENGTH(threads)) == 0);
    for (uintptr_t made = 0; made < count; made += LENGTH(threads)) {
        for (size_t i = 0; i < LENGTH(threads); i++)
            CHECK(pthread_create(&threads[i], NULL, live_shortly, (void *)(made + i)) == 0);
        for (size_t i = 0; i < LENGTH(threads); i++)
            CHECK(pthread_join(threads[i], NULL) == 0);
    }
    CHECK(resident_pages() < 64 * 256); /* 64 MiB; four threads at a time hold 8 */
    return done();
}
