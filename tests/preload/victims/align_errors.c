/* SPDX-License-Identifier: MIT */
/*
 * posix_memalign reports by its value alone: errno and *memptr stay as they were. With an argument: memalign says
 * EINVAL to an alignment that cannot be, whatever the size; not every allocator does.
 */
#include "victim.h"

static const size_t bad[] = {0, 1, 2, 4, 7, 24, 4095, 12288, SIZE_MAX, SIZE_MAX / 2};

int main(int argc, char **argv)
{
    (void)argv;
    static const size_t lengths[] = {1, 200 * KIB, 8 * MIB};
    for (size_t i = 0; i < LENGTH(bad); i++) {
        for (size_t n = 0; n < LENGTH(lengths); n++) {
            void *p = &p;
            errno = 77;
            CHECK(posix_memalign(&p, bad[i], lengths[n]) == EINVAL);
            CHECK(p == &p);
            CHECK(errno == 77);
        }
    }
    static volatile const size_t huge[] = {(size_t)PTRDIFF_MAX + 1, SIZE_MAX - 100, SIZE_MAX};
    for (size_t i = 0; i < LENGTH(huge); i++) {
        for (size_t align = 16; align <= GIB; align *= 64) {
            void *p = &p;
            CHECK(posix_memalign(&p, align, huge[i]) == ENOMEM);
            CHECK(p == &p);
            errno = 0;
            CHECK(memalign(align, huge[i]) == NULL && errno == ENOMEM);
        }
    }
    errno = 0;
    CHECK(pvalloc(huge[2]) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(valloc(huge[2]) == NULL && errno == ENOMEM);
    for (size_t i = 0; argc > 1 && i < LENGTH(lengths); i++) {
        errno = 0;
        CHECK(memalign(huge[2], lengths[i]) == NULL && errno == EINVAL);
    }
    exercise(1);
    return done();
}
