/* SPDX-License-Identifier: MIT */
#include "lock.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "atomic.h"
#include "support.h"

static struct bp_lock locks[BP_RANK_COUNT];

static void init_locks(void)
{
    for (int rank = 0; rank < BP_RANK_COUNT; rank++)
        bp_lock_init(&locks[rank], (enum bp_rank)rank);
}

TestSuite(lock, .init = init_locks);

Test(lock, upwards_is_the_order)
{
    for (int rank = 0; rank < BP_RANK_COUNT; rank++)
        cr_assert_not(bp_lock_acquire(&locks[rank]), "nobody else holds it");
    for (int rank = BP_RANK_COUNT; rank-- > 0;)
        bp_lock_release(&locks[rank]);
    /* Released, any of them may come first again. */
    cr_assert_not(bp_lock_acquire(&locks[0]));
    bp_lock_release(&locks[0]);
}

Test(lock, two_of_one_rank_may_be_held)
{
    struct bp_lock second = BP_LOCK_INITIALIZER(BP_RANK_SHARD);
    (void)bp_lock_acquire(&locks[BP_RANK_SHARD]);
    cr_assert_not(bp_lock_acquire(&second));
    bp_lock_release(&second);
    bp_lock_release(&locks[BP_RANK_SHARD]);
}

#if BP_ASSERT_LEVEL >= 1
static void acquire_downwards(void *lower)
{
    struct bp_lock *lock = lower;
    (void)bp_lock_acquire(&locks[lock->rank + 1]);
    (void)bp_lock_acquire(lock);
}

Test(lock, an_inversion_of_any_two_ranks_aborts)
{
    for (int rank = 0; rank + 1 < BP_RANK_COUNT; rank++)
        check_aborts(acquire_downwards, &locks[rank], "bufpool: assertion failed: held[above] == 0");
}

static void release_unheld(void *lock)
{
    bp_lock_release(lock);
}

Test(lock, releasing_what_is_not_held_aborts)
{
    check_aborts(release_unheld, &locks[0], "bufpool: assertion failed: held[rank] > 0");
}

Test(lock, knows_who_holds_it)
{
    cr_assert_not(bp_lock_is_held(&locks[0]));
    (void)bp_lock_acquire(&locks[0]);
    cr_assert(bp_lock_is_held(&locks[0]));
    bp_lock_release(&locks[0]);
    cr_assert_not(bp_lock_is_held(&locks[0]));
}
#endif

static _Atomic(int) stage;

static void *hold_for_a_while(void *lock)
{
    (void)bp_lock_acquire(lock);
    bp_store_release(&stage, 1);
    (void)usleep(20000);
    bp_store_release(&stage, 2);
    bp_lock_release(lock);
    return NULL;
}

Test(lock, acquire_tells_whether_it_waited)
{
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, hold_for_a_while, &locks[0]), 0);
    while (bp_load_acquire(&stage) == 0) {
    }
    cr_assert(bp_lock_acquire(&locks[0]));
    cr_assert_eq(bp_load_acquire(&stage), 2, "it waited for the other thread to leave");
    bp_lock_release(&locks[0]);
    (void)pthread_join(thread, NULL);
    cr_assert_not(bp_lock_acquire(&locks[0]));
    bp_lock_release(&locks[0]);
}

enum { ADDERS = 4, ADDITIONS = 20000 };
static size_t guarded_sum;

static void *add_guarded(void *lock)
{
    for (int i = 0; i < ADDITIONS; i++) {
        (void)bp_lock_acquire(lock);
        guarded_sum++;
        bp_lock_release(lock);
    }
    return NULL;
}

Test(lock, excludes)
{
    pthread_t threads[ADDERS];
    for (int i = 0; i < ADDERS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, add_guarded, &locks[0]), 0);
    for (int i = 0; i < ADDERS; i++)
        (void)pthread_join(threads[i], NULL);
    check_size(guarded_sum, (size_t)ADDERS * ADDITIONS);
}

/* In a child everything is free again, whichever thread of the parent held it. */
static void use_after_fork(void *lock)
{
    bp_lock_reinit(lock);
    bool waited = bp_lock_acquire(lock);
    bp_lock_release(lock);
    _exit(waited ? 1 : 0);
}

Test(lock, reinit_frees_what_this_thread_held)
{
    (void)bp_lock_acquire(&locks[BP_RANK_ARENA]);
    check_says(use_after_fork, &locks[BP_RANK_ARENA], "");
    bp_lock_release(&locks[BP_RANK_ARENA]);
}

Test(lock, reinit_frees_what_another_thread_held)
{
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, hold_for_a_while, &locks[BP_RANK_ARENA]), 0);
    while (bp_load_acquire(&stage) == 0) {
    }
    check_says(use_after_fork, &locks[BP_RANK_ARENA], "");
    (void)pthread_join(thread, NULL);
}
