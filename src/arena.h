/* SPDX-License-Identifier: MIT */
#ifndef BP_ARENA_H
#define BP_ARENA_H
/*
 * Arena: the address space of a pool, cut into spans, cut into slots.
 *
 * Why:       one reservation makes "is this pointer ours?" a subtraction and a compare, without a lock and without a
 *            header in front of the program's bytes. Records of slots lie elsewhere, so a wild write cannot reach them
 *            and a wrong free is seen.
 * Layer:     3.
 * Terms:     unit  - the piece of the reservation that one entry of the owner table covers
 *            span  - a run of units given to one size class and place (numa.h); cut into slots of one stride
 *            slot  - room for one buffer; its record is a struct bp_slot
 *            clean - a free slot whose pages were given back
 * Owns:      slots that were never handed out, and clean ones. Every other slot belongs to a thread cache, a shard or
 *            the program.
 * Locking:   arena->lock (BP_RANK_ARENA) for spans and clean lists. System calls under it: making address
 *            space accessible, binding it, refusing huge pages there; for a program that limits itself, unmapping or
 *            mapping anew; giving back slack; asking where pages are, for a report.
 * Invariant: bytes of a slot from dirty_bytes to its stride are zero and not resident.
 *            pins.bytes == sum of dirty_bytes over all slots that are pinned.
 * Failure:   NULL or a negative errno; nothing changed.
 */
#include "budget.h"
#include "huge.h"
#include "lock.h"
#include "meta.h"
#include "numa.h"
#include "pin.h"
#include "sizeclass.h"

enum {
    BP_SEAMS_MAX = 3,
    /* Slots up to here may be guarded: that takes 8 bytes of page tables for each page that is not accessible. */
    BP_GUARDED_MAX_BYTES = 64 * 1024 * 1024,
    BP_QUARANTINE_SLOTS = 256,
    /*
     * From here on moving pages beats copying them, and beats faulting fresh ones: a move costs 8 to 12 us whatever
     * its size, 256 KiB to copy 11 us, to fault 30 us at the least.
     */
    BP_MOVE_MIN_BYTES = 256 * 1024,
};

/* Does the kernel move the pages of several mappings at once? */
enum bp_across { BP_ACROSS_UNKNOWN, BP_ACROSS_YES, BP_ACROSS_NO };

/* Who may touch which field follows from who owns the slot; see the table in src/README.md. */
struct bp_slot {
    _Alignas(BP_CACHELINE_BYTES) char *home; /* slot base + colour; blocks begin here, or before for their alignment */
    char *live;           /* the pointer that the program holds, or that and a mark; NULL while free */
    size_t size_bytes;    /* as requested, while live */
    size_t dirty_bytes;   /* from the slot base, whole pages: what may be resident or not zero */
    size_t room_bytes;    /* what of that lies behind home, or 0: how large a block it can hold as it is */
    union {
        struct bp_slot *next; /* in the list that holds it while free */
        size_t look_mark;     /* while live, if odd: which look at slack was the first to see the block */
    };
    /*
     * Seams: where the slot passes from one of the kernel's mappings to the next, ascending, in pages from the base.
     * Pages that are moved here form a mapping of their own for good, and the kernel moves pages of one mapping only.
     */
    uint32_t seam_pages[BP_SEAMS_MAX];
    uint8_t seam_count : 4; /* above BP_SEAMS_MAX when there were too many to remember */
    bool pinned : 1;        /* all of its dirty extent is */
    bool guarded : 1;       /* what of it is not accessible is so by guards, not by protection */
    bool torn : 1;          /* a move failed: others may have mapped something behind its dirty extent, which stays */
    bool ceded : 1;         /* torn, as what lies outside its dirty extent was unmapped; purged, it goes */
    uint8_t class_index; /* const */
    bool tainted;        /* the program changed more than bytes here; atomic: bp_arena_taint(), from any thread */
    bool wants_huge;     /* the program asked for huge pages here; atomic: bp_arena_want_huge(), from any thread */
};

/*
 * In `live` of a tainted slot: the pointer that the program frees then differs from it, and the hit path, which
 * compares the two anyway, leaves the block to the slow path. No address in the arena has this bit, so no wrong pointer
 * can pass for a marked one.
 */
