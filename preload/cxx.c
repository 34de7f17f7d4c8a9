/* SPDX-License-Identifier: MIT */
/*
 * Entry points of the C++ library: operator new and delete.
 *
 * In most programs they call malloc and free and would reach us anyway. jemalloc, tcmalloc and TBB define their own:
 * with one of them underneath, large objects of C++ programs would pass us by. A request goes to the pool if large,
 * else to malloc below; a failure goes to the C++ library's operator, which calls the new-handler and throws.
 *
 * The names are those of the Itanium C++ ABI for 64-bit machines (m = unsigned long).
 *
 * Layer: P3.
 */
#include <stdlib.h>

#include "entry.h"
#include "process.h"

/* What a nothrow argument refers to; never looked into. */
struct nothrow;

typedef void *new_function(size_t size);
typedef void *new_nothrow_function(size_t size, const struct nothrow *tag);
typedef void *new_aligned_function(size_t size, size_t align);
typedef void *new_aligned_nothrow_function(size_t size, size_t align, const struct nothrow *tag);
typedef void delete_function(void *p);
typedef void delete_sized_function(void *p, size_t size);
typedef void delete_nothrow_function(void *p, const struct nothrow *tag);

/*
 * Operators that do more than call malloc and free; NULL where there is none. Looked for once.
 *
 * Either some library defines its own: then what is not large goes there. Or the program itself replaces the basic
 * pair: then its definitions are called without us, and all other forms must reach them as the C++ library's do. Or it
 * has a malloc of its own, or one that goes on to ours: that, too, the C++ library's reach.
 */
static struct {
    _Atomic(bool) searched;
    bool replaced; /* by the program: nothing is ours then */
    new_function *new_;
    new_function *new_array;
    new_nothrow_function *new_nothrow;
    new_nothrow_function *new_array_nothrow;
    delete_function *delete_;
    delete_function *delete_array;
    delete_sized_function *delete_sized;
    delete_sized_function *delete_array_sized;
    delete_nothrow_function *delete_nothrow;
    delete_nothrow_function *delete_array_nothrow;
} custom;

static void find_into(void *ret_function, void *symbol)
{
    memcpy(ret_function, &symbol, sizeof symbol);
}

static void *find_operator(const char *name)
{
    return custom.replaced ? bp_real_find_in_cxx_library(name) : bp_real_find_operator(name);
}

static bool is_replaced(void)
{
    return bp_real_is_replaced("_Znwm") || bp_real_is_replaced("_ZdlPv") || bp_real_is_replaced("malloc");
}

BP_COLD static void find_custom(void)
{
    custom.replaced = is_replaced();
    find_into((void *)&custom.new_, find_operator("_Znwm"));
    find_into((void *)&custom.new_array, find_operator("_Znam"));
    find_into((void *)&custom.new_nothrow, find_operator("_ZnwmRKSt9nothrow_t"));
    find_into((void *)&custom.new_array_nothrow, find_operator("_ZnamRKSt9nothrow_t"));
    find_into((void *)&custom.delete_, find_operator("_ZdlPv"));
    find_into((void *)&custom.delete_array, find_operator("_ZdaPv"));
    find_into((void *)&custom.delete_sized, find_operator("_ZdlPvm"));
    find_into((void *)&custom.delete_array_sized, find_operator("_ZdaPvm"));
    find_into((void *)&custom.delete_nothrow, find_operator("_ZdlPvRKSt9nothrow_t"));
    find_into((void *)&custom.delete_array_nothrow, find_operator("_ZdaPvRKSt9nothrow_t"));
    bp_store_release(&custom.searched, true); /* pairs with acquire in have_custom() */
}

/* Is there where a C++ library is. */
extern void __cxa_throw(void) __attribute__((weak)); // NOLINT(bugprone-reserved-identifier)

/*
 * At the start, for the reasons of ranges.c. Not where the program's own operators must be kept company by the C++
 * library's, as dlopen() would start that one, perhaps before its time.
 */
__attribute__((constructor)) static void find_early(void)
{
    if (is_replaced())
        return;
    if (__cxa_throw)
        find_custom();
    else
        bp_store_release(&custom.searched, true); /* pairs with acquire in have_custom() */
}

BP_ALWAYS_INLINE void have_custom(void)
{
    if (BP_UNLIKELY(!bp_load_acquire(&custom.searched)))
        find_custom();
}

/* Is the request for an operator that is not ours? */
static bool is_custom(size_t size)
{
    return custom.replaced || size < bp_load_relaxed(&bp_threshold_bytes);
}

