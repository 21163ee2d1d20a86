/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What shadowctl knows of NTFS (through libntfs-3g, read-only and forensic:
 * nothing is ever written, nothing replayed) and of other file systems (through
 * libblkid: their name).
 *
 * The volume must not change meanwhile: give these a shadow copy's node, an
 * image, or a device in which nobody writes.  Not thread-safe.
 *
 * The fixed-width types are C's here: libntfs-3g has its own u64, of another
 * kind than the kernel's.
 *
 * Whatever is odd about a volume is no reason to fail a creation: the callers
 * treat an error as "nothing is known, save everything".
 */
#ifndef SHADOWCTL_NTFS_H
#define SHADOWCTL_NTFS_H

#include <stdbool.h>
#include <stdint.h>

/* --- any file system --- */

struct fs_info {
	char type[32];			/* "ntfs", "ext4"...; "" if unknown */
	char label[256];		/* UTF-8, "" if none */
	char uuid[64];			/* NTFS: the serial, 16 hex digits, upper case */
};

/* 0 also where nothing is known (empty strings); -errno if it can't be read. */
int fs_info(const char *path, struct fs_info *ret);

/* --- NTFS --- */

struct ntfs_info {
	char label[256];		/* UTF-8 */
	uint64_t serial;		/* printed as %016llX */
	uint32_t cluster_bytes;
	uint32_t sector_bytes;
	uint64_t clusters;
	uint64_t bytes;			/* of the volume, its last boot sector included */
	uint16_t flags;			/* of $Volume */
	bool dirty;			/* flag 0x0001: wants chkdsk */
	bool log_clean;			/* $LogFile was closed properly */
	bool hibernated;		/* Windows sleeps on it */
	uint8_t major, minor;		/* NTFS version, 3.1 */
};

/* -ENODEV if there is no NTFS, -EUCLEAN if there is one that is damaged. */
int ntfs_info(const char *path, struct ntfs_info *ret);

/* By $Bitmap, which is read whole: 32 KiB for each GiB of 4 KiB clusters. */
int ntfs_free_clusters(const char *path, uint64_t *ret);

/*
 * Runs of chunks that a copy need not keep: every cluster of theirs is free in
 * $Bitmap, or belongs to the page file, the hibernation file or Windows' own
 * diff areas.  Ascending, disjoint, joined.  The boot sectors are never among
 * them, nor anything outside the volume.  @fn returns 0 to go on.  On any error
 * the runs given so far are void.
 *
 * -EAGAIN where $Bitmap can't be believed alone: the volume is dirty or
 * hibernated, or its log is not closed, as on one that Windows has in use.
 */
#define NTFS_EXEMPT_FREE	1u	/* free clusters */
#define NTFS_EXEMPT_FILES	2u	/* the files named above */

int ntfs_exempt(const char *path, uint32_t chunk_sectors, unsigned int what,
		int (*fn)(void *context, uint64_t first_chunk, uint64_t count), void *context);

/*
 * Blocks (4 KiB units) that change whenever the volume is written: boot sector,
 * heads of $MFT, $MFTMirr, $LogFile, $Bitmap, $MFT's bitmap, the root
 * directory.  Ascending.  Returns how many (at most @max) or -errno.
 */
int ntfs_fingerprint_blocks(const char *path, uint64_t *blocks, unsigned int max);

/*
 * Runs of bytes in use: used clusters and both boot sectors, up to @bytes, the
 * size of the device.  What lies behind the volume counts as used.  Ascending,
 * disjoint, joined where closer than @gap bytes.  -EAGAIN as above.
 */
int ntfs_used_runs(const char *path, uint64_t bytes, uint64_t gap,
		   int (*fn)(void *context, uint64_t offset, uint64_t length), void *context);

#endif
