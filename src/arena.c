/* SPDX-License-Identifier: MIT */
#include "arena.h"

#include <errno.h>
#include <string.h>

#include "os.h"

/*
 * How much address space: every class may at one time hold all memory, in slots of up to four times the request.
 * 24 classes x 4 = 96 times the memory; rounded up. The program's own limit (ulimit -v) leaves less: a quarter of it.
 */
#define RESERVATION_PER_MEMORY ((size_t)128)
#define RESERVATION_MIN_BYTES (16 * BP_MIB)
#define RESERVATION_DEFAULT_BYTES (4 * BP_TIB)
#define RESERVATION_MAX_BYTES (32 * BP_TIB)
/* For emulators that note each page: of 2 TiB, in qemu-user 7.2, in five minutes and 12 GiB. */
#define RESERVATION_EMULATED_BYTES (4 * BP_GIB)
/* The owner table: many units, so that small classes do not waste the reservation; of its 1 MiB little is touched. */
#define UNITS_COUNT ((size_t)65536)
#define UNIT_MIN_BYTES (256 * BP_KIB)
/* Address space is made accessible in steps of this size, to spare calls; pages that are never touched are free. */
#define COMMIT_STEP_BYTES (64 * BP_MIB)

/* A piece that is not accessible is worth the mappings of the kernel that it takes from here on. */
#define CLOSED_MIN_BYTES (256 * BP_KIB)

static size_t floor_pow2(size_t x)
{
    return (size_t)1 << (63 - __builtin_clzl(x | 1));
}

static size_t wanted_reservation_bytes(size_t space_left_bytes)
{
    if (space_left_bytes != SIZE_MAX)
        return floor_pow2(space_left_bytes / 4);
    if (!bp_os_has_vdso())
        return RESERVATION_EMULATED_BYTES;
    size_t memory = bp_os_memory_bytes();
    if (memory == 0 || memory > RESERVATION_MAX_BYTES / RESERVATION_PER_MEMORY)
        return memory == 0 ? RESERVATION_DEFAULT_BYTES : RESERVATION_MAX_BYTES;
    return bp_max(floor_pow2(memory * RESERVATION_PER_MEMORY), RESERVATION_DEFAULT_BYTES / 4);
}

int bp_arena_init(struct bp_arena *arena, struct bp_meta *meta, struct bp_budget *budget)
{
    *arena = (struct bp_arena){.meta = meta,
                               .budget = budget,
                               .page_bytes = bp_os_page_bytes(),
                               .huge.whole_stride_bytes = SIZE_MAX,
                               .place_count = 1};
    arena->places = &arena->only;
    bp_lock_init(&arena->lock, BP_RANK_ARENA);
    /* Emulators may keep pages that they say were dropped (qemu-user 7.2): there, too, memory is mapped anew. */
    bool charged = bp_os_commit_is_charged() || !bp_os_has_vdso();
    bp_store_relaxed(&arena->commit_is_charged, charged);
    /* Charged pages would have to be charged and committed anew at the other place. */
    bp_store_relaxed(&arena->can_move, !charged);

    size_t space_left_bytes = bp_os_address_space_left_bytes();
    arena->is_limited = space_left_bytes != SIZE_MAX;
    size_t bytes = wanted_reservation_bytes(space_left_bytes);
    for (; bytes >= RESERVATION_MIN_BYTES; bytes /= 2) {
        arena->reservation = bp_os.reserve(bytes);
        if (arena->reservation)
            break;
    }
    if (!arena->reservation)
        return -ENOMEM;
    arena->reservation_bytes = bytes;
    bp_os_name(arena->reservation, bytes, "bufpool");

    size_t unit_bytes = bp_max(bytes / UNITS_COUNT, UNIT_MIN_BYTES);
    arena->unit_shift = (unsigned)bp_ceil_log2(unit_bytes);
    uintptr_t start = bp_align_up((uintptr_t)arena->reservation, unit_bytes);
    uintptr_t end = bp_align_down((uintptr_t)arena->reservation + bytes, unit_bytes);
    /* A system call before the size: a free of what is not ours may read base and size while they are set. */
    bp_store_relaxed(&arena->base, start);
    arena->owners = bp_meta_alloc(meta, (end - start) / unit_bytes * sizeof arena->owners[0]);
    if (!arena->owners) {
        bp_arena_fini(arena);
        return -ENOMEM;
    }
    bp_store_release(&arena->bytes, end - start); /* pairs with acquire in bp_arena_contains() */
    return 0;
}

