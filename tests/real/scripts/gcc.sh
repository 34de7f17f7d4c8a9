#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Compiles a file of this project and a long generated one.
set -euo pipefail

cp "$SCRIPTS/../../preload/victims/stress.c" "$SCRIPTS/../../preload/victims/victim.h" .
gcc -O2 -Wall -c stress.c -o stress.o
md5sum stress.o
for i in $(seq 250); do
    printf 'int f%d(int x, int *y) { for (int i = 0; i < x; i++) y[i] += i * %d; return y[0] > x ? x / %d : y[x]; }\n' "$i" "$i" "$i"
done >long.c
for i in $(seq 4000); do
    printf '/* a line of comment that makes the file long: %d */\n' "$i"
done >>long.c
gcc -O1 -g -c long.c -o long.o
objdump -d long.o | md5sum
gcc -O1 -S long.c -o - | md5sum
