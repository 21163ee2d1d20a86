// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stamps what it writes, knows what must be read.
 *
 * `stomp run` is the oracle, see oracle.c.  The other commands write and check
 * stamps on any block device, for tests that do the rest by dmsetup.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "oracle.h"
#include "stamp.h"

#define PIECE	(MIB / SECTOR)

static const char usage_text[] =
	"usage: stomp COMMAND [--seed N] ...\n"
	"  run ORIGIN AREA [--ops N] [--copies N] [--writers N] [--readers N]\n"
	"      [--pace N] [--max-write BYTES] [--limit AREA-CHUNKS] [--history FILE]\n"
	"      [--log NODE] [--without merge,reactivate,exempt,discard] [--merges N]\n"
	"                      random operations against a model; devices are whole\n"
	"                      and inactive, AREA is formatted\n"
	"  fill DEV --seq N    every sector gets the stamp of write N; 0: zeros\n"
	"  verify DEV --seq N  every sector has it\n"
	"      both: [--start SECTOR] [--count SECTORS]\n"
	"      verify and check --tolerant: blocks of 4 KiB that can't be read are printed and\n"
	"      are no failure\n"
	"  scatter DEV --seq N --stride BYTES [--size BYTES] [--count N] [--writers N]\n"
	"      [--shuffle]     one write of SIZE at the head of each STRIDE, COUNT times\n"
	"  check DEV --seq N --stride BYTES [--size BYTES] [--count N] --else M\n"
	"                      what scatter over fill --seq M leaves\n"
	"  write DEV SECTOR COUNT --seq N [--dsync | --nowait]\n"
	"                      one write, of any number of sectors\n"
	"  read DEV SECTOR COUNT --seq N [--nowait]\n"
	"                      one read, verified\n"
	"  where DEV SECTOR --seq N\n"
	"                      print the 4 KiB block that begins with that sector's stamp\n"
	"  discard | zero DEV SECTOR COUNT\n"
	"                      one request\n";

static struct {
	u64 seed, seq, other, start, count, stride, size;
	u32 writers;
	bool dsync, nowait, shuffle, tolerant;
} opt = {
	.seed = 1, .other = STAMP_NONE, .size = 4096, .writers = 1,
};

static u64 piece = PIECE;		/* to read at once */

static void mismatch(const char *device, u64 sector, u32 expected, const void *found)
{
	char text[100];

	printf("MISMATCH %s: sector %llu: expected write %u, found %s\n", device,
	       (unsigned long long)sector, expected,
	       stamp_describe(found, opt.seed, sector, text, sizeof(text)));
	exit(1);
}

static void check(const char *device, const u8 *buf, u64 sector, u64 count, u32 seq)
{
	u64 i;

	for (i = 0; i < count; i++, buf += SECTOR) {
		if (!stamp_is(buf, opt.seed, sector + i, seq))
			mismatch(device, sector + i, seq, buf);
	}
}

static void io_failed(const char *what, const char *device, u64 sector, int rc)
{
	die("%s: %s at sector %llu: %s", device, what, (unsigned long long)sector, strerror(-rc));
}

/*
 * Read @n sectors or, with --tolerant after an error, none and then a block at a time,
 * telling which can't be read.
 */
static bool read_piece(const char *device, int fd, u8 *buf, u64 at, u64 *n)
{
	int rc = read_sectors(fd, buf, at, *n);

	if (!rc)
		return true;
	if (!opt.tolerant)
		io_failed("read", device, at, rc);
	if (*n > 8) {
		piece = 8;
		*n = 0;
	} else {
		printf("unreadable %llu\n", (unsigned long long)at / 8);
	}
	return false;
}

static void fill(const char *device, bool verify)
{
	int fd = open_device(device, verify ? O_RDONLY : O_RDWR), rc;
	u64 end = opt.count ? opt.start + opt.count : device_sectors(fd), at, n;
	u8 *buf = xbuffer(MIB);

	for (at = opt.start; at < end; at += n) {
		n = min(end - at, piece);
		if (verify) {
			if (read_piece(device, fd, buf, at, &n))
				check(device, buf, at, n, opt.seq);
		} else {
			stamp(buf, opt.seed, at, n, opt.seq);
			rc = write_sectors(fd, buf, at, n);
			if (rc)
				io_failed("write", device, at, rc);
		}
	}
	if (!verify && fsync(fd))
		die("%s: fsync: %s", device, strerror(errno));
	free(buf);
	close(fd);
}

/* --- scatter ---------------------------------------------------------------- */

static struct {
	const char *device;
	int fd;
	u32 *order;
	u64 count, next;
} scattered;

