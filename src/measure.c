/* SPDX-License-Identifier: MIT */
#include "measure.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "os.h"

/* "Rss:     123 kB" */
static size_t bytes_of(const char *line, const char *label)
{
    size_t length = strlen(label);
    return strncmp(line, label, length) == 0 ? strtoul(line + length, NULL, 10) * BP_KIB : 0;
}

static void add(struct bp_measured *measured, const char *line)
{
    size_t reserved_bytes = bytes_of(line, "Private_Hugetlb:") + bytes_of(line, "Shared_Hugetlb:");
    measured->resident_bytes += bytes_of(line, "Rss:") + reserved_bytes;
    measured->huge_bytes += bytes_of(line, "AnonHugePages:") + reserved_bytes;
    measured->lazily_freed_bytes += bytes_of(line, "LazyFree:");
}

bool bp_measure(const void *start, size_t bytes, struct bp_os_lines *lines, struct bp_measured *ret_measured)
{
    *ret_measured = (struct bp_measured){0};
    if (bp_os_is_quiet() || bp_os_lines_open(lines, "/proc/self/smaps") != 0)
        return false;
    int saved_errno = errno; /* of strtoul() */
    bool inside = false;
    for (const char *line; (line = bp_os_lines_next(lines));) {
        char *at;
        uintptr_t mapping_start = strtoul(line, &at, 16);
        if (*at == '-')
            inside = mapping_start < (uintptr_t)start + bytes && strtoul(at + 1, NULL, 16) > (uintptr_t)start;
        else if (inside)
            add(ret_measured, line);
    }
    errno = saved_errno;
    bp_os_lines_close(lines);
    return true;
}
