// SPDX-License-Identifier: GPL-2.0-only
/* The two targets: construction, destruction and what device-mapper asks; no policy. */
#include <linux/blkdev.h>
#include <linux/module.h>
#include <linux/sched/mm.h>

#include "volume.h"

#define OPT_CACHE_KIB	"cache_kib"

struct origin_target {
	struct dm_dev *origin, *area;
	struct dms_volume *v;
	unsigned int cache_kib;		/* 0: not given */
};

struct shadow_target {
	struct dm_dev *origin, *area;
	struct dms_volume *v;
	struct dms_shadow *shadow;
	u32 id;
};

/* --- shadow-origin --- */

static int get_devices(struct dm_target *ti, char **argv, struct dm_dev **origin,
		       struct dm_dev **area)
{
	int r;

	r = dm_get_device(ti, argv[0], dm_table_get_mode(ti->table), origin);
	if (r) {
		*origin = NULL;
		ti->error = "Can't open the origin device";
		return r;
	}
	r = dm_get_device(ti, argv[1], dm_table_get_mode(ti->table), area);
	if (r) {
		*area = NULL;
		ti->error = "Can't open the diff device";
		return r;
	}
	if ((*origin)->bdev == (*area)->bdev) {
		ti->error = "Origin and diff area are the same device";
		return -EINVAL;
	}
	return 0;
}

static int parse_options(struct dm_target *ti, struct dm_arg_set *as, struct origin_target *t)
{
	static const struct dm_arg args[] = {
		{ 0, 2, "Invalid number of options" },
		{ DMS_MIN_CACHE_KIB, 1 << 24, "Invalid " OPT_CACHE_KIB },
	};
	unsigned int nr;
	int r;

	if (!as->argc)
		return 0;
	r = dm_read_arg_group(args, as, &nr, &ti->error);
	if (r)
		return r;
	while (nr) {
		const char *word = dm_shift_arg(as);

		if (strcasecmp(word, OPT_CACHE_KIB)) {
			ti->error = "Unknown option";
			return -EINVAL;
		}
		if (t->cache_kib || nr < 2) {
			ti->error = nr < 2 ? "Option needs a value" : "Option given twice";
			return -EINVAL;
		}
		r = dm_read_arg(&args[1], as, &t->cache_kib, &ti->error);
		if (r)
			return r;
		nr -= 2;
	}
	if (as->argc) {
		ti->error = "Too many arguments";
		return -EINVAL;
	}
	return 0;
}

static void origin_dtr(struct dm_target *ti)
{
	struct origin_target *t = ti->private;

	if (t->v)
		dms_volume_put(t->v, true);
	if (t->area)
		dm_put_device(ti, t->area);
	if (t->origin)
		dm_put_device(ti, t->origin);
	kfree(t);
}

static int origin_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct dm_arg_set as = { .argc = argc, .argv = argv };
	struct dms_config c = { };
	struct origin_target *t;
	struct dms_volume *v;
	int r;

	if (argc < 2) {
		ti->error = "Needs an origin device and a diff device";
		return -EINVAL;
	}
	t = kzalloc(sizeof(*t), GFP_KERNEL);
	if (!t) {
		ti->error = "Out of memory";
		return -ENOMEM;
	}
	ti->private = t;
	r = get_devices(ti, argv, &t->origin, &t->area);
	if (r)
		goto bad;
	dm_consume_args(&as, 2);
	r = parse_options(ti, &as, t);
	if (r)
		goto bad;
	if (ti->len > bdev_nr_sectors(t->origin->bdev)) {
		ti->error = "Longer than the origin device";
		r = -EINVAL;
		goto bad;
	}
	c.md = dm_table_get_md(ti->table);
	c.origin = t->origin->bdev;
	c.area = t->area->bdev;
	c.origin_sectors = ti->len;
	c.cache_kib = t->cache_kib ? t->cache_kib : DMS_DEFAULT_CACHE_KIB;
	v = dms_volume_get(&c, &ti->error);
	if (IS_ERR(v)) {
		r = PTR_ERR(v);
		goto bad;
	}
	t->v = v;
	ti->per_io_data_size = sizeof(struct dms_bio);
	ti->num_flush_bios = 1;
	ti->num_discard_bios = 1;
	ti->num_secure_erase_bios = 1;
	ti->num_write_zeroes_bios = 1;
	return 0;
