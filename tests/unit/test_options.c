/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support.h"

static struct bp_options options;

static void init_options(void)
{
    memset(&options, 0xa5, sizeof options);
    bp_options_init(&options);
}

TestSuite(options, .init = init_options);

/* Reads one entry, which may be NULL. */
static void read_one(void *entry)
{
    char *environment[] = {entry, NULL};
    bp_options_read(&options, environment);
}

/* As the words of the environment are, written without casts. */
static char *entry_of(const char *text)
{
    static char entry[4096];
    (void)snprintf(entry, sizeof entry, "%s", text);
    return entry;
}

/* The value, up to an explanation behind a blank, is taken without a word. */
static size_t *field_after(const char *text, size_t *field)
{
    char *entry = entry_of(text);
    entry[strcspn(entry, " ")] = '\0';
    check_says(read_one, entry, "");
    read_one(entry);
    return field;
}

Test(options, defaults)
{
    check_size(options.mode, BP_MODE_POOL);
    check_size(options.thread_cache_buffers, 32);
    check_size(options.max_size_bytes, 16 * BP_GIB);
    check_size(options.max_bytes, 0);
    check_size(options.underlying, BP_UNDERLYING_NEXT);
    check_size(options.stats, BP_STATS_OFF);
    cr_assert_str_empty(options.stats_file);
    cr_assert_str_empty(options.only);
}

/* The defaults as numbers agree with the defaults as shown to people. */
Test(options, defaults_are_what_the_table_says)
{
    struct bp_options defaults = options;
#define IF_SIZE(name, field, shown) check_size(*field_after("BUFPOOL_" name "=" shown, &options.field), defaults.field);
#define IF_SHARE IF_SIZE
#define IF_COUNT IF_SIZE
#define IF_WORD IF_SIZE
#define IF_NODES(name, field, shown)                                                                                   \
    read_one(entry_of("BUFPOOL_" name "=" shown));                                                                     \
    cr_assert(options.field.mode == defaults.field.mode && options.field.nodes == defaults.field.nodes, name);
#define IF_TEXT(name, field, shown) cr_assert_str_empty(defaults.field);
#define OPT(kind, field, name, fallback, min, max, accepted, shown, help) IF_##kind(name, field, shown)
#include "options.def"
#undef OPT
}

static bool lies_in(size_t value, size_t min, size_t max)
{
    return (value & BP_PERCENT_FLAG) != 0 || (value >= min && value <= max);
}

Test(options, defaults_lie_within_their_range)
{
#define IN_RANGE_SIZE(name, field, min, max) cr_assert(lies_in(options.field, min, max), name);
#define IN_RANGE_SHARE IN_RANGE_SIZE
#define IN_RANGE_COUNT IN_RANGE_SIZE
#define IN_RANGE_WORD IN_RANGE_SIZE
#define IN_RANGE_NODES(name, field, min, max) cr_assert_eq(options.field.nodes, 0, name);
#define IN_RANGE_TEXT(name, field, min, max)
#define OPT(kind, field, name, fallback, min, max, accepted, shown, help) IN_RANGE_##kind(name, field, min, max)
#include "options.def"
#undef OPT
}

Test(options, sizes_take_units)
{
    static const struct {
        const char *entry;
        size_t bytes;
    } cases[] = {
        {"BUFPOOL_MIN_SIZE=4096", 4096},         {"BUFPOOL_MIN_SIZE=4K", 4096},
        {"BUFPOOL_MIN_SIZE=4k", 4096},           {"BUFPOOL_MIN_SIZE=1M", BP_MIB},
        {"BUFPOOL_MIN_SIZE=1m", BP_MIB},         {"BUFPOOL_MIN_SIZE=1G", BP_GIB},
        {"BUFPOOL_MIN_SIZE=100000B", 100000},    {"BUFPOOL_MIN_SIZE=64KB", 64 * BP_KIB},
        {"BUFPOOL_MIN_SIZE=64KiB", 64 * BP_KIB}, {"BUFPOOL_MIN_SIZE=00064K", 64 * BP_KIB},
    };
    for (size_t i = 0; i < LENGTH(cases); i++)
        check_size(*field_after(cases[i].entry, &options.min_size_bytes), cases[i].bytes);
}

