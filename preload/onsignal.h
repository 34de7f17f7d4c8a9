/* SPDX-License-Identifier: MIT */
#ifndef BP_ONSIGNAL_H
#define BP_ONSIGNAL_H
/*
 * On signal: lets people ask a running program for its report, by BUFPOOL_STATS_SIGNAL.
 *
 * How:   the handler leaves a note and sees to it that the next small request reads it; then it calls the handler that
 *        was there before. If the program sets a handler of its own later, ours is simply gone.
 * Layer: P3. May use dump, ticker and all of src/.
 */

/* Installs the handler. A value that is not accepted gets one line and does nothing. */
void bp_onsignal_start(const char *value);

#endif
