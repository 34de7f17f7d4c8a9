#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Buffers that grow by realloc, by copying and by appending, to tens of MiB; what is printed depends on every byte.
set -euo pipefail

cat >vector.cc <<'END'
#include <cstdio>
#include <string>
#include <vector>
int main()
{
    std::vector<char> vector;
    std::string string;
    for (int i = 0; i < 3000; i++) {
        vector.insert(vector.end(), 20000, char(i));
        string.append(9000, char('a' + i % 26));
    }
    unsigned long sum = 0;
    for (char c : vector)
        sum = sum * 31 + (unsigned char)c;
    for (char c : string)
        sum = sum * 31 + (unsigned char)c;
    std::printf("%zu %zu %lu\n", vector.size(), string.size(), sum);
}
END
g++ -O1 -o vector vector.cc
./vector

python3 - <<'END'
import zlib
grown, piece = bytearray(), bytes(range(256)) * 100
while len(grown) < 64 << 20:
    grown += piece
print(len(grown), zlib.crc32(grown))
del grown[1 << 20:]
grown *= 30
print(len(grown), zlib.crc32(grown))
END

for i in 1 2 3; do
    printf '%s' "$i"
    head -c 20000000 /dev/zero | tr '\0' x
    echo
done >long.txt
tac long.txt | sha256sum
sort -r --parallel=2 -S 64M long.txt | sha256sum
tr x '\n' <long.txt | tac | sha256sum
