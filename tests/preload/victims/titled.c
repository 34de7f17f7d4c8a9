/* SPDX-License-Identifier: MIT */
/* A server that shows what it does as its name, in words that others send it. */
#include "victim.h"

int main(int argc, char **argv)
{
    exercise(1);
    CHECK(argc > 0);
    size_t length = strlen(argv[0]);
    for (size_t i = 0; i < length; i++)
        argv[0][i] = "../"[i % 3];
    return done();
}
