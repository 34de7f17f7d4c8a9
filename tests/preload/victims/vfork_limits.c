/* SPDX-License-Identifier: MIT */
/*
 * A child of vfork limits itself, as launchers do before they start a program: its parent, whose memory it has, is not
 * limited. A child that was forked without the C library is one of its own.
 */
#include "victim.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static void limit_itself(int resource)
{
    const struct rlimit limit = {GIB, GIB};
    CHECK(setrlimit(resource, &limit) == 0);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
}

int main(void)
{
    exercise(1);
    for (int i = 0; i < 2; i++) {
        pid_t child = vfork();
        if (child == 0) {
            limit_itself(i == 0 ? RLIMIT_AS : RLIMIT_DATA);
            _exit(0);
        }
        reap(child);
    }
    pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (child == 0) {
        limit_itself(RLIMIT_AS);
        void *map = mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(map != MAP_FAILED);
        syscall(SYS_exit_group, 0);
    }
    reap(child);
    free(make(70 * MIB)); /* larger than any before */
    exercise(2);
    return done();
}
