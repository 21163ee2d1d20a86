// SPDX-License-Identifier: GPL-2.0-only
/*
 * The saver's second half: what has been read becomes durable and known.
 *
 * See cow.c for the steps.  A group is all that is ready when it begins.  Two may be
 * under way where each is durable when its writes end; they are published in order, and
 * what the second leaves on disk counts only if the first is there: its journal blocks
 * follow, and do not call the first's *stable*.
 */
#include <linux/blkdev.h>

#include "saver.h"

#define GROUP_RETRIES	2
#define GATHER_TIME	(HZ / 4)

enum group_state { GROUP_WRITING, GROUP_FLUSHING };

struct dms_group {
	struct dms_volume *v;
	enum group_state state;
	atomic_t remaining;
	bool over;			/* set last by its last bio */
	blk_status_t status;
	struct list_head saves, ops;
	u32 nr_runs;
	u32 nr_journal, max_journal;
	u64 sequence;			/* of its first journal block */
	u32 table_room;			/* slots of the table left for it */
	u32 chunks;			/* in runs: slots it takes */
	u32 blocks_hint;
	u64 ceiling;			/* of area chunks in use */
	struct bio *bio;		/* data, being filled */
	u64 bio_next;			/* block that would continue it */
	struct dms_journal_block jb;
	struct {
		struct dms_exception e;
		const __le32 *csums;
	} run[DMS_GROUP_RUNS];
};

/* --- 3: commit --- */

static void group_put(struct dms_group *g)
{
	struct dms_volume *v = g->v;

	/* dms_saver_exit() waits for this section: the saver may be through with @g. */
	rcu_read_lock();
	if (atomic_dec_and_test(&g->remaining)) {
		smp_store_release(&g->over, true);	/* dms_group_finish() */
		dms_saver_wake(v);
	}
	rcu_read_unlock();
}

static void group_endio(struct bio *bio)
{
	struct dms_group *g = bio->bi_private;

	if (bio->bi_status)
		g->status = bio->bi_status;
	bio_put(bio);
	group_put(g);
}

static struct bio *group_bio(struct dms_group *g, u64 block, u32 vecs, blk_opf_t opf)
{
	struct dms_volume *v = g->v;
	struct bio *bio;

	bio = bio_alloc_bioset(v->area, vecs, opf | REQ_SYNC | (v->fua ? REQ_FUA : 0),
			       GFP_NOIO, &v->bs);
	bio->bi_iter.bi_sector = block * DMS_BLOCK_SECTORS;
	bio->bi_private = g;
	bio->bi_end_io = group_endio;
	atomic_inc(&g->remaining);
	return bio;
}

static void group_submit_data(struct dms_group *g)
{
	if (g->bio)
		submit_bio_noacct(g->bio);
	g->bio = NULL;
}

/* Write the pages of a run; runs that continue each other share a bio. */
static void group_add_data(struct dms_group *g, u64 block, struct page **page, u32 nr)
{
	u32 n;

	for (; nr; nr -= n, page += n, block += n) {
		if (g->bio && (g->bio_next != block || g->bio->bi_vcnt == g->bio->bi_max_vecs))
			group_submit_data(g);
		if (!g->bio)
			g->bio = group_bio(g, block, clamp_t(u32, g->blocks_hint, nr, BIO_MAX_VECS),
					   REQ_OP_WRITE);
		n = dms_bio_add(g->bio, page, nr);
		g->bio_next = block + n;
	}
}

/* The @nr'th of the groups under way, the oldest first. */
static struct dms_group *group_of(struct dms_volume *v, u32 nr)
{
	return v->group[(v->oldest_group + nr) % DMS_GROUPS];
}

/* Groups under way have no more than one of them could have: retried, they are one. */
static void *journal_page(struct dms_group *g, u32 nr)
{
	return g->v->journal_page[(g->sequence + nr) % DMS_GROUP_JOURNAL];
}

