/* SPDX-License-Identifier: MIT */
#include "numa.h"

#include <errno.h>
#include <linux/mempolicy.h>

#include "fake_os.h"
#include "machines.h"
#include "support.h"

static struct bp_meta meta;
static struct bp_numa *numa;

static void init(void)
{
    fake_os_install();
    bp_meta_init(&meta);
    fake_os.allowed_nodes = UINT64_MAX;
}

TestSuite(numa, .init = init, .fini = machine_leave);

static void make(unsigned machine, enum bp_numa_mode mode, uint64_t nodes)
{
    machine_enter(&machines[machine]);
    numa = bp_numa_make(&meta, (struct bp_numa_choice){.mode = mode, .nodes = nodes});
}

static void check_place(unsigned index, unsigned node, int mode, uint64_t nodes)
{
    const struct bp_place *place = &numa->places[index];
    cr_assert_eq(place->node, node, "place %u: node %u", index, place->node);
    cr_assert_eq(place->policy.mode, mode, "place %u: mode %d", index, place->policy.mode);
    cr_assert_eq(place->policy.nodes, nodes, "place %u", index);
}

Test(numa, one_node_is_nothing_to_do)
{
    for (unsigned mode = BP_NUMA_AUTO; mode <= BP_NUMA_INTERLEAVE; mode++) {
        make(ONE_NODE, (enum bp_numa_mode)mode, 0);
        cr_assert_null(numa);
    }
    make(ONE_NODE, BP_NUMA_BIND, 1);
    cr_assert_null(numa);
}

Test(numa, one_allowed_node_is_not_even_looked_at)
{
    fake_os.allowed_nodes = 2;
    bp_os.root = "/nowhere";
    cr_assert_null(bp_numa_make(&meta, (struct bp_numa_choice){0}));
    check_size(meta.mapped_bytes, 0);
}

Test(numa, a_kernel_without_nodes_has_one)
{
    fake_os.get_policy.fail = FAIL_ALWAYS;
    make(TWO_NODES, BP_NUMA_AUTO, 0);
    cr_assert_null(numa);
}

Test(numa, off_is_off)
{
    make(TWO_NODES, BP_NUMA_OFF, 0);
    cr_assert_null(numa);
    check_size(fake_os.get_policy.calls, 0);
}

Test(numa, auto_prefers_each_node_and_has_a_place_for_the_programs_own_policy)
{
    make(TWO_NODES, BP_NUMA_AUTO, 0);
    cr_assert_eq(numa->count, 3);
    check_place(0, 0, MPOL_PREFERRED, 1);
    check_place(1, 1, MPOL_PREFERRED, 2);
    check_place(2, BP_NO_NODE, MPOL_DEFAULT, 0);
    cr_assert_eq(bp_numa_cpu_place(numa, 3), 0);
    cr_assert_eq(bp_numa_cpu_place(numa, 4), 1);
    cr_assert_eq(bp_numa_cpu_place(numa, 8), BP_PLACE_OF_CPU);
    cr_assert_eq(bp_numa_cpu_place(numa, -1), BP_PLACE_OF_CPU);
}

Test(numa, the_other_modes)
{
    make(FOUR_NODES, BP_NUMA_LOCAL, 0);
    cr_assert_eq(numa->count, 4);
    make(FOUR_NODES, BP_NUMA_INTERLEAVE, 0);
    cr_assert_eq(numa->count, 1);
    check_place(0, BP_NO_NODE, MPOL_INTERLEAVE, 0xf);
    make(FOUR_NODES, BP_NUMA_PREFERRED, 4);
    cr_assert_eq(numa->count, 1);
    check_place(0, 2, MPOL_PREFERRED, 4);
    make(FOUR_NODES, BP_NUMA_BIND, 0xa);
    cr_assert_eq(numa->count, 2);
    check_place(0, 1, MPOL_BIND, 0xa);
    check_place(1, 3, MPOL_BIND, 0xa);
    cr_assert_eq(bp_numa_cpu_place(numa, 0), 0, "the lower of two that are equally near");
    cr_assert_eq(bp_numa_cpu_place(numa, 6), 1);
}

Test(numa, cpus_without_memory_belong_to_the_nearest_place)
{
    make(CPU_ONLY, BP_NUMA_AUTO, 0);
    cr_assert_eq(numa->count, 3);
    check_place(1, 2, MPOL_PREFERRED, 4);
    cr_assert_eq(bp_numa_cpu_place(numa, 2), 1);
}

