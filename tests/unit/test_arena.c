/* SPDX-License-Identifier: MIT */
#include "arena.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "fake_os.h"
#include "random.h"
#include "stamp.h"
#include "support.h"

static struct bp_meta meta;
static struct bp_budget budget;
static struct bp_arena arena;
static size_t page;

static void init_records(void)
{
    fake_os_install();
    bp_meta_init(&meta);
    budget = (struct bp_budget){.cached_limit_bytes = SIZE_MAX, .footprint_limit_bytes = SIZE_MAX};
    page = bp_os_page_bytes();
}

static void make_arena(void)
{
    init_records();
    cr_assert_eq(bp_arena_init(&arena, &meta, &budget), 0);
}

TestSuite(arena, .init = make_arena);
TestSuite(new_arena, .init = init_records);

enum { CLASS_64K = 16 - BP_STRIDE_SHIFT_MIN, CLASS_1M = 20 - BP_STRIDE_SHIFT_MIN,
       CLASS_64M = 26 - BP_STRIDE_SHIFT_MIN };

/* A slot with its first `bytes` ready for use and not zero. */
static struct bp_slot *take_dirty(size_t class_index, size_t bytes)
{
    struct bp_slot *slot = bp_arena_take(&arena, 0, class_index);
    cr_assert_not_null(slot);
    cr_assert_eq(bp_arena_extend(&arena, slot, bytes), 0);
    memset(bp_slot_base(&arena, slot), 0x55, bytes);
    return slot;
}

static struct bp_slot *find(const char *p)
{
    struct bp_owner *owner = bp_owner_at(&arena, bp_arena_offset(&arena, p));
    uintptr_t records = bp_owner_records(owner);
    return records == 0 ? NULL : bp_slot_of(records, owner, p);
}

Test(arena, contains_its_own_addresses_only)
{
    int local;
    uintptr_t base = arena.base;
    cr_assert(bp_arena_contains(&arena, (char *)base));
    cr_assert(bp_arena_contains(&arena, (char *)base + arena.bytes - 1));
    cr_assert_not(bp_arena_contains(&arena, (char *)base - 1));
    cr_assert_not(bp_arena_contains(&arena, (char *)base + arena.bytes));
    cr_assert_not(bp_arena_contains(&arena, &local));
    cr_assert_not(bp_arena_contains(&arena, NULL));
    cr_assert_not(bp_arena_contains(&arena, (char *)UINTPTR_MAX));
}

/* A free may see the size of an arena that is just being made, and not yet its base. */
Test(arena, what_only_seemed_to_be_its_own_is_anybodys)
{
    struct bp_arena half = {.bytes = BP_TIB};
    char *low = (char *)(64 * BP_MIB); // NOLINT(performance-no-int-to-ptr)
    cr_assert(bp_arena_contains(&half, low));
    cr_assert(bp_arena_is_hole(&arena, low));
    cr_assert_not(bp_arena_is_hole(&arena, (char *)arena.base));
}

Test(arena, before_it_is_made_nothing_is_its_own)
{
    struct bp_arena none = {0};
    cr_assert_not(bp_arena_contains(&none, NULL));
    cr_assert_not(bp_arena_contains(&none, &none));
}

/* Every class that the reservation has room for: twice, so that the second slot shows the stride. */
Test(arena, slots_lie_in_their_stride_and_are_found_by_any_address)
{
    for (size_t class_index = 0; class_index < BP_CLASS_COUNT; class_index++) {
        size_t stride_bytes = bp_class_stride_bytes(class_index);
        for (int i = 0; i < 2; i++) {
            struct bp_slot *slot = bp_arena_take(&arena, 0, class_index);
            cr_assert_not_null(slot, "class %zu", class_index);
            char *base = bp_slot_base(&arena, slot);
            size_t late_bytes = (uintptr_t)base % stride_bytes;
            cr_assert(late_bytes == 0 || (stride_bytes >= BP_LATE_STRIDE_MIN_BYTES && late_bytes < stride_bytes / 4));
            check_size(bp_slot_reach_bytes(&arena, slot), stride_bytes - late_bytes);
            cr_assert_lt((size_t)(slot->home - base), BP_COLOUR_BYTES);
            base -= late_bytes;
            cr_assert_eq((uintptr_t)slot->home % BP_COLOUR_STEP_BYTES, 0);
            check_size(slot->class_index, class_index);
            check_size(slot->dirty_bytes, 0);
            cr_assert_null(slot->live);
            cr_assert(bp_arena_contains(&arena, base) && bp_arena_contains(&arena, base + stride_bytes - 1));
            cr_assert_eq(find(base), slot);
            cr_assert_eq(find(slot->home), slot);
            cr_assert_eq(find(base + stride_bytes / 2), slot);
            cr_assert_eq(find(base + stride_bytes - 1), slot);
            cr_assert_neq(find(base + stride_bytes), slot);
        }
    }
}

Test(arena, owners_know_the_class)
{
    struct bp_slot *slot = bp_arena_take(&arena, 0, CLASS_1M);
    struct bp_owner *owner = bp_owner_at(&arena, bp_arena_offset(&arena, slot->home));
    check_size(owner->key, bp_key_of(0, 20));
}

Test(arena, where_no_span_is_there_are_no_records)
{
    cr_assert_null(find((char *)arena.base));
    (void)bp_arena_take(&arena, 0, 0);
    cr_assert_not_null(find((char *)arena.base));
    cr_assert_null(find((char *)arena.base + arena.bytes - 1));
}

Test(arena, slots_do_not_overlap)
{
    enum { COUNT = 300 };
    struct bp_slot *slots[COUNT];
    for (int i = 0; i < COUNT; i++) {
        size_t class_index = (size_t)i % 6;
        slots[i] = take_dirty(class_index, bp_class_stride_bytes(class_index));
        stamp(bp_slot_base(&arena, slots[i]), 0, bp_class_stride_bytes(class_index), (uint64_t)i);
    }
    for (int i = 0; i < COUNT; i++)
        cr_assert(stamp_holds(bp_slot_base(&arena, slots[i]), 0, slots[i]->dirty_bytes, (uint64_t)i), "slot %d", i);
}

