// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is done with dm-shadow's nodes, again and again, with another fault each time.
 *
 * memory: each allocation in an ioctl fails in turn, by the kernel's fail-nth.  It must
 * fail with ENOMEM and change nothing, or succeed; the diff area must stay writable
 * and the copies right.
 *
 * io: requests to a device fail in turn, dm-failnth's: the first, the second, then about
 * one in fifteen, or all.  The origin must stay right and, unless its own device failed,
 * readable and writable; a copy is right, or gives errors, or is gone or invalid, now and
 * after the next activation.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dm.h"
#include "stamp.h"

#define ORIGIN	"faults-origin"
#define COPY	"faults-copy"
#define SEED	1

static const char *origin_path, *area_path;
static u64 sectors;
static u32 *now, *first_map, *second_map, *third_map;	/* what each must show */
static u32 first, second, third;		/* copies; the third comes and goes */
static u32 sequence = 1;
static struct dm_node origin, copy;
static u8 *buf;
static u32 sites;				/* faults */
static bool tolerant;				/* errors may be seen */
static bool write_may_fail;			/* for a while */
static bool thorough;
static const char *doing = "";

static void leave(void)
{
	dm_fail_nth = 0;
	dm_drop(&copy);
	dm_resume(ORIGIN);
	dm_drop(&origin);
}

/* It passes, if it may fail at first; until then a part may be written. */
static int write_patiently(u64 sector, const u8 *data, u64 count)
{
	int fd = open_device(origin.path, O_RDWR), rc;
	u64 start = now_ms();

	rc = write_sectors(fd, data, sector, count);
	while (rc && write_may_fail && now_ms() - start < 60000) {
		usleep(100000);
		rc = write_sectors(fd, data, sector, count);
	}
	close(fd);
	return rc;
}

static void write_range(u64 sector, u64 count)
{
	u64 i;
	int rc;

	stamp(buf, SEED, sector, count, ++sequence);
	rc = write_patiently(sector, buf, count);
	if (rc)
		die("%s: write: %s", doing, strerror(-rc));
	for (i = sector; i < sector + count; i++)
		now[i] = sequence;
}

struct writer {
	pthread_t thread;
	u64 sector;
	int rc;
};

static void *write_block(void *writer)
{
	struct writer *w = writer;
	u8 *data = xbuffer(8 * SECTOR);

	stamp(data, SEED, w->sector, 8, sequence);
	w->rc = write_patiently(w->sector, data, 8);
	free(data);
	return NULL;
}

/* Blocks @step apart, at the same time */
static void write_at_once(u64 sector, u64 step)
{
	struct writer w[6];
	u32 i, k;

	sequence++;
	for (i = 0; i < ARRAY_SIZE(w); i++) {
		w[i].sector = sector + i * step;
		if (pthread_create(&w[i].thread, NULL, write_block, &w[i]))
			die("no thread");
	}
	for (i = 0; i < ARRAY_SIZE(w); i++) {
		pthread_join(w[i].thread, NULL);
		if (w[i].rc)
			die("%s: write: %s", doing, strerror(-w[i].rc));
		for (k = 0; k < 8; k++)
			now[w[i].sector + k] = sequence;
	}
}

static void verify_range(int fd, const char *what, const u32 *map, u64 at, u64 count)
{
	int rc = read_sectors(fd, buf, at, count);
	u64 n;

	if (rc && tolerant && count > 8) {
		for (n = 0; n < count; n += 8)
			verify_range(fd, what, map, at + n, 8);
		return;
	}
	if (rc && tolerant)
		return;
	if (rc)
		die("%s: %s: read: %s", doing, what, strerror(-rc));
	n = stamp_compare(buf, SEED, at, count, map + at);
	if (n < count)
		die("%s: MISMATCH in %s, sector %llu", doing, what, (unsigned long long)(at + n));
}

static void verify(const char *path, const char *what, const u32 *map)
{
	int fd = open_device(path, O_RDONLY);
	u64 at;

	for (at = 0; at < sectors; at += MIB / SECTOR)
		verify_range(fd, what, map, at, MIB / SECTOR);
	close(fd);
}

static int show(u32 id)
{
	char params[200];

	snprintf(params, sizeof(params), "%s %s %u", origin_path, area_path, id);
	return dm_make(&copy, COPY, sectors, "shadow", params);
}

