// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copy on write: a write meets chunks that a copy still needs.
 *
 * map.c detains the write here.  One work item, the saver, takes it from there:
 *
 *   1 collect   the chunks of detained writes that nobody is saving yet are
 *               joined into runs, and the runs are read from the origin at once
 *   2 examine   what was read: zeros store nothing, the rest gets a checksum
 *               for each block; what can't be read is recorded as unreadable
 *   3 commit    all saves that have been read by now form a group: their data
 *               and the journal blocks naming it are written side by side and
 *               made durable with one flush (or by FUA), one group at a time
 *   4 publish   the exceptions enter the table in memory (I1 before, I2 after),
 *               shadow reads still on the origin there drain (I3), the saved
 *               bits are set
 *   5 release   writes whose chunks are all saved go to the origin, in order
 *
 * While a group is being committed, further reads go on, and what they bring
 * makes the next group: the busier the device, the larger the group, with no
 * timer.  A write does not know its saves; it is released when the saved bits
 * say so, which makes overlaps and writes of any size one case.
 *
 * A crash before 3 is complete leaves at most a record whose data does not fit
 * its checksum, or data that nothing names; no origin chunk was overwritten.
 * A crash after it leaves a chunk saved but perhaps not overwritten: harmless.
 *
 * Shortage: no memory, no room in the journal or table, or no space in the area
 * make the saver leave the rest for later and ask the background for help.  The
 * pools guarantee that one save can always be under way.  If the area can't be
 * written at all, dms_volume_fail() gives up the copies and the writes go on (I6).
 *
 * Locking: v->lock guards what completions and submitters add to.  All else
 * here belongs to the saver alone.
 */
#include <linux/blkdev.h>
#include <linux/rbtree.h>
#include <linux/sched/mm.h>

#include "volume.h"

#define PAGES_MAX	2048		/* 8 MiB of copies under way */
#define GROUP_RETRIES	2
#define COLLECT_CHUNKS	4096		/* looked up in one go: others wait */

struct dms_save {
	struct list_head list;
	struct rb_node node;
	struct dms_volume *v;
	u64 chunk;
	u32 length;			/* chunks */
	u32 tag;
	u32 blocks;			/* pages held */
	atomic_t reads;
	bool stale;			/* from before a creation */
	bool failed;			/* the read of the whole run */
	bool single;			/* being read chunk by chunk */
	u8 kind[DMS_SAVE_MAX_BLOCKS];
	__le32 csum[DMS_SAVE_MAX_BLOCKS];
	struct page *page[DMS_SAVE_MAX_BLOCKS];
};

struct save_bio {
	struct dms_save *save;
	u32 index;			/* chunk of the save, if single */
	struct bio bio;
};

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

void dms_saver_wake(struct dms_volume *v)
{
	queue_work(v->save_wq, &v->save_work);
}

void dms_detain(struct dms_volume *v, struct bio *bio)
{
	unsigned long flags;

	spin_lock_irqsave(&v->lock, flags);
	bio_list_add(&v->incoming, bio);
	spin_unlock_irqrestore(&v->lock, flags);
	dms_saver_wake(v);
}

static void want(struct dms_volume *v, int what)
{
	if (v->want == DMS_WANT_NOTHING)
		v->want_since = jiffies;
	WRITE_ONCE(v->want, what);
	dms_background_wake(v);
}

/* --- saves --- */

static struct dms_save *pending_find(struct dms_volume *v, u64 chunk)
{
	struct rb_node *n = v->pending.rb_node;

	while (n) {
		struct dms_save *s = rb_entry(n, struct dms_save, node);

		if (chunk < s->chunk)
			n = n->rb_left;
		else if (chunk - s->chunk >= s->length)
			n = n->rb_right;
		else
			return s;
	}
	return NULL;
}

