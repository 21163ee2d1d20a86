// SPDX-License-Identifier: GPL-2.0-only
/*
 * The saver's second half: what has been read becomes durable and known.
 *
 * See cow.c for the steps.  A group is all that is ready when the one before is
 * over, or when gather() says so; there is one at a time.
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
	blk_status_t status;
	unsigned int retries;
	struct list_head saves, ops;
	u32 nr_runs, nr_journal;
	u32 min_journal;		/* blocks an attempt that failed may have left */
	u32 chunks;			/* in runs: slots of the table spoken for */
	u32 blocks_hint;
	u64 ceiling;			/* of area chunks in use */
	struct bio *bio;		/* data, being filled */
	u64 bio_next;			/* block that would continue it */
	void *journal[DMS_GROUP_JOURNAL];
	struct dms_journal_block jb;
	struct {
		struct dms_exception e;
		const __le32 *csums;
	} run[DMS_GROUP_RUNS];
};

/* --- 3: commit --- */

static void group_endio(struct bio *bio)
{
	struct dms_group *g = bio->bi_private;
	struct dms_volume *v = g->v;
	unsigned long flags;

	if (bio->bi_status)
		g->status = bio->bi_status;
	bio_put(bio);
	if (!atomic_dec_and_test(&g->remaining))
		return;
	spin_lock_irqsave(&v->lock, flags);
	v->group_done = true;
	spin_unlock_irqrestore(&v->lock, flags);
	dms_saver_wake(v);
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
	for (; nr; nr--, page++, block++) {
		if (g->bio && (g->bio_next != block || g->bio->bi_vcnt == g->bio->bi_max_vecs))
			group_submit_data(g);
		if (!g->bio)
			g->bio = group_bio(g, block, clamp_t(u32, g->blocks_hint, nr, BIO_MAX_VECS),
					   REQ_OP_WRITE);
		__bio_add_page(g->bio, *page, PAGE_SIZE, 0);
		g->bio_next = block + 1;
	}
}

static u64 journal_room(struct dms_volume *v)
{
	return v->super.journal_blocks - (v->journal_head - READ_ONCE(v->journal_tail));
}

