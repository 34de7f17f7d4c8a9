/* SPDX-License-Identifier: MIT */
/*
 * The option parser: the input is an environment, an entry a line. What it makes of it must be what a plain reading of
 * options.def says, written here a second time and without a thought for speed.
 */
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "out.h"

enum { ENTRIES_MAX = 64, INPUT_MAX_BYTES = 16 * 1024 };

#define CHECK(condition) ((condition) ? (void)0 : bp_fatal("options: not so: %s", #condition))

/* Digits, then perhaps a unit: what is left is put into `ret_rest`. */
static bool read_digits(const char *text, size_t *ret_value, const char **ret_rest)
{
    char *rest;
    errno = 0;
    *ret_value = strtoull(text, &rest, 10);
    *ret_rest = rest;
    return isdigit((unsigned char)*text) && errno == 0;
}

static bool is_in(size_t value, size_t min, size_t max)
{
    return value >= min && value <= max;
}

static bool read_count(const char *text, size_t min, size_t max, size_t *ret_value)
{
    const char *rest;
    return read_digits(text, ret_value, &rest) && *rest == '\0' && is_in(*ret_value, min, max);
}

static bool read_size(const char *text, size_t min, size_t max, size_t *ret_value)
{
    static const char *const endings[][4] = {{"", "B"}, {"K", "KB", "KiB"}, {"M", "MB", "MiB"}, {"G", "GB", "GiB"},
                                             {"T", "TB", "TiB"}};
    const char *rest;
    if (!read_digits(text, ret_value, &rest))
        return false;
    char ending[4];
    if (strlen(rest) >= sizeof ending)
        return false;
    strcpy(ending, rest);
    ending[0] = (char)(strchr("kmgt", ending[0]) ? toupper((unsigned char)ending[0]) : ending[0]);
    for (unsigned power = 0; power < sizeof endings / sizeof endings[0]; power++) {
        for (unsigned i = 0; i < 4 && endings[power][i]; i++) {
            if (strcmp(ending, endings[power][i]) == 0)
                return !__builtin_mul_overflow(*ret_value, (size_t)1 << (10 * power), ret_value) &&
                       is_in(*ret_value, min, max);
        }
    }
    return false;
}

static bool read_share(const char *text, size_t min, size_t max, size_t *ret_value)
{
    const char *rest;
    if (!read_digits(text, ret_value, &rest) || strcmp(rest, "%") != 0)
        return read_size(text, min, max, ret_value);
    bool ok = *ret_value <= 100;
    *ret_value = BP_PERCENT(*ret_value);
    return ok;
}

static bool read_word(const char *text, const char *words, size_t *ret_value)
{
    char copy[256];
    strcpy(copy, words);
    char *position;
    *ret_value = 0;
    for (char *word = strtok_r(copy, "|", &position); word; word = strtok_r(NULL, "|", &position), ++*ret_value) {
        if (strcmp(word, text) == 0)
            return true;
    }
    return false;
}

static bool read_node_list(const char *text, size_t max, uint64_t *ret_nodes)
{
    char copy[BP_TEXT_OPTION_BYTES];
    size_t length = strlen(text);
    *ret_nodes = 0;
    if (length == 0 || length >= sizeof copy || text[length - 1] == ',' || strstr(text, ",,") || text[0] == ',')
        return false;
    strcpy(copy, text);
    char *position;
    for (char *item = strtok_r(copy, ",", &position); item; item = strtok_r(NULL, ",", &position)) {
        const char *rest;
        size_t first;
        if (!read_digits(item, &first, &rest))
            return false;
        size_t last = first;
        if (*rest == '-' && !read_digits(rest + 1, &last, &rest))
            return false;
        if (*rest != '\0' || first > last || last > max)
            return false;
        for (size_t node = first; node <= last; node++)
            *ret_nodes |= (uint64_t)1 << node;
    }
    return true;
}

static bool read_numa(const char *text, size_t max, struct bp_numa_choice *ret_choice)
{
    size_t word;
    *ret_choice = (struct bp_numa_choice){0};
    if (read_word(text, "auto|off|local|interleave", &word)) {
        ret_choice->mode = (enum bp_numa_mode)word;
        return true;
    }
    if (strncmp(text, "bind:", 5) == 0) {
        ret_choice->mode = BP_NUMA_BIND;
        return read_node_list(text + 5, max, &ret_choice->nodes);
    }
    ret_choice->mode = BP_NUMA_PREFERRED;
    return strncmp(text, "preferred:", 10) == 0 && read_node_list(text + 10, max, &ret_choice->nodes) &&
           __builtin_popcountll(ret_choice->nodes) == 1;
}

