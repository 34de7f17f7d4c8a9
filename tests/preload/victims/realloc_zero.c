/* SPDX-License-Identifier: MIT */
/* glibc's realloc(p, 0) frees and returns NULL, at every size. */
#include "victim.h"

int main(void)
{
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        void *volatile p = make(sizes[i]);
        CHECK(realloc(p, 0) == NULL);
        p = make(sizes[i]);
        CHECK(reallocarray(p, 0, 8) == NULL);
    }
    exercise(1);
    return done();
}
