/* SPDX-License-Identifier: MIT */
#ifndef BP_SUPPLY_H
#define BP_SUPPLY_H
/*
 * Supply: where the memory of a request comes from when the thread's newest buffer does not do.
 *
 * Order:   the thread's bin, its home shard, the other shards of its place; the same in larger classes; a clean slot
 *          with pages of buffers that lie free in other classes; fresh memory, or what another place has if this one's
 *          node is full. What is cached makes room when a limit is near, and then what live blocks leave unused.
 * Layer:   11. The cache given to a function is entered (bp_tcache_enter) and the thread's own, or the orphan.
 * Failure: a request that cannot be served is counted under the reason.
 */
#include "pool.h"

/* Where a slot came from. */
enum bp_source { BP_SOURCE_THREAD_CACHE, BP_SOURCE_SHARD, BP_SOURCE_STOLEN, BP_SOURCE_FRESH };

/* A slot made ready for a request, or NULL. */
struct bp_taken {
    struct bp_slot *slot;
    size_t dirty_bytes; /* how much of what the program may use of it may be other than zero */
    bool is_fresh;      /* none of its pages was ever touched since the kernel had them */
};

struct bp_taken bp_supply_take(struct bp_pool *pool, struct bp_tcache *cache, size_t class_index, size_t size_bytes,
                               size_t align_bytes);
/* A free buffer of this very class from the thread's cache or a shard, or NULL. */
struct bp_slot *bp_supply_take_warm(struct bp_pool *pool, struct bp_tcache *cache, size_t class_index,
                                    size_t dirty_bytes, enum bp_source *ret_source);
/* The same from the shards of a place. */
struct bp_slot *bp_supply_take_shared(struct bp_pool *pool, struct bp_tcache *cache, unsigned place,
                                      size_t class_index, size_t wanted);
/*
 * Before fresh memory is taken near the end of all memory (of the container, say) what is spare makes room for it: the
 * program must not run into a limit because of us that it keeps without us.
 */
void bp_supply_keep_roomy(struct bp_pool *pool, struct bp_tcache *cache, size_t bytes);
/*
 * Before a slot is extended to `dirty_bytes`: pages of buffers that lie free in other classes come first where the pool
 * may not grow, or the node of the slot's place has no room.
 */
void bp_supply_fill(struct bp_pool *pool, struct bp_tcache *cache, struct bp_slot *slot, size_t dirty_bytes,
                    bool has_room);
/* As bp_arena_extend(), after making room once. */
int bp_supply_extend(struct bp_pool *pool, struct bp_tcache *cache, struct bp_slot *slot, size_t dirty_bytes);
/* A block grew from `before_bytes` of pages to what its slot has now: they may come in batches (populate.h). */
void bp_supply_populate_growth(struct bp_pool *pool, struct bp_tcache *cache, const struct bp_slot *slot,
                               size_t before_bytes);
/* A free slot goes back to where slots of its kind wait. */
void bp_supply_put_back(struct bp_pool *pool, struct bp_tcache *cache, struct bp_slot *slot);
/* A free slot whose attributes the program had changed, to the arena as clean; if that cannot be, it is given up. */
void bp_supply_renew(struct bp_pool *pool, struct bp_tcache *cache, struct bp_slot *slot);
/* After every operation that may have raised what is live. */
void bp_supply_note_peak(struct bp_pool *pool, const struct bp_tcache *cache);

#endif
