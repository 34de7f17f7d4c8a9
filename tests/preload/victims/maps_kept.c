/* SPDX-License-Identifier: MIT */
/*
 * A process that has made most of the mappings it may have, and grows many blocks: what is left must stay its own. The
 * blocks keep their contents, whatever way they grow.
 */
#include "victim.h"
#include <sys/mman.h>

enum { kept = 15000, blocks = 3000 };

static size_t mappings_max(void)
{
    size_t most = 65530;
    FILE *file = fopen("/proc/sys/vm/max_map_count", "r");
    CHECK(file != NULL && fscanf(file, "%zu", &most) == 1);
    (void)fclose(file);
    return most;
}

int main(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t most = mappings_max();
    if (most > 100000)
        return done(); /* so many would take minutes */
    static char *grown[blocks];
    for (size_t i = 0; i < blocks; i++) /* before, so that nothing but growth makes mappings */
        CHECK((grown[i] = calloc(1, 300 * KIB)) != NULL);
    char *area = (char *)mmap(NULL, 2 * most * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(area != MAP_FAILED);
    /* Every other page gets another protection, and with it its own mapping, until so many are left. */
    size_t at = 0;
    while (mprotect(area + at, page, PROT_READ) == 0)
        at += 2 * page;
    CHECK(errno == ENOMEM);
    char *end = area + at;
    for (size_t i = 0; i < kept + 3000; i += 2)
        CHECK(mprotect(area + (at -= 2 * page), page, PROT_NONE) == 0);
    for (size_t i = 0; i < blocks; i++) {
        char mark = (char)(i % 100 + 1);
        grown[i][0] = grown[i][300 * KIB - 1] = mark;
        char *block = grown[i] = realloc(grown[i], 3 * MIB);
        CHECK(block != NULL && block[0] == mark && block[100 * KIB] == 0 && block[300 * KIB - 1] == mark);
        CHECK(madvise((char *)(((uintptr_t)block + page) & ~(page - 1)), 200 * KIB, MADV_DONTNEED) == 0);
    }
    for (; area + at < end - 3000 / 2 * 2 * page; at += 2 * page)
        CHECK(mprotect(area + at, page, PROT_READ) == 0);
    for (size_t i = 0; i < blocks; i++)
        free(grown[i]);
    CHECK(munmap(area, 2 * most * page) == 0);
    exercise(1);
    return done();
}
