/* SPDX-License-Identifier: MIT */
/*
 * Entry points of the C library: malloc and its family.
 *
 * Each one asks in this order: is the request or the block ours? does the hit path serve it? does the slow path?
 * Whatever is left goes to the underlying allocator, which also reports failures: it knows how to set errno.
 *
 * Layer: P3.
 */
#include "entry.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "devices.h"
#include "os.h"
#include "process.h"
#include "retry.h"
#include "ticker.h"

BP_ALWAYS_INLINE bool is_small(size_t size)
{
    return size < bp_load_relaxed(&bp_threshold_bytes);
}

/* The pool for a request that the hit path did not serve. NULL: forward. */
static struct bp_pool *pool_to_ask(void)
{
    if (BP_UNLIKELY(bp_devices_look()))
        return NULL;
    struct bp_pool *pool = bp_process_pool_get();
    if (pool && BP_UNLIKELY(pool->arena.is_limited) && !bp_retry_is_on())
        bp_ticker_start_retrying();
    return pool;
}

/* A large request that the hit path did not serve; NULL when the pool cannot. */
static void *pool_alloc_slow(size_t size, size_t align)
{
    struct bp_pool *pool = pool_to_ask();
    bp_ticker_answer();
    return pool ? bp_pool_alloc_slow(pool, size, align) : NULL;
}

/* Not every allocator below sets errno when it fails. */
static void *or_enomem(void *p)
{
    if (!p)
        errno = ENOMEM;
    return p;
}

BP_COLD static void *malloc_slow(size_t size)
{
    void *p = pool_alloc_slow(size, 1);
    return p ? p : or_enomem(bp_real.malloc(size));
}

BP_EXPORT BP_LINE_ALIGNED void *malloc(size_t size)
{
    if (BP_LIKELY(is_small(size)))
        return bp_real.malloc(size);
    if (BP_LIKELY(size <= bp_hit_max_bytes)) {
        void *p = bp_pool_alloc_fast(BP_PROCESS_POOL_ID, size);
        if (BP_LIKELY(p != NULL))
            return p;
    }
    return malloc_slow(size);
}

BP_COLD static void free_slow(void *p)
{
    if (bp_arena_is_hole(&bp_process_pool.arena, p)) {
        bp_real.free(p);
        return;
    }
    bp_pool_free_slow(&bp_process_pool, p);
    bp_ticker_arm();
    bp_ticker_answer();
}

BP_EXPORT BP_LINE_ALIGNED void free(void *p)
{
    size_t offset = bp_arena_offset(&bp_process_pool.arena, p);
    if (BP_LIKELY(offset >= bp_load_acquire(&bp_process_pool.arena.bytes))) { /* as bp_arena_contains() */
        bp_real.free(p);
        return;
    }
    if (BP_UNLIKELY(!bp_pool_free_fast(&bp_process_pool, BP_PROCESS_POOL_ID, p, offset)))
        free_slow(p);
}

BP_EXPORT void cfree(void *p)
{
    free(p);
}

/* Of another size or alignment than the block was asked for, perhaps only rounded up; or not one for the hit path. */
BP_COLD static void free_ours_slow(void *p, size_t size, size_t align, const char *call)
{
    if (!bp_process_owns(p) || bp_pool_check_sized(&bp_process_pool, p, size, align, call))
        free(p);
}

void bp_free_ours(void *p, size_t size, size_t align, const char *call)
{
    size_t offset = bp_arena_offset(&bp_process_pool.arena, p);
    bool is_aligned = ((uintptr_t)p & (align - 1)) == 0;
    if (BP_UNLIKELY(!is_aligned ||
                    !bp_pool_free_fast_sized(&bp_process_pool, BP_PROCESS_POOL_ID, p, offset, size)))
        free_ours_slow(p, size, align, call);
}

BP_EXPORT void free_sized(void *p, size_t size)
{
    bp_free_checked(p, size, 1, "free_sized");
}

BP_EXPORT void free_aligned_sized(void *p, size_t align, size_t size)
{
    bp_free_checked(p, size, align, "free_aligned_sized");
}

BP_EXPORT void *calloc(size_t count, size_t size)
{
    size_t bytes;
    bool overflows = __builtin_mul_overflow(count, size, &bytes);
    if (BP_LIKELY(!overflows && is_small(bytes)))
        return bp_real.calloc(count, size);
    if (!overflows) {
        struct bp_pool *pool = pool_to_ask();
        bp_ticker_answer();
        void *p = pool ? bp_pool_calloc(pool, bytes) : NULL;
        if (p)
            return p;
    }
    return or_enomem(bp_real.calloc(count, size));
}

static void copy_out(void *to, void *p, size_t size)
{
    size_t bytes = bp_min(size, bp_pool_usable_bytes(&bp_process_pool, p));
    memcpy(to, p, bytes);
    bp_pool_count_copied(&bp_process_pool, BP_COUNT_realloc_out, bytes);
    free(p);
}

/* A block of ours becomes smaller than what the pool serves: it leaves, or stays if there is no memory to leave to. */
static void *move_out_small(void *p, size_t size)
{
    void *moved = bp_real.malloc(size);
    if (!moved)
        return bp_pool_realloc(&bp_process_pool, p, size);
    copy_out(moved, p, size);
    return moved;
}

