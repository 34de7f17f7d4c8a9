/* SPDX-License-Identifier: MIT */
/* posix_spawn, posix_spawnp, system and popen from a process with large blocks and threads. */
#include "victim.h"
#include <pthread.h>
#include <spawn.h>

extern char **environ;

static char *program;

static void *spawn_some(void *unused)
{
    char argument[] = "child";
    char *again[] = {program, argument, NULL};
    for (int i = 0; i < 5; i++) {
        pid_t child;
        exercise((uint64_t)i);
        CHECK(posix_spawn(&child, "/proc/self/exe", NULL, NULL, again, environ) == 0);
        reap(child);
        CHECK(posix_spawn(&child, "/nonexistent", NULL, NULL, again, environ) == ENOENT);
        CHECK(posix_spawnp(&child, "true", NULL, NULL, again, environ) == 0);
        reap(child);
    }
    return unused;
}

int main(int argc, char **argv)
{
    pthread_t threads[3];
    if (argc > 1) {
        exercise(1);
        return 0;
    }
    program = argv[0];
    for (size_t i = 0; i < LENGTH(threads); i++)
        CHECK(pthread_create(&threads[i], NULL, spawn_some, NULL) == 0);
    for (size_t i = 0; i < LENGTH(threads); i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(system("exit 0") == 0);
    FILE *pipe = popen("echo from the pipe", "r");
    char line[40] = "";
    CHECK(pipe != NULL && fgets(line, sizeof line, pipe) != NULL && strcmp(line, "from the pipe\n") == 0);
    CHECK(pclose(pipe) == 0);
    return done();
}
