# SPDX-License-Identifier: MIT
"""Forks workers until SIGTERM: they get bytes of 1 to 4 MiB, keep some, and send others back; each ends after 25 tasks."""

import hashlib
import multiprocessing
import os
import random
import signal
import time

KEPT = []


def work(task):
    seed, data = task
    KEPT.append(bytearray(data))  # copied into memory of the worker's own
    del KEPT[:-3]
    return seed, hashlib.sha256(data).digest(), data[::-1]


def fork_with(blocks):
    """A child that uses and frees its parent's blocks, and ends without saying anything."""
    child = os.fork()
    if child == 0:
        total = sum(len(block) for block in blocks)
        blocks.clear()
        os._exit(0 if len(bytes(total)) == total else 1)
    if os.waitpid(child, 0)[1] != 0:
        raise SystemExit('a child of fork failed')


def main():
    stopped = []
    done, own = 0, []
    context = multiprocessing.get_context('fork')
    with context.Pool(3, maxtasksperchild=25, initializer=signal.signal, initargs=(signal.SIGTERM, signal.SIG_DFL)) as pool:
        signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
        while not stopped:
            tasks = [(done + i, random.Random(done + i).randbytes(random.randrange(1 << 20, 4 << 20))) for i in range(12)]
            for (seed, data), (again, digest, back) in zip(tasks, pool.imap(work, tasks)):
                if again != seed or digest != hashlib.sha256(data).digest() or back[::-1] != data:
                    raise SystemExit('wrong bytes')
            own = [bytearray(data) for _, data in tasks[:4]]
            fork_with(own)
            done += len(tasks)
            time.sleep(0.5)
    print(done, 'tasks')


if __name__ == '__main__':
    main()
