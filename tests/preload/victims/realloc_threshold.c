/* SPDX-License-Identifier: MIT */
/* realloc from every size to every other keeps the bytes that both have. */
#include "victim.h"

int main(void)
{
    for (size_t from = 0; from < LENGTH(sizes); from++) {
        for (size_t to = 0; to < LENGTH(sizes); to++) {
            void *p = make(sizes[from]);
            stamp(p, sizes[from], from);
            p = realloc(p, sizes[to]);
            CHECK(p != NULL);
            CHECK(malloc_usable_size(p) >= sizes[to]);
            CHECK(stamped_part(p, sizes[to], sizes[from], from));
            stamp(p, sizes[to], to);
            void *q = reallocarray(p, 3, sizes[from]);
            CHECK(q != NULL);
            CHECK(stamped_part(q, 3 * sizes[from], sizes[to], to));
            free(q);
        }
    }
    return done();
}
