/* SPDX-License-Identifier: MIT */
#include "streams.h"

#include <math.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

enum {
    STEP_US = 20,       /* between two events of a busy program */
    PAUSE_US = 200,     /* in which a set of buffers is worked with */
    BLOCKS_MAX = 4096,
};

/* A program in the making. Blocks are numbered by their place in `bytes`. */
struct program {
    struct trace *trace;
    uint64_t time_us;
    uint64_t random;
    unsigned thread;
    size_t bytes[BLOCKS_MAX]; /* 0: not live */
};

/* splitmix64: every seed is a good seed. */
static uint64_t next_random(struct program *program)
{
    uint64_t z = (program->random += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

static size_t below(struct program *program, size_t limit)
{
    return next_random(program) % limit;
}

static double uniform(struct program *program)
{
    return (double)(next_random(program) >> 11) / 0x1p53;
}

/* Log-uniform, in whole KiB so that every machine's libm gives the same. */
static size_t any_size(struct program *program, size_t least, size_t most)
{
    return (size_t)((double)(least / KIB) * pow((double)most / (double)least, uniform(program))) * KIB;
}

static void add(struct program *program, enum deed deed, size_t block, size_t bytes)
{
    const char *wrong = trace_add(program->trace, program->time_us, program->thread, deed, block, bytes);
    if (wrong)
        fail("made up: %s", wrong);
    program->bytes[block] = bytes;
    program->time_us += STEP_US;
}

static void take(struct program *program, size_t block, size_t bytes)
{
    add(program, ALLOCATE, block, bytes);
}

static void give(struct program *program, size_t block)
{
    add(program, FREE, block, 0);
}

/* Blocks `first` and following up, and down again in reverse. */
static void up_and_down(struct program *program, size_t first, size_t count, size_t bytes)
{
    for (size_t i = 0; i < count; i++)
        take(program, first + i, bytes);
    program->time_us += PAUSE_US;
    for (size_t i = count; i-- > 0;)
        give(program, first + i);
}

/* ------------------------------------------------------------------------------------------------------------------ */

/* Up to 256 blocks of 1 MiB in use, up and down; now and then one of 512 MiB to 2 GiB, once, wherever that happens. */
static void make_scan(struct trace *trace)
{
    struct program program = {.trace = trace, .random = 1};
    size_t live = 0;
    for (unsigned round = 0; round < 150; round++) {
        for (unsigned leg = 0; leg < 4; leg++) {
            for (size_t target = below(&program, 257); live < target; live++)
                take(&program, live, MIB);
            for (size_t target = below(&program, live + 1); live > target; live--)
                give(&program, live - 1);
        }
        take(&program, BLOCKS_MAX - 1, any_size(&program, 512 * MIB, 2048 * MIB));
        program.time_us += 10 * PAUSE_US;
        give(&program, BLOCKS_MAX - 1);
    }
}

/* Scans that come as often as hits: 128 blocks up and down, then 24 of sizes that are not asked for again soon. */
static void make_sweep(struct trace *trace)
{
    struct program program = {.trace = trace, .random = 2};
    for (unsigned round = 0; round < 120; round++) {
        up_and_down(&program, 0, 128, MIB);
        for (size_t i = 0; i < 24; i++) {
            take(&program, 1024, (size_t)(3 * MIB) << (round * 24 + i) % 7);
            give(&program, 1024);
        }
    }
}

/* A second each of a working set of 192 MiB, in blocks of another size each time. */
static void make_phases(struct trace *trace)
{
    static const size_t sizes[] = {256 * KIB, 4 * MIB, MIB, 16 * MIB, 512 * KIB, 2 * MIB};
    struct program program = {.trace = trace, .random = 3};
    for (unsigned phase = 0; phase < 12; phase++) {
        uint64_t end_us = program.time_us + 1000000;
        size_t bytes = sizes[phase % 6];
        while (program.time_us < end_us) {
            up_and_down(&program, 0, 192 * MIB / bytes, bytes);
            program.time_us += 5 * PAUSE_US;
        }
    }
}

/* The same with 48 MiB, in blocks too small for their pages to be worth moving. */
static void make_smalls(struct trace *trace)
{
    struct program program = {.trace = trace, .random = 9};
    for (unsigned phase = 0; phase < 12; phase++) {
        uint64_t end_us = program.time_us + 1000000;
        size_t bytes = (size_t[]){60 * KIB + 4 * KIB, 100 * KIB, 200 * KIB}[phase % 3];
        while (program.time_us < end_us) {
            up_and_down(&program, 0, 48 * MIB / bytes, bytes);
            program.time_us += 5 * PAUSE_US;
        }
    }
}

/* Sets of 64 MiB in blocks of five sizes, one after the other, for ever: least recently used is wanted next. */
static void make_loop(struct trace *trace)
{
    struct program program = {.trace = trace, .random = 4};
    for (unsigned round = 0; round < 100; round++) {
        for (size_t bytes = 256 * KIB; bytes <= 64 * MIB; bytes *= 4)
            up_and_down(&program, 0, 64 * MIB / bytes, bytes);
    }
}

/* Four threads, each with 32 live blocks of any size from 64 KiB to 16 MiB, one of which is replaced each time. */
static void make_mixed(struct trace *trace)
{
    struct program program = {.trace = trace, .random = 5};
    for (unsigned i = 0; i < 40000; i++) {
        program.thread = (unsigned)below(&program, 4);
        size_t block = program.thread * 32 + below(&program, 32);
        if (program.bytes[block] != 0)
            give(&program, block);
        take(&program, block, any_size(&program, 64 * KIB, 16 * MIB));
    }
}

/* 64 sizes, the k-th asked for 1/k as often as the first; as many live as a random walk says, in any order. */
static void make_zipf(struct trace *trace)
{
    enum { SIZES = 64, LIVE_MAX = 64 };
    struct program program = {.trace = trace, .random = 6};
    size_t sizes[SIZES];
    double weight[SIZES];
    double sum = 0;
    for (size_t i = 0; i < SIZES; i++) {
        sizes[i] = any_size(&program, 64 * KIB, 64 * MIB);
        weight[i] = sum += 1.0 / (double)(i + 1);
    }
    size_t live = 0;
    for (unsigned i = 0; i < 30000; i++) {
        size_t target = below(&program, LIVE_MAX);
        for (unsigned step = 0; step < 8 && live != target; step++) {
            if (live < target) {
                double at = uniform(&program) * sum;
                size_t rank = 0;
                while (rank < SIZES - 1 && weight[rank] < at)
                    rank++;
                take(&program, live++, sizes[rank]);
            } else {
                give(&program, --live);
            }
        }
    }
}

/* Two threads make blocks of 1 MiB, two others free them 16 later; all work with 8 MiB of their own meanwhile. */
static void make_pipeline(struct trace *trace)
{
    enum { RING = 16 };
    struct program program = {.trace = trace, .random = 7};
    for (size_t i = 0; i < 12000; i++) {
        size_t pair = below(&program, 2);
        size_t first = pair * 64;
        program.thread = (unsigned)pair;
        size_t block = first + i % RING;
        if (program.bytes[block] != 0) {
            program.thread += 2;
            give(&program, block);
            program.thread -= 2;
        }
        take(&program, block, MIB);
        if (i % 8 == 0) {
            program.thread = (unsigned)below(&program, 4);
            up_and_down(&program, 512 + program.thread * 8, 1 + below(&program, 4), 8 * MIB);
        }
    }
}

/* Requests come in: 32 to 256 MiB in blocks of one of three sizes, and then nothing for 30 ms to 10 s. */
static void make_bursts(struct trace *trace)
{
    static const size_t sizes[] = {256 * KIB, MIB, 8 * MIB};
    struct program program = {.trace = trace, .random = 8};
    for (unsigned burst = 0; burst < 120; burst++) {
        size_t bytes = sizes[below(&program, 3)];
        size_t count = any_size(&program, 32 * MIB, 256 * MIB) / bytes;
        for (unsigned repeat = 0; repeat < 3; repeat++)
            up_and_down(&program, 0, count, bytes);
        program.time_us += any_size(&program, 30 * KIB, 10000 * KIB) / KIB * 1000;
    }
}

const struct stream streams[] = {
    {"scan", "256 x 1M up and down at random, now and then 0.5G to 2G once", {256, 1024, 3072}, make_scan},
    {"sweep", "128 x 1M up and down, between them 24 of 3M to 192M in turn", {96, 160, 320}, make_sweep},
    {"phases", "192M up and down, each second in blocks of another size", {128, 256, 512}, make_phases},
    {"smalls", "48M up and down, each second in blocks of 64K, 100K or 200K", {32, 64, 128}, make_smalls},
    {"loop", "64M up and down in blocks of five sizes, in turn", {96, 192, 288}, make_loop},
    {"mixed", "4 threads replace one of 32 of 64K to 16M each", {32, 128, 512}, make_mixed},
    {"zipf", "64 sizes of 64K to 64M, the k-th 1/k as often; 0 to 64 live", {64, 192, 512}, make_zipf},
    {"pipeline", "2 threads make 1M, 2 free it, all use 8M between", {16, 48, 96}, make_pipeline},
    {"bursts", "32M to 256M up and down, then a pause of 30 ms to 10 s", {64, 192, 512}, make_bursts},
    {0},
};
