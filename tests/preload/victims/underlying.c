/* SPDX-License-Identifier: MIT */
/* Small blocks come from the C library, or not, as the argument says: libc or other. */
#include <dlfcn.h>

#include "victim.h"

enum { BLOCKS = 1000, BLOCK_BYTES = 1000 };

int main(int argc, char **argv)
{
    struct mallinfo2 (*used_of_libc)(void);
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    CHECK(argc == 2 && libc != NULL);
    void *symbol = dlsym(libc, "mallinfo2");
    CHECK(symbol != NULL);
    memcpy(&used_of_libc, &symbol, sizeof symbol);

    void *blocks[BLOCKS];
    size_t before_bytes = used_of_libc().uordblks;
    for (size_t i = 0; i < BLOCKS; i++)
        blocks[i] = make(BLOCK_BYTES);
    size_t full_bytes = used_of_libc().uordblks;
    for (size_t i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    size_t after_bytes = used_of_libc().uordblks;
    /* A few freed blocks stay in its cache; what another allocator takes by sbrk() counts as used. */
    int is_libc = full_bytes - before_bytes >= (size_t)BLOCKS * BLOCK_BYTES &&
                  full_bytes - after_bytes >= (size_t)BLOCKS * BLOCK_BYTES / 10 * 9;
    CHECK(is_libc == (strcmp(argv[1], "libc") == 0));
    exercise(1);
    return done();
}
