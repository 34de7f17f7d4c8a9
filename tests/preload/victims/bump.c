/* SPDX-License-Identifier: MIT */
/* An allocator that has what the C standard asks for and nothing else. */
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "bump.h"
#include "victim.h"

enum { HEAP_BYTES = 1 << 30, HEADER_BYTES = 16 };

static _Alignas(4096) char heap[HEAP_BYTES]; /* never used again */
static _Atomic(size_t) heap_used;

int bump_has(const void *p)
{
    return (size_t)((const char *)p - heap) < HEAP_BYTES;
}

size_t bump_size(const void *p)
{
    size_t size;
    CHECK(bump_has(p));
    memcpy(&size, (const char *)p - sizeof size, sizeof size);
    return size;
}

void *aligned_alloc(size_t align, size_t size)
{
    size_t most = size + align + HEADER_BYTES;
    if (size > HEAP_BYTES || align > HEAP_BYTES || atomic_load(&heap_used) + most > HEAP_BYTES) {
        errno = ENOMEM;
        return NULL;
    }
    uintptr_t lowest = (uintptr_t)heap + atomic_fetch_add(&heap_used, most) + HEADER_BYTES;
    char *p = heap + ((lowest + align - 1) / align * align - (uintptr_t)heap);
    memcpy(p - sizeof size, &size, sizeof size);
    return p;
}

void *malloc(size_t size)
{
    return aligned_alloc(16, size);
}

void free(void *p)
{
    CHECK(p == NULL || bump_has(p));
}

void *calloc(size_t count, size_t size)
{
    return size != 0 && count > HEAP_BYTES / size ? malloc(HEAP_BYTES) : malloc(count * size); /* fresh: zero */
}

void *realloc(void *p, size_t size)
{
    size_t old_size = p ? bump_size(p) : 0;
    void *moved = malloc(size);
    if (moved && p)
        memcpy(moved, p, old_size < size ? old_size : size);
    return moved;
}
