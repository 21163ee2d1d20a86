// SPDX-License-Identifier: GPL-2.0-only
/*
 * The oracle: seeded random operations on an origin and its shadow copies,
 * beside a model in memory of what each must show.
 *
 * The model is a map for the origin and one for each copy: for each sector the
 * number of the write that it shows (see stamp.h).  A new copy takes over the
 * origin's map.
 *
 * Writers are threads.  Each holds the sectors of its operation (struct
 * flight) from before it is issued until the model knows of it, so no two
 * overlap.  A copy may be created meanwhile: what is in flight then may be on
 * either side of the instant, sector by sector.  That is settled by reading
 * the copy once, right after; from then on it must stay so.
 *
 * Everything else is done by one thread.  Merging and deactivating need the
 * origin at rest: it keeps the writers out by the lock `rest`.
 *
 * Locking: rest, then flights_lock, then model_lock.  A copy's map doesn't
 * change once it is open; copies come and go in the main thread only.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "dm.h"
#include "history.h"
#include "oracle.h"
#include "stamp.h"

#define ORIGIN		"stomp-origin"
#define MAX_FLIGHTS	16
#define MAX_OPEN	6
#define SCRATCH		(1 * MIB)

/* What a writer has under way; count 0: nothing. */
struct flight {
	u32 sector, count;
	u32 seq;			/* of the operation; 0: it reads */
	u32 new;			/* what the sectors will hold */
};

struct copy {
	u32 id;
	u32 index;			/* in the history */
	u32 *map;
	u8 *exempt;			/* for each sector, or NULL */
	bool locked, merged;
	/* only if open */
	struct dm_node node;
	int fd;
	bool ready;			/* for readers; this and more: model_lock */
	u32 readers;
	bool failed;			/* a read did */
	bool failed_before;		/* the last list was made */
};

static struct oracle_spec spec;
static struct history history;
static u32 ops_room;

static u64 chunk_sectors;
static u32 sectors;
static u32 *now;				/* the origin's map; model_lock */
static u32 sequence;				/* last given out; model_lock */
static struct copy **copies;			/* ascending id; model_lock to change */
static u32 nr_copies;
static struct dm_node origin_node;
static int origin_fd = -1;

static struct flight flights[MAX_FLIGHTS];	/* flights_lock */
static pthread_mutex_t flights_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t flights_cond = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t model_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rest;

static u32 done;				/* operations; model_lock */
static u32 allowed;				/* so many until the next change; model_lock */
static bool stop;				/* readers; model_lock */
static struct {
	u32 created, deleted, dropped, merged, reactivated, verified, read, exempted;
} counts;

/* --- leaving ---------------------------------------------------------------- */

static void leave(void)
{
	u32 i;

	/* Whoever died may hold the locks: no locks. */
	for (i = 0; i < nr_copies; i++) {
		if (!copies[i]->node.name[0])
			continue;
		close(copies[i]->fd);
		dm_drop(&copies[i]->node);
	}
	if (origin_fd >= 0)
		close(origin_fd);
	dm_resume(ORIGIN);
	dm_drop(&origin_node);
}

static void on_signal(int signal)
{
	(void)signal;
	die("ended by a signal");
}

static int send(char **reply, const char *text)
{
	return dm_message(ORIGIN, reply, "%s", text);
}

/* A mark in the log of writes. */
static void mark(const char *what, u32 number)
{
	int rc;

	if (!spec.log)
		return;
	rc = dm_message(spec.log, NULL, "mark %s-%u", what, number);
	if (rc)
		die("mark %s in %s: %s", what, spec.log, strerror(-rc));
}

/* --- the model -------------------------------------------------------------- */

static void mismatch(const char *what, u32 id, u64 sector, u32 expected, const void *found)
{
	char text[100];

	die("MISMATCH seed %llu: %s %u, sector %llu (chunk %llu): expected %s%u, found %s; "
	    "last operation %u", (unsigned long long)spec.seed, what, id,
	    (unsigned long long)sector, (unsigned long long)(sector / chunk_sectors),
	    expected ? "write " : "zeros ", expected,
	    stamp_describe(found, spec.seed, sector, text, sizeof(text)), sequence);
}

static void compare(const char *what, u32 id, const u8 *buf, u64 sector, u64 count,
		    const u32 *map)
{
	u64 n = stamp_compare(buf, spec.seed, sector, count, map + sector);

	if (n < count)
		mismatch(what, id, sector + n, map[sector + n], buf + n * SECTOR);
}

