/* SPDX-License-Identifier: MIT */
#include "pressure.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "decay.h"
#include "fake_os.h"
#include "os.h"
#include "support.h"

enum { CLASS = 20 - BP_STRIDE_SHIFT_MIN, DECAY_MS = 2000 };

static struct bp_meta meta;
static struct bp_budget budget;
static struct bp_arena arena;
static struct bp_shards shards;
static struct bp_tcaches caches;
static struct bp_decay decay;
static struct bp_counters counters;
static char folder[] = "/tmp/bufpool-test-XXXXXX";

/* A file below the folder that stands for the root, and the folders above it. */
static BP_PRINTF(2, 3) void write_file(const char *path, const char *format, ...)
{
    char full[256];
    (void)snprintf(full, sizeof full, "%s%s", folder, path);
    for (char *slash = strchr(full + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(full, 0755);
        *slash = '/';
    }
    FILE *file = fopen(full, "we");
    cr_assert_not_null(file, "%s", full);
    va_list args;
    va_start(args, format);
    (void)vfprintf(file, format, args);
    va_end(args);
    (void)fclose(file);
}

static void write_events(const char *cgroup, unsigned high, unsigned max, unsigned oom)
{
    char path[128];
    (void)snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.events.local", cgroup);
    write_file(path, "low 0\nhigh %u\nmax %u\noom %u\noom_kill %u\noom_group_kill 0\n", high, max, oom, oom);
}

/* As /proc/pressure/memory and memory.pressure are. */
static void write_stalls(const char *path, unsigned long us)
{
    write_file(path,
               "some avg10=0.00 avg60=0.18 avg300=0.15 total=%lu\n"
               "full avg10=0.00 avg60=0.05 avg300=0.04 total=%lu\n",
               us, us / 3);
}

static void make_all(void)
{
    fake_os_install();
    cr_assert_not_null(mkdtemp(folder));
    bp_os.root = folder;
    bp_meta_init(&meta);
    budget = (struct bp_budget){
        .cached_share = BP_TIB, .cached_limit_bytes = BP_TIB, .footprint_limit_bytes = SIZE_MAX};
    cr_assert_eq(bp_arena_init(&arena, &meta, &budget), 0);
    cr_assert_eq(bp_shards_init(&shards, 2, 100000, &arena, &budget, &meta), 0);
    cr_assert_eq(bp_tcaches_init(&caches, 0, 32, BP_GIB, &shards, &meta), 0);
    fake_os.now_ns = 1000000;
    bp_decay_init(&decay, DECAY_MS, &budget);
    bp_pressure_init(&decay.pressure, true, fake_os.now_ns);
}

static void remove_all(void)
{
    char command[64];
    (void)snprintf(command, sizeof command, "rm -r %s", folder);
    (void)system(command); // NOLINT(cert-env33-c): a folder that this process made
}

TestSuite(pressure, .init = make_all, .fini = remove_all);

static void push(size_t mib)
{
    for (size_t i = 0; i < mib; i++) {
        struct bp_slot *slot = bp_arena_take(&arena, 0, CLASS);
        check(bp_arena_extend(&arena, slot, BP_MIB) == 0);
        check(bp_budget_charge_cached(&budget, BP_MIB));
        slot->next = NULL;
        bp_shard_push(&shards, i & 1, CLASS, (struct bp_chain){slot, 1, BP_MIB}, &counters);
    }
}

static size_t cached_mib(void)
{
    return bp_shards_cached_bytes(&shards) / BP_MIB;
}

static void pass_ms(uint64_t ms)
{
    fake_os.now_ns += ms * 1000000;
    if (bp_decay_is_due(&decay, fake_os.now_ns))
        bp_decay_tick(&decay, &caches, fake_os.now_ns);
}

static size_t look_after_ms(uint64_t ms)
{
    fake_os.now_ns += ms * 1000000;
    bp_pressure_look(&decay.pressure, fake_os.now_ns);
    return decay.pressure.level;
}

Test(pressure, what_was_counted_before_the_first_look_is_the_past)
{
    write_file("/proc/self/cgroup", "0::/job\n");
    write_events("/job", 7, 9, 3);
    check_size(look_after_ms(1000), 0);
    check_size(look_after_ms(1000), 0);
}

Test(pressure, without_descriptors_nothing_is_seen_but_later)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    write_file("/proc/self/cgroup", "0::/job\n");
    write_events("/job", 0, 7, 2);
    for (int turn = 0; turn < 2; turn++) {
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &(struct rlimit){0, limit.rlim_max}), 0);
        check_size(look_after_ms(1000), 0);
        cr_assert_lt(bp_pressure_due_ns(&decay.pressure), UINT64_MAX);
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        check_size(look_after_ms(1000), 0);
    }
    write_events("/job", 0, 8, 3);
    check_size(look_after_ms(1000), BP_PRESSURE_MAX);
}

