/* SPDX-License-Identifier: MIT */
#include "pool.h"

#include <errno.h>
#include <string.h>

#include "os.h"
#include "plain.h"

enum {
    SHARDS_MIN = 4,
    /* A block that had to move because it grew gets room to grow so many doublings more in place. */
    GROWTH_CLASSES = 3,
    /*
     * From here on moving pages beats copying them, and beats faulting fresh ones: a move costs 8 to 12 us whatever
     * its size, 256 KiB to copy 11 us, to fault 30 us at the least.
     */
    MOVE_MIN_BYTES = 256 * 1024,
    /* Buffers whose pages are taken for one request; beyond that fresh memory is as quick. */
    DONORS_MAX = 4,
    /* A realloc that leaves at least this much unused, and more than is used, gives the tail back. */
    TRIM_MIN_BYTES = 256 * 1024,
};

size_t bp_pool_min_size_bytes(const struct bp_options *options)
{
    return bp_max(options->min_size_bytes, bp_os_page_bytes());
}

static unsigned ceil_pow2(unsigned x)
{
    return x <= 1 ? 1 : 1u << (32 - __builtin_clz(x - 1));
}

int bp_pool_init(struct bp_pool *pool, unsigned id, const struct bp_options *options)
{
    pool->cpu_count = bp_os_cpu_count();
    pool->min_size_bytes = bp_pool_min_size_bytes(options);
    pool->max_size_bytes = options->max_size_bytes;
    bp_budget_init(&pool->budget, options);

    size_t shard_count = options->shard_count;
    if (shard_count == 0)
        shard_count = bp_max(pool->cpu_count, SHARDS_MIN);
    shard_count = bp_min(ceil_pow2((unsigned)shard_count), BP_SHARDS_MAX);

    bp_meta_init(&pool->meta);
    int error = bp_arena_init(&pool->arena, &pool->meta, &pool->budget);
    if (error == 0)
        error = bp_shards_init(&pool->shards, (unsigned)shard_count, options->shard_buffers, &pool->arena,
                               &pool->budget, &pool->meta);
    if (error == 0) {
        pool->scrub = (enum bp_scrub)options->scrub;
        size_t bytes = bp_options_share_bytes(options->thread_cache_bytes, pool->budget.memory_bytes);
        pool->paranoid_every = options->paranoid;
        /* No free may take the hit path then; and pages that are moved would take along what is to be found on them. */
        size_t buffers = pool->scrub == BP_SCRUB_OFF && options->paranoid == 0 ? options->thread_cache_buffers : 0;
        if (options->paranoid != 0)
            bp_store_relaxed(&pool->arena.moves_left, 0);
        /* Without a key no thread's end is seen: all threads then share the orphan cache, which works. */
        (void)bp_tcaches_init(&pool->caches, id, buffers, bytes, &pool->shards, &pool->meta);
        bp_decay_init(&pool->decay, options->decay_ms);
        bp_pressure_init(&pool->decay.pressure, options->pressure == BP_PRESSURE_AUTO, pool->decay.swept_ns);
        pool->drops_at_fork = options->fork == BP_FORK_DROP;
        pool->on_error = (enum bp_on_error)options->on_error;
        return 0;
    }
    bp_arena_fini(&pool->arena);
    bp_meta_fini(&pool->meta);
    return error;
}

void bp_pool_fini(struct bp_pool *pool)
{
    bp_tcaches_fini(&pool->caches);
    bp_arena_fini(&pool->arena);
    bp_meta_fini(&pool->meta);
}

/* Live memory seen from a slow operation; what other threads have cached counts as cached up to their allowance. */
static void note_peak(struct bp_pool *pool, const struct bp_tcache *cache)
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

void bp_pool_tick(struct bp_pool *pool)
{
    if (pool->decay.interval_ns == 0)
        return;
    uint64_t now_ns = bp_os.now_ns();
    if (BP_UNLIKELY(bp_decay_is_due(&pool->decay, now_ns)))
        bp_decay_tick(&pool->decay, &pool->caches, now_ns);
}