static u64 journal_room(struct dms_volume *v, u64 sequence)
{
	return v->super.journal_blocks - (sequence - READ_ONCE(v->journal_tail));
}

/* The group's last journal block will not change any more. */
static void group_seal(struct dms_group *g)
{
	struct dms_volume *v = g->v;
	u64 sequence = g->sequence + g->nr_journal - 1;

	dms_journal_seal(&g->jb, v->super.journal_block + sequence % v->super.journal_blocks,
			 sequence, v->generation, v->journal_head, v->super.uuid);
}

/* Begin the group's next journal block.  False: none left. */
static bool group_next_journal(struct dms_group *g, u32 reserve)
{
	struct dms_volume *v = g->v;

	if (g->nr_journal == g->max_journal)
		return false;
	if (journal_room(v, g->sequence) < g->nr_journal + 1 + reserve) {
		dms_saver_want(v, DMS_WANT_CHECKPOINT);
		return false;
	}
	if (g->nr_journal)
		group_seal(g);
	dms_journal_begin(&g->jb, journal_page(g, g->nr_journal++));
	return true;
}

static bool group_add_record(struct dms_group *g, const struct dms_exception *e,
			     const __le32 *csums)
{
	if (g->v->is_volatile)
		return true;
	if (g->nr_journal && dms_journal_add_save(&g->jb, e, csums, g->v->chunk_blocks))
		return true;
	return group_next_journal(g, DMS_JOURNAL_RESERVE) &&
	       dms_journal_add_save(&g->jb, e, csums, g->v->chunk_blocks);
}

static bool group_add_op(struct dms_group *g, struct dms_op *op)
{
	u32 slots = op->home ? op->home->length : 0;

	if (slots > g->table_room - g->chunks) {
		dms_saver_want(g->v, DMS_WANT_CHECKPOINT);
		return false;
	}
	if (op->add && !g->v->is_volatile && !(g->nr_journal && op->add(op, &g->jb)) &&
	    !(group_next_journal(g, op->urgent ? 0 : DMS_JOURNAL_URGENT) &&
	      op->add(op, &g->jb)))
		return false;
	g->chunks += slots;
	return true;
}

u64 dms_data_limit(const struct dms_volume *v)
{
	u64 limit = v->area_chunks > v->reserve ? v->area_chunks - v->reserve : 1;

	return v->super.limit_chunks ? min(limit, v->super.limit_chunks) : limit;
}

/* One run of @save, from chunk number @index on, of one kind.  0: no room of some sort. */
static u32 group_add_run(struct dms_group *g, struct dms_save *save, u32 index)
{
	struct dms_volume *v = g->v;
	struct dms_exception *e = &g->run[g->nr_runs].e;
	const __le32 *csums = NULL;
	u32 n = 1, max;

	if (g->nr_runs == DMS_GROUP_RUNS || READ_ONCE(v->growing))
		return 0;
	/* What stores nothing needs room in the index all the same. */
	if (dms_alloc_used(v->alloc) >= g->ceiling) {
		dms_saver_want(v, DMS_WANT_SPACE);
		return 0;
	}
	max = min(save->length - index, dms_journal_save_max(v->chunk_blocks));
	while (n < max && save->kind[index + n] == save->kind[index])
		n++;
	n = min(n, g->table_room - g->chunks);
	if (!n) {
		dms_saver_want(v, DMS_WANT_CHECKPOINT);
		return 0;
	}
	e->kind = save->kind[index];
	e->chunk = save->chunk + index;
	e->tag = save->tag;
	e->where = 0;
	if (e->kind == DMS_KIND_DATA) {
		n = dms_alloc_take(v->alloc, n, min(dms_data_limit(v), g->ceiling), &e->where);
		if (!n) {
			dms_saver_want(v, DMS_WANT_SPACE);
			return 0;
		}
		if (READ_ONCE(v->want) == DMS_WANT_SPACE)
			WRITE_ONCE(v->want, DMS_WANT_NOTHING);
		csums = &save->csum[index * v->chunk_blocks];
	}
	e->length = n;
	if (!group_add_record(g, e, csums)) {
		if (e->kind == DMS_KIND_DATA)
			dms_alloc_cancel(v->alloc, e->where, n);
		return 0;
	}
	g->run[g->nr_runs++].csums = csums;
	g->chunks += n;
	if (e->kind == DMS_KIND_DATA)
		group_add_data(g, e->where * v->chunk_blocks,
			       &save->page[index * v->chunk_blocks], n * v->chunk_blocks);
	return n;
}

