/* SPDX-License-Identifier: MIT */
#ifndef BP_PIN_H
#define BP_PIN_H
/*
 * Pins: memory of the pool that the kernel must not swap out (BUFPOOL_PIN=1).
 *
 * How:     locked as it is touched (MLOCK_ONFAULT): what was never touched stays absent, and a call locks any number of
 *          pages without a fault.
 * Bound:   the kernel keeps a mapping for each pinned piece and allows a process 65530; so many slots at most.
 * Failure: counted, and said once. The memory is then what it would have been.
 * Layer:   2. Which slots are pinned: see arena.h.
 */
#include "atomic.h"

struct bp_pins {
    bool wanted;             /* const */
    _Atomic(size_t) left;    /* atomic: slots that may still be pinned; relaxed, as are the others */
    _Atomic(size_t) bytes;   /* pinned now */
    _Atomic(size_t) refused; /* times that the kernel, or the bound, let nothing be pinned */
    _Atomic(bool) said;
};

void bp_pins_init(struct bp_pins *pins);
/* Locks more of a slot, or a first piece of it, which takes one of `left`. */
bool bp_pins_lock(struct bp_pins *pins, void *address, size_t bytes, bool is_first);
/* A slot has nothing pinned any more; what the kernel knows of it is the caller's business. */
void bp_pins_forget(struct bp_pins *pins);

#endif
