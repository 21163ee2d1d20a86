// SPDX-License-Identifier: GPL-2.0-only
/*
 * For tests: a device that remembers, of each write, flush and discard, when it
 * began and when it ended, in one numbering.  That is all a power cut depends on:
 *
 *   - what has not begun is not on the medium;
 *   - a write that has ended before a flush began is, once that flush has ended;
 *     with FUA, once it has ended itself;
 *   - anything else may be, whole, in part or not at all.
 *
 * dm-log-writes keeps only an order, and not quite that one: a write waits in it
 * for the flush that took it along, and so comes behind a later flush that was
 * faster; and a plain write before a FUA write comes behind it.
 *
 *	recorder DEVICE LOG-DEVICE [fua]
 *	message: mark TEXT
 *
 * It has a volatile write cache if DEVICE has one; with "fua" it has one that takes FUA.
 *
 * The recording is kept in memory and written to LOG-DEVICE when the target goes.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "recording.h"

#define DM_MSG_PREFIX	"recorder"

#define MAX_SECTORS	2048		/* of a bio, so that copies stay small */
#define BUFFER_SIZE	(64 * 1024)

struct recorder {
	struct dm_dev *dev, *log;
	spinlock_t lock;		/* guards the next two, and the records' events */
	u64 events;
	struct list_head records;
	bool gaps;			/* no memory for one */
};

struct record {
	struct list_head list;
	enum record_kind kind;
	u32 flags;
	sector_t sector;
	u64 count, begin, end;
	size_t length;
	void *data;			/* kvmalloc'd */
};

struct recorder_bio {
	struct record *record;		/* NULL: a read */
};

static struct record *record_new(enum record_kind kind, size_t length)
{
	struct record *rec = kzalloc(sizeof(*rec), GFP_NOIO);

	if (!rec)
		return NULL;
	rec->kind = kind;
	rec->length = length;
	if (length) {
		rec->data = kvmalloc(length, GFP_NOIO);
		if (!rec->data) {
			kfree(rec);
			return NULL;
		}
	}
	return rec;
}

static void record_free(struct record *rec)
{
	kvfree(rec->data);
	kfree(rec);
}

static void record_begin(struct recorder *r, struct record *rec)
{
	unsigned long flags;

	spin_lock_irqsave(&r->lock, flags);
	rec->begin = r->events++;
	rec->end = rec->begin;
	list_add_tail(&rec->list, &r->records);
	spin_unlock_irqrestore(&r->lock, flags);
}

static void record_end(struct recorder *r, struct record *rec, bool failed)
{
	unsigned long flags;

	spin_lock_irqsave(&r->lock, flags);
	rec->end = r->events++;
	if (failed)
		rec->flags |= RECORD_FAILED;
	spin_unlock_irqrestore(&r->lock, flags);
}

/* --- the recording --- */

/* Bytes on their way to the log device. */
struct output {
	struct block_device *bdev;
	sector_t sector;		/* where the buffer goes */
	size_t fill;
	u8 *buffer;
	int error;
};

/* Errors are found in the end. */
static void output_flush(struct output *out)
{
	size_t size = out->fill, at, n;
	struct bio *bio;

	out->fill = 0;
	if (out->error || !size)
		return;
	if (out->sector + (size >> SECTOR_SHIFT) > bdev_nr_sectors(out->bdev)) {
		out->error = -ENOSPC;
		return;
	}
	bio = bio_alloc(out->bdev, BUFFER_SIZE / PAGE_SIZE, REQ_OP_WRITE, GFP_KERNEL);
	bio->bi_iter.bi_sector = out->sector;
	for (at = 0; at < size; at += n) {
		n = min_t(size_t, size - at, PAGE_SIZE);
		__bio_add_page(bio, virt_to_page(out->buffer + at), n, 0);
	}
	out->error = submit_bio_wait(bio);
	bio_put(bio);
	out->sector += size >> SECTOR_SHIFT;
}

