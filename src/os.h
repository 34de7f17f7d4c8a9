/* SPDX-License-Identifier: MIT */
#ifndef BP_OS_H
#define BP_OS_H
/*
 * OS: the kernel as the pool sees it.
 *
 * Why:     the rest of the code never meets errno. What tests must be able to replace, to inject a failure or their own
 *          time, is in one table.
 * Layer:   0.
 * Calls:   raw system calls, so that a program or tool that interposes mmap or madvise does not see the pool's.
 * Errors:  0 or a negative errno; pointers are NULL on failure. errno itself is preserved.
 */
#include "base.h"

/* Memory nodes are numbered as the kernel does it; a set is a bit for each of the first 64. -ERANGE: it has others. */
enum { BP_NODES_MAX = 64 };

/* A memory policy: one of the kernel's modes (MPOL_...) and the nodes that it names. */
struct bp_policy {
    int mode;
    uint64_t nodes;
};

struct bp_os_ops {
    /* Inaccessible address space that is charged to nobody. */
    void *(*reserve)(size_t bytes);
    /* Readable, writable, zeroed memory for the pool's own metadata; pages cost nothing until touched. */
    void *(*map)(size_t bytes);
    int (*unmap)(void *address, size_t bytes);
    /* Makes reserved pages readable and writable. */
    int (*commit)(void *address, size_t bytes);
    /*
     * Maps the range anew in place of whatever the program made of it: nothing is left of its contents, protection,
     * locks, advice, policies or foreign mappings. Accessible, or as reserve() gives it.
     */
    int (*renew)(void *address, size_t bytes, bool accessible);
    /* The same of a range without pages, which becomes as reserve() gives it. Nobody need be told of that. */
    int (*close)(void *address, size_t bytes);
    /* Gives the pages back at once; the next touch reads zero. */
    int (*purge)(void *address, size_t bytes);
    /* Takes the pages of the range away; every access faults from then on, without a mapping of its own for that. */
    int (*guard)(void *address, size_t bytes);
    /* The opposite: the next touch reads zero. */
    int (*unguard)(void *address, size_t bytes);
    /* Asks for huge pages when the range is touched, or for none. */
    int (*advise_huge)(void *address, size_t bytes, bool wanted);
    /* Maps huge pages of the reserved pool in place of what was there, which is lost. */
    int (*map_huge)(void *address, size_t bytes);
    /* Keeps pages in memory from their first touch on; the opposite. */
    int (*lock)(void *address, size_t bytes);
    int (*unlock)(void *address, size_t bytes);
    /* Makes all pages of the range resident, as a write to each would. */
    int (*populate)(void *address, size_t bytes);
    /* 1 when the page at `address` (aligned) is in memory, 0 when it is not; a negative errno when nobody can tell. */
    int (*resident)(const void *address);
    /*
     * Moves pages to another place that is mapped and zero; the old place stays mapped and is empty. -EFAULT when the
     * pages do not lie in one mapping of the kernel's. After a failure both places are as undo_move() leaves them.
     */
    int (*move)(void *from, void *to, size_t bytes);
    /*
     * After a move that failed: all pages are at the old place, and the new one is mapped (perhaps anew) and zero, or
     * false: somebody else may have mapped something there. `is_half`: some of the pages may have been moved.
     */
    bool (*undo_move)(void *from, void *to, size_t bytes, bool is_half);
    /* Is somebody told of pages that are taken away, now or within the next moment? */
    bool (*is_watched)(void);
    /* How many more mappings the kernel lets this process have; SIZE_MAX when nobody can tell. Reads all of them. */
    size_t (*mappings_left)(void);
    /* The CPUs that run this process's other threads pass a memory barrier before it returns. */
    int (*fence)(void);
    /* Monotonic, some milliseconds coarse, without a system call. */
    uint64_t (*now_ns)(void);
    /* From which memory nodes the pages of the range come; with `move`, also those that are there already. */
    int (*bind)(void *address, size_t bytes, struct bp_policy policy, bool move);
    /* The same of this thread, where nothing is said about a range. */
    int (*policy)(struct bp_policy *ret_policy);
    /* The nodes whose memory this process may use at all. */
    int (*allowed_nodes)(uint64_t *ret_nodes);
    /* The node of each page (aligned addresses), or a negative errno for one that is not in memory. */
    int (*locate)(void **pages, size_t count, int *ret_nodes);
    /*
     * The CPU that a thread runs on, or did a moment ago; negative when nobody can tell. The thread is the one whose
     * copy of a thread-local object is at `theirs`, where this thread's is at `mine`.
     */
    int (*cpu)(const void *theirs, const void *mine);
    /* Stands before the paths of all files that are read: "", or a folder of files that a test has captured. */
    const char *root;
};

