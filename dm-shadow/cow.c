// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copy on write: a write meets chunks that a copy still needs.
 *
 * map.c detains the write here.  One work item, the saver, takes it from there
 * (3 and 4 are in commit.c):
 *
 *   1 collect   the chunks of detained writes that nobody is saving yet are
 *               joined into runs, and the runs are read from the origin at once
 *   2 examine   what was read: zeros store nothing, the rest gets a checksum
 *               for each block; what can't be read is recorded as unreadable
 *   3 commit    all saves that have been read by now form a group: their data
 *               and the journal blocks naming it are written side by side and
 *               made durable with one flush, one group at a time; by FUA, or
 *               where no cache is volatile, up to two
 *   4 publish   the exceptions enter the table in memory (I1 before, I2 after),
 *               shadow reads still on the origin there drain (I3), the saved
 *               bits are set
 *   5 release   writes whose chunks are all saved go to the origin, in order
 *
 * While a group is being committed, further reads go on, and what they bring
 * makes the next group: the busier the device, the larger the group, with no
 * timer.  Where origin and area are one disk, a group waits for the reads under
 * way.  A write does not know its saves; it is released when the saved bits
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

#include "saver.h"

#define PAGES_MAX	(2 * DMS_GATHER_BLOCKS)	/* of saves under way: 8 MiB */
#define SPARE_SAVES	32
#define SPARE_ORDER	4		/* of pages side by side */
#define TRIM_TIME	HZ		/* spare pages not needed for so long are given back */
#define EXEMPT_LOOKUPS	128		/* for a chunk: more take longer than a save */
#define COLLECT_CHUNKS	4096		/* looked up in one go: others wait */

struct save_bio {
	struct dms_save *save;
	u32 index;			/* chunk of the save, if single */
	struct bio bio;
};

/*
 * While the saver is at work, it goes round once more: queueing the work would
 * make the kernel wake another worker, each time, which finds nothing to do.
 */
void dms_saver_wake(struct dms_volume *v)
{
	/* All others rely on the first to queue it. */
	preempt_disable();
	if (!atomic_fetch_inc(&v->save_wakes))
		queue_work(v->save_wq, &v->save_work);
	preempt_enable();
}

void dms_detain(struct dms_volume *v, struct bio *bio)
{
	unsigned long flags;

	spin_lock_irqsave(&v->lock, flags);
	bio_list_add(&v->incoming, bio);
	spin_unlock_irqrestore(&v->lock, flags);
	dms_saver_wake(v);
}