#define BP_TAINT_MARK ((uintptr_t)1 << 63)
_Static_assert(sizeof(struct bp_slot) == BP_CACHELINE_BYTES, "one cache line a slot");

struct bp_span {
    char *base;             /* const */
    struct bp_slot *slots;  /* const: one record a slot */
    struct bp_span *next;   /* lock: all spans of the arena */
    unsigned stride_shift;  /* const */
    unsigned place;         /* const */
    size_t class_index;     /* const */
    size_t slot_count;      /* lock: lowered by bp_arena_shrink() */
    size_t carved_count;    /* lock: slots handed out at least once */
    size_t committed_bytes; /* lock: from base */
};

/*
 * Where a slot belongs, as one number: the stride's shift in the lowest bits, as a shift by the whole number uses only
 * these, and above them the place.
 */
enum { BP_KEY_PLACE_SHIFT = 6 };

BP_ALWAYS_INLINE unsigned bp_key_of(unsigned place, unsigned stride_shift)
{
    return place << BP_KEY_PLACE_SHIFT | stride_shift;
}

BP_ALWAYS_INLINE unsigned bp_key_stride_shift(unsigned key)
{
    return key & ((1u << BP_KEY_PLACE_SHIFT) - 1);
}

/*
 * What a free must know of the unit that its pointer lies in. One load leads from the address to the slot's record:
 * record number (p >> stride_shift) - (span base >> stride_shift), with the second term and the table's address
 * folded into one number.
 */
struct bp_owner {
    _Atomic(uintptr_t) records; /* 0 while the unit is in no span; release: pairs with acquire in bp_owner_records() */
    uint32_t key;               /* const once records is set: see bp_key_of() */
};

/* What the slots of one place come from. */
struct bp_arena_place {
    struct bp_span *current[BP_CLASS_COUNT]; /* lock: the span that fresh slots come from */
    struct bp_slot *clean[BP_CLASS_COUNT];   /* lock */
    _Atomic(size_t) footprint_bytes;         /* sum of dirty_bytes; only where there are several places */
};

struct bp_arena {
    /* Read by every free. The size is zero before the base is set, so that no pointer is ours. Const but for holes. */
    _Atomic(uintptr_t) base;
    _Atomic(size_t) bytes;
    unsigned unit_shift;
    size_t page_bytes;
    struct bp_owner *owners; /* one a unit */

    struct bp_lock lock;
    struct bp_meta *meta;                          /* const */
    struct bp_budget *budget;                      /* const */
    void *reservation;                             /* const: as mapped, before alignment */
    size_t reservation_bytes;                      /* const */
    _Atomic(bool) commit_is_charged;               /* commit page by page instead of span by span; relaxed */
    _Atomic(bool) has_guards;                      /* hardened slots get guards rather than protection; relaxed */
    _Atomic(bool) can_move;                        /* the kernel can, and no page is charged where it lies; relaxed */
    _Atomic(size_t) moves_left;                    /* atomic: to new places before mappings are counted anew; relaxed */
    _Atomic(size_t) moves_granted;                 /* atomic: the sum of what moves_left was raised by; relaxed */
    _Atomic(size_t) moves_refused;                 /* atomic: in a row, as there were too many mappings; relaxed */
    _Atomic(size_t) moves_unseen;                  /* to slots of unknown seams; relaxed */
    _Atomic(bool) is_crowded;                      /* so that there are no such moves for now; relaxed */
    _Atomic(int) moves_across;                     /* relaxed: of the kind bp_across */
    _Atomic(bool) is_torn;                         /* a slot is: what others may have there must stay; relaxed */
    bool is_limited;                               /* const: the address space was, when the arena was made */
    _Atomic(bool) is_ceded;                        /* a slot is; relaxed */
    _Atomic(size_t) ceded_bytes;                   /* atomic: of the reservation, what was unmapped; relaxed */
    _Atomic(bool) has_holes;                       /* release: pairs with acquire in bp_arena_is_hole() */
    struct bp_pins pins;
    struct bp_huge huge;
    size_t next_unit;                              /* lock */
    struct bp_span *spans;                         /* lock */
    uint64_t secret;                               /* const: 0 unless bp_arena_harden() was called */
    uint64_t random;                               /* lock: what random order comes from */
    struct bp_slot *quarantine[BP_QUARANTINE_SLOTS]; /* lock */
    size_t quarantine_count;                       /* lock */
    struct bp_numa *numa;                          /* const: NULL when there is nothing to bind */
    unsigned place_count;                          /* const */
    struct bp_arena_place *places;                 /* const */
    struct bp_arena_place only;                    /* of these, if there is one */
};

