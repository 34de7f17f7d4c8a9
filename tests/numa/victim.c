/* SPDX-License-Identifier: MIT */
/*
 * Programs for machines with several memory nodes: each deed allocates, touches, and asks the kernel where its pages
 * are. It knows nothing of the pool; under the C library alone the same must hold unless it says so.
 *
 * victim DEED ARGUMENT...; CPU:NODE is a CPU to run on and the node where memory should then be.
 */
#include <errno.h>
#include <numaif.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)
#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

enum { NODES_MAX = 64, RING = 16 };

static size_t page_bytes;

#define CHECK(condition, ...)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            (void)fprintf(stderr, "victim: line %d: %s: ", __LINE__, #condition);                                      \
            (void)fprintf(stderr, __VA_ARGS__);                                                                        \
            (void)fputc('\n', stderr);                                                                                 \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

struct spot {
    int cpu;
    int node;
};

static struct spot spot_of(const char *text)
{
    struct spot spot;
    CHECK(sscanf(text, "%d:%d", &spot.cpu, &spot.node) == 2, "%s is not CPU:NODE", text);
    return spot;
}

static void run_on(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    CHECK(sched_setaffinity(0, sizeof set, &set) == 0, "CPU %d: %s", cpu, strerror(errno));
}

/* A page that was marked to see who uses it (numa_balancing) counts as absent until somebody does. */
static void touch(void **pages, size_t count)
{
    for (size_t i = 0; i < count; i++)
        (void)*(volatile char *)pages[i];
}

/* How many of the block's pages, which were all written to, are on each node. Returns how many there are in memory. */
static size_t locate(const char *block, size_t bytes, size_t ret_counts[NODES_MAX])
{
    const char *first = block - ((uintptr_t)block & (page_bytes - 1));
    size_t count = ((size_t)(block + bytes - first) + page_bytes - 1) / page_bytes;
    void **pages = calloc(count, sizeof *pages);
    int *nodes = calloc(count, sizeof *nodes);
    CHECK(pages && nodes, "no memory");
    for (size_t i = 0; i < count; i++)
        pages[i] = (char *)(uintptr_t)(first + i * page_bytes);
    size_t present = 0;
    for (int attempt = 0; attempt < 10 && present < count; attempt++) {
        touch(pages, count);
        CHECK(move_pages(0, count, pages, NULL, nodes, 0) == 0, "%s", strerror(errno));
        present = 0;
        memset(ret_counts, 0, NODES_MAX * sizeof *ret_counts);
        for (size_t i = 0; i < count; i++) {
            if (nodes[i] >= 0 && nodes[i] < NODES_MAX) {
                ret_counts[nodes[i]]++;
                present++;
            }
        }
    }
    free(pages);
    free(nodes);
    return present;
}

static void expect_on(const char *block, size_t bytes, int node, const char *what)
{
    size_t counts[NODES_MAX];
    size_t present = locate(block, bytes, counts);
    CHECK(present >= bytes / page_bytes, "%s: %zu of %zu pages", what, present, bytes / page_bytes);
    CHECK(counts[node] == present, "%s, %zu KiB: %zu of %zu pages on node %d", what, bytes / KIB, counts[node], present,
          node);
}

static char *take(size_t bytes)
{
    char *block = malloc(bytes);
    CHECK(block, "no %zu bytes", bytes);
    memset(block, 0x5a, bytes);
    return block;
}

static const size_t sizes[] = {128 * KIB, 300 * KIB, MIB, 3 * MIB, 20 * MIB};

/* --- local CPU:NODE... --- fresh and recycled memory is where the thread runs, for threads one after the other */

