// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shows and replays a log of dm-log-writes.  A power cut after entry N leaves
 * what --to N replays; with --lose also without a choice of the plain writes
 * behind the last flush, with --tear M only some sectors of entry M.
 */
#include <getopt.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

static const char usage_text[] =
	"usage: logreplay list LOG\n"
	"       logreplay cuts LOG [--from N]    the numbers to give to --to: each flush\n"
	"                                        and FUA write, with the marks behind it\n"
	"       logreplay replay LOG DEV [--to N] [--lose SEED | --lose all]\n"
	"                        [--tear N [--seed N]]\n"
	"--from and --to also take a mark, DEV is overwritten whole.\n";

static void usage(void)
{
	fputs(usage_text, stderr);
	exit(2);
}

static void list(const struct log *log)
{
	const struct log_entry *e;
	u64 i;

	for (i = 0; i < log->nr_entries; i++) {
		e = log->entries + i;
		printf("%llu %llu+%llu%s%s%s%s%s%s\n", (unsigned long long)i,
		       (unsigned long long)e->sector, (unsigned long long)e->count,
		       e->flags & LOG_FLUSH ? " flush" : "", e->flags & LOG_FUA ? " fua" : "",
		       e->flags & LOG_DISCARD ? " discard" : "",
		       e->flags & LOG_METADATA ? " metadata" : "",
		       e->flags & LOG_MARK ? " mark " : "", e->mark ?: "");
	}
}

static u64 position(const struct log *log, const char *text)
{
	u64 i;

	if (*text >= '0' && *text <= '9')
		return xnumber(text);
	for (i = 0; i < log->nr_entries; i++) {
		if (log->entries[i].mark && !strcmp(log->entries[i].mark, text))
			return i;
	}
	die("no mark %s in the log", text);
}

static void cuts(const struct log *log, u64 from)
{
	u64 i, last = 0;
	bool due = false;

	for (i = from; i < log->nr_entries; i++) {
		const struct log_entry *e = log->entries + i;

		if (due && !e->mark) {
			printf("%llu\n", (unsigned long long)last);
			due = false;
		}
		if (e->flags & (LOG_FLUSH | LOG_FUA))
			due = true;
		last = i;
	}
	if (due)
		printf("%llu\n", (unsigned long long)last);
}

struct replay {
	u64 to, tear;
	bool lose, lose_all;
	u64 seed;
};

static void replay(const struct log *log, const char *device, const struct replay *what)
{
	int fd = open_device(device, O_RDWR), rc;
	u64 sectors = device_sectors(fd), i, flushed = 0;
	u8 *image = xbuffer(sectors * SECTOR);
	struct rng r;

	memset(image, 0, sectors * SECTOR);
	rng_seed(&r, what->seed);
	for (i = 0; i <= what->to && i < log->nr_entries; i++) {
		if (log->entries[i].flags & LOG_FLUSH)
			flushed = i;
	}
	for (i = 0; i <= what->to && i < log->nr_entries; i++) {
		const struct log_entry *e = log->entries + i;

		if (i == what->tear)
			log_apply_torn(e, image, sectors, &r);
		else if (what->lose && i >= flushed && !(e->flags & LOG_FUA) &&
			 (what->lose_all || rng_chance(&r, 50)))
			continue;
		else
			log_apply(e, image, sectors);
	}
	rc = write_sectors(fd, image, 0, sectors);
	if (rc)
		die("%s: %s", device, strerror(-rc));
	free(image);
	close(fd);
}

static const struct option long_options[] = {
	{ "from", 1, NULL, 'f' },
	{ "to", 1, NULL, 't' },
	{ "lose", 1, NULL, 'l' },
	{ "tear", 1, NULL, 'r' },
	{ "seed", 1, NULL, 's' },
	{ NULL, 0, NULL, 0 },
};

int main(int argc, char **argv)
{
	struct replay what = { .to = -1ull, .tear = -1ull, .seed = 1 };
	const char *from = NULL, *to = NULL, *tear = NULL;
	struct log log;
	int c;

	while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (c) {
		case 'f':
			from = optarg;
			break;
		case 't':
			to = optarg;
			break;
		case 'r':
			tear = optarg;
			break;
		case 's':
			what.seed = xnumber(optarg);
			break;
		case 'l':
			what.lose = true;
			if (!strcmp(optarg, "all"))
				what.lose_all = true;
			else
				what.seed = xnumber(optarg);
			break;
		default:
			usage();
		}
	}
	argc -= optind;
	argv += optind;
	if (argc < 2)
		usage();
	log_open(&log, argv[1]);
	if (to)
		what.to = position(&log, to);
	if (tear)
		what.tear = position(&log, tear);
	if (!strcmp(argv[0], "list") && argc == 2)
		list(&log);
	else if (!strcmp(argv[0], "cuts") && argc == 2)
		cuts(&log, from ? position(&log, from) : 0);
	else if (!strcmp(argv[0], "replay") && argc == 3)
		replay(&log, argv[2], &what);
	else
		usage();
	return 0;
}
