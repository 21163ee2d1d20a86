/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A diff area opened for reading: superblock, root, descriptors, and what a
 * replay of the journal would make of them.  check.c, dump.c and
 * area_read_copies() stand on this.
 *
 * Nothing read is trusted; what is damaged is said by the return value
 * (-EUCLEAN, -ESTALE, -EPROTONOSUPPORT as format-core.h has them, -EIO where
 * the device can't be read) and the rest can still be used.
 */
#ifndef SHADOWCTL_IMAGE_H
#define SHADOWCTL_IMAGE_H

#include "area.h"

struct image {
	int fd;
	struct area_info info;
	const struct dms_super *super;	/* in info */
	u64 chunks;			/* of the area */
	u32 chunk_blocks;
	/* the root; all NULL and 0 until image_load_root() */
	struct dms_root root;
	u64 *root_block;	/* super->root_blocks of them; 0: could not be read */
	u8 *root_data;
	size_t root_size;
	const struct dms_disk_shadow_ref *refs;		/* root.nr_shadows */
	const struct dms_disk_tree *trees;		/* root.nr_trees */
	const struct dms_disk_print *prints;		/* root.nr_prints */
	const u8 *slots;				/* a bit for each pair */
};

/*
 * Open @path; info is filled in whatever is there.  0 only if .state is VALID,
 * else area_state_errno() or what went wrong; image_close() in any case.
 */
int image_open(const char *path, struct image *ret);
void image_close(struct image *m);

/* Read block @addr into @buf, DMS_BLOCK_SIZE bytes, unchecked. */
int image_read(const struct image *m, u64 addr, void *buf);
/* Read and check; @crc as in dms_block_check(). */
int image_block(const struct image *m, u64 addr, u16 type, const u32 *crc,
		void *buf, struct dms_header *ret);
/* Is [@block, @block + @count) inside the area and apart from the fixed parts? */
bool image_inside(const struct image *m, u64 block, u64 count);
/* Does @chunk hold superblocks, journal or bitmap? */
bool image_chunk_fixed(const struct image *m, u64 chunk);
static inline const void *image_payload(const void *block)
{
	return (const u8 *)block + sizeof(struct dms_disk_header);
}

/* The root and its tables.  @bad: the block that was damaged, on failure. */
int image_load_root(struct image *m, u64 *bad);
/*
 * After that failed: load the root of the other superblock, if it is the one
 * before, of the same activation.  With the journal from there on it is the
 * same state.  Else -EUCLEAN, and nothing is loaded.
 */
int image_load_root_before(struct image *m);
/* The current block of bitmap pair @pair. */
u64 image_bitmap_block(const struct image *m, u32 pair);
/* The descriptor that @ref leads to. */
int image_descriptor(const struct image *m, const struct dms_disk_shadow_ref *ref,
		     struct dms_shadow_info *ret);
/* Do the @length * chunk_blocks blocks from area chunk @where on fit @csums? */
int image_verify(const struct image *m, u64 where, u32 length, const __le32 *csums);

/* --- the journal --- */

enum journal_end {
	JOURNAL_END,		/* no more blocks were written */
	JOURNAL_TORN,		/* data of the last save was under way: normal after a crash */
	JOURNAL_BAD_RECORD,	/* a block is whole, but its records make no sense */
	JOURNAL_UNREADABLE,	/* the device can't read a block */
};

struct image_journal {
	u64 begin, end;			/* sequences that a replay takes */
	u64 stable;			/* the highest seen; blocks below are durable */
	enum journal_end why;
	bool lost;			/* something durable is at or behind .end */
	u64 next_whole;			/* lost: the next whole block behind */
	u64 newest;			/* generation of a block in the ring, the highest */
};

/* Find the tail that a replay takes.  An error is of memory only. */
int image_journal(const struct image *m, struct image_journal *ret);
u64 image_journal_block(const struct image *m, u64 sequence);
/* Every record of the tail, in order; @fn returns 0 to go on. */
int image_journal_each(const struct image *m, const struct image_journal *j,
		       int (*fn)(void *context, u64 sequence, const struct dms_record *r),
		       void *context);

/* --- the copies after replay --- */

struct image_copies {
	struct dms_shadow_info *item;	/* ascending id */
	u32 count, room;
	u32 epoch;
	u32 merge_shadow, merge_epoch;
	u64 merge_cursor;
};

/*
 * @damaged (may be NULL) is told every descriptor that can't be read.  Needs
 * the root.
 */
int image_copies(const struct image *m, const struct image_journal *j,
		 void (*damaged)(void *context, u32 id, u64 block, int error), void *context,
		 struct image_copies *ret);
void image_copies_free(struct image_copies *c);

#endif
