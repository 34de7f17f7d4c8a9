/* SPDX-License-Identifier: MIT */
#include "supply.h"

#include <errno.h>

enum {
    /* Buffers whose pages are taken for one request; beyond that fresh memory is as quick. */
    DONORS_MAX = 4,
    OWN_DONOR_MIN_BYTES = 16 * 1024 * 1024,
    /* So often what live blocks leave unused is not looked for, after there was nothing. */
    SLACK_PAUSE = 15,
};

/* Live memory seen from a slow operation; what other threads have cached counts as cached up to their allowance. */
void bp_supply_note_peak(struct bp_pool *pool, const struct bp_tcache *cache)
{
    size_t allowance = bp_load_relaxed(&cache->allowance_bytes);
    size_t footprint = bp_load_relaxed(&pool->budget.footprint_bytes);
    size_t cached = bp_load_relaxed(&pool->budget.cached_bytes);
    /* Adding up the bins pays only if there can be a new peak. */
    if (footprint + allowance < cached + bp_load_relaxed(&pool->budget.peak_live_bytes))
        return;
    size_t idle_allowance = allowance - bp_tcache_cached_bytes(cache);
    if (footprint + idle_allowance > cached)
        bp_raise_relaxed(&pool->budget.peak_live_bytes, footprint + idle_allowance - cached);
}

/*
 * Less may be cached than the program has in use at times. Then fresh memory is memory that a free must give back
 * later, and what lies unused in live blocks is more than the limit is worth.
 */
static bool is_tight(const struct bp_pool *pool)
{
    return bp_load_relaxed(&pool->budget.cached_limit_bytes) < bp_load_relaxed(&pool->budget.peak_live_bytes);
}

/*
 * May the pool take `bytes` of fresh memory while it has free memory in other classes? Up to an eighth above the most
 * that the program ever used at once; up to a quarter if it has several threads, as every move of pages interrupts
 * those that run (in `mixed` that is a fifth less time for 2 to 4 % more memory; with one thread it is no time, for 9 %
 * more).
 */
static bool may_grow(const struct bp_pool *pool, size_t bytes)
{
    if (is_tight(pool))
        return bp_load_relaxed(&pool->budget.cached_bytes) < bytes;
    size_t peak_live = bp_load_relaxed(&pool->budget.peak_live_bytes);
    size_t more = bp_load_relaxed(&pool->caches.thread_count) > 1 ? peak_live / 4 : peak_live / 8;
    return bp_load_relaxed(&pool->budget.footprint_bytes) + bytes <= peak_live + more;
}

/*
 * A free slot whose attributes the program had changed, to the arena as clean. If that cannot be, it is given up:
 * better lost than handed out as something that memory from malloc is not.
 */
BP_COLD void bp_supply_renew(struct bp_pool *pool, struct bp_tcache *cache, struct bp_slot *slot)
{
    if (bp_arena_renew(&pool->arena, slot)) {
        bp_count(&cache->counters, BP_COUNT_renewed, 1);
        bp_arena_put(&pool->arena, slot);
    } else {
        bp_count(&cache->counters, BP_COUNT_lost, 1);
    }
}

/* A free slot goes back to where slots of its kind wait. */
void bp_supply_put_back(struct bp_pool *pool, struct bp_tcache *cache, struct bp_slot *slot)
{
    if (BP_UNLIKELY(slot->ceded))
        (void)bp_arena_purge(&pool->arena, slot, 0);
    else if (BP_UNLIKELY(slot->torn))
        bp_count(&cache->counters, BP_COUNT_lost, 1);
    else if (slot->dirty_bytes == 0)
        bp_arena_put(&pool->arena, slot);
    else
        bp_tcache_give(cache, slot);
}

/* A free buffer of the class from the thread's cache or a shard. */
struct bp_slot *bp_supply_take_warm(struct bp_pool *pool, struct bp_tcache *cache, size_t class_index,
                                    size_t dirty_bytes, enum bp_source *ret_source)
{
    for (;;) {
        bool stolen = false;
        *ret_source = BP_SOURCE_THREAD_CACHE;
        struct bp_slot *slot = bp_tcache_take(cache, class_index, dirty_bytes);
        if (!slot) {
            slot = bp_tcache_refill(cache, class_index, dirty_bytes, &stolen);
            *ret_source = stolen ? BP_SOURCE_STOLEN : BP_SOURCE_SHARD;
        }
        if (!slot || BP_LIKELY(!bp_slot_is_tainted(slot)))
            return slot;
        bp_supply_renew(pool, cache, slot); /* it was free when the program touched it */
    }
}