/* Reserves address space. 0, or -ENOMEM when not even a small reservation could be had. */
int bp_arena_init(struct bp_arena *arena, struct bp_meta *meta, struct bp_budget *budget);
/* Before the first slot: gives each place its own spans, bound to its node. 0 or -ENOMEM. NULL: there is one place. */
int bp_arena_use_places(struct bp_arena *arena, struct bp_numa *numa);
/* Before the first slot is taken. Huge pages of the reserved pool are not moved. */
void bp_arena_set_huge(struct bp_arena *arena, enum bp_hugepages mode);
/* From now on what slots get is pinned, each slot as a whole or not at all. Pages are not moved then. */
void bp_arena_pin(struct bp_arena *arena);
/* In a forked child, which inherits no pins. */
void bp_arena_after_fork(struct bp_arena *arena);
/*
 * Before the first slot is taken: pages are accessible only as far as a block needs them, clean slots of all classes
 * wait in one quarantine until it is full and a random one of them leaves, and slots are taken in random order.
 *
 * Where the kernel has guards, and nothing is charged or locked when it is committed, a slot becomes accessible as a
 * whole when it is first used, but for guards; what is free is guarded all over. Elsewhere, in huge slots and where the
 * kernel refuses, protection does that, which takes two of the kernel's mappings for each live block.
 */
void bp_arena_harden(struct bp_arena *arena);
/* Gives the address space back. */
void bp_arena_fini(struct bp_arena *arena);

/*
 * Gives back the address space that no slot has used yet. For a program that limits its address space while it runs,
 * which did not count on ours. The arena grows no more, and has holes: addresses between its slots that may be
 * anybody's.
 */
void bp_arena_shrink(struct bp_arena *arena);

/*
 * Then the address space of clean slots goes back too, for good. While no thread extends or frees a slot: also what
 * lies outside the dirty extents of slots in use. Their blocks stay; when they are purged, the rest goes back.
 */
void bp_arena_cede_clean(struct bp_arena *arena);
void bp_arena_cede_unused(struct bp_arena *arena);
/* How much address space that no live block needs the arena has, roughly. */
size_t bp_arena_spare_bytes(struct bp_arena *arena);

/* See bp_pool_charge_commit(): pages that no slot has, and clean slots, are not accessible. */
void bp_arena_charge_commit(struct bp_arena *arena);
/* Then, while no thread extends a slot: what is accessible before and behind the extents of slots is so no more. */
void bp_arena_close_slots(struct bp_arena *arena);

/* How much live blocks leave unused of their slots, roughly. */
size_t bp_arena_slack_bytes(struct bp_arena *arena);
/*
 * Gives that back, up to `most_bytes`, while nobody changes blocks. With `look`, a number that is higher each time: of
 * blocks that an earlier look saw. Returns the bytes.
 */
size_t bp_arena_trim_live(struct bp_arena *arena, size_t look, size_t most_bytes);

/*
 * The program is about to change attributes of an address range, or what is mapped there. Slots that it overlaps will
 * be mapped anew before they serve again.
 */
void bp_arena_taint(struct bp_arena *arena, const void *address, size_t bytes);
/*
 * The program asks for huge pages in a range. That leaves memory what it is, so slots are recycled as ever: what is
 * resident is as it was. But who gets the addresses after their pages were given back must not get huge ones unasked.
 */
void bp_arena_want_huge(struct bp_arena *arena, const void *address, size_t bytes);
/*
 * Maps a tainted slot anew; it is clean then, or gone if it was ceded. False when the kernel refuses: the slot must
 * never be used again. It stays charged, as nobody knows what it holds.
 */
