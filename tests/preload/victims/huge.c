/* SPDX-License-Identifier: MIT */
/*
 * Which blocks lie in huge pages: all that fill them (on, hugetlb), none (off), those that would without us (inherit).
 * Memory is not larger for it than by a part of a huge page a block, blocks used here and there stay small, and what is
 * freed goes. Argument: what to expect.
 */
#include "victim.h"

enum { BLOCKS = 20 };

static size_t read_kib(const char *path, const char *label)
{
    char line[256];
    size_t kib = 0;
    FILE *file = fopen(path, "r");
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, label, strlen(label)) == 0)
            kib = strtoul(line + strlen(label), NULL, 10);
    }
    (void)fclose(file);
    return kib;
}

static size_t measure(const char *label)
{
    return read_kib("/proc/self/smaps_rollup", label) * KIB;
}

/* Of all the system has, or none. */
static int system_says(const char *word)
{
    char modes[64] = "";
    FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
    if (file && fgets(modes, sizeof modes, file))
        modes[sizeof modes - 1] = '\0';
    if (file)
        (void)fclose(file);
    return strstr(modes, word) != NULL;
}

static void fill_and_drop(size_t size, size_t slack, size_t most_huge, size_t least_huge)
{
    char *blocks[BLOCKS];
    size_t before = measure("Rss:");
    for (uint64_t turn = 0; turn < 3; turn++) {
        for (uint64_t i = 0; i < BLOCKS; i++) {
            blocks[i] = make(size);
            stamp(blocks[i], size, i);
        }
        size_t huge = measure("AnonHugePages:") + measure("Private_Hugetlb:");
        CHECK(huge <= most_huge && huge >= least_huge);
        CHECK(measure("Rss:") + measure("Private_Hugetlb:") <= before + BLOCKS * (size + slack) + 4 * MIB);
        for (uint64_t i = 0; i < BLOCKS; i++) {
            CHECK(stamped(blocks[i], size, i));
            free(blocks[i]);
        }
        (void)malloc_trim(0);
        CHECK(measure("Rss:") + measure("Private_Hugetlb:") <= before + 4 * MIB);
    }
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "off";
    int on = strcmp(mode, "on") == 0 && !system_says("[never]") && system_says("[");
    int some = on || (strcmp(mode, "inherit") == 0 && system_says("[always]"));
    size_t reserved = read_kib("/proc/meminfo", "HugePages_Free:") * 2 * MIB;
    int taken = strcmp(mode, "hugetlb") == 0 && reserved >= BLOCKS * 10 * MIB;
    size_t all = some ? SIZE_MAX : 0;
    fill_and_drop(300 * KIB, 8 * KIB, 0, 0);
    fill_and_drop(1200 * KIB, 8 * KIB, 0, 0);
    size_t most_huge = strcmp(mode, "hugetlb") == 0 ? SIZE_MAX : all;
    fill_and_drop(5 * MIB, most_huge ? 2 * MIB : 8 * KIB, most_huge, taken ? BLOCKS * 5 * MIB : 0);
    if (on) { /* the kernel may be short of them, but not of all */
        char *block = make(12 * MIB);
        memset(block, 1, 12 * MIB);
        CHECK(measure("AnonHugePages:") > 0);
        free(block);
    }
    if (!system_says("[always]") || strcmp(mode, "off") == 0) {
        char *sparse = make(GIB);
        size_t before = measure("Rss:");
        for (size_t at = 0; at < GIB; at += 2 * MIB)
            sparse[at] = 1;
        CHECK(measure("Rss:") <= before + 16 * MIB);
        free(sparse);
    }
    return done();
}
