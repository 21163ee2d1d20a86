// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <string.h>

#include "stamp.h"

#define WORDS	(SECTOR / 8)
#define MAGIC	0x706d6f7473736d64	/* "dmsstomp" */

static u64 start(u64 seed, u64 sector, u32 seq)
{
	return mix(seed ^ mix(sector << 32 ^ seq));
}

void stamp(void *buf, u64 seed, u64 sector, u64 count, u32 seq)
{
	u64 *p = buf, x;
	unsigned int i;

	if (!seq) {
		memset(buf, 0, count * SECTOR);
		return;
	}
	for (; count; count--, sector++, p += WORDS) {
		p[0] = MAGIC ^ mix(seed);
		p[1] = sector << 32 | seq;
		x = start(seed, sector, seq);
		for (i = 2; i < WORDS; i++, x += 0x9e3779b97f4a7c15)
			p[i] = x;
	}
}

bool stamp_is(const void *buf, u64 seed, u64 sector, u32 seq)
{
	const u64 *p = buf;
	unsigned int i;
	u64 x, differ;

	differ = 0;
	if (!seq) {
		for (i = 0; i < WORDS; i++)
			differ |= p[i];
		return !differ;
	}
	x = start(seed, sector, seq);
	differ = (p[0] ^ MAGIC ^ mix(seed)) | (p[1] ^ (sector << 32 | seq));
	for (i = 2; i < WORDS; i++, x += 0x9e3779b97f4a7c15)
		differ |= p[i] ^ x;
	return !differ;
}

bool stamp_says(const void *buf, u64 seed, u64 sector, u32 seq)
{
	const u64 *p = buf;

	return p[0] == (MAGIC ^ mix(seed)) && p[1] == (sector << 32 | seq);
}

u32 stamp_read(const void *buf, u64 seed, u64 sector)
{
	const u64 *p = buf;
	u32 seq = 0;

	if (p[0] == (MAGIC ^ mix(seed)))
		seq = (u32)p[1];
	return stamp_is(buf, seed, sector, seq) ? seq : STAMP_NONE;
}

const char *stamp_describe(const void *buf, u64 seed, u64 sector, char *text, size_t size)
{
	const u64 *p = buf;
	u32 seq;

	seq = stamp_read(buf, seed, sector);
	if (!seq)
		snprintf(text, size, "zeros");
	else if (seq != STAMP_NONE)
		snprintf(text, size, "write %u", seq);
	else if (p[0] != (MAGIC ^ mix(seed)))
		snprintf(text, size, "no stamp of this seed (%016llx)", (unsigned long long)p[0]);
	else if (stamp_is(buf, seed, p[1] >> 32, (u32)p[1]))
		snprintf(text, size, "sector %u of write %u", (u32)(p[1] >> 32), (u32)p[1]);
	else
		snprintf(text, size, "a torn stamp, sector %u of write %u", (u32)(p[1] >> 32),
			 (u32)p[1]);
	return text;
}

u64 stamp_compare(const void *data, u64 seed, u64 sector, u64 count, const u32 *map)
{
	const u8 *buf = data;
	u64 i;

	for (i = 0; i < count; i++) {
		if (map[i] != STAMP_NONE &&
		    !stamp_is(buf + i * SECTOR, seed, sector + i, map[i]))
			break;
	}
	return i;
}
