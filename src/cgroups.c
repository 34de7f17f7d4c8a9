/* SPDX-License-Identifier: MIT */
/*
 * Control groups: which the process is in, and what their files say. Declared in os.h.
 *
 * Layer: 0.
 */
#include <errno.h>
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

/* Does the kernel, or the container, not have the file? */
static bool is_absent(int error)
{
    return error == -ENOENT || error == -ENOTDIR || error == -ENODEV || error == -EOPNOTSUPP;
}

bool bp_os_is_passing(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOMEM;
}

/* From `directory` (relative to `mount`) up to the mount. The path is cut in place. */
static int visit_upwards(const char *mount, char *directory, const struct visitor *visitor)
{
    for (int first_error = 0;;) {
        char path[PATH_BYTES];
        char data[512];
        struct bp_text text = {.data = path, .size = sizeof path};
        bp_text_add(&text, "%s%s/%s", mount, directory, visitor->name);
        int result = bp_os_read_file(path, data, sizeof data);
        if (result > 0)
            visitor->visit(path, data, visitor->context);
        else if (first_error == 0 && !is_absent(result))
            first_error = result;
        char *slash = strrchr(directory, '/');
        if (!slash)
            return first_error;
        *slash = '\0';
    }
}

/*
 * Lines of /proc/self/cgroup are "id:controllers:path"; v2 has id 0 and no controllers. Inside a container the path
 * may not exist under the mounted root: its parents up to the root are read as well.
 */
int bp_os_visit_cgroups(const char *name_v2, const char *name_v1,
                        void (*visit)(const char *path, const char *data, void *context), void *context)
{
    struct bp_os_lines lines;
    int error = bp_os_lines_open(&lines, "/proc/self/cgroup");
    if (error != 0)
        return is_absent(error) ? 0 : error;
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
        int result = 0;
        if (*controllers == '\0' && name_v2)
            result = visit_upwards("/sys/fs/cgroup", path, &(struct visitor){name_v2, visit, context});
        else if (strstr(controllers, "memory") && name_v1)
            result = visit_upwards("/sys/fs/cgroup/memory", path, &(struct visitor){name_v1, visit, context});
        error = error != 0 ? error : result;
    }
    bp_os_lines_close(&lines);
    return error;
}

/* The number behind a label, which starts a line; 0 where there is none. */
static size_t number_behind(const char *data, const char *label)
{
    size_t length = strlen(label);
    for (const char *line = data; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, label, length) == 0)
            return strtoul(line + length, NULL, 10);
    }
    return 0;
}

/* What lies in the same folder as `path`; an empty text if it cannot be read. */
static void read_beside(const char *path, const char *name, char *data, size_t size)
{
    char beside[PATH_BYTES];
    struct bp_text text = {.data = beside, .size = sizeof beside};
    bp_text_add(&text, "%s", path);
    text.length = (size_t)(strrchr(beside, '/') + 1 - beside);
    bp_text_add(&text, "%s", name);
    if (bp_os_read_file(beside, data, size) <= 0)
        data[0] = '\0';
}

/* Files that the kernel keeps in memory are as good as free, but for those that live there alone. */
static void lower_free(const char *path, const char *data, void *context)
{
    size_t *free_bytes = context;
    char number[64];
    char counts[512];
    bool is_v1 = strstr(path, "/memory.limit_in_bytes") != NULL;
    if (data[0] < '0' || data[0] > '9')
        return;
    read_beside(path, is_v1 ? "memory.usage_in_bytes" : "memory.current", number, sizeof number);
    read_beside(path, "memory.stat", counts, sizeof counts);
    size_t file_bytes = number_behind(counts, is_v1 ? "cache " : "file ");
    size_t kept_bytes = number_behind(counts, "shmem ");
    size_t used_bytes = strtoul(number, NULL, 10);
    used_bytes -= bp_min(used_bytes, file_bytes - bp_min(file_bytes, kept_bytes));
    size_t limit_bytes = strtoul(data, NULL, 10);
    *free_bytes = bp_min(*free_bytes, limit_bytes - bp_min(limit_bytes, used_bytes));
}

size_t bp_os_cgroup_free_bytes(void)
{
    size_t free_bytes = SIZE_MAX;
    (void)bp_os_visit_cgroups("memory.max", "memory.limit_in_bytes", lower_free, &free_bytes);
    (void)bp_os_visit_cgroups("memory.high", NULL, lower_free, &free_bytes);
    return free_bytes;
}