/* True if the whole save is in the group; if only its first part is, it is cut there. */
static bool group_add_save(struct dms_group *g, struct dms_save *save)
{
	u32 index = 0;

	while (index < save->length) {
		u32 n = group_add_run(g, save, index);

		if (!n)
			break;
		index += n;
	}
	save->single = false;
	if (index == save->length)
		return true;
	/*
	 * What went in stays recorded and will be published; the bits of the
	 * rest stay clear, so it is read again when there is room.
	 */
	if (index) {
		save->length = index;
		return true;
	}
	return false;
}

static void group_submit_journal(struct dms_group *g)
{
	struct dms_volume *v = g->v;
	u64 slot = g->sequence % v->super.journal_blocks;
	struct bio *bio = NULL;
	u32 i;

	if (!g->nr_journal)
		return;
	/* What an earlier attempt wrote behind this one's end must not be replayed. */
	while (g->nr_journal < v->min_journal && group_next_journal(g, 0))
		;
	group_seal(g);
	for (i = 0; i < g->nr_journal; i++, slot++) {
		if (slot == v->super.journal_blocks) {
			slot = 0;
			submit_bio_noacct(bio);
			bio = NULL;
		}
		if (!bio)
			bio = group_bio(g, v->super.journal_block + slot, g->nr_journal - i,
					REQ_OP_WRITE | REQ_META);
		__bio_add_page(bio, virt_to_page(journal_page(g, i)), DMS_BLOCK_SIZE, 0);
	}
	submit_bio_noacct(bio);
}

static void ops_complete(struct list_head *ops, int error)
{
	struct dms_op *op, *n;

	list_for_each_entry_safe(op, n, ops, list) {
		list_del(&op->list);
		op->error = error;
		complete(&op->done);
	}
}

/* The area takes no more writes: forget what can't be saved. */
static void give_up(struct dms_volume *v)
{
	struct dms_save *save, *n;
	LIST_HEAD(ops);

	list_for_each_entry_safe(save, n, &v->ready, list) {
		list_del(&save->list);
		dms_save_free(save);
	}
	spin_lock_irq(&v->lock);
	list_splice_init(&v->ops, &ops);
	spin_unlock_irq(&v->lock);
	ops_complete(&ops, -EROFS);
}

/*
 * Are reads under way that the group should wait for?  If origin and area are one disk
 * it is at work meanwhile, and has the less to flush and to seek the larger groups are;
 * of two the area's would be idle.  Not for long: a read may be slow, or fail slowly.
 */
static bool gather(struct dms_volume *v, u32 blocks)
{
	struct dms_save *first = list_first_entry_or_null(&v->ready, struct dms_save, list);

	return first && v->nr_reading && dms_one_disk(v) && blocks < DMS_GATHER_BLOCKS &&
	       list_empty(&v->ops) && time_before(jiffies, first->since + GATHER_TIME);
}

/*
 * May another group begin?  What an op changes may concern it: it comes after that.  One
 * that is flushed would only be the smaller for not having waited.
 */
static bool may_start(struct dms_volume *v)
{
	u32 i;

	for (i = 0; i < v->nr_groups; i++)
		if (!list_empty(&group_of(v, i)->ops))
			return false;
	return !v->nr_groups || (v->nr_groups < DMS_GROUPS && !v->min_journal &&
				 (v->fua || v->is_volatile || !v->volatile_cache));
}

