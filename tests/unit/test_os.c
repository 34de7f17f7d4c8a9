/* SPDX-License-Identifier: MIT */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "stamp.h"
#include "support.h"

/* The kernel reads from the address for us, so that a page without access is an error and not a signal. */
static bool is_readable(const void *address)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    long written = syscall(SYS_write, ends[1], address, 1);
    (void)close(ends[0]);
    (void)close(ends[1]);
    return written == 1;
}

Test(os, page_is_the_kernels)
{
    check_size(bp_os_page_bytes(), (size_t)sysconf(_SC_PAGESIZE));
    cr_assert(bp_is_pow2(bp_os_page_bytes()));
}

Test(os, counts_the_cpus_it_may_run_on)
{
    check_size(bp_os_cpu_count(), (size_t)sysconf(_SC_NPROCESSORS_ONLN));
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((unsigned)sched_getcpu(), &one);
    cr_assert_eq(sched_setaffinity(0, sizeof one, &one), 0);
    check_size(bp_os_cpu_count(), 1);
}

Test(os, reserved_is_inaccessible_until_committed)
{
    size_t page = bp_os_page_bytes();
    char *range = bp_os.reserve(16 * page);
    cr_assert_not_null(range);
    cr_assert_not(is_readable(range));
    cr_assert_eq(bp_os.commit(range + page, 2 * page), 0);
    cr_assert_not(is_readable(range));
    cr_assert_not(is_readable(range + 3 * page));
    cr_assert(is_zero(range + page, 2 * page));
    memset(range + page, 1, 2 * page);
    cr_assert_eq(bp_os.unmap(range, 16 * page), 0);
    cr_assert_not(is_readable(range + page));
}

Test(os, mapped_is_zero_and_writable)
{
    char *memory = bp_os.map(100000);
    cr_assert_not_null(memory);
    cr_assert(is_zero(memory, 100000));
    memset(memory, 1, 100000);
    cr_assert_eq(bp_os.unmap(memory, 100000), 0);
}

Test(os, purged_reads_zero)
{
    size_t page = bp_os_page_bytes();
    char *memory = bp_os.map(4 * page);
    memset(memory, 1, 4 * page);
    cr_assert_eq(bp_os.purge(memory + page, 2 * page), 0);
    cr_assert_eq(memory[page - 1], 1);
    cr_assert(is_zero(memory + page, 2 * page));
    cr_assert_eq(memory[3 * page], 1);
}

Test(os, moved_pages_are_at_the_new_place_and_the_old_one_is_empty)
{
    size_t page = bp_os_page_bytes();
    char *memory = bp_os.map(8 * page);
    stamp(memory, 0, 2 * page, 5);
    int error = bp_os.move(memory, memory + 4 * page, 2 * page);
    if (error == -EINVAL || error == -ENOSYS)
        cr_skip_test("this kernel cannot move pages and keep the place");
    cr_assert_eq(error, 0);
    cr_assert(stamp_holds(memory + 4 * page, 0, 2 * page, 5));
    cr_assert(is_zero(memory, 2 * page));
    memset(memory, 1, 8 * page);
}

/* Older kernels refuse, newer ones can: in no case half of them. */
Test(os, pages_of_two_mappings_move_together_or_not_at_all)
{
    size_t page = bp_os_page_bytes();
    char *memory = bp_os.map(8 * page);
    stamp(memory, 0, page, 5);
    stamp(memory + 6 * page, 0, page, 6);
    if (bp_os.move(memory + 6 * page, memory + page, page) != 0)
        cr_skip_test("this kernel cannot move pages and keep the place");
    errno = 77;
    bool moved = bp_os.move(memory, memory + 3 * page, 2 * page) == 0;
    cr_assert(moved || bp_os.undo_move(memory, memory + 3 * page, 2 * page, false));
    cr_assert_eq(errno, 77);
    const char *there = memory + (moved ? 3 * page : 0);
    const char *empty = memory + (moved ? 0 : 3 * page);
    cr_assert(stamp_holds(there, 0, page, 5) && stamp_holds(there + page, 0, page, 6));
    cr_assert(is_zero(empty, 2 * page));
    cr_assert_eq(bp_os_moves_across(), moved);
}

/* Is the mapping that begins there left out of dumps? */
static bool is_undumped(const char *address)
{
    FILE *smaps = fopen("/proc/self/smaps", "r");
    cr_assert_not_null(smaps);
    bool is_there = false;
    bool found = false;
    char line[512];
    while (fgets(line, sizeof line, smaps)) {
        unsigned long start;
        unsigned long end;
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            is_there = (uintptr_t)address >= start && (uintptr_t)address < end;
        else if (is_there && strncmp(line, "VmFlags:", 8) == 0)
            found = strstr(line, " dd") != NULL;
    }
    (void)fclose(smaps);
    return found;
}

