// SPDX-License-Identifier: GPL-2.0-only
/*
 * Life of a volume: made by the first target that names its diff area, closed
 * cleanly when the last one goes.
 */
#include <linux/blkdev.h>

#include "volume.h"

static LIST_HEAD(dms_volumes);
static DEFINE_MUTEX(dms_volumes_mutex);		/* the list and users of all volumes */

static void send_event(struct work_struct *work)
{
	struct dms_volume *v = container_of(work, struct dms_volume, event_work);

	mutex_lock(&v->event_mutex);
	if (v->ti)
		dm_table_event(v->ti->table);
	else
		v->event_pending = true;
	mutex_unlock(&v->event_mutex);
}

void dms_volume_event(struct dms_volume *v)
{
	queue_work(system_unbound_wq, &v->event_work);
}

void dms_volume_live(struct dms_volume *v, struct dm_target *ti)
{
	mutex_lock(&v->event_mutex);
	v->ti = ti;
	if (ti && v->event_pending) {
		v->event_pending = false;
		dms_volume_event(v);
	}
	mutex_unlock(&v->event_mutex);
}

void dms_volume_fail(struct dms_volume *v, const char *what, int error)
{
	if (READ_ONCE(v->mode) == DMS_MODE_RO)
		return;
	WRITE_ONCE(v->mode, DMS_MODE_RO);
	if (!v->opened)			/* the constructor reports */
		return;
	atomic64_inc(&v->stats.area_errors);
	DMERR("%s: %s: error %d; all shadow copies are lost, the origin goes on",
	      v->name, what, error);
	dms_shadows_lost(v);
	dms_volume_event(v);
	dms_background_wake(v);		/* marks them on disk, then lets the writes go */
}

static void volume_free(struct dms_volume *v)
{
	dms_scrub_exit(v);
	cancel_work_sync(&v->event_work);
	dms_saver_exit(v);
	dms_merge_exit(v);
	dms_background_exit(v);
	dms_area_free(v);
	dms_readers_exit(v);
	kfree(v);
}

static struct dms_volume *volume_create(const struct dms_config *c, char **error)
{
	struct dms_volume *v;
	int r;

	*error = "Out of memory";
	v = kzalloc(sizeof(*v), GFP_KERNEL);
	if (!v)
		return ERR_PTR(-ENOMEM);
	mutex_init(&v->meta);
	init_waitqueue_head(&v->idle_wait);
	mutex_init(&v->event_mutex);
	spin_lock_init(&v->info_lock);
	spin_lock_init(&v->home_lock);
	INIT_LIST_HEAD(&v->dead);
	INIT_LIST_HEAD(&v->gone_trees);
	INIT_LIST_HEAD(&v->gone_before);
	INIT_WORK(&v->event_work, send_event);
	v->origin = c->origin;
	v->area = c->area;
	v->cache_kib = c->cache_kib;
	v->suspended = true;
	snprintf(v->name, sizeof(v->name), "%pg", c->origin);
	r = init_srcu_struct(&v->srcu);
	if (r) {
		kfree(v);
		return ERR_PTR(r);
	}
	r = dms_readers_init(v);
	if (!r)
		r = dms_saver_init(v);
	if (!r)
		r = dms_background_init(v);
	if (!r)
		r = dms_merge_init(v);
	if (!r)
		r = dms_scrub_init(v);
	if (!r)
		r = dms_area_open(v, c, error);
	if (r) {
		volume_free(v);
		return ERR_PTR(r);
	}
	v->opened = true;
	v->unsure = true;
	v->entries = dms_trees_entries(rcu_dereference_protected(v->trees, 1), v->join_floor);
	if (v->found == DMS_FOUND_CHANGED)
		dms_volume_event(v);
	dms_background_wake(v);
	dms_merge_wake(v);
	return v;
}

static struct dms_volume *find(struct block_device *origin, struct block_device *area, char **error)
{
	struct dms_volume *v;