bad:
	origin_dtr(ti);
	return r;
}

static int origin_map(struct dm_target *ti, struct bio *bio)
{
	struct origin_target *t = ti->private;

	return dms_map_origin(t->v, bio);
}

/* Before writes are held, which the scrub need not make longer. */
static void origin_presuspend(struct dm_target *ti)
{
	struct origin_target *t = ti->private;

	dms_scrub_pause(t->v);
}

static void origin_presuspend_undo(struct dm_target *ti)
{
	struct origin_target *t = ti->private;

	dms_scrub_resume(t->v);
}

static void origin_postsuspend(struct dm_target *ti)
{
	struct origin_target *t = ti->private;

	dms_volume_live(t->v, NULL);
	WRITE_ONCE(t->v->suspended, true);
}

static int origin_preresume(struct dm_target *ti)
{
	struct origin_target *t = ti->private;
	struct dms_volume *v = t->v;
	unsigned int noio;
	int r;

	/* A message that needs the suspension is over before it ends. */
	noio = memalloc_noio_save();
	mutex_lock(&v->meta);
	r = dms_volume_grow_origin(v, ti->len);
	if (!r)
		WRITE_ONCE(v->suspended, false);
	mutex_unlock(&v->meta);
	memalloc_noio_restore(noio);
	return r;
}

static void origin_resume(struct dm_target *ti)
{
	struct origin_target *t = ti->private;

	dms_volume_live(t->v, ti);
	dms_scrub_resume(t->v);
}

static void origin_status(struct dm_target *ti, status_type_t type, unsigned int flags,
			  char *result, unsigned int maxlen)
{
	struct origin_target *t = ti->private;
	unsigned int sz = 0;

	switch (type) {
	case STATUSTYPE_INFO:
		dms_status(t->v, result, maxlen);
		break;
	case STATUSTYPE_TABLE:
		DMEMIT("%s %s", t->origin->name, t->area->name);
		if (t->cache_kib)
			DMEMIT(" 2 " OPT_CACHE_KIB " %u", t->cache_kib);
		break;
	case STATUSTYPE_IMA:
		DMEMIT_TARGET_NAME_VERSION(ti->type);
		DMEMIT(",origin=%s,diff_area=%s;", t->origin->name, t->area->name);
		break;
	}
}

static int origin_message(struct dm_target *ti, unsigned int argc, char **argv,
			  char *result, unsigned int maxlen)
{
	struct origin_target *t = ti->private;

	return dms_message(t->v, argc, argv, result, maxlen);
}

static int origin_iterate_devices(struct dm_target *ti, iterate_devices_callout_fn fn, void *data)
{
	struct origin_target *t = ti->private;

	return fn(ti, t->origin, 0, ti->len, data);
}

static void origin_io_hints(struct dm_target *ti, struct queue_limits *limits)
{
	struct origin_target *t = ti->private;

	limits->io_opt = max_t(unsigned int, limits->io_opt,
			       t->v->chunk_blocks << DMS_BLOCK_SHIFT);
}

static struct target_type origin_type = {
	.name = "shadow-origin",
	.version = { 1, 0, 0 },
	.features = DM_TARGET_SINGLETON | DM_TARGET_NOWAIT,
	.module = THIS_MODULE,
	.ctr = origin_ctr,
	.dtr = origin_dtr,
	.map = origin_map,
	.presuspend = origin_presuspend,
	.presuspend_undo = origin_presuspend_undo,
	.postsuspend = origin_postsuspend,
	.preresume = origin_preresume,
	.resume = origin_resume,
	.status = origin_status,
	.message = origin_message,
	.iterate_devices = origin_iterate_devices,
	.io_hints = origin_io_hints,
};

/* --- shadow --- */

static void shadow_dtr(struct dm_target *ti)
{
	struct shadow_target *t = ti->private;

	if (t->shadow)
		dms_shadow_close(t->v, t->shadow);
	if (t->v)
		dms_volume_put(t->v, false);
	if (t->area)
		dm_put_device(ti, t->area);
	if (t->origin)
		dm_put_device(ti, t->origin);
	kfree(t);
}