/*
 * A free buffer that another request left warm, from this class or, to spare memory, from larger ones. One that lacks
 * so much that pages would be moved to it is taken only if no larger class has one that is enough, and not twice too
 * large: `mixed` moves pages a third less often so, and holds no more.
 */
static struct bp_slot *take_recycled(struct bp_pool *pool, struct bp_tcache *cache, size_t class_index,
                                     size_t dirty_bytes, enum bp_source *ret_source)
{
    size_t last = bp_min(class_index + (may_grow(pool, dirty_bytes) ? 1 : 3), BP_CLASS_COUNT - 1);
    struct bp_slot *best = NULL;
    for (size_t from = class_index; from <= last; from++) {
        enum bp_source source;
        struct bp_slot *slot = bp_supply_take_warm(pool, cache, from, dirty_bytes, &source);
        if (!slot)
            continue;
        bool too_small = best && slot->dirty_bytes < dirty_bytes;
        bool too_large = (best || is_tight(pool)) && slot->dirty_bytes / 2 > dirty_bytes;
        if (too_small || too_large) {
            bp_supply_put_back(pool, cache, slot);
            continue;
        }
        if (best)
            bp_supply_put_back(pool, cache, best);
        best = slot;
        *ret_source = source;
        if (best->dirty_bytes + BP_MOVE_MIN_BYTES > dirty_bytes)
            break;
    }
    bp_count(&cache->counters, BP_COUNT_borrowed, best && best->class_index != class_index);
    return best;
}

/* Gives free memory of shards back, to make room. */
static size_t evict(struct bp_pool *pool, struct bp_tcache *cache, size_t bytes)
{
    size_t evicted_bytes = bp_shards_purge(&pool->shards, bp_tcache_place(cache), bytes, &cache->counters);
    bp_count(&cache->counters, BP_COUNT_evicted_bytes, evicted_bytes);
    return evicted_bytes;
}

/* What thread caches hold, of this thread and of others, to the shards. */
static void flush_all(struct bp_pool *pool, struct bp_tcache *cache)
{
    bp_tcache_flush(cache);
    if (cache != &pool->caches.orphan)
        (void)bp_tcaches_drain(&pool->caches, false, &cache->counters);
}

/* A free slot of the class; memory of others is given back when the kernel has no more. */
static struct bp_slot *take_fresh(struct bp_pool *pool, struct bp_tcache *cache, size_t class_index)
{
    unsigned place = bp_tcache_place(cache);
    struct bp_slot *slot = bp_arena_take(&pool->arena, place, class_index);
    if (!slot && evict(pool, cache, SIZE_MAX) > 0)
        slot = bp_arena_take(&pool->arena, place, class_index);
    return slot;
}

/*
 * What live blocks leave unused of their slots. Nobody can change blocks for that moment, so it comes last, and after
 * it found nothing not at once again.
 */
static void take_slack(struct bp_pool *pool, struct bp_tcache *cache)
{
    if (cache == &pool->caches.orphan || bp_take_one_relaxed(&pool->slack_pause))
        return;
    if (bp_tcaches_trim_live(&pool->caches, &cache->counters) == 0)
        bp_store_relaxed(&pool->slack_pause, SLACK_PAUSE);
}

/* Gives so many bytes back, if there are as many that can be spared. */
static void make_room(struct bp_pool *pool, struct bp_tcache *cache, size_t bytes)
{
    size_t evicted_bytes = 0;
    if (bp_load_relaxed(&pool->budget.cached_bytes) > 0)
        evicted_bytes = evict(pool, cache, bytes);
    if (evicted_bytes < bytes && bp_load_relaxed(&pool->budget.cached_bytes) > 0) {
        flush_all(pool, cache);
        evicted_bytes += evict(pool, cache, bytes - evicted_bytes);
    }
    if (evicted_bytes < bytes)
        take_slack(pool, cache);
}

void bp_supply_keep_roomy(struct bp_pool *pool, struct bp_tcache *cache, size_t bytes)
{
    const struct bp_budget *budget = &pool->budget;
    size_t footprint_bytes = bp_load_relaxed(&budget->footprint_bytes) + bytes;
    size_t most_bytes = bp_min(bp_load_relaxed(&budget->roomy_bytes), bp_load_relaxed(&budget->footprint_limit_bytes));
    if (BP_UNLIKELY(footprint_bytes > most_bytes))
        make_room(pool, cache, bp_min(footprint_bytes - most_bytes, bytes));
}

