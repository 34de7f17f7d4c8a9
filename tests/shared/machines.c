/* SPDX-License-Identifier: MIT */
#include "machines.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os.h"

const struct machine machines[MACHINE_COUNT] = {
    [ONE_NODE] = {"one node", "0", "0", 0x1, {{0, "0-7", "10", 4096}}, 1},
    [TWO_NODES] = {"two nodes", "0-1", "0-1", 0x3, {{0, "0-3", "10 21", 1024}, {1, "4-7", "21 10", 1024}}, 2},
    [FOUR_NODES] = {"four nodes in a ring",
                    "0-3",
                    "0-3",
                    0xf,
                    {{0, "0-1,8-9", "10 16 22 16", 512},
                     {1, "2-3,10-11", "16 10 16 22", 512},
                     {2, "4-5,12-13", "22 16 10 16", 512},
                     {3, "6-7,14-15", "16 22 16 10", 512}},
                    4},
    [EIGHT_NODES] = {"eight nodes, 256 CPUs",
                     "0-7",
                     "0-7",
                     0xff,
                     {{0, "0-15,128-143", "10 11 11 11 32 32 32 32", 8192},
                      {1, "16-31,144-159", "11 10 11 11 32 32 32 32", 8192},
                      {2, "32-47,160-175", "11 11 10 11 32 32 32 32", 8192},
                      {3, "48-63,176-191", "11 11 11 10 32 32 32 32", 8192},
                      {4, "64-79,192-207", "32 32 32 32 10 11 11 11", 8192},
                      {5, "80-95,208-223", "32 32 32 32 11 10 11 11", 8192},
                      {6, "96-111,224-239", "32 32 32 32 11 11 10 11", 8192},
                      {7, "112-127,240-255", "32 32 32 32 11 11 11 10", 8192}},
                     8},
    [SUB_NUMA] = {"two sockets in halves",
                  "0-3",
                  "0-3",
                  0xf,
                  {{0, "0,4,8,12,16", "10 11 21 21", 2048},
                   {1, "1,5,9,13,17", "11 10 21 21", 2048},
                   {2, "2,6,10,14,18", "21 21 10 11", 2048},
                   {3, "3,7,11,15,19", "21 21 11 10", 2048}},
                  4},
    [MEMORY_ONLY] = {"a node with memory alone",
                     "0-2",
                     "0-2",
                     0x7,
                     {{0, "0-3", "10 21 17", 1024}, {1, "4-7", "21 10 28", 1024}, {2, "", "17 28 10", 4096}},
                     3},
    [CPU_ONLY] = {"a node with CPUs alone",
                  "0-2",
                  "0,2",
                  0x5,
                  {{0, "0-1", "10 31 21", 1024}, {1, "2-3", "31 10 15", 0}, {2, "4-5", "21 15 10", 1024}},
                  3},
    [HALF_OFFLINE] = {"two of six taken out",
                      "0,2-3,5",
                      "0,2-3,5",
                      0x2d,
                      {{0, "0-1", "10 20 30 40", 256},
                       {2, "4-5", "20 10 25 35", 256},
                       {3, "6-7", "30 25 10 15", 256},
                       {5, "10-11", "40 35 15 10", 256}},
                      4},
    [SIXTEEN_NODES] = {"sixteen nodes",
                       "0-15",
                       "0-15",
                       0xffff,
                       {{0, "0", "10 12 20 20 20 20 20 20 20 20 20 20 20 20 20 20", 256},
                        {1, "1", "12 10 20 20 20 20 20 20 20 20 20 20 20 20 20 20", 256},
                        {2, "", "20 20 10 12 20 20 20 20 20 20 20 20 20 20 20 20", 256},
                        {3, "", "20 20 12 10 20 20 20 20 20 20 20 20 20 20 20 20", 256},
                        {4, "4", "20 20 20 20 10 12 20 20 20 20 20 20 20 20 20 20", 256},
                        {5, "5", "20 20 20 20 12 10 20 20 20 20 20 20 20 20 20 20", 256},
                        {6, "6", "20 20 20 20 20 20 10 12 20 20 20 20 20 20 20 20", 256},
                        {7, "7", "20 20 20 20 20 20 12 10 20 20 20 20 20 20 20 20", 256},
                        {8, "8", "20 20 20 20 20 20 20 20 10 12 20 20 20 20 20 20", 256},
                        {9, "9", "20 20 20 20 20 20 20 20 12 10 20 20 20 20 20 20", 256},
                        {10, "10", "20 20 20 20 20 20 20 20 20 20 10 12 20 20 20 20", 256},
                        {11, "11", "20 20 20 20 20 20 20 20 20 20 12 10 20 20 20 20", 256},
                        {12, "12", "20 20 20 20 20 20 20 20 20 20 20 20 10 12 20 20", 256},
                        {13, "13", "20 20 20 20 20 20 20 20 20 20 20 20 12 10 20 20", 256},
                        {14, "14", "20 20 20 20 20 20 20 20 20 20 20 20 20 20 10 12", 256},
                        {15, "15", "20 20 20 20 20 20 20 20 20 20 20 20 20 20 12 10", 256}},
                       16},
};

static char root[64];

__attribute__((format(printf, 2, 3))) static void write_file(const char *path, const char *format, ...)
{
    char whole[256];
    (void)snprintf(whole, sizeof whole, "%s/sys/devices/system/node/%s", root, path);
    for (char *slash = strchr(whole + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(whole, 0700);
        *slash = '/';
    }
    FILE *file = fopen(whole, "w");
    if (!file) {
        perror(whole);
        abort();
    }
    va_list args;
    va_start(args, format);
    (void)vfprintf(file, format, args);
    va_end(args);
    (void)fclose(file);
}

static void write_meminfo(const struct machine_node *node, unsigned free_mib)
{
    char path[64];
    (void)snprintf(path, sizeof path, "node%u/meminfo", node->number);
    write_file(path, "\nNode %u MemTotal:       %u kB\nNode %u MemFree:        %u kB\nNode %u MemUsed:        %u kB\n",
               node->number, node->mib * 1024, node->number, free_mib * 1024, node->number,
               (node->mib - free_mib) * 1024);
}

void machine_enter(const struct machine *machine)
{
    machine_leave();
    strcpy(root, "/tmp/bufpool-machine.XXXXXX");
    if (!mkdtemp(root))
        abort();
    write_file("online", "%s\n", machine->online);
    write_file("has_memory", "%s\n", machine->has_memory);
    for (unsigned i = 0; i < machine->node_count; i++) {
        const struct machine_node *node = &machine->nodes[i];
        char path[64];
        (void)snprintf(path, sizeof path, "node%u/cpulist", node->number);
        write_file(path, "%s\n", node->cpus);
        (void)snprintf(path, sizeof path, "node%u/distance", node->number);
        write_file(path, "%s\n", node->distances);
        write_meminfo(node, node->mib / 2);
    }
    bp_os.root = root;
}

void machine_set_free(const struct machine *machine, unsigned node, unsigned mib)
{
    for (unsigned i = 0; i < machine->node_count; i++) {
        if (machine->nodes[i].number == node)
            write_meminfo(&machine->nodes[i], mib);
    }
}

void machine_leave(void)
{
    if (root[0] == '\0')
        return;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", root);
    if (system(command) != 0) // NOLINT(cert-env33-c)
        perror(command);
    root[0] = '\0';
    bp_os.root = "";
}