static void verify_all(void)
{
	const struct { u32 id; const u32 *map; } all[] = {
		{ first, first_map }, { second, second_map },
	};
	char *mode = dm_field(ORIGIN, 1);
	u32 i;

	if (strcmp(mode, "rw"))
		die("%s: the diff area is %s", doing, mode);
	free(mode);
	verify(origin.path, "origin", now);
	for (i = 0; i < ARRAY_SIZE(all); i++) {
		int rc = show(all[i].id);

		if (rc)
			die("%s: copy %u: %s", doing, all[i].id, strerror(-rc));
		verify(copy.path, i ? "second copy" : "first copy", all[i].map);
		dm_drop(&copy);
	}
}

/* --- what is done, with and without faults ---------------------------------- */

static int message(const char *text)
{
	return dm_message(ORIGIN, NULL, "%s", text);
}

static u32 take(void)
{
	char *reply = NULL;
	u32 id;
	int rc;

	if (dm_suspend(ORIGIN))
		die("%s: suspend failed", doing);
	rc = dm_message(ORIGIN, &reply, "create 00000000-0000-4000-8000-%012x", ++sequence);
	if (dm_resume(ORIGIN))
		die("%s: resume failed", doing);
	if (rc)
		die("%s: create: %s", doing, strerror(-rc));
	id = atoi(reply);
	free(reply);
	memcpy(third_map, now, sectors * sizeof(u32));
	return id;
}

static int make_origin(void)
{
	char params[200];

	snprintf(params, sizeof(params), "%s %s", origin_path, area_path);
	return dm_make(&origin, ORIGIN, sectors, "shadow-origin", params);
}

/* Something for a checkpoint to write */
static void prepare_work(void)
{
	third = take();
	write_range(2048, 1024);
}

static void prepare_third(void)
{
	third = take();
}

static void prepare_exempt_run(void)
{
	third = take();
	if (dm_message(ORIGIN, NULL, "exempt %u begin", third))
		die("exempt begin");
}

static void prepare_exempt_end(void)
{
	prepare_exempt_run();
	if (dm_message(ORIGIN, NULL, "exempt %u run 3 2 9 1 30 4", third))
		die("exempt run");
}

static void drop_third(void)
{
	char *list;

	if (dm_message(ORIGIN, &list, "list %u", third) == 0 && list &&
	    dm_message(ORIGIN, NULL, "delete %u", third))
		die("%s: the third copy can't be deleted", doing);
	free(list);
}

static void prepare_suspended(void)
{
	if (dm_suspend(ORIGIN))
		die("%s: suspend failed", doing);
}

static void resume(void)
{
	if (dm_resume(ORIGIN))
		die("%s: resume failed", doing);
}

static int do_create(void)
{
	char *reply = NULL;
	int rc = dm_message(ORIGIN, &reply, "create 00000000-0000-4000-8000-%012x", ++sequence);

	third = reply ? atoi(reply) : 0;
	free(reply);
	memcpy(third_map, now, sectors * sizeof(u32));
	return rc;
}

static void undo_create(void)
{
	resume();
	if (third)
		drop_third();
}

static int do_delete(void)
{
	return dm_message(ORIGIN, NULL, "delete %u", third);
}

static int do_exempt_begin(void)
{
	return dm_message(ORIGIN, NULL, "exempt %u begin", third);
}

static int do_exempt_run(void)
{
	return dm_message(ORIGIN, NULL, "exempt %u run 3 2 9 1 30 4", third);
}

static int do_exempt_end(void)
{
	return dm_message(ORIGIN, NULL, "exempt %u end", third);
}

static int do_lock(void) { return message("lock 1 4000000000"); }
static void undo_lock(void) { message("lock 1 0"); }
static int do_attr(void) { return message("attr 1 00ff11ee"); }
static int do_limit(void) { return message("limit 900"); }
static void undo_limit(void) { message("limit 0"); }
static int do_low_space(void) { return message("low_space 77"); }
static int do_when_full(void) { return message("when_full block 3"); }
static void undo_when_full(void) { message("when_full drop-oldest"); }
static int do_checkpoint(void) { return message("checkpoint"); }
static int do_fingerprint(void) { return message("fingerprint 1 2 3"); }
static int do_list(void) { return message("list"); }
static int do_suspend(void) { return dm_suspend(ORIGIN); }
static int do_resume(void) { return dm_resume(ORIGIN); }
static int do_show(void) { return show(first); }
static void undo_show(void) { dm_drop(&copy); }

