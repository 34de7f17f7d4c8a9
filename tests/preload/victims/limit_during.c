/* SPDX-License-Identifier: MIT */
/* A process that limits its own address space half way, as sandboxes do, lives on in what it was left. */
#include "victim.h"
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

static void *exercise_once(void *unused)
{
    exercise(2);
    return unused;
}

int main(void)
{
    struct rlimit limit = {2 * GIB, 2 * GIB};
    pthread_t thread;
    void *small[2000];
    exercise(1);
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
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
    for (size_t size = MIB; size <= 512 * MIB; size *= 2) {
        char *block = calloc(1, size);
        CHECK(block != NULL);
        block[0] = block[size - 1] = 1;
        free(block);
    }
    return done();
}
