/* SPDX-License-Identifier: MIT */
#ifndef BP_STAMP_H
#define BP_STAMP_H
/*
 * Stamps: contents of a block that only its owner can have written. Every cache line starts with a word made of the
 * owner's cookie and the offset, so what belongs to another block, another time or another place is seen.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "random.h"

enum { STAMP_STEP_BYTES = 64 };

/* Where the first word starts that does not end before `from`. */
static inline size_t stamp_first(size_t from)
{
    size_t passed = from < sizeof(uint64_t) ? 0 : from - sizeof(uint64_t) + 1;
    return (passed + STAMP_STEP_BYTES - 1) / STAMP_STEP_BYTES * STAMP_STEP_BYTES;
}

static inline void stamp(void *block, size_t from, size_t size, uint64_t cookie)
{
    char *bytes = block;
    for (size_t i = stamp_first(from); i + sizeof(uint64_t) <= size; i += STAMP_STEP_BYTES) {
        uint64_t word = random_mix(cookie + i);
        memcpy(bytes + i, &word, sizeof word);
    }
}

static inline bool stamp_holds(const void *block, size_t from, size_t size, uint64_t cookie)
{
    const char *bytes = block;
    for (size_t i = stamp_first(from); i + sizeof(uint64_t) <= size; i += STAMP_STEP_BYTES) {
        uint64_t word = random_mix(cookie + i);
        if (memcmp(bytes + i, &word, sizeof word) != 0)
            return false;
    }
    return true;
}

static inline bool is_zero(const void *block, size_t size)
{
    const char *bytes = block;
    return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

#endif
