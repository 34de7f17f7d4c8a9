/* SPDX-License-Identifier: MIT */
/*
 * Move: pages that change from one slot to another without being copied. Declared in arena.h.
 *
 * Layer: 3.
 */
#include <errno.h>
#include <string.h>

#include "arena.h"
#include "os.h"

/*
 * Pages that were moved form a mapping of their own and split the one around it, until the slot is purged. The kernel
 * allows a process 65530 by default. A quarter may be ours, and a quarter must be left when we add some. So they are
 * counted before the first slots are moved to, and whenever the number of these has doubled.
 */
#define MAPPINGS_OURS ((size_t)16384)
#define MAPPINGS_KEPT ((size_t)16384)
#define MAPPINGS_PER_MOVE 2
#define MOVES_PER_COUNT ((size_t)256)
/* When there are too many, the program may give some back: one refusal in so many looks. */
#define REFUSALS_PER_COUNT 1024

/*
 * The seams of `to` once its pages from `start` to `end` hold those of `from` from `from_page` on: how many, and where
 * unless there are more than BP_SEAMS_MAX. Mappings that are moved together stay several.
 */
static unsigned seams_after(const struct bp_slot *from, size_t from_page, const struct bp_slot *to, size_t start,
                            size_t end, uint32_t seams[2 * BP_SEAMS_MAX + 2])
{
    unsigned count = 0;
    unsigned i = 0;
    if (bp_max(from->seam_count, to->seam_count) > BP_SEAMS_MAX)
        return BP_SEAMS_MAX + 1;
    for (; i < to->seam_count && to->seam_pages[i] < start; i++)
        seams[count++] = to->seam_pages[i];
    if (start > 0)
        seams[count++] = (uint32_t)start;
    for (unsigned j = 0; j < from->seam_count; j++) {
        if (from->seam_pages[j] > from_page && from->seam_pages[j] - from_page < end - start)
            seams[count++] = (uint32_t)(from->seam_pages[j] - from_page + start);
    }
    seams[count++] = (uint32_t)end;
    for (; i < to->seam_count; i++) {
        if (to->seam_pages[i] > end)
            seams[count++] = to->seam_pages[i];
    }
    return count;
}

/* Can pages of several mappings be moved together? A kernel that cannot does harm when it is asked to (os_move()). */
static bool moves_across(struct bp_arena *arena)
{
    int answer = bp_load_relaxed(&arena->moves_across);
    if (answer == BP_ACROSS_UNKNOWN) {
        answer = bp_os_moves_across() ? BP_ACROSS_YES : BP_ACROSS_NO;
        bp_store_relaxed(&arena->moves_across, answer);
    }
    return answer == BP_ACROSS_YES;
}

/* Do these pages of the slot lie in several mappings, as far as is known? */
static bool crosses_seam(const struct bp_slot *slot, size_t start_page, size_t end_page)
{
    for (unsigned i = 0; i < bp_min(slot->seam_count, BP_SEAMS_MAX); i++) {
        if (slot->seam_pages[i] > start_page && slot->seam_pages[i] < end_page)
            return true;
    }
    return slot->seam_count > BP_SEAMS_MAX;
}

static void grant_moves(struct bp_arena *arena)
{
    size_t granted = bp_load_relaxed(&arena->moves_granted);
    size_t mappings_left = bp_os.mappings_left();
    size_t moves = (mappings_left - bp_min(mappings_left, MAPPINGS_KEPT)) / MAPPINGS_PER_MOVE;
    moves = bp_min(moves, bp_max(granted, MOVES_PER_COUNT));
    moves = bp_min(moves, MAPPINGS_OURS / MAPPINGS_PER_MOVE - bp_min(granted, MAPPINGS_OURS / MAPPINGS_PER_MOVE));
    bp_add_relaxed(&arena->moves_granted, moves);
    bp_store_relaxed(&arena->moves_left, moves);
    if (moves > 0)
        bp_store_relaxed(&arena->moves_refused, 0);
}

bool bp_arena_may_move(struct bp_arena *arena)
{
    if (!bp_load_relaxed(&arena->can_move))
        return false;
    if (bp_load_relaxed(&arena->moves_left) == 0 &&
        bp_add_relaxed(&arena->moves_refused, 1u) % REFUSALS_PER_COUNT == 0)
        grant_moves(arena);
    return bp_load_relaxed(&arena->moves_left) > 0;
}

/*
 * What a slot of unknown seams gets may be several mappings more, which nobody counts; so all of the process are
 * counted every so often, and there are no such moves while too few are left.
 */
static bool may_move_unseen(struct bp_arena *arena)
{
    if (bp_add_relaxed(&arena->moves_unseen, (size_t)1) % MOVES_PER_COUNT == 0)
        bp_store_relaxed(&arena->is_crowded, bp_os.mappings_left() < 2 * MAPPINGS_KEPT);
    return !bp_load_relaxed(&arena->is_crowded);
}

