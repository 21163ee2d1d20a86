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

	WRITE_ONCE(v->drop_vain, false);
	for (i = 0; i < c->nr; i++)
		needy += dms_shadow_valid(c->shadow[i]);
	/* Who may write unsaved must see which copies can't be read: map.c. */
	smp_store_release(&v->nr_needy, needy);
}

static void free_copies(struct rcu_head *rcu)
{
	kvfree(container_of(rcu, struct dms_copies, rcu));
}

struct dms_copies *dms_copies_alloc(u32 room)
{
	struct dms_copies *c;

	c = kvmalloc(struct_size(c, shadow, room), GFP_NOIO);
	if (c)
		c->nr = 0;
	return c;
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

/* The list with @add and without @remove (either may be NULL).  NULL: no memory. */
static struct dms_copies *changed_list(struct dms_volume *v, struct dms_shadow *add,
				       struct dms_shadow *remove)
{
	struct dms_copies *old = copies_of(v), *new;
	u32 i;

	new = dms_copies_alloc((old ? old->nr : 0) + 1);
	if (!new)
		return NULL;
	for (i = 0; old && i < old->nr; i++)
		if (old->shadow[i] != remove)
			new->shadow[new->nr++] = old->shadow[i];
	if (add)
		new->shadow[new->nr++] = add;
	return new;
}

void dms_shadows_install(struct dms_volume *v, struct dms_copies *new)
{
	struct dms_copies *old = copies_of(v);

	rcu_assign_pointer(v->copies, new);
	if (old)
		call_srcu(&v->srcu, &old->rcu, free_copies);
	dms_shadows_recount(v);
	v->shadows_dirty = true;
}

int dms_shadows_replace(struct dms_volume *v, struct dms_shadow *add, struct dms_shadow *remove)
{
	struct dms_copies *new = changed_list(v, add, remove);

	if (!new)
		return -ENOMEM;
	dms_shadows_install(v, new);
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
}

/*
 * The copies that exist when the checkpoint looks become invalid; one taken
 * meanwhile, which it does not write so, stays.
 */
int dms_shadows_invalidate(struct dms_volume *v)
{
	struct dms_copies *c;
	u32 i, last = READ_ONCE(v->epoch);
	int r, idx;

	v->invalidate_upto = last;
	v->shadows_dirty = true;
	r = dms_checkpoint(v, 0);
	v->invalidate_upto = 0;
	if (r)
		return r;
	idx = srcu_read_lock(&v->srcu);
	c = srcu_dereference(v->copies, &v->srcu);
	spin_lock(&v->info_lock);
	for (i = 0; i < c->nr && c->shadow[i]->info.id <= last; i++)
		WRITE_ONCE(c->shadow[i]->info.flags,
			   c->shadow[i]->info.flags | DMS_SHADOW_INVALID);
	spin_unlock(&v->info_lock);
	srcu_read_unlock(&v->srcu, idx);
	dms_shadows_recount(v);
	return 0;
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
	kvfree(c);
	list_for_each_entry_safe(s, n, &v->dead, dead_list)
		kfree(s);
	list_splice(&v->gone_before, &v->gone_trees);
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

/* The origin is suspended: nobody maps. */
static void apply_create(struct dms_volume *v, struct dms_op *op)
{
	dms_saver_stale(v);
	v->epoch = op->info->id;
	dms_bits_retire(v->saved_before, &v->srcu);
	spin_lock(&v->info_lock);
	v->saved_before = v->saved;
	v->before_all = !v->nr_needy;
	v->saved = op->bits;
	v->saved_epoch = op->info->id;
	spin_unlock(&v->info_lock);
	v->exact = true;
	dms_shadows_install(v, op->copies);
}

int dms_shadow_create(struct dms_volume *v, struct dms_shadow_info *info)
{
	struct dms_op op = { .add = add_shadow, .apply = apply_create, .info = info };
	struct timespec64 now;
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
	r = dms_room_for_copy(v);
	if (r)
		return r;
	ktime_get_real_ts64(&now);
	info->id = v->epoch + 1;
	info->created = now.tv_sec;
	info->created_nsec = now.tv_nsec;
	info->origin_sectors = v->origin_sectors;

	op.bits = dms_bits_create(v->origin_chunks);
	op.shadow = dms_shadow_alloc(v, info);
	if (op.shadow)
		op.copies = changed_list(v, op.shadow, NULL);
	r = op.bits && op.copies ? 0 : -ENOMEM;
	/*
	 * What the origin's cache holds belongs to the copy: it must not read
	 * otherwise after a power cut.
	 */
	if (!r)
		r = dms_io_flush(v->origin);
	if (!r)
		r = dms_saver_commit(v, &op);
	if (r) {
		dms_bits_destroy(op.bits);
		kvfree(op.copies);
		kfree(op.shadow);
	}
	return r;
}

static void apply_update(struct dms_volume *v, struct dms_op *op)
{
	const struct dms_shadow_info *info = op->info;
	struct dms_shadow *s = op->shadow;

	spin_lock(&v->info_lock);
	/* What came meanwhile, other than by a message, stays. */
	WRITE_ONCE(s->info.flags, info->flags |
		   (s->info.flags & (DMS_SHADOW_EXEMPT | DMS_SHADOW_INVALID)));
	s->info.locked_until = info->locked_until;
	s->info.attr_size = info->attr_size;
	memcpy(s->info.attr, info->attr, sizeof(info->attr));
	spin_unlock(&v->info_lock);
	v->shadows_dirty = true;
	dms_shadows_recount(v);
}

int dms_shadow_update(struct dms_volume *v, const struct dms_shadow_info *info)
{
	struct dms_op op = {
		.add = add_shadow, .apply = apply_update, .info = info,
		.shadow = dms_shadow_find(v, info->id),
	};

	return dms_saver_commit(v, &op);
}

struct dms_gone_tree *dms_tree_gone_prepare(void)
{
	return kzalloc(sizeof(struct dms_gone_tree), GFP_NOIO | __GFP_NOFAIL);
}

static void add_gone(struct dms_volume *v, struct dms_gone_tree *g, const struct dms_tree *t)
{
	g->tree = *t;
	spin_lock_irq(&v->lock);
	list_add_tail(&g->list, &v->gone_trees);
	spin_unlock_irq(&v->lock);
}

void dms_tree_gone(struct dms_volume *v, const struct dms_tree *t)
{
	add_gone(v, dms_tree_gone_prepare(), t);
}

static void apply_delete(struct dms_volume *v, struct dms_op *op)
{
	struct dms_copies *c = copies_of(v);
	struct dms_shadow *s = op->shadow;

	if (c->shadow[c->nr - 1] == s)
		v->exact = false;
	spin_lock(&v->info_lock);
	WRITE_ONCE(s->dead, true);
	list_add(&s->dead_list, &v->dead);
	spin_unlock(&v->info_lock);
	dms_shadows_install(v, op->copies);
	add_gone(v, op->gone, &s->info.exempt);
	WRITE_ONCE(v->reclaim, true);
	dms_background_wake(v);
}

static int delete(struct dms_volume *v, struct dms_shadow *s, bool urgent)
{
	struct dms_op op = {
		.add = add_delete, .apply = apply_delete, .id = s->info.id, .shadow = s,
		.urgent = urgent, .copies = changed_list(v, NULL, s),
	};
	int r;

	if (!op.copies)
		return -ENOMEM;
	op.gone = dms_tree_gone_prepare();
	r = dms_saver_commit(v, &op);
	if (r) {
		kvfree(op.copies);
		kfree(op.gone);
	}
	return r;
}

static bool is_locked(const struct dms_shadow *s)
{
	return s->info.locked_until > ktime_get_real_seconds();
}

bool dms_shadow_may_drop(const struct dms_volume *v, const struct dms_shadow *s)
{
	return s->info.id != READ_ONCE(v->merge_shadow) && !is_locked(s);
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

/* What a merge reads is kept, but it can't stay a copy. */
static int invalidate_merging(struct dms_volume *v)
{
	struct dms_shadow *s = dms_shadow_find(v, v->merge_shadow);
	struct dms_op op = {
		.add = add_shadow, .apply = apply_update, .shadow = s, .urgent = true,
	};
	struct dms_shadow_info *info;
	int r;

	if (!s || !dms_shadow_valid(s))
		return -ENOENT;
	info = kmemdup(&s->info, sizeof(*info), GFP_NOIO);
	if (!info)
		return -ENOMEM;
	info->flags |= DMS_SHADOW_INVALID;
	op.info = info;
	r = dms_saver_commit(v, &op);
	kfree(info);
	if (r)
		return r;
	DMWARN("%s: diff area is full, shadow copy %u is invalid; its merge goes on", v->name,
	       s->info.id);
	dms_volume_event(v);
	return 0;
}

int dms_shadow_drop(struct dms_volume *v, bool early, u32 *id)
{
	struct dms_copies *c = copies_of(v);
	struct dms_shadow *victim = NULL;
	u32 i;

	*id = 0;
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
	if (early && (c->nr < 2 || !dms_shadow_may_drop(v, c->shadow[0])))
		return -ENOENT;
	if (!victim)
		return invalidate_merging(v);
	*id = victim->info.id;
	DMWARN("%s: diff area is %s, dropping shadow copy %u", v->name,
	       early ? "short of space" : "full", *id);
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

int dms_exempt_cancel(struct dms_volume *v, u32 id)
{
	/* That nothing is being loaded is fine: it may have been aborted by itself. */
	if (v->exempt_load && v->exempt_load->id != id)
		return -ENODATA;
	dms_exempt_abort(v);
	return 0;
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
	l->sink = dms_sink_create(v, min(dms_data_limit(v), dms_space_ceiling(v, 0)));
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
		if (r) {
			r = dms_sink_error(l->sink, r);
			dms_exempt_abort(v);	/* it holds space */
			return r;
		}
		chunk += e.length;
		count -= e.length;
	}
	return 0;
}

/*
 * Exempt chunks that no older copy needs, by the bitmap @before the creation
 * (NULL: all), need no saving from now on.
 */
static void set_exempt_bits(struct dms_volume *v, const struct dms_tree *tree,
			    struct dms_bits *saved, const struct dms_bits *before)
{
	struct dms_source *source = dms_stream_create(v);
	struct dms_exception e;
	struct dms_cursor c;
	const __le32 *csums;

	if (!source)
		return;
	dms_cursor_init(&c, source, tree, 0);
	while (dms_cursor_next(&c, &e, &csums) > 0) {
		u64 chunk, end = e.chunk + e.length;

		if (!before) {
			dms_bits_set(saved, e.chunk, e.length);
			continue;
		}
		for (chunk = dms_bits_next(before, e.chunk); chunk < end;
		     chunk = dms_bits_next(before, chunk + 1))
			dms_bits_set(saved, chunk, 1);
		cond_resched();
	}
	dms_cursor_exit(&c);
	dms_stream_destroy(source);
}

/*
 * Set the saved bits of what is exempt.  A creation meanwhile makes the bitmap
 * the one before its own, where these bits are just as true.  On failure some stay
 * clear, and need() in cow.c looks.
 */
static void exempt_bits(struct dms_volume *v, u32 id, const struct dms_tree *tree)
{
	struct dms_bits *saved, *before;
	bool all;
	int idx;

	/* Reads of these chunks on their way to the origin end first (I3). */
	synchronize_srcu(&v->srcu);
	idx = srcu_read_lock(&v->srcu);
	spin_lock(&v->info_lock);
	saved = v->saved;
	before = v->saved_before;
	all = v->before_all;
	if (id != v->saved_epoch)
		before = NULL;
	spin_unlock(&v->info_lock);
	if (before)
		set_exempt_bits(v, tree, saved, all ? NULL : before);
	srcu_read_unlock(&v->srcu, idx);
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
	if (r) {
		r = dms_sink_error(l->sink, r);
		goto out;
	}
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
		exempt_bits(v, id, &info->exempt);
out:
	kfree(info);
	dms_exempt_abort(v);
	return r;
}
