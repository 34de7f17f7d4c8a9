/* SPDX-License-Identifier: MIT */
/* Asks for nothing large. */
#include "victim.h"

int main(void)
{
    free(make(100));
    return done();
}
