/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the two halves of the saver share: cow.c, which finds out what must be
 * saved and reads it, and commit.c, which makes it durable.  All of it belongs
 * to the saver alone.
 */
#ifndef DM_SHADOW_SAVER_H
#define DM_SHADOW_SAVER_H

#include "volume.h"

#define DMS_GATHER_BLOCKS	1024		/* a group of 4 MiB waits for no more */

/* A run of origin chunks on its way to the diff area. */
struct dms_save {
	struct list_head list;
	struct rb_node node;
	struct dms_volume *v;
	u64 chunk;
	u32 length;			/* chunks */
	u32 tag;
	u32 blocks;			/* pages held */
	atomic_t reads;
	unsigned long since;		/* jiffies, read and ready */
	bool stale;			/* from before a creation */
	bool failed;			/* the read of the whole run */
	bool single;			/* being read chunk by chunk */
	u8 kind[DMS_SAVE_MAX_BLOCKS];
	__le32 csum[DMS_SAVE_MAX_BLOCKS];
	struct page *page[DMS_SAVE_MAX_BLOCKS];
};

/* --- cow.c --- */

void dms_save_free(struct dms_save *save);
/* Add the first of @nr pages to @bio, and those that lie side by side with it; how many. */
u32 dms_bio_add(struct bio *bio, struct page **page, u32 nr);
/* Ask the background for @what, DMS_WANT_.... */
void dms_saver_want(struct dms_volume *v, int what);

/* --- commit.c --- */

int dms_group_init(struct dms_volume *v);
/* Tolerates a half-made one. */
void dms_group_exit(struct dms_volume *v);
/* Begin to commit what is ready, if another group may be under way and none is to wait. */
void dms_group_start(struct dms_volume *v);
/* Publish the groups whose writes are over, or flush them. */
void dms_group_finish(struct dms_volume *v);

#endif