Test(os, what_is_not_accessible_is_not_for_dumps)
{
    size_t page = bp_os_page_bytes();
    char *memory = bp_os.reserve(16 * page);
    cr_assert(is_undumped(memory));
    cr_assert_eq(bp_os.commit(memory, 8 * page), 0);
    cr_assert_not(is_undumped(memory));
    cr_assert(is_undumped(memory + 8 * page));
    cr_assert_eq(bp_os.renew(memory + 4 * page, 4 * page, false), 0);
    cr_assert(is_undumped(memory + 4 * page));
    cr_assert_eq(bp_os.renew(memory + 4 * page, 4 * page, true), 0);
    cr_assert_not(is_undumped(memory + 4 * page));
}

/* Every other page of an area has a mapping of its own, up to its end, until the kernel allows no more. */
static size_t use_up_mappings(char *area, size_t area_bytes)
{
    size_t page = bp_os_page_bytes();
    size_t end = 0;
    while (end < area_bytes && bp_os.commit(area + end, page) == 0)
        end += 2 * page;
    return end;
}

/* The kernel moves the first ones, and stops. */
Test(os, pages_of_which_not_all_mappings_can_move_stay_where_they_are, .timeout = 60)
{
    size_t page = bp_os_page_bytes();
    char *memory = bp_os.map(16 * page);
    char *others = bp_os.map(16 * page);
    char *place = bp_os.map(16 * page);
    stamp(others, 0, 16 * page, 5);
    stamp(memory, 0, 3 * page, 5);
    for (size_t i = 3; i < 12; i += 3) { /* each a mapping of its own */
        if (bp_os.move(others + (12 - i) * page, memory + i * page, 3 * page) != 0)
            cr_skip_test("this kernel cannot move pages and keep the place");
        stamp(memory, 0, (i + 3) * page, 5);
    }
    size_t area_bytes = BP_GIB;
    char *area = bp_os.reserve(area_bytes);
    size_t end = use_up_mappings(area, area_bytes);
    if (end >= area_bytes)
        cr_skip_test("this kernel allows too many mappings");
    size_t failed = 0;
    for (; bp_os.move(memory, place, 12 * page) != 0; failed++) {
        cr_assert(bp_os.undo_move(memory, place, 12 * page, true));
        cr_assert(stamp_holds(memory, 0, 12 * page, 5), "%zu", failed);
        cr_assert(is_zero(place, 16 * page), "%zu", failed);
        memset(place, 1, 16 * page);
        cr_assert_eq(bp_os.purge(place, 16 * page), 0);
        cr_assert_eq(bp_os.renew(area + (end -= 2 * page), page, false), 0);
    }
    cr_assert_gt(failed, 0);
    cr_assert(stamp_holds(place, 0, 12 * page, 5));
}

/* As kernels before 6.17 leave the new place when the pages lie in several mappings. */
Test(os, a_place_that_was_unmapped_is_mapped_again_unless_somebody_else_has_it)
{
    size_t page = bp_os_page_bytes();
    char *memory = bp_os.map(16 * page);
    stamp(memory, 0, 8 * page, 5);
    cr_assert_eq(bp_os.unmap(memory + 8 * page, 8 * page), 0);
    cr_assert(bp_os.undo_move(memory, memory + 8 * page, 8 * page, false));
    cr_assert(is_zero(memory + 8 * page, 8 * page));
    cr_assert_eq(bp_os.unmap(memory + 8 * page, 8 * page), 0);
    cr_assert_eq(bp_os.renew(memory + 10 * page, page, true), 0);
    stamp(memory, 10 * page, 11 * page, 6);
    errno = 77;
    cr_assert_not(bp_os.undo_move(memory, memory + 8 * page, 8 * page, false));
    cr_assert_eq(errno, 77);
    cr_assert(stamp_holds(memory, 10 * page, 11 * page, 6));
    cr_assert(stamp_holds(memory, 0, 8 * page, 5));
}

