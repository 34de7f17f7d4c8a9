/* SPDX-License-Identifier: MIT */
#ifndef BP_TRACE_H
#define BP_TRACE_H
/*
 * Trace: what a program asked of its allocator, in order.
 *
 * As text, the first line is `bufpool-trace 1`; then, one event a line,
 *
 *     TIME_US THREAD a BLOCK BYTES     allocate
 *     TIME_US THREAD r BLOCK BYTES     reallocate: the block keeps its number
 *     TIME_US THREAD f BLOCK           free
 *
 * in decimal numbers. Times do not go backwards; threads and blocks are numbered from 0 in any way, and a block's
 * number may be used again once it is free. Empty lines, and what follows a #, are skipped.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    TRACE_THREADS_MAX = 64,
    TRACE_BLOCKS_MAX = 1 << 24,
};

/* A block's size before and after it; 0: there is none. */
struct event {
    uint64_t time_us;
    uint64_t before_bytes;
    uint64_t after_bytes;
    uint32_t block;
    uint32_t thread;
};

struct trace {
    struct event *events;
    size_t count;
    size_t room;
    uint64_t *block_bytes; /* of what is live at the end; 0: not live */
    size_t block_count;    /* numbers in use are below it */
    unsigned thread_count;
    uint64_t live_bytes;   /* at the end */
    uint64_t peak_live_bytes;
};

enum deed { ALLOCATE = 'a', REALLOCATE = 'r', FREE = 'f' };

/* Adds an event, or says what is wrong with it. */
const char *trace_add(struct trace *trace, uint64_t time_us, uint64_t thread, enum deed deed, uint64_t block,
                      uint64_t bytes);
/* Reads a stream. NULL, or what is wrong in the line whose number is returned; 0: with the whole. */
const char *trace_parse(struct trace *trace, FILE *file, size_t *ret_line);
/* Reads a file; ends the program with a line that names file, line and what is wrong there. */
void trace_read(struct trace *trace, const char *path);
/* Writes one, likewise. */
void trace_write(const struct trace *trace, const char *path);
void trace_free(struct trace *trace);

/* Memory, or the end of the program. */
void *must_resize(void *old, size_t bytes);
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
