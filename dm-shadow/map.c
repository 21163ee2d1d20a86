// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where a bio goes.
 *
 * Writes to the origin: remapped whole if no copy needs any of their chunks,
 * which the saved bits tell without a lock; else detained (cow.c).
 *
 * Reads of a copy, and of the origin while it is being merged: taken as pieces
 * that lie in one place.  A piece in the diff area is verified against its
 * checksums before it is completed; a piece that is not aligned to blocks is
 * read through a page of its own, as checksums cover whole blocks.
 *
 * Pieces on the origin with a short gap between are read by one request, over the gap.
 * What it reads there has pages of its own, as what is below may look at a read's data
 * (caches, integrity).  If such a request fails, that may be the gap's fault, and its
 * pieces are read one by one.  Gaps are not read where origin and area are two disks
 * without heads: the origin's limits, and would have more to read.
 *
 * What map submits is not issued before it returns.  So it waits for memory for
 * the first piece only: what the others need may be held by those before.  If
 * there is none, or an index block must be read, a worker goes on from there.
 *
 * A read that goes to the origin races with the chunk being overwritten (I3).
 * It is entered in its CPU's tracker before the look-up and leaves it at
 * completion, or at once if the look-up finds an exception.  The saver
 * publishes the exception, then looks through the trackers: either the reader
 * sees the exception or the saver sees the reader.
 *
 * A read holds v->srcu until it is complete (I8).  That ends in another context
 * than it begins in, which lockdep can't follow: hence the _notrace below.
 *
 * Locking: none on the way to the origin or the area, but the reader's own
 * CPU's tracker lock.  Index blocks in memory are pinned without one (cache.c).
 */
#include <linux/crc32c.h>
#include <linux/highmem.h>
#include <linux/sched/mm.h>

#include "volume.h"

#define PIECE_BLOCKS	256	/* checksums that a piece can carry */
#define MAP_SECTORS	(PIECE_BLOCKS * DMS_BLOCK_SECTORS)
#define BRIDGE_SECTORS	32		/* read sooner than another request begins, */
#define BRIDGE_ROTATING	128		/* or the disk's head is elsewhere and back */
#define BRIDGE_VECS	112		/* with the rest 2 KiB */

/* Several pieces on the origin, read as one with the gaps between. */
struct dms_bridge {
	struct dms_read *read;
	struct work_struct work;
	u32 nr_vecs;
	DECLARE_BITMAP(gaps, BRIDGE_VECS);	/* vecs whose pages are ours */
	struct bio_vec vecs[BRIDGE_VECS];
};

struct dms_read {
	struct dms_volume *v;
	struct dms_shadow *shadow;	/* NULL: origin under a merge */
	struct dms_bio *whole;
	struct bvec_iter iter;		/* the piece, of whole->bio */
	int srcu_idx;
	/* on the way to the origin */
	struct list_head list;
	struct dms_tracker *tracker;	/* NULL: not tracked */
	u64 first, last;		/* chunks */
	struct dms_bridge *bridge;	/* NULL: one piece */
	/* from the area */
	struct llist_node done;
	struct page *bounce;
	u32 tag;			/* of the exception */
	u32 csum_first;			/* of the piece's first block */
	__le32 csum[PIECE_BLOCKS];
	struct bio_vec bounce_vec;
	struct bio clone;
};

/* --- trackers --- */

static void track(struct dms_read *r)
{
	struct dms_tracker *t = raw_cpu_ptr(r->v->trackers);
	unsigned long flags;

	r->tracker = t;
	spin_lock_irqsave(&t->lock, flags);
	list_add(&r->list, &t->reads);
	spin_unlock_irqrestore(&t->lock, flags);
	smp_mb();	/* entered before the look-up; pairs with dms_drain_reads() */
}

static void untrack(struct dms_read *r)
{
	struct dms_volume *v = r->v;
	unsigned long flags;

	if (!r->tracker)
		return;
	spin_lock_irqsave(&r->tracker->lock, flags);
	list_del(&r->list);
	spin_unlock_irqrestore(&r->tracker->lock, flags);
	r->tracker = NULL;
	if (wq_has_sleeper(&v->drain_wait))
		wake_up_all(&v->drain_wait);
}

