// SPDX-License-Identifier: GPL-2.0-only
/*
 * Measures a large diff area in a guest; see usage().
 *
 * Each line is a step: requests at the area's and the origin's disk, and processor time,
 * of this process and of all others, in thousand instructions where the guest's clock
 * counts them (boot --icount).  What takes part in interrupts of an idle processor is
 * in neither.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "dm.h"
#include "scatter.h"

#define CHUNK_MAX	(1 << 20)

static const char usage_text[] =
	"usage: measure AREA TILE ORIGIN-GIB EXCEPTIONS COPIES STEP...\n"
	"AREA was made by `area` with these numbers.  The origin is TILE over and over.  Steps:\n"
	"  activate    and deactivate, twice\n"
	"  list        of all copies\n"
	"  checkpoint\n"
	"  create      suspend and resume, without and with a creation\n"
	"  read        a copy at random, the oldest and the newest\n"
	"  touch       first writes at random, 4 KiB each\n"
	"  delete      a copy in the middle, then the oldest, with first writes meanwhile\n"
	"  delete-oldest\n"
	"  drop        the oldest, as the area is nearly full\n"
	"  full        the oldest, as the area is full all at once\n"
	"  take=N      copies, one after the other\n"
	"  many=N      deletes so many of the oldest, each by itself\n"
	"  reads=N     of each kind, 1000 without; also writes\n";

static struct {
	const char *area, *tile;
	u64 sectors, chunks, exceptions;
	u32 chunk_sectors, copies, trees;
	u32 times;
	int node;
	u8 *page;
	struct rng rng;
} m;

/* --- counters -------------------------------------------------------------- */

struct io {
	u64 reads, read_kib, writes, write_kib, flushes;
};

struct sample {
	u64 elapsed, own, others;	/* ns */
	struct io area, origin;
};

static u64 clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static struct io io_of(const char *path)
{
	unsigned long long n[17] = { 0 };
	char name[300];
	FILE *f;

	snprintf(name, sizeof(name), "/sys/class/block/%s/stat", strrchr(path, '/') + 1);
	f = fopen(name, "r");
	if (!f)
		die("%s: %s", name, strerror(errno));
	for (u32 i = 0; i < ARRAY_SIZE(n); i++)
		if (fscanf(f, "%llu", &n[i]) != 1)
			break;
	fclose(f);
	return (struct io){ n[0], n[2] / 2, n[4], n[6] / 2, n[15] };
}

/* Processor time of all but this process. */
static u64 others_ns(void)
{
	unsigned long long ns;
	struct dirent *e;
	char name[300];
	u64 sum = 0;
	DIR *dir;
	FILE *f;

	dir = opendir("/proc");
	while (dir && (e = readdir(dir))) {
		if (atoi(e->d_name) <= 0 || atoi(e->d_name) == getpid())
			continue;
		snprintf(name, sizeof(name), "/proc/%s/schedstat", e->d_name);
		f = fopen(name, "r");
		if (f && fscanf(f, "%llu", &ns) == 1)
			sum += ns;
		if (f)
			fclose(f);
	}
	closedir(dir);
	return sum;
}

static struct sample sample(bool begin)
{
	struct sample s;

	/* The order keeps the looking out of what is looked at. */
	if (!begin) {
		s.elapsed = clock_ns(CLOCK_MONOTONIC);
		s.own = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	}
	s.area = io_of(m.area);
	s.origin = io_of(m.tile);
	s.others = others_ns();
	if (begin) {
		s.own = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
		s.elapsed = clock_ns(CLOCK_MONOTONIC);
	}
	return s;
}

static double per(u64 after, u64 before, u32 n)
{
	return (double)(after - before) / n;
}

/* What has happened since @s, for each of @n. */
static void tell(const char *what, const struct sample *s, u32 n)
{
	struct sample now = sample(false);

	printf("%-34s area %.6g r %.6g KiB, %.6g w %.6g KiB, %.4g f; origin %.5g r %.5g w %.4g f; own %.5g k, others %.6g k; %.5g ms\n",
	       what, per(now.area.reads, s->area.reads, n),
	       per(now.area.read_kib, s->area.read_kib, n),
	       per(now.area.writes, s->area.writes, n),
	       per(now.area.write_kib, s->area.write_kib, n),
	       per(now.area.flushes, s->area.flushes, n),
	       per(now.origin.reads, s->origin.reads, n),
	       per(now.origin.writes, s->origin.writes, n),
	       per(now.origin.flushes, s->origin.flushes, n), per(now.own, s->own, n) / 1e3,
	       per(now.others, s->others, n) / 1e3, per(now.elapsed, s->elapsed, n) / 1e6);
	fflush(stdout);
}

