/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * All of a tree that can be believed, and where something is missing.
 *
 * Every block is held against its pointer, its parent's key and its neighbours.
 * What a block held that is not sound is lost; by the order of a tree that is
 * exceptions between the last sound entry before and the first one behind, and
 * nothing else.  check.c tells of it, repair.c acts on it.
 */
#ifndef SHADOWCTL_SCAN_H
#define SHADOWCTL_SCAN_H

#include "image.h"
#include "index.h"

/* Exceptions of chunks [@from, @to) may be missing, in part of their tags. */
struct scan_loss {
	u64 block;			/* the one that is not sound */
	const char *wrong;		/* "block 12 is damaged" */
	u64 from, to;
	/* Before head_to none with a tag below head_tag, those were in the leaf before; */
	u64 head_to;
	u32 head_tag;
	/* from tail_from on none from tail_tag on, those are in the leaf behind. */
	u64 tail_from;
	u32 tail_tag;
};

struct scan {
	/* what to scan */
	const struct image *image;
	const struct dms_tree *tree;
	u32 exempt;			/* it has the exempt runs of that copy; 0: an index */
	/* Asked for a block that is sound: does nothing else claim it? */
	bool (*block)(struct scan *s, u64 block);
	/* One that is sound; @csums for DATA, else NULL. */
	void (*entry)(struct scan *s, const struct dms_exception *e, const __le32 *csums);
	/* In order, and before the next entry; may be NULL. */
	void (*lost)(struct scan *s, const struct scan_loss *l);
	int error;			/* set by the above, ends the scan */
	/* what was found; the numbers are of use if it is all there is */
	bool partial;			/* something was lost */
	u64 entries, blocks, chunks;
	/* private */
	struct dms_exception last;
	struct scan_loss loss;
	bool pending;			/* .loss, whose end is not known yet */
	char wrong[96];
	u8 *buf[DMS_MAX_DEPTH];
};

/* 0, or .error. */
int scan_tree(struct scan *s);
/* The tags that may be missing at @chunk, of those in @l: [*@low, *@high]. */
void scan_lost_tags(const struct scan_loss *l, const struct dms_tree *t, u64 chunk,
		    u32 *low, u32 *high);
/* Blocks for dms_tree_find() and the like. */
struct scan_source {
	struct dms_source source;
	const struct image *image;
};

void scan_source_init(struct scan_source *s, const struct image *m);

/* Half a sentence about an error of image_block(). */
const char *scan_error_text(int r);

#endif