/* As bp_arena_extend(), after making room once. */
int bp_supply_extend(struct bp_pool *pool, struct bp_tcache *cache, struct bp_slot *slot, size_t dirty_bytes)
{
    if (dirty_bytes > slot->dirty_bytes)
        dirty_bytes = bp_arena_whole_bytes(&pool->arena, slot->class_index, dirty_bytes);
    if (dirty_bytes > slot->dirty_bytes)
        bp_supply_keep_roomy(pool, cache, dirty_bytes - slot->dirty_bytes);
    int error = bp_arena_extend(&pool->arena, slot, dirty_bytes);
    if (error == 0 || slot->torn)
        return error;
    make_room(pool, cache, error == -EDQUOT ? dirty_bytes - slot->dirty_bytes : SIZE_MAX);
    return bp_arena_extend(&pool->arena, slot, dirty_bytes);
}

/*
 * What this thread keeps of a place and class and would give for a request that lacks `wanted` bytes: only what is
 * large, as it may need the rest again soon. A vector that doubles leaves buffers behind that it never needs again.
 */
static size_t own_surplus(const struct bp_tcache *cache, unsigned place, size_t class_index, size_t wanted)
{
    if (place != bp_tcache_place(cache))
        return 0;
    size_t bytes = bp_load_relaxed(&cache->bins[class_index].cached_bytes);
    return bp_min(bytes, wanted) >= OWN_DONOR_MIN_BYTES ? bytes : 0;
}

/* The class with the most free memory in the shards of a place and in the thread's cache, or BP_CLASS_COUNT. */
static size_t class_with_surplus(const struct bp_shards *shards, const struct bp_tcache *cache, unsigned place,
                                 size_t wanted)
{
    size_t best = BP_CLASS_COUNT;
    size_t best_bytes = BP_MOVE_MIN_BYTES;
    for (size_t class_index = 0; class_index < BP_CLASS_COUNT; class_index++) {
        size_t bytes = own_surplus(cache, place, class_index, wanted);
        for (unsigned i = 0; i < shards->per_place; i++)
            bytes += bp_load_relaxed(&shards->shards[bp_shard_in(shards, place, i)].bins[class_index].bytes);
        if (bytes > best_bytes) {
            best = class_index;
            best_bytes = bytes;
        }
    }
    return best;
}

struct bp_slot *bp_supply_take_shared(struct bp_pool *pool, struct bp_tcache *cache, unsigned place,
                                      size_t class_index, size_t wanted)
{
    for (unsigned i = 0; i < pool->shards.per_place; i++) {
        unsigned shard = bp_shard_in(&pool->shards, place, i);
        struct bp_chain chain = bp_shard_pop(&pool->shards, shard, class_index, wanted, 1, 0, &cache->counters);
        if (chain.head && BP_UNLIKELY(bp_slot_is_tainted(chain.head)))
            bp_supply_renew(pool, cache, chain.head);
        else if (chain.head)
            return chain.head;
    }
    return NULL;
}

/* A free buffer of the place and class from any shard, or of the thread's own. */
static struct bp_slot *take_donor(struct bp_pool *pool, struct bp_tcache *cache, unsigned place, size_t class_index,
                                  size_t wanted)
{
    struct bp_slot *donor = bp_supply_take_shared(pool, cache, place, class_index, wanted);
    while (!donor && own_surplus(cache, place, class_index, wanted) > 0) {
        donor = bp_tcache_take(cache, class_index, wanted);
        if (!donor || BP_LIKELY(!bp_slot_is_tainted(donor)))
            break;
        bp_supply_renew(pool, cache, donor);
        donor = NULL;
    }
    return donor;
}

/*
 * Pages that the slot lacks are taken from buffers that lie free in other classes: no memory is cleared, and what the
 * pool holds does not grow. Whatever cannot be had so is left to bp_arena_extend().
 */
