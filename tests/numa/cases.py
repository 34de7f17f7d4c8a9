# SPDX-License-Identifier: MIT
"""The machines and what is tried on them; see victim.c for the deeds."""
import dataclasses

TIMEOUT_S = 120


@dataclasses.dataclass
class Case:
    deed: str
    env: dict = dataclasses.field(default_factory=dict)
    says: list = dataclasses.field(default_factory=list)  # of the JSON report
    under: str = ''  # a command before the victim
    before: str = ''  # shell commands that prepare the machine
    stderr: str = ''  # a pattern
    huge: str = 'always'  # huge pages; they go to nodes as a whole, which spreads few of them unevenly


@dataclasses.dataclass
class Machine:
    guest: list  # options of scripts/numa-guest
    cases: list


FAST = {'DECAY_MS': '300'}
KEPT = {'DECAY_MS': '0'}
ALL_LOCAL = ['sum(p["remote_hits"] for p in places) == 0', 'sum(p["fallbacks"] for p in places) == 0', 'forwarded == 0',
             'misplaced_pages == 0', 'sum(p["live_misplaced"] + p["cached_misplaced"] for p in places) == 0']
# Of all blocks that the producer took, and of those few that were made for the consumer.
REUSED = [*ALL_LOCAL, 'fresh <= 0.05 * large_requests', 'sent_home >= 0.9 * large_requests']
NO_PLACES = ['places == []', 'large_requests > forwarded']
WRONG = r'bufpool: BUFPOOL_NUMA: node {} has no memory for this process; using auto'
NOT_LIST = r'bufpool: BUFPOOL_NUMA={}: {}; accepted: .*; using auto'
CUT = r'bufpool: BUFPOOL_PREFILL={}: made {} of {} buffers: {}'
NO_NODE = 'no memory is kept apart for the node'
NO_MEMORY = 'no memory for more'
PREFILLED = [*ALL_LOCAL, 'fresh == 0']
CPUSET = 'mkdir /sys/fs/cgroup/{0}; echo +cpuset >/sys/fs/cgroup/cgroup.subtree_control; ' \
    'echo 1 >/sys/fs/cgroup/{0}/cpuset.mems; echo 2-3 >/sys/fs/cgroup/{0}/cpuset.cpus'
RESERVE = 'echo {1} >/sys/devices/system/node/node{0}/hugepages/hugepages-2048kB/nr_hugepages'

