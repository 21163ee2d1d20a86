/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stamps: what a sector holds tells which write put it there.
 *
 * Write number @seq of a run fills each of its sectors with words that follow
 * from (seed, sector, seq), the first of which name the last two.  Number 0
 * stands for zeros.
 */
#ifndef TESTS_STAMP_H
#define TESTS_STAMP_H

#include "util.h"

#define STAMP_NONE	0xffffffffu	/* no stamp: content nobody knows */

/* Fill @count sectors from @sector on. */
void stamp(void *buf, u64 seed, u64 sector, u64 count, u32 seq);
/* Does one sector hold what write @seq left? */
bool stamp_is(const void *buf, u64 seed, u64 sector, u32 seq);
/* Does it say so?  It may be damaged behind that. */
bool stamp_says(const void *buf, u64 seed, u64 sector, u32 seq);
/* Which write left this sector?  STAMP_NONE if it is no whole stamp of it. */
u32 stamp_read(const void *buf, u64 seed, u64 sector);
/* What is in it, for people. */
const char *stamp_describe(const void *buf, u64 seed, u64 sector, char *text, size_t size);

/*
 * Compare @count sectors with @map[0..count), which is indexed from @sector.
 * Entries STAMP_NONE fit anything.  Returns the first that differs, or @count.
 */
u64 stamp_compare(const void *data, u64 seed, u64 sector, u64 count, const u32 *map);

#endif
