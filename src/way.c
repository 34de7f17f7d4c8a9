/* SPDX-License-Identifier: MIT */
/*
 * Way: room for a request that the kernel refused another allocator, as the address space is limited (ulimit -v) and
 * the pool has some that it does not need. Declared in pool.h.
 *
 * Layer: 11.
 */
#include "os.h"
#include "pool.h"

/* Less is not looked for; an allocator that asks for a little asks the kernel for about so much. */
#define SPARE_MIN_BYTES (64 * BP_KIB)
#define MARGIN_BYTES (2 * BP_MIB)

static void cede_unused(void *arena)
{
    bp_arena_cede_unused(arena);
}

size_t bp_pool_cede(struct bp_pool *pool)
{
    size_t before_bytes = bp_load_relaxed(&pool->arena.ceded_bytes);
    bp_arena_shrink(&pool->arena);
    (void)bp_pool_trim(pool);
    bp_arena_cede_clean(&pool->arena);
    if (!bp_os_is_quiet())
        (void)bp_tcaches_at_rest(&pool->caches, BP_WAIT_A_MOMENT, cede_unused, &pool->arena);
    return bp_load_relaxed(&pool->arena.ceded_bytes) - before_bytes;
}

bool bp_pool_make_way(struct bp_pool *pool, size_t size_bytes)
{
    size_t spare_bytes = bp_arena_spare_bytes(&pool->arena);
    /* As much as was left the last time is what cannot be had: nothing was freed since. */
    if (spare_bytes < SPARE_MIN_BYTES || spare_bytes == bp_load_relaxed(&pool->spare_bytes))
        return false;
    size_t left_bytes = bp_os_is_quiet() ? 0 : bp_os_address_space_left_bytes();
    if (left_bytes == SIZE_MAX || size_bytes > left_bytes + spare_bytes)
        return false;
    /* What was never used goes first, as it costs nothing; with the rest the pool loses what makes it quick. */
    size_t before_bytes = bp_load_relaxed(&pool->arena.ceded_bytes);
    bp_arena_shrink(&pool->arena);
    size_t ceded_bytes = bp_load_relaxed(&pool->arena.ceded_bytes) - before_bytes;
    if (ceded_bytes == 0 || size_bytes + MARGIN_BYTES > left_bytes + ceded_bytes) {
        ceded_bytes += bp_pool_cede(pool);
        bp_store_relaxed(&pool->spare_bytes, bp_arena_spare_bytes(&pool->arena));
    }
    return ceded_bytes > 0;
}
