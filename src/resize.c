/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "alloc.h"

enum {
    /* A realloc that leaves at least this much unused, and more than is used, gives the tail back. */
    TRIM_MIN_BYTES = 256 * 1024,
    /* This much is given back whatever is used. */
    TRIM_SURE_BYTES = 32 * 1024 * 1024,
};

/*
 * Does a block that becomes smaller give back what its slot has beyond `extent`? Of little no less than half: one that
 * shrinks a little and grows again must not fault its tail each time.
 */
static bool is_trimmed(const struct bp_slot *slot, size_t extent)
{
    size_t tail_bytes = slot->dirty_bytes - extent;
    if (bp_slot_is_tainted(slot)) /* what it grows into again must be plain memory */
        return tail_bytes > 0;
    return tail_bytes >= TRIM_MIN_BYTES && tail_bytes > bp_min(extent, TRIM_SURE_BYTES);
}

/* Keeps the block where it is if its slot has room and memory. */
static bool resize_in_place(struct bp_pool *pool, struct bp_slot *slot, const char *p, size_t size_bytes)
{
    size_t offset = (size_t)(p - bp_slot_base(&pool->arena, slot));
    if (offset + size_bytes > bp_slot_reach_bytes(&pool->arena, slot))
        return false;
    if (pool->scrub != BP_SCRUB_OFF && bp_slot_is_tainted(slot) && size_bytes > slot->size_bytes)
        return false; /* what lies behind it could not be erased */
    struct bp_tcache *cache = bp_tcache_enter(&pool->caches);
    size_t before = bp_slot_extent(&pool->arena, slot, p, slot->size_bytes);
    size_t extent = bp_slot_extent(&pool->arena, slot, p, size_bytes);
    bp_supply_fill(pool, cache, slot, extent, true);
    size_t warm_bytes = slot->dirty_bytes;
    bool ok = bp_supply_extend(pool, cache, slot, extent) == 0;
    if (ok && size_bytes < slot->size_bytes && is_trimmed(slot, extent)) {
        size_t trimmed_bytes = bp_arena_purge(&pool->arena, slot, extent);
        bp_count(&cache->counters, BP_COUNT_realloc_trimmed_bytes, trimmed_bytes);
        ok = trimmed_bytes > 0 || !bp_slot_is_tainted(slot);
    }
    if (ok) {
        if (size_bytes < slot->size_bytes && slot->dirty_bytes - extent >= BP_MOVE_MIN_BYTES)
            bp_decay_note_slack(&pool->decay);
        bp_scrub_resized(&pool->arena, &pool->clear, pool->scrub, slot, before, extent, warm_bytes, &cache->counters);
        bp_slot_set_size(slot, size_bytes);
        bp_supply_populate_growth(pool, cache, slot, warm_bytes);
        bp_count(&cache->counters, BP_COUNT_realloc_in_place, 1);
        bp_supply_note_peak(pool, cache);
    }
    bp_tcache_leave(cache);
    return ok;
}

/* Why a block that outgrew its slot must be copied; _refused: there is no reason but the kernel's. */
static enum bp_counter reason_to_copy(struct bp_pool *pool, const struct bp_slot *slot)
{
    if (bp_slot_dirty_bytes(slot) < BP_MOVE_MIN_BYTES)
        return BP_COUNT_realloc_copied_small;
    if (bp_slot_is_tainted(slot))
        return BP_COUNT_realloc_copied_changed;
    return bp_arena_may_move(&pool->arena) ? BP_COUNT_realloc_copied_refused : BP_COUNT_realloc_copied_mappings;
}