static void fill_from_surplus(struct bp_pool *pool, struct bp_tcache *cache, struct bp_slot *slot, size_t dirty_bytes)
{
    unsigned place = bp_slot_place(&pool->arena, slot);
    for (unsigned donors = 0; donors < DONORS_MAX; donors++) {
        if (slot->dirty_bytes + BP_MOVE_MIN_BYTES > dirty_bytes || !bp_arena_may_move(&pool->arena))
            return;
        size_t wanted = dirty_bytes - slot->dirty_bytes;
        size_t class_index = class_with_surplus(&pool->shards, cache, place, wanted);
        if (class_index == BP_CLASS_COUNT && is_tight(pool) && bp_tcache_cached_bytes(cache) >= BP_MOVE_MIN_BYTES) {
            bp_tcache_flush(cache);
            class_index = class_with_surplus(&pool->shards, cache, place, wanted);
        }
        if (class_index == BP_CLASS_COUNT)
            return;
        struct bp_slot *donor = take_donor(pool, cache, place, class_index, wanted);
        if (!donor)
            return;
        size_t bytes = bp_min(wanted, donor->dirty_bytes);
        int error = bp_arena_move(&pool->arena, donor, slot, bytes);
        bp_supply_put_back(pool, cache, donor);
        if (error != 0) {
            bp_count(&cache->counters, BP_COUNT_exchange_refused, 1);
            return;
        }
        bp_count(&cache->counters, BP_COUNT_exchanged, 1);
        bp_count(&cache->counters, BP_COUNT_exchanged_bytes, bytes);
    }
}

void bp_supply_fill(struct bp_pool *pool, struct bp_tcache *cache, struct bp_slot *slot, size_t dirty_bytes,
                    bool has_room)
{
    if (dirty_bytes >= slot->dirty_bytes + BP_MOVE_MIN_BYTES && !bp_slot_is_tainted(slot) &&
        (!has_room || !may_grow(pool, dirty_bytes - slot->dirty_bytes)))
        fill_from_surplus(pool, cache, slot, dirty_bytes);
}

static void count_request(struct bp_tcache *cache, size_t class_index, enum bp_source source, size_t size_bytes)
{
    _Atomic(size_t) *counts[] = {
        [BP_SOURCE_THREAD_CACHE] = &cache->bins[class_index].hits,
        [BP_SOURCE_SHARD] = &cache->misses[class_index].shard_hits,
        [BP_SOURCE_STOLEN] = &cache->misses[class_index].stolen,
        [BP_SOURCE_FRESH] = &cache->misses[class_index].fresh,
    };
    bp_owner_add(counts[source], 1u);
    if (source != BP_SOURCE_FRESH)
        bp_owner_add(&cache->bins[class_index].hit_bytes, size_bytes);
}

/* The same for the thread's place; hits of its own cache are counted later, all together. */
static void count_at_place(struct bp_tcache *cache, bool is_local, enum bp_source source, bool has_room)
{
    if (!cache->places)
        return;
    struct bp_tcache_place *here = &cache->places[bp_tcache_place(cache)];
    if (source == BP_SOURCE_SHARD || source == BP_SOURCE_STOLEN)
        bp_owner_add(is_local ? &here->local_hits : &here->remote_hits, 1u);
    bp_owner_add(&here->stolen, source == BP_SOURCE_STOLEN);
    bp_owner_add(&here->fresh, source == BP_SOURCE_FRESH);
    bp_owner_add(&here->fallbacks, source == BP_SOURCE_FRESH && !has_room);
}

/* A buffer of another place. */
static struct bp_slot *steal(struct bp_pool *pool, struct bp_tcache *cache, size_t class_index, size_t dirty_bytes)
{
    for (;;) {
        struct bp_slot *slot = bp_tcache_steal(cache, class_index, dirty_bytes);
        if (!slot || BP_LIKELY(!bp_slot_is_tainted(slot)))
            return slot;
        bp_supply_renew(pool, cache, slot);
    }
}

/* Can pages of buffers that lie free at the thread's place be moved to a slot that lacks so many bytes? */
static bool has_surplus(struct bp_pool *pool, const struct bp_tcache *cache, size_t bytes)
{
    return bytes >= BP_MOVE_MIN_BYTES && bp_arena_may_move(&pool->arena) &&
           class_with_surplus(&pool->shards, cache, bp_tcache_place(cache), bytes) != BP_CLASS_COUNT;
}

/*
 * A slot of the class for memory that is not there yet. Where that would come from another node, as this one is full,
 * pages of this one that lie free in other classes are the best, and then a buffer of another node that is warm.
 */
static struct bp_slot *take_missed(struct bp_pool *pool, struct bp_tcache *cache, size_t class_index,
                                   size_t dirty_bytes, enum bp_source *ret_source, bool *ret_has_room)
{
    *ret_has_room = !cache->places || bp_numa_has_room(pool->numa, bp_tcache_place(cache), dirty_bytes);
    *ret_source = BP_SOURCE_STOLEN;
    bool is_stolen = !*ret_has_room && !has_surplus(pool, cache, dirty_bytes);
    struct bp_slot *slot = is_stolen ? steal(pool, cache, class_index, dirty_bytes) : NULL;
    if (slot)
        return slot;
    *ret_source = BP_SOURCE_FRESH;
    bp_evict_missed(&pool->shards.evict, class_index, dirty_bytes,
                    bp_load_relaxed(&pool->budget.cached_limit_bytes));
    return take_fresh(pool, cache, class_index);
}

