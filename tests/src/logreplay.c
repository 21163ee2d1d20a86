// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shows and replays a log of dm-recorder.  A power cut after event N may leave what
 * --to N replays; with --lose also without a choice of what was not flushed.
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
	"       logreplay cuts LOG [--from N]    the numbers to give to --to: the end of\n"
	"                                        each flush and FUA write, with the marks\n"
	"                                        behind it\n"
	"       logreplay replay LOG DEV [--to N] [--lose SEED | --lose all]\n"
	"--from and --to also take a mark, DEV is overwritten whole.\n";

static void usage(void)
{
	fputs(usage_text, stderr);
	exit(2);
}

static void list(const struct log *log)
{
	static const char *const kinds[] = { "write", "clear", "refused", "flush", "mark" };
	u64 i;

	for (i = 0; i < log->nr_events; i++) {
		const struct log_entry *e = log->entries + log->events[i].entry;

		printf("%llu ", (unsigned long long)i);
		if (e->mark)
			printf("mark %s\n", e->mark);
		else
			printf("%s %s%s %llu+%llu\n", log->events[i].end ? "end" : "begin",
			       e->fua ? "fua-" : "", kinds[e->kind],
			       (unsigned long long)e->sector, (unsigned long long)e->count);
	}
}

static u64 position(const struct log *log, const char *text)
{
	u64 i;

	if (*text >= '0' && *text <= '9')
		return xnumber(text);
	for (i = 0; i < log->nr_events; i++) {
		if (log_mark(log, i) && !strcmp(log_mark(log, i), text))
			return i;
	}
	die("no mark %s in the log", text);
}

static void cuts(const struct log *log, u64 from)
{
	u64 i, last = 0;
	bool due = false;

	for (i = from; i < log->nr_events; i++) {
		if (due && !log_mark(log, i)) {
			printf("%llu\n", (unsigned long long)last);
			due = false;
		}
		if (log_is_barrier(log, i))
			due = true;
		last = i;
	}
	if (due)
		printf("%llu\n", (unsigned long long)last);
}

static void replay(struct log *log, const char *device, const struct cut *cut)
{
	int fd = open_device(device, O_RDWR), rc;
	u64 sectors = device_sectors(fd);
	u8 *image = xbuffer(sectors * SECTOR);

	log_cut(log, cut, image, sectors);
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
	{ NULL, 0, NULL, 0 },
};

int main(int argc, char **argv)
{
	const char *from = NULL, *to = NULL;
	struct rng chance;
	struct cut cut = { .mode = CUT_NOTHING_LOST, .chance = &chance };
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
		case 'l':
			cut.mode = strcmp(optarg, "all") ? CUT_LOSE : CUT_LOSE_ALL;
			if (cut.mode == CUT_LOSE)
				rng_seed(&chance, xnumber(optarg));
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
	cut.event = to ? position(&log, to) : log.nr_events;
	if (!strcmp(argv[0], "list") && argc == 2)
		list(&log);
	else if (!strcmp(argv[0], "cuts") && argc == 2)
		cuts(&log, from ? position(&log, from) : 0);
	else if (!strcmp(argv[0], "replay") && argc == 3)
		replay(&log, argv[2], &cut);
	else
		usage();
	return 0;
}
