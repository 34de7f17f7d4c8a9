/* SPDX-License-Identifier: MIT */
/* Extent: what of a slot has memory. Grows, is given back, is mapped anew; charged, guarded and pinned with that. */
#include <errno.h>

#include "arena.h"
#include "os.h"

void bp_arena_bind(const struct bp_arena *arena, unsigned place, void *start, size_t bytes)
{
    if (arena->numa)
        (void)bp_numa_bind(arena->numa, place, start, bytes, false);
}

int bp_arena_map_zeros(struct bp_arena *arena, const struct bp_slot *slot, char *start, size_t bytes, bool accessible)
{
    if (slot->torn)
        return -ENOMEM;
    int error = bp_os.renew(start, bytes, accessible);
    if (error == 0) {
        bp_huge_mapped(&arena->huge, slot->class_index, start, bytes);
        bp_arena_bind(arena, bp_slot_place(arena, slot), start, bytes);
    }
    return error;
}

int bp_arena_map_anew(struct bp_arena *arena, struct bp_slot *slot, char *start, size_t bytes)
{
    int error = bp_arena_map_zeros(arena, slot, start, bytes, !bp_load_relaxed(&arena->commit_is_charged));
    if (error == 0)
        slot->guarded = false;
    return error;
}

void bp_arena_set_dirty(struct bp_arena *arena, struct bp_slot *slot, size_t dirty_bytes)
{
    size_t colour = (size_t)(slot->home - bp_slot_base(arena, slot));
    if (slot->pinned)
        bp_add_relaxed(&arena->pins.bytes, dirty_bytes - slot->dirty_bytes);
    __atomic_store_n(&slot->dirty_bytes, dirty_bytes, __ATOMIC_RELAXED); /* see bp_slot_dirty_bytes() */
    slot->room_bytes = dirty_bytes > colour ? dirty_bytes - colour : 0;
}

/* Only where there are several places. */
static void add_to_place(struct bp_arena *arena, unsigned place, size_t bytes)
{
    if (arena->place_count > 1)
        bp_add_relaxed(&arena->places[place].footprint_bytes, bytes);
}

bool bp_arena_charge(struct bp_arena *arena, unsigned place, size_t bytes)
{
    if (!bp_budget_charge_footprint(arena->budget, bytes))
        return false;
    add_to_place(arena, place, bytes);
    return true;
}

void bp_arena_charge_anyway(struct bp_arena *arena, unsigned place, size_t bytes)
{
    bp_add_relaxed(&arena->budget->footprint_bytes, bytes);
    add_to_place(arena, place, bytes);
}

void bp_arena_uncharge(struct bp_arena *arena, unsigned place, size_t bytes)
{
    bp_budget_return_footprint(arena->budget, bytes);
    if (arena->place_count > 1)
        bp_sub_relaxed(&arena->places[place].footprint_bytes, bytes);
}

const char *bp_arena_flags(const struct bp_arena *arena, const struct bp_slot *slot)
{
    static const char *const flags[3][2] = {{"", "lo lf "}, {"nh ", "nh lo lf "}, {"hg ht de ", "hg ht de lo lf "}};
    bool is_huge = bp_huge_must_renew(&arena->huge, slot->class_index);
    return flags[is_huge ? 2 : bp_huge_is_denied(&arena->huge, slot->class_index)][slot->pinned];
}

/* A slot without guards gets them behind its first `bytes`; the rest becomes accessible. */
static bool guard_behind(struct bp_arena *arena, struct bp_slot *slot, size_t bytes)
{
    char *base = bp_slot_base(arena, slot);
    size_t reach_bytes = bp_slot_reach_bytes(arena, slot);
    if (reach_bytes > BP_GUARDED_MAX_BYTES || bp_os.commit(base, reach_bytes) != 0)
        return false;
    slot->guarded = bp_os.guard(base + bytes, reach_bytes - bytes) == 0;
    if (!slot->guarded)
        (void)bp_arena_map_anew(arena, slot, base, reach_bytes);
    return slot->guarded;
}

/* Makes a part of a slot accessible where that is done page by page; it is the first one if there are guards. */
static int open_pages(struct bp_arena *arena, struct bp_slot *slot, size_t start_bytes, size_t bytes)
{
    char *start = bp_slot_base(arena, slot) + start_bytes;
    if (slot->guarded)
        return bp_os.unguard(start, bytes);
    if (bp_load_relaxed(&arena->has_guards) && guard_behind(arena, slot, bytes))
        return 0;
    return bp_os.commit(start, bytes);
}