	list_for_each_entry(v, &dms_volumes, list) {
		if (v->area == area && v->origin == origin)
			return v;
		*error = NULL;
		if (v->area == area)
			*error = "Diff area is in use for another origin";
		else if (v->origin == origin)
			*error = "Origin has another diff area active";
		else if (v->area == origin)
			*error = "Origin is in use as a diff area";
		else if (v->origin == area)
			*error = "Diff device is in use as an origin";
		if (*error)
			return ERR_PTR(-EBUSY);
	}
	return NULL;
}

struct dms_volume *dms_volume_get(const struct dms_config *c, char **error)
{
	struct dms_volume *v;

	mutex_lock(&dms_volumes_mutex);
	v = find(c->origin, c->area, error);
	if (!v) {
		v = volume_create(c, error);
		if (!IS_ERR(v))
			list_add(&v->list, &dms_volumes);
	} else if (!IS_ERR(v)) {
		if (v->origins && v->md != c->md) {
			*error = "Diff area is in use by another device";
			v = ERR_PTR(-EBUSY);
		} else if (v->cache_kib != c->cache_kib) {
			*error = "cache_kib can't change while the volume is active";
			v = ERR_PTR(-EINVAL);
		} else if (c->origin_sectors < v->origin_sectors) {
			*error = "Origin can't shrink";
			v = ERR_PTR(-EINVAL);
		} else if (c->origin_sectors > v->origin_sectors && v->merge_shadow) {
			*error = "Origin can't grow while it is being merged";
			v = ERR_PTR(-EBUSY);
		}
	}
	if (!IS_ERR(v)) {
		v->md = c->md;
		v->origins++;
		v->users++;
	}
	mutex_unlock(&dms_volumes_mutex);
	return v;
}

struct dms_volume *dms_volume_find(struct block_device *origin, struct block_device *area,
				   char **error)
{
	struct dms_volume *v;

	mutex_lock(&dms_volumes_mutex);
	v = find(origin, area, error);
	if (!v)
		*error = "The origin of this diff area is not active";
	else if (!IS_ERR(v))
		v->users++;
	mutex_unlock(&dms_volumes_mutex);
	return v ? v : ERR_PTR(-ENODEV);
}

void dms_volume_put(struct dms_volume *v, bool origin)
{
	mutex_lock(&dms_volumes_mutex);
	v->origins -= origin;
	if (!--v->users) {
		list_del(&v->list);
		dms_scrub_stop(v);
		/* The merge may wait for the background: it ends first. */
		WRITE_ONCE(v->merge_stop, true);
		cancel_delayed_work_sync(&v->merge_work);
		WRITE_ONCE(v->closing, true);
		dms_back_hurry(v);
		cancel_work_sync(&v->back_work);
		dms_area_close(v);
		volume_free(v);
	}
	mutex_unlock(&dms_volumes_mutex);
}

static void apply_grow(struct dms_volume *v, struct dms_op *op)
{
	dms_bits_retire(v->saved, &v->srcu);
	spin_lock(&v->info_lock);
	v->saved = op->bits;
	spin_unlock(&v->info_lock);
}

int dms_volume_grow_origin(struct dms_volume *v, sector_t sectors)
{
	u64 chunks = DIV_ROUND_UP_ULL(sectors, 1ULL << v->chunk_shift);
	struct dms_op op = { .apply = apply_grow };
	int r;

	if (sectors <= v->origin_sectors)
		return 0;
	if (v->merge_shadow)
		return -EBUSY;
	/* The last chunk may have been partial; none of the new is saved. */
	op.bits = dms_bits_grow(v->saved, chunks);
	if (!op.bits)
		return -ENOMEM;
	r = dms_saver_commit(v, &op);
	if (r) {
		/* No copies to save for any more. */
		dms_bits_retire(v->saved, &v->srcu);
		v->saved = op.bits;
	}
	v->origin_sectors = sectors;
	v->origin_chunks = chunks;
	v->super.origin_sectors = sectors;
	return 0;
}
