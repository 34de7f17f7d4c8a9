/* SPDX-License-Identifier: MIT */
#include "fake_os.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "atomic.h"
#include "random.h"

struct fake_os fake_os = {.move_error = -EFAULT, .populate_error = -EINVAL, .allowed_nodes = 1};

static bool fails(struct fake_call *call)
{
    bool failed = false;
    bp_add_relaxed(&call->calls, 1u);
    if (call->skip > 0) {
        call->skip--;
        return false;
    }
    if (call->fail > 0) {
        call->fail -= call->fail != FAIL_ALWAYS;
        failed = true;
    }
    if (call->one_in > 0) {
        uint64_t state = bp_add_relaxed(&fake_os.random, RANDOM_STEP);
        failed = failed || random_mix(state) % call->one_in == 0;
    }
    bp_add_relaxed(&call->failed, (size_t)failed);
    return failed;
}

static void *note_mapped(void *address, size_t bytes)
{
    if (address)
        bp_add_relaxed(&fake_os.mapped_bytes, bytes);
    return address;
}

static void *fake_reserve(size_t bytes)
{
    bool too_large = fake_os.reserve_max_bytes != 0 && bytes > fake_os.reserve_max_bytes;
    return fails(&fake_os.reserve) || too_large ? NULL : note_mapped(bp_os_default.reserve(bytes), bytes);
}

static void *fake_map(size_t bytes)
{
    return fails(&fake_os.map) ? NULL : note_mapped(bp_os_default.map(bytes), bytes);
}

static int fake_unmap(void *address, size_t bytes)
{
    bp_sub_relaxed(&fake_os.mapped_bytes, bytes);
    return bp_os_default.unmap(address, bytes);
}

static int fake_commit(void *address, size_t bytes)
{
    return fails(&fake_os.commit) ? -ENOMEM : bp_os_default.commit(address, bytes);
}

static int fake_renew(void *address, size_t bytes, bool accessible)
{
    return fails(&fake_os.renew) ? -ENOMEM : bp_os_default.renew(address, bytes, accessible);
}

static int fake_close(void *address, size_t bytes)
{
    return fails(&fake_os.close) ? -ENOMEM : bp_os_default.close(address, bytes);
}

static int fake_purge(void *address, size_t bytes)
{
    if (fails(&fake_os.purge))
        return -EINVAL;
    bp_add_relaxed(&fake_os.purged_bytes, bytes);
    return bp_os_default.purge(address, bytes);
}

static int fake_guard(void *address, size_t bytes)
{
    return fails(&fake_os.guard) ? -EINVAL : bp_os_default.guard(address, bytes);
}

static int fake_unguard(void *address, size_t bytes)
{
    return fails(&fake_os.unguard) ? -ENOMEM : bp_os_default.unguard(address, bytes);
}

static int fake_advise_huge(void *address, size_t bytes, bool wanted)
{
    if (fails(&fake_os.advise_huge))
        return -EINVAL;
    bp_add_relaxed(wanted ? &fake_os.huge_bytes : &fake_os.not_huge_bytes, bytes);
    return bp_os_default.advise_huge(address, bytes, wanted);
}

static int fake_map_huge(void *address, size_t bytes)
{
    if (fails(&fake_os.map_huge))
        return -ENOMEM;
    bp_add_relaxed(&fake_os.huge_bytes, bytes);
    return bp_os_default.renew(address, bytes, true);
}

static int fake_lock(void *address, size_t bytes)
{
    (void)address;
    if (fails(&fake_os.lock))
        return -ENOMEM;
    bp_add_relaxed(&fake_os.locked_bytes, bytes);
    return 0;
}

static int fake_unlock(void *address, size_t bytes)
{
    (void)address;
    if (fails(&fake_os.unlock))
        return -EPERM;
    bp_sub_relaxed(&fake_os.locked_bytes, bytes);
    return 0;
}

static int fake_populate(void *address, size_t bytes)
{
    bp_add_relaxed(&fake_os.populated_bytes, bytes);
    if (fails(&fake_os.populate))
        return fake_os.populate_error;
    return fake_os.populates_nothing ? 0 : bp_os_default.populate(address, bytes);
}

static int fake_resident(const void *address)
{
    return fails(&fake_os.resident) ? -ENOSYS : bp_os_default.resident(address);
}

