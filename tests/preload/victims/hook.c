/* SPDX-License-Identifier: MIT */
/*
 * Watches munmap, as libraries do that remember which memory they registered with a device. Built under two names: as
 * one that is there from the start, and as libibverbs.so.1.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static uintptr_t watched;
static int seen;
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static volatile int is_held, waiting;

/* From now on it counts how often this address goes. */
void hook_watch(const void *address);
int hook_count(void);
/* Holds the lock that whoever is told of memory that goes must take; is somebody waiting for it? */
void hook_hold(void);
int hook_waits(void);
void hook_release(void);

void hook_watch(const void *address)
{
    watched = (uintptr_t)address;
    seen = 0;
}

int hook_count(void)
{
    return seen;
}

void hook_hold(void)
{
    (void)pthread_mutex_lock(&lock);
    is_held = 1;
}

int hook_waits(void)
{
    return waiting;
}

void hook_release(void)
{
    is_held = 0;
    (void)pthread_mutex_unlock(&lock);
}

int munmap(void *address, size_t bytes)
{
    if (is_held) {
        waiting = 1;
        (void)pthread_mutex_lock(&lock);
        (void)pthread_mutex_unlock(&lock);
    }
    seen += watched - (uintptr_t)address < bytes;
    return (int)syscall(SYS_munmap, address, bytes);
}
