# SPDX-License-Identifier: MIT
"""What is run under the preload library, and what must come of it. Read by `run`; the victims are in victims/."""

from dataclasses import dataclass, field

CHAINS = {  # the allocator below, when it is not the C library's
    'jemalloc': 'libjemalloc.so.2',
    'mimalloc': 'libmimalloc.so.2',
    'tcmalloc': 'libtcmalloc_minimal.so.4',
    'tbb': 'libtbbmalloc_proxy.so.2',
}


@dataclass
class Configuration:
    """A way to set bufpool up, under which whole groups of victims are run."""
    env: dict = field(default_factory=dict)  # names without BUFPOOL_
    chain: str = ''  # a key of CHAINS
    pools: bool = True  # large blocks must come from the pool


CONFIGURATIONS = {
    'plain': None,  # without bufpool: shows that the victims themselves are right
    'default': Configuration(),
    'small': Configuration({'MIN_SIZE': '4K'}),
    'bare': Configuration({'SHARDS': '1', 'THREAD_CACHE': '0'}),
    'narrow': Configuration({'SHARDS': '1', 'THREAD_CACHE': '1', 'SHARD_BUFFERS': '1', 'MIN_SIZE': '64K'}),
    'uncached': Configuration({'CACHE_BYTES': '0'}),
    'tight': Configuration({'CACHE_BYTES': '3M', 'MIN_SIZE': '32K'}),
    'capped': Configuration({'MAX_BYTES': '4M', 'MAX_SIZE': '2M'}),
    'paranoid': Configuration({'PARANOID': '1'}),
    'hardened': Configuration({'HARDEN': '1'}),
    'off': Configuration({'MODE': 'off'}, pools=False),
    'libc': Configuration({'UNDERLYING': 'libc'}, chain='jemalloc'),
    'jemalloc': Configuration({'UNDERLYING': 'jemalloc'}, chain='jemalloc'),
    'over-jemalloc': Configuration(chain='jemalloc'),
    'over-mimalloc': Configuration(chain='mimalloc'),
    'over-tcmalloc': Configuration(chain='tcmalloc'),
    'over-tbb': Configuration(chain='tbb'),
}


@dataclass
class Case:
    """One run of one victim. It must end with status 0, or by a signal, and with exactly the output given here."""
    command: str  # the victim and its arguments; {tmp} as below
    env: dict = field(default_factory=dict)  # names without BUFPOOL_; {tmp} is a folder of the run's own
    stdout: str = 'ok\n'
    stderr: list = field(default_factory=list)  # lines; '~' starts a pattern, '?' a pattern that may be missing; {pid}
    killed: str = ''  # the signal that must end it
    limit: str = ''  # RLIMIT_AS
    memory: str = ''  # limit of the memory cgroup in which it runs
    chain: str = ''  # a key of CHAINS, instead of the configuration's
    closed: bool = False  # start without stdin, stdout and stderr
    not_with: tuple = ()  # chains whose allocator breaks this promise by itself
    pools: bool = True  # asks for large blocks
    reports: int = 0  # how many reports must be written; 0: as many as there are
    files: str = ''  # pattern of the report's file name
    says: list = field(default_factory=list)  # expressions over the keys of the main process's report


