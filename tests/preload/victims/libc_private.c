/* SPDX-License-Identifier: MIT */
/* A block made past the interposer, by glibc's private name, is freed and grown by the public ones. */
#include "victim.h"

void *__libc_malloc(size_t size);
void __libc_free(void *block);

int main(void)
{
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        void *p = __libc_malloc(sizes[i]), *q = __libc_malloc(sizes[i]);
        CHECK(p && q);
        stamp(p, sizes[i], i);
        CHECK(malloc_usable_size(p) >= sizes[i]);
        p = realloc(p, sizes[i] * 2 + 100 * KIB);
        CHECK(p != NULL && stamped(p, sizes[i], i));
        free(p);
        free(q);
        __libc_free(__libc_malloc(sizes[i]));
    }
    exercise(1);
    return done();
}