/* Written by tests and by the preload object, before a pool is made. */
extern struct bp_os_ops bp_os;
extern const struct bp_os_ops bp_os_default;

/* Does this kernel move pages of several mappings at once? Found out by trying; false also when that cannot be. */
bool bp_os_moves_across(void);
/* What os.c and nodes.c share: turns the -1 of syscall() into a negative errno and puts errno back. */
long bp_os_result(long result, int saved_errno);
/* Entries of the table that nodes.c has. */
int bp_os_bind(void *address, size_t bytes, struct bp_policy policy, bool move);
int bp_os_policy(struct bp_policy *ret_policy);
int bp_os_allowed_nodes(uint64_t *ret_nodes);
int bp_os_locate(void **pages, size_t count, int *ret_nodes);
int bp_os_cpu(const void *theirs, const void *mine);

/* The kernel's page size in bytes, a power of two. */
size_t bp_os_page_bytes(void);
/* CPUs that this process may run on, at least 1. */
unsigned bp_os_cpu_count(void);
/*
 * The least of the machine's memory, the limits of the process's cgroups (v1; v2: memory.max, memory.high) and
 * RLIMIT_DATA. 0 when unknown.
 */
size_t bp_os_memory_bytes(void);
/* What of it nobody uses at the moment; as much as there is when that is unknown. */
size_t bp_os_memory_free_bytes(void);
/* True when memory that nobody advised gets huge pages of 2 MiB where it fills them. */
bool bp_os_gives_huge_pages(void);
/* How much memory RLIMIT_MEMLOCK lets this process lock; SIZE_MAX when unlimited. */
size_t bp_os_lock_limit_bytes(void);
/* Has the kernel put code of its own into this process? Linux does; qemu-user, until 8.2, does not. */
bool bp_os_has_vdso(void);
/* Address space that RLIMIT_AS leaves to this process; SIZE_MAX when unlimited. */
size_t bp_os_address_space_left_bytes(void);
/*
 * True when writable pages are charged as they are committed, touched or not (vm.overcommit_memory=2 or RLIMIT_DATA):
 * the pool then commits only what was asked for.
 */
bool bp_os_commit_is_charged(void);
/* From now on nothing is called that malloc of the C library does not call: a filter may forbid it. */
void bp_os_keep_quiet(void);
bool bp_os_is_quiet(void);
/* Shows `name` beside the range in /proc/PID/maps, where the kernel can. */
void bp_os_name(void *address, size_t bytes, const char *name);
/*
 * Reads one file of the process's memory cgroup and of each cgroup above it that is visible here, nearest first, and
 * calls `visit` with what could be read. The file has a name in cgroups of version 2 and one in those of version 1;
 * NULL where it does not exist. 0, or the error of one that is there and could not be read.
 */
int bp_os_visit_cgroups(const char *name_v2, const char *name_v1,
                        void (*visit)(const char *path, const char *data, void *context), void *context);
/* What the process's cgroups leave to it at the moment; SIZE_MAX where they have no limit. */
size_t bp_os_cgroup_free_bytes(void);
/* Is it for want of descriptors or memory, and may be none the next time? */
bool bp_os_is_passing(int error);
/* Sixteen bytes that differ from process to process; NULL where the kernel gave none. */
const void *bp_os_random_bytes(void);
/* Memory that a forked child finds zeroed, whoever forked it; a child that shares our memory does not. NULL: none. */
void *bp_os_map_wiped(size_t bytes);
/* Nobody writes to these whole pages of our own any more. */
void bp_os_seal(void *address, size_t bytes);
/* Reads at most size - 1 bytes and terminates them. Returns the count or a negative errno. */
int bp_os_read_file(const char *path, char *data, size_t size);

/* A file of the kernel's, line by line. Lines longer than the buffer come in pieces; it may lie on a small stack. */
struct bp_os_lines {
    int fd;
    size_t start; /* of the next line in data */
    size_t end;
    char data[1024];
};

/* 0 or a negative errno. */
int bp_os_lines_open(struct bp_os_lines *lines, const char *path);
/* The next line without its end, valid until the next call. NULL when there is none. */
char *bp_os_lines_next(struct bp_os_lines *lines);
void bp_os_lines_close(struct bp_os_lines *lines);

#endif
