/* SPDX-License-Identifier: MIT */
#include "report.h"

#include <string.h>

#include "measure.h"
#include "os.h"

static const char estimate_method[] =
    "as if each recycled block had come fresh from mmap, been touched once on every page and been unmapped";

static void add_places(const struct bp_tcache *cache, struct bp_stats_snapshot *stats)
{
    unsigned here = bp_tcache_place(cache);
    for (unsigned i = 0; i < stats->place_count; i++) {
        struct bp_place_stats *row = &stats->places[i];
        const struct bp_tcache_place *place = &cache->places[i];
        row->cached_bytes += bp_tcache_away_bytes_to(cache, i);
        if (i == here) {
            row->cached_bytes += bp_tcache_cached_bytes(cache) - bp_tcache_away_bytes(cache);
            row->local_hits += bp_tcache_unplaced_hits(cache);
        }
        row->local_hits += bp_load_relaxed(&place->local_hits);
        row->remote_hits += bp_load_relaxed(&place->remote_hits);
        row->stolen += bp_load_relaxed(&place->stolen);
        row->fresh += bp_load_relaxed(&place->fresh);
        row->fallbacks += bp_load_relaxed(&place->fallbacks);
    }
}

static void add_cache(const struct bp_tcache *cache, void *context)
{
    struct bp_stats_snapshot *stats = context;
    add_places(cache, stats);
    for (unsigned i = 0; i < BP_CLASS_COUNT; i++) {
        const struct bp_bin *bin = &cache->bins[i];
        const struct bp_misses *misses = &cache->misses[i];
        struct bp_class_stats *row = &stats->classes[i];
        row->thread_cache_hits += bp_load_relaxed(&bin->hits);
        row->shard_hits += bp_load_relaxed(&misses->shard_hits);
        row->stolen += bp_load_relaxed(&misses->stolen);
        row->fresh += bp_load_relaxed(&misses->fresh);
        row->hit_bytes += bp_load_relaxed(&bin->hit_bytes);
    }
    for (unsigned i = 0; i < BP_COUNTER_COUNT; i++)
        stats->counters[i] += bp_load_relaxed(&cache->counters.values[i]);
}

/* After all caches were added. */
static void finish_places(struct bp_pool *pool, struct bp_stats_snapshot *stats)
{
    struct bp_survey surveys[BP_PLACES_MAX];
    if (stats->place_count > 0)
        bp_survey(&pool->arena, surveys);
    for (unsigned i = 0; i < stats->place_count; i++) {
        struct bp_place_stats *row = &stats->places[i];
        const struct bp_place *place = &pool->numa->places[i];
        size_t footprint_bytes = bp_load_relaxed(&pool->arena.places[i].footprint_bytes);
        row->node = place->node;
        row->cached_bytes += bp_shards_place_bytes(&pool->shards, i);
        row->live_bytes = footprint_bytes - bp_min(footprint_bytes, row->cached_bytes);
        row->fallbacks += bp_load_relaxed(&place->bind_failures);
        row->survey = surveys[i];
    }
}

