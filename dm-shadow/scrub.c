// SPDX-License-Identifier: GPL-2.0-only
/*
 * Scrub: the saved data is read and compared with its checksums, online.
 *
 * What is looked at is what a copy would read: chunk by chunk, upwards, each
 * exception that some copy sees, be it in a tree or still in memory.  Checkpoints,
 * joins, new and deleted copies in between do not matter, as nothing but the
 * position is kept from one batch to the next.  What is saved behind it meanwhile
 * is not looked at; it is young.
 *
 *   1. exceptions are looked up until a batch is full;
 *   2. their data is read at once, neighbours in one request;
 *   3. where something can't be read, or does not fit, the batch is done once
 *      more, a chunk at a time;
 *   4. then it is damage, and counted for the copies that see it.
 *
 * The scrub is a reader of copies: it holds v->srcu over a batch, so that nothing
 * it looked up is freed and written again (I8), and no longer, as a checkpoint
 * waits for that.  A batch is 1 MiB at most, and a quarter of a second's worth if
 * there is a rate.
 *
 * Nothing waits for it but who stops it, and it waits for nothing but its reads
 * and index blocks.  Its memory is taken at the start.
 *
 * Locking: s->mutex over start, stop, pause and resume; the work item never takes
 * it.  While RUNNING the position and the batch are the work item's own.
 */
#include <linux/sched/mm.h>

#include "volume.h"

#define BATCH_BLOCKS	DMS_MAX_CHUNK_BLOCKS	/* and a bio's worth */
#define LOOK_TIME	(HZ / 20)	/* looking up, without a read */
#define LOOK_CHUNKS	4096		/* in one go: tables are asked for each */
#define INDEX_ERRORS	1024		/* more: the index is not worth looking at */

struct batch {
	u8 data[BATCH_BLOCKS][DMS_BLOCK_SIZE];	/* first, to be page aligned */
	__le32 csum[BATCH_BLOCKS];
	struct dms_exception e[BATCH_BLOCKS];	/* DATA, of one chunk each */
	u32 nr, room;			/* of these */
	atomic_t bios;			/* under way, and the submitter */
	blk_status_t status;
	struct completion done;
};

enum state { NEVER, RUNNING, DONE, STOPPED, FAILED };

static const char * const states[] = {
	[NEVER] = "-", [RUNNING] = "running", [DONE] = "done", [STOPPED] = "stopped",
	[FAILED] = "failed",
};

struct progress {
	/* of @chunk, copies later than @after are next; of so many chunks from there */
	u64 chunk;
	u32 after, width;
	u64 damaged;			/* chunks */
	u32 index_errors;
};

struct dms_scrub {
	struct dms_volume *v;
	struct mutex mutex;		/* start, stop, pause, resume */
	struct workqueue_struct *wq;
	struct delayed_work work;
	struct batch *batch;		/* while RUNNING */
	enum state state;
	bool paused;			/* the origin is suspended */
	u32 rate;			/* KiB a second; 0: no limit */
	u32 room;			/* of a batch */
	unsigned long due;		/* jiffies: when the next read may be */
	struct progress at;
	u32 alone;			/* so many to be read again, one at a time */
	u64 done;			/* chunks looked at: @at without the batch under way */
	u64 kib;			/* verified */
};

/* --- damage --- */

/* Is it known already?  It is from now on, if there is room. */
static bool known(struct dms_volume *v, u64 chunk, u32 tag)
{
	bool found = false;
	u32 i;

	spin_lock(&v->info_lock);
	for (i = 0; i < v->nr_damage && !found; i++)
		found = v->damage[i].chunk == chunk && v->damage[i].tag == tag;
	if (!found && v->nr_damage < DMS_DAMAGE_KNOWN)
		v->damage[v->nr_damage++] = (struct dms_damage) { .chunk = chunk, .tag = tag };
	spin_unlock(&v->info_lock);
	return found;
}

void dms_damaged(struct dms_volume *v, u64 chunk, u32 tag)
{
	struct dms_copies *c = srcu_dereference_notrace(v->copies, &v->srcu);
	struct dms_exception e;
	u32 i;

	dms_volume_event(v);
	if (known(v, chunk, tag))
		return;
	for (i = 0; i < c->nr && c->shadow[i]->info.id <= tag; i++) {
		struct dms_shadow *s = c->shadow[i];

		if (chunk < s->chunks && dms_lookup(v, s, chunk, 1, 0, true, &e, NULL) > 0 &&
		    e.kind == DMS_KIND_DATA && e.tag == tag)
			atomic_inc(&s->damaged);
	}
}