static struct op *record(u32 seq, enum op_kind kind, u32 sector, u32 count)
{
	if (!spec.history)
		return NULL;
	if (history.nr_ops == ops_room) {
		ops_room = max(1024u, ops_room * 2);
		history.ops = xrealloc(history.ops, ops_room * sizeof(*history.ops));
	}
	history.ops[history.nr_ops] = (struct op){ seq, kind, sector, count };
	return history.ops + history.nr_ops++;
}

/* --- writers ---------------------------------------------------------------- */

static bool flies(u32 sector, u32 count)
{
	const struct flight *f;

	for (f = flights; f < flights + MAX_FLIGHTS; f++) {
		if (f->count && f->sector < sector + count && sector < f->sector + f->count)
			return true;
	}
	return false;
}

/* Wait until nobody holds these sectors, hold them; returns the number. */
static u32 take_off(struct flight *f, u32 sector, u32 count, enum op_kind kind)
{
	u32 seq;

	pthread_mutex_lock(&flights_lock);
	while (flies(sector, count))
		pthread_cond_wait(&flights_cond, &flights_lock);
	pthread_mutex_lock(&model_lock);
	seq = 0;
	if (kind) {
		seq = ++sequence;
		record(seq, kind, sector, count);
	}
	*f = (struct flight){ sector, count, seq, kind == OP_WRITE ? seq : 0 };
	pthread_mutex_unlock(&model_lock);
	pthread_mutex_unlock(&flights_lock);
	return seq;
}

static void land(struct flight *f)
{
	pthread_mutex_lock(&flights_lock);
	f->count = 0;
	pthread_cond_broadcast(&flights_cond);
	pthread_mutex_unlock(&flights_lock);
}

static void set_map(u32 *map, u32 sector, u32 count, u32 seq)
{
	u32 i;

	pthread_mutex_lock(&model_lock);
	for (i = sector; i < sector + count; i++)
		map[i] = seq;
	pthread_mutex_unlock(&model_lock);
}

/* Sectors were discarded: each holds what it held, or zeros. */
static void settle_discard(u8 *buf, u32 sector, u32 count)
{
	u32 i, n;
	int rc;

	for (; count; sector += n, count -= n) {
		n = min(count, (u32)(SCRATCH / SECTOR));
		rc = read_sectors(origin_fd, buf, sector, n);
		if (rc)
			die("read of the origin at %u: %s", sector, strerror(-rc));
		pthread_mutex_lock(&model_lock);
		for (i = 0; i < n; i++) {
			const void *p = buf + i * SECTOR;

			if (stamp_is(p, spec.seed, sector + i, 0))
				now[sector + i] = 0;
			else if (!stamp_is(p, spec.seed, sector + i, now[sector + i]))
				mismatch("origin after discard", 0, sector + i, now[sector + i], p);
		}
		pthread_mutex_unlock(&model_lock);
	}
}

/*
 * Durable by now: operations up to the number before the first in flight.
 * Two of these must not cross: the numbers of marks ascend then.
 */
static void sync_origin(void)
{
	static pthread_mutex_t sync_lock = PTHREAD_MUTEX_INITIALIZER;
	const struct flight *f;
	u32 seq;

	pthread_mutex_lock(&sync_lock);
	pthread_mutex_lock(&flights_lock);
	pthread_mutex_lock(&model_lock);
	seq = sequence;
	for (f = flights; f < flights + MAX_FLIGHTS; f++) {
		if (f->count && f->seq)
			seq = min(seq, f->seq - 1);
	}
	pthread_mutex_unlock(&model_lock);
	pthread_mutex_unlock(&flights_lock);
	if (fdatasync(origin_fd))
		die("fsync of the origin: %s", strerror(errno));
	mark("sync", seq);
	pthread_mutex_unlock(&sync_lock);
}

static void pick_range(struct rng *r, u32 *sector, u32 *count)
{
	*count = rng_log(r, min(spec.max_write, sectors));
	if (rng_chance(r, 30))			/* whole blocks, as file systems do */
		*count = (*count + 7) & ~7u;
	*count = min(*count, sectors);
	if (rng_chance(r, 50))			/* a hot eighth */
		*sector = rng_below(r, max(1u, sectors / 8));
	else
		*sector = rng_below(r, sectors);
	if (!(*count & 7))
		*sector &= ~7u;
	*sector = min(*sector, sectors - *count);
}

