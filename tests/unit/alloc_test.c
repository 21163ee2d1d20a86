// SPDX-License-Identifier: GPL-2.0-only
#include "host.h"
#include "alloc.h"
#include "test.h"

#define MAX_CHUNKS	(4 * DMS_BITMAP_BITS)

enum state { FREE, TAKEN, LIVE, FREED, RELEASING };

static u8 model[MAX_CHUNKS];			/* enum state */
static u8 on_disk[4][DMS_PAYLOAD_SIZE] __attribute__((aligned(8)));
static bool dirty[4];
static u64 chunks;

static u64 model_count(enum state state)
{
	u64 n = 0;

	for (u64 i = 0; i < chunks; i++)
		n += model[i] == state;
	return n;
}

static void model_set(u64 first, u64 length, enum state state)
{
	memset(model + first, state, length);
}

static void model_dirty(u64 first, u64 length)
{
	for (u64 i = first; i < first + length; i += 64)
		dirty[i / DMS_BITMAP_BITS] = true;
	dirty[(first + length - 1) / DMS_BITMAP_BITS] = true;
}

/* The longest free run that does not cross a pair. */
static u32 model_longest(void)
{
	u32 best = 0, run = 0;

	for (u64 i = 0; i < chunks; i++) {
		if (!(i % DMS_BITMAP_BITS))
			run = 0;
		run = model[i] == FREE ? run + 1 : 0;
		best = max(best, run);
	}
	return best;
}

/* A random run in @state; 0 if none was found. */
static u64 model_pick(enum state state, u64 most, u64 *first)
{
	for (int attempt = 0; attempt < 200; attempt++) {
		u64 length = 0;

		*first = rnd_below(chunks);
		while (*first + length < chunks && length < most && model[*first + length] == state)
			length++;
		if (length)
			return rnd_range(1, length);
	}
	return 0;
}

static void check_counts(const struct dms_alloc *a)
{
	CHECK_EQ(dms_alloc_chunks(a), chunks);
	CHECK_EQ(dms_alloc_used(a), chunks - model_count(FREE));
	CHECK_EQ(dms_alloc_live(a), model_count(LIVE));
	CHECK_EQ(dms_alloc_freed(a), model_count(FREED) + model_count(RELEASING));
}

static void do_take(struct dms_alloc *a)
{
	u64 used = dms_alloc_used(a);
	u64 limit = rnd_once(5) ? rnd_below(chunks) + 1 : 0;
	u32 want = rnd_once(10) ? rnd_range(1, 50000) : rnd_range(1, 300);
	u64 room = chunks - used;
	u32 longest = model_longest();
	u64 first = ~0ULL;
	u32 got;

	if (limit)
		room = limit > used ? min(room, limit - used) : 0;
	got = dms_alloc_take(a, want, limit, &first);
	if (!room) {
		CHECK_EQ(got, 0);
		CHECK_EQ(first, ~0ULL);
		return;
	}
	CHECK_EQ(got, min_t(u64, min(want, longest), room));
	CHECK(first + got <= chunks);
	for (u32 i = 0; i < got; i++)
		CHECK_EQ(model[first + i], FREE);
	model_set(first, got, TAKEN);
	if (rnd_once(3))
		return;
	if (rnd_once(4)) {
		dms_alloc_cancel(a, first, got);
		model_set(first, got, FREE);
	} else {
		dms_alloc_publish(a, first, got);
		model_set(first, got, LIVE);
		model_dirty(first, got);
	}
}

static void do_claim(struct dms_alloc *a)
{
	u64 first = rnd_below(chunks), length = rnd_range(1, 400);
	int expect = 0;

	if (length > chunks - first) {
		expect = -EINVAL;
	} else {
		for (u64 i = 0; i < length; i++)
			if (model[first + i] != FREE)
				expect = -EEXIST;
	}
	CHECK_EQ(dms_alloc_claim(a, first, length), expect);
	if (!expect) {
		model_set(first, length, LIVE);
		model_dirty(first, length);
	}
	CHECK_EQ(dms_alloc_claim(a, U64_MAX - 2, 5), -EINVAL);
	CHECK_EQ(dms_alloc_claim(a, 5, U64_MAX - 2), -EINVAL);
}