int bp_arena_use_places(struct bp_arena *arena, struct bp_numa *numa)
{
    if (numa && numa->count > 1) {
        arena->places = bp_meta_alloc(arena->meta, numa->count * sizeof *arena->places);
        if (!arena->places)
            return -ENOMEM;
        arena->place_count = numa->count;
    }
    arena->numa = numa;
    return 0;
}

void bp_arena_set_huge(struct bp_arena *arena, enum bp_hugepages mode)
{
    bp_huge_init(&arena->huge, mode);
    if (mode == BP_HUGEPAGES_HUGETLB)
        bp_store_relaxed(&arena->can_move, false);
}

void bp_arena_pin(struct bp_arena *arena)
{
    bp_pins_init(&arena->pins);
    bp_store_relaxed(&arena->can_move, false);
}

void bp_arena_after_fork(struct bp_arena *arena)
{
    if (!arena->pins.wanted)
        return;
    bool said = bp_load_relaxed(&arena->pins.said);
    bp_pins_init(&arena->pins);
    bp_store_relaxed(&arena->pins.said, said);
    for (const struct bp_span *span = arena->spans; span; span = span->next) {
        for (size_t i = 0; i < span->carved_count; i++)
            span->slots[i].pinned = false;
    }
}

void bp_arena_fini(struct bp_arena *arena)
{
    bp_store_relaxed(&arena->bytes, 0);
    if (bp_load_relaxed(&arena->is_torn))
        return;
    if (arena->reservation && !bp_load_relaxed(&arena->has_holes))
        (void)bp_os.unmap(arena->reservation, arena->reservation_bytes);
    else
        for (const struct bp_span *span = arena->spans; span; span = span->next)
            bp_arena_unmap_span(arena, span);
    arena->reservation = NULL;
}

void bp_arena_unmap(struct bp_arena *arena, char *start, size_t bytes)
{
    if (bytes > 0 && bp_os.unmap(start, bytes) == 0)
        bp_add_relaxed(&arena->ceded_bytes, bytes);
}

/* Unmaps the units that no span has, up to `end_unit`. */
static void unmap_gaps_locked(struct bp_arena *arena, size_t end_unit)
{
    BP_ASSERT(bp_lock_is_held(&arena->lock));
    char *region = (char *)bp_load_relaxed(&arena->base); // NOLINT(performance-no-int-to-ptr)
    for (size_t unit = 0; unit < end_unit; unit++) {
        if (bp_owner_records(&arena->owners[unit]) == 0)
            bp_arena_unmap(arena, region + (unit << arena->unit_shift), (size_t)1 << arena->unit_shift);
    }
}

/* Unmaps what lies behind the last slot of each span that was ever used. */
static void unmap_uncarved_locked(struct bp_arena *arena)
{
    for (struct bp_span *span = arena->spans; span; span = span->next) {
        size_t carved_bytes = span->carved_count << span->stride_shift;
        size_t unused_bytes = (span->slot_count - span->carved_count) << span->stride_shift;
        if (unused_bytes > 0)
            bp_arena_unmap(arena, span->base + carved_bytes, unused_bytes);
        span->slot_count = span->carved_count;
        span->committed_bytes = bp_min(span->committed_bytes, carved_bytes);
    }
}

