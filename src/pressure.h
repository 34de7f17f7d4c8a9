/* SPDX-License-Identifier: MIT */
#ifndef BP_PRESSURE_H
#define BP_PRESSURE_H
/*
 * Pressure: when the container or the machine runs short of memory, free memory goes back now.
 *
 * Why:     decay gives back what nobody needed; under pressure others need even what we would use again.
 * How:     now and then a look at what the kernel counts: how often the memory cgroup and those above it met their
 *          limits (memory.events.local; version 1: memory.failcnt), and how long tasks stood still for want of memory
 *          (memory.pressure of the cgroup, or of the machine). Each look gives a level:
 *            1  a limit was met, as it also is by a page cache that grows: what nobody needs goes at once
 *            2  and tasks stood still for a tenth of the time, or the kernel told so: caches are drained, half of
 *               what is hot goes, and half as much as usual may be cached
 *            3  and again, or a limit could not be kept: everything goes, and an eighth may be cached
 *          A look that finds nothing lowers it by one, so that what may be cached grows back step by step.
 * Layer:   8. No thread, no file descriptors: files are read at once and closed. Whoever waits for the kernel's
 *          notifications passes them on (bp_decay_notify).
 * Locking: `notice` is anybody's. The rest belongs to the thread that ticks (decay.h).
 * Errors:  a file that cannot be read says nothing. If none can, nobody looks again, but notices are heard.
 */
#include "tcache.h"

enum { BP_PRESSURE_MAX = 3 };

/* What somebody was told who waits for the kernel's notifications. */
enum bp_notice { BP_NOTICE_NONE, BP_NOTICE_LOOK, BP_NOTICE_SHORT };

/* What the kernel has counted so far. */
struct bp_pressure_counts {
    bool any;               /* something could be read */
    size_t limits_met;      /* by the process's cgroups */
    size_t limits_broken;   /* of those, the times that reclaiming did not help */
    bool knows_stalls;
    uint64_t stalled_us;    /* some task stood still */
};

struct bp_pressure {
    bool is_on;             /* const */
    _Atomic(size_t) notice; /* enum bp_notice since the last look */
    bool is_blind;          /* there is nothing to read */
    bool has_looked;        /* `counts` holds what an earlier look found */
    size_t level;           /* 0: none */
    uint64_t looked_ns;
    struct bp_pressure_counts counts;
};

void bp_pressure_init(struct bp_pressure *pressure, bool is_on, uint64_t now_ns);
/* When the next look is due; UINT64_MAX: never. */
uint64_t bp_pressure_due_ns(const struct bp_pressure *pressure);
/* Looks, and sets the level. */
void bp_pressure_look(struct bp_pressure *pressure, uint64_t now_ns);
/* Does what the level asks for, after a sweep. Returns the bytes given back, and counts them. */
size_t bp_pressure_relieve(const struct bp_pressure *pressure, struct bp_tcaches *caches,
                           struct bp_counters *counters);

#endif
