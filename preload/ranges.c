/* SPDX-License-Identifier: MIT */
/*
 * Calls with which a program changes more than the bytes of an address range.
 *
 * Whoever protects, locks, advises or maps over a part of a block expects free() to end that, as it does where blocks
 * are mapped one by one. So every such call that meets the pool taints the slots it overlaps, before it is made, and
 * the pool maps them anew before they serve again. All others cost one comparison more.
 *
 * Calls go on to the next definition, as other libraries watch them too (those of network cards that write to memory
 * by themselves); before that can be looked for, straight to the kernel. A program that makes system calls by number
 * passes us by, and so does one that takes functions from the C library's own handle (dlsym). Sealing (mseal) leaves
 * memory what it is; a name (PR_SET_VMA) is seen in limits.c.
 *
 * Layer: P3.
 */
/* With it the C library's header gives one of the two names of mmap to the other. */
#undef _FILE_OFFSET_BITS
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/userfaultfd.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "entry.h"
#include "process.h"
#include "retry.h"

#ifndef SHM_REMAP
#define SHM_REMAP 040000
#endif

BP_ALWAYS_INLINE bool meets_arena(const struct bp_arena *arena, const void *address, size_t bytes)
{
    uintptr_t base = bp_load_relaxed(&arena->base);
    return (uintptr_t)address < base + bp_load_relaxed(&arena->bytes) && (uintptr_t)address + bytes > base;
}

BP_ALWAYS_INLINE void taint(const void *address, size_t bytes)
{
    struct bp_arena *arena = &bp_process_pool.arena;
    if (BP_UNLIKELY(meets_arena(arena, address, bytes)))
        bp_arena_taint(arena, address, bytes);
}

/* The calls that go on to a next definition; that of the first two is libnuma's, if it is there. */
#define CALLS(X)                                                                                                       \
    X(mbind) X(set_mempolicy) X(mprotect) X(pkey_mprotect) X(madvise) X(posix_madvise) X(process_madvise) X(mlock)     \
    X(mlock2) X(munlock) X(mlockall) X(munmap) X(mmap) X(mremap) X(vmsplice) X(remap_file_pages) X(shmat)     \
    X(ioctl)
#define INDEX(name) NEXT_##name,
#define NAME(name) #name,

enum { CALLS(INDEX) NEXT_COUNT };
static const char *const names[] = {CALLS(NAME)};
static _Atomic(void *) next_calls[NEXT_COUNT];
static _Atomic(bool) has_started;

static void *find_next(size_t index)
{
    void *symbol = bp_real_find_next(names[index]);
    bp_store_relaxed(&next_calls[index], symbol);
    return symbol;
}

/* Is there where libnuma is: a search that fails would allocate, and most programs have none. */
extern int numa_available(void) __attribute__((weak));

/*
 * All are looked for at the start: at a call the loader's lock may be held by a thread that waits for the caller (the
 * constructor of a library that is being loaded), or by one that is not in this forked child; and the caller may ask
 * dlerror() next.
 */
__attribute__((constructor)) static void find_all(void)
{
    for (size_t i = numa_available ? 0 : NEXT_mprotect; i < NEXT_COUNT; i++)
        (void)find_next(i);
    bp_store_relaxed(&has_started, true);
}

static void get_next(void *ret_function, size_t index)
{
    void *symbol = bp_load_relaxed(&next_calls[index]);
    if (BP_UNLIKELY(!symbol) && !bp_load_relaxed(&has_started))
        symbol = find_next(index);
    memcpy(ret_function, &symbol, sizeof symbol);
}

