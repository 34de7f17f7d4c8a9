/* SPDX-License-Identifier: MIT */
#ifndef BP_WORKLOAD_H
#define BP_WORKLOAD_H
/*
 * What main.c (options, threads, clocks, the report) knows of workloads.c (what is done to memory).
 *
 * A workload is one function that performs `ops` operations for one thread. It gets its memory from
 * take(), resize() and give() only; these are the C library's functions, or, in floor mode, a buffer
 * that is kept. So the floor makes the same touches in the same order, by the same code.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MAX_THREADS = 64,
    CACHE_LINE_BYTES = 64,
};

struct workload;

/* One measured thread. Everything here belongs to that thread once it runs. */
struct worker {
    _Alignas(CACHE_LINE_BYTES) const struct workload *workload;
    size_t size_bytes;
    size_t page_bytes;
    bool floor;
    int file;                 /* load: what to read */
    uint64_t random;          /* state of next_random() */
    uint64_t pages_touched;
    char *kept;               /* floor: kept_count buffers, kept_stride_bytes apart */
    size_t kept_stride_bytes;
    void **live;              /* live_count buffers that outlast an operation */
    size_t peak_live_bytes;   /* of workloads whose blocks differ in size */
    void *own;                /* what else the workload keeps between calls */
};

struct workload {
    const char *name;
    const char *operation;    /* what one operation is, for --help */
    size_t default_bytes;
    size_t min_bytes;
    unsigned live_count;      /* buffers alive at a time when more than one */
    unsigned ops_granule;     /* a batch is a multiple of this many operations; 0 means 1 */
    bool reads_file;
    bool is_cold;             /* done once, without a warm-up: the floor's buffers are not resident either */
    void (*run)(struct worker *worker, uint64_t ops);
    void (*start)(struct worker *worker);   /* optional */
    void (*stop)(struct worker *worker);    /* optional */
};

extern const struct workload workloads[];   /* ends with a row without a name */

/* Memory that no allocator under test sees: resident, zeroed, page-aligned, never freed. */
void *map_resident(size_t bytes);

_Noreturn void fail(const char *what);

#endif
