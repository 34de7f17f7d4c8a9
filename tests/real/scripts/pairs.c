/* SPDX-License-Identifier: MIT */
/* Large blocks in a statically linked program, which no preloaded library reaches. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
    unsigned sum = 0;
    for (size_t size = 1 << 16; size <= 1 << 25; size *= 2) {
        unsigned char *block = malloc(size);
        if (block == NULL)
            return 1;
        memset(block, (int)(size >> 16), size);
        sum += block[size / 2];
        free(block);
    }
    printf("%u\n", sum);
    return 0;
}
