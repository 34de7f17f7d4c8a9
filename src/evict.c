/* SPDX-License-Identifier: MIT */
#include "evict.h"

/* The goal stays between this part of what may be cached, and all but this part. */
enum { GOAL_PART = 16 };

/* What may have changed while it was read is not more than what is resident. */
static size_t trial_bytes(const struct bp_evict_class *class)
{
    return bp_min(bp_load_relaxed(&class->trial_bytes), bp_load_relaxed(&class->resident_bytes));
}

static size_t goal_bytes(const struct bp_evict *evict, size_t limit_bytes)
{
    size_t least_bytes = limit_bytes / GOAL_PART;
    return bp_max(bp_min(bp_load_relaxed(&evict->trial_bytes_goal), limit_bytes - least_bytes), least_bytes);
}

static void add_up_to(_Atomic(size_t) *p, size_t bytes, size_t limit_bytes)
{
    if (!bp_add_below_relaxed(p, bytes, limit_bytes))
        bp_store_relaxed(p, limit_bytes);
}

size_t bp_evict_trial_bytes(const struct bp_evict *evict)
{
    size_t bytes = 0;
    for (size_t i = 0; i < BP_CLASS_COUNT; i++)
        bytes += trial_bytes(&evict->classes[i]);
    return bytes;
}

static size_t hot_bytes(const struct bp_evict *evict)
{
    size_t bytes = 0;
    for (size_t i = 0; i < BP_CLASS_COUNT; i++)
        bytes += bp_load_relaxed(&evict->classes[i].resident_bytes);
    return bytes - bp_min(bytes, bp_evict_trial_bytes(evict));
}

void bp_evict_entered(struct bp_evict *evict, size_t class_index, size_t bytes, size_t limit_bytes)
{
    if (!bp_evict_is_clockpro(evict))
        return;
    struct bp_evict_class *class = &evict->classes[class_index];
    size_t proven_bytes = bp_take_relaxed(&class->proven_bytes, bytes);
    bool has_room = hot_bytes(evict) + bytes <= limit_bytes - goal_bytes(evict, limit_bytes);
    bp_add_relaxed(&class->resident_bytes, bytes);
    if (!has_room)
        bp_add_relaxed(&class->trial_bytes, bytes - proven_bytes);
}

void bp_evict_left(struct bp_evict *evict, size_t class_index, size_t bytes)
{
    if (!bp_evict_is_clockpro(evict))
        return;
    struct bp_evict_class *class = &evict->classes[class_index];
    (void)bp_take_relaxed(&class->resident_bytes, bytes);
    size_t resident_bytes = bp_load_relaxed(&class->resident_bytes);
    /* Hot ones serve first: what is left is what was needed least. */
    if (bp_load_relaxed(&class->low_bytes) > resident_bytes)
        bp_store_relaxed(&class->low_bytes, resident_bytes);
    if (bp_load_relaxed(&class->trial_bytes) > resident_bytes)
        bp_store_relaxed(&class->trial_bytes, resident_bytes);
}

void bp_evict_used(struct bp_evict *evict, size_t class_index, size_t bytes, size_t limit_bytes)
{
    if (bp_evict_is_clockpro(evict))
        add_up_to(&evict->classes[class_index].proven_bytes, bytes, limit_bytes);
}

void bp_evict_missed(struct bp_evict *evict, size_t class_index, size_t bytes, size_t limit_bytes)
{
    if (!bp_evict_is_clockpro(evict))
        return;
    struct bp_evict_class *class = &evict->classes[class_index];
    size_t newer = bp_load_relaxed(&evict->generation) & 1;
    size_t found_bytes = bp_take_relaxed(&class->gone_bytes[newer], bytes);
    found_bytes += bp_take_relaxed(&class->gone_bytes[!newer], bytes - found_bytes);
    add_up_to(&class->proven_bytes, found_bytes, limit_bytes);
    add_up_to(&evict->trial_bytes_goal, found_bytes, limit_bytes);
}

