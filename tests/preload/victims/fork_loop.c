/* SPDX-License-Identifier: MIT */
/* A thousand forks, each child allocating; and a chain of forks, each from the last child. */
#include "victim.h"

int main(void)
{
    void *kept = make(300 * KIB);
    stamp(kept, 300 * KIB, 9);
    for (int i = 0; i < 1000; i++) {
        pid_t child = fork();
        if (child == 0) {
            CHECK(stamped(kept, 300 * KIB, 9));
            kept = realloc(kept, 500 * KIB);
            CHECK(kept != NULL && stamped_part(kept, 500 * KIB, 300 * KIB, 9));
            free(kept);
            free(make(200 * KIB));
            _exit(0);
        }
        free(make(200 * KIB));
        reap(child);
    }
    for (int depth = 0; depth < 30; depth++) {
        exercise((uint64_t)depth);
        pid_t child = fork();
        if (child != 0) {
            reap(child);
            if (depth > 0)
                _exit(0);
            free(kept);
            return done();
        }
        CHECK(stamped(kept, 300 * KIB, 9));
    }
    _exit(0);
}
