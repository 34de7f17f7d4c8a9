/* SPDX-License-Identifier: MIT */
/*
 * Large blocks whose memory is locked, while they are live and for a while after. Argument: how much the process may
 * lock; none, some or any.
 */
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#include "victim.h"

#define SIZE (512 * KIB)

enum { BLOCKS = 8 };

/* Locked memory of the process. */
static size_t locked_mib(void)
{
    char line[256];
    size_t kib = SIZE_MAX;
    FILE *status = fopen("/proc/self/status", "r");
    CHECK(status != NULL);
    while (fgets(line, sizeof line, status))
        (void)sscanf(line, "VmLck: %zu", &kib);
    (void)fclose(status);
    CHECK(kib != SIZE_MAX);
    return kib * KIB / MIB;
}

/* For root there is no limit. */
static void drop_privilege(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2];
    CHECK(syscall(SYS_capget, &header, sets) == 0);
    sets[0].effective &= ~(1u << CAP_IPC_LOCK);
    sets[0].permitted &= ~(1u << CAP_IPC_LOCK);
    sets[0].inheritable &= ~(1u << CAP_IPC_LOCK);
    CHECK(syscall(SYS_capset, &header, sets) == 0);
}

static void sleep_and_ask(int ms)
{
    for (int i = 0; i < ms; i++) {
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        for (int j = 0; j < 300; j++)
            free(malloc(100));
    }
}

int main(int argc, char **argv)
{
    const char *limit = argc > 1 ? argv[1] : "any";
    size_t least = strcmp(limit, "any") == 0 ? 4 : strcmp(limit, "some") == 0 ? 1 : 0;
    size_t most = strcmp(limit, "any") == 0 ? 7 : strcmp(limit, "some") == 0 ? 2 : 0;
    if (strcmp(limit, "any") != 0) {
        struct rlimit memlock = {.rlim_cur = most * MIB, .rlim_max = most * MIB};
        CHECK(setrlimit(RLIMIT_MEMLOCK, &memlock) == 0);
        drop_privilege();
    }
    char *blocks[BLOCKS];
    for (int turn = 0; turn < 3; turn++) {
        for (int i = 0; i < BLOCKS; i++) {
            blocks[i] = make(SIZE);
            stamp(blocks[i], SIZE, (uint64_t)i);
        }
        CHECK(locked_mib() >= least && locked_mib() <= most);
        char *grown = realloc(blocks[0], 2 * SIZE);
        CHECK(grown && stamped_part(grown, 2 * SIZE, SIZE, 0));
        blocks[0] = grown;
        pid_t child = fork();
        if (child == 0) {
            CHECK(locked_mib() == 0);
            for (int i = 1; i < BLOCKS; i++)
                CHECK(stamped(blocks[i], SIZE, (uint64_t)i));
            free(blocks[1]);
            (void)make(SIZE);
            _exit(0);
        }
        reap(child);
        for (int i = 0; i < BLOCKS; i++)
            free(blocks[i]);
        sleep_and_ask(turn == 1 ? 800 : 0);
        CHECK(turn != 1 || locked_mib() <= 1);
    }
    return done();
}