static bool tracked(struct dms_volume *v, u64 first, u64 last)
{
	bool found = false;
	int cpu;

	for_each_possible_cpu(cpu) {
		struct dms_tracker *t = per_cpu_ptr(v->trackers, cpu);
		struct dms_read *r;

		if (list_empty_careful(&t->reads))
			continue;
		spin_lock_irq(&t->lock);
		list_for_each_entry(r, &t->reads, list)
			found |= r->first <= last && r->last >= first;
		spin_unlock_irq(&t->lock);
		if (found)
			break;
	}
	return found;
}

void dms_drain_reads(struct dms_volume *v, u64 first, u64 last)
{
	smp_mb();	/* published before the trackers are read; pairs with track() */
	if (tracked(v, first, last))
		wait_event(v->drain_wait, !tracked(v, first, last));
}

/* --- look-up --- */

/*
 * Does a table know better than @best, or anything, within ret->length?  Cuts
 * ret->length where it does later on.
 */
static bool lookup_table(struct dms_table *t, u64 chunk, u32 tag, u32 before, bool found,
			 u32 chunk_blocks, struct dms_exception *ret, __le32 *csums)
{
	struct dms_exception e;
	const __le32 *c;
	u32 i;

	if (!dms_table_count(t))
		return found;
	for (i = 0; i < ret->length; i++) {
		if (!dms_table_find(t, chunk + i, tag, &e, &c) ||
		    (before && e.tag >= before) || (found && e.tag >= ret->tag))
			continue;
		if (i) {
			ret->length = i;
			return found;
		}
		*ret = e;
		found = true;
		if (e.kind == DMS_KIND_DATA && csums)
			memcpy(csums, c, chunk_blocks * sizeof(*c));
		return true;
	}
	return found;
}

/* A run from a table is one chunk: lengthen it while the table goes on alike. */
static void extend(struct dms_volume *v, u64 chunk, u32 tag, u32 max,
		   struct dms_exception *ret, __le32 *csums)
{
	struct dms_exception e, other;
	const __le32 *c, *unused;
	u32 t, n;

	for (n = 1; n < max; n++) {
		for (t = 0; t < 2; t++)
			if (dms_table_find(v->table[t], chunk + n, tag, &e, &c))
				break;
		if (t == 2 || e.tag != ret->tag || e.kind != ret->kind ||
		    (e.kind == DMS_KIND_DATA && e.where != ret->where + n))
			break;
		if (t == 0 && dms_table_find(v->table[1], chunk + n, tag, &other, &unused) &&
		    other.tag < ret->tag)
			break;
		if (e.kind == DMS_KIND_DATA && csums)
			memcpy(csums + n * v->chunk_blocks, c, v->chunk_blocks * sizeof(*c));
	}
	ret->length = n;
}

int dms_lookup(struct dms_volume *v, const struct dms_shadow *s, u64 chunk, u32 max,
	       u32 before, bool may_block, struct dms_exception *ret, __le32 *csums)
{
	struct dms_source *source = dms_cache_source(v->cache, may_block);
	struct dms_trees *trees = srcu_dereference_notrace(v->trees, &v->srcu);
	struct dms_exception best = { }, e;
	bool found = false, from_table = false;
	u32 tag = s->info.id, i, t, limit = max;
	int r;

	if (!before && (READ_ONCE(s->info.flags) & DMS_SHADOW_EXEMPT)) {
		r = dms_tree_find(source, &s->info.exempt, chunk, 0, max, ret, NULL);
		if (r)
			return r;
		limit = min(limit, ret->length);
	}
	/*
	 * Tables first: what moves from a table to a tree is in both for a
	 * while, and the other way round it could be missed in both.
	 */
	best.length = limit;
	for (t = 0; t < 2; t++)
		found = lookup_table(v->table[t], chunk, tag, before, found,
				     v->chunk_blocks, &best, csums);
	from_table = found;
	if (!found)
		limit = best.length;
	for (i = 0; i < trees->nr; i++) {
		struct dms_tree *tree = &trees->tree[i];

		if (!tree->depth || tree->max_tag < tag || (before && tree->min_tag >= before))
			continue;
		r = dms_tree_find(source, tree, chunk, tag, limit, &e, found ? NULL : csums);
		if (r < 0)
			return r;
		limit = min(limit, e.length);
		if (!r || (before && e.tag >= before) || (found && e.tag >= best.tag))
			continue;
		if (found) {
			/* Better than what the checksums belong to. */
			r = dms_tree_find(source, tree, chunk, tag, limit, &e, csums);
			if (r < 0)
				return r;
		}
		best = e;
		found = true;
		from_table = false;
	}
	best.length = limit;
	if (from_table)
		extend(v, chunk, tag, limit, &best, csums);
	*ret = best;
	return found;
}

