/* SPDX-License-Identifier: MIT */
#include "shard.h"

#include <errno.h>

enum { SCAN_MAX = 16 };

int bp_shards_init(struct bp_shards *shards, unsigned count, size_t buffers_max, struct bp_arena *arena,
                   struct bp_budget *budget, struct bp_meta *meta)
{
    *shards = (struct bp_shards){.count = count, .buffers_max = buffers_max, .arena = arena, .budget = budget};
    shards->shards = bp_meta_alloc(meta, count * sizeof *shards->shards);
    if (!shards->shards)
        return -ENOMEM;
    for (unsigned i = 0; i < count; i++)
        bp_lock_init(&shards->shards[i].lock, BP_RANK_SHARD);
    return 0;
}

struct bp_slot **bp_best_fit(struct bp_slot **head, size_t dirty_bytes)
{
    struct bp_slot **best = NULL;
    size_t best_bytes = 0;
    unsigned scanned = 0;
    for (struct bp_slot **link = head; *link && scanned < SCAN_MAX; link = &(*link)->next, scanned++) {
        size_t bytes = (*link)->dirty_bytes;
        bool enough = bytes >= dirty_bytes;
        bool best_enough = best_bytes >= dirty_bytes;
        if (!best || (enough && !best_enough) || (enough == best_enough && (bytes < best_bytes) == enough &&
                                                  bytes != best_bytes)) {
            best = link;
            best_bytes = bytes;
        }
    }
    return best;
}

/* Checks the equation of the bin. */
BP_FOR_ASSERTIONS static bool bin_adds_up(const struct bp_shard *shard, size_t class_index)
{
    size_t count = 0;
    size_t bytes = 0;
    for (const struct bp_slot *slot = shard->bins[class_index].head; slot; slot = slot->next) {
        BP_ASSERT(slot->live == NULL && slot->class_index == class_index);
        count++;
        bytes += slot->dirty_bytes;
    }
    return count == bp_load_relaxed(&shard->bins[class_index].count) &&
           bytes == bp_load_relaxed(&shard->bins[class_index].bytes);
}

struct bp_chain bp_shard_pop(struct bp_shards *shards, unsigned shard_index, size_t class_index, size_t dirty_bytes,
                             size_t count, size_t bytes_max, struct bp_counters *counters)
{
    struct bp_shard *shard = &shards->shards[shard_index];
    struct bp_chain chain = {0};
    /* Relaxed: a buffer that arrives this instant may be missed. */
    if (bp_load_relaxed(&shard->bins[class_index].count) == 0)
        return chain;

    if (bp_lock_acquire(&shard->lock))
        bp_count(counters, BP_COUNT_contention, 1);
    struct bp_slot **head = &shard->bins[class_index].head;
    struct bp_slot **link = bp_best_fit(head, dirty_bytes);
    struct bp_slot **tail = &chain.head;
    while (link && *link && chain.count < count &&
           (chain.count == 0 || (*link)->dirty_bytes <= bytes_max - bp_min(bytes_max, chain.bytes))) {
        struct bp_slot *slot = *link;
        *link = slot->next;
        *tail = slot;
        tail = &slot->next;
        chain.count++;
        chain.bytes += slot->dirty_bytes;
        link = head;
    }
    *tail = NULL;
    bp_owner_sub(&shard->bins[class_index].count, chain.count);
    bp_owner_sub(&shard->bins[class_index].bytes, chain.bytes);
    BP_ASSERT_SLOW(bin_adds_up(shard, class_index));
    bp_lock_release(&shard->lock);

    bp_budget_return_cached(shards->budget, chain.bytes);
    return chain;
}

/* Gives the memory of one free slot back and the slot to the arena. */
static size_t drop(struct bp_shards *shards, struct bp_slot *slot, struct bp_counters *counters)
{
    size_t purged = bp_arena_purge(shards->arena, slot, 0);
    bp_arena_put(shards->arena, slot);
    bp_count(counters, BP_COUNT_drops, 1);
    bp_count(counters, BP_COUNT_dropped_bytes, purged);
    return purged;
}

void bp_shard_push(struct bp_shards *shards, unsigned shard_index, size_t class_index, struct bp_chain chain,
                   struct bp_counters *counters)
{
    struct bp_shard *shard = &shards->shards[shard_index];
    /* Charge first, so that the budget is never passed; what it does not cover is dropped from the head. */
    while (chain.head && !bp_budget_charge_cached(shards->budget, chain.bytes)) {
        struct bp_slot *slot = chain.head;
        chain.head = slot->next;
        chain.count--;
        chain.bytes -= slot->dirty_bytes;
        (void)drop(shards, slot, counters);
    }
    if (!chain.head)
        return;

    if (bp_lock_acquire(&shard->lock))
        bp_count(counters, BP_COUNT_contention, 1);
    size_t room = shards->buffers_max - bp_min(shards->buffers_max, bp_load_relaxed(&shard->bins[class_index].count));
    struct bp_chain kept = {0};
    struct bp_slot **tail = &chain.head;
    while (*tail && kept.count < room) {
        kept.count++;
        kept.bytes += (*tail)->dirty_bytes;
        tail = &(*tail)->next;
    }
    struct bp_slot *rest = *tail;
    if (kept.count > 0) {
        *tail = shard->bins[class_index].head;
        shard->bins[class_index].head = chain.head;
        bp_owner_add(&shard->bins[class_index].count, kept.count);
        bp_owner_add(&shard->bins[class_index].bytes, kept.bytes);
    }
    BP_ASSERT_SLOW(bin_adds_up(shard, class_index));
    bp_lock_release(&shard->lock);

    if (rest)
        bp_budget_return_cached(shards->budget, chain.bytes - kept.bytes);
    while (rest) {
        struct bp_slot *slot = rest;
        rest = slot->next;
        (void)drop(shards, slot, counters);
    }
}

size_t bp_shards_purge(struct bp_shards *shards, size_t bytes, struct bp_counters *counters)
{
    size_t purged = 0;
    /* Large buffers first: fewer calls, and the fewest buffers lost, for the bytes wanted. */
    for (size_t class_index = BP_CLASS_COUNT; class_index-- > 0 && purged < bytes;) {
        for (unsigned i = 0; i < shards->count && purged < bytes; i++) {
            struct bp_chain chain;
            do {
                chain = bp_shard_pop(shards, i, class_index, 0, SCAN_MAX, bytes - purged, counters);
                while (chain.head) {
                    struct bp_slot *slot = chain.head;
                    chain.head = slot->next;
                    purged += drop(shards, slot, counters);
                }
            } while (chain.count > 0 && purged < bytes);
        }
    }
    return purged;
}

size_t bp_shards_cached_bytes(const struct bp_shards *shards)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < shards->count; i++) {
        for (size_t class_index = 0; class_index < BP_CLASS_COUNT; class_index++)
            bytes += bp_load_relaxed(&shards->shards[i].bins[class_index].bytes);
    }
    return bytes;
}

void bp_shards_lock_all(struct bp_shards *shards)
{
    for (unsigned i = 0; i < shards->count; i++)
        (void)bp_lock_acquire(&shards->shards[i].lock);
}

void bp_shards_unlock_all(struct bp_shards *shards)
{
    for (unsigned i = shards->count; i-- > 0;)
        bp_lock_release(&shards->shards[i].lock);
}

void bp_shards_reinit_locks(struct bp_shards *shards)
{
    for (unsigned i = 0; i < shards->count; i++)
        bp_lock_reinit(&shards->shards[i].lock);
}
