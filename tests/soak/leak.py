# SPDX-License-Identifier: MIT
"""Leaks one thing until SIGTERM, ten times a second: blocks, mappings, descriptors, threads; or nothing."""

import mmap
import os
import sys
import threading
import time

KEPT = []


def leak(what):
    bytearray(2 << 20)
    if what == 'blocks':
        KEPT.append(bytearray(b'1') * (1 << 20))
    elif what == 'mappings':
        KEPT.append([mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot) for prot in (mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE)])
    elif what == 'descriptors':
        KEPT.append(os.open('/dev/null', os.O_RDONLY))
    elif what == 'threads':
        threading.Thread(target=threading.Event().wait, daemon=True).start()


while True:
    leak(sys.argv[1])
    time.sleep(0.1)