static u64 kernel_kib(void)
{
	char line[200], name[40];
	unsigned long long kib;
	u64 sum = 0;
	FILE *f = fopen("/proc/meminfo", "r");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%39[^:]: %llu", name, &kib) == 2 &&
		    (!strcmp(name, "Slab") || !strcmp(name, "VmallocUsed") ||
		     !strcmp(name, "Percpu") || !strcmp(name, "MemFree")))
			sum += strcmp(name, "MemFree") ? kib : 0;
	fclose(f);
	return sum;
}

static u64 field(unsigned int nr)
{
	char *text = dm_field("o", nr);
	u64 n = strtoull(text, NULL, 10);

	free(text);
	return n;
}

static u64 memory_base;

static void memory(const char *when)
{
	char *used = dm_field("o", 4), *trees = dm_field("o", 13), *slots = dm_field("o", 14),
	     *cache = dm_field("o", 15), *bits = dm_field("o", 16);

	printf("  memory, %s: kernel +%lld KiB; cache %s, bitmaps %s KiB; used %s, trees %s, in memory %s\n",
	       when, (long long)(kernel_kib() - memory_base), cache, bits, used, trees, slots);
	fflush(stdout);
	free(used);
	free(trees);
	free(slots);
	free(cache);
	free(bits);
}

/* --- the volume ------------------------------------------------------------ */

static void must(const char *what, int rc)
{
	if (rc)
		die("%s: %s", what, strerror(-rc));
}

static void make_table(u64 tile)
{
	FILE *table = popen("dmsetup create origin", "w");
	u64 at;

	for (at = 0; table && at < m.sectors; at += tile)
		fprintf(table, "%llu %llu linear %s 0\n", (unsigned long long)at,
			(unsigned long long)min(tile, m.sectors - at), m.tile);
	if (!table || pclose(table))
		die("the origin can't be made");
}

/*
 * An origin that repeats TILE: a table of many lines.  As a flush goes to each of them
 * the disk has no cache.
 */
static void make_origin(void)
{
	int fd = open_device(m.tile, O_RDONLY);
	u64 tile = device_sectors(fd);
	char name[100];
	FILE *cache;

	snprintf(name, sizeof(name), "/sys/class/block/%s/queue/write_cache",
		 strrchr(m.tile, '/') + 1);
	cache = fopen(name, "w");
	if (!cache || fputs("write through", cache) < 0 || fclose(cache))
		die("%s: %s", name, strerror(errno));
	make_table(tile);
	close(fd);
}

static struct dm_node node;

static void activate(const char *what)
{
	char params[200];
	struct sample s;

	snprintf(params, sizeof(params), "/dev/dm-0 %s", m.area);
	memory_base = kernel_kib();
	s = sample(true);
	must("activate", dm_make(&node, "o", m.sectors, "shadow-origin", params));
	tell(what, &s, 1);
	m.chunk_sectors = field(3);
	m.chunks = m.sectors / m.chunk_sectors;
	m.node = open_device(node.path, O_RDWR);
}

static void deactivate(const char *what)
{
	struct sample s;

	close(m.node);
	s = sample(true);
	must("deactivate", dm_drop(&node));
	tell(what, &s, 1);
}

static void take(void)
{
	char uuid[40] = "";
	int fd = open("/proc/sys/kernel/random/uuid", O_RDONLY);

	if (fd < 0 || read(fd, uuid, 36) != 36)
		die("no uuid");
	close(fd);
	must("suspend", dm_suspend("o"));
	must("create", dm_message("o", NULL, "create %s", uuid));
	must("resume", dm_resume("o"));
}

static void do_checkpoint(void)
{
	struct sample s = sample(true);

	must("checkpoint", dm_message("o", NULL, "checkpoint"));
	tell("checkpoint", &s, 1);
}

