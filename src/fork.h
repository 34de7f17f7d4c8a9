/* SPDX-License-Identifier: MIT */
#ifndef BP_FORK_H
#define BP_FORK_H
/*
 * Fork: what pthread_atfork() handlers do for pools.
 *
 * Why:   a child has one thread and a copy of all memory: locks that others held and caches that others owned must be
 *        made usable, whatever those threads were doing.
 * Layer: 10.
 */
#include "pool.h"

/*
 * For all pools of the process at once, as locks are taken in rank order over all of them. NULLs are skipped.
 *
 * A signal handler may fork in the middle of an operation, or of another fork. In a process with one thread that must
 * work: the C library's malloc lets it. So with one thread, and only then, prefork does nothing when a lock is held:
 * the code below the handler holds it, goes on in parent and child alike, and will release it.
 */
void bp_pools_prefork(struct bp_pool *const *pools, size_t count);
void bp_pools_postfork_parent(struct bp_pool *const *pools, size_t count);
void bp_pools_postfork_child(struct bp_pool *const *pools, size_t count);

#endif
