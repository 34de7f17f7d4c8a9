/* SPDX-License-Identifier: MIT */
/* A parent and its children, each with large blocks and each ending in its own way: five reports. */
#include "victim.h"

extern char **environ;

int main(int argc, char **argv)
{
    exercise(1);
    if (argc > 1)
        return 0;
    for (int how = 0; how < 4; how++) {
        pid_t child = fork();
        if (child == 0) {
            exercise(2);
            switch (how) {
            case 0:
                _exit(0);
            case 1:
                quick_exit(0);
            case 2:
                execle("/proc/self/exe", argv[0], "executed", (char *)NULL, environ);
                _exit(1);
            default:
                exit(0);
            }
        }
        reap(child);
    }
    return done();
}
