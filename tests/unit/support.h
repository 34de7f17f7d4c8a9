/* SPDX-License-Identifier: MIT */
#ifndef BP_SUPPORT_H
#define BP_SUPPORT_H
/*
 * What all unit tests share: Criterion, comparisons that show both sides, and code run in a process of its own.
 */
#include <criterion/criterion.h>
#include <stdbool.h>
#include <stddef.h>

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

/* Fails the test; in a child of it, where Criterion would be lost, ends the child with a line and status 1. */
#define check(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, "%s", #condition))
#define check_size(actual, expected)                                                                                   \
    do {                                                                                                               \
        size_t actual_ = (actual);                                                                                     \
        size_t expected_ = (expected);                                                                                 \
        if (actual_ != expected_)                                                                                      \
            check_failed(__FILE__, __LINE__, "%s is %zu (%#zx), not %zu (%#zx)", #actual, actual_, actual_, expected_, \
                         expected_);                                                                                   \
    } while (0)
__attribute__((format(printf, 3, 4))) void check_failed(const char *file, int line, const char *format, ...);

/* How a process ended and what it wrote to standard error. */
struct outcome {
    int status; /* as of waitpid() */
    char text[32 * 1024];
};

/* Runs the function in a child, which leaves with status 0 unless the function does otherwise. */
struct outcome run_apart(void (*function)(void *argument), void *argument);
/* The child stopped itself with abort(), after a line that starts with `line`. */
void check_aborts(void (*function)(void *argument), void *argument, const char *line);
/* The child ended well and said exactly this. */
void check_says(void (*function)(void *argument), void *argument, const char *text);

#endif
