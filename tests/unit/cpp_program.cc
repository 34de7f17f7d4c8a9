// SPDX-License-Identifier: MIT
// A C++ program that uses every function of the library.
#include <bufpool/bufpool.h>

#include <cstdint>
#include <cstdio>
#include <cstring>

static bool works(struct bufpool *pool)
{
    constexpr std::size_t size_bytes = 1 << 20;
    void *block = bufpool_alloc(pool, size_bytes);
    if (!block || !bufpool_owns(pool, block) || bufpool_usable_size(pool, block) < size_bytes)
        return false;
    std::memset(block, 7, size_bytes);
    block = bufpool_realloc(pool, block, 2 * size_bytes);
    if (!block || static_cast<char *>(block)[size_bytes - 1] != 7)
        return false;
    bufpool_free(pool, block);

    void *zeros = bufpool_calloc(pool, size_bytes);
    if (!zeros || static_cast<char *>(zeros)[size_bytes - 1] != 0)
        return false;
    bufpool_free(pool, zeros);

    void *aligned = bufpool_aligned_alloc(pool, size_bytes, size_bytes);
    if (!aligned || reinterpret_cast<std::uintptr_t>(aligned) % size_bytes != 0)
        return false;
    bufpool_free(pool, aligned);

    bufpool_stats stats = {};
    stats.struct_bytes = sizeof stats;
    return bufpool_get_stats(pool, &stats) == 0 && stats.live_bytes == 0 && bufpool_trim(pool) > 0;
}

int main()
{
    bufpool_config config = {};
    config.struct_bytes = sizeof config;
    struct bufpool *pool = nullptr;
    if (bufpool_create(&config, &pool) != 0)
        return 1;
    bool ok = works(pool);
    bufpool_destroy(pool);
    std::fprintf(stderr, "libbufpool %s: %s\n", bufpool_version(), ok ? "works" : "does not work");
    return ok ? 0 : 1;
}
