/* SPDX-License-Identifier: MIT */
#ifndef BP_MEASURE_H
#define BP_MEASURE_H
/*
 * Measure: what the kernel says of an address range, from /proc/self/smaps. The pool's own sums are bounds: they count
 * pages that were promised, not pages that were touched.
 *
 * Cost:  the kernel walks all pages of the process: 1 ms for 500 MiB in small pages. For reports only.
 * Layer: 0.
 */
#include "base.h"

struct bp_os_lines;

struct bp_measured {
    size_t resident_bytes;
    size_t huge_bytes;         /* of these in huge pages of any kind */
    size_t lazily_freed_bytes; /* of these given back by MADV_FREE, which we never use: until memory is short */
};

/*
 * Mappings that overlap the range count as a whole: the kernel may have joined ours with a neighbour, such as the
 * pool's records. `lines` is room to read in. False: it cannot be told, and all is zero.
 */
bool bp_measure(const void *start, size_t bytes, struct bp_os_lines *lines, struct bp_measured *ret_measured);

#endif
