/* SPDX-License-Identifier: MIT */
#include "audit.h"

#include <stdio.h>

/* Keeps the first problem only. */
#define CHECK(audit, condition, ...)                                                                                   \
    do {                                                                                                               \
        if (!(condition) && (audit)->problem[0] == '\0')                                                               \
            (void)snprintf((audit)->problem, sizeof(audit)->problem, __VA_ARGS__);                                     \
    } while (0)

static void check_slot(struct audit *audit, struct bp_pool *pool, const struct bp_span *span, size_t number)
{
    struct bp_slot *slot = &span->slots[number];
    size_t stride_bytes = (size_t)1 << span->stride_shift;
    char *base = span->base + (number << span->stride_shift);
    size_t late_bytes = (size_t)(bp_slot_base(&pool->arena, slot) - base);
    CHECK(audit, late_bytes <= stride_bytes / 4, "slot %zu: begins %zu late", number, late_bytes);
    CHECK(audit, late_bytes + bp_slot_reach_bytes(&pool->arena, slot) == stride_bytes, "slot %zu: reach", number);
    base += late_bytes;
    size_t colour = (size_t)(slot->home - base);
    size_t room_bytes = slot->dirty_bytes > colour ? slot->dirty_bytes - colour : 0;
    CHECK(audit, colour < BP_COLOUR_BYTES && colour % BP_COLOUR_STEP_BYTES == 0, "slot %zu: colour %zu", number,
          colour);
    CHECK(audit, slot->class_index == span->class_index, "slot %zu: class %u", number, slot->class_index);
    CHECK(audit, slot->dirty_bytes <= stride_bytes - late_bytes, "slot %zu: dirty %zu", number, slot->dirty_bytes);
    CHECK(audit, slot->dirty_bytes % pool->arena.page_bytes == 0, "slot %zu: no whole pages", number);
    if (bp_slot_is_tainted(slot) && !slot->live && slot->room_bytes == 0)
        room_bytes = 0;
    CHECK(audit, slot->room_bytes == room_bytes, "slot %zu: room %zu, not %zu", number, slot->room_bytes, room_bytes);

    struct bp_owner *owner = bp_owner_at(&pool->arena, bp_arena_offset(&pool->arena, base));
    CHECK(audit, bp_slot_of(bp_owner_records(owner), owner, base) == slot, "slot %zu: not found by its base", number);
    if (!slot->live)
        return;
    audit->live_count++;
    audit->live_bytes += slot->dirty_bytes;
    CHECK(audit, bp_slot_block(slot) >= base && bp_slot_block(slot) + slot->size_bytes <= base + slot->dirty_bytes,
          "slot %zu: a block of %zu bytes outside its memory", number, slot->size_bytes);
}

static void add_list(struct audit *audit, const struct bp_slot *slot, size_t class_index, size_t *count, size_t *bytes)
{
    for (; slot; slot = slot->next) {
        CHECK(audit, !slot->live, "a live block in a list of free ones");
        CHECK(audit, slot->class_index == class_index, "class %u in a list of class %zu", slot->class_index,
              class_index);
        ++*count;
        *bytes += slot->dirty_bytes;
    }
}

/* Adds what the cache holds; returns the bytes. */
static size_t add_cache(struct audit *audit, const struct bp_tcache *cache)
{
    size_t cache_bytes = 0;
    size_t allowance_bytes = 0;
    for (size_t i = 0; i < BP_CLASS_COUNT; i++) {
        size_t count = 0;
        size_t bytes = 0;
        const struct bp_bin *bin = &cache->bins[i];
        add_list(audit, bin->head, i, &count, &bytes);
        CHECK(audit, bin->cached_bytes == bytes, "thread cache: class %zu sums to %zu", i, bin->cached_bytes);
        CHECK(audit, bytes <= bin->allowance_bytes, "thread cache: class %zu is above its allowance", i);
        CHECK(audit, !bin->head == !bin->head_block, "thread cache: class %zu: head and its block disagree", i);
        audit->cached_count += count;
        cache_bytes += bytes;
        allowance_bytes += bin->allowance_bytes;
    }
    for (unsigned place = 0; cache->places && place < cache->caches->numa->count; place++) {
        const struct bp_tcache_place *home = &cache->places[place];
        size_t bytes = 0;
        for (const struct bp_slot *slot = home->away; slot; slot = slot->next) {
            CHECK(audit, !slot->live, "a live block on its way home");
            audit->cached_count++;
            bytes += slot->dirty_bytes;
        }
        CHECK(audit, home->away_bytes == bytes, "on the way to place %u: %zu bytes", place, bytes);
        cache_bytes += bytes;
        allowance_bytes += bytes;
    }
    CHECK(audit, cache->allowance_bytes == allowance_bytes, "thread cache: allowances are not %zu",
          cache->allowance_bytes);
    return cache_bytes;
}

