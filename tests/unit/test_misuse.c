/* SPDX-License-Identifier: MIT */
#include "misuse.h"

#include <stdio.h>
#include <string.h>

#include "audit.h"
#include "fake_os.h"
#include "pool.h"
#include "support.h"

enum { ID = 1, SIZE = 100000 };

static struct bp_pool pool;
static char *block;   /* live */
static char *aligned; /* live, where a block without alignment would not start */
static char *freed;   /* free */

static void make_pool(void)
{
    fake_os_install();
    struct bp_options options;
    bp_options_init(&options);
    options.min_size_bytes = 1;
    options.on_error = BP_ON_ERROR_WARN;
    cr_assert_eq(bp_pool_init(&pool, ID, &options), 0);
    /* Of the first slots of a class the first may have no colour, and none is told from any. */
    for (int i = 0; i < 3; i++)
        block = bp_pool_alloc_slow(&pool, SIZE, 1);
    aligned = bp_pool_alloc_slow(&pool, SIZE, 1024);
    freed = bp_pool_alloc_slow(&pool, SIZE, 4096);
    bp_pool_free_slow(&pool, freed);
}

TestSuite(misuse, .init = make_pool);

struct call {
    const char *name;
    char *p;
    const char *says; /* without the class and the pid */
    bool has_class;
};

static void free_it(void *p)
{
    bp_pool_free_slow(&pool, p);
}

/* The line, but for the pid, is all that is said, and the program goes on. */
static void check_line(void (*function)(void *), const struct call *call)
{
    char line[256];
    (void)snprintf(line, sizeof line, "bufpool: %s(%p): %s (%spid ", call->name, (void *)call->p, call->says,
                   call->has_class ? "class 128K, " : "");
    struct outcome outcome = run_apart(function, call->p);
    cr_assert_eq(outcome.status, 0);
    cr_assert(strncmp(outcome.text, line, strlen(line)) == 0, "%s is not %s", outcome.text, line);
    cr_assert_str_eq(strchr(outcome.text, '\n'), "\n");
    pool.on_error = BP_ON_ERROR_ABORT;
    check_aborts(function, call->p, line);
    pool.on_error = BP_ON_ERROR_WARN;
}

Test(misuse, is_described)
{
    char into_block[128], into_unaligned[128], before[128], behind[128];
    (void)snprintf(into_block, sizeof into_block, "64 bytes into the block of 100000 bytes at %p", (void *)block);
    (void)snprintf(into_unaligned, sizeof into_unaligned, "unaligned, 17 bytes into the block of 100000 bytes at %p",
                   (void *)block);
    (void)snprintf(before, sizeof before, "before the block of 100000 bytes at %p", (void *)block);
    (void)snprintf(behind, sizeof behind, "behind the block of 100000 bytes at %p", (void *)aligned);
    char *behind_aligned = (char *)bp_align_up((uintptr_t)aligned + SIZE, BP_COLOUR_STEP_BYTES);
    int local;
    const struct call calls[] = {
        {"free", freed, "a block that is free already", true},
        {"free", freed + 64, "inside a block that is free", true},
        {"free", freed + 8192, "inside a block that is free", true},
        {"free", freed + 8193, "unaligned, inside a block that is free", true},
        {"free", block + 64, into_block, true},
        {"free", block + 17, into_unaligned, true},
        {"free", block - 64, before, true},
        {"free", behind_aligned, behind, true},
        {"free", block + 10 * 128 * BP_KIB, "no block was ever there", false},
        {"free", block + BP_GIB, "no block was ever there", false},
        {"free", (char *)&local, "not a block of this pool", false},
    };
    for (size_t i = 0; i < LENGTH(calls); i++) {
        struct call call = calls[i];
        if (call.p == (char *)&local)
            call.p = (char *)bp_align_down((uintptr_t)call.p, BP_COLOUR_STEP_BYTES);
        check_line(free_it, &call);
    }
}

static void free_by_the_hit_path(void *p)
{
    if (!bp_pool_free_fast(&pool, ID, p, bp_arena_offset(&pool.arena, p)))
        bp_pool_free_slow(&pool, p);
}

Test(misuse, of_a_tainted_block_is_described_as_of_any_other)
{
    bp_arena_taint(&pool.arena, block, 1);
    char says[128];
    for (size_t i = 1; i < 64; i++) {
        (void)snprintf(says, sizeof says, "unaligned, %zu bytes into the block of 100000 bytes at %p", i,
                       (void *)block);
        check_line(free_by_the_hit_path, &(struct call){"free", block + i, says, true});
    }
    check_says(free_by_the_hit_path, block, "");
}

static void resize_it(void *p)
{
    check(bp_pool_realloc(&pool, p, 10) == NULL);
}

static void measure_it(void *p)
{
    check_size(bp_pool_usable_bytes(&pool, p), 0);
}

Test(misuse, of_other_calls_is_described_too)
{
    check_line(resize_it, &(struct call){"realloc", freed, "a block that is free already", true});
    check_line(measure_it, &(struct call){"malloc_usable_size", freed, "a block that is free already", true});
}

static size_t given_size;
static size_t given_align;

static void free_sized_it(void *p)
{
    check(bp_pool_check_sized(&pool, p, given_size, given_align, "free_sized"));
}

Test(misuse, of_a_size_is_described)
{
    struct call call = {"free_sized", block, NULL, true};
    const size_t wrong[] = {0, SIZE - 1, bp_pool_usable_bytes(&pool, block) + 1, SIZE_MAX};
    for (size_t i = 0; i < LENGTH(wrong); i++) {
        char says[128];
        (void)snprintf(says, sizeof says, "as %zu bytes, but it is a block of 100000 bytes", wrong[i]);
        call.says = says;
        given_size = wrong[i];
        given_align = 1;
        check_line(free_sized_it, &call);
    }
    given_size = SIZE;
    given_align = BP_GIB;
    call.says = "as 100000 bytes aligned to 1073741824, but it is a block of 100000 bytes";
    check_line(free_sized_it, &call);
    /* Anything up to what may be used is right. */
    given_align = 64;
    check_says(free_sized_it, block, "");
    given_size = bp_pool_usable_bytes(&pool, block);
    check_says(free_sized_it, block, "");
    given_align = 0; /* no alignment at all */
    cr_assert_neq(run_apart(free_sized_it, block).text[0], '\0');
}

static void do_all_twice(void *unused)
{
    (void)unused;
    for (int i = 0; i < 2; i++) {
        bp_pool_free_slow(&pool, freed);
        bp_pool_free_slow(&pool, block + 64);
        bp_pool_free_slow(&pool, freed + 64);
    }
    struct audit audit = audit_pool(&pool);
    check(audit.problem[0] == '\0' && audit.live_count == 4);
    struct bp_tcache *cache = bp_tcache_enter(&pool.caches);
    check_size(cache->counters.values[BP_COUNT_misuses], 6);
    bp_tcache_leave(cache);
}

Test(misuse, is_said_once_a_kind_and_changes_nothing)
{
    struct outcome outcome = run_apart(do_all_twice, NULL);
    cr_assert_eq(outcome.status, 0, "%s", outcome.text);
    size_t lines = 0;
    for (const char *c = outcome.text; *c != '\0'; c++)
        lines += *c == '\n';
    check_size(lines, 3);
}
