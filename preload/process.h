/* SPDX-License-Identifier: MIT */
#ifndef BP_PROCESS_H
#define BP_PROCESS_H
/*
 * Process: the one pool of the program and the threshold from which requests go to it.
 *
 * Layer: P2. May use real, boot and all of src/.
 * Life:  the threshold starts above every size, so "not ready", "off" and "small" are one comparison. The constructor
 *        lowers it once options are read; the first request above it makes the pool.
 * Fork:  a child has the pool with its live blocks; its counts start at zero.
 */
#include "atomic.h"
#include "pool.h"

/* The largest page there may be. Where alignment asks for more than a page, the loader makes four system calls more. */
#ifdef __x86_64__
enum { BP_PAGE_MAX_BYTES = 4096 };
#else
enum { BP_PAGE_MAX_BYTES = 64 * 1024 };
#endif
enum { BP_PROCESS_POOL_ID = 0 };

/* Requests below it are forwarded. Relaxed: who reads an old value forwards, which is always right. */
extern BP_HIDDEN _Atomic(size_t) bp_threshold_bytes;
/*
 * Requests above it do not take the hit path: BUFPOOL_MAX_SIZE, or 0 while somebody has asked for a report, so that the
 * next large request of any kind comes to where that is seen (ticker.h). Plain, as gcc makes an instruction more of an
 * atomic load that is compared; written atomically. Not zero at first, so that it lies beside the threshold.
 */
extern BP_HIDDEN size_t bp_hit_max_bytes;
/* Zero until made, so that no pointer is taken for its own. */
extern BP_HIDDEN struct bp_pool bp_process_pool;
/* On pages of their own, which BUFPOOL_HARDEN makes read-only when the constructor has run. */
extern BP_HIDDEN struct bp_sealed {
    _Alignas(BP_PAGE_MAX_BYTES) struct bp_options options;
} bp_sealed;
#define bp_process_options bp_sealed.options

/* True for addresses of blocks that the pool handed out, and for wrong pointers into it. */
BP_ALWAYS_INLINE bool bp_process_owns(const void *p)
{
    return bp_arena_contains(&bp_process_pool.arena, p) && !bp_arena_is_hole(&bp_process_pool.arena, p);
}

/* The pool, made now if this is the first use. NULL: not available, forward. */
struct bp_pool *bp_process_pool_get(void);
/* The pool if it was made already. */
struct bp_pool *bp_process_pool_peek(void);
/* There was no address space for one, and never will be. */
bool bp_process_pool_is_refused(void);
void bp_process_start(void);
/*
 * In a child of vfork(), which has our memory but limits of its own: what it asks of the kernel for itself says nothing
 * about the pool. Not in a child that was forked, also if no handler of ours saw that; nor before there is a pool.
 */
bool bp_process_is_lent(void);
/* In a forked child, first: a pool that another thread was making will be made anew. */
void bp_process_after_fork(void);

#endif
