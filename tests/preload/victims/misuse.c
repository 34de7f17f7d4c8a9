/* SPDX-License-Identifier: MIT */
/*
 * Does to a large block what must not be done. What comes of it is the caller's to see; a program that is let go on
 * must find its other blocks as they were.
 *
 * Arguments: the misuse, and how often.
 */
#include "victim.h"
#include <dlfcn.h>
#include <pthread.h>

enum { size = 1000000 };

static char *block, *freed, *other;

static void free_twice(void)
{
    free(freed);
}

/* By the hit path of another thread. */
static void *free_elsewhere(void *unused)
{
    char *own = make(size);
    free(own);
    free(freed);
    return unused;
}

static void free_twice_elsewhere(void)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, free_elsewhere, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

static void free_inside(void)
{
    free(block + 4096);
}

static void free_unaligned(void)
{
    free(block + 1);
}

static void free_inside_freed(void)
{
    free(freed + 4096);
}

static void free_nowhere(void)
{
    free(block + GIB);
}

static void realloc_freed(void)
{
    errno = 0;
    CHECK(!realloc(freed, 2 * size) && errno == EINVAL);
    CHECK(!realloc(freed, 10) && errno == EINVAL);
    CHECK(!realloc(freed, 0) && errno == EINVAL);
}

static void reallocarray_inside(void)
{
    CHECK(!reallocarray(block + 64, 3, size));
}

static void measure_freed(void)
{
    CHECK(malloc_usable_size(freed) == 0);
}

static void free_sized_wrong(void)
{
    void (*free_sized_)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "free_sized");
    CHECK(free_sized_ != NULL);
    free_sized_(make(size), 16);
}

static void free_aligned_sized_wrong(void)
{
    void (*free_)(void *, size_t, size_t) = (void (*)(void *, size_t, size_t))dlsym(RTLD_DEFAULT, "free_aligned_sized");
    CHECK(free_ != NULL);
    free_(make(size), GIB, size);
}

/* Right, though it may look odd: C lets a size be anything up to what may be used; the pointer goes round once more. */
static void nothing(void)
{
    void (*free_sized_)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "free_sized");
    char *one = make(size);
    CHECK(free_sized_ != NULL);
    free_sized_(one, malloc_usable_size(one));
    one = make(size);
    free_sized_(one, size);
}

static const struct {
    const char *name;
    void (*deed)(void);
} deeds[] = {
    {"free_twice", free_twice},
    {"free_twice_elsewhere", free_twice_elsewhere},
    {"free_inside", free_inside},
    {"free_unaligned", free_unaligned},
    {"free_inside_freed", free_inside_freed},
    {"free_nowhere", free_nowhere},
    {"realloc_freed", realloc_freed},
    {"reallocarray_inside", reallocarray_inside},
    {"measure_freed", measure_freed},
    {"free_sized_wrong", free_sized_wrong},
    {"free_aligned_sized_wrong", free_aligned_sized_wrong},
    {"nothing", nothing},
};

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    (void)free(make(size));
    block = make(size);
    other = make(size);
    freed = make(size);
    stamp(block, size, 1);
    stamp(other, size, 2);
    free(freed);
    for (int again = atoi(argv[2]); again > 0; again--)
        for (size_t i = 0; i < LENGTH(deeds); i++)
            if (strcmp(argv[1], "all") == 0 || strcmp(argv[1], deeds[i].name) == 0)
                deeds[i].deed();
    CHECK(stamped(block, size, 1));
    CHECK(stamped(other, size, 2));
    exercise(3);
    free(block);
    free(other);
    return done();
}
