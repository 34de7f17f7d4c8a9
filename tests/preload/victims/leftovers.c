/* SPDX-License-Identifier: MIT */
/*
 * Makes results, each half as large as what it is made of, which is freed before or becomes the result. The tests run
 * it in a cgroup that has room for all of these and little more. Arguments: MiB of a result, how many, how: "free" or
 * "realloc".
 */
#include "victim.h"

enum { RESULTS_MAX = 64 };

int main(int argc, char **argv)
{
    CHECK(argc == 4);
    size_t size = strtoul(argv[1], NULL, 10) * MIB;
    size_t count = strtoul(argv[2], NULL, 10);
    unsigned char *results[RESULTS_MAX];
    CHECK(count <= RESULTS_MAX);
    for (size_t i = 0; i < count; i++) {
        unsigned char *source = make(2 * size - MIB);
        stamp(source, 2 * size - MIB, i);
        if (strcmp(argv[3], "free") == 0) {
            free(source);
            stamp(results[i] = make(size), size, i);
        } else {
            CHECK((results[i] = realloc(source, size)) != NULL && stamped_part(results[i], size, 2 * size - MIB, i));
        }
    }
    for (size_t i = 0; i < count; i++) {
        CHECK(strcmp(argv[3], "free") != 0 || stamped(results[i], size, i));
        free(results[i]);
    }
    return done();
}