# The groups that are repeated under every configuration.
GROUPS = {
    'contract': [
        Case('entry_points'),
        Case('zero_size'),
        Case('align', not_with=('mimalloc',)),
        Case('align_errors'),
        Case('align_errors memalign', not_with=tuple(CHAINS)),
        Case('overflow'),
        Case('errno_free'),
        Case('realloc_threshold'),
        Case('realloc_grow'),
        Case('realloc_zero', not_with=('mimalloc',)),
        Case('calloc_dirty 1'),
        Case('calloc_dirty 2'),
        Case('attributes lock_all', pools=False),
        Case('optional_frees'),
        Case('libc_growers'),
        Case('libc_private', not_with=tuple(CHAINS)),
        Case('malloc_info'),
        Case('new_delete'),
        Case('new_throws', not_with=('mimalloc', 'tbb')),
        Case('new_replaced', not_with=('tcmalloc',)),
        Case('new_replaced nothrow', not_with=('tcmalloc',)),
        Case('replay_family {corpus}/family', not_with=('mimalloc',)),
    ],
    'life': [
        Case('early', stderr=['?bufpool: BUFPOOL_UNDERLYING=libc: the program allocates before the C library has started, and another .*']),
        Case('dso_needed'),
        Case('dso_loaded'),
        Case('dso_loaded deep'),
        Case('loader'),
        Case('bump_needed', not_with=tuple(CHAINS)),
        Case('own_new', pools=False, says=['large_requests == 0'], not_with=tuple(CHAINS)),
        Case('watched', not_with=tuple(CHAINS)),
        Case('own_malloc', pools=False, says=['large_requests == 0', 'mode_reason in ("another malloc is asked first", "BUFPOOL_MODE")']),
        Case('tls_destructors'),
        Case('small_stack', not_with=tuple(CHAINS)),
        *(Case(f'leave {how}') for how in ('return', 'exit', 'quick_exit', '_exit', '_Exit', 'thread')),
        Case('closed_fds', closed=True, stdout=''),
        Case('exec'),
        Case('vfork_exec'),
        Case('spawn'),
        Case('fork_raw'),
        Case('fork_loop'),
        Case('fork_making', pools=False),
        Case('fork_handler', not_with=tuple(CHAINS)),
        Case('exit_handler', pools=False),
        Case('fork_streams', not_with=tuple(CHAINS)),
        Case('fork_threads', not_with=('mimalloc', 'tbb')),
        Case('family', reports=5),
    ],
    'threads': [
        Case('thread_churn'),
        Case('one_way'),
        Case('only_free'),
        Case('cancel'),
        Case('stress 1'),
    ],
    'limits': [
        *(Case(f'filtered {when}', {'STATS': '0', **more}, pools=False) for when in ('used', 'fresh') for more in ({}, {'PIN': '1'})),
        *(Case(f'maps_full {more} {when}', stderr=['?bufpool: .*'], pools=False) for more in (10, 100) for when in ('used', 'fresh')),
        Case('maps_kept', stderr=['?bufpool: .*'], pools=False),
        Case('limit_below', pools=False),
        Case('limit_below unseen', pools=False),
        Case('limit_during', stderr=['?bufpool: .*'], pools=False),
        Case('limit_during data', says=['forwarded == 0']),
        *(Case(f'locked {when}', stderr=['?bufpool: .*'], pools=False) for when in ('before', 'after', 'both', 'root')),
        Case('locked refused'),
        *(Case(f'exhaustion', limit=limit, stderr=['?bufpool: .*'], pools=False) for limit in ('128M', '1G', '6G')),
        *(
            Case(f'fill {share * mib // 100} {size}', limit=f'{mib}M', stderr=['?bufpool: .*'], pools=False)
            for mib in (64, 256, 1024, 4096)
            for share in (50, 85)
            for size in (150, 1024)
        ),
    ],
    'attributes': [
        Case(f'attributes {deed}')
        for deed in (
            'protect', 'protect_key', 'readonly', 'unmap', 'move_away', 'ring', 'shared', 'lock', 'lock_touched', 'lock_nothing', 'bind', 'tonode', 'guard',
            'dontfork', 'wipeonfork', 'dontdump', 'hugepage', 'nohugepage', 'mergeable', 'sequential', 'random', 'posix_random',
            'by_process', 'name', 'userfault',
        )
    ] + [
        Case('spliced'),
        *(Case(f'attributes {deed} grow', says=['realloc_copied_changed == 6', 'realloc_moved == 0'])
          for deed in ('lock', 'bind', 'dontfork', 'nohugepage', 'mergeable')),
        Case('attributes hugepage grow', says=['realloc_copied + realloc_moved == 6', 'realloc_copied_changed == 0']),
    ],
    # By raw system calls: only for a pool that looks. What smaps does not show is not among them.
    'unseen': [
        *(
            Case(f'attributes {deed} raw', says=['unseen == renewed >= 6', 'lost == 0'])
            for deed in ('protect', 'readonly', 'unmap', 'move_away', 'ring', 'lock', 'dontfork', 'wipeonfork', 'dontdump', 'nohugepage', 'random')
        ),
        Case('attributes lock', says=['renewed >= 6', 'unseen == 0']),
        Case('workload', says=['large_requests > 100', 'renewed == unseen == 0']),
        Case('stress 1', says=['unseen == 0']),
    ],
    'stress': [Case(f'stress {seed} 6000') for seed in (2, 3, 4)],
    'long': [Case('thread_churn 100000'), *(Case(f'stress {seed} 6000') for seed in range(10, 40))],
}

# What is said about a bad value.
USING = 'accepted: 4K..1G; using 64K'
NOT_SIZE = 'bufpool: BUFPOOL_MIN_SIZE={}: not a size; ' + USING
RANGE = 'bufpool: BUFPOOL_MIN_SIZE={}: out of range; ' + USING
UNKNOWN = 'bufpool: BUFPOOL_{}: unknown variable, ignored; BUFPOOL_HELP=1 lists the known ones'
NO_JEMALLOC = ('bufpool: BUFPOOL_UNDERLYING=jemalloc: it is not in this process and cannot be loaded later (static TLS); start with '
               'LD_PRELOAD="libbufpool_preload.so libjemalloc.so.2"; using next')
CANNOT_OPEN = r'~bufpool: BUFPOOL_STATS_FILE={}: cannot open \((.* directory|.*errno \d+.*|Is a .*)\); no report written'

# 135 of the work, 2 that stay; see victims/workload.c.
WORKLOAD = [
    'large_requests == 137',
    'forwarded == oversize == over_budget == 0',
    'thread_cache_hits >= 99 + 4 + 19',  # each size of a loop that holds one block, but for its first
    'fresh <= 1 + 10 + 1 + 1 + 1',
    '2 * MIB <= live_bytes < 8 * MIB',  # slots of larger classes may be lent to them
    '32 * MIB > peak_live_bytes >= 30 * MIB',
    'cached_bytes <= peak_cached_bytes <= 64 * MIB',
]
SMALL_MIN = {'MIN_SIZE': '64K'}
IN_FILE = {'STATS': 'json', 'STATS_FILE': '{tmp}/report.json'}
FAST = {'DECAY_MS': '300'}
END_IN_TEXT = {'STATS': 'text'}
TEXT_REPORT = ['~bufpool: report of [a-z]+, pid \\d+, mode pool'] + ['~bufpool: (?!report).*'] * 7 + ['?bufpool: (?!report).*'] * 20
ASKED_TEXT = [TEXT_REPORT[0] + ', on signal', *TEXT_REPORT[1:]]
NO_RESERVE = r'bufpool: BUFPOOL_HUGEPAGES=hugetlb: the reserved pool \(vm.nr_hugepages\) has no more; using ordinary pages'
NOT_PINNED = 'bufpool: BUFPOOL_PIN=1: RLIMIT_MEMLOCK ({}) allows no more; memory beyond that stays unpinned'
NOT_LIST = 'bufpool: BUFPOOL_PREFILL={}: not a list of sizes and numbers; accepted: a list such as 1M:64,256K:8@1; using none'
NOT_SIGNAL = ('bufpool: BUFPOOL_STATS_SIGNAL={}: not a signal that can be used so; accepted: a name or number such as USR2, SIGUSR2, 12 or '
              'RTMIN+3, and perhaps ,trim; using none')