static void pending_add(struct dms_volume *v, struct dms_save *save)
{
	struct rb_node **p = &v->pending.rb_node, *parent = NULL;

	while (*p) {
		parent = *p;
		if (save->chunk < rb_entry(parent, struct dms_save, node)->chunk)
			p = &parent->rb_left;
		else
			p = &parent->rb_right;
	}
	rb_link_node(&save->node, parent, p);
	rb_insert_color(&save->node, &v->pending);
}

static void save_free(struct dms_save *save)
{
	struct dms_volume *v = save->v;

	rb_erase(&save->node, &v->pending);
	if (RB_EMPTY_ROOT(&v->pending))
		wake_up_all(&v->idle_wait);
	v->pages_held -= save->blocks;
	while (save->blocks)
		mempool_free(save->page[--save->blocks], &v->page_pool);
	mempool_free(save, &v->save_pool);
}

/* Make room for one more chunk.  False: no memory now, or the save is full. */
static bool save_extend(struct dms_save *save)
{
	struct dms_volume *v = save->v;
	u32 old = save->blocks, end = old + v->chunk_blocks;

	if (end > DMS_SAVE_MAX_BLOCKS)
		return false;
	if (v->pages_held + v->chunk_blocks > PAGES_MAX)
		return false;
	while (save->blocks < end) {
		struct page *page = mempool_alloc(&v->page_pool, GFP_NOWAIT | __GFP_NOWARN);

		if (!page) {
			while (save->blocks > old)
				mempool_free(save->page[--save->blocks], &v->page_pool);
			return false;
		}
		save->page[save->blocks++] = page;
	}
	save->kind[save->length++] = DMS_KIND_DATA;
	v->pages_held += v->chunk_blocks;
	return true;
}

static struct dms_save *save_new(struct dms_volume *v, u64 chunk, u32 tag)
{
	struct dms_save *save = mempool_alloc(&v->save_pool, GFP_NOWAIT | __GFP_NOWARN);

	if (!save)
		return NULL;
	save->v = v;
	save->chunk = chunk;
	save->length = 0;
	save->blocks = 0;
	save->tag = tag;
	save->stale = false;
	save->failed = false;
	save->single = false;
	if (!save_extend(save)) {
		mempool_free(save, &v->save_pool);
		return NULL;
	}
	pending_add(v, save);
	return save;
}

void dms_saver_stale(struct dms_volume *v)
{
	struct rb_node *n;

	for (n = rb_first(&v->pending); n; n = rb_next(n))
		rb_entry(n, struct dms_save, node)->stale = true;
}

static void reads_over(struct dms_save *save)
{
	struct dms_volume *v = save->v;
	unsigned long flags;

	spin_lock_irqsave(&v->lock, flags);
	list_add_tail(&save->list, &v->read_done);
	spin_unlock_irqrestore(&v->lock, flags);
	dms_saver_wake(v);
}

static void read_endio(struct bio *bio)
{
	struct save_bio *sb = container_of(bio, struct save_bio, bio);
	struct dms_save *save = sb->save;

	if (bio->bi_status) {
		if (save->single || save->length == 1)
			save->kind[sb->index] = DMS_KIND_UNREADABLE;
		else
			save->failed = true;
	}
	bio_put(bio);
	if (atomic_dec_and_test(&save->reads))
		reads_over(save);
}

/* Read @length chunks of @save from number @index on; past the origin's end lie zeros. */
static void read_chunks(struct dms_save *save, u32 index, u32 length)
{
	struct dms_volume *v = save->v;
	sector_t sector = (save->chunk + index) << v->chunk_shift;
	u64 left = (u64)(v->origin_sectors - sector) << SECTOR_SHIFT;
	u32 i = index * v->chunk_blocks, end = i + length * v->chunk_blocks;
	struct save_bio *sb;
	struct bio *bio;

	bio = bio_alloc_bioset(v->origin, end - i, REQ_OP_READ, GFP_NOIO, &v->bs);
	sb = container_of(bio, struct save_bio, bio);
	sb->save = save;
	sb->index = index;
	bio->bi_iter.bi_sector = sector;
	bio->bi_end_io = read_endio;
	for (; i < end; i++) {
		u32 size = min_t(u64, left, PAGE_SIZE);

		if (size < PAGE_SIZE)
			clear_highpage(save->page[i]);
		if (size)
			__bio_add_page(bio, save->page[i], size, 0);
		left -= size;
	}
	submit_bio_noacct(bio);
}