/* A block of ours that the pool cannot serve at its new size. */
static void *move_out_large(void *p, size_t size)
{
    void *moved = bp_real.malloc(size);
    if (moved)
        copy_out(moved, p, size);
    return or_enomem(moved);
}

/* A block of the underlying allocator becomes large. One that is large already, or may be, stays where it is. */
static void *move_in(void *p, size_t size)
{
    size_t usable = bp_real.measures ? bp_real.malloc_usable_size(p) : SIZE_MAX;
    if (is_small(usable)) {
        void *moved = pool_alloc_slow(size, 1);
        if (moved) {
            memcpy(moved, p, bp_min(usable, size));
            bp_pool_count_copied(&bp_process_pool, BP_COUNT_realloc_in, bp_min(usable, size));
            bp_real.free(p);
            return moved;
        }
    }
    return or_enomem(bp_real.realloc(p, size));
}

BP_EXPORT void *realloc(void *p, size_t size)
{
    if (!p)
        return malloc(size);
    if (BP_LIKELY(!bp_process_owns(p)))
        return BP_LIKELY(is_small(size)) ? bp_real.realloc(p, size) : move_in(p, size);
    if (BP_UNLIKELY(!bp_pool_live_slot(&bp_process_pool, p, "realloc"))) {
        errno = EINVAL;
        return NULL;
    }
    if (size == 0) {
        free(p); /* as the C library does */
        return NULL;
    }
    if (is_small(size))
        return move_out_small(p, size);
    bp_ticker_answer();
    void *moved = bp_pool_realloc(&bp_process_pool, p, size);
    bp_ticker_arm();
    return moved ? moved : move_out_large(p, size);
}

BP_EXPORT void *reallocarray(void *p, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return bp_real.programs_realloc(p, bytes);
}

/* A large block with an alignment, or NULL when the pool cannot serve it. */
static void *pool_alloc_aligned(size_t align, size_t size)
{
    if (is_small(size) || !bp_is_pow2(align))
        return NULL;
    return pool_alloc_slow(size, align);
}

BP_EXPORT int posix_memalign(void **ret_p, size_t align, size_t size)
{
    /* Alignments that POSIX refuses are refused by the underlying allocator. */
    void *p = align % sizeof(void *) == 0 ? pool_alloc_aligned(align, size) : NULL;
    if (!p)
        return bp_real.posix_memalign(ret_p, align, size);
    *ret_p = p;
    return 0;
}

BP_EXPORT void *aligned_alloc(size_t align, size_t size)
{
    void *p = pool_alloc_aligned(align, size);
    return p ? p : bp_real.aligned_alloc(align, size);
}

BP_EXPORT void *memalign(size_t align, size_t size)
{
    void *p = pool_alloc_aligned(align, size);
    if (p)
        return p;
    /* An alignment that cannot be is another error than lack of memory. */
    bool is_plain = is_small(size) || align > SIZE_MAX / 2 + 1;
    return is_plain ? bp_real.memalign(align, size) : or_enomem(bp_real.memalign(align, size));
}

BP_EXPORT void *valloc(size_t size)
{
    return memalign((size_t)bp_os_page_bytes(), size);
}

BP_EXPORT void *pvalloc(size_t size)
{
    size_t page = bp_os_page_bytes();
    size_t rounded;
    if (__builtin_add_overflow(size, page - 1, &rounded)) {
        errno = ENOMEM;
        return NULL;
    }
    return memalign(page, bp_max(bp_align_down(rounded, page), page));
}

BP_EXPORT size_t malloc_usable_size(void *p)
{
    return bp_process_owns(p) ? bp_pool_usable_bytes(&bp_process_pool, p) : bp_real.malloc_usable_size(p);
}

/* --- control and statistics: the underlying allocator's, as a program that calls them knows it -------------------- */

BP_EXPORT int malloc_trim(size_t pad)
{
    struct bp_pool *pool = bp_process_pool_peek();
    bool released = pool && bp_pool_trim(pool) > 0;
    int (*next)(size_t) = NULL;
    BP_FIND(next, "malloc_trim");
    return (next && next(pad)) || released;
}

BP_EXPORT int mallopt(int parameter, int value)
{
    int (*next)(int, int) = NULL;
    BP_FIND(next, "mallopt");
    return next ? next(parameter, value) : 0;
}

BP_EXPORT struct mallinfo mallinfo(void)
{
    struct mallinfo (*next)(void) = NULL;
    BP_FIND(next, "mallinfo");
    return next ? next() : (struct mallinfo){0};
}

BP_EXPORT struct mallinfo2 mallinfo2(void)
{
    struct mallinfo2 (*next)(void) = NULL;
    BP_FIND(next, "mallinfo2");
    return next ? next() : (struct mallinfo2){0};
}

BP_EXPORT int malloc_info(int options, FILE *stream)
{
    int (*next)(int, FILE *) = NULL;
    BP_FIND(next, "malloc_info");
    if (next)
        return next(options, stream);
    errno = EINVAL;
    return -1;
}

BP_EXPORT void malloc_stats(void)
{
    void (*next)(void) = NULL;
    BP_FIND(next, "malloc_stats");
    if (next)
        next();
}
