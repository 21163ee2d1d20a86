/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which area chunks are in use.
 *
 * Three bitmaps, one bit an area chunk:
 *   used   may not be handed out: in use, or freed by something not yet durable
 *   live   what the next checkpoint writes to disk
 *   freed  leaves used when the next checkpoint is durable (pages on demand;
 *          a chunk there is no page for stays in used until the next load)
 *
 * A chunk is taken in used first and becomes live once what names it is
 * durable in the journal or part of the checkpoint being made: a crash then
 * leaves nothing marked that nothing names.  Space freed is handed out only
 * after the checkpoint that no longer names it is durable and readers have
 * drained (the caller's business): free() clears live and sets freed,
 * dms_alloc_commit() drops freed from used.
 *
 * Locking: an internal spinlock, any context; commit, free and block from one
 * thread only.
 */
#ifndef DM_SHADOW_ALLOC_H
#define DM_SHADOW_ALLOC_H

#include "format-core.h"

struct dms_alloc;

/* @chunks of the area; nothing is used or dirty at first.  Sleeps; NULL: no memory. */
struct dms_alloc *dms_alloc_create(u64 chunks);
void dms_alloc_destroy(struct dms_alloc *a);		/* NULL is fine */
/* Grow to @chunks.  Sleeps.  0, or -ENOMEM or -EINVAL (less) with nothing changed. */
int dms_alloc_grow(struct dms_alloc *a, u64 chunks);

u64 dms_alloc_chunks(const struct dms_alloc *a);
u64 dms_alloc_used(const struct dms_alloc *a);		/* bits set in used */
u64 dms_alloc_live(const struct dms_alloc *a);
u64 dms_alloc_freed(const struct dms_alloc *a);		/* waiting for commit */
size_t dms_alloc_bytes(const struct dms_alloc *a);	/* memory held */
u32 dms_alloc_pairs(u64 chunks);			/* bitmap blocks for @chunks */

/*
 * Take a run of up to @want free chunks, contiguous: the first free run at or
 * behind the cursor that has @want, else the longest seen in a bounded search.
 * A run never crosses into another bitmap pair.  At most
 * (@limit - used) chunks; @limit 0: no limit.  Returns the length taken, 0
 * if there is none; *@first is set then only.  The chunks are not live yet.
 */
u32 dms_alloc_take(struct dms_alloc *a, u32 want, u64 limit, area_chunk_t *first);
/* A taken run becomes live. */
void dms_alloc_publish(struct dms_alloc *a, area_chunk_t first, u64 length);
/* A taken run was not needed after all: available at once. */
void dms_alloc_cancel(struct dms_alloc *a, area_chunk_t first, u64 length);
/*
 * take + publish of a known run (layout, replay).  -EEXIST if part is used,
 * -EINVAL if it is not inside the area; nothing is changed then.
 */
int dms_alloc_claim(struct dms_alloc *a, area_chunk_t first, u64 length);
/* A live run is no longer needed; see above.  Chunks not live are passed over. */
void dms_alloc_free(struct dms_alloc *a, area_chunk_t first, u64 length);
bool dms_alloc_is_live(const struct dms_alloc *a, area_chunk_t chunk);

/*
 * For a checkpoint.  dirty() returns the first pair >= @pair whose live bits
 * changed since clean() was called for it, or -1.  block() copies the live
 * bits of @pair into @payload (DMS_PAYLOAD_SIZE bytes) and marks it clean;
 * load() is the reverse, setting used and live.
 */
s64 dms_alloc_dirty(struct dms_alloc *a, u32 pair);
void dms_alloc_block(struct dms_alloc *a, u32 pair, void *payload);
void dms_alloc_mark_dirty(struct dms_alloc *a, u32 pair);
void dms_alloc_load(struct dms_alloc *a, u32 pair, const void *payload);
/*
 * The checkpoint is durable: what was freed in a pair before block() copied it
 * may be taken again; what was freed since waits for the next checkpoint.
 */
void dms_alloc_commit(struct dms_alloc *a);

#endif
