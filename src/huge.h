/* SPDX-License-Identifier: MIT */
#ifndef BP_HUGE_H
#define BP_HUGE_H
/*
 * Huge: which slots may have huge pages (BUFPOOL_HUGEPAGES), so that memory is never spent on a page that a block uses
 * a part of.
 *
 * Why:     slots start at multiples of their stride, so the kernel, left alone, gives a block of 1.1 MiB a huge page of
 *          2 MiB; where it has a mapping of its own it would get none.
 * Which:   a class is *whole* if its blocks fill huge pages. Their dirty extents are whole huge pages, so what the
 *          pool counts is what is resident. All other classes are told to have none.
 *            inherit: strides from 8 MiB on, where the system gives huge pages unasked; other systems: none
 *            on:      strides from 4 MiB on; asked for, for large extents only once dense use was seen
 *            hugetlb: the same strides; pages of the reserved pool, while it lasts
 *            off:     none
 * Sparse:  a program that touches a block here and there must not get all of it. Up to 16 MiB that is a risk worth
 *          taking. Beyond it the kernel is asked whether what the slot had before, or the last such slot of the class,
 *          is mostly resident.
 * Layer:   2. Reads and writes hints only; relaxed.
 */
#include "atomic.h"
#include "options.h"
#include "sizeclass.h"

#define BP_HUGE_BYTES (2 * BP_MIB)

struct bp_huge {
    enum bp_hugepages mode;            /* const */
    size_t whole_stride_bytes;         /* const: classes from this stride on are whole; SIZE_MAX: none */
    _Atomic(size_t) advised_bytes;     /* ever asked for */
    _Atomic(size_t) hugetlb_bytes;     /* ever taken from the reserved pool */
    _Atomic(bool) said;                /* that the reserved pool has no more */
    _Atomic(bool) said_fork;
    struct {
        _Atomic(uintptr_t) address;
        _Atomic(size_t) bytes;
    } last[BP_CLASS_COUNT]; /* large extents, as evidence */
};

void bp_huge_init(struct bp_huge *huge, enum bp_hugepages mode);
/* Address space of the class that was mapped just now. */
void bp_huge_mapped(const struct bp_huge *huge, size_t class_index, void *address, size_t bytes);
/*
 * The dirty extent of a slot of a whole class grew. May map anew what was added, which nobody has used: true then, as
 * its binding to a memory node is gone.
 */
bool bp_huge_extended(struct bp_huge *huge, size_t class_index, char *base, size_t before_bytes, size_t after_bytes);
/* Says that pages of the reserved pool do not go well with a fork, if there were any. */
void bp_huge_prefork(struct bp_huge *huge);

static inline bool bp_huge_is_whole(const struct bp_huge *huge, size_t class_index)
{
    return bp_class_stride_bytes(class_index) >= huge->whole_stride_bytes;
}

/* Is the class told to have no huge pages? Where the system gives none unasked, large slots are left as they are. */
static inline bool bp_huge_is_denied(const struct bp_huge *huge, size_t class_index)
{
    bool can_fill = huge->mode == BP_HUGEPAGES_INHERIT && bp_class_stride_bytes(class_index) >= 4 * BP_HUGE_BYTES;
    return !can_fill && !bp_huge_is_whole(huge, class_index);
}

/* Purging a slot of the class must undo what bp_huge_extended() did, by mapping it anew. */
static inline bool bp_huge_must_renew(const struct bp_huge *huge, size_t class_index)
{
    return huge->mode >= BP_HUGEPAGES_ON && bp_huge_is_whole(huge, class_index);
}

#endif
