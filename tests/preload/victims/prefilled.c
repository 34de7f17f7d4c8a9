/* SPDX-License-Identifier: MIT */
/* The first so many blocks of 4 MiB have their memory already: it can be written to without a fault. */
#include <sys/resource.h>

#include "victim.h"

static size_t faults(void)
{
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    return (size_t)(usage.ru_minflt + usage.ru_majflt);
}

int main(int argc, char **argv)
{
    int count = argc > 1 ? atoi(argv[1]) : 0;
    char *blocks[64];
    size_t before = faults();
    for (int i = 0; i < count; i++) {
        blocks[i] = make(4 * MIB);
        memset(blocks[i], 1, 4 * MIB);
    }
    CHECK(faults() - before < 200);
    for (int i = 0; i < count; i++)
        free(blocks[i]);
    return done();
}
