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
    SAMPLES = 16,
    /* Writes between two probes, at first and at last. A probe costs as much as four to eight writes. */
    WRITES_MIN = 32,
    WRITES_MAX = 2048,
};

/*
 * Of pages spread over the range, are most resident? Where the kernel cannot tell: yes. One page of each sixteenth, at
 * uneven distances: programs use memory at even ones.
 */
static bool is_mostly_resident(const char *p, size_t bytes)
{
    size_t page_bytes = bp_os_page_bytes();
    size_t part_pages = bytes / SAMPLES / page_bytes;
    unsigned resident = 0;
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t page = i * part_pages + i * i * i * 7 % part_pages;
        uintptr_t address = bp_align_down((uintptr_t)p, page_bytes) + page * page_bytes;
        resident += bp_os.resident((const void *)address) != 0; // NOLINT(performance-no-int-to-ptr)
    }
    return resident > SAMPLES / 2;
}

bool bp_clear_should_drop(struct bp_clear *clear, size_t class_index, const char *p, size_t bytes)
{
    if (bytes < LOOK_MIN_BYTES)
        return false;
    if (bytes > WRITE_MAX_BYTES)
        return true;
    struct bp_clear_class *class = &clear->classes[class_index];
    if (bp_take_one_relaxed(&class->writes_left))
        return false;
    if (!is_mostly_resident(p, bytes)) {
        bp_store_relaxed(&class->writes, 0);
        bp_store_relaxed(&class->is_probing, true);
        return true;
    }
    bool was_probing = bp_load_relaxed(&class->is_probing);
    bp_store_relaxed(&class->is_probing, !was_probing);
    if (was_probing) { /* and it was touched all over again */
        size_t writes = bp_min(bp_max(4 * bp_load_relaxed(&class->writes), WRITES_MIN), WRITES_MAX);
        bp_store_relaxed(&class->writes, writes);
        bp_store_relaxed(&class->writes_left, writes);
    }
    return !was_probing;
}

enum bp_clear_by bp_clear_choose(struct bp_clear *clear, const struct bp_slot *slot, const char *p, size_t bytes)
{
    if (!bp_clear_should_drop(clear, slot->class_index, p, bytes))
        return BP_CLEAR_WRITING;
    return bp_slot_wants_huge(slot) ? BP_CLEAR_MAPPING : BP_CLEAR_DROPPING;
}

/* 0, or a negative errno: the pages are as they were. */
static int drop_pages(void *start, size_t bytes, enum bp_clear_by by)
{
    switch (by) {
    case BP_CLEAR_DROPPING:
        return bp_os.purge(start, bytes);
    case BP_CLEAR_MAPPING:
        return bp_os.renew(start, bytes, true);
    default:
        return -EOPNOTSUPP;
    }
}

void bp_clear_bytes(char *p, size_t bytes, enum bp_clear_by by)
{
    uintptr_t start = bp_align_up((uintptr_t)p, bp_os_page_bytes());
    uintptr_t end = bp_align_down((uintptr_t)p + bytes, bp_os_page_bytes());
    // NOLINTNEXTLINE(performance-no-int-to-ptr)
    if (drop_pages((void *)start, end - start, by) != 0) {
        memset(p, 0, bytes);
        return;
    }
    size_t tail_offset = end - (uintptr_t)p;
    memset(p, 0, start - (uintptr_t)p);
    memset(p + tail_offset, 0, bytes - tail_offset);
}
