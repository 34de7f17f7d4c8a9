/* SPDX-License-Identifier: MIT */
/*
 * Looks for what others wrote in every byte of a block that it may use, in threads that free, resize and fork. Only an
 * allocator that erases memory passes. Blocks are so large that they come from the pool.
 */
#include <pthread.h>

#include "victim.h"

enum { THREADS = 4, BLOCKS = 12, ROUNDS = 250 };

static size_t size_of(uint64_t random)
{
    return (64 * KIB << random % 6) + (random >> 8) % (64 * KIB << random % 6);
}

/* Every byte from `from` on is zero; then none is. */
static void look(char *block, size_t from)
{
    size_t usable = malloc_usable_size(block);
    CHECK(from >= usable || all_zero(block + from, usable - from));
    memset(block, 0x5a, usable);
}

static void *work(void *argument)
{
    uint64_t state = (uint64_t)(uintptr_t)argument;
    char *blocks[BLOCKS] = {NULL};
    for (int round = 0; round < ROUNDS; round++) {
        char **block = &blocks[roll(&state) % BLOCKS];
        uint64_t random = roll(&state);
        size_t size = size_of(random >> 4);
        if (!*block) {
            *block = random % 4 == 0 ? aligned_alloc(4096, (size + 4095) & ~(size_t)4095) : make(size);
            look(*block, 0);
        } else if (random % 4 == 0) {
            size_t before = malloc_usable_size(*block);
            CHECK((*block = realloc(*block, size)) != NULL);
            CHECK((*block)[0] == 0x5a && (*block)[(before < size ? before : size) - 1] == 0x5a);
            look(*block, before);
        } else {
            free(*block);
            *block = NULL;
        }
    }
    for (int i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    return NULL;
}

static void work_together(uintptr_t seed)
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, (void *)(seed * THREADS + i + 1)) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

int main(void)
{
    work_together(1);
    pthread_t busy;
    CHECK(pthread_create(&busy, NULL, work, (void *)99) == 0);
    for (uintptr_t i = 0; i < 4; i++) {
        pid_t child = fork();
        if (child == 0) {
            work_together(2 + i);
            _exit(0);
        }
        reap(child);
    }
    CHECK(pthread_join(busy, NULL) == 0);
    work(NULL);
    return done();
}
