/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What dm-recorder leaves on its log device: one record after the other, from
 * the device's start, each followed by its text or data.  Read by tests/src.
 */
#ifndef TESTS_RECORDING_H
#define TESTS_RECORDING_H

#include <linux/types.h>

#define RECORD_MAGIC	0x44726f6365522d53ULL
#define RECORD_UNIT	512		/* records and what follows them begin at these */

enum record_kind {
	RECORD_END	= 0,		/* the last one */
	RECORD_WRITE	= 1,		/* data follows */
	RECORD_DISCARD	= 2,
	RECORD_ZERO	= 3,		/* write-zeroes */
	RECORD_FLUSH	= 4,
	RECORD_MARK	= 5,		/* text follows */
};

enum record_flags {
	RECORD_FUA	= 1 << 0,
	RECORD_FAILED	= 1 << 1,	/* ended with an error */
};

/*
 * Records stand in the order in which they began.  Beginnings and ends are
 * numbered together, from 0; what never ended has its beginning as end.
 */
struct record_disk {
	__le64 magic;
	__le32 kind, flags;
	__le64 sector, count;		/* 512 bytes each */
	__le64 begin, end;
	__le64 length;			/* bytes that follow */
	__u8 pad[456];
};

#endif
