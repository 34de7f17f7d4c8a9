/* SPDX-License-Identifier: MIT */
/*
 * Random histories of the model, every byte of every block checked: histories STEPS [SEED].
 *
 * Pools of every kind, one after another, with threads, forks, tainted slots and a kernel that fails, as in the unit
 * tests of the model, but as many as one has time for. A seed repeats them.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fake_os.h"
#include "model.h"
#include "out.h"
#include "random.h"

enum { HEAD_BYTES = 6, LIFE_BYTES = 40000 };

int main(int argc, char **argv)
{
    size_t steps_wanted = argc > 1 ? strtoul(argv[1], NULL, 10) : 10000;
    uint64_t seed = argc > 2 ? strtoul(argv[2], NULL, 0) : (uint64_t)time(NULL);
    bp_say("histories: %zu steps, seed %lu", steps_wanted, (unsigned long)seed);
    static uint8_t data[HEAD_BYTES + LIFE_BYTES];
    size_t steps = 0, lives = 0, forks = 0, moved = 0;
    while (steps < steps_wanted) {
        for (size_t i = 0; i < sizeof data; i++)
            data[i] = (uint8_t)random_below(&seed, 256);
        memset(&fake_os, 0, sizeof fake_os);
        fake_os.random = seed;
        struct model_bytes bytes = {.data = data, .size = sizeof data};
        struct model_setup setup;
        model_setup_read(&setup, &bytes);
        struct model_outcome outcome = model_live(&setup, &bytes);
        steps += outcome.steps;
        forks += outcome.forked;
        moved += outcome.moved_or_copied;
        lives++;
    }
    bp_say("histories: %zu pools, %zu steps, %zu blocks moved by realloc, %zu forks", lives, steps, moved, forks);
    return 0;
}
