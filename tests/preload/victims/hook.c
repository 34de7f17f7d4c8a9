/* SPDX-License-Identifier: MIT */
/*
 * Watches munmap, as libraries do that remember which memory they registered with a device. Built under two names: as
 * one that is there from the start, and as libibverbs.so.1.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static uintptr_t watched;
static int seen;

/* From now on it counts how often this address goes. */
void hook_watch(const void *address);
int hook_count(void);

void hook_watch(const void *address)
{
    watched = (uintptr_t)address;
    seen = 0;
}

int hook_count(void)
{
    return seen;
}

int munmap(void *address, size_t bytes)
{
    seen += watched - (uintptr_t)address < bytes;
    return (int)syscall(SYS_munmap, address, bytes);
}
