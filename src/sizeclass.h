/* SPDX-License-Identifier: MIT */
#ifndef BP_SIZECLASS_H
#define BP_SIZECLASS_H
/*
 * Size classes: one for every power of two of slot stride, from 4 KiB (a page, which no request fits with
 * its colour) to 32 GiB.
 *
 * Why:   address space is free, memory is not. A power-of-two stride makes class and slot number a bit count and a
 *        shift; a buffer touches only the pages it was asked for, so the rest of the stride costs nothing.
 * Layer: 1. Pure functions, no state.
 *
 * A request of n bytes gets a stride of at least n + BP_COLOUR_BYTES, so that the block can start up to a page late
 * (its colour: arrays that all start at one page offset fight for the same cache sets).
 */
#include "base.h"

enum {
    BP_STRIDE_SHIFT_MIN = 12,
    BP_STRIDE_SHIFT_MAX = 35,
    BP_CLASS_COUNT = BP_STRIDE_SHIFT_MAX - BP_STRIDE_SHIFT_MIN + 1,
    BP_COLOUR_STEP_BYTES = 64,   /* never 1..31: kernels copy to such offsets at a quarter of the speed on some CPUs */
    BP_COLOUR_BYTES = 4096,      /* colours are 0, 64, ... below this; also the smallest page, so a colour never
                                    leaves the first page */
};

#define BP_SIZE_MAX_BYTES ((size_t)16 << 30)
#define BP_ALIGN_MAX_BYTES ((size_t)1 << 30)
#define BP_LARGE_STRIDE_MIN_BYTES ((size_t)8 << 20)
#define BP_LATE_STRIDE_MIN_BYTES ((size_t)32 << 20)

_Static_assert(BP_SIZE_MAX_BYTES + BP_COLOUR_BYTES <= (size_t)1 << BP_STRIDE_SHIFT_MAX, "the largest request fits");
_Static_assert(BP_ALIGN_MAX_BYTES <= (size_t)1 << BP_STRIDE_SHIFT_MAX, "the largest alignment has a class");

/* The class of a request of `size_bytes`, 1..BP_SIZE_MAX_BYTES. */
BP_ALWAYS_INLINE size_t bp_class_of(size_t size_bytes)
{
    return bp_ceil_log2(size_bytes + BP_COLOUR_BYTES) - BP_STRIDE_SHIFT_MIN;
}

/* As bp_class_of(), with slots that start at a multiple of `align_bytes` (a power of two up to BP_ALIGN_MAX_BYTES). */
BP_ALWAYS_INLINE size_t bp_class_of_aligned(size_t size_bytes, size_t align_bytes)
{
    return bp_class_of(bp_max(size_bytes, bp_max(align_bytes, (size_t)2 * BP_COLOUR_BYTES) - BP_COLOUR_BYTES));
}

BP_ALWAYS_INLINE unsigned bp_class_stride_shift(size_t class_index)
{
    return (unsigned)class_index + BP_STRIDE_SHIFT_MIN;
}

BP_ALWAYS_INLINE size_t bp_class_stride_bytes(size_t class_index)
{
    return (size_t)1 << bp_class_stride_shift(class_index);
}

/*
 * Is a buffer of the class too large for a processor's cache to keep it beside others? Of these a thread holds one, the
 * one with the lowest address, and the rest waits in the shards: a loop that frees two takes the same one first each
 * time, and writes to less memory in all than if it took the newest.
 */
BP_ALWAYS_INLINE bool bp_class_is_large(size_t class_index)
{
    return bp_class_stride_bytes(class_index) >= BP_LARGE_STRIDE_MIN_BYTES;
}

/*
 * The colour of slot number `slot`. Consecutive slots differ by an odd multiple of 64 bytes that is far from its
 * neighbours: 64 steps visit all 64 cache-line offsets of a page.
 */
static inline size_t bp_colour_of(size_t slot)
{
    return slot * 27 % (BP_COLOUR_BYTES / BP_COLOUR_STEP_BYTES) * BP_COLOUR_STEP_BYTES;
}

/*
 * How long after its stride slot number `slot` of a large class begins: up to 15 steps, and a quarter of the stride.
 * Arrays that are walked together must differ in the page, too, or they fight for what the processor caches of page
 * tables: ten of 64 MiB took half as long again.
 */
static inline size_t bp_lateness_of(size_t class_index, size_t slot, size_t step_bytes)
{
    size_t stride_bytes = bp_class_stride_bytes(class_index);
    size_t step_count = stride_bytes < BP_LATE_STRIDE_MIN_BYTES ? 0 : bp_min(stride_bytes / 4 / step_bytes, 16);
    return step_count > 0 ? slot % step_count * step_bytes : 0;
}

#endif
