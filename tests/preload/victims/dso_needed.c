/* SPDX-License-Identifier: MIT */
/* Blocks cross between the program and a library it is linked with, both ways. */
#include "dso.h"
#include "victim.h"
#include <pthread.h>

static void *use(void *unused)
{
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        void *theirs = dso_block(sizes[i]);
        stamp(theirs, sizes[i], i);
        theirs = realloc(theirs, sizes[i] + MIB);
        CHECK(stamped_part(theirs, sizes[i] + MIB, sizes[i], i));
        free(theirs);
        dso_free(make(sizes[i]));
    }
    return unused;
}

int main(void)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, use, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    use(NULL);
    return done();
}
