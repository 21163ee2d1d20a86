/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a run of stomp did, for those who cut its power afterwards.
 *
 * Every change of the origin is an operation with a number, ascending; numbers
 * are what stamps carry.  A copy has a map: for each sector of the origin, the
 * number of the write that it shows.
 */
#ifndef TESTS_HISTORY_H
#define TESTS_HISTORY_H

#include "util.h"

enum op_kind {
	OP_WRITE	= 1,
	OP_ZERO		= 2,	/* sectors become zeros */
	OP_DISCARD	= 3,	/* sectors become zeros, or stay */
	OP_MERGE	= 4,	/* all sectors become those of copy .sector */
};

struct op {
	u32 seq;
	u32 kind;
	u32 sector;
	u32 count;
};

struct history_copy {
	u32 id;
	bool exempt;
	u32 *map;			/* what it shows in the end */
	u32 *before;			/* what it showed until exempt runs came; else NULL */
};

struct history {
	u64 seed;
	u32 sectors;
	u32 nr_ops, nr_copies;
	u32 *first;			/* the origin before operation 1 */
	struct op *ops;			/* ascending seq */
	struct history_copy *copies;
};

void history_save(const struct history *h, const char *path);
void history_load(struct history *h, const char *path);
struct history_copy *history_copy(const struct history *h, u32 id);	/* or NULL */

#endif