static size_t add_shard(struct audit *audit, const struct bp_shard *shard)
{
    size_t shard_bytes = 0;
    for (size_t i = 0; i < BP_CLASS_COUNT; i++) {
        size_t count = 0;
        size_t bytes = 0;
        add_list(audit, shard->bins[i].hot, i, &count, &bytes);
        CHECK(audit, shard->bins[i].hot_count == count, "shard: class %zu counts %zu hot", i, shard->bins[i].hot_count);
        size_t hot_bytes = bytes;
        add_list(audit, shard->bins[i].cold, i, &count, &bytes);
        CHECK(audit, shard->bins[i].cold_bytes == bytes - hot_bytes, "shard: class %zu sums to %zu cold", i,
              shard->bins[i].cold_bytes);
        CHECK(audit, shard->bins[i].count == count, "shard: class %zu counts %zu", i, shard->bins[i].count);
        CHECK(audit, shard->bins[i].bytes == bytes, "shard: class %zu sums to %zu", i, shard->bins[i].bytes);
        audit->cached_count += count;
        shard_bytes += bytes;
    }
    return shard_bytes;
}

struct audit audit_pool(struct bp_pool *pool)
{
    struct audit audit = {0};
    size_t slot_count = 0;
    size_t dirty_bytes = 0;
    size_t tainted_count = 0;
    size_t gone_count = 0;
    size_t pinned_bytes = 0;
    for (const struct bp_span *span = pool->arena.spans; span; span = span->next) {
        CHECK(&audit, span->carved_count <= span->slot_count, "a span with too many slots");
        for (size_t i = 0; i < span->carved_count; i++) {
            check_slot(&audit, pool, span, i);
            dirty_bytes += span->slots[i].dirty_bytes;
            pinned_bytes += span->slots[i].pinned ? span->slots[i].dirty_bytes : 0;
            tainted_count += bp_slot_is_tainted(&span->slots[i]) && !span->slots[i].live;
            gone_count += span->slots[i].ceded && span->slots[i].dirty_bytes == 0;
        }
        slot_count += span->carved_count;
    }

    CHECK(&audit, pool->arena.pins.bytes == pinned_bytes, "pinned %zu, in slots %zu", pool->arena.pins.bytes,
          pinned_bytes);

    size_t charged_bytes = pool->caches.orphan.allowance_bytes;
    audit.cached_bytes = add_cache(&audit, &pool->caches.orphan);
    for (const struct bp_tcache *cache = pool->caches.list; cache; cache = cache->next) {
        audit.cached_bytes += add_cache(&audit, cache);
        charged_bytes += cache->allowance_bytes;
    }
    for (unsigned i = 0; i < pool->shards.count; i++) {
        size_t bytes = add_shard(&audit, &pool->shards.shards[i]);
        audit.cached_bytes += bytes;
        charged_bytes += bytes;
    }
    for (unsigned place = 0; place < pool->arena.place_count; place++) {
        for (size_t i = 0; i < BP_CLASS_COUNT; i++)
            add_list(&audit, pool->arena.places[place].clean[i], i, &audit.clean_count, &audit.clean_bytes);
    }

    struct bp_budget *budget = &pool->budget;
    CHECK(&audit, budget->footprint_bytes == dirty_bytes, "footprint %zu, slots %zu", budget->footprint_bytes,
          dirty_bytes);
    CHECK(&audit, budget->cached_bytes == charged_bytes, "charged as cached %zu, in shards and allowances %zu",
          budget->cached_bytes, charged_bytes);
    CHECK(&audit, charged_bytes <= budget->cached_limit_bytes, "cached %zu above the limit", charged_bytes);
    CHECK(&audit, dirty_bytes <= budget->footprint_limit_bytes, "footprint %zu above the limit", dirty_bytes);
    size_t known_count = audit.live_count + audit.cached_count + audit.clean_count;
    size_t known_bytes = audit.live_bytes + audit.cached_bytes + audit.clean_bytes;
    slot_count -= gone_count;
    audit.lost_count = slot_count - known_count;
    audit.lost_bytes = dirty_bytes - known_bytes;
    CHECK(&audit, known_count <= slot_count && audit.lost_count <= tainted_count,
          "%zu slots: %zu live, %zu cached, %zu clean", slot_count, audit.live_count, audit.cached_count,
          audit.clean_count);
    CHECK(&audit, known_bytes <= dirty_bytes && (audit.lost_count > 0 || audit.lost_bytes == 0),
          "%zu bytes: %zu live, %zu cached, %zu clean", dirty_bytes, audit.live_bytes, audit.cached_bytes,
          audit.clean_bytes);
    return audit;
}