/* What is live becomes free; the rest of the run is none of our business. */
static void do_free(struct dms_alloc *a)
{
	u64 first, length;

	if (rnd_once(3)) {
		first = rnd_below(chunks);
		length = rnd_range(1, min_t(u64, chunks - first, 2000));
	} else {
		length = model_pick(LIVE, 500, &first);
	}
	if (!length)
		return;
	dms_alloc_free(a, first, length);
	for (u64 i = first; i < first + length; i++)
		if (model[i] == LIVE) {
			model[i] = FREED;
			dirty[i / DMS_BITMAP_BITS] = true;
		}
}

/* Write some or all dirty pairs as a checkpoint would. */
static void do_blocks(struct dms_alloc *a, bool all)
{
	u32 pair = 0;
	s64 next;

	while ((next = dms_alloc_dirty(a, pair)) >= 0) {
		while (pair < next)
			CHECK(!dirty[pair++]);
		CHECK(dirty[pair]);
		if (all || rnd_once(2)) {
			u64 first = (u64)pair * DMS_BITMAP_BITS;

			dms_alloc_block(a, pair, on_disk[pair]);
			dirty[pair] = false;
			for (u64 i = first; i < first + DMS_BITMAP_BITS; i++) {
				bool bit = on_disk[pair][(i - first) / 8] >> (i - first) % 8 & 1;

				CHECK_EQ(bit, i < chunks && model[i] == LIVE);
				if (i < chunks && model[i] == FREED)
					model[i] = RELEASING;
			}
		}
		pair++;
	}
	for (; pair < dms_alloc_pairs(chunks); pair++)
		CHECK(!dirty[pair]);
}

static void do_commit(struct dms_alloc *a)
{
	dms_alloc_commit(a);
	for (u64 i = 0; i < chunks; i++)
		if (model[i] == RELEASING)
			model[i] = FREE;
}

/* A new allocator out of what is on disk has what is live, and nothing else. */
static void check_reload(void)
{
	struct dms_alloc *a = dms_alloc_create(chunks);

	CHECK(a);
	for (u32 pair = 0; pair < dms_alloc_pairs(chunks); pair++)
		dms_alloc_load(a, pair, on_disk[pair]);
	CHECK_EQ(dms_alloc_used(a), model_count(LIVE));
	CHECK_EQ(dms_alloc_live(a), model_count(LIVE));
	CHECK_EQ(dms_alloc_dirty(a, 0), -1);
	for (u64 i = 0; i < chunks; i++)
		CHECK_EQ(dms_alloc_is_live(a, i), model[i] == LIVE);
	CHECK(!dms_alloc_is_live(a, chunks));
	dms_alloc_destroy(a);
}

static void test_oracle(void)
{
	static const u64 sizes[] = { 1, 63, 64, 65, 1000, DMS_BITMAP_BITS - 1, DMS_BITMAP_BITS,
				     DMS_BITMAP_BITS + 1, 3 * DMS_BITMAP_BITS - 30 };

	for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
		struct dms_alloc *a = dms_alloc_create(sizes[s]);

		CHECK(a);
		chunks = sizes[s];
		memset(model, FREE, sizeof(model));
		memset(dirty, 0, sizeof(dirty));
		memset(on_disk, 0, sizeof(on_disk));
		for (int i = 0; i < 400; i++) {
			switch (rnd_below(12)) {
			default:
				do_take(a);
				break;
			case 6:
				do_claim(a);
				break;
			case 7:
			case 8:
				do_free(a);
				break;
			case 9:
				do_blocks(a, rnd_once(2));
				break;
			case 10:
				do_commit(a);
				break;
			case 11:
				if (rnd_once(5) && chunks < 4 * DMS_BITMAP_BITS) {
					chunks = rnd_range(chunks, 4 * DMS_BITMAP_BITS);
					CHECK_EQ(dms_alloc_grow(a, chunks), 0);
				}
			}
			check_counts(a);
		}
		do_blocks(a, true);
		check_reload();
		CHECK_EQ(dms_alloc_grow(a, chunks - 1), -EINVAL);
		dms_alloc_destroy(a);
	}
	dms_alloc_destroy(NULL);
}

