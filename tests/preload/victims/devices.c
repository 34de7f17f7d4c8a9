/* SPDX-License-Identifier: MIT */
/*
 * A library that registers memory with a device comes while the program runs; another one, which is told, watches
 * munmap from the start. The argument says whether the pool then leaves ("auto") or goes on to serve ("pool").
 */
#include "victim.h"
#include <dlfcn.h>
#include <malloc.h>

void hook_watch(const void *address);
int hook_count(void);

enum { SIZE = 3 * 1024 * 1024, LARGE = 16 * SIZE };

/* Blocks of a size that recurs, until the hook saw one go. */
static int goes(char *block)
{
    hook_watch(block + SIZE / 2);
    free(block);
    return hook_count();
}

int main(int argc, char **argv)
{
    int leaves = argc > 1 && strcmp(argv[1], "auto") == 0;
    char *early = make(SIZE), *live = make(SIZE);
    stamp(early, SIZE, 1);
    stamp(live, SIZE, 2);
    CHECK(goes(early) == 0); /* it is recycled */
    char *large = make(LARGE);
    memset(large, 1, LARGE);
    free(large);
    large = make(LARGE * 5 / 8); /* it leaves the rest unused */
    char *again = make(SIZE);
    CHECK(again == early);
    free(again);

    void *verbs = dlopen("$ORIGIN/libibverbs.so.1", RTLD_NOW);
    if (!verbs)
        fprintf(stderr, "%s\n", dlerror());
    CHECK(verbs != NULL);
    usleep(150000);

    hook_watch(early + SIZE / 2);
    char *late = malloc(SIZE + 2 * MIB); /* not served by the hit path: the library is found */
    CHECK(late != NULL);
    stamp(late, SIZE, 3);
    if (leaves)
        CHECK(hook_count() > 0); /* what was free has left */
    CHECK(stamped(live, SIZE, 2) && stamped(late, SIZE, 3));
    hook_watch(large + LARGE * 7 / 8);
    (void)malloc_trim(0);
    CHECK(hook_count() == 0); /* no hook is called while all threads wait */
    free(large);
    CHECK((goes(live) > 0) == leaves);
    hook_watch(live + SIZE / 2);
    (void)malloc_trim(0);
    CHECK((hook_count() > 0) != leaves); /* it left by itself, or leaves now */
    free(late);
    exercise(4);
    return done();
}
