/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The diff area, offline: laying one out, recognising one, finding them all,
 * reading the copies in it without the kernel.  Nothing here needs or talks to
 * the module; a device in use by it may be read all the same, but what is read
 * then is a state of the past.
 *
 * Everything read is distrusted.  Functions return 0 or -errno unless stated;
 * @ret parameters are written on success only.
 */
#ifndef SHADOWCTL_AREA_H
#define SHADOWCTL_AREA_H

#include "host.h"
#include "format-core.h"

#define AREA_DEFAULT_CHUNK_BLOCKS	4	/* 16 KiB */
#define AREA_DEFAULT_LOW_SPACE		80	/* percent */

/* --- making one --- */

struct area_params {
	u8 uuid[16];			/* all zeros: a random one */
	u32 chunk_blocks;
	u64 journal_blocks;		/* 0: by the size of the area */
	u64 origin_sectors;
	char origin_id[64];		/* terminated */
	u32 when_full;			/* enum dms_when_full */
	u32 full_timeout;		/* seconds */
	u64 limit_chunks;		/* 0: none */
	u32 low_space;			/* percent, 0: never */
	bool is_volatile;
	u64 created;			/* seconds since 1970, 0: now */
};

/* The defaults; uuid, origin and created are left zero. */
void area_params_init(struct area_params *p);

/*
 * Plan an area of @bytes: the superblock of an empty area in @ret.  Pure.
 * -EINVAL for parameters that make no sense, -ENOSPC if @bytes is too few.
 */
int area_plan(const struct area_params *p, u64 bytes, struct dms_super *ret);
/* The fewest bytes in which area_plan() finds room. */
u64 area_min_bytes(u32 chunk_blocks);

/*
 * Lay out an empty diff area on @fd (device or file, open for writing, whole
 * size used).  Metadata first, superblocks last; durable on return.  What was
 * there is lost: asking first is the caller's business (area_probe()).
 */
int area_format(int fd, const struct area_params *p, struct dms_super *ret);

/* --- recognising one --- */

enum area_state {
	AREA_VALID,
	AREA_BLANK,		/* zeros where anything would be, nothing known on it */
	AREA_FOREIGN,		/* something else: .what, as libblkid calls it */
	AREA_VERSION,		/* a diff area of a version that we don't know */
	AREA_FEATURES,		/* with incompatible features that we don't know */
	AREA_DAMAGED,		/* was a diff area, no superblock is valid */
	AREA_TRUNCATED,		/* device smaller than the area says: .super is valid */
};

struct area_info {
	enum area_state state;
	u64 bytes;			/* of the device or file */
	struct dms_super super;		/* VALID, TRUNCATED: the newest valid one */
	unsigned int supers_valid;	/* 0 to 2 */
	unsigned int super_slot;	/* 0: A, 1: B is the newest */
	u32 version;			/* VERSION */
	u32 incompat;			/* FEATURES: the unknown bits */
	char what[64];			/* FOREIGN: "ntfs", "LVM2_member", ... */
};

/* 0 whenever it could be read, whatever it is; else -errno of open or read. */
int area_probe(const char *path, struct area_info *ret);
int area_probe_fd(int fd, struct area_info *ret);
/*
 * 0 for AREA_VALID, else the -errno that gives the right exit code: -ENODEV
 * (BLANK, FOREIGN), -EPROTONOSUPPORT (VERSION, FEATURES), -EUCLEAN (the rest).
 */
int area_state_errno(const struct area_info *info);
/* The same as half a sentence, "holds ntfs, not a diff area"; fits @size. */
const char *area_state_text(const struct area_info *info, char *buf, size_t size);

/*
 * Every block device with a diff area on it (VALID and TRUNCATED), each once
 * even where it is seen through several devices (multipath).  @fn returns 0 to
 * go on; area_scan() returns what ended it.
 */
int area_scan(int (*fn)(void *context, const char *path, const struct area_info *info),
	      void *context);
/* The device with the diff area @uuid; free() *@ret.  -ENODEV: there is none. */
int area_find(const u8 uuid[16], char **ret);
/*
 * Would a read of the device, "dm-3", wait for somebody's resume, its own or one
 * below?  Such are passed over by area_scan().
 */
bool area_device_suspended(const char *name);

/* --- reading one --- */

/* The state that activation would find: the checkpoint and the journal's tail. */
struct area_copies {
	struct area_info info;
	struct dms_root root;			/* merge and epoch after replay */
	u32 count;
	struct dms_shadow_info *copies;		/* ascending id */
	u32 damaged;				/* descriptors that can't be read */
};

int area_read_copies(const char *path, struct area_copies *ret);
void area_copies_free(struct area_copies *c);

/* --- small things --- */

static inline u64 area_chunk_bytes(const struct dms_super *s)
{
	return (u64)s->chunk_blocks << DMS_BLOCK_SHIFT;
}

/* 36 characters and a terminator, lower case. */
void area_uuid_text(const u8 uuid[16], char buf[37]);
int area_uuid_parse(const char *text, u8 uuid[16]);
/* Size of a device or file in bytes. */
int area_device_bytes(int fd, u64 *ret);
/* All of it or -errno; -EIO at the end of the device. */
int area_pread(int fd, void *buf, size_t size, u64 offset);
int area_pwrite(int fd, const void *buf, size_t size, u64 offset);

#endif
