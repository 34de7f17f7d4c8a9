/* SPDX-License-Identifier: MIT */
/*
 * A program with a malloc of its own: all blocks come from it, also those that the C library and plugins ask for, and
 * no other is ever given to its free.
 */
#include "victim.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>

enum { HEAP_BYTES = 1 << 28, HEADER_BYTES = 16 };

static _Alignas(4096) char heap[HEAP_BYTES]; /* never used again */
static _Atomic(size_t) heap_used;

static int is_own(const void *p)
{
    return (size_t)((const char *)p - heap) < HEAP_BYTES;
}

void *memalign(size_t align, size_t size)
{
    size_t most = size + align + HEADER_BYTES;
    if (size > HEAP_BYTES || align > HEAP_BYTES || atomic_load(&heap_used) + most > HEAP_BYTES) {
        errno = ENOMEM;
        return NULL;
    }
    uintptr_t lowest = (uintptr_t)heap + atomic_fetch_add(&heap_used, most) + HEADER_BYTES;
    char *p = heap + ((lowest + align - 1) / align * align - (uintptr_t)heap);
    memcpy(p - sizeof size, &size, sizeof size);
    return p;
}

void *malloc(size_t size)
{
    return memalign(16, size);
}

void free(void *p)
{
    CHECK(!p || is_own(p));
}

void *calloc(size_t count, size_t size)
{
    if (size != 0 && count > HEAP_BYTES / size) {
        errno = ENOMEM;
        return NULL;
    }
    return memalign(16, count * size);
}

size_t malloc_usable_size(void *p)
{
    size_t size = 0;
    CHECK(!p || is_own(p));
    if (p)
        memcpy(&size, (char *)p - sizeof size, sizeof size);
    return size;
}

void *realloc(void *p, size_t size)
{
    size_t before = malloc_usable_size(p);
    void *moved = memalign(16, size);
    if (moved && p)
        memcpy(moved, p, before < size ? before : size);
    return moved;
}

void *aligned_alloc(size_t align, size_t size)
{
    return memalign(align, size);
}

int posix_memalign(void **ret_p, size_t align, size_t size)
{
    void *p = memalign(align, size);
    if (!p)
        return ENOMEM;
    *ret_p = p;
    return 0;
}

static void *use_library(void *unused)
{
    char *text = NULL, *line = NULL;
    size_t room = 0;
    CHECK(asprintf(&text, "%*d\n", (int)(2 * MIB), 7) == (int)(2 * MIB) + 1 && is_own(text));
    FILE *stream = fmemopen(text, 2 * MIB + 1, "r");
    CHECK(stream && getline(&line, &room, stream) == (ssize_t)(2 * MIB) + 1 && is_own(line));
    CHECK(fclose(stream) == 0 && strcmp(line, text) == 0);
    free(text);
    free(line);
    text = strdup("short");
    CHECK(is_own(text));
    free(text);
    exercise(5);
    return unused;
}

int main(void)
{
    pthread_t thread;
    CHECK(is_own(make(1)) && is_own(make(3 * MIB)));
    (void)use_library(NULL);
    CHECK(pthread_create(&thread, NULL, use_library, NULL) == 0 && pthread_join(thread, NULL) == 0);
    void *plugin = dlopen("$ORIGIN/libvictim_plugin.so", RTLD_NOW);
    CHECK(plugin != NULL);
    void *(*dso_block)(size_t) = (void *(*)(size_t))dlsym(plugin, "dso_block");
    CHECK(dso_block != NULL);
    void *block = dso_block(MIB);
    CHECK(is_own(block));
    free(block);
    pid_t child = fork();
    if (child == 0) {
        exercise(6);
        _exit(0);
    }
    reap(child);
    return done();
}
