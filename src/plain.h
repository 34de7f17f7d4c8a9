/* SPDX-License-Identifier: MIT */
#ifndef BP_PLAIN_H
#define BP_PLAIN_H
/*
 * Plain: is memory that a program gave back still what it was given (BUFPOOL_PARANOID)?
 *
 * Why:     calls that change more than the bytes of a range are seen by the preload object (ranges.c). A program that
 *          makes system calls by number is not; so what is freed is held against what the kernel says of it.
 * Sources: /proc/self/smaps. The line of a mapping, which is all that /proc/self/maps has, shows holes, protection,
 *          sharing and files. Only VmFlags show locks, advice about fork, dumps, merging, huge pages and access
 *          patterns, and userfaultfd; a line of its own the protection key.
 * Blind:   NUMA policies, guard regions, registrations with devices; anonymous memory mapped where a part was unmapped.
 * Cost:    the kernel counts the pages of every mapping that it lists, up to the one that is wanted.
 * Layer:   0.
 */
#include "base.h"

/*
 * 1 if the range is what bp_os.commit() gave, perhaps with `flags` of our own ("hg lo "), 0 if not; a negative errno
 * when that cannot be found out.
 */
int bp_plain_check(const void *address, size_t bytes, const char *flags);

#endif
