/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The recording of dm-recorder (tests/targets): what a device was sent, when
 * each began and when it ended.  From that follows what a power cut may leave.
 */
#ifndef TESTS_LOG_H
#define TESTS_LOG_H

#include "util.h"

#define LOG_NEVER	(-1ull)

enum log_kind {
	LOG_WRITE,
	LOG_CLEAR,			/* discard or write-zeroes */
	LOG_REFUSED,			/* the same, not supported: nothing happened */
	LOG_FLUSH,
	LOG_MARK,
};

/* Events are numbered from 0: each entry begins and, but for marks, ends. */
struct log_entry {
	enum log_kind kind;
	bool fua, failed;
	u64 sector, count;		/* 512 bytes each */
	u64 begin, end;			/* end: or LOG_NEVER */
	u64 durable;			/* on stable media from this event on, or LOG_NEVER */
	const u8 *data;			/* of a write */
	char *mark;			/* or NULL */
};

struct log_event {
	u64 entry;
	bool end;
};

struct log {
	u64 nr_entries, nr_events;
	struct log_entry *entries;	/* in the order in which they began */
	struct log_event *events;
	/* the first base_next entries, all durable, laid down: see log_cut() */
	u8 *base;
	u64 base_next;
};

/* What a power cut leaves of what is not sure to be there. */
enum cut_mode {
	CUT_NOTHING_LOST,		/* all that had begun */
	CUT_LOSE,			/* some of it, some torn */
	CUT_LOSE_ALL,			/* nothing */
	CUT_KEEP_ORIGIN,		/* what went to sectors before .split, all of that */
	CUT_KEEP_AREA,			/* what went to sectors from .split on */
	CUT_TEAR,			/* all; what began last is torn */
};

struct cut {
	enum cut_mode mode;
	u64 event;			/* the last before the power went */
	u64 split;
	struct rng *chance;
};

/* Dies if @path has no whole recording. */
void log_open(struct log *log, const char *path);
/*
 * The @sectors that power cut @cut leaves, of a device that was all zeros, in
 * @image.  Quick if the cuts of one log ascend.
 */
void log_cut(struct log *log, const struct cut *cut, u8 *image, u64 sectors);

static inline bool log_is_write(const struct log_entry *e)
{
	return e->kind == LOG_WRITE || e->kind == LOG_CLEAR;
}

/* Does event @i make something durable: a flush or FUA write that ends? */
static inline bool log_is_barrier(const struct log *log, u64 i)
{
	const struct log_entry *e = log->entries + log->events[i].entry;

	return log->events[i].end && (e->kind == LOG_FLUSH || e->fua);
}

/* The text of the mark that event @i is, or NULL. */
static inline const char *log_mark(const struct log *log, u64 i)
{
	return log->entries[log->events[i].entry].mark;
}

#endif