/* The last chunk of all is found, wherever it is and however full the rest. */
static void test_last_chunk(void)
{
	const u64 nr = 300ULL * DMS_BITMAP_BITS + 77;
	struct dms_alloc *a = dms_alloc_create(nr);
	u64 first, hole, total = 0;
	u32 got;

	CHECK(a);
	while ((got = dms_alloc_take(a, 100000, 0, &first)))
		total += got;
	CHECK_EQ(total, nr);
	for (int i = 0; i < 200; i++) {
		hole = rnd_below(nr);
		dms_alloc_cancel(a, hole, 1);
		CHECK_EQ(dms_alloc_take(a, rnd_range(1, 100), 0, &first), 1);
		CHECK_EQ(first, hole);
	}
	dms_alloc_destroy(a);
}

/* In an area that is all holes each take is quick, and yields something. */
static void test_fragmented(void)
{
	const u64 nr = 1000ULL * DMS_BITMAP_BITS;
	struct dms_alloc *a = dms_alloc_create(nr);
	u8 *payload = malloc(DMS_PAYLOAD_SIZE);
	struct timespec begin, end;
	u64 first, i;
	double us;

	CHECK(a && payload);
	memset(payload, 0x55, DMS_PAYLOAD_SIZE);
	for (i = 0; i < 1000; i++)
		dms_alloc_load(a, i, payload);
	CHECK_EQ(dms_alloc_used(a), nr / 2);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (i = 0; i < 1000; i++)
		CHECK_EQ(dms_alloc_take(a, 64, 0, &first), 1);
	clock_gettime(CLOCK_MONOTONIC, &end);
	us = (end.tv_sec - begin.tv_sec) * 1e6 + (end.tv_nsec - begin.tv_nsec) / 1e3;
	printf("# %.1f us for each take from holes of one chunk\n", us / 1000);
	free(payload);
	dms_alloc_destroy(a);
}

static void test_no_memory(void)
{
	struct dms_alloc *a;
	u64 before;

	for (long n = 0; n < 6; n++) {
		host_alloc_left = n;
		CHECK(!dms_alloc_create(2 * DMS_BITMAP_BITS));
	}
	host_alloc_left = -1;
	a = dms_alloc_create(DMS_BITMAP_BITS);
	CHECK(a);
	for (long n = 0; n < 4; n++) {
		host_alloc_left = n;
		CHECK_EQ(dms_alloc_grow(a, 2 * DMS_BITMAP_BITS), -ENOMEM);
		CHECK_EQ(dms_alloc_chunks(a), DMS_BITMAP_BITS);
	}
	host_alloc_left = -1;

	/* Nowhere to note what is freed: it is not live, and not handed out. */
	CHECK_EQ(dms_alloc_claim(a, 0, DMS_BITMAP_BITS), 0);
	before = dms_alloc_bytes(a);
	host_alloc_left = 0;
	dms_alloc_free(a, 10, 5);
	host_alloc_left = -1;
	CHECK_EQ(dms_alloc_bytes(a), before);
	CHECK(!dms_alloc_is_live(a, 12));
	dms_alloc_commit(a);
	CHECK_EQ(dms_alloc_used(a), DMS_BITMAP_BITS);
	dms_alloc_destroy(a);
}

int main(void)
{
	static const struct test tests[] = {
		{ "against an array of states", test_oracle },
		{ "the last free chunk", test_last_chunk },
		{ "an area all holes", test_fragmented },
		{ "no memory", test_no_memory },
	};

	return test_main(tests, ARRAY_SIZE(tests));
}
