/* SPDX-License-Identifier: MIT */
/*
 * Entry points of the C++ library: operator new and delete.
 *
 * In most programs they call malloc and free and would reach us anyway. jemalloc, tcmalloc and TBB define their own:
 * with one of them underneath, large objects of C++ programs would pass us by. A request goes to the pool if large,
 * else to malloc below; a failure goes to the C++ library's operator, which calls the new-handler and throws.
 * Operators that some library of the program defines for its own purposes keep every request that is not large.
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

/* The operators of some library of the program that does not just call malloc; looked for once. */
static struct {
    _Atomic(bool) searched;
    new_function *new_;
    new_function *new_array;
    delete_function *delete_;
    delete_function *delete_array;
} custom;

static void find_into(void *ret_function, void *symbol)
{
    memcpy(ret_function, &symbol, sizeof symbol);
}

BP_COLD static void find_custom(void)
{
    find_into((void *)&custom.new_, bp_real_find_operator("_Znwm"));
    find_into((void *)&custom.new_array, bp_real_find_operator("_Znam"));
    find_into((void *)&custom.delete_, bp_real_find_operator("_ZdlPv"));
    find_into((void *)&custom.delete_array, bp_real_find_operator("_ZdaPv"));
    bp_store_release(&custom.searched, true); /* pairs with acquire in have_custom() */
}

BP_ALWAYS_INLINE void have_custom(void)
{
    if (BP_UNLIKELY(!bp_load_acquire(&custom.searched)))
        find_custom();
}

static bool is_large(size_t size)
{
    return size >= bp_load_relaxed(&bp_threshold_bytes);
}

/* Memory without the C++ library's part, or NULL. */
static void *allocate(size_t size, new_function *custom_new)
{
    if (!is_large(size) && custom_new)
        return custom_new(size);
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
    void *p = allocate(size, custom.new_);
    if (BP_LIKELY(p != NULL))
        return p;
    FAIL(new_function, "_Znwm", size);
}

BP_EXPORT void *operator_new_array(size_t size) __asm__("_Znam");
void *operator_new_array(size_t size)
{
    have_custom();
    void *p = allocate(size, custom.new_array);
    if (BP_LIKELY(p != NULL))
        return p;
    FAIL(new_function, "_Znam", size);
}

BP_EXPORT void *operator_new_nothrow(size_t size, const struct nothrow *tag) __asm__("_ZnwmRKSt9nothrow_t");
void *operator_new_nothrow(size_t size, const struct nothrow *tag)
{
    have_custom();
    void *p = custom.new_ ? NULL : malloc(size ? size : 1);
    if (BP_LIKELY(p != NULL))
        return p;
    FAIL(new_nothrow_function, "_ZnwmRKSt9nothrow_t", size, tag); /* calls our operator new, and catches */
}

BP_EXPORT void *operator_new_array_nothrow(size_t size, const struct nothrow *tag) __asm__("_ZnamRKSt9nothrow_t");
void *operator_new_array_nothrow(size_t size, const struct nothrow *tag)
{
    have_custom();
    void *p = custom.new_array ? NULL : malloc(size ? size : 1);
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

/* Blocks of ours are ours whatever operator made them; the others go back to whoever made them. */
static void release(void *p, delete_function *custom_delete)
{
    if (BP_UNLIKELY(custom_delete != NULL) && !bp_arena_contains(&bp_process_pool.arena, p))
        custom_delete(p);
    else
        free(p);
}

BP_EXPORT void operator_delete(void *p) __asm__("_ZdlPv");
void operator_delete(void *p)
{
    have_custom();
    release(p, custom.delete_);
}

BP_EXPORT void operator_delete_array(void *p) __asm__("_ZdaPv");
void operator_delete_array(void *p)
{
    have_custom();
    release(p, custom.delete_array);
}

BP_EXPORT void operator_delete_sized(void *p, size_t size) __asm__("_ZdlPvm");
void operator_delete_sized(void *p, size_t size)
{
    (void)size;
    operator_delete(p);
}

BP_EXPORT void operator_delete_array_sized(void *p, size_t size) __asm__("_ZdaPvm");
void operator_delete_array_sized(void *p, size_t size)
{
    (void)size;
    operator_delete_array(p);
}

BP_EXPORT void operator_delete_nothrow(void *p, const struct nothrow *tag) __asm__("_ZdlPvRKSt9nothrow_t");
void operator_delete_nothrow(void *p, const struct nothrow *tag)
{
    (void)tag;
    operator_delete(p);
}

BP_EXPORT void operator_delete_array_nothrow(void *p, const struct nothrow *tag) __asm__("_ZdaPvRKSt9nothrow_t");
void operator_delete_array_nothrow(void *p, const struct nothrow *tag)
{
    (void)tag;
    operator_delete_array(p);
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
    (void)size;
    (void)align;
    free(p);
}

BP_EXPORT void operator_delete_array_sized_aligned(void *p, size_t size, size_t align)
    __asm__("_ZdaPvmSt11align_val_t");
void operator_delete_array_sized_aligned(void *p, size_t size, size_t align)
{
    (void)size;
    (void)align;
    free(p);
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
