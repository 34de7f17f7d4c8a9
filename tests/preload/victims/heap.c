/* SPDX-License-Identifier: MIT */
/* Blocks for a debugger to look at; then the program aborts, with a core dump if it may. */
#include "victim.h"

enum { COUNT = 3, SMALL_SIZE = 100000, LARGE_SIZE = 5000000 };

char *victim_small[COUNT], *victim_large, *victim_freed;

int main(void)
{
    for (size_t i = 0; i < COUNT; i++)
        stamp(victim_small[i] = make(SMALL_SIZE), SMALL_SIZE, i);
    stamp(victim_large = make(LARGE_SIZE), LARGE_SIZE, 4);
    victim_freed = make(SMALL_SIZE);
    stamp(victim_freed, SMALL_SIZE, 5);
    free(victim_freed);
    for (size_t size = 64 * KIB; size <= 512 * MIB; size *= 2)
        free(make(size)); /* address space of every class, and no memory */
    abort();
}
