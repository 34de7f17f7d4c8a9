/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "out.h"

enum kind { SIZE, SHARE, COUNT, WORD, NODES, TEXT };

struct row {
    const char *name;
    const char *accepted;
    const char *shown;
    const char *help;
    size_t min;
    size_t max;
    size_t offset; /* of the field in struct bp_options */
    enum kind kind;
};

static const struct row rows[] = {
#define OPT(kind_, field, name_, fallback, min_, max_, accepted_, shown_, help_)                                       \
    {.kind = kind_,                                                                                                    \
     .name = name_,                                                                                                    \
     .min = min_,                                                                                                      \
     .max = max_,                                                                                                      \
     .accepted = accepted_,                                                                                            \
     .shown = shown_,                                                                                                  \
     .help = help_,                                                                                                    \
     .offset = offsetof(struct bp_options, field)},
#include "options.def"
#undef OPT
};

enum { ROWS_COUNT = sizeof rows / sizeof rows[0] };

static const char prefix[] = "BUFPOOL_";

static const struct bp_options defaults = {
#define BP_DEFAULT_SIZE(field, value) .field = (value),
#define BP_DEFAULT_SHARE(field, value) .field = (value),
#define BP_DEFAULT_COUNT(field, value) .field = (value),
#define BP_DEFAULT_WORD(field, value) .field = (value),
#define BP_DEFAULT_NODES(field, value) .field = {.mode = (value)},
#define BP_DEFAULT_TEXT(field, value) .field = "",
#define OPT(kind, field, name, fallback, min, max, accepted, shown, help) BP_DEFAULT_##kind(field, fallback)
#include "options.def"
#undef OPT
};

void bp_options_init(struct bp_options *options)
{
    *options = defaults;
}

/* Decimal digits; returns NULL when there are none or the number is absurd. */
static const char *parse_number(const char *text, size_t *ret_number)
{
    size_t number = 0;
    const char *digit = text;
    for (; *digit >= '0' && *digit <= '9'; digit++) {
        if (number > BP_PERCENT_FLAG / 16)
            return NULL;
        number = number * 10 + (size_t)(*digit - '0');
    }
    if (digit == text)
        return NULL;
    *ret_number = number;
    return digit;
}

/* Shift of a unit letter, or -1. */
static int unit_shift(char unit)
{
    switch (unit) {
    case 'k':
    case 'K':
        return 10;
    case 'm':
    case 'M':
        return 20;
    case 'g':
    case 'G':
        return 30;
    case 't':
    case 'T':
        return 40;
    default:
        return -1;
    }
}

/* "64K", "1g", "4096"; a trailing B or iB is allowed. Returns NULL or what is wrong. */
static const char *parse_size(const char *text, bool percent_allowed, size_t *ret_bytes)
{
    size_t number;
    const char *rest = parse_number(text, &number);
    if (!rest)
        return "not a size";
    if (percent_allowed && strcmp(rest, "%") == 0) {
        if (number > 100)
            return "out of range";
        *ret_bytes = BP_PERCENT(number);
        return NULL;
    }
    int shift = unit_shift(*rest);
    if (shift > 0)
        rest++;
    if (*rest != '\0' && strcmp(rest, "B") != 0 && (shift <= 0 || strcmp(rest, "iB") != 0))
        return "not a size";
    if (shift > 0) {
        if (number >= BP_PERCENT_FLAG >> shift)
            return "out of range";
        number <<= shift;
    }
    *ret_bytes = number;
    return NULL;
}

/* Position of `text` among the words separated by |, or -1. */
static int find_word(const char *words, const char *text)
{
    size_t length = strlen(text);
    int position = 0;
    for (const char *word = words; word; position++) {
        const char *end = strchr(word, '|');
        size_t word_length = end ? (size_t)(end - word) : strlen(word);
        if (word_length == length && memcmp(word, text, length) == 0)
            return position;
        word = end ? end + 1 : NULL;
    }
    return -1;
}

/* "0-3,5": sets a bit for each number. Returns NULL or what is wrong. */
static const char *parse_nodes(const char *text, size_t max, uint64_t *ret_nodes)
{
    *ret_nodes = 0;
    for (;;) {
        size_t first;
        const char *rest = parse_number(text, &first);
        size_t last = first;
        if (rest && *rest == '-')
            rest = parse_number(rest + 1, &last);
        if (!rest || (*rest != '\0' && *rest != ','))
            return "not a list of nodes";
        if (first > last || last > max)
            return "out of range";
        for (size_t node = first; node <= last; node++)
            *ret_nodes |= (uint64_t)1 << node;
        if (*rest == '\0')
            return NULL;
        text = rest + 1;
    }
}

