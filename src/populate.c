/* SPDX-License-Identifier: MIT */
#include "populate.h"

#include <sys/single_threaded.h>

#include "os.h"

enum {
    /* Below it the calls cost what they save. */
    POPULATE_MIN_BYTES = 256 * 1024,
    /* Above it only in a program with one thread. */
    SHARED_MAX_BYTES = 4 * 1024 * 1024,
    CANARY_EVERY_PAGES = 64,
    CANARY_FIRST_PAGE = 32,
    LOOKS = 4,
    TOUCHED_PER_POPULATED = 16,
    /* So much of a block may be unused when it has to grow. */
    BLOCK_PER_UNUSED = 64,
};

static bool is_allowed(const struct bp_populate *populate, size_t bytes)
{
    return bytes >= POPULATE_MIN_BYTES && !bp_load_relaxed(&populate->is_off) &&
           (__libc_single_threaded || bytes <= SHARED_MAX_BYTES);
}

/* Is the last canary in the first `pages` pages resident? */
static bool canary_is_resident(const char *slot_base, size_t pages)
{
    if (pages <= CANARY_FIRST_PAGE)
        return false;
    size_t number = (pages - 1 - CANARY_FIRST_PAGE) / CANARY_EVERY_PAGES;
    return bp_os.resident(slot_base + (CANARY_FIRST_PAGE + number * CANARY_EVERY_PAGES) * bp_os_page_bytes()) == 1;
}

static bool was_touched(const char *slot_base, size_t pages)
{
    for (size_t i = 1; i <= LOOKS; i++) {
        if (!canary_is_resident(slot_base, bp_max(pages * i / LOOKS, CANARY_FIRST_PAGE + 1)))
            return false;
    }
    return true;
}

/* Populates pages but for canaries. */
static size_t populate_pages(struct bp_populate *populate, char *slot_base, size_t start_page, size_t end_page)
{
    size_t page_bytes = bp_os_page_bytes();
    size_t populated_bytes = 0;
    while (start_page < end_page) {
        size_t distance = (start_page + CANARY_EVERY_PAGES - CANARY_FIRST_PAGE) % CANARY_EVERY_PAGES;
        size_t canary_page = start_page + (CANARY_EVERY_PAGES - distance) % CANARY_EVERY_PAGES;
        size_t pages = bp_min(canary_page, end_page) - start_page;
        bool failed = pages > 0 && bp_os.populate(slot_base + start_page * page_bytes, pages * page_bytes) != 0;
        bool is_first = populated_bytes == 0 && canary_page < end_page;
        /* A canary that became resident by that lies in a huge page. */
        if (failed || (is_first && canary_is_resident(slot_base, canary_page + 1))) {
            bp_store_relaxed(&populate->is_off, true);
            return populated_bytes;
        }
        populated_bytes += pages * page_bytes;
        start_page = canary_page + 1;
    }
    return populated_bytes;
}

size_t bp_populate_fresh(struct bp_populate *populate, const struct bp_arena *arena, const struct bp_slot *slot,
                         bool zero)
{
    size_t bytes = slot->dirty_bytes;
    if (!is_allowed(populate, bytes))
        return 0;
    struct bp_populate_class *class = &populate->classes[slot->class_index][zero];
    const struct bp_slot *witness = bp_load_relaxed(&class->witness);
    size_t witness_bytes = bp_load_relaxed(&class->witness_bytes);
    size_t touched_bytes = 0;
    if (witness && !bp_slot_wants_huge(witness) && !bp_slot_is_tainted(witness) &&
        was_touched(bp_load_relaxed(&class->witness_base), witness_bytes / arena->page_bytes))
        touched_bytes = bp_load_relaxed(&class->touched_bytes) + witness_bytes;
    char *base = bp_slot_base(arena, slot);
    bp_store_relaxed(&class->touched_bytes, touched_bytes);
    bp_store_relaxed(&class->witness, slot);
    bp_store_relaxed(&class->witness_base, base);
    bp_store_relaxed(&class->witness_bytes, bytes);
    if (bytes > touched_bytes / TOUCHED_PER_POPULATED)
        return 0;
    return populate_pages(populate, base, 0, bytes / arena->page_bytes - 1);
}

size_t bp_populate_growth(struct bp_populate *populate, const struct bp_arena *arena, const struct bp_slot *slot,
                          size_t before_bytes)
{
    size_t added_bytes = bp_min(slot->dirty_bytes - before_bytes, before_bytes / TOUCHED_PER_POPULATED);
    size_t before_pages = before_bytes / arena->page_bytes;
    char *base = bp_slot_base(arena, slot);
    if (!is_allowed(populate, added_bytes) || bp_slot_wants_huge(slot) || bp_slot_is_tainted(slot) ||
        !was_touched(base, before_pages - before_pages / BLOCK_PER_UNUSED))
        return 0;
    return populate_pages(populate, base, before_pages, (before_bytes + added_bytes) / arena->page_bytes - 1);
}
