#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The program that scripts/demo runs: array expressions in NumPy, or 50 MB strings where there is no NumPy.

Knows nothing of bufpool. Prints a checksum of the last result of each kind, so that two runs can be compared.
"""
import zlib

try:
    import numpy
except ImportError:
    numpy = None

MIB = 1 << 20


def expressions(array_mib, rounds):
    count = array_mib * MIB // 8
    a = numpy.arange(count, dtype=numpy.float64)
    b = numpy.sqrt(a)
    for number in range(rounds):
        result = a * b + number
        result = numpy.where(result > 1.0, result - a, -b)
    return zlib.crc32(result)


def strings(rounds):
    checksum = 0
    for number in range(rounds):
        block = bytes([number % 256]) * 50_000_000
        checksum = zlib.crc32(block[-4096:] + block[:4096], checksum)
    return checksum


if numpy:
    for array_mib in (8, 64):
        print(f"NumPy, arrays of {array_mib} MiB: checksum {expressions(array_mib, 1600 // array_mib):08x}")
else:
    print(f"Python, strings of 50 MB: checksum {strings(100):08x}")