static void *be_local(void *argument)
{
    const struct spot *spot = argument;
    run_on(spot->cpu);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < LENGTH(sizes); i++) {
            char *block = take(sizes[i]);
            expect_on(block, sizes[i], spot->node, round == 0 ? "fresh" : "recycled");
            free(block);
        }
        char *blocks[40];
        for (size_t i = 0; i < LENGTH(blocks); i++)
            blocks[i] = take(200 * KIB);
        for (size_t i = 0; i < LENGTH(blocks); i++) {
            expect_on(blocks[i], 200 * KIB, spot->node, "one of many");
            free(blocks[i]);
        }
    }
    char *grown = take(MIB);
    for (size_t bytes = 2 * MIB; bytes <= 16 * MIB; bytes *= 2) {
        grown = realloc(grown, bytes);
        CHECK(grown, "no memory");
        memset(grown, 1, bytes);
        expect_on(grown, bytes, spot->node, "grown");
    }
    free(grown);
    char *cleared = calloc(1, 2 * MIB);
    CHECK(cleared && cleared[0] == 0 && memcmp(cleared, cleared + 1, 2 * MIB - 1) == 0, "not zero");
    memset(cleared, 1, 2 * MIB);
    expect_on(cleared, 2 * MIB, spot->node, "cleared");
    free(cleared);
    return NULL;
}

static void local(int count, char **arguments)
{
    for (int i = 0; i < count; i++) {
        struct spot spot = spot_of(arguments[i]);
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, be_local, &spot) == 0, "no thread");
        (void)pthread_join(thread, NULL);
    }
}

/* --- follow CPU:NODE CPU:NODE MS --- memory follows a thread that was moved, after a wait with small requests */

static void wait_ms(long ms)
{
    for (long i = 0; i < ms; i++) {
        for (int n = 0; n < 600; n++)
            free(malloc(100));
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

static void follow(int count, char **arguments)
{
    CHECK(count == 3, "three arguments");
    struct spot spots[] = {spot_of(arguments[0]), spot_of(arguments[1])};
    for (int i = 0; i < 6; i++) {
        struct spot spot = spots[i % 2];
        run_on(spot.cpu);
        wait_ms(atol(arguments[2]));
        for (int round = 0; round < 5; round++) {
            char *block = take(MIB);
            expect_on(block, MIB, spot.node, "after the move");
            free(block);
        }
    }
}

/* --- remote CPU:NODE CPU:NODE ROUNDS --- one thread allocates, one elsewhere frees */

struct ring {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    char *blocks[RING];
    size_t filled;
    size_t emptied;
    size_t rounds;
    struct spot consumer;
};

static void *consume(void *argument)
{
    struct ring *ring = argument;
    run_on(ring->consumer.cpu);
    for (size_t i = 0; i < ring->rounds; i++) {
        (void)pthread_mutex_lock(&ring->mutex);
        while (ring->filled == i)
            (void)pthread_cond_wait(&ring->changed, &ring->mutex);
        char *block = ring->blocks[i % RING];
        ring->emptied++;
        (void)pthread_cond_broadcast(&ring->changed);
        (void)pthread_mutex_unlock(&ring->mutex);
        CHECK(block[0] == 0x5a, "contents");
        free(block);
        if (i % 50 == 0) { /* something of its own, too */
            char *own = take(256 * KIB);
            expect_on(own, 256 * KIB, ring->consumer.node, "the consumer's own");
            free(own);
        }
    }
    return NULL;
}

static void remote(int count, char **arguments)
{
    CHECK(count == 3, "three arguments");
    struct spot producer = spot_of(arguments[0]);
    static struct ring ring = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    ring.consumer = spot_of(arguments[1]);
    ring.rounds = (size_t)atol(arguments[2]);
    run_on(producer.cpu);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, consume, &ring) == 0, "no thread");
    for (size_t i = 0; i < ring.rounds; i++) {
        char *block = take(256 * KIB);
        if (i % 10 == 0)
            expect_on(block, 256 * KIB, producer.node, "the producer's");
        (void)pthread_mutex_lock(&ring.mutex);
        while (ring.filled - ring.emptied == RING)
            (void)pthread_cond_wait(&ring.changed, &ring.mutex);
        ring.blocks[i % RING] = block;
        ring.filled++;
        (void)pthread_cond_broadcast(&ring.changed);
        (void)pthread_mutex_unlock(&ring.mutex);
    }
    (void)pthread_join(thread, NULL);
}

/* --- spread CPU NODE... --- pages come from these nodes in turn */

