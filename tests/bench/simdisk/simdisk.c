// SPDX-License-Identifier: GPL-2.0-only
/*
 * simdisk: disks in memory that take as long as a model says.
 *
 * A disk has some servers, each good for one request at a time.  A request goes
 * to the server that is free first and takes
 *
 *	base_us, plus seek_us if it does not begin where the last one ended,
 *	plus its bytes over mbps, on a bus that all servers share.
 *
 * A flush waits for all before it, takes flush_us, and all behind wait for it.
 * With all of them zero a request is done when it has been copied: what remains
 * is the processor's work.
 *
 * /sys/block/simdiskN/
 *	served		what the disk was asked for since 0 was written here: a
 *			line for the sectors below `split`, one for those from
 *			there on, each with reads, their KiB, writes, their KiB,
 *			and nanoseconds of the first request's arrival and the
 *			last one's end (0: none).  Flushes are the last word of
 *			the first line.  The block layer's own statistics take a
 *			flush for a write; these do not.
 *	split		see there; 0 without
 *	fill		a number written here fills the disk with noise
 *
 * Locking: sd->lock guards the model and the counts.
 */
#include <linux/blk-mq.h>
#include <linux/hrtimer.h>
#include <linux/module.h>
#include <linux/vmalloc.h>

#define DISKS_MAX	2
#define SERVERS_MAX	64

static unsigned int mib[DISKS_MAX];
static int disks;
module_param_array(mib, uint, &disks, 0444);
MODULE_PARM_DESC(mib, "size of each disk");

#define MODEL_PARAM(name, value, text)			\
	static unsigned int name = value;		\
	module_param(name, uint, 0444);			\
	MODULE_PARM_DESC(name, text)

MODEL_PARAM(tags, 64, "requests the disk takes at once");
MODEL_PARAM(servers, 1, "requests it works on at once");
MODEL_PARAM(base_us, 0, "time of any request");
MODEL_PARAM(seek_us, 0, "more if it does not continue the last one");
MODEL_PARAM(flush_us, 0, "time of a flush");
MODEL_PARAM(mbps, 0, "bandwidth, 10^6 bytes a second; 0: no limit");
MODEL_PARAM(fua, 0, "1: FUA is as cheap as a write");
MODEL_PARAM(rotational, 0, "1: as the block layer sees it");

struct served {
	u64 reads, read_sectors, writes, write_sectors, first, last;
};

struct simdisk {
	struct gendisk *disk;
	struct blk_mq_tag_set tag_set;
	u8 *data;
	size_t size;

	spinlock_t lock;
	u64 free_at[SERVERS_MAX];
	u64 bus_free_at;
	sector_t head;
	sector_t split;
	struct served served[2];
	u64 flushes;
};

struct command {
	struct hrtimer timer;
};

static struct simdisk simdisks[DISKS_MAX];
static int major;

/* --- the model --- */

static bool takes_time(void)
{
	return base_us || seek_us || flush_us || mbps;
}

/* When a flush is done that comes now; nothing begins before. */
static u64 serve_flush(struct simdisk *sd, u64 now)
{
	u64 done = max(now, sd->bus_free_at);
	unsigned int i;

	for (i = 0; i < servers; i++)
		done = max(done, sd->free_at[i]);
	done += (u64)flush_us * NSEC_PER_USEC;
	for (i = 0; i < servers; i++)
		sd->free_at[i] = done;
	return done;
}

/* When a request is done that comes now. */
static u64 serve(struct simdisk *sd, u64 now, sector_t sector, unsigned int bytes)
{
	unsigned int server = 0, i;
	u64 done;

	for (i = 1; i < servers; i++)
		if (sd->free_at[i] < sd->free_at[server])
			server = i;
	done = max(now, sd->free_at[server]) + (u64)base_us * NSEC_PER_USEC;
	if (sector != sd->head)
		done += (u64)seek_us * NSEC_PER_USEC;
	sd->head = sector + (bytes >> SECTOR_SHIFT);
	if (mbps) {
		done = max(done, sd->bus_free_at) + div_u64(bytes * 1000ull, mbps);
		sd->bus_free_at = done;
	}
	sd->free_at[server] = done;
	return done;
}

static void count(struct simdisk *sd, struct request *rq, u64 now)
{
	struct served *c = &sd->served[sd->split && blk_rq_pos(rq) >= sd->split];

	switch (req_op(rq)) {
	case REQ_OP_READ:
		c->reads++;
		c->read_sectors += blk_rq_sectors(rq);
		break;
	case REQ_OP_WRITE:
		c->writes++;
		c->write_sectors += blk_rq_sectors(rq);
		break;
	default:
		sd->flushes++;
		return;
	}
	if (!c->first)
		c->first = now;
}

