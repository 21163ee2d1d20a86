/* SPDX-License-Identifier: GPL-2.0-only */
/* Where the exceptions of a big area lie: known to who makes it and who measures. */
#ifndef BIG_SCATTER_H
#define BIG_SCATTER_H

#include <stdint.h>

#define SCATTER_TREES	3

/* Trees as the background would leave them, each at least twice those behind it. */
static inline uint64_t scatter_entries(uint64_t all, unsigned int trees, unsigned int tree)
{
	static const unsigned int share[SCATTER_TREES] = { 70, 22, 8 };

	return trees == 1 ? all : all * share[tree] / 100;
}

/* Every fourth chunk of a tree is there with two tags, if there are several copies. */
static inline uint64_t scatter_chunks(uint64_t entries, unsigned int trees)
{
	return trees == 1 ? entries : entries * 4 / 5;
}

/* Number @i of the @chunks saved ones of a tree; no two are neighbours. */
static inline uint64_t scatter_chunk(uint64_t origin_chunks, uint64_t chunks, unsigned int tree,
				     uint64_t i)
{
	uint64_t gap = origin_chunks / (chunks + 2);
	uint64_t x = i * SCATTER_TREES + tree + 1;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	x ^= x >> 31;
	return i * gap + x % (gap - 1);
}

#endif
