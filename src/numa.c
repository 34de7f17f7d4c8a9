/* SPDX-License-Identifier: MIT */
#include "numa.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <stdlib.h>
#include <string.h>

#include "os.h"

#ifndef MPOL_PREFERRED_MANY
#define MPOL_PREFERRED_MANY 5
#endif

enum {
    /* Rows for the places of nodes, for one of the program's own policy and for nowhere. */
    NODE_PLACES_MAX = BP_PLACES_MAX - 2,
    MODE_MASK = 0xff, /* the rest of a mode are flags about how its nodes follow a change of the cpuset */
};

/* What the kernel keeps free on a node, beyond its share of vm.min_free_kbytes: about this share, and this. */
#define KEPT_SHARE ((size_t)256)
#define KEPT_BYTES (8 * BP_MIB)
/* How much is taken from a full node, or one that cannot be looked at, before the next look. */
#define FULL_CREDIT_BYTES (16 * BP_MIB)
#define BLIND_CREDIT_BYTES BP_GIB

static unsigned weight(uint64_t nodes)
{
    return (unsigned)__builtin_popcountll(nodes);
}

static unsigned lowest(uint64_t nodes)
{
    return nodes != 0 ? (unsigned)__builtin_ctzll(nodes) : BP_NO_NODE;
}

/* --- making ------------------------------------------------------------------------------------------------------- */

/* Nodes that have CPUs come first; of the others and of those, the lowest. */
static uint64_t at_most(const struct bp_topology *topology, uint64_t nodes, unsigned count)
{
    uint64_t with_cpus = 0;
    for (unsigned cpu = 0; cpu < BP_CPUS_MAX; cpu++) {
        if (topology->cpu_node[cpu] < BP_NODES_MAX)
            with_cpus |= (uint64_t)1 << topology->cpu_node[cpu];
    }
    while (weight(nodes) > count) {
        uint64_t without_cpus = nodes & ~with_cpus;
        uint64_t drop = without_cpus != 0 ? without_cpus : nodes;
        nodes &= ~((uint64_t)1 << (63 - __builtin_clzll(drop)));
    }
    return nodes;
}

static struct bp_place *add_place(struct bp_numa *numa, unsigned node, int mode, uint64_t nodes)
{
    struct bp_place *place = &numa->places[numa->count++];
    place->node = node;
    place->policy = (struct bp_policy){.mode = mode, .nodes = nodes};
    return place;
}

/* A place for each of the nodes. Ranges prefer theirs, or, if `bound`, must have one of them all. */
static void add_nodes(struct bp_numa *numa, uint64_t nodes, bool bound)
{
    uint64_t used = at_most(&numa->topology, nodes, NODE_PLACES_MAX);
    for (uint64_t left = used; left != 0; left &= left - 1) {
        unsigned node = lowest(left);
        numa->node_place[node] = (uint8_t)numa->count;
        (void)add_place(numa, node, bound ? MPOL_BIND : MPOL_PREFERRED, bound ? nodes : (uint64_t)1 << node);
    }
    for (unsigned node = 0; node < BP_NODES_MAX; node++)
        numa->node_place[node] = numa->node_place[bp_topology_nearest(&numa->topology, node, used)];
}

/* Which other place is nearest, and so on. A place that is no node's is as far as anything. */
static void sort_by_distance(struct bp_numa *numa, struct bp_place *place)
{
    unsigned from = place->node;
    for (unsigned other = 0; other < numa->count; other++) {
        unsigned to = numa->places[other].node;
        if (&numa->places[other] == place || to == BP_NO_NODE || from == BP_NO_NODE)
            continue;
        unsigned at = place->nearest_count++;
        const uint8_t *distance = numa->topology.distance[from];
        for (; at > 0 && distance[numa->places[place->nearest[at - 1]].node] > distance[to]; at--)
            place->nearest[at] = place->nearest[at - 1];
        place->nearest[at] = (uint8_t)other;
    }
}

static int mode_of(struct bp_policy policy)
{
    return policy.mode & MODE_MASK;
}

/* First the node of the CPU, then any: what a process has that was told nothing. */
static bool is_local(struct bp_policy policy)
{
    return mode_of(policy) == MPOL_DEFAULT || mode_of(policy) == MPOL_LOCAL ||
           (mode_of(policy) == MPOL_PREFERRED && policy.nodes == 0);
}