static void count_end(struct simdisk *sd, struct request *rq)
{
	unsigned long flags;

	if (req_op(rq) == REQ_OP_FLUSH)
		return;
	spin_lock_irqsave(&sd->lock, flags);
	sd->served[sd->split && blk_rq_pos(rq) >= sd->split].last = ktime_get_ns();
	spin_unlock_irqrestore(&sd->lock, flags);
}

/* --- requests --- */

static void copy(struct simdisk *sd, struct request *rq)
{
	u8 *at = sd->data + (blk_rq_pos(rq) << SECTOR_SHIFT);
	struct req_iterator iter;
	struct bio_vec bv;

	rq_for_each_segment(bv, rq, iter) {
		if (op_is_write(req_op(rq)))
			memcpy_from_bvec(at, &bv);
		else
			memcpy_to_bvec(&bv, at);
		at += bv.bv_len;
	}
}

static enum hrtimer_restart command_done(struct hrtimer *timer)
{
	struct command *cmd = container_of(timer, struct command, timer);

	blk_mq_complete_request(blk_mq_rq_from_pdu(cmd));
	return HRTIMER_NORESTART;
}

static void simdisk_complete(struct request *rq)
{
	count_end(rq->q->queuedata, rq);
	blk_mq_end_request(rq, BLK_STS_OK);
}

static blk_status_t simdisk_queue_rq(struct blk_mq_hw_ctx *hctx,
				     const struct blk_mq_queue_data *bd)
{
	struct simdisk *sd = hctx->queue->queuedata;
	struct command *cmd = blk_mq_rq_to_pdu(bd->rq);
	struct request *rq = bd->rq;
	unsigned long flags;
	u64 now, done;

	switch (req_op(rq)) {
	case REQ_OP_READ:
	case REQ_OP_WRITE:
	case REQ_OP_FLUSH:
		break;
	default:
		return BLK_STS_NOTSUPP;
	}
	blk_mq_start_request(rq);
	now = ktime_get_ns();
	spin_lock_irqsave(&sd->lock, flags);
	count(sd, rq, now);
	if (req_op(rq) == REQ_OP_FLUSH)
		done = serve_flush(sd, now);
	else
		done = serve(sd, now, blk_rq_pos(rq), blk_rq_bytes(rq));
	spin_unlock_irqrestore(&sd->lock, flags);
	if (req_op(rq) != REQ_OP_FLUSH)
		copy(sd, rq);
	if (takes_time())
		hrtimer_start(&cmd->timer, ns_to_ktime(done), HRTIMER_MODE_ABS);
	else
		simdisk_complete(rq);
	return BLK_STS_OK;
}

static int simdisk_init_request(struct blk_mq_tag_set *set, struct request *rq,
				unsigned int hctx_idx, unsigned int numa_node)
{
	struct command *cmd = blk_mq_rq_to_pdu(rq);

	hrtimer_init(&cmd->timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS);
	cmd->timer.function = command_done;
	return 0;
}

static const struct blk_mq_ops simdisk_mq_ops = {
	.queue_rq	= simdisk_queue_rq,
	.complete	= simdisk_complete,
	.init_request	= simdisk_init_request,
};

/* --- sysfs --- */

static struct simdisk *to_simdisk(struct device *dev)
{
	return dev_to_disk(dev)->private_data;
}

static ssize_t served_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct simdisk *sd = to_simdisk(dev);
	struct served c[2];
	ssize_t n = 0;
	u64 flushes;
	int i;

	spin_lock_irq(&sd->lock);
	memcpy(c, sd->served, sizeof(c));
	flushes = sd->flushes;
	spin_unlock_irq(&sd->lock);
	for (i = 0; i < 2; i++) {
		n += sysfs_emit_at(buf, n, "%llu %llu %llu %llu %llu %llu", c[i].reads,
				   c[i].read_sectors / 2, c[i].writes, c[i].write_sectors / 2,
				   c[i].first, c[i].last);
		n += i ? sysfs_emit_at(buf, n, "\n") :
			 sysfs_emit_at(buf, n, " %llu\n", flushes);
	}
	return n;
}

static ssize_t served_store(struct device *dev, struct device_attribute *attr, const char *buf,
			    size_t size)
{
	struct simdisk *sd = to_simdisk(dev);

	spin_lock_irq(&sd->lock);
	memset(sd->served, 0, sizeof(sd->served));
	sd->flushes = 0;
	spin_unlock_irq(&sd->lock);
	return size;
}
static DEVICE_ATTR_RW(served);

