/* SPDX-License-Identifier: MIT */
/*
 * What a program did to the pages of a block ends with the block: the next one of that size is ordinary memory. The
 * argument names the deed; "raw" after it: by system calls that nobody can see; "grow": the block grows before it is
 * freed. Blocks are so large that the C library by itself gives each a mapping of its own.
 */
#include "victim.h"
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define SIZE (40 * MIB)

/* A system call by its function, or by its number. */
#define CALL(name, ...) (is_raw ? syscall(SYS_##name, __VA_ARGS__) : (long)name(__VA_ARGS__))

static int is_raw;

static const struct {
    const char *deed;
    int advice;
    const char *flag; /* what smaps shows while it holds */
} advices[] = {
    {"dontfork", MADV_DONTFORK, " dc"},     {"wipeonfork", MADV_WIPEONFORK, " wf"},
    {"dontdump", MADV_DONTDUMP, " dd"},     {"mergeable", MADV_MERGEABLE, " mg"},
    {"hugepage", MADV_HUGEPAGE, " hg"},     {"nohugepage", MADV_NOHUGEPAGE, " nh"},
    {"sequential", MADV_SEQUENTIAL, " sr"}, {"random", MADV_RANDOM, " rr"},
};

/* The flags of the mapping that holds `address`. */
static void read_flags(const char *address, char *flags, size_t size)
{
    char line[512];
    int inside = 0;
    FILE *smaps = fopen("/proc/self/smaps", "r");
    CHECK(smaps != NULL);
    while (fgets(line, sizeof line, smaps)) {
        unsigned long start, end;
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            inside = (uintptr_t)address >= start && (uintptr_t)address < end;
        CHECK(!inside || !strstr(line, "[anon:mine]"));
        if (inside && strncmp(line, "VmFlags:", 8) == 0)
            (void)snprintf(flags, size, "%s", line + 8);
    }
    (void)fclose(smaps);
}

/* The memory is as if the C library had just mapped it; huge pages may stay, as they do in the C library's heap. */
static void check_ordinary(const char *block)
{
    for (size_t at = MIB + MIB / 2; at < SIZE; at += 8 * MIB) { /* the first is where it is mistreated */
        char flags[256] = "";
        read_flags(block + at, flags, sizeof flags);
        CHECK(strstr(flags, " rd wr") == flags);
        CHECK(!strstr(flags, " sh") && !strstr(flags, " lo") && !strstr(flags, " um"));
        for (size_t i = 0; i < LENGTH(advices); i++)
            CHECK(!strstr(flags, advices[i].flag) || advices[i].advice == MADV_HUGEPAGE);
    }
    int mode = -1;
    CHECK(syscall(SYS_get_mempolicy, &mode, NULL, 0, block + MIB + MIB / 2, 2 /* MPOL_F_ADDR */) != 0 || mode == 0);
}

static int advise(const char *deed, char *page)
{
    for (size_t i = 0; i < LENGTH(advices); i++) {
        if (strcmp(deed, advices[i].deed) == 0) {
            CHECK(CALL(madvise, page, MIB, advices[i].advice) == 0 || errno == EINVAL); /* the kernel may lack it */
            return 1;
        }
    }
    return 0;
}

/* As libnuma does it. Its function is looked for by name, as only programs that use libnuma have it. */
static void bind_to_first_node(char *page)
{
    long (*mbind)(void *, unsigned long, int, const unsigned long *, unsigned long, unsigned) = NULL;
    void *symbol = dlsym(RTLD_DEFAULT, "mbind");
    unsigned long nodes = 1;
    memcpy(&mbind, &symbol, sizeof symbol);
    if (mbind)
        CHECK(mbind(page, MIB, 2 /* MPOL_BIND */, &nodes, 8 * sizeof nodes, 0) == 0 || errno == ENOSYS ||
              errno == EPERM);
}

/* libnuma's own calls of mbind. */
static void send_to_first_node(char *page)
{
    static void *libnuma;
    void (*numa_tonode_memory)(void *, size_t, int) = NULL;
    libnuma = libnuma ? libnuma : dlopen("libnuma.so.1", RTLD_NOW);
    void *symbol = libnuma ? dlsym(libnuma, "numa_tonode_memory") : NULL;
    memcpy(&numa_tonode_memory, &symbol, sizeof symbol);
    if (numa_tonode_memory)
        numa_tonode_memory(page, MIB, 0);
}

/* Where userfaultfd is forbidden nothing happens. */
static void register_faults(char *page)
{
    static int fd = -1; /* closed, it would forget the range */
    if (fd < 0) {
        fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* UFFD_USER_MODE_ONLY */);
        CHECK(fd < 0 || ioctl(fd, UFFDIO_API, &(struct uffdio_api){.api = UFFD_API}) == 0);
    }
    struct uffdio_register wanted = {.range = {(uintptr_t)page, MIB}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    CHECK(fd < 0 || CALL(ioctl, fd, UFFDIO_REGISTER, &wanted) == 0);
}