/* Of every class, also those with a span for each slot. */
Test(arena, neighbours_differ_in_colour)
{
    for (size_t class_index = 0; class_index <= CLASS_1M + 8; class_index++) {
        struct bp_slot *first = bp_arena_take(&arena, 0, class_index);
        struct bp_slot *second = bp_arena_take(&arena, 0, class_index);
        size_t line_mask = BP_COLOUR_BYTES - 1;
        cr_assert_neq((uintptr_t)first->home & line_mask, (uintptr_t)second->home & line_mask);
        size_t pages_mask = bp_class_stride_bytes(class_index) - 1;
        if (bp_class_stride_bytes(class_index) >= BP_LATE_STRIDE_MIN_BYTES)
            cr_assert_neq((uintptr_t)bp_slot_base(&arena, first) & pages_mask,
                          (uintptr_t)bp_slot_base(&arena, second) & pages_mask);
    }
}

/* A slot that begins late, with memory. */
static struct bp_slot *take_late(size_t class_index)
{
    struct bp_slot *slot = take_dirty(class_index, 4 * page);
    if (bp_slot_reach_bytes(&arena, slot) == bp_class_stride_bytes(class_index))
        slot = take_dirty(class_index, 4 * page);
    cr_assert_lt(bp_slot_reach_bytes(&arena, slot), bp_class_stride_bytes(class_index));
    return slot;
}

Test(arena, a_late_slot_serves_what_fits_and_then_the_rest_from_its_stride_on)
{
    struct bp_slot *slot = take_late(CLASS_64M);
    const char *home = slot->home;
    size_t fits_bytes = bp_slot_reach_bytes(&arena, slot) - BP_COLOUR_BYTES;
    cr_assert(bp_arena_settle(&arena, slot, fits_bytes, page));
    cr_assert_eq(slot->home, home);
    check_size(slot->dirty_bytes, 4 * page);

    *slot->home = 1;
    cr_assert(bp_arena_settle(&arena, slot, fits_bytes + 1, 1));
    check_size(slot->dirty_bytes, 0);
    check_size(slot->room_bytes, 0);
    size_t stride_bytes = bp_class_stride_bytes(CLASS_64M);
    check_size(bp_slot_reach_bytes(&arena, slot), stride_bytes);
    cr_assert_eq((home - slot->home) % (ptrdiff_t)page, 0, "the colour in the page is kept");
    cr_assert_eq(*home, 0, "what it had is gone");
    cr_assert_eq(bp_arena_extend(&arena, slot, stride_bytes), 0);
    cr_assert_eq(find(bp_slot_base(&arena, slot) + stride_bytes - 1), slot);
}

Test(arena, a_slot_without_memory_begins_as_late_as_another)
{
    struct bp_slot *late = take_late(CLASS_64M);
    struct bp_slot *early = take_dirty(CLASS_1M, page);
    struct bp_slot *slot = bp_arena_take(&arena, 0, CLASS_64M + 1);
    uintptr_t tables_mask = 2 * BP_MIB - 1;
    const struct bp_slot *const others[] = {late, early};
    for (size_t i = 0; i < 2; i++) {
        size_t colour = (uintptr_t)slot->home % page;
        bp_arena_align_with(&arena, slot, others[i]);
        cr_assert_eq((uintptr_t)bp_slot_base(&arena, slot) & tables_mask,
                     (uintptr_t)bp_slot_base(&arena, others[i]) & tables_mask);
        check_size((uintptr_t)slot->home % page, colour);
    }
    const char *home = late->home;
    bp_arena_align_with(&arena, late, early);
    cr_assert_eq(late->home, home, "where its memory is");
}

Test(arena, a_late_slot_is_no_place_for_a_large_alignment)
{
    struct bp_slot *slot = take_late(CLASS_64M);
    cr_assert(bp_arena_settle(&arena, slot, BP_MIB, 16 * BP_MIB));
    cr_assert_eq((uintptr_t)bp_slot_base(&arena, slot) % (16 * BP_MIB), 0);
}

Test(arena, a_late_slot_whose_memory_the_kernel_keeps_is_not_settled)
{
    struct bp_slot *slot = take_late(CLASS_64M);
    fake_os.purge.fail = 1;
    cr_assert_not(bp_arena_settle(&arena, slot, BP_MIB, 16 * BP_MIB));
    check_size(slot->dirty_bytes, 4 * page);
}

Test(arena, extending_charges_and_grants_zeroed_memory)
{
    struct bp_slot *slot = bp_arena_take(&arena, 0, CLASS_64K);
    cr_assert_eq(bp_arena_extend(&arena, slot, 4 * page), 0);
    check_size(budget.footprint_bytes, 4 * page);
    check_size(slot->dirty_bytes, 4 * page);
    check_size(slot->room_bytes, 4 * page - (size_t)(slot->home - bp_slot_base(&arena, slot)));
    cr_assert(is_zero(bp_slot_base(&arena, slot), 4 * page));

    cr_assert_eq(bp_arena_extend(&arena, slot, 6 * page), 0);
    check_size(budget.footprint_bytes, 6 * page);
    cr_assert_eq(bp_arena_extend(&arena, slot, 2 * page), 0, "less than it has is no change");
    check_size(slot->dirty_bytes, 6 * page);
    check_size(budget.footprint_bytes, 6 * page);
}

Test(arena, extent_reaches_to_the_end_of_the_last_page)
{
    struct bp_slot *slot = bp_arena_take(&arena, 0, CLASS_64K);
    char *base = bp_slot_base(&arena, slot);
    check_size(bp_slot_extent(&arena, slot, base, 1), page);
    check_size(bp_slot_extent(&arena, slot, base, page), page);
    check_size(bp_slot_extent(&arena, slot, base + 64, page), 2 * page);
    check_size(bp_slot_extent(&arena, slot, base + 64, page - 64), page);
}