/*
 * Less may be cached than the program has in use at times. Then fresh memory is memory that a free must give back later,
 * and what lies unused in live blocks is more than the limit is worth.
 */
static bool is_tight(const struct bp_pool *pool)
{
    return bp_load_relaxed(&pool->budget.cached_limit_bytes) < bp_load_relaxed(&pool->budget.peak_live_bytes);
}

/*
 * May the pool take `bytes` of fresh memory while it has free memory in other classes? Up to an eighth above the most
 * that the program ever used at once: moving pages on every miss costs more than it is worth, as every other thread's
 * CPU is interrupted; a quarter was no faster in `mixed` and held 8 % more memory.
 */
static bool may_grow(const struct bp_pool *pool, size_t bytes)
{
    if (is_tight(pool))
        return bp_load_relaxed(&pool->budget.cached_bytes) < bytes;
    size_t peak_live = bp_load_relaxed(&pool->budget.peak_live_bytes);
    return bp_load_relaxed(&pool->budget.footprint_bytes) + bytes <= peak_live + peak_live / 8;
}

/* Where a slot came from. */
enum source { THREAD_CACHE, SHARD, STOLEN, FRESH };

/*
 * A free slot whose attributes the program had changed, to the arena as clean. If that cannot be, it is given up:
 * better lost than handed out as something that memory from malloc is not.
 */
BP_COLD static void renew(struct bp_pool *pool, struct bp_tcache *cache, struct bp_slot *slot)
{
    if (bp_arena_renew(&pool->arena, slot)) {
        bp_count(&cache->counters, BP_COUNT_renewed, 1);
        bp_arena_put(&pool->arena, slot);
    } else {
        bp_count(&cache->counters, BP_COUNT_lost, 1);
    }
}

/* A free slot goes back to where slots of its kind wait. */
static void put_back(struct bp_pool *pool, struct bp_tcache *cache, struct bp_slot *slot)
{
    if (slot->dirty_bytes == 0)
        bp_arena_put(&pool->arena, slot);
    else
        bp_tcache_give(cache, slot);
}

/* A free buffer of the class from the thread's cache or a shard. */
static struct bp_slot *take_warm(struct bp_pool *pool, struct bp_tcache *cache, size_t class_index, size_t dirty_bytes,
                                 enum source *ret_source)
{
    for (;;) {
        bool stolen = false;
        *ret_source = THREAD_CACHE;
        struct bp_slot *slot = bp_tcache_take(cache, class_index, dirty_bytes);
        if (!slot) {
            slot = bp_tcache_refill(cache, class_index, dirty_bytes, &stolen);
            *ret_source = stolen ? STOLEN : SHARD;
        }
        if (!slot || BP_LIKELY(!bp_slot_is_tainted(slot)))
            return slot;
        renew(pool, cache, slot); /* it was free when the program touched it */
    }
}

/* A free buffer that another request left warm, from this class or, to spare memory, from the next larger one. */
static struct bp_slot *take_recycled(struct bp_pool *pool, struct bp_tcache *cache, size_t class_index,
                                     size_t dirty_bytes, enum source *ret_source)
{
    size_t last = bp_min(class_index + (may_grow(pool, dirty_bytes) ? 1 : 3), BP_CLASS_COUNT - 1);
    for (size_t from = class_index; from <= last; from++) {
        struct bp_slot *slot = take_warm(pool, cache, from, dirty_bytes, ret_source);
        if (slot && slot->dirty_bytes / 2 > dirty_bytes && is_tight(pool)) {
            put_back(pool, cache, slot);
        } else if (slot) {
            bp_count(&cache->counters, BP_COUNT_borrowed, from - class_index);
            return slot;
        }
    }
    return NULL;
}

/* Gives free memory of shards back, to make room. */
static size_t evict(struct bp_pool *pool, struct bp_tcache *cache, size_t bytes)
{
    size_t evicted_bytes = bp_shards_purge(&pool->shards, bytes, &cache->counters);
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
    struct bp_slot *slot = bp_arena_take(&pool->arena, class_index);
    if (!slot && evict(pool, cache, SIZE_MAX) > 0)
        slot = bp_arena_take(&pool->arena, class_index);
    return slot;
}

