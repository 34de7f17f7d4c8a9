/* SPDX-License-Identifier: MIT */
/* Forty reallocs from one large size to another, for reports that must add up. */
#include "victim.h"

int main(void)
{
    for (int i = 0; i < 4; i++) {
        size_t size = 256 * KIB;
        char *block = make(size);
        for (int step = 0; step < 10; step++) {
            memset(block, 1, size);
            size = step < 6 ? size * 2 : size - 300 * KIB;
            block = realloc(block, size);
            CHECK(block != NULL && block[1000] == 1);
        }
        free(block);
    }
    return done();
}
