/* SPDX-License-Identifier: MIT */
#ifndef BP_FAKE_OS_H
#define BP_FAKE_OS_H
/*
 * Fake OS: the kernel's calls, counted, and failing when a test says so.
 *
 * A call that does not fail is made as usual: memory behaves as memory does.
 */
#include "os.h"

#define FAIL_ALWAYS ((size_t)-1)

struct fake_call {
    _Atomic(size_t) calls;
    _Atomic(size_t) failed;
    size_t skip;     /* so many calls succeed first */
    size_t fail;     /* then so many fail; FAIL_ALWAYS: all */
    unsigned one_in; /* besides, of the later ones, one in so many fails at random; 0: none */
};

struct fake_bound {
    void *address;
    size_t bytes;
    struct bp_policy policy;
    bool move;
};

extern struct fake_os {
    struct fake_call reserve;
    struct fake_call map;
    struct fake_call commit;
    struct fake_call renew;
    struct fake_call close;
    struct fake_call purge;
    struct fake_call guard;
    struct fake_call unguard;
    struct fake_call advise_huge;
    struct fake_call map_huge;
    struct fake_call lock;
    struct fake_call unlock;
    struct fake_call populate;
    struct fake_call resident;
    struct fake_call move;
    struct fake_call mappings_left;
    struct fake_call fence;
    void (*in_fence)(void); /* called in the middle of it, unless NULL */
    /* Memory nodes are all pretended. */
    struct fake_call bind;
    struct fake_call get_policy;
    struct fake_call locate;
    struct fake_bound bound;        /* the last that succeeded */
    struct bp_policy policy;        /* of every thread */
    uint64_t allowed_nodes;
    int allowed_error;              /* of the question for them, if not 0 */
    int (*node_of)(const void *page); /* NULL: all on node 0 */
    int cpu;                        /* of the thread that asks */
    int other_cpu;                  /* of every other thread */
    _Atomic(uint64_t) now_ns; /* the clock stands still until a test moves it */
    size_t reserve_max_bytes; /* larger reservations fail; 0: no limit */
    size_t mappings_max;      /* that there are left at most; 0: no limit but the kernel's */
    int move_error;           /* what a move that fails returns */
    bool moves_one_mapping;   /* at a time, as Linux before 6.17 */
    bool moves_leave_foreign;  /* one that fails has unmapped the new place, and another thread mapped its own there */
    _Atomic(size_t) mapped_bytes; /* by reserve and map, less what was unmapped */
    _Atomic(size_t) purged_bytes;
    _Atomic(size_t) huge_bytes;     /* asked for by advice or taken from the reserved pool, ever */
    _Atomic(size_t) not_huge_bytes; /* refused by advice */
    _Atomic(size_t) locked_bytes; /* only counted */
    _Atomic(size_t) populated_bytes;
    bool populates_nothing;          /* it is only counted then: whole machines would be filled */
    int populate_error;              /* what it returns when it fails */
    _Atomic(uint64_t) random; /* the seed of what fails at random */
} fake_os;

/* Is what moves that failed left of another thread's all there? */
bool fake_os_foreign_holds(void);
/* From here on bp_os counts and fails. */
void fake_os_install(void);

#endif
