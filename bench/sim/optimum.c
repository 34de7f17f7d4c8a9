/* SPDX-License-Identifier: MIT */
/*
 * What no policy can undercut: Belady's MIN for pages.
 *
 * Pages of one class are interchangeable, so a request may be served by any page that was freed before it. Which serves
 * which is settled first: the newest. (If two pages were matched so that their idle times cross, a swap makes one time
 * contain the other, and what is kept of the two occupies no more than before.) Every page that is freed and needed
 * again is now an interval of time, and at any time at most `cache_bytes` of intervals may be kept. To keep as many as
 * possible, whenever there are too many, give up the one that ends last. This is exact, as pages are of equal size and
 * equal worth; buffers as a whole would make it a knapsack, which can only be worse.
 *
 * With `classes_apart`, a page serves its own size class only: the bound of all caches that neither lend a buffer to
 * another class nor move pages between buffers. The pool does both and may beat it. Otherwise all pages are
 * interchangeable: the bound of all allocators that hold no more than `cache_bytes` of free memory.
 *
 * Resident time is what those intervals take: memory that will not be needed in time is not kept for a moment. Where
 * nothing had to be given up, this is the least that any way to the same number of fresh pages takes, too.
 */
#include <stdlib.h>
#include <string.h>

#include "outcome.h"
#include "sizeclass.h"

enum { PAGE_BYTES = 4096 };

/* Bytes that were freed together; `needed` is filled in as they are matched. */
struct piece {
    size_t event;
    uint64_t bytes;
};

struct stack {
    struct piece *pieces;
    size_t count;
    size_t room;
};

/* Bytes freed by one event that another one needs: in the order of events freed at, once sorted. */
struct interval {
    size_t from;
    size_t to;
    uint64_t bytes;
};

struct intervals {
    struct interval *all;
    size_t count;
    size_t room;
};

/* A heap of events, the last on top. */
struct heap {
    size_t *events;
    size_t count;
};

