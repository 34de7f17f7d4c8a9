/* SPDX-License-Identifier: MIT */
#include "huge.h"

#include "os.h"
#include "out.h"

/* Up to here dense use is taken for granted. */
#define SURE_MAX_BYTES (16 * BP_MIB)

void bp_huge_init(struct bp_huge *huge, enum bp_hugepages mode)
{
    static const size_t strides[] = {
        [BP_HUGEPAGES_INHERIT] = 4 * BP_HUGE_BYTES,
        [BP_HUGEPAGES_OFF] = SIZE_MAX,
        [BP_HUGEPAGES_ON] = 2 * BP_HUGE_BYTES,
        [BP_HUGEPAGES_HUGETLB] = 2 * BP_HUGE_BYTES,
    };
    *huge = (struct bp_huge){.mode = mode, .whole_stride_bytes = strides[mode]};
    if (mode == BP_HUGEPAGES_INHERIT && !bp_os_gives_huge_pages())
        huge->whole_stride_bytes = SIZE_MAX;
}

void bp_huge_mapped(const struct bp_huge *huge, size_t class_index, void *address, size_t bytes)
{
    /* Without effect where the kernel has no huge pages. */
    if (bp_huge_is_denied(huge, class_index))
        (void)bp_os.advise_huge(address, bytes, false);
}

/* One page of each sixteenth, at uneven distances: programs use memory at even ones. */
static bool is_mostly_resident(const char *p, size_t bytes)
{
    enum { SAMPLES = 16 };
    size_t page_bytes = bp_os_page_bytes();
    size_t part_pages = bytes / SAMPLES / page_bytes;
    unsigned resident = 0;
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t page = i * part_pages + i * i * i * 7 % part_pages;
        uintptr_t address = bp_align_down((uintptr_t)p, page_bytes) + page * page_bytes;
        resident += bp_os.resident((const void *)address) != 0; // NOLINT(performance-no-int-to-ptr)
    }
    return resident > SAMPLES / 2;
}

/* Is the class's memory used densely, as far as can be seen? */
static bool is_dense(const struct bp_huge *huge, size_t class_index, const char *base, size_t before_bytes)
{
    if (before_bytes >= SURE_MAX_BYTES)
        return is_mostly_resident(base, before_bytes);
    uintptr_t last = bp_load_relaxed(&huge->last[class_index].address);
    size_t bytes = bp_load_relaxed(&huge->last[class_index].bytes);
    return bytes > 0 && is_mostly_resident((const void *)last, bytes); // NOLINT(performance-no-int-to-ptr)
}

static bool take_reserved(struct bp_huge *huge, char *start, size_t bytes)
{
    bool taken = bp_os.map_huge(start, bytes) == 0;
    if (taken)
        bp_add_relaxed(&huge->hugetlb_bytes, bytes);
    else if (!atomic_exchange_explicit(&huge->said, true, memory_order_relaxed))
        bp_warn("BUFPOOL_HUGEPAGES=hugetlb: the reserved pool (vm.nr_hugepages) has no more; using ordinary pages");
    return taken;
}

void bp_huge_prefork(struct bp_huge *huge)
{
    if (bp_load_relaxed(&huge->hugetlb_bytes) > 0 &&
        !atomic_exchange_explicit(&huge->said_fork, true, memory_order_relaxed))
        bp_warn("BUFPOOL_HUGEPAGES=hugetlb: this process forks; what it writes to after that must be copied to other "
                "reserved huge pages, and where there are none the child is killed");
}

bool bp_huge_extended(struct bp_huge *huge, size_t class_index, char *base, size_t before_bytes, size_t after_bytes)
{
    bool wanted = after_bytes <= SURE_MAX_BYTES || is_dense(huge, class_index, base, before_bytes);
    if (after_bytes > SURE_MAX_BYTES) {
        bp_store_relaxed(&huge->last[class_index].address, (uintptr_t)base);
        bp_store_relaxed(&huge->last[class_index].bytes, after_bytes);
    }
    char *start = base + before_bytes;
    size_t bytes = after_bytes - before_bytes;
    if (!wanted)
        return false;
    if (huge->mode == BP_HUGEPAGES_HUGETLB)
        return take_reserved(huge, start, bytes);
    if (bp_os.advise_huge(start, bytes, true) == 0)
        bp_add_relaxed(&huge->advised_bytes, bytes);
    return false;
}
