/* SPDX-License-Identifier: MIT */
/*
 * Nodes: what the kernel says and does about memory nodes. Declared in os.h.
 *
 * Layer: 0.
 */
#include <errno.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os.h"

/* The kernel takes and gives sets of nodes as bits; ours end at 64, its at 1024. */
enum { KERNEL_NODES_MAX = 1024 };
_Static_assert(BP_NODES_MAX == 8 * sizeof(unsigned long), "a set of ours is its first word");

int bp_os_bind(void *address, size_t bytes, struct bp_policy policy, bool move)
{
    if (bp_os_is_quiet())
        return -EPERM;
    int saved_errno = errno;
    unsigned long nodes = policy.nodes;
    return (int)bp_os_result(syscall(SYS_mbind, address, bytes, policy.mode, nodes != 0 ? &nodes : NULL,
                                     nodes != 0 ? 8 * sizeof nodes + 1 : 0, move ? MPOL_MF_MOVE : 0),
                             saved_errno);
}

static int get_policy(int *ret_mode, uint64_t *ret_nodes, unsigned long flags)
{
    if (bp_os_is_quiet())
        return -EPERM;
    unsigned long nodes[KERNEL_NODES_MAX / 64] = {0};
    int saved_errno = errno;
    long error = bp_os_result(syscall(SYS_get_mempolicy, ret_mode, nodes, KERNEL_NODES_MAX, NULL, flags), saved_errno);
    *ret_nodes = nodes[0];
    for (size_t i = 1; i < KERNEL_NODES_MAX / BP_NODES_MAX && error == 0; i++)
        error = nodes[i] != 0 ? -ERANGE : 0;
    return (int)error;
}

int bp_os_policy(struct bp_policy *ret_policy)
{
    return get_policy(&ret_policy->mode, &ret_policy->nodes, 0);
}

int bp_os_allowed_nodes(uint64_t *ret_nodes)
{
    return get_policy(NULL, ret_nodes, MPOL_F_MEMS_ALLOWED);
}

int bp_os_locate(void **pages, size_t count, int *ret_nodes)
{
    if (bp_os_is_quiet())
        return -EPERM;
    int saved_errno = errno;
    return (int)bp_os_result(syscall(SYS_move_pages, 0, count, pages, NULL, ret_nodes, 0), saved_errno);
}

/* Where the C library (from 2.35) had the kernel write each thread's CPU: so far from the thread's own pointer. */
extern const ptrdiff_t __rseq_offset __attribute__((weak)); // NOLINT(bugprone-reserved-identifier)
extern const unsigned __rseq_size __attribute__((weak));    // NOLINT(bugprone-reserved-identifier)
enum { RSEQ_CPU_ID_OFFSET = 4 };

int bp_os_cpu(const void *theirs, const void *mine)
{
    int cpu = -1;
    if (&__rseq_size && __rseq_size != 0) {
        const char *pointer = __builtin_thread_pointer();
        pointer += __rseq_offset + ((const char *)theirs - (const char *)mine) + RSEQ_CPU_ID_OFFSET;
        cpu = __atomic_load_n((const int *)(const void *)pointer, __ATOMIC_RELAXED);
    }
    if (cpu < 0 && theirs == mine && !bp_os_is_quiet()) {
        int saved_errno = errno;
        cpu = sched_getcpu();
        errno = saved_errno;
    }
    return cpu;
}