void bp_arena_shrink(struct bp_arena *arena)
{
    (void)bp_lock_acquire(&arena->lock);
    if (!bp_load_relaxed(&arena->has_holes)) {
        size_t used_bytes = arena->next_unit << arena->unit_shift;
        char *start = arena->reservation;
        char *end = start + arena->reservation_bytes;
        char *base = (char *)bp_load_relaxed(&arena->base); // NOLINT(performance-no-int-to-ptr)
        char *used_end = base + used_bytes;
        /* First nothing there is ours, then it is somebody else's. */
        bp_store_release(&arena->has_holes, true);
        bp_store_relaxed(&arena->bytes, bp_min(used_bytes, bp_load_relaxed(&arena->bytes)));
        if (used_end < end)
            bp_arena_unmap(arena, used_end, (size_t)(end - used_end));
        if (start < base)
            bp_arena_unmap(arena, start, (size_t)(base - start));
        unmap_gaps_locked(arena, arena->next_unit);
        unmap_uncarved_locked(arena);
    }
    bp_lock_release(&arena->lock);
}

bool bp_arena_is_hole(struct bp_arena *arena, const void *p)
{
    if (BP_UNLIKELY(!bp_arena_contains(arena, p))) /* it was asked while the arena was made or shrunk */
        return true;
    if (!bp_load_acquire(&arena->has_holes)) /* pairs with release in bp_arena_shrink() */
        return false;
    struct bp_owner *owner = bp_owner_at(arena, bp_arena_offset(arena, p));
    uintptr_t records = bp_owner_records(owner);
    struct bp_slot *slot = records != 0 ? bp_slot_of(records, owner, p) : NULL;
    if (!slot || !slot->home)
        return true;
    /*
     * Relaxed: who has an address from the kernel got it after we let it go. Whether it is this slot that is ceded is
     * not asked, as its owner changes the bits beside that.
     */
    return bp_load_relaxed(&arena->is_ceded) &&
           (uintptr_t)p - (uintptr_t)bp_slot_base(arena, slot) >= bp_slot_dirty_bytes(slot);
}

/* Address space of a place and class that holds nothing. 0 or a negative errno. */
static int close_empty(const struct bp_arena *arena, unsigned place, size_t class_index, char *start, size_t bytes)
{
    int error = bp_os.close(start, bytes);
    if (error == 0) {
        bp_huge_mapped(&arena->huge, class_index, start, bytes);
        bp_arena_bind(arena, place, start, bytes);
    }
    return error;
}

/* What was made accessible in advance, where no slot was carved yet. */
static void take_back_uncarved_locked(struct bp_arena *arena)
{
    BP_ASSERT(bp_lock_is_held(&arena->lock));
    for (struct bp_span *span = arena->spans; span; span = span->next) {
        size_t carved_bytes = span->carved_count << span->stride_shift;
        size_t bytes = span->committed_bytes - bp_min(span->committed_bytes, carved_bytes);
        char *start = span->base + carved_bytes;
        if (bytes > 0 && close_empty(arena, span->place, span->class_index, start, bytes) == 0)
            span->committed_bytes = carved_bytes;
    }
}

static void take_back_clean_locked(struct bp_arena *arena, const struct bp_arena_place *place)
{
    for (size_t class_index = 0; class_index < BP_CLASS_COUNT; class_index++) {
        size_t stride_bytes = bp_class_stride_bytes(class_index);
        for (struct bp_slot *slot = place->clean[class_index]; slot; slot = slot->next) {
            char *end = bp_slot_base(arena, slot) + bp_slot_reach_bytes(arena, slot);
            if (slot->dirty_bytes == 0 &&
                close_empty(arena, bp_slot_place(arena, slot), class_index, end - stride_bytes, stride_bytes) == 0)
                slot->guarded = false;
        }
    }
}