/*
 * Before fresh memory is taken near the end of all memory (of the container, say) what is cached makes room for it: the
 * program must not run into a limit because of us that it keeps without us.
 */
static void keep_roomy(struct bp_pool *pool, struct bp_tcache *cache, size_t bytes)
{
    size_t footprint_bytes = bp_load_relaxed(&pool->budget.footprint_bytes) + bytes;
    size_t roomy_bytes = bp_load_relaxed(&pool->budget.roomy_bytes);
    if (BP_LIKELY(footprint_bytes <= roomy_bytes) || bp_load_relaxed(&pool->budget.cached_bytes) == 0)
        return;
    size_t wanted = bp_min(footprint_bytes - roomy_bytes, bytes);
    size_t evicted_bytes = evict(pool, cache, wanted);
    if (evicted_bytes < wanted) {
        flush_all(pool, cache);
        (void)evict(pool, cache, wanted - evicted_bytes);
    }
}

/* As bp_arena_extend(), after making room once. */
static int extend(struct bp_pool *pool, struct bp_tcache *cache, struct bp_slot *slot, size_t dirty_bytes)
{
    if (dirty_bytes > slot->dirty_bytes)
        keep_roomy(pool, cache, dirty_bytes - slot->dirty_bytes);
    int error = bp_arena_extend(&pool->arena, slot, dirty_bytes);
    if (error == 0)
        return 0;
    size_t wanted = error == -EDQUOT ? dirty_bytes - slot->dirty_bytes : SIZE_MAX;
    size_t evicted_bytes = evict(pool, cache, wanted);
    if (evicted_bytes < wanted) {
        flush_all(pool, cache);
        (void)evict(pool, cache, wanted - evicted_bytes);
    }
    return bp_arena_extend(&pool->arena, slot, dirty_bytes);
}

/* The class with the most free memory in the shards, or BP_CLASS_COUNT. */
static size_t class_with_surplus(const struct bp_shards *shards)
{
    size_t best = BP_CLASS_COUNT;
    size_t best_bytes = MOVE_MIN_BYTES;
    for (size_t class_index = 0; class_index < BP_CLASS_COUNT; class_index++) {
        size_t bytes = 0;
        for (unsigned i = 0; i < shards->count; i++)
            bytes += bp_load_relaxed(&shards->shards[i].bins[class_index].bytes);
        if (bytes > best_bytes) {
            best = class_index;
            best_bytes = bytes;
        }
    }
    return best;
}

/* A free buffer of the class from any shard. */
static struct bp_slot *take_donor(struct bp_pool *pool, struct bp_tcache *cache, size_t class_index, size_t wanted)
{
    for (unsigned i = 0; i < pool->shards.count; i++) {
        struct bp_chain chain = bp_shard_pop(&pool->shards, i, class_index, wanted, 1, 0, &cache->counters);
        if (chain.head && BP_UNLIKELY(bp_slot_is_tainted(chain.head)))
            renew(pool, cache, chain.head);
        else if (chain.head)
            return chain.head;
    }
    return NULL;
}

/*
 * Pages that the slot lacks are taken from buffers that lie free in other classes: no memory is cleared, and what the
 * pool holds does not grow. Whatever cannot be had so is left to bp_arena_extend().
 */