Test(os, failures_are_negative_and_leave_errno_alone)
{
    errno = 77;
    cr_assert_null(bp_os.reserve(SIZE_MAX / 2));
    cr_assert_null(bp_os.map(SIZE_MAX / 2));
    cr_assert_eq(bp_os.unmap((void *)1, 1), -EINVAL);
    cr_assert_eq(bp_os.commit((void *)1, 1), -EINVAL);
    cr_assert_eq(bp_os.purge((void *)1, 1), -EINVAL);
    cr_assert_eq(bp_os.move((void *)1, (void *)3, 1), -EINVAL);
    char data[8];
    cr_assert_eq(bp_os_read_file("/no/such/file", data, sizeof data), -ENOENT);
    cr_assert_eq(bp_os_read_file("/", data, sizeof data), -EISDIR);
    bp_os_name((void *)1, 1, "nothing");
    cr_assert_eq(errno, 77);
}

Test(os, reads_files_up_to_the_buffer)
{
    char path[] = "/tmp/bufpool-test-XXXXXX";
    int fd = mkstemp(path);
    cr_assert_eq(write(fd, "0123456789", 10), 10);
    (void)close(fd);
    char data[32];
    memset(data, '#', sizeof data);
    cr_assert_eq(bp_os_read_file(path, data, sizeof data), 10);
    cr_assert_str_eq(data, "0123456789");
    memset(data, '#', sizeof data);
    cr_assert_eq(bp_os_read_file(path, data, 5), 4);
    cr_assert_str_eq(data, "0123");
    cr_assert_eq(data[5], '#');
    (void)unlink(path);
    cr_assert_gt(bp_os_read_file("/proc/self/status", data, sizeof data), 0);
}

Test(os, clock_goes_forward)
{
    uint64_t before = bp_os.now_ns();
    (void)nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    cr_assert_gt(bp_os.now_ns(), before);
}

Test(os, clocks_are_the_kernels)
{
    struct timespec now;
    cr_assert_eq(clock_gettime(CLOCK_MONOTONIC_COARSE, &now), 0);
    uint64_t now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    cr_assert_lt(bp_clock_now_ns() - now_ns, 10000000000u);
    cr_assert_lt(bp_clock_seconds() - (size_t)time(NULL) + 1, 10);
}

Test(os, names_show_in_the_process_map)
{
    size_t page = bp_os_page_bytes();
    void *memory = bp_os.map(page);
    bp_os_name(memory, page, "bufpool: test");
    char line[512];
    char expected[32];
    (void)snprintf(expected, sizeof expected, "%lx-", (unsigned long)(uintptr_t)memory);
    FILE *maps = fopen("/proc/self/maps", "re");
    while (fgets(line, sizeof line, maps) && strncmp(line, expected, strlen(expected)) != 0) {
    }
    (void)fclose(maps);
    cr_assert_eq(strncmp(line, expected, strlen(expected)), 0, "a mapping of its own, named or not: %s", line);
    if (!strstr(line, "[anon:"))
        cr_skip_test("this kernel does not name memory");
    cr_assert_not_null(strstr(line, "bufpool: test"), "%s", line);
}

static void set_soft_limit(int resource, rlim_t bytes)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit((__rlimit_resource_t)resource, &limit), 0);
    limit.rlim_cur = bytes;
    cr_assert_eq(setrlimit((__rlimit_resource_t)resource, &limit), 0);
}

Test(os, address_space_left_is_the_limit_less_what_is_used)
{
    struct rlimit before;
    (void)getrlimit(RLIMIT_AS, &before);
    if (before.rlim_max != RLIM_INFINITY)
        cr_skip_test("runs under a limit of address space");
    check_size(bp_os_address_space_left_bytes(), SIZE_MAX);

    set_soft_limit(RLIMIT_AS, (rlim_t)1 << 46);
    size_t left = bp_os_address_space_left_bytes();
    cr_assert_lt(left, (size_t)1 << 46);
    void *range = bp_os.reserve(BP_GIB);
    size_t left_then = bp_os_address_space_left_bytes();
    set_soft_limit(RLIMIT_AS, 4096);
    size_t none_left = bp_os_address_space_left_bytes();
    set_soft_limit(RLIMIT_AS, RLIM_INFINITY);
    cr_assert_geq(left - left_then, BP_GIB);
    check_size(none_left, 0);
    (void)bp_os.unmap(range, BP_GIB);
}

Test(os, a_limit_of_data_charges_committed_pages)
{
    char mode[8];
    cr_assert_gt(bp_os_read_file("/proc/sys/vm/overcommit_memory", mode, sizeof mode), 0);
    cr_assert_eq(bp_os_commit_is_charged(), mode[0] == '2');
    set_soft_limit(RLIMIT_DATA, (rlim_t)1 << 40);
    cr_assert(bp_os_commit_is_charged());
}