/* --- pieces --- */

/* One piece less, or the last. */
static void piece_done(struct dms_bio *b, blk_status_t status)
{
	if (status)
		WRITE_ONCE(b->status, status);
	if (!atomic_dec_and_test(&b->pieces))
		return;
	if (b->status)
		b->bio->bi_status = b->status;
	bio_endio(b->bio);
}

static void bridge_free(struct dms_bridge *br)
{
	u32 i;

	if (!br)
		return;
	for_each_set_bit(i, br->gaps, br->nr_vecs)
		__free_pages(br->vecs[i].bv_page, get_order(br->vecs[i].bv_len));
	kfree(br);
}

static void read_free(struct dms_read *r)
{
	struct dms_volume *v = r->v;

	untrack(r);
	__acquire(&v->srcu);	/* in read_new(), for sparse */
	srcu_up_read(&v->srcu, r->srcu_idx);
	if (r->bounce)
		mempool_free(r->bounce, &v->bounce_pool);
	bridge_free(r->bridge);
	mempool_free(r, &v->read_pool);
}

static void read_finish(struct dms_read *r, blk_status_t status)
{
	struct dms_bio *b = r->whole;

	/*
	 * If the copy has gone meanwhile, what was found may not be its own: nobody
	 * saves for it any more, and its exceptions are dropped.  It was marked
	 * dead before either.
	 */
	smp_rmb();		/* look-up before mark; pairs with apply_delete() */
	if (!status && r->shadow && !dms_shadow_valid(r->shadow))
		status = BLK_STS_IOERR;
	read_free(r);
	piece_done(b, status);
}

/* Block @bad of those that have a checksum. */
static void checksum_error(struct dms_read *r, u32 bad)
{
	struct dms_volume *v = r->v;
	u64 chunk = r->first + bad / v->chunk_blocks;

	atomic64_inc(&v->stats.checksum_errors);
	if (r->shadow)
		atomic_inc(&r->shadow->errors);
	DMERR_LIMIT("%s: saved data of chunk %llu does not fit its checksum", v->name,
		    (unsigned long long)chunk);
	dms_damaged(v, chunk, r->tag);
}

/* Each of the two: true, or the first block that does not fit is *@bad. */
static bool verify_bounce(struct dms_read *r, u32 *bad)
{
	u32 offset = (r->iter.bi_sector % DMS_BLOCK_SECTORS) << SECTOR_SHIFT;
	void *data = page_address(r->bounce);
	struct bvec_iter iter;
	struct bio_vec bv;

	*bad = r->csum_first;
	if (dms_crc(data, DMS_BLOCK_SIZE) != le32_to_cpu(r->csum[*bad]))
		return false;
	__bio_for_each_segment(bv, r->whole->bio, iter, r->iter) {
		memcpy_to_bvec(&bv, data + offset);
		offset += bv.bv_len;
	}
	return true;
}

static bool verify(struct dms_read *r, u32 *bad)
{
	u32 filled = 0, crc = ~0;
	struct bvec_iter iter;
	struct bio_vec bv;

	*bad = r->csum_first;
	__bio_for_each_segment(bv, r->whole->bio, iter, r->iter) {
		u8 *p = bvec_kmap_local(&bv);
		u32 left = bv.bv_len, n;
		u8 *at = p;

		for (; left; left -= n, at += n) {
			n = min_t(u32, left, DMS_BLOCK_SIZE - filled);
			crc = crc32c(crc, at, n);
			filled += n;
			if (filled < DMS_BLOCK_SIZE)
				continue;
			if (~crc != le32_to_cpu(r->csum[*bad])) {
				kunmap_local(p);
				return false;
			}
			++*bad;
			filled = 0;
			crc = ~0;
		}
		kunmap_local(p);
	}
	return true;
}

static void verify_work(struct work_struct *work)
{
	struct dms_tracker *t = container_of(work, struct dms_tracker, verify);
	struct dms_read *r, *n;
	u32 bad;

	llist_for_each_entry_safe(r, n, llist_del_all(&t->done), done) {
		if (r->bounce ? verify_bounce(r, &bad) : verify(r, &bad)) {
			read_finish(r, 0);
		} else {
			checksum_error(r, bad);
			read_finish(r, BLK_STS_PROTECTION);	/* EILSEQ */
		}
	}
}

