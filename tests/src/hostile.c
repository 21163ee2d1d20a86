// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hostile input: diff areas with changed blocks whose checksums are right (see
 * `blocks mutate`), activated and used; and messages and tables made of words that
 * mean something in the wrong places.  Nearly all of it may fail, and what copies
 * show is anybody's guess; but the kernel must survive, each call return, and the
 * origin, unless merged, hold what was written to it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dm.h"
#include "stamp.h"

#define ORIGIN	"hostile-origin"
#define COPY	"hostile-copy"
#define STAMPS	1

static const char usage_text[] =
	"usage: hostile areas ORIGIN AREA ROUNDS SEED     ORIGIN is write 1, AREA inactive\n"
	"       hostile words ORIGIN AREA ROUNDS SEED     the same; AREA new\n";

static const char *origin_path, *area_path;
static u64 sectors;
static u32 *now;			/* what the origin must show */
static bool merged;			/* it may show anything, and fail */
static bool or_zeros;			/* what is exempt may read so */
static u32 sequence;
static u32 compared;			/* copies */
static struct dm_node origin, copy;
static struct rng rng;
static u8 *buf;

static void leave(void)
{
	dm_drop(&copy);
	dm_resume(ORIGIN);
	dm_drop(&origin);
}

static u8 *load(const char *path, u64 *count)
{
	int fd = open_device(path, O_RDONLY);
	u8 *data;

	*count = device_sectors(fd);
	data = xbuffer(*count * SECTOR);
	if (read_sectors(fd, data, 0, *count))
		die("%s can't be read", path);
	close(fd);
	return data;
}

static void store(const char *path, const u8 *data, u64 count)
{
	int fd = open_device(path, O_RDWR);

	if (write_sectors(fd, data, 0, count))
		die("%s can't be written", path);
	close(fd);
}

static int make_origin(void)
{
	char params[200];

	snprintf(params, sizeof(params), "%s %s", origin_path, area_path);
	return dm_make(&origin, ORIGIN, sectors, "shadow-origin", params);
}

/* It must show what @now says; zeros, too, if or_zeros. */
static void check(const char *path, const char *what)
{
	int fd = open_device(path, O_RDONLY), rc;
	u64 at, n, count;

	for (at = 0; at < sectors; at += count) {
		count = min(sectors - at, (u64)MIB / SECTOR);
		rc = read_sectors(fd, buf, at, count);
		if (merged)
			continue;
		if (rc)
			die("%s can't be read: %s", what, strerror(-rc));
		for (n = 0; n < count; n++) {
			n += stamp_compare(buf + n * SECTOR, STAMPS, at + n, count - n, now + at + n);
			if (n == count ||
			    (or_zeros && stamp_is(buf + n * SECTOR, STAMPS, at + n, 0)))
				continue;
			die("MISMATCH in %s, sector %llu", what, (unsigned long long)(at + n));
		}
	}
	close(fd);
}

static void check_origin(void)
{
	check(origin.path, "the origin");
}

/* Its size is the area's word: what lies behind the origin's end is not looked at. */
static void read_copy(u32 id)
{
	char params[200];
	u64 at;
	int fd;

	snprintf(params, sizeof(params), "%s %s %u", origin_path, area_path, id);
	if (dm_make(&copy, COPY, sectors, "shadow", params))
		return;
	fd = open_device(copy.path, O_RDONLY);
	for (at = 0; at < sectors; at += 128)
		read_sectors(fd, buf, at, min(sectors - at, (u64)128));
	close(fd);
	if (dm_drop(&copy))
		die("the node of copy %u stays", id);
}

static void write_some(void)
{
	u64 count = 1 + rng_below(&rng, 256), at = rng_below(&rng, sectors - count), i;
	int fd = open_device(origin.path, O_RDWR), rc;

	stamp(buf, STAMPS, at, count, ++sequence);
	rc = write_sectors(fd, buf, at, count);
	if (rc && !merged)
		die("the origin takes no write: %s", strerror(-rc));
	close(fd);
	for (i = at; i < at + count; i++)
		now[i] = sequence;
}

/* Ids of up to @max copies; returns how many. */
static u32 copies(u32 *ids, u32 max)
{
	char *list = NULL, *line;
	u32 n = 0;

	if (dm_message(ORIGIN, &list, "list") || !list)
		return 0;
	for (line = strtok(list, "\n"); line && n < max; line = strtok(NULL, "\n"))
		ids[n++] = strtoul(line, NULL, 10);
	free(list);
	return n;
}

static bool merging(void)
{
	char *field = dm_field(ORIGIN, 24);
	bool busy = strcmp(field, "-");

	free(field);
	return busy;
}

/* Letters of a copy's line in the list; empty: it is gone */
static void get_flags(u32 id, char flags[16])
{
	char *line = NULL;

	flags[0] = 0;
	if (dm_message(ORIGIN, &line, "list %u", id) == 0 && line)
		sscanf(line, "%*s %*s %*s %*s %*s %*s %15s", flags);
	free(line);
}