static void save_read(struct dms_save *save)
{
	atomic_set(&save->reads, 1);
	read_chunks(save, 0, save->length);
}

static void save_read_single(struct dms_save *save)
{
	u32 i;

	save->single = true;
	atomic_set(&save->reads, save->length);
	for (i = 0; i < save->length; i++)
		read_chunks(save, i, 1);
}

/* --- 1: collect --- */

static int max_tag(struct dms_volume *v, u64 chunk, u32 *ret)
{
	struct dms_trees *trees = srcu_dereference(v->trees, &v->srcu);
	struct dms_source *source = dms_cache_source(v->cache, true);
	u32 i, tag;
	int r;

	*ret = max(dms_table_max_tag(v->table[0], chunk), dms_table_max_tag(v->table[1], chunk));
	for (i = 0; i < trees->nr; i++) {
		r = dms_tree_max_tag(source, &trees->tree[i], chunk, &tag);
		if (r)
			return r;
		*ret = max(*ret, tag);
	}
	return 0;
}

static int is_exempt(struct dms_volume *v, struct dms_shadow *s, u64 chunk)
{
	struct dms_exception e;

	if (!(s->info.flags & DMS_SHADOW_EXEMPT))
		return 0;
	return dms_tree_find(dms_cache_source(v->cache, true), &s->info.exempt, chunk, 0, 1,
			     &e, NULL);
}

/*
 * While the volume is being merged, tell apart what the copy being merged had
 * at the start from what is saved since: see merge.c.
 */
static int merge_tag(struct dms_volume *v, struct dms_copies *copies, u64 chunk, u32 *tag)
{
	struct dms_exception e;
	u32 i;
	int r;

	for (i = 0; i < copies->nr; i++) {
		if (copies->shadow[i]->info.id != v->merge_shadow)
			continue;
		r = dms_lookup(v, copies->shadow[i], chunk, 1, v->merge_epoch, true, &e, NULL);
		if (r < 0)
			return r;
		if (!r)
			*tag = v->merge_epoch;
	}
	return 1;
}

/*
 * Does a copy need the origin's present content of @chunk?  1: yes, save it
 * with *@tag, the newest epoch that does; 0: no; or an error of a look-up.
 * A copy needs it if nothing is saved with its epoch or a later one as tag,
 * and the chunk is not exempt in it.
 */
static int need(struct dms_volume *v, struct dms_copies *copies, u64 chunk, u32 *tag)
{
	bool known = false;
	u32 have = 0, i;
	int r;

	for (i = copies->nr; i-- > 0;) {
		struct dms_shadow *s = copies->shadow[i];

		if (!dms_shadow_valid(s) || chunk >= s->chunks)
			continue;
		*tag = s->info.id;
		/* A clear bit says enough about the newest, if bits are exact. */
		if (!known && !(v->exact && i == copies->nr - 1)) {
			r = max_tag(v, chunk, &have);
			if (r)
				return r;
			known = true;
		}
		if (s->info.id <= have)
			return 0;
		r = is_exempt(v, s, chunk);
		if (r < 0)
			return r;
		if (!r)
			return v->merge_shadow ? merge_tag(v, copies, chunk, tag) : 1;
	}
	return 0;
}

