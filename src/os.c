/* SPDX-License-Identifier: MIT */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "atomic.h"
#include "clock.h"
#include "out.h"

enum { PATH_BYTES = 1024 };

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MAP_HUGE_2MB
#define MAP_HUGE_2MB (21 << 26)
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18 /* Linux from 4.14 on */
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* Linux from 6.13 on */
#define MADV_GUARD_REMOVE 103
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

long bp_os_result(long result, int saved_errno)
{
    if (result != -1)
        return result;
    result = -(long)errno;
    errno = saved_errno;
    return result;
}

static _Atomic(bool) quiet;

void bp_os_keep_quiet(void)
{
    bp_store_relaxed(&quiet, true);
    bp_out_keep_quiet();
}

bool bp_os_is_quiet(void)
{
    return bp_load_relaxed(&quiet);
}

static void *map_anonymous(size_t bytes, int protection)
{
    int saved_errno = errno;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    long result = bp_os_result(syscall(SYS_mmap, NULL, bytes, protection, flags, -1, 0L), saved_errno);
    return result < 0 && result > -4096 ? NULL : (void *)result; // NOLINT(performance-no-int-to-ptr)
}

static int advise(void *address, size_t bytes, int advice)
{
    int saved_errno = errno;
    return (int)bp_os_result(syscall(SYS_madvise, address, bytes, advice), saved_errno);
}

/*
 * What is not accessible is not for dumps: the kernel walks through all of a mapping that ever had a guard, and gdb
 * writes out what it can read by force, which is terabytes of zeros.
 */
static void *os_reserve(size_t bytes)
{
    void *address = map_anonymous(bytes, PROT_NONE);
    if (address)
        (void)advise(address, bytes, MADV_DONTDUMP);
    return address;
}

static void *os_map(size_t bytes)
{
    return map_anonymous(bytes, PROT_READ | PROT_WRITE);
}

static int os_unmap(void *address, size_t bytes)
{
    int saved_errno = errno;
    return (int)bp_os_result(syscall(SYS_munmap, address, bytes), saved_errno);
}

static int os_commit(void *address, size_t bytes)
{
    int saved_errno = errno;
    int error = (int)bp_os_result(syscall(SYS_mprotect, address, bytes, PROT_READ | PROT_WRITE), saved_errno);
    if (error == 0)
        (void)advise(address, bytes, MADV_DODUMP);
    return error;
}

static int map_over(void *address, size_t bytes, int protection)
{
    int saved_errno = errno;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    return (int)bp_os_result(syscall(SYS_mmap, address, bytes, protection, flags, -1, 0L) == -1 ? -1 : 0, saved_errno);
}

/* An emulator that has smaller pages than its machine (qemu-user 7.2) erases only what may be written to. */
static int os_renew(void *address, size_t bytes, bool accessible)
{
    int error = 0;
    if (accessible || !bp_os_has_vdso())
        error = map_over(address, bytes, PROT_READ | PROT_WRITE);
    if (accessible || error != 0)
        return error;
    error = map_over(address, bytes, PROT_NONE);
    if (error == 0)
        (void)advise(address, bytes, MADV_DONTDUMP);
    return error;
}

static int os_close(void *address, size_t bytes)
{
    return os_renew(address, bytes, false);
}

static int os_purge(void *address, size_t bytes)
{
    return advise(address, bytes, MADV_DONTNEED);
}

static int os_guard(void *address, size_t bytes)
{
    return advise(address, bytes, MADV_GUARD_INSTALL);
}

static int os_unguard(void *address, size_t bytes)
{
    return advise(address, bytes, MADV_GUARD_REMOVE);
}