Test(pressure, a_limit_that_is_met_by_the_page_cache_is_the_first_level)
{
    write_file("/proc/self/cgroup", "0::/job\n");
    write_stalls("/sys/fs/cgroup/job/memory.pressure", 1000);
    for (unsigned i = 0; i < 5; i++) {
        write_events("/job", 0, i, 0);
        check_size(look_after_ms(1000), i == 0 ? 0 : 1);
    }
    check_size(look_after_ms(1000), 0);
}

Test(pressure, where_stalls_are_not_counted_a_limit_that_is_met_again_raises_the_level)
{
    write_file("/proc/self/cgroup", "0::/job\n");
    static const size_t levels[] = {0, 1, 2, 3, 3};
    for (unsigned i = 0; i < LENGTH(levels); i++) {
        write_events("/job", i, 0, 0);
        check_size(look_after_ms(1000), levels[i]);
    }
    check_size(look_after_ms(1000), 2);
}

Test(pressure, a_tenth_of_the_time_stood_still_is_pressure)
{
    write_file("/proc/self/cgroup", "0::/job\n");
    static const struct {
        unsigned long us;
        size_t level;
    } looks[] = {{5000, 0}, {104000, 0}, {204000, 2}, {304000, 3}, {404000, 3}, {503000, 2}, {503001, 1}, {503002, 0}};
    for (unsigned i = 0; i < LENGTH(looks); i++) {
        write_stalls("/sys/fs/cgroup/job/memory.pressure", looks[i].us);
        check_size(look_after_ms(1000), looks[i].level);
    }
}

Test(pressure, the_machines_stalls_count_where_the_cgroup_has_none)
{
    write_file("/proc/self/cgroup", "4:memory:/job\n0::/\n");
    write_stalls("/proc/pressure/memory", 0);
    check_size(look_after_ms(1000), 0);
    write_stalls("/proc/pressure/memory", 900000);
    check_size(look_after_ms(1000), 2);
    write_stalls("/sys/fs/cgroup/memory.pressure", 500);
    check_size(look_after_ms(1000), 1);
}

Test(pressure, a_limit_that_could_not_be_kept_is_the_last_level)
{
    write_file("/proc/self/cgroup", "0::/job\n");
    write_events("/job", 0, 5, 0);
    check_size(look_after_ms(1000), 0);
    write_events("/job", 0, 6, 1);
    check_size(look_after_ms(1000), 3);
}

Test(pressure, cgroups_above_count_as_well)
{
    write_file("/proc/self/cgroup", "0::/slice/job\n");
    write_events("/slice/job", 0, 0, 0);
    write_events("/slice", 0, 0, 0);
    check_size(look_after_ms(1000), 0);
    write_events("/slice", 1, 0, 0);
    check_size(look_after_ms(1000), 1);
}

Test(pressure, version_1_counts_failures)
{
    write_file("/proc/self/cgroup", "9:name=systemd:/\n4:memory:/job\n0::/\n");
    write_file("/sys/fs/cgroup/memory/job/memory.failcnt", "0\n");
    check_size(look_after_ms(1000), 0);
    write_file("/sys/fs/cgroup/memory/job/memory.failcnt", "12\n");
    check_size(look_after_ms(1000), 1);
}