Test(options, ranges_include_their_ends)
{
    check_size(*field_after("BUFPOOL_MIN_SIZE=4K", &options.min_size_bytes), 4 * BP_KIB);
    check_size(*field_after("BUFPOOL_MAX_SIZE=16G", &options.max_size_bytes), 16 * BP_GIB);
    check_size(*field_after("BUFPOOL_SHARDS=0", &options.shard_count), 0);
    check_size(*field_after("BUFPOOL_SHARDS=128", &options.shard_count), 128);
    check_size(*field_after("BUFPOOL_THREAD_CACHE=0", &options.thread_cache_buffers), 0);
    check_size(*field_after("BUFPOOL_THREAD_CACHE=64", &options.thread_cache_buffers), 64);
    check_size(*field_after("BUFPOOL_CACHE_BYTES=0", &options.cache_bytes), 0);
    check_size(*field_after("BUFPOOL_CACHE_BYTES=64T", &options.cache_bytes), 64 * BP_TIB);
}

Test(options, shares_take_bytes_and_percentages)
{
    check_size(*field_after("BUFPOOL_CACHE_BYTES=2G", &options.cache_bytes), 2 * BP_GIB);
    check_size(*field_after("BUFPOOL_CACHE_BYTES=0%", &options.cache_bytes), BP_PERCENT(0));
    check_size(*field_after("BUFPOOL_MAX_BYTES=100%", &options.max_bytes), BP_PERCENT(100));
    check_size(*field_after("BUFPOOL_THREAD_CACHE_BYTES=1%", &options.thread_cache_bytes), BP_PERCENT(1));
}

Test(options, nodes_are_lists_and_ranges)
{
    static const struct {
        const char *entry;
        struct bp_numa_choice choice;
    } cases[] = {
        {"BUFPOOL_NUMA=auto", {BP_NUMA_AUTO, 0}},
        {"BUFPOOL_NUMA=off", {BP_NUMA_OFF, 0}},
        {"BUFPOOL_NUMA=local", {BP_NUMA_LOCAL, 0}},
        {"BUFPOOL_NUMA=interleave", {BP_NUMA_INTERLEAVE, 0}},
        {"BUFPOOL_NUMA=preferred:0", {BP_NUMA_PREFERRED, 1}},
        {"BUFPOOL_NUMA=preferred:63", {BP_NUMA_PREFERRED, (uint64_t)1 << 63}},
        {"BUFPOOL_NUMA=bind:2", {BP_NUMA_BIND, 4}},
        {"BUFPOOL_NUMA=bind:0,2,5", {BP_NUMA_BIND, 0x25}},
        {"BUFPOOL_NUMA=bind:1-3,5", {BP_NUMA_BIND, 0x2e}},
        {"BUFPOOL_NUMA=bind:0-63", {BP_NUMA_BIND, UINT64_MAX}},
    };
    for (size_t i = 0; i < LENGTH(cases); i++) {
        (void)field_after(cases[i].entry, NULL);
        cr_assert_eq(options.numa.mode, cases[i].choice.mode, "%s", cases[i].entry);
        cr_assert_eq(options.numa.nodes, cases[i].choice.nodes, "%s", cases[i].entry);
    }
}

static void read_and_keep_auto(void *entry)
{
    read_one(entry);
    check(options.numa.mode == BP_NUMA_AUTO && options.numa.nodes == 0);
}

