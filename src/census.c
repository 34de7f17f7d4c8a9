/* SPDX-License-Identifier: MIT */
/*
 * Census: what thread caches hold and did, for the report. Declared in tcache.h.
 *
 * Layer: 7.
 */
#include "tcache.h"

void bp_tcaches_visit(struct bp_tcaches *caches, void (*visit)(const struct bp_tcache *cache, void *context),
                      void *context)
{
    /*
     * Records of ended threads count nothing. Without the lock, counts on their way from such a record to `retired` may
     * be seen twice or not at all.
     */
    bool locked = bp_lock_try_briefly(&caches->lock);
    /* acquire: pairs with release in bp_tcache_make_record() */
    for (const struct bp_tcache *cache = bp_load_acquire(&caches->newest); cache; cache = cache->older)
        visit(cache, context);
    visit(&caches->retired, context);
    visit(&caches->orphan, context);
    if (locked)
        bp_lock_release(&caches->lock);
}

size_t bp_tcache_cached_bytes(const struct bp_tcache *cache)
{
    size_t sum = 0;
    for (size_t class_index = 0; class_index < BP_CLASS_COUNT; class_index++)
        sum += bp_load_relaxed(&cache->bins[class_index].cached_bytes);
    return sum + bp_tcache_away_bytes(cache);
}

static void add_cached_bytes(const struct bp_tcache *cache, void *context)
{
    size_t *sum = context;
    *sum += bp_tcache_cached_bytes(cache);
}

size_t bp_tcaches_cached_bytes(struct bp_tcaches *caches)
{
    size_t sum = 0;
    bp_tcaches_visit(caches, add_cached_bytes, &sum);
    return sum;
}

size_t bp_tcaches_thread_total(const struct bp_tcaches *caches)
{
    return bp_load_relaxed(&caches->thread_total);
}

void bp_tcache_fold_counts(struct bp_tcache *to, struct bp_tcache *from)
{
    bp_tcache_place_hits(from);
#define FOLD(field)                                                                                                    \
    do {                                                                                                               \
        bp_owner_add(&to->field, bp_load_relaxed(&from->field));                                                       \
        bp_store_relaxed(&from->field, 0);                                                                             \
    } while (0)
    for (unsigned i = 0; i < BP_CLASS_COUNT; i++) {
        FOLD(bins[i].hits);
        FOLD(bins[i].hit_bytes);
        FOLD(misses[i].shard_hits);
        FOLD(misses[i].stolen);
        FOLD(misses[i].fresh);
        from->bins[i].gives = 0;
    }
    for (unsigned i = 0; i < BP_COUNTER_COUNT; i++)
        FOLD(counters.values[i]);
    FOLD(hits_placed);
    bp_tcache_fold_places(to, from);
#undef FOLD
}
