/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is a diff area sound, and if not, what is lost?  Reads only; see check.c.
 */
#ifndef SHADOWCTL_CHECK_H
#define SHADOWCTL_CHECK_H

#include "area.h"

enum check_level {
	CHECK_NOTE,		/* normal, but worth knowing */
	CHECK_WARNING,		/* costs space or comfort, no data */
	CHECK_DAMAGE,
	CHECK_REPAIR,		/* of repair_area(): what was done */
};

#define CHECK_NO_BLOCK	(~(u64)0)

struct check_finding {
	enum check_level level;
	const char *object;	/* "superblock", "root", "copy", "index", "exempt" ... */
	u64 block;		/* of the diff area, or CHECK_NO_BLOCK */
	const char *fact;	/* "block 12: wrong checksum" */
	/* which content of which copies it costs; chunks 0: all chunks */
	u64 chunk, chunks;	/* of the origin */
	const u32 *copies;	/* ids */
	u32 nr_copies;
};

struct check_params {
	bool data;		/* read and verify every saved chunk */
	u64 max_findings;	/* reported; all are counted.  0: no limit */
	void (*report)(void *context, const struct check_finding *f);
	void *context;
};

struct check_summary {
	u64 damage, warnings, notes;
	u32 copies, trees;
	u64 tree_blocks, entries;		/* of the index */
	u64 saved_chunks;			/* journal included */
	u64 journal_blocks, journal_saves;	/* that a replay takes */
	u64 area_chunks, used_chunks, leaked_chunks;
	u64 verified_blocks;			/* of data, 4 KiB */
};

/*
 * 0: checked, @ret tells how it went.  Else there is nothing to check (-errno
 * as of area_state_errno(), *@info says what it is instead) or no way to.
 */
int check_area(const char *path, const struct check_params *p, struct area_info *info,
	       struct check_summary *ret);

#endif
