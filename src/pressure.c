/* SPDX-License-Identifier: MIT */
#include "pressure.h"

#include <stdlib.h>
#include <string.h>

#include "os.h"

/* Between two looks; after a notice one may come sooner. */
#define LOOK_INTERVAL_NS ((uint64_t)1000 * 1000 * 1000)
#define NOTICE_INTERVAL_NS ((uint64_t)100 * 1000 * 1000)
/* Tasks that stood still for this part of the time: what systemd calls pressure, too (200 ms in 2 s). */
enum { STALLED_PART = 10 };

void bp_pressure_init(struct bp_pressure *pressure, bool is_on, uint64_t now_ns)
{
    *pressure = (struct bp_pressure){.is_on = is_on, .looked_ns = now_ns};
}

uint64_t bp_pressure_due_ns(const struct bp_pressure *pressure)
{
    if (!pressure->is_on)
        return UINT64_MAX;
    if (bp_load_relaxed(&pressure->notice) != BP_NOTICE_NONE)
        return pressure->looked_ns + NOTICE_INTERVAL_NS;
    return pressure->is_blind && pressure->level == 0 ? UINT64_MAX : pressure->looked_ns + LOOK_INTERVAL_NS;
}

/* The number after `key` at the start of a line; 0 if there is no such line. */
static size_t number_of(const char *data, const char *key)
{
    size_t length = strlen(key);
    for (const char *line = data; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, length) == 0 && line[length] == ' ')
            return strtoul(line + length + 1, NULL, 10);
    }
    return 0;
}

/* Lines of memory.events.local ("max 3"), or the one number of version 1's memory.failcnt. */
static void add_events(const char *path, const char *data, void *context)
{
    (void)path;
    struct bp_pressure_counts *counts = context;
    counts->any = true;
    if (data[0] >= '0' && data[0] <= '9')
        counts->limits_met += strtoul(data, NULL, 10);
    counts->limits_met += number_of(data, "high") + number_of(data, "max");
    counts->limits_broken += number_of(data, "oom");
}

/* "some avg10=0.00 avg60=0.18 avg300=0.15 total=776563": the nearest cgroup's, which is visited first. */
static void note_stalls(const char *path, const char *data, void *context)
{
    (void)path;
    struct bp_pressure_counts *counts = context;
    const char *total = strncmp(data, "some ", 5) == 0 ? strstr(data, "total=") : NULL;
    if (counts->knows_stalls || !total)
        return;
    counts->any = true;
    counts->knows_stalls = true;
    counts->stalled_us = strtoul(total + 6, NULL, 10);
}

/* False when there is no descriptor left for it at the moment. */
static bool read_counts(struct bp_pressure_counts *ret_counts)
{
    struct bp_pressure_counts counts = {0};
    int error = bp_os_visit_cgroups("memory.events.local", "memory.failcnt", add_events, &counts);
    if (!bp_os_is_passing(error))
        error = bp_os_visit_cgroups("memory.pressure", NULL, note_stalls, &counts);
    char data[256];
    if (!counts.knows_stalls && bp_os_read_file("/proc/pressure/memory", data, sizeof data) > 0)
        note_stalls(NULL, data, &counts);
    *ret_counts = counts;
    return !bp_os_is_passing(error);
}

/* Which level the time from `before` to `now` asks for. Counts may fall: the process may have changed its cgroup. */
static size_t next_level(size_t level, bool told, const struct bp_pressure_counts *before,
                           const struct bp_pressure_counts *now, uint64_t elapsed_us)
{
    bool met = now->limits_met > before->limits_met;
    bool stalled = now->stalled_us > before->stalled_us &&
                   (now->stalled_us - before->stalled_us) * STALLED_PART >= elapsed_us;
    if (now->limits_broken > before->limits_broken)
        return BP_PRESSURE_MAX;
    if (told || stalled)
        return bp_min(bp_max(level, 1) + 1, BP_PRESSURE_MAX);
    /* Where nobody counts for how long tasks stand still, limits that are met again and again must do. */
    if (met && !now->knows_stalls)
        return bp_min(level + 1, BP_PRESSURE_MAX);
    return level > 1 ? level - 1 : met;
}

void bp_pressure_look(struct bp_pressure *pressure, uint64_t now_ns)
{
    bool told = atomic_exchange_explicit(&pressure->notice, BP_NOTICE_NONE, memory_order_relaxed) == BP_NOTICE_SHORT;
    if (!pressure->is_on || bp_os_is_quiet()) {
        pressure->level = 0;
        pressure->looked_ns = now_ns;
        return;
    }
    struct bp_pressure_counts counts = {0};
    bool is_new = pressure->is_blind || read_counts(&counts);
    if (is_new)
        pressure->is_blind = !counts.any;
    else
        counts = pressure->counts;
    struct bp_pressure_counts before = pressure->has_looked ? pressure->counts : counts;
    pressure->level = next_level(pressure->level, told, &before, &counts,
                                 bp_max((now_ns - pressure->looked_ns) / 1000, 1));
    pressure->counts = counts;
    pressure->has_looked = pressure->has_looked || is_new;
    pressure->looked_ns = now_ns;
}

size_t bp_pressure_relieve(const struct bp_pressure *pressure, struct bp_tcaches *caches,
                           struct bp_counters *counters)
{
    static const unsigned squeezes[] = {0, 0, 1, 3};
    struct bp_shards *shards = caches->shards;
    bp_budget_squeeze(shards->budget, squeezes[pressure->level]);
    if (pressure->level == 0)
        return 0;
    if (pressure->level > 1)
        (void)bp_tcaches_drain(caches, false, counters);
    size_t purged = bp_shards_purge_cold(shards, 0, SIZE_MAX, counters);
    for (unsigned place = 0; pressure->level > 1 && place < shards->arena->place_count; place++) {
        size_t hot_bytes = bp_shards_place_bytes(shards, place);
        purged += bp_shards_purge(shards, place, pressure->level == BP_PRESSURE_MAX ? hot_bytes : hot_bytes / 2,
                                  counters);
    }
    if (pressure->level > 1)
        (void)bp_tcaches_trim_live(caches, counters);
    bp_count(counters, BP_COUNT_pressure_events, 1);
    bp_count(counters, BP_COUNT_pressure_bytes, purged);
    return purged;
}
