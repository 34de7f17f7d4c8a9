/* SPDX-License-Identifier: MIT */
#include "decay.h"

#include "os.h"

enum {
    /* The least that is purged at once: about 1 ms of work. */
    SLICE_MIN_BYTES = 16 * 1024 * 1024,
    /* The most of slack: nobody can change blocks meanwhile. */
    SLACK_MAX_BYTES = 4 * SLICE_MIN_BYTES,
    /* Between two slices; the clock may be coarser. */
    SLICE_PAUSE_NS = 1000 * 1000,
    FOLLOW_INTERVAL_NS = 1000 * 1000 * 1000,
};

/* When limits are to be looked at again that are a part of what memory there is. */
static uint64_t next_follow_ns(const struct bp_budget *budget, uint64_t now_ns)
{
    return bp_budget_is_share(budget) ? now_ns + FOLLOW_INTERVAL_NS : UINT64_MAX;
}

void bp_decay_init(struct bp_decay *decay, size_t decay_ms, const struct bp_budget *budget)
{
    uint64_t now_ns = bp_os.now_ns();
    uint64_t interval_ns = (uint64_t)decay_ms * 1000 * 1000 / 2;
    uint64_t follow_ns = next_follow_ns(budget, now_ns);
    *decay = (struct bp_decay){.interval_ns = interval_ns, .swept_ns = now_ns, .follow_ns = follow_ns};
    bp_store_relaxed(&decay->due_ns, decay_ms != 0 ? bp_min(now_ns + interval_ns, follow_ns) : follow_ns);
}

void bp_decay_after_fork(struct bp_decay *decay)
{
    bp_store_relaxed(&decay->ticking, false);
    bp_store_relaxed(&decay->pressure.notice, BP_NOTICE_NONE);
    for (unsigned i = 0; i < BP_COUNTER_COUNT; i++)
        bp_store_relaxed(&decay->counters.values[i], 0);
}

/* What passes a limit that was lowered goes, if need be from the caches of threads that use them. */
static void keep_limit(struct bp_decay *decay, struct bp_tcaches *caches)
{
    struct bp_budget *budget = caches->shards->budget;
    bp_budget_follow_memory(budget);
    size_t excess_bytes = bp_budget_excess_bytes(budget);
    if (excess_bytes == 0)
        return;
    size_t evicted_bytes = bp_shards_purge(caches->shards, 0, excess_bytes, &decay->counters);
    if (evicted_bytes < excess_bytes) {
        (void)bp_tcaches_drain(caches, false, &decay->counters);
        excess_bytes = bp_budget_excess_bytes(budget); /* allowances that held nothing are gone */
        evicted_bytes += bp_shards_purge(caches->shards, 0, excess_bytes, &decay->counters);
    }
    bp_count(&decay->counters, BP_COUNT_evicted_bytes, evicted_bytes);
}

static void sweep(struct bp_decay *decay, struct bp_tcaches *caches)
{
    (void)bp_tcaches_drain(caches, true, &decay->counters);
    bp_shards_sweep(caches->shards);
    keep_limit(decay, caches);
    decay->backlog_bytes = bp_shards_cold_bytes(caches->shards);
    bp_count(&decay->counters, BP_COUNT_sweeps, 1);
}

/* What must be purged now for the backlog to be gone half an interval after the sweep, however rare the ticks are. */
static size_t slice_bytes(const struct bp_decay *decay, size_t backlog_bytes, size_t now_bytes, uint64_t now_ns)
{
    uint64_t window_ms = bp_max(decay->interval_ns / 2 / 1000000, 1);
    uint64_t past_ms = bp_min((now_ns - decay->swept_ns) / 1000000, window_ms);
    size_t left_bytes = backlog_bytes / window_ms * (window_ms - past_ms);
    return bp_max(now_bytes - bp_min(now_bytes, left_bytes), SLICE_MIN_BYTES);
}

/* Counts in steps: the program may end, and a report be written, while another thread is here. */
static size_t purge_slice(struct bp_decay *decay, struct bp_shards *shards, uint64_t now_ns)
{
    size_t cold_bytes = bp_shards_cold_bytes(shards);
    size_t wanted = cold_bytes > 0 ? slice_bytes(decay, decay->backlog_bytes, cold_bytes, now_ns) : 0;
    size_t purged = 0;
    while (purged < wanted) {
        size_t step_bytes = bp_shards_purge_cold(shards, 0, bp_min(wanted - purged, SLICE_MIN_BYTES), &decay->counters);
        if (step_bytes == 0)
            break;
        bp_count(&decay->counters, BP_COUNT_decayed_bytes, step_bytes);
        purged += step_bytes;
    }
    return purged;
}

