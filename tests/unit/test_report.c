/* SPDX-License-Identifier: MIT */
#include "report.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "os.h"
#include "support.h"

static struct bp_pool pool;
static struct bp_stats_snapshot stats;
static char data[32 * 1024];

static void make_pool(void)
{
    struct bp_options options;
    bp_options_init(&options);
    options.min_size_bytes = 1;
    options.max_size_bytes = 64 * BP_MIB;
    options.shard_count = 1;
    options.thread_cache_buffers = 4;
    options.cache_bytes = BP_GIB;
    cr_assert_eq(bp_pool_init(&pool, 0, &options), 0);
}

TestSuite(report, .init = make_pool);

/* 10 fresh ones of which 4 stay, 6 hits, one too large. */
static void use_pool(void)
{
    void *blocks[10];
    for (int i = 0; i < 10; i++)
        blocks[i] = bp_pool_alloc_slow(&pool, 200000, 1);
    for (int i = 4; i < 10; i++)
        bp_pool_free_slow(&pool, blocks[i]);
    for (int i = 4; i < 10; i++)
        blocks[i] = bp_pool_alloc_slow(&pool, 200000, 1);
    for (int i = 4; i < 10; i++)
        bp_pool_free_slow(&pool, blocks[i]);
    cr_assert_null(bp_pool_alloc_slow(&pool, BP_GIB, 1));
    bp_report_snapshot(&pool, &stats);
}

static struct bp_report_subject subject = {.mode = "pool", .pid = 4711};

static const char *text_of_report(const char *program)
{
    struct bp_text text = {.data = data, .size = sizeof data};
    subject.program = program;
    bp_report_text(&text, &stats, &subject);
    return data;
}

static cJSON *json_of_report(const char *program)
{
    struct bp_text text = {.data = data, .size = sizeof data};
    subject.program = program;
    bp_report_json(&text, &stats, &subject);
    cr_assert_eq(data[text.length - 1], '\n');
    const char *end;
    cJSON *report = cJSON_ParseWithOpts(data, &end, 0);
    cr_assert(cJSON_IsObject(report), "%s", data);
    cr_assert_str_eq(end, "\n", "one object, one line");
    return report;
}

static size_t number(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    cr_assert(cJSON_IsNumber(item), "no number %s", name);
    return (size_t)item->valuedouble;
}

Test(report, a_snapshot_counts_what_was_done)
{
    use_pool();
    check_size(stats.large_requests, 17);
    check_size(stats.fresh, 10);
    check_size(stats.thread_cache_hits + stats.shard_hits + stats.stolen, 6);
    check_size(stats.forwarded, 1);
    check_size(stats.counters[BP_COUNT_oversize], 1);
    check_size(stats.threads, 1);
    check_size(stats.cache_limit_bytes, BP_GIB);
    check_size(stats.syscalls_avoided, 12);
    size_t page = bp_os_page_bytes();
    cr_assert_leq(stats.faults_avoided, 6 * (200000 / page + 2));
    cr_assert_geq(stats.faults_avoided, 6 * (200000 / page - 1));
}

Test(report, bytes_add_up_and_peaks_are_highest)
{
    use_pool();
    check_size(stats.live_bytes + stats.cached_bytes, stats.footprint_bytes);
    cr_assert_geq(stats.live_bytes, 4 * 200000);
    cr_assert_lt(stats.live_bytes, 4 * 210000);
    cr_assert_geq(stats.peak_live_bytes, 10 * 200000);
    cr_assert_geq(stats.peak_cached_bytes, stats.cached_bytes);
    cr_assert_leq(stats.mean_cached_bytes, stats.peak_cached_bytes);
    cr_assert_geq(stats.peak_footprint_bytes, stats.footprint_bytes);
    cr_assert_leq(stats.peak_live_bytes, stats.peak_footprint_bytes);
    cr_assert_leq(stats.peak_cached_bytes, stats.peak_footprint_bytes);
}

Test(report, a_pool_that_was_not_used_is_all_zero)
{
    bp_report_snapshot(&pool, &stats);
    check_size(stats.large_requests, 0);
    check_size(stats.footprint_bytes, 0);
    check_size(stats.live_bytes, 0);
    check_size(stats.peak_live_bytes, 0);
    check_size(bp_report_hit_rate(&stats), 0);
}

