/* SPDX-License-Identifier: MIT */
/*
 * Control groups: which the process is in, and what their files say. Declared in os.h.
 *
 * Layer: 0.
 */
#include <errno.h>
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
