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
	u64 cursor = smp_load_acquire(&v->merge_cursor);	/* pairs with set_cursor() */

	if (last < cursor)
		return true;
	return dms_bits_all(v->home, max(first, cursor), last);
}

static void set_cursor(struct dms_volume *v, u64 cursor)
{
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

void dms_merge_want(struct dms_volume *v, u64 first, u64 last)
{
	unsigned long flags;
	u32 i;

	spin_lock_irqsave(&v->home_lock, flags);
	for (i = 0; i < v->nr_wanted; i++)
		if (v->wanted[i].first <= first && v->wanted[i].last >= last)
			break;
	if (i == v->nr_wanted && i < DMS_HOME_WANTED) {
		v->wanted[i].first = first;
		v->wanted[i].last = last;
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

static bool add_home(struct dms_op *op, struct dms_journal_block *j)
{
	return dms_journal_add_save(j, op->home, NULL, 1);
}

static void apply_home(struct dms_volume *v, struct dms_op *op)
{
	/* Room was seen to before the record was made. */
	WARN_ON_ONCE(!dms_table_add(v->table[v->active], op->home, NULL));
}

/*
 * Once the diff area can't be written, the merge goes on without a record: the
 * copies are lost, but the origin must become whole (I6).  The area is marked
 * lost too, so that the merge is not resumed over later writes.
 */
static int record(struct dms_volume *v, struct dms_op *op)
{
	int r = dms_saver_commit(v, op);

	return READ_ONCE(v->mode) == DMS_MODE_RW ? r : 0;
}

static int record_cursor(struct dms_volume *v, u32 id, u64 cursor)
{
	struct dms_op op = {
		.add = add_merge, .id = id, .epoch = v->merge_epoch, .cursor = cursor,
	};

	return record(v, &op);
}

static int is_home_on_disk(struct dms_volume *v, u64 chunk)
{
	struct dms_source *source = dms_cache_source(v->cache, true);
	struct dms_trees *trees;
	int r = 0, idx;
	u32 i;

	if (dms_table_is_home(v->table[0], chunk, v->merge_epoch) ||
	    dms_table_is_home(v->table[1], chunk, v->merge_epoch))
		return 1;
	idx = srcu_read_lock(&v->srcu);
	trees = srcu_dereference(v->trees, &v->srcu);
	for (i = 0; !r && i < trees->nr; i++)
		if (trees->tree[i].max_tag >= v->merge_epoch)
			r = dms_tree_is_home(source, &trees->tree[i], chunk, v->merge_epoch);
	srcu_read_unlock(&v->srcu, idx);
	return r;
}

/* Is it home, by memory or by the index? */
static int is_home(struct dms_volume *v, u64 chunk)
{
	int r;

	if (dms_bits_test(v->home, chunk))
		return 1;
	r = is_home_on_disk(v, chunk);
	if (r > 0)
		dms_bits_set(v->home, chunk, 1);
	return r;
}

/*
 * Make @first...@last, brought home and flushed, home for good.  A chunk gets
 * its HOME exception once only; those that have one are passed over.
 */
static int record_home(struct dms_volume *v, u64 first, u64 last)
{
	while (first <= last) {
		struct dms_exception e = {
			.chunk = first, .tag = v->merge_epoch, .kind = DMS_KIND_HOME,
		};
		struct dms_op op = { .add = add_home, .apply = apply_home, .home = &e };
		int r = 0;

		while (e.length < HOME_RUN && first + e.length <= last) {
			r = is_home(v, first + e.length);
			if (r)
				break;
			e.length++;
		}
		if (r < 0)
			return r;
		if (!e.length) {
			first++;
			continue;
		}
		r = record(v, &op);
		if (r)
			return r;
		dms_bits_set(v->home, first, e.length);
		first += e.length;
	}
	return 0;
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

	idx = srcu_read_lock(&v->srcu);
	s = source_of(v);
	r = s ? dms_lookup(v, s, chunk, max, v->merge_epoch, true, &e, csums) : 0;
	srcu_read_unlock(&v->srcu, idx);
	if (r < 0)
		return r;
	*next = chunk + e.length;
	if (!r || (e.kind != DMS_KIND_DATA && e.kind != DMS_KIND_ZERO))
		return 0;
	/* Written since the merge began, in this activation or before? */
	for (c = chunk; c < *next; c++) {
		r = is_home(v, c);
		if (r < 0)
			return r;
		if (!r)
			continue;
		*next = max(c, chunk + 1);
		if (c == chunk)
			return 0;
		e.length = c - chunk;
	}
	r = dms_save_range(v, chunk, *next - 1);
	if (r && READ_ONCE(v->mode) == DMS_MODE_RW)
		return r;
	if (e.kind == DMS_KIND_ZERO)
		return write_zeroes(v, chunk, e.length);
	return copy_run(v, &e, csums, buf);
}

static bool take_wanted(struct dms_volume *v, u64 *first, u64 *last)
{
	bool any;

	spin_lock_irq(&v->home_lock);
	any = v->nr_wanted;
	if (any) {
		*first = v->wanted[0].first;
		*last = v->wanted[0].last;
		v->nr_wanted--;
		memmove(&v->wanted[0], &v->wanted[1], v->nr_wanted * sizeof(v->wanted[0]));
	}
	spin_unlock_irq(&v->home_lock);
	return any;
}

/* Bring @first...@last home and make that durable as HOME exceptions. */
static int serve_wanted(struct dms_volume *v, u64 first, u64 last, void *buf, __le32 *csums)
{
	u64 chunk, next;
	int r;

	/* A vast discard: the cursor gets there without a HOME for each run. */
	if (last - first > WANTED_MAX)
		return 0;
	first = max(first, v->merge_cursor);
	for (chunk = first; chunk <= last; chunk = next) {
		r = bring_run(v, chunk, last, buf, csums, &next);
		if (r)
			return r;
	}
	if (first > last)
		return 0;
	r = dms_io_flush(v->origin);
	return r ? r : record_home(v, first, last);
}

/* Go on at the cursor.  1: the end is reached. */
static int next_window(struct dms_volume *v, void *buf, __le32 *csums)
{
	u64 cursor = v->merge_cursor, chunk = cursor, next;
	u64 last = v->origin_chunks - 1;
	u64 window = WINDOW_BYTES >> (v->chunk_shift + SECTOR_SHIFT), done = 0;
	int r;

	while (chunk <= last && done < max_t(u64, window, 1)) {
		r = bring_run(v, chunk, last, buf, csums, &next);
		if (r)
			return r;
		if (next - chunk < 64)	/* long gaps cost nothing */
			done += next - chunk;
		else
			done++;
		chunk = next;
		if (READ_ONCE(v->nr_wanted))
			break;
	}
	r = dms_io_flush(v->origin);
	if (!r)
		r = record_cursor(v, v->merge_shadow, chunk);
	if (r)
		return r;
	set_cursor(v, chunk);
	return chunk > last;
}

static void finish(struct dms_volume *v)
{
	u32 id = v->merge_shadow;

	if (record_cursor(v, 0, 0))
		return;
	WRITE_ONCE(v->merge_shadow, 0);
	DMINFO("%s: merge of shadow copy %u is done", v->name, id);
	dms_volume_event(v);
}

void dms_merge_wake(struct dms_volume *v)
{
	if (!READ_ONCE(v->merge_stop))
		queue_work(v->merge_wq, &v->merge_work);
}

static void merge(struct work_struct *work)
{
	struct dms_volume *v = container_of(work, struct dms_volume, merge_work);
	__le32 *csums;
	u64 first, last;
	void *buf;
	int r = 0;

	if (!v->merge_shadow || v->merge_stuck || READ_ONCE(v->merge_stop))
		return;
	buf = __vmalloc(RUN_BLOCKS * DMS_BLOCK_SIZE, GFP_NOIO);
	csums = kmalloc_array(RUN_BLOCKS, sizeof(*csums), GFP_NOIO);
	if (buf && csums) {
		while (!r && take_wanted(v, &first, &last))
			r = serve_wanted(v, first, last, buf, csums);
		if (!r)
			r = next_window(v, buf, csums);
	} else {
		r = -ENOMEM;
	}
	kfree(csums);
	vfree(buf);
	if (r > 0) {
		finish(v);
	} else if (r == -ENOMEM) {
		schedule_timeout_uninterruptible(HZ / 10);
	} else if (r) {
		v->merge_stuck = true;
		DMERR("%s: merge of shadow copy %u stopped: error %d", v->name, v->merge_shadow, r);
		dms_volume_event(v);
	}
	dms_saver_wake(v);
	if (!v->merge_stuck)
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

int dms_merge_start(struct dms_volume *v, u32 id)
{
	struct dms_shadow *s = dms_shadow_find(v, id);
	struct dms_op op = { .add = add_merge };
	struct dms_bits *home;
	int r;

	if (!s)
		return -ENOENT;
	if (v->merge_shadow)
		return -EALREADY;
	if (s->info.flags & (DMS_SHADOW_INVALID | DMS_SHADOW_PREPARING))
		return -EINVAL;
	if (!v->suspended)
		return -EBUSY;
	home = dms_bits_create(v->origin_chunks);
	if (!home)
		return -ENOMEM;
	op.id = id;
	op.epoch = v->epoch + 1;
	r = dms_saver_commit(v, &op);
	if (r) {
		dms_bits_destroy(home);
		return r;
	}
	dms_bits_destroy(v->home);
	v->home = home;
	v->epoch++;
	v->merge_epoch = v->epoch;
	v->merge_stuck = false;
	v->exact = false;
	set_cursor(v, 0);
	/* Nothing is in flight on the suspended origin. */
	smp_store_release(&v->merge_shadow, id);
	dms_merge_wake(v);
	return 0;
}
