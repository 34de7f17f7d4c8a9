/* SPDX-License-Identifier: MIT */
#ifndef BP_LOCK_H
#define BP_LOCK_H
/*
 * Locks with a rank. A thread acquires only upwards; builds with assertions abort on an inversion.
 *
 * Why:   the order is written once, here, and checked while every test runs.
 * Layer: 0.
 * Fork:  bp_lock_reinit() makes a lock that another thread held in the parent usable in the child.
 */
#include <pthread.h>

#include "base.h"

/* Lowest first: this enumeration is the lock order. */
enum bp_rank {
    BP_RANK_THREADS, /* tcache.c: the list of thread caches */
    BP_RANK_ORPHAN,  /* tcache.c: the cache of threads that have none; held through a whole slow operation */
    BP_RANK_SHARD,   /* shard.c: one shard; two of them only while forking, in index order */
    BP_RANK_ARENA,   /* arena.c: spans and clean slots of a pool */
    BP_RANK_META,    /* meta.c: the pool's own memory */
    BP_RANK_COUNT
};

struct bp_lock {
    pthread_mutex_t mutex; /* libc's, as it is better kept and known to every tool */
    enum bp_rank rank;     /* const */
};

#define BP_LOCK_INITIALIZER(lock_rank)                                                                                 \
    {                                                                                                                  \
        .mutex = PTHREAD_MUTEX_INITIALIZER, .rank = (lock_rank)                                                        \
    }

void bp_lock_init(struct bp_lock *lock, enum bp_rank rank);
/* Returns true when the lock was taken by somebody else and the caller had to wait: the measure of contention. */
bool bp_lock_acquire(struct bp_lock *lock);
void bp_lock_release(struct bp_lock *lock);
/*
 * For a reader that can do without: waits a moment at most, out of order if need be. False: it is not acquired; the
 * holder may be the interrupted code below a signal handler, which will not go on before we do.
 */
bool bp_lock_try_briefly(struct bp_lock *lock);
/* False when somebody holds it, which may be the interrupted code below a signal handler. */
bool bp_lock_is_free(struct bp_lock *lock);
/* In a forked child only: the lock is free again, whoever held it. */
void bp_lock_reinit(struct bp_lock *lock);
/* For assertions: true in builds without them. */
bool bp_lock_is_held(const struct bp_lock *lock);

#endif
