/* SPDX-License-Identifier: MIT */
#include "workload.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

enum {
    SMALL_MIN_BYTES = 16,
    MIXED_MIN_BYTES = 64 * KIB,
    MIXED_STRATA = 64,
    MIXED_LIVE = 32,
    GROW_FROM_BYTES = 64 * KIB,
    SPARSE_TOUCH_BYTES = MIB,
    UPDATE_ARRAYS = 10,
    STENCIL_ROW = 500,
    RING_SLOTS = 16,
    SPINS_BEFORE_YIELD = 100,
};

/* The compiler must believe that somebody reads the block, or it removes malloc and free together. */
static inline void *seen(void *block)
{
    __asm__ volatile("" : "+r"(block) : : "memory");
    return block;
}

static inline void *checked(void *block)
{
    if (!block)
        fail("out of memory");
    return seen(block);
}

static inline void *kept(const struct worker *worker, unsigned slot)
{
    return seen(worker->kept + slot * worker->kept_stride_bytes);
}

static inline void *take(const struct worker *worker, unsigned slot, size_t bytes)
{
    return worker->floor ? kept(worker, slot) : checked(malloc(bytes));
}

/* The floor clears its buffer, as any allocator must that recycles memory. */
static inline void *take_zeroed(const struct worker *worker, unsigned slot, size_t bytes)
{
    return worker->floor ? memset(kept(worker, slot), 0, bytes) : checked(calloc(1, bytes));
}

static inline void *resize(const struct worker *worker, void *block, size_t bytes)
{
    return worker->floor ? seen(block) : checked(realloc(block, bytes));
}

static inline void give(const struct worker *worker, void *block)
{
    seen(block);
    if (!worker->floor)
        free(block);
}

static inline void touch(struct worker *worker, void *block, size_t from_byte, size_t to_byte)
{
    volatile char *bytes = block;
    size_t page_bytes = worker->page_bytes;

    for (size_t i = from_byte; i < to_byte; i += page_bytes)
        bytes[i] = 1;
    worker->pages_touched += (to_byte - from_byte + page_bytes - 1) / page_bytes;
}

