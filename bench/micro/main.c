/* SPDX-License-Identifier: MIT */
/*
 * Runs one workload under whatever allocator the process has, and prints one line of JSON.
 *
 * Each thread repeats short batches of operations: the median batch is what one usually pays, the best
 * one is the machine undisturbed. Everything the program needs for itself is mapped before the start,
 * so that the faults and the memory it reports are the workload's.
 */
#include "workload.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    BATCH_NS = 500 * 1000,       /* a clock reading at both ends costs less than 0.02 % of this */
    BATCHES_MIN = 2,
    BATCHES_KEPT = 1 << 14,      /* the last ones, a thread */
    WARM_UP_SHARE = 4,           /* a quarter of the time, or of the operations, and not measured */
};

struct options {
    const struct workload *workload;
    size_t size_bytes;
    unsigned threads;
    bool floor;
    uint64_t limit_ns;           /* whichever limit comes first; two batches are always run */
    uint64_t limit_ops;
    const char *file;
};

/* What one thread measured. */
struct tally {
    _Alignas(CACHE_LINE_BYTES) uint64_t ops;
    uint64_t pages;
    uint64_t ns;
    uint64_t batches;
    double *batch_ns;            /* ns per operation of the last BATCHES_KEPT batches */
};

static struct options options = {.threads = 1, .limit_ns = 500000000, .limit_ops = UINT64_MAX};
static struct worker workers[MAX_THREADS];
static struct tally tallies[MAX_THREADS];
static struct {
    uint64_t faults;             /* while measuring */
    uint64_t peak_rss_bytes;
} counters;
static pthread_barrier_t barrier;

void fail(const char *what)
{
    fprintf(stderr, "workload: %s\n", what);
    _exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static void *map(size_t bytes, int flags)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

    if (memory == MAP_FAILED)
        fail("out of memory");
    return memory;
}

void *map_resident(size_t bytes)
{
    return map(bytes, MAP_POPULATE);
}

/* --- the process's counters ---------------------------------------------------------------- */

static uint64_t minor_faults(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)usage.ru_minflt;
}

static uint64_t peak_rss_bytes(void)
{
    static char text[8192];
    int file = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t got = file < 0 ? -1 : read(file, text, sizeof(text) - 1);
    const char *field = got < 0 ? NULL : strstr(text, "VmHWM:");

    if (file >= 0)
        close(file);
    return field ? strtoull(field + strlen("VmHWM:"), NULL, 10) * 1024 : 0;
}

/* --- what a thread does -------------------------------------------------------------------- */

/* Kept buffers begin in different cache lines of their pages, as those of a good allocator do. */
static void keep_buffers(struct worker *worker, unsigned count)
{
    size_t bytes = (worker->size_bytes + CACHE_LINE_BYTES - 1) & ~(size_t)(CACHE_LINE_BYTES - 1);

    if (bytes >= worker->page_bytes) {
        bytes = (bytes + worker->page_bytes - 1) & ~(worker->page_bytes - 1);
        bytes += CACHE_LINE_BYTES;
    }
    worker->kept_stride_bytes = bytes;
    worker->kept = map(count * bytes, worker->workload->is_cold ? 0 : MAP_POPULATE);
}

static uint64_t run_batch(struct worker *worker, uint64_t ops)
{
    uint64_t start_ns = now_ns();

    worker->workload->run(worker, ops);
    return now_ns() - start_ns;
}

/* Returns how many operations make a batch of at least BATCH_NS. */
static uint64_t warm_up(struct worker *worker)
{
    uint64_t batch_ops = worker->workload->ops_granule ? worker->workload->ops_granule : 1;
    uint64_t end_ns = now_ns() + options.limit_ns / WARM_UP_SHARE;
    uint64_t ops = 0;

    for (;;) {
        uint64_t ns = run_batch(worker, batch_ops);

        ops += batch_ops;
        if (now_ns() >= end_ns || ops >= options.limit_ops / WARM_UP_SHARE)
            return batch_ops;
        if (ns < BATCH_NS)
            batch_ops *= 2;
    }
}

