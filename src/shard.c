/* SPDX-License-Identifier: MIT */
#include "shard.h"

#include <errno.h>

enum { SCAN_MAX = 16 };

int bp_shards_init(struct bp_shards *shards, unsigned count, size_t buffers_max, struct bp_arena *arena,
                   struct bp_budget *budget, struct bp_meta *meta)
{
    *shards = (struct bp_shards){.count = count,
                                 .per_place = count / arena->place_count,
                                 .buffers_max = buffers_max,
                                 .arena = arena,
                                 .budget = budget};
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

/* Checks the equations of the bin. */
BP_FOR_ASSERTIONS static bool bin_adds_up(const struct bp_shard_bin *bin)
{
    size_t count = 0;
    size_t bytes = 0;
    for (const struct bp_slot *slot = bin->hot; slot; slot = slot->next, count++)
        bytes += slot->dirty_bytes;
    BP_ASSERT(count == bin->hot_count && bin->hot_low <= bin->hot_count);
    size_t hot_bytes = bytes;
    for (const struct bp_slot *slot = bin->cold; slot; slot = slot->next, count++)
        bytes += slot->dirty_bytes;
    BP_ASSERT(bytes - hot_bytes == bp_load_relaxed(&bin->cold_bytes));
    return count == bp_load_relaxed(&bin->count) && bytes == bp_load_relaxed(&bin->bytes);
}

static void lock_shard(struct bp_shard *shard, struct bp_counters *counters)
{
    if (bp_lock_acquire(&shard->lock))
        bp_count(counters, BP_COUNT_contention, 1);
}

/*
 * Takes up to `count` slots out of a list: the one at `link`, then the first ones while all together stay within
 * `bytes_max`.
 */
static struct bp_chain cut(struct bp_slot **head, struct bp_slot **link, size_t count, size_t bytes_max)
{
    struct bp_chain chain = {0};
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
    return chain;
}

static struct bp_chain cut_hot_locked(struct bp_shard_bin *bin, struct bp_slot **link, size_t count, size_t bytes_max)
{
    struct bp_chain chain = cut(&bin->hot, link, count, bytes_max);
    bin->hot_count -= chain.count;
    bin->hot_low = bp_min(bin->hot_low, bin->hot_count);
    return chain;
}

static struct bp_chain cut_cold_locked(struct bp_shard_bin *bin, struct bp_slot **link, size_t count, size_t bytes_max)
{
    struct bp_chain chain = cut(&bin->cold, link, count, bytes_max);
    bp_owner_sub(&bin->cold_bytes, chain.bytes);
    return chain;
}

/* The books of a pop, whichever list it was from. */
static struct bp_chain end_pop(struct bp_shards *shards, struct bp_shard *shard, size_t class_index,
                               struct bp_chain chain)
{
    struct bp_shard_bin *bin = &shard->bins[class_index];
    bp_owner_sub(&bin->count, chain.count);
    bp_owner_sub(&bin->bytes, chain.bytes);
    BP_ASSERT_SLOW(bin_adds_up(bin));
    bp_evict_left(&shards->evict, class_index, chain.bytes);
    bp_lock_release(&shard->lock);
    bp_budget_return_cached(shards->budget, chain.bytes);
    return chain;
}

struct bp_chain bp_shard_pop(struct bp_shards *shards, unsigned shard_index, size_t class_index, size_t dirty_bytes,
                             size_t count, size_t bytes_max, struct bp_counters *counters)
{
    struct bp_shard *shard = &shards->shards[shard_index];
    struct bp_shard_bin *bin = &shard->bins[class_index];
    /* Relaxed: a buffer that arrives this instant may be missed. */
    if (bp_load_relaxed(&bin->count) == 0)
        return (struct bp_chain){0};

    lock_shard(shard, counters);
    struct bp_slot **hot = bp_best_fit(&bin->hot, dirty_bytes);
    /* A cold buffer only where no hot one is enough: it would have stayed unused. */
    struct bp_slot **cold = hot && (*hot)->dirty_bytes >= dirty_bytes ? NULL : bp_best_fit(&bin->cold, dirty_bytes);
    bool take_cold = cold && (!hot || (*cold)->dirty_bytes > (*hot)->dirty_bytes);
    struct bp_chain chain = take_cold ? cut_cold_locked(bin, cold, 1, 0) : cut_hot_locked(bin, hot, count, bytes_max);
    bp_evict_used(&shards->evict, class_index, chain.bytes, bp_load_relaxed(&shards->budget->cached_limit_bytes));
    return end_pop(shards, shard, class_index, chain);
}

/* Cold buffers together not above `bytes_max`, but one at least. */
static struct bp_chain pop_cold(struct bp_shards *shards, struct bp_shard *shard, size_t class_index, size_t bytes_max,
                                struct bp_counters *counters)
{
    struct bp_shard_bin *bin = &shard->bins[class_index];
    if (bp_load_relaxed(&bin->cold_bytes) == 0)
        return (struct bp_chain){0};
    lock_shard(shard, counters);
    return end_pop(shards, shard, class_index, cut_cold_locked(bin, &bin->cold, SCAN_MAX, bytes_max));
}

static struct bp_chain pop_hot(struct bp_shards *shards, struct bp_shard *shard, size_t class_index, size_t bytes_max,
                               struct bp_counters *counters)
{
    struct bp_shard_bin *bin = &shard->bins[class_index];
    if (bp_load_relaxed(&bin->count) == 0)
        return (struct bp_chain){0};
    lock_shard(shard, counters);
    return end_pop(shards, shard, class_index, cut_hot_locked(bin, &bin->hot, SCAN_MAX, bytes_max));
}

size_t bp_shards_drop(struct bp_shards *shards, struct bp_chain chain)
{
    size_t purged = 0;
    while (chain.head) {
        struct bp_slot *slot = chain.head;
        chain.head = slot->next;
        purged += bp_arena_purge(shards->arena, slot, 0);
        bp_arena_put(shards->arena, slot);
    }
    return purged;
}

/* Puts the first buffers of the chain, up to the shard's limit, in front of a list. Returns the others. */
static struct bp_chain push_locked(const struct bp_shards *shards, struct bp_shard_bin *bin, struct bp_slot **list,
                                   struct bp_chain chain)
{
    size_t room = shards->buffers_max - bp_min(shards->buffers_max, bp_load_relaxed(&bin->count));
    size_t kept_count = 0;
    size_t kept_bytes = 0;
    struct bp_slot **tail = &chain.head;
    for (; *tail && kept_count < room; tail = &(*tail)->next) {
        kept_count++;
        kept_bytes += (*tail)->dirty_bytes;
    }
    struct bp_slot *rest = *tail;
    *tail = *list;
    *list = chain.head;
    bp_owner_add(&bin->count, kept_count);
    bp_owner_add(&bin->bytes, kept_bytes);
    if (list == &bin->hot)
        bin->hot_count += kept_count;
    else
        bp_owner_add(&bin->cold_bytes, kept_bytes);
    BP_ASSERT_SLOW(bin_adds_up(bin));
    return (struct bp_chain){.head = rest, .count = chain.count - kept_count, .bytes = chain.bytes - kept_bytes};
}

void bp_shard_offer(struct bp_shards *shards, unsigned shard_index, size_t class_index, struct bp_chain chain, bool hot,
                    struct bp_chain *ret_rest, struct bp_counters *counters)
{
    struct bp_shard *shard = &shards->shards[shard_index];
    struct bp_shard_bin *bin = &shard->bins[class_index];
    lock_shard(shard, counters);
    struct bp_chain rest = push_locked(shards, bin, hot ? &bin->hot : &bin->cold, chain);
    bp_evict_entered(&shards->evict, class_index, chain.bytes - rest.bytes,
                     bp_load_relaxed(&shards->budget->cached_limit_bytes));
    bp_lock_release(&shard->lock);
    if (rest.count > 0) {
        bp_budget_return_cached(shards->budget, rest.bytes);
        bp_count(counters, BP_COUNT_drops, rest.count);
        struct bp_slot **tail = &rest.head;
        while (*tail)
            tail = &(*tail)->next;
        *tail = ret_rest->head;
        ret_rest->head = rest.head;
        ret_rest->count += rest.count;
        ret_rest->bytes += rest.bytes;
    }
}

static void push(struct bp_shards *shards, unsigned shard_index, size_t class_index, struct bp_chain chain, bool hot,
                 struct bp_counters *counters)
{
    struct bp_chain rest = {0};
    bp_shard_offer(shards, shard_index, class_index, chain, hot, &rest, counters);
    if (rest.count > 0)
        bp_count(counters, BP_COUNT_dropped_bytes, bp_shards_drop(shards, rest));
}

void bp_shard_push(struct bp_shards *shards, unsigned shard, size_t class_index, struct bp_chain chain,
                   struct bp_counters *counters)
{
    push(shards, shard, class_index, chain, true, counters);
}

void bp_shard_push_cold(struct bp_shards *shards, unsigned shard, size_t class_index, struct bp_chain chain,
                        struct bp_counters *counters)
{
    push(shards, shard, class_index, chain, false, counters);
}

/* --- ageing ------------------------------------------------------------------------------------------------------ */

static void sweep_bin_locked(struct bp_shard_bin *bin)
{
    struct bp_slot **link = &bin->hot;
    for (size_t i = bin->hot_low; i < bin->hot_count; i++)
        link = &(*link)->next;
    struct bp_slot *idle = *link;
    size_t idle_bytes = 0;
    struct bp_slot **tail = &idle;
    for (; *tail; tail = &(*tail)->next)
        idle_bytes += (*tail)->dirty_bytes;
    *link = NULL;
    *tail = bin->cold;
    bin->cold = idle;
    bp_owner_add(&bin->cold_bytes, idle_bytes);
    bin->hot_count -= bin->hot_low;
    bin->hot_low = bin->hot_count;
    BP_ASSERT_SLOW(bin_adds_up(bin));
}

void bp_shards_sweep(struct bp_shards *shards)
{
    bp_evict_swept(&shards->evict);
    for (unsigned i = 0; i < shards->count; i++) {
        struct bp_shard *shard = &shards->shards[i];
        for (size_t class_index = 0; class_index < BP_CLASS_COUNT; class_index++) {
            struct bp_shard_bin *bin = &shard->bins[class_index];
            if (bp_load_relaxed(&bin->count) == 0)
                continue;
            (void)bp_lock_acquire(&shard->lock);
            sweep_bin_locked(bin);
            bp_lock_release(&shard->lock);
        }
    }
}

typedef struct bp_chain pop_fn(struct bp_shards *shards, struct bp_shard *shard, size_t class_index, size_t bytes_max,
                               struct bp_counters *counters);

static size_t purge_class(struct bp_shards *shards, unsigned place, size_t class_index, size_t bytes, pop_fn *pop,
                          struct bp_counters *counters)
{
    size_t purged = 0;
    for (unsigned i = 0; i < shards->per_place && purged < bytes; i++) {
        struct bp_shard *shard = &shards->shards[bp_shard_in(shards, place, i)];
        struct bp_chain chain;
        do {
            chain = pop(shards, shard, class_index, bytes - purged, counters);
            purged += bp_shards_drop(shards, chain);
        } while (chain.count > 0 && purged < bytes);
    }
    return purged;
}

/* Large buffers first: fewer calls, and the fewest buffers lost, for the bytes wanted. */
static size_t purge_place(struct bp_shards *shards, unsigned place, size_t bytes, pop_fn *pop,
                          struct bp_counters *counters)
{
    size_t purged = 0;
    for (size_t class_index = BP_CLASS_COUNT; class_index-- > 0 && purged < bytes;)
        purged += purge_class(shards, place, class_index, bytes - purged, pop, counters);
    return purged;
}

static size_t purge(struct bp_shards *shards, unsigned first_place, size_t bytes, pop_fn *pop,
                    struct bp_counters *counters)
{
    unsigned place_count = shards->arena->place_count;
    size_t purged = 0;
    for (unsigned i = 0; i < place_count && purged < bytes; i++)
        purged += purge_place(shards, (first_place + i) % place_count, bytes - purged, pop, counters);
    return purged;
}

size_t bp_shards_purge_cold(struct bp_shards *shards, unsigned place, size_t bytes, struct bp_counters *counters)
{
    return purge(shards, place, bytes, pop_cold, counters);
}

size_t bp_shards_purge(struct bp_shards *shards, unsigned place, size_t bytes, struct bp_counters *counters)
{
    size_t purged = bp_shards_purge_cold(shards, place, bytes, counters);
    return purged < bytes ? purged + purge(shards, place, bytes - purged, pop_hot, counters) : purged;
}

/* Of the classes that the policy names, at a place first and then at the others. */
static size_t replace(struct bp_shards *shards, unsigned first_place, size_t class_index, size_t bytes,
                      struct bp_counters *counters)
{
    struct bp_evict *evict = &shards->evict;
    size_t limit_bytes = bp_load_relaxed(&shards->budget->cached_limit_bytes);
    unsigned place_count = shards->arena->place_count;
    if (!bp_evict_prepare(evict, class_index, bytes, limit_bytes))
        return 0;
    size_t purged = 0;
    size_t trial_bytes;
    for (size_t victim; purged < bytes && (victim = bp_evict_next(evict, &trial_bytes)) != BP_CLASS_COUNT;) {
        size_t wanted_bytes = bp_min(bytes - purged, trial_bytes);
        size_t given_bytes = 0;
        for (unsigned i = 0; i < place_count && given_bytes < wanted_bytes; i++) {
            unsigned place = (first_place + i) % place_count;
            given_bytes += purge_class(shards, place, victim, wanted_bytes - given_bytes, pop_hot, counters);
        }
        bp_evict_replaced(evict, victim, trial_bytes, given_bytes, limit_bytes);
        purged += given_bytes;
        if (given_bytes == 0) /* others were quicker, or the kernel keeps it */
            break;
    }
    return purged;
}

size_t bp_shards_make_room(struct bp_shards *shards, unsigned place, size_t class_index, size_t bytes,
                           struct bp_counters *counters)
{
    size_t purged = bp_shards_purge_cold(shards, place, bytes, counters);
    size_t room_bytes = bp_budget_room_bytes(shards->budget);
    if (bp_evict_is_clockpro(&shards->evict) && room_bytes < bytes && !bp_arena_can_move(shards->arena, bytes))
        purged += replace(shards, place, class_index, bytes - room_bytes, counters);
    return purged;
}

size_t bp_shards_place_bytes(const struct bp_shards *shards, unsigned place)
{
    size_t bytes = 0;
    for (unsigned i = bp_shard_in(shards, place, 0); i < bp_shard_in(shards, place + 1, 0); i++) {
        for (size_t class_index = 0; class_index < BP_CLASS_COUNT; class_index++)
            bytes += bp_load_relaxed(&shards->shards[i].bins[class_index].bytes);
    }
    return bytes;
}

size_t bp_shards_cached_bytes(const struct bp_shards *shards)
{
    size_t bytes = 0;
    for (unsigned place = 0; place < shards->arena->place_count; place++)
        bytes += bp_shards_place_bytes(shards, place);
    return bytes;
}

size_t bp_shards_cold_bytes(const struct bp_shards *shards)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < shards->count; i++) {
        for (size_t class_index = 0; class_index < BP_CLASS_COUNT; class_index++)
            bytes += bp_load_relaxed(&shards->shards[i].bins[class_index].cold_bytes);
    }
    return bytes;
}

bool bp_shards_are_free(struct bp_shards *shards)
{
    for (unsigned i = 0; i < shards->count; i++) {
        if (!bp_lock_is_free(&shards->shards[i].lock))
            return false;
    }
    return true;
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
