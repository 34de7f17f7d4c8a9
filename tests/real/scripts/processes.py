# SPDX-License-Identifier: MIT
"""Subprocesses, threads, and multiprocessing by fork, forkserver and spawn, with large messages."""
import hashlib
import multiprocessing
import subprocess
import sys
import threading


def digest(block):
    return hashlib.md5(bytes(block) * 3).hexdigest()


def main():
    blocks = [bytes([i]) * (300_000 * i) for i in range(1, 9)]
    for block in blocks[:4]:
        cat = subprocess.run(['cat'], input=block, stdout=subprocess.PIPE, check=True)
        print(cat.stdout == block, digest(block))
    print(subprocess.check_output([sys.executable, '-c', 'print(len(bytes(30_000_000)))'], text=True).strip())

    results = {}
    threads = [threading.Thread(target=lambda i=i: results.update({i: [digest(b) for b in blocks]})) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(all(results[i] == results[0] for i in results), results[0][-1])

    for method in ('fork', 'forkserver', 'spawn'):
        with multiprocessing.get_context(method).Pool(2) as pool:
            print(method, pool.map(digest, blocks))


if __name__ == '__main__':
    main()
