// SPDX-License-Identifier: GPL-2.0-only
/*
 * Merge: the origin becomes what one of its copies shows, online.
 *
 * From the first instant the origin reads as the copy: a chunk is *home* when
 * the origin itself holds what should be read there; until then reads look the
 * copy up (map.c).  The work item below brings chunks home in ascending order, and
 * those that detained writes wait for before others:
 *
 *   1. other copies that need the origin's present content get it saved, in
 *      the usual way, and shadow reads drain;
 *   2. the chunk is read from the diff area, verified, and written to the origin;
 *   3. the origin is flushed;
 *   4. that it is home becomes durable in the journal: by the cursor, below
 *      which all is home, or for a single run by a HOME exception;
 *   5. it is home: reads and writes go straight to the origin.
 *
 * A crash before 4 brings the chunk home once more, which is harmless as nobody
 * could write to it before 5.
 *
 * A chunk that the copy finds on the origin is home from the start.  Once such
 * a chunk is overwritten, its old content is saved for the copy as for any
 * other, and a resumed merge must not take that for something to bring home.
 * Therefore the merge has an epoch of its own, M, above all copies: saves that
 * are made while it runs, of chunks that were home from the start, carry M as
 * their tag, and the merge looks at smaller tags only (merge_tag() in cow.c).
 *
 * What is exempt in the copy stays as it is on the origin: it was free space.
 * What could not be read when it was saved can't be brought home and stays too.
 * If saved data does not fit its checksum the merge stops there and says so:
 * reading that chunk gives an error rather than a guess; it is tried again at
 * the next activation.
 *
 * Locking: v->merge_shadow is set under v->meta with the origin suspended, and
 * cleared by the merge's work item, which alone moves the cursor.
 */
#include <linux/blkdev.h>
#include <linux/sched/mm.h>

#include "volume.h"

#define WINDOW_BYTES	(8 << 20)	/* brought home between two cursor records */
#define RUN_BLOCKS	256
#define WANTED_MAX	4096		/* chunks */
#define HOME_RUN	32		/* chunks of one HOME record */

bool dms_merge_busy(const struct dms_volume *v)
{
	return READ_ONCE(v->merge_shadow);
}

bool dms_merge_home(struct dms_volume *v, u64 first, u64 last)
{
	/* Pairs with set_cursor(): what was brought home before is seen. */
	u64 cursor = smp_load_acquire(&v->merge_cursor);

	if (last < cursor)
		return true;
	return dms_bits_all(v->home, max(first, cursor), last);
}

static void set_cursor(struct dms_volume *v, u64 cursor)
{
	/* Pairs with dms_merge_home(). */
	smp_store_release(&v->merge_cursor, cursor);
}

static struct dms_shadow *source_of(struct dms_volume *v)
{
	struct dms_copies *copies = srcu_dereference_notrace(v->copies, &v->srcu);
	u32 id = READ_ONCE(v->merge_shadow), i;

	for (i = 0; i < copies->nr; i++)
		if (copies->shadow[i]->info.id == id)
			return copies->shadow[i];
	return NULL;
}

struct dms_shadow *dms_merge_source(struct dms_volume *v, u64 first, u32 max, u32 *n)
{
	struct dms_shadow *s = source_of(v);
	bool home;

	if (!s) {			/* just over */
		*n = max;
		return NULL;
	}
	home = dms_merge_home(v, first, first);
	for (*n = 1; *n < max; ++*n)
		if (dms_merge_home(v, first + *n, first + *n) != home)
			break;
	return home ? NULL : s;
}

void dms_merge_want(struct dms_volume *v, struct dms_bio *b)
{
	unsigned long flags;

	if (b->wanted)
		return;
	spin_lock_irqsave(&v->home_lock, flags);
	if (v->nr_wanted < DMS_HOME_WANTED) {
		b->wanted = true;
		v->wanted[v->nr_wanted].first = b->first;
		v->wanted[v->nr_wanted].last = b->last;
		v->nr_wanted++;
	}
	spin_unlock_irqrestore(&v->home_lock, flags);
	dms_merge_wake(v);
}

/* --- bringing home --- */

static bool add_merge(struct dms_op *op, struct dms_journal_block *j)
{
	return dms_journal_add_merge(j, op->id, op->epoch, op->cursor);
}

static void apply_cursor(struct dms_volume *v, struct dms_op *op)
{
	set_cursor(v, op->cursor);
	if (!op->id)
		WRITE_ONCE(v->merge_shadow, 0);	/* all is home, and seen to be */
}

