/* SPDX-License-Identifier: MIT */
/*
 * Recorder: a preloaded object that writes a trace of a program's large blocks (see trace.h).
 *
 *     BUFPOOL_TRACE=out.trace LD_PRELOAD=build/bench/sim/libbufpool_record.so program
 *
 * The first process that asks for a large block writes the file, which must not exist; its children write nothing. The
 * blocks come from the C library, whose own names for its functions spare us looking them up: not for programs that are
 * linked with another allocator. What a program that ends by _exit() did last is not written.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *p);

enum {
    LARGE_MIN_BYTES = 64 * 1024,
    SETS = 8192,
    PLACES = 16, /* blocks that a set can hold; those that find no place are not recorded */
    LINE_BYTES = 96,
};

/*
 * Live large blocks, by address. free() looks without the lock, as it may be asked for any pointer at all: whoever
 * frees a block is the only one who may, so its entry stays what it is meanwhile.
 */
static struct entry {
    _Atomic(void *) block;
    uint32_t number;
} table[SETS][PLACES];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t free_numbers[SETS * PLACES]; /* lock: a stack */
static size_t free_count;                    /* lock */
static uint32_t next_number;                 /* lock */
static char lines[64 * 1024];                /* lock */
static size_t lines_length;                  /* lock */
static int file = -1;                        /* lock */
static enum { FRESH, RECORDING, OFF } state; /* lock */
static size_t left_out;                      /* lock */
static struct timespec start;                /* lock */
static unsigned thread_count;                /* lock */
static _Thread_local unsigned thread_number; /* from 1 */

static struct entry *set_of(const void *block)
{
    return table[((uintptr_t)block >> 4) * 0x9e3779b97f4a7c15U >> 51];
}

_Static_assert(SETS == 1 << (64 - 51), "the hash's top bits name a set");

static struct entry *find(void *block)
{
    struct entry *set = set_of(block);
    for (size_t i = 0; i < PLACES; i++) {
        if (atomic_load_explicit(&set[i].block, memory_order_relaxed) == block)
            return &set[i];
    }
    return NULL;
}

static void flush_locked(void)
{
    for (size_t done = 0; done < lines_length;) {
        ssize_t written = write(file, lines + done, lines_length - done);
        if (written <= 0) {
            state = OFF;
            break;
        }
        done += (size_t)written;
    }
    lines_length = 0;
}

static void open_locked(void)
{
    const char *path = getenv("BUFPOOL_TRACE");
    file = path ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666) : -1;
    state = file >= 0 ? RECORDING : OFF;
    (void)clock_gettime(CLOCK_MONOTONIC, &start);
    lines_length = (size_t)snprintf(lines, sizeof lines, "bufpool-trace 1\n");
}

/* Ends with the lock held; false: do nothing, and it is not. */
static bool begin(void)
{
    (void)pthread_mutex_lock(&lock);
    if (state == FRESH)
        open_locked();
    if (state == RECORDING)
        return true;
    (void)pthread_mutex_unlock(&lock);
    return false;
}

static void add_line_locked(char deed, uint32_t number, size_t bytes)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    long long us = (now.tv_sec - start.tv_sec) * 1000000LL + (now.tv_nsec - start.tv_nsec) / 1000;
    if (thread_number == 0)
        thread_number = ++thread_count;
    if (sizeof lines - lines_length < LINE_BYTES)
        flush_locked();
    /* Traces have up to 64 threads: later ones share their numbers. */
    int length = snprintf(lines + lines_length, LINE_BYTES, "%lld %u %c %u", us < 0 ? 0 : us, (thread_number - 1) % 64,
                          deed, number);
    lines_length += (size_t)length;
    if (deed != 'f')
        lines_length += (size_t)snprintf(lines + lines_length, LINE_BYTES / 2, " %zu", bytes);
    lines[lines_length++] = '\n';
}