WARN = {'ON_ERROR': 'warn'}
AT = '0x[0-9a-f]+'
LARGE = r'\(class [12]M, pid {pid}\)'  # 2M: hardened, with a guard that is a page of 64 KiB
FREED = f'a block that is free already {LARGE}'
WITHIN = f'bytes into the block of 1000000 bytes at {AT} {LARGE}'
# A deed of victims/misuse.c, and what is said of it.
MISUSES = [
    ('free_twice', rf'~bufpool: free\({AT}\): {FREED}'),
    ('free_twice_elsewhere', rf'~bufpool: free\({AT}\): {FREED}'),
    ('free_inside', rf'~bufpool: free\({AT}\): 4096 {WITHIN}'),
    ('free_unaligned', rf'~bufpool: free\({AT}\): unaligned, 1 {WITHIN}'),
    ('free_inside_freed', rf'~bufpool: free\({AT}\): inside a block that is free {LARGE}'),
    ('free_nowhere', rf'~bufpool: free\({AT}\): no block was ever there \(pid {{pid}}\)'),
    ('realloc_freed', rf'~bufpool: realloc\({AT}\): {FREED}'),
    ('reallocarray_inside', rf'~bufpool: realloc\({AT}\): 64 {WITHIN}'),
    ('measure_freed', rf'~bufpool: malloc_usable_size\({AT}\): {FREED}'),
    ('free_sized_wrong', rf'~bufpool: free_sized\({AT}\): as 16 bytes, but it is a block of 1000000 bytes {LARGE}'),
    ('free_aligned_sized_wrong', rf'~bufpool: free_aligned_sized\({AT}\): as 1000000 bytes aligned to 1073741824, but .* {LARGE}'),
]
DELETES = [
    ('plain', r'operator delete\(.*\): as 8 bytes, but it is a block of 2097160 bytes'),
    ('array', r'operator delete\[\]\(.*\): as 4194304 bytes, but it is a block of 5242880 bytes'),
    ('aligned', r'operator delete\(.*\): as 4096 bytes aligned to 4096, but it is a block of 2101248 bytes'),
]