void bp_arena_charge_commit(struct bp_arena *arena)
{
    bp_store_relaxed(&arena->commit_is_charged, true);
    bp_store_relaxed(&arena->has_guards, false); /* what they guard is charged; locked memory can have none */
    bp_store_relaxed(&arena->can_move, false);
    (void)bp_lock_acquire(&arena->lock);
    take_back_uncarved_locked(arena);
    for (unsigned i = 0; i < arena->place_count; i++)
        take_back_clean_locked(arena, &arena->places[i]);
    bp_lock_release(&arena->lock);
}

static void close_piece(struct bp_arena *arena, const struct bp_slot *slot, char *start, size_t bytes,
                        size_t *mappings_left)
{
    if (bytes >= CLOSED_MIN_BYTES && *mappings_left >= 2 && !slot->torn &&
        close_empty(arena, bp_slot_place(arena, slot), slot->class_index, start, bytes) == 0)
        *mappings_left -= 2;
}

void bp_arena_close_slots(struct bp_arena *arena)
{
    size_t mappings_left = bp_os.mappings_left() / 2;
    (void)bp_lock_acquire(&arena->lock);
    for (const struct bp_span *span = arena->spans; span; span = span->next) {
        for (size_t i = 0; i < span->carved_count; i++) {
            const struct bp_slot *slot = &span->slots[i];
            char *start = span->base + (i << span->stride_shift);
            char *base = bp_slot_base(arena, slot);
            if (slot->dirty_bytes == 0) /* clean: see bp_arena_charge_commit() */
                continue;
            close_piece(arena, slot, start, (size_t)(base - start), &mappings_left);
            close_piece(arena, slot, base + slot->dirty_bytes, bp_slot_reach_bytes(arena, slot) - slot->dirty_bytes,
                        &mappings_left);
        }
    }
    bp_lock_release(&arena->lock);
}

/*
 * A new span for the place and class: one unit, or as many as a slot needs. Aligned to the stride, so that a slot is
 * aligned to its size; the units skipped for that are lost, which is address space only.
 */
static struct bp_span *add_span_locked(struct bp_arena *arena, unsigned place, size_t class_index)
{
    BP_ASSERT(bp_lock_is_held(&arena->lock));
    size_t unit_bytes = (size_t)1 << arena->unit_shift;
    size_t stride_bytes = bp_class_stride_bytes(class_index);
    size_t span_bytes = bp_max(unit_bytes, stride_bytes);
    uintptr_t region = bp_load_relaxed(&arena->base);
    uintptr_t start = bp_align_up(region + (arena->next_unit << arena->unit_shift), stride_bytes);
    size_t end = start - region + span_bytes;
    if (end > bp_load_relaxed(&arena->bytes))
        return NULL;

    struct bp_span *span = bp_meta_alloc(arena->meta, sizeof *span);
    size_t slot_count = span_bytes / stride_bytes;
    struct bp_slot *slots = bp_meta_alloc(arena->meta, slot_count * sizeof *slots);
    if (!span || !slots)
        return NULL;
    *span = (struct bp_span){
        .base = (char *)start, // NOLINT(performance-no-int-to-ptr)
        .slots = slots,
        .next = arena->spans,
        .stride_shift = bp_class_stride_shift(class_index),
        .place = place,
        .class_index = class_index,
        .slot_count = slot_count,
    };
    bp_huge_mapped(&arena->huge, class_index, span->base, span_bytes);
    bp_arena_bind(arena, place, span->base, span_bytes);
    arena->spans = span;
    arena->next_unit = end >> arena->unit_shift;
    uintptr_t records = (uintptr_t)slots - (start >> span->stride_shift) * sizeof *slots;
    for (size_t unit = (start - region) >> arena->unit_shift; unit < arena->next_unit; unit++) {
        struct bp_owner *owner = &arena->owners[unit];
        owner->key = bp_key_of(place, span->stride_shift);
        bp_store_release(&owner->records, records); /* pairs with acquire in bp_owner_records() */
    }
    return span;
}

