// SPDX-License-Identifier: GPL-2.0-only
/*
 * Background: what keeps journal, memory and diff area bounded.  It decides when
 * a checkpoint is due, joins trees, and makes room.
 *
 * Joining trees reads some of them in order and writes one: the newest few when
 * they have become many (each tree at least twice as large as all newer ones
 * together, so that there are never many), all of them when copies have gone
 * and their exceptions are dead.  Checkpoints go on in between.  What the new
 * tree drops is only remembered until it is complete, then freed with the old
 * trees by the checkpoint that puts the new one in their place.
 *
 * What a copy holds is all over the trees, so that nothing is free before all of them
 * are joined.  Where that takes long and the policy is to drop copies, they are dropped
 * before space ends, and as many at once as make it worth while.
 *
 * Nobody waits for a join, usually.  Then it runs at the lowest priority: the saver,
 * and who writes, must not wait for a turn at the processor until its time is up.
 *
 * Locking: v->back_mutex over all of this.  v->meta is never waited for.
 */
#include <linux/sched/mm.h>

#include "volume.h"

#define MERGE_MIN_TREES	4		/* not worth less */
#define MERGE_MAX_TREES	24		/* look-ups ask all of them */
#define JOIN_NEWEST	16		/* joined when there are too many */
#define JOIN_SLICE	1024		/* runs between looks at what else is due */
#define AHEAD_MIN	65536		/* exceptions: to join fewer takes no time */
#define AHEAD_PART	32		/* one chunk for so many */
#define AHEAD_MAX	16		/* one of so many chunks for data, at most */
#define HELD_UNKNOWN	BIT_ULL(62)	/* chunks: more than there can be */

void dms_back_lock(struct dms_volume *v)
{
	atomic_inc(&v->back_users);
	dms_back_hurry(v);
	mutex_lock(&v->back_mutex);
}

void dms_back_unlock(struct dms_volume *v)
{
	mutex_unlock(&v->back_mutex);
	atomic_dec(&v->back_users);
}

void dms_background_wake(struct dms_volume *v)
{
	if (!READ_ONCE(v->closing))
		queue_work(v->back_wq, &v->back_work);
}

/* --- joining trees --- */

static bool checkpoint_due(struct dms_volume *v)
{
	struct dms_table *t = v->table[READ_ONCE(v->active)];

	if (READ_ONCE(v->want) == DMS_WANT_CHECKPOINT)
		return true;
	if (dms_table_room(t) < dms_table_count(t) / 3)
		return true;
	return !v->is_volatile &&
	       v->journal_head - v->journal_tail > v->super.journal_blocks / 2;
}

static bool too_many_trees(const struct dms_volume *v)
{
	return rcu_dereference_protected(v->trees, 1)->nr >= DMS_VOLUME_TREES - 8;
}

/* The worker goes on at the lowest priority, unless somebody waits, or may soon. */
static void give_way(struct dms_volume *v)
{
	spin_lock_irq(&v->pace_lock);
	if (v->opened && !READ_ONCE(v->closing) && READ_ONCE(v->mode) == DMS_MODE_RW &&
	    !v->gives_way && READ_ONCE(v->want) == DMS_WANT_NOTHING && !checkpoint_due(v) &&
	    !atomic_read(&v->back_users) && !too_many_trees(v)) {
		v->gives_way = current;
		v->own_nice = task_nice(current);
		set_user_nice(current, MAX_NICE);
	}
	spin_unlock_irq(&v->pace_lock);
}

void dms_back_hurry(struct dms_volume *v)
{
	unsigned long flags;

	spin_lock_irqsave(&v->pace_lock, flags);
	if (v->gives_way)
		set_user_nice(v->gives_way, v->own_nice);
	v->gives_way = NULL;
	spin_unlock_irqrestore(&v->pace_lock, flags);
}

static int checkpoint_if_due(struct dms_volume *v)
{
	int r;

	if (!checkpoint_due(v))
		return 0;
	dms_back_hurry(v);
	if (v->want == DMS_WANT_CHECKPOINT)
		WRITE_ONCE(v->want, DMS_WANT_NOTHING);
	r = dms_checkpoint(v, 0);
	dms_saver_wake(v);
	return r;
}