static void fill_from_surplus(struct bp_pool *pool, struct bp_tcache *cache, struct bp_slot *slot, size_t dirty_bytes)
{
    for (unsigned donors = 0; donors < DONORS_MAX; donors++) {
        if (slot->dirty_bytes + MOVE_MIN_BYTES > dirty_bytes || !bp_arena_may_move(&pool->arena))
            return;
        size_t wanted = dirty_bytes - slot->dirty_bytes;
        size_t class_index = class_with_surplus(&pool->shards);
        if (class_index == BP_CLASS_COUNT && bp_tcache_cached_bytes(cache) >= MOVE_MIN_BYTES) {
            bp_tcache_flush(cache);
            class_index = class_with_surplus(&pool->shards);
        }
        if (class_index == BP_CLASS_COUNT)
            return;
        struct bp_slot *donor = take_donor(pool, cache, class_index, wanted);
        if (!donor)
            return;
        size_t bytes = bp_min(wanted, donor->dirty_bytes);
        int error = bp_arena_move(&pool->arena, donor, slot, bytes);
        put_back(pool, cache, donor);
        if (error != 0) {
            bp_count(&cache->counters, BP_COUNT_exchange_refused, 1);
            return;
        }
        bp_count(&cache->counters, BP_COUNT_exchanged, 1);
        bp_count(&cache->counters, BP_COUNT_exchanged_bytes, bytes);
    }
}

static bool serves(const struct bp_pool *pool, size_t size_bytes, size_t align_bytes)
{
    return size_bytes - 1 < pool->max_size_bytes && align_bytes <= BP_ALIGN_MAX_BYTES;
}

static void count_request(struct bp_tcache *cache, size_t class_index, enum source source, size_t size_bytes)
{
    _Atomic(size_t) *counts[] = {
        [THREAD_CACHE] = &cache->bins[class_index].hits,
        [SHARD] = &cache->misses[class_index].shard_hits,
        [STOLEN] = &cache->misses[class_index].stolen,
        [FRESH] = &cache->misses[class_index].fresh,
    };
    bp_owner_add(counts[source], 1u);
    if (source != FRESH)
        bp_owner_add(&cache->bins[class_index].hit_bytes, size_bytes);
}

/* A slot made ready for a request, or NULL. */
struct taken {
    struct bp_slot *slot;
    size_t dirty_bytes; /* how much of what the program may use of it may be other than zero */
    bool is_fresh;      /* none of its pages was ever touched since the kernel had them */
};

/* Counts the request under its source, or under the reason why it must be forwarded. */
static struct taken take(struct bp_pool *pool, struct bp_tcache *cache, size_t class_index, size_t size_bytes,
                         size_t align_bytes)
{
    /* What the request needs at most: the colour is not known before the slot is. */
    size_t dirty_bytes = bp_align_up(size_bytes + BP_COLOUR_BYTES - BP_COLOUR_STEP_BYTES, pool->arena.page_bytes);
    enum source source;
    struct bp_slot *slot = take_recycled(pool, cache, class_index, dirty_bytes, &source);
    if (!slot) {
        source = FRESH;
        slot = take_fresh(pool, cache, class_index);
    }
    if (!slot) {
        bp_count(&cache->counters, BP_COUNT_no_memory, 1);
        return (struct taken){0};
    }

    /* Slots start at a multiple of the alignment; the part of the colour that would spoil it is left out. */
    char *p = slot->home - ((uintptr_t)slot->home & (BP_COLOUR_BYTES - 1) & (align_bytes - 1));
    size_t before_bytes = slot->dirty_bytes;
    size_t extent = bp_slot_extent(&pool->arena, slot, p, size_bytes);
    if (extent >= before_bytes + MOVE_MIN_BYTES && !may_grow(pool, extent - before_bytes))
        fill_from_surplus(pool, cache, slot, extent);
    size_t warm_bytes = slot->dirty_bytes;
    int error = extend(pool, cache, slot, extent);
    if (error != 0) {
        bp_count(&cache->counters, error == -EDQUOT ? BP_COUNT_over_budget : BP_COUNT_no_memory, 1);
        put_back(pool, cache, slot);
        return (struct taken){0};
    }
    slot->live = p;
    slot->size_bytes = size_bytes;
    size_t offset = (size_t)(p - bp_slot_base(&pool->arena, slot));
    bool is_zero = warm_bytes <= offset || pool->scrub == BP_SCRUB_FREE;

    count_request(cache, class_index, source, size_bytes);
    if (source != FRESH)
        bp_count(&cache->counters, BP_COUNT_grown_bytes, slot->dirty_bytes - warm_bytes);
    note_peak(pool, cache);
    return (struct taken){
        .slot = slot,
        .dirty_bytes = is_zero ? 0 : bp_min(warm_bytes, extent) - offset,
        .is_fresh = warm_bytes == 0,
    };
}

