/* SPDX-License-Identifier: MIT */
#include "harden.h"

/* What malloc promises; a block of another size ends up to so many bytes before its page. */
enum { ALIGN_MIN_BYTES = 16 };

size_t bp_harden_class_of(const struct bp_arena *arena, size_t size_bytes, size_t align_bytes)
{
    return bp_class_of_aligned(size_bytes + 2 * arena->page_bytes, align_bytes);
}

char *bp_harden_place(const struct bp_arena *arena, struct bp_slot *slot, size_t size_bytes, size_t align_bytes)
{
    size_t room_bytes = bp_align_up(size_bytes, arena->page_bytes) - size_bytes;
    slot->home = bp_slot_base(arena, slot) + bp_align_down(room_bytes, bp_max(align_bytes, ALIGN_MIN_BYTES));
    return slot->home;
}

/* A byte that differs from process to process, from block to block and from place to place; never one of a text. */
static unsigned char canary(const struct bp_arena *arena, const char *p)
{
    return (unsigned char)(bp_mix(arena->secret + (uintptr_t)p) | 0x80);
}

static char *end_of_pages(const struct bp_arena *arena, const char *end)
{
    return (char *)bp_align_up((uintptr_t)end, arena->page_bytes); // NOLINT(performance-no-int-to-ptr)
}

void bp_harden_seal(const struct bp_arena *arena, const struct bp_slot *slot)
{
    char *end = bp_slot_block(slot) + slot->size_bytes;
    for (char *p = end; p < end_of_pages(arena, end); p++)
        *p = (char)canary(arena, p);
}

bool bp_harden_is_intact(const struct bp_arena *arena, const struct bp_slot *slot)
{
    const char *end = bp_slot_block(slot) + slot->size_bytes;
    for (const char *p = end; p < end_of_pages(arena, end); p++) {
        if ((unsigned char)*p != canary(arena, p))
            return false;
    }
    return true;
}
