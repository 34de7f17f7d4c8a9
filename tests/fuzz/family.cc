// SPDX-License-Identifier: MIT
// Everything that gives and takes memory, driven by bytes, against a shadow that knows what each block must hold.
//
// A victim like those of tests/preload: it knows nothing of bufpool and must end well with any allocator. Threads of
// their own make some of the steps, and children look at all blocks and go on for a while.
#define VICTIM_STOP() abort()
#include "victim.h"
#include <algorithm>
#include <dlfcn.h>
#include <new>
#include <pthread.h>

#include "fuzz.h"

namespace {

constexpr size_t blocks_max = 40, depth_max = 3, forks_max = 2, small_align = 16;

enum class Kind { c, c_aligned, plain, array, aligned, aligned_array };

struct Block {
    char *p;
    size_t size;
    size_t align; // that was asked for
    uint64_t seed;
    Kind kind;
};

struct Story {
    const uint8_t *data;
    size_t size;
    size_t at;
    size_t steps;
    size_t forks;
    size_t depth;
    Block blocks[blocks_max];
};

Story story;

volatile size_t far_too_many = (size_t)1 << 33; // the compiler need not know

unsigned next()
{
    return story.at < story.size ? story.data[story.at++] : 0;
}

// Of every magnitude up to 4 MiB, often around a page, sometimes none.
size_t next_size()
{
    unsigned shape = next();
    size_t fraction = next();
    size_t magnitude = (size_t)1 << shape % 22;
    size_t size = magnitude + (magnitude * fraction >> 8);
    unsigned place = shape >> 5;
    return place < 4 ? size : place == 4 ? fraction / 128 : ((size + 4095) & ~(size_t)4095) + place - 6;
}

size_t next_align()
{
    return (size_t)1 << next() % 23;
}

template <typename Function> Function find(const char *name)
{
    void *symbol = dlsym(RTLD_DEFAULT, name);
    Function function;
    memcpy(&function, &symbol, sizeof function);
    return function;
}

void check(const Block &block)
{
    CHECK(malloc_usable_size(block.p) >= block.size);
    CHECK(stamped(block.p, block.size, block.seed));
}

// Takes what a request returned, which may have failed; the program then writes all of it.
void own(Block &block, void *p, size_t size, size_t align, Kind kind)
{
    if (!p)
        return;
    size_t natural = size < small_align ? 1 : small_align;
    CHECK((uintptr_t)p % std::max(align, natural) == 0);
    block = Block{static_cast<char *>(p), size, align, mix(story.steps + 1), kind};
    stamp(block.p, size, block.seed);
    check(block);
}

void make_c(Block &block, unsigned how)
{
    size_t size = next_size();
    void *p = nullptr;
    size_t align = 1;
    Kind kind = Kind::c;
    switch (how % 10) {
    case 0: {
        size_t count = 1 + next() % 7;
        size_t each = size / count;
        p = calloc(count, each);
        size = count * each;
        CHECK(!p || all_zero(p, size));
        break;
    }
    case 1:
        p = reallocarray(nullptr, size, 1);
        break;
    case 2:
        align = std::max(next_align(), sizeof(void *));
        CHECK(posix_memalign(&p, align, size) == 0 || !p);
        break;
    case 3:
        align = next_align();
        kind = Kind::c_aligned;
        size = (size + align - 1) & ~(align - 1);
        p = aligned_alloc(align, size);
        break;
    case 4:
        align = next_align();
        p = memalign(align, size);
        break;
    case 5:
        align = 4096;
        p = valloc(size);
        break;
    case 6:
        align = 4096;
        p = pvalloc(size);
        break;
    case 7:
        p = realloc(nullptr, size);
        break;
    case 8:
        // Far too much: a clean failure.
        errno = 0;
        p = malloc(PTRDIFF_MAX - size);
        CHECK(!p && errno == ENOMEM);
        CHECK(!calloc(far_too_many, far_too_many + size));
        CHECK(!reallocarray(nullptr, far_too_many, far_too_many + size));
        return;
    default:
        p = malloc(size);
        break;
    }
    own(block, p, size, align, kind);
}

void make_cxx(Block &block, unsigned how)
{
    size_t size = next_size();
    auto align = std::align_val_t(std::max(next_align(), (size_t)32));
    switch (how % 8) {
    case 0:
        return own(block, ::operator new(size), size, 1, Kind::plain);
    case 1:
        return own(block, ::operator new[](size), size, 1, Kind::array);
    case 2:
        return own(block, ::operator new(size, std::nothrow), size, 1, Kind::plain);
    case 3:
        return own(block, ::operator new[](size, std::nothrow), size, 1, Kind::array);
    case 4:
        return own(block, ::operator new(size, align), size, (size_t)align, Kind::aligned);
    case 5:
        return own(block, ::operator new[](size, align), size, (size_t)align, Kind::aligned_array);
    case 6:
        return own(block, ::operator new(size, align, std::nothrow), size, (size_t)align, Kind::aligned);
    default:
        return own(block, ::operator new[](size, align, std::nothrow), size, (size_t)align, Kind::aligned_array);
    }
}

void drop(Block &block, unsigned how)
{
    static const auto free_sized_ = find<void (*)(void *, size_t)>("free_sized");
    static const auto free_aligned_sized_ = find<void (*)(void *, size_t, size_t)>("free_aligned_sized");
    static const auto cfree_ = find<void (*)(void *)>("cfree");
    Block old = block;
    block.p = nullptr;
    auto align = std::align_val_t(old.align);
    errno = 4321;
    switch (old.kind) {
    case Kind::c:
        if (how % 4 == 0 && cfree_)
            cfree_(old.p);
        else if (how % 4 == 1 && free_sized_ && old.align == 1)
            free_sized_(old.p, old.size);
        else
            free(old.p);
        break;
    case Kind::c_aligned:
        if (how % 2 == 0 && free_aligned_sized_)
            free_aligned_sized_(old.p, old.align, old.size);
        else
            free(old.p);
        break;
    case Kind::plain:
        if (how % 3 == 0)
            ::operator delete(old.p, old.size);
        else if (how % 3 == 1)
            ::operator delete(old.p, std::nothrow);
        else
            ::operator delete(old.p);
        break;
    case Kind::array:
        if (how % 3 == 0)
            ::operator delete[](old.p, old.size);
        else if (how % 3 == 1)
            ::operator delete[](old.p, std::nothrow);
        else
            ::operator delete[](old.p);
        break;
    case Kind::aligned:
        if (how % 3 == 0)
            ::operator delete(old.p, old.size, align);
        else if (how % 3 == 1)
            ::operator delete(old.p, align, std::nothrow);
        else
            ::operator delete(old.p, align);
        break;
    case Kind::aligned_array:
        if (how % 3 == 0)
            ::operator delete[](old.p, old.size, align);
        else if (how % 3 == 1)
            ::operator delete[](old.p, align, std::nothrow);
        else
            ::operator delete[](old.p, align);
        break;
    }
    CHECK(errno == 4321);
}

void change(Block &block, unsigned how)
{
    if (block.kind != Kind::c && block.kind != Kind::c_aligned)
        return drop(block, how);
    size_t size = std::max(next_size(), (size_t)1); // of none: allocators differ
    void *p = how % 3 == 0 ? reallocarray(block.p, 1, size) : realloc(block.p, size);
    if (!p)
        return check(block);
    CHECK(stamped_part(p, size, block.size, block.seed));
    own(block, p, size, 1, Kind::c);
}

void check_all()
{
    for (const Block &block : story.blocks)
        if (block.p)
            check(block);
}

void step();

void fork_now()
{
    if (story.forks++ >= forks_max)
        return;
    pid_t child = fork();
    if (child == 0) {
        check_all();
        for (size_t i = 0; i < blocks_max; i += 2)
            if (story.blocks[i].p)
                drop(story.blocks[i], 0);
        story.forks = forks_max;
        story.depth = depth_max;
        for (int i = 0; i < 8; i++)
            step();
        check_all();
        _exit(0);
    }
    reap(child);
}

void *live_elsewhere(void *)
{
    for (unsigned count = next() % 32; count > 0 && story.at < story.size; count--)
        step();
    return nullptr;
}

// The next steps are another thread's, which ends after them.
void pass_on()
{
    if (story.depth >= depth_max)
        return;
    story.depth++;
    pthread_t thread;
    CHECK(pthread_create(&thread, nullptr, live_elsewhere, nullptr) == 0);
    CHECK(pthread_join(thread, nullptr) == 0);
    story.depth--;
}

void step()
{
    unsigned kind = next() % 64;
    unsigned how = next();
    Block &block = story.blocks[next() % blocks_max];
    story.steps++;
    if (block.p)
        check(block);
    if (kind < 58) {
        if (!block.p)
            kind % 4 == 0 ? make_cxx(block, how) : make_c(block, how);
        else if (kind < 24)
            change(block, how);
        else
            drop(block, how);
    } else if (kind < 61) {
        pass_on();
    } else if (kind == 61) {
        fork_now();
    } else if (kind == 62) {
        (void)malloc_trim(how);
        check_all();
    } else {
        (void)mallinfo2();
        free(nullptr);
        ::operator delete(nullptr);
    }
}

} // namespace

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    story = Story{};
    story.data = data;
    story.size = size;
    while (story.at < story.size)
        step();
    check_all();
    for (Block &block : story.blocks)
        if (block.p)
            drop(block, 2);
    return 0;
}
