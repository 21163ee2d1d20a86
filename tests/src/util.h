/* SPDX-License-Identifier: GPL-2.0-only */
/* Small things that the test programs share. */
#ifndef TESTS_UTIL_H
#define TESTS_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define SECTOR		512
#define MIB		(1 << 20)

#define min(a, b) ({ __typeof__(a) _a = (a); __typeof__(b) _b = (b); _a < _b ? _a : _b; })
#define max(a, b) ({ __typeof__(a) _a = (a); __typeof__(b) _b = (b); _a > _b ? _a : _b; })
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Print and end with status 1. */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

void *xmalloc(size_t size);			/* zeroed */
void *xrealloc(void *p, size_t size);
void *xbuffer(size_t size);			/* for O_DIRECT; not zeroed */
u64 xnumber(const char *text);			/* decimal, 0x..., K, M or G behind it */

/* xorshift64*: a state of its own for each thread. */
struct rng {
	u64 state;
};

u64 mix(u64 x);					/* splitmix64's finisher */
void rng_seed(struct rng *r, u64 seed);
u64 rng_next(struct rng *r);
u64 rng_below(struct rng *r, u64 n);		/* 0 to n - 1 */
/* 1 to @n, small ones as likely as large ones. */
u64 rng_log(struct rng *r, u64 n);
bool rng_chance(struct rng *r, unsigned int percent);

int open_device(const char *path, int flags);	/* O_DIRECT; dies */
u64 device_sectors(int fd);
/* All of it: 0 or -errno. */
int read_sectors(int fd, void *data, u64 sector, u64 count);
int write_sectors(int fd, const void *data, u64 sector, u64 count);
int discard_sectors(int fd, u64 sector, u64 count);
int zero_sectors(int fd, u64 sector, u64 count);

u64 now_ms(void);

#endif
