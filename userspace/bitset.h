/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sets of chunks or blocks of a diff area.  A page covers what a bitmap pair
 * covers; memory only where something is.
 */
#ifndef SHADOWCTL_BITSET_H
#define SHADOWCTL_BITSET_H

#include "host.h"
#include "format.h"

struct bitset {
	u8 **page;
	u64 pages;
};

static inline int bitset_init(struct bitset *b, u64 bits)
{
	b->pages = (bits + DMS_BITMAP_BITS - 1) / DMS_BITMAP_BITS;
	b->page = calloc(b->pages ? b->pages : 1, sizeof(*b->page));
	return b->page ? 0 : -ENOMEM;
}

/* Of a set that is all zeros, too. */
static inline void bitset_exit(struct bitset *b)
{
	u64 i;

	for (i = 0; b->page && i < b->pages; i++)
		free(b->page[i]);
	free(b->page);
	b->page = NULL;
}

static inline bool bitset_test(const struct bitset *b, u64 bit)
{
	const u8 *page = b->page[bit / DMS_BITMAP_BITS];

	return page && page[bit % DMS_BITMAP_BITS / 8] >> bit % 8 & 1;
}

static inline int bitset_set(struct bitset *b, u64 bit)
{
	u8 **page = &b->page[bit / DMS_BITMAP_BITS];

	if (!*page)
		*page = calloc(1, DMS_PAYLOAD_SIZE);
	if (!*page)
		return -ENOMEM;
	(*page)[bit % DMS_BITMAP_BITS / 8] |= 1u << bit % 8;
	return 0;
}

/* Bits 8 * @byte to 8 * @byte + 7 of page @page. */
static inline u8 bitset_byte(const struct bitset *b, u64 page, u32 byte)
{
	return b->page[page] ? b->page[page][byte] : 0;
}

#endif