static int do_reload(void)
{
	char params[200];

	snprintf(params, sizeof(params), "%s %s", origin_path, area_path);
	return dm_load(ORIGIN, sectors, "shadow-origin", params);
}

static int do_merge(void)
{
	return dm_message(ORIGIN, NULL, "merge %u", first);
}

static bool merging(void)
{
	char *field = dm_field(ORIGIN, 24);
	bool busy = strcmp(field, "-");

	free(field);
	return busy;
}

/* It may have been refused. */
static void undo_merge(void)
{
	u64 start = now_ms();

	if (merging())
		memcpy(now, first_map, sectors * sizeof(u32));
	resume();
	while (merging()) {
		if (now_ms() - start > 60000)
			die("a merge does not end");
		usleep(20000);
	}
}

static int do_remove(void)
{
	return dm_drop(&origin);
}

static void undo_remove(void)
{
	if (!origin.name[0] && make_origin())
		die("%s: can't be activated again", doing);
	drop_third();
}

static const struct step {
	const char *name;
	void (*prepare)(void);
	int (*run)(void);
	void (*undo)(void);
	bool small;			/* a request or two: not each kind of I/O error */
} steps[] = {
	{ "list", NULL, do_list, NULL, true },
	{ "open a copy", NULL, do_show, undo_show, false },
	{ "lock", NULL, do_lock, undo_lock, true },
	{ "attr", NULL, do_attr, NULL, true },
	{ "limit", NULL, do_limit, undo_limit, true },
	{ "low_space", NULL, do_low_space, NULL, true },
	{ "when_full", NULL, do_when_full, undo_when_full, true },
	{ "fingerprint", NULL, do_fingerprint, NULL, true },
	{ "suspend", NULL, do_suspend, resume, false },
	{ "resume", prepare_suspended, do_resume, resume, false },
	{ "create", prepare_suspended, do_create, undo_create, false },
	{ "checkpoint", prepare_work, do_checkpoint, drop_third, false },
	{ "delete", prepare_third, do_delete, drop_third, false },
	{ "exempt begin", prepare_third, do_exempt_begin, drop_third, true },
	{ "exempt run", prepare_exempt_run, do_exempt_run, drop_third, true },
	{ "exempt end", prepare_exempt_end, do_exempt_end, drop_third, false },
	{ "load another table", NULL, do_reload, NULL, true },
	{ "merge", prepare_suspended, do_merge, undo_merge, false },
	{ "deactivate", prepare_work, do_remove, undo_remove, false },
};

/* The next allocation to fail: all at first, then, unless it shall be long, some. */
static u32 after(u32 n)
{
	sites++;
	return n < 60 || thorough ? n + 1 : n + 1 + mix(n) % 16;
}

/* Device-mapper itself may find another word for it. */
static void accept(int rc, bool failed)
{
	if (rc && !failed)
		die("%s: %s", doing, strerror(-rc));
	if (rc && rc != -ENOMEM)
		printf("note: %s: %s\n", doing, strerror(-rc));
}

/* All of @s, with failing allocation 1, 2, ... until there is none. */
static void try(const struct step *s)
{
	u32 n, refused = 0;
	bool failed;
	char text[100];
	int rc;

	for (n = 1; ; n = after(n)) {
		snprintf(text, sizeof(text), "%s, allocation %u", s->name, n);
		doing = text;
		if (s->prepare)
			s->prepare();
		dm_fail_nth = n;
		dm_failed = false;
		rc = s->run();
		failed = dm_failed;
		dm_fail_nth = 0;
		accept(rc, failed);
		refused += !!rc;
		if (s->undo)
			s->undo();
		if (!failed)
			break;
		if (n % 8 == 0)
			verify_all();
	}
	verify_all();
	printf("%s: fewer than %u allocations, %u times refused\n", s->name, n, refused);
	doing = "";
}

/* --- activation ------------------------------------------------------------- */

/* Both devices at some moment, and what the origin showed then. */
struct state {
	u8 *origin, *area;
	u64 area_sectors;
	u32 *now;
};

