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

/* Numbers that are equal, shown if they are not. */
#define check_size(actual, expected)                                                                                   \
    do {                                                                                                               \
        size_t actual_ = (actual);                                                                                     \
        size_t expected_ = (expected);                                                                                 \
        cr_assert_eq(actual_, expected_, "%s is %zu (%#zx), not %zu (%#zx)", #actual, actual_, actual_, expected_,     \
                     expected_);                                                                                       \
    } while (0)

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
