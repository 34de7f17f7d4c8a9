/* SPDX-License-Identifier: MIT */
/* Every entry point at every size: aligned, writable to its usable end, apart from its neighbours. */
#include "victim.h"

static void *by_malloc(size_t n)
{
    return malloc(n);
}
static void *by_calloc(size_t n)
{
    return calloc(1, n);
}
static void *by_calloc_many(size_t n)
{
    return calloc(n, 1);
}
static void *by_realloc(size_t n)
{
    return realloc(NULL, n);
}
static void *by_reallocarray(size_t n)
{
    return reallocarray(NULL, 1, n);
}
static void *by_aligned_alloc(size_t n)
{
    return aligned_alloc(64, (n + 63) & ~(size_t)63);
}
static void *by_memalign(size_t n)
{
    return memalign(256, n);
}
static void *by_valloc(size_t n)
{
    return valloc(n);
}
static void *by_pvalloc(size_t n)
{
    return pvalloc(n);
}
static void *by_posix_memalign(size_t n)
{
    void *p = NULL;
    return posix_memalign(&p, 4096, n) == 0 ? p : NULL;
}

static const struct {
    void *(*make)(size_t);
    size_t align;
} entries[] = {
    {by_malloc, 16},        {by_calloc, 16},    {by_calloc_many, 16}, {by_realloc, 16},   {by_reallocarray, 16},
    {by_aligned_alloc, 64}, {by_memalign, 256}, {by_valloc, 4096},    {by_pvalloc, 4096}, {by_posix_memalign, 4096},
};

int main(void)
{
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        void *blocks[LENGTH(entries)];
        size_t usable[LENGTH(entries)];
        for (size_t e = 0; e < LENGTH(entries); e++) {
            size_t align = sizes[i] < 16 ? 8 : entries[e].align; /* a block under 16 bytes may sit at 8 */
            if (entries[e].align > 16)
                align = entries[e].align;
            blocks[e] = entries[e].make(sizes[i]);
            CHECK(blocks[e] != NULL);
            CHECK((uintptr_t)blocks[e] % align == 0);
            usable[e] = malloc_usable_size(blocks[e]);
            CHECK(usable[e] >= sizes[i]);
            if (entries[e].make == by_pvalloc)
                CHECK(usable[e] >= ((sizes[i] + 4095) & ~(size_t)4095));
            stamp(blocks[e], usable[e], e);
        }
        for (size_t e = 0; e < LENGTH(entries); e++) {
            CHECK(malloc_usable_size(blocks[e]) == usable[e]);
            CHECK(stamped(blocks[e], usable[e], e));
            free(blocks[e]);
        }
    }
    CHECK(malloc_usable_size(NULL) == 0);
    return done();
}
