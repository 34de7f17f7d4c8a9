// SPDX-License-Identifier: MIT
// Deletes a large object as one of another size: through a base class without a virtual destructor.
#include "victim.h"
#include <new>

struct Base {
    long first;
};

struct Derived : Base {
    char pages[2 * MIB];
};

struct alignas(4096) AlignedBase {
    char first;
};

struct AlignedDerived : AlignedBase {
    char pages[2 * MIB];
};

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    Base *object = new Derived;
    AlignedBase *aligned = new AlignedDerived;
    stamp(object, sizeof(Derived), 1);
    stamp(aligned, sizeof(AlignedDerived), 2);
    if (strcmp(argv[1], "plain") == 0) {
        delete object;
    } else if (strcmp(argv[1], "array") == 0) {
        ::operator delete[](static_cast<void *>(new char[5 * MIB]), 4 * MIB);
    } else if (strcmp(argv[1], "aligned") == 0) {
        delete aligned;
    } else {
        delete static_cast<Derived *>(object);
        delete static_cast<AlignedDerived *>(aligned);
    }
    exercise(1);
    return done();
}