Test(options, wrong_nodes_leave_auto)
{
    static const struct {
        const char *value;
        const char *wrong;
    } cases[] = {
        {"", "not a known word"},
        {"Auto", "not a known word"},
        {"autos", "not a known word"},
        {"off:1", "not a known word"},
        {"bind", "not a known word"},
        {"preferred=1", "not a known word"},
        {"bind:", "not a list of nodes"},
        {"bind:1,", "not a list of nodes"},
        {"bind:,1", "not a list of nodes"},
        {"bind:1;2", "not a list of nodes"},
        {"bind:1-", "not a list of nodes"},
        {"bind:-1", "not a list of nodes"},
        {"preferred:x", "not a list of nodes"},
        {"preferred:0,1", "more than one node"},
        {"preferred:64", "out of range"},
        {"bind:3-1", "out of range"},
        {"bind:0-99999999999", "out of range"},
    };
    for (size_t i = 0; i < LENGTH(cases); i++) {
        char entry[64];
        char said[256];
        (void)snprintf(entry, sizeof entry, "BUFPOOL_NUMA=%s", cases[i].value);
        (void)snprintf(said, sizeof said,
                       "bufpool: %s: %s; accepted: auto|off|local|interleave|preferred:N|bind:N,M...; using auto\n",
                       entry, cases[i].wrong);
        check_says(read_and_keep_auto, entry, said);
    }
}

Test(options, percentages_become_bytes)
{
    check_size(bp_options_share_bytes(BP_PERCENT(25), 8 * BP_GIB), 8 * BP_GIB / 100 * 25);
    check_size(bp_options_share_bytes(BP_PERCENT(100), 1000), 1000);
    check_size(bp_options_share_bytes(BP_PERCENT(0), 1000), 0);
    check_size(bp_options_share_bytes(BP_PERCENT(50), 0), 0);
    check_size(bp_options_share_bytes(12345, 8 * BP_GIB), 12345);
    check_size(bp_options_share_bytes(64 * BP_TIB, 8 * BP_GIB), 64 * BP_TIB);
}

Test(options, words_are_their_position)
{
    check_size(*field_after("BUFPOOL_MODE=off", &options.mode), BP_MODE_OFF);
    check_size(*field_after("BUFPOOL_MODE=pool", &options.mode), BP_MODE_POOL);
    check_size(*field_after("BUFPOOL_UNDERLYING=next", &options.underlying), BP_UNDERLYING_NEXT);
    check_size(*field_after("BUFPOOL_UNDERLYING=libc", &options.underlying), BP_UNDERLYING_LIBC);
    check_size(*field_after("BUFPOOL_UNDERLYING=jemalloc", &options.underlying), BP_UNDERLYING_JEMALLOC);
    check_size(*field_after("BUFPOOL_STATS=text", &options.stats), BP_STATS_TEXT);
    check_size(*field_after("BUFPOOL_STATS=json", &options.stats), BP_STATS_JSON);
    check_size(*field_after("BUFPOOL_VERBOSE=1", &options.verbose), 1);
    check_size(*field_after("BUFPOOL_HELP=1", &options.help), 1);
}

Test(options, texts_are_copied)
{
    char text[] = "BUFPOOL_STATS_FILE=/var/log/%e.%p=%t";
    read_one(text);
    memset(text, 'x', sizeof text - 1);
    cr_assert_str_eq(options.stats_file, "/var/log/%e.%p=%t");
    read_one(entry_of("BUFPOOL_STATS_FILE="));
    cr_assert_str_empty(options.stats_file);
}

static void read_refused(void *entry)
{
    struct bp_options before = options;
    read_one(entry);
    _exit(memcmp(&options, &before, sizeof options) == 0 ? 0 : 1);
}

/* A wrong value changes nothing, and one line says what it should have been. */
static void check_refused(const char *entry, const char *line)
{
    char expected[1024];
    (void)snprintf(expected, sizeof expected, "bufpool: %s\n", line);
    check_says(read_refused, entry_of(entry), expected);
}

