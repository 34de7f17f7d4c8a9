/* SPDX-License-Identifier: MIT */
/*
 * A fixed number of large blocks, for reports that must add up; each thread (second argument, 0: none) does all of:
 *  100 times 1 MiB, one at a time; 10 of 3 MiB at once; 5 by calloc of 256 KiB; 20 of 512 KiB, page-aligned.
 * The main thread then keeps 2 of 1 MiB and ends in the way the first argument names.
 */
#include "victim.h"
#include <pthread.h>

static void *work(void *unused)
{
    void *blocks[10];
    for (int i = 0; i < 100; i++) {
        void *block = make(MIB);
        memset(block, 1, MIB);
        free(block);
    }
    for (size_t i = 0; i < LENGTH(blocks); i++)
        memset(blocks[i] = make(3 * MIB), 1, 3 * MIB);
    for (size_t i = 0; i < LENGTH(blocks); i++)
        free(blocks[i]);
    for (int i = 0; i < 5; i++)
        free(calloc(1, 256 * KIB));
    for (int i = 0; i < 20; i++) {
        void *block = NULL;
        CHECK(posix_memalign(&block, 4096, 512 * KIB) == 0);
        free(block);
    }
    return unused;
}

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "return";
    int threads = argc > 2 ? atoi(argv[2]) : 0;
    for (int t = 0; t < threads; t++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, work, NULL) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
    }
    if (threads == 0)
        work(NULL);
    for (int i = 0; i < 2; i++)
        memset(make(MIB), 1, MIB);
    CHECK(done() == 0);
    if (strcmp(how, "exit") == 0)
        exit(0);
    if (strcmp(how, "quick_exit") == 0)
        quick_exit(0);
    if (strcmp(how, "_exit") == 0)
        _exit(0);
    if (strcmp(how, "_Exit") == 0)
        _Exit(0);
    if (strcmp(how, "pthread_exit") == 0)
        pthread_exit(NULL);
    return 0;
}
