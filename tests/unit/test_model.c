/* SPDX-License-Identifier: MIT */
/*
 * Random histories of the model: see model.h. A seed repeats its history (BUFPOOL_TEST_SEED=number).
 */
#include "model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fake_os.h"
#include "random.h"
#include "support.h"

static uint64_t seed;
static struct model_setup setup;

static void init_history(void)
{
    const char *given = getenv("BUFPOOL_TEST_SEED");
    seed = given ? strtoul(given, NULL, 0) : 20240229;
    memset(&fake_os, 0, sizeof fake_os);
    model_setup_init(&setup);
}

TestSuite(model, .init = init_history, .timeout = 100);

static struct model_outcome live_through(size_t bytes)
{
    uint8_t *data = malloc(bytes);
    uint64_t state = seed;
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)random_below(&state, 256);
    fake_os.random = ~seed;
    struct model_outcome outcome = model_live(&setup, &(struct model_bytes){.data = data, .size = bytes});
    cr_assert(outcome.made);
    free(data);
    return outcome;
}

Test(model, of_a_small_pool)
{
    struct model_outcome outcome = live_through(30000);
    cr_assert(outcome.misused > 0 && outcome.forked > 0);
}

Test(model, of_other_seeds)
{
    for (int i = 0; i < 6; i++) {
        seed++;
        (void)live_through(8000);
    }
}

Test(model, of_any_pool)
{
    for (int i = 0; i < 30; i++) {
        uint8_t head[6];
        for (size_t j = 0; j < sizeof head; j++)
            head[j] = (uint8_t)random_below(&seed, j == 3 ? 3 : 256); /* the kernel does not fail yet */
        memset(&fake_os, 0, sizeof fake_os);
        model_setup_read(&setup, &(struct model_bytes){.data = head, .size = sizeof head});
        (void)live_through(2000);
    }
}

Test(model, without_thread_caches_and_little_cache)
{
    setup.options.thread_cache_buffers = 0;
    setup.options.cache_bytes = 3 * BP_MIB;
    (void)live_through(30000);
    cr_assert_gt(fake_os.purge.calls, 0);
}

Test(model, without_cache)
{
    setup.options.cache_bytes = 0;
    check_size(live_through(30000).peak_cached_bytes, 0);
}

Test(model, under_a_limit_of_all_memory)
{
    setup.options.max_bytes = 20 * BP_MIB;
    struct model_outcome outcome = live_through(30000);
    cr_assert_gt(outcome.refused, 0);
    cr_assert_leq(outcome.peak_footprint_bytes, 20 * BP_MIB);
}

Test(model, in_16_mib_of_address_space)
{
    fake_os.reserve_max_bytes = 16 * BP_MIB;
    cr_assert_gt(live_through(30000).refused, 0);
}

Test(model, with_large_blocks)
{
    setup.size_max = 30 * BP_MIB;
    setup.options.cache_bytes = 400 * BP_MIB;
    (void)live_through(4000);
}

Test(model, with_a_kernel_that_fails_at_random)
{
    fake_os.commit.one_in = 3;
    fake_os.purge.one_in = 3;
    fake_os.move.one_in = 3;
    fake_os.populate.one_in = 30;
    fake_os.move_error = -EFAULT;
    setup.options.cache_bytes = 10 * BP_MIB;
    (void)live_through(30000);
    cr_assert_gt(fake_os.purge.failed, 0);
    cr_assert_gt(fake_os.commit.failed, 0);
}

Test(model, with_records_that_fail_at_random)
{
    fake_os.map.skip = 4;
    fake_os.map.one_in = 2;
    (void)live_through(30000);
}

Test(model, with_charged_memory_that_fails_at_random)
{
    setup.commit_is_charged = true;
    fake_os.commit.one_in = 10;
    cr_assert(live_through(30000).commit_is_charged);
    cr_assert_gt(fake_os.commit.failed, 0);
}

/* Every byte that a block shows for the first time is zero, whatever the kernel does. */
static void live_scrubbed(enum bp_scrub scrub)
{
    setup.options.scrub = scrub;
    (void)live_through(20000);
    fake_os.purge.one_in = 3;
    fake_os.move.one_in = 3;
    fake_os.renew.one_in = 3;
    fake_os.move_error = -EFAULT;
    setup.options.cache_bytes = 10 * BP_MIB;
    (void)live_through(20000);
    setup.size_max = 60 * BP_MIB;
    setup.options.cache_bytes = 400 * BP_MIB;
    (void)live_through(2000);
}

Test(model, scrubbed_when_freed)
{
    live_scrubbed(BP_SCRUB_FREE);
}

Test(model, scrubbed_before_use)
{
    live_scrubbed(BP_SCRUB_ALLOC);
}
