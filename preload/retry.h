/* SPDX-License-Identifier: MIT */
#ifndef BP_RETRY_H
#define BP_RETRY_H
/*
 * Retry: requests that the underlying allocator refuses although there is room for them, as the pool has it.
 *
 * Why:   where the address space is limited (ulimit -v), what the pool reserved is missing elsewhere.
 * How:   the table of the underlying allocator then holds functions that look for NULL, have the pool make way (way.c)
 *        and ask again; a small request costs one call more. The ticker's own functions call these.
 * Layer: P2. May use process, real and all of src/.
 */
#include "atomic.h"

extern BP_HIDDEN _Atomic(bool) bp_retry_wanted;

BP_ALWAYS_INLINE bool bp_retry_is_on(void)
{
    return bp_load_relaxed(&bp_retry_wanted);
}

/* From now on, for good. False before the underlying allocator is known. The ticker sets malloc, calloc and realloc. */
bool bp_retry_start(void);
/* After a request of the kernel failed: true if it is worth trying again. */
bool bp_retry_make_way(size_t bytes);

/* As the functions of the underlying allocator. */
void *bp_retry_malloc(size_t size);
void *bp_retry_calloc(size_t count, size_t size);
void *bp_retry_realloc(void *p, size_t size);

#endif
