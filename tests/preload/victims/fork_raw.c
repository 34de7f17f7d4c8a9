/* SPDX-License-Identifier: MIT */
/* A child made behind fork's back, without its handlers, can still allocate; so can its parent. */
#include "victim.h"
#include <sys/syscall.h>

int main(void)
{
    void *kept = make(MIB);
    stamp(kept, MIB, 3);
    for (int i = 0; i < 20; i++) {
        free(make(2 * MIB));
        pid_t child = i % 2 ? (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL) : _Fork();
        if (child == 0) {
            exercise(1);
            CHECK(stamped(kept, MIB, 3));
            free(kept);
            exercise(2);
            _exit(0);
        }
        exercise(3);
        reap(child);
    }
    CHECK(stamped(kept, MIB, 3));
    free(kept);
    return done();
}