/* The kernel is asked to make it larger than can be, which it says of one mapping only. */
static bool is_one_mapping(void *address, size_t bytes)
{
    int saved_errno = errno;
    bool is_one = mremap(address, bytes, (size_t)1 << 46, 0) == MAP_FAILED && errno != EFAULT;
    errno = saved_errno;
    return is_one;
}

enum { FOREIGN_MAX = 64, FOREIGN_BYTE = 0x7e };
static struct {
    char *start;
    size_t bytes;
} foreign[FOREIGN_MAX];
static size_t foreign_count;

static void map_foreign(char *start, size_t bytes)
{
    if (foreign_count == FOREIGN_MAX || bp_os_default.renew(start, bytes, true) != 0)
        return;
    memset(start, FOREIGN_BYTE, bytes);
    foreign[foreign_count].start = start;
    foreign[foreign_count++].bytes = bytes;
}

bool fake_os_foreign_holds(void)
{
    for (size_t i = 0; i < foreign_count; i++) {
        const char *start = foreign[i].start;
        if (*start != FOREIGN_BYTE || memcmp(start, start + 1, foreign[i].bytes - 1) != 0)
            return false;
    }
    return foreign_count > 0;
}

static int fake_move(void *from, void *to, size_t bytes)
{
    bool refused = fake_os.moves_one_mapping && !is_one_mapping(from, bytes);
    if (!refused && !fails(&fake_os.move))
        return bp_os_default.move(from, to, bytes);
    int error = refused ? -EFAULT : fake_os.move_error;
    if (error == -EFAULT) /* which kernels find out when the new place is unmapped */
        (void)bp_os_default.unmap(to, bytes);
    if (fake_os.moves_leave_foreign && bytes >= 16 * bp_os_page_bytes())
        map_foreign(to, bytes);
    return error;
}

static size_t fake_mappings_left(void)
{
    if (fails(&fake_os.mappings_left))
        return SIZE_MAX;
    return fake_os.mappings_max != 0 ? fake_os.mappings_max : bp_os_default.mappings_left();
}

static int fake_fence(void)
{
    if (fake_os.in_fence)
        fake_os.in_fence();
    return fails(&fake_os.fence) ? -ENOSYS : bp_os_default.fence();
}

static uint64_t fake_now_ns(void)
{
    return bp_load_relaxed(&fake_os.now_ns);
}

static int fake_bind(void *address, size_t bytes, struct bp_policy policy, bool move)
{
    if (fails(&fake_os.bind))
        return -EINVAL;
    fake_os.bound = (struct fake_bound){.address = address, .bytes = bytes, .policy = policy, .move = move};
    return 0;
}

static int fake_policy(struct bp_policy *ret_policy)
{
    *ret_policy = fake_os.policy;
    return fails(&fake_os.get_policy) ? -EPERM : 0;
}

static int fake_allowed_nodes(uint64_t *ret_nodes)
{
    *ret_nodes = fake_os.allowed_nodes;
    return fails(&fake_os.get_policy) ? -EPERM : fake_os.allowed_error;
}

static int fake_locate(void **pages, size_t count, int *ret_nodes)
{
    if (fails(&fake_os.locate))
        return -EPERM;
    for (size_t i = 0; i < count; i++)
        ret_nodes[i] = fake_os.node_of ? fake_os.node_of(pages[i]) : 0;
    return 0;
}

static int fake_cpu(const void *theirs, const void *mine)
{
    return theirs == mine ? fake_os.cpu : fake_os.other_cpu;
}

void fake_os_install(void)
{
    bp_os = (struct bp_os_ops){
        .reserve = fake_reserve,
        .map = fake_map,
        .unmap = fake_unmap,
        .commit = fake_commit,
        .renew = fake_renew,
        .close = fake_close,
        .purge = fake_purge,
        .guard = fake_guard,
        .unguard = fake_unguard,
        .advise_huge = fake_advise_huge,
        .map_huge = fake_map_huge,
        .lock = fake_lock,
        .unlock = fake_unlock,
        .populate = fake_populate,
        .resident = fake_resident,
        .move = fake_move,
        .undo_move = bp_os_default.undo_move,
        .is_watched = bp_os_default.is_watched,
        .mappings_left = fake_mappings_left,
        .fence = fake_fence,
        .now_ns = fake_now_ns,
        .bind = fake_bind,
        .policy = fake_policy,
        .allowed_nodes = fake_allowed_nodes,
        .locate = fake_locate,
        .cpu = fake_cpu,
        .root = "",
    };
}