static void output_add(struct output *out, const void *data, size_t size)
{
	size_t n, gap = round_up(size, RECORD_UNIT) - size;

	for (; size; size -= n, data += n) {
		if (out->fill == BUFFER_SIZE)
			output_flush(out);
		n = min_t(size_t, size, BUFFER_SIZE - out->fill);
		memcpy(out->buffer + out->fill, data, n);
		out->fill += n;
	}
	memset(out->buffer + out->fill, 0, gap);
	out->fill += gap;
}

static void output_record(struct output *out, const struct record *rec)
{
	struct record_disk d = {
		.magic = cpu_to_le64(RECORD_MAGIC),
		.kind = cpu_to_le32(rec->kind),
		.flags = cpu_to_le32(rec->flags),
		.sector = cpu_to_le64(rec->sector),
		.count = cpu_to_le64(rec->count),
		.begin = cpu_to_le64(rec->begin),
		.end = cpu_to_le64(rec->end),
		.length = cpu_to_le64(rec->length),
	};

	output_add(out, &d, sizeof(d));
	output_add(out, rec->data, rec->length);
}

/* All I/O is over.  Without a whole recording the log device gets no last record. */
static void save(struct recorder *r)
{
	struct output out = { .bdev = r->log->bdev };
	struct record *rec, *next, last = { .kind = RECORD_END };

	out.buffer = (void *)__get_free_pages(GFP_KERNEL | __GFP_ZERO, get_order(BUFFER_SIZE));
	if (!out.buffer)
		out.error = -ENOMEM;
	list_for_each_entry_safe(rec, next, &r->records, list) {
		if (!out.error)
			output_record(&out, rec);
		record_free(rec);
	}
	if (!out.error && !r->gaps) {
		output_record(&out, &last);
		output_flush(&out);
	}
	if (out.error || r->gaps)
		DMERR("the recording is lost (%d)", out.error ? out.error : -ENOMEM);
	free_pages((unsigned long)out.buffer, get_order(BUFFER_SIZE));
}

/* --- the target --- */

static int recorder_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct recorder *r;
	int rc;

	if (argc < 2 || argc > 3 || (argc == 3 && strcasecmp(argv[2], "fua"))) {
		ti->error = "Arguments: device, log device, perhaps fua";
		return -EINVAL;
	}
	r = kzalloc(sizeof(*r), GFP_KERNEL);
	if (!r) {
		ti->error = "No memory";
		return -ENOMEM;
	}
	spin_lock_init(&r->lock);
	INIT_LIST_HEAD(&r->records);
	rc = dm_get_device(ti, argv[0], dm_table_get_mode(ti->table), &r->dev);
	if (rc) {
		ti->error = "Device can't be opened";
		goto bad;
	}
	rc = dm_get_device(ti, argv[1], dm_table_get_mode(ti->table), &r->log);
	if (rc) {
		ti->error = "Log device can't be opened";
		goto bad_dev;
	}
	rc = dm_set_target_max_io_len(ti, MAX_SECTORS);
	if (rc)
		goto bad_log;
	ti->private = r;
	ti->num_flush_bios = 1;
	ti->num_discard_bios = 1;
	ti->num_write_zeroes_bios = 1;
	ti->flush_supported = argc == 3;	/* else as the device below */
	ti->per_io_data_size = sizeof(struct recorder_bio);
	return 0;

bad_log:
	dm_put_device(ti, r->log);
bad_dev:
	dm_put_device(ti, r->dev);
bad:
	kfree(r);
	return rc;
}

static void recorder_dtr(struct dm_target *ti)
{
	struct recorder *r = ti->private;

	/* A table that never went live has nothing to say. */
	if (r->events)
		save(r);
	dm_put_device(ti, r->log);
	dm_put_device(ti, r->dev);
	kfree(r);
}

static struct record *record_of(const struct bio *bio)
{
	struct record *rec;
	struct bvec_iter iter;
	struct bio_vec bv;
	u8 *to;