/* Memory without the C++ library's part, or NULL. */
static void *allocate(size_t size)
{
    return malloc(size ? size : 1);
}

static void *allocate_aligned(size_t size, size_t align)
{
    /* aligned_alloc() of some allocators wants a multiple; memalign() of none does. */
    return memalign(align, size ? size : 1);
}

#define FAIL(function_type, name, ...)                                                                                 \
    do {                                                                                                               \
        function_type *next = NULL;                                                                                    \
        find_into((void *)&next, bp_real_find_in_cxx_library(name));                                                   \
        return next ? next(__VA_ARGS__) : NULL;                                                                        \
    } while (0)

BP_EXPORT void *operator_new(size_t size) __asm__("_Znwm");
void *operator_new(size_t size)
{
    have_custom();
    if (custom.new_ && is_custom(size))
        return custom.new_(size);
    void *p = allocate(size);
    if (BP_LIKELY(p != NULL))
        return p;
    FAIL(new_function, "_Znwm", size);
}

BP_EXPORT void *operator_new_array(size_t size) __asm__("_Znam");
void *operator_new_array(size_t size)
{
    have_custom();
    if (custom.new_array && is_custom(size))
        return custom.new_array(size);
    void *p = allocate(size);
    if (BP_LIKELY(p != NULL))
        return p;
    FAIL(new_function, "_Znam", size);
}

BP_EXPORT void *operator_new_nothrow(size_t size, const struct nothrow *tag) __asm__("_ZnwmRKSt9nothrow_t");
void *operator_new_nothrow(size_t size, const struct nothrow *tag)
{
    have_custom();
    if (custom.new_nothrow && is_custom(size))
        return custom.new_nothrow(size, tag);
    void *p = allocate(size);
    if (BP_LIKELY(p != NULL))
        return p;
    FAIL(new_nothrow_function, "_ZnwmRKSt9nothrow_t", size, tag); /* calls our operator new, and catches */
}

BP_EXPORT void *operator_new_array_nothrow(size_t size, const struct nothrow *tag) __asm__("_ZnamRKSt9nothrow_t");
void *operator_new_array_nothrow(size_t size, const struct nothrow *tag)
{
    have_custom();
    if (custom.new_array_nothrow && is_custom(size))
        return custom.new_array_nothrow(size, tag);
    void *p = allocate(size);
    if (BP_LIKELY(p != NULL))
        return p;
    FAIL(new_nothrow_function, "_ZnamRKSt9nothrow_t", size, tag);
}

BP_EXPORT void *operator_new_aligned(size_t size, size_t align) __asm__("_ZnwmSt11align_val_t");
void *operator_new_aligned(size_t size, size_t align)
{
    void *p = allocate_aligned(size, align);
    if (BP_LIKELY(p != NULL))
        return p;
    FAIL(new_aligned_function, "_ZnwmSt11align_val_t", size, align);
}

BP_EXPORT void *operator_new_array_aligned(size_t size, size_t align) __asm__("_ZnamSt11align_val_t");
void *operator_new_array_aligned(size_t size, size_t align)
{
    void *p = allocate_aligned(size, align);
    if (BP_LIKELY(p != NULL))
        return p;
    FAIL(new_aligned_function, "_ZnamSt11align_val_t", size, align);
}

BP_EXPORT void *operator_new_aligned_nothrow(size_t size, size_t align, const struct nothrow *tag)
    __asm__("_ZnwmSt11align_val_tRKSt9nothrow_t");
void *operator_new_aligned_nothrow(size_t size, size_t align, const struct nothrow *tag)
{
    void *p = allocate_aligned(size, align);
    if (BP_LIKELY(p != NULL))
        return p;
    FAIL(new_aligned_nothrow_function, "_ZnwmSt11align_val_tRKSt9nothrow_t", size, align, tag);
}

BP_EXPORT void *operator_new_array_aligned_nothrow(size_t size, size_t align, const struct nothrow *tag)
    __asm__("_ZnamSt11align_val_tRKSt9nothrow_t");
void *operator_new_array_aligned_nothrow(size_t size, size_t align, const struct nothrow *tag)
{
    void *p = allocate_aligned(size, align);
    if (BP_LIKELY(p != NULL))
        return p;
    FAIL(new_aligned_nothrow_function, "_ZnamSt11align_val_tRKSt9nothrow_t", size, align, tag);
}

/* --- delete ----------------------------------------------------------------------------------------------------- */

