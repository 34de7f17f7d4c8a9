/* SPDX-License-Identifier: MIT */
#include "real.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "boot.h"
#include "options.h"

static void *first_malloc(size_t size);
static void first_free(void *p);
static void *first_calloc(size_t count, size_t size);
static void *first_realloc(void *p, size_t size);
static void *first_memalign(size_t align, size_t size);
static void *first_aligned_alloc(size_t align, size_t size);
static int first_posix_memalign(void **ret_p, size_t align, size_t size);
static size_t first_usable_size(void *p);

struct bp_real bp_real = {
    .malloc = first_malloc,
    .free = first_free,
    .calloc = first_calloc,
    .realloc = first_realloc,
    .memalign = first_memalign,
    .aligned_alloc = first_aligned_alloc,
    .posix_memalign = first_posix_memalign,
    .malloc_usable_size = first_usable_size,
    .programs_realloc = realloc,
};

/* The underlying allocator's own functions, where the table above holds one that looks out for boot's blocks. */
static struct bp_real next;
struct bp_real bp_real_underlying;

static void *underlying_handle; /* of the object that all entry points come from; RTLD_NEXT unless asked otherwise */
static const char *complaint;  /* why it is not the one that was asked for */

void *bp_real_find(const char *name)
{
    return dlsym(underlying_handle ? underlying_handle : RTLD_NEXT, name);
}

void *bp_real_find_next(const char *name)
{
    if (!bp_real_is_found())
        return NULL;
    int saved_errno = errno;
    void *symbol = dlsym(RTLD_NEXT, name);
    if (!symbol)
        (void)dlerror(); /* the failure is not the program's */
    errno = saved_errno;
    return symbol;
}

/* A function pointer from dlsym(), stored without a cast that ISO C has no meaning for. */
static void find_into(void *ret_function, const char *name)
{
    void *symbol = bp_real_find(name);
    memcpy(ret_function, &symbol, sizeof symbol);
}

/* The load address of the object that defines `symbol`. */
static void *object_of(const void *symbol)
{
    Dl_info info;
    return symbol && dladdr(symbol, &info) ? info.dli_fbase : NULL;
}

/* The C library's malloc: looking for the object of a symbol takes longer than looking for the symbol. */
extern void *__libc_malloc(size_t size); // NOLINT(bugprone-reserved-identifier)

/* An allocator without a malloc_usable_size of its own leaves programs with another one's, which they do not call. */
static bool has_own_usable_size(void)
{
    void *usable_size;
    void *allocate;
    memcpy((void *)&allocate, (const void *)&next.malloc, sizeof allocate);
    memcpy((void *)&usable_size, (const void *)&next.malloc_usable_size, sizeof usable_size);
    return next.malloc == __libc_malloc || object_of(allocate) == object_of(usable_size);
}

/*
 * The handle of an object that is in the process. By the next dlopen() after us: a profiler that was preloaded before
 * us has one that takes a lock, which it may hold while it allocates and so calls us. NULL if there is none. It is not
 * closed, as what is found there is called later.
 */
static void *open_loaded(const char *path)
{
    void *(*open_object)(const char *path, int mode);
    void *symbol = dlsym(RTLD_NEXT, "dlopen");
    memcpy((void *)&open_object, (const void *)&symbol, sizeof symbol);
    return open_object ? open_object(path, RTLD_LAZY | RTLD_NOLOAD) : NULL;
}

/* The address of argc on the initial stack, by the dynamic loader. */
extern void *__libc_stack_end; // NOLINT(bugprone-reserved-identifier)

/* The environment, also before the C library has set `environ`: it follows the arguments on the initial stack. */
static char *const *environment(void)
{
    if (environ)
        return environ;
    const uintptr_t *argc = __libc_stack_end;
    return (char *const *)(argc + 1 + *argc + 1);
}

/* Makes the object that defines `marker` the underlying one. Returns what is in the way, or NULL. */
static const char *choose_definer_of(const char *marker, const char *absent)
{
    Dl_info info;
    void *symbol = dlsym(RTLD_NEXT, marker);
    if (!symbol || !dladdr(symbol, &info))
        return absent;
    if (info.dli_fbase == object_of(dlsym(RTLD_NEXT, "malloc")))
        return NULL; /* it is the next one anyway */
    /* Before the C library's own constructor, dlopen() would start it without its environment. */
    if (!environ)
        return "the program allocates before the C library has started, and another allocator is the next one";
    underlying_handle = open_loaded(info.dli_fname);
    return underlying_handle ? NULL : absent;
}

static void choose_object(void)
{
    _Alignas(BP_CACHELINE_BYTES) static struct bp_options options; /* away from what is small */
    if (getauxval(AT_SECURE) || !bp_options_peek(&options, environment(), "UNDERLYING"))
        return;
    if (options.underlying == BP_UNDERLYING_LIBC)
        complaint = choose_definer_of("gnu_get_libc_version", "the C library is not in this process");
    if (options.underlying == BP_UNDERLYING_JEMALLOC)
        complaint = choose_definer_of("mallocx",
                                      "it is not in this process and cannot be loaded later (static TLS); start with "
                                      "LD_PRELOAD=\"libbufpool_preload.so libjemalloc.so.2\"");
}

/* --- blocks of boot, for as long as they live ------------------------------------------------------------------- */

static void boot_aware_free(void *p)
{
    if (BP_LIKELY(!bp_boot_contains(p)))
        next.free(p);
}

