/* SPDX-License-Identifier: MIT */
#ifndef BP_MISUSE_H
#define BP_MISUSE_H
/*
 * Misuse: a program gave back what it does not have. One line says what it was; then the program is stopped, or goes on
 * as if it had not asked (BUFPOOL_ON_ERROR=warn).
 *
 * Layer:   4. Reads an arena, changes nothing.
 * Locking: none: a block that another thread is busy with may be described as it was a moment ago.
 * Noise:   a program that goes on is told of each kind of misuse once; the report counts all.
 * Blind:   a block freed twice that somebody else was given in between is, by its address, somebody's block.
 */
#include "arena.h"

/* Says what `p`, which is no live block of the arena, is instead; `call` is what it was given to. */
BP_COLD void bp_misuse_pointer(struct bp_arena *arena, enum bp_on_error on_error, const char *call, const void *p);
/* Says that the program freed a live block as one of another size or alignment. */
BP_COLD void bp_misuse_size(enum bp_on_error on_error, const char *call, const struct bp_slot *slot, size_t size_bytes,
                            size_t align_bytes);
/* Says that bytes behind a live block are not what they were. */
BP_COLD void bp_misuse_overrun(enum bp_on_error on_error, const char *call, const struct bp_slot *slot);

#endif
