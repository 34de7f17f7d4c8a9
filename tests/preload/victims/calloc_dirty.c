/* SPDX-License-Identifier: MIT */
/* calloc is zero in every byte after any history of dirty blocks, reallocs, trims and aligned blocks. */
#include "victim.h"

int main(int argc, char **argv)
{
    uint64_t dice = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    struct {
        unsigned char *bytes;
        size_t size;
    } held[12] = {{0}};
    for (int turn = 0; turn < 1500; turn++) {
        size_t i = roll(&dice) % LENGTH(held);
        size_t size = ((size_t)1 << (10 + roll(&dice) % 13)) + roll(&dice) % 5000;
        switch (roll(&dice) % 6) {
        case 0: /* grow or shrink a dirty block */
            held[i].bytes = realloc(held[i].bytes, size);
            break;
        case 1:
            free(held[i].bytes);
            held[i].bytes = memalign((size_t)1 << (4 + roll(&dice) % 18), size);
            break;
        case 2:
            free(held[i].bytes);
            held[i].bytes = make(size);
            break;
        case 3:
            if (roll(&dice) % 8 == 0)
                malloc_trim(0);
            /* fallthrough */
        default:
            free(held[i].bytes);
            held[i].bytes = roll(&dice) % 2 ? calloc(1, size) : calloc((size + 6) / 7, 7);
            CHECK(held[i].bytes != NULL);
            CHECK(all_zero(held[i].bytes, size));
        }
        CHECK(held[i].bytes != NULL);
        held[i].size = malloc_usable_size(held[i].bytes);
        /* Dirty all of it, only its head, only its tail, or only some page. */
        size_t from = roll(&dice) % 3 ? 0 : roll(&dice) % held[i].size;
        size_t length = roll(&dice) % 3 ? held[i].size - from : (held[i].size - from) / 5 + 1;
        memset(held[i].bytes + from, 0xa5, length);
    }
    for (size_t i = 0; i < LENGTH(held); i++)
        free(held[i].bytes);
    return done();
}