static void keep(struct state *s)
{
	int o = open_device(origin_path, O_RDONLY), a = open_device(area_path, O_RDONLY);

	s->area_sectors = device_sectors(a);
	s->origin = xbuffer(sectors * SECTOR);
	s->area = xbuffer(s->area_sectors * SECTOR);
	if (read_sectors(o, s->origin, 0, sectors) || read_sectors(a, s->area, 0, s->area_sectors))
		die("the devices can't be read");
	close(o);
	close(a);
	s->now = xmalloc(sectors * sizeof(u32));
	memcpy(s->now, now, sectors * sizeof(u32));
}

static void lay(const struct state *s)
{
	int o = open_device(origin_path, O_RDWR), a = open_device(area_path, O_RDWR);

	if (write_sectors(o, s->origin, 0, sectors) ||
	    write_sectors(a, s->area, 0, s->area_sectors))
		die("the devices can't be written");
	close(o);
	close(a);
	memcpy(now, s->now, sectors * sizeof(u32));
}

static void try_activation(const char *what, const struct state *s)
{
	u32 n, refused = 0;
	char text[100];
	bool failed;
	int rc;

	lay(s);
	for (n = 1; ; n = after(n)) {
		snprintf(text, sizeof(text), "%s, allocation %u", what, n);
		doing = text;
		dm_fail_nth = n;
		dm_failed = false;
		rc = make_origin();
		failed = dm_failed;
		dm_fail_nth = 0;
		accept(rc, failed);
		if (rc) {
			refused++;
			continue;
		}
		verify_all();
		if (dm_drop(&origin))
			die("%s: deactivation failed", doing);
		if (!failed)
			break;
		lay(s);
	}
	printf("%s: fewer than %u allocations, %u times refused\n", what, n, refused);
}

/* --- I/O ---------------------------------------------------------------------- */

/* The first SMALL_FAULTS do for what has little I/O of its own. */
static const struct io_fault {
	const char *name;
	const char **path;
	const char *kind;
	u32 count;			/* that fail */
} io_faults[] = {
	{ "writes of the area", &area_path, "writes", 1 },
	{ "reads of the area", &area_path, "reads", 1 },
	{ "many reads of the area", &area_path, "reads", 8 },
	{ "many writes of the area", &area_path, "writes", 40 },
	{ "writes of the origin", &origin_path, "writes", 1 },
	{ "reads of the origin", &origin_path, "reads", 1 },
};

#define SMALL_FAULTS 2

/* The @n'th request fails, and what follows; 0: none. */
static void arm(const struct io_fault *f, u32 n)
{
	if (dm_message(basename(*f->path), NULL, "%s %u %u", f->kind, n, f->count))
		die("%s is no failnth", *f->path);
}

static bool did_fail(const struct io_fault *f)
{
	char *failed = dm_field(basename(*f->path), 2);
	bool any = strcmp(failed, "0");

	free(failed);
	return any;
}

/* Letters of a copy's line in the list; empty: it is gone */
static void get_flags(u32 id, char flags[16])
{
	char *line = NULL;

	flags[0] = 0;
	if (id && dm_message(ORIGIN, &line, "list %u", id) == 0 && line)
		sscanf(line, "%*s %*s %*s %*s %*s %*s %15s", flags);
	free(line);
}

/* Returns how many copies are lost. */
static u32 verify_what_is_left(bool merged, bool origin_fails)
{
	const struct { u32 id; const u32 *map; const char *name; } all[] = {
		{ first, first_map, "first copy" }, { second, second_map, "second copy" },
		{ third, third_map, "third copy" },
	};
	u32 i, lost = 0;
	char flags[16];

	tolerant = merged || origin_fails;
	verify(origin.path, "origin", now);
	tolerant = true;
	for (i = 0; i < ARRAY_SIZE(all); i++) {
		get_flags(all[i].id, flags);
		if (!flags[0] || strchr(flags, 'i')) {
			lost += i < 2;
			continue;
		}
		if (strpbrk(flags, "ep"))
			continue;
		if (show(all[i].id))
			die("%s: %s can't be opened", doing, all[i].name);
		verify(copy.path, all[i].name, all[i].map);
		dm_drop(&copy);
	}
	tolerant = false;
	return lost;
}

/* More requests to fail: saves, then what a checkpoint writes. */
static void go_on(void)
{
	u64 at = sectors / 2;

	write_range(at, 64);
	write_range(at + 500, 8);
	write_at_once(64, 64);
	message("checkpoint");
	write_at_once(at + 1000, 64);
}

