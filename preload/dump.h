/* SPDX-License-Identifier: MIT */
#ifndef BP_DUMP_H
#define BP_DUMP_H
/*
 * Dump: writes reports where BUFPOOL_STATS_FILE says, at the end of the process and when somebody asks.
 *
 * Why:   who asks may be a signal handler, in the middle of anything. It leaves a note, which is answered at the next
 *        safe point: before or after a slow operation, at a small request, by the background thread.
 * Layer: P2. May use process and all of src/.
 * Locks: none of its own: each report has its own memory and goes out in one write.
 * Fork:  bp_dump_start() in the child. What was asked of the parent is answered by the parent.
 */
#include "atomic.h"

/* What a report says of the mode, and why it is not the usual one; an empty text if it is. */
extern BP_HIDDEN const char *bp_dump_mode;
extern BP_HIDDEN const char *bp_dump_mode_reason;

/* What was asked for and not answered yet. Whoever changes it calls bp_ticker_hurry() after that. */
enum { BP_ASKED_REPORT = 1, BP_ASKED_TRIM = 2 };
extern BP_HIDDEN _Atomic(unsigned) bp_dump_asked;

/* This process will report, if it is to. */
void bp_dump_start(void);
/*
 * Once a process, if BUFPOOL_STATS asks for it and the program has not asked for no new privileges. A child of vfork()
 * shares our memory and is not us: the report stays with the parent.
 */
void bp_dump_at_end(void);

/* Does what was asked for, if anything was. At a safe point: see bp_ticker_answer(). */
void bp_dump_answer(void);

#endif
