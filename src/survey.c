/* SPDX-License-Identifier: MIT */
#include "survey.h"

#include <string.h>

#include "os.h"

enum {
    /* Of each place so many slots at most, evenly from all that have memory, and of each so many pages. */
    SLOTS_MAX = 256,
    PAGES_PER_SLOT = 4,
    /* Pages in one question to the kernel. */
    BATCH = 64,
};

struct batch {
    struct bp_arena *arena;
    struct bp_survey *surveys;
    size_t count;
    void *pages[BATCH];
    const struct bp_slot *slots[BATCH];
    unsigned places[BATCH];
};

static void ask(struct batch *batch)
{
    int nodes[BATCH];
    bool known = batch->count > 0 && bp_os.locate(batch->pages, batch->count, nodes) == 0;
    for (size_t i = 0; known && i < batch->count; i++) {
        if (nodes[i] < 0)
            continue;
        const struct bp_slot *slot = batch->slots[i];
        struct bp_survey *survey = &batch->surveys[batch->places[i]];
        unsigned node = batch->arena->numa->places[batch->places[i]].node;
        bool misplaced = node != BP_NO_NODE && (unsigned)nodes[i] != node;
        bool is_live = bp_slot_block(slot) != NULL;
        *(is_live ? &survey->live_pages : &survey->cached_pages) += 1;
        *(is_live ? &survey->live_misplaced : &survey->cached_misplaced) += misplaced;
    }
    batch->count = 0;
}

static void add_slot(struct batch *batch, unsigned place, const struct bp_slot *slot, size_t dirty_bytes)
{
    size_t slot_pages = dirty_bytes / batch->arena->page_bytes;
    size_t count = bp_min(slot_pages, PAGES_PER_SLOT);
    for (size_t i = 0; i < count; i++) {
        batch->slots[batch->count] = slot;
        batch->places[batch->count] = place;
        batch->pages[batch->count] =
            bp_slot_base(batch->arena, slot) + i * slot_pages / count * batch->arena->page_bytes;
        if (++batch->count == BATCH)
            ask(batch);
    }
}

/* Without a batch only counts the slots with memory, by place. */
static void visit(struct bp_arena *arena, size_t counts[BP_PLACES_MAX], struct batch *batch)
{
    size_t seen[BP_PLACES_MAX] = {0};
    for (const struct bp_span *span = arena->spans; span; span = span->next) {
        size_t step = counts[span->place] / SLOTS_MAX + 1;
        for (size_t i = 0; i < span->carved_count; i++) {
            const struct bp_slot *slot = &span->slots[i];
            size_t dirty_bytes = bp_slot_dirty_bytes(slot);
            if (dirty_bytes != 0 && seen[span->place]++ % step == 0 && batch)
                add_slot(batch, span->place, slot, dirty_bytes);
        }
    }
    if (!batch)
        memcpy(counts, seen, sizeof seen);
}

void bp_survey(struct bp_arena *arena, struct bp_survey ret_surveys[BP_PLACES_MAX])
{
    size_t counts[BP_PLACES_MAX] = {0};
    struct batch batch = {.arena = arena, .surveys = ret_surveys};
    memset(ret_surveys, 0, BP_PLACES_MAX * sizeof *ret_surveys);
    /* As the lists of thread caches: without the lock something may be missed, but nothing is ever unmapped. */
    bool locked = bp_lock_try_briefly(&arena->lock);
    visit(arena, counts, NULL);
    visit(arena, counts, &batch);
    ask(&batch);
    if (locked)
        bp_lock_release(&arena->lock);
}
