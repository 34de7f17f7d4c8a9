/* SPDX-License-Identifier: MIT */
#include "alloc.h"

#include "plain.h"

bool bp_pool_serves(const struct bp_pool *pool, size_t size_bytes, size_t align_bytes)
{
    return size_bytes - 1 < pool->max_size_bytes && align_bytes <= BP_ALIGN_MAX_BYTES;
}

void *bp_pool_refuse(struct bp_pool *pool)
{
    struct bp_tcache *cache = bp_tcache_enter(&pool->caches);
    bp_count(&cache->counters, BP_COUNT_oversize, 1);
    bp_tcache_leave(cache);
    return NULL;
}

void *bp_pool_alloc_class(struct bp_pool *pool, size_t class_index, size_t size_bytes, size_t align_bytes, bool zero)
{
    struct bp_tcache *cache = bp_tcache_enter(&pool->caches);
    if (BP_UNLIKELY(bp_tcache_place(cache) >= pool->arena.place_count)) {
        bp_count(&cache->counters, BP_COUNT_own_policy, 1);
        bp_tcache_leave(cache);
        return NULL;
    }
    struct bp_taken taken = bp_supply_take(pool, cache, class_index, size_bytes, align_bytes);
    struct bp_slot *slot = taken.slot;
    if (!slot) {
        bp_tcache_leave(cache);
        bp_pool_tick(pool);
        return NULL;
    }
    size_t dirty_bytes = taken.dirty_bytes;
    char *p = bp_slot_block(slot);
    enum bp_clear_by by = BP_CLEAR_WRITING;
    if (taken.is_fresh)
        bp_count(&cache->counters, BP_COUNT_populated_bytes,
                 bp_populate_fresh(&pool->populate, &pool->arena, slot, zero));
    if (pool->scrub == BP_SCRUB_ALLOC) {
        size_t offset = (size_t)(p - bp_slot_base(&pool->arena, slot));
        bp_scrub_range(&pool->arena, &pool->clear, slot, offset, offset + dirty_bytes, &cache->counters);
        dirty_bytes = 0;
    }
    if (zero) {
        dirty_bytes = bp_min(dirty_bytes, size_bytes);
        by = bp_clear_choose(&pool->clear, &pool->arena, slot, p, dirty_bytes);
        bp_count(&cache->counters, BP_COUNT_calloc_bytes_not_zeroed, size_bytes - dirty_bytes);
        bp_count(&cache->counters,
                 bp_clear_writes(by) ? BP_COUNT_calloc_bytes_zeroed : BP_COUNT_calloc_bytes_dropped, dirty_bytes);
        if (!bp_clear_writes(by)) /* who touches little must not keep what lies behind, either */
            bp_count(&cache->counters, BP_COUNT_slack_bytes,
                     bp_arena_purge(&pool->arena, slot, bp_slot_extent(&pool->arena, slot, p, size_bytes)));
    }
    bp_tcache_leave(cache);
    bp_pool_tick(pool);
    if (zero)
        bp_clear_bytes(&pool->arena, slot, p, dirty_bytes, by);
    return p;
}

void *bp_pool_alloc_slow(struct bp_pool *pool, size_t size_bytes, size_t align_bytes)
{
    if (!bp_pool_serves(pool, size_bytes, align_bytes))
        return bp_pool_refuse(pool);
    return bp_pool_alloc_class(pool, bp_pool_class_for(pool, size_bytes, align_bytes), size_bytes, align_bytes, false);
}

void *bp_pool_calloc(struct bp_pool *pool, size_t size_bytes)
{
    if (!bp_pool_serves(pool, size_bytes, 1))
        return bp_pool_refuse(pool);
    return bp_pool_alloc_class(pool, bp_pool_class_for(pool, size_bytes, 1), size_bytes, 1, true);
}

/* Did the program change more of the block than its bytes, and nobody saw it? If that cannot be told: yes. */
static bool is_changed_unseen(struct bp_pool *pool, struct bp_tcache *cache, const struct bp_slot *slot)
{
    if (BP_LIKELY(pool->paranoid_every == 0) || bp_slot_is_tainted(slot) ||
        bp_add_relaxed(&pool->paranoid_count, (size_t)1) % pool->paranoid_every != 0)
        return false;
    int plain = bp_plain_check(bp_slot_base(&pool->arena, slot), slot->dirty_bytes,
                               bp_arena_flags(&pool->arena, slot));
    bp_count(&cache->counters, BP_COUNT_unseen, plain == 0);
    return plain <= 0;
}

void bp_pool_release(struct bp_pool *pool, struct bp_tcache *cache, struct bp_slot *slot)
{
    bool must_renew = pool->is_hardened || is_changed_unseen(pool, cache, slot);
    if (pool->scrub == BP_SCRUB_FREE && !must_renew)
        bp_scrub_block(&pool->arena, &pool->clear, slot, &cache->counters);
    bp_slot_clear_block(slot);
    size_t keep_bytes = bp_outgrow_keep_bytes(&pool->outgrow, &pool->arena, slot);
    if (keep_bytes < slot->dirty_bytes && !bp_slot_is_tainted(slot))
        bp_count(&cache->counters, BP_COUNT_outgrown_bytes, bp_arena_purge(&pool->arena, slot, keep_bytes));
    if (BP_UNLIKELY(must_renew || bp_slot_is_tainted(slot)))
        bp_supply_renew(pool, cache, slot);
    else
        bp_supply_put_back(pool, cache, slot);
}

void bp_pool_free_slow(struct bp_pool *pool, void *p)
{
    struct bp_slot *slot = bp_pool_live_slot(pool, p, "free");
    if (!slot)
        return;
    bp_pool_check_overrun(pool, slot, "free");
    struct bp_tcache *cache = bp_tcache_enter(&pool->caches);
    bp_pool_release(pool, cache, slot);
    bp_tcache_leave(cache);
    bp_pool_tick(pool);
}
