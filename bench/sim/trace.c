/* SPDX-License-Identifier: MIT */
#include "trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char header[] = "bufpool-trace 1";

void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fputs("sim: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
    exit(1);
}

void *must_resize(void *old, size_t bytes)
{
    void *resized = realloc(old, bytes);
    if (!resized)
        fail("out of memory");
    return resized;
}

static void note_block(struct trace *trace, size_t block)
{
    if (block < trace->block_count)
        return;
    size_t count = trace->block_count == 0 ? 1024 : trace->block_count;
    while (count <= block)
        count *= 2;
    trace->block_bytes = must_resize(trace->block_bytes, count * sizeof *trace->block_bytes);
    memset(trace->block_bytes + trace->block_count, 0, (count - trace->block_count) * sizeof *trace->block_bytes);
    trace->block_count = count;
}

const char *trace_add(struct trace *trace, uint64_t time_us, uint64_t thread, enum deed deed, uint64_t block,
                      uint64_t bytes)
{
    if (trace->count > 0 && time_us < trace->events[trace->count - 1].time_us)
        return "time goes backwards";
    if (thread >= TRACE_THREADS_MAX)
        return "thread number too large";
    if (block >= TRACE_BLOCKS_MAX)
        return "block number too large";
    if (deed != FREE && (bytes == 0 || bytes > (uint64_t)1 << 46))
        return "not a size that a block can have";
    note_block(trace, block);
    uint64_t before_bytes = trace->block_bytes[block];
    if (deed == ALLOCATE && before_bytes != 0)
        return "allocates a block that is live";
    if (deed != ALLOCATE && before_bytes == 0)
        return "a block that is not live";
    if (trace->live_bytes - before_bytes + bytes > (uint64_t)1 << 47)
        return "more live memory than an address space holds";

    if (trace->count == trace->room) {
        trace->room = trace->room == 0 ? 4096 : 2 * trace->room;
        trace->events = must_resize(trace->events, trace->room * sizeof *trace->events);
    }
    uint64_t after_bytes = deed == FREE ? 0 : bytes;
    trace->events[trace->count++] = (struct event){
        .time_us = time_us,
        .before_bytes = before_bytes,
        .after_bytes = after_bytes,
        .block = (uint32_t)block,
        .thread = (uint32_t)thread,
    };
    trace->block_bytes[block] = after_bytes;
    trace->live_bytes += after_bytes - before_bytes;
    if (trace->live_bytes > trace->peak_live_bytes)
        trace->peak_live_bytes = trace->live_bytes;
    if (thread >= trace->thread_count)
        trace->thread_count = (unsigned)thread + 1;
    return NULL;
}

/* The next word of the line as a number; false when it is none. */
static bool next_number(char **rest, uint64_t *ret_number)
{
    char *end;
    *rest += strspn(*rest, " ");
    if (**rest < '0' || **rest > '9')
        return false;
    errno = 0;
    *ret_number = strtoull(*rest, &end, 10);
    *rest = end;
    return errno == 0 && (*end == ' ' || *end == '\0');
}

static const char *add_line(struct trace *trace, char *line)
{
    uint64_t time_us;
    uint64_t thread;
    uint64_t block;
    uint64_t bytes = 0;
    if (!next_number(&line, &time_us))
        return "no time at its start";
    if (!next_number(&line, &thread))
        return "no thread after the time";
    line += strspn(line, " ");
    char deed = *line;
    if (deed == '\0' || !strchr("arf", deed) || line[1] != ' ')
        return "neither a, r nor f after the thread";
    line++;
    if (!next_number(&line, &block))
        return "no block number";
    if (deed != FREE && !next_number(&line, &bytes))
        return "no size after the block number";
    if (line[strspn(line, " ")] != '\0')
        return "something behind its end";
    return trace_add(trace, time_us, thread, (enum deed)deed, block, bytes);
}

const char *trace_parse(struct trace *trace, FILE *file, size_t *ret_line)
{
    *trace = (struct trace){0};
    *ret_line = 0;
    char *line = NULL;
    size_t room = 0;
    bool begun = false;
    const char *wrong = NULL;
    while (!wrong && getline(&line, &room, file) >= 0) {
        ++*ret_line;
        line[strcspn(line, "#\r\n")] = '\0';
        if (line[strspn(line, " ")] == '\0')
            continue;
        if (begun)
            wrong = add_line(trace, line);
        else
            wrong = strcmp(line, header) == 0 ? NULL : "not a trace: it does not begin with `bufpool-trace 1`";
        begun = true;
    }
    free(line);
    if (wrong)
        return wrong;
    *ret_line = 0;
    return ferror(file) ? strerror(errno) : trace->count == 0 ? "no events" : NULL;
}

void trace_read(struct trace *trace, const char *path)
{
    FILE *file = fopen(path, "re");
    if (!file)
        fail("%s: %s", path, strerror(errno));
    size_t number;
    const char *wrong = trace_parse(trace, file, &number);
    if (wrong && number > 0)
        fail("%s:%zu: %s", path, number, wrong);
    if (wrong)
        fail("%s: %s", path, wrong);
    (void)fclose(file);
}

void trace_write(const struct trace *trace, const char *path)
{
    FILE *file = fopen(path, "we");
    if (!file)
        fail("%s: %s", path, strerror(errno));
    (void)fprintf(file, "%s\n", header);
    for (size_t i = 0; i < trace->count; i++) {
        const struct event *event = &trace->events[i];
        char deed = event->after_bytes == 0 ? FREE : event->before_bytes == 0 ? ALLOCATE : REALLOCATE;
        (void)fprintf(file, "%" PRIu64 " %" PRIu32 " %c %" PRIu32, event->time_us, event->thread, deed, event->block);
        if (deed != FREE)
            (void)fprintf(file, " %" PRIu64, event->after_bytes);
        (void)fputc('\n', file);
    }
    bool failed = ferror(file) != 0;
    if (fclose(file) != 0 || failed)
        fail("%s: cannot write", path);
}

void trace_free(struct trace *trace)
{
    free(trace->events);
    free(trace->block_bytes);
    *trace = (struct trace){0};
}