/* Issue saves for one detained write.  False: short of memory, try later. */
static bool collect_bio(struct dms_volume *v, struct dms_copies *copies, struct dms_bio *b,
			struct dms_save **open, u32 *budget)
{
	while (b->issued <= b->last) {
		u64 chunk = dms_bits_next_clear(v->saved, b->issued, b->last);
		struct dms_save *save = *open;
		u32 tag = 0;
		int r;

		b->issued = chunk;
		if (chunk > b->last)
			break;
		save = pending_find(v, chunk);
		if (save) {
			b->issued = save->chunk + save->length;
			continue;
		}
		if (!--*budget) {
			dms_saver_wake(v);
			return false;
		}
		r = need(v, copies, chunk, &tag);
		if (!r) {
			dms_bits_set(v->saved, chunk, 1);
			continue;
		}
		save = *open;
		if (save && r > 0 && save->tag == tag && save->chunk + save->length == chunk &&
		    save_extend(save)) {
			b->issued++;
			continue;
		}
		if (save)
			save_read(save);
		*open = save = save_new(v, chunk, tag);
		if (!save)
			return false;
		b->issued++;
		if (r < 0) {
			/* Can't be known: that chunk of the copies is lost, no more. */
			save->kind[0] = DMS_KIND_UNREADABLE;
			*open = NULL;
			reads_over(save);
		}
	}
	return true;
}

static void collect(struct dms_volume *v)
{
	struct dms_save *open = NULL;
	struct dms_copies *copies;
	u32 budget = COLLECT_CHUNKS;
	struct dms_bio *b;
	int idx;

	if (list_empty(&v->waiting) || !READ_ONCE(v->nr_needy) ||
	    READ_ONCE(v->mode) != DMS_MODE_RW)
		return;
	idx = srcu_read_lock(&v->srcu);
	copies = srcu_dereference(v->copies, &v->srcu);
	list_for_each_entry(b, &v->waiting, list)
		if (!collect_bio(v, copies, b, &open, &budget))
			break;
	if (open)
		save_read(open);
	srcu_read_unlock(&v->srcu, idx);
}

/* --- 2: examine --- */

static void examine_chunk(struct dms_save *save, u32 index)
{
	u32 first = index * save->v->chunk_blocks, end = first + save->v->chunk_blocks, i;
	bool zero = true;

	if (save->kind[index] == DMS_KIND_UNREADABLE) {
		atomic64_inc(&save->v->stats.unreadable);
		DMERR_LIMIT("%s: chunk %llu can't be read, shadow copies lose it", save->v->name,
			    (unsigned long long)save->chunk + index);
		return;
	}
	for (i = first; zero && i < end; i++)
		zero = dms_is_zero(page_address(save->page[i]), PAGE_SIZE);
	if (zero) {
		save->kind[index] = DMS_KIND_ZERO;
		return;
	}
	for (i = first; i < end; i++)
		save->csum[i] = cpu_to_le32(dms_crc(page_address(save->page[i]), PAGE_SIZE));
}

static void examine(struct dms_volume *v, struct list_head *done)
{
	struct dms_save *save, *n;
	u32 i;

	list_for_each_entry_safe(save, n, done, list) {
		list_del(&save->list);
		if (save->stale) {
			save_free(save);
			continue;
		}
		if (save->failed && !save->single) {
			save_read_single(save);
			continue;
		}
		for (i = 0; i < save->length; i++)
			examine_chunk(save, i);
		list_add_tail(&save->list, &v->ready);
	}
}

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
		want(v, DMS_WANT_CHECKPOINT);
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
		want(g->v, DMS_WANT_CHECKPOINT);
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
		want(v, DMS_WANT_SPACE);
		return 0;
	}
	max = min(save->length - index, dms_journal_save_max(v->chunk_blocks));
	while (n < max && save->kind[index + n] == save->kind[index])
		n++;
	n = min(n, dms_table_room(v->table[v->active]) - g->chunks);
	if (!n) {
		want(v, DMS_WANT_CHECKPOINT);
		return 0;
	}
	e->kind = save->kind[index];
	e->chunk = save->chunk + index;
	e->tag = save->tag;
	e->where = 0;
	if (e->kind == DMS_KIND_DATA) {
		n = dms_alloc_take(v->alloc, n, min(dms_data_limit(v), g->ceiling), &e->where);
		if (!n) {
			want(v, DMS_WANT_SPACE);
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
		save_free(save);
	}
	spin_lock_irq(&v->lock);
	list_splice_init(&v->ops, &ops);
	spin_unlock_irq(&v->lock);
	ops_complete(&ops, -EROFS);
}

