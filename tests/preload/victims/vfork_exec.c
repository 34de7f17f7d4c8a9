/* SPDX-License-Identifier: MIT */
/* vfork, with an exec that works and one that fails and ends in _exit: the parent's memory is its own again. */
#include "victim.h"

extern char **environ;

int main(int argc, char **argv)
{
    if (argc > 1) {
        exercise(1);
        return 0;
    }
    char argument[] = "child";
    char *again[] = {argv[0], argument, NULL};
    void *kept = make(MIB);
    stamp(kept, MIB, 3);
    for (int i = 0; i < 20; i++) {
        exercise((uint64_t)i);
        pid_t child = vfork();
        if (child == 0) {
            execve(i % 2 ? "/proc/self/exe" : "/nonexistent", again, environ);
            _exit(i % 2 ? 127 : 0);
        }
        reap(child);
        CHECK(stamped(kept, MIB, 3));
    }
    free(kept);
    return done();
}
