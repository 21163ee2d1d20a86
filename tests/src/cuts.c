// SPDX-License-Identifier: GPL-2.0-only
/*
 * Power cuts.  A run of stomp on an origin and a diff area that are two slices
 * of one dm-recorder device has left a log, which has the order of events across
 * both, and a history, which knows what each copy must show.
 *
 * For each cut: lay what a power cut would have left on two scratch devices,
 * activate, compare every copy that existed and the origin with the history.
 * What must hold is told by marks in the log:
 *
 *	created-ID	the copy must be there from now on
 *	deleting-ID, deleted-ID		it may be gone; it must be
 *	exempting-ID, exempted-ID	its exempt runs may be there; they must
 *	merging-N, merged-N		a merge is under way
 *	sync-N		operations up to N are on stable media
 *	dropped-ID	(later) the copy went for want of space, some time before
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dm.h"
#include "history.h"
#include "log.h"
#include "stamp.h"

#define ORIGIN	"cuts-origin"
#define COPY	"cuts-copy"
#define PIECE	(MIB / SECTOR)

static const char usage_text[] =
	"usage: cuts MODE LOG HISTORY ORIGIN AREA [--count N] [--seed N] [--only KIND]\n"
	"            [--merging] [--at EVENT] [--go-on PERCENT] [--check PERCENT]\n"
	"ORIGIN and AREA are scratch devices, as large as the slices were.  MODE:\n"
	"  boundary   at the end of each flush and FUA write, nothing lost\n"
	"  lose       anywhere, some of what is not flushed lost or torn\n"
	"  lose-all   anywhere, all of it lost\n"
	"  origin     anywhere, what went to the diff area lost, to the origin not\n"
	"  area       anywhere, what went to the origin lost, to the diff area not\n"
	"  torn       when a write has just begun, that one torn\n"
	"--only: cut only at writes to origin, super, journal, bitmap or rest (of the area)\n"
	"--merging: cut only while a merge is under way\n"
	"--count: so many, spread evenly; --at: this one\n"
	"--go-on: after so many percent of them write, create, compare again (default 20)\n"
	"--check: before and after so many percent run shadowctl check (default 20)\n";

/* As enum cut_mode. */
static const char *const mode_names[] = {
	"boundary", "lose", "lose-all", "origin", "area", "torn",
};

enum kind { ORIGIN_DATA, SUPER, JOURNAL, BITMAP, REST, ANY };
static const char *const kind_names[] = {
	"origin", "super", "journal", "bitmap", "rest", "any",
};

static struct {
	enum cut_mode mode;
	enum kind only;
	u64 count, seed, at;
	bool merging;
	u32 go_on, check;
	const char *origin, *area;
} opt = { .only = ANY, .seed = 1, .at = -1ull, .go_on = 20, .check = 20 };

static struct log recording;
static struct history history;
static u64 origin_sectors, area_sectors, total;
static u64 journal_block, journal_blocks, bitmap_block, bitmap_blocks;
static int origin_fd, area_fd;			/* scratch */
static u8 *image;				/* what the cut leaves */
static u8 *buf;				/* a piece */
static struct dm_node origin_node, copy_node;
static int copy_fd = -1;
static struct rng chance;
static u64 cut_at;
static bool merge_runs;
static u32 made, went_on, copies_checked;

/* --- what must hold now ----------------------------------------------------- */

struct fate {
	bool created, deleting, deleted, exempting, exempted;
	bool dropped;			/* sooner or later */
};

static struct fate *fates;			/* as history.copies */
static u32 synced, synced_op;			/* number; index into history.ops */
static u32 *durable;				/* the origin's map, up to synced */
static u8 *maybe_zero;				/* discarded since */
static bool drops;				/* there was a limit */
static const char *on = "";			/* said of what comes after the cut */

static void leave(void)
{
	if (copy_fd >= 0)
		close(copy_fd);
	dm_drop(&copy_node);
	dm_drop(&origin_node);
}

static void wrong(const char *what, u32 id, u64 sector, const char *expected, const void *found)
{
	char text[100];

	die("MISMATCH, mode %s seed %llu: cut after event %llu%s: %s %u, sector %llu: expected %s, "
	    "found %s", mode_names[opt.mode], (unsigned long long)opt.seed,
	    (unsigned long long)cut_at, on, what, id, (unsigned long long)sector, expected,
	    stamp_describe(found, history.seed, sector, text, sizeof(text)));
}