/* One random operation on the origin. */
static void operate(struct rng *r, struct flight *f, u8 *buf)
{
	u32 sector, count, seq, dice = rng_below(r, 100);
	enum op_kind kind;
	int rc = 0;

	if (dice < 4) {
		sync_origin();
		return;
	}
	pick_range(r, &sector, &count);
	if (dice < 10)
		kind = 0;
	else if (dice < 18 && spec.discard)
		kind = OP_DISCARD;
	else if (dice < 30)
		kind = OP_ZERO;
	else
		kind = OP_WRITE;
	seq = take_off(f, sector, count, kind);
	switch ((int)kind) {
	case 0:
		rc = read_sectors(origin_fd, buf, sector, count);
		if (!rc)
			compare("origin", 0, buf, sector, count, now);
		break;
	case OP_DISCARD:
		rc = discard_sectors(origin_fd, sector, count);
		if (rc == -EOPNOTSUPP)
			rc = 0;
		if (!rc)
			settle_discard(buf, sector, count);
		break;
	case OP_ZERO:
		if (dice < 24) {
			rc = zero_sectors(origin_fd, sector, count);
		} else {
			memset(buf, 0, count * SECTOR);
			rc = write_sectors(origin_fd, buf, sector, count);
		}
		if (!rc)
			set_map(now, sector, count, 0);
		break;
	case OP_WRITE:
		stamp(buf, spec.seed, sector, count, seq);
		rc = write_sectors(origin_fd, buf, sector, count);
		if (!rc)
			set_map(now, sector, count, seq);
		break;
	}
	if (rc)
		die("operation %u (kind %u) on the origin, sectors %u + %u: %s", seq, kind,
		    sector, count, strerror(-rc));
	land(f);
}

struct worker {
	pthread_t thread;
	u32 number;
};

static void *writer(void *arg)
{
	struct worker *w = arg;
	u8 *buf = xbuffer(max((u32)SCRATCH, spec.max_write * SECTOR));
	struct rng r;
	bool go_on;

	rng_seed(&r, spec.seed + 1000 + w->number);
	do {
		pthread_rwlock_rdlock(&rest);
		operate(&r, flights + w->number, buf);
		pthread_rwlock_unlock(&rest);
		pthread_mutex_lock(&model_lock);
		go_on = ++done < spec.ops;
		/* Let the changes keep up. */
		while (go_on && done > allowed) {
			pthread_mutex_unlock(&model_lock);
			usleep(2000);
			pthread_mutex_lock(&model_lock);
			go_on = done < spec.ops;
		}
		pthread_mutex_unlock(&model_lock);
	} while (go_on);
	free(buf);
	return NULL;
}

/* --- copies ----------------------------------------------------------------- */

static bool open_copy(struct copy *c)
{
	char name[64], params[256];
	int rc;

	if (c->node.name[0])
		return true;
	snprintf(name, sizeof(name), "stomp-copy%u", c->id);
	snprintf(params, sizeof(params), "%s %s %u", spec.origin, spec.area, c->id);
	rc = dm_make(&c->node, name, sectors, "shadow", params);
	if (rc && spec.limit)
		return false;			/* dropped in this moment */
	if (rc)
		die("copy %u can't be opened: %s", c->id, strerror(-rc));
	c->fd = open_device(c->node.path, O_RDONLY);
	pthread_mutex_lock(&model_lock);
	c->failed = false;
	c->failed_before = false;
	c->ready = true;
	pthread_mutex_unlock(&model_lock);
	return true;
}

static void close_copy(struct copy *c)
{
	bool busy;
	int rc;

	if (!c->node.name[0])
		return;
	do {
		pthread_mutex_lock(&model_lock);
		c->ready = false;
		busy = c->readers;
		pthread_mutex_unlock(&model_lock);
		if (busy)
			usleep(1000);
	} while (busy);
	close(c->fd);
	rc = dm_drop(&c->node);
	if (rc)
		die("%s: remove: %s", c->node.name, strerror(-rc));
}

static void forget(u32 n)
{
	struct copy *c = copies[n];

	close_copy(c);
	pthread_mutex_lock(&model_lock);
	memmove(copies + n, copies + n + 1, (nr_copies - n - 1) * sizeof(*copies));
	nr_copies--;
	pthread_mutex_unlock(&model_lock);
	if (!spec.history)
		free(c->map);
	free(c->exempt);
	free(c);
}

static u32 merging(void)
{
	char *field = dm_field(ORIGIN, 24);
	u32 id = atoi(field);

	free(field);
	return id;
}

/* It went for want of space. */
static void dropped(u32 n, u32 pinned)
{
	struct copy *c = copies[n];

	if (!spec.limit)
		die("copy %u is gone", c->id);
	if (c->id == pinned)
		die("copy %u is gone, though being merged", c->id);
	counts.dropped++;
	mark("dropped", c->id);
	forget(n);
}

/* At some time since the last stock-taking this one was being merged, locked. */
static u32 merged_lately, locked_lately;

/*
 * Compare the copies that exist with those that should: without a limit all,
 * with one the oldest may have gone.  The one being merged stays; one that is
 * locked goes only after all others, but one that was created since.
 */
