/* SPDX-License-Identifier: MIT */
/*
 * Large blocks come and go on the stack of a signal handler, which has 4 KiB beyond what the kernel puts there; or four
 * times that, where the library is not optimised.
 */
#include "victim.h"
#include <signal.h>
#include <sys/mman.h>
#include <time.h>

#ifdef UNOPTIMISED
enum { BEYOND_BYTES = 16 * KIB };
#else
enum { BEYOND_BYTES = 4 * KIB };
#endif

static void on_signal(int number)
{
    (void)number;
    for (size_t size = 64 * KIB; size < 20 * MIB; size *= 5) {
        char *block = malloc(size);
        block[0] = block[size - 1] = 1;
        block = realloc(block, size * 2);
        block[size * 2 - 1] = 1;
        free(block);
        block = calloc(3, size);
        block[size] = 1;
        free(block);
    }
}

int main(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t least = SIGSTKSZ;
#ifdef _SC_MINSIGSTKSZ
    least = (size_t)sysconf(_SC_MINSIGSTKSZ);
#endif
    size_t bytes = least + BEYOND_BYTES;
    size_t pages = (bytes + page - 1) / page + 1;
    char *low = mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(low != MAP_FAILED && mprotect(low, page, PROT_NONE) == 0);
    const stack_t stack = {.ss_sp = low + page, .ss_size = bytes};
    const struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    exercise(1);
    CHECK(sigaltstack(&stack, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0);
    const struct timespec pause = {.tv_nsec = 20000000};
    for (int i = 0; i < 60; i++) { /* long enough for what is done once a second */
        CHECK(raise(SIGUSR1) == 0);
        (void)nanosleep(&pause, NULL);
    }
    return done();
}
