/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * In-core twins of format.h, and the only code that converts between them.
 * Pure: no I/O, no allocation, any context.  Everything read is distrusted: a
 * decoder returns 0, or -EUCLEAN for a block that is damaged or nonsense,
 * -EPROTONOSUPPORT for one of another version or with unknown features, and
 * -ESTALE for one that belongs to another diff area.
 */
#ifndef DM_SHADOW_FORMAT_CORE_H
#define DM_SHADOW_FORMAT_CORE_H

#include "format.h"

typedef u64 area_chunk_t;		/* chunk number in the diff area */

struct dms_pointer {
	u64 block;			/* 0: none */
	u32 crc;
};

/* One run of origin chunks with one fate; see enum dms_kind. */
struct dms_exception {
	u64 chunk;
	area_chunk_t where;
	u32 length;			/* chunks */
	u32 tag;
	u8 kind;
};

struct dms_tree {
	struct dms_pointer root;
	u64 entries;
	u64 blocks;
	u64 first_chunk, last_chunk;
	u32 min_tag, max_tag;
	u32 depth;			/* 0: empty */
};

struct dms_super {
	u8 uuid[16];
	u64 generation, sequence;
	u32 compat, ro_compat, incompat, flags;
	u32 chunk_blocks;
	u32 bitmap_pairs;
	u64 area_blocks;
	u64 journal_block, journal_blocks;
	u64 bitmap_block;
	u64 origin_sectors;
	char origin_id[64];		/* always terminated */
	u32 when_full, full_timeout;
	u64 limit_chunks;
	u32 low_space;
	u64 created;
	struct dms_pointer root;
	u32 root_blocks;
};

struct dms_root {
	u64 journal_sequence;
	u32 epoch;
	u32 nr_shadows, nr_trees, nr_prints;
	u64 used_chunks;
	u32 merge_shadow, merge_epoch;
	u64 merge_cursor;
};

struct dms_shadow_info {
	u32 id, flags;
	u64 origin_sectors;
	u64 created;
	u32 created_nsec;
	u32 set_members;
	u8 uuid[16], set_uuid[16];
	u64 locked_until;
	u64 exempt_chunks;
	struct dms_tree exempt;
	u32 attr_size;
	u8 attr[DMS_ATTR_SIZE];
};

/* The part of every block header that differs between blocks. */
struct dms_header {
	u64 block;
	u64 generation, sequence;
	u16 type;
	u32 count, csums;
};

/* CRC-32C, initial value and final xor ~0. */
u32 dms_crc(const void *data, size_t size);
/* All zeros?  @size in bytes, a multiple of 8. */
bool dms_is_zero(const void *data, size_t size);

/*
 * Fill in @block's header from @h and @uuid and seal it: everything behind the
 * header must be in place.  Returns the block's crc, for pointers to it.
 */
u32 dms_block_seal(void *block, const struct dms_header *h, const u8 uuid[16]);
/*
 * Check @block as read from address @addr: crc, magic, version, address, @uuid
 * (NULL: any), @type.  @crc is the one the pointer names, or NULL.
 */
int dms_block_check(const void *block, u64 addr, u16 type, const u8 uuid[16],
		    const u32 *crc, struct dms_header *ret);

/*
 * Can @e be in an area of @area_chunks?  Bounds, kind, and that nothing but
 * DATA has a place; not whether its neighbours agree.
 */
bool dms_exception_valid(const struct dms_exception *e, u32 chunk_blocks, u64 area_chunks);

/* Superblock: pack seals too.  unpack checks geometry against itself. */
void dms_super_pack(void *block, u64 addr, const struct dms_super *s);
int dms_super_unpack(const void *block, u64 addr, struct dms_super *ret);
/* Can metadata that is not in a fixed place lie at @block? */
bool dms_super_elsewhere(const struct dms_super *s, u64 block);
/* How many chunks the area has; a tail shorter than a chunk is not used. */
u64 dms_super_chunks(const struct dms_super *s);

/* As dms_block_seal(), for a block of the root that @next follows. */
u32 dms_root_seal(void *block, const struct dms_header *h, const struct dms_pointer *next,
		  const u8 uuid[16]);
/* What follows @block, which dms_block_check() has passed. */
struct dms_pointer dms_root_next(const void *block);
void dms_root_pack(struct dms_disk_root *d, const struct dms_root *r);
int dms_root_unpack(const struct dms_disk_root *d, struct dms_root *ret);
void dms_tree_pack(struct dms_disk_tree *d, const struct dms_tree *t);
/* Sanity against an area of @area_blocks. */
int dms_tree_unpack(const struct dms_disk_tree *d, u64 area_blocks, struct dms_tree *ret);
void dms_shadow_pack(struct dms_disk_shadow *d, const struct dms_shadow_info *s);
int dms_shadow_unpack(const struct dms_disk_shadow *d, u64 area_blocks,
		      struct dms_shadow_info *ret);

/*
 * Journal block being filled.  The adders return false when the record does
 * not fit any more: seal the block, start the next.
 */
struct dms_journal_block {
	void *block;			/* DMS_BLOCK_SIZE bytes */
	u32 used;			/* bytes of records */
};

void dms_journal_begin(struct dms_journal_block *j, void *block);
/*
 * @csums: little-endian, length * chunk_blocks of them for DATA, else ignored.  A run that is
 * too long for one block is the caller's to split: dms_journal_save_max().
 */
bool dms_journal_add_save(struct dms_journal_block *j, const struct dms_exception *e,
			  const __le32 *csums, u32 chunk_blocks);
bool dms_journal_add_shadow(struct dms_journal_block *j, const struct dms_shadow_info *s);
bool dms_journal_add_delete(struct dms_journal_block *j, u32 id);
bool dms_journal_add_merge(struct dms_journal_block *j, u32 id, u32 epoch, u64 cursor);
/* Longest DATA run, in chunks, that one record can hold; at least 1. */
u32 dms_journal_save_max(u32 chunk_blocks);
u32 dms_journal_seal(struct dms_journal_block *j, u64 addr, u64 sequence,
		     u64 generation, u64 stable, const u8 uuid[16]);

/* One decoded record.  csums points into the block, little-endian. */
struct dms_record {
	u16 type;			/* enum dms_record_type */
	u32 id;
	struct dms_exception save;
	const __le32 *csums;
	const struct dms_disk_shadow *shadow;	/* for dms_shadow_unpack() */
	u32 merge_epoch;
	u64 merge_cursor;
};

/*
 * Walk a checked journal block: *@pos is 0 at first.  Returns 1 and a record,
 * 0 at the end, -EUCLEAN for a record that makes no sense.
 */
int dms_journal_next(const void *block, u32 chunk_blocks, u64 area_chunks,
		     u32 *pos, struct dms_record *ret);
u64 dms_journal_stable(const void *block);

#endif
