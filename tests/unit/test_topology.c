/* SPDX-License-Identifier: MIT */
#include "topology.h"

#include "fake_os.h"
#include "machines.h"
#include "out.h"
#include "support.h"

#define ALL_NODES UINT64_MAX

static struct bp_topology topology;

TestSuite(topology, .init = fake_os_install, .fini = machine_leave);

static unsigned enter(unsigned which, uint64_t allowed_nodes)
{
    machine_enter(&machines[which]);
    return bp_topology_read(&topology, allowed_nodes);
}

Test(topology, counts_the_nodes_with_memory)
{
    for (unsigned i = 0; i < MACHINE_COUNT; i++) {
        const struct machine *machine = &machines[i];
        cr_assert_eq(enter(i, ALL_NODES), (unsigned)__builtin_popcountll(machine->memory), "%s", machine->name);
        cr_assert_eq(topology.memory, machine->memory, "%s", machine->name);
    }
}

Test(topology, knows_the_distance_of_every_two_nodes)
{
    for (unsigned m = 0; m < MACHINE_COUNT; m++) {
        const struct machine *machine = &machines[m];
        if (enter(m, ALL_NODES) < 2)
            continue; /* nothing else is read then */
        for (unsigned i = 0; i < machine->node_count; i++) {
            unsigned node = machine->nodes[i].number;
            char shown[64] = "";
            struct bp_text text = {.data = shown, .size = sizeof shown};
            for (unsigned j = 0; j < machine->node_count; j++)
                bp_text_add(&text, "%s%d", j > 0 ? " " : "", topology.distance[node][machine->nodes[j].number]);
            cr_assert_str_eq(shown, machine->nodes[i].distances, "%s, node %u", machine->name, node);
        }
    }
}

static void check_cpus(unsigned node, const unsigned *cpus, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        cr_assert_eq(topology.cpu_node[cpus[i]], node, "CPU %u: node %u", cpus[i], topology.cpu_node[cpus[i]]);
}

#define CHECK_CPUS(node, ...) \
    check_cpus(node, (unsigned[]){__VA_ARGS__}, sizeof(unsigned[]){__VA_ARGS__} / sizeof(unsigned))

Test(topology, knows_the_node_of_every_cpu)
{
    enter(EIGHT_NODES, ALL_NODES);
    CHECK_CPUS(0, 0, 15, 128, 143);
    CHECK_CPUS(3, 48, 63, 176, 191);
    CHECK_CPUS(7, 112, 127, 240, 255);
    CHECK_CPUS(BP_NO_NODE, 256, 257, BP_CPUS_MAX - 1);
}

Test(topology, cpus_of_a_node_need_not_follow_each_other)
{
    enter(SUB_NUMA, ALL_NODES);
    CHECK_CPUS(0, 0, 4, 8, 12, 16);
    CHECK_CPUS(3, 3, 7, 11, 15, 19);
    CHECK_CPUS(BP_NO_NODE, 20);
}

Test(topology, a_node_may_have_no_cpu)
{
    enter(MEMORY_ONLY, ALL_NODES);
    for (unsigned cpu = 0; cpu < BP_CPUS_MAX; cpu++)
        cr_assert_neq(topology.cpu_node[cpu], 2);
}

Test(topology, cpus_without_memory_find_the_nearest)
{
    enter(CPU_ONLY, ALL_NODES);
    CHECK_CPUS(1, 2, 3);
    cr_assert_eq(bp_topology_nearest(&topology, 1, topology.memory), 2);
    cr_assert_eq(bp_topology_nearest(&topology, 2, topology.memory), 2);
}

Test(topology, nodes_that_were_taken_out_are_not_there)
{
    enter(HALF_OFFLINE, ALL_NODES);
    cr_assert_eq(topology.online, 0x2d);
    cr_assert_eq(topology.distance[0][5], 40);
    cr_assert_eq(topology.distance[0][1], UINT8_MAX);
    cr_assert_eq(bp_topology_nearest(&topology, 5, 0x0d), 3);
    cr_assert_eq(bp_topology_nearest(&topology, 5, 0x05), 2);
    CHECK_CPUS(BP_NO_NODE, 2, 3, 8, 9);
}

Test(topology, what_the_process_may_not_use_does_not_count)
{
    cr_assert_eq(enter(FOUR_NODES, 0x6), 2);
    cr_assert_eq(topology.memory, 0x6);
    CHECK_CPUS(0, 0, 1);
    cr_assert_eq(bp_topology_nearest(&topology, 0, topology.memory), 1);
    cr_assert_eq(bp_topology_nearest(&topology, 3, topology.memory), 2);
}

Test(topology, of_nodes_equally_far_the_lowest_is_nearest)
{
    enter(FOUR_NODES, ALL_NODES);
    cr_assert_eq(bp_topology_nearest(&topology, 0, 0xe), 1);
    cr_assert_eq(bp_topology_nearest(&topology, 0, 0xc), 3);
    cr_assert_eq(bp_topology_nearest(&topology, 0, 0), BP_NO_NODE);
}

Test(topology, without_files_what_is_allowed_counts)
{
    machine_enter(&machines[ONE_NODE]);
    bp_os.root = "/nowhere";
    cr_assert_eq(bp_topology_read(&topology, 0x3), 2);
    cr_assert_eq(topology.memory, 0x3);
    CHECK_CPUS(BP_NO_NODE, 0, 1);
}

Test(topology, tells_what_of_a_node_is_free)
{
    size_t free_bytes;
    size_t total_bytes;
    enter(TWO_NODES, ALL_NODES);
    machine_set_free(&machines[TWO_NODES], 1, 3);
    cr_assert(bp_topology_free_bytes(2, &free_bytes, &total_bytes));
    cr_assert_eq(free_bytes, 3 * BP_MIB);
    cr_assert_eq(total_bytes, BP_GIB);
    cr_assert(bp_topology_free_bytes(3, &free_bytes, &total_bytes));
    cr_assert_eq(free_bytes, 515 * BP_MIB);
    cr_assert_eq(total_bytes, 2 * BP_GIB);
    cr_assert_not(bp_topology_free_bytes(4, &free_bytes, &total_bytes));
    cr_assert(bp_topology_free_bytes(6, &free_bytes, &total_bytes), "there is no node 2");
    cr_assert_eq(total_bytes, BP_GIB);
    cr_assert_not(bp_topology_free_bytes(0, &free_bytes, &total_bytes));
}
