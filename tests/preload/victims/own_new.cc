// SPDX-License-Identifier: MIT
/* A program with a malloc of its own, and C++ objects: these come from it, too, as those of the C++ library do. */
#include "bump.h"
#include "victim.h"
#include <new>
#include <string>

static void check(void *block)
{
    CHECK(block != NULL && bump_has(block));
    free(block); /* as is done, though it should not be */
}

int main()
{
    for (size_t size : {size_t(1), 100 * KIB, 3 * MIB}) {
        check(operator new(size));
        check(operator new[](size));
        check(operator new(size, std::nothrow));
        check(operator new[](size, std::nothrow));
        delete[] new char[size];
        std::string text(size, 'x');
        CHECK(bump_has(text.data()) || size == 1);
    }
    return done();
}
