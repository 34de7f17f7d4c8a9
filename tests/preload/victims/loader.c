/* SPDX-License-Identifier: MIT */
/* What a program shares with its allocator in the loader: one lock, which others may hold, and one error. */
#include "victim.h"
#include <dlfcn.h>
#include <sys/mman.h>

int main(void)
{
    CHECK(dlerror() == NULL);
    (void)alarm(30); /* who waits for ever */
    void *dso = dlopen("$ORIGIN/libvictim_waits.so", RTLD_NOW);
    if (!dso)
        fprintf(stderr, "%s\n", dlerror());
    CHECK(dso != NULL);
    CHECK(dlsym(dso, "nothing_of_this_name") == NULL);
    void *map = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED && mlock2(map, KIB, 0) == 0 && munmap(map, MIB) == 0);
    exercise(1);
    const char *error = dlerror();
    CHECK(error != NULL && strstr(error, "nothing_of_this_name"));
    return done();
}
