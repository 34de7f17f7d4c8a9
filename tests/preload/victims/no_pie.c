/* SPDX-License-Identifier: MIT */
/*
 * A program with a fixed address that takes malloc's: so that all agree on it, everyone who asks the loader for malloc
 * gets the program's own jump to it, which is no malloc of its own.
 */
#include "victim.h"

static void *(*const volatile take)(size_t size) = malloc;

int main(void)
{
    void *block = take(MIB);
    stamp(block, MIB, 1);
    free(block);
    return done();
}