/* Control groups: with a file system and a membership of our own, where we may make them. */

static size_t ram_bytes(void)
{
    struct sysinfo info;
    cr_assert_eq(sysinfo(&info), 0);
    return (size_t)info.totalram * info.mem_unit;
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    cr_assert_geq(fd, 0, "%s", path);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
}

/* This process is in the groups named by `lines`, of an empty tree of control groups. */
static void enter_groups(const char *lines)
{
    char own_list[64];
    (void)snprintf(own_list, sizeof own_list, "/proc/%d/cgroup", (int)getpid());
    if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
        cr_skip_test("may not mount");
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "/sys/fs/cgroup", "tmpfs", 0, NULL) != 0)
        cr_skip_test("may not mount");
    write_file("/sys/fs/cgroup/list", lines);
    if (mount("/sys/fs/cgroup/list", own_list, NULL, MS_BIND, NULL) != 0)
        cr_skip_test("may not mount on /proc");
}

Test(os, memory_is_ram_without_a_limit)
{
    enter_groups("0::/\n");
    check_size(bp_os_memory_bytes(), ram_bytes());
    write_file("/sys/fs/cgroup/memory.max", "max\n");
    check_size(bp_os_memory_bytes(), ram_bytes());
}

Test(os, memory_is_the_limit_of_the_group)
{
    enter_groups("0::/one/two\n");
    (void)mkdir("/sys/fs/cgroup/one", 0755);
    (void)mkdir("/sys/fs/cgroup/one/two", 0755);
    write_file("/sys/fs/cgroup/one/two/memory.max", "104857600\n");
    write_file("/sys/fs/cgroup/one/memory.max", "max\n");
    check_size(bp_os_memory_bytes(), 104857600);
}

Test(os, a_group_that_is_braked_before_its_limit_may_use_less)
{
    enter_groups("0::/one\n");
    (void)mkdir("/sys/fs/cgroup/one", 0755);
    write_file("/sys/fs/cgroup/one/memory.max", "104857600\n");
    write_file("/sys/fs/cgroup/one/memory.high", "83886080\n");
    check_size(bp_os_memory_bytes(), 83886080);
    write_file("/sys/fs/cgroup/one/memory.high", "max\n");
    check_size(bp_os_memory_bytes(), 104857600);
}

Test(os, memory_is_the_limit_of_data)
{
    struct rlimit limit;
    (void)getrlimit(RLIMIT_DATA, &limit);
    limit.rlim_cur = 200 * BP_MIB;
    enter_groups("0::/\n");
    cr_assert_eq(setrlimit(RLIMIT_DATA, &limit), 0);
    check_size(bp_os_memory_bytes(), 200 * BP_MIB);
}

Test(os, a_limit_that_nobody_can_read_now_stays)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    enter_groups("0::/\n");
    write_file("/sys/fs/cgroup/memory.max", "104857600\n");
    check_size(bp_os_memory_bytes(), 104857600);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &(struct rlimit){0, limit.rlim_max}), 0);
    check_size(bp_os_memory_bytes(), 104857600);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void read_limit_twice(void *unused)
{
    (void)unused;
    check_size(bp_os_memory_bytes(), ram_bytes());
    check_size(bp_os_memory_bytes(), ram_bytes());
}

Test(os, a_limit_that_cannot_be_read_is_said_once)
{
    static char folder[] = "/tmp/bufpool-test-XXXXXX";
    static const char *const folders[] = {"proc",   "proc/self",     "sys",
                                          "sys/fs", "sys/fs/cgroup", "sys/fs/cgroup/memory.max"};
    char path[128];
    char command[64];
    cr_assert_not_null(mkdtemp(folder));
    for (size_t i = 0; i < LENGTH(folders); i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, folders[i]);
        cr_assert_eq(mkdir(path, 0755), 0);
    }
    (void)snprintf(path, sizeof path, "%s/proc/self/cgroup", folder);
    write_file(path, "0::/\n");
    bp_os.root = folder;
    check_says(read_limit_twice, NULL, "bufpool: a memory limit of this process's cgroup cannot be read "
                                       "(Is a directory); going on as if there were none\n");
    (void)snprintf(command, sizeof command, "rm -r %s", folder);
    (void)system(command); // NOLINT(cert-env33-c): a folder that this process made
}

