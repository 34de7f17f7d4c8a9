/* SPDX-License-Identifier: MIT */
/*
 * Places: what thread caches do where memory comes from several places (numa.h). Declared in tcache.h.
 *
 * Why:   a thread must get memory of the node it runs on, and a buffer must go back to the node it came from, whoever
 *        frees it.
 * How:   the bins of a cache hold buffers of one place, so that a hit is local without a test. A slow operation looks
 *        where its thread runs; when that has changed, the cache is given to the shards of its place and starts anew at
 *        the other one. A thread that has nothing but hits is found by the sweep, which drains its cache. Buffers of
 *        other places wait in the cache for a few more of their kind, and go to their own shards together.
 * Layer: 7.
 */
#include "os.h"
#include "tcache.h"

enum {
    /* So many buffers, or bytes, go home at once. */
    AWAY_MAX_COUNT = 8,
    AWAY_MAX_BYTES = 1024 * 1024,
    /* One in so many buffers that come from a shard is looked at, by so many of its pages. */
    CHECK_INTERVAL = 16,
    CHECK_PAGES = 8,
    /* Moving is as dear as clearing and faulting anew; beyond this it would hold up one request for too long. */
    MIGRATE_MAX_BYTES = 4 * 1024 * 1024,
};

static size_t rows_bytes(const struct bp_tcaches *caches)
{
    /* Keys differ from each other in the bits of two places: a power of two. One is nowhere. */
    return caches->numa ? (((size_t)1 << bp_ceil_log2(caches->numa->count + 1)) - 1) * BP_ROW_BYTES : 0;
}

bool bp_tcache_add_places(struct bp_tcache *cache)
{
    const struct bp_numa *numa = cache->caches->numa;
    if (numa)
        cache->places = bp_meta_alloc(cache->caches->meta, (numa->count + 1) * sizeof *cache->places);
    return !numa || cache->places;
}

/*
 * Bins lie in the second half of a page, as tables of slots begin where a page does: at the same place in their pages a
 * load of one is taken for a load of what was just stored to the other (a pair took 9.1 ns, not 8.0).
 */
struct bp_tcache *bp_tcache_make_record(struct bp_tcaches *caches)
{
    const size_t alias_bytes = 4096; /* the processor's, whatever the kernel's page is */
    size_t bytes = sizeof(struct bp_tcache) + rows_bytes(caches);
    char *room = bp_meta_alloc(caches->meta, bytes + alias_bytes + alias_bytes / 2);
    if (!room)
        return NULL;
    size_t before = bp_align_up((uintptr_t)room, alias_bytes) - (uintptr_t)room + alias_bytes / 2;
    struct bp_tcache *cache = (struct bp_tcache *)(void *)(room + before);
    cache->caches = caches;
    if (!bp_tcache_add_places(cache))
        return NULL;
    cache->older = bp_load_relaxed(&caches->newest);
    bp_store_release(&caches->newest, cache); /* pairs with acquire in bp_tcaches_visit() */
    return cache;
}

static unsigned place_of(const struct bp_tcache *cache, const struct bp_slot *slot)
{
    return bp_slot_place(cache->caches->shards->arena, slot);
}

/* --- following ---------------------------------------------------------------------------------------------------- */

/* Where the calling thread should get its memory. */
static unsigned wanted_place(struct bp_tcache *cache)
{
    struct bp_numa *numa = cache->caches->numa;
    size_t epoch = bp_load_relaxed(&numa->epoch);
    if (cache->epoch != epoch || !cache->thread) { /* the orphan cache has many threads */
        if (cache->epoch == SIZE_MAX || !cache->thread)
            bp_store_relaxed(&cache->choice, BP_PLACE_OF_CPU);
        cache->epoch = epoch;
        bp_store_relaxed(&cache->choice, bp_numa_choose(numa, bp_load_relaxed(&cache->choice)));
    }
    unsigned choice = bp_load_relaxed(&cache->choice);
    if (choice != BP_PLACE_OF_CPU)
        return choice;
    unsigned place = bp_numa_cpu_place(numa, bp_os.cpu(&bp_thread, &bp_thread));
    return place == BP_PLACE_OF_CPU ? bp_tcache_place(cache) : place;
}

void bp_tcache_follow_slow(struct bp_tcache *cache)
{
    unsigned place = wanted_place(cache);
    if (BP_LIKELY(place == bp_tcache_place(cache)))
        return;
    bp_tcache_place_hits(cache);
    bp_tcache_flush(cache);
    bp_count(&cache->counters, BP_COUNT_followed, 1);
    bp_store_relaxed(&cache->place, place);
    cache->shard = place < cache->caches->numa->count ? bp_shard_in(cache->caches->shards, place, cache->shard) : 0;
    if (cache->thread)
        cache->thread->place_keys[cache->caches->id] = bp_key_of(place, 0);
}