static ssize_t split_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%llu\n", (u64)to_simdisk(dev)->split);
}

static ssize_t split_store(struct device *dev, struct device_attribute *attr, const char *buf,
			   size_t size)
{
	u64 sector;
	int r = kstrtou64(buf, 0, &sector);

	if (r)
		return r;
	to_simdisk(dev)->split = sector;
	return size;
}
static DEVICE_ATTR_RW(split);

static ssize_t fill_store(struct device *dev, struct device_attribute *attr, const char *buf,
			  size_t size)
{
	struct simdisk *sd = to_simdisk(dev);
	u64 *at = (u64 *)sd->data, *end = (u64 *)(sd->data + sd->size), x;
	int r = kstrtou64(buf, 0, &x);

	if (r)
		return r;
	for (x |= 1; at < end; at++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		*at = x;
		if (!((unsigned long)at & ~PAGE_MASK))
			cond_resched();
	}
	return size;
}
static DEVICE_ATTR_WO(fill);

static struct attribute *simdisk_attrs[] = {
	&dev_attr_served.attr,
	&dev_attr_split.attr,
	&dev_attr_fill.attr,
	NULL,
};
ATTRIBUTE_GROUPS(simdisk);

/* --- making and removing --- */

static const struct block_device_operations simdisk_fops = {
	.owner = THIS_MODULE,
};

static void simdisk_remove(struct simdisk *sd)
{
	if (sd->disk) {
		del_gendisk(sd->disk);
		put_disk(sd->disk);
		blk_mq_free_tag_set(&sd->tag_set);
	}
	vfree(sd->data);
}

static int simdisk_add(struct simdisk *sd, int index)
{
	struct gendisk *disk;
	int r;

	spin_lock_init(&sd->lock);
	sd->size = (size_t)mib[index] << 20;
	sd->data = vzalloc(sd->size);
	if (!sd->data)
		return -ENOMEM;

	sd->tag_set.ops = &simdisk_mq_ops;
	sd->tag_set.nr_hw_queues = 1;
	sd->tag_set.queue_depth = tags;
	sd->tag_set.numa_node = NUMA_NO_NODE;
	sd->tag_set.cmd_size = sizeof(struct command);
	sd->tag_set.flags = BLK_MQ_F_SHOULD_MERGE | BLK_MQ_F_NO_SCHED_BY_DEFAULT;
	r = blk_mq_alloc_tag_set(&sd->tag_set);
	if (r)
		return r;
	disk = blk_mq_alloc_disk(&sd->tag_set, sd);
	if (IS_ERR(disk)) {
		r = PTR_ERR(disk);
		goto bad;
	}
	disk->major = major;
	disk->first_minor = index * 16;
	disk->minors = 16;
	disk->fops = &simdisk_fops;
	disk->private_data = sd;
	snprintf(disk->disk_name, sizeof(disk->disk_name), "simdisk%d", index);
	blk_queue_physical_block_size(disk->queue, 4096);
	blk_queue_max_hw_sectors(disk->queue, 2048);
	blk_queue_max_segments(disk->queue, 512);
	blk_queue_write_cache(disk->queue, true, fua);
	if (!rotational)
		blk_queue_flag_set(QUEUE_FLAG_NONROT, disk->queue);
	set_capacity(disk, sd->size >> SECTOR_SHIFT);
	r = device_add_disk(NULL, disk, simdisk_groups);
	if (r) {
		put_disk(disk);
		goto bad;
	}
	sd->disk = disk;
	return 0;
bad:
	blk_mq_free_tag_set(&sd->tag_set);
	return r;
}

static void simdisk_remove_all(void)
{
	int i;

	for (i = 0; i < disks; i++)
		simdisk_remove(&simdisks[i]);
	unregister_blkdev(major, "simdisk");
}

static int __init simdisk_init(void)
{
	int i, r = 0;

	if (!disks || !servers || servers > SERVERS_MAX || !tags)
		return -EINVAL;
	major = register_blkdev(0, "simdisk");
	if (major < 0)
		return major;
	for (i = 0; !r && i < disks; i++)
		r = simdisk_add(&simdisks[i], i);
	if (r)
		simdisk_remove_all();
	return r;
}
module_init(simdisk_init);

static void __exit simdisk_exit(void)
{
	simdisk_remove_all();
}
module_exit(simdisk_exit);

MODULE_DESCRIPTION("Disks in memory with modelled service times");
MODULE_LICENSE("GPL");