Test(options, wrong_sizes)
{
#define NO_SIZE(text) "BUFPOOL_MIN_SIZE=" text, "BUFPOOL_MIN_SIZE=" text ": not a size; accepted: 4K..1G; using 64K"
#define NO_RANGE(text) "BUFPOOL_MIN_SIZE=" text, "BUFPOOL_MIN_SIZE=" text ": out of range; accepted: 4K..1G; using 64K"
    check_refused(NO_SIZE("abc"));
    check_refused(NO_SIZE(""));
    check_refused(NO_SIZE("-1"));
    check_refused(NO_SIZE("+64K"));
    check_refused(NO_SIZE(" 64K"));
    check_refused(NO_SIZE("64K "));
    check_refused(NO_SIZE("64KK"));
    check_refused(NO_SIZE("64Ki"));
    check_refused(NO_SIZE("64iB"));
    check_refused(NO_SIZE("64X"));
    check_refused(NO_SIZE("1.5M"));
    check_refused(NO_SIZE("0x10000"));
    check_refused(NO_SIZE("50%"));
    check_refused(NO_SIZE("%"));
    check_refused(NO_SIZE("K"));
    check_refused(NO_RANGE("2"));
    check_refused(NO_RANGE("0"));
    check_refused(NO_RANGE("4095"));
    check_refused(NO_RANGE("1025M"));
    check_refused(NO_RANGE("4194304T"));
    check_refused(NO_RANGE("99999999999999999T"));
    check_refused("BUFPOOL_MAX_SIZE=17G", "BUFPOOL_MAX_SIZE=17G: out of range; accepted: 4K..16G; using 16G");
}

/* So many digits that no number holds them: whichever way it is put, it is refused. */
Test(options, sizes_that_no_number_holds)
{
    static const char *const names[] = {"MIN_SIZE", "CACHE_BYTES"};
    static const char *const sizes[] = {"18446744073709551616", "18446744073709617152",       "4611686018427387904",
                                        "4611686018427387929",  "99999999999999999999999999", "4398046511104T"};
    for (size_t i = 0; i < LENGTH(names) * LENGTH(sizes); i++) {
        char entry[128];
        (void)snprintf(entry, sizeof entry, "BUFPOOL_%s=%s", names[i % LENGTH(names)], sizes[i / LENGTH(names)]);
        struct outcome outcome = run_apart(read_refused, entry);
        cr_assert_eq(outcome.status, 0, "%s changed something", entry);
        cr_assert_not_null(strstr(outcome.text, "; accepted: "), "%s", outcome.text);
    }
}

Test(options, wrong_shares)
{
#define SHARE_LINE "; accepted: 0..64T or a percentage; using 25%"
    check_refused("BUFPOOL_CACHE_BYTES=101%", "BUFPOOL_CACHE_BYTES=101%: out of range" SHARE_LINE);
    check_refused("BUFPOOL_CACHE_BYTES=65T", "BUFPOOL_CACHE_BYTES=65T: out of range" SHARE_LINE);
    check_refused("BUFPOOL_CACHE_BYTES=%", "BUFPOOL_CACHE_BYTES=%: not a size" SHARE_LINE);
    check_refused("BUFPOOL_CACHE_BYTES=5%%", "BUFPOOL_CACHE_BYTES=5%%: not a size" SHARE_LINE);
    check_refused("BUFPOOL_CACHE_BYTES=-5%", "BUFPOOL_CACHE_BYTES=-5%: not a size" SHARE_LINE);
    check_refused("BUFPOOL_MAX_BYTES=all",
                  "BUFPOOL_MAX_BYTES=all: not a size; accepted: 0..64T or a percentage; using 0 (no limit)");
}

Test(options, wrong_counts)
{
#define COUNT_LINE "; accepted: 0..128; using 0 (one per CPU, 4..128)"
    check_refused("BUFPOOL_SHARDS=129", "BUFPOOL_SHARDS=129: out of range" COUNT_LINE);
    check_refused("BUFPOOL_SHARDS=4K", "BUFPOOL_SHARDS=4K: not a number" COUNT_LINE);
    check_refused("BUFPOOL_SHARDS=", "BUFPOOL_SHARDS=: not a number" COUNT_LINE);
    check_refused("BUFPOOL_SHARDS=-1", "BUFPOOL_SHARDS=-1: not a number" COUNT_LINE);
    check_refused("BUFPOOL_SHARDS=18446744073709551617",
                  "BUFPOOL_SHARDS=18446744073709551617: not a number" COUNT_LINE);
    check_refused("BUFPOOL_THREAD_CACHE=65",
                  "BUFPOOL_THREAD_CACHE=65: out of range; accepted: 0..64; using 32");
}