static void make_auto(struct bp_numa *numa)
{
    if (bp_os.policy(&numa->usual) != 0)
        return;
    uint64_t nodes = numa->topology.memory;
    bool is_bound = mode_of(numa->usual) == MPOL_BIND;
    if (is_local(numa->usual) || (is_bound && (nodes & ~numa->usual.nodes) == 0))
        add_nodes(numa, nodes, false);
    else if (is_bound && weight(numa->usual.nodes & nodes) > 1)
        add_nodes(numa, numa->usual.nodes & nodes, true);
    else
        return; /* nothing is bound, so the program's policy decides */
    numa->follows_policy = true;
    (void)add_place(numa, BP_NO_NODE, MPOL_DEFAULT, 0);
}

/* Fresh memory comes from elsewhere before a node has less than a quarter above the kernel's minimum. */
static size_t kept_per_gib(const struct bp_topology *topology)
{
    char text[32];
    size_t free_bytes;
    size_t memory_bytes;
    if (!bp_topology_free_bytes(topology->online, &free_bytes, &memory_bytes) ||
        bp_os_read_file("/proc/sys/vm/min_free_kbytes", text, sizeof text) <= 0)
        return 0;
    return strtoul(text, NULL, 10) * BP_KIB / 4 * 5 / bp_max(memory_bytes / BP_MIB, 1) * 1024;
}

struct bp_numa *bp_numa_make(struct bp_meta *meta, struct bp_numa_choice choice)
{
    if (choice.mode == BP_NUMA_OFF)
        return NULL;
    uint64_t allowed_nodes = 0;
    int error = bp_os.allowed_nodes(&allowed_nodes);
    if (error == -ERANGE) {
        if (choice.mode != BP_NUMA_AUTO)
            bp_warn("BUFPOOL_NUMA: of nodes with numbers from %d on nothing is known; using off", BP_NODES_MAX);
        return NULL;
    }
    if (error != 0)
        allowed_nodes = 1; /* a kernel without nodes, or a filter that forbids the question */
    if (weight(allowed_nodes) < 2 && (choice.nodes & ~allowed_nodes) == 0)
        return NULL;
    struct bp_numa *numa = bp_meta_alloc(meta, sizeof *numa);
    if (!numa)
        return NULL;
    unsigned node_count = bp_topology_read(&numa->topology, allowed_nodes);
    uint64_t nodes = numa->topology.memory;
    if ((choice.nodes & ~nodes) != 0) {
        bp_warn("BUFPOOL_NUMA: node %u has no memory for this process; using auto", lowest(choice.nodes & ~nodes));
        choice.mode = BP_NUMA_AUTO;
    }
    if (node_count < 2)
        return NULL;
    switch (choice.mode) {
    case BP_NUMA_OFF:
    case BP_NUMA_AUTO:
        make_auto(numa);
        break;
    case BP_NUMA_LOCAL:
        add_nodes(numa, nodes, false);
        break;
    case BP_NUMA_INTERLEAVE:
        (void)add_place(numa, BP_NO_NODE, MPOL_INTERLEAVE, nodes);
        break;
    case BP_NUMA_PREFERRED:
        (void)add_place(numa, lowest(choice.nodes), MPOL_PREFERRED, choice.nodes);
        break;
    case BP_NUMA_BIND:
        add_nodes(numa, choice.nodes, true);
        break;
    }
    for (unsigned i = 0; i < numa->count; i++)
        sort_by_distance(numa, &numa->places[i]);
    numa->kept_per_gib = kept_per_gib(&numa->topology);
    return numa->count > 0 ? numa : NULL;
}

void bp_numa_describe(const struct bp_numa *numa, struct bp_text *text)
{
    bp_text_add(text, "%u place%s (", numa->count, numa->count == 1 ? "" : "s");
    for (unsigned i = 0; i < numa->count; i++) {
        const struct bp_place *place = &numa->places[i];
        if (place->node != BP_NO_NODE)
            bp_text_add(text, "%snode %u", i > 0 ? ", " : "", place->node);
        else
            bp_text_add(text, "%s%s", i > 0 ? ", " : "", place->policy.nodes != 0 ? "interleaved" : "own policy");
    }
    bp_text_add(text, ")");
}

unsigned bp_numa_node_place(const struct bp_numa *numa, size_t node)
{
    for (unsigned i = 0; i < numa->count; i++) {
        if (numa->places[i].node == node && node != BP_NO_NODE)
            return i;
    }
    return BP_PLACE_OF_CPU;
}