Test(pressure, another_cgroup_with_lower_counts_is_no_pressure)
{
    write_file("/proc/self/cgroup", "0::/job\n");
    write_events("/job", 70, 900, 3);
    write_stalls("/sys/fs/cgroup/job/memory.pressure", 1000000);
    check_size(look_after_ms(1000), 0);
    write_events("/job", 0, 1, 0);
    write_stalls("/sys/fs/cgroup/job/memory.pressure", 7);
    check_size(look_after_ms(1000), 0);
}

Test(pressure, files_without_sense_say_nothing)
{
    static const char *const texts[] = {
        "", "\n", "high\nmax\noom", "maximum 7\nhigh7\n", "some\n", "some total\n", "-1\n"};
    write_file("/proc/self/cgroup", "0::/job\n4:memory:/job\n");
    for (unsigned i = 0; i < LENGTH(texts); i++) {
        write_file("/sys/fs/cgroup/job/memory.events.local", "%s", texts[i]);
        write_file("/sys/fs/cgroup/job/memory.pressure", "%s", texts[i]);
        write_file("/sys/fs/cgroup/memory/job/memory.failcnt", "%s", texts[i]);
        write_file("/proc/pressure/memory", "%s", texts[i]);
        check_size(look_after_ms(1000), 0);
    }
}

Test(pressure, who_finds_nothing_to_read_never_looks_again)
{
    check_size(look_after_ms(1000), 0);
    check_size(bp_pressure_due_ns(&decay.pressure), UINT64_MAX);
    write_file("/proc/self/cgroup", "0::/job\n");
    write_events("/job", 1, 0, 0);
    check_size(look_after_ms(1000), 0);
    write_events("/job", 2, 0, 0);
    check_size(look_after_ms(1000), 0);
    bp_decay_notify(&decay, BP_NOTICE_SHORT);
    check_size(look_after_ms(1000), 2);
    cr_assert_lt(bp_pressure_due_ns(&decay.pressure), UINT64_MAX, "the level must fall again");
    check_size(look_after_ms(1000), 1);
    check_size(look_after_ms(1000), 0);
}

Test(pressure, a_process_that_must_be_quiet_does_not_look)
{
    write_file("/proc/self/cgroup", "0::/job\n");
    write_events("/job", 0, 0, 0);
    check_size(look_after_ms(1000), 0);
    bp_os_keep_quiet();
    write_events("/job", 0, 1, 1);
    check_size(look_after_ms(1000), 0);
    bp_decay_notify(&decay, BP_NOTICE_SHORT);
    pass_ms(1000);
    cr_assert_not(bp_decay_is_due(&decay, fake_os.now_ns), "what it is told is no reason to come back at once");
}

Test(pressure, off_is_off)
{
    bp_pressure_init(&decay.pressure, false, fake_os.now_ns);
    write_file("/proc/self/cgroup", "0::/job\n");
    write_events("/job", 0, 0, 0);
    check_size(look_after_ms(1000), 0);
    write_events("/job", 0, 1, 1);
    bp_decay_notify(&decay, BP_NOTICE_SHORT);
    check_size(look_after_ms(1000), 0);
}

/* --- what is done about it --------------------------------------------------------------------------------------- */

