/* SPDX-License-Identifier: MIT */
#ifndef BP_OUTCOME_H
#define BP_OUTCOME_H
/* Outcome: what a trace costs under a policy, or at the least. */
#include "trace.h"

struct outcome {
    uint64_t requests;       /* that need memory: allocations and growing reallocations */
    uint64_t hits;           /* of them, see is_hit() */
    uint64_t request_bytes;  /* whole pages */
    uint64_t fresh_bytes;    /* of them, those that the kernel had to give */
    uint64_t peak_spare_bytes;
    double spare_byte_us;    /* memory held beyond what is live, over time */
};

/* Hardly a page was fresh: buffers of one size differ by a page, as they start at different places within the first. */
static inline bool is_hit(uint64_t fresh_bytes, uint64_t needed_bytes)
{
    return fresh_bytes <= needed_bytes / 16;
}

/* What is asked of the pool: above all, how much free memory it may keep. */
struct rules {
    size_t eviction;         /* as in struct bp_options */
    size_t cache_bytes;
    size_t decay_ms;
    bool cannot_move;        /* an old kernel, or one that charges memory as it is committed */
};

/* The pool itself, on a kernel and a clock that are simulated. */
struct outcome replay(const struct trace *trace, const struct rules *rules);

/*
 * The least, knowing the future: see optimum.c for what it is a bound of. Free memory is not kept for longer than
 * `keep_us`.
 */
struct outcome optimum(const struct trace *trace, size_t cache_bytes, uint64_t keep_us, bool classes_apart);

#endif