Test(arena, the_footprint_limit_is_exact)
{
    budget.footprint_limit_bytes = 4 * page;
    struct bp_slot *slot = bp_arena_take(&arena, 0, CLASS_64K);
    cr_assert_eq(bp_arena_extend(&arena, slot, 4 * page), 0);
    cr_assert_eq(bp_arena_extend(&arena, slot, 5 * page), -EDQUOT);
    check_size(slot->dirty_bytes, 4 * page);
    check_size(budget.footprint_bytes, 4 * page);
}

Test(arena, purging_gives_pages_back_and_they_are_zero_again)
{
    struct bp_slot *slot = take_dirty(CLASS_64K, 8 * page);
    char *base = bp_slot_base(&arena, slot);
    check_size(bp_arena_purge(&arena, slot, 3 * page), 5 * page);
    check_size(slot->dirty_bytes, 3 * page);
    check_size(budget.footprint_bytes, 3 * page);
    cr_assert_eq(base[3 * page - 1], 0x55, "what is kept keeps its contents");
    cr_assert(is_zero(base + 3 * page, 5 * page));
    check_size(bp_arena_purge(&arena, slot, 3 * page), 0);
    check_size(bp_arena_purge(&arena, slot, 0), 3 * page);
    check_size(budget.footprint_bytes, 0);
    check_size(slot->room_bytes, 0);
}

Test(arena, a_purge_that_fails_leaves_the_slot_dirty_and_charged)
{
    struct bp_slot *slot = take_dirty(CLASS_64K, 8 * page);
    fake_os.purge.fail = 1;
    check_size(bp_arena_purge(&arena, slot, 0), 0);
    check_size(slot->dirty_bytes, 8 * page);
    check_size(budget.footprint_bytes, 8 * page);
    check_size(bp_arena_purge(&arena, slot, 0), 8 * page);
}

Test(arena, clean_slots_are_used_before_new_ones)
{
    struct bp_slot *slot = take_dirty(CLASS_64K, page);
    (void)bp_arena_take(&arena, 0, CLASS_64K);
    (void)bp_arena_purge(&arena, slot, 0);
    bp_arena_put(&arena, slot);
    cr_assert_neq(bp_arena_take(&arena, 0, CLASS_1M), slot, "another class");
    cr_assert_eq(bp_arena_take(&arena, 0, CLASS_64K), slot);
    cr_assert(is_zero(bp_slot_base(&arena, slot), page));
    cr_assert_neq(bp_arena_take(&arena, 0, CLASS_64K), slot, "taken once only");
}

#if BP_ASSERT_LEVEL >= 1
static void put_live(void *slot)
{
    bp_arena_put(&arena, slot);
}

Test(arena, a_live_slot_cannot_be_put)
{
    struct bp_slot *slot = bp_arena_take(&arena, 0, CLASS_64K);
    slot->live = slot->home;
    check_aborts(put_live, slot, "bufpool: assertion failed: slot->live == NULL");
}
#endif

Test(arena, a_commit_that_fails_can_be_tried_again)
{
    fake_os.commit.fail = 1;
    cr_assert_null(bp_arena_take(&arena, 0, CLASS_64K));
    check_size(budget.footprint_bytes, 0);
    struct bp_slot *slot = take_dirty(CLASS_64K, 16 * page);
    cr_assert_eq(find(slot->home), slot);
}

Test(arena, commits_in_steps)
{
    for (int i = 0; i < 8; i++)
        (void)take_dirty(CLASS_64K, 16 * page);
    check_size(fake_os.commit.calls, 1);
}

/* Records of a span cannot be had: no slot, and nothing half made. */
Test(arena, without_memory_for_records_there_is_no_slot)
{
    while (meta.left > 0)
        (void)bp_meta_alloc(&meta, BP_CACHELINE_BYTES);
    fake_os.map.fail = FAIL_ALWAYS;
    cr_assert_null(bp_arena_take(&arena, 0, CLASS_64K));
    cr_assert_null(find((char *)arena.base));
    fake_os.map.fail = 0;
    cr_assert_not_null(bp_arena_take(&arena, 0, CLASS_64K));
}

Test(new_arena, a_class_beyond_the_reservation_has_no_slots)
{
    fake_os.reserve_max_bytes = 16 * BP_MIB;
    cr_assert_eq(bp_arena_init(&arena, &meta, &budget), 0);
    cr_assert_leq(arena.bytes, 16 * BP_MIB);
    cr_assert_null(bp_arena_take(&arena, 0, BP_CLASS_COUNT - 1));
    size_t count = 0;
    struct bp_slot *slot;
    while ((slot = bp_arena_take(&arena, 0, CLASS_1M)) != NULL) {
        char *base = bp_slot_base(&arena, slot);
        cr_assert(bp_arena_contains(&arena, base) && bp_arena_contains(&arena, base + BP_MIB - 1));
        count++;
    }
    cr_assert(count >= 12 && count <= 16, "%zu slots of 1 MiB in 16 MiB", count);
}

/* A smaller reservation is tried again and again, down to 16 MiB; what was refused is not held. */
Test(new_arena, takes_the_reservation_that_it_gets)
{
    for (size_t most = 16 * BP_MIB; most <= BP_TIB; most *= 4) {
        fake_os.reserve_max_bytes = most;
        cr_assert_eq(bp_arena_init(&arena, &meta, &budget), 0, "with %zu", most);
        check_size(arena.reservation_bytes, most);
        cr_assert_gt(arena.bytes, most / 2);
        cr_assert(bp_arena_take(&arena, 0, CLASS_1M) != NULL);
        bp_arena_fini(&arena);
        cr_assert_not(bp_arena_contains(&arena, (char *)arena.base), "after the end nothing is its own");
    }
    bp_meta_fini(&meta);
    check_size(fake_os.mapped_bytes, 0);
}

Test(new_arena, without_address_space_there_is_no_arena)
{
    fake_os.reserve_max_bytes = 16 * BP_MIB - 1;
    cr_assert_eq(bp_arena_init(&arena, &meta, &budget), -ENOMEM);
    cr_assert_not(bp_arena_contains(&arena, NULL));
    check_size(fake_os.mapped_bytes, 0);
}