static void take_stock(void)
{
	u32 n, id, pinned_before = merging(), pinned, newest_gone = 0, locked_gone = 0;
	u32 newest = nr_copies ? copies[nr_copies - 1]->id : 0;
	char *text, *line, *save, flags[16];
	int rc;

	for (n = 0; n < nr_copies; n++)
		copies[n]->failed_before = copies[n]->failed;
	n = 0;
	rc = send(&text, "list");
	if (rc)
		die("list: %s", strerror(-rc));
	/* Asked behind the list: if now, then it was when that was made. */
	pinned = merging();
	line = text ? strtok_r(text, "\n", &save) : NULL;
	for (; line; line = strtok_r(NULL, "\n", &save)) {
		if (sscanf(line, "%u %*s %*s %*s %*s %*s %15s", &id, flags) != 2)
			die("list: strange line '%s'", line);
		while (n < nr_copies && copies[n]->id < id) {
			if (copies[n]->locked)
				locked_gone = copies[n]->id;
			else
				newest_gone = copies[n]->id;
			dropped(n, pinned);
		}
		if (n == nr_copies || copies[n]->id != id)
			die("list: unknown copy %u: '%s'", id, line);
		if (strpbrk(flags, "sip") && !(spec.limit && id == merged_lately))
			die("copy %u has flags %s", id, flags);
		n++;
	}
	while (n < nr_copies) {
		if (copies[n]->locked)
			locked_gone = copies[n]->id;
		else
			newest_gone = copies[n]->id;
		dropped(n, pinned);
	}
	free(text);
	for (n = 0; n < nr_copies; n++) {
		struct copy *c = copies[n];

		if (c->locked || c->id == merged_lately || c->id == locked_lately)
			continue;
		if (c->id < newest_gone)
			die("copy %u was dropped before the older %u", newest_gone, c->id);
		if (locked_gone && c->id != newest)
			die("copy %u was dropped, though locked, before %u", locked_gone, c->id);
	}
	for (n = 0; n < nr_copies; n++) {
		if (copies[n]->failed_before)
			die("copy %u could not be read, but is there", copies[n]->id);
	}
	merged_lately = pinned_before;
	locked_lately = 0;
}

/* Read a copy from @sector on; false if it has gone. */
static bool read_copy(struct copy *c, u8 *buf, u64 sector, u64 count)
{
	int rc = read_sectors(c->fd, buf, sector, count);

	if (!rc)
		return true;
	if (!spec.limit)
		die("copy %u, sectors %llu + %llu: %s", c->id, (unsigned long long)sector,
		    (unsigned long long)count, strerror(-rc));
	pthread_mutex_lock(&model_lock);
	c->failed = true;
	pthread_mutex_unlock(&model_lock);
	return false;
}

static void verify_copy(struct copy *c, u8 *buf)
{
	bool was_open = c->node.name[0];
	u64 sector, n;

	if (!open_copy(c))
		return;
	for (sector = 0; sector < sectors; sector += n) {
		n = min(sectors - sector, (u64)SCRATCH / SECTOR);
		if (!read_copy(c, buf, sector, n))
			break;
		compare("copy", c->id, buf, sector, n, c->map);
	}
	counts.verified++;
	if (!was_open)
		close_copy(c);
}

/* What was in flight at the instant: settle it by looking. */
static void settle_copy(struct copy *c, const struct flight *doubt, u8 *buf)
{
	const struct flight *f;
	u32 i, at;

	for (f = doubt; f < doubt + MAX_FLIGHTS; f++) {
		if (!f->count || !f->seq)
			continue;
		if (!read_copy(c, buf, f->sector, f->count))
			return;
		for (i = 0; i < f->count; i++) {
			at = f->sector + i;
			if (stamp_is(buf + i * SECTOR, spec.seed, at, f->new))
				c->map[at] = f->new;
			else if (!stamp_is(buf + i * SECTOR, spec.seed, at, c->map[at]))
				mismatch("new copy", c->id, at, c->map[at], buf + i * SECTOR);
		}
	}
}

static bool find_copy(u32 id)
{
	u32 n;

	for (n = 0; n < nr_copies; n++)
		if (copies[n]->id == id)
			return true;
	return false;
}

