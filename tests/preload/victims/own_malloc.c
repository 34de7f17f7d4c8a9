/* SPDX-License-Identifier: MIT */
/*
 * A program with a malloc of its own: all blocks come from it, also those that the C library and plugins ask for, and
 * no other is ever given to its free.
 */
#include "bump.h"
#include "victim.h"
#include <dlfcn.h>
#include <pthread.h>

void *memalign(size_t align, size_t size)
{
    return aligned_alloc(align, size);
}

int posix_memalign(void **ret_p, size_t align, size_t size)
{
    void *p = aligned_alloc(align, size);
    if (!p)
        return ENOMEM;
    *ret_p = p;
    return 0;
}

size_t malloc_usable_size(void *p)
{
    return p ? bump_size(p) : 0;
}

static void *use_library(void *unused)
{
    char *text = NULL, *line = NULL;
    size_t room = 0;
    CHECK(asprintf(&text, "%*d\n", (int)(2 * MIB), 7) == (int)(2 * MIB) + 1 && bump_has(text));
    FILE *stream = fmemopen(text, 2 * MIB + 1, "r");
    CHECK(stream && getline(&line, &room, stream) == (ssize_t)(2 * MIB) + 1 && bump_has(line));
    CHECK(fclose(stream) == 0 && strcmp(line, text) == 0);
    free(text);
    free(line);
    text = strdup("short");
    CHECK(bump_has(text));
    free(text);
    exercise(5);
    return unused;
}

int main(void)
{
    pthread_t thread;
    CHECK(bump_has(make(1)) && bump_has(make(3 * MIB)));
    (void)use_library(NULL);
    CHECK(pthread_create(&thread, NULL, use_library, NULL) == 0 && pthread_join(thread, NULL) == 0);
    void *plugin = dlopen("$ORIGIN/libvictim_plugin.so", RTLD_NOW);
    CHECK(plugin != NULL);
    void *(*dso_block)(size_t) = (void *(*)(size_t))dlsym(plugin, "dso_block");
    CHECK(dso_block != NULL);
    void *block = dso_block(MIB);
    CHECK(bump_has(block));
    free(block);
    pid_t child = fork();
    if (child == 0) {
        exercise(6);
        _exit(0);
    }
    reap(child);
    return done();
}
