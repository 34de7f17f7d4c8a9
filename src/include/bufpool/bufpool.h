/* SPDX-License-Identifier: MIT */
#ifndef BUFPOOL_BUFPOOL_H
#define BUFPOOL_BUFPOOL_H
/*
 * libbufpool: pools of large, recycled memory blocks.
 *
 * A pool keeps what is freed warm, in thread caches and shared shards, and hands it out again without a system call and
 * without page faults. Blocks are at least 64-byte aligned and lie in pages of their own. Free memory that nobody
 * needed for two seconds goes back to the kernel as the pool is used; a pool that is not used keeps it.
 *
 * Sizes are in bytes. Functions that fail return NULL or a negative errno value and leave errno alone.
 * Every function may be called from any thread at any time, except where noted; none from signal handlers.
 * After fork() the child may use the pool and its blocks. Environment variables are not read.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BUFPOOL_VERSION_MAJOR 0
#define BUFPOOL_VERSION_MINOR 1

struct bufpool;

/*
 * What a pool is made with. Start from zero: 0 means the default everywhere.
 */
struct bufpool_config {
    size_t struct_bytes;         /* sizeof(struct bufpool_config), so that later versions can add fields */
    size_t cache_bytes;          /* hard limit of free memory kept; default: a quarter of RAM or cgroup limit */
    size_t max_bytes;            /* hard limit of live and free memory together; default: none */
    size_t thread_cache_bytes;   /* what a thread keeps for itself; default 32 MiB */
    uint32_t thread_cache_count; /* buffers a size class that a thread keeps, one from 4 MiB on; 1..64; default 32 */
    uint32_t shard_count;        /* shared stores, 1..128, rounded up to a power of two; default by CPUs */
};

/* Counts since the pool was made. Sums of a pool in use are a moment's view. */
struct bufpool_stats {
    size_t struct_bytes; /* set by the caller to sizeof(struct bufpool_stats) */
    uint64_t requests;   /* thread_cache_hits + shard_hits + stolen + fresh + refused */
    uint64_t thread_cache_hits;
    uint64_t shard_hits;
    uint64_t stolen;  /* from a shard that is not the thread's own */
    uint64_t fresh;   /* served with new memory */
    uint64_t refused; /* NULL was returned */
    uint64_t live_bytes;   /* memory of blocks in use, in whole pages */
    uint64_t cached_bytes; /* memory of free blocks that are kept */
    uint64_t peak_live_bytes;
    uint64_t peak_cached_bytes;
};

/*
 * Makes a pool. `config` may be NULL. The pool is the caller's until bufpool_destroy().
 * -EMFILE: a process has at most 8 pools; -ENOMEM; -EINVAL: a field of the configuration is out of range.
 */
int bufpool_create(const struct bufpool_config *config, struct bufpool **ret_pool);

/*
 * Gives all memory of the pool back, blocks in use included. No other thread may be using the pool; those that used it
 * may be ending, or go on without it. NULL is allowed.
 */
void bufpool_destroy(struct bufpool *pool);

/* A block of `size_bytes`, 1 to 16 GiB, with undefined contents. NULL: limit reached, no memory, size out of range. */
void *bufpool_alloc(struct bufpool *pool, size_t size_bytes);

/* A block of zeros. */
void *bufpool_calloc(struct bufpool *pool, size_t size_bytes);

/* A block at a multiple of `align_bytes`, a power of two up to 1 GiB. */
void *bufpool_aligned_alloc(struct bufpool *pool, size_t align_bytes, size_t size_bytes);

/*
 * Changes the size of a block of this pool, keeping its contents up to the smaller size. Returns the block's address,
 * which may be another; NULL leaves the block as it was. `block` may be NULL: as bufpool_alloc().
 */
void *bufpool_realloc(struct bufpool *pool, void *block, size_t size_bytes);

/* Takes a block of this pool back. NULL is allowed. Anything else stops the program with a message. */
void bufpool_free(struct bufpool *pool, void *block);

/* Bytes that may be used from the start of a block: its size up to the end of the page. */
size_t bufpool_usable_size(struct bufpool *pool, const void *block);

/* Does the address belong to this pool? */
bool bufpool_owns(struct bufpool *pool, const void *address);

/* Gives the memory of free blocks back, also what threads keep that are in no call now. Returns the number of bytes. */
size_t bufpool_trim(struct bufpool *pool);

/* Fills in `stats`. -EINVAL: struct_bytes is not that of any version. */
int bufpool_get_stats(struct bufpool *pool, struct bufpool_stats *stats);

/* "major.minor" of the library that is loaded. A static string. */
const char *bufpool_version(void);

#ifdef __cplusplus
}
#endif

#endif