/* Counts the request under its source, or under the reason why it must be forwarded. */
struct bp_taken bp_supply_take(struct bp_pool *pool, struct bp_tcache *cache, size_t class_index, size_t size_bytes,
                               size_t align_bytes)
{
    /* What the request needs at most: the colour is not known before the slot is. */
    size_t dirty_bytes = bp_align_up(size_bytes + BP_COLOUR_BYTES - BP_COLOUR_STEP_BYTES, pool->arena.page_bytes);
    enum bp_source source;
    struct bp_slot *slot = take_recycled(pool, cache, class_index, dirty_bytes, &source);
    bool has_room = true;
    if (!slot)
        slot = take_missed(pool, cache, class_index, dirty_bytes, &source, &has_room);
    if (slot) {
        size_t held_bytes = slot->dirty_bytes;
        bool fits = bp_arena_settle(&pool->arena, slot, size_bytes, align_bytes);
        bp_count(&cache->counters, BP_COUNT_settled_bytes, held_bytes - slot->dirty_bytes);
        if (!fits) {
            bp_supply_put_back(pool, cache, slot);
            slot = NULL;
        }
    }
    if (!slot) {
        bp_count(&cache->counters, BP_COUNT_no_memory, 1);
        return (struct bp_taken){0};
    }

    /* The slot starts at a multiple of the alignment; the part of the colour that would spoil it is left out. */
    char *p = slot->home - ((uintptr_t)slot->home & (BP_COLOUR_BYTES - 1) & (align_bytes - 1));
    if (BP_UNLIKELY(pool->is_hardened))
        p = bp_harden_place(&pool->arena, slot, size_bytes, align_bytes);
    size_t extent = bp_slot_extent(&pool->arena, slot, p, size_bytes);
    bp_supply_fill(pool, cache, slot, extent, has_room);
    size_t warm_bytes = slot->dirty_bytes;
    int error = bp_supply_extend(pool, cache, slot, extent);
    if (error != 0) {
        bp_count(&cache->counters, error == -EDQUOT ? BP_COUNT_over_budget : BP_COUNT_no_memory, 1);
        bp_supply_put_back(pool, cache, slot);
        return (struct bp_taken){0};
    }
    bp_slot_set_block(slot, p, size_bytes);
    if (BP_UNLIKELY(pool->is_hardened))
        bp_harden_seal(&pool->arena, slot);
    size_t offset = (size_t)(p - bp_slot_base(&pool->arena, slot));
    bool is_zero = warm_bytes <= offset || pool->scrub == BP_SCRUB_FREE;

    count_request(cache, class_index, source, size_bytes);
    count_at_place(cache, bp_slot_place(&pool->arena, slot) == bp_tcache_place(cache), source,
                   has_room || warm_bytes >= extent);
    if (source != BP_SOURCE_FRESH)
        bp_count(&cache->counters, BP_COUNT_grown_bytes, slot->dirty_bytes - warm_bytes);
    bp_supply_note_peak(pool, cache);
    bp_outgrow_note(&pool->outgrow, &pool->arena, slot, slot->dirty_bytes - warm_bytes);
    return (struct bp_taken){
        .slot = slot,
        .dirty_bytes = is_zero ? 0 : bp_min(warm_bytes, extent) - offset,
        .is_fresh = warm_bytes == 0,
    };
}

/* A block grew from `before_bytes` of pages to what its slot has now. */
void bp_supply_populate_growth(struct bp_pool *pool, struct bp_tcache *cache, const struct bp_slot *slot,
                               size_t before_bytes)
{
    if (slot->dirty_bytes > before_bytes)
        bp_count(&cache->counters, BP_COUNT_populated_bytes,
                 bp_populate_growth(&pool->populate, &pool->arena, slot, before_bytes));
}

size_t bp_pool_trim(struct bp_pool *pool)
{
    struct bp_tcache *cache = bp_tcache_enter(&pool->caches);
    flush_all(pool, cache);
    size_t trimmed_bytes = bp_shards_purge(&pool->shards, 0, SIZE_MAX, &cache->counters);
    bp_count(&cache->counters, BP_COUNT_trimmed_bytes, trimmed_bytes);
    if (cache != &pool->caches.orphan)
        trimmed_bytes += bp_tcaches_trim_live(&pool->caches, &cache->counters);
    bp_tcache_leave(cache);
    return trimmed_bytes;
}