/* What the kernel has is never more than what was counted. */
Test(report, measured_memory_is_within_the_footprint)
{
    static struct bp_os_lines lines;
    memset(bp_pool_alloc_slow(&pool, 5000000, 1), 1, 5000000);
    memset(bp_pool_alloc_slow(&pool, 20000000, 1), 1, 1000000);
    bp_report_snapshot(&pool, &stats);
    bp_report_measure(&pool, &lines, &stats);
    cr_assert_geq(stats.resident_bytes, 6000000);
    cr_assert_leq(stats.resident_bytes, stats.footprint_bytes + BP_MIB); /* records may lie beside it */
    cr_assert_not_null(strstr(text_of_report("p"), "\nbufpool: in memory "));
}

Test(report, what_was_asked_for_is_shown)
{
    use_pool();
    stats.footprint_limit_bytes = 3 * BP_MIB;
    stats.pinned_bytes = 2 * BP_MIB;
    stats.pins_refused = 4;
    stats.counters[BP_COUNT_prefilled_bytes] = BP_MIB;
    stats.counters[BP_COUNT_realloc_trimmed_bytes] = 5 * BP_MIB;
    stats.counters[BP_COUNT_fork_dropped_bytes] = 6 * BP_MIB;
    stats.counters[BP_COUNT_pressure_bytes] = 7 * BP_MIB;
    stats.counters[BP_COUNT_pressure_events] = 8;
    stats.resident_bytes = 9 * BP_MIB;
    stats.huge_bytes = 4 * BP_MIB;
    stats.huge_advised_bytes = 10 * BP_MIB;
    const char *text = text_of_report("p");
    cr_assert_not_null(strstr(text, " of at most 3M; cached on average "));
    cr_assert_not_null(strstr(text, "; made at the start 1M\nbufpool: in memory 9M, in huge pages 4M "
                                    "(ever advised 10M, reserved 0), freed lazily 0\n"));
    cr_assert_not_null(strstr(text, ", shrunk 5M, begun elsewhere 0, forked 6M, in short memory 7M (8 times); "));
    cr_assert_not_null(strstr(text, "bufpool: pinned 2M; refused 4 times\n"));
}

Test(report, hit_rate_is_in_parts_of_10000)
{
    stats = (struct bp_stats_snapshot){.large_requests = 200, .thread_cache_hits = 100, .shard_hits = 60, .stolen = 39};
    check_size(bp_report_hit_rate(&stats), 9950);
    stats.stolen = 40;
    check_size(bp_report_hit_rate(&stats), 10000);
}

Test(report, text_is_lines_of_ours)
{
    use_pool();
    const char *line = text_of_report("pro\ngr\x1b\x7fm");
    cr_assert_not_null(strstr(line, "bufpool: report of pro?gr??m, pid 4711, mode pool\n"));
    cr_assert_not_null(strstr(line, "bufpool: large requests 17, hit rate 35.29 %\n"));
    cr_assert_not_null(strstr(line, "fresh 10, forwarded 1\n"));
    for (; *line != '\0'; line = strchr(line, '\n') + 1)
        cr_assert_eq(strncmp(line, "bufpool: ", 9), 0, "%s", line);
}

Test(report, says_when_somebody_asked_for_it)
{
    use_pool();
    subject.reason = BP_REPORT_ON_SIGNAL;
    cr_assert_not_null(strstr(text_of_report("p"), "bufpool: report of p, pid 4711, mode pool, on signal\n"));
    cJSON *report = json_of_report("p");
    cr_assert_str_eq(cJSON_GetObjectItemCaseSensitive(report, "reason")->valuestring, "signal");
    cJSON_Delete(report);
}

Test(report, text_without_requests_is_two_lines)
{
    bp_report_snapshot(&pool, &stats);
    cr_assert_str_eq(text_of_report("idle"), "bufpool: report of idle, pid 4711, mode pool\n"
                                             "bufpool: no large request came to the pool\n");
}

/* They came before any request, and take memory. */
Test(report, buffers_made_at_the_start_are_shown_without_requests)
{
    use_pool();
    stats.large_requests = 0;
    stats.counters[BP_COUNT_prefilled_bytes] = 3 * BP_MIB;
    cr_assert_not_null(strstr(text_of_report("idle"), "; made at the start 3M\n"));
}