static void expect_spread(const char *block, size_t bytes, const int *nodes, int count)
{
    size_t counts[NODES_MAX];
    size_t present = locate(block, bytes, counts);
    for (int i = 0; i < count; i++) {
        size_t share = counts[nodes[i]] * (size_t)count;
        CHECK(share >= present / 10 * 9 && share <= present / 10 * 11 + (size_t)count,
              "%zu of %zu pages on node %d of %d", counts[nodes[i]], present, nodes[i], count);
    }
}

static void spread(int count, char **arguments)
{
    int nodes[NODES_MAX];
    run_on(atoi(arguments[0]));
    for (int i = 1; i < count; i++)
        nodes[i - 1] = atoi(arguments[i]);
    for (int round = 0; round < 3; round++) {
        char *block = take(4 * MIB);
        expect_spread(block, 4 * MIB, nodes, count - 1);
        free(block);
    }
}

/* --- policies CPU:NODE NODE --- threads set policies of their own, to the other node, to all and to none */

static void set_policy(int mode, unsigned long nodes)
{
    CHECK(set_mempolicy(mode, nodes != 0 ? &nodes : NULL, nodes != 0 ? 8 * sizeof nodes : 0) == 0, "%s",
          strerror(errno));
}

struct policies {
    struct spot spot;
    int other;
};

static void *set_policies(void *argument)
{
    const struct policies *policies = argument;
    int here = policies->spot.node;
    int other = policies->other;
    run_on(policies->spot.cpu);
    for (int round = 0; round < 3; round++) {
        char *block = take(MIB);
        expect_on(block, MIB, here, "without a policy");
        free(block);
        set_policy(MPOL_BIND, 1ul << other);
        block = take(MIB);
        expect_on(block, MIB, other, "bound");
        set_policy(MPOL_PREFERRED, 1ul << other);
        free(block);
        block = take(MIB);
        expect_on(block, MIB, other, "preferred");
        set_policy(MPOL_INTERLEAVE, 1ul << here | 1ul << other);
        free(block);
        block = take(4 * MIB);
        expect_spread(block, 4 * MIB, (int[]){here, other}, 2);
        set_policy(MPOL_DEFAULT, 0);
        free(block);
    }
    return NULL;
}

static void policies(int count, char **arguments)
{
    CHECK(count == 2, "two arguments");
    struct policies wanted = {.spot = spot_of(arguments[0]), .other = atoi(arguments[1])};
    for (int i = 0; i < 2; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, set_policies, &wanted) == 0, "no thread");
        (void)pthread_join(thread, NULL);
    }
}

/* --- own CPU NODE,NODE... --- threads that spread over two nodes each; large, so that no allocator keeps anything */

static void *spread_over(void *argument)
{
    int nodes[2];
    CHECK(sscanf(argument, "%d,%d", &nodes[0], &nodes[1]) == 2, "%s is not NODE,NODE", (char *)argument);
    set_policy(MPOL_INTERLEAVE, 1ul << nodes[0] | 1ul << nodes[1]);
    for (int round = 0; round < 2; round++) {
        char *block = take(40 * MIB);
        expect_spread(block, 40 * MIB, nodes, 2);
        free(block);
    }
    return NULL;
}

static void own(int count, char **arguments)
{
    run_on(atoi(arguments[0]));
    free(take(MIB)); /* what the first such block finds counts as the policy of the process */
    for (int i = 1; i < count; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, spread_over, arguments[i]) == 0, "no thread");
        (void)pthread_join(thread, NULL);
    }
}

/* --- fill CPU MIB --- more than a node has; all of it must be had, keep its contents, and go */

static void stamp(char *block, size_t bytes, size_t seed)
{
    for (size_t i = 0; i < bytes; i += page_bytes)
        memcpy(block + i, &(size_t){seed + i}, sizeof(size_t));
}

static void expect_stamp(const char *block, size_t bytes, size_t seed)
{
    for (size_t i = 0; i < bytes; i += page_bytes)
        CHECK(memcmp(block + i, &(size_t){seed + i}, sizeof(size_t)) == 0, "block %zu at %zu", seed, i);
}

