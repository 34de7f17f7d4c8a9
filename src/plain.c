/* SPDX-License-Identifier: MIT */
#include "plain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "os.h"

/* All that plain memory shows: access and leave to it, no reserve or accounted, written to since the kernel looked. */
static const char plain_flags[] = "rd wr mr mw me nr ac sd ";

/* Is a flag one of those, which are three characters each? */
static bool is_one_of(const char *flag, const char *known)
{
    for (; *known != '\0'; known += 3) {
        if (flag[0] == known[0] && flag[1] == known[1])
            return true;
    }
    return false;
}

static bool are_plain_flags(const char *flags, const char *more)
{
    for (; flags[0] != '\0' && flags[1] != '\0'; flags++) {
        if (*flags == ' ')
            continue;
        if (!is_one_of(flags, plain_flags) && !is_one_of(flags, more))
            return false;
        flags++;
    }
    return true;
}

/* In " rw-p offset device inode path" the inode is none. */
static bool is_of_no_file(const char *field)
{
    for (int i = 0; i < 3; i++) {
        field = strchr(field + 1, ' ');
        if (!field)
            return false;
    }
    return strtoul(field, NULL, 10) == 0;
}

/* "start-end rw-p offset device inode path": the range, and whether it is private, read-write and of no file. */
static bool read_mapping(const char *line, uintptr_t *ret_start, uintptr_t *ret_end, bool *ret_plain)
{
    char *at;
    *ret_start = strtoul(line, &at, 16);
    if (*at != '-')
        return false;
    *ret_end = strtoul(at + 1, &at, 16);
    *ret_plain = strncmp(at, " rw-p ", 6) == 0 && is_of_no_file(at);
    return true;
}

/* The lines say so of every mapping that the range meets, and the range has no hole. */
static bool is_plain(struct bp_os_lines *lines, uintptr_t start, uintptr_t end, const char *flags)
{
    uintptr_t checked = start; /* up to here all is plain, or is said to be by lines still to come */
    bool inside = false;
    for (const char *line; (line = bp_os_lines_next(lines));) {
        uintptr_t mapping_start;
        uintptr_t mapping_end;
        bool plain = true;
        if (read_mapping(line, &mapping_start, &mapping_end, &plain)) {
            if (checked >= end)
                break;
            inside = mapping_end > checked;
            plain = !inside || (plain && mapping_start <= checked);
            checked = bp_max(checked, mapping_end);
        } else if (inside && strncmp(line, "VmFlags:", 8) == 0) {
            plain = are_plain_flags(line + 8, flags);
        } else if (inside && strncmp(line, "ProtectionKey:", 14) == 0) {
            plain = strtoul(line + 14, NULL, 10) == 0;
        }
        if (!plain)
            return false;
    }
    return checked >= end;
}

int bp_plain_check(const void *address, size_t bytes, const char *flags)
{
    if (bp_os_is_quiet())
        return -EPERM;
    struct bp_os_lines lines;
    int error = bp_os_lines_open(&lines, "/proc/self/smaps");
    if (error != 0)
        return error;
    int saved_errno = errno; /* of strtoul() */
    bool plain = is_plain(&lines, (uintptr_t)address, (uintptr_t)address + bytes, flags);
    errno = saved_errno;
    bp_os_lines_close(&lines);
    return plain;
}