	switch (bio_op(bio)) {
	case REQ_OP_DISCARD:
		rec = record_new(RECORD_DISCARD, 0);
		break;
	case REQ_OP_WRITE_ZEROES:
		rec = record_new(RECORD_ZERO, 0);
		break;
	default:
		if (bio_sectors(bio))
			rec = record_new(RECORD_WRITE, bio->bi_iter.bi_size);
		else
			rec = record_new(RECORD_FLUSH, 0);
	}
	if (!rec)
		return NULL;
	rec->sector = bio->bi_iter.bi_sector;
	rec->count = bio_sectors(bio);
	if (bio->bi_opf & REQ_FUA)
		rec->flags |= RECORD_FUA;
	if (rec->length) {
		to = rec->data;
		bio_for_each_segment(bv, bio, iter) {
			memcpy_from_bvec(to, &bv);
			to += bv.bv_len;
		}
	}
	return rec;
}

static int recorder_map(struct dm_target *ti, struct bio *bio)
{
	struct recorder_bio *b = dm_per_bio_data(bio, sizeof(*b));
	struct recorder *r = ti->private;

	b->record = NULL;
	bio_set_dev(bio, r->dev->bdev);
	bio->bi_iter.bi_sector = dm_target_offset(ti, bio->bi_iter.bi_sector);
	if (!op_is_write(bio_op(bio)) && !(bio->bi_opf & REQ_PREFLUSH))
		return DM_MAPIO_REMAPPED;
	b->record = record_of(bio);
	if (b->record)
		record_begin(r, b->record);
	else
		WRITE_ONCE(r->gaps, true);
	return DM_MAPIO_REMAPPED;
}

static int recorder_end_io(struct dm_target *ti, struct bio *bio, blk_status_t *error)
{
	struct recorder_bio *b = dm_per_bio_data(bio, sizeof(*b));

	if (b->record)
		record_end(ti->private, b->record, *error);
	return DM_ENDIO_DONE;
}

static int recorder_message(struct dm_target *ti, unsigned int argc, char **argv,
			    char *result, unsigned int maxlen)
{
	struct recorder *r = ti->private;
	struct record *rec;

	if (argc != 2 || strcasecmp(argv[0], "mark"))
		return -EINVAL;
	rec = record_new(RECORD_MARK, strlen(argv[1]));
	if (!rec)
		return -ENOMEM;
	memcpy(rec->data, argv[1], rec->length);
	record_begin(r, rec);
	return 0;
}

static void recorder_status(struct dm_target *ti, status_type_t type, unsigned int status_flags,
			    char *result, unsigned int maxlen)
{
	struct recorder *r = ti->private;
	unsigned int sz = 0;

	*result = 0;
	if (type == STATUSTYPE_INFO)
		DMEMIT("%llu", (unsigned long long)READ_ONCE(r->events));
	else if (type == STATUSTYPE_TABLE)
		DMEMIT("%s %s", r->dev->name, r->log->name);
}

static int recorder_iterate_devices(struct dm_target *ti, iterate_devices_callout_fn fn,
				    void *data)
{
	struct recorder *r = ti->private;

	return fn(ti, r->dev, 0, ti->len, data);
}

static struct target_type recorder_target = {
	.name = "recorder",
	.version = { 1, 0, 0 },
	.module = THIS_MODULE,
	.ctr = recorder_ctr,
	.dtr = recorder_dtr,
	.map = recorder_map,
	.end_io = recorder_end_io,
	.message = recorder_message,
	.status = recorder_status,
	.iterate_devices = recorder_iterate_devices,
};

static int __init recorder_init(void)
{
	return dm_register_target(&recorder_target);
}

static void __exit recorder_exit(void)
{
	dm_unregister_target(&recorder_target);
}

module_init(recorder_init);
module_exit(recorder_exit);

MODULE_DESCRIPTION("device-mapper target that records writes for power-cut tests");
MODULE_LICENSE("GPL");
