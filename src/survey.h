/* SPDX-License-Identifier: MIT */
#ifndef BP_SURVEY_H
#define BP_SURVEY_H
/*
 * Survey: on which memory nodes the pages of buffers really lie.
 *
 * Why:   a binding is a wish. A node may have been full, memory may have been taken away, pages moved.
 * Layer: 10. Asks the kernel about some pages of some slots of each place; for reports only. Other threads may go on:
 *        a slot may have changed hands since it was looked at, and then counts as what it was.
 */
#include "arena.h"

struct bp_survey {
    size_t live_pages; /* looked at and found in memory */
    size_t live_misplaced;
    size_t cached_pages;
    size_t cached_misplaced;
};

/* One for each place of the arena. */
void bp_survey(struct bp_arena *arena, struct bp_survey ret_surveys[BP_PLACES_MAX]);

#endif
