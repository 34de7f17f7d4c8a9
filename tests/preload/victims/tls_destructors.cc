// SPDX-License-Identifier: MIT
// Large blocks made and freed while a thread's C++ thread_locals and pthread keys are taken down, in every round.
#include "victim.h"
#include <limits.h>
#include <pthread.h>
#include <thread>
#include <vector>

static pthread_key_t key;

struct Local {
    void *block;
    explicit Local(uint64_t seed) : block(make(MIB))
    {
        stamp(block, MIB, seed);
    }
    ~Local()
    {
        CHECK(stamped(block, MIB, 5));
        free(block);
        exercise(6);
        pthread_setspecific(key, make(2 * MIB));
    }
};

static thread_local Local first(5);
static thread_local std::vector<char> vector(3 * MIB, 'v');

static int rounds_done;

static void key_destructor(void *block)
{
    free(block);
    exercise(8);
    /* Asks for another round, as often as the C library grants one. */
    if (__atomic_add_fetch(&rounds_done, 1, __ATOMIC_RELAXED) % PTHREAD_DESTRUCTOR_ITERATIONS != 0)
        pthread_setspecific(key, make(200 * KIB));
}

int main()
{
    CHECK(pthread_key_create(&key, key_destructor) == 0);
    for (int i = 0; i < 30; i++) {
        std::vector<std::thread> threads;
        for (int t = 0; t < 3; t++)
            threads.emplace_back([] {
                CHECK(first.block != nullptr && vector[MIB] == 'v');
                pthread_setspecific(key, make(300 * KIB));
            });
        for (auto &thread : threads)
            thread.join();
    }
    CHECK(first.block != nullptr && vector[5] == 'v'); /* those of the main thread go at exit */
    return done();
}