static int os_advise_huge(void *address, size_t bytes, bool wanted)
{
    return advise(address, bytes, wanted ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

void *bp_os_map_wiped(size_t bytes)
{
    void *memory = bp_os.map(bytes);
    if (!memory || advise(memory, bytes, MADV_WIPEONFORK) == 0)
        return memory;
    (void)bp_os.unmap(memory, bytes);
    return NULL;
}

/* Linux from 5.16 on. Older ones refuse, but only after they have unmapped what was at the new place. */
static bool can_move_huge(void)
{
    struct utsname system;
    char *rest;
    if (uname(&system) != 0)
        return false;
    unsigned long major = strtoul(system.release, &rest, 10);
    return *rest == '.' && major * 1000 + strtoul(rest + 1, NULL, 10) >= 5016;
}

/*
 * Made elsewhere and moved: where the reserved pool is used up, mapping in place would leave nothing there, and another
 * thread's mapping might come to lie in the slot.
 */
static int os_map_huge(void *address, size_t bytes)
{
    if (bp_os_is_quiet() || !can_move_huge())
        return -ENOSYS;
    int saved_errno = errno;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB;
    long mapped = bp_os_result(syscall(SYS_mmap, NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0L), saved_errno);
    if (mapped < 0 && mapped > -4096)
        return (int)mapped;
    int move = MREMAP_MAYMOVE | MREMAP_FIXED;
    int error = (int)bp_os_result(syscall(SYS_mremap, mapped, bytes, bytes, move, address) == -1 ? -1 : 0, saved_errno);
    if (error != 0)
        (void)syscall(SYS_munmap, mapped, bytes);
    return error;
}

static int os_lock(void *address, size_t bytes)
{
    if (bp_os_is_quiet())
        return -EPERM;
    int saved_errno = errno;
    return (int)bp_os_result(syscall(SYS_mlock2, address, bytes, MLOCK_ONFAULT), saved_errno);
}

static int os_unlock(void *address, size_t bytes)
{
    if (bp_os_is_quiet())
        return -EPERM;
    int saved_errno = errno;
    return (int)bp_os_result(syscall(SYS_munlock, address, bytes), saved_errno);
}

static int os_populate(void *address, size_t bytes)
{
    return advise(address, bytes, MADV_POPULATE_WRITE);
}

/* Of one byte, which is one page: under an emulator with larger pages than its machine, a page is several answers. */
static int os_resident(const void *address)
{
    if (bp_os_is_quiet())
        return -EPERM;
    unsigned char in_memory = 0;
    int saved_errno = errno;
    long error = bp_os_result(syscall(SYS_mincore, address, (size_t)1, &in_memory), saved_errno);
    return error < 0 ? (int)error : in_memory & 1;
}

/* Maps the range if nothing is there; a kernel that does not know how to say so may map it elsewhere. */
static bool fill_hole(void *address, size_t bytes)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
    long result = syscall(SYS_mmap, address, bytes, PROT_READ | PROT_WRITE, flags, -1, 0L);
    if (result != -1 && result != (long)address)
        (void)syscall(SYS_munmap, result, bytes);
    return result == (long)address;
}

/* Asked of a call that is needed anyway: the program may run under a filter of system calls. */
static bool is_mapped(const char *page, size_t page_bytes)
{
    return syscall(SYS_mremap, page, page_bytes, page_bytes, 0) != -1;
}

/*
 * What is at the new place is unmapped by kernels before they find out that they cannot move, and another thread may
 * map something there before we do. Linux from 6.17 on also moves mapping after mapping, and leaves where they are
 * those that came before the one that it cannot move (there are too many, or it is sealed): as the new place was zero,
 * these reach to the last page that is not; which lies before the first that is not mapped.
 */
static bool os_undo_move(void *from, void *to, size_t bytes, bool is_half)
{
    int saved_errno = errno;
    size_t page_bytes = bp_os_page_bytes();
    size_t came_bytes = 0;
    size_t at = 0;
    for (; is_half && at < bytes && is_mapped((char *)to + at, page_bytes); at += page_bytes) {
        const char *page = (char *)to + at;
        if (page[0] != 0 || memcmp(page, page + 1, page_bytes - 1) != 0)
            came_bytes = at + page_bytes;
    }
    memcpy(from, to, came_bytes);
    bool ok = came_bytes == 0 || os_renew(to, came_bytes, true) == 0;
    ok = (at == bytes || fill_hole((char *)to + at, bytes - at)) && ok;
    errno = saved_errno;
    return ok;
}

static int os_move(void *from, void *to, size_t bytes)
{
    int saved_errno = errno;
    int flags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
    int error = syscall(SYS_mremap, from, bytes, bytes, flags, to) == -1 ? -errno : 0;
    errno = saved_errno;
    return error;
}

static int open_exactly(const char *path)
{
    int saved_errno = errno;
    long fd = bp_os_result(syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0), saved_errno);
    return fd < 0 ? (int)fd : bp_out_leave_standard((int)fd);
}

