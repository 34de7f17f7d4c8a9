/* SPDX-License-Identifier: MIT */
/* Blocks of no bytes are blocks: distinct, freeable, growable. */
#include "victim.h"

int main(void)
{
    void *a = malloc(0), *b = malloc(0), *c = calloc(0, 5 * MIB), *d = calloc(5 * MIB, 0), *e = realloc(NULL, 0),
         *f = NULL;
    CHECK(posix_memalign(&f, 4096, 0) == 0);
    CHECK(a && b && c && d && e && a != b && c != d && a != c);
    a = realloc(a, 2 * MIB);
    CHECK(a != NULL);
    stamp(a, 2 * MIB, 1);
    CHECK(stamped(a, 2 * MIB, 1));
    free(a);
    free(b);
    free(c);
    free(d);
    free(e);
    free(f);
    free(NULL);
    a = realloc(NULL, 3 * MIB);
    CHECK(a != NULL);
    free(a);
    return done();
}