static void do_list(void)
{
	struct sample s = sample(true);
	char *text = NULL;

	must("list", dm_message("o", &text, "list"));
	tell("list", &s, 1);
	printf("  %zu bytes\n", strlen(text ?: ""));
	free(text);
}

static void do_create(void)
{
	struct sample s;
	u32 i;

	take();
	s = sample(true);
	for (i = 0; i < 10; i++) {
		must("suspend", dm_suspend("o"));
		must("resume", dm_resume("o"));
	}
	tell("suspend, resume", &s, 10);
	s = sample(true);
	for (i = 0; i < 10; i++)
		take();
	tell("suspend, create, resume", &s, 10);
}

/* Any chunk, or one that is saved in a tree. */
static u64 some_chunk(bool saved)
{
	u32 tree = rng_below(&m.rng, m.trees);
	u64 entries = scatter_entries(m.exceptions, m.trees, tree);
	u64 chunks = scatter_chunks(entries, m.trees);

	if (!saved)
		return rng_below(&m.rng, m.chunks);
	return scatter_chunk(m.chunks, chunks, tree, rng_below(&m.rng, chunks));
}

static void read_copy(u64 id, const char *which, bool saved)
{
	struct dm_node copy;
	char what[100], params[200];
	struct sample s;
	int fd;
	u32 i;

	snprintf(params, sizeof(params), "/dev/dm-0 %s %llu", m.area, (unsigned long long)id);
	must("copy", dm_make(&copy, "c", m.sectors, "shadow", params));
	fd = open_device(copy.path, O_RDONLY);
	s = sample(true);
	for (i = 0; i < m.times; i++)
		must("read", read_sectors(fd, m.page, some_chunk(saved) * m.chunk_sectors, 8));
	snprintf(what, sizeof(what), "read %s, %s", which, saved ? "saved chunks" : "anywhere");
	tell(what, &s, m.times);
	close(fd);
	must("copy", dm_drop(&copy));
}

static void do_read(void)
{
	u64 oldest = field(7), newest = field(8);

	read_copy(oldest, "oldest", true);
	read_copy(oldest, "oldest", true);
	read_copy(oldest, "oldest", false);
	read_copy((oldest + newest) / 2, "middle", true);
	read_copy(newest, "newest", false);
	memory("after reads");
}

/* First writes, almost surely: there are many more chunks than writes. */
static void touches(u32 n, u64 *longest)
{
	u64 begin, took;

	for (; n; n--) {
		begin = clock_ns(CLOCK_MONOTONIC);
		rng_next(&m.rng);
		memcpy(m.page, &m.rng.state, sizeof(m.rng.state));
		must("write", write_sectors(m.node, m.page,
					    some_chunk(false) * m.chunk_sectors, 8));
		took = clock_ns(CLOCK_MONOTONIC) - begin;
		*longest = max(*longest, took);
	}
}

static void do_touch(const char *what)
{
	struct sample s = sample(true);
	u64 longest = 0;

	touches(m.times, &longest);
	tell(what, &s, m.times);
	printf("  the longest %.4g ms\n", longest / 1e6);
	memory("after first writes");
}

/*
 * Write now and then until @checkpoints more have been made: seldom enough that the
 * journal needs none.
 */
static void until_reclaimed(u64 from, u64 checkpoints)
{
	u64 longest = 0, used = field(4), begin = clock_ns(CLOCK_MONOTONIC);
	struct sample s = sample(true);
	u32 writes = 0;

	while (field(23) < from + checkpoints) {
		touches(1, &longest);
		writes++;
		usleep(m.exceptions / 100);
		if (clock_ns(CLOCK_MONOTONIC) - begin > 1800 * 1000000000ULL)
			die("no reclaim within half an hour");
	}
	tell("  reclaim", &s, 1);
	printf("  %u first writes meanwhile, the longest %.4g ms; %lld chunks given back\n", writes,
	       longest / 1e6, (long long)(used + writes - field(4)));
}

static void delete(const char *what, u64 id)
{
	u64 checkpoints = field(23);
	struct sample s = sample(true);

	must("delete", dm_message("o", NULL, "delete %llu", (unsigned long long)id));
	tell(what, &s, 1);
	until_reclaimed(checkpoints, 2);
	memory("after it");
}