/* Not inlined: a program whose root is the usual one needs no stack for the name. */
static __attribute__((noinline)) int open_rooted(const char *path)
{
    char rooted[PATH_BYTES];
    struct bp_text text = {.data = rooted, .size = sizeof rooted};
    bp_text_add(&text, "%s%s", bp_os.root, path);
    return open_exactly(rooted);
}

static int open_file(const char *path)
{
    return bp_os.root[0] == '\0' ? open_exactly(path) : open_rooted(path);
}

static long read_some(int fd, char *data, size_t size)
{
    int saved_errno = errno;
    long got;
    do {
        got = bp_os_result(syscall(SYS_read, fd, data, size), saved_errno);
    } while (got == -EINTR);
    return got;
}

/* 0 when the file cannot be read. */
static size_t count_lines(const char *path)
{
    int fd = open_file(path);
    if (fd < 0)
        return 0;
    size_t count = 0;
    long got;
    do {
        char data[1024];
        got = read_some(fd, data, sizeof data);
        for (long i = 0; i < got; i++)
            count += data[i] == '\n';
    } while (got > 0);
    bp_out_close(fd);
    return got < 0 ? 0 : count;
}

static size_t os_mappings_left(void)
{
    char limit[32];
    size_t count = bp_os_is_quiet() ? 0 : count_lines("/proc/self/maps");
    if (count == 0 || bp_os_read_file("/proc/sys/vm/max_map_count", limit, sizeof limit) <= 0)
        return SIZE_MAX;
    size_t most = strtoul(limit, NULL, 10);
    return most > count ? most - count : 0;
}

/*
 * Tried half way down to address zero. A kernel that cannot leaves a hole, and the next mapping of another thread must
 * not be put there before all of this is unmapped: it goes below or above those that there are.
 */
bool bp_os_moves_across(void)
{
    size_t page_bytes = bp_os_page_bytes();
    int saved_errno = errno;
    uintptr_t place = (uintptr_t)&saved_errno / 2 & ~(page_bytes - 1);
    long mapped = bp_os_result(syscall(SYS_mmap, place, 8 * page_bytes, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0L), saved_errno);
    if (mapped < 0 && mapped > -4096)
        return false;
    char *memory = (char *)mapped; // NOLINT(performance-no-int-to-ptr)
    memory[0] = memory[6 * page_bytes] = 1;
    bool across = bp_os.move(memory + 6 * page_bytes, memory + page_bytes, page_bytes) == 0 &&
                  bp_os.move(memory, memory + 3 * page_bytes, 2 * page_bytes) == 0;
    (void)os_unmap(memory, 8 * page_bytes);
    return across;
}

static bool os_is_watched(void)
{
    return false;
}

static int os_fence(void)
{
    if (bp_os_is_quiet())
        return -EPERM;
    int saved_errno = errno;
    long error = bp_os_result(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0), saved_errno);
    if (error == -EPERM && bp_os_result(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0),
                                        saved_errno) == 0)
        error = bp_os_result(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0), saved_errno);
    return (int)error;
}

