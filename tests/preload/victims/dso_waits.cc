// SPDX-License-Identifier: MIT
/*
 * A library whose constructor waits for a thread, while the loader's lock is held. The thread's first calls of many
 * functions are also the program's first.
 */
#include "victim.h"
#include <new>
#include <pthread.h>
#include <sys/mman.h>

static void *work(void *unused)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *map = (char *)mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED);
    CHECK(madvise(map, page, MADV_DONTNEED) == 0);
    CHECK(posix_madvise(map, page, POSIX_MADV_NORMAL) == 0);
    CHECK(mlock(map, page) == 0 && munlock(map, page) == 0);
    CHECK(mprotect(map, page, PROT_READ) == 0);
    map = (char *)mremap(map, 4 * page, 2 * page, 0);
    CHECK(map != MAP_FAILED && munmap(map, 2 * page) == 0);
    void *block = reallocarray(NULL, 300, KIB);
    CHECK(block != NULL);
    free(block);
    delete new int(3);
    operator delete[](operator new[](2 * MIB, std::nothrow), std::nothrow);
    exercise(1);
    return unused;
}

__attribute__((constructor)) static void construct()
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, work, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}