static void area_endio(struct bio *clone)
{
	struct dms_read *r = container_of(clone, struct dms_read, clone);
	struct dms_tracker *t = raw_cpu_ptr(r->v->trackers);
	struct workqueue_struct *wq = r->v->verify_wq;
	blk_status_t status = clone->bi_status;

	bio_uninit(clone);
	if (status) {
		atomic64_inc(&r->v->stats.area_errors);
		read_finish(r, status);
	} else if (llist_add(&r->done, &t->done)) {
		queue_work(wq, &t->verify);
	}
}

/* The pieces one by one, without the gaps. */
static void read_apart(struct work_struct *work)
{
	struct dms_bridge *br = container_of(work, struct dms_bridge, work);
	struct dms_read *r = br->read;
	blk_opf_t opf = REQ_OP_READ | (r->whole->bio->bi_opf & REQ_FAILFAST_MASK);
	sector_t sector = r->iter.bi_sector;
	blk_status_t status = 0;
	u32 i, n, bytes;

	for (i = 0; i < br->nr_vecs && !status; i += n) {
		bool gap = test_bit(i, br->gaps);
		struct bio bio;

		bytes = 0;
		for (n = 0; i + n < br->nr_vecs && test_bit(i + n, br->gaps) == gap; n++)
			bytes += br->vecs[i + n].bv_len;
		if (!gap) {
			bio_init(&bio, r->v->origin, &br->vecs[i], n, opf);
			bio.bi_vcnt = n;
			bio.bi_iter.bi_sector = sector;
			bio.bi_iter.bi_size = bytes;
			submit_bio_wait(&bio);
			status = bio.bi_status;
			bio_uninit(&bio);
		}
		sector += bytes >> SECTOR_SHIFT;
	}
	read_finish(r, status);
}

/* May it be for a gap? */
static bool worth_retry(blk_status_t status)
{
	return status == BLK_STS_IOERR || status == BLK_STS_MEDIUM ||
	       status == BLK_STS_PROTECTION || status == BLK_STS_TIMEOUT;
}

static void origin_endio(struct bio *clone)
{
	struct dms_read *r = container_of(clone, struct dms_read, clone);
	blk_status_t status = clone->bi_status;

	bio_uninit(clone);
	/* A work item each: one that the disk tries for long holds up no other. */
	if (r->bridge && !bitmap_empty(r->bridge->gaps, BRIDGE_VECS) && worth_retry(status))
		queue_work(r->v->verify_wq, &r->bridge->work);
	else
		read_finish(r, status);
}

/* Largest number of sectors from @sector on that one block-wise read can serve. */
static u32 aligned_sectors(sector_t sector, u32 sectors)
{
	u32 head = sector % DMS_BLOCK_SECTORS;

	if (head)
		return min_t(u32, sectors, DMS_BLOCK_SECTORS - head);
	if (sectors < DMS_BLOCK_SECTORS)
		return sectors;
	return round_down(sectors, DMS_BLOCK_SECTORS);
}

static bool needs_bounce(sector_t sector, u32 sectors)
{
	return sector % DMS_BLOCK_SECTORS || sectors % DMS_BLOCK_SECTORS;
}

static void submit_area(struct dms_read *r, const struct dms_exception *e)
{
	struct dms_volume *v = r->v;
	u32 offset = r->iter.bi_sector - (r->first << v->chunk_shift);
	struct bio *clone = &r->clone;

	untrack(r);
	r->tag = e->tag;
	r->csum_first = offset / DMS_BLOCK_SECTORS;
	if (r->bounce) {
		bio_init(clone, v->area, &r->bounce_vec, 1, REQ_OP_READ);
		__bio_add_page(clone, r->bounce, DMS_BLOCK_SIZE, 0);
	} else {
		bio_init_clone(v->area, clone, r->whole->bio, GFP_NOIO);
		clone->bi_iter = r->iter;
		/* Nobody polls for it, and it is not for the caller to retry. */
		clone->bi_opf &= ~(REQ_POLLED | REQ_NOWAIT | REQ_RAHEAD);
	}
	clone->bi_iter.bi_sector = (e->where << v->chunk_shift) +
				   round_down(offset, DMS_BLOCK_SECTORS);
	clone->bi_end_io = area_endio;
	submit_bio_noacct(clone);
}

