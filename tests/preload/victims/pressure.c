/* SPDX-License-Identifier: MIT */
/*
 * Has free memory and is told that memory is short, the way systemd tells its services: $MEMORY_PRESSURE_WATCH names
 * what to watch. The first argument says what that is: fifo; socket, which must first be sent what
 * $MEMORY_PRESSURE_WRITE says; or nothing that tells anything. The second is the path. The memory must go back when
 * something is written there, and stay if nothing can be. closed: it closes all its files and opens others; eof: nobody
 * else may hold a pipe open that it closes.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "victim.h"

enum { BLOCKS = 100, WAIT_MS = 3000, STEP_MS = 20, FILES = 8 };

/* Every thread has as much, also one that somebody else makes. */
static _Thread_local volatile char large[70000];

static void sleep_ms(long ms)
{
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    (void)nanosleep(&time, NULL);
}

static void burst(void)
{
    large[0] = 1;
    void *blocks[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++)
        stamp(blocks[i] = make(MIB), MIB, i);
    for (size_t i = 0; i < BLOCKS; i++)
        free(blocks[i]);
}

/* What $MEMORY_PRESSURE_WATCH names, open on our side. */
static int open_other_end(const char *how, const char *path, int listener)
{
    int fd = strcmp(how, "socket") == 0 ? accept(listener, NULL, NULL) : open(path, O_WRONLY | O_NONBLOCK);
    CHECK(fd >= 0);
    char asked[sizeof "hello"] = "";
    if (strcmp(how, "socket") == 0)
        CHECK(read(fd, asked, 5) == 5 && strcmp(asked, "hello") == 0);
    return fd;
}

static void expect_memory_to_go(int fd)
{
    size_t left_bytes = SIZE_MAX;
    for (int waited_ms = 0; waited_ms < WAIT_MS && left_bytes > 20 * MIB; waited_ms += STEP_MS) {
        CHECK(write(fd, "!", 1) == 1);
        sleep_ms(STEP_MS);
        left_bytes = resident_bytes();
    }
    CHECK(left_bytes <= 20 * MIB);
}

/* All numbers are the program's own again, and what it opens under them nobody touches. */
static int replace_files(int kept)
{
    int files[FILES];
    int moved = fcntl(kept, F_DUPFD, 100);
    CHECK(moved >= 0 && close_range(3, 99, 0) == 0);
    for (int i = 0; i < FILES; i++) {
        files[i] = memfd_create("own", 0);
        CHECK(files[i] == 3 + i);
    }
    expect_memory_to_go(moved);
    for (int i = 0; i < FILES; i++) {
        struct stat status;
        CHECK(fstat(files[i], &status) == 0 && status.st_size == 0);
        CHECK(close(files[i]) == 0);
    }
    return moved;
}

static void expect_end_of_file(void)
{
    int ends[2];
    CHECK(pipe(ends) == 0);
    burst();
    sleep_ms(100); /* now there is a thread, if there ever is one */
    CHECK(close(ends[1]) == 0);
    struct pollfd end = {.fd = ends[0], .events = POLLIN};
    CHECK(poll(&end, 1, 1000) == 1 && (end.revents & POLLHUP) != 0);
}

static int child(const char *how, const char *path, int listener)
{
    if (strcmp(how, "eof") == 0) {
        expect_end_of_file();
        return done();
    }
    burst();
    sleep_ms(200);
    size_t held_bytes = resident_bytes();
    CHECK(held_bytes > 50 * MIB);
    if (strcmp(how, "nothing") != 0) {
        int fd = open_other_end(how, path, listener);
        if (strcmp(how, "closed") == 0)
            fd = replace_files(fd);
        else
            expect_memory_to_go(fd);
        CHECK(close(fd) == 0);
    }
    exercise(1);
    return done();
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 1) == 0);
    return fd;
}

int main(int argc, char **argv)
{
    CHECK(argc >= 3);
    const char *how = argv[1];
    const char *path = argv[2];
    if (argc == 4)
        return child(how, path, atoi(argv[3]));
    int listener = -1;
    if (strcmp(how, "socket") == 0) {
        listener = listen_at(path);
        CHECK(setenv("MEMORY_PRESSURE_WRITE", "aGVsbG8=", 1) == 0);
    } else if (strcmp(how, "fifo") == 0 || strcmp(how, "closed") == 0) {
        CHECK(mkfifo(path, 0600) == 0);
    }
    char number[16];
    (void)snprintf(number, sizeof number, "%d", listener);
    if (strcmp(how, "eof") != 0)
        CHECK(setenv("MEMORY_PRESSURE_WATCH", path, 1) == 0);
    /* The environment is read at the start. */
    (void)execl(argv[0], argv[0], how, path, number, (char *)NULL);
    return 1;
}
