#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Compiles this project's library, file by file, and a long generated file.
set -euo pipefail

cp -r "$SCRIPTS/../../../src" .
for file in src/*.c; do gcc -std=c17 -D_GNU_SOURCE -O1 -fPIC -c "$file" -o "${file%.c}.o"; done
gcc -shared -Wl,--build-id=none -o library.so src/*.o
md5sum library.so
for i in $(seq 250); do
    printf 'int f%d(int x, int *y) { for (int i = 0; i < x; i++) y[i] += i * %d; return y[0] > x ? x / %d : y[x]; }\n' "$i" "$i" "$i"
done >long.c
for i in $(seq 4000); do
    printf '/* a line of comment that makes the file long: %d */\n' "$i"
done >>long.c
gcc -O1 -g -c long.c -o long.o
objdump -d long.o | md5sum
gcc -O1 -S long.c -o - | md5sum