static void do_delete(bool oldest)
{
	if (!oldest)
		delete("delete one in the middle", (field(7) + field(8)) / 2);
	delete("delete the oldest", field(7));
}

/* Set a limit @more chunks above what is used, and write until a copy is dropped. */
static void until_dropped(u64 more)
{
	u64 longest = 0, dropped = field(19), limit = field(4) + more;
	struct sample s;
	u32 writes = 0;

	must("checkpoint", dm_message("o", NULL, "checkpoint"));
	must("limit", dm_message("o", NULL, "limit %llu", (unsigned long long)limit));
	s = sample(true);
	while (field(19) == dropped && writes < 100000) {
		touches(1, &longest);
		writes++;
	}
	tell("writes until one is dropped", &s, 1);
	printf("  %u first writes, the longest %.5g ms; %llu dropped\n", writes, longest / 1e6,
	       (unsigned long long)(field(19) - dropped));
}

static void do_drop(void)
{
	u64 checkpoints;

	/* What each copy holds is known when all has been joined once. */
	checkpoints = field(23);
	must("delete", dm_message("o", NULL, "delete %llu", (unsigned long long)field(7)));
	until_reclaimed(checkpoints, 2);
	checkpoints = field(23) + 1;
	until_dropped(m.exceptions / 32 + 20);
	until_reclaimed(checkpoints, 2);
	must("limit", dm_message("o", NULL, "limit 0"));
	memory("after it");
}

static void do_full(void)
{
	until_dropped(20);
	must("limit", dm_message("o", NULL, "limit 0"));
	memory("after it");
}

static void do_take(u32 n)
{
	struct sample s = sample(true);
	u32 i;

	for (i = 0; i < n; i++) {
		u64 longest = 0;

		take();
		touches(1, &longest);
	}
	tell("a creation and a first write", &s, n);
	memory("after them");
}

static void do_many(u32 n)
{
	u64 id = field(7), begin = field(23);
	struct sample s = sample(true);
	u32 i;

	for (i = 0; i < n; i++)
		must("delete", dm_message("o", NULL, "delete %llu", (unsigned long long)(id + i)));
	tell("deletions, each", &s, n);
	printf("  %llu checkpoints meanwhile\n", (unsigned long long)(field(23) - begin));
	memory("after them");
}

int main(int argc, char **argv)
{
	int i;

	if (argc < 7) {
		fputs(usage_text, stderr);
		return 2;
	}
	m.area = argv[1];
	m.tile = argv[2];
	m.sectors = xnumber(argv[3]) << 21;
	m.exceptions = xnumber(argv[4]);
	m.copies = xnumber(argv[5]);
	m.trees = m.copies < SCATTER_TREES ? 1 : SCATTER_TREES;
	m.times = 1000;
	m.page = xbuffer(CHUNK_MAX);
	memset(m.page, 0x5a, CHUNK_MAX);
	rng_seed(&m.rng, 1);
	make_origin();
	activate("activate");
	memory("activated");
	for (i = 6; i < argc; i++) {
		if (!strcmp(argv[i], "activate")) {
			deactivate("deactivate");
			activate("activate again");
			memory("activated");
		} else if (!strcmp(argv[i], "checkpoint")) {
			do_checkpoint();
		} else if (!strcmp(argv[i], "list")) {
			do_list();
		} else if (!strcmp(argv[i], "create")) {
			do_create();
		} else if (!strcmp(argv[i], "read")) {
			do_read();
		} else if (!strcmp(argv[i], "touch")) {
			do_touch("first write");
		} else if (!strcmp(argv[i], "delete")) {
			do_delete(false);
		} else if (!strcmp(argv[i], "delete-oldest")) {
			do_delete(true);
		} else if (!strcmp(argv[i], "drop")) {
			do_drop();
		} else if (!strcmp(argv[i], "full")) {
			do_full();
		} else if (!strncmp(argv[i], "take=", 5)) {
			do_take(xnumber(argv[i] + 5));
		} else if (!strncmp(argv[i], "many=", 5)) {
			do_many(xnumber(argv[i] + 5));
		} else if (!strncmp(argv[i], "reads=", 6)) {
			m.times = xnumber(argv[i] + 6);
		} else {
			die("unknown step %s", argv[i]);
		}
	}
	deactivate("deactivate");
	return 0;
}
