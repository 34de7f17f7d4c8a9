/* SPDX-License-Identifier: MIT */
#ifndef BP_AUDIT_H
#define BP_AUDIT_H
/*
 * Audit: walks every slot of a pool at rest and checks the equations that the headers promise.
 *
 * Independent of the pool's own sums: what is live and what is free is found slot by slot.
 */
#include "pool.h"

/* What the slots add up to. */
struct audit {
    size_t live_count;
    size_t live_bytes;   /* dirty bytes of slots that the program holds */
    size_t cached_count; /* free slots in thread caches and shards */
    size_t cached_bytes;
    size_t clean_count;  /* free slots in the arena; without memory unless the kernel refused to take it back */
    size_t clean_bytes;
    size_t lost_count;   /* given up: tainted, and the kernel would not map them anew */
    size_t lost_bytes;   /* their dirty bytes, as they stay charged */
    char problem[256];   /* the first equation that does not hold, or "" */
};

/* No other thread may be using the pool. */
struct audit audit_pool(struct bp_pool *pool);

#endif