/* The next group, empty. */
static struct dms_group *group_prepare(struct dms_volume *v)
{
	struct dms_group *g = group_of(v, v->nr_groups), *before;
	u32 i;

	g->state = GROUP_WRITING;
	g->over = false;
	g->status = 0;
	g->nr_runs = 0;
	g->chunks = 0;
	g->nr_journal = 0;
	g->max_journal = DMS_GROUP_JOURNAL;
	g->sequence = v->journal_head;
	g->table_room = dms_table_room(v->table[v->active]);
	for (i = 0; i < v->nr_groups; i++) {
		before = group_of(v, i);
		g->sequence += before->nr_journal;
		g->max_journal -= before->nr_journal;
		g->table_room -= before->chunks;
	}
	g->ceiling = dms_space_ceiling(v, 0);
	atomic_set(&g->remaining, 1);
	return g;
}

void dms_group_start(struct dms_volume *v)
{
	struct dms_save *save, *n;
	struct dms_op *op, *on;
	struct dms_group *g;
	u32 blocks = 0;

	if (!may_start(v))
		return;
	if (READ_ONCE(v->mode) != DMS_MODE_RW) {
		if (!v->nr_groups)
			give_up(v);
		return;
	}
	list_for_each_entry_safe(save, n, &v->ready, list)
		if (save->stale || !READ_ONCE(v->nr_needy)) {
			list_del(&save->list);
			dms_save_free(save);
		}

	list_for_each_entry(save, &v->ready, list)
		blocks += save->blocks;
	if (gather(v, blocks))
		return;

	g = group_prepare(v);
	g->blocks_hint = blocks;
	spin_lock_irq(&v->lock);
	/* One that needs a checkpoint must not hold up the checkpoint's own. */
	list_for_each_entry_safe(op, on, &v->ops, list)
		if (group_add_op(g, op))
			list_move_tail(&op->list, &g->ops);
	spin_unlock_irq(&v->lock);
	list_for_each_entry_safe(save, n, &v->ready, list) {
		if (!group_add_save(g, save))
			break;
		list_move_tail(&save->list, &g->saves);
	}
	if (list_empty(&g->saves) && list_empty(&g->ops))
		return;
	v->nr_groups++;
	group_submit_data(g);
	group_submit_journal(g);
	group_put(g);
}

static void group_flush(struct dms_group *g)
{
	struct bio *bio;

	g->state = GROUP_FLUSHING;
	g->over = false;
	atomic_set(&g->remaining, 0);
	bio = group_bio(g, 0, 0, REQ_OP_WRITE | REQ_PREFLUSH);
	bio->bi_opf &= ~REQ_FUA;
	submit_bio_noacct(bio);
}

/*
 * Writing the oldest group failed, and no write of any is under way.  Try all of them
 * again, with the data elsewhere: the chunks taken stay marked in memory and are not
 * tried again before the next activation.
 */
static void groups_failed(struct dms_volume *v)
{
	int error = blk_status_to_errno(group_of(v, 0)->status);
	u32 left = 0, i;

	atomic64_inc(&v->stats.area_errors);
	for (i = v->nr_groups; i--; ) {
		struct dms_group *g = group_of(v, i);

		left += g->nr_journal;
		list_splice_init(&g->saves, &v->ready);
		spin_lock_irq(&v->lock);
		list_splice_init(&g->ops, &v->ops);
		spin_unlock_irq(&v->lock);
	}
	v->nr_groups = 0;
	v->min_journal = max(v->min_journal, left);
	if (v->group_retries++ == GROUP_RETRIES)
		dms_volume_fail(v, "can't write the diff area", error);
}

/* --- 4: publish --- */

