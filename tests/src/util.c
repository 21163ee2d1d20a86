// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "util.h"

void die(const char *format, ...)
{
	static int dying;
	va_list args;

	/* Another thread does. */
	if (__atomic_exchange_n(&dying, 1, __ATOMIC_SEQ_CST))
		for (;;)
			pause();
	fflush(stdout);
	va_start(args, format);
	fprintf(stderr, "%s: ", program_invocation_short_name);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

void *xmalloc(size_t size)
{
	void *p = calloc(1, size ? size : 1);

	if (!p)
		die("no memory for %zu bytes", size);
	return p;
}

void *xrealloc(void *p, size_t size)
{
	p = realloc(p, size);
	if (!p)
		die("no memory for %zu bytes", size);
	return p;
}

void *xbuffer(size_t size)
{
	void *p;

	if (posix_memalign(&p, 4096, size))
		die("no memory for %zu bytes", size);
	return p;
}

u64 xnumber(const char *text)
{
	char *end;
	u64 n;

	errno = 0;
	n = strtoull(text, &end, 0);
	if (errno || end == text)
		die("not a number: %s", text);
	switch (*end) {
	case 'G':
		n <<= 10;
		/* fall through */
	case 'M':
		n <<= 10;
		/* fall through */
	case 'K':
		n <<= 10;
		end++;
		break;
	}
	if (*end)
		die("not a number: %s", text);
	return n;
}

u64 mix(u64 x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

void rng_seed(struct rng *r, u64 seed)
{
	r->state = mix(seed) | 1;
}

u64 rng_next(struct rng *r)
{
	r->state ^= r->state >> 12;
	r->state ^= r->state << 25;
	r->state ^= r->state >> 27;
	return r->state * 0x2545f4914f6cdd1d;
}

u64 rng_below(struct rng *r, u64 n)
{
	return (rng_next(r) >> 11) % n;
}

u64 rng_log(struct rng *r, u64 n)
{
	unsigned int bits = 0;
	u64 top;

	while (n >> (bits + 1))
		bits++;
	top = 1ull << rng_below(r, bits + 1);
	return min(n, top + rng_below(r, top));
}

bool rng_chance(struct rng *r, unsigned int percent)
{
	return rng_below(r, 100) < percent;
}

int open_device(const char *path, int flags)
{
	int fd = open(path, flags | O_DIRECT | O_CLOEXEC);

	/* A file on a tmpfs */
	if (fd < 0 && errno == EINVAL)
		fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	return fd;
}

u64 device_sectors(int fd)
{
	struct stat st;
	u64 bytes;

	if (fstat(fd, &st))
		die("fstat: %s", strerror(errno));
	if (!S_ISBLK(st.st_mode))
		return st.st_size / SECTOR;
	if (ioctl(fd, BLKGETSIZE64, &bytes))
		die("BLKGETSIZE64: %s", strerror(errno));
	return bytes / SECTOR;
}

int read_sectors(int fd, void *data, u64 sector, u64 count)
{
	size_t left = count * SECTOR;
	off_t at = sector * SECTOR;
	u8 *buf = data;
	ssize_t n;

	while (left) {
		n = pread(fd, buf, left, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return -ENODATA;
		buf += n;
		at += n;
		left -= n;
	}
	return 0;
}

int write_sectors(int fd, const void *data, u64 sector, u64 count)
{
	size_t left = count * SECTOR;
	off_t at = sector * SECTOR;
	const u8 *buf = data;
	ssize_t n;

	while (left) {
		n = pwrite(fd, buf, left, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		buf += n;
		at += n;
		left -= n;
	}
	return 0;
}

int discard_sectors(int fd, u64 sector, u64 count)
{
	u64 range[2] = { sector * SECTOR, count * SECTOR };

	return ioctl(fd, BLKDISCARD, range) ? -errno : 0;
}

int zero_sectors(int fd, u64 sector, u64 count)
{
	u64 range[2] = { sector * SECTOR, count * SECTOR };

	return ioctl(fd, BLKZEROOUT, range) ? -errno : 0;
}

u64 now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ull + ts.tv_nsec / 1000000;
}