static void *scatter_writer(void *unused)
{
	u8 *buf = xbuffer(opt.size);
	u64 n, at;
	int rc;

	(void)unused;
	for (;;) {
		n = __atomic_fetch_add(&scattered.next, 1, __ATOMIC_RELAXED);
		if (n >= scattered.count)
			break;
		at = (scattered.order ? scattered.order[n] : n) * (opt.stride / SECTOR);
		stamp(buf, opt.seed, at, opt.size / SECTOR, opt.seq);
		rc = write_sectors(scattered.fd, buf, at, opt.size / SECTOR);
		if (rc)
			io_failed("write", scattered.device, at, rc);
	}
	free(buf);
	return NULL;
}

static void scatter(const char *device)
{
	pthread_t threads[64];
	struct rng r;
	u64 i, j;
	u32 swap;

	if (!opt.stride || opt.writers > ARRAY_SIZE(threads))
		die("scatter: strange options");
	scattered.device = device;
	scattered.fd = open_device(device, O_RDWR);
	scattered.count = device_sectors(scattered.fd) * SECTOR / opt.stride;
	if (opt.count)
		scattered.count = min(scattered.count, opt.count);
	if (opt.shuffle) {
		scattered.order = xmalloc(scattered.count * sizeof(u32));
		rng_seed(&r, opt.seed);
		for (i = 0; i < scattered.count; i++)
			scattered.order[i] = i;
		for (i = scattered.count - 1; i && scattered.count; i--) {
			j = rng_below(&r, i + 1);
			swap = scattered.order[i];
			scattered.order[i] = scattered.order[j];
			scattered.order[j] = swap;
		}
	}
	for (i = 0; i < opt.writers; i++) {
		if (pthread_create(threads + i, NULL, scatter_writer, NULL))
			die("no thread");
	}
	for (i = 0; i < opt.writers; i++)
		pthread_join(threads[i], NULL);
	close(scattered.fd);
}

static void scatter_check(const char *device)
{
	int fd = open_device(device, O_RDONLY);
	u64 total = device_sectors(fd), stride = opt.stride / SECTOR, at, n, i;
	u64 end = opt.count ? min(total, opt.count * stride) : total;
	u8 *buf = xbuffer(MIB);

	if (!stride)
		die("check: strange options");
	for (at = 0; at < total; at += n) {
		n = min(total - at, piece);
		if (!read_piece(device, fd, buf, at, &n))
			continue;
		for (i = 0; i < n; i++) {
			bool hit = at + i < end && (at + i) % stride < opt.size / SECTOR;

			check(device, buf + i * SECTOR, at + i, 1, hit ? opt.seq : opt.other);
		}
	}
	free(buf);
	close(fd);
}

/* --- one request ------------------------------------------------------------ */

static void one(const char *what, const char *device, u64 sector, u64 count)
{
	bool reads = !strcmp(what, "read");
	int fd = open_device(device, reads ? O_RDONLY : O_RDWR), rc = 0;
	u8 *buf = xbuffer(max(1ull, count) * SECTOR);
	struct iovec vec = { buf, count * SECTOR };
	int flags = (opt.dsync ? RWF_DSYNC : 0) | (opt.nowait ? RWF_NOWAIT : 0);
	ssize_t n = vec.iov_len;

	if (!strcmp(what, "discard")) {
		rc = discard_sectors(fd, sector, count);
	} else if (!strcmp(what, "zero")) {
		rc = zero_sectors(fd, sector, count);
	} else if (reads) {
		n = preadv2(fd, &vec, 1, sector * SECTOR, flags);
	} else {
		stamp(buf, opt.seed, sector, count, opt.seq);
		n = pwritev2(fd, &vec, 1, sector * SECTOR, flags);
	}
	if (n < 0)
		rc = -errno;
	else if (n < vec.iov_len)
		die("%s: %s at sector %llu: only %zd bytes", device, what,
		    (unsigned long long)sector, n);
	if (rc)
		io_failed(what, device, sector, rc);
	if (reads)
		check(device, buf, sector, count, opt.seq);
	free(buf);
	close(fd);
}

static void where(const char *device, u64 sector)
{
	int fd = open_device(device, O_RDONLY), rc;
	u64 total = device_sectors(fd), at, n, i, found = 0, block = 0;
	u8 *buf = xbuffer(MIB);

	for (at = 0; at < total; at += n) {
		n = min(total - at, (u64)PIECE);
		rc = read_sectors(fd, buf, at, n);
		if (rc)
			io_failed("read", device, at, rc);
		for (i = 0; i < n; i += 8) {
			if (!stamp_says(buf + i * SECTOR, opt.seed, sector, opt.seq))
				continue;
			block = (at + i) / 8;
			found++;
		}
	}
	if (found != 1)
		die("%s: sector %lu of write %lu is there %lu times", device, sector, opt.seq,
		    found);
	printf("%lu\n", block);
	free(buf);
	close(fd);
}