static bool insert_locked(void *block, uint32_t number)
{
    struct entry *set = set_of(block);
    for (size_t i = 0; i < PLACES; i++) {
        if (!atomic_load_explicit(&set[i].block, memory_order_relaxed)) {
            set[i].number = number;
            atomic_store_explicit(&set[i].block, block, memory_order_relaxed);
            return true;
        }
    }
    left_out++;
    return false;
}

static void note_new(void *block, size_t bytes)
{
    if (!block || bytes < LARGE_MIN_BYTES || !begin())
        return;
    uint32_t number = free_count > 0 ? free_numbers[free_count - 1] : next_number;
    if (insert_locked(block, number)) {
        if (free_count > 0)
            free_count--;
        else
            next_number++;
        add_line_locked('a', number, bytes);
    }
    (void)pthread_mutex_unlock(&lock);
}

/* The block is about to go: its address may soon be another's. */
static void forget(struct entry *entry, bool is_free)
{
    if (!begin())
        return;
    if (is_free) {
        add_line_locked('f', entry->number, 0);
        free_numbers[free_count++] = entry->number;
    }
    atomic_store_explicit(&entry->block, NULL, memory_order_relaxed);
    (void)pthread_mutex_unlock(&lock);
}

/* A block that was forgotten, but keeps its number, is at another place, of another size or free. */
static void note_moved(void *block, uint32_t number, size_t bytes)
{
    if (!begin())
        return;
    if (bytes >= LARGE_MIN_BYTES && insert_locked(block, number)) {
        add_line_locked('r', number, bytes);
    } else {
        add_line_locked('f', number, 0);
        free_numbers[free_count++] = number;
    }
    (void)pthread_mutex_unlock(&lock);
}

static void lock_for_fork(void)
{
    (void)pthread_mutex_lock(&lock);
}

static void unlock_in_parent(void)
{
    (void)pthread_mutex_unlock(&lock);
}

static void stop_in_child(void)
{
    state = OFF;
    (void)pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void begin_life(void)
{
    (void)pthread_atfork(lock_for_fork, unlock_in_parent, stop_in_child);
}

__attribute__((destructor)) static void end_life(void)
{
    (void)pthread_mutex_lock(&lock);
    if (state == RECORDING) {
        flush_locked();
        if (left_out > 0)
            (void)dprintf(STDERR_FILENO, "bufpool: the trace lacks %zu blocks that found no place\n", left_out);
    }
    state = OFF;
    (void)pthread_mutex_unlock(&lock);
}

/* --- the C library's functions ------------------------------------------------------------------------------------ */

void *malloc(size_t size)
{
    void *block = __libc_malloc(size);
    note_new(block, size);
    return block;
}

void *calloc(size_t count, size_t size)
{
    void *block = __libc_calloc(count, size);
    note_new(block, count * size);
    return block;
}

static void *aligned(size_t alignment, size_t size)
{
    void *block = __libc_memalign(alignment, size);
    note_new(block, size);
    return block;
}

void *memalign(size_t alignment, size_t size)
{
    return aligned(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return aligned(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    if (alignment < sizeof(void *) || (alignment & (alignment - 1)) != 0)
        return EINVAL;
    int saved_errno = errno;
    void *made = aligned(alignment, size);
    errno = saved_errno;
    if (!made)
        return ENOMEM;
    *block = made;
    return 0;
}

void free(void *block)
{
    int saved_errno = errno;
    struct entry *entry = block ? find(block) : NULL;
    if (entry)
        forget(entry, true);
    __libc_free(block);
    errno = saved_errno;
}

void *realloc(void *old, size_t size)
{
    struct entry *entry = old ? find(old) : NULL;
    if (!entry) {
        void *block = __libc_realloc(old, size);
        note_new(block, size);
        return block;
    }
    uint32_t number = entry->number;
    forget(entry, false);
    void *block = __libc_realloc(old, size);
    if (block || size == 0) {
        note_moved(block, number, size);
    } else if (begin()) {
        (void)insert_locked(old, number); /* it is where it was */
        (void)pthread_mutex_unlock(&lock);
    }
    return block;
}