static void load_exempt(struct copy *c, struct rng *r)
{
	u32 chunks = sectors / chunk_sectors, at = 0, n, runs = 0, i;
	char words[600];
	u32 *before;
	int rc, size = 0;

	if (c->exempt || c->merged || chunks < 8)
		return;
	before = xmalloc(sectors * sizeof(u32));
	memcpy(before, c->map, sectors * sizeof(u32));
	if (spec.history) {
		free(history.copies[c->index].before);
		history.copies[c->index].before = before;
	}
	c->exempt = xmalloc(sectors);
	mark("exempting", c->id);
	rc = dm_message(ORIGIN, NULL, "exempt %u begin", c->id);
	if (rc)
		goto out;
	for (at = rng_below(r, chunks / 4); at < chunks && runs < 60; at += n) {
		n = min(chunks - at, (u32)rng_log(r, max(1u, chunks / 16)));
		size += snprintf(words + size, sizeof(words) - size, " %u %u", at, n);
		for (i = at * chunk_sectors; i < (at + n) * chunk_sectors; i++)
			c->map[i] = 0;
		memset(c->exempt + at * chunk_sectors, 1, n * chunk_sectors);
		runs++;
		n += 1 + rng_log(r, max(1u, chunks / 8));
		if (size < 400 && at + n < chunks && rng_chance(r, 70))
			continue;
		rc = dm_message(ORIGIN, NULL, "exempt %u run%s", c->id, words);
		if (rc)
			goto out;
		size = 0;
	}
	rc = size ? dm_message(ORIGIN, NULL, "exempt %u run%s", c->id, words) : 0;
	if (!rc)
		rc = dm_message(ORIGIN, NULL, "exempt %u end", c->id);
out:
	if (rc) {
		u32 id = c->id;

		if (!spec.limit)
			die("exempt %u: %s", id, strerror(-rc));
		/* No room, or the copy was dropped in this moment */
		memcpy(c->map, before, sectors * sizeof(u32));
		free(c->exempt);
		c->exempt = NULL;
		take_stock();
		if (rc != -ENOSPC && find_copy(id))
			die("exempt %u: %s", id, strerror(-rc));
	} else {
		mark("exempted", c->id);
		counts.exempted++;
	}
	if (!spec.history)
		free(before);
}

static void create(struct rng *r, u8 *buf)
{
	struct flight doubt[MAX_FLIGHTS];
	struct copy *c;
	char *reply;
	int rc;

	if (nr_copies == spec.copies)
		return;
	c = xmalloc(sizeof(*c));
	c->map = xmalloc(sectors * sizeof(u32));
	rc = dm_suspend(ORIGIN);
	if (rc)
		die("suspend: %s", strerror(-rc));
	mark("creating", counts.created);
	rc = dm_message(ORIGIN, &reply,
			"create %08x-%04x-4000-8000-%012llx attr %08x",
			(u32)rng_next(r), (u32)rng_below(r, 1 << 16),
			(unsigned long long)rng_below(r, 1ull << 48), counts.created);
	if (!rc && (!reply || !(c->id = atoi(reply))))
		die("create: no id in '%s'", reply ?: "");
	/* Nothing gets through now, so this is the instant. */
	pthread_mutex_lock(&flights_lock);
	pthread_mutex_lock(&model_lock);
	memcpy(c->map, now, sectors * sizeof(u32));
	memcpy(doubt, flights, sizeof(doubt));
	pthread_mutex_unlock(&model_lock);
	pthread_mutex_unlock(&flights_lock);
	if (!rc)
		mark("created", c->id);
	if (dm_resume(ORIGIN))
		die("resume failed");
	if (rc) {
		/* A merge or a lack of space may stand against it. */
		if (rc != -EALREADY && !(rc == -ENOSPC && spec.limit))
			die("create: %s", strerror(-rc));
		free(c->map);
		free(c);
		return;
	}
	free(reply);
	if (nr_copies && copies[nr_copies - 1]->id >= c->id)
		die("create: id %u does not ascend", c->id);
	c->index = history.nr_copies;
	if (spec.history) {
		history.copies = xrealloc(history.copies, (history.nr_copies + 1) *
					  sizeof(*history.copies));
		history.copies[history.nr_copies++] = (struct history_copy){
			.id = c->id, .map = c->map,
		};
	}
	if (!open_copy(c)) {
		if (!spec.history)
			free(c->map);
		free(c);
		return;
	}
	settle_copy(c, doubt, buf);
	pthread_mutex_lock(&model_lock);
	copies[nr_copies++] = c;
	counts.created++;
	pthread_mutex_unlock(&model_lock);
	close_copy(c);
	if (spec.exempt && rng_chance(r, 30))
		load_exempt(c, r);
}

