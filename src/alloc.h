/* SPDX-License-Identifier: MIT */
#ifndef BP_ALLOC_H
#define BP_ALLOC_H
/*
 * Alloc: the slow path of malloc, calloc and free; resize.c is that of realloc. What the rest of the world calls is
 * declared in pool.h.
 *
 * Layer:   12.
 */
#include "supply.h"

bool bp_pool_serves(const struct bp_pool *pool, size_t size_bytes, size_t align_bytes);
/* Counts a request that the pool does not serve. NULL. */
void *bp_pool_refuse(struct bp_pool *pool);
/* A block from this class or a larger one; zeros if asked for. */
void *bp_pool_alloc_class(struct bp_pool *pool, size_t class_index, size_t size_bytes, size_t align_bytes, bool zero);
/* The slot of a block that the program gave back. */
void bp_pool_release(struct bp_pool *pool, struct bp_tcache *cache, struct bp_slot *slot);

#endif
