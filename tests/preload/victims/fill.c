/* SPDX-License-Identifier: MIT */
/* Holds so many MiB (first argument) at once, in blocks of so many KiB (second), beside small ones and a thread. */
#include "victim.h"
#include <pthread.h>

static void *exercise_once(void *unused)
{
    exercise(2);
    return unused;
}

int main(int argc, char **argv)
{
    size_t total = (argc > 1 ? strtoul(argv[1], NULL, 10) : 100) * MIB,
           size = (argc > 2 ? strtoul(argv[2], NULL, 10) : 1024) * KIB;
    size_t count = total / size;
    pthread_t thread;
    void **blocks = make(count * sizeof *blocks);
    for (int again = 0; again < 2; again++) {
        for (size_t i = 0; i < count; i++) {
            blocks[i] = malloc(size);
            if (blocks[i] == NULL)
                dprintf(2, "no memory at %zu of %zu MiB\n", i * size / MIB, total / MIB);
            CHECK(blocks[i] != NULL);
            *(size_t *)blocks[i] = i;
        }
        for (size_t i = 0; i < count; i++) {
            CHECK(*(size_t *)blocks[i] == i);
            free(blocks[i]);
        }
    }
    free(blocks);
    CHECK(pthread_create(&thread, NULL, exercise_once, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    return done();
}