static void delete(struct rng *r)
{
	u32 n, victim = merging();
	int rc;

	if (!nr_copies)
		return;
	n = rng_below(r, nr_copies);
	if (copies[n]->locked || copies[n]->id == victim)
		return;
	victim = copies[n]->id;
	close_copy(copies[n]);
	mark("deleting", victim);
	rc = dm_message(ORIGIN, NULL, "delete %u", victim);
	if (rc && spec.limit) {
		take_stock();			/* dropped in this moment? */
		if (find_copy(victim))
			die("delete %u: %s", victim, strerror(-rc));
		return;
	}
	if (rc)
		die("delete %u: %s", victim, strerror(-rc));
	mark("deleted", victim);
	forget(n);
	counts.deleted++;
}

static void lock_copy(struct rng *r)
{
	u32 n, i, locked = 0;
	int rc;

	if (nr_copies < 3)
		return;
	for (i = 0; i < nr_copies; i++)
		locked += copies[i]->locked;
	n = rng_below(r, nr_copies);
	/* Few enough that there is always something to drop */
	if (!copies[n]->locked && locked)
		return;
	rc = dm_message(ORIGIN, NULL, "lock %u %llu", copies[n]->id,
			copies[n]->locked ? 0ull : time(NULL) + 100000ull);
	if (rc && spec.limit)
		take_stock();
	else if (rc)
		die("lock %u: %s", copies[n]->id, strerror(-rc));
	else if ((copies[n]->locked = !copies[n]->locked) == false)
		locked_lately = copies[n]->id;
}

static void verify_origin(u8 *buf)
{
	u64 sector, n;
	int rc;

	for (sector = 0; sector < sectors; sector += n) {
		n = min(sectors - sector, (u64)SCRATCH / SECTOR);
		rc = read_sectors(origin_fd, buf, sector, n);
		if (rc)
			die("read of the origin: %s", strerror(-rc));
		compare("origin", 0, buf, sector, n, now);
	}
}

/* What is exempt in the copy was free space: it holds something, for good. */
static void settle_merge(const struct copy *c, u8 *buf)
{
	u64 sector, n, i;
	int rc;

	for (sector = 0; sector < sectors; sector += n) {
		n = min(sectors - sector, (u64)SCRATCH / SECTOR);
		if (!memchr(c->exempt + sector, 1, n))
			continue;
		rc = read_sectors(origin_fd, buf, sector, n);
		if (rc)
			die("read of the origin: %s", strerror(-rc));
		for (i = 0; i < n; i++) {
			if (!c->exempt[sector + i])
				continue;
			now[sector + i] = stamp_read(buf + i * SECTOR, spec.seed, sector + i);
			if (now[sector + i] == STAMP_NONE)
				mismatch("origin after merge", c->id, sector + i, 0,
					 buf + i * SECTOR);
		}
	}
}

static bool merge_runs;				/* as the log has it */

/* Mark the end of a merge, soon after. */
static void watch_merge(void)
{
	if (!merge_runs || merging())
		return;
	mark("merged", 0);
	merge_runs = false;
}

static void wait_for_merge(void)
{
	u64 start = now_ms();

	while (merging()) {
		if (now_ms() - start > 120000)
			die("a merge does not end");
		usleep(50000);
	}
}

static void merge(struct rng *r, u8 *buf)
{
	struct copy *c;
	u32 seq;
	int rc;

	if (merging())
		return;
	take_stock();			/* of what the merge before kept */
	if (!nr_copies)
		return;
	c = copies[rng_below(r, nr_copies)];
	if (spec.history && c->exempt)
		return;
	close_copy(c);
	pthread_rwlock_wrlock(&rest);
	rc = dm_suspend(ORIGIN);
	if (rc)
		die("suspend: %s", strerror(-rc));
	seq = ++sequence;
	mark("merging", seq);
	merge_runs = spec.log;
	rc = dm_message(ORIGIN, NULL, "merge %u", c->id);
	if (dm_resume(ORIGIN))
		die("resume failed");
	if (!rc) {
		record(seq, OP_MERGE, c->id, 0);
		mark("sync", seq);
		memcpy(now, c->map, sectors * sizeof(u32));
		if (c->exempt)
			settle_merge(c, buf);
		c->merged = true;
		merged_lately = c->id;
		counts.merged++;
		if (rng_chance(r, 30))
			verify_origin(buf);
	}
	pthread_rwlock_unlock(&rest);
	if (!rc)
		return;
	take_stock();
	if (rc != -EALREADY && !spec.limit)
		die("merge %u: %s", c->id, strerror(-rc));
}

static void activate(void)
{
	char params[256];
	int rc;

	snprintf(params, sizeof(params), "%s %s", spec.origin, spec.area);
	rc = dm_make(&origin_node, ORIGIN, sectors, "shadow-origin", params);
	if (rc)
		die("activation failed: %s", strerror(-rc));
	origin_fd = open_device(origin_node.path, O_RDWR);
}

