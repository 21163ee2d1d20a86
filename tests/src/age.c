// SPDX-License-Identifier: GPL-2.0-only
/*
 * A simulated year of a volume whose copies come and go by a schedule: see
 * tests/bench/README.
 *
 * Each hour a copy is taken, those that the schedule no longer keeps are deleted,
 * and the origin is written to: chunks for the first time since that copy and some of
 * them once more; twice a week a MiB in one piece.  Half of an hour's writes fall
 * somewhere into the time that the reclaim takes, the others come when it is over.
 *
 * A model knows which copy shows which write in each block.  So it knows how many
 * chunks must be stored, and at the end whether copies read as they must.
 *
 * Prints lines
 *
 *	HOUR NUMBER WHAT...
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "dm.h"

#define BLOCK		4096
#define BLOCK_SECTORS	(BLOCK / SECTOR)
#define MIB_BLOCKS	(MIB / BLOCK)
#define DAY		24
#define WEEK		(7 * DAY)
#define MONTH		730
#define HOT_PERCENT	90		/* of random writes, to 1/HOT_PART of the chunks */
#define HOT_PART	256
#define PROBES		256		/* reads of a copy, each sort */
#define VERIFIED	8		/* copies, at the end */

static const char usage_text[] =
	"usage: age [-h HOURS] [-w WRITES an hour] [-l LIMIT in area chunks] [-s SEED]\n"
	"           [-c CACHE KiB] ORIGIN DIFF-AREA\n";

struct copy {
	u32 id, hour;
	u32 *version;			/* of each block: the write it shows, 0: the first */
	u32 *touched;			/* of each chunk: the last write before the copy */
};

/* Times of one sort of operation since the last report. */
struct times {
	u64 *ns;
	u32 nr, room;
};

struct status {
	u64 chunk_sectors, used, journal, trees, entries, cache_kib, bitmap_kib, dropped,
	    checkpoints, errors;
};

static const char *origin, *area;
static struct dm_node node;
static int fd;
static u64 sectors;
static u32 blocks, chunks, chunk_blocks;
static struct rng rng;
static u32 hour, written;		/* writes so far */
static struct copy origin_now;
static struct copy *copies;
static u32 nr_copies;
static u64 dropped;			/* seen so far */
static u64 base_used, base_kernel_kib;

static struct times first_quiet, first_reclaim, rewrite, sequential, take, reclaim;
static u64 seq_requests, last_busy;

/* --- small things --- */

static u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static void nap(u64 ns)
{
	struct timespec ts = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };

	nanosleep(&ts, NULL);
}

static void add(struct times *t, u64 ns)
{
	if (t->nr == t->room) {
		t->room = 2 * t->room + 1024;
		t->ns = xrealloc(t->ns, t->room * sizeof(*t->ns));
	}
	t->ns[t->nr++] = ns;
}

static int by_value(const void *a, const void *b)
{
	u64 l = *(const u64 *)a, r = *(const u64 *)b;

	return l < r ? -1 : l > r;
}

static u64 mean(const struct times *t)
{
	u64 sum = 0;
	u32 i;

	for (i = 0; i < t->nr; i++)
		sum += t->ns[i];
	return t->nr ? sum / t->nr : 0;
}

/* What @permille of them are below. */
static u64 percentile(struct times *t, u32 permille)
{
	qsort(t->ns, t->nr, sizeof(*t->ns), by_value);
	return t->nr ? t->ns[min(t->nr - 1, (u32)((u64)t->nr * permille / 1000))] : 0;
}

__attribute__((format(printf, 2, 3)))
static void report(double value, const char *format, ...)
{
	va_list args;

	printf("%u %.2f ", hour, value);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

static void read_file(const char *path, char *text, size_t size)
{
	int f = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = f < 0 ? -1 : read(f, text, size - 1);

	if (n < 0)
		die("%s: %s", path, strerror(errno));
	text[n] = 0;
	close(f);
}

/* Requests that the diff area's disk has served */
static void served(u64 *reads, u64 *writes)
{
	unsigned long long r, w;
	char text[1000];

	read_file("/sys/block/simdisk1/served", text, sizeof(text));
	if (sscanf(text, "%llu %*u %llu", &r, &w) != 2)
		die("strange counts: %s", text);
	*reads = r;
	*writes = w;
}

static u64 kernel_kib(void)
{
	const char *names[] = { "SUnreclaim:", "VmallocUsed:" }, *at;
	char text[8000];
	u64 kib = 0;
	int i;

	read_file("/proc/meminfo", text, sizeof(text));
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		at = strstr(text, names[i]);
		kib += at ? atoll(at + strlen(names[i])) : 0;
	}
	return kib;
}

