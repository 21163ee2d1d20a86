/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writing a checkpoint into a diff area offline.
 *
 * Everything goes to space that the old checkpoint does not use, the superblocks
 * last: a crash on the way finds the old state as it was.
 */
#ifndef SHADOWCTL_REBUILD_H
#define SHADOWCTL_REBUILD_H

#include "bitset.h"
#include "image.h"
#include "index.h"

struct rebuild {
	struct image *image;
	int fd;				/* open for writing */
	u64 generation, sequence;	/* of what is written */
	struct bitset used;		/* chunks not to be written */
	struct bitset marked;		/* chunks that the old bitmap has as used */
	u64 next;			/* chunk to look at */
	bool all;			/* what was only marked may be taken */
	u64 block, left;		/* of the chunk for metadata */
	struct dms_sink sink;
	/* to be written by rebuild_commit() */
	struct dms_tree *trees;
	u32 nr_trees;
	struct dms_root root;
	const struct dms_shadow_info *copies;
	u32 nr_copies;
};

/*
 * Of @image, whose root is loaded.  .used is empty: the caller enters what the
 * old checkpoint and the journal's tail have.  rebuild_exit() in any case.
 */
int rebuild_init(struct rebuild *b, struct image *image, int fd);
void rebuild_exit(struct rebuild *b);
/* The superblock of the next checkpoint: of @generation, and not in its predecessor's place. */
void rebuild_begin(struct rebuild *b, u64 generation);

/* A chunk of free space. */
int rebuild_chunk(struct rebuild *b, u64 *ret);
/* Write .root, .trees and .copies, the bitmap that goes with them, and both superblocks. */
int rebuild_commit(struct rebuild *b);
/* Write both superblocks as they are, the one that is used first to the other's place. */
int rebuild_supers(struct rebuild *b);

#endif