static void attach_shared(char *page)
{
    int id = shmget(IPC_PRIVATE, MIB, 0600);
    CHECK(id >= 0 && shmat(id, page, SHM_REMAP) == page && shmctl(id, IPC_RMID, NULL) == 0);
}

static void advise_by_process(char *page)
{
    ssize_t (*process_madvise)(int, const struct iovec *, size_t, int, unsigned) = NULL;
    void *symbol = dlsym(RTLD_DEFAULT, "process_madvise");
    int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    memcpy(&process_madvise, &symbol, sizeof symbol);
    if (process_madvise && self >= 0) /* for other processes kernels take less advice */
        CHECK(process_madvise(self, &(struct iovec){page, MIB}, 1, MADV_DONTFORK, 0) == (ssize_t)MIB ||
              errno == EINVAL || errno == EPERM);
    (void)close(self);
}

static void mistreat(const char *deed, char *block)
{
    char *page = (char *)(((uintptr_t)block + MIB) & ~(uintptr_t)4095);
    if (strcmp(deed, "protect") == 0)
        CHECK(CALL(mprotect, page, MIB, PROT_NONE) == 0);
    else if (strcmp(deed, "readonly") == 0)
        CHECK(CALL(mprotect, page, MIB, PROT_READ) == 0);
    else if (strcmp(deed, "unmap") == 0)
        CHECK(CALL(munmap, page, MIB) == 0);
    else if (strcmp(deed, "move_away") == 0)
        CHECK(CALL(mremap, page, MIB, 2 * MIB, MREMAP_MAYMOVE) != -1);
    else if (strcmp(deed, "guard") == 0)
        CHECK(CALL(madvise, page, MIB, 102 /* MADV_GUARD_INSTALL */) == 0 || errno == EINVAL);
    else if (strcmp(deed, "bind") == 0)
        bind_to_first_node(page);
    else if (strcmp(deed, "tonode") == 0)
        send_to_first_node(page);
    else if (strcmp(deed, "userfault") == 0)
        register_faults(page);
    else if (strcmp(deed, "shared") == 0)
        attach_shared(page);
    else if (strcmp(deed, "by_process") == 0)
        advise_by_process(page);
    else if (strcmp(deed, "name") == 0)
        CHECK(prctl(0x53564d41 /* PR_SET_VMA */, 0, page, MIB, "mine") == 0 || errno == EINVAL);
    else if (strcmp(deed, "lock") == 0)
        CHECK(CALL(mlock, page, MIB) == 0);
    else if (strcmp(deed, "lock_touched") == 0)
        CHECK(CALL(mlock2, page, MIB, MLOCK_ONFAULT) == 0);
    else if (strcmp(deed, "lock_nothing") == 0) /* which locks the page around it */
        CHECK(CALL(mlock, page + MIB / 2 + 64, 0) == 0);
    else if (strcmp(deed, "protect_key") == 0)
        CHECK(CALL(pkey_mprotect, page, MIB, PROT_NONE, -1) == 0);
    else if (strcmp(deed, "posix_random") == 0)
        CHECK(posix_madvise(page, MIB, POSIX_MADV_RANDOM) == 0);
    else if (strcmp(deed, "lock_all") == 0)
        CHECK(mlockall(MCL_CURRENT | MCL_FUTURE) == 0);
    else if (strcmp(deed, "ring") == 0) { /* a ring buffer: the same pages twice in a row */
        int fd = memfd_create("ring", MFD_CLOEXEC);
        CHECK(fd >= 0 && ftruncate(fd, MIB) == 0);
        for (int half = 0; half < 2; half++)
            CHECK(CALL(mmap, page + half * MIB, MIB, (long)PROT_READ | PROT_WRITE, (long)MAP_SHARED | MAP_FIXED, fd,
                       0L) != -1); /* long: syscall() passes on whole registers */
        page[5] = 'r';
        CHECK(page[MIB + 5] == 'r');
        close(fd);
    } else {
        CHECK(advise(deed, page));
    }
}

int main(int argc, char **argv)
{
    const char *deed = argc > 1 ? argv[1] : "lock";
    is_raw = argc > 2 && strcmp(argv[2], "raw") == 0;
    for (int turn = 0; turn < 6; turn++) {
        char *block = turn % 2 ? calloc(1, SIZE) : malloc(SIZE);
        CHECK(block != NULL);
        if (turn % 2)
            CHECK(all_zero(block, SIZE));
        stamp(block, SIZE, (uint64_t)turn);
        CHECK(stamped(block, SIZE, (uint64_t)turn));
        pid_t child = fork();
        if (child == 0) {
            CHECK(stamped(block, SIZE, (uint64_t)turn));
            stamp(block, SIZE, 99);
            _exit(0);
        }
        reap(child);
        CHECK(stamped(block, SIZE, (uint64_t)turn));
        if (strcmp(deed, "lock_all") != 0)
            check_ordinary(block);
        mistreat(deed, block);
        if (argc > 2 && strcmp(argv[2], "grow") == 0) {
            block = realloc(block, 5 * SIZE);
            CHECK(block != NULL && stamped_part(block, 5 * SIZE, SIZE, (uint64_t)turn));
        }
        free(block);
    }
    return done();
}
