/* SPDX-License-Identifier: MIT */
#ifndef BP_PREFILL_H
#define BP_PREFILL_H
/*
 * Prefill: free buffers with memory in them before anybody asks (BUFPOOL_PREFILL), so that the first requests hit.
 *
 * Layer:   10. For a pool that no other thread uses yet.
 * Where:   shards, in turn, as nobody knows which threads will ask. They age there like all others. Where there are
 *          several memory nodes: those of the node that was named, or of all that have CPUs, but for full ones.
 * How:     the kernel fills each buffer in one call. A second thread for it made no difference to a GiB, and a program
 *          that is about to start must not find that it has threads.
 * Limits:  what the budget allows, and seven eighths of the memory that is free now: the program needs some, too.
 * Failure: one line, and as much as fits.
 */
#include "pool.h"

/* `list` is the option's value; "" makes nothing. */
void bp_prefill(struct bp_pool *pool, const char *list);

#endif