static void *allocate(struct bp_pool *pool, size_t class_index, size_t size_bytes, size_t align_bytes, bool zero)
{
    struct bp_tcache *cache = bp_tcache_enter(&pool->caches);
    struct taken taken = take(pool, cache, class_index, size_bytes, align_bytes);
    struct bp_slot *slot = taken.slot;
    size_t dirty_bytes = taken.dirty_bytes;
    char *p = slot ? slot->live : NULL;
    enum bp_clear_by by = BP_CLEAR_WRITING;
    if (p && taken.is_fresh)
        bp_count(&cache->counters, BP_COUNT_populated_bytes,
                 bp_populate_fresh(&pool->populate, &pool->arena, slot, zero));
    if (p && pool->scrub == BP_SCRUB_ALLOC) {
        size_t offset = (size_t)(p - bp_slot_base(&pool->arena, slot));
        bp_scrub_range(&pool->arena, &pool->clear, slot, offset, offset + dirty_bytes, &cache->counters);
        dirty_bytes = 0;
    }
    if (p && zero) {
        dirty_bytes = bp_min(dirty_bytes, size_bytes);
        by = bp_clear_choose(&pool->clear, slot, p, dirty_bytes);
        bp_count(&cache->counters, BP_COUNT_calloc_bytes_not_zeroed, size_bytes - dirty_bytes);
        bool is_written = by == BP_CLEAR_WRITING;
        bp_count(&cache->counters, is_written ? BP_COUNT_calloc_bytes_zeroed : BP_COUNT_calloc_bytes_dropped,
                 dirty_bytes);
    }
    bp_tcache_leave(cache);
    bp_pool_tick(pool);
    if (p && zero)
        bp_clear_bytes(p, dirty_bytes, by);
    return p;
}

static void *refuse(struct bp_pool *pool)
{
    struct bp_tcache *cache = bp_tcache_enter(&pool->caches);
    bp_count(&cache->counters, BP_COUNT_oversize, 1);
    bp_tcache_leave(cache);
    return NULL;
}

void *bp_pool_alloc_slow(struct bp_pool *pool, size_t size_bytes, size_t align_bytes)
{
    if (!serves(pool, size_bytes, align_bytes))
        return refuse(pool);
    return allocate(pool, bp_class_of_aligned(size_bytes, align_bytes), size_bytes, align_bytes, false);
}

void *bp_pool_calloc(struct bp_pool *pool, size_t size_bytes)
{
    if (!serves(pool, size_bytes, 1))
        return refuse(pool);
    return allocate(pool, bp_class_of(size_bytes), size_bytes, 1, true);
}

/* Did the program change more of the block than its bytes, and nobody saw it? If that cannot be told: yes. */
static bool is_changed_unseen(struct bp_pool *pool, struct bp_tcache *cache, const struct bp_slot *slot)
{
    if (BP_LIKELY(pool->paranoid_every == 0) || bp_slot_is_tainted(slot) ||
        bp_add_relaxed(&pool->paranoid_count, (size_t)1) % pool->paranoid_every != 0)
        return false;
    int plain = bp_plain_check(bp_slot_base(&pool->arena, slot), slot->dirty_bytes);
    bp_count(&cache->counters, BP_COUNT_unseen, plain == 0);
    return plain <= 0;
}

static void release(struct bp_pool *pool, struct bp_tcache *cache, struct bp_slot *slot)
{
    bool is_changed = is_changed_unseen(pool, cache, slot);
    if (pool->scrub == BP_SCRUB_FREE && !is_changed)
        bp_scrub_block(&pool->arena, &pool->clear, slot, &cache->counters);
    slot->live = NULL;
    if (BP_UNLIKELY(is_changed || bp_slot_is_tainted(slot)))
        renew(pool, cache, slot);
    else
        put_back(pool, cache, slot);
}

