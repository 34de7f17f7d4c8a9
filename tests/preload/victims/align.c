/* SPDX-License-Identifier: MIT */
/* Alignments from 8 bytes to 2 GiB hold, for fresh and for recycled blocks, and through realloc the bytes stay. */
#include "victim.h"

static const size_t lengths[] = {1, 100 * KIB, 128 * KIB, MIB + 8, 3 * MIB};

int main(void)
{
    for (size_t align = 8; align <= 2 * GIB; align *= 2) {
        for (size_t i = 0; i < LENGTH(lengths); i++) {
            void *blocks[3];
            size_t n = lengths[i];
            for (int again = 0; again < 2; again++) {
                blocks[0] = NULL;
                CHECK(posix_memalign(&blocks[0], align, n) == 0);
                blocks[1] = memalign(align, n);
                blocks[2] = aligned_alloc(align, (n + align - 1) / align * align);
                for (int b = 0; b < 3; b++) {
                    CHECK(blocks[b] != NULL);
                    CHECK((uintptr_t)blocks[b] % align == 0);
                    CHECK(malloc_usable_size(blocks[b]) >= n);
                    stamp(blocks[b], n, align + (size_t)b);
                }
                for (int b = 0; b < 3; b++)
                    CHECK(stamped(blocks[b], n, align + (size_t)b));
                blocks[0] = realloc(blocks[0], 2 * n + 300 * KIB);
                CHECK(blocks[0] != NULL && stamped(blocks[0], n, align));
                for (int b = 0; b < 3; b++)
                    free(blocks[b]);
            }
        }
    }
    return done();
}
