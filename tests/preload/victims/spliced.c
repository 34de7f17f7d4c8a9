/* SPDX-License-Identifier: MIT */
/* A block whose pages lie in a pipe is freed: who reads the pipe finds what was in them, whoever has the addresses. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <sys/uio.h>

#include "victim.h"

enum { SIZE = 40 * 1024 * 1024, SPLICED = 32 * 1024 }; /* the C library by itself gives such a block a mapping */

int main(void)
{
    for (int turn = 0; turn < 4; turn++) {
        int ends[2];
        char seen[SPLICED], *block = make(SIZE);
        char *page = (char *)(((uintptr_t)block + 4095) & ~(uintptr_t)4095);
        stamp(page, SPLICED, (uint64_t)turn);
        CHECK(pipe(ends) == 0);
        CHECK(vmsplice(ends[1], &(struct iovec){page, SPLICED}, 1, 0) == SPLICED);
        free(block);
        char *next = make(SIZE);
        memset(next, 0xee, SIZE);
        for (size_t got = 0; got < SPLICED;) {
            ssize_t more = read(ends[0], seen + got, SPLICED - got);
            CHECK(more > 0);
            got += (size_t)more;
        }
        CHECK(stamped(seen, SPLICED, (uint64_t)turn));
        free(next);
        close(ends[0]);
        close(ends[1]);
    }
    return done();
}