static uint64_t whole_pages(uint64_t bytes)
{
    return (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

static void push(struct stack *stack, size_t event, uint64_t bytes)
{
    if (stack->count == stack->room) {
        stack->room = stack->room == 0 ? 256 : 2 * stack->room;
        stack->pieces = must_resize(stack->pieces, stack->room * sizeof *stack->pieces);
    }
    stack->pieces[stack->count++] = (struct piece){.event = event, .bytes = bytes};
}

static void add_interval(struct intervals *intervals, size_t from, size_t to, uint64_t bytes)
{
    if (intervals->count == intervals->room) {
        intervals->room = intervals->room == 0 ? 4096 : 2 * intervals->room;
        intervals->all = must_resize(intervals->all, intervals->room * sizeof *intervals->all);
    }
    intervals->all[intervals->count++] = (struct interval){.from = from, .to = to, .bytes = bytes};
}

/* Serves a need of `bytes` from what was freed last. */
static void match(struct intervals *intervals, struct stack *stack, size_t event, uint64_t bytes)
{
    while (bytes > 0 && stack->count > 0) {
        struct piece *piece = &stack->pieces[stack->count - 1];
        uint64_t taken = piece->bytes < bytes ? piece->bytes : bytes;
        add_interval(intervals, piece->event, event, taken);
        bytes -= taken;
        piece->bytes -= taken;
        if (piece->bytes == 0)
            stack->count--;
    }
}

static int by_start(const void *left, const void *right)
{
    const struct interval *a = left;
    const struct interval *b = right;
    if (a->from != b->from)
        return a->from < b->from ? -1 : 1;
    return (a->to > b->to) - (a->to < b->to);
}

static struct intervals match_all(const struct trace *trace, bool classes_apart)
{
    struct intervals intervals = {0};
    struct stack stacks[BP_CLASS_COUNT] = {0};
    for (size_t i = 0; i < trace->count; i++) {
        const struct event *event = &trace->events[i];
        uint64_t before = whole_pages(event->before_bytes);
        uint64_t after = whole_pages(event->after_bytes);
        struct stack *stack = &stacks[classes_apart ? bp_class_of(before > after ? before : after) : 0];
        if (after > before)
            match(&intervals, stack, i, after - before);
        else if (before > after)
            push(stack, i, before - after);
    }
    for (size_t i = 0; i < BP_CLASS_COUNT; i++)
        free(stacks[i].pieces);
    qsort(intervals.all, intervals.count, sizeof *intervals.all, by_start);
    return intervals;
}

static void heap_push(struct heap *heap, size_t event)
{
    size_t at = heap->count++;
    for (; at > 0 && heap->events[(at - 1) / 2] < event; at = (at - 1) / 2)
        heap->events[at] = heap->events[(at - 1) / 2];
    heap->events[at] = event;
}

static void heap_pop(struct heap *heap)
{
    size_t event = heap->events[--heap->count];
    size_t at = 0;
    for (size_t below; (below = 2 * at + 1) < heap->count; at = below) {
        below += below + 1 < heap->count && heap->events[below + 1] > heap->events[below];
        if (heap->events[below] <= event)
            break;
        heap->events[at] = heap->events[below];
    }
    heap->events[at] = event;
}

/* Gives up of what is needed last until no more than `cache_bytes` are kept. Returns what is kept then. */
static uint64_t give_up(struct heap *heap, uint64_t *kept_for, uint64_t kept_bytes, size_t cache_bytes)
{
    while (kept_bytes > cache_bytes) {
        size_t last = heap->events[0];
        uint64_t excess = kept_bytes - cache_bytes;
        uint64_t cut = kept_for[last] < excess ? kept_for[last] : excess;
        kept_for[last] -= cut;
        kept_bytes -= cut;
        if (kept_for[last] == 0)
            heap_pop(heap);
    }
    return kept_bytes;
}

struct outcome optimum(const struct trace *trace, size_t cache_bytes, uint64_t keep_us, bool classes_apart)
{
    struct outcome outcome = {0};
    struct intervals intervals = match_all(trace, classes_apart);
    uint64_t *kept_for = must_resize(NULL, trace->count * sizeof *kept_for);
    memset(kept_for, 0, trace->count * sizeof *kept_for);
    struct heap heap = {.events = must_resize(NULL, (intervals.count + 1) * sizeof *heap.events)};
    uint64_t kept_bytes = 0;
    const struct interval *next = intervals.all;
    const struct interval *end = intervals.all + intervals.count;
    for (size_t i = 0; i < trace->count; i++) {
        const struct event *event = &trace->events[i];
        if (i > 0)
            outcome.spare_byte_us += (double)kept_bytes * (double)(event->time_us - trace->events[i - 1].time_us);
        uint64_t before = whole_pages(event->before_bytes);
        uint64_t after = whole_pages(event->after_bytes);
        if (after > before) {
            outcome.requests++;
            outcome.request_bytes += after - before;
            outcome.fresh_bytes += after - before - kept_for[i];
            outcome.hits += is_hit(after - before - kept_for[i], after - before);
            kept_bytes -= kept_for[i];
            kept_for[i] = 0;
        }
        for (; next < end && next->from == i; next++) {
            if (trace->events[next->to].time_us - event->time_us > keep_us)
                continue;
            if (kept_for[next->to] == 0)
                heap_push(&heap, next->to);
            kept_for[next->to] += next->bytes;
            kept_bytes += next->bytes;
        }
        while (heap.count > 0 && kept_for[heap.events[0]] == 0)
            heap_pop(&heap);
        kept_bytes = give_up(&heap, kept_for, kept_bytes, cache_bytes);
        if (kept_bytes > outcome.peak_spare_bytes)
            outcome.peak_spare_bytes = kept_bytes;
    }
    free(heap.events);
    free(kept_for);
    free(intervals.all);
    return outcome;
}
