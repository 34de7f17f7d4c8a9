/* SPDX-License-Identifier: MIT */
#ifndef BP_DEVICES_H
#define BP_DEVICES_H
/*
 * Devices: finds out that a library is in the process which registers memory with network cards or GPUs.
 *
 * Why:     such a device goes on to use the pages of a block by itself, and libraries remember what they registered.
 *          They were written for memory that is unmapped when it is freed, and watch munmap for that.
 * What:    from then on nothing is recycled: every request is forwarded, so that the program has the allocator which it
 *          was tested with, and what the pool still holds leaves. Whenever pages are taken away, munmap is called by
 *          its name first, with an address that the kernel refuses: who watches it is told, and nobody else can get
 *          the range meanwhile. BUFPOOL_DEVICES=pool goes on to serve, and tells all the same: recycled memory is the
 *          same memory, so what was registered stays right until its pages go.
 * How:     the names of mapped files, looked through before the pool is made and, as libraries are loaded later,
 *          up to ten times a second: when the hit path does not serve, and before pages are taken away. Not by
 *          dl_iterate_phdr(): its lock may be held by somebody who waits for a lock that our caller holds.
 * Cost:    a part in two hundred of the time at most: the more mappings a process has, the rarer it is looked.
 * Blind:   for a tenth of a second after a library was loaded, more in a process with many mappings; to hooks put into
 *          the tables by which libraries call munmap, rather than into munmap. UCX writes its hooks into munmap, unless
 *          told UCX_MEM_MMAP_HOOK_MODE=reloc; BUFPOOL_DEVICES=pool is not safe with that.
 * Layer:   P2. May use dump and all of src/.
 */
#include "base.h"

/* Before a second thread, and before a pool is made. */
void bp_devices_start(void);
/* Must requests be forwarded? Looks if it is time to; where none of our operations is under way. */
bool bp_devices_look(void);

#endif
