/* SPDX-License-Identifier: MIT */
/* A library with large blocks in its constructor, its destructor, its exit handler and its thread's end. */
#include "dso.h"
#include "victim.h"
#include <pthread.h>

static void *from_constructor;
static pthread_key_t key;

static void at_thread_end(void *block)
{
    CHECK(stamped(block, 2 * MIB, 2));
    free(block);
    exercise(21);
}

static void at_exit(void)
{
    exercise(22);
}

__attribute__((constructor)) static void construct(void)
{
    exercise(20);
    stamp(from_constructor = make(MIB), MIB, 1);
    CHECK(pthread_key_create(&key, at_thread_end) == 0);
    CHECK(atexit(at_exit) == 0);
}

__attribute__((destructor)) static void destroy(void)
{
    CHECK(stamped(from_constructor, MIB, 1));
    free(from_constructor);
    exercise(23);
    pthread_key_delete(key);
}

void *dso_block(size_t size)
{
    if (pthread_getspecific(key) == NULL) {
        void *block = make(2 * MIB);
        stamp(block, 2 * MIB, 2);
        pthread_setspecific(key, block);
    }
    return make(size);
}

void dso_free(void *block)
{
    free(block);
}
