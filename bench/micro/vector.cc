// SPDX-License-Identifier: MIT
// A std::vector<char> that grows to 1 GiB by pieces of 64 KiB. Prints what its bytes add up to.
#include <cstdio>
#include <numeric>
#include <vector>

int main()
{
    std::vector<char> piece(64 << 10), grown;
    std::iota(piece.begin(), piece.end(), 0);
    while (grown.size() < size_t(1) << 30)
        grown.insert(grown.end(), piece.begin(), piece.end());
    unsigned long sum = 0;
    for (size_t i = 0; i < grown.size(); i += 4001)
        sum = sum * 31 + (unsigned char)grown[i];
    std::printf("%zu %lu\n", grown.size(), sum);
}
