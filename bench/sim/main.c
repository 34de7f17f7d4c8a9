/* SPDX-License-Identifier: MIT */
/*
 * Simulator of policies: what they cost, beside the least that is possible. See bench/README.md.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "outcome.h"
#include "streams.h"

enum { NAMES_MAX = 16, LIMITS_MAX = 8 };

static const char usage[] =
    "usage: sim [--stream NAME,...] [--trace FILE]... [--policy NAME,...] [--cache SIZE,...] [--decay MS,...]\n"
    "           [--no-moves] [--brief] [--write FILE]\n"
    "Replays traces through the pool and prints what each eviction policy makes of them.\n"
    "  --stream   some of the streams below (default: all, or none if there are traces)\n"
    "  --trace    a recorded one\n"
    "  --policy   auto, lifo, clockpro (default: all)\n"
    "  --cache    BUFPOOL_CACHE_BYTES, in MiB (default: the stream's own; for traces 1/8, 1/4 and 1/2 of their peak)\n"
    "  --decay    BUFPOOL_DECAY_MS (default: the library's)\n"
    "  --no-moves the kernel cannot move pages from one buffer to another\n"
    "  --brief    one line each: how much was warm, and the memory held beyond what was live\n"
    "  --write    write the first stream as a trace and stop\n"
    "streams:\n";

static const char *const policies[] = {[BP_EVICTION_AUTO] = "auto", [BP_EVICTION_LIFO] = "lifo",
                                      [BP_EVICTION_CLOCKPRO] = "clockpro"};
enum { POLICIES = sizeof policies / sizeof policies[0] };

struct request {
    const char *streams;
    const char *policies;
    const char *write;
    size_t cache_mib[LIMITS_MAX];
    size_t cache_count;
    size_t decay_ms[LIMITS_MAX];
    size_t decay_count;
    bool cannot_move;
    bool brief;
};

/* Is the name among those of the list, which are separated by commas? No list has all of them. */
static bool is_among(const char *list, const char *name)
{
    size_t length = strlen(name);
    for (const char *word = list; word; word = strchr(word, ',')) {
        word += *word == ',';
        if (strncmp(word, name, length) == 0 && (word[length] == ',' || word[length] == '\0'))
            return true;
    }
    return !list;
}

static size_t parse_numbers(const char *list, size_t numbers[LIMITS_MAX])
{
    size_t count = 0;
    for (const char *word = list; *word != '\0'; count++) {
        char *end;
        unsigned long long number = strtoull(word, &end, 10);
        if (end == word || (*end != ',' && *end != '\0') || count == LIMITS_MAX)
            fail("%s: not a list of at most %d numbers", list, LIMITS_MAX);
        numbers[count] = (size_t)number;
        word = *end == ',' ? end + 1 : end;
    }
    return count;
}

static double mib(double bytes)
{
    return bytes / (double)BP_MIB;
}

static void print_outcome(const char *label, const struct trace *trace, const struct outcome *outcome)
{
    uint64_t from_us = trace->events[0].time_us;
    uint64_t to_us = trace->events[trace->count - 1].time_us;
    double hits = 100.0 * (double)outcome->hits / (double)outcome->requests;
    double warm = 100.0 - 100.0 * (double)outcome->fresh_bytes / (double)outcome->request_bytes;
    (void)printf("    %-10s %7.2f %7.2f %11.0f %12.0f %9.0f %9.0f\n", label, hits, warm,
                 mib((double)outcome->fresh_bytes), mib(outcome->spare_byte_us) / 1e6,
                 mib(outcome->spare_byte_us / (double)(to_us - from_us + 1)), mib((double)outcome->peak_spare_bytes));
}

/* How much of what was requested was warm, and what was held for it. */
static void print_brief(const struct trace *trace, const struct outcome *outcome)
{
    double past_us = (double)(trace->events[trace->count - 1].time_us - trace->events[0].time_us + 1);
    (void)printf("  %6.2f %6.0f", 100.0 - 100.0 * (double)outcome->fresh_bytes / (double)outcome->request_bytes,
                 mib(outcome->spare_byte_us / past_us));
}

static void print_head(const struct request *request)
{
    (void)printf("%-16s %4s %6s", "warm %, mean MiB", "cache", "decay");
    for (size_t i = 0; i < POLICIES; i++) {
        if (is_among(request->policies, policies[i]))
            (void)printf("  %13s", policies[i]);
    }
    (void)printf("  %13s  %13s\n", "min", "floor");
}

static void print(const char *label, const struct trace *trace, const struct outcome *outcome, bool brief)
{
    if (brief)
        print_brief(trace, outcome);
    else
        print_outcome(label, trace, outcome);
}