static void submit_origin(struct dms_read *r)
{
	bio_init_clone(r->v->origin, &r->clone, r->whole->bio, GFP_NOIO);
	r->clone.bi_iter = r->iter;
	if (r->bridge) {
		/* Marked as a clone: what is below goes by the iterator alone. */
		r->clone.bi_io_vec = r->bridge->vecs;
		r->clone.bi_iter = (struct bvec_iter) {
			.bi_sector = r->iter.bi_sector, .bi_size = r->iter.bi_size,
		};
	}
	r->clone.bi_opf &= ~REQ_POLLED;
	r->clone.bi_end_io = origin_endio;
	submit_bio_noacct(&r->clone);
}

/* --- over gaps --- */

static void submit_held(struct dms_bio *b)
{
	if (b->held)
		submit_origin(b->held);
	b->held = NULL;
}

static bool add_piece(struct dms_bridge *br, struct bio *bio, struct bvec_iter start)
{
	struct bvec_iter iter;
	struct bio_vec bv;

	__bio_for_each_bvec(bv, bio, iter, start) {
		if (br->nr_vecs == BRIDGE_VECS)
			return false;
		br->vecs[br->nr_vecs++] = bv;
	}
	return true;
}

static bool begin_bridge(struct dms_read *r)
{
	struct dms_bridge *br = kmalloc(sizeof(*br), GFP_NOWAIT | __GFP_NOWARN);

	if (!br)
		return false;
	br->read = r;
	br->nr_vecs = 0;
	bitmap_zero(br->gaps, BRIDGE_VECS);
	INIT_WORK(&br->work, read_apart);
	if (!add_piece(br, r->whole->bio, r->iter)) {
		kfree(br);
		return false;
	}
	r->bridge = br;
	return true;
}

/*
 * Let the held read of @b go on to the piece @next, over what lies between.  It was
 * entered with the trackers before this piece was looked up (I3).  False: it does not.
 */
static bool go_on(struct dms_bio *b, struct bvec_iter next)
{
	struct dms_read *r = b->held;
	struct page *page = NULL;
	struct dms_bridge *br;
	u32 gap, before;

	if (!r || b->bio->bi_opf & REQ_NOWAIT)
		return false;
	gap = next.bi_sector - (r->iter.bi_sector + bvec_iter_sectors(r->iter));
	if (gap > r->v->bridge_sectors || (!r->bridge && !begin_bridge(r)))
		return false;
	br = r->bridge;
	before = br->nr_vecs;
	gap <<= SECTOR_SHIFT;
	if (gap) {
		if (before == BRIDGE_VECS)
			return false;
		page = alloc_pages(__GFP_NOWARN | __GFP_NOMEMALLOC | __GFP_COMP, get_order(gap));
		if (!page)
			return false;
		br->vecs[br->nr_vecs++] = (struct bio_vec) { .bv_page = page, .bv_len = gap };
	}
	if (!add_piece(br, b->bio, next)) {
		if (page)
			__free_pages(page, get_order(gap));
		br->nr_vecs = before;
		return false;
	}
	if (page)
		__set_bit(before, br->gaps);
	r->iter.bi_size += gap + next.bi_size;
	return true;
}

static void to_origin(struct dms_read *r)
{
	struct dms_bio *b = r->whole;

	if (go_on(b, r->iter)) {
		atomic_dec(&b->pieces);		/* not the last: map's is still there */
		read_free(r);
		return;
	}
	submit_held(b);
	b->held = r;
}

/*
 * Where does the first of what @r could be lie?  0 or an error; *@e tells, kind 0
 * standing for the origin.
 */
static int locate(struct dms_read *r, bool may_block, struct dms_exception *e)
{
	struct dms_volume *v = r->v;
	u32 max = min_t(u64, r->last - r->first + 1, PIECE_BLOCKS / v->chunk_blocks);
	struct dms_shadow *s = r->shadow;
	u32 before = 0, n;
	int ret;

	if (!s) {
		/* The origin, while a merge brings chunks home. */
		s = dms_merge_source(v, r->first, max, &n);
		if (!s) {
			*e = (struct dms_exception) { .chunk = r->first, .length = n };
			return 0;
		}
		max = min(max, n);
		before = v->merge_epoch;
	}
	ret = dms_lookup(v, s, r->first, max, before, may_block, e, r->csum);
	if (!ret)
		e->kind = 0;
	return min(ret, 0);
}

