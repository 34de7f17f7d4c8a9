/* SPDX-License-Identifier: MIT */
/*
 * Asks UCX to tell of memory that goes, as its cache of registrations does, and sees whether it is told of blocks. It
 * writes its hooks into the C library's own code. The argument: plain, without bufpool; auto or pool: BUFPOOL_DEVICES.
 */
#include <dlfcn.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIZE = 48 * 1024 * 1024, UCM_EVENT_VM_UNMAPPED = 1 << 17 };

struct unmapped {
    void *address;
    size_t size;
};

/* The C library declares that malloc and its kin call nothing of this file (leaf), but here they do. */
static volatile uintptr_t watched;
static volatile int seen;

static void on_unmapped(int type, const struct unmapped *event, void *unused)
{
    (void)type;
    (void)unused;
    seen += watched - (uintptr_t)event->address < event->size;
}

static int fail(const char *what)
{
    (void)fprintf(stderr, "%s\n", what);
    return 1;
}

static char *make(void)
{
    char *block = malloc(SIZE);
    if (block)
        memset(block, 1, SIZE);
    watched = (uintptr_t)block + SIZE / 2;
    seen = 0;
    return block;
}

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "plain";
    char *early = make();
    free(early); /* bufpool keeps it: nobody was there to be told */
    void *ucm = dlopen("libucs.so.0", RTLD_NOW | RTLD_GLOBAL); /* which brings libucm.so.0 with it, and needs it */
    int (*set_handler)(int, int, void (*)(int, const struct unmapped *, void *), void *) = NULL;
    void *symbol = ucm ? dlsym(ucm, "ucm_set_event_handler") : NULL;
    memcpy(&set_handler, &symbol, sizeof symbol);
    if (!set_handler || set_handler(UCM_EVENT_VM_UNMAPPED, 0, on_unmapped, NULL) != 0)
        return fail("UCX takes no handler");
    (void)usleep(150000);

    seen = 0;
    watched = (uintptr_t)early + SIZE / 2;
    char *other = malloc(SIZE / 2); /* no hit: the library is found */
    if (strcmp(how, "auto") == 0 && seen == 0)
        return fail("what was free has not gone, or was not told of");
    free(other);

    char *block = make();
    free(block);
    if (strcmp(how, "pool") == 0) {
        if (seen != 0)
            return fail("a block is said to go that is kept");
        (void)malloc_trim(0);
    }
    return seen > 0 ? puts("ok") < 0 : fail("a block went, and nothing was told");
}
