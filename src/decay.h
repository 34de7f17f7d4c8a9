/* SPDX-License-Identifier: MIT */
#ifndef BP_DECAY_H
#define BP_DECAY_H
/*
 * Decay: free memory that nobody needed for a while goes back to the kernel.
 *
 * Why:     a pool that is fast because it never shrinks is a leak with good manners.
 * How:     every interval, half of the decay time, one thread sweeps: caches of idle threads are drained, and what a
 *          shard did not need since the last sweep becomes cold. Cold memory is then purged in slices over half an
 *          interval, so that no request waits for the whole of a burst. What was freed and never asked for again is so
 *          given back after one half to five quarters of the decay time.
 * Slack:   what live blocks leave unused of their slots is given back when they lived for an interval or two.
 * Demand:  a full budget may ask for a sweep out of turn (evict.h), even if time alone gives nothing back.
 * Limits:  those that are a part of what memory there is are set anew at every sweep, and once a second; what passes
 *          them goes.
 * Hurry:   under pressure (pressure.h) a sweep comes at once and everything it finds cold goes with it.
 * Layer:   9. There is no thread of ours: whoever passes by when a tick is due does the work.
 * Locking: none held by the tick itself; `ticking` admits one thread. Its fields belong to that thread.
 * Fork:    bp_decay_after_fork() in the child.
 */
#include "pressure.h"

struct bp_decay {
    uint64_t interval_ns;        /* const; 0: time alone gives nothing back */
    _Atomic(uint64_t) due_ns;    /* by the clock of bp_os: before it a tick has nothing to do; UINT64_MAX: never */
    _Atomic(bool) ticking;
    uint64_t swept_ns;           /* ticking: when the last sweep was */
    uint64_t follow_ns;          /* ticking: when limits are looked at again that may change */
    size_t backlog_bytes;        /* ticking: what it found cold */
    _Atomic(bool) has_slack;     /* live blocks left much unused when somebody last looked; relaxed */
    size_t slack_backlog_bytes;  /* ticking: how much, when it last looked for what is to be given back */
    size_t slack_left_bytes;     /* ticking: what of that may be left */
    size_t slack_look;           /* ticking: number of that look */
    uint64_t slack_looked_ns;    /* ticking: when that was */
    struct bp_pressure pressure; /* ticking, but for the notice */
    struct bp_counters counters; /* ticking writes */
};

void bp_decay_init(struct bp_decay *decay, size_t decay_ms, const struct bp_budget *budget);
void bp_decay_after_fork(struct bp_decay *decay);

/* The work itself, if it is due or wanted and no other thread is at it. */
void bp_decay_tick(struct bp_decay *decay, struct bp_tcaches *caches, uint64_t now_ns);

/* From whoever waits for the kernel's notifications: the next tick looks, or acts. */
void bp_decay_notify(struct bp_decay *decay, enum bp_notice notice);

/* Is there anything that time may give back, as far as is known? */
static inline bool bp_decay_has_work(const struct bp_decay *decay, const struct bp_budget *budget)
{
    return (bp_load_relaxed(&budget->cached_bytes) > 0 || bp_load_relaxed(&decay->has_slack)) &&
           bp_load_relaxed(&decay->due_ns) != UINT64_MAX;
}

/* A block shrank and kept what it left: there may be slack, which somebody is to look for. */
static inline void bp_decay_note_slack(struct bp_decay *decay)
{
    if (decay->interval_ns != 0)
        bp_store_relaxed(&decay->has_slack, true);
}

/* Looks for slack that time may give back, and notes what it saw. Any thread. */
bool bp_decay_finds_slack(struct bp_decay *decay, struct bp_tcaches *caches);

BP_ALWAYS_INLINE bool bp_decay_is_due(struct bp_decay *decay, uint64_t now_ns)
{
    return now_ns >= bp_load_relaxed(&decay->due_ns);
}

#endif