Test(new_arena, without_an_owner_table_there_is_no_arena)
{
    fake_os.map.fail = FAIL_ALWAYS;
    cr_assert_eq(bp_arena_init(&arena, &meta, &budget), -ENOMEM);
    check_size(fake_os.mapped_bytes, 0);
}

Test(new_arena, takes_a_part_of_limited_address_space)
{
    struct rlimit limit;
    (void)getrlimit(RLIMIT_AS, &limit);
    struct rlimit before = limit;
    limit.rlim_cur = (rlim_t)bp_min((size_t)1 << 44, limit.rlim_max);
    if (setrlimit(RLIMIT_AS, &limit) != 0 || bp_os_address_space_left_bytes() < BP_GIB)
        cr_skip_test("cannot limit the address space");
    size_t left = bp_os_address_space_left_bytes();
    int error = bp_arena_init(&arena, &meta, &budget);
    (void)setrlimit(RLIMIT_AS, &before);
    cr_assert_eq(error, 0);
    cr_assert_leq(arena.reservation_bytes, left / 4);
}

/* Under vm.overcommit_memory=2 or a limit of data, what is committed is paid for: only what was asked for is. */
static void make_charged_arena(void)
{
    init_records();
    struct rlimit limit;
    (void)getrlimit(RLIMIT_DATA, &limit);
    limit.rlim_cur = (rlim_t)bp_min((size_t)1 << 44, limit.rlim_max);
    cr_assert_eq(setrlimit(RLIMIT_DATA, &limit), 0);
    cr_assert_eq(bp_arena_init(&arena, &meta, &budget), 0);
    cr_assert(arena.commit_is_charged);
}

TestSuite(charged_arena, .init = make_charged_arena);

Test(charged_arena, commits_what_is_extended_and_no_more)
{
    struct bp_slot *slot = bp_arena_take(&arena, 0, CLASS_1M);
    check_size(fake_os.commit.calls, 0);
    cr_assert_eq(bp_arena_extend(&arena, slot, 3 * page), 0);
    check_size(fake_os.commit.calls, 1);
    memset(bp_slot_base(&arena, slot), 1, 3 * page);
    cr_assert_eq(bp_arena_extend(&arena, slot, 2 * page), 0);
    check_size(fake_os.commit.calls, 1);
}

Test(charged_arena, a_commit_that_fails_charges_nothing)
{
    struct bp_slot *slot = take_dirty(CLASS_1M, 2 * page);
    fake_os.commit.fail = 1;
    cr_assert_eq(bp_arena_extend(&arena, slot, 8 * page), -ENOMEM);
    check_size(slot->dirty_bytes, 2 * page);
    check_size(budget.footprint_bytes, 2 * page);
    cr_assert_eq(bp_arena_extend(&arena, slot, 8 * page), 0);
    check_size(budget.footprint_bytes, 8 * page);
}

Test(charged_arena, purged_slots_can_be_used_again)
{
    struct bp_slot *slot = take_dirty(CLASS_1M, 8 * page);
    check_size(bp_arena_purge(&arena, slot, 0), 8 * page);
    bp_arena_put(&arena, slot);
    cr_assert_eq(take_dirty(CLASS_1M, 8 * page), slot);
}

/* What the kernel holds against RLIMIT_DATA. */
static size_t data_bytes(void)
{
    char status[4096];
    cr_assert_gt(bp_os_read_file("/proc/self/status", status, sizeof status), 0);
    const char *line = strstr(status, "VmData:");
    cr_assert_not_null(line);
    return strtoul(line + strlen("VmData:"), NULL, 10) * BP_KIB;
}

Test(charged_arena, what_is_purged_is_charged_no_more)
{
    struct bp_slot *slot = bp_arena_take(&arena, 0, CLASS_1M);
    size_t before = data_bytes();
    cr_assert_eq(bp_arena_extend(&arena, slot, BP_MIB / 2), 0);
    check_size(data_bytes(), before + BP_MIB / 2);
    check_size(bp_arena_purge(&arena, slot, 0), BP_MIB / 2);
    check_size(data_bytes(), before);
}

Test(charged_arena, a_withdrawal_that_fails_leaves_the_slot_dirty_and_charged)
{
    struct bp_slot *slot = take_dirty(CLASS_1M, 8 * page);
    memset(bp_slot_base(&arena, slot), 1, 8 * page);
    fake_os.renew.fail = 1;
    check_size(bp_arena_purge(&arena, slot, 0), 0);
    check_size(slot->dirty_bytes, 8 * page);
    check_size(budget.footprint_bytes, 8 * page);
    cr_assert_eq(bp_slot_base(&arena, slot)[8 * page - 1], 1);
}

/* Older kernels have unmapped the new place by the time they find that they cannot. */
Test(arena, pages_of_several_mappings_move_only_where_the_kernel_can)
{
    struct bp_slot *from = take_dirty(CLASS_1M, 8 * page);
    struct bp_slot *to = take_dirty(CLASS_1M, 4 * page);
    struct bp_slot *last = bp_arena_take(&arena, 0, CLASS_1M);
    if (bp_arena_move(&arena, from, to, 4 * page) != 0)
        cr_skip_test("this kernel cannot move pages and keep the place");
    arena.moves_across = BP_ACROSS_NO;
    size_t calls = fake_os.move.calls;
    cr_assert_eq(bp_arena_move(&arena, to, last, 6 * page), -EFAULT);
    check_size(fake_os.move.calls, calls);
    cr_assert_eq(bp_arena_move(&arena, to, last, 4 * page), 0);
    check_size(last->dirty_bytes, 4 * page);
}

static size_t mappings_of_arena(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    cr_assert_not_null(maps);
    size_t count = 0;
    char line[512];
    while (fgets(line, sizeof line, maps)) {
        uintptr_t start = strtoull(line, NULL, 16);
        count += start - bp_load_relaxed(&arena.base) < bp_load_relaxed(&arena.bytes);
    }
    (void)fclose(maps);
    return count;
}

