/* SPDX-License-Identifier: MIT */
/*
 * Inspect: what a pointer of the program's is, before anything is done with it. Declared in pool.h.
 *
 * Layer: 10.
 */
#include "misuse.h"
#include "pool.h"

static void count_misuse(struct bp_pool *pool)
{
    struct bp_tcache *cache = bp_tcache_enter(&pool->caches);
    bp_count(&cache->counters, BP_COUNT_misuses, 1);
    bp_tcache_leave(cache);
}

struct bp_slot *bp_pool_live_slot(struct bp_pool *pool, const void *p, const char *call)
{
    struct bp_slot *slot = bp_arena_live_slot(&pool->arena, p);
    if (BP_UNLIKELY(!slot)) {
        bp_misuse_pointer(&pool->arena, pool->on_error, call, p);
        count_misuse(pool);
    }
    return slot;
}

static size_t usable_bytes(const struct bp_pool *pool, const struct bp_slot *slot)
{
    if (pool->is_hardened)
        return slot->size_bytes; /* what follows must stay as it is */
    uintptr_t start = (uintptr_t)bp_slot_block(slot);
    return bp_align_up(start + slot->size_bytes, pool->arena.page_bytes) - start;
}

size_t bp_pool_usable_bytes(struct bp_pool *pool, const void *p)
{
    const struct bp_slot *slot = bp_pool_live_slot(pool, p, "malloc_usable_size");
    return slot ? usable_bytes(pool, slot) : 0;
}

void bp_pool_check_overrun(struct bp_pool *pool, const struct bp_slot *slot, const char *call)
{
    if (BP_LIKELY(!pool->is_hardened) || bp_slot_is_tainted(slot) || bp_harden_is_intact(&pool->arena, slot))
        return;
    bp_misuse_overrun(pool->on_error, call, slot);
    count_misuse(pool);
}

bool bp_pool_check_sized(struct bp_pool *pool, const void *p, size_t size_bytes, size_t align_bytes,
                         const char *call)
{
    const struct bp_slot *slot = bp_pool_live_slot(pool, p, call);
    if (!slot)
        return false;
    if (size_bytes < slot->size_bytes || size_bytes > usable_bytes(pool, slot) ||
        ((uintptr_t)p & (align_bytes - 1)) != 0) {
        bp_misuse_size(pool->on_error, call, slot, size_bytes, align_bytes);
        count_misuse(pool);
    }
    return true;
}