static void fill(int count, char **arguments)
{
    CHECK(count == 2, "two arguments");
    run_on(atoi(arguments[0]));
    size_t blocks_count = (size_t)atol(arguments[1]) / 4;
    char **blocks = calloc(blocks_count, sizeof *blocks);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < blocks_count; i++) {
            blocks[i] = malloc(4 * MIB - 4 * KIB);
            CHECK(blocks[i], "block %zu of %zu", i, blocks_count);
            stamp(blocks[i], 4 * MIB - 4 * KIB, i);
        }
        for (size_t i = 0; i < blocks_count; i++) {
            expect_stamp(blocks[i], 4 * MIB - 4 * KIB, i);
            free(blocks[i]);
        }
    }
    free(blocks);
}

static void write_to(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    CHECK(file, "%s: %s", path, strerror(errno));
    (void)fputs(text, file);
    CHECK(fclose(file) == 0, "%s: %s", path, strerror(errno));
}

/* --- prefilled CPU:NODE COUNT --- blocks of a MiB whose pages are there, on the node, before they are touched */

static void prefilled(int count, char **arguments)
{
    CHECK(count == 2, "two arguments");
    struct spot spot = spot_of(arguments[0]);
    size_t blocks_count = (size_t)atol(arguments[1]);
    char **blocks = calloc(blocks_count, sizeof *blocks);
    CHECK(blocks, "no memory");
    run_on(spot.cpu);
    for (size_t i = 0; i < blocks_count; i++) {
        blocks[i] = malloc(MIB);
        CHECK(blocks[i], "no memory");
        unsigned char there;
        CHECK(mincore(blocks[i] - ((uintptr_t)blocks[i] & (page_bytes - 1)), 1, &there) == 0 && (there & 1) != 0,
              "block %zu has no memory yet", i);
        expect_on(blocks[i], MIB, spot.node, "prefilled");
    }
    for (size_t i = 0; i < blocks_count; i++)
        free(blocks[i]);
    free(blocks);
}

/* --- sizes CPU MIB --- all of it in blocks of one size after the other; each is freed before the next */

static void sizes_in_turn(int count, char **arguments)
{
    static const size_t turns[] = {100 * KIB, 200 * KIB, 3 * MIB};
    CHECK(count == 2, "two arguments");
    run_on(atoi(arguments[0]));
    size_t all_bytes = (size_t)atol(arguments[1]) * MIB;
    char **blocks = calloc(all_bytes / (64 * KIB), sizeof *blocks);
    CHECK(blocks, "no memory");
    for (size_t turn = 0; turn < LENGTH(turns); turn++) {
        size_t blocks_count = all_bytes / turns[turn];
        for (size_t i = 0; i < blocks_count; i++) {
            blocks[i] = malloc(turns[turn]);
            CHECK(blocks[i], "block %zu of %zu", i, blocks_count);
            stamp(blocks[i], turns[turn], i);
        }
        for (size_t i = 0; i < blocks_count; i++) {
            expect_stamp(blocks[i], turns[turn], i);
            free(blocks[i]);
        }
    }
    free(blocks);
}

/* --- steal CPU MIB CPU:NODE... --- threads leave buffers at nodes, the farthest first; then a full node gets them */

enum { LEFT_COUNT = 10 };

static void *leave_some(void *argument)
{
    const struct spot *spot = argument;
    char *blocks[LEFT_COUNT];
    run_on(spot->cpu);
    for (size_t i = 0; i < LEFT_COUNT; i++) {
        blocks[i] = take(MIB);
        expect_on(blocks[i], MIB, spot->node, "what is left");
    }
    for (size_t i = 0; i < LEFT_COUNT; i++)
        free(blocks[i]);
    return NULL;
}

