/* SPDX-License-Identifier: MIT */
#include "process.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "os.h"
#include "out.h"
#include "prefill.h"

_Atomic(size_t) bp_threshold_bytes = SIZE_MAX;
size_t bp_hit_max_bytes = SIZE_MAX;
struct bp_pool bp_process_pool;
struct bp_sealed bp_sealed;

/* Or, while it is made, the address of the thread's own memory that makes it. */
enum { ABSENT, READY, FAILED };
static _Atomic(uintptr_t) state;
static pid_t known_pid;     /* of the last process that we saw start, or being forked */
static bool *is_its_memory; /* true of the memory of that process, and of its children by vfork(); or NULL */

struct bp_pool *bp_process_pool_peek(void)
{
    /* acquire: pairs with release in make_pool() */
    return bp_load_acquire(&state) == READY ? &bp_process_pool : NULL;
}

bool bp_process_pool_is_refused(void)
{
    return bp_load_relaxed(&state) == FAILED;
}

/*
 * Made by another thread, which takes a millisecond. A request that did not wait would have its memory from elsewhere
 * for as long as it lives; one that waited without end might be what the other thread waits for, in a signal handler.
 */
static struct bp_pool *await_pool(uintptr_t maker)
{
    enum { PAUSES = 1000 };
    const struct timespec pause = {.tv_nsec = 100000};
    int saved_errno = errno;
    for (int i = 0; i < PAUSES && bp_load_relaxed(&state) == maker; i++)
        /* Nobody wakes it: it is a pause, which ends at once if the state changed, by a call that locks make anyway. */
        (void)syscall(SYS_futex, &state, FUTEX_WAIT_PRIVATE, (uint32_t)maker, &pause, NULL, 0);
    errno = saved_errno;
    return bp_process_pool_peek();
}

/* By one thread. Calls from in here are forwarded. */
BP_COLD static struct bp_pool *make_pool(void)
{
    uintptr_t expected = ABSENT;
    if (!bp_replace_relaxed(&state, &expected, (uintptr_t)&bp_thread))
        return expected <= FAILED || expected == (uintptr_t)&bp_thread ? bp_process_pool_peek() : await_pool(expected);
    int saved_errno = errno;
    int error = bp_pool_init(&bp_process_pool, BP_PROCESS_POOL_ID, &bp_process_options);
    if (error == 0) {
        is_its_memory = bp_os_map_wiped(bp_os_page_bytes());
        if (is_its_memory)
            *is_its_memory = getpid() == known_pid;
        bp_options_check(&bp_process_options, bp_load_relaxed(&bp_process_pool.budget.memory_bytes));
        bp_prefill(&bp_process_pool, bp_process_options.prefill);
        bp_store_release(&state, READY); /* pairs with acquire in bp_process_pool_peek() */
        if (bp_process_options.verbose) {
            char line[512];
            struct bp_text text = {.data = line, .size = sizeof line};
            bp_text_add(&text, "pool made: address space ");
            bp_text_add_bytes(&text, bp_process_pool.arena.reservation_bytes);
            bp_text_add(&text, ", %u CPUs, %u shards, %zu buffers a thread and class, at most ",
                        bp_process_pool.cpu_count, bp_process_pool.shards.count, bp_process_pool.caches.buffers_max);
            bp_text_add_bytes(&text, bp_load_relaxed(&bp_process_pool.budget.cached_limit_bytes));
            bp_text_add(&text, " cached");
            if (bp_process_pool.numa) {
                bp_text_add(&text, ", ");
                bp_numa_describe(bp_process_pool.numa, &text);
            }
            bp_say("%s", line);
        }
    } else {
        bp_store_relaxed(&bp_threshold_bytes, SIZE_MAX);
        bp_store_release(&state, FAILED);
        bp_warn("no address space for a pool (ulimit -v?): every request is forwarded");
    }
    errno = saved_errno;
    return error == 0 ? &bp_process_pool : NULL;
}

struct bp_pool *bp_process_pool_get(void)
{
    struct bp_pool *pool = bp_process_pool_peek();
    return BP_LIKELY(pool != NULL) ? pool : make_pool();
}

void bp_process_start(void)
{
    known_pid = getpid();
}

bool bp_process_is_lent(void)
{
    return is_its_memory && *is_its_memory && getpid() != known_pid;
}

void bp_process_after_fork(void)
{
    known_pid = getpid();
    if (is_its_memory)
        *is_its_memory = true;
    uintptr_t now = bp_load_relaxed(&state);
    if (now <= FAILED || now == (uintptr_t)&bp_thread)
        return;
    /* Half made by a thread that is not here. What it has mapped of records stays. */
    bp_arena_fini(&bp_process_pool.arena);
    memset((void *)&bp_process_pool, 0, sizeof bp_process_pool);
    bp_store_relaxed(&state, ABSENT);
}
