/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The exceptions saved since the last checkpoint, in memory.
 *
 * A table is an arena of fixed size, allocated once: adding an exception can
 * run out of slots, never out of memory.  One slot holds one chunk, hashed by
 * chunk; the slots of a chunk are chained newest first.
 *
 * Locking: one writer at a time (the worker); any number of readers beside it
 * without a lock, as a slot is filled before it is linked (store-release) and
 * is never changed or unlinked.  dms_table_reset() needs all readers gone.
 */
#ifndef DM_SHADOW_EXCEPTION_H
#define DM_SHADOW_EXCEPTION_H

#include "format-core.h"

struct dms_table;

/*
 * Sleeps.  @bytes is a cap on all memory of the table, sort space included.
 * NULL when out of memory.  At least 64 slots whatever @bytes says.
 */
struct dms_table *dms_table_create(u32 chunk_blocks, size_t bytes);
void dms_table_destroy(struct dms_table *t);	/* NULL is fine */
void dms_table_reset(struct dms_table *t);
u32 dms_table_count(const struct dms_table *t);	/* slots in use */
u32 dms_table_room(const struct dms_table *t);	/* slots left */
size_t dms_table_bytes(const struct dms_table *t);

/*
 * Add @e, of any length: a slot for each chunk.  @csums are little-endian,
 * length * chunk_blocks of them, for DATA; else NULL.  False, and nothing
 * added, when room is short.  The pair (chunk, tag, HOME or not) is new.
 */
bool dms_table_add(struct dms_table *t, const struct dms_exception *e, const __le32 *csums);

/*
 * The exception of @chunk with the smallest tag >= @tag, kind HOME left out.
 * Fills @ret (length 1) and *@csums (pointer into the table, chunk_blocks of
 * them, or NULL).  True if there is one.  Any context.
 */
bool dms_table_find(const struct dms_table *t, u64 chunk, u32 tag,
		    struct dms_exception *ret, const __le32 **csums);
/* The largest tag of @chunk, HOME left out; 0 if none. */
u32 dms_table_max_tag(const struct dms_table *t, u64 chunk);
/* Has merge @tag brought @chunk home? */
bool dms_table_is_home(const struct dms_table *t, u64 chunk, u32 tag);
/*
 * For a journal read again: would @e, of length 1, be of no use?  What an attempt to
 * commit has left may repeat what another says; the first counts.
 */
bool dms_table_knows(const struct dms_table *t, const struct dms_exception *e);

/*
 * For writing the table out: sort by (chunk, tag, kind), then read by rank.
 * The table must have no writer; readers may go on.
 */
void dms_table_sort(struct dms_table *t);
void dms_table_get(const struct dms_table *t, u32 rank, struct dms_exception *ret,
		   const __le32 **csums);

#endif
