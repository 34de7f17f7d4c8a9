/* SPDX-License-Identifier: MIT */
#include "topology.h"

#include <stdlib.h>
#include <string.h>

#include "out.h"

#define NODES_FOLDER "/sys/devices/system/node/"

enum {
    /* 4096 CPUs, every second on this node, would need twice as much; what is cut off is as if it were not there. */
    LIST_BYTES = 8192,
};

/* Calls `visit` with every number below `limit` of a list such as "0-3,8,10-11". */
static void visit_list(const char *list, unsigned limit, void (*visit)(unsigned number, void *context), void *context)
{
    while (*list >= '0' && *list <= '9') {
        char *end;
        unsigned long first = strtoul(list, &end, 10);
        unsigned long last = *end == '-' ? strtoul(end + 1, &end, 10) : first;
        for (unsigned long number = first; number <= last && number < limit; number++)
            visit((unsigned)number, context);
        list = *end == ',' ? end + 1 : end;
    }
}

static void add_node(unsigned node, void *context)
{
    *(uint64_t *)context |= (uint64_t)1 << node;
}

/* The list in a file; false when it cannot be read. */
static bool read_nodes(const char *path, uint64_t *ret_nodes)
{
    char list[LIST_BYTES];
    *ret_nodes = 0;
    if (bp_os_read_file(path, list, sizeof list) < 0)
        return false;
    visit_list(list, BP_NODES_MAX, add_node, ret_nodes);
    return true;
}

/* Reads a file of the node's folder. */
static bool read_node_file(unsigned node, const char *name, char *data, size_t size)
{
    char path[96];
    struct bp_text text = {.data = path, .size = sizeof path};
    bp_text_add(&text, NODES_FOLDER "node%u/%s", node, name);
    return bp_os_read_file(path, data, size) > 0;
}

struct node_cpus {
    struct bp_topology *topology;
    unsigned node;
};

static void add_cpu(unsigned cpu, void *context)
{
    const struct node_cpus *cpus = context;
    cpus->topology->cpu_node[cpu] = (uint8_t)cpus->node;
}

static void read_cpus(struct bp_topology *topology, unsigned node)
{
    char list[LIST_BYTES];
    if (!read_node_file(node, "cpulist", list, sizeof list))
        return;
    /* A number that was cut in two would be another one. */
    char *comma = strlen(list) == sizeof list - 1 ? strrchr(list, ',') : NULL;
    if (comma)
        *comma = '\0';
    visit_list(list, BP_CPUS_MAX, add_cpu, &(struct node_cpus){topology, node});
}

/* A number for each node that is online, in their order. */
static void read_distances(struct bp_topology *topology, unsigned node)
{
    char numbers[1024];
    if (!read_node_file(node, "distance", numbers, sizeof numbers))
        return;
    char *next = numbers;
    for (unsigned other = 0; other < BP_NODES_MAX; other++) {
        if ((topology->online >> other & 1) == 0)
            continue;
        char *end;
        unsigned long distance = strtoul(next, &end, 10);
        if (end == next)
            return;
        topology->distance[node][other] = (uint8_t)bp_min(distance, UINT8_MAX);
        next = end;
    }
}

unsigned bp_topology_read(struct bp_topology *topology, uint64_t allowed_nodes)
{
    memset(topology->cpu_node, BP_NO_NODE, sizeof topology->cpu_node);
    memset(topology->distance, UINT8_MAX, sizeof topology->distance);
    if (!read_nodes(NODES_FOLDER "online", &topology->online))
        topology->online = allowed_nodes;
    if (!read_nodes(NODES_FOLDER "has_memory", &topology->memory))
        topology->memory = allowed_nodes;
    topology->memory &= allowed_nodes & topology->online;
    unsigned count = (unsigned)__builtin_popcountll(topology->memory);
    if (count < 2)
        return count;
    for (unsigned node = 0; node < BP_NODES_MAX; node++) {
        if ((topology->online >> node & 1) != 0) {
            read_cpus(topology, node);
            read_distances(topology, node);
        }
    }
    return count;
}

unsigned bp_topology_nearest(const struct bp_topology *topology, unsigned node, uint64_t nodes)
{
    unsigned best = BP_NO_NODE;
    for (unsigned other = 0; other < BP_NODES_MAX; other++) {
        if ((nodes >> other & 1) == 0)
            continue;
        if (other == node)
            return node;
        if (best == BP_NO_NODE || topology->distance[node][other] < topology->distance[node][best])
            best = other;
    }
    return best;
}

bool bp_topology_has_others(uint64_t nodes)
{
    uint64_t memory;
    return read_nodes(NODES_FOLDER "has_memory", &memory) && (memory & ~nodes) != 0;
}

/* The kilobytes behind a name in "Node 0 MemTotal:  1024 kB" and the like, as bytes; SIZE_MAX when it is not there. */
static size_t find_bytes(const char *text, const char *name)
{
    const char *found = strstr(text, name);
    return found ? (size_t)strtoul(found + strlen(name), NULL, 10) * BP_KIB : SIZE_MAX;
}

bool bp_topology_free_bytes(uint64_t nodes, size_t *ret_free_bytes, size_t *ret_total_bytes)
{
    *ret_free_bytes = 0;
    *ret_total_bytes = 0;
    for (uint64_t left = nodes; left != 0; left &= left - 1) {
        char text[512]; /* what is wanted comes first */
        if (!read_node_file((unsigned)__builtin_ctzll(left), "meminfo", text, sizeof text))
            continue;
        size_t free_bytes = find_bytes(text, "MemFree:");
        size_t total_bytes = find_bytes(text, "MemTotal:");
        if (free_bytes != SIZE_MAX && total_bytes != SIZE_MAX) {
            *ret_free_bytes += free_bytes;
            *ret_total_bytes += total_bytes;
        }
    }
    return *ret_total_bytes != 0;
}
