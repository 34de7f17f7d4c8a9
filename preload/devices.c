/* SPDX-License-Identifier: MIT */
#include "devices.h"

#include <errno.h>
#include <string.h>

#include "dump.h"
#include "os.h"
#include "out.h"
#include "process.h"
#include "real.h"

/* Between two looks, and for each mapping that a look has to read: a part in two hundred of the time at most. */
#define LOOK_INTERVAL_NS UINT64_C(100000000)
#define LOOK_INTERVAL_NS_PER_MAPPING UINT64_C(250000)

/*
 * What is used by everything of its kind: verbs of InfiniBand, RoCE, iWARP and EFA; the caches of registrations in
 * UCX, libfabric and Open MPI; CUDA's driver; AMD's and Intel's runtimes.
 */
static const char *const stems[] = {
    "libibverbs", "librdmacm",   "libpsm2", "libucm",           "libfabric",
    "libopen-pal", "libcuda", "libhsa-runtime64", "libze_loader",
};

static _Atomic(uint64_t) due_ns;
static _Atomic(bool) is_found; /* release: pairs with acquire in bp_devices_look() */
static _Atomic(bool) has_left;
static char library[64]; /* const once found */
static int (*next_munmap)(void *address, size_t bytes); /* const once started */

/* "libcuda.so.1", or "libcuda-0c1d2e3f.so.1" as packages with libraries of their own rename them. */
static bool is_device_library(const char *name)
{
    for (size_t i = 0; i < sizeof stems / sizeof stems[0]; i++) {
        size_t length = strlen(stems[i]);
        if (strncmp(name, stems[i], length) == 0 && (name[length] == '.' || name[length] == '-'))
            return true;
    }
    return false;
}

/* Counts the mappings that it has read. */
static bool find_library(size_t *ret_mapping_count)
{
    struct bp_os_lines lines;
    *ret_mapping_count = 0;
    if (bp_os_lines_open(&lines, "/proc/self/maps") != 0)
        return false;
    bool found = false;
    for (const char *line; !found && (line = bp_os_lines_next(&lines)); ++*ret_mapping_count) {
        const char *slash = strrchr(line, '/');
        if (slash && is_device_library(slash + 1)) {
            struct bp_text text = {.data = library, .size = sizeof library};
            bp_text_add(&text, "%s", slash + 1);
            found = true;
        }
    }
    bp_os_lines_close(&lines);
    return found;
}

/* If it is due, or will be so soon. Anywhere; one thread at a time. */
static void look(uint64_t soon_ns)
{
    uint64_t now_ns = bp_os.now_ns();
    uint64_t due = bp_load_relaxed(&due_ns);
    if (BP_LIKELY(now_ns + soon_ns < due) || bp_load_relaxed(&is_found) || bp_os_is_quiet() ||
        !bp_replace_relaxed(&due_ns, &due, now_ns + LOOK_INTERVAL_NS))
        return;
    size_t mapping_count;
    if (find_library(&mapping_count))
        bp_store_release(&is_found, true); /* pairs with acquire in bp_devices_look() */
    uint64_t interval_ns = mapping_count * LOOK_INTERVAL_NS_PER_MAPPING;
    bp_store_relaxed(&due_ns, now_ns + bp_max(interval_ns, LOOK_INTERVAL_NS));
}

/* From now on every request is small. What is free leaves now, what is live when it is freed. */
static void leave(void)
{
    bp_store_relaxed(&bp_threshold_bytes, SIZE_MAX);
    bp_dump_mode_reason = library;
    bp_dump_mode = "forward";
    if (bp_process_options.verbose)
        bp_say("%s registers memory with devices: every request is forwarded from now on", library);
    struct bp_pool *pool = bp_process_pool_peek();
    if (pool) {
        struct bp_arena *arena = &pool->arena;
        bp_arena_taint(arena, (const void *)bp_load_relaxed(&arena->base), // NOLINT(performance-no-int-to-ptr)
                       bp_load_relaxed(&arena->bytes));
        (void)bp_pool_trim(pool);
    }
}

/*
 * Whoever watches munmap may wait for a lock whose holder frees a block, and live blocks are trimmed under our locks.
 */
static void keep_slack(struct bp_pool *pool)
{
    if (pool && !bp_load_relaxed(&pool->caches.keeps_slack))
        bp_store_relaxed(&pool->caches.keeps_slack, true);
}

bool bp_devices_look(void)
{
    look(0);
    if (BP_LIKELY(!bp_load_acquire(&is_found)))
        return false; /* acquire: pairs with release in look() */
    if (bp_process_options.devices == BP_DEVICES_POOL) { /* made now, if this is the first request */
        keep_slack(bp_process_pool_get());
        return false;
    }
    keep_slack(bp_process_pool_peek());
    if (!atomic_exchange_explicit(&has_left, true, memory_order_relaxed))
        leave();
    return true;
}

/* --- pages that are taken away ------------------------------------------------------------------------------------ */

static void announce(void *address, size_t bytes)
{
    look(0);
    if (!bp_load_relaxed(&is_found) || !next_munmap)
        return;
    int saved_errno = errno;
    (void)next_munmap((char *)address + 1, bytes - 1);
    errno = saved_errno;
}

/* Before pages are taken under locks: so that no library is found in the middle of it. */
static bool is_watched(void)
{
    look(LOOK_INTERVAL_NS / 2);
    return bp_load_relaxed(&is_found);
}

static int purge(void *address, size_t bytes)
{
    announce(address, bytes);
    return bp_os_default.purge(address, bytes);
}

static int guard(void *address, size_t bytes)
{
    announce(address, bytes);
    return bp_os_default.guard(address, bytes);
}

/* `to` has no pages that anybody could have registered. */
static int move(void *from, void *to, size_t bytes)
{
    announce(from, bytes);
    return bp_os_default.move(from, to, bytes);
}

static int renew(void *address, size_t bytes, bool accessible)
{
    announce(address, bytes);
    return bp_os_default.renew(address, bytes, accessible);
}

void bp_devices_start(void)
{
    void *symbol = bp_real_find_next("munmap");
    memcpy((void *)&next_munmap, &symbol, sizeof symbol);
    bp_os.is_watched = is_watched;
    bp_os.purge = purge;
    bp_os.guard = guard;
    bp_os.move = move;
    bp_os.renew = renew;
}
