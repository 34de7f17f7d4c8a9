// SPDX-License-Identifier: MIT
// A new that cannot be had calls the new_handler, then throws bad_alloc; the nothrow forms return null.
#include "victim.h"
#include <new>

static int handled;

static void handler()
{
    if (++handled % 3 == 0)
        throw std::bad_alloc();
}

template <typename F> static bool throws(F make)
{
    try {
        make();
        return false;
    } catch (const std::bad_alloc &) {
        return true;
    }
}

int main()
{
    const size_t huge[] = {size_t(PTRDIFF_MAX) - 4096, size_t(PTRDIFF_MAX) + 1, SIZE_MAX - 4096};
    for (size_t size : huge) {
        std::set_new_handler(nullptr);
        CHECK(throws([=] { return ::operator new(size); }));
        CHECK(throws([=] { return ::operator new[](size); }));
        CHECK(throws([=] { return ::operator new(size, std::align_val_t(4096)); }));
        CHECK(throws([=] { return ::operator new[](size, std::align_val_t(4096)); }));
        CHECK(::operator new(size, std::nothrow) == nullptr);
        CHECK(::operator new[](size, std::nothrow) == nullptr);
        CHECK(::operator new(size, std::align_val_t(64), std::nothrow) == nullptr);
        std::set_new_handler(handler);
        handled = 0;
        CHECK(throws([=] { return ::operator new(size); }));
        CHECK(handled == 3); /* twice in vain, then the handler threw */
        CHECK(::operator new(size, std::nothrow) == nullptr);
        CHECK(handled == 6);
        std::set_new_handler(nullptr);
    }
    exercise(1);
    return done();
}