/*
 * The last pages of a slot were moved, which lay in several mappings. These stay, without pages: what is touched there
 * later would be in as many pieces, and what is moved there would have them unmapped one by one. So the rest of the
 * slot is mapped anew, as what lies behind may be of pages that it had once: it is one mapping with its neighbours.
 */
static void merge_vacated(struct bp_arena *arena, struct bp_slot *slot, size_t start_bytes)
{
    size_t start_page = start_bytes / arena->page_bytes;
    size_t bytes = bp_slot_reach_bytes(arena, slot) - start_bytes;
    unsigned left = 0;
    if (bp_arena_map_zeros(arena, slot, bp_slot_base(arena, slot) + start_bytes, bytes, true) != 0)
        return;
    if (start_page == 0) {
        slot->seam_count = 0;
        bp_add_relaxed(&arena->moves_left, 1u);
    } else if (slot->seam_count <= BP_SEAMS_MAX) {
        while (left < slot->seam_count && slot->seam_pages[left] < start_page)
            left++;
        if (left < BP_SEAMS_MAX)
            slot->seam_pages[left] = (uint32_t)start_page;
        slot->seam_count = (left + 1) & 15;
    }
}

/* After a move that failed. If somebody else may have mapped something where the pages were to go, `to` is torn. */
static void undo(struct bp_arena *arena, const struct bp_slot *from, size_t from_bytes, struct bp_slot *to,
                 size_t to_bytes, size_t bytes, int error)
{
    /* A kernel that moves nothing across mappings says so by -EFAULT, when it has moved none. */
    bool is_half = error != -EFAULT || moves_across(arena);
    char *target = bp_slot_base(arena, to) + to_bytes;
    if (bp_os.undo_move(bp_slot_base(arena, from) + from_bytes, target, bytes, is_half)) { /* perhaps mapped anew */
        bp_huge_mapped(&arena->huge, to->class_index, target, bytes);
        bp_arena_bind(arena, bp_slot_place(arena, to), target, bytes);
    } else {
        to->torn = true;
        bp_store_relaxed(&arena->is_torn, true);
    }
}

/* Moves pages of one slot, from `from_bytes` on, to `to_bytes` of another. */
static int move_range(struct bp_arena *arena, struct bp_slot *from, size_t from_bytes, struct bp_slot *to,
                      size_t to_bytes, size_t bytes)
{
    if (BP_UNLIKELY(from->torn || to->torn)) /* what is behind the one is not ours; the other goes as a whole */
        return -ENOMEM;
    size_t from_page = from_bytes / arena->page_bytes;
    size_t to_page = to_bytes / arena->page_bytes;
    size_t end_page = (to_bytes + bytes) / arena->page_bytes;
    uint32_t seams[2 * BP_SEAMS_MAX + 2];
    unsigned seam_count = seams_after(from, from_page, to, to_page, end_page, seams);
    if (seam_count > BP_SEAMS_MAX && to->seam_count > 0 && to->dirty_bytes == 0 && to_bytes == 0 &&
        bp_arena_renew(arena, to))
        seam_count = seams_after(from, from_page, to, to_page, end_page, seams);
    if (to->seam_count == 0 ? !bp_arena_may_move(arena) : !bp_load_relaxed(&arena->can_move))
        return -ENOMEM;
    if (seam_count > BP_SEAMS_MAX && !may_move_unseen(arena))
        return -ENOMEM;
    if (crosses_seam(from, from_page, from_page + end_page - to_page) && !moves_across(arena))
        return -EFAULT;
    int error = bp_os.move(bp_slot_base(arena, from) + from_bytes, bp_slot_base(arena, to) + to_bytes, bytes);
    if (error == -ENOSYS || error == -EINVAL)
        bp_store_relaxed(&arena->can_move, false); /* the kernel cannot: do not ask again */
    if (error == -ENOMEM)
        bp_store_relaxed(&arena->moves_left, 0);
    if (error != 0) {
        undo(arena, from, from_bytes, to, to_bytes, bytes, error);
        return error;
    }
    if (bp_slot_wants_huge(from)) /* so do the pages, wherever they are */
        bp_slot_want_huge(to);
    if (from_bytes + bytes == from->dirty_bytes && crosses_seam(from, from_page, from_page + end_page - to_page))
        merge_vacated(arena, from, from_bytes);
    if (to->seam_count == 0)
        (void)bp_take_one_relaxed(&arena->moves_left);
    to->seam_count = (uint8_t)bp_min(seam_count, BP_SEAMS_MAX + 1) & 15;
    if (seam_count <= BP_SEAMS_MAX)
        memcpy(to->seam_pages, seams, seam_count * sizeof *seams);
    return 0;
}

/* All pages of a free slot moved away. Advice to the kernel did not, and must not be found by whoever uses it next. */
static void forget_advice(struct bp_arena *arena, struct bp_slot *empty)
{
    if (bp_slot_wants_huge(empty) || bp_huge_must_renew(&arena->huge, empty->class_index))
        (void)bp_arena_renew(arena, empty);
}

