/* SPDX-License-Identifier: MIT */
/*
 * Threads fork while others read long lines and one flushes all streams: fork waits for the list of streams, whose
 * holder waits for a stream, whose holder waits for memory, which must not wait for fork.
 */
#include "victim.h"
#include <pthread.h>
#include <time.h>

enum { FORKERS = 2, READERS = 4, LINE_BYTES = 100000, SECONDS = 2 };

static volatile int is_over;

static void *fork_on(void *unused)
{
    while (!is_over) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        reap(child);
    }
    return unused;
}

static void *read_on(void *stream)
{
    FILE *file = stream;
    while (!is_over) {
        char *line = NULL;
        size_t size = 0;
        rewind(file);
        CHECK(getline(&line, &size, file) == LINE_BYTES);
        free(line);
    }
    CHECK(fclose(file) == 0);
    return NULL;
}

static void *flush_on(void *unused)
{
    while (!is_over)
        CHECK(fflush(NULL) == 0);
    return unused;
}

int main(void)
{
    pthread_t threads[FORKERS + READERS + 1];
    FILE *streams[LENGTH(threads)] = {NULL};
    char path[] = "/tmp/fork_streams.XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    for (int i = 0; i < LINE_BYTES; i++)
        CHECK(write(fd, "x", 1) == 1);
    for (size_t i = FORKERS; i < FORKERS + READERS; i++)
        CHECK((streams[i] = fopen(path, "r")) != NULL);
    CHECK(unlink(path) == 0); /* nothing stays, whatever becomes of this */
    for (size_t i = 0; i < LENGTH(threads); i++)
        CHECK(pthread_create(&threads[i], NULL, i < FORKERS ? fork_on : i < FORKERS + READERS ? read_on : flush_on,
                             streams[i]) == 0);
    CHECK(nanosleep(&(struct timespec){.tv_sec = SECONDS}, NULL) == 0);
    is_over = 1;
    for (size_t i = 0; i < LENGTH(threads); i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    return done();
}