Test(pressure, steps_from_gentle_to_full)
{
    push(100);
    bp_shards_sweep(&shards); /* what was there before is in use, as far as one knows */
    struct bp_chain chain = bp_shard_pop(&shards, 0, CLASS, BP_MIB, 40, SIZE_MAX, &counters);
    check(bp_budget_charge_cached(&budget, chain.bytes));
    bp_shard_push(&shards, 0, CLASS, chain, &counters);
    size_t hot_mib = cached_mib() - bp_shards_cold_bytes(&shards) / BP_MIB;
    cr_assert_gt(hot_mib, 10);

    decay.pressure.level = 1;
    check_size(bp_pressure_relieve(&decay.pressure, &caches, &counters) / BP_MIB, 100 - hot_mib);
    check_size(cached_mib(), hot_mib);
    check_size(budget.cached_limit_bytes, BP_TIB);

    decay.pressure.level = 2;
    check_size(bp_pressure_relieve(&decay.pressure, &caches, &counters) / BP_MIB, hot_mib / 2);
    check_size(budget.cached_limit_bytes, BP_TIB / 2);

    decay.pressure.level = 3;
    (void)bp_pressure_relieve(&decay.pressure, &caches, &counters);
    check_size(cached_mib(), 0);
    check_size(budget.cached_limit_bytes, BP_TIB / 8);
    check_size(budget.footprint_bytes, 0);
    check_size(counters.values[BP_COUNT_pressure_events], 3);
    check_size(counters.values[BP_COUNT_pressure_bytes], 100 * BP_MIB);

    decay.pressure.level = 0;
    check_size(bp_pressure_relieve(&decay.pressure, &caches, &counters), 0);
    check_size(budget.cached_limit_bytes, BP_TIB);
    check_size(counters.values[BP_COUNT_pressure_events], 3);
}

Test(pressure, the_second_step_takes_what_threads_keep)
{
    struct bp_tcache *cache = bp_tcache_enter(&caches);
    bp_owner_add(&cache->misses[CLASS].fresh, 1u);
    struct bp_slot *slot = bp_arena_take(&arena, 0, CLASS);
    check(bp_arena_extend(&arena, slot, BP_MIB) == 0);
    bp_tcache_give(cache, slot);
    bp_tcache_leave(cache);
    decay.pressure.level = 1;
    check_size(bp_pressure_relieve(&decay.pressure, &caches, &counters), 0);
    decay.pressure.level = 2;
    check_size(bp_pressure_relieve(&decay.pressure, &caches, &counters), BP_MIB);
    check_size(budget.footprint_bytes, 0);
}

Test(pressure, a_tick_looks_once_a_second_and_acts)
{
    write_file("/proc/self/cgroup", "0::/job\n");
    write_events("/job", 0, 0, 0);
    pass_ms(1000);
    push(10);
    write_events("/job", 0, 1, 1);
    pass_ms(999);
    check_size(cached_mib(), 10);
    pass_ms(1);
    check_size(cached_mib(), 0);
    check_size(decay.counters.values[BP_COUNT_pressure_bytes], 10 * BP_MIB);
}

Test(pressure, a_notice_is_acted_on_at_the_next_tick_but_not_ten_times_a_second)
{
    pass_ms(200);
    push(10);
    bp_decay_notify(&decay, BP_NOTICE_SHORT);
    pass_ms(0);
    check_size(decay.pressure.level, 2);
    size_t after_one = cached_mib();
    cr_assert_leq(after_one, 5);
    push(10);
    bp_decay_notify(&decay, BP_NOTICE_SHORT);
    pass_ms(50);
    check_size(decay.pressure.level, 2);
    pass_ms(50);
    check_size(decay.pressure.level, 3);
    check_size(cached_mib(), 0);
    for (int i = 0; i < 3; i++)
        pass_ms(1000);
    check_size(decay.pressure.level, 0);
    check_size(budget.cached_limit_bytes, BP_TIB);
}

/* A limit was met, perhaps by the page cache: not a reason to give away what is in use. */
Test(pressure, a_notice_of_a_limit_makes_it_look)
{
    write_file("/proc/self/cgroup", "0::/job\n");
    write_stalls("/sys/fs/cgroup/job/memory.pressure", 1000);
    write_events("/job", 0, 0, 0);
    pass_ms(1000);
    write_events("/job", 0, 1, 0);
    pass_ms(200);
    check_size(decay.pressure.level, 0);
    bp_decay_notify(&decay, BP_NOTICE_LOOK);
    pass_ms(0);
    check_size(decay.pressure.level, 1);
}