/* --- 1: what there is to read --- */

static void next_chunks(struct progress *at, u32 nr)
{
	at->chunk += nr;
	at->after = 0;
	at->width = LOOK_CHUNKS;
}

/* The first copy later than @after that can be read at @chunk. */
static struct dms_shadow *next_copy(const struct dms_copies *c, u32 after, u64 chunk)
{
	u32 i;

	for (i = 0; i < c->nr; i++)
		if (c->shadow[i]->info.id > after && chunk < c->shadow[i]->chunks &&
		    dms_shadow_valid(c->shadow[i]))
			return c->shadow[i];
	return NULL;
}

static void add(struct batch *b, const struct dms_exception *run)
{
	u32 i;

	for (i = 0; i < run->length; i++) {
		struct dms_exception *e = &b->e[b->nr++];

		*e = *run;
		e->chunk += i;
		e->where += i;
		e->length = 1;
	}
}

/*
 * Look up what the next copy sees, and put it into the batch if it is data.  An
 * exception serves all copies up to its tag.  Where later ones see another, a
 * chunk is taken at a time, so that runs of different length do no harm.
 */
static int look(struct dms_scrub *s, const struct dms_copies *copies)
{
	struct dms_volume *v = s->v;
	struct batch *b = s->batch;
	struct progress *at = &s->at;
	struct dms_shadow *copy = next_copy(copies, at->after, at->chunk);
	struct dms_exception e;
	bool more;
	int r;

	if (!copy) {
		next_chunks(at, at->width);
		return 0;
	}
	at->width = min_t(u64, at->width, copy->chunks - at->chunk);
	r = dms_lookup(v, copy, at->chunk, at->width, 0, true, &e, NULL);
	if (r > 0 && e.kind == DMS_KIND_DATA) {
		u32 max = min(e.length, b->room - b->nr);

		if (next_copy(copies, e.tag, at->chunk))
			max = 1;
		r = dms_lookup(v, copy, at->chunk, max, 0, true, &e,
			       b->csum + b->nr * v->chunk_blocks);
		if (r > 0 && e.kind == DMS_KIND_DATA)
			add(b, &e);
	}
	if (r < 0)
		return r;
	at->width = e.length;
	at->after = max(e.tag, copy->info.id);
	/* If this one sees the origin, so do later ones. */
	more = r && next_copy(copies, at->after, at->chunk);
	if (!more)
		next_chunks(at, at->width);
	return 0;
}

/* Fill the batch.  1: nothing follows; 0; or an error. */
static int collect(struct dms_scrub *s)
{
	struct dms_copies *copies = srcu_dereference(s->v->copies, &s->v->srcu);
	unsigned long end = jiffies + LOOK_TIME;
	struct batch *b = s->batch;
	int r;

	b->nr = 0;
	b->room = s->alone ? 1 : s->room;
	while (b->nr < b->room && time_before_eq(jiffies, end)) {
		if (s->at.chunk >= READ_ONCE(s->v->origin_chunks))
			return 1;
		r = look(s, copies);
		if (r == -ENOMEM)
			return r;
		if (r) {
			/* Who reads the chunk gets an error, too. */
			WRITE_ONCE(s->at.damaged, s->at.damaged + 1);
			next_chunks(&s->at, 1);
			if (++s->at.index_errors > INDEX_ERRORS)
				return r;
		}
		cond_resched();
	}
	return 0;
}

/* --- 2: read --- */

static void batch_endio(struct bio *bio)
{
	struct batch *b = bio->bi_private;

	if (bio->bi_status)
		b->status = bio->bi_status;
	bio_put(bio);
	if (atomic_dec_and_test(&b->bios))
		complete(&b->done);
}