/* The tests that began in the generation before the last end, and with them half of what old uses prove. */
static void turn_generation(struct bp_evict *evict)
{
    size_t older = (bp_add_relaxed(&evict->generation, (size_t)1) + 1) & 1;
    for (size_t i = 0; i < BP_CLASS_COUNT; i++) {
        struct bp_evict_class *class = &evict->classes[i];
        (void)bp_take_relaxed(&evict->trial_bytes_goal, bp_take_relaxed(&class->gone_bytes[older], SIZE_MAX));
        (void)bp_take_relaxed(&class->proven_bytes, bp_load_relaxed(&class->proven_bytes) / 2);
    }
}

void bp_evict_gave_back(struct bp_evict *evict, size_t class_index, size_t bytes, size_t limit_bytes)
{
    if (!bp_evict_is_clockpro(evict))
        return;
    size_t newer = bp_load_relaxed(&evict->generation) & 1;
    bp_add_relaxed(&evict->classes[class_index].gone_bytes[newer], bytes);
    size_t before_bytes = bp_add_relaxed(&evict->aged_bytes, bytes);
    if (before_bytes + bytes > limit_bytes / 2 && bp_take_relaxed(&evict->aged_bytes, SIZE_MAX) > 0)
        turn_generation(evict);
}

void bp_evict_replaced(struct bp_evict *evict, size_t class_index, size_t trial_bytes, size_t bytes,
                       size_t limit_bytes)
{
    struct bp_evict_class *class = &evict->classes[class_index];
    /* Where all there was on trial, bp_evict_left() has seen to it. */
    size_t left_bytes = trial_bytes - bp_min(trial_bytes, bytes);
    if (bp_load_relaxed(&class->trial_bytes) > left_bytes)
        bp_store_relaxed(&class->trial_bytes, left_bytes);
    bp_evict_gave_back(evict, class_index, bytes, limit_bytes);
}

/* The hot hand. Twice around is enough: the first time marks, the second finds nothing needed. */
static void demote(struct bp_evict *evict, size_t bytes)
{
    for (size_t steps = 0; steps <= (size_t)2 * BP_CLASS_COUNT; steps++) {
        struct bp_evict_class *class = &evict->classes[bp_load_relaxed(&evict->hot_hand) % BP_CLASS_COUNT];
        size_t resident_bytes = bp_load_relaxed(&class->resident_bytes);
        size_t idle_bytes = bp_min(bp_load_relaxed(&class->low_bytes), resident_bytes);
        idle_bytes -= bp_min(idle_bytes, trial_bytes(class));
        bp_add_relaxed(&class->trial_bytes, bp_min(idle_bytes, bytes));
        if (bytes <= idle_bytes)
            return;
        bytes -= idle_bytes;
        bp_store_relaxed(&class->low_bytes, resident_bytes);
        bp_add_relaxed(&evict->hot_hand, (size_t)1);
    }
}

bool bp_evict_prepare(struct bp_evict *evict, size_t class_index, size_t bytes, size_t limit_bytes)
{
    size_t hot_max_bytes = limit_bytes - goal_bytes(evict, limit_bytes);
    size_t now_hot_bytes = hot_bytes(evict);
    size_t excess_bytes = now_hot_bytes - bp_min(now_hot_bytes, hot_max_bytes);
    bool is_proven = bp_load_relaxed(&evict->classes[class_index].proven_bytes) >= bytes;
    size_t lacking_bytes = bytes - bp_min(bytes, bp_evict_trial_bytes(evict));
    demote(evict, is_proven ? bp_max(excess_bytes, lacking_bytes) : excess_bytes);
    return bp_evict_trial_bytes(evict) >= bytes;
}

size_t bp_evict_next(struct bp_evict *evict, size_t *ret_bytes)
{
    for (size_t steps = 0; steps < BP_CLASS_COUNT; steps++) {
        size_t class_index = bp_add_relaxed(&evict->cold_hand, (size_t)1) % BP_CLASS_COUNT;
        *ret_bytes = trial_bytes(&evict->classes[class_index]);
        if (*ret_bytes > 0)
            return class_index;
    }
    return BP_CLASS_COUNT;
}
