// SPDX-License-Identifier: GPL-2.0-only
/*
 * Merge: the origin becomes what one of its copies shows, online.
 *
 * From the first instant the origin reads as the copy: a chunk is *home* when
 * the origin itself holds what should be read there; until then reads look the
 * copy up (map.c).  The work item below brings chunks home in ascending order, and
 * those that detained writes wait for before others:
 *
 *   1. the chunk is read from the diff area;
 *   2. other copies that need the origin's present content get it saved, in
 *      the usual way, and shadow reads drain (I2, I3);
 *   3. what was read is verified and written to the origin;
 *   4. the origin is flushed;
 *   5. that it is home becomes durable in the journal: by the cursor, below
 *      which all is home, or for a single run by a HOME exception;
 *   6. it is home: reads and writes go straight to the origin.
 *
 * A crash before 5 brings the chunk home once more, which is harmless as nobody
 * could write to it before 6.
 *
 * Steps 1 to 3 are taken by batches of runs.  There are a few, used in turn, so
 * that both devices have something to do: the later half of them is being read
 * while the earlier is being written.  None is under way from 4 on, or it could
 * overwrite what was written to a chunk that is home.
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
 *
 * After an error the merge goes on carefully, a chunk at a time, up to the one that
 * can't be brought home: because its saved data can't be read or does not fit its
 * checksum, or the origin can't be written.  There it stops and says so, and tries
 * again every now and then.  Detained writes are served all the same, each by
 * itself; only those fail that need what can't be had, as do reads of it: an error
 * rather than a guess.  The administrator may give up what can't be read: then it
 * stays as it is on the origin, too.
 *
 * Locking: v->merge_shadow is set under v->meta with the origin suspended, and
 * cleared by the merge's work item, which alone moves the cursor.
 */
#include <linux/blkdev.h>
#include <linux/sched/mm.h>

#include "volume.h"

#define WINDOW_TIME	HZ		/* between two cursor records */
#define MERGE_TRIES	3		/* a second apart, before it is stuck */
#define STUCK_TIME	(10 * HZ)	/* between tries from then on */
#define BATCHES		4
#define BATCH_BLOCKS	DMS_MAX_CHUNK_BLOCKS	/* and a bio's worth */
#define BATCH_RUNS	32
#define LOOK_RUNS	32		/* perhaps none to be brought home */
#define WANTED_MAX	4096		/* chunks */
#define HOME_RUN	32		/* chunks of one HOME record */

/* A run on its way home, of DATA or ZERO. */
struct run {
	struct dms_exception e;
	u32 block;			/* DATA: where in the batch's data */
};

struct batch {
	u8 data[BATCH_BLOCKS][DMS_BLOCK_SIZE];	/* first, to be page aligned */
	__le32 csum[BATCH_BLOCKS];
	struct run run[BATCH_RUNS];
	u32 nr, blocks;			/* in use */
	enum { IDLE, READING, WRITING } state;
	atomic_t bios;			/* under way, and the submitter */
	blk_status_t status;
	struct completion done;
};

/* The merge's memory, its work item's own. */
struct dms_merge {
	struct dms_volume *v;
	u32 nr;				/* batches */
	u32 open;			/* the one being filled, IDLE */
	u32 sent;			/* batches */
	struct batch *batch[BATCHES];
	struct dms_op save;
	struct dms_bio request[BATCH_RUNS];
	u32 nr_requests;
	bool careful;			/* runs of a chunk */
	bool unreadable;		/* the error was one of the diff area */
	u32 skipped;			/* chunks, not yet counted */
};

bool dms_merge_busy(const struct dms_volume *v)
{
	return READ_ONCE(v->merge_shadow);
}