/* Takes the pages of a slot with guards away, unless the program changed more than their bytes. */
static bool guard_all(struct bp_arena *arena, const struct bp_slot *slot)
{
    return slot->guarded && !bp_slot_is_tainted(slot) && !bp_slot_wants_huge(slot) &&
           bp_os.guard(bp_slot_base(arena, slot), slot->dirty_bytes) == 0;
}

/* The kernel has let go of it, or is about to. */
static void forget_pin(struct bp_arena *arena, struct bp_slot *slot)
{
    if (!slot->pinned)
        return;
    slot->pinned = false;
    bp_sub_relaxed(&arena->pins.bytes, slot->dirty_bytes);
    bp_pins_forget(&arena->pins);
}

/* After the slot's extent grew to what it is. One whose pin was refused before is tried as a whole. */
BP_COLD static void pin(struct bp_arena *arena, struct bp_slot *slot, size_t before_bytes)
{
    char *base = bp_slot_base(arena, slot);
    size_t start_bytes = slot->pinned ? before_bytes : 0;
    if (bp_pins_lock(&arena->pins, base + start_bytes, slot->dirty_bytes - start_bytes, !slot->pinned)) {
        if (!slot->pinned)
            bp_add_relaxed(&arena->pins.bytes, slot->dirty_bytes);
        slot->pinned = true;
    } else if (slot->pinned) {
        (void)bp_os.unlock(base, before_bytes);
        forget_pin(arena, slot);
    }
}

int bp_arena_extend(struct bp_arena *arena, struct bp_slot *slot, size_t dirty_bytes)
{
    BP_ASSERT(dirty_bytes % arena->page_bytes == 0);
    BP_ASSERT(dirty_bytes <= bp_slot_reach_bytes(arena, slot));
    if (dirty_bytes <= slot->dirty_bytes)
        return 0;
    if (slot->torn)
        return -ENOMEM;
    dirty_bytes = bp_arena_whole_bytes(arena, slot->class_index, dirty_bytes);
    size_t added = dirty_bytes - slot->dirty_bytes;
    if (!bp_arena_charge(arena, bp_slot_place(arena, slot), added))
        return -EDQUOT;
    if (bp_load_relaxed(&arena->commit_is_charged)) {
        int error = open_pages(arena, slot, slot->dirty_bytes, added);
        if (error != 0) {
            bp_arena_uncharge(arena, bp_slot_place(arena, slot), added);
            return error;
        }
    }
    size_t before_bytes = slot->dirty_bytes;
    bp_arena_set_dirty(arena, slot, dirty_bytes);
    if (bp_huge_must_renew(&arena->huge, slot->class_index) &&
        bp_huge_extended(&arena->huge, slot->class_index, bp_slot_base(arena, slot), before_bytes, dirty_bytes) &&
        arena->numa)
        bp_numa_bind_reserved(arena->numa, bp_slot_place(arena, slot), bp_slot_base(arena, slot) + before_bytes, added);
    if (BP_UNLIKELY(arena->pins.wanted))
        pin(arena, slot, before_bytes);
    return 0;
}

/*
 * What a ceded slot gives back it never needs again. Pages go first, as whoever watches memory that goes is told then;
 * and the extent shrinks before the addresses may be somebody else's.
 */
static void cut(struct bp_arena *arena, struct bp_slot *slot, size_t keep_bytes)
{
    size_t cut_bytes = slot->dirty_bytes - keep_bytes;
    size_t gap_bytes = keep_bytes == 0 ? bp_slot_gap_bytes(arena, slot) : 0;
    char *start = bp_slot_base(arena, slot) + keep_bytes;
    (void)bp_os.purge(start, cut_bytes); /* refused for locked memory, which unmapping unlocks */
    bp_arena_set_dirty(arena, slot, keep_bytes);
    if (keep_bytes == 0)
        forget_pin(arena, slot);
    bp_arena_unmap(arena, start, cut_bytes + gap_bytes);
    bp_arena_uncharge(arena, bp_slot_place(arena, slot), cut_bytes);
}