/* Makes the first `bytes` of the span accessible, in larger steps than asked for. */
static int commit_locked(const struct bp_arena *arena, struct bp_span *span, size_t bytes)
{
    if (bp_load_relaxed(&arena->commit_is_charged) || bytes <= span->committed_bytes)
        return 0;
    size_t span_bytes = span->slot_count << span->stride_shift;
    size_t target = bp_min(bp_max(bytes, span->committed_bytes + COMMIT_STEP_BYTES), span_bytes);
    int error = bp_os.commit(span->base + span->committed_bytes, target - span->committed_bytes);
    if (error == 0)
        span->committed_bytes = target;
    return error;
}

/* Where in its stride a slot begins, and a block in the slot's first page. Numbers go on from span to span. */
static size_t home_offset(struct bp_arena *arena, const struct bp_span *span, size_t number)
{
    number += (bp_arena_offset(arena, span->base) >> span->stride_shift) + span->class_index;
    size_t step_bytes = bp_huge_is_whole(&arena->huge, span->class_index) ? BP_HUGE_BYTES : 17 * arena->page_bytes;
    size_t late_bytes = !bp_arena_is_hardened(arena) ? bp_lateness_of(span->class_index, number, step_bytes) : 0;
    return late_bytes + bp_colour_of(number);
}

static struct bp_slot *carve_locked(struct bp_arena *arena, unsigned place, size_t class_index)
{
    BP_ASSERT(bp_lock_is_held(&arena->lock));
    struct bp_span *span = arena->places[place].current[class_index];
    if (!span || span->carved_count == span->slot_count) {
        span = add_span_locked(arena, place, class_index);
        if (!span)
            return NULL;
        arena->places[place].current[class_index] = span;
    }
    size_t number = span->carved_count;
    if (commit_locked(arena, span, (number + 1) << span->stride_shift) != 0)
        return NULL;
    span->carved_count++;
    struct bp_slot *slot = &span->slots[number];
    slot->home = span->base + (number << span->stride_shift) + home_offset(arena, span, number);
    slot->class_index = (uint8_t)class_index;
    return slot;
}

/* --- the order in which slots are used, for a hardened arena ------------------------------------------------------ */

/* So many slots are there to choose from, where the class has a span with as many. */
enum { CHOICE_SLOTS = 16 };

void bp_arena_harden(struct bp_arena *arena)
{
    uint64_t words[2] = {0};
    const void *bytes = bp_os_random_bytes();
    if (bytes)
        memcpy(words, bytes, sizeof words);
    arena->secret = bp_mix(words[0]) ^ bp_mix(words[1] + (uintptr_t)arena->reservation);
    arena->random = bp_mix(arena->secret);
    arena->next_unit = 1; /* before the first slot lies what is not accessible, too */
    /* A kernel without guards refuses this one, which does no harm there. */
    void *first = (void *)bp_load_relaxed(&arena->base); // NOLINT(performance-no-int-to-ptr)
    bool charged = bp_load_relaxed(&arena->commit_is_charged) || arena->pins.wanted;
    bp_store_relaxed(&arena->has_guards, !charged && bp_os.guard(first, arena->page_bytes) == 0);
    bp_store_relaxed(&arena->commit_is_charged, true);
    bp_store_relaxed(&arena->can_move, false);
    arena->huge.whole_stride_bytes = SIZE_MAX; /* blocks end at a page */
}

static size_t random_below_locked(struct bp_arena *arena, size_t limit)
{
    arena->random += UINT64_C(0x9e3779b97f4a7c15);
    return bp_mix(arena->random) % limit;
}