/* @nr chunks of the batch from number @first on, neighbours in the area. */
static void submit(struct dms_scrub *s, u32 first, u32 nr)
{
	u32 i = first * s->v->chunk_blocks, end = i + nr * s->v->chunk_blocks;
	struct batch *b = s->batch;
	struct bio *bio;

	bio = bio_alloc_bioset(s->v->area, end - i, REQ_OP_READ, GFP_NOIO, &s->v->bs);
	bio->bi_iter.bi_sector = b->e[first].where << s->v->chunk_shift;
	bio->bi_private = b;
	bio->bi_end_io = batch_endio;
	for (; i < end; i++)
		__bio_add_page(bio, vmalloc_to_page(b->data[i]), DMS_BLOCK_SIZE, 0);
	atomic_inc(&b->bios);
	submit_bio_noacct(bio);
}

static void read_batch(struct dms_scrub *s)
{
	struct batch *b = s->batch;
	struct blk_plug plug;
	u32 first, end;

	b->status = 0;
	atomic_set(&b->bios, 1);
	blk_start_plug(&plug);
	for (first = 0; first < b->nr; first = end) {
		for (end = first + 1; end < b->nr; end++)
			if (b->e[end].where != b->e[end - 1].where + 1)
				break;
		submit(s, first, end - first);
	}
	blk_finish_plug(&plug);
	if (atomic_dec_and_test(&b->bios))
		complete(&b->done);
	wait_for_completion_io(&b->done);
}

/* --- 3, 4: verify --- */

/* 0, or what is wrong with the batch. */
static int verify_batch(const struct dms_scrub *s)
{
	const struct batch *b = s->batch;
	u32 i;

	if (b->status)
		return blk_status_to_errno(b->status);
	for (i = 0; i < b->nr * s->v->chunk_blocks; i++) {
		if (dms_crc(b->data[i], DMS_BLOCK_SIZE) != le32_to_cpu(b->csum[i]))
			return -EILSEQ;
		cond_resched();
	}
	return 0;
}

static void damaged(struct dms_scrub *s, const struct dms_exception *e, int error)
{
	struct dms_volume *v = s->v;

	atomic64_inc(error == -EILSEQ ? &v->stats.checksum_errors : &v->stats.area_errors);
	WRITE_ONCE(s->at.damaged, s->at.damaged + 1);
	DMERR_LIMIT("%s: saved data of chunk %llu %s", v->name, (unsigned long long)e->chunk,
		    error == -EILSEQ ? "does not fit its checksum" : "can't be read");
	dms_damaged(v, e->chunk, e->tag);
}

/* --- the work item --- */

/* The memory goes first: who sees another state may start anew. */
static void finish(struct dms_scrub *s, enum state state)
{
	vfree(s->batch);
	s->batch = NULL;
	DMINFO("%s: scrub is %s, %llu chunks are damaged", s->v->name,
	       states[state], (unsigned long long)s->at.damaged);
	/* Pairs with dms_scrub_start(). */
	smp_store_release(&s->state, state);
	dms_volume_event(s->v);
}

/* @kib were read: for how many jiffies not to read. */
static unsigned long pace(struct dms_scrub *s, u32 kib)
{
	unsigned long now = jiffies;

	if (!s->rate)
		return 0;
	if (time_before(s->due, now))
		s->due = now;		/* what was not used is not made up for */
	s->due += DIV_ROUND_UP(kib * HZ, s->rate);
	return s->due - now;
}

/* 1: all is done; 0; or an error that ends it.  *@delay, in jiffies, until the next. */
static int step(struct dms_scrub *s, unsigned long *delay)
{
	struct progress begin = s->at;
	struct batch *b = s->batch;
	int r = collect(s), error;
	u32 kib;

	if (!b->nr)
		goto done;
	kib = b->nr << (s->v->chunk_shift + SECTOR_SHIFT - 10);
	*delay = pace(s, kib);
	read_batch(s);
	error = verify_batch(s);
	if (error && !s->alone) {
		s->alone = b->nr;
		s->at = begin;
		return 0;
	}
	if (error)
		damaged(s, &b->e[0], error);
	if (s->alone)
		s->alone--;
	WRITE_ONCE(s->kib, s->kib + kib);
done:
	WRITE_ONCE(s->done, s->at.chunk);
	return r;
}

