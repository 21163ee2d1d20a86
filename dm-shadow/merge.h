/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of a merge share: merge.c, which decides what comes home when;
 * merge-bring.c, which moves the data; merge-home.c, which keeps and records what is
 * home.
 */
#ifndef DM_SHADOW_MERGE_H
#define DM_SHADOW_MERGE_H

#include "volume.h"

#define DMS_MERGE_BATCHES	4
#define DMS_MERGE_RUNS		32	/* of a batch */

struct dms_batch;

/* The merge's memory, its work item's own. */
struct dms_merge {
	struct dms_volume *v;
	u32 nr;				/* batches */
	u32 open;			/* the one being filled, IDLE */
	u32 sent;			/* batches */
	struct dms_batch *batch[DMS_MERGE_BATCHES];
	struct dms_op save;
	struct dms_bio request[DMS_MERGE_RUNS];
	u32 nr_requests;
	bool careful;			/* runs of a chunk */
	bool unreadable;		/* the error was one of the diff area */
	u32 skipped;			/* chunks, not yet counted */
};

/* --- merge-bring.c: may sleep; errors are negative errno --- */

/* One batch is enough, the others make it fast.  NULL: not even one. */
struct dms_merge *dms_merge_alloc(struct dms_volume *v);
/* Nothing is under way.  NULL is fine. */
void dms_merge_free(struct dms_merge *m);
/*
 * Put the run that begins at *@chunk, at most to @last, into the open batch, and
 * go on behind it.  A batch that is full goes on its way.
 */
int dms_merge_bring(struct dms_merge *m, u64 *chunk, u64 last);
/* Wait until all is on the origin that was collected; does not flush. */
int dms_merge_settle(struct dms_merge *m);
/* After an error: wait for what is under way and forget it. */
void dms_merge_abandon(struct dms_merge *m);

/* --- merge-home.c --- */

/* The copy that is being merged; NULL: it is over.  Under v->srcu. */
struct dms_shadow *dms_merge_copy(struct dms_volume *v);
void dms_merge_set_cursor(struct dms_volume *v, u64 cursor);
/* A record of op->id, epoch and cursor: a merge begins, goes on, is over. */
bool dms_merge_add_record(struct dms_op *op, struct dms_journal_block *j);
/* Make home, for good, what is below @cursor, flushed; @id 0: the merge is over. */
int dms_merge_record_cursor(struct dms_volume *v, u32 id, u64 cursor);
/*
 * Make @first...@last, brought home and flushed, home for good.  A chunk gets
 * its HOME exception once only; those that have one are passed over.
 */
int dms_merge_record_home(struct dms_volume *v, u64 first, u64 last);

#endif
