/* SPDX-License-Identifier: MIT */
#ifndef BP_CLOCK_H
#define BP_CLOCK_H
/*
 * The kernel's clocks, without a system call where the kernel's own page of code (vDSO) reads them.
 *
 * Why:     clock_gettime() by name may be a program's or a tool's that takes a lock, allocates, and so calls us.
 * Layer:   0.
 * Errors:  none. errno is preserved.
 */
#include <time.h>

#include "base.h"

/* Monotonic, some milliseconds coarse. */
uint64_t bp_clock_now_ns(void);
/* Since 1970. */
size_t bp_clock_seconds(void);

#endif
