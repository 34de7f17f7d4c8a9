/* SPDX-License-Identifier: MIT */
#include "pin.h"

#include "os.h"
#include "out.h"

enum { SLOTS_MAX = 8192 };

void bp_pins_init(struct bp_pins *pins)
{
    *pins = (struct bp_pins){.wanted = true};
    bp_store_relaxed(&pins->left, SLOTS_MAX);
}

static void say_refused(size_t limit_bytes)
{
    char reason[64];
    struct bp_text text = {.data = reason, .size = sizeof reason};
    if (limit_bytes == SIZE_MAX) {
        bp_text_add(&text, "the kernel refuses");
    } else {
        bp_text_add(&text, "RLIMIT_MEMLOCK (");
        bp_text_add_bytes(&text, limit_bytes);
        bp_text_add(&text, ") allows no more");
    }
    bp_warn("BUFPOOL_PIN=1: %s; memory beyond that stays unpinned", reason);
}

bool bp_pins_lock(struct bp_pins *pins, void *address, size_t bytes, bool is_first)
{
    if (bp_os_is_quiet())
        return false;
    if (!is_first || bp_take_one_relaxed(&pins->left)) {
        if (bp_os.lock(address, bytes) == 0)
            return true;
        if (is_first)
            bp_pins_forget(pins);
    }
    bp_add_relaxed(&pins->refused, 1u);
    if (!atomic_exchange_explicit(&pins->said, true, memory_order_relaxed))
        say_refused(bp_os_lock_limit_bytes());
    return false;
}

void bp_pins_forget(struct bp_pins *pins)
{
    bp_add_relaxed(&pins->left, 1u);
}