/* Does the kernel pass from one mapping to the next only where the slot says so? */
static bool knows_its_seams(const struct bp_slot *slot)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    cr_assert_not_null(maps);
    bool known = true;
    char line[512];
    while (fgets(line, sizeof line, maps)) {
        size_t offset = strtoull(line, NULL, 16) - (uintptr_t)bp_slot_base(&arena, slot);
        bool found = offset == 0 || offset >= bp_slot_reach_bytes(&arena, slot) || slot->seam_count > BP_SEAMS_MAX;
        for (unsigned i = 0; !found && i < slot->seam_count; i++)
            found = slot->seam_pages[i] * page == offset;
        known = known && found;
    }
    (void)fclose(maps);
    return known;
}

/* A kernel that moves one mapping at a time does harm where it is asked for two. */
Test(arena, a_slot_that_begins_elsewhere_knows_its_seams)
{
    struct bp_slot *from = take_dirty(CLASS_64M, 8 * page);
    struct bp_slot *slot = take_late(CLASS_64M);
    struct bp_slot *early = take_dirty(CLASS_1M, page);
    const struct bp_slot *late = take_late(CLASS_64M + 1);
    if (bp_arena_purge(&arena, slot, 0) == 0 || bp_arena_move(&arena, from, slot, 4 * page) != 0)
        cr_skip_test("this kernel cannot move pages and keep the place");
    cr_assert(knows_its_seams(slot));
    cr_assert_eq(bp_arena_move(&arena, slot, early, 4 * page), 0);
    bp_arena_align_with(&arena, slot, late);
    cr_assert(knows_its_seams(slot));
    cr_assert_eq(bp_arena_move(&arena, from, slot, 4 * page), 0);
    cr_assert(knows_its_seams(slot));
    cr_assert_eq(bp_arena_move(&arena, slot, early, 4 * page), 0);
    cr_assert(bp_arena_settle(&arena, slot, bp_class_stride_bytes(CLASS_64M) - BP_COLOUR_BYTES, 1));
    cr_assert(knows_its_seams(slot));
}

Test(arena, a_slot_whose_seams_stay_begins_where_it_did)
{
    struct bp_slot *slot = take_late(CLASS_64M);
    const struct bp_slot *early = take_dirty(CLASS_1M, page);
    check_size(bp_arena_purge(&arena, slot, 0), 4 * page);
    slot->seam_count = 1;
    slot->seam_pages[0] = 4;
    const char *home = slot->home;
    fake_os.renew.fail = FAIL_ALWAYS;
    bp_arena_align_with(&arena, slot, early);
    cr_assert_not(bp_arena_settle(&arena, slot, bp_class_stride_bytes(CLASS_64M) - BP_COLOUR_BYTES, 1));
    cr_assert_eq(slot->home, home);
}

/* With mappings of pages that it had once, behind: there are too many to remember before all is there. */
Test(arena, a_block_that_moves_mapping_by_mapping_keeps_what_has_moved)
{
    struct bp_slot *from = take_dirty(CLASS_1M, 8 * page);
    struct bp_slot *to = take_dirty(CLASS_1M, 20 * page);
    struct bp_slot *other = take_dirty(CLASS_1M, 8 * page);
    struct bp_slot *spare = bp_arena_take(&arena, 0, CLASS_1M);
    if (bp_arena_move(&arena, other, from, 4 * page) != 0)
        cr_skip_test("this kernel cannot move pages and keep the place");
    cr_assert_eq(bp_arena_move(&arena, other, to, 4 * page), 0);
    cr_assert_eq(bp_arena_move(&arena, to, other, 4 * page), 0);
    cr_assert_eq(bp_arena_move(&arena, to, other, 20 * page), 0);
    check_size(to->seam_count, 2);
    arena.moves_across = BP_ACROSS_NO;
    from->live = from->home;
    stamp(bp_slot_base(&arena, from), 0, 12 * page, 5);
    cr_assert_eq(bp_arena_relocate(&arena, from, to, spare, 12 * page), 0);
    cr_assert(stamp_holds(bp_slot_base(&arena, to), 0, 12 * page, 5));
}

/* Older kernels unmap the new place before they refuse; another thread may map something there. */
Test(arena, a_slot_where_somebody_else_may_be_gets_no_larger_and_is_not_mapped_anew)
{
    fake_os.moves_leave_foreign = true;
    arena.moves_across = BP_ACROSS_NO;
    struct bp_slot *from = take_dirty(CLASS_1M, 20 * page);
    struct bp_slot *to = take_dirty(CLASS_1M, 4 * page);
    fake_os.move.fail = 1;
    cr_assert_eq(bp_arena_move(&arena, from, to, 20 * page), -EFAULT);
    check_size(from->dirty_bytes, 20 * page);
    cr_assert_eq(bp_slot_base(&arena, from)[20 * page - 1], 0x55);
    cr_assert_eq(bp_arena_extend(&arena, to, 4 * page), 0);
    cr_assert_eq(bp_arena_extend(&arena, to, 5 * page), -ENOMEM);
    cr_assert_not(bp_arena_renew(&arena, to));
    check_size(bp_arena_purge(&arena, to, page), 3 * page);
    cr_assert(fake_os_foreign_holds());
}

Test(arena, a_block_of_which_a_part_cannot_follow_comes_back)
{
    struct bp_slot *from = take_dirty(CLASS_1M, 8 * page);
    struct bp_slot *to = bp_arena_take(&arena, 0, CLASS_1M + 1);
    struct bp_slot *other = take_dirty(CLASS_1M, 64 * page);
    struct bp_slot *spare = bp_arena_take(&arena, 0, CLASS_1M);
    if (bp_arena_move(&arena, other, from, 40 * page) != 0)
        cr_skip_test("this kernel cannot move pages and keep the place");
    arena.moves_across = BP_ACROSS_NO;
    fake_os.moves_leave_foreign = true;
    from->live = from->home;
    stamp(bp_slot_base(&arena, from), 0, 48 * page, 5);
    fake_os.move.skip = 1;
    fake_os.move.fail = 1;
    cr_assert_neq(bp_arena_relocate(&arena, from, to, spare, 60 * page), 0);
    cr_assert(stamp_holds(bp_slot_base(&arena, from), 0, 48 * page, 5));
    cr_assert(to->torn && fake_os_foreign_holds());
}