void bp_report_snapshot(struct bp_pool *pool, struct bp_stats_snapshot *ret_stats)
{
    struct bp_stats_snapshot *stats = ret_stats;
    memset(stats, 0, sizeof *stats);
    stats->place_count = pool->caches.numa ? pool->numa->count : 0;
    bp_tcaches_visit(&pool->caches, add_cache, stats);
    for (unsigned i = 0; i < BP_COUNTER_COUNT; i++)
        stats->counters[i] += bp_load_relaxed(&pool->decay.counters.values[i]);

    finish_places(pool, stats);
    size_t hit_bytes = 0;
    for (unsigned i = 0; i < BP_CLASS_COUNT; i++) {
        struct bp_class_stats *row = &stats->classes[i];
        row->stride_bytes = bp_class_stride_bytes(i);
        row->requests = row->thread_cache_hits + row->shard_hits + row->stolen + row->fresh;
        stats->thread_cache_hits += row->thread_cache_hits;
        stats->shard_hits += row->shard_hits;
        stats->stolen += row->stolen;
        stats->fresh += row->fresh;
        hit_bytes += row->hit_bytes;
    }
    stats->forwarded = stats->counters[BP_COUNT_oversize] + stats->counters[BP_COUNT_over_budget] +
                       stats->counters[BP_COUNT_no_memory] + stats->counters[BP_COUNT_own_policy];
    size_t hits = stats->thread_cache_hits + stats->shard_hits + stats->stolen;
    stats->large_requests = hits + stats->fresh + stats->forwarded;

    stats->footprint_bytes = bp_load_relaxed(&pool->budget.footprint_bytes);
    stats->cached_bytes = bp_min(bp_tcaches_cached_bytes(&pool->caches) + bp_shards_cached_bytes(&pool->shards),
                                 stats->footprint_bytes);
    stats->live_bytes = stats->footprint_bytes - stats->cached_bytes;
    stats->peak_footprint_bytes = bp_max(bp_load_relaxed(&pool->budget.peak_footprint_bytes), stats->footprint_bytes);
    /* Allowances that were not used up count as cached; what they were never can have been. */
    stats->peak_live_bytes = bp_min(bp_max(bp_load_relaxed(&pool->budget.peak_live_bytes), stats->live_bytes),
                                    stats->peak_footprint_bytes);
    stats->peak_cached_bytes = bp_min(bp_max(bp_load_relaxed(&pool->budget.peak_cached_bytes), stats->cached_bytes),
                                      stats->peak_footprint_bytes);
    /* At most that: a thread that goes on may note a step of time while we look, which then counts twice. */
    stats->mean_cached_bytes = bp_min(bp_budget_mean_cached_bytes(&pool->budget, bp_os.now_ns()),
                                      stats->peak_cached_bytes);
    size_t footprint_limit_bytes = bp_load_relaxed(&pool->budget.footprint_limit_bytes);
    stats->cache_limit_bytes = bp_min(bp_load_relaxed(&pool->budget.cached_limit_bytes), footprint_limit_bytes);
    stats->footprint_limit_bytes = footprint_limit_bytes == SIZE_MAX ? 0 : footprint_limit_bytes;
    stats->huge_advised_bytes = bp_load_relaxed(&pool->arena.huge.advised_bytes);
    stats->hugetlb_bytes = bp_load_relaxed(&pool->arena.huge.hugetlb_bytes);
    stats->pinned_bytes = bp_load_relaxed(&pool->arena.pins.bytes);
    stats->pins_refused = bp_load_relaxed(&pool->arena.pins.refused);
    stats->threads = bp_tcaches_thread_total(&pool->caches);

    size_t grown_bytes = stats->counters[BP_COUNT_grown_bytes];
    stats->faults_avoided = (hit_bytes > grown_bytes ? hit_bytes - grown_bytes : 0) / bp_os_page_bytes();
    stats->syscalls_avoided = 2 * hits;
}

void bp_report_measure(const struct bp_pool *pool, struct bp_os_lines *lines, struct bp_stats_snapshot *stats)
{
    struct bp_measured measured;
    (void)bp_measure(pool->arena.reservation, pool->arena.reservation_bytes, lines, &measured);
    stats->resident_bytes = measured.resident_bytes;
    stats->huge_bytes = measured.huge_bytes;
    stats->lazily_freed_bytes = measured.lazily_freed_bytes;
}

size_t bp_report_hit_rate(const struct bp_stats_snapshot *stats)
{
    size_t hits = stats->thread_cache_hits + stats->shard_hits + stats->stolen;
    return stats->large_requests == 0 ? 0 : hits * 10000 / stats->large_requests;
}

static void add_amount(struct bp_text *text, const char *label, size_t bytes)
{
    bp_text_add(text, "%s ", label);
    bp_text_add_bytes(text, bytes);
}

static void add_copies(struct bp_text *text, const size_t *counters)
{
    bp_text_add(text, "bufpool: realloc in place %zu, moved %zu (", counters[BP_COUNT_realloc_in_place],
                counters[BP_COUNT_realloc_moved]);
    bp_text_add_bytes(text, counters[BP_COUNT_realloc_moved_bytes]);
    bp_text_add(text, "; %zu changed places), copied %zu (", counters[BP_COUNT_realloc_exchanged],
                counters[BP_COUNT_realloc_copied] + counters[BP_COUNT_realloc_in] + counters[BP_COUNT_realloc_out]);
    bp_text_add_bytes(text, counters[BP_COUNT_realloc_copied_bytes]);
    bp_text_add(text, "): small %zu, attributes %zu, mappings %zu, refused %zu, from below %zu, to below %zu\n",
                counters[BP_COUNT_realloc_copied_small], counters[BP_COUNT_realloc_copied_changed],
                counters[BP_COUNT_realloc_copied_mappings], counters[BP_COUNT_realloc_copied_refused],
                counters[BP_COUNT_realloc_in], counters[BP_COUNT_realloc_out]);
}