/* Declares `next`: the next definition of a function, or NULL where there is none or it cannot be looked for yet. */
#define GET_NEXT(function)                                                                                             \
    __typeof__(&(function)) next;                                                                                      \
    get_next((void *)&next, NEXT_##function)

/* --- protection --------------------------------------------------------------------------------------------------- */

BP_EXPORT int mprotect(void *address, size_t bytes, int protection)
{
    taint(address, bytes);
    GET_NEXT(mprotect);
    return next ? next(address, bytes, protection) : (int)syscall(SYS_mprotect, address, bytes, protection);
}

BP_EXPORT int pkey_mprotect(void *address, size_t bytes, int protection, int key)
{
    taint(address, bytes);
    GET_NEXT(pkey_mprotect);
    return next ? next(address, bytes, protection, key)
                : (int)syscall(SYS_pkey_mprotect, address, bytes, protection, key);
}

/* --- advice ------------------------------------------------------------------------------------------------------- */

/* Advice about contents, or about now, leaves nothing behind that the next owner would notice. */
static bool leaves_attributes(int advice)
{
    switch (advice) {
    case 0:  /* MADV_NORMAL */
    case 3:  /* MADV_WILLNEED */
    case 4:  /* MADV_DONTNEED */
    case 8:  /* MADV_FREE */
    case 20: /* MADV_COLD */
    case 21: /* MADV_PAGEOUT */
    case 22: /* MADV_POPULATE_READ */
    case 23: /* MADV_POPULATE_WRITE */
    case 24: /* MADV_DONTNEED_LOCKED */
    case 25: /* MADV_COLLAPSE */
        return false;
    default: /* fork, dump, merging, no huge pages, access patterns, guards, poison, and what is yet to come */
        return true;
    }
}

/* NumPy asks for huge pages in every block of 4 MiB or more. */
static void note_advice(const void *address, size_t bytes, int advice)
{
    struct bp_arena *arena = &bp_process_pool.arena;
    if (!meets_arena(arena, address, bytes))
        return;
    if (advice == 14) /* MADV_HUGEPAGE */
        bp_arena_want_huge(arena, address, bytes);
    else if (leaves_attributes(advice))
        bp_arena_taint(arena, address, bytes);
}

BP_EXPORT int madvise(void *address, size_t bytes, int advice)
{
    note_advice(address, bytes, advice);
    GET_NEXT(madvise);
    return next ? next(address, bytes, advice) : (int)syscall(SYS_madvise, address, bytes, advice);
}

BP_EXPORT int posix_madvise(void *address, size_t bytes, int advice)
{
    note_advice(address, bytes, advice);
    GET_NEXT(posix_madvise);
    return next ? next(address, bytes, advice) : 0;
}

#if !__GLIBC_PREREQ(2, 36)
ssize_t process_madvise(int process, const struct iovec *ranges, size_t count, int advice, unsigned flags);
#endif

/* Whose ranges these are is not asked. */
BP_EXPORT ssize_t process_madvise(int process, const struct iovec *ranges, size_t count, int advice, unsigned flags)
{
    for (size_t i = 0; ranges && i < count && count <= IOV_MAX; i++)
        note_advice(ranges[i].iov_base, ranges[i].iov_len, advice);
    GET_NEXT(process_madvise);
    return next ? next(process, ranges, count, advice, flags)
                : syscall(SYS_process_madvise, process, ranges, count, advice, flags);
}

/* --- locks and policies ------------------------------------------------------------------------------------------- */

/* The kernel locks whole pages, also for no byte in the middle of one. */
static void taint_locked(const void *address, size_t bytes)
{
    size_t offset = (uintptr_t)address & (bp_os_page_bytes() - 1);
    taint((const char *)address - offset, offset + bytes);
}

BP_EXPORT int mlock(const void *address, size_t bytes)
{
    taint_locked(address, bytes);
    GET_NEXT(mlock);
    return next ? next(address, bytes) : (int)syscall(SYS_mlock, address, bytes);
}

BP_EXPORT int mlock2(const void *address, size_t bytes, unsigned flags)
{
    taint_locked(address, bytes);
    GET_NEXT(mlock2);
    return next ? next(address, bytes, flags) : (int)syscall(SYS_mlock2, address, bytes, flags);
}

BP_EXPORT int munlock(const void *address, size_t bytes)
{
    taint_locked(address, bytes);
    GET_NEXT(munlock);
    return next ? next(address, bytes) : (int)syscall(SYS_munlock, address, bytes);
}

BP_EXPORT int mlockall(int flags)
{
    struct bp_pool *pool = bp_process_pool_peek();
    size_t threshold_bytes = bp_load_relaxed(&bp_threshold_bytes);
    if (pool)
        bp_pool_lock_down(pool);
    else /* a pool that is made later would ask for more address space than may be locked */
        bp_store_relaxed(&bp_threshold_bytes, SIZE_MAX);
    GET_NEXT(mlockall);
    int result = next ? next(flags) : (int)syscall(SYS_mlockall, flags);
    if (!pool && result != 0)
        bp_store_relaxed(&bp_threshold_bytes, threshold_bytes);
    return result;
}

/* Defined by libnuma. */
long mbind(void *address, unsigned long bytes, int mode, const unsigned long *nodes, unsigned long nodes_max,
           unsigned flags);

BP_EXPORT long mbind(void *address, unsigned long bytes, int mode, const unsigned long *nodes, unsigned long nodes_max,
                     unsigned flags)
{
    taint(address, bytes);
    GET_NEXT(mbind);
    return next ? next(address, bytes, mode, nodes, nodes_max, flags)
                : syscall(SYS_mbind, address, bytes, mode, nodes, nodes_max, flags);
}

/* Defined by libnuma. */
long set_mempolicy(int mode, const unsigned long *nodes, unsigned long nodes_max);

/* Touches no range, but those that come: the pool asks what is wanted now. */
BP_EXPORT long set_mempolicy(int mode, const unsigned long *nodes, unsigned long nodes_max)
{
    GET_NEXT(set_mempolicy);
    long result = next ? next(mode, nodes, nodes_max) : syscall(SYS_set_mempolicy, mode, nodes, nodes_max);
    struct bp_pool *pool = bp_process_pool_peek();
    if (pool)
        bp_pool_follow_policy(pool);
    return result;
}

/* --- mappings ----------------------------------------------------------------------------------------------------- */

BP_EXPORT int munmap(void *address, size_t bytes)
{
    taint(address, bytes);
    GET_NEXT(munmap);
    return next ? next(address, bytes) : (int)syscall(SYS_munmap, address, bytes);
}

static void *map(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    GET_NEXT(mmap);
    return next ? next(address, bytes, protection, flags, fd, offset)
                // NOLINTNEXTLINE(performance-no-int-to-ptr)
                : (void *)syscall(SYS_mmap, address, bytes, protection, flags, fd, offset);
}

/* Tried once more where the address space is limited. The C library's own, such as stacks of threads, are not seen. */
BP_EXPORT void *mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    if ((flags & MAP_FIXED) != 0)
        taint(address, bytes);
    void *mapped = map(address, bytes, protection, flags, fd, offset);
    if (BP_UNLIKELY(mapped == MAP_FAILED) && errno == ENOMEM && bp_retry_make_way(bytes))
        mapped = map(address, bytes, protection, flags, fd, offset);
    return mapped;
}

