#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# xz, zstd and gzip with two threads, there and back.
set -euo pipefail

seq 1 900000 >plain
xz -T2 -1 -k --block-size=2MiB plain
zstd -q -T2 -9 -k plain
gzip -nk plain
md5sum plain.xz plain.zst plain.gz
for file in plain.xz plain.zst plain.gz; do
    case $file in
    *.xz) xz -T2 -dc $file ;;
    *.zst) zstd -qdc $file ;;
    *.gz) gzip -dc $file ;;
    esac | cmp - plain && echo "$file is right"
done
