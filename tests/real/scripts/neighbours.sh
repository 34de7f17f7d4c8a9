#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Libraries that are preloaded beside us: clocks and a profiler that allocate under locks, a root that is none.
set -euo pipefail

preload=${LD_PRELOAD:-}
cat >blocks.pl <<'BLOCKS'
for (1 .. 3000) { my $block = "x" x 300_000; undef $block; $now = time for 1 .. 9; }
print defined $ENV{FAKETIME_TIMESTAMP_FILE} ? "$now\n" : "profiled\n";
BLOCKS

# The clock reads its file again and again.
export FAKETIME_TIMESTAMP_FILE=$PWD/now FAKETIME_NO_CACHE=1
printf '2001-02-03 04:05:06\n' >now
for clock in /usr/lib/*/faketime/libfaketime{,MT}.so.1; do
    LD_PRELOAD="$clock${preload:+:$preload}" perl blocks.pl
    LD_PRELOAD="${preload:+$preload:}$clock" perl blocks.pl
done
unset FAKETIME_TIMESTAMP_FILE FAKETIME_NO_CACHE

heaptrack -o profile perl blocks.pl 2>log | grep '^profiled'
fakeroot bash -c 'touch file; chown 7:8 file; stat -c %u:%g file; seq 300000 | sort -rn | md5sum'
eatmydata bash -c 'seq 300000 | sort -rn >file; sync file; md5sum <file'
