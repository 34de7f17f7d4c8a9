/* SPDX-License-Identifier: MIT */
#ifndef BP_WATCH_H
#define BP_WATCH_H
/*
 * Watch: lets the background thread wait for the kernel to say that memory is short.
 *
 * Why:   a look once a second may be too late, and a program that sleeps does not look at all.
 * What:  the file, FIFO or socket that $MEMORY_PRESSURE_WATCH names (systemd's protocol); if there is none, a trigger
 *        of our own in memory.pressure of the cgroup or of the machine, where the kernel lets us; besides, changes of
 *        the cgroup's counts of limits that were met (memory.events.local).
 * Files: the thread has descriptors of its own (bp_out_leave_files). They are closed when it ends.
 * Layer: P2. May use process and all of src/.
 */
#include <poll.h>

#include "base.h"

enum { BP_WATCH_SHORT, BP_WATCH_LIMITS, BP_WATCH_COUNT };

struct bp_watch {
    struct pollfd polled[BP_WATCH_COUNT]; /* fd -1: nothing to watch */
};

/* Reads $MEMORY_PRESSURE_WATCH and $MEMORY_PRESSURE_WRITE: at the start, as a program may change its environment. */
void bp_watch_start(char *const *environment);
/* By the background thread, before all else. What cannot be opened is not watched. */
void bp_watch_open(struct bp_watch *watch);
/* Waits, at most for so long, and tells decay what there was. */
void bp_watch_wait(struct bp_watch *watch, uint64_t wait_ns);

#endif
