/* SPDX-License-Identifier: MIT */
#ifndef BP_TOPOLOGY_H
#define BP_TOPOLOGY_H
/*
 * Topology: which memory nodes the machine has, which CPUs are near them and how far they are from each other.
 *
 * Why:     memory of another node takes two to three times as long. Which CPUs are near, and how far nodes are, is read
 *          from /sys once, when a pool is made, and only where more than one node has memory that this process may use;
 *          which have memory when the nodes change that it may use (budget.h); how much is free now and then (numa.h).
 * Layer:   0.
 * Why not libnuma: its constructor reads all of this in every process that loads it and allocates while it does; what
 *          is wanted here are five small files and four system calls.
 */
#include "os.h"

enum { BP_NO_NODE = 0xff };

struct bp_topology {
    uint64_t online;                /* nodes that exist now */
    uint64_t memory;                /* those of them with memory that this process may use */
    uint8_t cpu_node[BP_CPUS_MAX];  /* BP_NO_NODE: not online, or unknown */
    uint8_t distance[BP_NODES_MAX][BP_NODES_MAX]; /* as the firmware says: 10 is near; 255 is unknown */
};

/* Returns how many nodes have memory for this process, of `allowed_nodes`; below 2 nothing was read but that. */
unsigned bp_topology_read(struct bp_topology *topology, uint64_t allowed_nodes);
/* Of `nodes` the one nearest to a node, the lowest of several; BP_NO_NODE when there is none. */
unsigned bp_topology_nearest(const struct bp_topology *topology, unsigned node, uint64_t nodes);
/* Has the machine memory on other nodes than these, as far as is known? */
bool bp_topology_has_others(uint64_t nodes);
/* What of the nodes' memory is free, and all of it, in bytes, as far as that is known. False when nothing is. */
bool bp_topology_free_bytes(uint64_t nodes, size_t *ret_free_bytes, size_t *ret_total_bytes);

#endif
