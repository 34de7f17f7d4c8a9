/* SPDX-License-Identifier: MIT */
/* Errors that a hardened pool makes visible. The argument names one; "nothing" is a program without. */
#include "victim.h"
#include <sys/mman.h>

enum { SIZE = 1000000, ODD_SIZE = 1000001 }; /* the first is a multiple of every alignment that malloc promises */

static void put(char *p)
{
    *(volatile char *)p = 1;
}

int main(int argc, char **argv)
{
    const char *deed = argc > 1 ? argv[1] : "nothing";
    char *block = make(SIZE), *odd = make(ODD_SIZE);
    if (strcmp(deed, "write_behind") == 0)
        put(block + SIZE);
    else if (strcmp(deed, "read_behind") == 0)
        (void)*(volatile char *)(block + SIZE);
    else if (strcmp(deed, "far_before") == 0)
        put(block - sysconf(_SC_PAGESIZE));
    else if (strncmp(deed, "between", 7) == 0)
        put(odd + ODD_SIZE);
    if (strcmp(deed, "between_realloc") == 0)
        CHECK((odd = realloc(odd, 3 * SIZE)) != NULL);
    free(block);
    free(odd);
    if (strcmp(deed, "use_after_free") == 0) {
        put(block + SIZE / 2);
    } else if (strcmp(deed, "realloc_away") == 0) {
        odd = make(SIZE);
        CHECK(realloc(odd, SIZE / 2) != NULL);
        put(odd);
    } else if (strcmp(deed, "options") == 0) {
        /* A write to the options: of the memory of the library the only part that may only be read. */
        char line[512], access[5];
        unsigned long start, end, last_end = 0, options = 0;
        int is_library = 0;
        FILE *maps = fopen("/proc/self/maps", "r");
        CHECK(maps != NULL);
        while (fgets(line, sizeof line, maps)) {
            CHECK(sscanf(line, "%lx-%lx %4s", &start, &end, access) == 3);
            is_library = strstr(line, "libbufpool_preload.so") || (is_library && start == last_end);
            if (is_library && strcmp(access, "r--p") == 0 && !strpbrk(line, "/["))
                options = start;
            last_end = end;
        }
        (void)fclose(maps);
        CHECK(options != 0);
        put((char *)options); // NOLINT(performance-no-int-to-ptr)
    }
    return done();
}