/* Else a program that runs for long has none left for itself. */
Test(arena, mappings_of_pages_that_moved_to_and_fro_go_with_the_pages)
{
    enum { slot_count = 16, pages_max = 256 };
    struct bp_slot *slots[slot_count];
    for (size_t i = 0; i < slot_count; i++)
        slots[i] = take_dirty(CLASS_1M, 0);
    size_t before = mappings_of_arena();
    size_t moved = 0;
    uint64_t random = 1;
    for (unsigned i = 0; i < 20000; i++) {
        struct bp_slot *from = slots[random_below(&random, slot_count)];
        struct bp_slot *to = slots[random_below(&random, slot_count)];
        if (from == to)
            continue;
        cr_assert_eq(bp_arena_extend(&arena, from, bp_min(from->dirty_bytes + page, pages_max * page)), 0);
        memset(bp_slot_base(&arena, from) + from->dirty_bytes - page, (int)i, page);
        size_t bytes = bp_min((1 + random_below(&random, 8)) * page,
                              bp_min(from->dirty_bytes, pages_max * page - to->dirty_bytes));
        char last = bp_slot_base(&arena, from)[from->dirty_bytes - 1];
        if (bytes > 0 && bp_arena_move(&arena, from, to, bytes) == 0) {
            cr_assert_eq(bp_slot_base(&arena, to)[to->dirty_bytes - 1], last);
            moved++;
        }
        if (i % 64 == 0)
            cr_assert_gt(bp_arena_purge(&arena, from, 0) + bp_arena_purge(&arena, to, 0), 0);
    }
    if (moved == 0)
        cr_skip_test("this kernel cannot move pages and keep the place");
    for (size_t i = 0; i < slot_count; i++) {
        cr_assert_eq(bp_arena_extend(&arena, slots[i], bp_max(slots[i]->dirty_bytes, page)), 0);
        cr_assert_gt(bp_arena_purge(&arena, slots[i], 0), 0);
    }
    cr_assert_leq(mappings_of_arena(), before + slot_count, "what was purged is whole again");
}

/* Three times four pages, of which the last eight were moved there. */
static struct bp_slot *take_pieced(void)
{
    struct bp_slot *slot = take_dirty(CLASS_1M, 4 * page);
    for (int i = 0; i < 2; i++) {
        if (bp_arena_move(&arena, take_dirty(CLASS_1M, 8 * page), slot, 4 * page) != 0 || !bp_os_moves_across())
            cr_skip_test("this kernel does not move several mappings at once");
    }
    check_size(slot->seam_count, 3);
    cr_assert(knows_its_seams(slot));
    return slot;
}

/* What lies behind them had pages once, and is of other mappings until it is mapped anew. */
Test(arena, a_slot_that_pages_of_several_mappings_were_moved_out_of_knows_its_seams)
{
    struct bp_slot *slot = take_pieced();
    struct bp_slot *to = take_dirty(CLASS_1M, 4 * page);
    cr_assert_gt(bp_arena_purge(&arena, slot, 10 * page), 0);
    size_t mappings = mappings_of_arena();
    cr_assert_eq(bp_arena_move(&arena, slot, to, 4 * page), 0);
    cr_assert(knows_its_seams(slot));
    cr_assert_leq(mappings_of_arena(), mappings + 2, "one more and its end, and the same again elsewhere");

    struct bp_slot *other = take_pieced();
    cr_assert_eq(bp_arena_move(&arena, other, to, 4 * page), 0);
    size_t moves_left = arena.moves_left;
    cr_assert_eq(bp_arena_move(&arena, other, to, 8 * page), 0);
    cr_assert(knows_its_seams(other));
    check_size(arena.moves_left, moves_left + 1);
}

Test(arena, a_slot_whose_first_pages_changed_places_knows_its_seams)
{
    struct bp_slot *to = take_pieced();
    struct bp_slot *from = take_dirty(CLASS_1M, 6 * page);
    struct bp_slot *spare = bp_arena_take(&arena, 0, CLASS_1M);
    bp_slot_set_block(from, from->home, 5 * page);
    stamp(bp_slot_base(&arena, to), 6 * page, 12 * page, 5);
    cr_assert_eq(bp_arena_relocate(&arena, from, to, spare, 6 * page), 0);
    cr_assert(knows_its_seams(to));
    cr_assert(stamp_holds(bp_slot_base(&arena, to), 6 * page, 12 * page, 5));
    bp_slot_clear_block(to);
    size_t mappings = mappings_of_arena();
    cr_assert_gt(bp_arena_purge(&arena, to, 0), 0);
    cr_assert(knows_its_seams(to));
    cr_assert_lt(mappings_of_arena(), mappings);
}

/* As a block does that grows and is freed, again and again. */
Test(arena, slots_that_change_roles_keep_few_mappings)
{
    enum { turns = 3000, pages_max = 200 };
    if (!bp_os_moves_across())
        cr_skip_test("this kernel does not move several mappings at once");
    struct bp_slot *from = take_dirty(CLASS_1M, 8 * page);
    struct bp_slot *to = take_dirty(CLASS_1M, 4 * page);
    struct bp_slot *spare = bp_arena_take(&arena, 0, CLASS_1M);
    uint64_t random = 1;
    size_t mappings_max = 0;
    from->live = from->home;
    from->seam_count = to->seam_count = BP_SEAMS_MAX + 1;
    for (unsigned i = 0; i < turns; i++) {
        size_t bytes = (1 + random_below(&random, pages_max)) * page;
        if (random_below(&random, 4) == 0)
            cr_assert_eq(bp_arena_extend(&arena, from, bytes), 0);
        memset(bp_slot_base(&arena, from), (int)i, from->dirty_bytes);
        cr_assert_eq(bp_arena_relocate(&arena, from, to, spare, bp_max(from->dirty_bytes, bytes)), 0);
        cr_assert_eq((unsigned char)bp_slot_base(&arena, to)[0], (unsigned char)i);
        struct bp_slot *empty = from;
        from = to;
        to = spare;
        spare = empty;
        if (i % 64 == 0)
            mappings_max = bp_max(mappings_max, mappings_of_arena());
    }
    cr_assert_leq(mappings_max, 20, "%zu mappings", mappings_max);
    cr_assert_leq(fake_os.renew.calls, 2 * turns, "%zu calls", (size_t)fake_os.renew.calls);
}

