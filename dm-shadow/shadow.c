// SPDX-License-Identifier: GPL-2.0-only
/*
 * The shadow copies of a volume: take, delete, drop, describe.
 *
 * Every change is journalled first and made in memory when it is durable.  The
 * list of copies is replaced as a whole, so that the saver and readers see one
 * state of it without a lock.
 *
 * A copy that goes while a node shows it (dropped for space, never by a
 * message) stays in memory, dead, until the node goes: its reads fail.
 */

#include "volume.h"

struct dms_exempt_load {
	u32 id;
	struct dms_sink *sink;
	struct dms_builder *builder;
	u64 next;			/* first chunk that may follow */
	u64 chunks;
};

static struct dms_copies *copies_of(struct dms_volume *v)
{
	return rcu_dereference_protected(v->copies, 1);
}

struct dms_shadow *dms_shadow_find(struct dms_volume *v, u32 id)
{
	struct dms_shadow *found = NULL;
	struct dms_copies *c;
	int idx;
	u32 i;

	idx = srcu_read_lock(&v->srcu);
	c = srcu_dereference(v->copies, &v->srcu);
	for (i = 0; c && i < c->nr; i++)
		if (c->shadow[i]->info.id == id)
			found = c->shadow[i];
	srcu_read_unlock(&v->srcu, idx);
	return found;
}

void dms_shadows_recount(struct dms_volume *v)
{
	struct dms_copies *c = copies_of(v);
	u32 i, needy = 0;

	for (i = 0; i < c->nr; i++)
		needy += dms_shadow_valid(c->shadow[i]);
	WRITE_ONCE(v->nr_needy, v->mode == DMS_MODE_RW ? needy : 0);
}

static void free_copies(struct rcu_head *rcu)
{
	kfree(container_of(rcu, struct dms_copies, rcu));
}

struct dms_shadow *dms_shadow_alloc(const struct dms_volume *v, const struct dms_shadow_info *info)
{
	struct dms_shadow *s = kzalloc(sizeof(*s), GFP_NOIO);

	if (!s)
		return NULL;
	s->info = *info;
	s->chunks = DIV_ROUND_UP_ULL(info->origin_sectors, 1ULL << v->chunk_shift);
	INIT_LIST_HEAD(&s->dead_list);
	return s;
}

int dms_shadows_replace(struct dms_volume *v, struct dms_shadow *add, struct dms_shadow *remove)
{
	struct dms_copies *old = copies_of(v), *new;
	u32 i;

	new = kmalloc(struct_size(new, shadow, (old ? old->nr : 0) + 1), GFP_NOIO);
	if (!new)
		return -ENOMEM;
	new->nr = 0;
	for (i = 0; old && i < old->nr; i++)
		if (old->shadow[i] != remove)
			new->shadow[new->nr++] = old->shadow[i];
	if (add)
		new->shadow[new->nr++] = add;
	rcu_assign_pointer(v->copies, new);
	if (old)
		call_srcu(&v->srcu, &old->rcu, free_copies);
	dms_shadows_recount(v);
	return 0;
}

void dms_shadows_lost(struct dms_volume *v)
{
	struct dms_copies *c;
	int idx;
	u32 i;

	idx = srcu_read_lock(&v->srcu);
	c = srcu_dereference(v->copies, &v->srcu);
	for (i = 0; c && i < c->nr; i++)
		WRITE_ONCE(c->shadow[i]->info.flags,
			   c->shadow[i]->info.flags | DMS_SHADOW_INVALID);
	srcu_read_unlock(&v->srcu, idx);
	WRITE_ONCE(v->nr_needy, 0);
}

void dms_shadows_free(struct dms_volume *v)
{
	struct dms_copies *c = copies_of(v);
	struct dms_gone_tree *g, *gn;
	struct dms_shadow *s, *n;
	u32 i;

	dms_exempt_abort(v);
	srcu_barrier(&v->srcu);
	for (i = 0; c && i < c->nr; i++)
		kfree(c->shadow[i]);
	kfree(c);
	list_for_each_entry_safe(s, n, &v->dead, dead_list)
		kfree(s);
	list_for_each_entry_safe(g, gn, &v->gone_trees, list)
		kfree(g);
}

static bool add_shadow(struct dms_op *op, struct dms_journal_block *j)
{
	return dms_journal_add_shadow(j, op->info);
}

