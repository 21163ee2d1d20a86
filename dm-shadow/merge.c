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
#include <linux/sched/mm.h>

#include "merge.h"

#define WINDOW_TIME	HZ		/* between two cursor records */
#define MERGE_TRIES	3		/* a second apart, before it is stuck */
#define STUCK_TIME	(10 * HZ)	/* between tries from then on */
#define LOOK_RUNS	32		/* perhaps none to be brought home */
#define WANTED_MAX	4096		/* chunks */

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

/* The careful dms_merge_bring(): a chunk is on the origin on return, or given up. */
static int bring_chunk(struct dms_merge *m, u64 *chunk, u64 last)
{
	struct dms_volume *v = m->v;
	u64 at = *chunk;
	int r;

	m->unreadable = false;
	r = dms_merge_bring(m, &at, last);
	if (!r)
		r = dms_merge_settle(m);
	if (r && may_skip(m, *chunk, r)) {
		dms_merge_abandon(m);
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
			r = m->careful ? bring_chunk(m, &chunk, last) :
					 dms_merge_bring(m, &chunk, last);
	}
	if (!r)
		r = dms_merge_settle(m);
	if (!r)
		r = dms_io_flush(v->origin);
	for (i = 0; !r && i < nr; i++)
		r = dms_merge_record_home(v, max(range[i].first, v->merge_cursor),
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
			dms_merge_abandon(m);
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
			r = dms_merge_bring(m, cursor, last);
	}
	if (!r)
		r = dms_merge_settle(m);
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
	dms_merge_abandon(m);
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
	dms_back_lock(v);
	v->super.flags |= DMS_SUPER_LOST | DMS_SUPER_MERGED;
	if (dms_super_write(v)) {
		DMERR("%s: can't record that all is home: do not use this diff area again",
		      v->name);
		/* Perhaps it comes back: dms_mark_lost() goes on trying both marks. */
		v->super.flags &= ~DMS_SUPER_LOST;
		dms_background_wake(v);
	}
	dms_back_unlock(v);
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
		recorded = dms_merge_record_cursor(v, r > 0 ? 0 : v->merge_shadow, cursor);
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
		v->merge = dms_merge_alloc(v);
	r = v->merge ? step(v->merge) : -ENOMEM;
	if (v->merge && r < 0)
		dms_merge_abandon(v->merge);
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
		dms_merge_free(v->merge);
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
	dms_merge_free(v->merge);
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
	dms_merge_set_cursor(v, 0);
	/* Nobody maps yet; bitmap and cursor first all the same. */
	smp_store_release(&v->merge_shadow, op->id);
}

int dms_merge_start(struct dms_volume *v, u32 id)
{
	struct dms_shadow *s = dms_shadow_find(v, id);
	struct dms_op op = {
		.add = dms_merge_add_record, .apply = apply_start, .id = id, .epoch = v->epoch + 1,
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
	if (!r) {
		dms_merge_wake(v);
		return 0;
	}
	dms_bits_destroy(op.bits);
	/* The record may have got to the medium: the mark says that it does not count. */
	dms_back_lock(v);
	if (!dms_mark_lost(v))
		DMERR("%s: merge refused, but could begin later: do not use this diff area again",
		      v->name);
	dms_back_unlock(v);
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
