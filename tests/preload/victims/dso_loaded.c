/* SPDX-License-Identifier: MIT */
/*
 * A library loaded and unloaded while the program runs; with an argument, bound deeply, so that it may see another
 * malloc than the program does: then each side frees its own.
 */
#include "victim.h"
#include <dlfcn.h>
#include <pthread.h>

static void *(*dso_block)(size_t);
static void (*dso_free)(void *);

static void *use_own(void *unused)
{
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        void *theirs = dso_block(sizes[i]), *ours = make(sizes[i]);
        stamp(theirs, sizes[i], i);
        stamp(ours, sizes[i], i + 1);
        CHECK(stamped(theirs, sizes[i], i));
        CHECK(stamped(ours, sizes[i], i + 1));
        dso_free(theirs);
        free(ours);
    }
    return unused;
}

int main(int argc, char **argv)
{
    int deep = argc > 1 && strcmp(argv[1], "deep") == 0;
    for (int turn = 0; turn < 5; turn++) {
        void *dso = dlopen("$ORIGIN/libvictim_plugin.so", RTLD_NOW | (deep ? RTLD_DEEPBIND : 0));
        if (dso == NULL)
            fprintf(stderr, "%s\n", dlerror());
        CHECK(dso != NULL);
        dso_block = (void *(*)(size_t))dlsym(dso, "dso_block");
        dso_free = (void (*)(void *))dlsym(dso, "dso_free");
        CHECK(dso_block && dso_free);
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, use_own, NULL) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
        if (!deep)
            free(dso_block(5 * MIB));
        CHECK(dlclose(dso) == 0);
        exercise((uint64_t)turn);
    }
    return done();
}
