/* SPDX-License-Identifier: MIT */
/*
 * Where neither /proc nor /sys can be read, memory limits are unknown and large blocks are what they always are. Needs
 * a mount namespace of its own; without one it passes as it is.
 */
#include <sched.h>
#include <sys/mount.h>

#include "victim.h"

int main(void)
{
    if (unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0) {
        CHECK(mount("none", "/sys", "tmpfs", 0, NULL) == 0);
        CHECK(mount("none", "/proc", "tmpfs", 0, NULL) == 0);
        CHECK(access("/proc/self/cgroup", R_OK) != 0 && access("/sys/fs/cgroup", R_OK) != 0);
    }
    char *blocks[64];
    for (int turn = 0; turn < 3; turn++) {
        for (size_t i = 0; i < LENGTH(blocks); i++) {
            blocks[i] = make(100 * KIB + i * 10 * KIB);
            stamp(blocks[i], 100 * KIB, i);
        }
        for (size_t i = 0; i < LENGTH(blocks); i++) {
            CHECK(stamped(blocks[i], 100 * KIB, i));
            free(blocks[i]);
        }
    }
    return done();
}
