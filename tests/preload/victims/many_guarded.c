/* SPDX-License-Identifier: MIT */
/* Many hardened blocks at once. Where the kernel has guards, they take no mappings of their own; elsewhere two each. */
#include "victim.h"
#include <sys/mman.h>

enum { COUNT = 2000, SIZE = 100000 };

static size_t count_mappings(void)
{
    size_t count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    for (int c; (c = getc(maps)) != EOF;)
        count += c == '\n';
    (void)fclose(maps);
    return count;
}

int main(void)
{
    static char *blocks[COUNT];
    void *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int has_guards = madvise(page, 4096, 102 /* MADV_GUARD_INSTALL */) == 0;
    size_t before = count_mappings();
    for (size_t i = 0; i < COUNT; i++) {
        blocks[i] = make(SIZE);
        stamp(blocks[i], SIZE, i);
    }
    size_t added = count_mappings() - before;
    CHECK(has_guards ? added < COUNT / 10 : added > COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        CHECK(stamped(blocks[i], SIZE, i));
        free(blocks[i]);
    }
    return done();
}