static void bad(const char *what, u32 id)
{
	die("cut after event %llu%s (mode %s seed %llu): copy %u %s",
	    (unsigned long long)cut_at, on, mode_names[opt.mode],
	    (unsigned long long)opt.seed, id, what);
}

/* Operations up to @seq are durable now. */
static void sync_to(u32 seq)
{
	u32 i;

	for (; synced_op < history.nr_ops && history.ops[synced_op].seq <= seq; synced_op++) {
		const struct op *op = history.ops + synced_op;
		const struct history_copy *c;

		if (op->kind == OP_MERGE) {
			c = history_copy(&history, op->sector);
			memcpy(durable, c->map, origin_sectors * sizeof(u32));
			memset(maybe_zero, 0, origin_sectors);
			continue;
		}
		for (i = op->sector; i < op->sector + op->count; i++) {
			maybe_zero[i] = op->kind == OP_DISCARD;
			if (op->kind != OP_DISCARD)
				durable[i] = op->kind == OP_WRITE ? op->seq : 0;
		}
	}
	synced = seq;
}

static void heed(const char *mark)
{
	char word[32];
	u32 n, i;

	if (sscanf(mark, "%31[a-z]-%u", word, &n) != 2)
		return;
	if (!strcmp(word, "sync"))
		sync_to(n);
	for (i = 0; i < history.nr_copies && history.copies[i].id != n; i++)
		;
	if (i == history.nr_copies)
		return;
	if (!strcmp(word, "created"))
		fates[i].created = true;
	else if (!strcmp(word, "deleting"))
		fates[i].deleting = true;
	else if (!strcmp(word, "deleted"))
		fates[i].deleted = true;
	else if (!strcmp(word, "exempting"))
		fates[i].exempting = true;
	else if (!strcmp(word, "exempted"))
		fates[i].exempted = true;
}

/* May sector @at of the origin hold what write @seq left? */
static bool allowed(u64 at, u32 seq)
{
	const struct op *op;

	if (seq == STAMP_NONE)
		return false;
	if (seq == durable[at] || (!seq && maybe_zero[at]))
		return true;
	for (op = history.ops + synced_op; op < history.ops + history.nr_ops; op++) {
		if (op->kind == OP_MERGE) {
			if (history_copy(&history, op->sector)->map[at] == seq)
				return true;
			continue;
		}
		if (at < op->sector || at >= op->sector + op->count)
			continue;
		if (op->kind == OP_WRITE ? op->seq == seq : !seq)
			return true;
	}
	return false;
}

/* --- checking --------------------------------------------------------------- */

static void check_origin(void)
{
	int fd = open_device(origin_node.path, O_RDONLY), rc;
	u64 at, n, i;
	char text[32];

	for (at = 0; at < origin_sectors; at += n) {
		n = min(origin_sectors - at, (u64)PIECE);
		rc = read_sectors(fd, buf, at, n);
		if (rc)
			die("cut after event %llu: origin: %s", (unsigned long long)cut_at,
			    strerror(-rc));
		for (i = 0; i < n; i++) {
			const void *p = buf + i * SECTOR;

			if (stamp_is(p, history.seed, at + i, durable[at + i]))
				continue;
			if (allowed(at + i, stamp_read(p, history.seed, at + i)))
				continue;
			snprintf(text, sizeof(text), "write %u or later", durable[at + i]);
			wrong("origin, synced to", synced, at + i, text, p);
		}
	}
	close(fd);
}

/* Returns the first sector that differs, with the piece around it in buf. */
static u64 differs(int fd, u32 id, const u32 *map, const void **found)
{
	u64 at, n, i;
	int rc;

	for (at = 0; at < origin_sectors; at += n) {
		n = min(origin_sectors - at, (u64)PIECE);
		rc = read_sectors(fd, buf, at, n);
		if (rc)
			bad(strerror(-rc), id);
		i = stamp_compare(buf, history.seed, at, n, map + at);
		if (i < n) {
			*found = buf + i * SECTOR;
			return at + i;
		}
	}
	return origin_sectors;
}