size_t bp_arena_purge(struct bp_arena *arena, struct bp_slot *slot, size_t keep_bytes)
{
    keep_bytes = bp_arena_whole_bytes(arena, slot->class_index, keep_bytes);
    if (slot->dirty_bytes <= keep_bytes)
        return 0;
    size_t purged = slot->dirty_bytes - keep_bytes;
    if (BP_UNLIKELY(slot->ceded)) {
        cut(arena, slot, keep_bytes);
        return purged;
    }
    /* Moved pages may have left the extent's end within a huge page. */
    size_t bytes = bp_arena_whole_bytes(arena, slot->class_index, slot->dirty_bytes) - keep_bytes;
    char *start = bp_slot_base(arena, slot) + keep_bytes;
    /* What was moved to it lies in mappings of its own until then. */
    if (keep_bytes == 0 && (bp_slot_wants_huge(slot) || slot->seam_count > 0) && bp_arena_renew(arena, slot))
        return purged;
    if (BP_UNLIKELY(slot->pinned))
        (void)bp_os.unlock(start, purged); /* the kernel drops no locked pages */
    /* What is charged when it is committed must not stay so while it is free: others may be in need of it. */
    bool anew = bp_load_relaxed(&arena->commit_is_charged) || bp_huge_must_renew(&arena->huge, slot->class_index) ||
                bp_slot_is_tainted(slot); /* who grows into it again gets plain memory */
    if ((anew ? bp_arena_map_anew(arena, slot, start, bytes) : bp_os.purge(start, bytes)) != 0) {
        if (slot->pinned)
            (void)bp_os.lock(start, purged);
        return 0;
    }
    bp_arena_set_dirty(arena, slot, keep_bytes);
    if (keep_bytes == 0)
        forget_pin(arena, slot);
    bp_arena_uncharge(arena, bp_slot_place(arena, slot), purged);
    return purged;
}

bool bp_arena_renew(struct bp_arena *arena, struct bp_slot *slot)
{
    BP_ASSERT(slot->live == NULL);
    if (BP_UNLIKELY(slot->ceded)) {
        cut(arena, slot, 0);
        return true;
    }
    if (!guard_all(arena, slot) &&
        bp_arena_map_anew(arena, slot, bp_slot_base(arena, slot), bp_slot_reach_bytes(arena, slot)) != 0)
        return false;
    bp_arena_uncharge(arena, bp_slot_place(arena, slot), slot->dirty_bytes);
    forget_pin(arena, slot);
    bp_arena_set_dirty(arena, slot, 0);
    if (slot->seam_count > 0)
        bp_add_relaxed(&arena->moves_left, 1u); /* it is one mapping with its neighbours again */
    slot->seam_count = 0;
    __atomic_store_n(&slot->tainted, false, __ATOMIC_RELAXED);
    __atomic_store_n(&slot->wants_huge, false, __ATOMIC_RELAXED);
    return true;
}

static size_t late_bytes_of(const struct bp_arena *arena, const struct bp_slot *slot)
{
    return bp_class_stride_bytes(slot->class_index) - bp_slot_reach_bytes(arena, slot);
}

/* An empty slot begins so late from now on. Its seams count from its start, so it is one mapping again before. */
static bool begin(struct bp_arena *arena, struct bp_slot *slot, size_t late_bytes)
{
    size_t before_bytes = late_bytes_of(arena, slot);
    if (before_bytes != late_bytes && slot->seam_count > 0 && !bp_arena_renew(arena, slot))
        return false;
    slot->home = slot->home - before_bytes + late_bytes;
    return true;
}

void bp_arena_align_with(struct bp_arena *arena, struct bp_slot *empty, const struct bp_slot *other)
{
    if (empty->dirty_bytes == 0 && bp_class_stride_bytes(empty->class_index) >= BP_LATE_STRIDE_MIN_BYTES)
        (void)begin(arena, empty, late_bytes_of(arena, other) % BP_HUGE_BYTES);
}

bool bp_arena_settle(struct bp_arena *arena, struct bp_slot *slot, size_t size_bytes, size_t align_bytes)
{
    if (BP_LIKELY(late_bytes_of(arena, slot) == 0 ||
                  (size_bytes + BP_COLOUR_BYTES <= bp_slot_reach_bytes(arena, slot) &&
                   ((uintptr_t)bp_slot_base(arena, slot) & (align_bytes - 1)) == 0)))
        return true;
    (void)bp_arena_purge(arena, slot, 0);
    return slot->dirty_bytes == 0 && begin(arena, slot, 0);
}
