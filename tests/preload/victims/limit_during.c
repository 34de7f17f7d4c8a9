/* SPDX-License-Identifier: MIT */
/*
 * A process that limits its own address space half way, as sandboxes do, or what of it is data, lives on in what it was
 * left. With an argument: data.
 */
#include "victim.h"
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

static void *exercise_once(void *unused)
{
    exercise(2);
    return unused;
}

int main(int argc, char **argv)
{
    (void)argv;
    int is_data = argc > 1;
    size_t limit_bytes = is_data ? 200 * MIB : 2 * GIB;
    struct rlimit limit = {limit_bytes, limit_bytes};
    pthread_t thread;
    void *small[2000];
    exercise(1);
    for (size_t size = MIB; is_data && size <= 32 * MIB; size *= 2)
        free(make(size));
    char *grown = realloc(make(10 * MIB), 20 * MIB); /* has more room than it uses */
    CHECK(grown);
    stamp(grown, 20 * MIB, 3);
    CHECK(setrlimit(is_data ? RLIMIT_DATA : RLIMIT_AS, &limit) == 0);
    void *map = mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED);
    for (size_t i = 0; i < LENGTH(small); i++)
        stamp(small[i] = make(20000), 20000, i);
    for (size_t i = 0; i < LENGTH(small); i++) {
        CHECK(stamped(small[i], 20000, i));
        free(small[i]);
    }
    CHECK(pthread_create(&thread, NULL, exercise_once, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    for (size_t size = MIB; size <= limit_bytes / 4; size *= 2) {
        char *block = calloc(1, size);
        CHECK(block != NULL);
        block[0] = block[size - 1] = 1;
        free(block);
    }
    CHECK(stamped(grown, 20 * MIB, 3));
    free(grown);
    free(make(70 * MIB)); /* larger than any before */
    return done();
}
