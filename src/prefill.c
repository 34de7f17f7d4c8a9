/* SPDX-License-Identifier: MIT */
#include "prefill.h"

#include <errno.h>

#include "os.h"
#include "out.h"

enum outcome { MADE, WRONG_SIZE, WRONG_NODE, FULL_CACHE, FULL_POOL, FULL_SHARDS, NO_MEMORY };

static const char *const reasons[] = {
    [WRONG_SIZE] = "not between BUFPOOL_MIN_SIZE and BUFPOOL_MAX_SIZE",
    [WRONG_NODE] = "no memory is kept apart for the node",
    [FULL_CACHE] = "BUFPOOL_CACHE_BYTES allows no more",
    [FULL_POOL] = "BUFPOOL_MAX_BYTES allows no more",
    [FULL_SHARDS] = "BUFPOOL_SHARD_BUFFERS allows no more",
    [NO_MEMORY] = "no memory for more",
};

struct filling {
    struct bp_pool *pool;
    struct bp_counters *counters;
    size_t free_bytes; /* that may still be taken from the machine */
    size_t made_at[BP_PLACES_MAX];
    size_t made_count;
    size_t made_bytes;
};

/* Linux before 5.14 leaves it to us. */
static int populate(char *start, size_t bytes)
{
    int error = bp_os.populate(start, bytes);
    if (error != -EINVAL)
        return error;
    for (volatile char *page = start; page < start + bytes; page += bp_os_page_bytes())
        *page = 0;
    return 0;
}

/* Memory for a slot that is charged as cached already. */
static enum outcome fill(struct filling *filling, struct bp_slot *slot, size_t bytes)
{
    struct bp_arena *arena = &filling->pool->arena;
    int error = bytes <= filling->free_bytes ? bp_arena_extend(arena, slot, bytes) : -ENOMEM;
    if (error != 0)
        return error == -EDQUOT ? FULL_POOL : NO_MEMORY;
    if (populate(bp_slot_base(arena, slot), bytes) == 0)
        return MADE;
    (void)bp_arena_purge(arena, slot, 0);
    return NO_MEMORY;
}

/* The places where buffers of a node are made, as bits; none: it has no place. */
static unsigned find_places(const struct bp_pool *pool, size_t node)
{
    if (node == SIZE_MAX)
        return pool->numa ? (unsigned)bp_max(bp_numa_cpu_places(pool->numa), 1) : 1;
    if (!pool->numa) {
        uint64_t nodes = bp_budget_nodes(&pool->budget);
        return node < BP_NODES_MAX && (nodes != 0 ? nodes : 1) == (uint64_t)1 << node;
    }
    unsigned place = bp_numa_node_place(pool->numa, node);
    return place != BP_PLACE_OF_CPU ? 1u << place : 0;
}

/* Of these places that with the fewest buffers that is not full; BP_PLACES_MAX: all are. */
static unsigned choose_place(const struct filling *filling, unsigned places, size_t bytes)
{
    unsigned best = BP_PLACES_MAX;
    for (unsigned left = places; left != 0; left &= left - 1) {
        unsigned place = (unsigned)__builtin_ctz(left);
        if ((best == BP_PLACES_MAX || filling->made_at[place] < filling->made_at[best]) &&
            (!filling->pool->numa || bp_numa_has_room(filling->pool->numa, place, bytes)))
            best = place;
    }
    return best;
}

static enum outcome make_buffer(struct filling *filling, unsigned places, size_t size_bytes)
{
    struct bp_pool *pool = filling->pool;
    size_t class_index = bp_class_of(size_bytes);
    unsigned place = choose_place(filling, places, size_bytes);
    if (place == BP_PLACES_MAX)
        return NO_MEMORY;
    unsigned shard = bp_shard_in(&pool->shards, place, (unsigned)filling->made_at[place]);
    if (bp_load_relaxed(&pool->shards.shards[shard].bins[class_index].count) >= pool->shards.buffers_max)
        return FULL_SHARDS;
    struct bp_slot *slot = bp_arena_take(&pool->arena, place, class_index);
    if (!slot)
        return NO_MEMORY;
    if (!bp_arena_settle(&pool->arena, slot, size_bytes, 1)) {
        bp_arena_put(&pool->arena, slot);
        return NO_MEMORY;
    }
    size_t bytes = bp_slot_extent(&pool->arena, slot, slot->home, size_bytes);
    /* A slot that could not be emptied may have more. */
    bytes = bp_max(bp_arena_whole_bytes(&pool->arena, class_index, bytes), slot->dirty_bytes);
    enum outcome outcome = FULL_CACHE;
    if (bp_budget_charge_cached(&pool->budget, bytes)) {
        outcome = fill(filling, slot, bytes);
        if (outcome != MADE)
            bp_budget_return_cached(&pool->budget, bytes);
    }
    if (outcome != MADE) {
        bp_arena_put(&pool->arena, slot);
        return outcome;
    }
    slot->next = NULL;
    struct bp_chain chain = {.head = slot, .count = 1, .bytes = bytes};
    bp_shard_push(&pool->shards, shard, class_index, chain, filling->counters);
    filling->made_at[place]++;
    filling->free_bytes -= bytes;
    filling->made_count++;
    filling->made_bytes += bytes;
    return MADE;
}

static enum outcome make_buffers(struct filling *filling, struct bp_buffers wanted)
{
    enum outcome outcome = MADE;
    unsigned places = find_places(filling->pool, wanted.node);
    if (wanted.size_bytes < filling->pool->min_size_bytes || wanted.size_bytes > filling->pool->max_size_bytes)
        return WRONG_SIZE;
    if (places == 0)
        return WRONG_NODE;
    for (size_t i = 0; i < wanted.count && outcome == MADE; i++)
        outcome = make_buffer(filling, places, wanted.size_bytes);
    return outcome;
}

void bp_prefill(struct bp_pool *pool, const char *list)
{
    struct bp_buffers wanted;
    size_t wanted_count = 0;
    const char *rest = list;
    while (bp_options_next_buffers(&rest, &wanted))
        wanted_count += wanted.count;
    if (*rest != '\0') {
        bp_warn("BUFPOOL_PREFILL=%s: not a list of sizes and numbers; accepted: a list such as 1M:64,256K:8@1; "
                "using none", list);
        return;
    }
    struct bp_tcache *cache = bp_tcache_enter(&pool->caches);
    size_t free_bytes = bp_budget_free_bytes(&pool->budget);
    struct filling filling = {
        .pool = pool, .counters = &cache->counters, .free_bytes = free_bytes - free_bytes / 8};
    enum outcome problem = MADE;
    for (rest = list; bp_options_next_buffers(&rest, &wanted);) {
        enum outcome outcome = make_buffers(&filling, wanted);
        if (problem == MADE)
            problem = outcome;
    }
    bp_count(&cache->counters, BP_COUNT_prefilled_bytes, filling.made_bytes);
    bp_tcache_leave(cache);
    if (problem != MADE)
        bp_warn("BUFPOOL_PREFILL=%s: made %zu of %zu buffers: %s", list, filling.made_count, wanted_count,
                reasons[problem]);
}
