/* SPDX-License-Identifier: MIT */
#ifndef BP_TICKER_H
#define BP_TICKER_H
/*
 * Ticker: lets time pass for a pool that the program does not use at the moment.
 *
 * Why:   slow operations of the pool tick by themselves. A program that made a burst of large requests and then goes on
 *        with small ones would leave all that memory cached; so would one that sleeps.
 * How:   while something is cached, the table of the underlying allocator holds a malloc, calloc and realloc that count
 *        down and look at the clock now and then; when nothing is, the table holds the allocator's own again, and a
 *        small request costs what it always did. With BUFPOOL_BACKGROUND=1 a thread does the same for programs that
 *        sleep.
 * Asked: when somebody asks for a report (dump.h), the next request of any thread answers: the table holds others for
 *        that, too, and the hit path is left alone by all until it is done.
 * Layer: P2. May use dump, process, real, retry and all of src/.
 * Fork:  bp_ticker_after_fork() in the child; the thread starts again when there is something to do.
 */
#include "dump.h"

extern BP_HIDDEN _Atomic(bool) bp_ticker_armed;

BP_COLD void bp_ticker_start(void);
/* Lets the next request see what was asked of dump, or no longer is. For signal handlers. */
void bp_ticker_hurry(void);
BP_COLD void bp_ticker_answer_now(void);
void bp_ticker_after_fork(void);

/* At a safe point: no lock of ours is held, and no operation on a thread's cache is under way. */
BP_ALWAYS_INLINE void bp_ticker_answer(void)
{
    if (BP_UNLIKELY(bp_load_relaxed(&bp_dump_asked) != 0))
        bp_ticker_answer_now();
}

/* There is a pool, and the program's address space is limited: requests that fail are tried again (retry.h). */
BP_COLD void bp_ticker_start_retrying(void);

/* After an operation that may have left something cached, or much unused. */
BP_ALWAYS_INLINE void bp_ticker_arm(void)
{
    if (!bp_load_relaxed(&bp_ticker_armed))
        bp_ticker_start();
}

#endif