/* Begin the group's next journal block.  False: none left. */
static bool group_next_journal(struct dms_group *g, u32 reserve)
{
	struct dms_volume *v = g->v;

	if (g->nr_journal == DMS_GROUP_JOURNAL)
		return false;
	if (journal_room(v) < g->nr_journal + 1 + reserve) {
		dms_saver_want(v, DMS_WANT_CHECKPOINT);
		return false;
	}
	if (g->nr_journal)
		dms_journal_seal(&g->jb, v->super.journal_block +
				 (v->journal_head + g->nr_journal - 1) % v->super.journal_blocks,
				 v->journal_head + g->nr_journal - 1, v->generation,
				 v->journal_head, v->super.uuid);
	dms_journal_begin(&g->jb, g->journal[g->nr_journal++]);
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

	if (slots > dms_table_room(g->v->table[g->v->active]) - g->chunks) {
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
	n = min(n, dms_table_room(v->table[v->active]) - g->chunks);
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
	u64 slot = v->journal_head % v->super.journal_blocks;
	struct bio *bio = NULL;
	u32 i;

	if (!g->nr_journal)
		return;
	/* What an earlier attempt wrote behind this one's end must not be replayed. */
	while (g->nr_journal < g->min_journal && group_next_journal(g, 0))
		;
	dms_journal_seal(&g->jb, v->super.journal_block +
			 (v->journal_head + g->nr_journal - 1) % v->super.journal_blocks,
			 v->journal_head + g->nr_journal - 1, v->generation, v->journal_head,
			 v->super.uuid);
	for (i = 0; i < g->nr_journal; i++, slot++) {
		if (slot == v->super.journal_blocks) {
			slot = 0;
			submit_bio_noacct(bio);
			bio = NULL;
		}
		if (!bio)
			bio = group_bio(g, v->super.journal_block + slot, g->nr_journal - i,
					REQ_OP_WRITE | REQ_META);
		__bio_add_page(bio, virt_to_page(g->journal[i]), DMS_BLOCK_SIZE, 0);
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

	return first && v->nr_reading && v->origin->bd_disk == v->area->bd_disk &&
	       blocks < DMS_GATHER_BLOCKS && list_empty(&v->ops) &&
	       time_before(jiffies, first->since + GATHER_TIME);
}

void dms_group_start(struct dms_volume *v)
{
	struct dms_group *g = v->group;
	struct dms_save *save, *n;
	struct dms_op *op, *on;

	if (v->group_busy)
		return;
	if (READ_ONCE(v->mode) != DMS_MODE_RW) {
		give_up(v);
		return;
	}
	list_for_each_entry_safe(save, n, &v->ready, list)
		if (save->stale || !READ_ONCE(v->nr_needy)) {
			list_del(&save->list);
			dms_save_free(save);
		}

	g->blocks_hint = 0;
	list_for_each_entry(save, &v->ready, list)
		g->blocks_hint += save->blocks;
	if (gather(v, g->blocks_hint))
		return;

	g->state = GROUP_WRITING;
	g->status = 0;
	g->nr_runs = 0;
	g->chunks = 0;
	g->nr_journal = 0;
	g->ceiling = dms_space_ceiling(v, 0);
	atomic_set(&g->remaining, 1);
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
	v->group_busy = true;
	group_submit_data(g);
	group_submit_journal(g);
	if (atomic_dec_and_test(&g->remaining)) {
		spin_lock_irq(&v->lock);
		v->group_done = true;
		spin_unlock_irq(&v->lock);
		dms_saver_wake(v);
	}
}

static void group_flush(struct dms_group *g)
{
	struct bio *bio;

	g->state = GROUP_FLUSHING;
	atomic_set(&g->remaining, 0);
	bio = group_bio(g, 0, 0, REQ_OP_WRITE | REQ_PREFLUSH);
	bio->bi_opf &= ~REQ_FUA;
	submit_bio_noacct(bio);
}

/*
 * Writing failed.  Try again, with the data elsewhere: the chunks taken stay
 * marked in memory and are not tried again before the next activation.
 */
static void group_failed(struct dms_volume *v, struct dms_group *g)
{
	atomic64_inc(&v->stats.area_errors);
	g->min_journal = max(g->min_journal, g->nr_journal);
	if (g->retries++ == GROUP_RETRIES)
		dms_volume_fail(v, DMS_MODE_RO, "can't write the diff area",
				blk_status_to_errno(g->status));
	list_splice_init(&g->saves, &v->ready);
	spin_lock_irq(&v->lock);
	list_splice_init(&g->ops, &v->ops);
	spin_unlock_irq(&v->lock);
}

/* --- 4: publish --- */

static void group_publish(struct dms_volume *v, struct dms_group *g)
{
	struct dms_save *save, *n;
	struct dms_op *op;
	u32 i;

	g->retries = 0;
	g->min_journal = 0;
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

void dms_group_finish(struct dms_volume *v)
{
	struct dms_group *g = v->group;

	if (!g->status && g->state == GROUP_WRITING && v->volatile_cache && !v->fua &&
	    !v->is_volatile && g->nr_journal) {
		group_flush(g);		/* I1 */
		return;
	}
	v->group_busy = false;
	if (g->status)
		group_failed(v, g);
	else
		group_publish(v, g);
	if (v->table[v->active] && dms_table_room(v->table[v->active]) <
	    dms_table_count(v->table[v->active]) / 3)
		dms_background_wake(v);
	else if (!v->is_volatile && journal_room(v) < v->super.journal_blocks / 2)
		dms_background_wake(v);
	else if (dms_low_space(v) && !READ_ONCE(v->low_space_told))
		dms_background_wake(v);
}

int dms_group_init(struct dms_volume *v)
{
	struct dms_group *g;
	int i;

	g = kvzalloc(sizeof(*g), GFP_KERNEL);
	if (!g)
		return -ENOMEM;
	v->group = g;
	g->v = v;
	INIT_LIST_HEAD(&g->saves);
	INIT_LIST_HEAD(&g->ops);
	for (i = 0; i < DMS_GROUP_JOURNAL; i++) {
		g->journal[i] = (void *)__get_free_page(GFP_KERNEL);
		if (!g->journal[i])
			return -ENOMEM;
	}
	return 0;
}

void dms_group_exit(struct dms_volume *v)
{
	int i;

	for (i = 0; v->group && i < DMS_GROUP_JOURNAL; i++)
		free_page((unsigned long)v->group->journal[i]);
	kvfree(v->group);
	v->group = NULL;
}