void bp_pool_free_slow(struct bp_pool *pool, void *p)
{
    struct bp_slot *slot = bp_pool_live_slot(pool, p, "free");
    if (!slot)
        return;
    struct bp_tcache *cache = bp_tcache_enter(&pool->caches);
    release(pool, cache, slot);
    bp_tcache_leave(cache);
    bp_pool_tick(pool);
}

/* A block grew from `before_bytes` of pages to what its slot has now. */
static void populate_growth(struct bp_pool *pool, struct bp_tcache *cache, const struct bp_slot *slot,
                            size_t before_bytes)
{
    if (slot->dirty_bytes > before_bytes)
        bp_count(&cache->counters, BP_COUNT_populated_bytes,
                 bp_populate_growth(&pool->populate, &pool->arena, slot, before_bytes));
}

/* Keeps the block where it is if its slot has room and memory. */
static bool resize_in_place(struct bp_pool *pool, struct bp_slot *slot, const char *p, size_t size_bytes)
{
    size_t offset = (size_t)(p - bp_slot_base(&pool->arena, slot));
    if (offset + size_bytes > bp_class_stride_bytes(slot->class_index))
        return false;
    if (pool->scrub != BP_SCRUB_OFF && bp_slot_is_tainted(slot) && size_bytes > slot->size_bytes)
        return false; /* what lies behind it could not be erased */
    struct bp_tcache *cache = bp_tcache_enter(&pool->caches);
    size_t before = bp_slot_extent(&pool->arena, slot, p, slot->size_bytes);
    size_t extent = bp_slot_extent(&pool->arena, slot, p, size_bytes);
    size_t warm_bytes = slot->dirty_bytes;
    size_t tail_bytes = slot->dirty_bytes > extent ? slot->dirty_bytes - extent : 0;
    bool ok = extend(pool, cache, slot, extent) == 0;
    if (ok) {
        /* Beyond half: a block that shrinks a little and grows again must not fault its tail each time. */
        if (size_bytes < slot->size_bytes && tail_bytes >= TRIM_MIN_BYTES && tail_bytes > extent)
            bp_count(&cache->counters, BP_COUNT_realloc_trimmed_bytes,
                     bp_arena_purge(&pool->arena, slot, extent));
        bp_scrub_resized(&pool->arena, &pool->clear, pool->scrub, slot, before, extent, warm_bytes, &cache->counters);
        slot->size_bytes = size_bytes;
        populate_growth(pool, cache, slot, warm_bytes);
        bp_count(&cache->counters, BP_COUNT_realloc_in_place, 1);
        note_peak(pool, cache);
    }
    bp_tcache_leave(cache);
    return ok;
}

/* Why a block that outgrew its slot must be copied; _refused: there is no reason but the kernel's. */
static enum bp_counter reason_to_copy(struct bp_pool *pool, const struct bp_slot *slot)
{
    if (slot->dirty_bytes < MOVE_MIN_BYTES)
        return BP_COUNT_realloc_copied_small;
    if (bp_slot_is_tainted(slot))
        return BP_COUNT_realloc_copied_changed;
    return bp_arena_may_move(&pool->arena) ? BP_COUNT_realloc_copied_refused : BP_COUNT_realloc_copied_mappings;
}