static void scrub(struct work_struct *work)
{
	struct dms_scrub *s = container_of(to_delayed_work(work), struct dms_scrub, work);
	unsigned int noio = memalloc_noio_save();
	struct dms_volume *v = s->v;
	unsigned long delay = 0;
	int r = -EROFS, idx;

	if (READ_ONCE(v->mode) == DMS_MODE_RW) {
		idx = srcu_read_lock(&v->srcu);
		r = step(s, &delay);
		srcu_read_unlock(&v->srcu, idx);
	}
	if (r == -ENOMEM) {
		r = 0;
		delay = max_t(unsigned long, delay, HZ / 10);
	}
	if (r)
		finish(s, r > 0 ? DONE : FAILED);
	else
		queue_delayed_work(s->wq, &s->work, delay);
	memalloc_noio_restore(noio);
}

/* --- start and stop --- */

int dms_scrub_start(struct dms_volume *v, u32 kib_per_second)
{
	struct dms_scrub *s = v->scrub;
	u32 blocks = BATCH_BLOCKS;
	struct batch *b;
	int r = 0;

	if (READ_ONCE(v->mode) != DMS_MODE_RW)
		return -EROFS;
	if (kib_per_second)
		blocks = clamp(kib_per_second / 4 / (DMS_BLOCK_SIZE / 1024), v->chunk_blocks,
			       blocks);
	mutex_lock(&s->mutex);
	/* Pairs with finish(). */
	if (smp_load_acquire(&s->state) == RUNNING) {
		r = -EALREADY;
		goto out;
	}
	b = __vmalloc(sizeof(*b), GFP_NOIO);
	if (!b) {
		r = -ENOMEM;
		goto out;
	}
	init_completion(&b->done);
	s->batch = b;
	s->room = blocks / v->chunk_blocks;
	s->rate = kib_per_second;
	s->due = jiffies;
	s->alone = 0;
	s->done = 0;
	s->kib = 0;
	s->at = (struct progress) { .width = LOOK_CHUNKS };
	WRITE_ONCE(s->state, RUNNING);
	if (!s->paused)
		queue_delayed_work(s->wq, &s->work, 0);
out:
	mutex_unlock(&s->mutex);
	return r;
}

void dms_scrub_stop(struct dms_volume *v)
{
	struct dms_scrub *s = v->scrub;

	mutex_lock(&s->mutex);
	cancel_delayed_work_sync(&s->work);
	if (s->state == RUNNING)
		finish(s, STOPPED);
	mutex_unlock(&s->mutex);
}

void dms_scrub_pause(struct dms_volume *v)
{
	struct dms_scrub *s = v->scrub;

	mutex_lock(&s->mutex);
	s->paused = true;
	cancel_delayed_work_sync(&s->work);
	mutex_unlock(&s->mutex);
}

void dms_scrub_resume(struct dms_volume *v)
{
	struct dms_scrub *s = v->scrub;

	mutex_lock(&s->mutex);
	s->paused = false;
	if (READ_ONCE(s->state) == RUNNING)
		queue_delayed_work(s->wq, &s->work, 0);
	mutex_unlock(&s->mutex);
}

int dms_scrub_status(struct dms_volume *v, char *result, unsigned int maxlen)
{
	const struct dms_scrub *s = v->scrub;
	u64 all = v->origin_chunks;

	return scnprintf(result, maxlen, "%s %llu/%llu %llu %llu", states[READ_ONCE(s->state)],
			 (unsigned long long)min(READ_ONCE(s->done), all),
			 (unsigned long long)all, (unsigned long long)READ_ONCE(s->kib),
			 (unsigned long long)READ_ONCE(s->at.damaged));
}

int dms_scrub_init(struct dms_volume *v)
{
	struct dms_scrub *s = kzalloc(sizeof(*s), GFP_KERNEL);

	if (!s)
		return -ENOMEM;
	v->scrub = s;
	s->v = v;
	s->paused = true;		/* until the first resume */
	mutex_init(&s->mutex);
	INIT_DELAYED_WORK(&s->work, scrub);
	/* Nothing in the way of reclaim depends on it. */
	s->wq = alloc_workqueue("dm-shadow-scrub", WQ_UNBOUND, 1);
	return s->wq ? 0 : -ENOMEM;
}

/* Tolerates a half-made one. */
void dms_scrub_exit(struct dms_volume *v)
{
	struct dms_scrub *s = v->scrub;

	if (!s)
		return;
	if (s->wq) {
		cancel_delayed_work_sync(&s->work);
		destroy_workqueue(s->wq);
	}
	vfree(s->batch);
	kfree(s);
	v->scrub = NULL;
}