static void deactivate(void)
{
	u32 i;
	int rc;

	for (i = 0; i < nr_copies; i++)
		close_copy(copies[i]);
	close(origin_fd);
	origin_fd = -1;
	rc = dm_drop(&origin_node);
	if (rc)
		die("deactivation failed: %s", strerror(-rc));
}

static void reactivate(struct rng *r, u8 *buf)
{
	char *how;

	pthread_rwlock_wrlock(&rest);
	deactivate();
	activate();
	how = dm_field(ORIGIN, 26);
	if (strcmp(how, "clean"))
		die("after a clean deactivation the status says %s", how);
	free(how);
	take_stock();
	if (rng_chance(r, 30))
		verify_origin(buf);
	pthread_rwlock_unlock(&rest);
	counts.reactivated++;
}

/* Open another copy for the readers, close one where there are many. */
static void shuffle_open(struct rng *r)
{
	u32 i, open = 0;

	if (!nr_copies)
		return;
	for (i = 0; i < nr_copies; i++)
		open += !!copies[i]->node.name[0];
	i = rng_below(r, nr_copies);
	if (copies[i]->node.name[0])
		close_copy(copies[i]);
	else if (open < MAX_OPEN)
		open_copy(copies[i]);
}

static void set_limit(struct rng *r)
{
	int rc;

	if (!spec.limit)
		return;
	rc = dm_message(ORIGIN, NULL, "limit %llu",
			rng_chance(r, 50) ? 0ull :
			(unsigned long long)(spec.limit / 2 + rng_below(r, spec.limit / 2)));
	if (rc)
		die("limit: %s", strerror(-rc));
}

/* --- readers ---------------------------------------------------------------- */

/* A copy that is open, held; NULL if there is none. */
static struct copy *hold_copy(struct rng *r)
{
	struct copy *c = NULL;
	u32 i, start;

	pthread_mutex_lock(&model_lock);
	start = nr_copies ? rng_below(r, nr_copies) : 0;
	for (i = 0; i < nr_copies && !c; i++) {
		c = copies[(start + i) % nr_copies];
		if (!c->ready || c->failed)
			c = NULL;
		else
			c->readers++;
	}
	pthread_mutex_unlock(&model_lock);
	return c;
}

static void *reader(void *arg)
{
	struct worker *w = arg;
	u8 *buf = xbuffer(SCRATCH);
	u32 sector, count;
	struct copy *c;
	struct rng r;
	bool ended;

	rng_seed(&r, spec.seed + 2000 + w->number);
	for (;;) {
		pthread_mutex_lock(&model_lock);
		ended = stop;
		pthread_mutex_unlock(&model_lock);
		if (ended)
			break;
		c = hold_copy(&r);
		if (!c) {
			usleep(5000);
			continue;
		}
		pick_range(&r, &sector, &count);
		count = min(count, (u32)(SCRATCH / SECTOR));
		if (read_copy(c, buf, sector, count))
			compare("copy (while written)", c->id, buf, sector, count, c->map);
		pthread_mutex_lock(&model_lock);
		c->readers--;
		counts.read++;
		pthread_mutex_unlock(&model_lock);
	}
	free(buf);
	return NULL;
}

/* --- the run ---------------------------------------------------------------- */

/* One random change of the copies, after so many operations. */
static void change(struct rng *r, u8 *buf, u32 seen)
{
	u32 dice = rng_below(r, 100);
	int rc;

	/* Those that must be are spread over the run. */
	if (counts.merged < (seen * spec.merges + spec.ops / 2) / spec.ops && nr_copies) {
		wait_for_merge();
		watch_merge();
		merge(r, buf);
	} else if (dice < 35 || nr_copies < 2) {
		create(r, buf);
	} else if (dice < 50) {
		delete(r);
	} else if (dice < 65) {
		shuffle_open(r);
	} else if (dice < 80) {
		if (nr_copies)
			verify_copy(copies[rng_below(r, nr_copies)], buf);
	} else if (dice < 85) {
		rc = send(NULL, "checkpoint");
		if (rc)
			die("checkpoint: %s", strerror(-rc));
	} else if (dice < 88) {
		lock_copy(r);
	} else if (dice < 91) {
		set_limit(r);
	} else if (dice < 94 && spec.merge) {
		merge(r, buf);
	} else if (dice < 96 && spec.reactivate) {
		reactivate(r, buf);
	} else if (dice < 98 && spec.exempt && nr_copies) {
		struct copy *c = copies[rng_below(r, nr_copies)];

		if (c->id != merging()) {
			close_copy(c);
			load_exempt(c, r);
		}
	}
	take_stock();
}

