/* SPDX-License-Identifier: MIT */
#ifndef BP_OPTIONS_H
#define BP_OPTIONS_H
/*
 * Options: the table of options.def as one struct, read from an environment.
 *
 * Layer:  1.
 * Errors: a value that is not accepted gets one warning and leaves the default; nothing here can fail.
 * Why no getenv(): it may run before the C library is ready, and later programs overwrite their environment;
 *         texts are therefore copied.
 */
#include "base.h"

enum bp_mode { BP_MODE_POOL, BP_MODE_OFF };
enum bp_underlying { BP_UNDERLYING_NEXT, BP_UNDERLYING_LIBC, BP_UNDERLYING_JEMALLOC };
enum bp_pressure_mode { BP_PRESSURE_AUTO, BP_PRESSURE_OFF };
enum bp_eviction { BP_EVICTION_AUTO, BP_EVICTION_LIFO, BP_EVICTION_CLOCKPRO };
enum bp_fork { BP_FORK_KEEP, BP_FORK_DROP };
enum bp_on_error { BP_ON_ERROR_ABORT, BP_ON_ERROR_WARN };
enum bp_hugepages { BP_HUGEPAGES_INHERIT, BP_HUGEPAGES_OFF, BP_HUGEPAGES_ON, BP_HUGEPAGES_HUGETLB };
enum bp_scrub { BP_SCRUB_OFF, BP_SCRUB_FREE, BP_SCRUB_ALLOC };
enum bp_devices { BP_DEVICES_AUTO, BP_DEVICES_POOL };
enum bp_stats { BP_STATS_OFF, BP_STATS_TEXT, BP_STATS_JSON };

enum bp_numa_mode {
    BP_NUMA_AUTO,
    BP_NUMA_OFF,
    BP_NUMA_LOCAL,
    BP_NUMA_INTERLEAVE,
    BP_NUMA_PREFERRED,
    BP_NUMA_BIND
};

/* Which memory nodes are used, and how. */
struct bp_numa_choice {
    enum bp_numa_mode mode;
    uint64_t nodes; /* a bit for each that was named */
};

/* A percentage of the memory this process may use, kept apart from byte counts by the top bits. */
#define BP_PERCENT_FLAG ((size_t)1 << 62)
#define BP_PERCENT(n) (BP_PERCENT_FLAG | (size_t)(n))

enum { BP_TEXT_OPTION_BYTES = 1024 };

/* A part of a list of buffers. */
struct bp_buffers {
    size_t size_bytes;
    size_t count;
    size_t node; /* whose memory they are to have; SIZE_MAX: none was named */
};

struct bp_options {
#define BP_FIELD_SIZE(field) size_t field;
#define BP_FIELD_SHARE(field) size_t field;
#define BP_FIELD_COUNT(field) size_t field;
#define BP_FIELD_WORD(field) size_t field;
#define BP_FIELD_NODES(field) struct bp_numa_choice field;
#define BP_FIELD_TEXT(field) char field[BP_TEXT_OPTION_BYTES];
#define OPT(kind, field, name, fallback, min, max, accepted, shown, help) BP_FIELD_##kind(field)
#include "options.def"
#undef OPT
};

/* All defaults. */
void bp_options_init(struct bp_options *options);
/* Applies every BUFPOOL_* entry of `environment` (NULL-terminated, may be NULL) and warns of what it refuses. */
void bp_options_read(struct bp_options *options, char *const *environment);
/* Says where limits contradict each other, now that a percentage is known to be one of `memory_bytes`. */
void bp_options_check(const struct bp_options *options, size_t memory_bytes);
/*
 * As bp_options_read() for one option, silently. For what must be known before the rest may be said.
 * Returns false when it is not set or not accepted, leaving `options` alone.
 */
bool bp_options_peek(struct bp_options *options, char *const *environment, const char *name);
/* Prints the table on standard error. */
void bp_options_help(void);
/* The byte count of a SHARE option, given the memory its percentages refer to. */
size_t bp_options_share_bytes(size_t value, size_t memory_bytes);
/*
 * Reads the next part "SIZE:COUNT" or "SIZE:COUNT@NODE" of a list such as "1M:64,256K:8@1" and moves `*list` behind it.
 * False at the end, or where the list is wrong: then there is something left of it.
 */
bool bp_options_next_buffers(const char **list, struct bp_buffers *ret_buffers);
/* True when `name` matches one of the comma-separated patterns. */
bool bp_options_match(const char *patterns, const char *name);

#endif
