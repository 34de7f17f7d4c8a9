/* SPDX-License-Identifier: MIT */
/* Under a limit on its address space: takes all there is, meets NULL and ENOMEM, gives back, and can have it again. */
#include "victim.h"
#include <sys/resource.h>

static void *blocks[100000];

/* Takes blocks until there are no more; returns how many bytes that was. */
static size_t take_all(size_t size)
{
    size_t count = 0;
    while (count < LENGTH(blocks)) {
        errno = 0;
        void *block = count % 3 ? malloc(size) : calloc(1, size);
        if (block == NULL)
            break;
        *(size_t *)block = count;
        blocks[count++] = block;
    }
    CHECK(errno == ENOMEM);
    CHECK(count > 0);
    size_t rest = count; /* a failed realloc leaves its block as it was */
    errno = 0;
    CHECK(realloc(blocks[0], size * 1000) == NULL && errno == ENOMEM);
    while (rest-- > 0) {
        CHECK(*(size_t *)blocks[rest] == rest || rest % 3 == 0);
        free(blocks[rest]);
    }
    return count * size;
}

int main(void)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY);
    size_t space = limit.rlim_cur;
    for (int again = 0; again < 3; again++) {
        for (size_t size = 300 * KIB; size <= space / 16; size *= 5) {
            size_t taken = take_all(size);
            if (taken < space / 2)
                dprintf(2, "turn %d: only %zu of %zu MiB in blocks of %zu KiB\n", again, taken / MIB, space / MIB,
                        size / KIB);
            CHECK(taken >= space / 2);
            exercise(1);
        }
    }
    return done();
}
