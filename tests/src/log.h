/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The log of dm-log-writes, see Documentation/admin-guide/device-mapper/
 * log-writes.rst of the kernel.
 *
 * Writes stand in it in the order of their completion, but only once a flush
 * that came after has completed; with FUA at once.  So what stands before a
 * flush or FUA write was completed before it was issued, and a power cut may
 * lose any of the plain writes behind the last flush, whole or by sectors, and
 * none else.
 */
#ifndef TESTS_LOG_H
#define TESTS_LOG_H

#include "util.h"

enum log_flags {
	LOG_FLUSH	= 1 << 0,
	LOG_FUA		= 1 << 1,
	LOG_DISCARD	= 1 << 2,
	LOG_MARK	= 1 << 3,
	LOG_METADATA	= 1 << 4,
};

struct log_entry {
	u64 sector, count;		/* 512 bytes each */
	u32 flags;
	const u8 *data;			/* count sectors, or the mark */
	char *mark;			/* or NULL */
};

struct log {
	u64 nr_entries;
	struct log_entry *entries;
};

void log_open(struct log *log, const char *path);

static inline bool log_is_write(const struct log_entry *e)
{
	return e->count && !(e->flags & LOG_MARK);
}

/* Put sectors @from to @to of @e's into @image, cut at its end. */
void log_apply_part(const struct log_entry *e, u8 *image, u64 image_sectors, u64 from,
		    u64 to);
void log_apply(const struct log_entry *e, u8 *image, u64 image_sectors);
/* Some of its sectors, by chance. */
void log_apply_torn(const struct log_entry *e, u8 *image, u64 image_sectors, struct rng *r);

#endif