/* The link to one of the first slots of the clean list, after carving some; NULL when there is none. */
static struct bp_slot **choose_locked(struct bp_arena *arena, unsigned place, size_t class_index)
{
    struct bp_slot **head = &arena->places[place].clean[class_index];
    size_t count = 0;
    for (const struct bp_slot *slot = *head; slot && count < CHOICE_SLOTS; slot = slot->next)
        count++;
    const struct bp_span *span = arena->places[place].current[class_index];
    while (count < CHOICE_SLOTS && (count == 0 || (span && span->carved_count < span->slot_count))) {
        struct bp_slot *slot = carve_locked(arena, place, class_index);
        if (!slot)
            break;
        slot->next = *head;
        *head = slot;
        span = arena->places[place].current[class_index];
        count++;
    }
    if (count == 0)
        return NULL;
    for (size_t steps = random_below_locked(arena, count); steps > 0; steps--)
        head = &(*head)->next;
    return head;
}

/* One of the class that waits in the quarantine, when there is no other. */
static struct bp_slot *release_locked(struct bp_arena *arena, unsigned place, size_t class_index)
{
    for (size_t i = 0; i < arena->quarantine_count; i++) {
        struct bp_slot *slot = arena->quarantine[i];
        if (slot->class_index == class_index && bp_slot_place(arena, slot) == place) {
            arena->quarantine[i] = arena->quarantine[--arena->quarantine_count];
            return slot;
        }
    }
    return NULL;
}

static struct bp_slot *take_random_locked(struct bp_arena *arena, unsigned place, size_t class_index)
{
    struct bp_slot **link = choose_locked(arena, place, class_index);
    if (!link)
        return release_locked(arena, place, class_index);
    struct bp_slot *slot = *link;
    *link = slot->next;
    return slot;
}

/* Takes a slot in; returns the one that leaves for it, or NULL. */
static struct bp_slot *detain_locked(struct bp_arena *arena, struct bp_slot *slot)
{
    BP_ASSERT(bp_lock_is_held(&arena->lock));
    if (arena->quarantine_count < BP_QUARANTINE_SLOTS) {
        arena->quarantine[arena->quarantine_count++] = slot;
        return NULL;
    }
    size_t i = random_below_locked(arena, BP_QUARANTINE_SLOTS);
    struct bp_slot *leaving = arena->quarantine[i];
    arena->quarantine[i] = slot;
    return leaving;
}

/* ------------------------------------------------------------------------------------------------------------------ */

static struct bp_slot *take_locked(struct bp_arena *arena, unsigned place, size_t class_index)
{
    BP_ASSERT(bp_lock_is_held(&arena->lock));
    if (BP_UNLIKELY(bp_arena_is_hardened(arena)))
        return take_random_locked(arena, place, class_index);
    struct bp_slot **clean = &arena->places[place].clean[class_index];
    struct bp_slot *slot = *clean;
    if (!slot)
        return carve_locked(arena, place, class_index);
    *clean = slot->next;
    return slot;
}

struct bp_slot *bp_arena_take(struct bp_arena *arena, unsigned place, size_t class_index)
{
    for (;;) {
        (void)bp_lock_acquire(&arena->lock);
        struct bp_slot *slot = take_locked(arena, place, class_index);
        bp_lock_release(&arena->lock);
        /* One that the program touched while it was free, and that cannot be mapped anew, is given up. */
        if (!slot || BP_LIKELY(!bp_slot_is_tainted(slot)) || bp_arena_renew(arena, slot))
            return slot;
    }
}

void bp_arena_put(struct bp_arena *arena, struct bp_slot *slot)
{
    BP_ASSERT(slot->live == NULL);
    if (slot->torn)
        return;
    (void)bp_lock_acquire(&arena->lock);
    if (BP_UNLIKELY(bp_arena_is_hardened(arena)))
        slot = detain_locked(arena, slot);
    if (slot) {
        struct bp_slot **clean = &arena->places[bp_slot_place(arena, slot)].clean[slot->class_index];
        slot->next = *clean;
        *clean = slot;
    }
    bp_lock_release(&arena->lock);
}
