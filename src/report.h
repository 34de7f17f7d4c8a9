/* SPDX-License-Identifier: MIT */
#ifndef BP_REPORT_H
#define BP_REPORT_H
/*
 * Report: what a pool did, as numbers, as text for people and as JSON for programs.
 *
 * Layer:     10. Reads only; other threads may go on meanwhile, so sums of a running program are a moment's view.
 * Invariant: large_requests == thread_cache_hits + shard_hits + stolen + fresh + forwarded.
 *            live_bytes + cached_bytes == footprint_bytes, exactly when the pool is at rest. Those of the places add
 *            up to them; so do their local and remote hits to those of thread caches and shards, stolen ones included.
 */
#include "out.h"
#include "pool.h"
#include "survey.h"

enum { BP_REPORT_SCHEMA_VERSION = 1 };

struct bp_class_stats {
    size_t stride_bytes;
    size_t requests;
    size_t thread_cache_hits;
    size_t shard_hits;
    size_t stolen;
    size_t fresh;
    size_t hit_bytes;
};

/* What happened at one place, where there are several: requests by the thread's place, memory by its own. */
struct bp_place_stats {
    unsigned node; /* BP_NO_NODE: that of the program's own policy */
    size_t live_bytes;
    size_t cached_bytes;
    size_t local_hits;
    size_t remote_hits;
    size_t stolen;
    size_t fresh;
    size_t fallbacks; /* fresh memory although the node was full, and ranges that could not be bound */
    struct bp_survey survey;
};

struct bp_stats_snapshot {
    size_t large_requests;
    size_t thread_cache_hits;
    size_t shard_hits;
    size_t stolen;
    size_t fresh;
    size_t forwarded;
    size_t live_bytes;
    size_t cached_bytes;
    size_t footprint_bytes;
    size_t peak_live_bytes;
    size_t peak_cached_bytes;
    size_t mean_cached_bytes;
    size_t peak_footprint_bytes;
    size_t cache_limit_bytes;
    size_t footprint_limit_bytes; /* 0: none */
    size_t pinned_bytes;
    size_t pins_refused;
    size_t huge_advised_bytes; /* ever */
    size_t hugetlb_bytes;      /* ever */
    size_t resident_bytes;     /* these three: as bp_report_measure() found it, or zero */
    size_t huge_bytes;
    size_t lazily_freed_bytes;
    size_t threads;
    size_t faults_avoided;
    size_t syscalls_avoided;
    size_t counters[BP_COUNTER_COUNT];
    struct bp_class_stats classes[BP_CLASS_COUNT];
    unsigned place_count; /* 0 where there is one place */
    struct bp_place_stats places[BP_PLACES_MAX];
};

enum bp_report_reason { BP_REPORT_AT_END, BP_REPORT_ON_SIGNAL };

/* Whom a report is about, and why it is made. */
struct bp_report_subject {
    const char *program;
    const char *mode;
    const char *mode_reason; /* what keeps requests from the pool; NULL or empty: nothing */
    int pid;
    enum bp_report_reason reason;
};

void bp_report_snapshot(struct bp_pool *pool, struct bp_stats_snapshot *ret_stats);
struct bp_os_lines;

/* Adds what the kernel says of the pool's memory. `lines` is room to read in. */
void bp_report_measure(const struct bp_pool *pool, struct bp_os_lines *lines, struct bp_stats_snapshot *stats);
/* Hits of every source in tenths of a per mille of the requests: 9950 is 99.50 %. */
size_t bp_report_hit_rate(const struct bp_stats_snapshot *stats);
void bp_report_text(struct bp_text *text, const struct bp_stats_snapshot *stats,
                    const struct bp_report_subject *subject);
void bp_report_json(struct bp_text *text, const struct bp_stats_snapshot *stats,
                    const struct bp_report_subject *subject);

#endif