static const char *parse_numa(const char *text, size_t max, struct bp_numa_choice *ret_choice)
{
    static const char *const words[] = {[BP_NUMA_AUTO] = "auto",
                                        [BP_NUMA_OFF] = "off",
                                        [BP_NUMA_LOCAL] = "local",
                                        [BP_NUMA_INTERLEAVE] = "interleave",
                                        [BP_NUMA_PREFERRED] = "preferred:",
                                        [BP_NUMA_BIND] = "bind:"};
    for (unsigned mode = 0; mode < sizeof words / sizeof words[0]; mode++) {
        bool has_nodes = mode >= BP_NUMA_PREFERRED;
        size_t length = strlen(words[mode]) + !has_nodes;
        if (strncmp(text, words[mode], length) != 0)
            continue;
        *ret_choice = (struct bp_numa_choice){.mode = (enum bp_numa_mode)mode};
        const char *wrong = has_nodes ? parse_nodes(text + length, max, &ret_choice->nodes) : NULL;
        bool several = (ret_choice->nodes & (ret_choice->nodes - 1)) != 0;
        return !wrong && several && mode == BP_NUMA_PREFERRED ? "more than one node" : wrong;
    }
    return "not a known word";
}

/* Stores the value, or returns what is wrong with it. */
static const char *parse_value(const struct row *row, const char *text, struct bp_options *options)
{
    char *field = (char *)options + row->offset;
    size_t value = 0;
    const char *wrong = NULL;
    switch (row->kind) {
    case SIZE:
    case SHARE:
        wrong = parse_size(text, row->kind == SHARE, &value);
        if (!wrong && (value & BP_PERCENT_FLAG) == 0 && (value < row->min || value > row->max))
            wrong = "out of range";
        break;
    case COUNT: {
        const char *rest = parse_number(text, &value);
        if (!rest || *rest != '\0')
            wrong = "not a number";
        else if (value < row->min || value > row->max)
            wrong = "out of range";
        break;
    }
    case WORD: {
        int position = find_word(row->accepted, text);
        if (position < 0)
            wrong = "not a known word";
        value = (size_t)position;
        break;
    }
    case NODES: {
        struct bp_numa_choice choice;
        wrong = parse_numa(text, row->max, &choice);
        if (!wrong)
            memcpy(field, &choice, sizeof choice);
        return wrong;
    }
    case TEXT: {
        size_t length = strlen(text);
        if (length >= BP_TEXT_OPTION_BYTES)
            return "too long";
        memcpy(field, text, length + 1);
        return NULL;
    }
    }
    if (!wrong)
        memcpy(field, &value, sizeof value);
    return wrong;
}

/* The row whose whole name is `name`, of `length` bytes. */
static const struct row *find_row(const char *name, size_t length)
{
    for (size_t i = 0; i < ROWS_COUNT; i++) {
        if (strlen(rows[i].name) == length && memcmp(rows[i].name, name, length) == 0)
            return &rows[i];
    }
    return NULL;
}

/* One line of two limits, and of what comes of them. */
static void warn_of_pair(const char *name, size_t bytes, const char *relation, const char *other, size_t other_bytes,
                         const char *outcome)
{
    char line[256];
    struct bp_text text = {.data = line, .size = sizeof line};
    bp_text_add(&text, "%s%s (", prefix, name);
    bp_text_add_bytes(&text, bytes);
    bp_text_add(&text, ") is %s %s%s (", relation, prefix, other);
    bp_text_add_bytes(&text, other_bytes);
    bp_warn("%s): %s", line, outcome);
}

void bp_options_read(struct bp_options *options, char *const *environment)
{
    size_t prefix_length = sizeof prefix - 1;
    for (; environment && *environment; environment++) {
        const char *entry = *environment;
        if (strncmp(entry, prefix, prefix_length) != 0)
            continue;
        const char *name = entry + prefix_length;
        const char *equals = strchr(name, '=');
        if (!equals)
            continue;
        const struct row *row = find_row(name, (size_t)(equals - name));
        if (!row) {
            char shown[64];
            struct bp_text text = {.data = shown, .size = bp_min(sizeof shown, (size_t)(equals - entry) + 1)};
            bp_text_add(&text, "%s", entry);
            bp_warn("%s: unknown variable, ignored; BUFPOOL_HELP=1 lists the known ones", shown);
            continue;
        }
        const char *wrong = parse_value(row, equals + 1, options);
        if (wrong) {
            char value[64]; /* the start of a long one, so that the line has room for what is accepted */
            struct bp_text text = {.data = value, .size = sizeof value};
            bp_text_add(&text, "%s", equals + 1);
            bp_warn("%s%s=%s: %s; accepted: %s; using %s", prefix, row->name, value, wrong, row->accepted, row->shown);
        }
    }
    if (options->min_size_bytes > options->max_size_bytes) {
        warn_of_pair("MIN_SIZE", options->min_size_bytes, "above", "MAX_SIZE", options->max_size_bytes,
                     "no request is served from the pool");
        options->mode = BP_MODE_OFF;
    }
    /* Either would make pages accessible beyond the end of a block. */
    if (options->harden != 0 && (options->prefill[0] != '\0' || options->hugepages >= BP_HUGEPAGES_ON)) {
        bp_warn("BUFPOOL_HARDEN recycles nothing, page by page: BUFPOOL_PREFILL and BUFPOOL_HUGEPAGES are ignored");
        options->prefill[0] = '\0';
        options->hugepages = BP_HUGEPAGES_INHERIT;
    }
}

