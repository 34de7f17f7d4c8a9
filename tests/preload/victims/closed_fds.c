/* SPDX-License-Identifier: MIT */
/*
 * Started with stdin, stdout and stderr closed: the files it opens get those numbers, and hold at the end what it
 * wrote and nothing else. With an argument it asks for reports first, which may not take these numbers.
 */
#include "victim.h"
#include <fcntl.h>
#include <signal.h>

int main(int argc, char **argv)
{
    int keep[3];
    (void)argv;
    for (int i = 0; argc > 1 && i < 4; i++) {
        CHECK(raise(SIGURG) == 0);
        exercise((uint64_t)i);
    }
    for (int fd = 0; fd < 3; fd++) {
        char name[] = "/tmp/closed_fds.XXXXXX";
        CHECK(fcntl(fd, F_GETFD) == -1);
        CHECK(mkostemp(name, O_APPEND) == fd);
        CHECK(unlink(name) == 0);
        CHECK(write(fd, "mine\n", 5) == 5);
        CHECK((keep[fd] = fcntl(fd, F_DUPFD, 3)) >= 3);
    }
    for (int i = 0; i < 50; i++)
        exercise((uint64_t)i);
    pid_t child = fork();
    if (child == 0)
        return 0; /* goes through everything that a process does at its end */
    reap(child);
    for (int fd = 0; fd < 3; fd++) {
        char text[100];
        CHECK(pread(keep[fd], text, sizeof text, 0) == 5 && memcmp(text, "mine\n", 5) == 0);
    }
    return 0;
}