Test(os, the_tightest_parent_counts)
{
    enter_groups("0::/one/two\n");
    (void)mkdir("/sys/fs/cgroup/one", 0755);
    (void)mkdir("/sys/fs/cgroup/one/two", 0755);
    write_file("/sys/fs/cgroup/one/two/memory.max", "104857600\n");
    write_file("/sys/fs/cgroup/one/memory.max", "52428800\n");
    check_size(bp_os_memory_bytes(), 52428800);
    write_file("/sys/fs/cgroup/memory.max", "1048576\n");
    check_size(bp_os_memory_bytes(), 1048576);
}

Test(os, a_group_that_is_not_visible_here_leaves_its_visible_parents)
{
    enter_groups("0::/outside/of/the/container\n");
    write_file("/sys/fs/cgroup/memory.max", "73400320\n");
    check_size(bp_os_memory_bytes(), 73400320);
}

Test(os, version_1_limits_count_among_other_controllers)
{
    enter_groups("9:name=systemd:/\n8:cpu,cpuacct:/job\n4:hugetlb,memory:/job\n0::/\n");
    (void)mkdir("/sys/fs/cgroup/memory", 0755);
    (void)mkdir("/sys/fs/cgroup/memory/job", 0755);
    write_file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    write_file("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "209715200\n");
    check_size(bp_os_memory_bytes(), 209715200);
}

/* As Kubernetes names them, where containers see the machine's groups. */
Test(os, the_last_of_many_long_groups_counts)
{
    static const char group[] = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0123456789abcdef0123"
                                "456789abcdef.slice/cri-containerd-0123456789abcdef0123456789abcdef0123456789abcdef0123"
                                "456789abcdef.scope";
    char lines[14 * (sizeof group + 16)] = "";
    size_t length = 0;
    for (int id = 13; id > 0; id--)
        length += (size_t)sprintf(lines + length, "%d:%s:%s\n", id, id == 1 ? "memory" : "cpuset", group);
    enter_groups(lines);
    (void)mkdir("/sys/fs/cgroup/memory", 0755);
    write_file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "209715200\n");
    check_size(bp_os_memory_bytes(), 209715200);
}

Test(os, what_a_group_uses_is_not_free)
{
    enter_groups("0::/one/two\n");
    (void)mkdir("/sys/fs/cgroup/one", 0755);
    (void)mkdir("/sys/fs/cgroup/one/two", 0755);
    write_file("/sys/fs/cgroup/one/two/memory.max", "max\n");
    write_file("/sys/fs/cgroup/one/two/memory.current", "10000000\n");
    check_size(bp_os_cgroup_free_bytes(), SIZE_MAX);
    write_file("/sys/fs/cgroup/one/memory.max", "104857600\n");
    check_size(bp_os_memory_free_bytes(), 104857600);
    write_file("/sys/fs/cgroup/one/memory.current", "94857600\n");
    check_size(bp_os_memory_free_bytes(), 10000000);
    write_file("/sys/fs/cgroup/one/memory.stat", "anon 64857600\nfile 30000000\nkernel 12288\nshmem 5000000\n");
    check_size(bp_os_memory_free_bytes(), 35000000);
    write_file("/sys/fs/cgroup/one/memory.high", "90857600\n");
    check_size(bp_os_memory_free_bytes(), 21000000);
    write_file("/sys/fs/cgroup/one/memory.current", "200000000\n");
    check_size(bp_os_memory_free_bytes(), 0);
}

Test(os, so_it_is_in_version_1)
{
    enter_groups("4:memory:/job\n0::/\n");
    (void)mkdir("/sys/fs/cgroup/memory", 0755);
    (void)mkdir("/sys/fs/cgroup/memory/job", 0755);
    write_file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    write_file("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "104857600\n");
    write_file("/sys/fs/cgroup/memory/job/memory.usage_in_bytes", "94857600\n");
    write_file("/sys/fs/cgroup/memory/job/memory.stat", "cache 30000000\nrss 64857600\nrss_huge 0\nshmem 5000000\n");
    check_size(bp_os_memory_free_bytes(), 35000000);
}

Test(os, a_limit_above_ram_is_none)
{
    enter_groups("0::/\n");
    write_file("/sys/fs/cgroup/memory.max", "9223372036854771712\n");
    check_size(bp_os_memory_bytes(), ram_bytes());
}

Test(os, a_limit_beyond_all_numbers_is_none)
{
    enter_groups("0::/\n");
    write_file("/sys/fs/cgroup/memory.max", "99999999999999999999999\n");
    check_size(bp_os_memory_bytes(), ram_bytes());
}

Test(os, a_list_of_groups_without_sense_is_no_limit)
{
    enter_groups("nonsense\n0:\n0::\n::::\n:memory:\n");
    check_size(bp_os_memory_bytes(), ram_bytes());
}