const char *dms_merge_state(const struct dms_volume *v)
{
	if (!dms_merge_busy(v))
		return READ_ONCE(v->merged) ? "done" : "-";
	/* Told to skip what it is stuck at, it goes on. */
	return READ_ONCE(v->merge_stuck) && !READ_ONCE(v->merge_skip) ? "stopped" : "running";
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

/* A vast discard is left to the cursor, which gets there without a record for each run. */
static bool is_vast(const struct dms_bio *b)
{
	return b->last - b->first > WANTED_MAX;
}

void dms_merge_want(struct dms_volume *v, struct dms_bio *b)
{
	unsigned long flags;

	if (b->wanted || is_vast(b))
		return;
	spin_lock_irqsave(&v->home_lock, flags);
	/* There is always room for what is being served, to come back or to have failed. */
	if (v->nr_wanted + v->nr_serving + v->nr_failed < DMS_HOME_WANTED) {
		b->wanted = true;
		v->wanted[v->nr_wanted].first = b->first;
		v->wanted[v->nr_wanted].last = b->last;
		v->nr_wanted++;
	}
	spin_unlock_irqrestore(&v->home_lock, flags);
	/* If not, it asks again when the merge has made room. */
	if (b->wanted)
		dms_merge_wake(v);
}

bool dms_merge_failed(struct dms_volume *v, const struct dms_bio *b)
{
	unsigned long flags;
	bool found = false;
	u32 i;

	/* It waits for the cursor, or for the end as nothing can be recorded. */
	if (READ_ONCE(v->merge_stuck) && (READ_ONCE(v->mode) != DMS_MODE_RW || is_vast(b)))
		return true;
	if (!b->wanted || !READ_ONCE(v->nr_failed))
		return false;
	spin_lock_irqsave(&v->home_lock, flags);
	for (i = 0; i < v->nr_failed && !found; i++)
		if (v->failed[i].first == b->first && v->failed[i].last == b->last) {
			v->failed[i] = v->failed[--v->nr_failed];
			found = true;
		}
	spin_unlock_irqrestore(&v->home_lock, flags);
	return found;
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

/* --- batches --- */

static void batch_endio(struct bio *bio)
{
	struct batch *b = bio->bi_private;

	if (bio->bi_status)
		b->status = bio->bi_status;
	bio_put(bio);
	if (atomic_dec_and_test(&b->bios))
		complete(&b->done);
}

/*
 * Read @run from the area or write it to the origin, at most to the origin's
 * end.  Not REQ_SYNC: the block layer may let those go first who wait.
 */
static void submit_run(struct dms_volume *v, struct batch *b, struct run *run, enum req_op op)
{
	sector_t sector = run->e.chunk << v->chunk_shift, left = v->origin_sectors - sector;
	u32 blocks = run->e.length * v->chunk_blocks, i;
	struct block_device *bdev = v->origin;
	struct bio *bio;

	if (op == REQ_OP_READ) {
		bdev = v->area;
		sector = run->e.where << v->chunk_shift;
		left = (sector_t)blocks * DMS_BLOCK_SECTORS;
	}
	bio = bio_alloc_bioset(bdev, blocks, op, GFP_NOIO, &v->bs);
	bio->bi_iter.bi_sector = sector;
	bio->bi_private = b;
	bio->bi_end_io = batch_endio;
	for (i = run->block; left && blocks--; i++) {
		u32 sectors = min_t(sector_t, left, DMS_BLOCK_SECTORS);

		__bio_add_page(bio, vmalloc_to_page(b->data[i]), sectors << SECTOR_SHIFT, 0);
		left -= sectors;
	}
	atomic_inc(&b->bios);
	submit_bio_noacct(bio);
}

static void submit_batch(struct dms_volume *v, struct batch *b, enum req_op op)
{
	struct blk_plug plug;
	u32 i;

	b->state = op == REQ_OP_READ ? READING : WRITING;
	b->status = 0;
	atomic_set(&b->bios, 1);
	blk_start_plug(&plug);
	for (i = 0; i < b->nr; i++)
		if (b->run[i].e.kind == DMS_KIND_DATA)
			submit_run(v, b, &b->run[i], op);
	blk_finish_plug(&plug);
	if (atomic_dec_and_test(&b->bios))
		complete(&b->done);
}

static int wait_batch(struct batch *b)
{
	if (b->state == IDLE)
		return 0;
	wait_for_completion_io(&b->done);
	b->state = IDLE;
	return blk_status_to_errno(b->status);
}

/* v->waiting is the saver's: it adds the requests itself. */
static void apply_saves(struct dms_volume *v, struct dms_op *op)
{
	struct dms_merge *m = container_of(op, struct dms_merge, save);
	u32 i;

	for (i = 0; i < m->nr_requests; i++)
		list_add_tail(&m->request[i].list, &v->waiting);
}

/*
 * No copy needs what is on the origin in the runs of @b, and nobody reads it
 * there, when this is over (I2, I3).  That remains so: a saved bit, which says
 * both, is cleared by creation and growth only, and neither goes with a merge.
 * Of a copy that is no longer valid even reads under way end with an error.
 */
static int save_batch(struct dms_merge *m, struct batch *b)
{
	DECLARE_COMPLETION_ONSTACK(done);
	struct dms_volume *v = m->v;
	u32 i;
	int r;

	m->nr_requests = 0;
	for (i = 0; i < b->nr && READ_ONCE(v->nr_needy); i++) {
		u64 first = b->run[i].e.chunk, last = first + b->run[i].e.length - 1;

		if (!dms_bits_all(v->saved, first, last))
			m->request[m->nr_requests++] = (struct dms_bio) {
				.v = v, .done = &done,
				.first = first, .last = last, .next = first, .issued = first,
			};
	}
	if (!m->nr_requests)
		return 0;
	m->save = (struct dms_op) { .apply = apply_saves };
	r = dms_saver_commit(v, &m->save);
	if (r)
		return r;
	for (i = 0; i < m->nr_requests; i++)
		wait_for_completion_io(&done);
	/* In mode RO nothing was saved: not before the copies are marked lost (I6). */
	return READ_ONCE(v->mode) != DMS_MODE_RW && READ_ONCE(v->nr_needy) ? -EROFS : 0;
}

static int verify_batch(struct dms_volume *v, struct batch *b)
{
	const struct dms_exception *e;
	u32 i, k;
	int idx;

	for (i = 0; i < b->blocks; i++)
		if (dms_crc(b->data[i], DMS_BLOCK_SIZE) != le32_to_cpu(b->csum[i]))
			break;
	if (i == b->blocks)
		return 0;
	atomic64_inc(&v->stats.checksum_errors);
	/* Of the last run of data that does not begin behind it. */
	for (k = b->nr - 1; b->run[k].e.kind != DMS_KIND_DATA || b->run[k].block > i; k--)
		;
	e = &b->run[k].e;
	idx = srcu_read_lock(&v->srcu);
	dms_damaged(v, e->chunk + (i - b->run[k].block) / v->chunk_blocks, e->tag);
	srcu_read_unlock(&v->srcu, idx);
	return -EILSEQ;
}

/* Turn @b from reading to writing, if it is being read. */
static int write_batch(struct dms_merge *m, struct batch *b)
{
	u32 i;
	int r;

	if (b->state != READING)
		return 0;
	r = save_batch(m, b);
	if (r)
		return r;
	r = wait_batch(b);
	if (!r)
		r = verify_batch(m->v, b);
	if (r) {
		m->unreadable = r != -ENOMEM;
		return r;
	}
	submit_batch(m->v, b, REQ_OP_WRITE);
	for (i = 0; !r && i < b->nr; i++)
		if (b->run[i].e.kind == DMS_KIND_ZERO)
			r = write_zeroes(m->v, b->run[i].e.chunk, b->run[i].e.length);
	return r;
}

static int finish_batch(struct dms_merge *m, struct batch *b)
{
	int r = write_batch(m, b);

	if (r)
		return r;
	r = wait_batch(b);
	b->nr = 0;
	b->blocks = 0;
	return r;
}

/*
 * Send the open batch on its way and open the next, the oldest, when it is
 * written.  This works with a single batch, too, doing one thing at a time.
 */
static int next_batch(struct dms_merge *m)
{
	int r;

	submit_batch(m->v, m->batch[m->open], REQ_OP_READ);
	m->sent++;
	r = write_batch(m, m->batch[(m->open + m->nr / 2) % m->nr]);
	if (r)
		return r;
	m->open = (m->open + 1) % m->nr;
	return finish_batch(m, m->batch[m->open]);
}

/* Wait until all is on the origin that was collected; does not flush. */
static int settle(struct dms_merge *m)
{
	int r = next_batch(m);
	u32 i;

	for (i = 1; !r && i < m->nr; i++)
		r = write_batch(m, m->batch[(m->open + i) % m->nr]);
	for (i = 0; !r && i < m->nr; i++)
		r = finish_batch(m, m->batch[i]);
	return r;
}

/* After an error: wait for what is under way and forget it. */
static void abandon(struct dms_merge *m)
{
	u32 i;

	for (i = 0; i < m->nr; i++) {
		wait_batch(m->batch[i]);
		m->batch[i]->nr = 0;
		m->batch[i]->blocks = 0;
	}
}

/* One batch is enough, the others make it fast.  NULL: not even one. */
static struct dms_merge *merge_alloc(struct dms_volume *v)
{
	struct dms_merge *m = kzalloc(sizeof(*m), GFP_NOIO);
	struct batch *b;

	if (!m)
		return NULL;
	m->v = v;
	while (m->nr < BATCHES) {
		b = __vmalloc(sizeof(*b), GFP_NOIO | __GFP_NOWARN |
			      (m->nr ? __GFP_NORETRY : 0));
		if (!b)
			break;
		b->state = IDLE;
		b->nr = 0;
		b->blocks = 0;
		init_completion(&b->done);
		m->batch[m->nr++] = b;
	}
	if (m->nr)
		return m;
	kfree(m);
	return NULL;
}

/* Nothing is under way.  NULL is fine. */
static void merge_free(struct dms_merge *m)
{
	while (m && m->nr)
		vfree(m->batch[--m->nr]);
	kfree(m);
}

/* --- what is brought home --- */

/* Is there a run to be brought home at @chunk?  1, 0, or an error; *@e: what, how long. */
static int find_run(struct dms_volume *v, u64 chunk, u32 max, struct dms_exception *e,
		    __le32 *csums)
{
	struct dms_shadow *s;
	int r, idx;

	e->length = dms_bits_next_clear(v->home, chunk, chunk + max - 1) - chunk;
	if (e->length)
		return 0;
	max = min_t(u64, max, dms_bits_next(v->home, chunk) - chunk);
	e->length = 1;
	idx = srcu_read_lock(&v->srcu);
	s = source_of(v);
	r = s ? dms_lookup(v, s, chunk, max, v->merge_epoch, true, e, csums) : 0;
	srcu_read_unlock(&v->srcu, idx);
	return r > 0 ? e->kind == DMS_KIND_DATA || e->kind == DMS_KIND_ZERO : r;
}

/*
 * Put the run that begins at *@chunk, at most to @last, into the open batch, and
 * go on behind it.  A batch that is full goes on its way.
 */
static int bring_run(struct dms_merge *m, u64 *chunk, u64 last)
{
	struct batch *b = m->batch[m->open];
	struct run *run = &b->run[b->nr];
	struct dms_volume *v = m->v;
	u32 max = (BATCH_BLOCKS - b->blocks) / v->chunk_blocks;
	int r;

	max = min_t(u64, max, last - *chunk + 1);
	r = find_run(v, *chunk, max, &run->e, b->csum + b->blocks);
	if (r < 0) {
		m->unreadable = r != -ENOMEM;
		return r;
	}
	if (r && m->careful)
		run->e.length = 1;
	*chunk += run->e.length;
	if (!r)
		return 0;
	run->block = b->blocks;
	if (run->e.kind == DMS_KIND_DATA)
		b->blocks += run->e.length * v->chunk_blocks;
	if (++b->nr < BATCH_RUNS && b->blocks + v->chunk_blocks <= BATCH_BLOCKS)
		return 0;
	return next_batch(m);
}

/* --- what detained writes wait for --- */

/* Into v->serving, v->nr_serving. */
static void take_wanted(struct dms_volume *v)
{
	spin_lock_irq(&v->home_lock);
	v->nr_serving = v->nr_wanted;
	memcpy(v->serving, v->wanted, v->nr_wanted * sizeof(v->wanted[0]));
	v->nr_wanted = 0;
	spin_unlock_irq(&v->home_lock);
}

/* The last that was taken goes to @list, which has @nr; NULL: it is served. */
static void put_served(struct dms_volume *v, struct dms_range *list, u32 *nr)
{
	spin_lock_irq(&v->home_lock);
	v->nr_serving--;
	if (list)
		list[(*nr)++] = v->serving[v->nr_serving];
	spin_unlock_irq(&v->home_lock);
}

/*
 * May what can't be read at @chunk be left as it is, if so told?  Some errors pass:
 * those must have had their tries.
 */
static bool may_skip(const struct dms_merge *m, u64 chunk, int error)
{
	const struct dms_volume *v = m->v;

	if (!m->unreadable || !READ_ONCE(v->merge_skip))
		return false;
	if (error == -EILSEQ || error == -EUCLEAN || error == -ENODATA)
		return true;
	return v->merge_stuck && v->merge_stuck_at == chunk && READ_ONCE(v->mode) == DMS_MODE_RW;
}

/* The careful bring_run(): a chunk is on the origin on return, or given up. */
static int bring_chunk(struct dms_merge *m, u64 *chunk, u64 last)
{
	struct dms_volume *v = m->v;
	u64 at = *chunk;
	int r;

	m->unreadable = false;
	r = bring_run(m, &at, last);
	if (!r)
		r = settle(m);
	if (r && may_skip(m, *chunk, r)) {
		abandon(m);
		DMERR_LIMIT("%s: chunk %llu stays as it is, it can't be read of the copy",
			    v->name, (unsigned long long)*chunk);
		m->skipped++;
		at = *chunk + 1;
		r = 0;
	}
	if (!r)
		*chunk = at;
	return r;
}

static void count_skipped(struct dms_merge *m)
{
	WRITE_ONCE(m->v->merge_skipped, m->v->merge_skipped + m->skipped);
	m->skipped = 0;
}

/*
 * @nr ranges with one flush, as HOME exceptions.  Below @cursor all has been collected.
 * What is home already may have been written to: it must not be brought once more.
 */
static int serve(struct dms_merge *m, u64 cursor, const struct dms_range *range, u32 nr)
{
	struct dms_volume *v = m->v;
	u64 chunk, last;
	int r = 0;
	u32 i;

	cursor = max(cursor, v->merge_cursor);
	m->skipped = 0;
	for (i = 0; !r && i < nr; i++) {
		chunk = max(range[i].first, cursor);
		last = min(range[i].last, v->origin_chunks - 1);
		while (!r && chunk <= last)
			r = m->careful ? bring_chunk(m, &chunk, last) : bring_run(m, &chunk, last);
	}
	if (!r)
		r = settle(m);
	if (!r)
		r = dms_io_flush(v->origin);
	for (i = 0; !r && i < nr; i++)
		r = record_home(v, max(range[i].first, v->merge_cursor),
				min(range[i].last, v->origin_chunks - 1));
	if (!r)
		count_skipped(m);
	return r;
}

/* All of it at once; with an error none is. */
static int serve_wanted(struct dms_merge *m, u64 cursor)
{
	struct dms_volume *v = m->v;
	int r;

	if (READ_ONCE(v->mode) != DMS_MODE_RW || !READ_ONCE(v->nr_wanted))
		return 0;
	take_wanted(v);
	r = serve(m, cursor, v->serving, v->nr_serving);
	while (v->nr_serving)
		put_served(v, r ? v->wanted : NULL, &v->nr_wanted);
	return r;
}

/* Not yet time for another try? */
static bool pausing(const struct dms_volume *v)
{
	return v->merge_errors && time_before(jiffies, READ_ONCE(v->merge_retry));
}

/* One by one.  An error may pass: it counts at the last try, or when the merge is stuck. */
static int serve_each(struct dms_merge *m)
{
	struct dms_volume *v = m->v;
	bool last = v->merge_stuck || (v->merge_errors + 1 >= MERGE_TRIES && !pausing(v));
	int r, error = 0;

	take_wanted(v);
	for (; v->nr_serving; cond_resched()) {
		const struct dms_range *range = &v->serving[v->nr_serving - 1];

		/* It may have come home since. */
		r = 0;
		if (!dms_merge_home(v, range->first, min(range->last, v->origin_chunks - 1)))
			r = serve(m, 0, range, 1);
		if (r)
			abandon(m);
		if (!r) {
			put_served(v, NULL, NULL);
		} else if (last && r != -ENOMEM && r != -EROFS) {
			put_served(v, v->failed, &v->nr_failed);
		} else {
			put_served(v, v->wanted, &v->nr_wanted);
			error = r;
		}
	}
	return error;
}

/* --- the work item --- */

/* Go on from *@cursor for a while, without making it home.  1: the end is reached. */
static int bring_window(struct dms_merge *m, u64 *cursor)
{
	unsigned long end = jiffies + WINDOW_TIME;
	struct dms_volume *v = m->v;
	u64 last = v->origin_chunks - 1;
	u32 sent = m->sent - 1, i;
	int r = 0;

	for (i = 0; !r && *cursor <= last; i++) {
		/* Writes that wait are served now and then, not to stop all else. */
		if (m->sent != sent || i % LOOK_RUNS == 0) {
			if (READ_ONCE(v->merge_stop) || time_after(jiffies, end))
				break;
			r = serve_wanted(m, *cursor);
			sent = m->sent;
			cond_resched();
		}
		if (!r)
			r = bring_run(m, cursor, last);
	}
	if (!r)
		r = settle(m);
	if (!r)
		r = dms_io_flush(v->origin);
	return r ? r : *cursor > last;
}

/*
 * After an error: go on from *@cursor, a chunk at a time, up to what can't be
 * brought home, if there is such.  *@cursor holds, whatever is returned.
 */
static int creep(struct dms_merge *m, u64 *cursor)
{
	unsigned long end = jiffies + WINDOW_TIME;
	struct dms_volume *v = m->v;
	u64 last = v->origin_chunks - 1, begin = *cursor;
	int r = 0, flushed;

	m->skipped = 0;
	while (!r && *cursor <= last && !READ_ONCE(v->merge_stop) &&
	       time_before_eq(jiffies, end)) {
		r = bring_chunk(m, cursor, last);
		cond_resched();
	}
	abandon(m);
	flushed = dms_io_flush(v->origin);
	if (flushed)
		*cursor = begin;
	else
		count_skipped(m);
	return r ? r : flushed ? flushed : *cursor > last;
}

/*
 * The diff area can't be written, so that nothing can be recorded.  Writes to
 * what is not home by record wait until all of it is: a merge that is resumed
 * from the record then does no harm.  The origin must become whole (I6).
 */
static int finish_unrecorded(struct dms_merge *m)
{
	struct dms_volume *v = m->v;
	u64 cursor = v->merge_cursor;
	int r;

	do {
		r = m->careful ? creep(m, &cursor) : bring_window(m, &cursor);
	} while (!r && !READ_ONCE(v->merge_stop));
	if (r <= 0)
		return r;
	mutex_lock(&v->back_mutex);
	v->super.flags |= DMS_SUPER_MERGED;
	if (dms_super_write(v)) {
		DMERR("%s: can't record that all is home: do not use this diff area again",
		      v->name);
		/* Perhaps it comes back: dms_mark_lost() goes on trying both marks. */
		v->super.flags &= ~DMS_SUPER_LOST;
		dms_background_wake(v);
	}
	mutex_unlock(&v->back_mutex);
	WRITE_ONCE(v->merge_shadow, 0);
	return 1;
}

/* 1: all is home; 0; -EAGAIN: nothing was tried; or an error. */
static int step(struct dms_merge *m)
{
	struct dms_volume *v = m->v;
	u64 cursor = v->merge_cursor;
	int r, served = 0, recorded;

	m->careful = v->merge_errors;
	m->unreadable = false;
	if (READ_ONCE(v->mode) != DMS_MODE_RW)
		return pausing(v) ? -EAGAIN : finish_unrecorded(m);
	if (m->careful) {
		served = serve_each(m);
		if (pausing(v))
			return served == -ENOMEM ? served : -EAGAIN;
		r = creep(m, &cursor);
	} else {
		r = bring_window(m, &cursor);
		if (r < 0)
			return r;
	}
	if (r >= 0 || cursor > v->merge_cursor) {
		recorded = record_cursor(v, r > 0 ? 0 : v->merge_shadow, cursor);
		if (recorded)
			return recorded;
	}
	return r ? r : served;
}

void dms_merge_wake(struct dms_volume *v)
{
	if (READ_ONCE(v->merge_stop))
		return;
	/* Before another try it waits its time; who can be served need not. */
	if (READ_ONCE(v->merge_stuck))
		mod_delayed_work(v->merge_wq, &v->merge_work, 0);
	else
		queue_delayed_work(v->merge_wq, &v->merge_work, 0);
}

/* An error: not to try again for so many jiffies. */
static unsigned long after_error(struct dms_volume *v, u32 id, int error)
{
	bool skip = v->merge->unreadable && READ_ONCE(v->merge_skip);
	bool stuck = ++v->merge_errors >= MERGE_TRIES;
	unsigned long pause = stuck && !skip ? STUCK_TIME : HZ;

	WRITE_ONCE(v->merge_retry, jiffies + pause);
	if (!stuck || (v->merge_stuck && v->merge_stuck_at == v->merge_cursor))
		return pause;
	/* Not what was to be skipped: that must be said again. */
	if (!skip)
		WRITE_ONCE(v->merge_skip, false);
	WRITE_ONCE(v->merge_stuck, true);
	v->merge_stuck_at = v->merge_cursor;
	DMERR("%s: merging shadow copy %u stopped at chunk %llu: error %d; it will be tried again",
	      v->name, id, (unsigned long long)v->merge_cursor, error);
	dms_volume_event(v);
	return 0;		/* for who waits */
}

static void after_success(struct dms_volume *v, u32 id)
{
	v->merge_errors = 0;
	if (!v->merge_stuck)
		return;
	DMINFO("%s: merging shadow copy %u goes on", v->name, id);
	WRITE_ONCE(v->merge_stuck, false);
	/* What the saver has not seen yet gets another chance. */
	spin_lock_irq(&v->home_lock);
	memcpy(&v->wanted[v->nr_wanted], v->failed, v->nr_failed * sizeof(v->failed[0]));
	v->nr_wanted += v->nr_failed;
	v->nr_failed = 0;
	spin_unlock_irq(&v->home_lock);
}

static void merge(struct work_struct *work)
{
	struct dms_volume *v = container_of(work, struct dms_volume, merge_work.work);
	u32 id = READ_ONCE(v->merge_shadow);
	unsigned long pause = 0;
	unsigned int noio;
	int r;

	if (!id || READ_ONCE(v->merge_stop))
		return;
	/* The background wakes us when the copies are marked lost (I6). */
	if (READ_ONCE(v->mode) != DMS_MODE_RW && READ_ONCE(v->nr_needy))
		return;
	noio = memalloc_noio_save();
	if (!v->merge)
		v->merge = merge_alloc(v);
	r = v->merge ? step(v->merge) : -ENOMEM;
	if (v->merge && r < 0)
		abandon(v->merge);
	memalloc_noio_restore(noio);
	if (r >= 0)
		after_success(v, id);
	else if (r == -ENOMEM)
		pause = HZ / 10;
	else if (r == -EAGAIN)
		pause = max_t(long, v->merge_retry - jiffies, 0);
	else if (r != -EROFS)	/* that: failed meanwhile; once more, without records */
		pause = after_error(v, id, r);
	if (r > 0) {
		WRITE_ONCE(v->merged, true);
		if (v->merge_skipped)
			DMWARN("%s: %llu chunks were left out", v->name,
			       (unsigned long long)v->merge_skipped);
		DMINFO("%s: shadow copy %u is merged", v->name, id);
		dms_volume_event(v);
	}
	dms_saver_wake(v);
	if (r > 0 || v->merge_stuck) {
		merge_free(v->merge);
		v->merge = NULL;
	}
	if (r <= 0 && !READ_ONCE(v->merge_stop))
		queue_delayed_work(v->merge_wq, &v->merge_work, pause);
}

int dms_merge_init(struct dms_volume *v)
{
	INIT_DELAYED_WORK(&v->merge_work, merge);
	v->merge_wq = alloc_workqueue("dm-shadow-merge", WQ_MEM_RECLAIM | WQ_UNBOUND, 1);
	return v->merge_wq ? 0 : -ENOMEM;
}

/* Tolerates a half-made one. */
void dms_merge_exit(struct dms_volume *v)
{
	if (v->merge_wq)
		destroy_workqueue(v->merge_wq);
	merge_free(v->merge);
}

/* Nothing is in flight on the suspended origin. */
static void apply_start(struct dms_volume *v, struct dms_op *op)
{
	dms_bits_retire(v->home, &v->srcu);
	v->home = op->bits;
	v->epoch = op->epoch;
	v->merge_epoch = op->epoch;
	v->merge_errors = 0;
	WRITE_ONCE(v->merge_skip, false);
	WRITE_ONCE(v->merge_skipped, 0);
	v->nr_wanted = 0;
	v->nr_failed = 0;
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
	/* What lies behind its end is not the copy's to say. */
	if (s->info.origin_sectors != v->origin_sectors)
		return -EFBIG;
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

int dms_merge_skip(struct dms_volume *v)
{
	if (!dms_merge_busy(v))
		return -ESRCH;
	WRITE_ONCE(v->merge_skip, true);
	WRITE_ONCE(v->merge_retry, jiffies);
	dms_merge_wake(v);
	return 0;
}
