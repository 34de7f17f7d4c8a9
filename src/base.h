/* SPDX-License-Identifier: MIT */
#ifndef BP_BASE_H
#define BP_BASE_H
/*
 * Base: attributes, arithmetic and assertions used by every other file.
 *
 * Layer: 0. Includes nothing of ours.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BP_LIKELY(x) __builtin_expect(!!(x), 1)
#define BP_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define BP_COLD __attribute__((cold, noinline))
#define BP_ALWAYS_INLINE static inline __attribute__((always_inline))
#define BP_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
/* On functions that only assertions call. */
#define BP_FOR_ASSERTIONS __attribute__((unused))
#define BP_NORETURN __attribute__((noreturn))
/* On declarations of data that hot paths read: addressed directly, not through the global offset table. */
#define BP_HIDDEN __attribute__((visibility("hidden")))
/* One small pointer per pool lives in static TLS: dynamic TLS would call malloc on first use. */
#define BP_THREAD_LOCAL _Thread_local __attribute__((tls_model("initial-exec")))

enum {
    BP_CACHELINE_BYTES = 64,
    BP_CPUS_MAX = 4096,
};

#define BP_KIB ((size_t)1 << 10)
#define BP_MIB ((size_t)1 << 20)
#define BP_GIB ((size_t)1 << 30)
#define BP_TIB ((size_t)1 << 40)

/* Assertions. Level 1 (basic) checks cheap facts; level 2 (slow) walks lists after every operation. */
#ifndef BP_ASSERT_LEVEL
#define BP_ASSERT_LEVEL 0
#endif
BP_COLD BP_NORETURN void bp_assert_failed(const char *what, const char *file, int line);
#if BP_ASSERT_LEVEL >= 1
#define BP_ASSERT(x) (BP_LIKELY(x) ? (void)0 : bp_assert_failed(#x, __FILE__, __LINE__))
#else
#define BP_ASSERT(x) ((void)sizeof(x))
#endif
#if BP_ASSERT_LEVEL >= 2
#define BP_ASSERT_SLOW(x) BP_ASSERT(x)
#else
#define BP_ASSERT_SLOW(x) ((void)sizeof(x))
#endif

/* Every bit of the result depends on every bit of `x` (the finaliser of splitmix64). */
static inline uint64_t bp_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

BP_ALWAYS_INLINE bool bp_is_pow2(size_t x)
{
    return x != 0 && (x & (x - 1)) == 0;
}

/* `align` is a power of two; the caller has checked that the sum does not overflow. */
BP_ALWAYS_INLINE size_t bp_align_up(size_t x, size_t align)
{
    return (x + align - 1) & ~(align - 1);
}

BP_ALWAYS_INLINE size_t bp_align_down(size_t x, size_t align)
{
    return x & ~(align - 1);
}

/* Smallest s with 2^s >= x, for x >= 2. */
BP_ALWAYS_INLINE size_t bp_ceil_log2(size_t x)
{
    return 64 - (size_t)__builtin_clzl(x - 1);
}

BP_ALWAYS_INLINE size_t bp_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

BP_ALWAYS_INLINE size_t bp_max(size_t a, size_t b)
{
    return a > b ? a : b;
}

_Static_assert(sizeof(void *) == 8 && sizeof(size_t) == 8, "64-bit Linux only");

#endif
