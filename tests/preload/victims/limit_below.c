/* SPDX-License-Identifier: MIT */
/*
 * A process limits its address space below what the pool uses, which it cannot know. What is free serves it on; the
 * kernel would map nothing again that it unmapped to move pages there. With an argument: by a call that nobody sees,
 * and then requests may fail.
 */
#include "victim.h"
#include <malloc.h>
#include <sys/resource.h>
#include <sys/syscall.h>

enum { BLOCKS = 24, SIZE = 7 * 1024 * 1024, LARGE = 33 * 1024 * 1024 };

int main(int argc, char **argv)
{
    (void)argv;
    struct rlimit limit = {200 * MIB, RLIM_INFINITY};
    char *blocks[BLOCKS];
    free(make(LARGE));
    (void)malloc_trim(0); /* a slot for it is there, without memory */
    for (size_t i = 0; i < BLOCKS; i++)
        stamp(blocks[i] = make(SIZE), SIZE, i);
    for (size_t i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    if (argc > 1)
        CHECK(syscall(SYS_prlimit64, 0, RLIMIT_AS, &limit, NULL) == 0);
    else
        CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    for (int i = 0; i < 4; i++) {
        char *block = malloc(LARGE);
        CHECK(block || argc > 1);
        if (block) {
            stamp(block, LARGE, 3);
            CHECK(stamped(block, LARGE, 3));
        }
        free(block);
    }
    return done();
}