static void check_copy(u32 n)
{
	const struct history_copy *c = history.copies + n;
	const u32 *map = c->map;
	const void *found = NULL;
	char params[256], text[32];
	u64 at;
	int rc;

	if (c->before && !fates[n].exempting)
		map = c->before;
	snprintf(params, sizeof(params), "%s %s %u", opt.origin, opt.area, c->id);
	rc = dm_make(&copy_node, COPY, origin_sectors, "shadow", params);
	if (rc)
		bad("is listed but can't be opened", c->id);
	copy_fd = open_device(copy_node.path, O_RDONLY);
	at = differs(copy_fd, c->id, map, &found);
	if (at < origin_sectors && c->before && fates[n].exempting && !fates[n].exempted) {
		map = c->before;
		at = differs(copy_fd, c->id, map, &found);
	}
	if (at < origin_sectors) {
		snprintf(text, sizeof(text), "write %u%s", map[at],
			 !c->before ? "" : fates[n].exempted ? " (exempt runs loaded)" :
			 fates[n].exempting ? " (exempt runs perhaps)" : " (exempt runs not yet)");
		wrong("copy", c->id, at, text, found);
	}
	close(copy_fd);
	copy_fd = -1;
	rc = dm_drop(&copy_node);
	if (rc)
		bad(strerror(-rc), c->id);
	copies_checked++;
}

/* @may_drop: more may have gone for want of space. */
static void check_copies(bool may_drop)
{
	char *text, *line, *save, flags[16];
	bool *seen = xmalloc(history.nr_copies);
	u32 id, i;
	int rc;

	rc = dm_message(ORIGIN, &text, "list");
	if (rc)
		die("list: %s", strerror(-rc));
	line = text ? strtok_r(text, "\n", &save) : NULL;
	for (; line; line = strtok_r(NULL, "\n", &save)) {
		if (sscanf(line, "%u %*s %*s %*s %*s %*s %15s", &id, flags) != 2)
			die("list: strange line '%s'", line);
		for (i = 0; i < history.nr_copies && history.copies[i].id != id; i++)
			;
		if (i == history.nr_copies)
			bad("was never created", id);
		if (strpbrk(flags, "sip"))
			bad("has strange flags", id);
		if (fates[i].deleted)
			bad("was deleted, and is there again", id);
		seen[i] = true;
		check_copy(i);
	}
	free(text);
	for (i = 0; i < history.nr_copies; i++) {
		if (fates[i].created && !fates[i].deleting && !fates[i].dropped && !may_drop &&
		    !seen[i])
			bad("is gone", history.copies[i].id);
	}
	free(seen);
}

static int activate(void)
{
	char params[256];

	snprintf(params, sizeof(params), "%s %s", opt.origin, opt.area);
	return dm_make(&origin_node, ORIGIN, origin_sectors, "shadow-origin", params);
}

/* Space that a copy needs must not be handed out after the cut. */
static void life_goes_on(void)
{
	int fd = open_device(origin_node.path, O_RDWR), rc;
	char *reply = NULL, *dropped;
	u32 i, n;
	u64 at;

	rc = dm_suspend(ORIGIN);
	if (!rc) {
		rc = dm_message(ORIGIN, &reply, "create 00000000-0000-4000-8000-%012llx",
				(unsigned long long)cut_at);
		dm_resume(ORIGIN);
	}
	if (rc && rc != -EALREADY)
		die("cut after event %llu: create: %s", (unsigned long long)cut_at,
		    strerror(-rc));
	memset(buf, 0x5a, 64 * SECTOR);
	for (i = 0; i < 60; i++) {
		n = rng_log(&chance, 64);
		at = rng_below(&chance, origin_sectors - n);
		rc = write_sectors(fd, buf, at, n);
		if (rc)
			die("cut after event %llu: write: %s", (unsigned long long)cut_at,
			    strerror(-rc));
	}
	close(fd);
	if (reply) {
		rc = dm_message(ORIGIN, NULL, "delete %u", atoi(reply));
		if (rc && !drops)
			die("cut after event %llu: delete: %s", (unsigned long long)cut_at,
			    strerror(-rc));
	}
	free(reply);
	dm_message(ORIGIN, NULL, "checkpoint");
	/* More writes than there were: more copies may have to go. */
	dropped = dm_field(ORIGIN, 19);
	on = " and life went on";
	check_copies(drops || strcmp(dropped, "0"));
	on = "";
	free(dropped);
	went_on++;
}

