/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A test is a function of no arguments; CHECK() leaves it where it fails.
 * Random choices follow from one seed, printed first: SEED=n repeats them.
 */
#ifndef DM_SHADOW_TEST_H
#define DM_SHADOW_TEST_H

#include "host.h"
#include <inttypes.h>
#include <setjmp.h>
#include <time.h>

struct test {
	const char *name;
	void (*fn)(void);
};

static jmp_buf test_failed;
static u64 test_state;

#define CHECK(c)							\
do {									\
	if (!(c)) {							\
		printf("# %s:%d: not so: %s\n", __FILE__, __LINE__, #c); \
		fflush(stdout);						\
		longjmp(test_failed, 1);				\
	}								\
} while (0)

#define CHECK_EQ(a, b)							\
do {									\
	long long check_a_ = (a), check_b_ = (b);			\
	if (check_a_ != check_b_) {					\
		printf("# %s:%d: %s is %lld, %s is %lld\n", __FILE__, __LINE__, \
		       #a, check_a_, #b, check_b_);			\
		fflush(stdout);						\
		longjmp(test_failed, 1);				\
	}								\
} while (0)

/* splitmix64 */
static inline u64 rnd(void)
{
	u64 z = test_state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

/* 0 to @n - 1 */
static inline u64 rnd_below(u64 n)
{
	return rnd() % n;
}

/* @low to @high */
static inline u64 rnd_range(u64 low, u64 high)
{
	return low + rnd_below(high - low + 1);
}

/* Once in @n times. */
static inline bool rnd_once(u32 n)
{
	return !rnd_below(n);
}

static inline void rnd_fill(void *data, size_t size)
{
	u8 *p = data;

	while (size--)
		*p++ = rnd();
}

static inline int test_main(const struct test *tests, unsigned int nr)
{
	const char *env = getenv("SEED");
	struct timespec now;
	static int failed;
	u64 seed;

	clock_gettime(CLOCK_REALTIME, &now);
	seed = env ? strtoull(env, NULL, 0) : (u64)now.tv_sec * 1000000000 + now.tv_nsec;
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n# SEED=%llu\n1..%u\n", (unsigned long long)seed, nr);
	for (unsigned int i = 0; i < nr; i++) {
		test_state = seed + i;
		host_alloc_left = -1;
		if (!setjmp(test_failed)) {
			tests[i].fn();
			printf("ok %u - %s\n", i + 1, tests[i].name);
		} else {
			failed = 1;
			printf("not ok %u - %s\n", i + 1, tests[i].name);
		}
	}
	return failed;
}

#endif