static void measure(struct worker *worker, struct tally *tally, uint64_t batch_ops)
{
    uint64_t batches_min = worker->workload->is_cold ? 1 : BATCHES_MIN;
    uint64_t limit_ops = worker->workload->is_cold ? 1 : options.limit_ops;
    uint64_t pages_before = worker->pages_touched;
    uint64_t start_ns = now_ns();

    do {
        uint64_t ns = run_batch(worker, batch_ops);

        tally->batch_ns[tally->batches++ % BATCHES_KEPT] = (double)ns / (double)batch_ops;
        tally->ops += batch_ops;
        tally->ns = now_ns() - start_ns;
    } while (tally->batches < batches_min || (tally->ns < options.limit_ns && tally->ops < limit_ops));
    tally->pages = worker->pages_touched - pages_before;
}

/*
 * Worker 0 is the main thread: one thread must mean a process with one thread, since allocators treat
 * that, and the main thread, in ways of their own. It reads the process's counters while the others wait.
 */
static void *run_worker(void *argument)
{
    struct worker *worker = argument;
    struct tally *tally = &tallies[worker - workers];
    bool reads_counters = worker == workers;
    uint64_t batch_ops;

    if (worker->workload->start)
        worker->workload->start(worker);
    pthread_barrier_wait(&barrier);
    batch_ops = worker->workload->is_cold ? 1 : warm_up(worker);
    pthread_barrier_wait(&barrier);
    if (reads_counters)
        counters.faults = minor_faults();
    pthread_barrier_wait(&barrier);
    measure(worker, tally, batch_ops);
    pthread_barrier_wait(&barrier);
    if (reads_counters) {
        counters.faults = minor_faults() - counters.faults;
        counters.peak_rss_bytes = peak_rss_bytes();
    }
    pthread_barrier_wait(&barrier);
    if (worker->workload->stop)
        worker->workload->stop(worker);
    return NULL;
}

static void prepare_worker(struct worker *worker, unsigned index, int file)
{
    const struct workload *workload = options.workload;

    worker->workload = workload;
    worker->size_bytes = options.size_bytes;
    worker->page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    worker->floor = options.floor;
    worker->file = file;
    worker->random = index;
    if (workload->live_count)
        worker->live = map_resident(workload->live_count * sizeof(*worker->live));
    if (options.floor)
        keep_buffers(worker, workload->live_count ? workload->live_count : 1);
    tallies[index].batch_ns = map_resident(BATCHES_KEPT * sizeof(double));
}

/* --- before and after ---------------------------------------------------------------------- */

/* The file that `load` reads: --file if given, else a temporary one, written here and so in the page cache. */
static int open_file(void)
{
    char path[4096];
    const char *folder = getenv("TMPDIR");
    char *text;
    int file;

    if (options.file) {
        struct stat status;

        file = open(options.file, O_RDONLY | O_CLOEXEC);
        if (file < 0 || fstat(file, &status) || (size_t)status.st_size < options.size_bytes)
            fail("--file: cannot be opened, or is shorter than --size");
        return file;
    }
    snprintf(path, sizeof(path), "%s/workload.XXXXXX", folder ? folder : "/tmp");
    file = mkstemp(path);
    if (file < 0)
        fail("cannot make a temporary file");
    unlink(path);
    text = map_resident(1 << 20);
    for (size_t done = 0; done < options.size_bytes;) {
        size_t left = options.size_bytes - done;
        ssize_t put = write(file, text, left < 1 << 20 ? left : 1 << 20);

        if (put <= 0)
            fail("cannot write the temporary file");
        done += (size_t)put;
    }
    munmap(text, 1 << 20);
    return file;
}

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;

    return (a > b) - (a < b);
}