bool bp_arena_renew(struct bp_arena *arena, struct bp_slot *slot);

/*
 * Where `p` lies in the arena. Below arena->bytes for its own blocks and nothing else: the one test that every free of
 * the program pays for.
 */
BP_ALWAYS_INLINE size_t bp_arena_offset(struct bp_arena *arena, const void *p)
{
    /* Relaxed: whoever got a block of ours from another thread synchronised with it to get it. */
    return (uintptr_t)p - bp_load_relaxed(&arena->base);
}

BP_ALWAYS_INLINE bool bp_arena_contains(struct bp_arena *arena, const void *p)
{
    size_t offset = bp_arena_offset(arena, p);
    return offset < bp_load_acquire(&arena->bytes); /* pairs with release in bp_arena_init(), for the table of owners */
}

/* The owner record of the unit at an offset within the arena. */
BP_ALWAYS_INLINE struct bp_owner *bp_owner_at(struct bp_arena *arena, size_t offset)
{
    return &arena->owners[offset >> arena->unit_shift];
}

BP_ALWAYS_INLINE uintptr_t bp_owner_records(struct bp_owner *owner)
{
    return bp_load_acquire(&owner->records); /* pairs with release in add_span_locked() */
}

/*
 * The record of the slot that `p` lies in, carved or not, given its owner's records; there are none (0) where no span
 * is.
 */
BP_ALWAYS_INLINE struct bp_slot *bp_slot_by_key(uintptr_t records, unsigned key, const void *p)
{
    uintptr_t number = (uintptr_t)p >> bp_key_stride_shift(key);
    return (struct bp_slot *)(records + number * sizeof(struct bp_slot)); // NOLINT(performance-no-int-to-ptr)
}

BP_ALWAYS_INLINE struct bp_slot *bp_slot_of(uintptr_t records, const struct bp_owner *owner, const void *p)
{
    return bp_slot_by_key(records, owner->key, p);
}

/* True when `p`, which the arena contained a moment ago, is no address of a slot: somebody else's, by then. */
bool bp_arena_is_hole(struct bp_arena *arena, const void *p);

BP_ALWAYS_INLINE char *bp_slot_base(const struct bp_arena *arena, const struct bp_slot *slot)
{
    return slot->home - ((uintptr_t)slot->home & (arena->page_bytes - 1));
}

/* From there to the end of the stride: so much memory can the slot have. */
static inline size_t bp_slot_reach_bytes(const struct bp_arena *arena, const struct bp_slot *slot)
{
    size_t stride_bytes = bp_class_stride_bytes(slot->class_index);
    return stride_bytes - ((uintptr_t)bp_slot_base(arena, slot) & (stride_bytes - 1));
}

/* Behind the dirty extent of a slot that is hardened, even if it is ceded: what faults when it is touched. */
static inline size_t bp_slot_gap_bytes(const struct bp_arena *arena, const struct bp_slot *slot)
{
    if (arena->secret == 0 || slot->dirty_bytes == 0)
        return 0;
    return bp_min(arena->page_bytes, bp_slot_reach_bytes(arena, slot) - slot->dirty_bytes);
}

/* The place whose memory the slot has (numa.h). */
BP_ALWAYS_INLINE unsigned bp_slot_place(struct bp_arena *arena, const struct bp_slot *slot)
{
    if (BP_LIKELY(arena->place_count == 1))
        return 0;
    return bp_owner_at(arena, bp_arena_offset(arena, slot->home))->key >> BP_KEY_PLACE_SHIFT;
}

/* The block that the program holds. */
BP_ALWAYS_INLINE char *bp_slot_block(const struct bp_slot *slot)
{
    /* Atomic: bp_arena_taint() marks it from any thread. */
    uintptr_t live = (uintptr_t)__atomic_load_n(&slot->live, __ATOMIC_RELAXED);
    return (char *)(live & ~BP_TAINT_MARK); // NOLINT(performance-no-int-to-ptr)
}

BP_ALWAYS_INLINE bool bp_arena_is_hardened(const struct bp_arena *arena)
{
    return arena->secret != 0;
}

