/* SPDX-License-Identifier: MIT */
/*
 * Makes blocks of half the size of what was freed before, so that each gets twice the memory it needs, and waits until
 * the rest of that is no longer resident, while the blocks live, keep their bytes, and other threads go on making large
 * ones. Arguments: what to do meanwhile (small: small requests; shrink: these alone, and the blocks are those that were
 * there, made smaller; sleep; calloc: nothing, it must be so at once, of blocks that come cleared), MiB of a block, and
 * their number.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "victim.h"

enum { BLOCKS_MAX = 64, WAIT_MS = 5000, STEP_MS = 5, OTHERS = 2 };

static atomic_int is_over;

static void *make_and_free(void *seed)
{
    while (!atomic_load(&is_over))
        exercise((uintptr_t)seed);
    return NULL;
}

int main(int argc, char **argv)
{
    CHECK(argc == 4);
    const char *how = argv[1];
    size_t size = strtoul(argv[2], NULL, 10) * MIB;
    size_t count = strtoul(argv[3], NULL, 10);
    int clears = strcmp(how, "calloc") == 0;
    int shrinks = strcmp(how, "shrink") == 0;
    size_t other_count = clears || shrinks ? 0 : OTHERS;
    unsigned char *blocks[BLOCKS_MAX];
    pthread_t others[OTHERS];
    CHECK(count <= BLOCKS_MAX);
    for (size_t i = 0; i < count; i++) {
        stamp(blocks[i] = make(2 * size - MIB), 2 * size - MIB, i);
    }
    size_t before_bytes = resident_bytes();
    CHECK(before_bytes >= count * (2 * size - MIB));
    for (size_t i = 0; i < count && !shrinks; i++)
        free(blocks[i]);
    for (size_t i = 0; i < count; i++) {
        blocks[i] = shrinks ? realloc(blocks[i], size) : clears ? calloc(1, size) : malloc(size);
        CHECK(blocks[i] != NULL);
        if (!clears)
            stamp(blocks[i], size, i);
    }
    for (size_t i = 0; i < other_count; i++)
        CHECK(pthread_create(&others[i], NULL, make_and_free, (void *)i) == 0);

    /* What the other threads have, and the program itself. */
    size_t limit_bytes = (clears ? 0 : count * size) + 32 * MIB;
    const struct timespec step = {.tv_nsec = STEP_MS * 1000000};
    size_t left_bytes = resident_bytes();
    for (int waited_ms = 0; !clears && waited_ms < WAIT_MS && left_bytes > limit_bytes; waited_ms += STEP_MS) {
        for (int i = 0; strcmp(how, "sleep") != 0 && i < 2000; i++)
            free(make(100));
        (void)nanosleep(&step, NULL);
        left_bytes = resident_bytes();
    }
    if (left_bytes > limit_bytes)
        dprintf(2, "%zu MiB left\n", left_bytes / MIB);
    CHECK(left_bytes <= limit_bytes);
    atomic_store(&is_over, 1);
    for (size_t i = 0; i < other_count; i++)
        CHECK(pthread_join(others[i], NULL) == 0);
    for (size_t i = 0; i < count; i++) {
        CHECK(clears ? all_zero(blocks[i], size) : stamped(blocks[i], size, i));
        if (!clears) {
            CHECK((blocks[i] = realloc(blocks[i], size * 3 / 2)) != NULL);
            CHECK(stamped_part(blocks[i], size, size, i));
            stamp(blocks[i], size * 3 / 2, i);
        }
    }
    for (size_t i = 0; i < count; i++) {
        CHECK(clears || stamped(blocks[i], size * 3 / 2, i));
        free(blocks[i]);
    }
    return done();
}
