// SPDX-License-Identifier: MIT
// A program that replaces operator new keeps its own, also for what libstdc++ allocates on its behalf.
#include "victim.h"
#include <new>
#include <sstream>
#include <string>
#include <vector>

static size_t news, deletes;

static void *mark(size_t size)
{
    auto *header = static_cast<size_t *>(make(size + 64));
    header[0] = 0x5eed;
    news++;
    return header + 8;
}

static void unmark(void *block) noexcept
{
    if (block == nullptr)
        return;
    auto *header = static_cast<size_t *>(block) - 8;
    CHECK(header[0] == 0x5eed); /* else the block came from someone else's new */
    deletes++;
    free(header);
}

void *operator new(size_t size)
{
    return mark(size);
}
void *operator new[](size_t size)
{
    return mark(size);
}
void operator delete(void *block) noexcept
{
    unmark(block);
}
void operator delete[](void *block) noexcept
{
    unmark(block);
}
void operator delete(void *block, size_t) noexcept
{
    unmark(block);
}
void operator delete[](void *block, size_t) noexcept
{
    unmark(block);
}

int main(int argc, char **)
{
    bool nothrow = argc > 1; /* the library's nothrow new has to come to our new */
    {
        std::vector<char> vector(4 * MIB, 'x');
        std::string text(3 * MIB, 'y');
        std::ostringstream stream;
        for (int i = 0; i < 10; i++)
            stream << text.substr(0, 300 * KIB);
        CHECK(stream.str().size() == 3000 * KIB && news >= 13);
        if (nothrow)
            delete[] new (std::nothrow) char[2 * MIB];
    }
    CHECK(news == deletes);
    return done();
}
