// SPDX-License-Identifier: GPL-2.0-only
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../targets/recording.h"
#include "log.h"

static const struct record_disk *next_record(const u8 *map, u64 size, u64 *at, const char *path)
{
	const struct record_disk *d = (const void *)(map + *at);

	if (*at + sizeof(*d) > size || le64toh(d->magic) != RECORD_MAGIC ||
	    le64toh(d->length) > size - *at - sizeof(*d))
		die("%s: no whole recording: is the log device too small?", path);
	*at += sizeof(*d) + (le64toh(d->length) + RECORD_UNIT - 1) / RECORD_UNIT * RECORD_UNIT;
	return le32toh(d->kind) == RECORD_END ? NULL : d;
}

static void parse(struct log_entry *e, const struct record_disk *d)
{
	const void *data = d + 1;
	u32 flags = le32toh(d->flags);

	e->sector = le64toh(d->sector);
	e->count = le64toh(d->count);
	e->begin = le64toh(d->begin);
	e->end = le64toh(d->end);
	if (e->end == e->begin)
		e->end = LOG_NEVER;
	e->fua = flags & RECORD_FUA;
	e->failed = flags & RECORD_FAILED;
	switch (le32toh(d->kind)) {
	case RECORD_WRITE:
		e->kind = LOG_WRITE;
		e->data = data;
		break;
	case RECORD_FLUSH:
		e->kind = LOG_FLUSH;
		break;
	case RECORD_MARK:
		e->kind = LOG_MARK;
		e->mark = strndup(data, le64toh(d->length));
		break;
	default:
		e->kind = e->failed ? LOG_REFUSED : LOG_CLEAR;
	}
}

/* Whatever ended before a flush began is durable when the flush ends. */
static void find_durable(struct log *log)
{
	u64 flushed = LOG_NEVER, i;

	for (i = log->nr_events; i-- > 0;) {
		struct log_entry *e = log->entries + log->events[i].entry;

		if (e->failed)
			continue;
		if (e->kind == LOG_FLUSH && !log->events[i].end)
			flushed = min(flushed, e->end);
		if (log_is_write(e) && log->events[i].end)
			e->durable = e->fua ? i : flushed;
	}
}

void log_open(struct log *log, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	const struct record_disk *d;
	u64 size, at, i;
	const u8 *map;

	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	ioctl(fd, BLKFLSBUF, 0);
	size = device_sectors(fd) * SECTOR;
	map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		die("%s: %s", path, strerror(errno));
	close(fd);
	memset(log, 0, sizeof(*log));
	for (at = 0; next_record(map, size, &at, path);)
		log->nr_entries++;
	log->entries = xmalloc(log->nr_entries * sizeof(*log->entries));
	log->events = xmalloc(2 * log->nr_entries * sizeof(*log->events));
	for (i = 0, at = 0; (d = next_record(map, size, &at, path)); i++) {
		struct log_entry *e = log->entries + i;

		parse(e, d);
		e->durable = LOG_NEVER;
		log->events[e->begin] = (struct log_event){ i, false };
		log->nr_events = max(log->nr_events, e->begin + 1);
		if (e->end == LOG_NEVER)
			continue;
		log->events[e->end] = (struct log_event){ i, true };
		log->nr_events = max(log->nr_events, e->end + 1);
	}
	find_durable(log);
}

/* Lay sectors @from to @to of @e's into @image, cut at its end. */
static void apply_part(const struct log_entry *e, u8 *image, u64 sectors, u64 from, u64 to)
{
	u8 *where = image + (e->sector + from) * SECTOR;

	if (e->sector >= sectors)
		return;
	to = min(min(to, e->count), sectors - e->sector);
	if (from >= to)
		return;
	if (e->kind == LOG_CLEAR)
		memset(where, 0, (to - from) * SECTOR);
	else
		memcpy(where, e->data + from * SECTOR, (to - from) * SECTOR);
}

static void apply(const struct log_entry *e, u8 *image, u64 sectors)
{
	apply_part(e, image, sectors, 0, e->count);
}

/* Some of its sectors, by chance. */
static void apply_torn(const struct log_entry *e, u8 *image, u64 sectors, struct rng *r)
{
	u64 i, keep = rng_below(r, e->count);
	u32 dice = rng_below(r, 3);

	switch (dice) {
	case 0:					/* only the head got there */
		apply_part(e, image, sectors, 0, keep);
		break;
	case 1:					/* only the tail */
		apply_part(e, image, sectors, keep, e->count);
		break;
	default:
		for (i = 0; i < e->count; i++) {
			if (rng_chance(r, 50))
				apply_part(e, image, sectors, i, i + 1);
		}
	}
}

/* A write that the cut may have lost. */
static void apply_loose(const struct log_entry *e, const struct cut *cut, u8 *image, u64 sectors)
{
	bool origin = e->sector < cut->split;
	u64 dice;

	switch (cut->mode) {
	case CUT_LOSE_ALL:
		return;
	case CUT_KEEP_ORIGIN:
		if (!origin)
			return;
		break;
	case CUT_KEEP_AREA:
		if (origin)
			return;
		break;
	case CUT_LOSE:
		dice = rng_below(cut->chance, 100);
		if (dice < 40)
			return;
		if (dice >= 60)
			break;
		apply_torn(e, image, sectors, cut->chance);
		return;
	case CUT_TEAR:
		if (e->begin != cut->event)
			break;
		apply_torn(e, image, sectors, cut->chance);
		return;
	case CUT_NOTHING_LOST:
		break;
	}
	apply(e, image, sectors);
}

/* Has it reached stable media when event @event is over? */
static bool is_durable(const struct log_entry *e, u64 event)
{
	return e->durable != LOG_NEVER && e->durable <= event;
}

void log_cut(struct log *log, const struct cut *cut, u8 *image, u64 sectors)
{
	const struct log_entry *e;
	u64 i;

	if (!log->base)
		log->base = xmalloc(sectors * SECTOR);
	if (log->base_next && log->entries[log->base_next - 1].begin > cut->event) {
		memset(log->base, 0, sectors * SECTOR);
		log->base_next = 0;
	}
	for (; log->base_next < log->nr_entries; log->base_next++) {
		e = log->entries + log->base_next;
		if (log_is_write(e) && !is_durable(e, cut->event))
			break;
		if (e->begin > cut->event)
			break;
		if (log_is_write(e))
			apply(e, log->base, sectors);
	}
	memcpy(image, log->base, sectors * SECTOR);
	for (i = log->base_next; i < log->nr_entries; i++) {
		e = log->entries + i;
		if (e->begin > cut->event)
			break;
		if (!log_is_write(e))
			continue;
		if (is_durable(e, cut->event))
			apply(e, image, sectors);
		else
			apply_loose(e, cut, image, sectors);
	}
}