struct join {
	struct dms_volume *v;
	struct dms_bits *doomed;	/* chunks to be freed when it is complete */
	u32 runs;			/* looked at */
	bool many;			/* too many trees when it began */
};

static void doom(void *context, area_chunk_t first, u32 length)
{
	struct join *j = context;

	dms_bits_set(j->doomed, first, length);
}

static void free_doomed(struct dms_volume *v, struct dms_bits *doomed)
{
	u64 first = 0, end;

	for (;;) {
		first = dms_bits_next(doomed, first);
		if (first >= v->area_chunks)
			break;
		for (end = first + 1; end < v->area_chunks && end - first < 4096; end++)
			if (!dms_bits_test(doomed, end))
				break;
		dms_alloc_free(v->alloc, first, end - first);
		first = end;
		cond_resched();
	}
}

/* Epochs of the copies that can be read, or that a merge reads. */
static u32 *live_epochs(struct dms_volume *v, u32 *nr)
{
	struct dms_copies *c;
	u32 *epochs, i;
	int idx;

	idx = srcu_read_lock(&v->srcu);
	c = srcu_dereference(v->copies, &v->srcu);
	epochs = __vmalloc(array_size(c->nr + 1, sizeof(u32)), GFP_NOIO);
	*nr = 0;
	for (i = 0; epochs && i < c->nr; i++)
		if (dms_shadow_valid(c->shadow[i]) || c->shadow[i]->info.id == v->merge_shadow)
			epochs[(*nr)++] = c->shadow[i]->info.id;
	srcu_read_unlock(&v->srcu, idx);
	return epochs;
}

/* The id of the copy before which @n newer ones come; 0: none. */
static u32 nth_newest(struct dms_volume *v, u32 n)
{
	struct dms_copies *c;
	u32 id;
	int idx;

	idx = srcu_read_lock(&v->srcu);
	c = srcu_dereference(v->copies, &v->srcu);
	id = n < c->nr ? c->shadow[c->nr - 1 - n]->info.id : 0;
	srcu_read_unlock(&v->srcu, idx);
	return id;
}

/* A join goes on for long: is there something that can't wait? */
static int slice_over(const struct join *j)
{
	struct dms_volume *v = j->v;

	if (!v->opened)
		return 0;
	if (READ_ONCE(v->closing))
		return -EINTR;
	if (READ_ONCE(v->mode) != DMS_MODE_RW)
		return -EROFS;
	/* Let the newest be joined first, unless that is what this join does. */
	if (too_many_trees(v) && !j->many)
		return -EAGAIN;
	return checkpoint_if_due(v);
}

static int join_look(void *context)
{
	struct join *j = context;

	cond_resched();
	if (++j->runs % JOIN_SLICE)
		return 0;
	give_way(j->v);
	return slice_over(j);
}

static int join_stream(struct dms_merger *m, struct dms_builder *b, struct dms_tree *ret)
{
	struct dms_exception e;
	const __le32 *csums;
	int r;

	while ((r = dms_merger_next(m, &e, &csums)) > 0) {
		r = dms_builder_add(b, &e, csums);
		if (r)
			break;
	}
	return r ?: dms_builder_finish(b, ret);
}

/* The list of trees with @joined in place of @nr trees from @first on. */
static struct dms_trees *replace_trees(struct dms_volume *v, u32 first, u32 nr,
				       const struct dms_tree *joined)
{
	struct dms_trees *old = rcu_dereference_protected(v->trees, 1);
	struct dms_trees *new = kzalloc(sizeof(*new), GFP_NOIO | __GFP_NOFAIL);
	u32 i;

	for (i = 0; i < old->nr; i++) {
		if (i == first && joined->depth)
			new->tree[new->nr++] = *joined;
		if (i < first || i >= first + nr)
			new->tree[new->nr++] = old->tree[i];
	}
	return new;
}