static void add_class_table(struct bp_text *text, const struct bp_stats_snapshot *stats)
{
    bp_text_add(text, "bufpool:   %10s %12s %12s %10s %10s %10s\n", "blocks <", "requests", "thread cache", "shard",
                "stolen", "fresh");
    for (unsigned i = 0; i < BP_CLASS_COUNT; i++) {
        const struct bp_class_stats *row = &stats->classes[i];
        if (row->requests == 0)
            continue;
        char size[16];
        struct bp_text size_text = {.data = size, .size = sizeof size};
        bp_text_add_bytes(&size_text, row->stride_bytes);
        bp_text_add(text, "bufpool:   %10s %12zu %12zu %10zu %10zu %10zu\n", size, row->requests,
                    row->thread_cache_hits, row->shard_hits, row->stolen, row->fresh);
    }
}

static void add_place_table(struct bp_text *text, const struct bp_stats_snapshot *stats)
{
    const size_t *counters = stats->counters;
    bp_text_add(text, "bufpool:   %10s %10s %10s %12s %12s %10s %10s %10s %15s\n", "node", "live", "cached",
                "local hits", "remote hits", "stolen", "fresh", "fallbacks", "misplaced pages");
    for (unsigned i = 0; i < stats->place_count; i++) {
        const struct bp_place_stats *row = &stats->places[i];
        const struct bp_survey *survey = &row->survey;
        char cells[3][24];
        struct bp_text node = {.data = cells[0], .size = sizeof cells[0]};
        struct bp_text live = {.data = cells[1], .size = sizeof cells[1]};
        struct bp_text cached = {.data = cells[2], .size = sizeof cells[2]};
        bp_text_add(&node, row->node == BP_NO_NODE ? "own policy" : "%u", row->node);
        bp_text_add_bytes(&live, row->live_bytes);
        bp_text_add_bytes(&cached, row->cached_bytes);
        bp_text_add(text, "bufpool:   %10s %10s %10s %12zu %12zu %10zu %10zu %10zu %8zu of %zu\n", cells[0], cells[1],
                    cells[2], row->local_hits, row->remote_hits, row->stolen, row->fresh, row->fallbacks,
                    survey->live_misplaced + survey->cached_misplaced, survey->live_pages + survey->cached_pages);
    }
    bp_text_add(text, "bufpool: buffers sent to their own node %zu; of %zu pages looked at %zu were misplaced: ",
                counters[BP_COUNT_sent_home], counters[BP_COUNT_checked_pages], counters[BP_COUNT_misplaced_pages]);
    add_amount(text, "migrated", counters[BP_COUNT_migrated_bytes]);
    add_amount(text, ", given back", counters[BP_COUNT_misplaced_dropped_bytes]);
    bp_text_add(text, "\n");
}

static void add_memory(struct bp_text *text, const struct bp_stats_snapshot *stats)
{
    const size_t *counters = stats->counters;
    add_amount(text, "bufpool: memory live", stats->live_bytes);
    add_amount(text, ", cached", stats->cached_bytes);
    add_amount(text, " of at most", stats->cache_limit_bytes);
    add_amount(text, "; peaks: live", stats->peak_live_bytes);
    add_amount(text, ", cached", stats->peak_cached_bytes);
    add_amount(text, ", both", stats->peak_footprint_bytes);
    if (stats->footprint_limit_bytes > 0)
        add_amount(text, " of at most", stats->footprint_limit_bytes);
    add_amount(text, "; cached on average", stats->mean_cached_bytes);
    if (counters[BP_COUNT_prefilled_bytes] > 0)
        add_amount(text, "; made at the start", counters[BP_COUNT_prefilled_bytes]);
    if (stats->resident_bytes > 0) {
        add_amount(text, "\nbufpool: in memory", stats->resident_bytes);
        add_amount(text, ", in huge pages", stats->huge_bytes);
        if (stats->huge_advised_bytes + stats->hugetlb_bytes > 0) {
            add_amount(text, " (ever advised", stats->huge_advised_bytes);
            add_amount(text, ", reserved", stats->hugetlb_bytes);
            bp_text_add(text, ")");
        }
        add_amount(text, ", freed lazily", stats->lazily_freed_bytes);
    }
    add_amount(text, "\nbufpool: given back: idle", counters[BP_COUNT_decayed_bytes]);
    add_amount(text, ", evicted for others", counters[BP_COUNT_evicted_bytes]);
    add_amount(text, ", over a limit", counters[BP_COUNT_dropped_bytes]);
    add_amount(text, ", of live blocks", counters[BP_COUNT_slack_bytes]);
    add_amount(text, ", trimmed", counters[BP_COUNT_trimmed_bytes]);
    add_amount(text, ", outgrown", counters[BP_COUNT_outgrown_bytes]);
    add_amount(text, ", shrunk", counters[BP_COUNT_realloc_trimmed_bytes]);
    add_amount(text, ", begun elsewhere", counters[BP_COUNT_settled_bytes]);
    add_amount(text, ", forked", counters[BP_COUNT_fork_dropped_bytes]);
    add_amount(text, ", in short memory", counters[BP_COUNT_pressure_bytes]);
    bp_text_add(text, " (%zu times); idle thread caches emptied %zu\n", counters[BP_COUNT_pressure_events],
                counters[BP_COUNT_drained_caches]);
}