Test(options, wrong_words)
{
    check_refused("BUFPOOL_MODE=foo", "BUFPOOL_MODE=foo: not a known word; accepted: pool|off; using pool");
    check_refused("BUFPOOL_MODE=", "BUFPOOL_MODE=: not a known word; accepted: pool|off; using pool");
    check_refused("BUFPOOL_MODE=poo", "BUFPOOL_MODE=poo: not a known word; accepted: pool|off; using pool");
    check_refused("BUFPOOL_MODE=pools", "BUFPOOL_MODE=pools: not a known word; accepted: pool|off; using pool");
    check_refused("BUFPOOL_MODE=Pool", "BUFPOOL_MODE=Pool: not a known word; accepted: pool|off; using pool");
    check_refused("BUFPOOL_MODE=pool|off", "BUFPOOL_MODE=pool|off: not a known word; accepted: pool|off; using pool");
    check_refused("BUFPOOL_STATS=1", "BUFPOOL_STATS=1: not a known word; accepted: 0|text|json; using 0");
}

Test(options, names_must_match_as_a_whole)
{
#define UNKNOWN(name)                                                                                                  \
    "BUFPOOL_" name "=1", "BUFPOOL_" name ": unknown variable, ignored; BUFPOOL_HELP=1 lists the known ones"
    check_refused(UNKNOWN("FOO"));
    check_refused(UNKNOWN(""));
    check_refused(UNKNOWN("MIN_SIZ"));
    check_refused(UNKNOWN("MIN_SIZES"));
    check_refused(UNKNOWN("min_size"));
    check_refused(UNKNOWN("CACHE"));
}

Test(options, a_long_unknown_name_is_cut)
{
    char entry[2048] = "BUFPOOL_";
    memset(entry + 8, 'A', 1000);
    strcpy(entry + 1008, "=1");
    struct outcome outcome = run_apart(read_one, entry);
    cr_assert_eq(strncmp(outcome.text, "bufpool: BUFPOOL_AAA", 20), 0);
    cr_assert_not_null(strstr(outcome.text, "A: unknown variable, ignored; BUFPOOL_HELP=1 lists the known ones\n"));
}

Test(options, what_is_not_ours_is_not_looked_at)
{
    struct bp_options before = options;
    check_says(read_one, entry_of("BUFPOO_MIN_SIZE=1M"), "");
    check_says(read_one, entry_of("XBUFPOOL_MIN_SIZE=1M"), "");
    check_says(read_one, entry_of("bufpool_MIN_SIZE=1M"), "");
    check_says(read_one, entry_of("BUFPOOL_MIN_SIZE"), "");
    check_says(read_one, NULL, "");
    bp_options_read(&options, NULL);
    cr_assert_arr_eq(&options, &before, sizeof options);
}

Test(options, a_text_that_does_not_fit_is_refused)
{
    char entry[BP_TEXT_OPTION_BYTES + 64] = "BUFPOOL_ONLY=";
    size_t start = strlen(entry);
    memset(entry + start, 'n', BP_TEXT_OPTION_BYTES - 1);
    read_one(entry);
    check_size(strlen(options.only), BP_TEXT_OPTION_BYTES - 1);

    init_options();
    entry[start + BP_TEXT_OPTION_BYTES - 1] = 'n';
    struct outcome outcome = run_apart(read_refused, entry);
    cr_assert_eq(outcome.status, 0);
    cr_assert_eq(strncmp(outcome.text, "bufpool: BUFPOOL_ONLY=nnn", 25), 0, "%s", outcome.text);
}

static void read_crossed(void *unused)
{
    (void)unused;
    char *environment[] = {entry_of("BUFPOOL_MAX_SIZE=8K"), NULL};
    bp_options_read(&options, environment);
    _exit(options.mode == BP_MODE_OFF ? 0 : 1);
}

