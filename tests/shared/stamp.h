/* SPDX-License-Identifier: MIT */
#ifndef BP_STAMP_H
#define BP_STAMP_H
/*
 * Stamps: contents of a block that only its owner can have written: words made of the owner's cookie and their offset,
 * so what belongs to another block, another time or another place is seen. The first 16 KiB, or as much as was defined
 * before this is included, hold one after another, so every byte counts; from there on each cache line starts with one.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "random.h"

#ifndef STAMP_DENSE_BYTES
#define STAMP_DENSE_BYTES ((size_t)16 * 1024)
#endif
#define STAMP_STEP_BYTES ((size_t)64)

static inline size_t stamp_next(size_t at)
{
    return at + (at < STAMP_DENSE_BYTES ? sizeof(uint64_t) : STAMP_STEP_BYTES);
}

/* Where the word starts that `from` lies in, or behind. */
static inline size_t stamp_first(size_t from)
{
    return from - from % (from < STAMP_DENSE_BYTES ? sizeof(uint64_t) : STAMP_STEP_BYTES);
}

static inline void stamp(void *block, size_t from, size_t size, uint64_t cookie)
{
    char *bytes = block;
    size_t i = stamp_first(from);
    uint64_t word;
    for (; i + sizeof word <= size; i = stamp_next(i)) {
        word = random_mix(cookie + i);
        memcpy(bytes + i, &word, sizeof word);
    }
    if (i < size) {
        word = random_mix(cookie + i);
        memcpy(bytes + i, &word, size - i);
    }
}

static inline bool stamp_holds(const void *block, size_t from, size_t size, uint64_t cookie)
{
    const char *bytes = block;
    size_t i = stamp_first(from);
    uint64_t word;
    for (; i + sizeof word <= size; i = stamp_next(i)) {
        uint64_t found;
        memcpy(&found, bytes + i, sizeof found);
        if (found != random_mix(cookie + i))
            return false;
    }
    word = random_mix(cookie + i);
    return i >= size || memcmp(bytes + i, &word, size - i) == 0;
}

static inline bool is_zero(const void *block, size_t size)
{
    const char *bytes = block;
    return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

#endif
