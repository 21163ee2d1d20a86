// SPDX-License-Identifier: GPL-2.0-only
/*
 * The merge's data, on its way from the diff area to the origin: steps 1 to 3 of
 * those that merge.c tells of.
 */
#include <linux/blkdev.h>

#include "merge.h"

#define BATCH_BLOCKS	DMS_MAX_CHUNK_BLOCKS	/* and a bio's worth */

/* A run on its way home, of DATA or ZERO. */
struct run {
	struct dms_exception e;
	u32 block;			/* DATA: where in the batch's data */
};

struct dms_batch {
	u8 data[BATCH_BLOCKS][DMS_BLOCK_SIZE];	/* first, to be page aligned */
	__le32 csum[BATCH_BLOCKS];
	struct run run[DMS_MERGE_RUNS];
	u32 nr, blocks;			/* in use */
	enum { IDLE, READING, WRITING } state;
	atomic_t bios;			/* under way, and the submitter */
	blk_status_t status;
	struct completion done;
};

static int write_zeroes(struct dms_volume *v, u64 chunk, u32 length)
{
	sector_t sector = chunk << v->chunk_shift;
	sector_t sectors = min_t(sector_t, (sector_t)length << v->chunk_shift,
				 v->origin_sectors - sector);

	return blkdev_issue_zeroout(v->origin, sector, sectors, GFP_NOIO, 0);
}

static void batch_endio(struct bio *bio)
{
	struct dms_batch *b = bio->bi_private;

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
static void submit_run(struct dms_volume *v, struct dms_batch *b, struct run *run,
		       enum req_op op)
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

static void submit_batch(struct dms_volume *v, struct dms_batch *b, enum req_op op)
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

static int wait_batch(struct dms_batch *b)
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
static int save_batch(struct dms_merge *m, struct dms_batch *b)
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

static int verify_batch(struct dms_volume *v, struct dms_batch *b)
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
static int write_batch(struct dms_merge *m, struct dms_batch *b)
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

static int finish_batch(struct dms_merge *m, struct dms_batch *b)
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

int dms_merge_settle(struct dms_merge *m)
{
	int r = next_batch(m);
	u32 i;

	for (i = 1; !r && i < m->nr; i++)
		r = write_batch(m, m->batch[(m->open + i) % m->nr]);
	for (i = 0; !r && i < m->nr; i++)
		r = finish_batch(m, m->batch[i]);
	return r;
}

void dms_merge_abandon(struct dms_merge *m)
{
	u32 i;

	for (i = 0; i < m->nr; i++) {
		wait_batch(m->batch[i]);
		m->batch[i]->nr = 0;
		m->batch[i]->blocks = 0;
	}
}

struct dms_merge *dms_merge_alloc(struct dms_volume *v)
{
	struct dms_merge *m = kzalloc(sizeof(*m), GFP_NOIO);
	struct dms_batch *b;

	if (!m)
		return NULL;
	m->v = v;
	while (m->nr < DMS_MERGE_BATCHES) {
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

void dms_merge_free(struct dms_merge *m)
{
	while (m && m->nr)
		vfree(m->batch[--m->nr]);
	kfree(m);
}

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
	s = dms_merge_copy(v);
	r = s ? dms_lookup(v, s, chunk, max, v->merge_epoch, true, e, csums) : 0;
	srcu_read_unlock(&v->srcu, idx);
	return r > 0 ? e->kind == DMS_KIND_DATA || e->kind == DMS_KIND_ZERO : r;
}

int dms_merge_bring(struct dms_merge *m, u64 *chunk, u64 last)
{
	struct dms_batch *b = m->batch[m->open];
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
	if (++b->nr < DMS_MERGE_RUNS && b->blocks + v->chunk_blocks <= BATCH_BLOCKS)
		return 0;
	return next_batch(m);
}
