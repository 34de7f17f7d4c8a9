/* SPDX-License-Identifier: MIT */
/*
 * A library that registers memory takes a lock when it is told that memory goes, and frees blocks while it holds it.
 * Whatever the pool does meanwhile must not tell it of anything under a lock of the pool's own. The argument says what:
 * "lock" all memory, limit "data", "drain" other threads' caches, give "slack" back (that finds the library), "fork".
 */
#include "victim.h"
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

void hook_hold(void);
int hook_waits(void);
void hook_release(void);

enum { BLOCKS = 8 };

static const char *deed;
static char *slack; /* a block that leaves much of its buffer unused */
static volatile int is_ready, may_hold, holds, is_done;

static void wait_for(const volatile int *what)
{
    while (!*what)
        usleep(100);
}

static void *hold(void *unused)
{
    char *blocks[BLOCKS] = {NULL};
    /* No request is made that would look for the library. */
    for (size_t i = 0; strcmp(deed, "slack") != 0 && i < BLOCKS; i++)
        memset(blocks[i] = make(MIB), 1, MIB);
    for (size_t i = 2; strcmp(deed, "drain") == 0 && i < BLOCKS; i++)
        free(blocks[i]);
    is_ready = 1;
    wait_for(&may_hold);
    hook_hold();
    holds = 1;
    while (!hook_waits() && !is_done)
        usleep(100);
    free(blocks[0]);
    free(blocks[1]);
    free(slack);
    hook_release();
    return unused;
}

/* The child has no thread that would release the lock. */
static void fork_and_wait(void)
{
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    int ended = 0;
    for (int i = 0; i < 100 && !ended; i++) {
        usleep(100000);
        ended = waitpid(child, NULL, WNOHANG) == child;
    }
    CHECK(ended);
    if (!ended)
        (void)kill(child, SIGKILL);
}

int main(int argc, char **argv)
{
    pthread_t thread;
    deed = argc > 1 ? argv[1] : "";
    (void)alarm(30);
    char *large = make(120 * MIB);
    memset(large, 1, 120 * MIB);
    free(large);
    slack = make(70 * MIB);
    slack[0] = 1;
    CHECK(pthread_create(&thread, NULL, hold, NULL) == 0);
    wait_for(&is_ready);
    CHECK(dlopen("$ORIGIN/libibverbs.so.1", RTLD_NOW) != NULL);
    usleep(150000);
    if (strcmp(deed, "slack") != 0)
        free(make(5 * MIB)); /* the library is found */
    may_hold = 1;
    wait_for(&holds);
    if (strcmp(deed, "lock") == 0) {
        (void)mlockall(MCL_CURRENT | MCL_FUTURE); /* which may be refused */
    } else if (strcmp(deed, "data") == 0) {
        struct rlimit limit = {GIB, GIB};
        CHECK(setrlimit(RLIMIT_DATA, &limit) == 0);
    } else if (strcmp(deed, "fork") == 0) {
        fork_and_wait();
    } else {
        (void)malloc_trim(0);
    }
    is_done = 1;
    CHECK(pthread_join(thread, NULL) == 0);
    return done();
}
