/* SPDX-License-Identifier: MIT */
#ifndef BP_MACHINES_H
#define BP_MACHINES_H
/*
 * Machines with several memory nodes, as /sys shows them: files that are written into a folder of their own.
 */
#include <stdint.h>

struct machine_node {
    unsigned number;
    const char *cpus;      /* cpulist */
    const char *distances; /* one for each node that is online */
    unsigned mib;          /* memory; 0: none, and no number in has_memory */
};

struct machine {
    const char *name;
    const char *online;
    const char *has_memory;
    uint64_t memory; /* the same as bits */
    struct machine_node nodes[16];
    unsigned node_count;
};

enum {
    ONE_NODE,
    TWO_NODES,
    FOUR_NODES,
    EIGHT_NODES,
    SUB_NUMA,     /* two sockets in two halves each, whose CPUs are not numbered in one row */
    MEMORY_ONLY,  /* two nodes with CPUs, one with memory alone */
    CPU_ONLY,     /* three nodes with CPUs, one of them without memory */
    HALF_OFFLINE, /* of nodes 0 to 5, 1 and 4 were taken out */
    SIXTEEN_NODES, /* eight pairs of near nodes; the second pair has no CPUs */
    MACHINE_COUNT
};

extern const struct machine machines[MACHINE_COUNT];

/* Leaves the last one, writes the machine's files into a new folder and makes it the root of what is read. */
void machine_enter(const struct machine *machine);
/* Says how much of a node is free from now on. */
void machine_set_free(const struct machine *machine, unsigned node, unsigned mib);
/* Removes the folder, if there is one. */
void machine_leave(void);

#endif