static void *boot_aware_realloc(void *p, size_t size)
{
    if (BP_LIKELY(!bp_boot_contains(p)))
        return next.realloc(p, size);
    void *moved = next.malloc(size);
    if (moved)
        memcpy(moved, p, bp_min(size, bp_boot_size_bytes(p)));
    return moved;
}

static size_t boot_aware_usable_size(void *p)
{
    return bp_boot_contains(p) ? bp_boot_size_bytes(p) : next.malloc_usable_size(p);
}

/* --- the search --------------------------------------------------------------------------------------------------- */

enum search { NOT_YET, RUNNING, DONE };
static enum search search;

/* Finds the underlying allocator. False while the search is running: it called us. */
static bool find_underlying(void)
{
    if (search == DONE)
        return true;
    if (search == RUNNING)
        return false;
    search = RUNNING;
    int saved_errno = errno;
    choose_object();
    find_into((void *)&next.malloc, "malloc");
    find_into((void *)&next.free, "free");
    find_into((void *)&next.calloc, "calloc");
    find_into((void *)&next.realloc, "realloc");
    find_into((void *)&next.memalign, "memalign");
    find_into((void *)&next.aligned_alloc, "aligned_alloc");
    find_into((void *)&next.posix_memalign, "posix_memalign");
    find_into((void *)&next.malloc_usable_size, "malloc_usable_size");
    void *programs_realloc = dlsym(RTLD_DEFAULT, "realloc");
    memcpy((void *)&next.programs_realloc, &programs_realloc, sizeof programs_realloc);
    next.measures = has_own_usable_size();
    errno = saved_errno;
    search = DONE;

    bp_real_underlying = next;
    if (bp_boot_used()) {
        bp_real_underlying.free = boot_aware_free;
        bp_real_underlying.realloc = boot_aware_realloc;
        bp_real_underlying.malloc_usable_size = boot_aware_usable_size;
    }
    bp_real = bp_real_underlying;
    return true;
}

bool bp_real_is_found(void)
{
    return find_underlying();
}

const char *bp_real_complaint(void)
{
    (void)find_underlying();
    return complaint;
}

static void *boot_or_enomem(size_t size, size_t align)
{
    void *p = bp_boot_alloc(size, align);
    if (!p)
        errno = ENOMEM;
    return p;
}

static void *first_malloc(size_t size)
{
    return find_underlying() ? bp_real.malloc(size) : boot_or_enomem(size, 1);
}

static void first_free(void *p)
{
    if (p && find_underlying())
        bp_real.free(p);
}

static void *first_calloc(size_t count, size_t size)
{
    if (find_underlying())
        return bp_real.calloc(count, size);
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return boot_or_enomem(bytes, 1);
}

static void *first_realloc(void *p, size_t size)
{
    if (find_underlying())
        return bp_real.realloc(p, size);
    void *moved = boot_or_enomem(size, 1);
    if (moved && p)
        memcpy(moved, p, bp_min(size, bp_boot_size_bytes(p)));
    return moved;
}

static void *first_memalign(size_t align, size_t size)
{
    return find_underlying() ? bp_real.memalign(align, size) : boot_or_enomem(size, align);
}

static void *first_aligned_alloc(size_t align, size_t size)
{
    return find_underlying() ? bp_real.aligned_alloc(align, size) : boot_or_enomem(size, align);
}

static int first_posix_memalign(void **ret_p, size_t align, size_t size)
{
    if (find_underlying())
        return bp_real.posix_memalign(ret_p, align, size);
    void *p = bp_boot_alloc(size, align);
    if (!p)
        return ENOMEM;
    *ret_p = p;
    return 0;
}

static size_t first_usable_size(void *p)
{
    return find_underlying() ? bp_real.malloc_usable_size(p) : bp_boot_contains(p) ? bp_boot_size_bytes(p) : 0;
}

/* --- C++ operators ------------------------------------------------------------------------------------------------ */

void *bp_real_find_operator(const char *name)
{
    void *symbol = bp_real_find_next(name);
    if (!symbol)
        return NULL;
    void *object = object_of(symbol);
    void *underlying_malloc;
    memcpy((void *)&underlying_malloc, (const void *)&next.malloc, sizeof underlying_malloc);
    bool is_plain = object == object_of(dlsym(RTLD_DEFAULT, "__cxa_throw")) || object == object_of(underlying_malloc) ||
                    object == object_of(dlsym(RTLD_NEXT, "malloc"));
    return is_plain ? NULL : symbol;
}

/* What a program at a fixed address shows of a function that it takes the address of is only its jump to it. */
bool bp_real_is_replaced(const char *name)
{
    void *used = dlsym(RTLD_DEFAULT, name);
    Dl_info info;
    void *entry = NULL;
    if (!used || dladdr1(used, &info, &entry, RTLD_DL_SYMENT) == 0 || !entry)
        return false;
    const ElfW(Sym) *symbol = entry;
    return symbol->st_shndx != SHN_UNDEF && info.dli_fbase != object_of(&bp_real);
}

void *bp_real_find_in_cxx_library(const char *name)
{
    void *thrower = dlsym(RTLD_DEFAULT, "__cxa_throw");
    Dl_info info;
    void *handle = open_loaded(thrower && dladdr(thrower, &info) ? info.dli_fname : "libstdc++.so.6");
    return handle ? dlsym(handle, name) : NULL;
}
