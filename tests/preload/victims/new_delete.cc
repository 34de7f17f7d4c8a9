// SPDX-License-Identifier: MIT
// Every form of new and delete, at every size; blocks of new are not told from those of malloc.
#include "victim.h"
#include <memory>
#include <new>
#include <string>
#include <vector>

template <typename T> static T *seen(T *block, size_t size, size_t align)
{
    CHECK(block != nullptr);
    CHECK((uintptr_t)block % align == 0);
    CHECK(malloc_usable_size(block) >= size);
    stamp(block, size, size);
    CHECK(stamped(block, size, size));
    return block;
}

int main()
{
    for (size_t size : sizes) {
        for (int again = 0; again < 2; again++) {
            size_t small = size < 16 ? 8 : 16;
            ::operator delete(seen(::operator new(size), size, small));
            ::operator delete(seen(::operator new(size), size, small), size);
            ::operator delete(seen(::operator new(size, std::nothrow), size, small), std::nothrow);
            ::operator delete[](seen(::operator new[](size), size, small));
            ::operator delete[](seen(::operator new[](size), size, small), size);
            ::operator delete[](seen(::operator new[](size, std::nothrow), size, small), std::nothrow);
            for (size_t align = 32; align <= 64 * MIB; align *= 8) {
                auto to = std::align_val_t(align);
                ::operator delete(seen(::operator new(size, to), size, align), to);
                ::operator delete(seen(::operator new(size, to), size, align), size, to);
                ::operator delete(seen(::operator new(size, to, std::nothrow), size, align), to, std::nothrow);
                ::operator delete[](seen(::operator new[](size, to), size, align), to);
                ::operator delete[](seen(::operator new[](size, to), size, align), size, to);
                ::operator delete[](seen(::operator new[](size, to, std::nothrow), size, align), to, std::nothrow);
            }
        }
    }
    ::operator delete(nullptr);
    ::operator delete[](nullptr, 5 * MIB);
    std::vector<std::string> words;
    for (int i = 0; i < 200000; i++)
        words.push_back(std::to_string(i));
    auto pages = std::make_unique<char[]>(3 * MIB);
    CHECK(all_zero(pages.get(), 3 * MIB) && words[199999] == "199999");
    return done();
}