/* What is offline now is found to be sound by shadowctl, too. */
static void check_offline(const char *when)
{
	char command[300];
	int status;

	snprintf(command, sizeof(command), "shadowctl check --data %s >check.log 2>&1", opt.area);
	status = system(command);
	if (!status)
		return;
	status = system("cat check.log");
	die("cut after event %llu (mode %s seed %llu): shadowctl check complains %s",
	    (unsigned long long)cut_at, mode_names[opt.mode], (unsigned long long)opt.seed, when);
}

static void check_cut(void)
{
	bool check = rng_chance(&chance, opt.check);
	char *word;
	int rc;

	rc = write_sectors(origin_fd, image, 0, origin_sectors);
	if (!rc)
		rc = write_sectors(area_fd, image + origin_sectors * SECTOR, 0, area_sectors);
	if (rc)
		die("scratch devices: %s", strerror(-rc));
	if (check)
		check_offline("before the activation");
	rc = activate();
	if (rc)
		die("cut after event %llu (mode %s seed %llu): activation: %s",
		    (unsigned long long)cut_at, mode_names[opt.mode],
		    (unsigned long long)opt.seed, strerror(-rc));
	word = dm_field(ORIGIN, 1);
	if (strcmp(word, "rw"))
		die("cut after event %llu: the diff area is %s", (unsigned long long)cut_at, word);
	free(word);
	check_copies(false);
	check_origin();
	if (rng_chance(&chance, opt.go_on))
		life_goes_on();
	rc = dm_drop(&origin_node);
	if (rc)
		die("cut after event %llu: deactivation: %s", (unsigned long long)cut_at,
		    strerror(-rc));
	if (check)
		check_offline("after the deactivation");
	made++;
}

/* --- the cuts --------------------------------------------------------------- */

static enum kind kind_of(const struct log_entry *e)
{
	u64 block;

	if (!log_is_write(e))
		return ANY;
	if (e->sector < origin_sectors)
		return ORIGIN_DATA;
	block = (e->sector - origin_sectors) / 8;
	if (block < 16)
		return SUPER;
	if (block - journal_block < journal_blocks)
		return JOURNAL;
	if (block - bitmap_block < bitmap_blocks)
		return BITMAP;
	return REST;
}

/* Offsets of struct dms_disk_super in format.h */
static void read_geometry(const void *super)
{
	const u8 *p = super;

	if (memcmp(p + 64, "dm-shadow", 10))
		die("the log does not begin with an area being formatted");
	bitmap_blocks = 2ull * le32toh(*(u32 *)(p + 100));
	journal_block = le64toh(*(u64 *)(p + 112));
	journal_blocks = le64toh(*(u64 *)(p + 120));
	bitmap_block = le64toh(*(u64 *)(p + 128));
}

/* The last event up to @i that is no mark: marks belong to what is before them. */
static u64 event_of(u64 i)
{
	while (i && log_mark(&recording, i))
		i--;
	return i;
}

/* Is there a cut between event @i and the next? */
static bool is_site(u64 i)
{
	u64 at = event_of(i);

	if (i + 1 >= recording.nr_events || log_mark(&recording, i + 1))
		return false;
	if (opt.at != -1ull)
		return i == opt.at;
	if (opt.merging && !merge_runs)
		return false;
	if (opt.only != ANY && kind_of(recording.entries + recording.events[at].entry) != opt.only)
		return false;
	if (opt.mode == CUT_TEAR)
		return at == i && !recording.events[i].end &&
		       log_is_write(recording.entries + recording.events[i].entry);
	if (opt.mode == CUT_NOTHING_LOST)
		return log_is_barrier(&recording, at);
	return true;
}

static void follow_merge(u64 i)
{
	const char *mark = log_mark(&recording, i);

	if (mark && !strncmp(mark, "merging-", 8))
		merge_runs = true;
	else if (mark && !strncmp(mark, "merged-", 7))
		merge_runs = false;
}

static bool is_mark(u64 i, const char *what)
{
	const char *mark = log_mark(&recording, i);

	return mark && !strcmp(mark, what);
}

static void foresee_drops(void)
{
	const char *mark;
	u64 i;
	u32 n, id;

	for (i = 0; i < recording.nr_events; i++) {
		mark = log_mark(&recording, i);
		if (!mark || sscanf(mark, "dropped-%u", &id) != 1)
			continue;
		drops = true;
		for (n = 0; n < history.nr_copies; n++) {
			if (history.copies[n].id == id)
				fates[n].dropped = true;
		}
	}
}