static void suspended_message(const char *format, u32 number)
{
	if (dm_suspend(ORIGIN))
		die("suspend failed");
	dm_message(ORIGIN, NULL, format, number);
	if (dm_resume(ORIGIN))
		die("resume failed");
}

/* What an administrator would do with it. */
static void use(void)
{
	u32 ids[8], n = copies(ids, ARRAY_SIZE(ids)), id = n ? ids[rng_below(&rng, n)] : 1, i;

	switch (rng_below(&rng, 12)) {
	case 0:
		suspended_message("create 00000000-0000-4000-8000-%012x", ++sequence);
		break;
	case 1:
		dm_message(ORIGIN, NULL, "delete %u", id);
		break;
	case 2:
		merged = true;
		suspended_message("merge %u", id);
		for (i = 0; i < 40 && merging(); i++)
			usleep(10000);
		break;
	case 3:
		dm_message(ORIGIN, NULL, "checkpoint");
		break;
	case 4:
		dm_message(ORIGIN, NULL, "scrub start");
		break;
	case 5:
		dm_message(ORIGIN, NULL, "lock %u %u", id, 1 + (u32)rng_below(&rng, 1000));
		break;
	case 6:
		dm_message(ORIGIN, NULL, "exempt %u begin", id);
		dm_message(ORIGIN, NULL, "exempt %u run 3 2 9 1 30 4", id);
		dm_message(ORIGIN, NULL, "exempt %u end", id);
		break;
	case 7:
		dm_message(ORIGIN, NULL, "resize");
		break;
	case 8:
		read_copy(id);
		break;
	default:
		write_some();
	}
}

static void all_of(u32 rounds, u64 seed, bool (*round)(u64 seed))
{
	u32 i, used = 0;

	for (i = 0; i < rounds; i++) {
		printf("seed %llu:", (unsigned long long)(seed + i));
		fflush(stdout);
		rng_seed(&rng, seed + i);
		used += round(seed + i);
	}
	printf("%u rounds, %u of them activated\n", rounds, used);
}

/* --- areas ------------------------------------------------------------------- */

static u8 *origin_image, *area_image;
static u64 area_sectors;

static bool try_area(u64 seed)
{
	u32 ids[8], n, i;
	char command[300];

	store(origin_path, origin_image, sectors);
	store(area_path, area_image, area_sectors);
	snprintf(command, sizeof(command), "blocks mutate %s %llu", area_path,
		 (unsigned long long)seed);
	if (system(command))
		die("blocks failed");
	snprintf(command, sizeof(command), "shadowctl check --data %s >check.log 2>&1", area_path);
	if (system(command) & 0x7f)
		die("shadowctl check died");
	if (make_origin())
		return false;
	/* Writes shall not wait for hours. */
	dm_message(ORIGIN, NULL, "when_full drop-oldest");
	/* A merge may go on, and bring home what this says. */
	merged = merging();
	for (i = 0; i < sectors; i++)
		now[i] = 1;
	sequence = 1;
	check_origin();
	n = copies(ids, ARRAY_SIZE(ids));
	for (i = 0; i < n; i++)
		read_copy(ids[i]);
	for (i = 0; i < 12; i++)
		use();
	check_origin();
	if (dm_drop(&origin))
		die("deactivation failed");
	/* What was written meanwhile need not be sound either. */
	if (make_origin() == 0) {
		check_origin();
		if (dm_drop(&origin))
			die("second deactivation failed");
	}
	return true;
}

/* --- words -------------------------------------------------------------------- */

static const char *const words[] = {
	"create", "commit", "delete", "attr", "lock", "exempt", "merge", "scrub", "limit",
	"when_full", "low_space", "resize", "fingerprint", "checkpoint", "trust", "list", "begin",
	"run", "end", "abort", "start", "stop", "drop-oldest", "invalidate", "block", "set",
	"members", "state", "preparing", "0", "1", "2", "3", "4", "5", "7", "100", "-1", "+1",
	"4294967295", "4294967296", "18446744073709551615", "18446744073709551616", "1e3", "0x10",
	"01", "1 ", "%s%n", "@", "cafe", "caf", "00000000-0000-4000-8000-000000000001",
	"00000000-0000-4000-8000-000000000002", "00000000-0000-4000-8000-00000000000g", "cache_kib",
	"1024", "1023", "16384", "a very long word, or so it may look to those who read it",
};

static const char *some_word(void)
{
	return words[rng_below(&rng, ARRAY_SIZE(words))];
}

/* A message that begins with a command more often than not */
static void some_message(char *text, size_t size)
{
	u32 n = rng_below(&rng, 6), i;

	snprintf(text, size, "%s", rng_chance(&rng, 80) ? words[rng_below(&rng, 16)] : some_word());
	for (i = 0; i < n; i++) {
		size_t used = strlen(text);

		/* Numbers are what most commands want. */
		snprintf(text + used, size - used, " %s",
			 rng_chance(&rng, 40) ? words[29 + rng_below(&rng, 6)] : some_word());
	}
}