/* What was done to pages beside giving them out. */
static void add_attributes(struct bp_text *text, const struct bp_stats_snapshot *stats)
{
    const size_t *counters = stats->counters;
    if (counters[BP_COUNT_renewed] + counters[BP_COUNT_lost] > 0)
        bp_text_add(text,
                    "bufpool: slots mapped anew %zu, of these for changes that only the kernel saw %zu; given up %zu\n",
                    counters[BP_COUNT_renewed], counters[BP_COUNT_unseen], counters[BP_COUNT_lost]);
    if (stats->pinned_bytes + stats->pins_refused > 0) {
        add_amount(text, "bufpool: pinned", stats->pinned_bytes);
        bp_text_add(text, "; refused %zu times\n", stats->pins_refused);
    }
    if (counters[BP_COUNT_scrubbed_bytes] + counters[BP_COUNT_scrub_dropped_bytes] > 0) {
        add_amount(text, "bufpool: erased", counters[BP_COUNT_scrubbed_bytes]);
        add_amount(text, ", by giving pages back", counters[BP_COUNT_scrub_dropped_bytes]);
        bp_text_add(text, "\n");
    }
}

void bp_report_text(struct bp_text *text, const struct bp_stats_snapshot *stats,
                    const struct bp_report_subject *subject)
{
    const size_t *counters = stats->counters;
    size_t rate = bp_report_hit_rate(stats);
    bp_text_add(text, "bufpool: report of %s, pid %d, mode %s", subject->program, subject->pid, subject->mode);
    if (subject->mode_reason && subject->mode_reason[0] != '\0')
        bp_text_add(text, " (%s)", subject->mode_reason);
    bp_text_clean(text);
    bp_text_add(text, "%s\n", subject->reason == BP_REPORT_ON_SIGNAL ? ", on signal" : "");
    /* It knows only of those that came to it: not where it stays out, nor where another allocator is asked first. */
    if (stats->large_requests == 0 && counters[BP_COUNT_prefilled_bytes] == 0) {
        bp_text_add(text, "bufpool: no large request came to the pool\n");
        return;
    }
    bp_text_add(text, "bufpool: large requests %zu, hit rate %zu.%zu%zu %%\n", stats->large_requests, rate / 100,
                rate / 10 % 10, rate % 10);
    bp_text_add(text, "bufpool:   from thread cache %zu, own shard %zu, stolen %zu, fresh %zu, forwarded %zu\n",
                stats->thread_cache_hits, stats->shard_hits, stats->stolen, stats->fresh, stats->forwarded);
    if (stats->forwarded > 0)
        bp_text_add(text, "bufpool:   forwarded as oversize %zu, over budget %zu, without memory %zu, own policy %zu\n",
                    counters[BP_COUNT_oversize], counters[BP_COUNT_over_budget], counters[BP_COUNT_no_memory],
                    counters[BP_COUNT_own_policy]);
    bp_text_add(text, "bufpool: avoided about %zu page faults and %zu system calls (estimate: %s)\n",
                stats->faults_avoided, stats->syscalls_avoided, estimate_method);
    add_memory(text, stats);
    add_attributes(text, stats);
    add_copies(text, counters);
    add_amount(text, "bufpool: pages exchanged between classes", counters[BP_COUNT_exchanged_bytes]);
    add_amount(text, ", fresh in batches", counters[BP_COUNT_populated_bytes]);
    add_amount(text, "; calloc cleared", counters[BP_COUNT_calloc_bytes_zeroed]);
    add_amount(text, ", dropped", counters[BP_COUNT_calloc_bytes_dropped]);
    add_amount(text, ", knew as zero", counters[BP_COUNT_calloc_bytes_not_zeroed]);
    bp_text_add(text, "\nbufpool: threads %zu, lock waits %zu, refills %zu, flushes %zu, drops %zu\n", stats->threads,
                counters[BP_COUNT_contention], counters[BP_COUNT_refills], counters[BP_COUNT_flushes],
                counters[BP_COUNT_drops]);
    if (stats->place_count > 0)
        add_place_table(text, stats);
    add_class_table(text, stats);
}