/* A slot that is never purged may be moved to without end. */
Test(arena, where_mappings_run_short_none_are_added_to_many)
{
    if (!bp_os_moves_across())
        cr_skip_test("this kernel does not move several mappings at once");
    struct bp_slot *from = take_dirty(CLASS_1M, 200 * page);
    struct bp_slot *to = take_dirty(CLASS_1M, page);
    to->seam_count = BP_SEAMS_MAX + 1;
    cr_assert_eq(bp_arena_move(&arena, from, to, page), 0);
    fake_os.mappings_max = 2 * 16384 - 1;
    size_t moved = 0;
    while (moved < 1000 && bp_arena_move(&arena, from, to, page) == 0) {
        struct bp_slot *last = from;
        from = to;
        to = last;
        from->seam_count = to->seam_count = BP_SEAMS_MAX + 1;
        moved++;
    }
    check_size(moved, 255);
    cr_assert_leq(mappings_of_arena(), 300);
    fake_os.mappings_max = 0;
    for (int i = 0; i < 255; i++)
        cr_assert_eq(bp_arena_move(&arena, from, to, page), -ENOMEM, "nobody looks at every move");
    cr_assert_eq(bp_arena_move(&arena, from, to, page), 0);
}

Test(charged_arena, does_not_move_pages)
{
    struct bp_slot *from = take_dirty(CLASS_1M, 8 * page);
    struct bp_slot *to = bp_arena_take(&arena, 0, CLASS_1M);
    cr_assert_lt(bp_arena_move(&arena, from, to, 8 * page), 0);
    check_size(fake_os.move.calls, 0);
    check_size(from->dirty_bytes, 8 * page);
}

/* Twice as many moves each time, and no more than a quarter of the kernel's usual limit in all. */
Test(arena, mappings_are_counted_now_and_then)
{
    size_t moves = 0;
    fake_os.mappings_max = 60000;
    while (bp_arena_may_move(&arena)) {
        arena.moves_left--;
        moves++;
    }
    check_size(moves, 8192);
    cr_assert_leq(fake_os.mappings_left.calls, 8);
}

Test(arena, where_nobody_can_count_mappings_some_moves_are_made)
{
    fake_os.mappings_left.fail = FAIL_ALWAYS;
    cr_assert(bp_arena_may_move(&arena));
    arena.moves_left = arena.moves_granted = 0;
    fake_os.mappings_left.fail = 0;
    fake_os.mappings_max = 100;
    cr_assert_not(bp_arena_may_move(&arena));
    fake_os.mappings_max = 0;
    size_t refused = 0;
    while (!bp_arena_may_move(&arena))
        refused++;
    cr_assert(refused > 100 && refused < 3000, "it looks again after a while: %zu", refused);
}

Test(arena, shrunk_it_keeps_the_slots_it_handed_out_and_nothing_else)
{
    struct bp_slot *small = bp_arena_take(&arena, 0, 1);
    struct bp_slot *large = bp_arena_take(&arena, 0, 15);
    cr_assert_eq(bp_arena_extend(&arena, small, page), 0);
    cr_assert_eq(bp_arena_extend(&arena, large, 3 * page), 0);
    *small->home = *large->home = 'x';
    cr_assert_not(bp_arena_is_hole(&arena, small->home));
    char *unused = bp_slot_base(&arena, small) + bp_class_stride_bytes(1);
    cr_assert_not(bp_arena_is_hole(&arena, unused), "it is ours, though not in use");

    bp_arena_shrink(&arena);
    cr_assert_leq(fake_os.mapped_bytes, bp_class_stride_bytes(1) + bp_class_stride_bytes(15) + 2 * BP_MIB);
    cr_assert(*small->home == 'x' && *large->home == 'x');
    cr_assert_not(bp_arena_is_hole(&arena, small->home));
    cr_assert_not(bp_arena_is_hole(&arena, large->home));
    cr_assert(!bp_arena_contains(&arena, unused) || bp_arena_is_hole(&arena, unused), "anybody's");
    bp_arena_put(&arena, small);
    cr_assert_eq(bp_arena_take(&arena, 0, 1), small);
    cr_assert_null(bp_arena_take(&arena, 0, 1), "it grows no more");
    cr_assert_null(bp_arena_take(&arena, 0, 7));
    bp_arena_shrink(&arena);
    bp_arena_fini(&arena);
    cr_assert_leq(fake_os.mapped_bytes, 2 * BP_MIB);
}

