/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The index: immutable trees of exceptions, sorted by (chunk, tag).
 *
 * A tree is built once, bottom-up, from a sorted stream, and only ever read
 * and freed afterwards.  Several trees exist side by side (one for each
 * checkpoint, joined in the background); a look-up asks all of them and the
 * tables in memory and takes the smallest tag.  Inside one tree, entries that
 * share chunks cover exactly the same run, so that a binary search finds all
 * tags of a chunk in one place; a group may still span leaves.
 *
 * HOME entries: see format.h.  They are found by dms_tree_is_home() alone.
 *
 * Context: may sleep where the block source sleeps.
 */
#ifndef DM_SHADOW_INDEX_H
#define DM_SHADOW_INDEX_H

#include "exception.h"

/* A DATA entry of a tree never has more checksums than this: two fill a leaf. */
#define DMS_ENTRY_MAX_CSUMS	496

/*
 * Where blocks come from.  get() returns a checked block (dms_block_check()
 * with the pointer's crc and any of the types LEAF and NODE), or ERR_PTR; put()
 * releases it.  -EAGAIN from get() (a cache asked not to block) is passed up
 * unchanged.
 */
struct dms_source {
	const void *(*get)(struct dms_source *s, struct dms_pointer p, u16 type);
	void (*put)(struct dms_source *s, const void *block);
	u32 chunk_blocks;
	u64 area_chunks;
};

/*
 * Look up @chunk for epoch @tag in @t.  Returns
 *   1  found: @ret is the entry with the smallest tag >= @tag that covers
 *      @chunk, cut so that it begins at @chunk (.chunk, .where, .length);
 *      @csums gets the little-endian checksums of the first
 *      min(length, @max_chunks) chunks, and ret->length is cut to that;
 *   0  none: ret->length says for how many chunks from @chunk on (at least 1,
 *      at most @max_chunks) there is none in this tree;
 *   <0 error of the source, or -EUCLEAN where a block contradicts itself.
 * Entries other than DATA are cut to @max_chunks too.
 */
int dms_tree_find(struct dms_source *s, const struct dms_tree *t, u64 chunk, u32 tag,
		  u32 max_chunks, struct dms_exception *ret, __le32 *csums);
/* Largest tag of @chunk, HOME left out, in *@ret; 0 if none.  0 or an error. */
int dms_tree_max_tag(struct dms_source *s, const struct dms_tree *t, u64 chunk, u32 *ret);
/* 1 if merge @tag has brought @chunk home, 0, or an error. */
int dms_tree_is_home(struct dms_source *s, const struct dms_tree *t, u64 chunk, u32 tag);

/*
 * Forward reader of one tree from @chunk on (a position inside a run starts
 * with that run).  next(): 1 and an entry with its checksums (pointer valid
 * until the next call), 0 at the end, or an error.
 */
struct dms_position {
	u64 chunk;
	u32 tag;
};

/* A leaf being read, and the first entry of the one behind it. */
struct dms_leaf {
	const void *block;		/* NULL: none */
	u32 count, csums;
	bool more;			/* .next is valid */
	struct dms_position next;
};

struct dms_cursor {
	struct dms_source *source;
	const struct dms_tree *tree;
	struct dms_leaf leaf;		/* the only block held between calls */
	struct dms_exception last;	/* as read, for order; length 0: none yet */
	u64 start;
	u32 index;			/* of the next entry */
	bool begun;
	int error;			/* sticks */
};

void dms_cursor_init(struct dms_cursor *c, struct dms_source *s,
		     const struct dms_tree *t, u64 chunk);
int dms_cursor_next(struct dms_cursor *c, struct dms_exception *ret, const __le32 **csums);
void dms_cursor_exit(struct dms_cursor *c);	/* may be called twice */

/*
 * Every block of a tree, children before parents, without reading leaves: to
 * free it or to mark it used.  fn returns 0 to go on; anything else ends the
 * walk and is returned.  -EUCLEAN, perhaps late, if the blocks are not as many
 * as the tree says.
 */
int dms_tree_walk(struct dms_source *s, const struct dms_tree *t,
		  int (*fn)(void *context, u64 block), void *context);

/*
 * Where a tree goes.  alloc() returns the address of the next block to write
 * (0: no space), write() takes a sealed block; both may sleep.  The builder
 * keeps one block for each level in memory.
 */
struct dms_sink {
	u64 (*alloc)(struct dms_sink *s);
	int (*write)(struct dms_sink *s, u64 addr, const void *block);
	u32 chunk_blocks;
	u64 generation, sequence;
	u8 uuid[16];
};

struct dms_builder;

/* NULL when out of memory; sleeps. */
struct dms_builder *dms_builder_create(struct dms_sink *s);
/*
 * Append an entry; chunk order (then tag) must ascend and runs be equal or
 * disjoint, else -EINVAL.  Consecutive groups that continue each other (same
 * tags and kinds, area chunks in sequence) are joined.  -ENOSPC, or write()'s
 * error.  Long DATA runs are split so that none exceeds DMS_ENTRY_MAX_CSUMS
 * (the whole group alike).
 */
int dms_builder_add(struct dms_builder *b, const struct dms_exception *e, const __le32 *csums);
/* Write what is left and describe the tree (depth 0 if nothing was added). */
int dms_builder_finish(struct dms_builder *b, struct dms_tree *ret);
void dms_builder_destroy(struct dms_builder *b);	/* NULL is fine */

/*
 * Merge @nr trees and, if given, a sorted table into one stream, in order and
 * with runs cut to be equal or disjoint; exceptions that no copy can need any
 * more are left out and reported instead.
 *
 * @epochs: the existing copies, ascending, @nr_epochs of them.  An exception
 * (c, t) is kept if an epoch e with prev < e <= t exists, prev being the tag
 * before it at c in this stream (dropped ones count as absent).  HOME entries
 * are kept if their tag is @merge_epoch (0: none kept).  @drop is told every
 * DATA run that is left out, its area chunks can be freed once the result is
 * durable.  To @held, of @nr_epochs, are added the area chunks that are kept and that
 * no copy newer than that one needs.  @look is called for each run, whether or not
 * anything of it is kept; an error ends the merger.
 */
struct dms_merger;

struct dms_merge_spec {
	struct dms_source *source;
	const struct dms_tree *trees;
	u32 nr_trees;
	const struct dms_table *table;	/* may be NULL */
	const u32 *epochs;
	u32 nr_epochs;
	u32 merge_epoch;
	u64 *held;			/* may be NULL */
	void (*drop)(void *context, area_chunk_t first, u32 length);	/* may be NULL */
	int (*look)(void *context);					/* may be NULL */
	void *context;
};

/*
 * NULL when out of memory; sleeps.  What the spec points to must stay.  The
 * merger holds one leaf of each tree at a time.
 */
struct dms_merger *dms_merger_create(const struct dms_merge_spec *spec);
/*
 * Equal (chunk, tag), HOME apart, from several sources: the table's is kept,
 * else the last tree's; the others are dropped where they lie elsewhere.
 *
 * Next kept entry: 1, 0 at the end, or an error.  Pointer valid until the next call.
 */
int dms_merger_next(struct dms_merger *m, struct dms_exception *ret, const __le32 **csums);
void dms_merger_destroy(struct dms_merger *m);	/* NULL is fine */

#endif
