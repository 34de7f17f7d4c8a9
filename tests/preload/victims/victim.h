/* SPDX-License-Identifier: MIT */
/*
 * What every victim shares: a check that names itself, and stamps that betray a byte lost or owned twice.
 *
 * A victim knows nothing of bufpool. It tests one promise of the C library, prints "ok" at the end and returns 0;
 * a promise broken is one line on stderr and status 1, also in a forked child.
 */
#ifndef BP_VICTIM_H
#define BP_VICTIM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)
#define LENGTH(array) (sizeof(array) / sizeof *(array))

#ifndef VICTIM_STOP
#define VICTIM_STOP() _exit(1)
#endif

#define CHECK(promise)                                                                                                 \
    do {                                                                                                               \
        if (!(promise)) {                                                                                              \
            dprintf(2, "%s:%d: not so: %s (errno %d)\n", __FILE__, __LINE__, #promise, errno);                         \
            VICTIM_STOP();                                                                                             \
        }                                                                                                              \
    } while (0)

/* Sizes on both sides of every likely threshold. */
static const size_t sizes[] = {
    1,   24,      4095,    4096,     4097, 64 * KIB - 1, 64 * KIB, 128 * KIB - 1, 128 * KIB, 128 * KIB + 1,
    MIB, MIB + 1, 5 * MIB, 17 * MIB,
};

static inline uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* The next number of the sequence that *state stands for. */
static inline uint64_t roll(uint64_t *state)
{
    return mix(*state += UINT64_C(0x9e3779b97f4a7c15));
}

static inline void *make(size_t size)
{
    void *p = malloc(size);
    CHECK(p != NULL);
    return p;
}

/* The offset of the stamped byte after `at`: all of a small block; of a large one its ends and a byte in every page. */
static inline size_t stamp_next(size_t at, size_t size)
{
    int dense = size <= 16 * KIB || at < 256 || at >= size - 256;
    if (dense)
        return at + 1;
    size_t next = at + 4093; /* prime and less than a page: meets every page, each at another place */
    return next < size - 256 ? next : size - 256;
}

static inline unsigned char stamp_byte(size_t at, uint64_t seed)
{
    return (unsigned char)(mix(seed + at) | 1); /* never zero: calloc must not be able to pass by chance */
}

static inline void stamp(void *block, size_t size, uint64_t seed)
{
    for (size_t at = 0; at < size; at = stamp_next(at, size))
        ((unsigned char *)block)[at] = stamp_byte(at, seed);
}

/* Whether the first `size` bytes still carry the stamp that a block of `stamped` bytes got. */
static inline int stamped_part(const void *block, size_t size, size_t stamped, uint64_t seed)
{
    for (size_t at = 0; at < stamped && at < size; at = stamp_next(at, stamped))
        if (((const unsigned char *)block)[at] != stamp_byte(at, seed))
            return 0;
    return 1;
}

static inline int stamped(const void *block, size_t size, uint64_t seed)
{
    return stamped_part(block, size, size, seed);
}

static inline int all_zero(const void *block, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)block;
    return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

/* Allocates, stamps, checks and frees a block of each size: "the allocator still works here". */
static inline void exercise(uint64_t seed)
{
    static const size_t some[] = {100, 64 * KIB, 300 * KIB, 2 * MIB};
    void *blocks[LENGTH(some)];
    for (size_t i = 0; i < LENGTH(some); i++)
        stamp(blocks[i] = make(some[i]), some[i], seed + i);
    for (size_t i = 0; i < LENGTH(some); i++) {
        CHECK(stamped(blocks[i], some[i], seed + i));
        free(blocks[i]);
    }
}

/* What the process has in memory, asked without a stream, which would allocate. */
static inline size_t resident_bytes(void)
{
    size_t pages = 0;
    char text[128] = "";
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
    CHECK(sscanf(text, "%*u %zu", &pages) == 1);
    (void)close(fd);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Waits for a child and demands that it ended with status 0. */
static inline void reap(pid_t child)
{
    int status;
    CHECK(child > 0);
    while (waitpid(child, &status, 0) < 0)
        CHECK(errno == EINTR);
    if (status != 0)
        dprintf(2, "child: wait status %#x\n", (unsigned)status);
    CHECK(status == 0);
}

static inline int done(void)
{
    return puts("ok") < 0 || fflush(stdout) != 0;
}

#endif