/* For both tables: what is changed, and what it is made of again. */
#define KERNEL                                                                                                         \
    {                                                                                                                  \
        .reserve = os_reserve, .map = os_map, .unmap = os_unmap, .commit = os_commit, .renew = os_renew,               \
        .close = os_close, .purge = os_purge, .guard = os_guard, .unguard = os_unguard,                                \
        .advise_huge = os_advise_huge, .map_huge = os_map_huge, .lock = os_lock, .unlock = os_unlock,                  \
        .populate = os_populate, .resident = os_resident, .move = os_move, .undo_move = os_undo_move,                  \
        .is_watched = os_is_watched, .mappings_left = os_mappings_left, .fence = os_fence, .now_ns = bp_clock_now_ns,  \
        .bind = bp_os_bind, .policy = bp_os_policy, .allowed_nodes = bp_os_allowed_nodes, .locate = bp_os_locate,      \
        .cpu = bp_os_cpu, .root = "",                                                                                  \
    }

const struct bp_os_ops bp_os_default = KERNEL;
struct bp_os_ops bp_os = KERNEL;

size_t bp_os_page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE); /* from the auxiliary vector: no system call */
}

const void *bp_os_random_bytes(void)
{
    return (const void *)getauxval(AT_RANDOM); // NOLINT(performance-no-int-to-ptr)
}

bool bp_os_has_vdso(void)
{
    return getauxval(AT_SYSINFO_EHDR) != 0;
}

void bp_os_seal(void *address, size_t bytes)
{
    int saved_errno = errno;
    (void)bp_os_result(syscall(SYS_mprotect, address, bytes, PROT_READ), saved_errno);
}

unsigned bp_os_cpu_count(void)
{
    unsigned long mask[BP_CPUS_MAX / 64];
    int saved_errno = errno;
    long bytes = bp_os_result(syscall(SYS_sched_getaffinity, 0, sizeof mask, mask), saved_errno);
    unsigned count = 0;
    for (long i = 0; i < bytes / (long)sizeof mask[0]; i++)
        count += (unsigned)__builtin_popcountl(mask[i]);
    return count > 0 ? count : 1;
}

int bp_os_read_file(const char *path, char *data, size_t size)
{
    int fd = open_file(path);
    if (fd < 0)
        return fd;
    size_t length = 0;
    long got;
    do {
        got = read_some(fd, data + length, size - 1 - length);
        if (got > 0)
            length += (size_t)got;
    } while (got > 0 && length < size - 1);
    bp_out_close(fd);
    data[length] = '\0';
    return got < 0 ? (int)got : (int)length;
}

int bp_os_lines_open(struct bp_os_lines *lines, const char *path)
{
    lines->start = 0;
    lines->end = 0;
    lines->fd = open_file(path);
    return lines->fd < 0 ? lines->fd : 0;
}

char *bp_os_lines_next(struct bp_os_lines *lines)
{
    for (;;) {
        char *line = lines->data + lines->start;
        size_t length = lines->end - lines->start;
        char *newline = memchr(line, '\n', length);
        if (newline) {
            *newline = '\0';
            lines->start = (size_t)(newline + 1 - lines->data);
            return line;
        }
        memmove(lines->data, line, length);
        lines->start = 0;
        lines->end = length;
        size_t room = sizeof lines->data - 1 - length;
        long got = room > 0 ? read_some(lines->fd, lines->data + length, room) : 0;
        if (got > 0) {
            lines->end += (size_t)got;
        } else if (length == 0) {
            return NULL;
        } else { /* the last line, or as much of a long one as fits */
            lines->data[length] = '\0';
            lines->end = 0;
            return lines->data;
        }
    }
}

void bp_os_lines_close(struct bp_os_lines *lines)
{
    bp_out_close(lines->fd);
}

/* The file holds a number, "max" or an absurd value. */
static void lower_limit(const char *path, const char *data, void *context)
{
    (void)path;
    size_t *limit = context;
    if (data[0] >= '0' && data[0] <= '9')
        *limit = bp_min(*limit, strtoul(data, NULL, 10));
}

static size_t cgroup_limit_bytes(void)
{
    static _Atomic(size_t) known_limit = SIZE_MAX;
    static _Atomic(bool) has_complained;
    size_t limit = SIZE_MAX;
    int error = bp_os_visit_cgroups("memory.max", "memory.limit_in_bytes", lower_limit, &limit);
    int brake_error = bp_os_visit_cgroups("memory.high", NULL, lower_limit, &limit); /* above it the kernel brakes */
    error = error != 0 ? error : brake_error;
    if (bp_os_is_passing(error))
        return bp_load_relaxed(&known_limit);
    if (error != 0 && !atomic_exchange_explicit(&has_complained, true, memory_order_relaxed))
        bp_warn("a memory limit of this process's cgroup cannot be read (%s); going on as if there were none",
                strerrordesc_np(-error));
    bp_store_relaxed(&known_limit, limit);
    return limit;
}

