/* SPDX-License-Identifier: MIT */
#include "sizeclass.h"

#include "support.h"

/* The smallest class whose stride holds the request at its latest start. */
static void check_class(size_t size_bytes)
{
    size_t class_index = bp_class_of(size_bytes);
    size_t stride_bytes = bp_class_stride_bytes(class_index);
    cr_assert_lt(class_index, BP_CLASS_COUNT);
    cr_assert_geq(stride_bytes, size_bytes + BP_COLOUR_BYTES, "%zu bytes: stride %zu", size_bytes, stride_bytes);
    cr_assert(class_index == 0 || stride_bytes / 2 < size_bytes + BP_COLOUR_BYTES, "%zu bytes: stride %zu is too much",
              size_bytes, stride_bytes);
}

Test(sizeclass, every_boundary_gets_the_smallest_stride_that_fits)
{
    for (unsigned shift = BP_STRIDE_SHIFT_MIN + 1; shift <= BP_STRIDE_SHIFT_MAX; shift++) {
        size_t largest = ((size_t)1 << shift) - BP_COLOUR_BYTES;
        for (size_t size = largest - 2; size <= largest + 2; size++) {
            if (size <= BP_SIZE_MAX_BYTES)
                check_class(size);
        }
        if (largest <= BP_SIZE_MAX_BYTES)
            check_size(bp_class_stride_bytes(bp_class_of(largest)), (size_t)1 << shift);
        if (largest + 1 <= BP_SIZE_MAX_BYTES)
            check_size(bp_class_stride_bytes(bp_class_of(largest + 1)), (size_t)2 << shift);
    }
}

Test(sizeclass, every_small_size_and_the_largest_fit)
{
    for (size_t size = 1; size <= 300 * BP_KIB; size++)
        check_class(size);
    check_class(BP_SIZE_MAX_BYTES - 1);
    check_class(BP_SIZE_MAX_BYTES);
}

Test(sizeclass, classes_grow_with_the_size)
{
    size_t previous = 0;
    for (size_t size = 1; size <= BP_SIZE_MAX_BYTES; size += size / 64 + 1) {
        cr_assert_geq(bp_class_of(size), previous);
        previous = bp_class_of(size);
    }
    check_size(bp_class_of(BP_SIZE_MAX_BYTES), BP_CLASS_COUNT - 1);
}

Test(sizeclass, strides_are_the_powers_of_two_in_order)
{
    for (size_t i = 0; i < BP_CLASS_COUNT; i++) {
        check_size(bp_class_stride_bytes(i), (size_t)4096 << i);
        check_size((size_t)1 << bp_class_stride_shift(i), bp_class_stride_bytes(i));
    }
    check_size(bp_class_stride_bytes(BP_CLASS_COUNT - 1), 32 * BP_GIB);
}

/* A slot starts at a multiple of its stride, so a block at its start is aligned when the stride is a multiple. */
Test(sizeclass, aligned_classes_start_at_multiples_and_fit)
{
    for (size_t align = 1; align <= BP_ALIGN_MAX_BYTES; align *= 2) {
        static const size_t sizes[] = {1, 4096, 65536, 100000, BP_MIB - 4096, BP_MIB, BP_GIB, BP_SIZE_MAX_BYTES};
        for (size_t i = 0; i < LENGTH(sizes); i++) {
            size_t class_index = bp_class_of_aligned(sizes[i], align);
            size_t stride_bytes = bp_class_stride_bytes(class_index);
            cr_assert_lt(class_index, BP_CLASS_COUNT);
            cr_assert_eq(stride_bytes % align, 0, "size %zu align %zu: stride %zu", sizes[i], align, stride_bytes);
            cr_assert_geq(stride_bytes, sizes[i] + BP_COLOUR_BYTES);
            cr_assert_geq(class_index, bp_class_of(sizes[i]));
        }
    }
}

Test(sizeclass, small_alignments_cost_nothing)
{
    for (size_t align = 1; align <= BP_COLOUR_BYTES; align *= 2)
        check_size(bp_class_of_aligned(100000, align), bp_class_of(100000));
}

Test(sizeclass, large_slots_begin_late_by_as_many_steps_as_fit)
{
    size_t step_bytes = 17 * 4096;
    for (size_t slot = 0; slot < 40; slot++) {
        check_size(bp_lateness_of(24 - BP_STRIDE_SHIFT_MIN, slot, step_bytes), 0);
        check_size(bp_lateness_of(25 - BP_STRIDE_SHIFT_MIN, slot, step_bytes), slot % 16 * step_bytes);
        check_size(bp_lateness_of(25 - BP_STRIDE_SHIFT_MIN, slot, 2 * BP_MIB), slot % 4 * 2 * BP_MIB);
        check_size(bp_lateness_of(30 - BP_STRIDE_SHIFT_MIN, slot, 2 * BP_MIB), slot % 16 * 2 * BP_MIB);
        check_size(bp_lateness_of(25 - BP_STRIDE_SHIFT_MIN, slot, BP_GIB), 0);
    }
}

Test(sizeclass, colours_visit_every_cache_line_of_a_page)
{
    enum { COLOURS = BP_COLOUR_BYTES / BP_COLOUR_STEP_BYTES };
    bool seen[COLOURS] = {false};
    for (size_t slot = 0; slot < COLOURS; slot++) {
        size_t colour = bp_colour_of(slot);
        cr_assert_lt(colour, BP_COLOUR_BYTES);
        cr_assert_eq(colour % BP_COLOUR_STEP_BYTES, 0);
        cr_assert_not(seen[colour / BP_COLOUR_STEP_BYTES], "colour %zu comes twice in one round", colour);
        seen[colour / BP_COLOUR_STEP_BYTES] = true;
        check_size(bp_colour_of(slot + COLOURS), colour);
    }
}
