/* SPDX-License-Identifier: MIT */
/* What cannot be had is NULL and ENOMEM; the block that should have grown is untouched. */
#include "victim.h"

static const size_t huge[] = {(size_t)PTRDIFF_MAX + 1, SIZE_MAX / 2 + 4096, SIZE_MAX - 4096, SIZE_MAX - 15, SIZE_MAX};

#define REFUSED(call)                                                                                                  \
    do {                                                                                                               \
        errno = 0;                                                                                                     \
        CHECK((call) == NULL);                                                                                         \
        CHECK(errno == ENOMEM);                                                                                        \
    } while (0)

static volatile size_t max = SIZE_MAX; /* the compiler would warn of what it can see */

int main(void)
{
    static const size_t kept[] = {100, 64 * KIB, 2 * MIB};
    for (size_t i = 0; i < LENGTH(huge); i++) {
        REFUSED(malloc(huge[i]));
        REFUSED(calloc(1, huge[i]));
        REFUSED(realloc(NULL, huge[i]));
        for (size_t k = 0; k < LENGTH(kept); k++) {
            void *p = make(kept[k]);
            stamp(p, kept[k], k);
            REFUSED(realloc(p, huge[i]));
            REFUSED(reallocarray(p, huge[i], 2));
            CHECK(stamped(p, kept[k], k));
            free(p);
        }
    }
    REFUSED(calloc(max, 2));
    REFUSED(calloc(2, max / 2 + 1));     /* wraps to 0 */
    REFUSED(calloc(max / MIB + 2, MIB)); /* wraps to 1 MiB */
    REFUSED(calloc(max / 8, max / 8));
    REFUSED(reallocarray(NULL, max / MIB + 2, MIB));
    exercise(1);
    return done();
}