/* --- the command line ------------------------------------------------------- */

static const struct option long_options[] = {
	{ "seed", 1, NULL, 's' },
	{ "seq", 1, NULL, 'q' },
	{ "else", 1, NULL, 'e' },
	{ "start", 1, NULL, 'a' },
	{ "count", 1, NULL, 'n' },
	{ "stride", 1, NULL, 'd' },
	{ "size", 1, NULL, 'z' },
	{ "shuffle", 0, NULL, 'u' },
	{ "dsync", 0, NULL, 'y' },
	{ "nowait", 0, NULL, 'w' },
	{ "tolerant", 0, NULL, 'i' },
	{ "ops", 1, NULL, 'o' },
	{ "copies", 1, NULL, 'c' },
	{ "writers", 1, NULL, 't' },
	{ "readers", 1, NULL, 'r' },
	{ "pace", 1, NULL, 'p' },
	{ "max-write", 1, NULL, 'm' },
	{ "limit", 1, NULL, 'l' },
	{ "history", 1, NULL, 'h' },
	{ "log", 1, NULL, 'g' },
	{ "without", 1, NULL, 'x' },
	{ "merges", 1, NULL, 'M' },
	{ NULL, 0, NULL, 0 },
};

static void usage(void)
{
	fputs(usage_text, stderr);
	exit(2);
}

static void without(struct oracle_spec *spec, char *words)
{
	char *word;

	for (word = strtok(words, ","); word; word = strtok(NULL, ",")) {
		if (!strcmp(word, "merge"))
			spec->merge = false;
		else if (!strcmp(word, "reactivate"))
			spec->reactivate = false;
		else if (!strcmp(word, "exempt"))
			spec->exempt = false;
		else if (!strcmp(word, "discard"))
			spec->discard = false;
		else
			usage();
	}
}

int main(int argc, char **argv)
{
	struct oracle_spec spec = {
		.ops = 1000, .copies = 8, .pace = 10, .max_write = MIB / SECTOR,
		.merge = true, .reactivate = true, .exempt = true, .discard = true,
	};
	const char *command;
	bool writers = false;
	int c;

	while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (c) {
		case 's':
			opt.seed = xnumber(optarg);
			break;
		case 'q':
			opt.seq = xnumber(optarg);
			break;
		case 'e':
			opt.other = xnumber(optarg);
			break;
		case 'a':
			opt.start = xnumber(optarg);
			break;
		case 'n':
			opt.count = xnumber(optarg);
			break;
		case 'd':
			opt.stride = xnumber(optarg);
			break;
		case 'z':
			opt.size = xnumber(optarg);
			break;
		case 'u':
			opt.shuffle = true;
			break;
		case 'y':
			opt.dsync = true;
			break;
		case 'w':
			opt.nowait = true;
			break;
		case 'i':
			opt.tolerant = true;
			break;
		case 'o':
			spec.ops = xnumber(optarg);
			break;
		case 'c':
			spec.copies = xnumber(optarg);
			break;
		case 't':
			opt.writers = xnumber(optarg);
			writers = true;
			break;
		case 'r':
			spec.readers = xnumber(optarg);
			break;
		case 'p':
			spec.pace = xnumber(optarg);
			break;
		case 'm':
			spec.max_write = xnumber(optarg) / SECTOR;
			break;
		case 'l':
			spec.limit = xnumber(optarg);
			break;
		case 'h':
			spec.history = optarg;
			break;
		case 'g':
			spec.log = optarg;
			break;
		case 'x':
			without(&spec, optarg);
			break;
		case 'M':
			spec.merges = xnumber(optarg);
			break;
		default:
			usage();
		}
	}
	argc -= optind;
	argv += optind;
	if (argc < 2)
		usage();
	command = argv[0];
	spec.seed = opt.seed;
	spec.writers = writers ? opt.writers : 0;
	if (!strcmp(command, "run") && argc == 3) {
		spec.origin = argv[1];
		spec.area = argv[2];
		oracle_run(&spec);
	} else if (!strcmp(command, "fill") && argc == 2) {
		fill(argv[1], false);
	} else if (!strcmp(command, "verify") && argc == 2) {
		fill(argv[1], true);
	} else if (!strcmp(command, "scatter") && argc == 2) {
		scatter(argv[1]);
	} else if (!strcmp(command, "check") && argc == 2) {
		scatter_check(argv[1]);
	} else if ((!strcmp(command, "write") || !strcmp(command, "read") ||
		    !strcmp(command, "discard") || !strcmp(command, "zero")) && argc == 4) {
		one(command, argv[1], xnumber(argv[2]), xnumber(argv[3]));
	} else if (!strcmp(command, "where") && argc == 3) {
		where(argv[1], xnumber(argv[2]));
	} else {
		usage();
	}
	return 0;
}