unsigned bp_numa_cpu_places(const struct bp_numa *numa)
{
    unsigned places = 0;
    for (int cpu = 0; cpu < BP_CPUS_MAX; cpu++) {
        unsigned place = bp_numa_cpu_place(numa, cpu);
        if (place != BP_PLACE_OF_CPU)
            places |= 1u << place;
    }
    return places;
}

/* --- threads ------------------------------------------------------------------------------------------------------ */

static bool is_same(struct bp_policy a, struct bp_policy b)
{
    return a.mode == b.mode && a.nodes == b.nodes;
}

/*
 * The last place is for the first policy of the program's own that is no place's. One word holds it, so that nobody, a
 * forked child neither, finds half of it; that two policies make the same word is less likely than any failure.
 */
static unsigned own_place(struct bp_numa *numa, struct bp_policy policy)
{
    uint64_t wanted = bp_mix(policy.nodes + bp_mix((uint64_t)policy.mode)) | 1;
    uint64_t own = 0;
    bool is_first = bp_replace_relaxed(&numa->own, &own, wanted);
    return is_first || own == wanted ? numa->count - 1 : bp_numa_nowhere(numa);
}

unsigned bp_numa_choose(struct bp_numa *numa, unsigned choice)
{
    struct bp_policy policy;
    if (!numa->follows_policy)
        return BP_PLACE_OF_CPU;
    if (bp_os.policy(&policy) != 0)
        return choice;
    if (is_same(policy, numa->usual) || is_local(policy))
        return BP_PLACE_OF_CPU;
    int mode = mode_of(policy);
    if (mode == MPOL_BIND && (numa->topology.memory & ~policy.nodes) == 0)
        return BP_PLACE_OF_CPU;
    unsigned node = lowest(policy.nodes);
    const struct bp_place *place = node < BP_NODES_MAX ? &numa->places[numa->node_place[node]] : NULL;
    if (place && is_same(place->policy, (struct bp_policy){MPOL_PREFERRED, policy.nodes}) &&
        (mode == MPOL_PREFERRED || mode == MPOL_BIND || mode == MPOL_PREFERRED_MANY))
        return numa->node_place[node];
    return own_place(numa, policy);
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

static int bind_to(struct bp_place *place, struct bp_policy policy, void *address, size_t bytes, bool move)
{
    if (policy.mode == MPOL_DEFAULT)
        return 0;
    int error = bp_os.bind(address, bytes, policy, move);
    if (error != 0)
        bp_add_relaxed(&place->bind_failures, (size_t)1);
    return error;
}

int bp_numa_bind(struct bp_numa *numa, unsigned place_index, void *address, size_t bytes, bool move)
{
    struct bp_place *place = &numa->places[place_index];
    return bind_to(place, place->policy, address, bytes, move);
}

void bp_numa_bind_reserved(struct bp_numa *numa, unsigned place_index, void *address, size_t bytes)
{
    struct bp_place *place = &numa->places[place_index];
    struct bp_policy wish = place->policy;
    if (wish.mode == MPOL_BIND)
        wish = (struct bp_policy){.mode = MPOL_PREFERRED, .nodes = (uint64_t)1 << place->node};
    (void)bind_to(place, wish, address, bytes, false);
}

static void look(const struct bp_numa *numa, struct bp_place *place, size_t bytes)
{
    size_t free_bytes;
    size_t total_bytes;
    bool is_full = false;
    size_t credit_bytes = BLIND_CREDIT_BYTES;
    if (!bp_os_is_quiet() && bp_topology_free_bytes((uint64_t)1 << place->node, &free_bytes, &total_bytes)) {
        size_t kept_bytes = numa->kept_per_gib * (total_bytes / BP_MIB) / 1024 + total_bytes / KEPT_SHARE + KEPT_BYTES;
        is_full = free_bytes < kept_bytes + bytes;
        credit_bytes = is_full ? FULL_CREDIT_BYTES : (free_bytes - kept_bytes - bytes) / 2;
    }
    bp_store_relaxed(&place->is_full, is_full);
    bp_store_relaxed(&place->credit_bytes, credit_bytes);
}

bool bp_numa_has_room(struct bp_numa *numa, unsigned place_index, size_t bytes)
{
    struct bp_place *place = &numa->places[place_index];
    if (place->node == BP_NO_NODE)
        return true;
    size_t credit_bytes = bp_load_relaxed(&place->credit_bytes);
    if (credit_bytes < bytes) /* two threads may look at once, or spend the same: it is an estimate */
        look(numa, place, bytes);
    else
        bp_store_relaxed(&place->credit_bytes, credit_bytes - bytes);
    return !bp_load_relaxed(&place->is_full);
}
