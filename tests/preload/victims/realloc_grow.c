/* SPDX-License-Identifier: MIT */
/* Buffers that grow as vectors, logs and stdio streams do, then shrink, with every page checked. */
#include "victim.h"

static void grow(size_t limit, size_t numerator, size_t step)
{
    size_t size = 100, neighbour_size = 150 * KIB;
    char *p = make(size);
    stamp(p, size, size);
    while (size < limit) {
        size_t next = size * numerator / 2 + step;
        void *neighbour = make(neighbour_size); /* keeps the heap's top busy: growth has to move */
        p = realloc(p, next);
        CHECK(p != NULL);
        CHECK(stamped_part(p, next, size, size));
        stamp(p, next, next);
        free(neighbour);
        size = next;
    }
    while (size > 200) {
        size_t next = size / 3;
        p = realloc(p, next);
        CHECK(p != NULL);
        CHECK(stamped_part(p, next, size, size));
        stamp(p, next, next);
        size = next;
    }
    free(p);
}

int main(void)
{
    grow(48 * MIB, 3, 0);
    grow(8 * MIB, 2, 64 * KIB);
    grow(48 * MIB, 4, 7);
    return done();
}
