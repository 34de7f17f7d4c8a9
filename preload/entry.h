/* SPDX-License-Identifier: MIT */
#ifndef BP_ENTRY_H
#define BP_ENTRY_H
/*
 * Entry: what the files with exported functions share. Layer: P3.
 */
#include <string.h>

#include "base.h"
#include "process.h"
#include "real.h"

/* Everything else is hidden; preload.map lists the same names. */
#define BP_EXPORT __attribute__((visibility("default")))

/* For the two hottest: a pair takes 7.4 or 8.0 ns by where in a cache line they start (bench/run, pair 1M). */
#define BP_LINE_ALIGNED __attribute__((aligned(BP_CACHELINE_BYTES)))

/* Sets a function pointer from a symbol; C has no cast between the two. */
#define BP_FIND(function, name)                                                                                        \
    do {                                                                                                               \
        void *symbol = bp_real_find(name);                                                                             \
        memcpy((void *)&(function), &symbol, sizeof symbol);                                                           \
    } while (0)

/* Frees a block that the arena contains, if size and alignment are right. */
void bp_free_ours(void *p, size_t size, size_t align, const char *call);

/* As free(): not an instruction more for what is not ours. */
BP_ALWAYS_INLINE void bp_free_checked(void *p, size_t size, size_t align, const char *call)
{
    if (BP_LIKELY(!bp_arena_contains(&bp_process_pool.arena, p)))
        bp_real.free(p);
    else
        bp_free_ours(p, size, align, call);
}

/* Declared by later C libraries only. */
void cfree(void *p);
void free_sized(void *p, size_t size);
void free_aligned_sized(void *p, size_t align, size_t size);

#endif
