/* SPDX-License-Identifier: MIT */
/* The frees that a C library may or may not have: old cfree, C23 free_sized and free_aligned_sized. */
#include "victim.h"
#include <dlfcn.h>

int main(void)
{
    void (*cfree_)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, "cfree");
    void (*sized)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "free_sized");
    void (*aligned)(void *, size_t, size_t) =
        (void (*)(void *, size_t, size_t))dlsym(RTLD_DEFAULT, "free_aligned_sized");
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        for (int again = 0; again < 3; again++) {
            size_t rounded = (sizes[i] + 63) & ~(size_t)63;
            void *p = make(sizes[i]), *q = make(sizes[i]), *r = aligned_alloc(64, rounded);
            errno = 77;
            if (cfree_)
                cfree_(p);
            if (sized)
                sized(q, sizes[i]);
            if (aligned)
                aligned(r, 64, rounded);
            CHECK(errno == 77);
        }
    }
    if (cfree_)
        cfree_(NULL);
    if (sized)
        sized(NULL, 5 * MIB);
    if (aligned)
        aligned(NULL, 64, 5 * MIB);
    exercise(1);
    return done();
}