/* The slot whose live block is `p`, which may be any pointer; NULL when there is none. */
static inline struct bp_slot *bp_arena_live_slot(struct bp_arena *arena, const void *p)
{
    if (!bp_arena_contains(arena, p))
        return NULL;
    struct bp_owner *owner = bp_owner_at(arena, bp_arena_offset(arena, p));
    uintptr_t records = bp_owner_records(owner);
    struct bp_slot *slot = records != 0 ? bp_slot_of(records, owner, p) : NULL;
    return slot && bp_slot_block(slot) == p ? slot : NULL;
}

/*
 * As the field, of a live slot, for a thread that is in no operation or does not know yet that it found its cache gone:
 * another thread may be lowering it (bp_arena_trim_live).
 */
BP_ALWAYS_INLINE size_t bp_slot_dirty_bytes(const struct bp_slot *slot)
{
    return __atomic_load_n(&slot->dirty_bytes, __ATOMIC_RELAXED);
}

/* As the field, for a thread that does not have the slot: of the block it has or, while it is free, had last. */
BP_ALWAYS_INLINE size_t bp_slot_size_bytes(const struct bp_slot *slot)
{
    return __atomic_load_n(&slot->size_bytes, __ATOMIC_RELAXED);
}

BP_ALWAYS_INLINE bool bp_slot_is_tainted(const struct bp_slot *slot)
{
    return __atomic_load_n(&slot->tainted, __ATOMIC_RELAXED);
}

BP_ALWAYS_INLINE bool bp_slot_wants_huge(const struct bp_slot *slot)
{
    return __atomic_load_n(&slot->wants_huge, __ATOMIC_RELAXED);
}

static inline void bp_slot_want_huge(struct bp_slot *slot)
{
    __atomic_store_n(&slot->wants_huge, true, __ATOMIC_RELAXED);
}

/* Can the memory of a free buffer of so many bytes serve another class? */
BP_ALWAYS_INLINE bool bp_arena_can_move(struct bp_arena *arena, size_t bytes)
{
    return bytes >= BP_MOVE_MIN_BYTES && bp_load_relaxed(&arena->can_move);
}

/* What dirty_bytes must be for the program to write `size_bytes` at `p` in this slot, up to the end of the page. */
BP_ALWAYS_INLINE size_t bp_slot_extent(const struct bp_arena *arena, const struct bp_slot *slot, const char *p,
                                       size_t size_bytes)
{
    return bp_align_up((size_t)(p - bp_slot_base(arena, slot)) + size_bytes, arena->page_bytes);
}

/* What a dirty extent of `bytes` is in a slot of the class: whole huge pages, where it may get such. */
BP_ALWAYS_INLINE size_t bp_arena_whole_bytes(const struct bp_arena *arena, size_t class_index, size_t bytes)
{
    return bp_huge_is_whole(&arena->huge, class_index) ? bp_align_up(bytes, BP_HUGE_BYTES) : bytes;
}

/* What the kernel shows as flags of a slot's memory because we asked for it: see bp_plain_check(). */
const char *bp_arena_flags(const struct bp_arena *arena, const struct bp_slot *slot);

/* Changes of what block a slot has. Atomic: others look at any time, such as bp_arena_slack_bytes(). */
BP_ALWAYS_INLINE void bp_slot_set_size(struct bp_slot *slot, size_t size_bytes)
{
    __atomic_store_n(&slot->size_bytes, size_bytes, __ATOMIC_RELAXED);
}

// NOLINTNEXTLINE(readability-non-const-parameter): clang-tidy does not see that it is stored as what may be written to
BP_ALWAYS_INLINE void bp_slot_set_block(struct bp_slot *slot, char *p, size_t size_bytes)
{
    bp_slot_set_size(slot, size_bytes);
    __atomic_store_n(&slot->live, p, __ATOMIC_RELAXED);
}

BP_ALWAYS_INLINE void bp_slot_clear_block(struct bp_slot *slot)
{
    __atomic_store_n(&slot->live, NULL, __ATOMIC_RELAXED);
}