BP_EXPORT void *mmap64(void *address, size_t bytes, int protection, int flags, int fd, off64_t offset)
{
    return mmap(address, bytes, protection, flags, fd, offset);
}

BP_EXPORT void *mremap(void *address, size_t old_bytes, size_t new_bytes, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    void *new_address = va_arg(list, void *);
    va_end(list);
    taint(address, old_bytes);
    if ((flags & MREMAP_FIXED) != 0)
        taint(new_address, new_bytes);
    GET_NEXT(mremap);
    return next ? next(address, old_bytes, new_bytes, flags, new_address)
                // NOLINTNEXTLINE(performance-no-int-to-ptr)
                : (void *)syscall(SYS_mremap, address, old_bytes, new_bytes, flags, new_address);
}

/* The pages themselves are in the pipe, until they are read: who gets the addresses next must not write to them. */
BP_EXPORT ssize_t vmsplice(int pipe, const struct iovec *ranges, size_t count, unsigned flags)
{
    for (size_t i = 0; ranges && i < count && count <= IOV_MAX; i++)
        taint(ranges[i].iov_base, ranges[i].iov_len);
    GET_NEXT(vmsplice);
    return next ? next(pipe, ranges, count, flags) : syscall(SYS_vmsplice, pipe, ranges, count, flags);
}

BP_EXPORT int remap_file_pages(void *address, size_t bytes, int protection, size_t page, int flags)
{
    taint(address, bytes);
    GET_NEXT(remap_file_pages);
    return next ? next(address, bytes, protection, page, flags)
                : (int)syscall(SYS_remap_file_pages, address, bytes, protection, page, flags);
}

BP_EXPORT void *shmat(int id, const void *address, int flags)
{
    struct shmid_ds segment;
    if ((flags & SHM_REMAP) != 0 && address && shmctl(id, IPC_STAT, &segment) == 0)
        taint(address, segment.shm_segsz);
    GET_NEXT(shmat);
    return next ? next(id, address, flags)
                : (void *)syscall(SYS_shmat, id, address, flags); // NOLINT(performance-no-int-to-ptr)
}

/* What is registered with userfaultfd would have the next owner wait for whoever answers faults there. */
BP_EXPORT int ioctl(int fd, unsigned long request, ...)
{
    va_list list;
    va_start(list, request);
    void *argument = va_arg(list, void *);
    va_end(list);
    if (BP_UNLIKELY((uint32_t)request == UFFDIO_REGISTER) && argument) {
        const struct uffdio_range *range = &((const struct uffdio_register *)argument)->range;
        taint((const void *)(uintptr_t)range->start, range->len); // NOLINT(performance-no-int-to-ptr)
    }
    GET_NEXT(ioctl);
    return next ? next(fd, request, argument) : (int)syscall(SYS_ioctl, fd, request, argument);
}
