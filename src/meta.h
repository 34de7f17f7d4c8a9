/* SPDX-License-Identifier: MIT */
#ifndef BP_META_H
#define BP_META_H
/*
 * Meta: memory for the pool's own records.
 *
 * Why:     an allocator cannot call malloc, and records must not lie where a wild write by the program reaches them.
 * Layer:   2.
 * Owns:    what it hands out, for ever: nothing is freed one by one. Users keep lists of what they can use again.
 * Locking: meta->lock (BP_RANK_META). Maps a chunk under it, rarely.
 * Failure: NULL.
 */
#include "lock.h"

struct bp_meta {
    struct bp_lock lock;
    char *next;      /* lock */
    size_t left;     /* lock: bytes left in the current chunk */
    size_t mapped_bytes; /* lock: all that was ever mapped */
    void *chunks;    /* lock: list through the first word of each mapping, for bp_meta_fini() */
};

void bp_meta_init(struct bp_meta *meta);
/* Gives everything back. Nobody may use what bp_meta_alloc() returned any more. */
void bp_meta_fini(struct bp_meta *meta);
/* Zeroed, aligned to a cache line. Pages of large pieces cost nothing until they are touched. */
void *bp_meta_alloc(struct bp_meta *meta, size_t bytes);

#endif