Test(arena, ceded_it_keeps_what_is_in_use_and_nothing_else)
{
    struct bp_slot *live = take_dirty(CLASS_1M, 70 * page);
    struct bp_slot *late = take_dirty(CLASS_64M + 1, 300 * page);
    struct bp_slot *clean = take_dirty(CLASS_64M, 5 * page);
    bp_slot_set_block(live, live->home, 60 * page);
    bp_slot_set_block(late, late->home, 290 * page);
    check_size(bp_arena_purge(&arena, clean, 0), 5 * page);
    bp_arena_put(&arena, clean);
    bp_arena_shrink(&arena);
    size_t spare_bytes = bp_arena_spare_bytes(&arena);
    cr_assert_geq(spare_bytes, bp_class_stride_bytes(CLASS_64M));

    bp_arena_cede_clean(&arena);
    cr_assert(bp_arena_is_hole(&arena, clean->home));
    cr_assert_null(bp_arena_take(&arena, 0, CLASS_64M), "never used again");
    bp_arena_cede_unused(&arena);
    cr_assert_leq(fake_os.mapped_bytes, 370 * page + 2 * BP_MIB);
    cr_assert_leq(bp_arena_spare_bytes(&arena), 2 * page);
    struct bp_slot *slots[] = {live, late};
    for (size_t i = 0; i < LENGTH(slots); i++) {
        char *base = bp_slot_base(&arena, slots[i]);
        cr_assert_eq(base[slots[i]->dirty_bytes - 1], 0x55);
        cr_assert_not(bp_arena_is_hole(&arena, slots[i]->home));
        cr_assert(bp_arena_is_hole(&arena, base + slots[i]->dirty_bytes));
        cr_assert_eq(bp_arena_extend(&arena, slots[i], slots[i]->dirty_bytes + page), -ENOMEM);
    }
    cr_assert(bp_arena_is_hole(&arena, bp_slot_base(&arena, late) - 1) || bp_slot_reach_bytes(&arena, late) ==
              bp_class_stride_bytes(late->class_index));
    cr_assert_neq(bp_arena_move(&arena, live, late, 64 * page), 0);

    check_size(bp_arena_purge(&arena, live, 10 * page), 60 * page);
    cr_assert(bp_arena_is_hole(&arena, bp_slot_base(&arena, live) + 10 * page));
    bp_slot_clear_block(live);
    bp_slot_clear_block(late);
    check_size(bp_arena_purge(&arena, live, 0), 10 * page);
    cr_assert(bp_arena_renew(&arena, late), "as it is gone");
    bp_arena_put(&arena, live);
    cr_assert_null(bp_arena_take(&arena, 0, CLASS_1M));
    check_size(budget.footprint_bytes, 0);
    check_size(bp_arena_spare_bytes(&arena), 0);
    cr_assert_leq(fake_os.mapped_bytes, 2 * BP_MIB);
}

/* --- pins --------------------------------------------------------------------------------------------------------- */

static void make_pinning_arena(void)
{
    make_arena();
    bp_arena_pin(&arena);
}

TestSuite(arena_pins, .init = make_pinning_arena);

/* What the arena counts as pinned is what the kernel was asked to lock. */
static void check_pinned(size_t bytes, size_t slots)
{
    check_size(arena.pins.bytes, bytes);
    check_size(fake_os.locked_bytes, bytes);
    size_t left = arena.pins.left;
    bp_pins_init(&arena.pins);
    check_size(arena.pins.left - left, slots);
    arena.pins.left = left;
    arena.pins.bytes = bytes;
    arena.pins.said = true;
}

Test(arena_pins, what_slots_get_is_pinned_until_it_is_given_back)
{
    struct bp_slot *first = take_dirty(CLASS_1M, 10 * page);
    struct bp_slot *second = take_dirty(CLASS_64K, 2 * page);
    check_pinned(12 * page, 2);
    cr_assert_eq(bp_arena_extend(&arena, first, 100 * page), 0);
    check_pinned(102 * page, 2);
    check_size(bp_arena_purge(&arena, first, 30 * page), 70 * page);
    check_pinned(32 * page, 2);
    check_size(bp_arena_purge(&arena, first, 0), 30 * page);
    bp_arena_put(&arena, first);
    check_pinned(2 * page, 1);
    fake_os.locked_bytes = 0; /* which mapping it anew does */
    cr_assert(bp_arena_renew(&arena, second));
    check_pinned(0, 0);
}

Test(arena_pins, a_slot_is_pinned_as_a_whole_or_not_at_all)
{
    struct bp_slot *slot = take_dirty(CLASS_1M, 10 * page);
    fake_os.lock.fail = 1;
    cr_assert_eq(bp_arena_extend(&arena, slot, 20 * page), 0);
    check_pinned(0, 0);
    cr_assert_eq(bp_arena_extend(&arena, slot, 30 * page), 0);
    check_pinned(30 * page, 1);
}

Test(arena_pins, memory_that_stays_stays_pinned)
{
    struct bp_slot *slot = take_dirty(CLASS_1M, 10 * page);
    fake_os.purge.fail = 1;
    check_size(bp_arena_purge(&arena, slot, 0), 0);
    check_pinned(10 * page, 1);
}

Test(arena_pins, so_many_slots_at_most)
{
    arena.pins.left = 1;
    struct bp_slot *first = take_dirty(CLASS_1M, page);
    struct bp_slot *second = take_dirty(CLASS_1M, page);
    cr_assert(first->pinned && !second->pinned);
    check_size(arena.pins.refused, 1);
    (void)bp_arena_purge(&arena, first, 0);
    cr_assert_eq(bp_arena_extend(&arena, second, 2 * page), 0);
    cr_assert(second->pinned);
}

Test(arena_pins, a_child_has_none)
{
    struct bp_slot *slot = take_dirty(CLASS_1M, 10 * page);
    bp_arena_after_fork(&arena);
    cr_assert_not(slot->pinned);
    check_size(arena.pins.bytes, 0);
    cr_assert_eq(bp_arena_extend(&arena, slot, 20 * page), 0);
    check_size(arena.pins.bytes, 20 * page);
}

static void refuse_twice(void *unused)
{
    (void)unused;
    fake_os.lock.fail = FAIL_ALWAYS;
    (void)take_dirty(CLASS_1M, page);
    (void)take_dirty(CLASS_1M, page);
    check_size(arena.pins.refused, 2);
}

Test(arena_pins, a_refusal_is_said_once)
{
    struct rlimit limit = {.rlim_cur = 64 * BP_KIB, .rlim_max = 64 * BP_KIB};
    cr_assert_eq(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
    check_says(refuse_twice, NULL,
               "bufpool: BUFPOOL_PIN=1: RLIMIT_MEMLOCK (64K) allows no more; memory beyond that stays unpinned\n");
}

Test(arena_pins, pages_are_not_moved)
{
    struct bp_slot *from = take_dirty(CLASS_1M, 10 * page);
    struct bp_slot *to = take_dirty(CLASS_1M, page);
    cr_assert_neq(bp_arena_move(&arena, from, to, page), 0);
    check_size(fake_os.move.calls, 0);
}
