/* SPDX-License-Identifier: MIT */
#ifndef BP_STREAMS_H
#define BP_STREAMS_H
/* Streams: traces that are made up, each of one way in which programs use memory. The same every time. */
#include "trace.h"

struct stream {
    const char *name;
    const char *what;
    size_t cache_mib[3]; /* limits that tell policies apart, the smallest first; 0: fewer of them */
    void (*make)(struct trace *trace);
};

extern const struct stream streams[]; /* ends with a row without a name */

#endif
