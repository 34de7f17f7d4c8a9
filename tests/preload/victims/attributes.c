/* SPDX-License-Identifier: MIT */
/*
 * What a program did to the pages of a block ends with the block: the next one of that size is ordinary memory. The
 * argument names the deed. Blocks are so large that the C library by itself gives each a mapping of its own.
 */
#include "victim.h"
#include <sys/mman.h>

#define SIZE (40 * MIB)

static void mistreat(const char *deed, char *block)
{
    char *page = (char *)(((uintptr_t)block + MIB) & ~(uintptr_t)4095);
    if (strcmp(deed, "protect") == 0)
        CHECK(mprotect(page, MIB, PROT_NONE) == 0);
    else if (strcmp(deed, "readonly") == 0)
        CHECK(mprotect(page, MIB, PROT_READ) == 0);
    else if (strcmp(deed, "unmap") == 0)
        CHECK(munmap(page, MIB) == 0);
    else if (strcmp(deed, "dontfork") == 0)
        CHECK(madvise(page, MIB, MADV_DONTFORK) == 0);
    else if (strcmp(deed, "wipeonfork") == 0)
        CHECK(madvise(page, MIB, MADV_WIPEONFORK) == 0);
    else if (strcmp(deed, "lock") == 0)
        CHECK(mlock(page, MIB) == 0);
    else if (strcmp(deed, "lock_all") == 0)
        CHECK(mlockall(MCL_CURRENT | MCL_FUTURE) == 0);
    else if (strcmp(deed, "ring") == 0) { /* a ring buffer: the same pages twice in a row */
        int fd = memfd_create("ring", MFD_CLOEXEC);
        CHECK(fd >= 0 && ftruncate(fd, MIB) == 0);
        for (int half = 0; half < 2; half++)
            CHECK(mmap(page + half * MIB, MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED);
        page[5] = 'r';
        CHECK(page[MIB + 5] == 'r');
        close(fd);
    } else {
        CHECK(!"a known deed");
    }
}

int main(int argc, char **argv)
{
    const char *deed = argc > 1 ? argv[1] : "lock";
    for (int turn = 0; turn < 6; turn++) {
        char *block = turn % 2 ? calloc(1, SIZE) : malloc(SIZE);
        CHECK(block != NULL);
        if (turn % 2)
            CHECK(all_zero(block, SIZE));
        stamp(block, SIZE, (uint64_t)turn);
        CHECK(stamped(block, SIZE, (uint64_t)turn));
        pid_t child = fork();
        if (child == 0) {
            CHECK(stamped(block, SIZE, (uint64_t)turn));
            stamp(block, SIZE, 99);
            _exit(0);
        }
        reap(child);
        CHECK(stamped(block, SIZE, (uint64_t)turn));
        mistreat(deed, block);
        free(block);
    }
    return done();
}