static void zero_fill(struct bio *bio, struct bvec_iter start)
{
	struct bvec_iter iter;
	struct bio_vec bv;

	__bio_for_each_segment(bv, bio, iter, start)
		memzero_bvec(&bv);
}

/* Of what is left of @b, entered with the trackers.  NULL: no memory, by @gfp. */
static struct dms_read *read_new(struct dms_bio *b, gfp_t gfp)
{
	struct dms_volume *v = b->v;
	struct dms_read *r = mempool_alloc(&v->read_pool, gfp);

	if (!r)
		return NULL;
	r->v = v;
	r->shadow = b->shadow;
	r->whole = b;
	r->iter = b->iter;
	r->bounce = NULL;
	r->bridge = NULL;
	r->first = dms_sector_chunk(v, b->iter.bi_sector);
	r->last = dms_sector_chunk(v, b->iter.bi_sector + bvec_iter_sectors(b->iter) - 1);
	r->srcu_idx = srcu_down_read(&v->srcu);
	__release(&v->srcu);	/* until read_free(), for sparse */
	track(r);
	return r;
}

/*
 * Serve the first piece of what is left of @b.  -EAGAIN: not without reading an
 * index block, which @may_block allows, or without more memory than @gfp gives.
 */
static int read_piece(struct dms_bio *b, bool may_block, gfp_t gfp)
{
	struct dms_read *r = read_new(b, gfp);
	struct dms_volume *v = b->v;
	struct dms_exception e;
	u32 sectors;
	int ret;

	if (!r)
		return -EAGAIN;
	ret = locate(r, may_block, &e);
	if (ret == -EAGAIN)
		goto again;
	if (ret) {
		e.length = 1;
		e.kind = DMS_KIND_UNREADABLE;
	}
	sectors = min_t(u64, bvec_iter_sectors(b->iter),
			((r->first + e.length) << v->chunk_shift) - b->iter.bi_sector);
	if (e.kind == DMS_KIND_DATA) {
		sectors = aligned_sectors(b->iter.bi_sector, sectors);
		if (needs_bounce(b->iter.bi_sector, sectors)) {
			r->bounce = mempool_alloc(&v->bounce_pool, gfp);
			if (!r->bounce)
				goto again;
		}
	}
	r->iter.bi_size = sectors << SECTOR_SHIFT;
	bio_advance_iter(b->bio, &b->iter, r->iter.bi_size);
	atomic_inc(&b->pieces);
	switch (e.kind) {
	case 0:
		to_origin(r);
		break;
	case DMS_KIND_DATA:
		submit_area(r, &e);
		break;
	case DMS_KIND_UNREADABLE:
		submit_held(b);		/* not over it: the origin may be so there */
		read_finish(r, ret == -EUCLEAN ? BLK_STS_PROTECTION : BLK_STS_IOERR);
		break;
	default:
		zero_fill(b->bio, r->iter);
		read_finish(r, 0);
	}
	return 0;
again:
	read_free(r);
	return -EAGAIN;
}

static void read_worker(struct work_struct *work)
{
	struct dms_bio *b = container_of(work, struct dms_bio, work);
	unsigned int noio = memalloc_noio_save();

	while (b->iter.bi_size) {
		if (!read_piece(b, false, GFP_NOWAIT | __GFP_NOWARN))
			continue;
		/* Nothing is held while it waits for memory or the index. */
		submit_held(b);
		read_piece(b, true, GFP_NOIO);
	}
	submit_held(b);
	piece_done(b, 0);
	memalloc_noio_restore(noio);
}

static int would_block(struct bio *bio)
{
	bio_wouldblock_error(bio);
	return DM_MAPIO_SUBMITTED;
}

static int map_read(struct dms_volume *v, struct dms_shadow *s, struct bio *bio)
{
	struct dms_bio *b = dm_per_bio_data(bio, sizeof(*b));
	gfp_t gfp = bio->bi_opf & REQ_NOWAIT ? GFP_NOWAIT | __GFP_NOWARN : GFP_NOIO;

	/* Nothing goes out before we return: that bounds what is held till then. */
	if (bio_sectors(bio) > MAP_SECTORS)
		dm_accept_partial_bio(bio, MAP_SECTORS);
	b->v = v;
	b->shadow = s;
	b->bio = bio;
	b->iter = bio->bi_iter;
	b->held = NULL;
	b->status = BLK_STS_OK;
	atomic_set(&b->pieces, 1);	/* until all are under way */
	while (b->iter.bi_size && !read_piece(b, false, gfp))
		gfp = GFP_NOWAIT | __GFP_NOWARN;
	submit_held(b);
	if (!b->iter.bi_size) {
		piece_done(b, BLK_STS_OK);
	} else if (bio->bi_opf & REQ_NOWAIT) {
		bio_set_flag(bio, BIO_QUIET);
		piece_done(b, BLK_STS_AGAIN);
	} else {
		INIT_WORK(&b->work, read_worker);
		queue_work(v->read_wq, &b->work);
	}
	return DM_MAPIO_SUBMITTED;
}

