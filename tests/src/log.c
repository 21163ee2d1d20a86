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

#include "log.h"

#define MAGIC	0x6a736677736872ull

struct disk_super {
	u64 magic, version, nr_entries;
	u32 sectorsize;
};

struct disk_entry {
	u64 sector, nr_sectors, flags, data_len;
};

void log_open(struct log *log, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	const struct disk_super *super;
	u64 size, unit, i, at;
	const u8 *map;

	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	ioctl(fd, BLKFLSBUF, 0);
	size = device_sectors(fd) * SECTOR;
	map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		die("%s: %s", path, strerror(errno));
	close(fd);
	super = (const void *)map;
	if (le64toh(super->magic) != MAGIC || le64toh(super->version) != 1)
		die("%s: no log of writes", path);
	unit = le32toh(super->sectorsize);
	log->nr_entries = le64toh(super->nr_entries);
	log->entries = xmalloc(log->nr_entries * sizeof(*log->entries));
	at = unit;
	for (i = 0; i < log->nr_entries; i++) {
		const struct disk_entry *d = (const void *)(map + at);
		struct log_entry *e = log->entries + i;
		u64 length;

		if (at + unit > size)
			die("%s: entry %llu is behind the end: the log is too small", path,
			    (unsigned long long)i);
		e->sector = le64toh(d->sector) * (unit / SECTOR);
		e->count = le64toh(d->nr_sectors) * (unit / SECTOR);
		e->flags = le64toh(d->flags);
		at += unit;
		if (e->flags & LOG_MARK)
			e->mark = strndup((const char *)(d + 1), le64toh(d->data_len));
		length = e->flags & (LOG_MARK | LOG_DISCARD) ? 0 : e->count * SECTOR;
		if (at + length > size)
			die("%s: entry %llu is behind the end: the log is too small", path,
			    (unsigned long long)i);
		e->data = map + at;
		at += length;
	}
}

void log_apply_part(const struct log_entry *e, u8 *image, u64 image_sectors, u64 from,
		    u64 to)
{
	u8 *where = image + (e->sector + from) * SECTOR;

	if (!log_is_write(e) || e->sector >= image_sectors)
		return;
	to = min(min(to, e->count), image_sectors - e->sector);
	if (from >= to)
		return;
	if (e->flags & LOG_DISCARD)
		memset(where, 0, (to - from) * SECTOR);
	else
		memcpy(where, e->data + from * SECTOR, (to - from) * SECTOR);
}

void log_apply(const struct log_entry *e, u8 *image, u64 image_sectors)
{
	log_apply_part(e, image, image_sectors, 0, e->count);
}

void log_apply_torn(const struct log_entry *e, u8 *image, u64 image_sectors, struct rng *r)
{
	u64 i, keep = rng_below(r, e->count);
	u32 dice = rng_below(r, 3);

	switch (dice) {
	case 0:					/* only the head got there */
		log_apply_part(e, image, image_sectors, 0, keep);
		break;
	case 1:					/* only the tail */
		log_apply_part(e, image, image_sectors, keep, e->count);
		break;
	default:
		for (i = 0; i < e->count; i++) {
			if (rng_chance(r, 50))
				log_apply_part(e, image, image_sectors, i, i + 1);
		}
	}
}
