#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Reads and writes of every kind, some into memory that the kernel holds; fio verifies what comes back.
set -euo pipefail

export BUFPOOL_DEVICES=pool # although a library of network cards is there

transfer() {
    local status=0
    fio --name=transfer --filename=file --size=24M --bs=256k --rw=randrw --verify=crc32c --verify_fatal=1 --randseed=3 \
        --minimal "$@" >log 2>&1 || status=$?
    printf '%s: %s\n' "$*" "$status"
    rm -f file
}

transfer --ioengine=psync
transfer --ioengine=mmap
transfer --ioengine=splice --rw=randwrite
transfer --ioengine=posixaio --iodepth=4
transfer --ioengine=libaio --direct=1 --iodepth=8
transfer --ioengine=io_uring --iodepth=8 --fixedbufs=1
