/* SPDX-License-Identifier: MIT */
#ifndef BP_BOOT_H
#define BP_BOOT_H
/*
 * Boot: memory for the few requests made before the underlying allocator can be found.
 *
 * Why:     the dynamic loader and dlsym() call malloc while we look for malloc.
 * Layer:   P0. May use base, atomic, out and os of src/.
 * Owns:    its blocks for ever: they are recognised by address and never used again.
 * Locking: none; one atomic bump pointer.
 */
#include "base.h"

/* A zeroed block, or NULL when the arena is full. */
void *bp_boot_alloc(size_t size_bytes, size_t align_bytes);
bool bp_boot_contains(const void *p);
/* Was anything ever handed out? */
bool bp_boot_used(void);
/* The size that a block was asked for with. */
size_t bp_boot_size_bytes(const void *p);

#endif
