/* SPDX-License-Identifier: MIT */
#include "budget.h"

#include <linux/mempolicy.h>

#include "os.h"
#include "topology.h"

/* Modes of policies; the rest of one are flags. */
enum { MODE_MASK = 0xff };

/* Asked when a pool is made, and so of the thread that makes it: what numactl says holds for all of them. */
static uint64_t find_bound_nodes(struct bp_numa_choice choice)
{
    struct bp_policy policy;
    if (choice.mode == BP_NUMA_BIND)
        return choice.nodes;
    bool is_bound = bp_os.policy(&policy) == 0 && (policy.mode & MODE_MASK) == MPOL_BIND;
    return is_bound ? policy.nodes : UINT64_MAX;
}

uint64_t bp_budget_nodes(const struct bp_budget *budget)
{
    uint64_t allowed_nodes;
    if (bp_os.allowed_nodes(&allowed_nodes) != 0)
        return 0;
    uint64_t nodes = allowed_nodes & budget->bound_nodes;
    return nodes != 0 ? nodes : allowed_nodes;
}

/*
 * What nodes say of themselves counts only where the machine has more: of all nodes the kernel knows better which files
 * it keeps in memory are as good as free, and some kernels add memory to a node only when it is first needed.
 */
size_t bp_budget_free_bytes(const struct bp_budget *budget)
{
    size_t free_bytes;
    size_t node_bytes;
    uint64_t nodes = bp_budget_nodes(budget);
    bool is_part = bp_topology_has_others(nodes) && bp_topology_free_bytes(nodes, &free_bytes, &node_bytes);
    return is_part ? bp_min(bp_os_memory_free_bytes(), free_bytes) : bp_os_memory_free_bytes();
}

static size_t find_memory_bytes(struct bp_budget *budget)
{
    size_t memory_bytes = bp_os_memory_bytes();
    uint64_t nodes = bp_budget_nodes(budget);
    if (nodes != budget->nodes) { /* files of the kernel's */
        size_t free_bytes;
        budget->node_bytes = 0;
        if (bp_topology_has_others(nodes))
            (void)bp_topology_free_bytes(nodes, &free_bytes, &budget->node_bytes);
        budget->nodes = nodes;
    }
    bool is_less = budget->node_bytes != 0 && (memory_bytes == 0 || budget->node_bytes < memory_bytes);
    return is_less ? budget->node_bytes : memory_bytes;
}

static void set_limits(struct bp_budget *budget)
{
    size_t memory_bytes = bp_load_relaxed(&budget->memory_bytes);
    size_t footprint_bytes = bp_options_share_bytes(budget->footprint_share, memory_bytes);
    bp_store_relaxed(&budget->footprint_limit_bytes, footprint_bytes == 0 ? SIZE_MAX : footprint_bytes);
    bp_store_relaxed(&budget->cached_limit_bytes,
                     bp_options_share_bytes(budget->cached_share, memory_bytes) >> budget->squeeze);
    bp_store_relaxed(&budget->roomy_bytes, memory_bytes == 0 ? SIZE_MAX : memory_bytes / 8 * 7);
}

static size_t ms_of(uint64_t ns)
{
    return ns / 1000000;
}

static void start_mean(struct bp_budget *budget, uint64_t now_ns)
{
    budget->start_ms = ms_of(now_ns);
    bp_store_relaxed(&budget->noted_ms, budget->start_ms);
    bp_store_relaxed(&budget->noted_kib, bp_load_relaxed(&budget->cached_bytes) / BP_KIB);
    bp_store_relaxed(&budget->kib_ms, 0);
}

void bp_budget_init(struct bp_budget *budget, const struct bp_options *options)
{
    *budget = (struct bp_budget){
        .cached_share = options->cache_bytes,
        .footprint_share = options->max_bytes,
        .bound_nodes = find_bound_nodes(options->numa),
    };
    bp_store_relaxed(&budget->memory_bytes, find_memory_bytes(budget));
    set_limits(budget);
    start_mean(budget, bp_os.now_ns());
}

void bp_budget_after_fork(struct bp_budget *budget, uint64_t now_ns)
{
    size_t cached_bytes = bp_load_relaxed(&budget->cached_bytes);
    size_t footprint_bytes = bp_load_relaxed(&budget->footprint_bytes);
    bp_store_relaxed(&budget->peak_cached_bytes, cached_bytes);
    bp_store_relaxed(&budget->peak_footprint_bytes, footprint_bytes);
    bp_store_relaxed(&budget->peak_live_bytes, footprint_bytes - bp_min(footprint_bytes, cached_bytes));
    start_mean(budget, now_ns);
}

void bp_budget_note_cached(struct bp_budget *budget, uint64_t now_ns)
{
    size_t now_ms = ms_of(now_ns);
    size_t before_ms = bp_load_relaxed(&budget->noted_ms);
    size_t before_kib = bp_load_relaxed(&budget->noted_kib);
    if (now_ms > before_ms && bp_replace_relaxed(&budget->noted_ms, &before_ms, now_ms))
        bp_add_relaxed(&budget->kib_ms, (now_ms - before_ms) * before_kib);
    bp_store_relaxed(&budget->noted_kib, bp_load_relaxed(&budget->cached_bytes) / BP_KIB);
}

size_t bp_budget_mean_cached_bytes(const struct bp_budget *budget, uint64_t now_ns)
{
    size_t now_ms = ms_of(now_ns);
    size_t noted_ms = bp_load_relaxed(&budget->noted_ms);
    if (now_ms <= budget->start_ms || now_ms < noted_ms)
        return bp_load_relaxed(&budget->cached_bytes); /* no time has passed yet */
    size_t kib_ms = bp_load_relaxed(&budget->kib_ms) + (now_ms - noted_ms) * bp_load_relaxed(&budget->noted_kib);
    return kib_ms / (now_ms - budget->start_ms) * BP_KIB;
}

bool bp_budget_is_share(const struct bp_budget *budget)
{
    return ((budget->cached_share | budget->footprint_share) & BP_PERCENT_FLAG) != 0;
}

void bp_budget_follow_memory(struct bp_budget *budget)
{
    if (bp_os_is_quiet())
        return;
    size_t memory_bytes = find_memory_bytes(budget);
    if (memory_bytes != bp_load_relaxed(&budget->memory_bytes)) {
        bp_store_relaxed(&budget->memory_bytes, memory_bytes);
        set_limits(budget);
    }
}

size_t bp_budget_excess_bytes(const struct bp_budget *budget)
{
    size_t cached_bytes = bp_load_relaxed(&budget->cached_bytes);
    return cached_bytes - bp_min(cached_bytes, bp_load_relaxed(&budget->cached_limit_bytes));
}

void bp_budget_squeeze(struct bp_budget *budget, size_t halvings)
{
    if (halvings != budget->squeeze) {
        budget->squeeze = halvings;
        set_limits(budget);
    }
}
