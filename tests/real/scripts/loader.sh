#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What else the dynamic loader may be told: to list, to be watched, and to load other allocators before and after us.
set -euo pipefail

seq 200000 | sort -R --random-source=/bin/true >numbers
preload=${LD_PRELOAD:-}

ldd /usr/bin/sort | grep -c 'libc\.so'

printf '#include <stdint.h>\nunsigned la_version(unsigned version) { return version; }\n' >audit.c
gcc -shared -fPIC audit.c -o audit.so
LD_AUDIT=./audit.so sort -n numbers | md5sum
LD_BIND_NOW=1 sort -n numbers | md5sum
/lib64/ld-linux-x86-64.so.2 /usr/bin/sort -n numbers | md5sum

# A program that needs an allocator by itself, and one that is preloaded before us or after us.
gcc -O1 "$SCRIPTS/pairs.c" -Wl,--no-as-needed -l:libjemalloc.so.2 -o pairs-jemalloc
./pairs-jemalloc
for other in libjemalloc.so.2 libmimalloc.so.2 libtcmalloc_minimal.so.4 libtbbmalloc_proxy.so.2; do
    LD_PRELOAD="$other${preload:+:$preload}" sort -n numbers | md5sum
    LD_PRELOAD="${preload:+$preload:}$other" sort -n numbers | md5sum
done