TWO = [
    Case('local 0:0 2:1 1:0 3:1', says=[*ALL_LOCAL, 'len(places) == 3', 'places[0]["local_hits"] > 0', 'places[1]["local_hits"] > 0']),
    Case('local 0:0 2:1 1:0 3:1', {'THREAD_CACHE': '0'}, says=ALL_LOCAL),
    Case('local 0:0 2:1 1:0 3:1', {'MIN_SIZE': '4K', 'SHARDS': '1'}, says=ALL_LOCAL),
    Case('local 0:0 2:1', {'NUMA': 'local'}, says=[*ALL_LOCAL, 'len(places) == 2']),
    Case('follow 0:0 2:1 400', FAST, says=['followed >= 1', 'sum(p["remote_hits"] for p in places) == 0']),
    Case('remote 0:0 2:1 3000', says=REUSED),
    Case('remote 3:1 0:0 3000', says=REUSED),
    Case('policies 0:0 1', says=['forwarded == own_policy == 0', 'len(places) == 3'], huge='never'),
    Case('policies 3:1 0', says=['forwarded == own_policy == 0'], huge='never'),
    # What the program was started with holds for all of its memory.
    Case('local 0:1 2:1', under='numactl --membind=1', says=NO_PLACES),
    Case('local 0:1 2:1', under='numactl --preferred=1', says=NO_PLACES),
    Case('spread 0 0 1', under='numactl --interleave=all', says=NO_PLACES, huge='never'),
    Case('local 0:0 2:1', under='numactl --localalloc', says=ALL_LOCAL),
    Case('local 0:0 2:1', under='numactl --membind=0,1', says=ALL_LOCAL),
    Case('local 0:0 2:1', {'NUMA': 'local'}, under='numactl --interleave=all', says=ALL_LOCAL),
    Case('policies 0:0 1', under='numactl --membind=0,1', huge='never'),
    # Options.
    Case('local 0:1 2:1', {'NUMA': 'bind:1'}),
    Case('local 0:1 2:1', {'NUMA': 'preferred:1'}),
    Case('local 0:0 2:1', {'NUMA': 'bind:0-1'}, says=ALL_LOCAL),
    Case('spread 0 0 1', {'NUMA': 'interleave'}, huge='never'),
    Case('local 0:0', {'NUMA': 'off'}, says=NO_PLACES),
    Case('local 0:0 2:1', {'NUMA': 'bind:7'}, says=ALL_LOCAL, stderr=WRONG.format(7)),
    Case('local 0:0 2:1', {'NUMA': 'preferred:2'}, says=ALL_LOCAL, stderr=WRONG.format(2)),
    Case('local 0:0 2:1', {'NUMA': 'bind:'}, says=ALL_LOCAL, stderr=NOT_LIST.format('bind:', 'not a list of nodes')),
    Case('local 0:0 2:1', {'NUMA': 'bind:99'}, says=ALL_LOCAL, stderr=NOT_LIST.format('bind:99', 'out of range')),
    # A set of CPUs and nodes, before the program starts and while it runs.
    Case('local 2:1 3:1', before=CPUSET.format('one') + '; echo $$ >/sys/fs/cgroup/one/cgroup.procs', says=NO_PLACES),
    Case('narrow /sys/fs/cgroup/two/cgroup.procs 2:1', before=CPUSET.format('two'), says=['forwarded == 0', 'len(places) == 3']),
    # Memory before it is asked for.
    Case('prefilled 2:1 20', {**KEPT, 'PREFILL': '1M:20@1'}, says=[*PREFILLED, 'places[0]["local_hits"] == 0']),
    Case('prefilled 0:0 10', {**KEPT, 'PREFILL': '1M:20'}, says=PREFILLED),
    Case('prefilled 0:0 8', {**KEPT, 'PREFILL': '1M:8@0,1M:8@7'}, says=PREFILLED, stderr=CUT.format('1M:8@0,1M:8@7', 8, 16, NO_NODE)),
    Case('prefilled 2:1 80', {**KEPT, 'PREFILL': '1M:900@1', 'CACHE_BYTES': '2G'}, says=PREFILLED,
         stderr=CUT.format('1M:900@1', r'\d\d\d', 900, NO_MEMORY)),
    Case('prefilled 0:1 80', {**KEPT, 'PREFILL': '1M:900', 'CACHE_BYTES': '2G'}, under='numactl --membind=1',
         says=['fresh == 0'], stderr=CUT.format('1M:900', r'\d\d\d', 900, NO_MEMORY)),
    # Who is bound to a node has that much memory; what is cached of one size must not be in the way of the next.
    Case('sizes 0 300', KEPT, under='numactl --membind=1', says=['forwarded == 0', 'cache_limit_bytes < 130 << 20']),
    Case('sizes 0 300', {**KEPT, 'NUMA': 'bind:1'}, says=['forwarded == 0', 'cache_limit_bytes < 130 << 20']),
    # The reserved pool; bound to a node that has none of it, a program must not end.
    Case('local 2:1 0:0', {'HUGEPAGES': 'hugetlb'}, before=f'{RESERVE.format(0, 40)}; {RESERVE.format(1, 40)}',
         says=[*ALL_LOCAL, 'hugetlb_bytes > 0']),
    Case('local 0:1', {'HUGEPAGES': 'hugetlb', 'NUMA': 'preferred:1'}, says=['hugetlb_bytes > 0']),
    Case('local 0:1', {'HUGEPAGES': 'hugetlb', 'NUMA': 'bind:1'}, says=['hugetlb_bytes > 0']),
    Case('fill 0 40', {'HUGEPAGES': 'hugetlb', 'NUMA': 'bind:1'}, before=RESERVE.format(1, 0), says=['hugetlb_bytes > 0']),
    # More than the node has: 2 of 2.
    Case('fill 2 640', before=RESERVE.format(0, 0), says=['places[1]["fallbacks"] > 0', 'places[0]["fallbacks"] == 0', 'forwarded == 0']),
]

