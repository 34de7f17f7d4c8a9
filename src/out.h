/* SPDX-License-Identifier: MIT */
#ifndef BP_OUT_H
#define BP_OUT_H
/*
 * Output without allocation: a bounded text buffer, one write(2) a message, never to standard output.
 *
 * Why:     stdio allocates, locks and can be re-entered from inside malloc.
 * Layer:   0.
 * Locking: none. A message is formatted on the caller's stack.
 * Errors:  a write that fails is dropped. errno is preserved by every function here.
 */
#include <stdarg.h>

#include "base.h"

/* A text buffer that truncates instead of overflowing; `length` never passes `size - 1`. */
struct bp_text {
    char *data;
    size_t size;
    size_t length;
};

/*
 * Supported conversions: %s %c %d %u %zu %lu %lx %p %% and the widths and left-justification of %s, %u, %zu and %lu
 * (as in %8zu, %-10s). No floating point: callers scale to integers.
 */
void bp_text_add(struct bp_text *text, const char *format, ...) BP_PRINTF(2, 3);
/* Appends a byte count in the largest unit that it reaches, below 100 with a decimal, cut off: such as 64K or 1.5G. */
void bp_text_add_bytes(struct bp_text *text, size_t bytes);
/* Makes it one line that no terminal obeys, whatever the names and values in it hold: control characters become "?". */
void bp_text_clean(struct bp_text *text);
/* Appends a JSON string literal with the escapes it needs. */
void bp_text_add_json(struct bp_text *text, const char *string);

/*
 * Writes all of it, retrying after EINTR and short writes. Returns false once a write fails, which raises no signal. As
 * nothing here, it is no cancellation point.
 */
bool bp_write_full(int fd, const char *data, size_t size);
void bp_out_close(int fd);
/*
 * A descriptor that was just opened, moved if it is one of the three standard ones, which the program left closed: what
 * it has there next is its own. -1 if it cannot be.
 */
int bp_out_leave_standard(int fd);
/* From now on a line is a newfstatat and a write: a filter may forbid what keeps signals away. */
void bp_out_keep_quiet(void);

/*
 * Remembers what standard error is. From then on nothing is written to it once it is something else: a program that was
 * started without one may open a file of its own under that number.
 */
void bp_out_remember_stderr(void);
/* Its file descriptor, or -1 when it must not be written to. One above STDERR_FILENO is the caller's, who closes it. */
int bp_out_stderr(void);
/*
 * Gives this thread file descriptors of its own, none of the program's among them: what it opens from now on no other
 * thread can close, nor take for its own, nor pass on by fork, and it keeps nothing open that the program closes.
 * Standard error is borrowed for each message. False when the kernel does not do it; nothing has changed then.
 */
bool bp_out_leave_files(void);

/* One line "bufpool: ..." on standard error. After 16 of them a last line says that the rest is dropped. */
void bp_warn(const char *format, ...) BP_PRINTF(1, 2);
/* As bp_warn(), without the limit. For what the user asked to see. */
void bp_say(const char *format, ...) BP_PRINTF(1, 2);
/* One line, then abort(). For damage that makes going on worse than stopping. */
BP_COLD BP_NORETURN void bp_fatal(const char *format, ...) BP_PRINTF(1, 2);

#endif
