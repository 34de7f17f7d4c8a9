/* SPDX-License-Identifier: MIT */
#include "meta.h"

#include <string.h>

#include "fake_os.h"
#include "stamp.h"
#include "support.h"

static struct bp_meta meta;

static void make_meta(void)
{
    fake_os_install();
    bp_meta_init(&meta);
}

static void drop_meta(void)
{
    bp_meta_fini(&meta);
    check_size(fake_os.mapped_bytes, 0);
}

/* Every test ends with everything given back. */
TestSuite(meta, .init = make_meta, .fini = drop_meta);

Test(meta, pieces_are_zero_aligned_and_apart)
{
    static const size_t sizes[] = {1, 63, 64, 65, 1000, 4096, 16384, 16385, 100000, 1 << 20};
    char *pieces[LENGTH(sizes) * 8];
    for (size_t i = 0; i < LENGTH(pieces); i++) {
        size_t size = sizes[i % LENGTH(sizes)];
        pieces[i] = bp_meta_alloc(&meta, size);
        cr_assert_not_null(pieces[i]);
        cr_assert_eq((uintptr_t)pieces[i] % BP_CACHELINE_BYTES, 0);
        cr_assert(is_zero(pieces[i], size), "piece %zu of %zu bytes", i, size);
        memset(pieces[i], (int)i + 1, size);
    }
    for (size_t i = 0; i < LENGTH(pieces); i++) {
        for (size_t byte = 0; byte < sizes[i % LENGTH(sizes)]; byte++)
            cr_assert_eq(pieces[i][byte], (char)(i + 1), "piece %zu was overwritten at %zu", i, byte);
    }
}

Test(meta, small_pieces_share_a_mapping)
{
    for (int i = 0; i < 500; i++)
        cr_assert_not_null(bp_meta_alloc(&meta, 100));
    check_size(fake_os.map.calls, 1);
}

Test(meta, a_large_piece_does_not_end_the_mapping_of_small_ones)
{
    (void)bp_meta_alloc(&meta, 64);
    cr_assert_not_null(bp_meta_alloc(&meta, 1 << 20));
    (void)bp_meta_alloc(&meta, 64);
    check_size(fake_os.map.calls, 2);
}

Test(meta, counts_what_it_mapped)
{
    (void)bp_meta_alloc(&meta, 64);
    (void)bp_meta_alloc(&meta, 1 << 20);
    check_size(meta.mapped_bytes, fake_os.mapped_bytes);
}

Test(meta, no_memory_is_null_and_not_for_ever)
{
    fake_os.map.fail = 2;
    cr_assert_null(bp_meta_alloc(&meta, 64));
    cr_assert_null(bp_meta_alloc(&meta, 1 << 20));
    cr_assert_not_null(bp_meta_alloc(&meta, 64));
    cr_assert_not_null(bp_meta_alloc(&meta, 1 << 20));
}

Test(meta, a_chunk_that_cannot_be_renewed_hurts_nobody)
{
    char *first = bp_meta_alloc(&meta, 16384);
    memset(first, 1, 16384);
    (void)bp_meta_alloc(&meta, 16384);
    (void)bp_meta_alloc(&meta, 16384);
    fake_os.map.fail = 1;
    cr_assert_null(bp_meta_alloc(&meta, 16384), "the chunk is full");
    char *later = bp_meta_alloc(&meta, 16384);
    cr_assert_not_null(later);
    cr_assert(is_zero(later, 16384));
    cr_assert_eq(first[16383], 1);
}
