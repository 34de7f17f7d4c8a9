/* SPDX-License-Identifier: MIT */
/* Two threads only allocate, two only free what those made; memory circulates instead of growing. */
#include "victim.h"
#include <pthread.h>
#include <sys/resource.h>

enum { room = 16, rounds = 3000 };

static struct {
    void *block;
    size_t size;
} queue[room];
static size_t head, tail;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void *produce(void *seed)
{
    uint64_t dice = (uintptr_t)seed;
    for (int i = 0; i < rounds; i++) {
        size_t size = 50 * KIB + roll(&dice) % MIB;
        void *block = roll(&dice) % 4 ? make(size) : memalign(4096, size);
        CHECK(block != NULL);
        stamp(block, size, size);
        pthread_mutex_lock(&lock);
        while (head - tail == room)
            pthread_cond_wait(&changed, &lock);
        queue[head % room].block = block;
        queue[head++ % room].size = size;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

static void *consume(void *unused)
{
    for (int i = 0; i < rounds; i++) {
        pthread_mutex_lock(&lock);
        while (head == tail)
            pthread_cond_wait(&changed, &lock);
        void *block = queue[tail % room].block;
        size_t size = queue[tail++ % room].size;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
        CHECK(stamped(block, size, size));
        free(block);
    }
    return unused;
}

int main(void)
{
    pthread_t threads[4];
    for (size_t i = 0; i < LENGTH(threads); i++)
        CHECK(pthread_create(&threads[i], NULL, i % 2 ? consume : produce, (void *)i) == 0);
    for (size_t i = 0; i < LENGTH(threads); i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    CHECK(usage.ru_maxrss < 256 * 1024); /* KiB; at most 20 MiB are live, 3 GiB passed through */
    return done();
}
