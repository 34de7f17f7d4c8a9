/* SPDX-License-Identifier: MIT */
#ifndef BP_MODEL_H
#define BP_MODEL_H
/*
 * Model: a history of one pool, told by bytes, beside a shadow that knows what every block must hold.
 *
 * The bytes choose every request, who makes it, and when the kernel fails; any bytes are a history, and the same bytes
 * are the same one. Threads are real, but one at a time has its turn. Checked all the time: contents, zeroing,
 * alignment, usable size, errno, that blocks do not overlap (their stamps would not hold), and every so often the
 * equations of the whole pool. What does not hold is said in a line with the number of the step; then comes abort().
 *
 * The kernel is fake_os.
 */
#include "options.h"

struct model_bytes {
    const uint8_t *data;
    size_t size;
    size_t at; /* beyond the end all bytes are zero */
};

struct model_setup {
    struct bp_options options;
    unsigned pool_id;
    size_t size_max;        /* of most blocks */
    bool commit_is_charged; /* as if the machine never overcommitted */
};

/* What a test may want to see of a history that went well. */
struct model_outcome {
    bool made;              /* there was a pool at all */
    bool commit_is_charged;
    size_t steps;
    size_t moved_or_copied; /* blocks that realloc put elsewhere */
    size_t refused;
    size_t misused;
    size_t forked;
    size_t peak_cached_bytes;
    size_t peak_footprint_bytes;
};

/* A small pool with the defaults of the library, for tests that change one thing. */
void model_setup_init(struct model_setup *setup);
/* A pool as the first bytes say, and a kernel that may fail from the start. */
void model_setup_read(struct model_setup *setup, struct model_bytes *bytes);
/* Makes the pool, lives until the bytes are used up, and ends it: all that it mapped must be unmapped then. */
struct model_outcome model_live(const struct model_setup *setup, struct model_bytes *bytes);

#endif