static bool add_delete(struct dms_op *op, struct dms_journal_block *j)
{
	return dms_journal_add_delete(j, op->id);
}

static bool find_uuid(struct dms_volume *v, const u8 *uuid)
{
	struct dms_copies *c = copies_of(v);
	u32 i;

	for (i = 0; i < c->nr; i++)
		if (!memcmp(c->shadow[i]->info.uuid, uuid, sizeof(c->shadow[i]->info.uuid)))
			return true;
	return false;
}

int dms_shadow_create(struct dms_volume *v, struct dms_shadow_info *info)
{
	struct dms_op op = { .add = add_shadow, .info = info };
	struct dms_bits *saved;
	struct timespec64 now;
	bool before_all;
	struct dms_shadow *s;
	int r;

	if (!v->suspended)
		return -EBUSY;
	if (v->mode != DMS_MODE_RW)
		return -EROFS;
	if (v->merge_shadow)
		return -EALREADY;
	if (v->epoch >= U32_MAX - 1)
		return -EOVERFLOW;
	if (find_uuid(v, info->uuid))
		return -EEXIST;
	ktime_get_real_ts64(&now);
	info->id = v->epoch + 1;
	info->created = now.tv_sec;
	info->created_nsec = now.tv_nsec;
	info->origin_sectors = v->origin_sectors;

	saved = dms_bits_create(v->origin_chunks);
	s = dms_shadow_alloc(v, info);
	r = saved && s ? 0 : -ENOMEM;
	/*
	 * What the origin's cache holds belongs to the copy: it must not read
	 * otherwise after a power cut.
	 */
	if (!r)
		r = dms_io_flush(v->origin);
	if (!r)
		r = dms_saver_commit(v, &op);
	if (r)
		goto bad;
	v->epoch = info->id;
	v->shadows_dirty = true;
	before_all = !v->nr_needy;
	r = dms_shadows_replace(v, s, NULL);
	if (r) {
		/* It is on disk: take it back, or it would show up later. */
		struct dms_op undo = { .add = add_delete, .id = info->id };

		dms_saver_commit(v, &undo);
		goto bad;
	}
	/* The origin is suspended: nobody looks at the bits but exempt_bits(). */
	mutex_lock(&v->bits_mutex);
	dms_bits_destroy(v->saved_before);
	v->saved_before = v->saved;
	v->saved = saved;
	v->saved_epoch = info->id;
	v->before_all = before_all;
	mutex_unlock(&v->bits_mutex);
	v->exact = true;
	return 0;
bad:
	dms_bits_destroy(saved);
	kfree(s);
	return r;
}

int dms_shadow_update(struct dms_volume *v, const struct dms_shadow_info *info)
{
	struct dms_shadow *s = dms_shadow_find(v, info->id);
	struct dms_op op = { .add = add_shadow, .info = info };
	int r;

	r = dms_saver_commit(v, &op);
	if (r)
		return r;
	spin_lock(&v->info_lock);
	/* The exempt tree may have come meanwhile. */
	WRITE_ONCE(s->info.flags, info->flags | (s->info.flags & DMS_SHADOW_EXEMPT));
	s->info.locked_until = info->locked_until;
	s->info.attr_size = info->attr_size;
	memcpy(s->info.attr, info->attr, sizeof(info->attr));
	spin_unlock(&v->info_lock);
	v->shadows_dirty = true;
	dms_shadows_recount(v);
	return 0;
}

void dms_tree_gone(struct dms_volume *v, const struct dms_tree *t)
{
	struct dms_gone_tree *g;

	if (!t->depth)
		return;
	g = kmalloc(sizeof(*g), GFP_NOIO | __GFP_NOFAIL);
	g->tree = *t;
	spin_lock_irq(&v->lock);
	list_add_tail(&g->list, &v->gone_trees);
	spin_unlock_irq(&v->lock);
}