static void steal(int count, char **arguments)
{
    for (int i = 2; i < count; i++) {
        struct spot spot = spot_of(arguments[i]);
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, leave_some, &spot) == 0, "no thread");
        (void)pthread_join(thread, NULL);
    }
    run_on(atoi(arguments[0]));
    for (long left = atol(arguments[1]) / 4; left > 0; left--)
        (void)take(4 * MIB - 8 * KIB);
    for (int i = count - 1; i >= 2; i--) {
        for (size_t j = 0; j < LEFT_COUNT; j++) {
            char *block = malloc(MIB);
            CHECK(block, "no memory");
            expect_on(block, MIB, spot_of(arguments[i]).node, "the nearest that is left");
        }
    }
}

/* --- narrow CGROUP CPU:NODE --- the program is put into a cpuset while it runs */

static void narrow(int count, char **arguments)
{
    CHECK(count == 2, "two arguments");
    struct spot spot = spot_of(arguments[1]);
    char *blocks[16];
    for (size_t i = 0; i < LENGTH(blocks); i++)
        stamp(blocks[i] = take(MIB), MIB, i);
    for (size_t i = 0; i < LENGTH(blocks); i += 2)
        free(blocks[i]);
    write_to(arguments[0], "0");
    run_on(spot.cpu);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < LENGTH(blocks); i += 2) {
            stamp(blocks[i] = take((1 + (size_t)round) * MIB), MIB, i);
            expect_on(blocks[i], MIB, spot.node, "in the cpuset");
        }
        for (size_t i = 0; i < LENGTH(blocks); i += 2)
            free(blocks[i]);
    }
    for (size_t i = 1; i < LENGTH(blocks); i += 2) {
        expect_stamp(blocks[i], MIB, i);
        free(blocks[i]);
    }
}

/* --- offline NODE --- takes a node's memory away while blocks and free buffers lie there */

static size_t take_offline(int node)
{
    size_t offline = 0;
    for (int number = 0; number < 512; number++) {
        char path[96];
        (void)snprintf(path, sizeof path, "/sys/devices/system/node/node%d/memory%d/state", node, number);
        if (access(path, W_OK) == 0) {
            write_to(path, "offline");
            offline++;
        }
    }
    return offline;
}

static void offline(int count, char **arguments)
{
    CHECK(count == 1, "one argument");
    int node = atoi(arguments[0]);
    set_policy(MPOL_PREFERRED, 1ul << node);
    char *blocks[32];
    for (size_t i = 0; i < LENGTH(blocks); i++) {
        blocks[i] = take(2 * MIB);
        expect_on(blocks[i], 2 * MIB, node, "before");
        stamp(blocks[i], 2 * MIB, i);
    }
    for (size_t i = 0; i < LENGTH(blocks); i += 2)
        free(blocks[i]);
    CHECK(take_offline(node) > 0, "nothing to take offline");
    for (size_t i = 1; i < LENGTH(blocks); i += 2)
        expect_stamp(blocks[i], 2 * MIB, i);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < LENGTH(blocks); i += 2) {
            blocks[i] = malloc((size_t)(5 + round) * MIB);
            CHECK(blocks[i], "no memory afterwards");
            stamp(blocks[i], (size_t)(5 + round) * MIB, i);
        }
        for (size_t i = 0; i < LENGTH(blocks); i += 2) {
            expect_stamp(blocks[i], (size_t)(5 + round) * MIB, i);
            free(blocks[i]);
        }
    }
    for (size_t i = 1; i < LENGTH(blocks); i += 2) {
        expect_stamp(blocks[i], 2 * MIB, i);
        free(blocks[i]);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*function)(int count, char **arguments);
    } deeds[] = {{"local", local}, {"follow", follow}, {"remote", remote}, {"spread", spread},
                 {"policies", policies}, {"own", own}, {"fill", fill}, {"offline", offline}, {"prefilled", prefilled},
                 {"sizes", sizes_in_turn}, {"steal", steal}, {"narrow", narrow}};
    page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; argc > 2 && i < LENGTH(deeds); i++) {
        if (strcmp(argv[1], deeds[i].name) == 0) {
            deeds[i].function(argc - 2, argv + 2);
            return 0;
        }
    }
    (void)fprintf(stderr, "victim: no such deed\n");
    return 2;
}
