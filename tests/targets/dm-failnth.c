// SPDX-License-Identifier: GPL-2.0-only
/*
 * For tests: a device of which the nth request from now on fails with EIO, and does
 * not reach the medium.
 *
 *	failnth DEVICE [fua]		"fua": with a write cache that takes FUA; else as DEVICE
 *	message: reads|writes N COUNT	the Nth read, or write, flush, discard, and COUNT - 1
 *					after it; N 0: none
 *	status: requests of that kind since, requests that failed
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/module.h>
#include <linux/slab.h>

#define DM_MSG_PREFIX	"failnth"

struct failnth {
	struct dm_dev *dev;
	spinlock_t lock;		/* guards the rest */
	bool writes;			/* count those, or reads */
	u64 seen, failed;
	u64 first, count;		/* which fail, from 1 on */
};

static int failnth_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct failnth *f;
	int rc;

	if (argc < 1 || argc > 2 || (argc == 2 && strcasecmp(argv[1], "fua"))) {
		ti->error = "Arguments: device, perhaps fua";
		return -EINVAL;
	}
	f = kzalloc(sizeof(*f), GFP_KERNEL);
	if (!f) {
		ti->error = "No memory";
		return -ENOMEM;
	}
	spin_lock_init(&f->lock);
	rc = dm_get_device(ti, argv[0], dm_table_get_mode(ti->table), &f->dev);
	if (rc) {
		ti->error = "Device can't be opened";
		kfree(f);
		return rc;
	}
	ti->private = f;
	ti->num_flush_bios = 1;
	ti->num_discard_bios = 1;
	ti->num_write_zeroes_bios = 1;
	ti->flush_supported = argc == 2;
	return 0;
}

static void failnth_dtr(struct dm_target *ti)
{
	struct failnth *f = ti->private;

	dm_put_device(ti, f->dev);
	kfree(f);
}

static bool fails(struct failnth *f, bool write)
{
	unsigned long flags;
	bool failed = false;

	spin_lock_irqsave(&f->lock, flags);
	if (write == f->writes) {
		f->seen++;
		failed = f->first && f->seen >= f->first && f->seen - f->first < f->count;
		f->failed += failed;
	}
	spin_unlock_irqrestore(&f->lock, flags);
	return failed;
}

static int failnth_map(struct dm_target *ti, struct bio *bio)
{
	struct failnth *f = ti->private;

	if (fails(f, op_is_write(bio_op(bio)) || bio->bi_opf & REQ_PREFLUSH))
		return DM_MAPIO_KILL;
	bio_set_dev(bio, f->dev->bdev);
	bio->bi_iter.bi_sector = dm_target_offset(ti, bio->bi_iter.bi_sector);
	return DM_MAPIO_REMAPPED;
}

static int failnth_message(struct dm_target *ti, unsigned int argc, char **argv,
			   char *result, unsigned int maxlen)
{
	struct failnth *f = ti->private;
	u64 first, count;
	bool writes;

	if (argc != 3 || kstrtou64(argv[1], 10, &first) || kstrtou64(argv[2], 10, &count))
		return -EINVAL;
	writes = !strcasecmp(argv[0], "writes");
	if (!writes && strcasecmp(argv[0], "reads"))
		return -EINVAL;
	spin_lock_irq(&f->lock);
	f->writes = writes;
	f->first = first;
	f->count = count;
	f->seen = 0;
	f->failed = 0;
	spin_unlock_irq(&f->lock);
	return 0;
}

static void failnth_status(struct dm_target *ti, status_type_t type, unsigned int status_flags,
			   char *result, unsigned int maxlen)
{
	struct failnth *f = ti->private;
	unsigned int sz = 0;

	*result = 0;
	if (type == STATUSTYPE_INFO)
		DMEMIT("%llu %llu", (unsigned long long)READ_ONCE(f->seen),
		       (unsigned long long)READ_ONCE(f->failed));
	else if (type == STATUSTYPE_TABLE)
		DMEMIT("%s", f->dev->name);
}

static int failnth_iterate_devices(struct dm_target *ti, iterate_devices_callout_fn fn,
				   void *data)
{
	struct failnth *f = ti->private;

	return fn(ti, f->dev, 0, ti->len, data);
}

static struct target_type failnth_target = {
	.name = "failnth",
	.version = { 1, 0, 0 },
	.module = THIS_MODULE,
	.ctr = failnth_ctr,
	.dtr = failnth_dtr,
	.map = failnth_map,
	.message = failnth_message,
	.status = failnth_status,
	.iterate_devices = failnth_iterate_devices,
};

static int __init failnth_init(void)
{
	return dm_register_target(&failnth_target);
}

static void __exit failnth_exit(void)
{
	dm_unregister_target(&failnth_target);
}

module_init(failnth_init);
module_exit(failnth_exit);

MODULE_DESCRIPTION("device-mapper target whose nth request fails, for tests");
MODULE_LICENSE("GPL");
