/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TESTS_ORACLE_H
#define TESTS_ORACLE_H

#include "util.h"

struct oracle_spec {
	const char *origin, *area;	/* devices, not active */
	const char *history;		/* file to leave the history in, or NULL */
	const char *log;		/* dm-recorder node to mark, or NULL */
	u64 seed;
	u32 ops;			/* operations on the origin */
	u32 copies;			/* at most */
	u32 writers;			/* threads; 0: the one that does all else */
	u32 readers;			/* threads */
	u32 pace;			/* operations between two changes of copies */
	u32 max_write;			/* sectors */
	u32 merges;			/* at least */
	u64 limit;			/* area chunks, to be hit now and then; 0: never */
	bool merge, reactivate, exempt, discard;
};

/* Run against the model; dies at the first difference. */
void oracle_run(const struct oracle_spec *spec);

#endif