/* Time in which the processor did something. */
static u64 busy_ms(void)
{
	double up, idle;
	char text[100];

	read_file("/proc/uptime", text, sizeof(text));
	if (sscanf(text, "%lf %lf", &up, &idle) != 2)
		die("strange uptime");
	return (up - idle) * 1000;
}

static void get_status(struct status *s)
{
	char *text = dm_status(node.name), *save, *word;
	unsigned int n = 0;

	for (word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		switch (++n) {
		case 1:
			if (strcmp(word, "rw"))
				die("the volume is %s", word);
			break;
		case 3:
			s->chunk_sectors = atoll(word);
			break;
		case 4:
			s->used = atoll(word);
			break;
		case 12:
			s->journal = atoll(word);
			break;
		case 13:
			s->trees = atoll(word);
			s->entries = atoll(strchr(word, ':') + 1);
			break;
		case 15:
			s->cache_kib = atoll(word);
			break;
		case 16:
			s->bitmap_kib = atoll(word);
			break;
		case 19:
			s->dropped = atoll(word);
			break;
		case 20:
		case 21:
		case 22:
			s->errors = (n == 20 ? 0 : s->errors) + atoll(word);
			break;
		case 23:
			s->checkpoints = atoll(word);
			break;
		}
	}
	free(text);
	if (n < 23)
		die("strange status");
	if (s->errors)
		die("errors");
}

static u64 checkpoints(void)
{
	struct status s;

	get_status(&s);
	return s.checkpoints;
}

static void message(const char *text)
{
	int rc = dm_message(node.name, NULL, "%s", text);

	if (rc)
		die("%s: %s", text, strerror(-rc));
}

/* Until the background has had nothing to do for a while. */
static void settle(void)
{
	u64 before, now = checkpoints();
	u32 same = 0;

	while (same < 4) {
		before = now;
		nap(3000000);
		now = checkpoints();
		same = now == before ? same + 1 : 0;
	}
}

/* --- the origin --- */

/* What write @version puts into @block */
static void fill(u64 *words, u32 block, u32 version)
{
	u64 x = mix((u64)version << 32 | block);
	u32 i;

	for (i = 0; i < BLOCK / sizeof(x); i++, x += 0x9e3779b97f4a7c15)
		words[i] = x;
}

static bool filled(const u64 *words, u32 block, u32 version)
{
	u64 x = mix((u64)version << 32 | block);
	u32 i;

	for (i = 0; i < BLOCK / sizeof(x); i++, x += 0x9e3779b97f4a7c15)
		if (words[i] != x)
			return false;
	return true;
}

/* Returns how long it took. */
static u64 put(u32 block, u32 nr)
{
	static u8 *buf;
	u64 begin, ns;
	u32 i;
	int rc;

	if (!buf)
		buf = xbuffer(MIB);
	written++;
	for (i = 0; i < nr; i++)
		fill((u64 *)(buf + i * BLOCK), block + i, written);
	begin = now_ns();
	rc = write_sectors(fd, buf, (u64)block * BLOCK_SECTORS, (u64)nr * BLOCK_SECTORS);
	ns = now_ns() - begin;
	if (rc)
		die("write: %s", strerror(-rc));
	for (i = 0; i < nr; i++) {
		origin_now.version[block + i] = written;
		origin_now.touched[(block + i) / chunk_blocks] = written;
	}
	return ns;
}

/* A chunk not yet written to since the newest copy. */
static u32 fresh_chunk(void)
{
	const struct copy *newest = &copies[nr_copies - 1];
	u32 chunk, hot = chunks / HOT_PART;

	do {
		if (rng_chance(&rng, HOT_PERCENT))
			chunk = rng_below(&rng, hot) * HOT_PART;
		else
			chunk = rng_below(&rng, chunks);
	} while (newest->touched[chunk] != origin_now.touched[chunk]);
	return chunk;
}