/* splitmix64: every seed is a good seed. */
static inline uint64_t next_random(struct worker *worker)
{
    uint64_t z = (worker->random += 0x9e3779b97f4a7c15U);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

/* --- one buffer at a time ------------------------------------------------------------------ */

static void run_pair(struct worker *worker, uint64_t ops)
{
    while (ops--)
        give(worker, take(worker, 0, worker->size_bytes));
}

static void run_touch(struct worker *worker, uint64_t ops)
{
    while (ops--) {
        void *block = take(worker, 0, worker->size_bytes);

        touch(worker, block, 0, worker->size_bytes);
        give(worker, block);
    }
}

static void run_fill(struct worker *worker, uint64_t ops)
{
    while (ops--) {
        void *block = take(worker, 0, worker->size_bytes);

        memset(block, 1, worker->size_bytes);
        worker->pages_touched += worker->size_bytes / worker->page_bytes;
        give(worker, block);
    }
}

static void run_calloc(struct worker *worker, uint64_t ops)
{
    while (ops--) {
        void *block = take_zeroed(worker, 0, worker->size_bytes);

        touch(worker, block, 0, worker->size_bytes);
        give(worker, block);
    }
}

/* One page in each MiB: a table that is mostly never used. The floor keeps zeros and has nothing to clear. */
static void run_sparse(struct worker *worker, uint64_t ops)
{
    while (ops--) {
        void *block = worker->floor ? kept(worker, 0) : checked(calloc(1, worker->size_bytes));
        volatile char *bytes = block;

        for (size_t i = 0; i < worker->size_bytes; i += SPARSE_TOUCH_BYTES)
            bytes[i] = 1;
        give(worker, block);
    }
}

static void run_load(struct worker *worker, uint64_t ops)
{
    while (ops--) {
        char *block = take(worker, 0, worker->size_bytes);

        for (size_t done = 0; done < worker->size_bytes;) {
            ssize_t got = pread(worker->file, block + done, worker->size_bytes - done, (off_t)done);

            if (got <= 0)
                fail("cannot read the file");
            done += (size_t)got;
        }
        worker->pages_touched += worker->size_bytes / worker->page_bytes;
        give(worker, block);
    }
}

/* --- many live buffers --------------------------------------------------------------------- */

static void run_small(struct worker *worker, uint64_t ops)
{
    while (ops--) {
        uint64_t random = next_random(worker);
        unsigned slot = (unsigned)random % worker->workload->live_count;
        size_t bytes = SMALL_MIN_BYTES + (random >> 32) % (worker->size_bytes - SMALL_MIN_BYTES + 1);
        volatile char *block;

        give(worker, worker->live[slot]);
        worker->live[slot] = take(worker, slot, bytes);
        block = worker->live[slot];
        block[0] = 1;
    }
}

/* Up, then down: one operation is one buffer taken, touched and, later, given back. */
static void run_batch(struct worker *worker, uint64_t ops)
{
    unsigned count = worker->workload->live_count;

    for (; ops >= count; ops -= count) {
        for (unsigned i = 0; i < count; i++) {
            worker->live[i] = take(worker, i, worker->size_bytes);
            touch(worker, worker->live[i], 0, worker->size_bytes);
        }
        for (unsigned i = count; i-- > 0;)
            give(worker, worker->live[i]);
    }
}

static void shuffle(struct worker *worker, unsigned char stratum[MIXED_STRATA])
{
    for (unsigned i = 0; i < MIXED_STRATA; i++)
        stratum[i] = (unsigned char)i;
    for (unsigned i = MIXED_STRATA - 1; i > 0; i--) {
        unsigned j = (unsigned)(next_random(worker) % (i + 1));
        unsigned char moved = stratum[i];

        stratum[i] = stratum[j];
        stratum[j] = moved;
    }
}

struct mixed {
    size_t live_bytes;
    size_t sizes[MIXED_LIVE];
};

static void start_mixed(struct worker *worker)
{
    worker->own = map_resident(sizeof(struct mixed));
}

/*
 * Random replacement among the live buffers. Sizes are log-uniform from MIXED_MIN_BYTES to size_bytes,
 * drawn in rounds: each round takes one size from every 1/64 of the distribution, in random order. So
 * every batch touches nearly the same number of pages and batches can be compared with each other.
 */
static void replace_mixed(struct worker *worker, uint64_t ops, void *(*make)(struct worker *, unsigned, size_t))
{
    struct mixed *mixed = worker->own;
    double doublings = log2((double)worker->size_bytes / MIXED_MIN_BYTES);
    unsigned char stratum[MIXED_STRATA];

    for (; ops >= MIXED_STRATA; ops -= MIXED_STRATA) {
        shuffle(worker, stratum);
        for (unsigned i = 0; i < MIXED_STRATA; i++) {
            uint64_t random = next_random(worker);
            unsigned slot = (unsigned)random % worker->workload->live_count;
            double within = (double)(random >> 32) / 0x1p32;
            double exponent = doublings * (stratum[i] + within) / MIXED_STRATA;
            size_t bytes = (size_t)(MIXED_MIN_BYTES * exp2(exponent));

            give(worker, worker->live[slot]);
            worker->live[slot] = make(worker, slot, bytes);
            mixed->live_bytes += bytes - mixed->sizes[slot];
            mixed->sizes[slot] = bytes;
            if (mixed->live_bytes > worker->peak_live_bytes)
                worker->peak_live_bytes = mixed->live_bytes;
        }
    }
}

static void *take_touched(struct worker *worker, unsigned slot, size_t bytes)
{
    void *block = take(worker, slot, bytes);

    touch(worker, block, 0, bytes);
    return block;
}

static void run_mixed(struct worker *worker, uint64_t ops)
{
    replace_mixed(worker, ops, take_touched);
}

/* --- growth -------------------------------------------------------------------------------- */

/* `count` blocks in turn, each up to size_bytes. */
static void grow(struct worker *worker, unsigned count, size_t bytes, size_t (*next_size)(size_t))
{
    void *blocks[2];

    for (unsigned i = 0; i < count; i++) {
        blocks[i] = take(worker, i, bytes);
        touch(worker, blocks[i], 0, bytes);
    }
    while (bytes < worker->size_bytes) {
        size_t grown_bytes = next_size(bytes);

        if (grown_bytes > worker->size_bytes)
            grown_bytes = worker->size_bytes;
        for (unsigned i = 0; i < count; i++) {
            blocks[i] = resize(worker, blocks[i], grown_bytes);
            touch(worker, blocks[i], bytes, grown_bytes);
        }
        bytes = grown_bytes;
    }
    for (unsigned i = 0; i < count; i++)
        give(worker, blocks[i]);
}

static size_t half_more(size_t bytes)
{
    return bytes + bytes / 2;
}

static size_t step_more(size_t bytes)
{
    return bytes + GROW_FROM_BYTES;
}

static size_t mib_more(size_t bytes)
{
    return bytes + MIB;
}

static void run_grow(struct worker *worker, uint64_t ops)
{
    while (ops--)
        grow(worker, 1, GROW_FROM_BYTES, half_more);
}

/* By halves, to a size that no block before it need have had. */
static void *take_grown(struct worker *worker, unsigned slot, size_t bytes)
{
    size_t grown_bytes = GROW_FROM_BYTES;
    void *block = take_touched(worker, slot, grown_bytes);

    while (grown_bytes < bytes) {
        size_t next_bytes = half_more(grown_bytes) < bytes ? half_more(grown_bytes) : bytes;

        block = resize(worker, block, next_bytes);
        touch(worker, block, grown_bytes, next_bytes);
        grown_bytes = next_bytes;
    }
    return block;
}

static void run_grow_mixed(struct worker *worker, uint64_t ops)
{
    replace_mixed(worker, ops, take_grown);
}

static void run_grow_step(struct worker *worker, uint64_t ops)
{
    while (ops--)
        grow(worker, 1, GROW_FROM_BYTES, step_more);
}

static void run_grow_two(struct worker *worker, uint64_t ops)
{
    while (ops--)
        grow(worker, 2, GROW_FROM_BYTES, half_more);
}

static void run_grow_cold(struct worker *worker, uint64_t ops)
{
    while (ops--)
        grow(worker, 1, MIB, mib_more);
}

/* --- kernels over several arrays: only where the blocks begin differs ---------------------- */

static void take_arrays(struct worker *worker)
{
    for (unsigned i = 0; i < worker->workload->live_count; i++) {
        double *array = worker->live[i] = take(worker, i, worker->size_bytes);

        for (size_t j = 0; j < worker->size_bytes / sizeof(*array); j++)
            array[j] = (double)(i + 1);
    }
}

static void give_arrays(struct worker *worker)
{
    for (unsigned i = 0; i < worker->workload->live_count; i++)
        give(worker, worker->live[i]);
}

static void run_triad(struct worker *worker, uint64_t ops)
{
    size_t count = worker->size_bytes / sizeof(double);

    while (ops--) {
        double *restrict a = seen(worker->live[0]);
        const double *restrict b = worker->live[1];
        const double *restrict c = worker->live[2];

        for (size_t i = 0; i < count; i++)
            a[i] = b[i] + 3.0 * c[i];
        worker->pages_touched += 3 * worker->size_bytes / worker->page_bytes;
    }
    seen(worker->live[0]);
}

static void run_update(struct worker *worker, uint64_t ops)
{
    size_t count = worker->size_bytes / sizeof(double);

    while (ops--) {
        double *restrict sum = seen(worker->live[0]);
        double *const *in = (double *const *)worker->live + 1;
        const double *restrict a = in[0], *restrict b = in[1], *restrict c = in[2], *restrict d = in[3];
        const double *restrict e = in[4], *restrict f = in[5], *restrict g = in[6], *restrict h = in[7];
        const double *restrict k = in[8];

        for (size_t i = 0; i < count; i++)
            sum[i] += a[i] * b[i] + c[i] * d[i] + e[i] * f[i] + g[i] * h[i] + k[i];
        worker->pages_touched += UPDATE_ARRAYS * worker->size_bytes / worker->page_bytes;
    }
    seen(worker->live[0]);
}

/* A wave on a grid: the next field from the present one, the one before and the speed at each point. */
static void run_stencil(struct worker *worker, uint64_t ops)
{
    size_t count = worker->size_bytes / sizeof(double);

    while (ops--) {
        double *restrict next = seen(worker->live[0]);
        const double *restrict now = worker->live[1];
        const double *restrict before = worker->live[2];
        const double *restrict speed = worker->live[3];

        for (size_t i = STENCIL_ROW; i + STENCIL_ROW < count; i++) {
            double around = now[i - 1] + now[i + 1] + now[i - STENCIL_ROW] + now[i + STENCIL_ROW] - 4.0 * now[i];

            next[i] = 2.0 * now[i] - before[i] + speed[i] * around;
        }
        worker->pages_touched += 4 * worker->size_bytes / worker->page_bytes;
    }
    seen(worker->live[0]);
}

/* --- producer and consumer ----------------------------------------------------------------- */

/* One producer, one consumer. The worker is the producer and is what is measured. */
struct ring {
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t pushed;   /* written by the producer */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t popped;   /* written by the consumer */
    _Alignas(CACHE_LINE_BYTES) void *slots[RING_SLOTS];
    struct worker *worker;
    pthread_t consumer;
};

/* Waits until *counter differs from `value`; acquire: pairs with the other side's release. */
static void wait_while(_Atomic uint64_t *counter, uint64_t value)
{
    for (unsigned spins = 0; atomic_load_explicit(counter, memory_order_acquire) == value; spins++)
        if (spins >= SPINS_BEFORE_YIELD)
            sched_yield();
}

static void push(struct ring *ring, void *block)
{
    uint64_t pushed = atomic_load_explicit(&ring->pushed, memory_order_relaxed);

    wait_while(&ring->popped, pushed - RING_SLOTS);
    ring->slots[pushed % RING_SLOTS] = block;
    atomic_store_explicit(&ring->pushed, pushed + 1, memory_order_release);
}

static void *pop(struct ring *ring)
{
    uint64_t popped = atomic_load_explicit(&ring->popped, memory_order_relaxed);
    void *block;

    wait_while(&ring->pushed, popped);
    block = ring->slots[popped % RING_SLOTS];
    atomic_store_explicit(&ring->popped, popped + 1, memory_order_release);
    return block;
}

static void *consume(void *argument)
{
    struct ring *ring = argument;

    for (void *block; (block = pop(ring));)
        give(ring->worker, block);
    return NULL;
}

static void start_consumer(struct worker *worker)
{
    struct ring *ring = map_resident(sizeof(*ring));

    ring->worker = worker;
    worker->own = ring;
    if (pthread_create(&ring->consumer, NULL, consume, ring))
        fail("cannot start a thread");
}

static void stop_consumer(struct worker *worker)
{
    struct ring *ring = worker->own;

    push(ring, NULL);
    pthread_join(ring->consumer, NULL);
}

/* live_count kept buffers are enough for the floor: a full ring and one in each thread's hands. */
static void run_prodcons(struct worker *worker, uint64_t ops)
{
    struct ring *ring = worker->own;

    while (ops--) {
        uint64_t pushed = atomic_load_explicit(&ring->pushed, memory_order_relaxed);
        unsigned slot = (unsigned)(pushed % (RING_SLOTS + 2));
        void *block = take(worker, slot, worker->size_bytes);

        touch(worker, block, 0, worker->size_bytes);
        push(ring, block);
    }
}

/* ------------------------------------------------------------------------------------------- */

const struct workload workloads[] = {
    {.name = "pair", .run = run_pair, .default_bytes = MIB,
     .operation = "malloc and free, untouched"},
    {.name = "touch", .run = run_touch, .default_bytes = MIB,
     .operation = "malloc, write one byte of each page, free"},
    {.name = "fill", .run = run_fill, .default_bytes = MIB,
     .operation = "malloc, memset, free"},
    {.name = "calloc", .run = run_calloc, .default_bytes = MIB,
     .operation = "calloc, write one byte of each page, free (floor: memset and the writes)"},
    {.name = "sparse", .run = run_sparse, .default_bytes = 64 * MIB,
     .operation = "calloc, write one byte of each MiB, free"},
    {.name = "small", .run = run_small, .default_bytes = 1000, .min_bytes = SMALL_MIN_BYTES, .live_count = 256,
     .operation = "replace one of 256 live blocks of 16 to --size bytes"},
    {.name = "batch", .run = run_batch, .default_bytes = MIB, .live_count = 64, .ops_granule = 64,
     .operation = "one of 64 buffers taken and touched one after another, then freed backwards"},
    {.name = "mixed", .run = run_mixed, .default_bytes = 16 * MIB, .min_bytes = MIXED_MIN_BYTES,
     .live_count = MIXED_LIVE, .ops_granule = MIXED_STRATA, .start = start_mixed,
     .operation = "replace one of 32 live buffers (a thread) of log-uniform size 64K to --size, touch it"},
    {.name = "grow", .run = run_grow, .default_bytes = 64 * MIB, .min_bytes = GROW_FROM_BYTES,
     .operation = "realloc from 64K to --size by halves, touching what is new, free"},
    {.name = "grow_step", .run = run_grow_step, .default_bytes = 16 * MIB, .min_bytes = GROW_FROM_BYTES,
     .operation = "realloc from 64K to --size by steps of 64K, touching what is new, free"},
    {.name = "grow_two", .run = run_grow_two, .default_bytes = 64 * MIB, .min_bytes = GROW_FROM_BYTES, .live_count = 2,
     .operation = "as grow, two blocks in turn"},
    {.name = "grow_mixed", .run = run_grow_mixed, .default_bytes = 16 * MIB, .min_bytes = MIXED_MIN_BYTES,
     .live_count = MIXED_LIVE, .ops_granule = MIXED_STRATA, .start = start_mixed,
     .operation = "as mixed, by realloc from 64K by halves, touching what is new"},
    {.name = "grow_cold", .run = run_grow_cold, .default_bytes = 4096 * MIB, .min_bytes = MIB, .is_cold = true,
     .operation = "realloc from 1M to --size by steps of 1M, touching what is new, once (floor: in a fresh mapping)"},
    {.name = "triad", .run = run_triad, .default_bytes = MIB, .live_count = 3, .start = take_arrays,
     .stop = give_arrays, .operation = "a = b + 3 c over whole arrays of --size, all taken at the start"},
    {.name = "update", .run = run_update, .default_bytes = MIB, .live_count = UPDATE_ARRAYS, .start = take_arrays,
     .stop = give_arrays, .operation = "one array updated from nine others"},
    {.name = "stencil", .run = run_stencil, .default_bytes = MIB, .live_count = 4, .start = take_arrays,
     .stop = give_arrays, .operation = "a step of a wave on a grid: five points of one array, one each of three"},
    {.name = "prodcons", .run = run_prodcons, .default_bytes = MIB, .live_count = RING_SLOTS + 2,
     .start = start_consumer, .stop = stop_consumer,
     .operation = "malloc and touch in one thread, free in another; --threads counts pairs"},
    {.name = "load", .run = run_load, .default_bytes = 64 * MIB, .reads_file = true,
     .operation = "read a cached file of --size bytes into one block, free it"},
    {.name = NULL},
};
