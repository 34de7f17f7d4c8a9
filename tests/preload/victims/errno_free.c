/* SPDX-License-Identifier: MIT */
/* free leaves errno alone, whichever way the block goes; so does an allocation that succeeds. */
#include "victim.h"
#include <pthread.h>

static void *blocks[64];

static void free_all(void)
{
    for (size_t i = 0; i < LENGTH(blocks); i++) {
        errno = 4711;
        free(blocks[i]);
        CHECK(errno == 4711);
    }
}

static void *free_elsewhere(void *unused)
{
    free_all();
    return unused;
}

int main(void)
{
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        size_t count = sizes[i] > MIB ? 16 : LENGTH(blocks);
        for (int round = 0; round < 2; round++) {
            memset(blocks, 0, sizeof blocks);
            for (size_t b = 0; b < count; b++) {
                blocks[b] = make(sizes[i]);
                memset(blocks[b], 1, sizes[i] < 4096 ? sizes[i] : 4096);
            }
            if (round == 0) {
                free_all();
            } else {
                pthread_t thread;
                CHECK(pthread_create(&thread, NULL, free_elsewhere, NULL) == 0);
                CHECK(pthread_join(thread, NULL) == 0);
            }
        }
    }
    return done();
}