/* Returns the lost copies, or -1 if there were not so many requests. */
static int try_io_once(const struct step *s, const struct io_fault *f, const struct state *from,
		       u32 n)
{
	bool merged = s->run == do_merge, failed, origin_fails = f->path == &origin_path;
	int lost;
	u64 i;

	lay(from);
	third = 0;
	if (make_origin())
		die("%s: activation failed", doing);
	if (s->prepare)
		s->prepare();
	/* What a merge has not brought home is in the area. */
	write_may_fail = merged || origin_fails;
	arm(f, n);
	if (s->run() == 0 && merged)
		memcpy(now, first_map, sectors * sizeof(u32));
	if (origin.name[0]) {
		resume();
		go_on();
	}
	for (i = 0; merged && merging() && i < 100; i++)
		usleep(20000);
	failed = did_fail(f);
	arm(f, 0);
	write_may_fail = false;
	dm_drop(&copy);
	if (origin.name[0])
		verify_what_is_left(merged, origin_fails);
	if (dm_drop(&origin))
		die("%s: deactivation failed", doing);
	if (make_origin())
		die("%s: can't be activated again", doing);
	lost = verify_what_is_left(merged, origin_fails);
	if (dm_drop(&origin))
		die("%s: second deactivation failed", doing);
	return failed ? lost : -1;
}

static void try_io(const struct step *s, const struct io_fault *f, const struct state *from)
{
	u32 n, nr_lost = 0, tries = 0;
	char text[100];
	int lost;

	for (n = 1; ; n += thorough || n < 2 ? 1 : 1 + mix(n + f->count) % 30) {
		snprintf(text, sizeof(text), "%s, %s from number %u", s->name, f->name, n);
		doing = text;
		lost = try_io_once(s, f, from, n);
		if (lost < 0)
			break;
		sites++;
		tries++;
		nr_lost += lost > 0;
	}
	printf("%s, %s: fewer than %u, %u tried, copies lost by %u\n", s->name, f->name, n, tries,
	       nr_lost);
	doing = "";
}

/* --- all of it ----------------------------------------------------------------- */

/* Two copies; the diff area has an index and a journal. */
static void build(void)
{
	u32 i;

	if (make_origin())
		die("activation failed");
	for (i = 0; i < sectors; i += 1024)
		write_range(i, 1024);
	first = take();
	memcpy(first_map, now, sectors * sizeof(u32));
	for (i = 0; i < sectors / 2; i += 1024)
		write_range(i, 1024);
	second = take();
	memcpy(second_map, now, sectors * sizeof(u32));
	message("checkpoint");
	for (i = 0; i < sectors / 2; i += 2048)
		write_range(i, 100);
}

static void memory_faults(void)
{
	struct state crashed, clean;
	u32 i;

	keep(&crashed);
	for (i = 0; i < ARRAY_SIZE(steps); i++)
		try(&steps[i]);
	if (dm_drop(&origin))
		die("deactivation failed");
	keep(&clean);
	try_activation("activation", &clean);
	try_activation("recovery", &crashed);
	printf("figure: allocations made to fail %u\n", sites);
}

static void device_faults(void)
{
	struct state crashed;
	u32 i, j, count;

	keep(&crashed);
	if (dm_drop(&origin))
		die("deactivation failed");
	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		count = steps[i].small && !thorough ? SMALL_FAULTS : ARRAY_SIZE(io_faults);
		for (j = 0; j < count; j++)
			try_io(&steps[i], &io_faults[j], &crashed);
	}
	printf("figure: requests made to fail %u\n", sites);
}

int main(int argc, char **argv)
{
	bool memory = argc > 1 && !strcmp(argv[1], "memory");
	int fd;

	if ((argc != 4 && argc != 5) || (!memory && strcmp(argv[1], "io"))) {
		fputs("usage: faults memory|io ORIGIN AREA [all]\n", stderr);
		return 2;
	}
	thorough = argc == 5;
	origin_path = argv[2];
	area_path = argv[3];
	fd = open_device(origin_path, O_RDWR);
	sectors = device_sectors(fd) / (MIB / SECTOR) * (MIB / SECTOR);
	close(fd);
	buf = xbuffer(MIB);
	now = xmalloc(sectors * sizeof(u32));
	first_map = xmalloc(sectors * sizeof(u32));
	second_map = xmalloc(sectors * sizeof(u32));
	third_map = xmalloc(sectors * sizeof(u32));
	atexit(leave);
	build();
	if (memory)
		memory_faults();
	else
		device_faults();
	return 0;
}