Test(report, json_has_the_numbers_of_the_snapshot)
{
    use_pool();
    cJSON *report = json_of_report("program");
    check_size(number(report, "schema_version"), BP_REPORT_SCHEMA_VERSION);
    check_size(number(report, "pid"), 4711);
    check_size(number(report, "large_requests"), 17);
    check_size(number(report, "fresh"), 10);
    check_size(number(report, "forwarded"), 1);
    check_size(number(report, "live_bytes"), stats.live_bytes);
    check_size(number(report, "cached_bytes"), stats.cached_bytes);
    check_size(number(report, "peak_live_bytes"), stats.peak_live_bytes);
    check_size(number(report, "peak_cached_bytes"), stats.peak_cached_bytes);
    check_size(number(report, "mean_cached_bytes"), stats.mean_cached_bytes);
    check_size(number(report, "faults_avoided"), stats.faults_avoided);
    check_size(number(report, "syscalls_avoided"), stats.syscalls_avoided);
    check_size(number(report, "threads"), 1);
    check_size(number(report, "footprint_limit_bytes"), 0);
    check_size(number(report, "resident_bytes"), 0);
    check_size(number(report, "huge_bytes") + number(report, "huge_advised_bytes"), 0);
    check_size(number(report, "hugetlb_bytes"), 0);
    check_size(number(report, "pinned_bytes") + number(report, "pins_refused"), 0);
    check_size(number(report, "lazily_freed_bytes"), 0);
#define CNT(name, meaning) check_size(number(report, #name), stats.counters[BP_COUNT_##name]);
#include "counters.def"
#undef CNT
    double rate = cJSON_GetObjectItemCaseSensitive(report, "hit_rate")->valuedouble;
    cr_assert(fabs(rate - 6.0 / 17) < 0.0001, "%f", rate);
    cr_assert_str_eq(cJSON_GetObjectItemCaseSensitive(report, "mode")->valuestring, "pool");
    cr_assert_str_eq(cJSON_GetObjectItemCaseSensitive(report, "reason")->valuestring, "end");
    cr_assert(cJSON_IsString(cJSON_GetObjectItemCaseSensitive(report, "estimate_method")));
    cJSON_Delete(report);
}

Test(report, json_has_each_key_once)
{
    use_pool();
    cJSON *report = json_of_report("program");
    for (const cJSON *item = report->child; item; item = item->next) {
        for (const cJSON *other = item->next; other; other = other->next)
            cr_assert_str_neq(item->string, other->string);
    }
    cJSON_Delete(report);
}

Test(report, json_classes_add_up_to_the_whole)
{
    use_pool();
    bp_pool_free_slow(&pool, bp_pool_alloc_slow(&pool, 5000000, 1));
    bp_report_snapshot(&pool, &stats);
    cJSON *report = json_of_report("program");
    size_t requests = 0;
    const cJSON *row;
    const cJSON *classes = cJSON_GetObjectItemCaseSensitive(report, "classes");
    check_size((size_t)cJSON_GetArraySize(classes), 2);
    cJSON_ArrayForEach(row, classes)
    {
        check_size(number(row, "requests"), number(row, "thread_cache_hits") + number(row, "shard_hits") +
                                                number(row, "stolen") + number(row, "fresh"));
        requests += number(row, "requests");
        cr_assert(bp_is_pow2(number(row, "size_bytes")));
    }
    check_size(requests + number(report, "forwarded"), number(report, "large_requests"));
    check_size(number(cJSON_GetArrayItem(classes, 0), "size_bytes"), 256 * BP_KIB);
    cJSON_Delete(report);
}

Test(report, json_of_an_idle_pool_and_a_strange_name)
{
    bp_report_snapshot(&pool, &stats);
    cJSON *report = json_of_report("a \"b\"\\\n\x01 c");
    cr_assert_str_eq(cJSON_GetObjectItemCaseSensitive(report, "program")->valuestring, "a \"b\"\\\n\x01 c");
    check_size((size_t)cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(report, "classes")), 0);
    cr_assert_eq(cJSON_GetObjectItemCaseSensitive(report, "hit_rate")->valuedouble, 0.0);
    cJSON_Delete(report);
}
