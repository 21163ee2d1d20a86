/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The diff area on disk.
 *
 * This file is the whole contract between the kernel module, shadowctl and
 * any other reader.  It includes nothing but the fixed-width types, and only
 * format.c converts between these structures and their in-core twins.
 *
 * Everything is little-endian.  The unit of all metadata is the *block*,
 * 4096 bytes; the unit of saving is the *chunk*, a power of two of 1 to 256
 * blocks, one size for a diff area.  The device is divided into area chunks,
 * numbered from 0 at its first byte; area chunk n begins at block
 * n * chunk_blocks.
 *
 *   block 0          superblock A
 *   block 8          superblock B          (written in turn; newest valid wins)
 *   journal_block    journal ring, journal_blocks long
 *   bitmap_block     allocation bitmap, pairs of blocks (2 * bitmap_pairs)
 *   elsewhere        saved chunks, index trees, roots, shadow descriptors,
 *                    wherever the bitmap had room
 *
 *   superblock --> root --+--> shadow descriptors (a block each) --> exempt tree
 *                         +--> index trees: immutable, sorted by (chunk, tag)
 *                         +--> which block of each bitmap pair is current
 *                         +--> where replay of the journal begins
 *
 * Nothing that a superblock leads to is ever overwritten: a checkpoint writes
 * its new blocks into free space (or the other block of a bitmap pair),
 * flushes, and then writes the older superblock.  Replay of the journal from
 * the root's journal_sequence adds what became durable afterwards.
 */
#ifndef DM_SHADOW_FORMAT_H
#define DM_SHADOW_FORMAT_H

#include <linux/types.h>

#define DMS_BLOCK_SHIFT		12
#define DMS_BLOCK_SIZE		4096
#define DMS_BLOCK_SECTORS	(DMS_BLOCK_SIZE >> 9)

#define DMS_MIN_CHUNK_BLOCKS	1	/* 4 KiB */
#define DMS_MAX_CHUNK_BLOCKS	256	/* 1 MiB */
#define DMS_SUPER_A_BLOCK	0
#define DMS_SUPER_B_BLOCK	8
#define DMS_RESERVED_BLOCKS	16	/* both superblocks, and room */
#define DMS_MIN_JOURNAL_BLOCKS	16
#define DMS_MAX_JOURNAL_BLOCKS	262144	/* 1 GiB */

/* Bounds that a reader holds everything against. */
#define DMS_MAX_BLOCKS		0x8000000000000ULL	/* of any device: 8 EiB */
#define DMS_MAX_ROOT_BLOCKS	4096
#define DMS_MAX_SHADOWS		65536
#define DMS_MAX_TREES		1024
#define DMS_MAX_PRINTS		65536
#define DMS_MAX_DEPTH		8		/* levels of a tree */
#define DMS_MAX_FULL_TIMEOUT	86400		/* a day */

#define DMS_FORMAT_VERSION	1

/* Unknown bits in .incompat refuse to open, in .ro_compat to open writable. */
#define DMS_COMPAT_KNOWN	0u
#define DMS_RO_COMPAT_KNOWN	0u
#define DMS_INCOMPAT_KNOWN	0u

/*
 * Every metadata block begins with this.  crc is the CRC-32C (initial value
 * and final xor ~0) of the block from byte 4 to its end.
 */
struct dms_disk_header {
	__le32 crc;
	__le32 magic;		/* DMS_MAGIC */
	__le64 block;		/* the block's own address, in blocks */
	__u8   uuid[16];	/* of the diff area */
	__le64 generation;	/* activation that wrote it */
	__le64 sequence;	/* of the checkpoint; in the journal, of the block */
	__le16 version;		/* DMS_FORMAT_VERSION */
	__le16 type;		/* enum dms_block_type */
	__le32 count;		/* of records, entries, keys or payload bytes */
	__le32 csums;		/* leaf: data checksums behind the entries */
	__le32 reserved;
};

#define DMS_MAGIC		0x77534d44	/* "DMSw" */
#define DMS_PAYLOAD_SIZE	(DMS_BLOCK_SIZE - 64)

enum dms_block_type {
	DMS_BLOCK_SUPER		= 1,
	DMS_BLOCK_JOURNAL	= 2,
	DMS_BLOCK_BITMAP	= 3,
	DMS_BLOCK_ROOT		= 4,
	DMS_BLOCK_SHADOW	= 5,
	DMS_BLOCK_LEAF		= 6,
	DMS_BLOCK_NODE		= 7,
};

/* A pointer to a metadata block carries the block's own crc: a lost write shows. */
struct dms_disk_pointer {
	__le64 block;		/* 0: none */
	__le32 crc;
	__le32 reserved;
};

