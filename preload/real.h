/* SPDX-License-Identifier: MIT */
#ifndef BP_REAL_H
#define BP_REAL_H
/*
 * Real: the underlying allocator, to which everything that the pool does not serve is forwarded.
 *
 * Why:     the program keeps the allocator that it would have had.
 * Layer:   P1. May use boot, and base, atomic, out, os and options of src/.
 * Life:    every entry first points at a function that finds the underlying allocator and calls it; from then on at the
 *          allocator's own function, so that a forwarded call costs one indirect jump. Calls made by the search itself
 *          are served by boot.
 * Threads: the first call comes from the loader or an early constructor, long before a second thread can exist.
 */
#include <malloc.h>
#include <stdio.h>

#include "base.h"

struct bp_real {
    void *(*malloc)(size_t);
    void (*free)(void *);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void *(*memalign)(size_t, size_t);
    void *(*aligned_alloc)(size_t, size_t);
    int (*posix_memalign)(void **, size_t, size_t);
    size_t (*malloc_usable_size)(void *);
    bool measures; /* the last one knows the blocks of the first: they are of one object */
    /*
     * The realloc that the program uses. Not ours, perhaps: an allocator that was loaded before us need not have all
     * entry points (jemalloc and tcmalloc have no reallocarray), and then its blocks come to those of ours.
     */
    void *(*programs_realloc)(void *, size_t);
};

extern BP_HIDDEN struct bp_real bp_real;
/* What was found, and stays so: of the table others change entries for a while (ticker.h). All NULL before. */
extern BP_HIDDEN struct bp_real bp_real_underlying;

/* True once the table holds the underlying allocator's functions; finds them now if need be and possible. */
bool bp_real_is_found(void);
/*
 * The definition of `name` that the program would use if we were not there, or NULL. Looked up at each call: for entry
 * points that are called rarely.
 */
void *bp_real_find(const char *name);
/*
 * The next definition of `name` after ours in the order of loading, or NULL; also while the underlying allocator is
 * still being found, when looking for names may call it.
 */
void *bp_real_find_next(const char *name);
/*
 * As bp_real_find() for a C++ operator, if it is more than a way to malloc and free: NULL when it comes from the C++
 * library or from the underlying allocator itself.
 */
void *bp_real_find_operator(const char *name);
/* True when the program itself defines `name`, so that our definition is not used. */
bool bp_real_is_replaced(const char *name);
/* The definition in the C++ library, wherever it was loaded: it knows how to fail. */
void *bp_real_find_in_cxx_library(const char *name);
/* Why the underlying allocator is not the one that BUFPOOL_UNDERLYING asks for; NULL when it is. */
const char *bp_real_complaint(void);

#endif
