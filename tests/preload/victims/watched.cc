// SPDX-License-Identifier: MIT
/*
 * Calls that a profiler or a clock of one's own stands before, as if it were preloaded before us: each is noted under a
 * lock, in memory that comes from malloc like any other. None of them may be made by us on the way.
 */
#include "victim.h"
#include <dlfcn.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>

namespace {

pthread_mutex_t lock = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP;
__thread bool is_noting;
size_t noted_count;

/* Enough small requests for a look at the clock, and large ones. */
void note()
{
    CHECK(pthread_mutex_lock(&lock) == 0); // EDEADLK: called by whom this thread has called
    is_noting = true;
    noted_count++;
    for (int i = 0; i < 600; i++)
        operator delete(operator new(100));
    for (size_t size = 100 * KIB; size < 8 * MIB; size *= 3)
        operator delete(operator new(size));
    is_noting = false;
    CHECK(pthread_mutex_unlock(&lock) == 0);
}

template <class Function> Function *next(const char *name)
{
    return reinterpret_cast<Function *>(dlsym(RTLD_NEXT, name));
}

} // namespace

extern "C" {

void *malloc(size_t size)
{
    static bool has_begun;
    static void *(*allocate)(size_t size);
    if (!allocate)
        allocate = next<void *(size_t)>("malloc");
    if (!has_begun && !is_noting) {
        has_begun = true;
        note();
    }
    return allocate(size);
}

void *dlopen(const char *path, int mode)
{
    note();
    return next<void *(const char *, int)>("dlopen")(path, mode);
}

int dlclose(void *handle)
{
    note();
    return next<int(void *)>("dlclose")(handle);
}

int clock_gettime(clockid_t clock, struct timespec *ret_now)
{
    note();
    return static_cast<int>(syscall(SYS_clock_gettime, clock, ret_now));
}

} // extern "C"

int main()
{
    struct timespec now;
    exercise(1);
    for (int i = 0; i < 20; i++) {
        size_t before = noted_count;
        CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0 && noted_count == before + 1);
    }
    void *handle = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    CHECK(handle != nullptr && dlclose(handle) == 0);
    for (int i = 0; i < 2000; i++)
        free(malloc(100));
    exercise(2);
    return done();
}