Test(options, a_range_without_sizes_turns_the_pool_off)
{
    check_says(read_crossed, NULL,
               "bufpool: BUFPOOL_MIN_SIZE (64K) is above BUFPOOL_MAX_SIZE (8K): no request is served from the pool\n");
}

static void check_limits(void *entries)
{
    bp_options_read(&options, entries);
    bp_options_check(&options, BP_GIB);
}

Test(options, limits_that_contradict_each_other)
{
    static const struct {
        const char *first;
        const char *second;
        const char *said;
    } cases[] = {
        {"BUFPOOL_MAX_BYTES=32K", "",
         "MAX_BYTES (32K) is below BUFPOOL_MIN_SIZE (64K): no request is served from the pool"},
        {"BUFPOOL_MAX_BYTES=1M", "BUFPOOL_CACHE_BYTES=2M",
         "CACHE_BYTES (2M) is above BUFPOOL_MAX_BYTES (1M): the lower one holds"},
        {"BUFPOOL_MAX_BYTES=10%", "BUFPOOL_CACHE_BYTES=2G",
         "CACHE_BYTES (2G) is above BUFPOOL_MAX_BYTES (102M): the lower one holds"},
        {"BUFPOOL_CACHE_BYTES=0", "BUFPOOL_THREAD_CACHE_BYTES=1%",
         "THREAD_CACHE_BYTES (10.2M) is above BUFPOOL_CACHE_BYTES (0): the lower one holds"},
        {"BUFPOOL_MAX_BYTES=1M", "", NULL},
        {"BUFPOOL_CACHE_BYTES=1M", "", NULL},
        {"BUFPOOL_THREAD_CACHE_BYTES=1T", "", NULL},
        {"BUFPOOL_MAX_BYTES=2M", "BUFPOOL_CACHE_BYTES=2M", NULL},
        {"BUFPOOL_CACHE_BYTES=2M", "BUFPOOL_THREAD_CACHE_BYTES=2M", NULL},
        {"BUFPOOL_CACHE_BYTES=2M", "BUFPOOL_MAX_BYTES=0", NULL},
    };
    for (size_t i = 0; i < LENGTH(cases); i++) {
        char first[64];
        char second[64];
        char said[256] = "";
        (void)snprintf(first, sizeof first, "%s", cases[i].first);
        (void)snprintf(second, sizeof second, "%s", cases[i].second);
        if (cases[i].said)
            (void)snprintf(said, sizeof said, "bufpool: BUFPOOL_%s\n", cases[i].said);
        char *entries[] = {first, second, NULL};
        init_options();
        check_says(check_limits, entries, said);
    }
}

static bool peek_finds;

static void peek_mode(void *entry)
{
    char *environment[] = {(char[]){"PATH=/bin"}, entry, NULL};
    peek_finds = bp_options_peek(&options, environment, "MODE");
}

Test(options, peek_is_silent_and_takes_one)
{
    static const struct {
        const char *entry;
        bool found;
        size_t mode;
    } cases[] = {
        {"BUFPOOL_MODE=off", true, BP_MODE_OFF},    {"BUFPOOL_MODE=foo", false, BP_MODE_POOL},
        {"BUFPOOL_MODES=off", false, BP_MODE_POOL}, {"BUFPOOL_STATS=text", false, BP_MODE_POOL},
        {"BUFPOOL_MODE", false, BP_MODE_POOL},
    };
    for (size_t i = 0; i < LENGTH(cases); i++) {
        init_options();
        check_says(peek_mode, entry_of(cases[i].entry), "");
        peek_mode(entry_of(cases[i].entry));
        cr_assert_eq(peek_finds, cases[i].found, "%s", cases[i].entry);
        check_size(options.mode, cases[i].mode);
        check_size(options.stats, BP_STATS_OFF);
    }
    cr_assert_not(bp_options_peek(&options, NULL, "MODE"));
}