void dms_saver_want(struct dms_volume *v, int what)
{
	if (v->want == DMS_WANT_NOTHING)
		v->want_since = jiffies;
	WRITE_ONCE(v->want, what);
	dms_back_hurry(v);
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

/*
 * Pages and saves that are not in use, for the next: the allocator would clear
 * them (init_on_alloc), which takes as long as to copy them.  There are always enough
 * for one save, in use or here, so that memory comes back without a need for more: a
 * mempool that prefers what it keeps, and needs no lock.  Saves take pages, and give
 * them back, in order: those that lie side by side stay so, and make fewer segments.
 */
static void page_put(struct dms_volume *v, struct page *page)
{
	list_add(&page->lru, &v->spare_pages);
	v->nr_spare_pages++;
}

static bool spares_add(struct dms_volume *v, gfp_t gfp)
{
	/* Many side by side if that costs nobody else anything. */
	struct page *page = alloc_pages(__GFP_NOMEMALLOC | __GFP_NOWARN, SPARE_ORDER);
	u32 n = 1;

	if (page) {
		split_page(page, SPARE_ORDER);
		n <<= SPARE_ORDER;
	} else {
		page = alloc_page(gfp);
	}
	while (page && n)
		page_put(v, page + --n);
	return page;
}

static struct page *page_get(struct dms_volume *v)
{
	struct page *page;

	if (!v->nr_spare_pages && !spares_add(v, GFP_NOWAIT | __GFP_NOWARN))
		return NULL;
	page = list_first_entry(&v->spare_pages, struct page, lru);
	list_del(&page->lru);
	v->spares_idle = min(v->spares_idle, --v->nr_spare_pages);
	return page;
}

/* Give back the pages that were never needed since it was last done, but one save's. */
static void spares_trim(struct dms_volume *v)
{
	u32 n;

	if (v->nr_spare_pages <= DMS_SAVE_MAX_BLOCKS) {
		v->trim_at = jiffies + TRIM_TIME;
		return;
	}
	if (time_after_eq(jiffies, v->trim_at)) {
		n = min(v->spares_idle, v->nr_spare_pages - DMS_SAVE_MAX_BLOCKS);
		while (n--)
			__free_page(page_get(v));
		v->spares_idle = v->nr_spare_pages;
		v->trim_at = jiffies + TRIM_TIME;
	}
	if (!READ_ONCE(v->closing))
		queue_delayed_work(v->save_wq, &v->stall_work, TRIM_TIME);
}

static struct dms_save *save_get(struct dms_volume *v)
{
	struct dms_save *save;

	if (!v->nr_spare_saves)
		return kmalloc(sizeof(*save), GFP_NOWAIT | __GFP_NOWARN);
	save = list_first_entry(&v->spare_saves, struct dms_save, list);
	list_del(&save->list);
	v->nr_spare_saves--;
	return save;
}

static void save_put(struct dms_volume *v, struct dms_save *save)
{
	if (v->nr_spare_saves == SPARE_SAVES) {
		kfree(save);
		return;
	}
	list_add(&save->list, &v->spare_saves);
	v->nr_spare_saves++;
}

static int spares_init(struct dms_volume *v)
{
	struct dms_save *save;

	INIT_LIST_HEAD(&v->spare_saves);
	INIT_LIST_HEAD(&v->spare_pages);
	save = kmalloc(sizeof(*save), GFP_KERNEL);
	if (!save)
		return -ENOMEM;
	save_put(v, save);
	while (v->nr_spare_pages < DMS_SAVE_MAX_BLOCKS)
		if (!spares_add(v, GFP_KERNEL))
			return -ENOMEM;
	return 0;
}

static void spares_exit(struct dms_volume *v)
{
	while (v->nr_spare_pages)
		__free_page(page_get(v));
	while (v->nr_spare_saves)
		kfree(save_get(v));
}

void dms_save_free(struct dms_save *save)
{
	struct dms_volume *v = save->v;

	rb_erase(&save->node, &v->pending);
	if (RB_EMPTY_ROOT(&v->pending))
		wake_up_all(&v->idle_wait);
	v->pages_held -= save->blocks;
	while (save->blocks)
		page_put(v, save->page[--save->blocks]);
	save_put(v, save);
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
		struct page *page = page_get(v);

		if (!page) {
			while (save->blocks > old)
				page_put(v, save->page[--save->blocks]);
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
	struct dms_save *save = save_get(v);

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
		save_put(v, save);
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

	rcu_read_lock();	/* dms_saver_exit() waits */
	spin_lock_irqsave(&v->lock, flags);
	list_add_tail(&save->list, &v->read_done);
	spin_unlock_irqrestore(&v->lock, flags);
	dms_saver_wake(v);
	rcu_read_unlock();
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

u32 dms_bio_add(struct bio *bio, struct page **page, u32 nr)
{
	u32 n = 1;

	/* In a sparse memory map the next struct page need not be that of the next page. */
	while (n < nr && page[n] == page[0] + n &&
	       page_to_pfn(page[n]) == page_to_pfn(page[0]) + n)
		n++;
	__bio_add_page(bio, page[0], n * PAGE_SIZE, 0);
	return n;
}

/* Read @length chunks of @save from number @index on; past the origin's end lie zeros. */
static void read_chunks(struct dms_save *save, u32 index, u32 length)
{
	struct dms_volume *v = save->v;
	sector_t sector = (save->chunk + index) << v->chunk_shift;
	u64 left = (u64)(v->origin_sectors - sector) << SECTOR_SHIFT;
	u32 i = index * v->chunk_blocks, end = i + length * v->chunk_blocks, n;
	struct save_bio *sb;
	struct bio *bio;

	bio = bio_alloc_bioset(v->origin, end - i, REQ_OP_READ, GFP_NOIO, &v->bs);
	sb = container_of(bio, struct save_bio, bio);
	sb->save = save;
	sb->index = index;
	bio->bi_iter.bi_sector = sector;
	bio->bi_end_io = read_endio;
	for (; i < end && left >= PAGE_SIZE; i += n, left -= (u64)n << PAGE_SHIFT)
		n = dms_bio_add(bio, &save->page[i], min_t(u64, end - i, left >> PAGE_SHIFT));
	for (; i < end; i++, left = 0) {
		clear_highpage(save->page[i]);
		if (left)
			__bio_add_page(bio, save->page[i], left, 0);
	}
	submit_bio_noacct(bio);
}

static void save_read(struct dms_save *save)
{
	save->v->nr_reading++;
	atomic_set(&save->reads, 1);
	read_chunks(save, 0, save->length);
}

static void save_read_single(struct dms_save *save)
{
	u32 i;

	save->single = true;
	save->v->nr_reading++;
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
 * and the chunk is not exempt in it.  Where it is exempt in many of the newest that
 * have nothing saved the older ones are not asked: what is saved for nobody costs a
 * chunk, and nobody reads it.
 */
static int need(struct dms_volume *v, struct dms_copies *copies, u64 chunk, u32 *tag)
{
	u32 have = 0, newest = 0, exempt = 0, i;
	bool known = false;
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
		newest = newest ?: s->info.id;
		r = is_exempt(v, s, chunk);
		if (r < 0)
			return r;
		/* One save for all that were asked, lest each activation has one. */
		if (r && ++exempt == EXEMPT_LOOKUPS) {
			*tag = newest;
			r = 0;
		}
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
			v->nr_reading++;
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
		v->nr_reading--;
		if (save->stale) {
			dms_save_free(save);
			continue;
		}
		if (save->failed && !save->single) {
			save_read_single(save);
			continue;
		}
		for (i = 0; i < save->length; i++)
			examine_chunk(save, i);
		save->since = jiffies;
		list_add_tail(&save->list, &v->ready);
	}
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
			if (!dms_merge_failed(v, b)) {
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

static void saver_pass(struct dms_volume *v)
{
	struct bio_list incoming;
	LIST_HEAD(read_done);
	struct blk_plug plug;
	struct bio *bio;

	spin_lock_irq(&v->lock);
	bio_list_init(&incoming);
	bio_list_merge(&incoming, &v->incoming);
	bio_list_init(&v->incoming);
	list_splice_init(&v->read_done, &read_done);
	spin_unlock_irq(&v->lock);

	while ((bio = bio_list_pop(&incoming))) {
		struct dms_bio *b = dm_per_bio_data(bio, sizeof(*b));

		list_add_tail(&b->list, &v->waiting);
	}
	blk_start_plug(&plug);
	examine(v, &read_done);
	dms_group_finish(v);
	release(v);
	collect(v);
	dms_group_start(v);
	release(v);
	blk_finish_plug(&plug);
	if (!list_empty(&v->waiting) && !v->nr_groups)
		mod_delayed_work(v->save_wq, &v->stall_work, HZ / 10);
	spares_trim(v);
}

static void saver(struct work_struct *work)
{
	struct dms_volume *v = container_of(work, struct dms_volume, save_work);
	unsigned int noio = memalloc_noio_save();
	int wakes;

	do {
		wakes = atomic_read_acquire(&v->save_wakes);
		saver_pass(v);
		cond_resched();
	} while (atomic_sub_return(wakes, &v->save_wakes));
	memalloc_noio_restore(noio);
}

/* Something was short, or gathered for, or is spare, and nothing may tell when that is over. */
static void stalled(struct work_struct *work)
{
	struct dms_volume *v = container_of(work, struct dms_volume, stall_work.work);

	dms_saver_wake(v);
	if (READ_ONCE(v->want) || READ_ONCE(v->mode) != DMS_MODE_RW) {
		dms_back_hurry(v);
		dms_background_wake(v);
	}
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

int dms_saver_init(struct dms_volume *v)
{
	int r;

	spin_lock_init(&v->lock);
	bio_list_init(&v->incoming);
	INIT_LIST_HEAD(&v->ops);
	INIT_LIST_HEAD(&v->read_done);
	INIT_LIST_HEAD(&v->waiting);
	INIT_LIST_HEAD(&v->ready);
	INIT_WORK(&v->save_work, saver);
	INIT_DELAYED_WORK(&v->stall_work, stalled);
	v->pending = RB_ROOT;

	r = spares_init(v);
	if (r)
		return r;
	r = bioset_init(&v->bs, 64, offsetof(struct save_bio, bio), BIOSET_NEED_BVECS);
	if (r)
		return r;
	r = dms_group_init(v);
	if (r)
		return r;
	/* No WQ_HIGHPRI: a worker that preempts the submitter sees one write at a time. */
	v->save_wq = alloc_workqueue("dm-shadow-save", WQ_MEM_RECLAIM | WQ_UNBOUND, 1);
	return v->save_wq ? 0 : -ENOMEM;
}

/* Nothing is detained any more; tolerates a half-made saver. */
void dms_saver_exit(struct dms_volume *v)
{
	if (v->save_wq) {
		/* Saves that nobody waits for may still be reading. */
		wait_event(v->idle_wait, RB_EMPTY_ROOT(&v->pending));
		synchronize_rcu();	/* completions have woken the saver */
		flush_work(&v->save_work);	/* now it knows that the volume closes */
		cancel_delayed_work_sync(&v->stall_work);
		flush_work(&v->save_work);
		destroy_workqueue(v->save_wq);
	}
	dms_group_exit(v);
	bioset_exit(&v->bs);
	spares_exit(v);
}