int dms_map_shadow(struct dms_volume *v, struct dms_shadow *s, struct bio *bio)
{
	if (bio_op(bio) != REQ_OP_READ)
		return DM_MAPIO_KILL;
	if (!bio_sectors(bio))
		return DM_MAPIO_KILL;
	if (!dms_shadow_valid(s))
		return DM_MAPIO_KILL;
	return map_read(v, s, bio);
}

static int map_write(struct dms_volume *v, struct bio *bio)
{
	u64 first = dms_sector_chunk(v, bio->bi_iter.bi_sector);
	u64 last = dms_sector_chunk(v, bio_end_sector(bio) - 1);
	struct dms_bio *b;

	if ((!READ_ONCE(v->nr_needy) || dms_bits_all(v->saved, first, last)) &&
	    (!dms_merge_busy(v) || dms_merge_home(v, first, last))) {
		bio_set_dev(bio, v->origin);
		return DM_MAPIO_REMAPPED;
	}
	if (bio->bi_opf & REQ_NOWAIT)
		return would_block(bio);
	b = dm_per_bio_data(bio, sizeof(*b));
	b->v = v;
	b->bio = bio;
	b->first = first;
	b->next = first;
	b->issued = first;
	b->last = last;
	b->wanted = false;
	dms_detain(v, bio);
	return DM_MAPIO_SUBMITTED;
}

int dms_map_origin(struct dms_volume *v, struct bio *bio)
{
	if (bio_sectors(bio)) {
		if (op_is_write(bio_op(bio)))
			return map_write(v, bio);
		if (dms_merge_busy(v) && bio_op(bio) == REQ_OP_READ &&
		    !dms_merge_home(v, dms_sector_chunk(v, bio->bi_iter.bi_sector),
				    dms_sector_chunk(v, bio_end_sector(bio) - 1)))
			return map_read(v, NULL, bio);
	}
	bio_set_dev(bio, v->origin);
	return DM_MAPIO_REMAPPED;
}

int dms_readers_init(struct dms_volume *v)
{
	int cpu, r;

	init_waitqueue_head(&v->drain_wait);
	if (bdev_rot(v->origin))
		v->bridge_sectors = BRIDGE_ROTATING;
	else if (dms_one_disk(v))
		v->bridge_sectors = BRIDGE_SECTORS;
	v->trackers = alloc_percpu(struct dms_tracker);
	if (!v->trackers)
		return -ENOMEM;
	for_each_possible_cpu(cpu) {
		struct dms_tracker *t = per_cpu_ptr(v->trackers, cpu);

		spin_lock_init(&t->lock);
		INIT_LIST_HEAD(&t->reads);
		init_llist_head(&t->done);
		INIT_WORK(&t->verify, verify_work);
	}
	r = mempool_init_kmalloc_pool(&v->read_pool, 16, sizeof(struct dms_read));
	if (r)
		return r;
	r = mempool_init_page_pool(&v->bounce_pool, 16, 0);
	if (r)
		return r;
	/* Readers wait for what verifying gives back: not in one queue. */
	v->read_wq = alloc_workqueue("dm-shadow-read", WQ_MEM_RECLAIM | WQ_UNBOUND, 0);
	v->verify_wq = alloc_workqueue("dm-shadow-verify", WQ_MEM_RECLAIM | WQ_UNBOUND, 0);
	return v->read_wq && v->verify_wq ? 0 : -ENOMEM;
}

/* No reads are under way; tolerates a half-made state. */
void dms_readers_exit(struct dms_volume *v)
{
	if (v->read_wq)
		destroy_workqueue(v->read_wq);
	if (v->verify_wq)
		destroy_workqueue(v->verify_wq);
	mempool_exit(&v->bounce_pool);
	mempool_exit(&v->read_pool);
	free_percpu(v->trackers);
	cleanup_srcu_struct(&v->srcu);
}