MACHINES = {
    'two': Machine(['-t', '2:1024,2:512'], TWO),
    'two-balancing': Machine(['-t', '2:1024,2:512', '-a', 'numa_balancing=enable'], TWO),
    # Node 3 has memory alone, and all are at different distances.
    'four': Machine(['-t', '2:768,2:512,2:512,0:512', '-d', '0-1=16,0-2=30,0-3=40,1-2=22,1-3=40,2-3=17'], [
        Case('local 0:0 2:1 4:2 1:0 3:1 5:2', says=[*ALL_LOCAL, 'len(places) == 5', 'places[3]["local_hits"] == 0']),
        Case('remote 0:0 4:2 2000', says=REUSED),
        Case('remote 5:2 2:1 2000', says=REUSED),
        Case('policies 0:0 3', says=['forwarded == own_policy == 0', 'places[3]["local_hits"] > 0'], huge='never'),
        Case('spread 4 0 1 2 3', under='numactl --interleave=all', says=NO_PLACES, huge='never'),
        Case('local 0:0 2:1 4:1', under='numactl --membind=0,1', says=ALL_LOCAL),
        Case('own 0 0,1 1,2 0,1', says=['forwarded == own_policy > 0'], huge='never'),
        Case('local 0:0 2:0 4:2', {'NUMA': 'bind:0,2'}, says=['sum(p["remote_hits"] for p in places) == 0']),
        Case('local 0:3 4:3', {'NUMA': 'preferred:3'}),
        Case('fill 4 640', says=['places[2]["fallbacks"] > 0', 'forwarded == 0']),
        Case('prefilled 0:0 6', {**KEPT, 'PREFILL': '1M:20,1M:3@3'}, says=[*PREFILLED, 'places[3]["cached_bytes"] >= 3 << 20']),
        # Of node 2, node 1 is nearer than node 0.
        Case('steal 4 560 0:0 2:1', KEPT, says=[
            'places[2]["stolen"] == places[2]["remote_hits"] == 20', 'places[2]["fallbacks"] > 0', 'forwarded == 0']),
    ]),
    # Node 1 has CPUs alone; node 2 is nearest to them.
    'cpu-only': Machine(['-t', '1:1024,2:0,1:768', '-d', '0-1=30,0-2=20,1-2=15'], [
        Case('local 0:0 1:2 2:2 3:2', says=[*ALL_LOCAL, 'len(places) == 3']),
        Case('remote 1:2 0:0 2000', says=REUSED),
        Case('local 0:0 1:2', {'NUMA': 'bind:1'}, says=ALL_LOCAL, stderr=WRONG.format(1)),
        Case('prefilled 1:2 4', {**KEPT, 'PREFILL': '1M:4@2,1M:4@1'}, says=PREFILLED, stderr=CUT.format('1M:4@2,1M:4@1', 4, 8, NO_NODE)),
    ]),
    'offline': Machine(
        ['-t', '2:1024,2:512,0:0', '-a', 'memhp_default_state=online_movable',
         '-q', '-m 1536,slots=2,maxmem=4G -object memory-backend-ram,id=hp,size=512M -device pc-dimm,memdev=hp,node=2'], [
        Case('local 0:0 2:1', says=[*ALL_LOCAL, 'len(places) == 4']),
        Case('offline 2', says=['forwarded == 0']),
        Case('local 0:0 2:1', says=[*ALL_LOCAL, 'len(places) == 3']),
    ]),
}
