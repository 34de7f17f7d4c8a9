/* SPDX-License-Identifier: MIT */
/*
 * Runs a program under a filter that allows only the system calls with the given numbers.
 *
 *   allow kill|ERRNO NUMBER,NUMBER... PROGRAM ARGUMENT...
 *
 * What is not allowed kills the process, or fails with the error of that number. execve is let through once, as we need
 * it ourselves. LD_PRELOAD for the program comes as ALLOW_PRELOAD, so that we are not preloaded.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { RULES = 512, FAILED = 125 };

static struct sock_filter rules[RULES];
static unsigned short rule_count;

static void add(struct sock_filter rule)
{
    if (rule_count == RULES)
        exit(FAILED);
    rules[rule_count++] = rule;
}

static void allow(unsigned number)
{
    add((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1));
    add((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return FAILED;
    unsigned otherwise = SECCOMP_RET_KILL_PROCESS;
    if (strcmp(argv[1], "kill") != 0)
        otherwise = SECCOMP_RET_ERRNO | (unsigned)strtoul(argv[1], NULL, 10);
    add((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
    allow(SYS_execve);
    for (char *number = strtok(argv[2], ","); number; number = strtok(NULL, ","))
        allow((unsigned)strtoul(number, NULL, 10));
    add((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, otherwise));

    const char *preload = getenv("ALLOW_PRELOAD");
    if (preload)
        (void)setenv("LD_PRELOAD", preload, 1);
    (void)unsetenv("ALLOW_PRELOAD");
    struct sock_fprog program = {.len = rule_count, .filter = rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        perror("allow");
        return FAILED;
    }
    execvp(argv[3], argv + 3);
    return FAILED;
}
