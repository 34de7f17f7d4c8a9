/* SPDX-License-Identifier: MIT */
#include "retry.h"

#include <errno.h>

#include "process.h"
#include "real.h"

/* So often at most is a request tried again, as others may take what was given back for it. */
enum { TRIES_MAX = 4 };

_Atomic(bool) bp_retry_wanted;

bool bp_retry_make_way(size_t bytes)
{
    return bp_retry_is_on() && bp_pool_make_way(&bp_process_pool, bytes);
}

/* A reason to try a request once more, after so many tries. The first needs none: another thread may have made way. */
static bool is_tried_again(size_t size, int tries)
{
    if (!bp_retry_is_on() || tries == TRIES_MAX)
        return false;
    return bp_retry_make_way(size) || tries == 0;
}

BP_COLD static void *malloc_again(size_t size)
{
    void *p = NULL;
    for (int tries = 0; !p && is_tried_again(size, tries); tries++)
        p = bp_real_underlying.malloc(size);
    return p;
}

BP_COLD static void *calloc_again(size_t count, size_t size)
{
    size_t bytes;
    void *p = NULL;
    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    for (int tries = 0; !p && is_tried_again(bytes, tries); tries++)
        p = bp_real_underlying.calloc(count, size);
    return p;
}

/*
 * The block is still there: a size of 0, of which NULL says that it was freed, does not come here. There must be room
 * for as much as it is to grow at the least, as it may be moved without being copied.
 */
BP_COLD static void *realloc_again(void *p, size_t size)
{
    size_t usable = p && bp_real_underlying.measures ? bp_real_underlying.malloc_usable_size(p) : 0;
    size_t bytes = size - bp_min(size, usable);
    void *moved = NULL;
    for (int tries = 0; !moved && is_tried_again(bytes, tries); tries++)
        moved = bp_real_underlying.realloc(p, size);
    return moved;
}

void *bp_retry_malloc(size_t size)
{
    void *p = bp_real_underlying.malloc(size);
    return BP_LIKELY(p != NULL) ? p : malloc_again(size);
}

void *bp_retry_calloc(size_t count, size_t size)
{
    void *p = bp_real_underlying.calloc(count, size);
    return BP_LIKELY(p != NULL) ? p : calloc_again(count, size);
}

void *bp_retry_realloc(void *p, size_t size)
{
    void *moved = bp_real_underlying.realloc(p, size);
    return BP_LIKELY(moved != NULL || size == 0) ? moved : realloc_again(p, size);
}

static void *retry_memalign(size_t align, size_t size)
{
    void *p = bp_real_underlying.memalign(align, size);
    for (int tries = 0; BP_UNLIKELY(!p) && is_tried_again(size, tries); tries++)
        p = bp_real_underlying.memalign(align, size);
    return p;
}

static void *retry_aligned_alloc(size_t align, size_t size)
{
    void *p = bp_real_underlying.aligned_alloc(align, size);
    for (int tries = 0; BP_UNLIKELY(!p) && is_tried_again(size, tries); tries++)
        p = bp_real_underlying.aligned_alloc(align, size);
    return p;
}

static int retry_posix_memalign(void **ret_p, size_t align, size_t size)
{
    int error = bp_real_underlying.posix_memalign(ret_p, align, size);
    for (int tries = 0; BP_UNLIKELY(error == ENOMEM) && is_tried_again(size, tries); tries++)
        error = bp_real_underlying.posix_memalign(ret_p, align, size);
    return error;
}

bool bp_retry_start(void)
{
    if (!bp_real_is_found())
        return false;
    bp_store_relaxed(&bp_retry_wanted, true);
    /* These the ticker leaves alone, so they stay. */
    __atomic_store_n(&bp_real.memalign, retry_memalign, __ATOMIC_RELAXED);
    __atomic_store_n(&bp_real.aligned_alloc, retry_aligned_alloc, __ATOMIC_RELAXED);
    __atomic_store_n(&bp_real.posix_memalign, retry_posix_memalign, __ATOMIC_RELAXED);
    return true;
}