# The groups that bring their own configurations.
SPECIAL = {
    'options': [
        *(
            Case('workload', {'MIN_SIZE': bad}, stderr=[NOT_SIZE.format(bad)])
            for bad in ('abc', '-1', '128KK', '1.5M', '0x10000', '64 K', 'K', '10%%')
        ),
        *(Case('workload', {'MIN_SIZE': bad}, stderr=[RANGE.format(bad)]) for bad in ('2', '0', '4095', '2G', '9999T')),
        Case('workload', {'MIN_SIZE': '99999999999999999999999G'}, stderr=['~bufpool: BUFPOOL_MIN_SIZE=9+G: not a size; ' + USING]),
        Case('workload', {'MODE': 'foo'}, stderr=['bufpool: BUFPOOL_MODE=foo: not a known word; accepted: pool|off; using pool']),
        Case('workload', {'UNDERLYING': 'x'}, stderr=['bufpool: BUFPOOL_UNDERLYING=x: not a known word; accepted: next|libc|jemalloc; using next']),
        Case('workload', {'STATS': 'yes'}, stderr=['bufpool: BUFPOOL_STATS=yes: not a known word; accepted: 0|text|json; using 0']),
        Case('workload', {'EVICTION': 'lru'}, stderr=['~bufpool: BUFPOOL_EVICTION=lru: not a known word; accepted: .*; using auto']),
        Case('workload', {'SHARDS': '256'}, stderr=['~bufpool: BUFPOOL_SHARDS=256: out of range; accepted: .*; using .*']),
        Case('workload', {'SHARDS': 'many'}, stderr=['~bufpool: BUFPOOL_SHARDS=many: not a .*; accepted: .*; using .*']),
        Case('workload', {'THREAD_CACHE': '65'}, stderr=['~bufpool: BUFPOOL_THREAD_CACHE=65: out of range; accepted: 0..64; using .*']),
        Case('workload', {'CACHE_BYTES': '200%'}, stderr=['~bufpool: BUFPOOL_CACHE_BYTES=200%: .*; accepted: .*; using .*']),
        Case('workload', {'MAX_BYTES': 'lots'}, stderr=['~bufpool: BUFPOOL_MAX_BYTES=lots: not a size; accepted: .*; using .*']),
        *(Case('workload', {'NUMA': bad}, stderr=[f'~bufpool: BUFPOOL_NUMA={bad}: .*; accepted: auto[|]off[|].*; using auto'])
          for bad in ('bind', 'bind:', 'preferred:0,1', 'bind:64')),
        Case('workload', {'NUMA': 'bind:0,63'}, stderr=['bufpool: BUFPOOL_NUMA: node 63 has no memory for this process; using auto']),
        Case('workload', {'FOO': '1'}, stderr=[UNKNOWN.format('FOO')]),
        Case('workload', {'': '1'}, stderr=[UNKNOWN.format('')]),
        Case('workload', {'MIN_SIZE': '2', 'MODE': 'foo', 'BAR': ''}, stderr=['~bufpool: BUFPOOL_(MIN_SIZE|MODE|BAR)[=:].*'] * 3),
        Case('workload', {'MIN_SIZE': 'x' * 5000}, stderr=['~bufpool: BUFPOOL_MIN_SIZE=x+: not a size; ' + USING]),
        Case('workload', {'MODE': 'x\ny\x1b[1m'}, stderr=['bufpool: BUFPOOL_MODE=x?y?[1m: not a known word; accepted: pool|off; using pool']),
        Case('idle', {'MODE': 'foo'}, stderr=['~bufpool: BUFPOOL_MODE=foo: .*'], pools=False),
        Case('idle', {'HELP': '1'}, stderr=['~bufpool: .*'] * 16 + ['?bufpool: .*'] * 60, pools=False),
        Case('idle', {'HELP': '1', 'STATS': '0'},
             stderr=['?bufpool: .*', '~bufpool: +BUFPOOL_MODE .*', '?bufpool: .*', '~bufpool: +BUFPOOL_MIN_SIZE .*'] + ['?bufpool: .*'] * 80, pools=False),
        Case('workload', {'VERBOSE': '1'}, stderr=['?bufpool: .*'] * 40),
        # Who serves what is small.
        Case('underlying libc'),
        Case('underlying libc', {'UNDERLYING': 'libc'}),
        Case('underlying libc', {'UNDERLYING': 'jemalloc'}, stderr=[NO_JEMALLOC]),
        Case('underlying other', {'UNDERLYING': 'jemalloc'}, stderr=[NO_JEMALLOC], chain='mimalloc'),
        *(Case('underlying libc', {'UNDERLYING': 'libc'}, chain=chain) for chain in CHAINS),
        *(Case('underlying other', {'UNDERLYING': word}, chain='jemalloc') for word in ('next', 'jemalloc')),
        # Good values say nothing.
        *(
            Case('workload', {name: value})
            for name, value in [
                ('MIN_SIZE', '4K'), ('MIN_SIZE', '131072'), ('MIN_SIZE', '1M'), ('MAX_SIZE', '1G'), ('MAX_SIZE', '16G'),
                ('SHARDS', '0'), ('SHARDS', '3'), ('SHARDS', '128'), ('THREAD_CACHE', '64'), ('THREAD_CACHE_BYTES', '16M'), ('SHARD_BUFFERS', '2'),
                ('CACHE_BYTES', '10%'), ('CACHE_BYTES', '1G'), ('MAX_BYTES', '50%'), ('MAX_BYTES', '0'), ('UNDERLYING', 'next'),
                ('VERBOSE', '0'), ('HELP', '0'), ('NUMA', 'off'), ('NUMA', 'local'), ('NUMA', 'interleave'), ('NUMA', 'preferred:0'),
                ('NUMA', 'bind:0'),
            ]
        ),
        Case('workload', {'CACHE_BYTES': '0', 'THREAD_CACHE': '0'}, says=['cached_bytes == 0']),
        Case('workload', {'MAX_BYTES': '4M', 'CACHE_BYTES': '5M'}, says=['peak_footprint_bytes <= 4 * MIB == cache_limit_bytes'],
             stderr=['bufpool: BUFPOOL_CACHE_BYTES (5M) is above BUFPOOL_MAX_BYTES (4M): the lower one holds']),
        Case('workload', {'CACHE_BYTES': '1M', 'THREAD_CACHE_BYTES': '2M'}, says=['peak_cached_bytes <= MIB'],
             stderr=['bufpool: BUFPOOL_THREAD_CACHE_BYTES (2M) is above BUFPOOL_CACHE_BYTES (1M): the lower one holds']),
        Case('workload', {'MAX_BYTES': '32K'}, pools=False,
             stderr=['bufpool: BUFPOOL_MAX_BYTES (32K) is below BUFPOOL_MIN_SIZE (64K): no request is served from the pool']),
        Case('workload', {'MIN_SIZE': '1M', 'MAX_SIZE': '1000K'}, pools=False,
             says=['mode == "off"', 'mode_reason == "BUFPOOL_MIN_SIZE is above BUFPOOL_MAX_SIZE"'],
             stderr=['bufpool: BUFPOOL_MIN_SIZE (1M) is above BUFPOOL_MAX_SIZE (1000K): no request is served from the pool']),
        Case('blind'),
        Case('workload', {'MODE': 'off'}, pools=False, says=['mode == "off"']),
        # Which programs: patterns of the program's name.
        *(Case('workload', {'ONLY': only}) for only in ('workload', 'foo,work*', '*', 'workloa?')),
        *(Case('workload', {'ONLY': only}, pools=False, files='none') for only in ('foo', 'work', 'workload2,*x')),
        *(Case('workload', {'SKIP': skip}) for skip in ('foo', 'work', 'foo,bar*')),
        *(Case('workload', {'SKIP': skip}, pools=False, files='none') for skip in ('workload', 'foo,*load')),
        Case('workload', {'ONLY': 'work*', 'SKIP': '*load'}, pools=False, files='none'),
    ],
    # What is written or read where nothing may be stops the program, there and then if there is a page of its own for that.
    'harden': [
        *(Case(f'overrun {deed}', stdout='', killed='SIGSEGV')
          for deed in ('write_behind', 'read_behind', 'far_before', 'use_after_free', 'realloc_away', 'options')),
        *(Case(f'overrun {deed}', stdout='', stderr=[rf'~bufpool: {call}\({AT}\): something was written behind the block of 1000001 bytes '
               + LARGE], killed='SIGABRT')
          for deed, call in (('between', 'free'), ('between_realloc', 'realloc'))),
        Case('overrun between', WARN, stderr=[f'~bufpool: free\\({AT}\\): something was written .*'], says=['misuses == 1']),
        Case('overrun nothing', says=['mode == "hardened"', 'hit_rate == 0', 'misuses == 0', 'renewed == large_requests', 'cached_bytes == live_bytes == 0']),
        Case('many_guarded'),
        *(Case('overrun nothing', asked, stderr=['bufpool: BUFPOOL_HARDEN recycles nothing, page by page: BUFPOOL_PREFILL and '
               'BUFPOOL_HUGEPAGES are ignored'], says=['renewed == large_requests', 'prefilled_bytes == 0'])
          for asked in ({'PREFILL': '1M:2'}, {'HUGEPAGES': 'hugetlb'})),
        Case('overrun nothing', {'PIN': '1'}, says=['renewed == large_requests']),
        *(Case(f'overrun {deed}', {'PIN': '1', 'SCRUB': 'free', 'PARANOID': '1'}, stdout='', killed='SIGSEGV')
          for deed in ('write_behind', 'use_after_free')),
        *(Case(f'misuse {deed} 1', stdout='', stderr=[line], killed='SIGABRT') for deed, line in MISUSES),
        Case('misuse_sized right', says=['misuses == 0']),
    ],
    'devices': [
        Case('devices auto', says=['mode == "forward"', 'mode_reason == "libibverbs.so.1"', 'renewed >= 1', 'large_requests == 5']),
        Case('devices auto', {'STATS': 'text'}, stderr=[TEXT_REPORT[0].replace('mode pool', r'mode forward \(libibverbs.so.1\)'), *TEXT_REPORT[1:]]),
        Case('devices pool', {'DEVICES': 'pool'}, says=['mode == "pool"', 'mode_reason == ""', 'renewed == 0', 'trimmed_bytes > 0']),
        *(Case(f'devices_held {deed}', {'DEVICES': devices, 'SHARD_BUFFERS': '1'}, says=['large_requests > 0'])
          for deed in ('lock', 'data', 'drain', 'slack', 'fork') for devices in ('auto', 'pool')),
        Case('devices_held_needed slack', {'DEVICES': 'pool'}, says=['large_requests > 0']),
        Case('devices_needed', pools=False, says=['mode == "forward"', 'mode_reason == "libibverbs.so.1"', 'large_requests == 0']),
        Case('devices_needed', {'DEVICES': 'pool'}, says=['mode == "pool"', *WORKLOAD]),
        Case('devices_needed', {'MODE': 'off'}, pools=False, says=['mode == "off"', 'mode_reason == "BUFPOOL_MODE"']),
    ],
    # A burst of 8 x 32 MiB, or a thousand threads that free one MiB each and sleep. What the program itself needs is below
    # 10 MiB (thread stacks: 16), so little more than 5 % may be left.
    'container': [  # with a limit 1.3 times what is live
        Case('crowded 100 20', memory='130M'),
        Case('crowded 100 20', {'THREAD_CACHE': '0'}, memory='130M'),
        Case('crowded 100 20', {'CACHE_BYTES': '1G', 'DECAY_MS': '0'}, memory='130M'),
        Case('crowded 100 20', {'BACKGROUND': '1'}, memory='130M'),
        Case('crowded 400 5', memory='520M'),
        Case('leftovers 50 10 free', memory='700M', says=['slack_bytes >= 100 * MIB']),
        Case('leftovers 25 24 realloc', memory='700M', says=['slack_bytes >= 50 * MIB']),
        *(Case('limit_moves 120 32', env, memory='400M', says=['evicted_bytes >= 10 * MIB', 'cached_bytes <= 30 * MIB'])
          for env in ({}, {'DECAY_MS': '0'}, {'DECAY_MS': '3600000', 'PRESSURE': 'off'})),
    ],
    'budget': [  # what the kernel counts; the slack is a buffer a CPU
        Case('budget 72 1000 100', {'CACHE_BYTES': '64M', 'DECAY_MS': '0'}, says=['peak_cached_bytes <= 64 * MIB', 'peak_live_bytes >= 200 * MIB']),
        Case('budget 72 1000 100', {'CACHE_BYTES': '64M', 'DECAY_MS': '0', 'THREAD_CACHE': '0'}, says=['peak_cached_bytes <= 64 * MIB']),
        *(Case('budget 72 1000 100', {'CACHE_BYTES': '64M', 'DECAY_MS': '0', 'THREAD_CACHE': '0', 'EVICTION': policy}, says=['peak_cached_bytes <= 64 * MIB'])
          for policy in ('lifo', 'clockpro')),
        Case('budget 72 204 100', {'CACHE_BYTES': '64M', 'MAX_BYTES': '200M', 'DECAY_MS': '0'}, says=['forwarded > 0']),
        Case('budget 8 1000 10', {'CACHE_BYTES': '0'}, says=['peak_cached_bytes == 0']),
    ],
    'scan': [  # one 2 GiB buffer, in a cache that has room for it or not: see victims/scan.c
        *(Case(f'scan {when} 3000', {'CACHE_BYTES': cache, 'DECAY_MS': '400', 'EVICTION': policy}, says=[f'{gone} >= 1500 * MIB'])
          for when in ('free', 'live') for cache, gone in (('1G', 'dropped_bytes'), ('4G', 'decayed_bytes')) for policy in ('auto', 'lifo', 'clockpro')),
        Case('scan free 0', {'CACHE_BYTES': '140M', 'DECAY_MS': '0'}, says=['dropped_bytes >= 1500 * MIB']),
    ],
    'pressure': [
        *(Case(f'pressure {how} {{tmp}}/watch', {'BACKGROUND': '1', 'DECAY_MS': '60000'},
               says=['pressure_events >= 1', 'pressure_bytes >= 50 * MIB']) for how in ('fifo', 'socket', 'closed')),
        Case('pressure nothing {tmp}/watch', {'BACKGROUND': '1', 'DECAY_MS': '60000'},
             stderr=[r'~bufpool: MEMORY_PRESSURE_WATCH=/.*/watch: cannot be watched \(No such file or directory\)']),
        Case('pressure nothing {tmp}/watch', {'DECAY_MS': '60000'}),
        Case('pressure nothing /dev/null', {'BACKGROUND': '1', 'DECAY_MS': '60000'}, says=['pressure_events == 0']),
        Case('pressure nothing {tmp}/watch', {'BACKGROUND': '1', 'DECAY_MS': '60000', 'PRESSURE': 'off'}, says=['pressure_events == 0']),
        Case('pressure eof {tmp}/watch', {'BACKGROUND': '1', 'DECAY_MS': '60000'}),
    ],
    'decay': [
        Case('decay small 20', FAST, says=['decayed_bytes >= 100 * MIB', 'sweeps >= 1']),
        *(Case(f'decay {how} 20', FAST, says=['decayed_bytes >= 100 * MIB']) for how in ('calloc', 'realloc')),
        Case('decay small 20', {**FAST, 'THREAD_CACHE': '0'}, says=['decayed_bytes >= 100 * MIB']),
        Case('decay vanished 20', FAST, says=['decayed_bytes >= 100 * MIB', 'drained_caches >= 8']),
        Case('decay large 24', FAST, says=['decayed_bytes >= 100 * MIB']),
        Case('decay sleep 20', {**FAST, 'BACKGROUND': '1'}, says=['decayed_bytes >= 100 * MIB']),
        # 2 GiB: two decay periods are all the time that the victim waits.
        Case('decay small 112 0 8', {'DECAY_MS': '1500', 'CACHE_BYTES': '4G'}, says=['peak_cached_bytes >= 2000 * MIB']),
        Case('decay sleep 112 0 8', {'DECAY_MS': '1500', 'CACHE_BYTES': '4G', 'BACKGROUND': '1'}, says=['peak_cached_bytes >= 2000 * MIB']),
        Case('decay small 70 1000', {**FAST, 'CACHE_BYTES': '2G'}, says=['decayed_bytes >= 400 * MIB']),
        Case('decay sleep 70 1000', {**FAST, 'CACHE_BYTES': '2G', 'BACKGROUND': '1'}, says=['decayed_bytes >= 400 * MIB']),
        Case('decay sleep 120 1000', {'CACHE_BYTES': '50M', 'DECAY_MS': '0'}, says=['peak_cached_bytes <= 50 * MIB', 'decayed_bytes == 0']),
        Case('decay sleep 1000', {'DECAY_MS': '0'}, says=['decayed_bytes == 0', 'sweeps == 0', 'cached_bytes >= 100 * MIB']),
        *(Case(f'slack {how}', env, says=['slack_bytes >= 100 * MIB'])
          for how, env in (('small 20 8', FAST), ('small 160 1', FAST), ('sleep 20 8', {**FAST, 'BACKGROUND': '1'}),
                           ('small 20 8', {**FAST, 'THREAD_CACHE': '0'}), ('shrink 20 8', FAST), ('calloc 400 1', {}))),
        Case('decay forked 20', {'FORK': 'drop'}),
        Case('decay forked 20', {}),
        Case('decay forked 1000', {'FORK': 'keep'}),
        Case('fork_threads', {**FAST, 'BACKGROUND': '1'}),
        Case('fork_loop', {**FAST, 'BACKGROUND': '1'}),
        Case('stress 5', {'DECAY_MS': '4', 'BACKGROUND': '1'}),
        Case('stress 6', {'DECAY_MS': '4', 'MIN_SIZE': '4K'}),
        Case('thread_churn', {'DECAY_MS': '4', 'BACKGROUND': '1'}),
        *(Case(f'leave {how}', {**FAST, 'BACKGROUND': '1'}) for how in ('return', 'quick_exit', '_exit', 'thread')),
    ],
    # Stopped at once, or told once of each kind and let go on.
    'misuse': [
        *(Case(f'misuse {deed} 1', stdout='', stderr=[line], killed='SIGABRT') for deed, line in MISUSES),
        *(Case(f'misuse {deed} 3', WARN, stderr=[line], says=['misuses >= 3']) for deed, line in MISUSES),
        Case('misuse all 2', WARN, stderr=[MISUSES[i][1] for i in (0, 2, 4, 5, 9)], says=['misuses == 2 * (9 + 2 + 2)']),
        Case('misuse nothing 3', says=['misuses == 0']),
        Case('misuse free_twice 1', {**WARN, 'DECAY_MS': '0', 'THREAD_CACHE': '0'}, stderr=[MISUSES[0][1]]),
        *(Case(f'misuse_sized {how}', stdout='', stderr=[f'~bufpool: {line} .*pid {{pid}}\\)'], killed='SIGABRT') for how, line in DELETES),
        *(Case(f'misuse_sized {how}', WARN, stderr=[f'~bufpool: {line} .*pid {{pid}}\\)'], says=['misuses == 1']) for how, line in DELETES),
        Case('misuse_sized right', says=['misuses == 0']),
    ],
    # Answered at the first request after the signal, so without the 12 MiB that come later.
    'memory': [
        *(Case(f'asked {how}', {'STATS_SIGNAL': signal}, reports=2,
               says=['reason == "signal"', '5 * MIB <= live_bytes < 12 * MIB', 'all(c["size_bytes"] < 16 * MIB for c in classes)'])
          for how, signal in [('small', 'USR2'), ('small', 'SIGUSR2'), ('small', '12'), ('large', 'USR2'), ('chained', 'USR2')]),
        Case('asked small', {'STATS_SIGNAL': 'USR2', 'DECAY_MS': '0'}, reports=2, says=['reason == "signal"', 'cached_bytes >= 30 * MIB']),
        Case('asked hit', {'STATS_SIGNAL': 'USR2'}, reports=2, says=['reason == "signal"', 'thread_cache_hits == 0', 'cached_bytes >= 30 * MIB']),
        Case('asked sleep', {**FAST, 'STATS_SIGNAL': 'USR2', 'BACKGROUND': '1'}, reports=2, says=['reason == "signal"']),
        Case('asked fork', {'STATS_SIGNAL': 'USR2'}, reports=3, says=['reason == "signal"']),
        Case('asked cancelled', {'STATS_SIGNAL': 'USR2'}, reports=2, says=['reason == "signal"']),
        Case('asked own', {'STATS_SIGNAL': 'USR2'}, reports=1, says=['reason == "end"', 'trimmed_bytes == 0']),
        Case('asked storm', {'STATS_SIGNAL': 'USR2,trim'}, says=['reason == "signal"']),
        Case('asked storm', {'STATS_SIGNAL': 'USR2,trim', 'MIN_SIZE': '4K', 'DECAY_MS': '4', 'BACKGROUND': '1'}, says=['reason == "signal"']),
        Case('asked small', {'STATS_SIGNAL': 'USR2,trim', **END_IN_TEXT}, stderr=ASKED_TEXT + TEXT_REPORT, reports=0),
        Case('asked small', {'STATS_SIGNAL': 'USR2', 'STATS': '0'}, stderr=ASKED_TEXT),
        Case('idle', {'STATS_SIGNAL': 'RTMIN+3'}, pools=False, reports=1),
        *(Case('secrets', {'SCRUB': scrub, **env}, says=['scrubbed_bytes > 100 * MIB', 'thread_cache_hits == 0'])
          for scrub in ('free', 'alloc')
          for env in ({}, {'DECAY_MS': '4', 'BACKGROUND': '1'}, {'CACHE_BYTES': '3M'}, {'FORK': 'keep', 'SHARDS': '1'})),
        *(Case('stress 7', {'SCRUB': scrub}) for scrub in ('free', 'alloc')),
        *(Case(f'attributes {deed}', {'SCRUB': scrub}, pools=False) for scrub in ('free', 'alloc') for deed in ('protect', 'readonly', 'unmap', 'ring', 'lock')),
        Case('calloc_dirty 2', {'SCRUB': 'free'}, says=['calloc_bytes_zeroed == 0']),
        # Made before the program asks: without a fault, and in every program.
        Case('prefilled 16', {'PREFILL': '4M:16,1M:64'}, says=['prefilled_bytes >= 128 * MIB', 'fresh == 0', '128 * MIB <= resident_bytes <= footprint_bytes + MIB']),
        Case('prefilled 16', {'PREFILL': '4M:16', 'SCRUB': 'free'}, says=['prefilled_bytes >= 64 * MIB', 'fresh == 0']),
        Case('prefilled 2', {'PREFILL': '4M:16', 'CACHE_BYTES': '9M'}, says=['0 < prefilled_bytes <= 9 * MIB'],
             stderr=['bufpool: BUFPOOL_PREFILL=4M:16: made 2 of 16 buffers: BUFPOOL_CACHE_BYTES allows no more']),
        Case('idle', {'PREFILL': '4M:3'}, pools=False, says=['large_requests == 0', 'cached_bytes >= 12 * MIB']),
        Case('decay small 20', {**FAST, 'PREFILL': '1M:100'}, says=['decayed_bytes >= 200 * MIB']),
        Case('family', {'PREFILL': '1M:3', 'STATS': 'json', 'STATS_FILE': '{tmp}/%p.json'}, reports=5),
        Case('idle', {'PREFILL': '4M'}, pools=False, stderr=[NOT_LIST.format('4M')]),
        Case('idle', {'PREFILL': '4M:1@'}, pools=False, stderr=[NOT_LIST.format('4M:1@')]),
        Case('prefilled 2', {'PREFILL': '4M:16@0'}, says=['prefilled_bytes >= 64 * MIB']),
        Case('idle', {'PREFILL': '4M:3@0,4M:7@63'}, pools=False, says=['cached_bytes >= 12 * MIB'],
             stderr=['bufpool: BUFPOOL_PREFILL=4M:3@0,4M:7@63: made 3 of 10 buffers: no memory is kept apart for the node']),
        Case('idle', {'PREFILL': '1M:2,4M:x'}, pools=False, stderr=[NOT_LIST.format('1M:2,4M:x')]),
        # As the system is set up at the moment.
        *(Case(f'huge {mode}', {'HUGEPAGES': mode}, says=['resident_bytes <= footprint_bytes + MIB']) for mode in ('inherit', 'off', 'on')),
        Case('huge hugetlb', {'HUGEPAGES': 'hugetlb'}, stderr=['?' + NO_RESERVE]),
        Case('stress 9', {'HUGEPAGES': 'on'}),
        Case('stress 9', {'HUGEPAGES': 'on', 'PIN': '1', 'PARANOID': '20'}, says=['unseen == 0'],
             stderr=['?' + NOT_PINNED.replace('({})', '.*')]),
        Case('stress 9', {'HUGEPAGES': 'on', 'PIN': '1', 'SCRUB': 'free'}, stderr=['?' + NOT_PINNED.replace('({})', '.*')]),
        *(Case(f'attributes {deed}', {'HUGEPAGES': 'on'}, pools=False) for deed in ('protect', 'unmap', 'ring', 'hugepage')),
        # Locked as far as the limit goes, and not for ever.
        Case('pinned any', {**FAST, 'PIN': '1'}, says=['pins_refused == 0', 'decayed_bytes >= 2 * MIB']),
        Case('pinned some', {**FAST, 'PIN': '1'}, stderr=[NOT_PINNED.format('2M')], says=['pins_refused > 0', '0 < pinned_bytes <= 2 * MIB']),
        Case('pinned none', {**FAST, 'PIN': '1'}, stderr=[NOT_PINNED.format('0')], says=['pins_refused > 0', 'pinned_bytes == 0']),
        Case('prefilled 1', {'PREFILL': '4M:1', 'PIN': '1'}, says=['pinned_bytes >= 4 * MIB']),
        Case('resize', {'PIN': '1', 'MIN_SIZE': '4K'}, says=['realloc_moved == 0', 'exchanged_bytes == 0']),
        Case('stress 8', {'PIN': '1', 'DECAY_MS': '4', 'BACKGROUND': '1'}),
        Case('attributes lock_all', {'PIN': '1'}, pools=False),
        *(Case('idle', {'STATS_SIGNAL': bad}, pools=False, stderr=[NOT_SIGNAL.format(bad)])
          for bad in ('x', '0', '65', '-3', 'KILL', 'SIGSEGV', '19', 'RTMIN-1', 'RTMAX+1', 'RTMIN+40', 'USR2,', 'USR2,trimm', ',trim', 'USR')),
    ],
    'report': [
        *(Case(f'workload {how}', SMALL_MIN, reports=1, says=WORKLOAD) for how in ('return', 'exit', 'quick_exit', '_exit', '_Exit', 'pthread_exit')),
        Case('workload exit', {**SMALL_MIN, 'THREAD_CACHE': '0'}, says=['thread_cache_hits == 0', 'shard_hits >= 122', 'fresh <= 14']),
        Case('workload exit', {**SMALL_MIN, 'CACHE_BYTES': '0'}, says=['large_requests == 137', 'hit_rate == 0', 'fresh == 137', 'peak_cached_bytes == 0']),
        Case('workload exit', {**SMALL_MIN, 'MAX_SIZE': '2M'}, says=['large_requests == 137', 'forwarded == oversize == 10']),
        Case('workload exit', {**SMALL_MIN, 'MAX_BYTES': '10M'},
             says=['large_requests == 137', 'forwarded == over_budget >= 6', 'peak_live_bytes <= 10 * MIB']),
        Case('workload exit', {'MIN_SIZE': '2M'}, says=['large_requests == 10', 'len(classes) == 1', 'classes[0]["size_bytes"] >= 3 * MIB']),
        Case('workload exit 4', SMALL_MIN, says=['large_requests == 4 * 135 + 2', 'threads >= 4', 'fresh < 56', 'live_bytes < 8 * MIB']),
        Case('workload exit', {'MIN_SIZE': '8M'}, pools=False, says=['large_requests == 0', 'hit_rate == 0', 'classes == []', 'live_bytes == 0']),
        Case('idle', {}, pools=False, says=['large_requests == 0', 'cached_bytes == 0', 'mode_reason == ""']),
        Case('no_pie', says=['mode_reason == ""', 'large_requests == 1']),
        Case('own_malloc', {'VERBOSE': '1'}, stderr=['bufpool: in own_malloc another malloc is asked first'], pools=False),
        Case('workload', limit='50M', pools=False, says=['mode == "forward"', 'mode_reason == "no address space"', 'large_requests == 0'],
             stderr=['bufpool: no address space for a pool (ulimit -v?): every request is forwarded']),
        Case('first_together', says=['large_requests == 16']),
        Case('resize', SMALL_MIN, says=['realloc_in_place + realloc_moved + realloc_copied == 40', 'live_bytes == 0']),
        Case('family', {'STATS': 'json', 'STATS_FILE': '{tmp}/%p.json'}, reports=5),
        Case('vfork_exec', {'STATS': 'json', 'STATS_FILE': '{tmp}/%p.json'}),
        Case('workload', {**IN_FILE, 'STATS_FILE': '{tmp}/a-%e-%p-%t-%%.json'}, files=r'a-workload-\d+-\d{10,}-%\.json', says=['program == "workload"']),
        *(Case(f'filtered {when}', {**IN_FILE, 'STATS_SIGNAL': 'URG'}, files='none', pools=False) for when in ('used', 'fresh')),
        Case('vfork_limits', says=['forwarded == 0']),
        Case('titled', {**IN_FILE, 'STATS_FILE': '{tmp}/%e.json'}, files=r'titled\.json', says=['program == "titled"']),
        Case('workload', {'STATS': 'text', 'STATS_FILE': '{tmp}/report'}, files='report'),
        Case('workload', {'STATS': 'text'}, stderr=['~bufpool: .*'] * 6 + ['?bufpool: .*'] * 60),
        Case('workload', {'STATS': 'json'}, stderr=['~(bufpool: )?\\{.*'] + ['?.*'] * 200, reports=1, says=['large_requests >= 132']),
        Case('workload', {'STATS': '0'}),
        Case('workload', {'STATS': '0', 'STATS_FILE': '{tmp}/report.json'}, files='none'),
        Case('workload', {'STATS': 'text', 'STATS_FILE': '/nonexistent/x'}, stderr=[CANNOT_OPEN.format('/nonexistent/x')]),
        Case('workload', {'STATS': 'json', 'STATS_FILE': '/'}, stderr=[CANNOT_OPEN.format('/')]),
        Case('workload', {'STATS': 'json', 'STATS_FILE': '/dev/full'}, stderr=['?bufpool: .*']),
        Case('workload', {'STATS': 'json', 'STATS_FILE': '/tmp/' + 'x' * 300}, stderr=['~bufpool: BUFPOOL_STATS_FILE=.*: cannot open .*; no report written']),
        Case('workload', {'STATS': 'json', 'STATS_FILE': '/tmp/' + 'x' * 5000}, stderr=['~bufpool: BUFPOOL_STATS_FILE=.*', '?\\{.*']),
        Case('workload', {'STATS': 'json', 'STATS_FILE': '{tmp}/%x%'}, stderr=['?bufpool: .*']),
        Case('closed_fds', {'STATS': 'text'}, closed=True, stdout=''),
        Case('closed_fds asked', {'STATS': 'text', 'STATS_FILE': '{tmp}/report', 'STATS_SIGNAL': 'URG'}, closed=True, stdout='', files='report'),
        Case('unwritable pipe', {'STATS': 'text', 'STATS_SIGNAL': 'URG'}),
        Case('unwritable size', {'STATS': 'text', 'STATS_FILE': '{tmp}/report', 'STATS_SIGNAL': 'URG'}, files='report'),
        Case('closed_fds', {'STATS': 'json', 'FOO': '1', 'HELP': '1', 'VERBOSE': '1'}, closed=True, stdout=''),
        Case('closed_fds', {'STATS': 'json', 'STATS_FILE': '/nonexistent/x'}, closed=True, stdout=''),
    ],
}
