/* SPDX-License-Identifier: MIT */
#ifndef BP_HARDEN_H
#define BP_HARDEN_H
/*
 * Harden: errors of the program with its blocks hit inaccessible memory (BUFPOOL_HARDEN).
 *
 * Overruns:   a block ends where its last page does, as nearly as its alignment lets it. What lies between holds a
 *             canary, which is checked when the block is freed or reallocated. Pages beyond are not accessible, in the
 *             slot itself (so a class has room for one) and up to the next slot's start.
 * After free: no page of the slot is accessible. Its address waits in the arena's quarantine and comes back in random
 *             order.
 * How:        by guards in the page tables, where the kernel has them: two calls a block, which change no mapping. Else
 *             by protection, with two calls and two mappings a live block: beyond some 30,000 of them
 *             (vm.max_map_count) requests are forwarded. See bp_arena_harden().
 * Hit path:   may not be taken: thread caches and shards hold nothing, so every request and every free is slow.
 * Layer:      4.
 */
#include "arena.h"

/* The class whose slots hold a block of this size, at the end of a page, and a page more. */
size_t bp_harden_class_of(const struct bp_arena *arena, size_t size_bytes, size_t align_bytes);
/* Where in a clean slot a block goes; that is the slot's home from now on. */
char *bp_harden_place(const struct bp_arena *arena, struct bp_slot *slot, size_t size_bytes, size_t align_bytes);
/* Writes what must stay behind a live block. */
void bp_harden_seal(const struct bp_arena *arena, const struct bp_slot *slot);
/* Is it still there? Not to be asked of a tainted slot: its pages may be gone. */
bool bp_harden_is_intact(const struct bp_arena *arena, const struct bp_slot *slot);

#endif