/*
 * Join the trees from number @first on.  @many: to go on where there are too many
 * trees.  -EAGAIN: not possible now, nothing is lost.
 */
static int join_trees(struct dms_volume *v, u32 first, bool many)
{
	struct dms_trees *old = kmemdup(rcu_dereference_protected(v->trees, 1), sizeof(*old),
					GFP_NOIO | __GFP_NOFAIL);
	struct dms_source *source = dms_stream_create(v);
	struct dms_sink *sink = dms_sink_create(v, v->area_chunks - dms_checkpoint_need(v, 0));
	struct join join = {
		.v = v, .doomed = dms_bits_create(v->area_chunks), .many = many,
	};
	struct dms_merge_spec spec = {
		.source = source, .trees = &old->tree[first], .nr_trees = old->nr - first,
		.merge_epoch = v->merge_shadow ? v->merge_epoch : 0,
		.drop = doom, .look = join_look, .context = &join,
	};
	bool whole = first == v->join_floor;
	struct dms_builder *b = NULL;
	struct dms_merger *m = NULL;
	struct dms_tree joined;
	int r = -ENOMEM;
	u32 *epochs, i;
	u64 *held;

	if (many)
		dms_back_hurry(v);
	epochs = live_epochs(v, &spec.nr_epochs);
	spec.epochs = epochs;
	held = __vmalloc(array_size(spec.nr_epochs + 1, sizeof(*held)), GFP_NOIO | __GFP_ZERO);
	spec.held = held;
	if (source && sink && join.doomed && epochs && held) {
		m = dms_merger_create(&spec);
		b = dms_builder_create(sink);
	}
	if (m && b)
		r = join_stream(m, b, &joined);
	if (!r)
		r = dms_sink_flush(sink);
	r = dms_sink_error(sink, r);
	dms_merger_destroy(m);
	dms_builder_destroy(b);
	if (!r) {
		dms_sink_publish(sink);
		free_doomed(v, join.doomed);
		for (i = first; i < old->nr; i++)
			if (dms_tree_free(v, source, &old->tree[i]))
				DMWARN("%s: space of an old index tree is not given back", v->name);
		r = dms_commit(v, replace_trees(v, first, old->nr - first, &joined),
			       v->journal_tail, 0, NULL);
	} else if (r == -EAGAIN || r == -ENOMEM) {
		WRITE_ONCE(v->reclaim, true);
	} else if (r == -EUCLEAN || r == -EIO) {
		/* These stay as they are; newer ones are joined without them. */
		v->join_floor = old->nr;
		v->nr_held = 0;
		WRITE_ONCE(v->entries, 0);
		DMERR_LIMIT("%s: index trees can't be joined: error %d", v->name, r);
	}
	if (whole) {
		v->nr_held = r ? 0 : spec.nr_epochs;
		v->held_asked = nth_newest(v, 0);
		swap(v->held_epochs, epochs);
		swap(v->held_chunks, held);
	}
	vfree(epochs);
	vfree(held);
	dms_bits_destroy(join.doomed);
	dms_sink_destroy(sink);
	if (source)
		dms_stream_destroy(source);
	kfree(old);
	return r;
}

/* From where on trees should be joined; nr of them: nowhere. */
static u32 join_from(const struct dms_volume *v)
{
	struct dms_trees *trees = rcu_dereference_protected(v->trees, 1);
	u32 k = trees->nr;
	u64 sum = 0;

	/* Soon over, whatever the older ones hold: each checkpoint meanwhile adds one. */
	if (too_many_trees(v))
		return max_t(u32, v->join_floor, trees->nr - JOIN_NEWEST);
	while (k > v->join_floor && (trees->tree[k - 1].entries < 2 * sum || k == trees->nr)) {
		k--;
		sum += trees->tree[k].entries;
	}
	if (trees->nr - v->join_floor >= MERGE_MAX_TREES && trees->nr - k < 2)
		k = trees->nr - 2;
	return trees->nr - k >= MERGE_MIN_TREES ||
	       trees->nr - v->join_floor >= MERGE_MAX_TREES ? k : trees->nr;
}