int bp_arena_move(struct bp_arena *arena, struct bp_slot *from, struct bp_slot *to, size_t bytes)
{
    BP_ASSERT(bp_slot_place(arena, from) == bp_slot_place(arena, to));
    BP_ASSERT(bytes <= from->dirty_bytes && bytes % arena->page_bytes == 0);
    BP_ASSERT(to->dirty_bytes + bytes <= bp_slot_reach_bytes(arena, to));
    int error = move_range(arena, from, from->dirty_bytes - bytes, to, to->dirty_bytes, bytes);
    if (error != 0)
        return error;
    bp_arena_set_dirty(arena, from, from->dirty_bytes - bytes);
    bp_arena_set_dirty(arena, to, to->dirty_bytes + bytes);
    if (from->dirty_bytes == 0)
        forget_advice(arena, from);
    return 0;
}

/* Moves all dirty pages, mapping by mapping if it must be. Returns how many bytes from the start were moved. */
static size_t move_all(struct bp_arena *arena, struct bp_slot *from, struct bp_slot *to)
{
    size_t moved_bytes = 0;
    for (unsigned i = 0; moved_bytes < from->dirty_bytes; i++) {
        size_t end_bytes = from->dirty_bytes;
        if (i < from->seam_count && !moves_across(arena))
            end_bytes = bp_min(end_bytes, from->seam_pages[i] * arena->page_bytes);
        if (move_range(arena, from, moved_bytes, to, moved_bytes, end_bytes - moved_bytes) != 0)
            break;
        moved_bytes = end_bytes;
    }
    return moved_bytes;
}

int bp_arena_relocate(struct bp_arena *arena, struct bp_slot *from, struct bp_slot *to, struct bp_slot *spare,
                      size_t dirty_bytes)
{
    BP_ASSERT(bp_slot_place(arena, from) == bp_slot_place(arena, to));
    BP_ASSERT(bp_slot_place(arena, from) == bp_slot_place(arena, spare));
    BP_ASSERT(from->live && !to->live && spare->dirty_bytes == 0 && dirty_bytes >= from->dirty_bytes);
    if (from->seam_count > BP_SEAMS_MAX && !moves_across(arena))
        return -EFAULT;
    dirty_bytes = bp_arena_whole_bytes(arena, to->class_index, dirty_bytes);
    /* From here on the sum of dirty bytes grows by what lies beyond both slots' present pages. */
    size_t present_bytes = bp_max(from->dirty_bytes, to->dirty_bytes);
    size_t added_bytes = dirty_bytes - bp_min(dirty_bytes, present_bytes);
    if (!bp_arena_charge(arena, bp_slot_place(arena, to), added_bytes))
        return -EDQUOT;
    size_t front_bytes = bp_min(from->dirty_bytes, to->dirty_bytes);
    BP_ASSERT(front_bytes <= bp_slot_reach_bytes(arena, spare) && dirty_bytes <= bp_slot_reach_bytes(arena, to));
    int error = front_bytes > 0 ? move_range(arena, to, 0, spare, 0, front_bytes) : 0;
    size_t moved_bytes = error == 0 ? move_all(arena, from, to) : 0;
    if (moved_bytes < from->dirty_bytes && to->torn) {
        memcpy(bp_slot_base(arena, from), bp_slot_base(arena, to), moved_bytes); /* nothing can be put behind it */
        moved_bytes = 0;
    }
    if (moved_bytes == 0) {
        bp_arena_uncharge(arena, bp_slot_place(arena, to), added_bytes);
        if (front_bytes > 0 && error == 0) {
            /* The front of `to` is empty but counts as dirty, which is a bound; what moved counts once more. */
            bp_arena_set_dirty(arena, spare, front_bytes);
            bp_arena_charge_anyway(arena, bp_slot_place(arena, spare), front_bytes);
        }
        return -ENOMEM;
    }
    /* Where the kernel stopped half way, the rest is copied: the block lives at the new place now. */
    size_t rest_bytes = from->dirty_bytes - moved_bytes;
    memcpy(bp_slot_base(arena, to) + moved_bytes, bp_slot_base(arena, from) + moved_bytes, rest_bytes);
    to->home = bp_slot_base(arena, to) + (bp_slot_block(from) - bp_slot_base(arena, from));
    bp_slot_set_block(to, to->home, from->size_bytes);
    bp_slot_clear_block(from);
    bp_arena_set_dirty(arena, spare, front_bytes);
    bp_arena_set_dirty(arena, to, bp_max(present_bytes, dirty_bytes));
    if (rest_bytes > 0) {
        bp_arena_charge_anyway(arena, bp_slot_place(arena, from), from->dirty_bytes);
        (void)bp_arena_purge(arena, from, 0);
    } else {
        bp_arena_set_dirty(arena, from, 0);
        forget_advice(arena, from);
    }
    return 0;
}