enum dms_super_flags {
	DMS_SUPER_CLEAN		= 1 << 0,	/* deactivated; fingerprint holds */
	DMS_SUPER_VOLATILE	= 1 << 1,	/* content means nothing after activation */
	DMS_SUPER_LOST		= 1 << 2,	/* failed in use: no copy here is valid */
	DMS_SUPER_MERGED	= 1 << 3,	/* no merge is under way, in spite of records */
};

enum dms_when_full {
	DMS_FULL_DROP_OLDEST	= 0,
	DMS_FULL_INVALIDATE	= 1,	/* all copies that still need saving */
	DMS_FULL_BLOCK		= 2,	/* hold writes, then drop the oldest */
};

struct dms_disk_super {
	struct dms_disk_header header;
	__u8   name[16];		/* "dm-shadow", zero-padded */
	__le32 compat;
	__le32 ro_compat;
	__le32 incompat;
	__le32 flags;			/* enum dms_super_flags */
	/* geometry, in blocks */
	__le32 chunk_blocks;
	__le32 bitmap_pairs;
	__le64 area_blocks;		/* of the device that are in use */
	__le64 journal_block;
	__le64 journal_blocks;
	__le64 bitmap_block;
	/* the origin this area belongs to */
	__le64 origin_sectors;		/* 512 bytes each */
	__u8   origin_id[64];		/* what the tool knows it by, UTF-8 */
	/* policy */
	__le32 when_full;		/* enum dms_when_full */
	__le32 full_timeout;		/* seconds, DMS_FULL_BLOCK */
	__le64 limit_chunks;		/* of the area that may be used; 0: all */
	__le32 low_space;		/* percent used that raises an event */
	__le32 reserved;
	__le64 created;			/* seconds since 1970, UTC */
	/* the checkpoint */
	struct dms_disk_pointer root;	/* first block of the root */
	__le32 root_blocks;
	__u8   pad[3836];
};

#define DMS_ROOT_PART_SIZE	(DMS_PAYLOAD_SIZE - 16)

/*
 * The root is a chain of root_blocks blocks of type ROOT: an area that is nearly
 * full may have no two free chunks side by side.  Behind its header each has
 */
struct dms_disk_root_part {
	struct dms_disk_pointer next;	/* block 0 in the last */
	__u8   data[DMS_ROOT_PART_SIZE]; /* header.count bytes, all but in the last */
};

/*
 * The data joined are a dms_disk_root followed by
 *	nr_shadows	dms_disk_shadow_ref, ascending id
 *	nr_trees	dms_disk_tree, oldest first
 *	nr_prints	dms_disk_print
 *	bitmap_pairs	bits (rounded up to bytes), bit i = current block of pair i
 */
struct dms_disk_root {
	__le64 journal_sequence;	/* first journal block to replay */
	__le32 epoch;			/* of the last creation or merge */
	__le32 nr_shadows;
	__le32 nr_trees;
	__le32 nr_prints;
	__le64 used_chunks;		/* of the area, by its bitmap */
	/* a merge under way: shadow 0 = none */
	__le32 merge_shadow;
	__le32 merge_epoch;
	__le64 merge_cursor;		/* origin chunks below are home */
	__u8   reserved[80];
};

struct dms_disk_shadow_ref {
	__le32 id;
	__le32 crc;			/* of the descriptor block */
	__le64 block;
};

/* An immutable tree: an index run, or the exempt runs of one copy. */
struct dms_disk_tree {
	struct dms_disk_pointer root;	/* a leaf if depth is 1 */
	__le64 entries;
	__le64 blocks;			/* leaves and nodes */
	__le64 first_chunk;
	__le64 last_chunk;		/* the last one covered */
	__le32 min_tag;
	__le32 max_tag;
	__le32 depth;			/* levels; 0: empty tree */
	__le32 reserved;
};

/* What a sampled block of the origin held at a clean deactivation. */
struct dms_disk_print {
	__le64 block;			/* of the origin, 4 KiB units */
	__le32 crc;			/* CRC-32C of the 4096 bytes */
	__le32 reserved;
};

/* --- shadow copies --- */

enum dms_shadow_flags {
	DMS_SHADOW_PREPARING	= 1 << 0,	/* member of a set not yet committed */
	DMS_SHADOW_SUSPECT	= 1 << 1,	/* origin changed behind dm-shadow's back */
	DMS_SHADOW_INVALID	= 1 << 2,	/* lost; kept to say so until deleted */
	DMS_SHADOW_EXEMPT	= 1 << 3,	/* exempt tree is loaded */
	DMS_SHADOW_RESTORABLE	= 1 << 4,	/* reserved for the tool */
};

#define DMS_ATTR_SIZE		2048

/*
 * One copy.  The id is the epoch of its creation.  As a block of its own it
 * stands behind a header (type SHADOW); in the journal it is the record SHADOW.
 */
