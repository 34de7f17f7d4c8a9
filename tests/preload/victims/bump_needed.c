/* SPDX-License-Identifier: MIT */
/* Blocks of an allocator that cannot be asked for their sizes grow, and lose nothing. */
#include "victim.h"

int main(void)
{
    for (size_t size = 1; size < 200 * KIB; size = size * 3 / 2 + 1) {
        char *block = make(size);
        stamp(block, size, size);
        block = realloc(block, size + 100 * KIB);
        CHECK(block != NULL && stamped(block, size, size));
        block = realloc(block, 3 * MIB);
        CHECK(block != NULL && stamped(block, size, size));
        block = realloc(block, size);
        CHECK(block != NULL && stamped(block, size, size));
        free(block);
        exercise(size);
    }
    return done();
}
