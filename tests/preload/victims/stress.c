/* SPDX-License-Identifier: MIT */
/*
 * Threads that do everything at once with stamped blocks of 1 byte to 64 MiB, and swap blocks with each other, so
 * that most are freed by another thread than made them.
 *
 * Arguments: seed, turns of each thread. The sequence of a thread is fixed by the seed; which blocks meet is not.
 */
#include "victim.h"
#include <pthread.h>
#include <stdatomic.h>

enum { threads = 4, shared_places = 24, own_places = 6 };

/* A block carries its size in front, so that one pointer can be swapped atomically. */
struct parcel {
    size_t size; /* of the whole block */
    uint64_t seed;
    unsigned char bytes[];
};

static _Atomic(struct parcel *) shared[shared_places];
static uint64_t first_seed;
static int turns;

/* Log-uniform from the parcel's own size to 64 MiB; the larger the block, the rarer. */
static size_t draw_size(uint64_t *dice)
{
    unsigned octave = (unsigned)(roll(dice) % (roll(dice) % 8 ? 18 : 23));
    return sizeof(struct parcel) + 1 + roll(dice) % ((size_t)16 << octave);
}

static struct parcel *seal(struct parcel *parcel, size_t size, uint64_t *dice)
{
    CHECK(parcel != NULL);
    parcel->size = size;
    parcel->seed = roll(dice);
    stamp(parcel->bytes, size - sizeof *parcel, parcel->seed);
    return parcel;
}

static void verify(struct parcel *parcel)
{
    CHECK(malloc_usable_size(parcel) >= parcel->size);
    CHECK(stamped(parcel->bytes, parcel->size - sizeof *parcel, parcel->seed));
}

static struct parcel *draw(uint64_t *dice)
{
    size_t size = draw_size(dice), align = (size_t)16 << roll(dice) % 18;
    void *block = NULL;
    switch (roll(dice) % 6) {
    case 0:
        block = calloc(1, size);
        CHECK(block != NULL && all_zero(block, size));
        break;
    case 1:
        CHECK(posix_memalign(&block, align, size) == 0 && (uintptr_t)block % align == 0);
        break;
    default:
        block = malloc(size);
    }
    return seal((struct parcel *)block, size, dice);
}

static struct parcel *resize(struct parcel *parcel, uint64_t *dice)
{
    size_t size = draw_size(dice), stamped_bytes = parcel->size - sizeof *parcel;
    parcel = (struct parcel *)realloc(parcel, size);
    CHECK(parcel != NULL);
    CHECK(stamped_part(parcel->bytes, size - sizeof *parcel, stamped_bytes, parcel->seed));
    return seal(parcel, size, dice);
}

static void *work(void *number)
{
    uint64_t dice = first_seed * threads + (uintptr_t)number;
    struct parcel *own[own_places] = {0};
    for (int turn = 0; turn < turns; turn++) {
        struct parcel **mine = &own[roll(&dice) % own_places];
        if (*mine == NULL)
            *mine = draw(&dice);
        verify(*mine);
        switch (roll(&dice) % 4) {
        case 0:
            *mine = resize(*mine, &dice);
            break;
        case 1:
            free(*mine);
            *mine = NULL;
            break;
        default:
            *mine = atomic_exchange(&shared[roll(&dice) % shared_places], *mine);
        }
    }
    for (size_t i = 0; i < own_places; i++)
        free(own[i]);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t thread[threads];
    first_seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    turns = argc > 2 ? atoi(argv[2]) : 1500;
    for (int life = 0; life < 3; life++) { /* threads die holding full caches, blocks outlive them */
        for (uintptr_t t = 0; t < threads; t++)
            CHECK(pthread_create(&thread[t], NULL, work, (void *)(t + threads * (uintptr_t)life)) == 0);
        for (size_t t = 0; t < threads; t++)
            CHECK(pthread_join(thread[t], NULL) == 0);
    }
    for (size_t i = 0; i < shared_places; i++) {
        if (shared[i] != NULL)
            verify(shared[i]);
        free(shared[i]);
    }
    return done();
}