Test(numa, places_know_which_others_are_near)
{
    make(HALF_OFFLINE, BP_NUMA_AUTO, 0);
    const uint8_t nearest[4][3] = {{1, 2, 3}, {0, 2, 3}, {3, 1, 0}, {2, 1, 0}};
    for (unsigned i = 0; i < 4; i++) {
        cr_assert_eq(numa->places[i].nearest_count, 3);
        for (unsigned j = 0; j < 3; j++)
            cr_assert_eq(numa->places[i].nearest[j], nearest[i][j], "place %u", i);
    }
    cr_assert_eq(numa->places[4].nearest_count, 0);
}

Test(numa, the_policy_of_the_whole_process_is_left_alone)
{
    static const struct bp_policy policies[] = {
        {MPOL_BIND, 2}, {MPOL_PREFERRED, 2}, {MPOL_INTERLEAVE, 3}, {MPOL_INTERLEAVE | MPOL_F_STATIC_NODES, 3}};
    for (size_t i = 0; i < LENGTH(policies); i++) {
        fake_os.policy = policies[i];
        make(TWO_NODES, BP_NUMA_AUTO, 0);
        cr_assert_null(numa);
        make(TWO_NODES, BP_NUMA_LOCAL, 0);
        cr_assert_not_null(numa, "local does not ask");
    }
    fake_os.policy = (struct bp_policy){MPOL_LOCAL, 0};
    make(TWO_NODES, BP_NUMA_AUTO, 0);
    cr_assert_eq(numa->count, 3);
    fake_os.policy = (struct bp_policy){MPOL_BIND, 6};
    make(FOUR_NODES, BP_NUMA_AUTO, 0);
    cr_assert_eq(numa->count, 3);
    check_place(0, 1, MPOL_BIND, 6);
    check_place(1, 2, MPOL_BIND, 6);
}

static unsigned choose(int mode, uint64_t nodes)
{
    fake_os.policy = (struct bp_policy){mode, nodes};
    return bp_numa_choose(numa, 7);
}

Test(numa, a_threads_policy_chooses_its_place)
{
    make(FOUR_NODES, BP_NUMA_AUTO, 0);
    cr_assert_eq(choose(MPOL_DEFAULT, 0), BP_PLACE_OF_CPU);
    cr_assert_eq(choose(MPOL_LOCAL, 0), BP_PLACE_OF_CPU);
    cr_assert_eq(choose(MPOL_PREFERRED, 0), BP_PLACE_OF_CPU);
    cr_assert_eq(choose(MPOL_BIND, 0xf), BP_PLACE_OF_CPU);
    cr_assert_eq(choose(MPOL_BIND, 4), 2);
    cr_assert_eq(choose(MPOL_PREFERRED, 8), 3);
    cr_assert_eq(choose(MPOL_INTERLEAVE, 0xf), 4, "its own");
    cr_assert_eq(choose(MPOL_INTERLEAVE, 0xf), 4);
    cr_assert_eq(choose(MPOL_BIND, 3), bp_numa_nowhere(numa), "there is one such place");
    cr_assert_eq(choose(MPOL_INTERLEAVE, 0x7), bp_numa_nowhere(numa), "for one policy");
    cr_assert_eq(choose(MPOL_INTERLEAVE | MPOL_F_STATIC_NODES, 0xf), bp_numa_nowhere(numa));
    cr_assert_eq(choose(MPOL_INTERLEAVE, 0xf), 4);
    fake_os.get_policy.fail = FAIL_ALWAYS;
    cr_assert_eq(choose(MPOL_DEFAULT, 0), 7, "as it was");
}

Test(numa, local_does_not_look_at_policies)
{
    make(FOUR_NODES, BP_NUMA_LOCAL, 0);
    cr_assert_eq(choose(MPOL_BIND, 4), BP_PLACE_OF_CPU);
}

static void make_two(void *nodes)
{
    make(TWO_NODES, BP_NUMA_BIND, *(uint64_t *)nodes);
    check(numa && numa->count == 3);
    machine_leave(); /* in a child */
}

Test(numa, a_node_that_cannot_be_used_is_said_and_auto_is_kept)
{
    check_says(make_two, &(uint64_t){5}, "bufpool: BUFPOOL_NUMA: node 2 has no memory for this process; using auto\n");
    fake_os.allowed_nodes = 3;
    check_says(make_two, &(uint64_t){(uint64_t)1 << 63},
               "bufpool: BUFPOOL_NUMA: node 63 has no memory for this process; using auto\n");
}

