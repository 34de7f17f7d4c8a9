/* SPDX-License-Identifier: MIT */
#include "lock.h"

#include <sched.h>

enum { TRIES = 200 };

#if BP_ASSERT_LEVEL >= 1
/* How many locks of each rank this thread holds. */
static BP_THREAD_LOCAL unsigned char held[BP_RANK_COUNT];

static void check_order(enum bp_rank rank)
{
    for (unsigned above = (unsigned)rank + 1; above < BP_RANK_COUNT; above++)
        BP_ASSERT(held[above] == 0);
}

static void note_acquired(enum bp_rank rank)
{
    held[rank]++;
}

static void note_released(enum bp_rank rank)
{
    BP_ASSERT(held[rank] > 0);
    held[rank]--;
}

bool bp_lock_is_held(const struct bp_lock *lock)
{
    return held[lock->rank] > 0;
}
#else
static void check_order(enum bp_rank rank)
{
    (void)rank;
}

static void note_acquired(enum bp_rank rank)
{
    (void)rank;
}

static void note_released(enum bp_rank rank)
{
    (void)rank;
}

bool bp_lock_is_held(const struct bp_lock *lock)
{
    (void)lock;
    return true;
}
#endif

void bp_lock_init(struct bp_lock *lock, enum bp_rank rank)
{
    /* Adaptive: sections are a few list operations, so the holder is most often about to leave. */
    pthread_mutexattr_t attributes;
    (void)pthread_mutexattr_init(&attributes);
    (void)pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
    (void)pthread_mutex_init(&lock->mutex, &attributes);
    (void)pthread_mutexattr_destroy(&attributes);
    lock->rank = rank;
}

bool bp_lock_acquire(struct bp_lock *lock)
{
    check_order(lock->rank);
    bool waited = pthread_mutex_trylock(&lock->mutex) != 0;
    if (waited)
        (void)pthread_mutex_lock(&lock->mutex);
    note_acquired(lock->rank);
    return waited;
}

void bp_lock_release(struct bp_lock *lock)
{
    note_released(lock->rank);
    (void)pthread_mutex_unlock(&lock->mutex);
}

bool bp_lock_try_briefly(struct bp_lock *lock)
{
    for (int i = 0; i < TRIES; i++) {
        if (pthread_mutex_trylock(&lock->mutex) == 0) {
            note_acquired(lock->rank);
            return true;
        }
        (void)sched_yield();
    }
    return false;
}

bool bp_lock_is_free(struct bp_lock *lock)
{
    if (pthread_mutex_trylock(&lock->mutex) != 0)
        return false;
    (void)pthread_mutex_unlock(&lock->mutex);
    return true;
}

void bp_lock_reinit(struct bp_lock *lock)
{
#if BP_ASSERT_LEVEL >= 1
    held[lock->rank] = 0;
#endif
    bp_lock_init(lock, lock->rank);
}
