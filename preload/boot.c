/* SPDX-License-Identifier: MIT */
#include "boot.h"

#include "atomic.h"

enum { ARENA_BYTES = 256 * 1024 };

/* Untouched pages of it cost nothing. */
static _Alignas(4096) char arena[ARENA_BYTES];
static _Atomic(size_t) used_bytes;

/* Before every block. */
struct header {
    size_t size_bytes;
    size_t unused;
};
_Static_assert(sizeof(struct header) == 16, "blocks stay aligned to 16");

void *bp_boot_alloc(size_t size_bytes, size_t align_bytes)
{
    if (size_bytes > ARENA_BYTES || align_bytes > ARENA_BYTES)
        return NULL;
    align_bytes = bp_max(align_bytes, sizeof(struct header));
    size_t before = bp_load_relaxed(&used_bytes);
    size_t start;
    size_t after;
    do {
        start = bp_align_up((uintptr_t)arena + before + sizeof(struct header), align_bytes) - (uintptr_t)arena;
        after = bp_align_up(start + size_bytes, sizeof(struct header));
        if (after > ARENA_BYTES)
            return NULL;
    } while (!atomic_compare_exchange_weak_explicit(&used_bytes, &before, after, memory_order_relaxed,
                                                    memory_order_relaxed));
    struct header *header = (struct header *)(void *)(arena + start) - 1;
    header->size_bytes = size_bytes;
    return arena + start;
}

bool bp_boot_contains(const void *p)
{
    return (uintptr_t)p - (uintptr_t)arena < ARENA_BYTES;
}

bool bp_boot_used(void)
{
    return bp_load_relaxed(&used_bytes) != 0;
}

size_t bp_boot_size_bytes(const void *p)
{
    const struct header *header = (const struct header *)p - 1;
    return header->size_bytes;
}