int dms_checkpoint_replay(struct dms_volume *v, u64 sequence)
{
	struct dms_trees *trees;
	u32 from;
	int r;

	r = dms_checkpoint_table(v, v->table[v->active], sequence, 0);
	trees = rcu_dereference_protected(v->trees, 1);
	from = join_from(v);
	/* Tables smaller than they were could make many. */
	if (!r && from < trees->nr)
		join_trees(v, from, false);
	/* Nobody has heard that the area failed in between. */
	return r || v->mode == DMS_MODE_RW ? r : -EIO;
}

/* --- space --- */

static void reclaim(struct dms_volume *v)
{
	/* Before its own checkpoint: else the newest are joined first. */
	bool many = too_many_trees(v);

	WRITE_ONCE(v->reclaim, false);
	v->unsure = false;
	/* The table first, so that what it holds of the dead goes too. */
	if (!dms_checkpoint(v, 0) &&
	    rcu_dereference_protected(v->trees, 1)->nr > v->join_floor)
		join_trees(v, v->join_floor, many);
}

static int invalidate_all(struct dms_volume *v)
{
	int r;

	DMWARN("%s: diff area is full, all shadow copies are invalid", v->name);
	r = dms_shadows_invalidate(v);
	dms_volume_event(v);
	if (!r)
		reclaim(v);
	return r;
}

static bool tables_used(const struct dms_volume *v)
{
	return dms_table_count(v->table[0]) || dms_table_count(v->table[1]);
}

static bool has_room(struct dms_volume *v)
{
	return dms_alloc_used(v->alloc) < min(dms_data_limit(v), dms_space_ceiling(v, 0));
}

/*
 * With fewer free chunks than this copies are dropped; 0: not before there are none.  So
 * many are about saved while all trees are joined; and as many are to be had by it, so
 * that the index is not read and written too often.
 */
static u64 drop_ahead(const struct dms_volume *v)
{
	u64 entries = READ_ONCE(v->entries);

	if (entries < AHEAD_MIN || READ_ONCE(v->super.when_full) != DMS_FULL_DROP_OLDEST)
		return 0;
	return min(entries / AHEAD_PART, div_u64(dms_data_limit(v), AHEAD_MAX));
}

bool dms_drop_due(const struct dms_volume *v, u64 ceiling)
{
	u64 ahead = READ_ONCE(v->drop_vain) ? 0 : drop_ahead(v);

	return ahead && dms_alloc_used(v->alloc) + ahead >= min(dms_data_limit(v), ceiling);
}

/*
 * What each copy held when all trees were last joined: area chunks that older copies may
 * need, too, but no newer one.  Of the newest then, which has got more, and of later ones
 * it is not known.
 */
static u64 held_by(const struct dms_volume *v, u32 id)
{
	u32 i;

	if (!v->nr_held || id >= v->held_epochs[v->nr_held - 1])
		return HELD_UNKNOWN;
	for (i = 0; v->held_epochs[i] < id; i++)
		;
	return v->held_epochs[i] == id ? v->held_chunks[i] : 0;
}

/* What all copies together hold that may be dropped early, as far as it is known. */
static u64 held_by_old(struct dms_volume *v)
{
	struct dms_copies *c;
	u64 sum = 0, held;
	int idx;
	u32 i;

	idx = srcu_read_lock(&v->srcu);
	c = srcu_dereference(v->copies, &v->srcu);
	for (i = 0; i + 1 < c->nr && dms_shadow_may_drop(v, c->shadow[i]); i++) {
		held = held_by(v, c->shadow[i]->info.id);
		if (held == HELD_UNKNOWN)
			break;
		sum += held;
	}
	srcu_read_unlock(&v->srcu, idx);
	return sum;
}