/* ------------------------------------------------------------------------------------------------------------------ */

static bool read_rlimit(int resource, struct rlimit *ret_limit)
{
    int saved_errno = errno;
    return bp_os_result(syscall(SYS_prlimit64, 0, resource, NULL, ret_limit), saved_errno) == 0;
}

size_t bp_os_memory_bytes(void)
{
    struct sysinfo info;
    size_t ram = 0;
    int saved_errno = errno;
    if (bp_os_result(syscall(SYS_sysinfo, &info), saved_errno) == 0)
        ram = (size_t)info.totalram * info.mem_unit;
    size_t limit = cgroup_limit_bytes();
    struct rlimit data;
    if (read_rlimit(RLIMIT_DATA, &data) && data.rlim_cur != RLIM_INFINITY)
        limit = bp_min(limit, (size_t)data.rlim_cur);
    return limit < ram || ram == 0 ? (limit == SIZE_MAX ? 0 : limit) : ram;
}

size_t bp_os_memory_free_bytes(void)
{
    static const char label[] = "MemAvailable:";
    size_t memory_bytes = bp_os_memory_bytes();
    char lines[1024];
    const char *line = bp_os_read_file("/proc/meminfo", lines, sizeof lines) > 0 ? strstr(lines, label) : NULL;
    size_t free_bytes = line ? strtoul(line + sizeof label - 1, NULL, 10) * BP_KIB : SIZE_MAX;
    free_bytes = bp_min(free_bytes, bp_os_cgroup_free_bytes());
    return memory_bytes == 0 ? free_bytes : bp_min(free_bytes, memory_bytes);
}

bool bp_os_gives_huge_pages(void)
{
    char mode[64];
    char size[32];
    return bp_os_read_file("/sys/kernel/mm/transparent_hugepage/enabled", mode, sizeof mode) > 0 &&
           strstr(mode, "[always]") &&
           bp_os_read_file("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", size, sizeof size) > 0 &&
           strtoul(size, NULL, 10) == 2 * BP_MIB;
}

size_t bp_os_lock_limit_bytes(void)
{
    struct rlimit limit;
    return read_rlimit(RLIMIT_MEMLOCK, &limit) && limit.rlim_cur != RLIM_INFINITY ? (size_t)limit.rlim_cur : SIZE_MAX;
}

size_t bp_os_address_space_left_bytes(void)
{
    struct rlimit limit;
    if (!read_rlimit(RLIMIT_AS, &limit) || limit.rlim_cur == RLIM_INFINITY)
        return SIZE_MAX;
    char statm[128];
    size_t used_pages = 0;
    if (bp_os_read_file("/proc/self/statm", statm, sizeof statm) > 0)
        used_pages = strtoul(statm, NULL, 10);
    size_t used_bytes = used_pages * bp_os_page_bytes();
    return limit.rlim_cur > used_bytes ? (size_t)limit.rlim_cur - used_bytes : 0;
}

bool bp_os_commit_is_charged(void)
{
    char mode[8];
    if (bp_os_read_file("/proc/sys/vm/overcommit_memory", mode, sizeof mode) > 0 && mode[0] == '2')
        return true;
    struct rlimit limit;
    return read_rlimit(RLIMIT_DATA, &limit) && limit.rlim_cur != RLIM_INFINITY;
}

void bp_os_name(void *address, size_t bytes, const char *name)
{
    if (bp_os_is_quiet())
        return;
    int saved_errno = errno;
    (void)bp_os_result(syscall(SYS_prctl, PR_SET_VMA, PR_SET_VMA_ANON_NAME, address, bytes, name), saved_errno);
}
