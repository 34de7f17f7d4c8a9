/* SPDX-License-Identifier: MIT */
/*
 * Limits that a program sets itself while it runs.
 *
 * Its address space, and what of it is data: it means its own; what the pool has of these and does not need must not
 * use them up. Its system calls: after it starts to give up privileges a filter may follow, so the pool makes none any
 * more that the C library's malloc would not make.
 *
 * Layer: P3.
 */
/* With it the C library's header gives two of the four names to the other two. */
#undef _FILE_OFFSET_BITS
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "entry.h"
#include "os.h"
#include "process.h"
#include "ticker.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

/* The same limits by all four names: a 64-bit C library has one layout. */
_Static_assert(sizeof(struct rlimit) == sizeof(struct rlimit64), "one layout");

static void before_limit(__rlimit_resource_t resource, const struct rlimit64 *limit)
{
    struct bp_pool *pool = bp_process_pool_peek();
    bool matters = resource == RLIMIT_AS || resource == RLIMIT_DATA;
    if (!matters || !pool || !limit || limit->rlim_cur == RLIM64_INFINITY || bp_process_is_lent())
        return;
    if (resource == RLIMIT_AS) {
        bp_arena_shrink(&pool->arena);
        /* The limit may be below what is used, as slots take more than blocks: nothing can be mapped again then. */
        bp_store_relaxed(&pool->arena.can_move, false);
        bp_ticker_start_retrying();
    }
    if (resource == RLIMIT_DATA) {
        (void)bp_pool_trim(pool);
        bp_pool_charge_commit(pool);
    }
}

BP_EXPORT int prlimit64(pid_t pid, __rlimit_resource_t resource, const struct rlimit64 *limit, struct rlimit64 *old)
{
    if (pid == 0 || pid == getpid())
        before_limit(resource, limit);
    return (int)syscall(SYS_prlimit64, pid, resource, limit, old);
}

BP_EXPORT int prlimit(pid_t pid, __rlimit_resource_t resource, const struct rlimit *limit, struct rlimit *old)
{
    return prlimit64(pid, resource, (const struct rlimit64 *)limit, (struct rlimit64 *)old);
}

BP_EXPORT int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *limit)
{
    return prlimit64(0, resource, limit, NULL);
}

BP_EXPORT int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
    return prlimit64(0, resource, (const struct rlimit64 *)limit, NULL);
}

/* libseccomp and most programs that write their own filter come by here. */
BP_EXPORT int prctl(int option, ...)
{
    va_list list;
    va_start(list, option);
    unsigned long arguments[4];
    for (int i = 0; i < 4; i++)
        arguments[i] = va_arg(list, unsigned long);
    va_end(list);
    bool may_filter = option == PR_SET_NO_NEW_PRIVS || option == PR_SET_SECCOMP;
    if (may_filter && !bp_os_is_quiet() && !bp_process_is_lent()) {
        /* What making the pool reads and asks for is out of reach later. */
        if (bp_load_relaxed(&bp_threshold_bytes) != SIZE_MAX)
            (void)bp_process_pool_get();
        bp_os_keep_quiet();
    }
    if (option == PR_SET_VMA) { /* a range gets a name */
        const void *named = (const void *)arguments[1]; // NOLINT(performance-no-int-to-ptr)
        bp_arena_taint(&bp_process_pool.arena, named, arguments[2]);
    }
    return (int)syscall(SYS_prctl, option, arguments[0], arguments[1], arguments[2], arguments[3]);
}
