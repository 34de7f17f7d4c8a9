/* SPDX-License-Identifier: MIT */
/*
 * The reader of traces under any text: it takes it or says what is wrong. What it took adds up, and what is written of
 * it reads as the same.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "trace.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"

#define DEMAND(holds)                                                                                                  \
    do {                                                                                                               \
        if (!(holds))                                                                                                  \
            abort();                                                                                                   \
    } while (0)

static void check_sums(const struct trace *trace)
{
    uint64_t live_bytes = 0;
    uint64_t peak_bytes = 0;
    for (size_t i = 0; i < trace->count; i++) {
        const struct event *event = &trace->events[i];
        DEMAND(i == 0 || event->time_us >= trace->events[i - 1].time_us);
        DEMAND(event->before_bytes + event->after_bytes > 0 && event->before_bytes <= live_bytes);
        DEMAND(event->thread < trace->thread_count && event->block < trace->block_count);
        live_bytes += event->after_bytes - event->before_bytes;
        peak_bytes = live_bytes > peak_bytes ? live_bytes : peak_bytes;
    }
    DEMAND(live_bytes == trace->live_bytes && peak_bytes == trace->peak_live_bytes);
    for (size_t i = 0; i < trace->block_count; i++)
        live_bytes -= trace->block_bytes[i];
    DEMAND(live_bytes == 0);
}

static void check_written(const struct trace *trace)
{
    char path[64];
    int fd = memfd_create("trace", MFD_CLOEXEC);
    DEMAND(fd >= 0);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    trace_write(trace, path);
    struct trace again;
    trace_read(&again, path);
    (void)close(fd);
    DEMAND(again.count == trace->count);
    DEMAND(memcmp(again.events, trace->events, trace->count * sizeof *trace->events) == 0);
    trace_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FILE *file = size > 0 ? fmemopen((void *)(uintptr_t)data, size, "r") : NULL; // NOLINT(performance-no-int-to-ptr)
    if (!file)
        return 0;
    struct trace trace;
    size_t line;
    const char *wrong = trace_parse(&trace, file, &line);
    (void)fclose(file);
    check_sums(&trace); /* up to what is wrong, too */
    if (!wrong)
        check_written(&trace);
    trace_free(&trace);
    return 0;
}
