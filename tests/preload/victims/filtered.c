/* SPDX-License-Identifier: MIT */
/*
 * A program that gives up its privileges and then all system calls but those that the C library's malloc itself makes:
 * one call more is its death. It has its first large block before ("used") or after ("fresh").
 */
#include "victim.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static const int allowed[] = {
    SYS_mmap,   SYS_munmap, SYS_mremap,     SYS_brk,  SYS_madvise,      SYS_mprotect,
    SYS_futex,  SYS_write,  SYS_newfstatat, SYS_exit, SYS_exit_group,   SYS_getrandom,
};

static void give_up_calls(void)
{
    struct sock_filter rules[2 * LENGTH(allowed) + 2];
    unsigned short count = 0;
    rules[count++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < LENGTH(allowed); i++) {
        rules[count++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)allowed[i], 0, 1);
        rules[count++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    rules[count++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    struct sock_fprog filter = {.len = count, .filter = rules};
    CHECK(raise(SIGURG) == 0); /* who is asked for something now must not answer later */
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
}

int main(int argc, char **argv)
{
    static void *blocks[300];
    if (argc > 1 && strcmp(argv[1], "used") == 0)
        exercise(1);
    give_up_calls();
    for (uint64_t seed = 0; seed < 50; seed++)
        exercise(seed);
    uint64_t random = 3;
    for (int i = 0; i < 20000; i++) {
        uint64_t r = roll(&random);
        void **block = &blocks[r % LENGTH(blocks)];
        if (r % 3 == 0) {
            free(*block);
            *block = NULL;
        } else {
            *block = realloc(*block, (size_t)(r >> 16) % (600 * KIB) + 1);
            CHECK(*block != NULL);
        }
    }
    for (size_t i = 0; i < LENGTH(blocks); i++)
        free(blocks[i]);
    CHECK(malloc_trim(0) >= 0);
    return done();
}