/* A first touch, and after every other one the same block again */
static void write_fresh(struct times *times)
{
	u32 block = fresh_chunk() * chunk_blocks + rng_below(&rng, chunk_blocks);

	add(times, put(block, 1));
	if (times->nr % 2)
		add(&rewrite, put(block, 1));
}

static void write_sequential(void)
{
	u64 reads, before, after;

	served(&reads, &before);
	add(&sequential, put(rng_below(&rng, blocks / MIB_BLOCKS) * MIB_BLOCKS, MIB_BLOCKS));
	served(&reads, &after);
	seq_requests += after - before;
}

/* --- the copies --- */

static void forget(u32 i)
{
	free(copies[i].version);
	free(copies[i].touched);
	memmove(&copies[i], &copies[i + 1], (--nr_copies - i) * sizeof(*copies));
}

/* Forget those that were dropped. */
static void look_for_dropped(void)
{
	struct status s;
	char *text, *line, *save;
	u32 i = 0;
	int rc;

	get_status(&s);
	if (s.dropped == dropped)
		return;
	dropped = s.dropped;
	rc = dm_message(node.name, &text, "list");
	if (rc)
		die("list: %s", strerror(-rc));
	for (line = strtok_r(text ?: "", "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		while (i < nr_copies && copies[i].id < atoi(line))
			forget(i);
		if (i == nr_copies || copies[i].id != atoi(line))
			die("copy %d is listed", atoi(line));
		i++;
	}
	while (i < nr_copies)
		forget(i);
	free(text);
}

static void create(void)
{
	struct copy *c;
	char *reply;
	u64 begin = now_ns();
	int rc;

	rc = dm_suspend(node.name);
	if (!rc)
		rc = dm_message(node.name, &reply, "create 00000000-0000-4000-8000-%012x",
				hour + 1);
	if (rc || dm_resume(node.name))
		die("create: %s", strerror(-rc));
	add(&take, now_ns() - begin);
	copies = xrealloc(copies, (nr_copies + 1) * sizeof(*copies));
	c = &copies[nr_copies++];
	c->id = atoi(reply);
	c->hour = hour;
	c->version = xmalloc(blocks * sizeof(u32));
	c->touched = xmalloc(chunks * sizeof(u32));
	memcpy(c->version, origin_now.version, blocks * sizeof(u32));
	memcpy(c->touched, origin_now.touched, chunks * sizeof(u32));
	free(reply);
}

static bool kept(const struct copy *c)
{
	u32 age = hour - c->hour;

	return age < 48 || (c->hour % DAY == 0 && age < 30 * DAY) ||
	       (c->hour % WEEK == 0 && age < 52 * WEEK);
}

/* Those that the schedule keeps no longer.  Returns how many. */
static u32 delete_old(void)
{
	char text[4000] = "delete";
	u32 i, nr = 0;

	for (i = 0; i < nr_copies; )
		if (kept(&copies[i])) {
			i++;
		} else {
			nr++;
			sprintf(text + strlen(text), " %u", copies[i].id);
			forget(i);
		}
	if (nr)
		message(text);
	return nr;
}

/* Chunks that must be stored for the copies there are. */
static u64 needed(void)
{
	const struct copy *next = &origin_now;
	u32 i, c;
	u64 nr = 0;

	for (i = nr_copies; i-- > 0; next = &copies[i])
		for (c = 0; c < chunks; c++)
			nr += copies[i].touched[c] != next->touched[c];
	return nr;
}

static int open_copy(const struct copy *c, struct dm_node *n)
{
	char text[200];
	int rc;

	snprintf(text, sizeof(text), "%s %s %u", origin, area, c->id);
	rc = dm_make(n, "age-copy", sectors, "shadow", text);
	if (rc)
		die("copy %u: %s", c->id, strerror(-rc));
	return open_device(n->path, O_RDONLY);
}

static void close_copy(int f, struct dm_node *n)
{
	int rc;

	close(f);
	rc = dm_drop(n);
	if (rc)
		die("remove the copy: %s", strerror(-rc));
}

/* Time and index blocks of a read of 4 KiB, of what is saved and of what is not */
static void probe(const char *name, const struct copy *c)
{
	u8 *buf = xbuffer(BLOCK);
	struct dm_node n;
	u32 saved, i, tries, chunk, block;
	u64 before, after, writes;
	int f = open_copy(c, &n);

	for (saved = 0; saved < 2; saved++) {
		struct times t = {};

		served(&before, &writes);
		for (i = 0, tries = 0; i < PROBES && tries < 200 * PROBES; tries++) {
			u64 begin;

			chunk = rng_below(&rng, chunks);
			if ((c->touched[chunk] != origin_now.touched[chunk]) != saved)
				continue;
			block = chunk * chunk_blocks + rng_below(&rng, chunk_blocks);
			begin = now_ns();
			if (read_sectors(f, buf, (u64)block * BLOCK_SECTORS, BLOCK_SECTORS))
				die("copy %u: read", c->id);
			add(&t, now_ns() - begin);
			if (!filled((u64 *)buf, block, c->version[block]))
				die("copy %u, block %u: not what it was", c->id, block);
			i++;
		}
		served(&after, &writes);
		if (i < 16)
			t.nr = 0;	/* too few chunks of that sort */
		report(t.nr ? mean(&t) / 1000.0 : NAN, "read of the %s copy, %ssaved, us", name,
		       saved ? "" : "not ");
		report(t.nr ? (after - before - (saved ? i : 0)) / (double)i : NAN,
		       "index blocks read for it, %s copy, %ssaved", name,
		       saved ? "" : "not ");
		free(t.ns);
	}
	close_copy(f, &n);
	free(buf);
}

static void verify(const struct copy *c)
{
	u8 *buf = xbuffer(MIB);
	struct dm_node n;
	u32 block, i;
	int f = open_copy(c, &n);

	for (block = 0; block < blocks; block += MIB_BLOCKS) {
		if (read_sectors(f, buf, (u64)block * BLOCK_SECTORS, MIB / SECTOR))
			die("copy %u: read", c->id);
		for (i = 0; i < MIB_BLOCKS; i++)
			if (!filled((u64 *)(buf + i * BLOCK), block + i, c->version[block + i]))
				die("copy %u, block %u: not what it was", c->id, block + i);
	}
	close_copy(f, &n);
	free(buf);
}

/* --- reports --- */

static void report_times(struct times *t, const char *what)
{
	report(t->nr ? mean(t) / 1000.0 : NAN, "%s, us", what);
	report(t->nr ? percentile(t, 999) / 1000.0 : NAN, "%s, 99.9 %%, us", what);
	t->nr = 0;
}

static void report_all(void)
{
	static u32 last_hour;
	struct status s;
	u64 busy, must;

	settle();
	look_for_dropped();
	busy = busy_ms();
	report(nr_copies, "copies");
	report(hour - copies[0].hour, "hours, the oldest copy's age");
	report_times(&first_quiet, "first touch, no reclaim");
	report_times(&first_reclaim, "first touch, reclaim");
	report_times(&rewrite, "overwrite of what is saved");
	report(seq_requests / (double)sequential.nr,
	       "requests to the area, sequential first touch of 1 MiB");
	seq_requests = 0;
	report_times(&sequential, "sequential first touch of 1 MiB");
	report_times(&take, "creation");
	report_times(&reclaim, "reclaim");
	report((busy - last_busy) * 1000.0 / (hour + 1 - last_hour), "processor or disk busy, an hour, us");
	last_hour = hour + 1;
	get_status(&s);
	report(s.journal, "journal blocks that a replay would read");
	report(s.trees, "index trees");
	message("checkpoint");
	get_status(&s);
	must = needed();
	report(s.entries, "index entries");
	report(must, "chunks that must be stored");
	report((double)s.used - base_used - must, "chunks used beyond them and the first layout");
	report(s.cache_kib, "cache and tables, KiB");
	report(s.bitmap_kib, "bitmaps, KiB");
	report((double)kernel_kib() - base_kernel_kib, "slab and vmalloc more than before, KiB");
	report(s.dropped, "copies dropped");
	probe("oldest", &copies[0]);
	probe("middle", &copies[nr_copies / 2]);
	probe("newest", &copies[nr_copies - 1]);
	fflush(stdout);
	last_busy = busy_ms();
}

static bool due(u32 hours)
{
	u32 done = hour + 1;

	return done == DAY || done == WEEK || done % MONTH == 0 || done == hours;
}

/* --- the year --- */

/*
 * Half of @writes at random times while what was deleted is reclaimed.  That is over
 * with the second checkpoint, number @goal: of the table, then of the joined tree.
 * Returns how many there were.
 */
static u32 write_meanwhile(u32 writes, u64 goal)
{
	static u64 took = 30000000;
	u64 begin = now_ns(), now, at;
	u32 i;

	for (i = 0; i < writes / 2; i++) {
		at = begin + (2 * i * took + rng_below(&rng, 2 * took)) / writes;
		now = now_ns();
		if (now < at)
			nap(at - now);
		write_fresh(checkpoints() < goal ? &first_reclaim : &first_quiet);
	}
	while (checkpoints() < goal)
		nap(took / 16);
	took = now_ns() - begin;
	add(&reclaim, took);
	return i;
}

static void one_hour(u32 writes)
{
	u64 goal = checkpoints() + 2;

	create();
	look_for_dropped();
	if (delete_old())
		writes -= write_meanwhile(writes, goal);
	if (hour % (WEEK / 2) == DAY / 2)
		write_sequential();
	while (writes--)
		write_fresh(&first_quiet);
	look_for_dropped();
}

static void begin(u64 limit, u64 cache_kib)
{
	struct status s;
	char text[200];
	int rc;

	fd = open_device(origin, O_RDWR);
	sectors = device_sectors(fd);
	blocks = sectors / BLOCK_SECTORS;
	chunk_blocks = 1;
	origin_now.version = xmalloc(blocks * sizeof(u32));
	origin_now.touched = xmalloc(blocks * sizeof(u32));
	for (written = 0; written < blocks / MIB_BLOCKS; )
		put(written * MIB_BLOCKS, MIB_BLOCKS);
	close(fd);
	base_kernel_kib = kernel_kib();
	snprintf(text, sizeof(text), "%s %s 2 cache_kib %llu", origin, area,
		 (unsigned long long)cache_kib);
	rc = dm_make(&node, "age", sectors, "shadow-origin", text);
	if (rc)
		die("%s: %s", text, strerror(-rc));
	fd = open_device(node.path, O_RDWR);
	get_status(&s);
	chunk_blocks = s.chunk_sectors / BLOCK_SECTORS;
	chunks = blocks / chunk_blocks;
	memset(origin_now.touched, 0, chunks * sizeof(u32));
	base_used = s.used;
	last_busy = busy_ms();
	if (limit) {
		snprintf(text, sizeof(text), "limit %llu", (unsigned long long)limit);
		message(text);
	}
}

int main(int argc, char **argv)
{
	u64 limit = 0, cache_kib = 1024, seed = 1;
	u32 hours = 8760, writes = 4, i;
	int c, rc;

	while ((c = getopt(argc, argv, "h:w:l:s:c:")) != -1) {
		switch (c) {
		case 'h':
			hours = xnumber(optarg);
			break;
		case 'w':
			writes = xnumber(optarg);
			break;
		case 'l':
			limit = xnumber(optarg);
			break;
		case 's':
			seed = xnumber(optarg);
			break;
		case 'c':
			cache_kib = xnumber(optarg);
			break;
		default:
			fputs(usage_text, stderr);
			return 2;
		}
	}
	if (argc - optind != 2 || writes < 2 || !hours) {
		fputs(usage_text, stderr);
		return 2;
	}
	origin = argv[optind];
	area = argv[optind + 1];
	rng_seed(&rng, seed);
	begin(limit, cache_kib);
	for (; hour < hours; hour++) {
		one_hour(writes);
		if (due(hours))
			report_all();
	}
	hour--;
	for (i = 0; i < VERIFIED && i < nr_copies; i++)
		verify(&copies[(u64)i * (nr_copies - 1) / (VERIFIED - 1)]);
	report(i, "copies read and found right");
	close(fd);
	rc = dm_drop(&node);
	if (rc)
		die("remove: %s", strerror(-rc));
	return 0;
}