static void start_group(struct dms_volume *v)
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
			save_free(save);
		}

	g->state = GROUP_WRITING;
	g->status = 0;
	g->nr_runs = 0;
	g->chunks = 0;
	g->nr_journal = 0;
	g->blocks_hint = 0;
	g->ceiling = dms_space_ceiling(v, 0);
	atomic_set(&g->remaining, 1);
	spin_lock_irq(&v->lock);
	/* One that needs a checkpoint must not hold up the checkpoint's own. */
	list_for_each_entry_safe(op, on, &v->ops, list)
		if (group_add_op(g, op))
			list_move_tail(&op->list, &g->ops);
	spin_unlock_irq(&v->lock);
	list_for_each_entry(save, &v->ready, list)
		g->blocks_hint += save->blocks;
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
	struct dms_op *op, *on;
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
		save_free(save);
	}
	list_for_each_entry_safe(op, on, &g->ops, list) {
		list_del(&op->list);
		if (op->apply)
			op->apply(v, op);
		op->error = 0;
		complete(&op->done);
	}
}

static void finish_group(struct dms_volume *v)
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

/* --- 5: release --- */

static void release(struct dms_volume *v)
{
	/*
	 * In mode RO, too, writes wait until the copies are marked lost on disk;
	 * then the background sets nr_needy to 0.
	 */
	bool needy = READ_ONCE(v->nr_needy);
	bool failed = READ_ONCE(v->mode) != DMS_MODE_RW;
	struct dms_bio *b, *n;

	list_for_each_entry_safe(b, n, &v->waiting, list) {
		if (needy && !(failed && !b->bio))
			b->next = dms_bits_next_clear(v->saved, b->next, b->last);
		else
			b->next = b->last + 1;
		if (b->next <= b->last) {
			/* A cut save, or one given up: look at those chunks again. */
			if (b->issued > b->last && !pending_find(v, b->next))
				b->issued = b->next;
			continue;
		}
		if (b->bio && dms_merge_busy(v) && !dms_merge_home(v, b->first, b->last)) {
			if (!READ_ONCE(v->merge_stuck)) {
				dms_merge_want(v, b);
				continue;
			}
			/* What it would be laid over can't be had. */
			list_del(&b->list);
			bio_io_error(b->bio);
			continue;
		}
		list_del(&b->list);
		if (b->bio) {
			b->bio->bi_opf &= ~REQ_POLLED;
			bio_set_dev(b->bio, v->origin);
			submit_bio_noacct(b->bio);
		} else {
			complete(b->done);
		}
	}
}

static void saver(struct work_struct *work)
{
	struct dms_volume *v = container_of(work, struct dms_volume, save_work);
	struct bio_list incoming;
	LIST_HEAD(read_done);
	struct blk_plug plug;
	unsigned int noio;
	bool group_done;
	struct bio *bio;

	spin_lock_irq(&v->lock);
	bio_list_init(&incoming);
	bio_list_merge(&incoming, &v->incoming);
	bio_list_init(&v->incoming);
	list_splice_init(&v->read_done, &read_done);
	group_done = v->group_done;
	v->group_done = false;
	spin_unlock_irq(&v->lock);

	noio = memalloc_noio_save();
	while ((bio = bio_list_pop(&incoming))) {
		struct dms_bio *b = dm_per_bio_data(bio, sizeof(*b));

		list_add_tail(&b->list, &v->waiting);
	}
	blk_start_plug(&plug);
	examine(v, &read_done);
	if (group_done)
		finish_group(v);
	release(v);
	collect(v);
	start_group(v);
	release(v);
	blk_finish_plug(&plug);
	memalloc_noio_restore(noio);
	if (!list_empty(&v->waiting) && !v->group_busy)
		mod_delayed_work(v->save_wq, &v->stall_work, HZ / 10);
}

