/* SPDX-License-Identifier: MIT */
/* Large blocks before every constructor, in constructors, at exit and in destructors; each phase frees the last one's.
 */
#include "victim.h"

static void *baton;

static void hand_over(uint64_t phase)
{
    CHECK(baton == NULL || stamped(baton, 3 * MIB, phase - 1));
    free(baton);
    exercise(phase);
    stamp(baton = make(3 * MIB), 3 * MIB, phase);
}

static void preinit(void)
{
    hand_over(1);
}
__attribute__((section(".preinit_array"), used)) static void (*const before_all)(void) = preinit;

static void at_exit(void)
{
    hand_over(5);
}
static void on_exit_(int status, void *unused)
{
    (void)status;
    (void)unused;
    hand_over(4);
}

__attribute__((constructor(101))) static void construct(void)
{
    hand_over(2);
    CHECK(atexit(at_exit) == 0);
}

__attribute__((destructor)) static void destroy(void)
{
    hand_over(6);
}
__attribute__((destructor(101))) static void destroy_last(void)
{
    hand_over(7);
}

int main(void)
{
    hand_over(3);
    CHECK(on_exit(on_exit_, NULL) == 0);
    return done();
}
