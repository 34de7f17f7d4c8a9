/* SPDX-License-Identifier: MIT */
/* The calls that ask the allocator about itself answer, and leave it working. */
#include "victim.h"
#include <fcntl.h>

int main(void)
{
    FILE *null = fopen("/dev/null", "w");
    void *large = make(5 * MIB);
    CHECK(null != NULL);
    CHECK(mallopt(M_ARENA_MAX, 4) == 1);
    CHECK(malloc_info(0, null) == 0);
    CHECK(malloc_info(1, null) != 0);
    (void)mallinfo2();
    int keep = dup(2);
    dup2(fileno(null), 2);
    malloc_stats(); /* writes on stderr */
    dup2(keep, 2);
    malloc_trim(0);
    stamp(large, 5 * MIB, 1);
    CHECK(malloc_trim(0) >= 0 && stamped(large, 5 * MIB, 1));
    free(large);
    malloc_trim(0);
    exercise(1);
    fclose(null);
    return done();
}