static void print_table(const char *name, const struct trace *trace, const struct request *request,
                        const struct rules *rules)
{
    if (request->brief) {
        (void)printf("%-15s %5zu %6zu", name, rules->cache_bytes / BP_MIB, rules->decay_ms);
    } else {
        (void)printf("%s, %zu MiB may be cached, decay %zu ms\n", name, rules->cache_bytes / BP_MIB, rules->decay_ms);
        (void)printf("    %-10s %7s %7s %11s %12s %9s %9s\n", "", "hits %", "warm %", "fresh MiB", "spare MiB s",
                     "mean MiB", "peak MiB");
    }
    for (size_t i = 0; i < POLICIES; i++) {
        if (!is_among(request->policies, policies[i]))
            continue;
        struct rules chosen = *rules;
        chosen.eviction = i;
        struct outcome outcome = replay(trace, &chosen);
        print(policies[i], trace, &outcome, request->brief);
    }
    uint64_t keep_us = rules->decay_ms == 0 ? UINT64_MAX : rules->decay_ms * 1000;
    struct outcome apart = optimum(trace, rules->cache_bytes, keep_us, true);
    print("min", trace, &apart, request->brief);
    struct outcome together = optimum(trace, rules->cache_bytes, keep_us, false);
    print("floor", trace, &together, request->brief);
    if (request->brief)
        (void)puts("");
}

static void study(const char *name, const struct trace *trace, const size_t own_mib[3], const struct request *request)
{
    const size_t *cache_mib = request->cache_count > 0 ? request->cache_mib : own_mib;
    size_t cache_count = request->cache_count > 0 ? request->cache_count : 3;
    for (size_t i = 0; i < cache_count; i++) {
        for (size_t j = 0; j < request->decay_count; j++) {
            struct rules rules = {
                .cache_bytes = cache_mib[i] * BP_MIB,
                .decay_ms = request->decay_ms[j],
                .cannot_move = request->cannot_move,
            };
            print_table(name, trace, request, &rules);
        }
    }
}

static void study_streams(const struct request *request)
{
    for (const struct stream *stream = streams; stream->name; stream++) {
        if (!is_among(request->streams, stream->name))
            continue;
        struct trace trace = {0};
        stream->make(&trace);
        if (request->write) {
            trace_write(&trace, request->write);
            exit(0);
        }
        study(stream->name, &trace, stream->cache_mib, request);
        trace_free(&trace);
    }
}

static void study_trace(const char *path, const struct request *request)
{
    struct trace trace;
    trace_read(&trace, path);
    const char *slash = strrchr(path, '/');
    size_t peak_mib = trace.peak_live_bytes / BP_MIB;
    size_t own_mib[3] = {peak_mib / 8, peak_mib / 4, peak_mib / 2};
    study(slash ? slash + 1 : path, &trace, own_mib, request);
    trace_free(&trace);
}

static void print_usage(FILE *file)
{
    (void)fputs(usage, file);
    for (const struct stream *stream = streams; stream->name; stream++)
        (void)fprintf(file, "  %-10s %s\n", stream->name, stream->what);
}

static void check_names(const char *list, const char *kind, const char *const *names, size_t count)
{
    for (const char *word = list; word && *word != '\0';) {
        size_t length = strcspn(word, ",");
        bool known = false;
        for (size_t i = 0; i < count; i++)
            known = known || (strlen(names[i]) == length && strncmp(names[i], word, length) == 0);
        if (!known)
            fail("%.*s: no such %s", (int)length, word, kind);
        word += length + (word[length] == ',');
    }
}

int main(int argc, char **argv)
{
    static const struct option long_options[] = {
        {"stream", required_argument, NULL, 's'}, {"trace", required_argument, NULL, 't'},
        {"policy", required_argument, NULL, 'p'}, {"cache", required_argument, NULL, 'c'},
        {"decay", required_argument, NULL, 'd'},  {"write", required_argument, NULL, 'w'},
        {"no-moves", no_argument, NULL, 'n'},
        {"brief", no_argument, NULL, 'b'},
        {"help", no_argument, NULL, 'h'},         {0},
    };
    struct bp_options defaults;
    bp_options_init(&defaults);
    struct request request = {.decay_ms = {defaults.decay_ms}, .decay_count = 1};
    const char *traces[NAMES_MAX];
    size_t trace_count = 0;
    for (int letter; (letter = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        switch (letter) {
        case 's':
            request.streams = optarg;
            break;
        case 't':
            if (trace_count == NAMES_MAX)
                fail("at most %d traces", NAMES_MAX);
            traces[trace_count++] = optarg;
            break;
        case 'p':
            request.policies = optarg;
            break;
        case 'c':
            request.cache_count = parse_numbers(optarg, request.cache_mib);
            break;
        case 'd':
            request.decay_count = parse_numbers(optarg, request.decay_ms);
            break;
        case 'w':
            request.write = optarg;
            break;
        case 'n':
            request.cannot_move = true;
            break;
        case 'b':
            request.brief = true;
            break;
        case 'h':
            print_usage(stdout);
            return 0;
        default:
            print_usage(stderr);
            return 2;
        }
    }
    const char *stream_names[NAMES_MAX];
    size_t stream_count = 0;
    for (const struct stream *stream = streams; stream->name; stream++)
        stream_names[stream_count++] = stream->name;
    check_names(request.streams, "stream", stream_names, stream_count);
    check_names(request.policies, "policy", policies, POLICIES);
    if (optind < argc)
        fail("%s: not expected; see --help", argv[optind]);
    if (request.brief)
        print_head(&request);
    if (request.streams || trace_count == 0)
        study_streams(&request);
    for (size_t i = 0; i < trace_count; i++)
        study_trace(traces[i], &request);
    return 0;
}