/* A block that outgrew its slot, into one with room to grow, without copying. NULL where that cannot be. */
static void *grow_by_moving(struct bp_pool *pool, struct bp_slot *slot, size_t size_bytes)
{
    size_t class_index = bp_growth_class(&pool->growth, &pool->arena, slot->class_index, bp_class_of(size_bytes));
    size_t extent = bp_slot_extent(&pool->arena, slot, bp_slot_block(slot), size_bytes);
    size_t before = bp_slot_extent(&pool->arena, slot, bp_slot_block(slot), slot->size_bytes);
    struct bp_tcache *cache = bp_tcache_enter(&pool->caches);
    bp_supply_keep_roomy(pool, cache, extent - bp_min(extent, slot->dirty_bytes));
    size_t moved_bytes = slot->dirty_bytes;
    /* Pages that move stay on their node, so the block keeps its place. */
    unsigned place = bp_slot_place(&pool->arena, slot);
    enum bp_source source;
    struct bp_slot *target = place == bp_tcache_place(cache)
                                 ? bp_supply_take_warm(pool, cache, class_index, extent, &source)
                                 : bp_supply_take_shared(pool, cache, place, class_index, extent);
    if (!target)
        target = bp_arena_take(&pool->arena, place, class_index);
    struct bp_slot *spare = bp_arena_take(&pool->arena, place, slot->class_index);
    if (target && spare) {
        bp_arena_align_with(&pool->arena, target, slot);
        bp_arena_align_with(&pool->arena, spare, target);
    }
    /* Where there is no room to grow, a slot may begin too late for the block itself. */
    size_t held_bytes = target ? target->dirty_bytes : 0;
    bool fits = target && bp_arena_settle(&pool->arena, target, size_bytes, 1);
    size_t target_bytes = target ? target->dirty_bytes : 0;
    bp_count(&cache->counters, BP_COUNT_settled_bytes, held_bytes - target_bytes);
    size_t warm_bytes = bp_max(moved_bytes, target_bytes);
    char *block = NULL;
    if (fits && spare && spare->dirty_bytes == 0 &&
        bp_arena_settle(&pool->arena, spare, moved_bytes, 1) && /* it may get as much as the target had */
        bp_arena_relocate(&pool->arena, slot, target, spare, extent) == 0) {
        block = bp_slot_block(target);
        bp_slot_set_size(target, size_bytes);
        bp_scrub_resized(&pool->arena, &pool->clear, pool->scrub, target, before, extent, warm_bytes, &cache->counters);
        if (pool->scrub == BP_SCRUB_FREE) /* what the kernel neither moved nor took back */
            bp_scrub_range(&pool->arena, &pool->clear, slot, 0, slot->dirty_bytes, &cache->counters);
        bp_growth_moved(&pool->growth, slot, target);
        bp_supply_put_back(pool, cache, slot);
        bp_supply_populate_growth(pool, cache, target, warm_bytes);
        bp_count(&cache->counters, BP_COUNT_realloc_moved, 1);
        bp_count(&cache->counters, BP_COUNT_realloc_moved_bytes, moved_bytes);
        bp_count(&cache->counters, BP_COUNT_realloc_exchanged, target_bytes > 0);
        bp_count(&cache->counters, BP_COUNT_realloc_exchanged_bytes, bp_min(target_bytes, moved_bytes));
        bp_supply_note_peak(pool, cache);
    } else if (target) {
        bp_supply_put_back(pool, cache, target);
    }
    if (spare)
        bp_supply_put_back(pool, cache, spare);
    bp_tcache_leave(cache);
    return block;
}

static void *copy_to_another(struct bp_pool *pool, struct bp_slot *slot, const char *p, size_t size_bytes,
                             enum bp_counter reason)
{
    size_t least = bp_pool_class_for(pool, size_bytes, 1);
    /* A hardened block never grows in place: room would only be more to guard, at each free. */
    size_t class_index =
        pool->is_hardened ? least : bp_growth_class(&pool->growth, &pool->arena, slot->class_index, least);
    void *moved = bp_pool_alloc_class(pool, class_index, size_bytes, 1, false);
    if (!moved)
        return NULL;
    size_t copied_bytes = bp_min(bp_pool_usable_bytes(pool, p), size_bytes);
    memcpy(moved, p, copied_bytes);
    struct bp_tcache *cache = bp_tcache_enter(&pool->caches);
    bp_count(&cache->counters, BP_COUNT_realloc_copied, 1);
    bp_count(&cache->counters, reason, 1);
    bp_count(&cache->counters, BP_COUNT_realloc_copied_bytes, copied_bytes);
    bp_growth_moved(&pool->growth, slot, bp_arena_live_slot(&pool->arena, moved));
    bp_pool_release(pool, cache, slot);
    bp_tcache_leave(cache);
    return moved;
}

void *bp_pool_realloc(struct bp_pool *pool, void *p, size_t size_bytes)
{
    struct bp_slot *slot = bp_pool_live_slot(pool, p, "realloc");
    if (!slot)
        return NULL;
    bp_pool_check_overrun(pool, slot, "realloc");
    if (!bp_pool_serves(pool, size_bytes, 1))
        return bp_pool_refuse(pool);
    if (!pool->is_hardened && resize_in_place(pool, slot, p, size_bytes))
        return p;
    enum bp_counter reason = reason_to_copy(pool, slot);
    void *moved = reason == BP_COUNT_realloc_copied_refused ? grow_by_moving(pool, slot, size_bytes) : NULL;
    return moved ? moved : copy_to_another(pool, slot, p, size_bytes, reason);
}

void bp_pool_count_copied(struct bp_pool *pool, enum bp_counter kind, size_t bytes)
{
    struct bp_tcache *cache = bp_tcache_enter(&pool->caches);
    bp_count(&cache->counters, kind, 1);
    bp_count(&cache->counters, BP_COUNT_realloc_copied_bytes, bytes);
    bp_tcache_leave(cache);
}