static int delete(struct dms_volume *v, struct dms_shadow *s, bool urgent)
{
	struct dms_copies *c = copies_of(v);
	struct dms_op op = { .add = add_delete, .id = s->info.id, .urgent = urgent };
	bool newest = c->shadow[c->nr - 1] == s;
	struct dms_tree exempt;
	int r;

	r = dms_saver_commit(v, &op);
	if (r)
		return r;
	spin_lock(&v->info_lock);
	WRITE_ONCE(s->dead, true);
	exempt = s->info.exempt;
	spin_unlock(&v->info_lock);
	r = dms_shadows_replace(v, NULL, s);
	dms_shadows_recount(v);
	if (r)			/* dead as it is, the list can wait for the next change */
		return 0;
	if (newest)
		v->exact = false;
	v->shadows_dirty = true;
	dms_tree_gone(v, &exempt);
	WRITE_ONCE(v->reclaim, true);
	spin_lock(&v->info_lock);
	list_add(&s->dead_list, &v->dead);
	spin_unlock(&v->info_lock);
	dms_background_wake(v);
	return 0;
}

static bool is_locked(const struct dms_shadow *s)
{
	return s->info.locked_until > ktime_get_real_seconds();
}

int dms_shadow_may_delete(struct dms_volume *v, u32 id)
{
	struct dms_shadow *s = dms_shadow_find(v, id);

	if (!s)
		return -ENOENT;
	if (s->opens || v->merge_shadow == id)
		return -EBUSY;
	return is_locked(s) ? -EPERM : 0;
}

int dms_shadow_delete(struct dms_volume *v, u32 id)
{
	int r = dms_shadow_may_delete(v, id);

	return r ? r : delete(v, dms_shadow_find(v, id), false);
}

int dms_shadow_drop(struct dms_volume *v)
{
	struct dms_copies *c = copies_of(v);
	struct dms_shadow *victim = NULL;
	u32 i;

	/* Locked ones go last: even they must not cost the origin a write. */
	for (i = 0; i < c->nr; i++) {
		struct dms_shadow *s = c->shadow[i];

		if (s->info.id == v->merge_shadow)
			continue;
		if (!is_locked(s)) {
			victim = s;
			break;
		}
		if (!victim)
			victim = s;
	}
	if (!victim) {
		/* What a merge reads is kept, but it can't stay a copy. */
		victim = v->merge_shadow ? dms_shadow_find(v, v->merge_shadow) : NULL;
		if (victim && dms_shadow_valid(victim)) {
			struct dms_shadow_info *info = kmemdup(&victim->info, sizeof(*info),
							       GFP_NOIO);
			int r = -ENOMEM;

			if (info) {
				info->flags |= DMS_SHADOW_INVALID;
				r = dms_shadow_update(v, info);
				kfree(info);
			}
			return r;
		}
		return -ENOENT;
	}
	DMWARN("%s: diff area is full, dropping shadow copy %u", v->name, victim->info.id);
	atomic64_inc(&v->stats.dropped);
	dms_volume_event(v);
	return delete(v, victim, true);
}

struct dms_shadow *dms_shadow_open(struct dms_volume *v, u32 id, char **error)
{
	struct dms_shadow *s;

	mutex_lock(&v->meta);
	s = dms_shadow_find(v, id);
	spin_lock(&v->info_lock);
	if (s && s->dead)
		s = NULL;
	if (s)
		s->opens++;
	else
		*error = "No such shadow copy in this diff area";
	spin_unlock(&v->info_lock);
	mutex_unlock(&v->meta);
	return s;
}

/* Free the dead that nobody shows any more; readers of the list have gone. */
void dms_shadow_close(struct dms_volume *v, struct dms_shadow *s)
{
	spin_lock(&v->info_lock);
	s->opens--;
	spin_unlock(&v->info_lock);
}

/* --- exempt runs --- */

void dms_exempt_abort(struct dms_volume *v)
{
	struct dms_exempt_load *l = v->exempt_load;

	if (!l)
		return;
	dms_builder_destroy(l->builder);
	dms_sink_destroy(l->sink);
	kfree(l);
	v->exempt_load = NULL;
}

int dms_exempt_begin(struct dms_volume *v, u32 id)
{
	struct dms_shadow *s = dms_shadow_find(v, id);
	struct dms_exempt_load *l;

	if (!s)
		return -ENOENT;
	if (v->exempt_load && dms_shadow_find(v, v->exempt_load->id))
		return -EALREADY;
	dms_exempt_abort(v);		/* of a copy that has gone */
	if (s->info.flags & (DMS_SHADOW_EXEMPT | DMS_SHADOW_INVALID))
		return -EEXIST;
	l = kzalloc(sizeof(*l), GFP_KERNEL);
	if (!l)
		return -ENOMEM;
	v->exempt_load = l;
	l->id = id;
	l->sink = dms_sink_create(v);
	l->builder = l->sink ? dms_builder_create(l->sink) : NULL;
	if (!l->builder) {
		dms_exempt_abort(v);
		return -ENOMEM;
	}
	return 0;
}

