/* SPDX-License-Identifier: MIT */
/*
 * Has so many MiB of live blocks all the time, in threads, and changes them: blocks of one size for a while, then of
 * another, so that what is free is never what is needed. The tests run it in a cgroup that has little room beside.
 * Arguments: MiB, rounds.
 */
#include <pthread.h>

#include "victim.h"

enum { THREADS = 2, BLOCKS_MAX = 4096 };

struct book {
    uint64_t dice;
    size_t live_max_bytes;
    size_t rounds;
    size_t live_bytes;
    size_t count;
    struct {
        unsigned char *block;
        size_t size;
    } blocks[BLOCKS_MAX];
};

static struct book books[THREADS];

static void drop_one(struct book *book)
{
    size_t i = roll(&book->dice) % book->count;
    CHECK(stamped(book->blocks[i].block, book->blocks[i].size, book->blocks[i].size));
    free(book->blocks[i].block);
    book->live_bytes -= book->blocks[i].size;
    book->blocks[i] = book->blocks[--book->count];
}

static void make_one(struct book *book, size_t size)
{
    while (book->count > 0 && (book->count == BLOCKS_MAX || book->live_bytes + size > book->live_max_bytes))
        drop_one(book);
    unsigned char *block = make(size);
    stamp(block, size, size);
    book->blocks[book->count].block = block;
    book->blocks[book->count++].size = size;
    book->live_bytes += size;
}

static void *live(void *argument)
{
    struct book *book = argument;
    for (size_t round = 0; round < book->rounds; round++) {
        size_t base = (64 * KIB) << (roll(&book->dice) % 7);
        for (size_t made = 0; made < book->live_max_bytes;) {
            size_t size = base + roll(&book->dice) % base;
            make_one(book, size);
            made += size;
        }
    }
    while (book->count > 0)
        drop_one(book);
    return NULL;
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        books[i].dice = i;
        books[i].live_max_bytes = strtoul(argv[1], NULL, 10) * MIB / THREADS;
        books[i].rounds = strtoul(argv[2], NULL, 10);
        CHECK(pthread_create(&threads[i], NULL, live, &books[i]) == 0);
    }
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    return done();
}