/* A block that outgrew its slot, into one with room to grow, without copying. NULL where that cannot be. */
static void *grow_by_moving(struct bp_pool *pool, struct bp_slot *slot, size_t size_bytes)
{
    size_t class_index = bp_min(bp_class_of(size_bytes) + GROWTH_CLASSES, BP_CLASS_COUNT - 1);
    size_t extent = bp_slot_extent(&pool->arena, slot, slot->live, size_bytes);
    size_t before = bp_slot_extent(&pool->arena, slot, slot->live, slot->size_bytes);
    size_t moved_bytes = slot->dirty_bytes;
    struct bp_tcache *cache = bp_tcache_enter(&pool->caches);
    enum source source;
    struct bp_slot *target = take_warm(pool, cache, class_index, extent, &source);
    if (!target)
        target = bp_arena_take(&pool->arena, class_index);
    struct bp_slot *spare = bp_arena_take(&pool->arena, slot->class_index);
    size_t target_bytes = target ? target->dirty_bytes : 0;
    size_t warm_bytes = bp_max(moved_bytes, target_bytes);
    char *block = NULL;
    if (target && spare && spare->dirty_bytes == 0 &&
        bp_arena_relocate(&pool->arena, slot, target, spare, extent) == 0) {
        block = target->live;
        target->size_bytes = size_bytes;
        bp_scrub_resized(&pool->arena, &pool->clear, pool->scrub, target, before, extent, warm_bytes, &cache->counters);
        if (pool->scrub == BP_SCRUB_FREE) /* what the kernel neither moved nor took back */
            bp_scrub_range(&pool->arena, &pool->clear, slot, 0, slot->dirty_bytes, &cache->counters);
        put_back(pool, cache, slot);
        populate_growth(pool, cache, target, warm_bytes);
        bp_count(&cache->counters, BP_COUNT_realloc_moved, 1);
        bp_count(&cache->counters, BP_COUNT_realloc_moved_bytes, moved_bytes);
        bp_count(&cache->counters, BP_COUNT_realloc_exchanged, target_bytes > 0);
        bp_count(&cache->counters, BP_COUNT_realloc_exchanged_bytes, bp_min(target_bytes, moved_bytes));
        note_peak(pool, cache);
    } else if (target) {
        put_back(pool, cache, target);
    }
    if (spare)
        put_back(pool, cache, spare);
    bp_tcache_leave(cache);
    return block;
}

static void *grow_by_copying(struct bp_pool *pool, struct bp_slot *slot, const char *p, size_t size_bytes,
                             enum bp_counter reason)
{
    size_t class_index = bp_min(bp_class_of(size_bytes) + GROWTH_CLASSES, BP_CLASS_COUNT - 1);
    void *moved = allocate(pool, class_index, size_bytes, 1, false);
    if (!moved)
        return NULL;
    size_t copied_bytes = bp_min(bp_pool_usable_bytes(pool, p), size_bytes);
    memcpy(moved, p, copied_bytes);
    struct bp_tcache *cache = bp_tcache_enter(&pool->caches);
    bp_count(&cache->counters, BP_COUNT_realloc_copied, 1);
    bp_count(&cache->counters, reason, 1);
    bp_count(&cache->counters, BP_COUNT_realloc_copied_bytes, copied_bytes);
    release(pool, cache, slot);
    bp_tcache_leave(cache);
    return moved;
}

void *bp_pool_realloc(struct bp_pool *pool, void *p, size_t size_bytes)
{
    struct bp_slot *slot = bp_pool_live_slot(pool, p, "realloc");
    if (!slot)
        return NULL;
    if (!serves(pool, size_bytes, 1))
        return refuse(pool);
    if (resize_in_place(pool, slot, p, size_bytes))
        return p;
    enum bp_counter reason = reason_to_copy(pool, slot);
    void *moved = reason == BP_COUNT_realloc_copied_refused ? grow_by_moving(pool, slot, size_bytes) : NULL;
    return moved ? moved : grow_by_copying(pool, slot, p, size_bytes, reason);
}

void bp_pool_count_copied(struct bp_pool *pool, enum bp_counter kind, size_t bytes)
{
    struct bp_tcache *cache = bp_tcache_enter(&pool->caches);
    bp_count(&cache->counters, kind, 1);
    bp_count(&cache->counters, BP_COUNT_realloc_copied_bytes, bytes);
    bp_tcache_leave(cache);
}

size_t bp_pool_trim(struct bp_pool *pool)
{
    struct bp_tcache *cache = bp_tcache_enter(&pool->caches);
    flush_all(pool, cache);
    size_t trimmed_bytes = bp_shards_purge(&pool->shards, SIZE_MAX, &cache->counters);
    bp_count(&cache->counters, BP_COUNT_trimmed_bytes, trimmed_bytes);
    bp_tcache_leave(cache);
    return trimmed_bytes;
}