int dms_exempt_run(struct dms_volume *v, u32 id, u64 chunk, u64 count)
{
	struct dms_exempt_load *l = v->exempt_load;
	struct dms_shadow *s = dms_shadow_find(v, id);
	int r;

	if (!s)
		return -ENOENT;
	if (!l || l->id != id)
		return -ENODATA;
	if (!count || chunk < l->next || chunk >= s->chunks || count > s->chunks - chunk)
		return -ERANGE;
	l->next = chunk + count;
	l->chunks += count;
	while (count) {
		struct dms_exception e = {
			.chunk = chunk, .tag = id, .kind = DMS_KIND_EXEMPT,
			.length = min_t(u64, count, 1U << 31),
		};

		r = dms_builder_add(l->builder, &e, NULL);
		if (r)
			return r;
		chunk += e.length;
		count -= e.length;
	}
	return 0;
}

/* Exempt chunks that no older copy needs, need no saving from now on. */
static int set_exempt_bits(struct dms_volume *v, const struct dms_tree *tree)
{
	struct dms_source *source = dms_stream_create(v);
	struct dms_exception e;
	struct dms_cursor c;
	const __le32 *csums;
	int r;

	if (!source)
		return -ENOMEM;
	dms_cursor_init(&c, source, tree, 0);
	while ((r = dms_cursor_next(&c, &e, &csums)) > 0) {
		u64 chunk, end = e.chunk + e.length;

		if (v->before_all) {
			dms_bits_set(v->saved, e.chunk, e.length);
			continue;
		}
		for (chunk = e.chunk; chunk < end; chunk++)
			if (dms_bits_test(v->saved_before, chunk))
				dms_bits_set(v->saved, chunk, 1);
	}
	dms_cursor_exit(&c);
	dms_stream_destroy(source);
	return r;
}

static int exempt_bits(struct dms_volume *v, u32 id, const struct dms_tree *tree)
{
	int r = 0;

	/* Reads of these chunks on their way to the origin end first (I3). */
	synchronize_srcu(&v->srcu);
	mutex_lock(&v->bits_mutex);
	if (v->saved_before && id == v->saved_epoch) {
		r = set_exempt_bits(v, tree);
		dms_bits_destroy(v->saved_before);
		v->saved_before = NULL;
	}
	mutex_unlock(&v->bits_mutex);
	return r;
}

int dms_exempt_end(struct dms_volume *v, u32 id)
{
	struct dms_exempt_load *l = v->exempt_load;
	struct dms_shadow *s = dms_shadow_find(v, id);
	struct dms_shadow_info *info;
	int r;

	if (!s)
		return -ENOENT;
	if (!l || l->id != id)
		return -ENODATA;
	info = kmemdup(&s->info, sizeof(*info), GFP_KERNEL);
	if (!info)
		return -ENOMEM;
	r = dms_builder_finish(l->builder, &info->exempt);
	if (!r)
		r = dms_sink_flush(l->sink);
	if (r)
		goto out;
	info->flags |= DMS_SHADOW_EXEMPT;
	info->exempt_chunks = l->chunks;
	dms_sink_publish(l->sink);
	v->override = info;
	v->shadows_dirty = true;
	r = dms_checkpoint(v, 0);
	v->override = NULL;
	if (r)
		goto out;
	spin_lock(&v->info_lock);
	if (s->dead) {
		r = -ENOENT;
	} else {
		s->info.exempt = info->exempt;
		s->info.exempt_chunks = info->exempt_chunks;
		/* Readers that see the flag see the tree. */
		smp_store_release(&s->info.flags, s->info.flags | DMS_SHADOW_EXEMPT);
	}
	spin_unlock(&v->info_lock);
	if (r)
		dms_tree_gone(v, &info->exempt);
	else
		r = exempt_bits(v, id, &info->exempt);
out:
	kfree(info);
	dms_exempt_abort(v);
	return r;
}