struct dms_disk_shadow {
	__le32 id;
	__le32 flags;			/* enum dms_shadow_flags */
	__le64 origin_sectors;		/* size when taken */
	__le64 created;			/* seconds since 1970, UTC */
	__le32 created_nsec;
	__le32 set_members;		/* of the set, this one included */
	__u8   uuid[16];
	__u8   set_uuid[16];
	__le64 locked_until;		/* seconds since 1970; 0: not locked */
	__le64 exempt_chunks;		/* sum of the exempt tree's lengths */
	struct dms_disk_tree exempt;
	__u8   reserved[96];
	__le32 attr_size;		/* bytes used of attr */
	__le32 reserved2;
	__u8   attr[DMS_ATTR_SIZE];	/* the tool's, opaque here */
};

/* --- trees --- */

enum dms_kind {
	DMS_KIND_DATA		= 1,	/* saved at area chunk .where */
	DMS_KIND_ZERO		= 2,	/* was all zeros, nothing stored */
	DMS_KIND_UNREADABLE	= 3,	/* the origin could not be read */
	DMS_KIND_HOME		= 4,	/* merge .tag has brought it home */
	DMS_KIND_EXEMPT		= 5,	/* exempt trees only */
};

/*
 * Leaf: count entries, ascending (chunk, tag), then csums checksums.  Entries
 * of one tree that share a chunk cover exactly the same run: two runs are
 * either equal or disjoint.  Where chunk and tag agree, HOME comes last and in
 * the same leaf; there are no other equals.  A DATA entry owns length * chunk_blocks checksums
 * beginning at number csum, one CRC-32C for each block of its data.
 */
struct dms_disk_entry {
	__le64 chunk;			/* of the origin */
	__le64 where;			/* area chunk; 0 unless DATA */
	__le32 length;			/* chunks */
	__le32 tag;
	__le16 csum;
	__u8   kind;			/* enum dms_kind */
	__u8   reserved[5];
};

/* Node: count keys, strictly ascending, each the first entry of a child and a pointer to it. */
struct dms_disk_key {
	__le64 chunk;
	__le32 tag;
	__le32 crc;
	__le64 block;
};

/* --- bitmap --- */

/* A bitmap block: header, then bits; bit n of pair p is area chunk p * DMS_BITMAP_BITS + n. */
#define DMS_BITMAP_BITS		(DMS_PAYLOAD_SIZE * 8)

/* --- journal --- */

/*
 * Block with sequence n lies at journal_block + n % journal_blocks.  Behind
 * the header: a dms_disk_journal, then header.count bytes of records.  Replay
 * takes blocks while sequence and generation fit, and stops at the first that
 * does not.  Data of SAVE records may have been under way at a crash unless
 * the block's sequence is below the highest .stable seen: those are verified
 * against their checksums, and replay stops where one differs.
 */
struct dms_disk_journal {
	__le64 stable;		/* blocks below this sequence, and their data, are durable */
	__le64 reserved;
};

enum dms_record_type {
	DMS_RECORD_SAVE		= 1,
	DMS_RECORD_SHADOW	= 2,	/* a dms_disk_shadow: make or replace */
	DMS_RECORD_DELETE	= 3,
	DMS_RECORD_MERGE	= 4,
};

struct dms_disk_record {
	__le16 type;		/* enum dms_record_type */
	__le16 size;		/* bytes, this header included, multiple of 8 */
	__le32 id;		/* shadow copy, or tag of a save */
};

struct dms_disk_save {
	struct dms_disk_record record;
	__le64 chunk;
	__le64 where;
	__le32 length;		/* chunks */
	__u8   kind;
	__u8   reserved[3];
	/* DATA: __le32 csums[length * chunk_blocks], padded to 8 bytes */
};

struct dms_disk_record_shadow {
	struct dms_disk_record record;
	struct dms_disk_shadow shadow;
};

/* id = copy being merged, or 0: the merge is over. */
struct dms_disk_merge {
	struct dms_disk_record record;
	__le32 epoch;
	__le32 reserved;
	__le64 cursor;
};

#define DMS_JOURNAL_SPACE	(DMS_PAYLOAD_SIZE - sizeof(struct dms_disk_journal))

_Static_assert(sizeof(struct dms_disk_header) == 64, "block header");
_Static_assert(sizeof(struct dms_disk_super) == DMS_BLOCK_SIZE, "superblock");
_Static_assert(sizeof(struct dms_disk_root) == 128, "root");
_Static_assert(sizeof(struct dms_disk_tree) == 64, "tree");
_Static_assert(sizeof(struct dms_disk_entry) == 32, "entry");
_Static_assert(sizeof(struct dms_disk_key) == 24, "key");
_Static_assert(sizeof(struct dms_disk_print) == 16, "print");
_Static_assert(sizeof(struct dms_disk_shadow) + sizeof(struct dms_disk_header) <= DMS_BLOCK_SIZE,
	       "a descriptor fits a block");
_Static_assert(sizeof(struct dms_disk_record_shadow) <= DMS_JOURNAL_SPACE,
	       "a creation fits a journal block");

#endif
