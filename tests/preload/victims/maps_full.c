/* SPDX-License-Identifier: MIT */
/*
 * A process that may have so many mappings (first argument) more and no others, the kernel's limit being reached. It
 * had large blocks before ("used") or not ("fresh").
 */
#include "victim.h"
#include <sys/mman.h>

int main(int argc, char **argv)
{
    size_t more = argc > 1 ? strtoul(argv[1], NULL, 10) : 10;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t bytes = GIB;
    void *small[1000];

    if (argc > 2 && strcmp(argv[2], "used") == 0)
        for (uint64_t seed = 0; seed < 5; seed++)
            exercise(seed);
    char *area = (char *)mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(area != MAP_FAILED);
    /* Every other page gets another protection, and with it its own mapping, until there are no more. */
    size_t at = 0;
    while (at < bytes && mprotect(area + at, page, PROT_READ) == 0)
        at += 2 * page;
    CHECK(at < bytes && errno == ENOMEM);
    for (size_t i = 0; i < more; i += 2)
        CHECK(mprotect(area + (at -= 2 * page), page, PROT_NONE) == 0);
    for (uint64_t seed = 0; seed < 200; seed++) {
        exercise(seed);
        small[seed] = make(5000);
    }
    for (size_t i = 0; i < 200; i++)
        free(small[i]);
    /* Blocks of many sizes: more than one span of the address space. */
    for (size_t size = 70 * KIB; size < 64 * MIB; size += size / 3) {
        char *block = malloc(size);
        if (block == NULL)
            continue; /* as the C library may say, too */
        block[0] = block[size - 1] = 1;
        block = realloc(block, size + size / 2);
        free(block);
    }
    CHECK(munmap(area, bytes) == 0);
    exercise(1);
    return done();
}