static int record_cursor(struct dms_volume *v, u32 id, u64 cursor)
{
	struct dms_op op = {
		.add = add_merge, .apply = apply_cursor,
		.id = id, .epoch = v->merge_epoch, .cursor = cursor,
	};

	return dms_saver_commit(v, &op);
}

static bool add_home(struct dms_op *op, struct dms_journal_block *j)
{
	return dms_journal_add_save(j, op->home, NULL, 1);
}

static void apply_home(struct dms_volume *v, struct dms_op *op)
{
	/* Room was seen to before the record was made. */
	WARN_ON_ONCE(!dms_table_add(v->table[v->active], op->home, NULL));
	dms_bits_set(v->home, op->home->chunk, op->home->length);
}

/*
 * Make @first...@last, brought home and flushed, home for good.  A chunk gets
 * its HOME exception once only; those that have one are passed over.
 */
static int record_home(struct dms_volume *v, u64 first, u64 last)
{
	while (first <= last) {
		struct dms_exception e = { .tag = v->merge_epoch, .kind = DMS_KIND_HOME };
		struct dms_op op = { .add = add_home, .apply = apply_home, .home = &e };
		int r;

		first = dms_bits_next_clear(v->home, first, last);
		if (first > last)
			break;
		e.chunk = first;
		e.length = min_t(u64, HOME_RUN, last - first + 1);
		e.length = min_t(u64, e.length, dms_bits_next(v->home, first) - first);
		r = dms_saver_commit(v, &op);
		if (r)
			return r;
		first += e.length;
	}
	return 0;
}

static int load_table(struct dms_volume *v, struct dms_table *t)
{
	struct dms_exception e;
	const __le32 *csums;
	u32 i;

	dms_table_sort(t);
	for (i = 0; i < dms_table_count(t); i++) {
		dms_table_get(t, i, &e, &csums);
		if (e.kind == DMS_KIND_HOME && e.tag == v->merge_epoch)
			dms_bits_set(v->home, e.chunk, e.length);
	}
	return 0;
}

static int load_tree(struct dms_volume *v, struct dms_source *source, const struct dms_tree *t)
{
	struct dms_exception e;
	const __le32 *csums;
	struct dms_cursor c;
	int r;

	dms_cursor_init(&c, source, t, 0);
	while ((r = dms_cursor_next(&c, &e, &csums)) > 0)
		if (e.kind == DMS_KIND_HOME && e.tag == v->merge_epoch)
			dms_bits_set(v->home, e.chunk, e.length);
	dms_cursor_exit(&c);
	return r;
}

int dms_merge_load(struct dms_volume *v)
{
	struct dms_trees *trees = rcu_dereference_protected(v->trees, 1);
	struct dms_source *source;
	int r;
	u32 i;

	if (!dms_shadow_find(v, v->merge_shadow))
		return -EUCLEAN;
	v->home = dms_bits_create(v->origin_chunks);
	source = dms_stream_create(v);
	r = v->home && source ? load_table(v, v->table[v->active]) : -ENOMEM;
	/* Trees from before the merge have none. */
	for (i = 0; !r && i < trees->nr; i++)
		if (trees->tree[i].max_tag >= v->merge_epoch)
			r = load_tree(v, source, &trees->tree[i]);
	if (source)
		dms_stream_destroy(source);
	return r;
}

static int write_zeroes(struct dms_volume *v, u64 chunk, u32 length)
{
	sector_t sector = chunk << v->chunk_shift;
	sector_t sectors = min_t(sector_t, (sector_t)length << v->chunk_shift,
				 v->origin_sectors - sector);

	return blkdev_issue_zeroout(v->origin, sector, sectors, GFP_NOIO, 0);
}

/* One run of DATA: read, verify, write.  @buf holds RUN_BLOCKS blocks. */
static int copy_run(struct dms_volume *v, const struct dms_exception *e, const __le32 *csums,
		    void *buf)
{
	u32 blocks = e->length * v->chunk_blocks, i;
	sector_t sector = e->chunk << v->chunk_shift;
	u64 bytes = min_t(u64, (u64)blocks << DMS_BLOCK_SHIFT,
			  (u64)(v->origin_sectors - sector) << SECTOR_SHIFT);
	struct bio *bio;
	int r;

	r = dms_io_read(v->area, e->where * v->chunk_blocks, blocks, buf);
	if (r)
		return r;
	for (i = 0; i < blocks; i++)
		if (dms_crc(buf + i * DMS_BLOCK_SIZE, DMS_BLOCK_SIZE) != le32_to_cpu(csums[i])) {
			atomic64_inc(&v->stats.checksum_errors);
			return -EILSEQ;
		}
	bio = bio_alloc(v->origin, DIV_ROUND_UP(bytes, PAGE_SIZE), REQ_OP_WRITE, GFP_NOIO);
	bio->bi_iter.bi_sector = sector;
	for (i = 0; bytes; i++) {
		u32 size = min_t(u64, bytes, PAGE_SIZE);

		__bio_add_page(bio, vmalloc_to_page(buf + i * PAGE_SIZE), size, 0);
		bytes -= size;
	}
	r = submit_bio_wait(bio);
	bio_put(bio);
	return r;
}

