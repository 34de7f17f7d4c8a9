/* SPDX-License-Identifier: MIT */
/*
 * Locks all its memory, present and future if it may, within a limit that its own needs respect: what the allocator
 * reserves must not count against it. Argument: whether it asks for large blocks before, after or both; root: both,
 * without a limit; refused: after it was not allowed to, which it can live with.
 */
#include <sys/mman.h>
#include <sys/resource.h>

#include "victim.h"

enum { NOBODY = 65534, RESIDENT_MAX_MIB = 100 };

static size_t resident_mib(void)
{
    size_t pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    CHECK(statm && fscanf(statm, "%*u %zu", &pages) == 1);
    (void)fclose(statm);
    return pages * (size_t)sysconf(_SC_PAGESIZE) / MIB;
}

int main(int argc, char **argv)
{
    const char *when = argc > 1 ? argv[1] : "both";
    struct rlimit limit = {0, 0};
    int is_refused = strcmp(when, "refused") == 0;
    CHECK(!is_refused || setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    CHECK(getrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    uid_t user = geteuid();
    if (is_refused && user == 0)
        CHECK(seteuid(NOBODY) == 0);
    else if (user == 0 && strcmp(when, "root") != 0) /* for root there is no limit */
        CHECK(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
    size_t kept_bytes = limit.rlim_cur < 64 * MIB ? 300 * KIB : 5 * MIB;
    char *kept = strcmp(when, "after") != 0 && !is_refused ? make(kept_bytes) : NULL;
    if (kept && strcmp(when, "root") == 0) { /* a block that grew has more room than it uses */
        kept_bytes = 40 * MIB;
        CHECK((kept = realloc(kept, kept_bytes)));
    }
    if (kept)
        stamp(kept, kept_bytes, 1);
    CHECK(!is_refused || (mlockall(MCL_CURRENT) == -1 && errno == EPERM));
    CHECK(seteuid(is_refused ? user : geteuid()) == 0);
    int future = limit.rlim_cur < 64 * MIB && strcmp(when, "root") != 0 ? 0 : MCL_FUTURE;
    CHECK(is_refused || mlockall(MCL_CURRENT | future) == 0);
    for (uint64_t turn = 0; strcmp(when, "before") != 0 && turn < 50; turn++) {
        exercise(turn);
        char *block = make(10 * MIB);
        stamp(block, 10 * MIB, turn);
        CHECK(stamped(block, 10 * MIB, turn));
        char *grown = realloc(block, 14 * MIB);
        CHECK(grown && stamped_part(grown, 14 * MIB, 10 * MIB, turn));
        free(grown);
    }
    CHECK(!kept || stamped(kept, kept_bytes, 1));
    CHECK(resident_mib() <= RESIDENT_MAX_MIB);
    return done();
}