static void add_json_places(struct bp_text *text, const struct bp_stats_snapshot *stats)
{
    bp_text_add(text, "],\"places\":[");
    for (unsigned i = 0; i < stats->place_count; i++) {
        const struct bp_place_stats *row = &stats->places[i];
        const struct bp_survey *survey = &row->survey;
        bp_text_add(text, row->node == BP_NO_NODE ? "%s{\"node\":null" : "%s{\"node\":%u", i > 0 ? "," : "", row->node);
        bp_text_add(text, ",\"live_bytes\":%zu,\"cached_bytes\":%zu,\"local_hits\":%zu,\"remote_hits\":%zu",
                    row->live_bytes, row->cached_bytes, row->local_hits, row->remote_hits);
        bp_text_add(text, ",\"stolen\":%zu,\"fresh\":%zu,\"fallbacks\":%zu", row->stolen, row->fresh,
                    row->fallbacks);
        bp_text_add(text, ",\"live_pages\":%zu,\"live_misplaced\":%zu", survey->live_pages, survey->live_misplaced);
        bp_text_add(text, ",\"cached_pages\":%zu,\"cached_misplaced\":%zu}", survey->cached_pages,
                    survey->cached_misplaced);
    }
    bp_text_add(text, "]");
}

void bp_report_json(struct bp_text *text, const struct bp_stats_snapshot *stats,
                    const struct bp_report_subject *subject)
{
    size_t rate = bp_report_hit_rate(stats);
    bp_text_add(text, "{\"schema_version\":%d,\"program\":", BP_REPORT_SCHEMA_VERSION);
    bp_text_add_json(text, subject->program);
    bp_text_add(text, ",\"pid\":%d,\"mode\":\"%s\",\"mode_reason\":", subject->pid, subject->mode);
    bp_text_add_json(text, subject->mode_reason ? subject->mode_reason : "");
    bp_text_add(text, ",\"reason\":\"%s\",\"hit_rate\":%zu.%zu%zu%zu%zu",
                subject->reason == BP_REPORT_ON_SIGNAL ? "signal" : "end", rate / 10000, rate / 1000 % 10,
                rate / 100 % 10, rate / 10 % 10, rate % 10);
#define NUMBER(name) bp_text_add(text, ",\"" #name "\":%zu", stats->name);
    NUMBER(large_requests)
    NUMBER(thread_cache_hits)
    NUMBER(shard_hits)
    NUMBER(stolen)
    NUMBER(fresh)
    NUMBER(forwarded)
    NUMBER(live_bytes)
    NUMBER(cached_bytes)
    NUMBER(footprint_bytes)
    NUMBER(peak_live_bytes)
    NUMBER(peak_cached_bytes)
    NUMBER(mean_cached_bytes)
    NUMBER(peak_footprint_bytes)
    NUMBER(cache_limit_bytes)
    NUMBER(footprint_limit_bytes)
    NUMBER(resident_bytes)
    NUMBER(huge_bytes)
    NUMBER(lazily_freed_bytes)
    NUMBER(huge_advised_bytes)
    NUMBER(hugetlb_bytes)
    NUMBER(pinned_bytes)
    NUMBER(pins_refused)
    NUMBER(threads)
    NUMBER(faults_avoided)
    NUMBER(syscalls_avoided)
#undef NUMBER
#define CNT(name, meaning) bp_text_add(text, ",\"" #name "\":%zu", stats->counters[BP_COUNT_##name]);
#include "counters.def"
#undef CNT
    bp_text_add(text, ",\"estimate_method\":");
    bp_text_add_json(text, estimate_method);
    bp_text_add(text, ",\"classes\":[");
    const char *comma = "";
    for (unsigned i = 0; i < BP_CLASS_COUNT; i++) {
        const struct bp_class_stats *row = &stats->classes[i];
        if (row->requests == 0)
            continue;
        bp_text_add(text,
                    "%s{\"size_bytes\":%zu,\"requests\":%zu,\"thread_cache_hits\":%zu,\"shard_hits\":%zu,"
                    "\"stolen\":%zu,\"fresh\":%zu,\"hit_bytes\":%zu}",
                    comma, row->stride_bytes, row->requests, row->thread_cache_hits, row->shard_hits, row->stolen,
                    row->fresh, row->hit_bytes);
        comma = ",";
    }
    add_json_places(text, stats);
    bp_text_add(text, "}\n");
}