static void fill(struct rng *r, u8 *buf)
{
	u32 sector, n;

	/* Half of it stamped, the rest zeros, in pieces of up to 1 MiB */
	for (sector = 0; sector < sectors; sector += n) {
		u32 seq = rng_chance(r, 50) ? 0 : ++sequence;
		int rc;

		n = min(sectors - sector, (u32)rng_log(r, SCRATCH / SECTOR));
		stamp(buf, spec.seed, sector, n, seq);
		rc = write_sectors(origin_fd, buf, sector, n);
		if (rc)
			die("fill: %s", strerror(-rc));
		set_map(now, sector, n, seq);
	}
	if (fdatasync(origin_fd))
		die("fill: %s", strerror(errno));
}

static void verify_all(u8 *buf)
{
	u32 i;

	take_stock();
	verify_origin(buf);
	for (i = 0; i < nr_copies; i++)
		verify_copy(copies[i], buf);
	take_stock();
}

static void setup(struct rng *r, u8 *buf)
{
	pthread_rwlockattr_t attr;
	char *field;
	int fd;

	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&rest, &attr);
	fd = open_device(spec.origin, O_RDONLY);
	sectors = device_sectors(fd);
	close(fd);
	now = xmalloc(sectors * sizeof(u32));
	copies = xmalloc(spec.copies * sizeof(*copies));
	atexit(leave);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	activate();
	field = dm_field(ORIGIN, 3);
	chunk_sectors = xnumber(field);
	free(field);
	fill(r, buf);
	history.seed = spec.seed;
	history.sectors = sectors;
	history.first = xmalloc(sectors * sizeof(u32));
	memcpy(history.first, now, sectors * sizeof(u32));
	if (spec.limit && dm_message(ORIGIN, NULL, "limit %llu", (unsigned long long)spec.limit))
		die("limit refused");
	mark("sync", sequence);
	mark("begin", 0);
}

void oracle_run(const struct oracle_spec *s)
{
	struct worker workers[MAX_FLIGHTS] = { 0 };
	u8 *buf = xbuffer(max((u32)SCRATCH, s->max_write * SECTOR));
	struct rng r;
	u32 i, due = 0, seen;

	spec = *s;
	if (spec.writers + spec.readers >= MAX_FLIGHTS)
		die("too many threads");
	rng_seed(&r, spec.seed);
	setup(&r, buf);
	/* Where there shall be many, begin with many. */
	for (i = 0; spec.copies > 32 && i < spec.copies * 3 / 4; i++) {
		operate(&r, flights, buf);
		create(&r, buf);
	}
	for (i = 0; i < spec.writers + spec.readers; i++) {
		workers[i].number = i;
		if (pthread_create(&workers[i].thread, NULL,
				   i < spec.writers ? writer : reader, workers + i))
			die("no thread");
	}
	do {
		if (!spec.writers) {
			operate(&r, flights, buf);
			done++;
		}
		pthread_mutex_lock(&model_lock);
		seen = done;
		pthread_mutex_unlock(&model_lock);
		watch_merge();
		if (seen < due) {
			if (spec.writers)
				usleep(2000);
			continue;
		}
		due = seen + 1 + rng_below(&r, 2 * spec.pace);
		pthread_mutex_lock(&model_lock);
		allowed = due + 2 * spec.pace;
		pthread_mutex_unlock(&model_lock);
		change(&r, buf, seen);
	} while (seen < spec.ops);
	for (i = 0; i < spec.writers; i++)
		pthread_join(workers[i].thread, NULL);
	if (counts.merged < spec.merges)
		die("%u merges, %u were wanted", counts.merged, spec.merges);
	verify_all(buf);
	pthread_mutex_lock(&model_lock);
	stop = true;
	pthread_mutex_unlock(&model_lock);
	for (; i < spec.writers + spec.readers; i++)
		pthread_join(workers[i].thread, NULL);
	sync_origin();
	if (spec.history)
		history_save(&history, spec.history);
	if (!spec.log)
		wait_for_merge();
	if (spec.reactivate) {
		reactivate(&r, buf);
		verify_all(buf);
	}
	for (i = 0; i < nr_copies; i++)
		close_copy(copies[i]);
	if (spec.history)
		mark("end", 0);
	deactivate();
	printf("%u operations, copies: %u created, %u deleted, %u dropped, %u merged to, "
	       "%u exempted, %u left; %u verified whole, %u pieces read; %u reactivations\n",
	       seen, counts.created, counts.deleted, counts.dropped, counts.merged,
	       counts.exempted, nr_copies, counts.verified, counts.read, counts.reactivated);
	printf("figure: operations checked by the oracle %u\n", seen);
	nr_copies = 0;
	free(buf);
}