/* Something was short and nothing is under way that would tell when it is there. */
static void stalled(struct work_struct *work)
{
	struct dms_volume *v = container_of(work, struct dms_volume, stall_work.work);

	dms_saver_wake(v);
	if (READ_ONCE(v->want) || READ_ONCE(v->mode) != DMS_MODE_RW)
		dms_background_wake(v);
}

int dms_saver_commit(struct dms_volume *v, struct dms_op *op)
{
	init_completion(&op->done);
	spin_lock_irq(&v->lock);
	list_add_tail(&op->list, &v->ops);
	spin_unlock_irq(&v->lock);
	dms_saver_wake(v);
	wait_for_completion_io(&op->done);
	return op->error;
}

/* v->waiting is the saver's: it adds the request itself. */
static void add_request(struct dms_volume *v, struct dms_op *op)
{
	list_add_tail(&op->request->list, &v->waiting);
}

int dms_save_range(struct dms_volume *v, u64 first, u64 last)
{
	DECLARE_COMPLETION_ONSTACK(done);
	struct dms_bio b = {
		.v = v, .done = &done,
		.first = first, .last = last, .next = first, .issued = first,
	};
	struct dms_op op = { .apply = add_request, .request = &b };
	int r;

	r = dms_saver_commit(v, &op);
	if (r)
		return r;
	wait_for_completion_io(&done);
	return 0;
}

int dms_saver_init(struct dms_volume *v)
{
	struct dms_group *g;
	int r, i;

	spin_lock_init(&v->lock);
	bio_list_init(&v->incoming);
	INIT_LIST_HEAD(&v->ops);
	INIT_LIST_HEAD(&v->read_done);
	INIT_LIST_HEAD(&v->waiting);
	INIT_LIST_HEAD(&v->ready);
	INIT_WORK(&v->save_work, saver);
	INIT_DELAYED_WORK(&v->stall_work, stalled);
	v->pending = RB_ROOT;

	r = mempool_init_page_pool(&v->page_pool, DMS_SAVE_MAX_BLOCKS, 0);
	if (r)
		return r;
	r = mempool_init_kmalloc_pool(&v->save_pool, 4, sizeof(struct dms_save));
	if (r)
		return r;
	r = bioset_init(&v->bs, 64, offsetof(struct save_bio, bio), BIOSET_NEED_BVECS);
	if (r)
		return r;
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
	/* No WQ_HIGHPRI: a worker that preempts the submitter sees one write at a time. */
	v->save_wq = alloc_workqueue("dm-shadow-save", WQ_MEM_RECLAIM | WQ_UNBOUND, 1);
	return v->save_wq ? 0 : -ENOMEM;
}

/* Nothing is detained any more; tolerates a half-made saver. */
void dms_saver_exit(struct dms_volume *v)
{
	int i;

	if (v->save_wq) {
		/* Saves that nobody waits for may still be reading. */
		wait_event(v->idle_wait, RB_EMPTY_ROOT(&v->pending));
		cancel_delayed_work_sync(&v->stall_work);
		flush_work(&v->save_work);
		destroy_workqueue(v->save_wq);
	}
	for (i = 0; v->group && i < DMS_GROUP_JOURNAL; i++)
		free_page((unsigned long)v->group->journal[i]);
	kvfree(v->group);
	bioset_exit(&v->bs);
	mempool_exit(&v->save_pool);
	mempool_exit(&v->page_pool);
}