/* Applies an entry as the table says. */
static void apply(struct bp_options *options, const char *name, const char *text)
{
    size_t value;
#define APPLY_SIZE(field, min, max, words)                                                                             \
    if (read_size(text, min, max, &value))                                                                             \
        options->field = value;
#define APPLY_SHARE(field, min, max, words)                                                                            \
    if (read_share(text, min, max, &value))                                                                            \
        options->field = value;
#define APPLY_COUNT(field, min, max, words)                                                                            \
    if (read_count(text, min, max, &value))                                                                            \
        options->field = value;
#define APPLY_WORD(field, min, max, words)                                                                             \
    if (read_word(text, words, &value))                                                                                \
        options->field = value;
#define APPLY_NODES(field, min, max, words)                                                                            \
    {                                                                                                                  \
        struct bp_numa_choice choice;                                                                                  \
        if (read_numa(text, max, &choice))                                                                             \
            options->field = choice;                                                                                   \
    }
#define APPLY_TEXT(field, min, max, words)                                                                             \
    if (strlen(text) < sizeof options->field)                                                                          \
        strcpy(options->field, text);
#define OPT(kind, field, name_, fallback, min, max, accepted, shown, help)                                             \
    if (strcmp(name, name_) == 0) {                                                                                    \
        APPLY_##kind(field, min, max, accepted)                                                                        \
    }
#include "options.def"
#undef OPT
}

#define SAME_SIZE(field) CHECK(read.field == expected.field);
#define SAME_SHARE(field) CHECK(read.field == expected.field);
#define SAME_COUNT(field) CHECK(read.field == expected.field);
#define SAME_WORD(field) CHECK(read.field == expected.field);
#define SAME_NODES(field) CHECK(read.field.mode == expected.field.mode && read.field.nodes == expected.field.nodes);
#define SAME_TEXT(field) CHECK(strcmp(read.field, expected.field) == 0);

static struct bp_options read, expected;

static void check_environment(char **environment)
{
    bp_options_init(&read);
    bp_options_init(&expected);
    bp_options_read(&read, environment);
    for (char **entry = environment; *entry; entry++) {
        char *equals = strchr(*entry, '=');
        if (!equals || strncmp(*entry, "BUFPOOL_", 8) != 0)
            continue;
        char name[64] = "";
        strncpy(name, *entry + 8, bp_min((size_t)(equals - *entry) - 8, sizeof name - 1));
        apply(&expected, name, equals + 1);
    }
    if (expected.min_size_bytes > expected.max_size_bytes)
        expected.mode = BP_MODE_OFF;
    if (expected.harden != 0 && (*expected.prefill || expected.hugepages >= BP_HUGEPAGES_ON)) {
        expected.prefill[0] = '\0';
        expected.hugepages = BP_HUGEPAGES_INHERIT;
    }
#define OPT(kind, field, name, fallback, min, max, accepted, shown, help) SAME_##kind(field)
#include "options.def"
#undef OPT
}

/* What else is done with values: patterns are matched, percentages taken, texts escaped for the report. */
static void use_values(const char *input, size_t size)
{
    (void)bp_options_match(read.only, "program");
    (void)bp_options_match(read.skip, "program");
    CHECK(!bp_options_match("", "program") && bp_options_match("*", "program"));
    CHECK(bp_options_share_bytes(read.cache_bytes, BP_GIB) <= 64 * BP_TIB);
    const char *rest = read.prefill;
    for (struct bp_buffers buffers; bp_options_next_buffers(&rest, &buffers);)
        CHECK(buffers.count > 0 && buffers.size_bytes < BP_PERCENT_FLAG);
    char escaped[512];
    struct bp_text text = {.data = escaped, .size = 1 + size % sizeof escaped};
    bp_text_add_json(&text, input);
    bp_text_add(&text, "%-12s|%7zu|%p|%lx|%d", input, size, (const void *)input, size, -(int)size);
    bp_text_add_bytes(&text, read.max_size_bytes);
    CHECK(text.length < text.size && escaped[text.length] == '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char lines[INPUT_MAX_BYTES + 1];
    char *environment[ENTRIES_MAX + 1] = {NULL};
    size = bp_min(size, INPUT_MAX_BYTES);
    memcpy(lines, data, size);
    lines[size] = '\0';
    size_t count = 0;
    char *position;
    for (char *line = strtok_r(lines, "\n", &position); line && count < ENTRIES_MAX;
         line = strtok_r(NULL, "\n", &position))
        environment[count++] = line;
    check_environment(environment);
    struct bp_options peeked;
    bp_options_init(&peeked);
    (void)bp_options_peek(&peeked, environment, "UNDERLYING");
    CHECK(peeked.underlying <= BP_UNDERLYING_JEMALLOC);
    use_values(lines, size);
    return 0;
}