/* Blocks of ours are ours whatever operator made them, unless the program has operators of its own. */
static bool is_ours(const void *p)
{
    return !custom.replaced && bp_process_owns(p);
}

/* Operators that the program replaced may have asked for another size than they were. */
static void free_sized_block(void *p, size_t size, size_t align, const char *call)
{
    if (BP_UNLIKELY(custom.replaced))
        free(p);
    else
        bp_free_checked(p, size, align, call);
}

BP_EXPORT void operator_delete(void *p) __asm__("_ZdlPv");
void operator_delete(void *p)
{
    have_custom();
    if (BP_UNLIKELY(custom.delete_ != NULL) && !is_ours(p))
        custom.delete_(p);
    else
        free(p);
}

BP_EXPORT void operator_delete_array(void *p) __asm__("_ZdaPv");
void operator_delete_array(void *p)
{
    have_custom();
    if (BP_UNLIKELY(custom.delete_array != NULL) && !is_ours(p))
        custom.delete_array(p);
    else
        free(p);
}

BP_EXPORT void operator_delete_sized(void *p, size_t size) __asm__("_ZdlPvm");
void operator_delete_sized(void *p, size_t size)
{
    have_custom();
    if (BP_UNLIKELY(custom.delete_sized != NULL) && !is_ours(p))
        custom.delete_sized(p, size);
    else
        free_sized_block(p, size, 1, "operator delete");
}

BP_EXPORT void operator_delete_array_sized(void *p, size_t size) __asm__("_ZdaPvm");
void operator_delete_array_sized(void *p, size_t size)
{
    have_custom();
    if (BP_UNLIKELY(custom.delete_array_sized != NULL) && !is_ours(p))
        custom.delete_array_sized(p, size);
    else
        free_sized_block(p, size, 1, "operator delete[]");
}

BP_EXPORT void operator_delete_nothrow(void *p, const struct nothrow *tag) __asm__("_ZdlPvRKSt9nothrow_t");
void operator_delete_nothrow(void *p, const struct nothrow *tag)
{
    have_custom();
    if (BP_UNLIKELY(custom.delete_nothrow != NULL) && !is_ours(p))
        custom.delete_nothrow(p, tag);
    else
        free(p);
}

BP_EXPORT void operator_delete_array_nothrow(void *p, const struct nothrow *tag) __asm__("_ZdaPvRKSt9nothrow_t");
void operator_delete_array_nothrow(void *p, const struct nothrow *tag)
{
    have_custom();
    if (BP_UNLIKELY(custom.delete_array_nothrow != NULL) && !is_ours(p))
        custom.delete_array_nothrow(p, tag);
    else
        free(p);
}

/* Aligned blocks came from memalign(), which free() takes back. */
BP_EXPORT void operator_delete_aligned(void *p, size_t align) __asm__("_ZdlPvSt11align_val_t");
void operator_delete_aligned(void *p, size_t align)
{
    (void)align;
    free(p);
}

BP_EXPORT void operator_delete_array_aligned(void *p, size_t align) __asm__("_ZdaPvSt11align_val_t");
void operator_delete_array_aligned(void *p, size_t align)
{
    (void)align;
    free(p);
}

BP_EXPORT void operator_delete_sized_aligned(void *p, size_t size, size_t align) __asm__("_ZdlPvmSt11align_val_t");
void operator_delete_sized_aligned(void *p, size_t size, size_t align)
{
    free_sized_block(p, size, align, "operator delete");
}

BP_EXPORT void operator_delete_array_sized_aligned(void *p, size_t size, size_t align)
    __asm__("_ZdaPvmSt11align_val_t");
void operator_delete_array_sized_aligned(void *p, size_t size, size_t align)
{
    free_sized_block(p, size, align, "operator delete[]");
}

BP_EXPORT void operator_delete_aligned_nothrow(void *p, size_t align, const struct nothrow *tag)
    __asm__("_ZdlPvSt11align_val_tRKSt9nothrow_t");
void operator_delete_aligned_nothrow(void *p, size_t align, const struct nothrow *tag)
{
    (void)align;
    (void)tag;
    free(p);
}

BP_EXPORT void operator_delete_array_aligned_nothrow(void *p, size_t align, const struct nothrow *tag)
    __asm__("_ZdaPvSt11align_val_tRKSt9nothrow_t");
void operator_delete_array_aligned_nothrow(void *p, size_t align, const struct nothrow *tag)
{
    (void)align;
    (void)tag;
    free(p);
}