bool bp_tcache_is_astray(const struct bp_tcache *cache)
{
    const struct bp_numa *numa = cache->caches->numa;
    if (!numa || bp_load_relaxed(&cache->choice) != BP_PLACE_OF_CPU)
        return false;
    unsigned place = bp_numa_cpu_place(numa, bp_os.cpu(cache->thread, &bp_thread));
    return place != BP_PLACE_OF_CPU && place != bp_tcache_place(cache);
}

/* --- going home --------------------------------------------------------------------------------------------------- */

/* Buffers of one place to its shards, those of a class together. They are charged. */
static void push_home(struct bp_tcache *cache, unsigned place, struct bp_slot *list, bool hot,
                      struct bp_chain *ret_rest, struct bp_counters *counters)
{
    struct bp_shards *shards = cache->caches->shards;
    while (list) {
        size_t class_index = list->class_index;
        struct bp_chain chain = {0};
        struct bp_slot **tail = &chain.head;
        for (struct bp_slot **link = &list; *link;) {
            struct bp_slot *slot = *link;
            if (slot->class_index != class_index) {
                link = &slot->next;
                continue;
            }
            *link = slot->next;
            *tail = slot;
            tail = &slot->next;
            chain.count++;
            chain.bytes += slot->dirty_bytes;
        }
        *tail = NULL;
        bp_count(counters, BP_COUNT_flushes, 1);
        bp_count(counters, BP_COUNT_sent_home, chain.count);
        unsigned shard = bp_shard_in(shards, place, cache->shard);
        bp_shard_offer(shards, shard, class_index, chain, hot, ret_rest, counters);
    }
}

static void send_all_to(struct bp_tcache *cache, unsigned place, bool hot, struct bp_chain *ret_rest,
                        struct bp_counters *counters)
{
    struct bp_tcache_place *home = &cache->places[place];
    struct bp_slot *list = home->away;
    if (!list)
        return;
    home->away = NULL;
    home->away_count = 0;
    bp_owner_sub(&cache->allowance_bytes, bp_load_relaxed(&home->away_bytes));
    bp_store_relaxed(&home->away_bytes, 0);
    push_home(cache, place, list, hot, ret_rest, counters);
}

void bp_tcache_send_all_home(struct bp_tcache *cache, bool hot, struct bp_chain *ret_rest,
                             struct bp_counters *counters)
{
    for (unsigned i = 0; cache->places && i < cache->caches->numa->count; i++)
        send_all_to(cache, i, hot, ret_rest, counters);
}

void bp_tcache_send_home(struct bp_tcache *cache, struct bp_slot *slot)
{
    struct bp_tcache_place *home = &cache->places[place_of(cache, slot)];
    size_t bytes = slot->dirty_bytes;
    if (!bp_tcache_charge(cache, slot->class_index, bytes)) {
        slot->next = NULL;
        struct bp_chain chain = {.head = slot, .count = 1, .bytes = bytes};
        bp_count(&cache->counters, BP_COUNT_drops, 1);
        bp_count(&cache->counters, BP_COUNT_dropped_bytes, bp_shards_drop(cache->caches->shards, chain));
        return;
    }
    bp_owner_add(&cache->allowance_bytes, bytes);
    bp_owner_add(&home->away_bytes, bytes);
    home->away_count++;
    slot->next = home->away;
    atomic_signal_fence(memory_order_seq_cst); /* a forked child walks this list: link before head */
    home->away = slot;
    if (home->away_count >= AWAY_MAX_COUNT || bp_load_relaxed(&home->away_bytes) >= AWAY_MAX_BYTES) {
        struct bp_chain rest = {0};
        send_all_to(cache, place_of(cache, slot), true, &rest, &cache->counters);
        bp_count(&cache->counters, BP_COUNT_dropped_bytes, bp_shards_drop(cache->caches->shards, rest));
    }
}

size_t bp_tcache_away_bytes_to(const struct bp_tcache *cache, unsigned place)
{
    return cache->places ? bp_load_relaxed(&cache->places[place].away_bytes) : 0;
}

size_t bp_tcache_away_bytes(const struct bp_tcache *cache)
{
    size_t bytes = 0;
    for (unsigned i = 0; cache->places && i < cache->caches->numa->count; i++)
        bytes += bp_tcache_away_bytes_to(cache, i);
    return bytes;
}