static void group_publish(struct dms_volume *v, struct dms_group *g)
{
	struct dms_save *save, *n;
	struct dms_op *op;
	u32 i;

	v->group_retries = 0;
	v->min_journal -= min(v->min_journal, g->nr_journal);
	v->journal_head += g->nr_journal;
	for (i = 0; i < g->nr_runs; i++) {
		struct dms_exception *e = &g->run[i].e;

		if (e->kind == DMS_KIND_DATA) {
			dms_alloc_publish(v->alloc, e->where, e->length);
			atomic64_add(e->length, &v->stats.saved);
		} else if (e->kind == DMS_KIND_ZERO) {
			atomic64_add(e->length, &v->stats.zeroes);
		}
		/* Room was seen to before the record was made. */
		WARN_ON_ONCE(!dms_table_add(v->table[v->active], e, g->run[i].csums)); /* I2 */
	}
	list_for_each_entry_safe(save, n, &g->saves, list) {
		dms_drain_reads(v, save->chunk, save->chunk + save->length - 1); /* I3 */
		dms_bits_set(v->saved, save->chunk, save->length);
		list_del(&save->list);
		dms_save_free(save);
	}
	/* What a checkpoint cuts off the journal is true when it turns to the other table. */
	list_for_each_entry(op, &g->ops, list)
		if (op->apply && op->add)
			op->apply(v, op);
	list_for_each_entry(op, &g->ops, list)
		if (op->apply && !op->add)
			op->apply(v, op);
	ops_complete(&g->ops, 0);
}

static bool groups_over(struct dms_volume *v)
{
	u32 i;

	for (i = 0; i < v->nr_groups; i++)
		if (!smp_load_acquire(&group_of(v, i)->over))	/* group_put() */
			return false;
	return true;
}

/* What will soon be short? */
static void look_ahead(struct dms_volume *v, u64 ceiling)
{
	struct dms_table *t = v->table[v->active];

	if (dms_table_room(t) < dms_table_count(t) / 3 ||
	    (!v->is_volatile &&
	     journal_room(v, v->journal_head) < v->super.journal_blocks / 2) ||
	    (dms_low_space(v) && !READ_ONCE(v->low_space_told)) || dms_drop_due(v, ceiling))
		dms_background_wake(v);
}

void dms_group_finish(struct dms_volume *v)
{
	struct dms_group *g;

	for (;;) {
		g = group_of(v, 0);
		if (!v->nr_groups || !smp_load_acquire(&g->over))	/* group_put() */
			return;
		if (g->status) {
			if (!groups_over(v))
				return;
			groups_failed(v);
		} else if (g->state == GROUP_WRITING && v->volatile_cache && !v->fua &&
			   !v->is_volatile && g->nr_journal) {
			group_flush(g);		/* I1 */
		} else {
			group_publish(v, g);
			v->oldest_group = (v->oldest_group + 1) % DMS_GROUPS;
			v->nr_groups--;
			look_ahead(v, g->ceiling);
		}
	}
}

int dms_group_init(struct dms_volume *v)
{
	int i;

	for (i = 0; i < DMS_GROUP_JOURNAL; i++) {
		v->journal_page[i] = (void *)__get_free_page(GFP_KERNEL);
		if (!v->journal_page[i])
			return -ENOMEM;
	}
	for (i = 0; i < DMS_GROUPS; i++) {
		struct dms_group *g = kvzalloc(sizeof(*g), GFP_KERNEL);

		if (!g)
			return -ENOMEM;
		g->v = v;
		INIT_LIST_HEAD(&g->saves);
		INIT_LIST_HEAD(&g->ops);
		v->group[i] = g;
	}
	return 0;
}

void dms_group_exit(struct dms_volume *v)
{
	int i;

	for (i = 0; i < DMS_GROUP_JOURNAL; i++)
		free_page((unsigned long)v->journal_page[i]);
	for (i = 0; i < DMS_GROUPS; i++)
		kvfree(v->group[i]);
}