/*
 * Bring the run that begins at @chunk home, at most to @last.  Returns the
 * first chunk behind it in *@next.  Does not flush and does not make it home.
 */
static int bring_run(struct dms_volume *v, u64 chunk, u64 last, void *buf, __le32 *csums,
		     u64 *next)
{
	struct dms_exception e = { .length = 1 };
	u32 max = min_t(u64, last - chunk + 1, RUN_BLOCKS / v->chunk_blocks);
	struct dms_shadow *s;
	int r, idx;
	u64 c;

	c = dms_bits_next_clear(v->home, chunk, chunk + max - 1);
	if (c > chunk) {
		*next = c;
		return 0;
	}
	max = min_t(u64, max, dms_bits_next(v->home, chunk) - chunk);
	idx = srcu_read_lock(&v->srcu);
	s = source_of(v);
	r = s ? dms_lookup(v, s, chunk, max, v->merge_epoch, true, &e, csums) : 0;
	srcu_read_unlock(&v->srcu, idx);
	if (r < 0)
		return r;
	*next = chunk + e.length;
	if (!r || (e.kind != DMS_KIND_DATA && e.kind != DMS_KIND_ZERO))
		return 0;
	/* A set bit says that readers have drained, too. */
	r = dms_bits_all(v->saved, chunk, *next - 1) ? 0 : dms_save_range(v, chunk, *next - 1);
	if (r && READ_ONCE(v->mode) == DMS_MODE_RW)
		return r;
	if (e.kind == DMS_KIND_ZERO)
		return write_zeroes(v, chunk, e.length);
	return copy_run(v, &e, csums, buf);
}

/*
 * What detained writes wait for, all of it with one flush, as HOME exceptions.
 * A vast discard is left to the cursor, which gets there without a record for
 * each run.
 */
static int serve_wanted(struct dms_volume *v, void *buf, __le32 *csums)
{
	struct dms_range *wanted = v->serving;
	u64 chunk, next;
	int r = 0;
	u32 nr, i;

	spin_lock_irq(&v->home_lock);
	nr = v->nr_wanted;
	memcpy(wanted, v->wanted, nr * sizeof(wanted[0]));
	v->nr_wanted = 0;
	spin_unlock_irq(&v->home_lock);
	if (!nr)
		return 0;
	for (i = 0; i < nr; i++) {
		wanted[i].first = max(wanted[i].first, v->merge_cursor);
		wanted[i].last = min(wanted[i].last, v->origin_chunks - 1);
		if (wanted[i].last - wanted[i].first > WANTED_MAX)
			wanted[i].first = wanted[i].last + 1;
		for (chunk = wanted[i].first; !r && chunk <= wanted[i].last; chunk = next)
			r = bring_run(v, chunk, wanted[i].last, buf, csums, &next);
	}
	if (!r)
		r = dms_io_flush(v->origin);
	for (i = 0; !r && i < nr; i++)
		r = record_home(v, wanted[i].first, wanted[i].last);
	return r;
}

/* Go on from *@cursor, without making it home.  1: the end is reached. */
static int bring_window(struct dms_volume *v, u64 *cursor, void *buf, __le32 *csums)
{
	u64 window = max_t(u64, WINDOW_BYTES >> (v->chunk_shift + SECTOR_SHIFT), 1);
	u64 last = v->origin_chunks - 1, next, done = 0;
	int r;

	while (*cursor <= last && done < window && !READ_ONCE(v->merge_stop)) {
		r = bring_run(v, *cursor, last, buf, csums, &next);
		if (r)
			return r;
		/* Gaps cost nothing. */
		done += next - *cursor < 64 ? next - *cursor : 1;
		*cursor = next;
		cond_resched();
	}
	r = dms_io_flush(v->origin);
	return r ? r : *cursor > last;
}

/*
 * The diff area can't be written, so that nothing can be recorded.  Writes to
 * what is not home by record wait until all of it is: a merge that is resumed
 * from the record then does no harm.  The origin must become whole (I6).
 */
