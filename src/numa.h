/* SPDX-License-Identifier: MIT */
#ifndef BP_NUMA_H
#define BP_NUMA_H
/*
 * NUMA: the places that memory comes from, and which of them a thread uses.
 *
 * Why:     a buffer outlives the block it was made for. Recycled without a thought it serves threads of another memory
 *          node, where it is two to three times slower, and keeps doing so.
 * Layer:   2. Does not exist (NULL) where there is one place only and nothing to bind: no cost then.
 * Terms:   place - memory that is of one kind to the pool: that of one node, or what a policy of the program's own
 *                  says. It has spans and shards of its own, and a slot never changes its place.
 * Policy:  a range is bound before its first touch, to prefer its node: a full node falls back to others, it does not
 *          fail. Under `auto` a thread's own policy (set_mempolicy) decides where it has one: a single node means that
 *          node's place; whatever else is left to the kernel, in a place without a binding. A second such policy in the
 *          same process is nowhere: its requests are forwarded. A policy that the whole process was started with
 *          (numactl) stays in force for all of our memory.
 * Locking: none; what changes is atomic.
 */
#include "atomic.h"
#include "meta.h"
#include "options.h"
#include "out.h"
#include "topology.h"

enum {
    BP_PLACES_MAX = 16,
    BP_PLACE_OF_CPU = 0xff, /* as a choice: wherever the thread runs. As a place: unknown */
};

struct bp_place {
    unsigned node;           /* const: BP_NO_NODE where it is not a node's */
    struct bp_policy policy; /* const: of its ranges; MPOL_DEFAULT: they are not bound */
    unsigned nearest_count;  /* const */
    uint8_t nearest[BP_PLACES_MAX]; /* const: other places, nearest first */
    _Atomic(size_t) credit_bytes;   /* fresh memory that may be taken before the node is looked at again; relaxed */
    _Atomic(bool) is_full;          /* at the last look */
    _Atomic(size_t) bind_failures;  /* ranges that the kernel did not bind */
};

struct bp_numa {
    unsigned count;           /* const: places with memory */
    bool follows_policy;      /* const */
    struct bp_policy usual;   /* const: the policy that threads of this process start with */
    _Atomic(uint64_t) own;    /* that of the place for such a policy, the last one, as a number; 0: none yet; relaxed */
    _Atomic(size_t) epoch;    /* grows when threads should look at their policy again; relaxed */
    size_t kept_per_gib;      /* const: what the kernel keeps free of each GiB */
    uint8_t node_place[BP_NODES_MAX]; /* const: for each node the place of the nearest with memory */
    struct bp_place places[BP_PLACES_MAX];
    struct bp_topology topology;
};

/*
 * NULL when there is nothing to do: one node, no kernel support, switched off, or the program's own policy. A node that
 * the options name and that cannot be used is worth a warning, and `auto` instead.
 */
struct bp_numa *bp_numa_make(struct bp_meta *meta, struct bp_numa_choice choice);
/* For people: the places and their nodes. */
void bp_numa_describe(const struct bp_numa *numa, struct bp_text *text);

/* The place that a request belongs to whose thread has a policy that no place of ours can keep. It has no memory. */
static inline unsigned bp_numa_nowhere(const struct bp_numa *numa)
{
    return numa->count;
}

/* The place of a CPU's memory, or BP_PLACE_OF_CPU when that is not known. */
static inline unsigned bp_numa_cpu_place(const struct bp_numa *numa, int cpu)
{
    unsigned node = cpu >= 0 && cpu < BP_CPUS_MAX ? numa->topology.cpu_node[cpu] : BP_NO_NODE;
    return node < BP_NODES_MAX ? numa->node_place[node] : BP_PLACE_OF_CPU;
}

/* The place of a node's memory; BP_PLACE_OF_CPU where it has none of its own. */
unsigned bp_numa_node_place(const struct bp_numa *numa, size_t node);
/* The places of all CPUs, as bits: where threads come to that have no policy of their own. */
unsigned bp_numa_cpu_places(const struct bp_numa *numa);

/* Looks at this thread's policy: a place or BP_PLACE_OF_CPU; the present choice when nobody can tell. */
unsigned bp_numa_choose(struct bp_numa *numa, unsigned choice);

/* Binds a range of a place. Counted when the kernel refuses; its pages then come from anywhere. */
int bp_numa_bind(struct bp_numa *numa, unsigned place, void *address, size_t bytes, bool move);
/*
 * The same for huge pages of the reserved pool: a node that has none left ends a program that is bound to it, so this
 * is a wish whatever the place.
 */
void bp_numa_bind_reserved(struct bp_numa *numa, unsigned place, void *address, size_t bytes);

/* False when so much fresh memory would come from another node, as this place's is full. */
bool bp_numa_has_room(struct bp_numa *numa, unsigned place, size_t bytes);

#endif