void bp_options_check(const struct bp_options *options, size_t memory_bytes)
{
    size_t max_bytes = bp_options_share_bytes(options->max_bytes, memory_bytes);
    size_t cache_bytes = bp_options_share_bytes(options->cache_bytes, memory_bytes);
    size_t thread_bytes = bp_options_share_bytes(options->thread_cache_bytes, memory_bytes);
    /* A default that is too large is nobody's contradiction. */
    bool asked_for_cache = options->cache_bytes != defaults.cache_bytes;
    bool asked_for_thread = options->thread_cache_bytes != defaults.thread_cache_bytes;
    if (max_bytes != 0 && max_bytes < options->min_size_bytes)
        warn_of_pair("MAX_BYTES", max_bytes, "below", "MIN_SIZE", options->min_size_bytes,
                     "no request is served from the pool");
    if (asked_for_cache && max_bytes != 0 && cache_bytes > max_bytes)
        warn_of_pair("CACHE_BYTES", cache_bytes, "above", "MAX_BYTES", max_bytes, "the lower one holds");
    if (asked_for_thread && asked_for_cache && thread_bytes > cache_bytes)
        warn_of_pair("THREAD_CACHE_BYTES", thread_bytes, "above", "CACHE_BYTES", cache_bytes, "the lower one holds");
}

bool bp_options_peek(struct bp_options *options, char *const *environment, const char *name)
{
    size_t prefix_length = sizeof prefix - 1;
    size_t length = strlen(name);
    for (; environment && *environment; environment++) {
        const char *entry = *environment;
        if (strncmp(entry, prefix, prefix_length) == 0 && strncmp(entry + prefix_length, name, length) == 0 &&
            entry[prefix_length + length] == '=')
            return parse_value(find_row(name, length), entry + prefix_length + length + 1, options) == NULL;
    }
    return false;
}

void bp_options_help(void)
{
    bp_say("environment variables, what they accept and [default]:");
    for (size_t i = 0; i < ROWS_COUNT; i++) {
        bp_say("  %s%-18s %s [%s]", prefix, rows[i].name, rows[i].accepted, rows[i].shown);
        bp_say("      %s", rows[i].help);
    }
}

size_t bp_options_share_bytes(size_t value, size_t memory_bytes)
{
    if ((value & BP_PERCENT_FLAG) == 0)
        return value;
    size_t percent = value & ~BP_PERCENT_FLAG;
    return memory_bytes / 100 * percent;
}

bool bp_options_next_buffers(const char **list, struct bp_buffers *ret_buffers)
{
    char part[48];
    size_t length = strcspn(*list, ",");
    const char *next = *list + length + 1;
    if (length >= sizeof part || ((*list)[length] == ',' && *next == '\0'))
        return false;
    memcpy(part, *list, length);
    part[length] = '\0';
    char *colon = strchr(part, ':');
    if (!colon)
        return false;
    *colon = '\0';
    const char *rest = parse_number(colon + 1, &ret_buffers->count);
    ret_buffers->node = SIZE_MAX;
    if (rest && *rest == '@')
        rest = parse_number(rest + 1, &ret_buffers->node);
    if (parse_size(part, false, &ret_buffers->size_bytes) || !rest || *rest != '\0' || ret_buffers->count == 0)
        return false;
    *list += length + ((*list)[length] == ',');
    return true;
}

bool bp_options_match(const char *patterns, const char *name)
{
    while (*patterns != '\0') {
        char pattern[256];
        const char *end = strchr(patterns, ',');
        size_t length = end ? (size_t)(end - patterns) : strlen(patterns);
        if (length < sizeof pattern) {
            memcpy(pattern, patterns, length);
            pattern[length] = '\0';
            if (fnmatch(pattern, name, 0) == 0)
                return true;
        }
        patterns += length + (end != NULL);
    }
    return false;
}