/* Drop the oldest copy; *@id is that.  0, -EAGAIN: not now, or why not. */
static int drop_one(struct dms_volume *v, bool early, u32 *id)
{
	int r;

	/* Who waits for meta can't raise the worker. */
	dms_back_hurry(v);
	/* Its holder may wait for a checkpoint. */
	if (!mutex_trylock(&v->meta))
		return -EAGAIN;
	r = dms_shadow_drop(v, early, id);
	if (r)
		WRITE_ONCE(v->drop_vain, true);
	mutex_unlock(&v->meta);
	return r;
}

/*
 * Copy @id has gone: with it others that hold too little to be worth a reclaim each,
 * unless all of them hold too little.
 */
static void drop_more(struct dms_volume *v, u32 id)
{
	u64 ahead = drop_ahead(v), freed = held_by(v, id);

	if (freed + held_by_old(v) < ahead)
		return;
	/* Each takes a journal block. */
	while (freed < ahead && !READ_ONCE(v->closing) && !too_many_trees(v) &&
	       !checkpoint_if_due(v) && !drop_one(v, true, &id))
		freed += held_by(v, id);
}

/* False: not now.  Who asked will ask again. */
static bool drop_oldest(struct dms_volume *v)
{
	u32 id;
	int r;

	r = drop_one(v, false, &id);
	if (!r) {
		drop_more(v, id);
		reclaim(v);
	} else if (r == -ENOENT) {
		DMERR_LIMIT("%s: diff area is full and there is nothing to drop", v->name);
	}
	return r != -EAGAIN;
}

/* Space ends soon.  If copies can make some, drop them. */
static void drop_early(struct dms_volume *v)
{
	u32 second = nth_newest(v, 1), id;

	/* That tells what they hold. */
	if (held_by_old(v) < drop_ahead(v) && (v->unsure || (second && second >= v->held_asked)))
		reclaim(v);
	if (held_by_old(v) < drop_ahead(v)) {
		WRITE_ONCE(v->drop_vain, true);
	} else if (!READ_ONCE(v->reclaim) && dms_drop_due(v, dms_space_ceiling(v, 0)) &&
		   !drop_one(v, true, &id)) {
		drop_more(v, id);
		/* Else later. */
		if (!too_many_trees(v))
			reclaim(v);
	}
}

/* The saver found no space.  Do what the policy says. */
static void make_room(struct dms_volume *v)
{
	u64 before = dms_alloc_used(v->alloc);

	/* What is only in memory needs more than it will on disk. */
	if (before >= dms_space_ceiling(v, 0) && tables_used(v) && dms_checkpoint(v, 0))
		return;
	/* Deleted, raised or grown meanwhile? */
	if (has_room(v))
		goto retry;
	if (dms_alloc_freed(v->alloc) || READ_ONCE(v->reclaim) || v->unsure) {
		reclaim(v);
		if (dms_alloc_used(v->alloc) < before || has_room(v))
			goto retry;
	}
	if (v->super.when_full == DMS_FULL_BLOCK &&
	    time_before(jiffies, v->want_since + v->super.full_timeout * HZ)) {
		if (!v->full_told)
			dms_volume_event(v);
		v->full_told = true;
		return;			/* the saver asks again */
	}
	if (v->super.when_full == DMS_FULL_INVALIDATE) {
		invalidate_all(v);
		goto retry;
	}
	if (!drop_oldest(v))
		return;
retry:
	v->full_told = false;
	WRITE_ONCE(v->want, DMS_WANT_NOTHING);
	dms_saver_wake(v);
}

int dms_room_for_copy(struct dms_volume *v)
{
	unsigned int noio;
	int r = 0;
	u32 id;

	/* Without the mutex, which may be held for long. */
	if (dms_alloc_used(v->alloc) < dms_space_ceiling(v, 1))
		return 0;
	noio = memalloc_noio_save();
	dms_back_lock(v);
	if (dms_alloc_used(v->alloc) >= dms_space_ceiling(v, 1) &&
	    (tables_used(v) || dms_alloc_freed(v->alloc) || READ_ONCE(v->reclaim)))
		reclaim(v);
	while (!r && dms_alloc_used(v->alloc) >= dms_space_ceiling(v, 1)) {
		r = -ENOSPC;
		if (v->super.when_full != DMS_FULL_DROP_OLDEST || v->mode != DMS_MODE_RW)
			break;
		r = dms_shadow_drop(v, false, &id);
		if (!r)
			reclaim(v);
	}
	dms_back_unlock(v);
	memalloc_noio_restore(noio);
	return r == -ENOENT ? -ENOSPC : r;
}

