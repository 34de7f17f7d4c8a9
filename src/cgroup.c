/* SPDX-License-Identifier: MIT */
/*
 * Cgroup: the control groups that hold the process, and what their files say. Declared in os.h.
 *
 * Layer: 0.
 */
#include <stdlib.h>
#include <string.h>

#include "os.h"
#include "out.h"

enum { PATH_BYTES = 1024 };

struct visitor {
    const char *name;
    void (*visit)(const char *path, const char *data, void *context);
    void *context;
};

/* From `directory` (relative to `mount`) up to the mount. The path is cut in place. */
static void visit_upwards(const char *mount, char *directory, const struct visitor *visitor)
{
    for (;;) {
        char path[PATH_BYTES];
        char data[512];
        struct bp_text text = {.data = path, .size = sizeof path};
        bp_text_add(&text, "%s%s/%s", mount, directory, visitor->name);
        if (bp_os_read_file(path, data, sizeof data) > 0)
            visitor->visit(path, data, visitor->context);
        char *slash = strrchr(directory, '/');
        if (!slash)
            return;
        *slash = '\0';
    }
}

/*
 * Lines of /proc/self/cgroup are "id:controllers:path"; v2 has id 0 and no controllers. Inside a container the path
 * may not exist under the mounted root: its parents up to the root are read as well.
 */
void bp_os_visit_cgroups(const char *name_v2, const char *name_v1,
                         void (*visit)(const char *path, const char *data, void *context), void *context)
{
    struct bp_os_lines lines;
    if (bp_os_lines_open(&lines, "/proc/self/cgroup") != 0)
        return;
    for (char *line; (line = bp_os_lines_next(&lines));) {
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        controllers++;
        size_t length = strlen(path);
        if (length > 0 && path[length - 1] == '/')
            path[length - 1] = '\0';
        if (*controllers == '\0' && name_v2)
            visit_upwards("/sys/fs/cgroup", path, &(struct visitor){name_v2, visit, context});
        else if (strstr(controllers, "memory") && name_v1)
            visit_upwards("/sys/fs/cgroup/memory", path, &(struct visitor){name_v1, visit, context});
    }
    bp_os_lines_close(&lines);
}

/* The file holds a number, "max" or an absurd value. */
static void lower_limit(const char *path, const char *data, void *context)
{
    (void)path;
    size_t *limit = context;
    if (data[0] >= '0' && data[0] <= '9')
        *limit = bp_min(*limit, strtoul(data, NULL, 10));
}

size_t bp_os_cgroup_limit_bytes(void)
{
    size_t limit = SIZE_MAX;
    bp_os_visit_cgroups("memory.max", "memory.limit_in_bytes", lower_limit, &limit);
    bp_os_visit_cgroups("memory.high", NULL, lower_limit, &limit); /* above it the kernel brakes */
    return limit;
}
