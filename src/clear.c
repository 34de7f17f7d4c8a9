/* SPDX-License-Identifier: MIT */
#include "clear.h"

#include <errno.h>
#include <string.h>

#include "os.h"

enum {
    /* Below it writing is always right: it takes no longer than looking and a fault or two. */
    LOOK_MIN_BYTES = 16 * 1024 * 1024,
    /* Above it pages are always dropped. */
    WRITE_MAX_BYTES = 256 * 1024 * 1024,
    SAMPLES_MIN = 16,
    STRETCH_BYTES = 1024 * 1024,
};

/*
 * A page in every sixteenth, or nearly: the pages of half the size are among those of twice the size. At uneven
 * distances, as programs use memory at even ones.
 */
struct samples {
    char *start;
    size_t bytes;
    size_t step_bytes;
    size_t at;
};

static struct samples samples_of(const char *p, size_t bytes)
{
    char *start = (char *)bp_align_up((uintptr_t)p, bp_os_page_bytes()); // NOLINT(performance-no-int-to-ptr)
    size_t step_bytes = ((size_t)1 << (63 - __builtin_clzl(bytes))) / SAMPLES_MIN;
    return (struct samples){.start = start, .bytes = bytes - (size_t)(start - p), .step_bytes = step_bytes};
}

/* The next page, or NULL. */
static char *next_sample(struct samples *samples)
{
    size_t page_bytes = bp_os_page_bytes();
    size_t stretch = samples->at / STRETCH_BYTES;
    size_t offset = samples->at + stretch * stretch * 7 % (STRETCH_BYTES / page_bytes) * page_bytes;
    samples->at += samples->step_bytes;
    return offset + page_bytes <= samples->bytes ? samples->start + offset : NULL;
}

/* Where the kernel cannot tell: yes. */
static bool is_mostly_resident(const char *p, size_t bytes)
{
    struct samples samples = samples_of(p, bytes);
    size_t count = 0;
    size_t resident = 0;
    for (char *page; (page = next_sample(&samples)); count++)
        resident += bp_os.resident(page) != 0;
    return resident > count / 2;
}

enum bp_clear_by bp_clear_choose(struct bp_clear *clear, const struct bp_arena *arena, const struct bp_slot *slot,
                                 const char *p, size_t bytes)
{
    bool is_advised = bp_huge_must_renew(&arena->huge, slot->class_index);
    bool is_huge = bp_slot_wants_huge(slot) || bp_huge_is_whole(&arena->huge, slot->class_index);
    enum bp_clear_by dropping = bp_slot_wants_huge(slot) || is_advised ? BP_CLEAR_MAPPING : BP_CLEAR_DROPPING;
    /* The kernel drops no locked pages, and what is mapped anew is locked no more. */
    if (bytes < LOOK_MIN_BYTES || clear->always_writes || slot->pinned)
        return BP_CLEAR_WRITING;
    if (bytes > WRITE_MAX_BYTES) /* our own advice stays where it was right */
        return is_advised && is_mostly_resident(p, bytes) ? BP_CLEAR_DROPPING : dropping;
    _Atomic(size_t) *writes_left = &clear->writes_left[slot->class_index];
    if (bp_take_one_relaxed(writes_left))
        return BP_CLEAR_WRITING;
    bool was_probing = bp_load_relaxed(&clear->is_probing[slot->class_index]);
    bool is_dense = is_mostly_resident(p, bytes);
    bp_store_relaxed(&clear->is_probing[slot->class_index], is_dense && !was_probing && !is_huge);
    if (!is_dense)
        return dropping;
    if (!was_probing && !is_huge)
        return BP_CLEAR_PROBING;
    /* So that looking, and the faults that follow, cost one part in a hundred. */
    bp_store_relaxed(writes_left, WRITE_MAX_BYTES / bytes);
    return BP_CLEAR_WRITING;
}

static void write_zeros(char *p, size_t bytes, bool probe)
{
    memset(p, 0, bytes);
    if (!probe)
        return;
    struct samples samples = samples_of(p, bytes);
    for (char *page; (page = next_sample(&samples));)
        (void)bp_os.purge(page, bp_os_page_bytes());
}

/* 0, or a negative errno: the pages are as they were. */
static int drop_pages(struct bp_arena *arena, const struct bp_slot *slot, void *start, size_t bytes,
                      enum bp_clear_by by)
{
    switch (by) {
    case BP_CLEAR_DROPPING:
        return bp_os.purge(start, bytes);
    case BP_CLEAR_MAPPING:
        return bp_arena_map_zeros(arena, slot, start, bytes, true);
    default:
        return -EOPNOTSUPP;
    }
}

void bp_clear_bytes(struct bp_arena *arena, const struct bp_slot *slot, char *p, size_t bytes, enum bp_clear_by by)
{
    uintptr_t start = bp_align_up((uintptr_t)p, bp_os_page_bytes());
    uintptr_t end = bp_align_down((uintptr_t)p + bytes, bp_os_page_bytes());
    // NOLINTNEXTLINE(performance-no-int-to-ptr)
    if (drop_pages(arena, slot, (void *)start, end - start, by) != 0) {
        write_zeros(p, bytes, by == BP_CLEAR_PROBING);
        return;
    }
    size_t tail_offset = end - (uintptr_t)p;
    memset(p, 0, start - (uintptr_t)p);
    memset(p + tail_offset, 0, bytes - tail_offset);
}