/* A slot without memory (dirty_bytes == 0), never used or clean. Extend it before use. */
struct bp_slot *bp_arena_take(struct bp_arena *arena, unsigned place, size_t class_index);
/* Takes back a slot whose memory was purged as far as the kernel let us. */
void bp_arena_put(struct bp_arena *arena, struct bp_slot *slot);
/*
 * Lets the slot's owner use it up to `dirty_bytes`, or the end of the huge page there, charging the difference.
 * -EDQUOT when the footprint limit would be passed, -ENOMEM when the kernel gives no memory, or the slot is torn.
 */
int bp_arena_extend(struct bp_arena *arena, struct bp_slot *slot, size_t dirty_bytes);
/* False when pages cannot be moved, or that would take mappings which the program may need. */
bool bp_arena_may_move(struct bp_arena *arena);
/*
 * Moves the last `bytes` (whole pages) of the dirty extent of `from` to the end of that of `to`, without copying and
 * without a fault. 0, or a negative errno and nothing moved: the kernel is too old, or these pages lie in several of
 * its mappings, or there would be too many of those. Both are of one place.
 */
int bp_arena_move(struct bp_arena *arena, struct bp_slot *from, struct bp_slot *to, size_t bytes);
/*
 * Moves the live block of `from` to the free slot `to`, where it keeps its place within the page, and extends it there
 * to `dirty_bytes`. Pages that `to` had in its place go to `spare`, a clean slot as large as `from`, so that no warm
 * memory is lost. `from` ends up clean. 0, or a negative errno, and the block is where it was.
 */
int bp_arena_relocate(struct bp_arena *arena, struct bp_slot *from, struct bp_slot *to, struct bp_slot *spare,
                      size_t dirty_bytes);
/*
 * Gives the slot's pages beyond `keep_bytes` (whole pages) back to the kernel and uncharges them, but for a huge page
 * that holds something else, too. Returns the bytes.
 * Where the kernel refuses (locked memory) the slot stays dirty and charged: its contents must be expected to survive.
 * Of a ceded slot the address space goes back, too.
 */
size_t bp_arena_purge(struct bp_arena *arena, struct bp_slot *slot, size_t keep_bytes);

/*
 * Before a free slot gets a block: one that begins too late in its stride for that begins at once from now on, without
 * the memory it had. False if the kernel does not take that back.
 */
bool bp_arena_settle(struct bp_arena *arena, struct bp_slot *slot, size_t size_bytes, size_t align_bytes);

/* A large slot without memory begins where the kernel can move whole page tables to it from the other one, or back. */
void bp_arena_align_with(struct bp_arena *arena, struct bp_slot *empty, const struct bp_slot *other);

/* Maps whole pages of a slot anew, accessible if it is in use: zeros, and no advice is left. 0 or a negative errno. */
int bp_arena_map_zeros(struct bp_arena *arena, const struct bp_slot *slot, char *start, size_t bytes, bool accessible);

/* --- what arena.c and its parts share ----------------------------------------------------------------------------- */

void bp_arena_set_dirty(struct bp_arena *arena, struct bp_slot *slot, size_t dirty_bytes);
/* Takes memory of a place into the footprint: if there is room for it, or whatever the limit; and out of it. */
bool bp_arena_charge(struct bp_arena *arena, unsigned place, size_t bytes);
void bp_arena_charge_anyway(struct bp_arena *arena, unsigned place, size_t bytes);
void bp_arena_uncharge(struct bp_arena *arena, unsigned place, size_t bytes);
/* Maps anew what of a slot that is not in use; one with guards only as a whole. */
int bp_arena_map_anew(struct bp_arena *arena, struct bp_slot *slot, char *start, size_t bytes);
/* What of the span nobody else may have. */
void bp_arena_unmap_span(struct bp_arena *arena, const struct bp_span *span);
/* Unmaps a part of the reservation, for good: whoever may look must know before that it is a hole. */
void bp_arena_unmap(struct bp_arena *arena, char *start, size_t bytes);
/* Binds a range of a place whose binding went with what was mapped there. */
void bp_arena_bind(const struct bp_arena *arena, unsigned place, void *start, size_t bytes);

#endif
