/* SPDX-License-Identifier: MIT */
/* Ends in the way the argument names, with live blocks and a thread still allocating. */
#include "victim.h"
#include <pthread.h>

static void *allocate(void *unused)
{
    for (;;) {
        exercise(7);
        pthread_testcancel();
    }
    return unused;
}

static void at_quick_exit_(void)
{
    exercise(1);
}

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "return";
    pthread_t thread;
    exercise(2);
    void *live = make(4 * MIB);
    stamp(live, 4 * MIB, 1);
    CHECK(pthread_create(&thread, NULL, allocate, NULL) == 0);
    CHECK(at_quick_exit(at_quick_exit_) == 0);
    CHECK(done() == 0);
    if (strcmp(how, "exit") == 0)
        exit(0);
    if (strcmp(how, "quick_exit") == 0)
        quick_exit(0);
    if (strcmp(how, "_exit") == 0)
        _exit(0);
    if (strcmp(how, "_Exit") == 0)
        _Exit(0);
    if (strcmp(how, "thread") == 0) { /* the main thread ends first; the last thread ends the process */
        pthread_cancel(thread);
        pthread_join(thread, NULL);
        pthread_exit(NULL);
    }
    return 0;
}
