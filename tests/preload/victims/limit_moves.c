/* SPDX-License-Identifier: MIT */
/*
 * A container whose limit is lowered while the program runs: what it keeps of free memory, a quarter of the limit, must
 * follow. The blocks are all needed, again and again, so that no other reason makes them go. Arguments: the new limit
 * and what may be kept under it, in MiB.
 */
#include "victim.h"

enum { BLOCKS = 60, ROUNDS_MAX = 300, ROUND_US = 20000 };

/* Takes all blocks, touches them and frees them. Returns what is resident then. */
static size_t go_round(void)
{
    unsigned char *blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; i++)
        stamp(blocks[i] = make(MIB), MIB, i);
    for (int i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    (void)usleep(ROUND_US);
    return resident_bytes();
}

/* The file with the limit of the cgroup that this process is in, of version 1 or 2. */
static void find_limit(char *path, size_t size)
{
    char line[512];
    FILE *cgroups = fopen("/proc/self/cgroup", "r");
    CHECK(cgroups);
    *path = '\0';
    while (fgets(line, sizeof line, cgroups)) {
        line[strcspn(line, "\n")] = '\0';
        char *memory = strstr(line, ":memory:");
        if (memory)
            (void)snprintf(path, size, "/sys/fs/cgroup/memory%s/memory.limit_in_bytes", memory + 8);
        else if (strncmp(line, "0::", 3) == 0 && *path == '\0')
            (void)snprintf(path, size, "/sys/fs/cgroup%s/memory.max", line + 3);
    }
    (void)fclose(cgroups);
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    size_t kept_bytes = strtoul(argv[2], NULL, 10) * MIB;
    size_t before_bytes = resident_bytes();
    CHECK(go_round() > before_bytes + BLOCKS / 2 * MIB); /* under the old limit there is room */
    char path[1024];
    find_limit(path, sizeof path);
    FILE *limit = fopen(path, "w");
    CHECK(limit && fprintf(limit, "%zu", strtoul(argv[1], NULL, 10) * MIB) > 0 && fclose(limit) == 0);
    for (int round = 0; go_round() > before_bytes + kept_bytes; round++)
        CHECK(round < ROUNDS_MAX);
    return done();
}