static void some_table(void)
{
	static const char *const targets[] = { "shadow", "shadow-origin" };
	const char *target = targets[rng_below(&rng, 2)];
	char params[600];
	u32 n = rng_below(&rng, 5), i;
	struct dm_node node;

	snprintf(params, sizeof(params), "%s %s", rng_chance(&rng, 80) ? origin_path : some_word(),
		 rng_chance(&rng, 80) ? area_path : some_word());
	for (i = 0; i < n; i++) {
		size_t used = strlen(params);

		snprintf(params + used, sizeof(params) - used, " %s", some_word());
	}
	if (dm_make(&node, COPY, rng_chance(&rng, 80) ? sectors : 1 + rng_below(&rng, 2 * sectors),
		    target, params) == 0 && dm_drop(&node))
		die("the node of table '%s' stays", params);
	if (rng_chance(&rng, 30) && dm_load(ORIGIN, sectors, "shadow-origin", params) == 0 &&
	    dm_resume(ORIGIN))
		die("resume with table '%s' failed", params);
}

/*
 * Nothing is written, so that origin and copies are write 1, but for zeros where a copy
 * is exempt; the origin shows these while it is merged to that copy.
 */
static void check_words(u64 seed)
{
	char flags[16], params[200], what[30];
	u32 ids[8], n, i;

	n = copies(ids, ARRAY_SIZE(ids));
	or_zeros = false;
	for (i = 0; i < n && !or_zeros; i++) {
		get_flags(ids[i], flags);
		or_zeros = strchr(flags, 'm') && strchr(flags, 'e');
	}
	check_origin();
	for (i = 0; i < n && i < 3; i++) {
		u32 id = ids[(seed + i) % n];

		get_flags(id, flags);
		if (!flags[0] || strpbrk(flags, "ip"))
			continue;
		snprintf(params, sizeof(params), "%s %s %u", origin_path, area_path, id);
		if (dm_make(&copy, COPY, sectors, "shadow", params))
			die("copy %u can't be opened", id);
		snprintf(what, sizeof(what), "copy %u", id);
		or_zeros = strchr(flags, 'e');
		check(copy.path, what);
		compared++;
		if (dm_drop(&copy))
			die("the node of copy %u stays", id);
	}
}

/* Three copies at least for words to meet, one of them with exempt runs */
static void make_copies(void)
{
	u32 ids[8], n;

	for (n = copies(ids, ARRAY_SIZE(ids)); n < 3; n++)
		suspended_message("create 00000000-0000-4000-8000-%012x", ++sequence);
	n = copies(ids, ARRAY_SIZE(ids));
	if (n) {
		dm_message(ORIGIN, NULL, "exempt %u begin", ids[n - 1]);
		dm_message(ORIGIN, NULL, "exempt %u run 3 2 9 1 30 4", ids[n - 1]);
		dm_message(ORIGIN, NULL, "exempt %u end", ids[n - 1]);
	}
}

static bool try_words(u64 seed)
{
	bool suspended = seed % 4 == 0;
	char text[1000];
	u32 i;

	if (!origin.name[0] && make_origin())
		die("activation failed");
	make_copies();
	if (suspended && dm_suspend(ORIGIN))
		die("suspend failed");
	for (i = 0; i < 50; i++) {
		some_message(text, sizeof(text));
		dm_message(ORIGIN, NULL, "%s", text);
		if (!suspended && rng_chance(&rng, 20))
			some_table();
	}
	if (suspended && dm_resume(ORIGIN))
		die("resume failed");
	check_words(seed);
	if (seed % 8 == 0 && dm_drop(&origin))
		die("deactivation failed");
	printf(" alive\n");
	return true;
}

int main(int argc, char **argv)
{
	bool areas = argc > 1 && !strcmp(argv[1], "areas");
	u32 rounds, i;

	if (argc != 6 || (!areas && strcmp(argv[1], "words"))) {
		fputs(usage_text, stderr);
		return 2;
	}
	origin_path = argv[2];
	area_path = argv[3];
	rounds = xnumber(argv[4]);
	buf = xbuffer(MIB);
	origin_image = load(origin_path, &sectors);
	area_image = load(area_path, &area_sectors);
	now = xmalloc(sectors * sizeof(u32));
	for (i = 0; i < sectors; i++)
		now[i] = 1;
	atexit(leave);
	all_of(rounds, xnumber(argv[5]), areas ? try_area : try_words);
	if (areas)
		printf("figure: changed diff areas activated or refused %u\n", rounds);
	else
		printf("%u copies compared\nfigure: messages of random words %u\n", compared,
		       rounds * 50);
	return 0;
}
