/* SPDX-License-Identifier: MIT */
#include "meta.h"

#include "os.h"

enum { CHUNK_BYTES = 64 * 1024 };

/* At the start of every mapping. */
struct chunk {
    struct chunk *next;
    size_t bytes;
};

void bp_meta_init(struct bp_meta *meta)
{
    *meta = (struct bp_meta){0};
    bp_lock_init(&meta->lock, BP_RANK_META);
}

void bp_meta_fini(struct bp_meta *meta)
{
    struct chunk *next;
    for (struct chunk *chunk = meta->chunks; chunk; chunk = next) {
        next = chunk->next;
        (void)bp_os.unmap(chunk, chunk->bytes);
    }
    meta->chunks = NULL;
    meta->left = 0;
}

/* A new mapping with room for `bytes` after its header. */
static char *map_chunk_locked(struct bp_meta *meta, size_t bytes)
{
    struct chunk *chunk = bp_os.map(bytes);
    if (!chunk)
        return NULL;
    bp_os_name(chunk, bytes, "bufpool: records");
    chunk->bytes = bytes;
    chunk->next = meta->chunks;
    meta->chunks = chunk;
    meta->mapped_bytes += bytes;
    return (char *)chunk + BP_CACHELINE_BYTES;
}

_Static_assert(sizeof(struct chunk) <= BP_CACHELINE_BYTES, "the header fits before the first piece");

void *bp_meta_alloc(struct bp_meta *meta, size_t bytes)
{
    char *result;
    bytes = bp_align_up(bytes, BP_CACHELINE_BYTES);
    (void)bp_lock_acquire(&meta->lock);
    if (bytes > CHUNK_BYTES / 4) {
        result = map_chunk_locked(meta, bp_align_up(bytes + BP_CACHELINE_BYTES, bp_os_page_bytes()));
    } else {
        if (bytes > meta->left) {
            char *fresh = map_chunk_locked(meta, CHUNK_BYTES);
            meta->next = fresh;
            meta->left = fresh ? CHUNK_BYTES - BP_CACHELINE_BYTES : 0;
        }
        result = bytes <= meta->left ? meta->next : NULL;
        if (result) {
            meta->next += bytes;
            meta->left -= bytes;
        }
    }
    bp_lock_release(&meta->lock);
    return result;
}
