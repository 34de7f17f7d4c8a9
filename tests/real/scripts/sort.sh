#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A large file sorted by two threads, numerically and by bytes, in memory and by merging.
set -euo pipefail

seq 1 600000 | shuf --random-source=<(yes) >shuffled
sort --parallel=2 -n shuffled | md5sum
LC_ALL=C sort --parallel=2 -r shuffled | md5sum
sort -S 2M -T . -k1.2,1.4 -s shuffled | md5sum
uniq -c shuffled | wc -l
join <(LC_ALL=C sort shuffled) <(seq 100000 | LC_ALL=C sort) | wc -l