static size_t measure_slack(struct bp_decay *decay, struct bp_tcaches *caches)
{
    size_t slack_bytes = bp_tcaches_can_trim_live(caches) ? bp_arena_slack_bytes(caches->shards->arena) : 0;
    bp_store_relaxed(&decay->has_slack, slack_bytes >= SLICE_MIN_BYTES);
    return slack_bytes;
}

bool bp_decay_finds_slack(struct bp_decay *decay, struct bp_tcaches *caches)
{
    return decay->interval_ns != 0 && measure_slack(decay, caches) >= SLICE_MIN_BYTES;
}

/* After a sweep: is there slack, and did an interval pass in which blocks may have grown old? */
static void start_slack_look(struct bp_decay *decay, struct bp_tcaches *caches, uint64_t now_ns)
{
    size_t slack_bytes = measure_slack(decay, caches);
    if (now_ns < decay->slack_looked_ns + decay->interval_ns)
        return;
    decay->slack_looked_ns = now_ns;
    decay->slack_look++;
    decay->slack_backlog_bytes = decay->slack_left_bytes = slack_bytes >= SLICE_MIN_BYTES ? slack_bytes : 0;
}

/* In slices, as nobody can change blocks meanwhile. Returns what was given back: perhaps not all. */
static size_t trim_slack(struct bp_decay *decay, struct bp_tcaches *caches, uint64_t now_ns)
{
    if (decay->slack_left_bytes == 0)
        return 0;
    size_t wanted = slice_bytes(decay, decay->slack_backlog_bytes, decay->slack_left_bytes, now_ns);
    size_t trimmed_bytes =
        bp_tcaches_trim_old(caches, decay->slack_look, bp_min(wanted, SLACK_MAX_BYTES), &decay->counters);
    decay->slack_left_bytes -= bp_min(trimmed_bytes, decay->slack_left_bytes);
    if (trimmed_bytes == 0)
        decay->slack_left_bytes = 0;
    return trimmed_bytes;
}

void bp_decay_notify(struct bp_decay *decay, enum bp_notice notice)
{
    if (!decay->pressure.is_on)
        return;
    bp_raise_relaxed(&decay->pressure.notice, notice);
    bp_store_release(&decay->due_ns, 0); /* pairs with acquire in bp_decay_tick() */
}

/* What is to be done now. Returns when the next tick is due. */
static uint64_t work(struct bp_decay *decay, struct bp_tcaches *caches, uint64_t now_ns)
{
    struct bp_pressure *pressure = &decay->pressure;
    if (decay->interval_ns == 0) {
        if (bp_shards_want_sweep(caches->shards))
            sweep(decay, caches);
        else
            keep_limit(decay, caches);
        return next_follow_ns(caches->shards->budget, now_ns);
    }
    bool is_pressure_due = now_ns >= bp_pressure_due_ns(pressure);
    if (is_pressure_due)
        bp_pressure_look(pressure, now_ns);
    bool is_pressed = is_pressure_due && pressure->level > 0;
    bool sweeps = is_pressed || bp_shards_want_sweep(caches->shards) || now_ns >= decay->swept_ns + decay->interval_ns;
    if (sweeps) {
        sweep(decay, caches);
        decay->swept_ns = now_ns;
        start_slack_look(decay, caches, now_ns);
    } else if (now_ns >= decay->follow_ns) {
        keep_limit(decay, caches);
    }
    if (sweeps || now_ns >= decay->follow_ns)
        decay->follow_ns = next_follow_ns(caches->shards->budget, now_ns);
    if (is_pressure_due)
        (void)bp_pressure_relieve(pressure, caches, &decay->counters);

    bool has_more = purge_slice(decay, caches->shards, now_ns) > 0 && bp_shards_cold_bytes(caches->shards) > 0;
    has_more = trim_slack(decay, caches, now_ns) > 0 || has_more;
    if (has_more)
        return now_ns + SLICE_PAUSE_NS;
    return bp_min(bp_min(decay->swept_ns + decay->interval_ns, decay->follow_ns), bp_pressure_due_ns(pressure));
}

void bp_decay_tick(struct bp_decay *decay, struct bp_tcaches *caches, uint64_t now_ns)
{
    /* acquire and release: the fields of the thread that ticks pass from one to the next */
    if (atomic_exchange_explicit(&decay->ticking, true, memory_order_acquire))
        return;
    if (bp_shards_want_sweep(caches->shards) || bp_decay_is_due(decay, now_ns)) {
        /* acquire: pairs with release in bp_decay_notify(), whose time we may overwrite; then we see the notice */
        (void)bp_exchange_acq_rel(&decay->due_ns, work(decay, caches, now_ns));
        if (bp_load_relaxed(&decay->pressure.notice) != BP_NOTICE_NONE) /* one that came meanwhile */
            bp_store_relaxed(&decay->due_ns, 0);
    }
    bp_store_release(&decay->ticking, false);
}