static int finish_unrecorded(struct dms_volume *v, void *buf, __le32 *csums)
{
	u64 cursor = v->merge_cursor;
	int r;

	do {
		r = bring_window(v, &cursor, buf, csums);
	} while (!r && !READ_ONCE(v->merge_stop));
	if (r <= 0)
		return r;
	mutex_lock(&v->back_mutex);
	v->super.flags |= DMS_SUPER_MERGED;
	if (dms_super_write(v))
		DMERR("%s: can't record that all is home: done again when next active",
		      v->name);
	mutex_unlock(&v->back_mutex);
	WRITE_ONCE(v->merge_shadow, 0);
	return 1;
}

static int step(struct dms_volume *v, void *buf, __le32 *csums)
{
	u64 cursor = v->merge_cursor;
	int r;

	if (READ_ONCE(v->mode) != DMS_MODE_RW)
		return finish_unrecorded(v, buf, csums);
	r = serve_wanted(v, buf, csums);
	if (r)
		return r;
	r = bring_window(v, &cursor, buf, csums);
	if (r < 0)
		return r;
	if (!r)
		return record_cursor(v, v->merge_shadow, cursor);
	r = record_cursor(v, 0, cursor);
	return r ? r : 1;
}

void dms_merge_wake(struct dms_volume *v)
{
	if (!READ_ONCE(v->merge_stop))
		queue_work(v->merge_wq, &v->merge_work);
}

static void merge(struct work_struct *work)
{
	struct dms_volume *v = container_of(work, struct dms_volume, merge_work);
	u32 id = READ_ONCE(v->merge_shadow);
	unsigned int noio;
	__le32 *csums;
	void *buf;
	int r;

	if (!id || v->merge_stuck || READ_ONCE(v->merge_stop))
		return;
	noio = memalloc_noio_save();
	buf = vmalloc(RUN_BLOCKS * DMS_BLOCK_SIZE);
	csums = kmalloc_array(RUN_BLOCKS, sizeof(*csums), GFP_NOIO);
	r = buf && csums ? step(v, buf, csums) : -ENOMEM;
	kfree(csums);
	vfree(buf);
	memalloc_noio_restore(noio);
	if (r > 0) {
		DMINFO("%s: shadow copy %u is merged", v->name, id);
		dms_volume_event(v);
	} else if (r == -ENOMEM) {
		schedule_timeout_uninterruptible(HZ / 10);
	} else if (r == -EROFS) {
		/* Failed meanwhile: once more, without records. */
	} else if (r) {
		v->merge_stuck = true;
		DMERR("%s: merging shadow copy %u stopped: error %d", v->name, id, r);
		dms_volume_event(v);
	}
	dms_saver_wake(v);
	if (r <= 0 && !v->merge_stuck)
		dms_merge_wake(v);
}

int dms_merge_init(struct dms_volume *v)
{
	INIT_WORK(&v->merge_work, merge);
	v->merge_wq = alloc_workqueue("dm-shadow-merge", WQ_MEM_RECLAIM | WQ_UNBOUND, 1);
	return v->merge_wq ? 0 : -ENOMEM;
}

/* Tolerates a half-made one. */
void dms_merge_exit(struct dms_volume *v)
{
	if (v->merge_wq)
		destroy_workqueue(v->merge_wq);
}

/* Nothing is in flight on the suspended origin. */
static void apply_start(struct dms_volume *v, struct dms_op *op)
{
	dms_bits_retire(v->home, &v->srcu);
	v->home = op->bits;
	v->epoch = op->epoch;
	v->merge_epoch = op->epoch;
	v->merge_stuck = false;
	v->nr_wanted = 0;
	v->exact = false;
	set_cursor(v, 0);
	/* Nobody maps yet; bitmap and cursor first all the same. */
	smp_store_release(&v->merge_shadow, op->id);
}

int dms_merge_start(struct dms_volume *v, u32 id)
{
	struct dms_shadow *s = dms_shadow_find(v, id);
	struct dms_op op = {
		.add = add_merge, .apply = apply_start, .id = id, .epoch = v->epoch + 1,
	};
	int r;

	if (!s)
		return -ENOENT;
	if (v->merge_shadow)
		return -EALREADY;
	if (s->info.flags & (DMS_SHADOW_INVALID | DMS_SHADOW_PREPARING))
		return -EINVAL;
	if (!v->suspended)
		return -EBUSY;
	if (v->epoch >= U32_MAX - 1)
		return -EOVERFLOW;
	op.bits = dms_bits_create(v->origin_chunks);
	if (!op.bits)
		return -ENOMEM;
	r = dms_saver_commit(v, &op);
	if (r)
		dms_bits_destroy(op.bits);
	else
		dms_merge_wake(v);
	return r;
}