Test(options, patterns_match_whole_names)
{
    cr_assert(bp_options_match("python3", "python3"));
    cr_assert(bp_options_match("perl,python*,ruby", "python3"));
    cr_assert(bp_options_match("perl,python*,ruby", "ruby"));
    cr_assert(bp_options_match("*", "anything"));
    cr_assert(bp_options_match("pytho[a-z]?", "python3"));
    cr_assert_not(bp_options_match("python", "python3"));
    cr_assert_not(bp_options_match("perl,ruby", "python3"));
    cr_assert_not(bp_options_match("", "python3"));
    cr_assert_not(bp_options_match(",,", "python3"));
    cr_assert_not(bp_options_match("Python3", "python3"));
}

Test(options, a_pattern_that_is_too_long_matches_nothing_and_ends_nothing)
{
    char patterns[600];
    memset(patterns, '*', sizeof patterns);
    strcpy(patterns + 500, ",perl");
    cr_assert_not(bp_options_match(patterns, "python3"));
    cr_assert(bp_options_match(patterns, "perl"));
}

Test(options, lists_of_buffers)
{
    const size_t none = SIZE_MAX;
    const struct {
        const char *list;
        size_t count; /* of parts before the end or the error */
        struct bp_buffers last;
        bool ok;
    } cases[] = {
        {"1M:64,256K:8", 2, {256 * BP_KIB, 8, none}, true},
        {"4096:1", 1, {4096, 1, none}, true},
        {"2GiB:3,1B:2,7KB:1", 3, {7 * BP_KIB, 1, none}, true},
        {"1M:64@1", 1, {BP_MIB, 64, 1}, true},
        {"1M:64@1,256K:8", 2, {256 * BP_KIB, 8, none}, true},
        {"1M:2,1M:3@1023", 2, {BP_MIB, 3, 1023}, true},
        {"", 0, {0}, true},
        {"1M:2,,1M:1", 1, {BP_MIB, 2, none}, false},
        {"1M:2@0,1M:2@0,1M@0:2", 2, {BP_MIB, 2, 0}, false},
    };
    static const char *const wrong[] = {
        "1M", "1M:", ":3", "1M:0", "1M:2,", "1M:-1", "1M:2x", "10%:2", "1M 2", "1M:2;1M:3", "1M:1:1", "1.5M:2", ",1M:2",
        "1M:99999999999999999999", "000000000000000000000000000000000000000000000001:1", "1M:2@", "1M:2@-1", "1M:2@x",
        "1M:2@0-1", "1M:2@0x", "1M@1", "1M:0@0", "@1", "1M:2@@1"};
    struct bp_buffers buffers;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        const char *rest = cases[i].list;
        for (size_t part = 0; part < cases[i].count; part++)
            cr_assert(bp_options_next_buffers(&rest, &buffers), "%s", cases[i].list);
        cr_assert(cases[i].count == 0 || (buffers.size_bytes == cases[i].last.size_bytes &&
                                          buffers.count == cases[i].last.count && buffers.node == cases[i].last.node),
                  "%s", cases[i].list);
        cr_assert_not(bp_options_next_buffers(&rest, &buffers), "%s", cases[i].list);
        cr_assert_eq(*rest == '\0', cases[i].ok, "%s", cases[i].list);
    }
    for (size_t i = 0; i < LENGTH(wrong); i++) {
        const char *rest = wrong[i];
        cr_assert_not(bp_options_next_buffers(&rest, &buffers), "%s", wrong[i]);
        cr_assert_eq(rest, wrong[i], "%s", wrong[i]);
    }
}

static void show_help(void *unused)
{
    (void)unused;
    bp_options_help();
}

Test(options, help_names_every_option)
{
    struct outcome outcome = run_apart(show_help, NULL);
#define OPT(kind, field, name, fallback, min, max, accepted, shown, help_text)                                         \
    cr_assert_not_null(strstr(outcome.text, "BUFPOOL_" name " "), name);                                               \
    cr_assert_not_null(strstr(outcome.text, help_text "\n"), name);
#include "options.def"
#undef OPT
    for (const char *line = outcome.text; *line != '\0'; line = strchr(line, '\n') + 1)
        cr_assert_eq(strncmp(line, "bufpool: ", 9), 0, "%s", line);
}