static void cut_all(void)
{
	struct cut cut = { .split = origin_sectors, .chance = &chance };
	u64 i, first, sites = 0, site = 0, step, phase;

	for (first = 0; first < recording.nr_events && !is_mark(first, "begin-0"); first++)
		;
	cut.event = first;
	log_cut(&recording, &cut, image, total);
	read_geometry(image + origin_sectors * SECTOR);
	for (i = first; i < recording.nr_events && !is_mark(i, "end-0"); i++) {
		follow_merge(i);
		sites += is_site(i);
	}
	merge_runs = false;
	step = opt.count ? max(1ull, (sites + opt.count - 1) / opt.count) : 1;
	phase = rng_below(&chance, step);
	cut.mode = opt.mode;
	for (i = 0; i < recording.nr_events && !is_mark(i, "end-0"); i++) {
		if (log_mark(&recording, i))
			heed(log_mark(&recording, i));
		follow_merge(i);
		if (i < first || !is_site(i) || site++ % step != phase)
			continue;
		cut_at = i;
		cut.event = i;
		log_cut(&recording, &cut, image, total);
		check_cut();
	}
	if (!made)
		die("no place to cut in %llu events", (unsigned long long)recording.nr_events);
	printf("mode %s, only %s%s: %u cuts of %llu possible, %u copies compared, "
	       "%u times life went on\n", mode_names[opt.mode], kind_names[opt.only],
	       opt.merging ? ", merging" : "", made, (unsigned long long)sites,
	       copies_checked, went_on);
	printf("figure: power cuts %u\n", made);
	printf("figure: copies compared after a power cut %u\n", copies_checked);
}

/* --- the command line ------------------------------------------------------- */

static const struct option long_options[] = {
	{ "count", 1, NULL, 'n' },
	{ "seed", 1, NULL, 's' },
	{ "only", 1, NULL, 'o' },
	{ "merging", 0, NULL, 'm' },
	{ "at", 1, NULL, 'a' },
	{ "go-on", 1, NULL, 'g' },
	{ "check", 1, NULL, 'c' },
	{ NULL, 0, NULL, 0 },
};

static void usage(void)
{
	fputs(usage_text, stderr);
	exit(2);
}

static u32 word_of(const char *word, const char *const *words, u32 count)
{
	u32 i;

	for (i = 0; i < count; i++) {
		if (!strcmp(words[i], word))
			return i;
	}
	usage();
	return 0;
}

int main(int argc, char **argv)
{
	int c;

	while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (c) {
		case 'n':
			opt.count = xnumber(optarg);
			break;
		case 's':
			opt.seed = xnumber(optarg);
			break;
		case 'o':
			opt.only = word_of(optarg, kind_names, ARRAY_SIZE(kind_names));
			break;
		case 'm':
			opt.merging = true;
			break;
		case 'a':
			opt.at = xnumber(optarg);
			break;
		case 'g':
			opt.go_on = xnumber(optarg);
			break;
		case 'c':
			opt.check = xnumber(optarg);
			break;
		default:
			usage();
		}
	}
	argv += optind;
	if (argc - optind != 5)
		usage();
	opt.mode = word_of(argv[0], mode_names, ARRAY_SIZE(mode_names));
	log_open(&recording, argv[1]);
	history_load(&history, argv[2]);
	opt.origin = argv[3];
	opt.area = argv[4];
	origin_fd = open_device(opt.origin, O_RDWR);
	area_fd = open_device(opt.area, O_RDWR);
	origin_sectors = history.sectors;
	if (device_sectors(origin_fd) != origin_sectors)
		die("%s has not the size of the origin", opt.origin);
	area_sectors = device_sectors(area_fd);
	total = origin_sectors + area_sectors;
	image = xbuffer(total * SECTOR);
	memset(image, 0, total * SECTOR);
	buf = xbuffer(MIB);
	durable = xmalloc(origin_sectors * sizeof(u32));
	memcpy(durable, history.first, origin_sectors * sizeof(u32));
	maybe_zero = xmalloc(origin_sectors);
	fates = xmalloc(history.nr_copies * sizeof(*fates));
	rng_seed(&chance, opt.seed);
	atexit(leave);
	foresee_drops();
	cut_all();
	return 0;
}
