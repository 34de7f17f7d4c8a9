/* SPDX-License-Identifier: MIT */
/*
 * Programs that use nearly all of a limit of their address space (ulimit -v). They say how often they were refused, and
 * nothing else is wrong.
 *
 *     one N      a block of N MiB, twice
 *     grow N     a block that grows to N MiB by steps of 8 MiB
 *     small N    one block of a MiB, then N MiB in blocks of 1000 bytes
 *     aligned N  the same in blocks of 20000 bytes, aligned to 64
 *     zeros N    N MiB in blocks of 3 MiB, by calloc
 *     replace    100 blocks of 0.15 to 3 MiB, 500 times one of them replaced by another
 *     threads    the same in each of four threads, with 25 blocks each
 */
#include "victim.h"
#include <pthread.h>

enum { LIVE = 100, REPLACED = 500, THREADS = 4 };

static size_t refused(void *p)
{
    CHECK(p || errno == ENOMEM);
    return p == NULL;
}

static size_t one(size_t bytes)
{
    size_t count = 0;
    for (int i = 0; i < 2; i++) {
        char *block = malloc(bytes);
        count += refused(block);
        if (block)
            memset(block, 1, bytes);
        free(block);
    }
    return count;
}

static size_t grow(size_t bytes)
{
    char *block = NULL;
    size_t count = 0;
    for (size_t now = 8 * MIB; now <= bytes && count == 0; now += 8 * MIB) {
        char *grown = realloc(block, now);
        count += refused(grown);
        if (grown)
            memset(grown + now - 8 * MIB, 1, 8 * MIB);
        block = grown ? grown : block;
    }
    free(block);
    return count;
}

static size_t many(size_t bytes, size_t size, void *(*allocate)(size_t size))
{
    size_t count = 0;
    void **last = NULL;
    free(make(MIB));
    for (size_t i = 0; i < bytes / size; i++) {
        void **block = allocate(size);
        count += refused(block);
        if (!block)
            continue;
        *block = (void *)last;
        last = block;
    }
    while (last) {
        void **next = *last;
        free((void *)last);
        last = next;
    }
    return count;
}

static void *allocate_plain(size_t size)
{
    return malloc(size);
}

static void *allocate_aligned(size_t size)
{
    void *p = NULL;
    errno = posix_memalign(&p, 64, size);
    return p;
}

static void *allocate_zeros(size_t size)
{
    return calloc(1, size);
}

static size_t replace(unsigned seed, size_t live)
{
    struct {
        char *block;
        size_t bytes;
    } blocks[LIVE] = {{0}};
    size_t count = 0;
    for (size_t i = 0; i < live + REPLACED; i++) {
        size_t at = i < live ? i : (size_t)rand_r(&seed) % live;
        size_t bytes = 150 * KIB + (size_t)rand_r(&seed) % (2922 * KIB);
        CHECK(!blocks[at].block || stamped(blocks[at].block, blocks[at].bytes, at));
        free(blocks[at].block);
        blocks[at].block = malloc(bytes);
        blocks[at].bytes = bytes;
        count += refused(blocks[at].block);
        if (blocks[at].block)
            stamp(blocks[at].block, bytes, at);
    }
    for (size_t i = 0; i < live; i++)
        free(blocks[i].block);
    return count;
}

static void *replace_in_thread(void *seed)
{
    return (void *)replace((unsigned)(size_t)seed, LIVE / THREADS); // NOLINT(performance-no-int-to-ptr)
}

static size_t replace_in_threads(void)
{
    pthread_t threads[THREADS];
    size_t count = 0;
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, replace_in_thread, (void *)i) == 0); // NOLINT
    for (size_t i = 0; i < THREADS; i++) {
        void *refused_there;
        CHECK(pthread_join(threads[i], &refused_there) == 0);
        count += (size_t)refused_there;
    }
    return count;
}

int main(int argc, char **argv)
{
    CHECK(argc > 1);
    size_t bytes = argc > 2 ? strtoul(argv[2], NULL, 10) * MIB : 0;
    size_t count = 0;
    if (strcmp(argv[1], "one") == 0)
        count = one(bytes);
    else if (strcmp(argv[1], "grow") == 0)
        count = grow(bytes);
    else if (strcmp(argv[1], "small") == 0)
        count = many(bytes, 1000, allocate_plain);
    else if (strcmp(argv[1], "aligned") == 0)
        count = many(bytes, 20000, allocate_aligned);
    else if (strcmp(argv[1], "zeros") == 0)
        count = many(bytes, 3 * MIB, allocate_zeros);
    else if (strcmp(argv[1], "replace") == 0)
        count = replace(1, LIVE);
    else
        count = replace_in_threads();
    dprintf(1, "%zu refused\n", count);
    return done();
}