size_t bp_tcache_recount_away(struct bp_tcache *cache)
{
    for (unsigned i = 0; cache->places && i < cache->caches->numa->count; i++) {
        struct bp_tcache_place *home = &cache->places[i];
        size_t bytes = 0;
        home->away_count = 0;
        for (struct bp_slot *slot = home->away; slot; slot = slot->next) {
            bp_slot_clear_block(slot);
            bytes += slot->dirty_bytes;
            home->away_count++;
        }
        bp_store_relaxed(&home->away_bytes, bytes);
    }
    return bp_tcache_away_bytes(cache);
}

struct bp_slot *bp_tcache_steal(struct bp_tcache *cache, size_t class_index, size_t dirty_bytes)
{
    struct bp_shards *shards = cache->caches->shards;
    if (!cache->places)
        return NULL;
    const struct bp_place *from = &cache->caches->numa->places[bp_tcache_place(cache)];
    for (unsigned i = 0; i < from->nearest_count; i++) {
        for (unsigned step = 0; step < shards->per_place; step++) {
            unsigned shard = bp_shard_in(shards, from->nearest[i], cache->shard + step);
            struct bp_chain chain = bp_shard_pop(shards, shard, class_index, dirty_bytes, 1, 0, &cache->counters);
            if (chain.head)
                return chain.head;
        }
    }
    return NULL;
}

/* --- where pages are ---------------------------------------------------------------------------------------------- */

void bp_tcache_check_place(struct bp_tcache *cache, struct bp_slot *slot)
{
    struct bp_tcaches *caches = cache->caches;
    if (BP_LIKELY(!cache->places || ++cache->checks % CHECK_INTERVAL != 0 || slot->dirty_bytes == 0))
        return;
    const struct bp_place *place = &caches->numa->places[place_of(cache, slot)];
    if (place->node == BP_NO_NODE || bp_slot_is_tainted(slot))
        return;
    struct bp_arena *arena = caches->shards->arena;
    char *base = bp_slot_base(arena, slot);
    size_t slot_pages = slot->dirty_bytes / arena->page_bytes;
    void *pages[CHECK_PAGES];
    int nodes[CHECK_PAGES];
    size_t count = bp_min(slot_pages, CHECK_PAGES);
    for (size_t i = 0; i < count; i++)
        pages[i] = base + i * slot_pages / count * arena->page_bytes;
    if (bp_os.locate(pages, count, nodes) != 0)
        return;
    size_t found = 0;
    size_t misplaced = 0;
    for (size_t i = 0; i < count; i++) {
        found += nodes[i] >= 0;
        misplaced += nodes[i] >= 0 && (unsigned)nodes[i] != place->node;
    }
    bp_count(&cache->counters, BP_COUNT_checked_pages, found);
    bp_count(&cache->counters, BP_COUNT_misplaced_pages, misplaced);
    /* On a full node they would not find room now either. */
    if (2 * misplaced <= found || bp_load_relaxed(&place->is_full))
        return;
    if (slot->dirty_bytes > MIGRATE_MAX_BYTES)
        bp_count(&cache->counters, BP_COUNT_misplaced_dropped_bytes, bp_arena_purge(arena, slot, 0));
    else if (bp_numa_bind(caches->numa, place_of(cache, slot), base, slot->dirty_bytes, true) == 0)
        bp_count(&cache->counters, BP_COUNT_migrated_bytes, slot->dirty_bytes);
}

/* --- counts ------------------------------------------------------------------------------------------------------- */

size_t bp_tcache_unplaced_hits(const struct bp_tcache *cache)
{
    size_t hits = 0;
    for (size_t class_index = 0; class_index < BP_CLASS_COUNT; class_index++)
        hits += bp_load_relaxed(&cache->bins[class_index].hits);
    return hits - bp_load_relaxed(&cache->hits_placed);
}

void bp_tcache_place_hits(struct bp_tcache *cache)
{
    if (!cache->places)
        return;
    size_t hits = bp_tcache_unplaced_hits(cache);
    bp_owner_add(&cache->places[bp_tcache_place(cache)].local_hits, hits);
    bp_owner_add(&cache->hits_placed, hits);
}

void bp_tcache_fold_places(struct bp_tcache *to, struct bp_tcache *from)
{
#define FOLD(field)                                                                                                    \
    do {                                                                                                               \
        if (to->places)                                                                                                \
            bp_owner_add(&to->places[i].field, bp_load_relaxed(&from->places[i].field));                               \
        bp_store_relaxed(&from->places[i].field, 0);                                                                   \
    } while (0)
    for (unsigned i = 0; from->places && i <= from->caches->numa->count; i++) {
        FOLD(local_hits);
        FOLD(remote_hits);
        FOLD(stolen);
        FOLD(fresh);
        FOLD(fallbacks);
    }
#undef FOLD
}