static void report(void)
{
    double *batch_ns = map_resident(sizeof(*batch_ns) * BATCHES_KEPT * options.threads);
    size_t batches = 0;
    uint64_t ops = 0;
    uint64_t pages = 0;
    double mean_ns = 0;
    size_t peak_live_bytes = 0;

    for (unsigned i = 0; i < options.threads; i++) {
        const struct tally *tally = &tallies[i];
        size_t kept = tally->batches < BATCHES_KEPT ? tally->batches : BATCHES_KEPT;

        memcpy(batch_ns + batches, tally->batch_ns, kept * sizeof(*batch_ns));
        batches += kept;
        ops += tally->ops;
        pages += tally->pages;
        peak_live_bytes += workers[i].peak_live_bytes;
        mean_ns += (double)tally->ns / (double)tally->ops / options.threads;
    }
    qsort(batch_ns, batches, sizeof(*batch_ns), compare_doubles);
    printf("{\"workload\": \"%s\", \"size_bytes\": %zu, \"threads\": %u, \"floor\": %s, \"ops\": %" PRIu64
           ", \"batches\": %zu, \"median_ns\": %.3f, \"best_ns\": %.3f, \"mean_ns\": %.3f"
           ", \"faults_per_op\": %.6f, \"faults_per_page\": %.6f, \"peak_rss_bytes\": %" PRIu64
           ", \"peak_live_bytes\": %zu}\n",
           options.workload->name, options.size_bytes, options.threads, options.floor ? "true" : "false", ops,
           batches, batch_ns[batches / 2], batch_ns[0], mean_ns, (double)counters.faults / (double)ops,
           pages ? (double)counters.faults / (double)pages : 0.0, counters.peak_rss_bytes,
           peak_live_bytes);
}

/* --- options ------------------------------------------------------------------------------- */

static void print_help(void)
{
    puts("usage: workload NAME [--size BYTES[K|M|G]] [--threads N] [--seconds S] [--ops N] [--file PATH] [--floor]\n"
         "--ops counts a thread's operations; the first limit reached ends the run. One operation of each workload:");
    for (const struct workload *w = workloads; w->name; w++)
        printf("  %-10s %s\n", w->name, w->operation);
}

static size_t parse_size(const char *text)
{
    static const char units[] = "KMG";
    char *end;
    uint64_t size_bytes = strtoull(text, &end, 10);
    const char *unit = *end ? strchr(units, *end) : NULL;

    if (end == text || (*end && (!unit || end[1])))
        fail("--size: not a size");
    return unit ? size_bytes << (10 * (unit - units + 1)) : size_bytes;
}

static const struct workload *find_workload(const char *name)
{
    for (const struct workload *w = workloads; w->name; w++)
        if (!strcmp(w->name, name))
            return w;
    fail("no such workload; --help lists them");
}

static void parse_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"size", required_argument, NULL, 's'}, {"threads", required_argument, NULL, 't'},
        {"seconds", required_argument, NULL, 'd'}, {"ops", required_argument, NULL, 'n'},
        {"file", required_argument, NULL, 'f'}, {"floor", no_argument, NULL, 'k'},
        {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0},
    };

    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;)
        switch (c) {
        case 's': options.size_bytes = parse_size(optarg); break;
        case 't': options.threads = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'd': options.limit_ns = (uint64_t)(strtod(optarg, NULL) * 1e9); break;
        case 'n': options.limit_ops = strtoull(optarg, NULL, 10); break;
        case 'f': options.file = optarg; break;
        case 'k': options.floor = true; break;
        case 'h': print_help(); exit(0);
        default: exit(2);
        }
    if (optind + 1 != argc)
        fail("name one workload; --help lists them");
    options.workload = find_workload(argv[optind]);
    if (!options.size_bytes)
        options.size_bytes = options.workload->default_bytes;
    if (options.size_bytes < options.workload->min_bytes)
        fail("--size: too small for this workload");
    if (options.threads < 1 || options.threads > MAX_THREADS)
        fail("--threads: 1 to 64");
}

int main(int argc, char **argv)
{
    pthread_t threads[MAX_THREADS];
    int file;

    parse_options(argc, argv);
    file = options.workload->reads_file ? open_file() : -1;
    for (unsigned i = 0; i < options.threads; i++)
        prepare_worker(&workers[i], i, file);
    pthread_barrier_init(&barrier, NULL, options.threads);
    for (unsigned i = 1; i < options.threads; i++)
        if (pthread_create(&threads[i], NULL, run_worker, &workers[i]))
            fail("cannot start a thread");
    run_worker(&workers[0]);
    for (unsigned i = 1; i < options.threads; i++)
        pthread_join(threads[i], NULL);
    report();
    return 0;
}