static int shadow_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct shadow_target *t;
	struct dms_volume *v;
	int r;

	if (argc != 3) {
		ti->error = "Needs an origin device, a diff device and the id of a shadow copy";
		return -EINVAL;
	}
	t = kzalloc(sizeof(*t), GFP_KERNEL);
	if (!t) {
		ti->error = "Out of memory";
		return -ENOMEM;
	}
	ti->private = t;
	r = kstrtou32(argv[2], 10, &t->id);
	if (r || !t->id) {
		ti->error = "Invalid id of a shadow copy";
		r = -EINVAL;
		goto bad;
	}
	r = get_devices(ti, argv, &t->origin, &t->area);
	if (r)
		goto bad;
	v = dms_volume_find(t->origin->bdev, t->area->bdev, &ti->error);
	if (IS_ERR(v)) {
		r = PTR_ERR(v);
		goto bad;
	}
	t->v = v;
	t->shadow = dms_shadow_open(v, t->id, &ti->error);
	if (!t->shadow) {
		r = -ENOENT;
		goto bad;
	}
	if (ti->len > t->shadow->info.origin_sectors) {
		ti->error = "Longer than the shadow copy";
		r = -EINVAL;
		goto bad;
	}
	ti->per_io_data_size = sizeof(struct dms_bio);
	return 0;
bad:
	shadow_dtr(ti);
	return r;
}

static int shadow_map(struct dm_target *ti, struct bio *bio)
{
	struct shadow_target *t = ti->private;

	return dms_map_shadow(t->v, t->shadow, bio);
}

static const char *shadow_state(const struct dms_shadow *s)
{
	u32 flags = READ_ONCE(s->info.flags);

	if (!dms_shadow_valid(s))
		return "invalid";
	if (flags & DMS_SHADOW_PREPARING)
		return "preparing";
	return flags & DMS_SHADOW_SUSPECT ? "suspect" : "valid";
}

static void shadow_status(struct dm_target *ti, status_type_t type, unsigned int flags,
			  char *result, unsigned int maxlen)
{
	struct shadow_target *t = ti->private;
	struct dms_shadow *s = t->shadow;
	unsigned int sz = 0;

	switch (type) {
	case STATUSTYPE_INFO:
		DMEMIT("%s %u %pUb %llu %u", shadow_state(s), t->id, s->info.uuid,
		       (unsigned long long)s->info.created, atomic_read(&s->errors));
		break;
	case STATUSTYPE_TABLE:
		DMEMIT("%s %s %u", t->origin->name, t->area->name, t->id);
		break;
	case STATUSTYPE_IMA:
		DMEMIT_TARGET_NAME_VERSION(ti->type);
		DMEMIT(",origin=%s,diff_area=%s,id=%u;", t->origin->name, t->area->name, t->id);
		break;
	}
}

static int shadow_iterate_devices(struct dm_target *ti, iterate_devices_callout_fn fn, void *data)
{
	struct shadow_target *t = ti->private;

	return fn(ti, t->origin, 0, ti->len, data);
}

static struct target_type shadow_type = {
	.name = "shadow",
	.version = { 1, 0, 0 },
	.features = DM_TARGET_SINGLETON | DM_TARGET_NOWAIT,
	.module = THIS_MODULE,
	.ctr = shadow_ctr,
	.dtr = shadow_dtr,
	.map = shadow_map,
	.status = shadow_status,
	.iterate_devices = shadow_iterate_devices,
};

static int __init dms_init(void)
{
	int r;

	r = dm_register_target(&origin_type);
	if (r)
		return r;
	r = dm_register_target(&shadow_type);
	if (r)
		dm_unregister_target(&origin_type);
	return r;
}

static void __exit dms_exit(void)
{
	dm_unregister_target(&shadow_type);
	dm_unregister_target(&origin_type);
}

module_init(dms_init);
module_exit(dms_exit);

MODULE_DESCRIPTION(DM_NAME " shadow copies of block devices");
MODULE_AUTHOR("The dm-shadow developers");
MODULE_LICENSE("GPL");
