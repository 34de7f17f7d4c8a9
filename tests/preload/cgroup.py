# SPDX-License-Identifier: MIT
"""Memory cgroups of the tests' own, of version 1 or 2, where this process may make some."""

import contextlib
import itertools
import os
from pathlib import Path

numbers = itertools.count()


class Cgroup:
    """A cgroup whose processes may use so many bytes together, and swap none of them out."""

    def __init__(self, limit_bytes):
        """Raises OSError where none can be made."""
        root = Path('/sys/fs/cgroup')
        is_v2 = 'memory' in (root / 'cgroup.controllers').read_text().split() if (root / 'cgroup.controllers').exists() else False
        if is_v2:
            (root / 'cgroup.subtree_control').write_text('+memory')
        self.path = (root if is_v2 else root / 'memory') / f'bufpool-test-{os.getpid()}-{next(numbers)}'
        self.path.mkdir()
        self.events = self.path / ('memory.events' if is_v2 else 'memory.oom_control')
        limits = ['memory.max', 'memory.swap.max'] if is_v2 else ['memory.limit_in_bytes', 'memory.memsw.limit_in_bytes']
        try:
            (self.path / limits[0]).write_text(str(limit_bytes))
            with contextlib.suppress(OSError):  # without accounting of swap
                (self.path / limits[1]).write_text('0' if is_v2 else str(limit_bytes))
        except OSError:
            self.path.rmdir()
            raise

    def enter(self):
        """Moves this process there."""
        (self.path / 'cgroup.procs').write_text(str(os.getpid()))

    def kills(self):
        """How many processes the kernel has killed there for want of memory."""
        counts = dict(line.split() for line in self.events.read_text().splitlines())
        return int(counts['oom_kill'])

    def remove(self):
        """Once its processes have ended."""
        self.path.rmdir()


def why_not():
    """Why no memory cgroup can be had here; empty if it can."""
    try:
        Cgroup(1 << 30).remove()
    except OSError as error:
        return f'no memory cgroup can be made: {error.strerror}'
    return ''