bool dms_low_space(const struct dms_volume *v)
{
	u64 all = v->super.limit_chunks ? v->super.limit_chunks : v->area_chunks;

	return v->super.low_space && dms_alloc_used(v->alloc) * 100 >= all * v->super.low_space;
}

static void low_space(struct dms_volume *v)
{
	bool low = dms_low_space(v);

	if (low && !v->low_space_told) {
		DMWARN("%s: diff area is %u percent full", v->name, v->super.low_space);
		dms_volume_event(v);
	}
	v->low_space_told = low;
}

bool dms_mark_lost(struct dms_volume *v)
{
	if (v->is_volatile || v->super.flags & DMS_SUPER_LOST)
		return true;
	v->super.flags |= DMS_SUPER_LOST;
	/* The record of a merge that was refused may have got to the medium. */
	if (!READ_ONCE(v->merge_shadow))
		v->super.flags |= DMS_SUPER_MERGED;
	if (dms_super_write(v)) {
		v->super.flags &= ~DMS_SUPER_LOST;
		/* Perhaps the device comes back. */
		if (!v->closing)
			mod_delayed_work(v->save_wq, &v->stall_work, 5 * HZ);
		return false;
	}
	return true;
}

static void background(struct work_struct *work)
{
	struct dms_volume *v = container_of(work, struct dms_volume, back_work);
	unsigned int noio = memalloc_noio_save();
	struct dms_op none = {};
	u32 from;
	int r = 0;

	mutex_lock(&v->back_mutex);
	if (READ_ONCE(v->closing))
		goto out;
	if (v->mode != DMS_MODE_RW) {
		dms_saver_commit(v, &none);	/* what has begun is over */
		dms_mark_lost(v);
		/* Marked or not, from here on the origin goes first (I6). */
		WRITE_ONCE(v->nr_needy, 0);
		dms_saver_wake(v);
		dms_merge_wake(v);
		goto out;
	}
	if (checkpoint_if_due(v))
		goto out;
	give_way(v);
	if (READ_ONCE(v->want) == DMS_WANT_SPACE)
		make_room(v);
	else if (READ_ONCE(v->reclaim) && !too_many_trees(v))
		reclaim(v);
	else if (dms_drop_due(v, dms_space_ceiling(v, 0)) && !too_many_trees(v))
		drop_early(v);
	from = join_from(v);
	if (from < rcu_dereference_protected(v->trees, 1)->nr && v->mode == DMS_MODE_RW)
		r = join_trees(v, from, too_many_trees(v));
	if (r == -ENOSPC && too_many_trees(v) && v->mode == DMS_MODE_RW) {
		/* It can't be put off any longer. */
		if (v->super.when_full == DMS_FULL_INVALIDATE)
			invalidate_all(v);
		else
			drop_oldest(v);
	}
	low_space(v);
out:
	dms_back_hurry(v);
	mutex_unlock(&v->back_mutex);
	memalloc_noio_restore(noio);
}

int dms_background_init(struct dms_volume *v)
{
	mutex_init(&v->back_mutex);
	spin_lock_init(&v->pace_lock);
	INIT_WORK(&v->back_work, background);
	v->back_wq = alloc_workqueue("dm-shadow-back", WQ_MEM_RECLAIM | WQ_UNBOUND, 1);
	return v->back_wq ? 0 : -ENOMEM;
}

/* Stops the background for good; tolerates a half-made one. */
void dms_background_exit(struct dms_volume *v)
{
	if (v->back_wq)
		destroy_workqueue(v->back_wq);
	v->back_wq = NULL;
	vfree(v->held_epochs);
	vfree(v->held_chunks);
}