static void make_none(void *mode)
{
    make(TWO_NODES, *(enum bp_numa_mode *)mode, 1);
    check(!numa);
    machine_leave(); /* in a child */
}

/* Half of a machine's nodes would get all of its memory. */
Test(numa, nodes_beyond_the_last_that_is_known_are_no_nodes_at_all)
{
    fake_os.allowed_error = -ERANGE;
    check_says(make_none, &(enum bp_numa_mode){BP_NUMA_AUTO}, "");
    check_says(make_none, &(enum bp_numa_mode){BP_NUMA_BIND},
               "bufpool: BUFPOOL_NUMA: of nodes with numbers from 64 on nothing is known; using off\n");
}

Test(numa, a_full_node_has_no_room_and_is_looked_at_again)
{
    make(TWO_NODES, BP_NUMA_AUTO, 0);
    cr_assert(bp_numa_has_room(numa, 1, BP_MIB));
    machine_set_free(&machines[TWO_NODES], 1, 10);
    cr_assert(bp_numa_has_room(numa, 1, BP_MIB), "there were 512 MiB when it was looked at");
    cr_assert_not(bp_numa_has_room(numa, 1, 400 * BP_MIB));
    cr_assert_not(bp_numa_has_room(numa, 1, BP_MIB), "it is full now");
    cr_assert(bp_numa_has_room(numa, 0, BP_MIB));
    machine_set_free(&machines[TWO_NODES], 1, 900);
    cr_assert_not(bp_numa_has_room(numa, 1, BP_MIB), "as far as is known");
    cr_assert(bp_numa_has_room(numa, 1, 16 * BP_MIB));
}

Test(numa, a_range_that_is_not_bound_is_counted)
{
    make(TWO_NODES, BP_NUMA_AUTO, 0);
    char range[1];
    cr_assert_eq(bp_numa_bind(numa, 1, range, 1, false), 0);
    cr_assert_eq(fake_os.bound.policy.nodes, 2);
    fake_os.bind.fail = 1;
    cr_assert_lt(bp_numa_bind(numa, 1, range, 1, false), 0);
    check_size(numa->places[1].bind_failures, 1);
    size_t calls = fake_os.bind.calls;
    cr_assert_eq(bp_numa_bind(numa, 2, range, 1, false), 0);
    check_size(fake_os.bind.calls, calls);
}

Test(numa, eight_nodes_and_256_cpus)
{
    make(EIGHT_NODES, BP_NUMA_AUTO, 0);
    cr_assert_eq(numa->count, 9);
    for (int cpu = 0; cpu < 256; cpu++)
        cr_assert_eq(bp_numa_cpu_place(numa, cpu), (unsigned)cpu % 128 / 16);
    cr_assert_eq(numa->places[0].nearest[0], 1);
    cr_assert_eq(numa->places[0].nearest[3], 4);
    char shown[256] = "";
    struct bp_text text = {.data = shown, .size = sizeof shown};
    bp_numa_describe(numa, &text);
    cr_assert_str_eq(shown, "9 places (node 0, node 1, node 2, node 3, node 4, node 5, node 6, node 7, own policy)");
}

/* Nodes without CPUs are left out first; who runs on one that is left out gets memory of the nearest. */
Test(numa, more_nodes_than_places)
{
    make(SIXTEEN_NODES, BP_NUMA_AUTO, 0);
    cr_assert_eq(numa->count, 15);
    check_place(2, 4, MPOL_PREFERRED, 1 << 4);
    check_place(13, 15, MPOL_PREFERRED, 1 << 15);
    check_place(14, BP_NO_NODE, MPOL_DEFAULT, 0);
    cr_assert_eq(choose(MPOL_BIND, 1 << 2), 14, "its own");
    make(SIXTEEN_NODES, BP_NUMA_BIND, 0xfff3);
    cr_assert_eq(numa->count, 14);
    make(SIXTEEN_NODES, BP_NUMA_BIND, 0xfffb);
    cr_assert_eq(numa->count, 14);
    cr_assert_eq(bp_numa_node_place(numa, 15), 13);
    fake_os.policy = (struct bp_policy){MPOL_DEFAULT, 0};
    fake_os.allowed_nodes = 0xfff7; /* of those with memory alone one is left */
    make(SIXTEEN_NODES, BP_NUMA_AUTO, 0);
    cr_assert_eq(bp_numa_node_place(numa, 2), BP_PLACE_OF_CPU);
    cr_assert_eq(bp_numa_cpu_places(numa), 0x3fff);
    cr_assert_eq(bp_numa_cpu_place(numa, 15), 13);
}
