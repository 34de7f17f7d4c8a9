# SPDX-License-Identifier: MIT
"""What is watched of a process, and whether it grows."""

import json
import os
import statistics
from pathlib import Path

MIB = 1 << 20

# What is sampled, and by how much the median of a run's last quarter may exceed that of its second one: so much, and a
# share of the second's. A leak of 16 MiB an hour of memory is seen, or of 64 mappings, or of 4 descriptors.
SLACK = {
    'rss': (8 * MIB, 0.05),
    'mappings': (32, 0.05),
    'descriptors': (2, 0),
    'threads': (1, 0),
    'live': (8 * MIB, 0.05),  # this and what follows are the pool's own numbers
    'cached': (8 * MIB, 0.10),
    'footprint': (8 * MIB, 0.05),
    'lost': (0, 0),
    'no_memory': (0, 0),
}
COMES_AND_GOES = ('descriptors', 'threads')  # with clients: the least of a quarter is compared
REPORTED = {'live': 'live_bytes', 'cached': 'cached_bytes', 'footprint': 'footprint_bytes', 'lost': 'lost', 'no_memory': 'no_memory'}


def of_kernel(pid):
    """What the kernel says of a process."""
    proc = Path('/proc') / str(pid)
    return {
        'rss': int((proc / 'statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE'),
        'mappings': (proc / 'maps').read_text().count('\n'),
        'descriptors': len(os.listdir(proc / 'fd')),
        'threads': len(os.listdir(proc / 'task')),
    }


def of_pool(reports):
    """What the newest of some reports says; nothing if there is none yet."""
    newest = json.loads(reports[-1]) if reports else {}
    return {name: newest[key] for name, key in REPORTED.items() if key in newest}


def judge(samples):
    """Compares the second quarter of a run with the last: rows of (name, second, last, highest, whether it grew)."""
    for name, (fixed, share) in SLACK.items():
        quarters = [[sample[name] for sample in samples[len(samples) * i // 4:len(samples) * (i + 1) // 4] if name in sample] for i in range(4)]
        if quarters[1] and quarters[3]:
            typical = min if name in COMES_AND_GOES else statistics.median
            second, last = typical(quarters[1]), typical(quarters[3])
            yield name, second, last, max(value for quarter in quarters for value in quarter), last > second + fixed + share * second
