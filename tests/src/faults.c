// SPDX-License-Identifier: GPL-2.0-only
/*
 * No memory: every ioctl on dm-shadow's nodes, with each allocation in it failing
 * in turn, by the kernel's fail-nth.  It must fail with ENOMEM and change nothing,
 * or succeed; the diff area must stay writable and the copies right.
 */
#include <errno.h>
#include <fcntl.h>
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
static u32 *now, *first_map, *second_map;	/* what each must show */
static u32 first, second, third;		/* copies; the third comes and goes */
static u32 sequence = 1;
static struct dm_node origin, copy;
static u8 *buf;
static u32 sites;				/* allocations that failed */
static bool thorough;
static const char *doing = "";

static void leave(void)
{
	dm_fail_nth = 0;
	dm_drop(&copy);
	dm_resume(ORIGIN);
	dm_drop(&origin);
}

static void write_range(u64 sector, u64 count)
{
	int fd = open_device(origin.path, O_RDWR), rc;
	u64 i;

	stamp(buf, SEED, sector, count, ++sequence);
	rc = write_sectors(fd, buf, sector, count);
	if (rc)
		die("%s: write: %s", doing, strerror(-rc));
	close(fd);
	for (i = sector; i < sector + count; i++)
		now[i] = sequence;
}

static void verify(const char *path, const char *what, const u32 *map)
{
	int fd = open_device(path, O_RDONLY), rc;
	u64 at, n;

	for (at = 0; at < sectors; at += MIB / SECTOR) {
		rc = read_sectors(fd, buf, at, MIB / SECTOR);
		if (rc)
			die("%s: %s: read: %s", doing, what, strerror(-rc));
		n = stamp_compare(buf, SEED, at, MIB / SECTOR, map + at);
		if (n < MIB / SECTOR)
			die("%s: MISMATCH in %s, sector %llu", doing, what,
			    (unsigned long long)(at + n));
	}
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
} steps[] = {
	{ "list", NULL, do_list, NULL },
	{ "open a copy", NULL, do_show, undo_show },
	{ "lock", NULL, do_lock, undo_lock },
	{ "attr", NULL, do_attr, NULL },
	{ "limit", NULL, do_limit, undo_limit },
	{ "low_space", NULL, do_low_space, NULL },
	{ "when_full", NULL, do_when_full, undo_when_full },
	{ "fingerprint", NULL, do_fingerprint, NULL },
	{ "suspend", NULL, do_suspend, resume },
	{ "resume", prepare_suspended, do_resume, resume },
	{ "create", prepare_suspended, do_create, undo_create },
	{ "checkpoint", prepare_work, do_checkpoint, drop_third },
	{ "delete", prepare_third, do_delete, drop_third },
	{ "exempt begin", prepare_third, do_exempt_begin, drop_third },
	{ "exempt run", prepare_exempt_run, do_exempt_run, drop_third },
	{ "exempt end", prepare_exempt_end, do_exempt_end, drop_third },
	{ "load another table", NULL, do_reload, NULL },
	{ "merge", prepare_suspended, do_merge, undo_merge },
	{ "deactivate", prepare_work, do_remove, undo_remove },
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

int main(int argc, char **argv)
{
	struct state crashed, clean;
	u32 i;
	int fd;

	if (argc != 3 && argc != 4) {
		fputs("usage: faults ORIGIN AREA [all]\n", stderr);
		return 2;
	}
	thorough = argc == 4;
	origin_path = argv[1];
	area_path = argv[2];
	fd = open_device(origin_path, O_RDWR);
	sectors = device_sectors(fd) / (MIB / SECTOR) * (MIB / SECTOR);
	close(fd);
	buf = xbuffer(MIB);
	now = xmalloc(sectors * sizeof(u32));
	first_map = xmalloc(sectors * sizeof(u32));
	second_map = xmalloc(sectors * sizeof(u32));
	atexit(leave);
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
	keep(&crashed);
	for (i = 0; i < ARRAY_SIZE(steps); i++)
		try(&steps[i]);
	if (dm_drop(&origin))
		die("deactivation failed");
	keep(&clean);
	try_activation("activation", &clean);
	try_activation("recovery", &crashed);
	printf("figure: allocations made to fail %u\n", sites);
	return 0;
}
