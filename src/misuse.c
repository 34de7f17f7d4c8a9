/* SPDX-License-Identifier: MIT */
#include "misuse.h"

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "out.h"

enum kind { FOREIGN, NEVER_GIVEN, INSIDE_LIVE, BESIDE_LIVE, FREED, INSIDE_FREED, WRONG_SIZE, OVERRUN };

static _Atomic(unsigned) said; /* a bit for each kind */

/* Ends the line and perhaps the program. The class is the stride of its slots. */
static void complain(struct bp_text *line, enum bp_on_error on_error, enum kind kind, const struct bp_slot *slot)
{
    bp_text_add(line, " (");
    if (slot) {
        bp_text_add(line, "class ");
        bp_text_add_bytes(line, bp_class_stride_bytes(slot->class_index));
        bp_text_add(line, ", ");
    }
    bp_text_add(line, "pid %d)", (int)getpid());
    if (on_error == BP_ON_ERROR_ABORT)
        bp_fatal("%s", line->data);
    unsigned bit = 1u << kind;
    if ((atomic_fetch_or_explicit(&said, bit, memory_order_relaxed) & bit) == 0)
        bp_say("%s", line->data);
}

/* Could a block of this free slot have started here? One with an alignment starts where its colour allows. */
static bool may_have_started(const struct bp_slot *slot, const char *p)
{
    uintptr_t difference = (uintptr_t)slot->home ^ (uintptr_t)p;
    if (difference >= BP_COLOUR_BYTES || p > slot->home)
        return false;
    size_t align = 1;
    while (align <= difference)
        align *= 2;
    return (uintptr_t)p % align == 0;
}

static enum kind describe(struct bp_text *line, const struct bp_slot *slot, const char *p)
{
    const char *live = bp_slot_block(slot);
    size_t size_bytes = bp_slot_size_bytes(slot);
    if (!live) {
        bool freed = may_have_started(slot, p);
        bp_text_add(line, freed ? "a block that is free already" : "inside a block that is free");
        return freed ? FREED : INSIDE_FREED;
    }
    if (p > live && p < live + size_bytes) {
        bp_text_add(line, "%zu bytes into the block of %zu bytes at %p", (size_t)(p - live), size_bytes,
                    (const void *)live);
        return INSIDE_LIVE;
    }
    bp_text_add(line, "%s the block of %zu bytes at %p", p < live ? "before" : "behind", size_bytes,
                (const void *)live);
    return BESIDE_LIVE;
}

void bp_misuse_pointer(struct bp_arena *arena, enum bp_on_error on_error, const char *call, const void *p)
{
    char data[256];
    struct bp_text line = {.data = data, .size = sizeof data};
    bp_text_add(&line, "%s(%p): ", call, p);
    if (!bp_arena_contains(arena, p)) {
        bp_text_add(&line, "not a block of this pool");
        complain(&line, on_error, FOREIGN, NULL);
        return;
    }
    /* Where blocks start; hardened ones end where they should instead. */
    if ((uintptr_t)p % (bp_arena_is_hardened(arena) ? _Alignof(max_align_t) : BP_COLOUR_STEP_BYTES) != 0)
        bp_text_add(&line, "unaligned, ");
    struct bp_owner *owner = bp_owner_at(arena, bp_arena_offset(arena, p));
    uintptr_t records = bp_owner_records(owner);
    const struct bp_slot *slot = records != 0 ? bp_slot_of(records, owner, p) : NULL;
    if (!slot || !slot->home) {
        bp_text_add(&line, "no block was ever there");
        complain(&line, on_error, NEVER_GIVEN, NULL);
        return;
    }
    complain(&line, on_error, describe(&line, slot, p), slot);
}

void bp_misuse_size(enum bp_on_error on_error, const char *call, const struct bp_slot *slot, size_t size_bytes,
                    size_t align_bytes)
{
    char data[256];
    struct bp_text line = {.data = data, .size = sizeof data};
    bp_text_add(&line, "%s(%p): as %zu bytes", call, (const void *)bp_slot_block(slot), size_bytes);
    if (align_bytes > 1)
        bp_text_add(&line, " aligned to %zu", align_bytes);
    bp_text_add(&line, ", but it is a block of %zu bytes", slot->size_bytes);
    complain(&line, on_error, WRONG_SIZE, slot);
}

void bp_misuse_overrun(enum bp_on_error on_error, const char *call, const struct bp_slot *slot)
{
    char data[256];
    struct bp_text line = {.data = data, .size = sizeof data};
    bp_text_add(&line, "%s(%p): something was written behind the block of %zu bytes", call,
                (const void *)bp_slot_block(slot), slot->size_bytes);
    complain(&line, on_error, OVERRUN, slot);
}
