// SPDX-License-Identifier: GPL-2.0-only
#include "host.h"
#include "exception.h"
#include "test.h"
#include <pthread.h>

#define CHUNKS		200	/* few, so that they meet */

struct fact {
	struct dms_exception e;		/* length 1 */
	__le32 csums[16];
};

static struct fact facts[100000];
static u32 nr_facts;

static const struct fact *model_find(u64 chunk, u32 tag)
{
	const struct fact *best = NULL;

	for (u32 i = 0; i < nr_facts; i++)
		if (facts[i].e.chunk == chunk && facts[i].e.kind != DMS_KIND_HOME &&
		    facts[i].e.tag >= tag && (!best || facts[i].e.tag < best->e.tag))
			best = &facts[i];
	return best;
}

static bool model_has(u64 chunk, u32 tag, bool home)
{
	for (u32 i = 0; i < nr_facts; i++)
		if (facts[i].e.chunk == chunk && facts[i].e.tag == tag &&
		    (facts[i].e.kind == DMS_KIND_HOME) == home)
			return true;
	return false;
}

static bool fact_is(const struct fact *f, const struct dms_exception *e, const __le32 *csums,
		    u32 chunk_blocks)
{
	if (memcmp(&f->e, e, sizeof(*e)))
		return false;
	if (e->kind != DMS_KIND_DATA)
		return !csums;
	return csums && !memcmp(f->csums, csums, chunk_blocks * sizeof(*csums));
}

/* Add a random run; false if the table is full. */
static bool add_some(struct dms_table *t, u32 chunk_blocks)
{
	__le32 csums[8 * 16];
	struct dms_exception e = {};

	e.length = rnd_range(1, 8);
	e.chunk = (1ULL << 40) + rnd_below(CHUNKS);
	e.tag = rnd_range(1, 20);
	e.kind = rnd_range(DMS_KIND_DATA, DMS_KIND_HOME);
	if (e.kind == DMS_KIND_DATA)
		e.where = rnd_below(DMS_MAX_BLOCKS);
	rnd_fill(csums, sizeof(csums));
	for (u32 i = 0; i < e.length; i++)
		if (model_has(e.chunk + i, e.tag, e.kind == DMS_KIND_HOME))
			return true;

	if (e.length > dms_table_room(t)) {
		CHECK(!dms_table_add(t, &e, csums));
		return false;
	}
	CHECK(dms_table_add(t, &e, e.kind == DMS_KIND_DATA ? csums : NULL));
	for (u32 i = 0; i < e.length; i++) {
		struct fact *f = &facts[nr_facts++];

		memset(f, 0, sizeof(*f));
		f->e.chunk = e.chunk + i;
		f->e.where = e.kind == DMS_KIND_DATA ? e.where + i : 0;
		f->e.length = 1;
		f->e.tag = e.tag;
		f->e.kind = e.kind;
		memcpy(f->csums, csums + i * chunk_blocks, chunk_blocks * sizeof(*csums));
	}
	return true;
}

static void check_all(const struct dms_table *t, u32 chunk_blocks)
{
	for (u64 chunk = (1ULL << 40) - 1; chunk < (1ULL << 40) + CHUNKS + 9; chunk++) {
		u32 max_tag = 0;

		for (u32 tag = 0; tag <= 21; tag++) {
			const struct fact *f = model_find(chunk, tag);
			struct dms_exception e = {};
			const __le32 *csums;

			CHECK_EQ(dms_table_find(t, chunk, tag, &e, &csums), !!f);
			if (f) {
				CHECK(fact_is(f, &e, csums, chunk_blocks));
				max_tag = f->e.tag;
			}
			CHECK_EQ(dms_table_is_home(t, chunk, tag), model_has(chunk, tag, true));
		}
		CHECK_EQ(dms_table_max_tag(t, chunk), max_tag);
	}
}

static int fact_cmp(const void *a, const void *b)
{
	const struct fact *l = a, *r = b;

	if (l->e.chunk != r->e.chunk)
		return l->e.chunk < r->e.chunk ? -1 : 1;
	if (l->e.tag != r->e.tag)
		return l->e.tag < r->e.tag ? -1 : 1;
	return l->e.kind - r->e.kind;
}

static void check_sorted(struct dms_table *t, u32 chunk_blocks)
{
	dms_table_sort(t);
	qsort(facts, nr_facts, sizeof(*facts), fact_cmp);
	for (u32 i = 0; i < nr_facts; i++) {
		struct dms_exception e = {};
		const __le32 *csums;

		dms_table_get(t, i, &e, &csums);
		CHECK(fact_is(&facts[i], &e, csums, chunk_blocks));
	}
}

static void test_oracle(void)
{
	for (u32 chunk_blocks = 1; chunk_blocks <= 16; chunk_blocks *= 4) {
		struct dms_table *t = dms_table_create(chunk_blocks, rnd_range(5000, 60000));

		CHECK(t);
		for (int life = 0; life < 3; life++) {
			nr_facts = 0;
			CHECK_EQ(dms_table_count(t), 0);
			for (int i = 0; i < 1000 && add_some(t, chunk_blocks); i++)
				CHECK_EQ(dms_table_count(t), nr_facts);
			check_all(t, chunk_blocks);
			check_sorted(t, chunk_blocks);
			check_all(t, chunk_blocks);
			dms_table_reset(t);
		}
		dms_table_destroy(t);
	}
}

static void test_size(void)
{
	struct dms_exception e = { .tag = 1, .kind = DMS_KIND_ZERO };

	for (u32 chunk_blocks = 1; chunk_blocks <= 256; chunk_blocks *= 2) {
		for (size_t bytes = 0; bytes <= 1 << 22; bytes = bytes * 3 + 1) {
			struct dms_table *t = dms_table_create(chunk_blocks, bytes);
			u32 room;

			CHECK(t);
			room = dms_table_room(t);
			CHECK(room >= 64);
			CHECK(room == 64 || dms_table_bytes(t) <= bytes);
			/* Little of what was granted goes to waste. */
			CHECK(dms_table_bytes(t) + bytes / 4 + 4096 + 2048 >= bytes);
			e.length = room + 1;
			CHECK(!dms_table_add(t, &e, NULL));
			e.length = room;
			CHECK(dms_table_add(t, &e, NULL));
			CHECK_EQ(dms_table_room(t), 0);
			e.length = 1;
			CHECK(!dms_table_add(t, &e, NULL));
			dms_table_destroy(t);
		}
	}
	dms_table_destroy(NULL);
}

static void test_no_memory(void)
{
	for (long n = 0; n < 5; n++) {
		host_alloc_left = n;
		CHECK(!dms_table_create(1, 10000));
	}
	host_alloc_left = -1;
}

/* --- readers beside the writer --- */

#define RACE_CHUNKS	512
#define RACE_TAGS	100

/* What race_writer() stores for a chunk and a tag. */
static u64 race_where(u64 chunk, u32 tag)
{
	return 16 + chunk * 1000 + tag;
}

static void *race_writer(void *context)
{
	struct dms_table *t = context;
	struct dms_exception e = { .length = 1, .kind = DMS_KIND_DATA };

	for (e.tag = 1; e.tag <= RACE_TAGS; e.tag++)
		for (e.chunk = 0; e.chunk < RACE_CHUNKS; e.chunk++) {
			__le32 csum = cpu_to_le32(e.chunk * 7 + e.tag);

			e.where = race_where(e.chunk, e.tag);
			if (!dms_table_add(t, &e, &csum))
				return "full";
		}
	return NULL;
}

static void test_readers(void)
{
	struct dms_table *t = dms_table_create(1, 36 * RACE_CHUNKS * RACE_TAGS + 4096);
	u32 seen[RACE_CHUNKS] = {};
	pthread_t writer;
	void *failure;

	CHECK(t);
	CHECK(!pthread_create(&writer, NULL, race_writer, t));
	while (seen[RACE_CHUNKS - 1] < RACE_TAGS) {
		u64 chunk = rnd_once(4) ? RACE_CHUNKS - 1 : rnd_below(RACE_CHUNKS);
		u32 max_tag = dms_table_max_tag(t, chunk);
		struct dms_exception e;
		const __le32 *csums;

		/* What was there once stays. */
		CHECK(max_tag >= seen[chunk]);
		seen[chunk] = max_tag;
		if (!max_tag)
			continue;
		CHECK(dms_table_find(t, chunk, max_tag, &e, &csums));
		CHECK_EQ(e.tag, max_tag);
		CHECK_EQ(e.where, race_where(chunk, max_tag));
		CHECK_EQ(le32_to_cpu(*csums), chunk * 7 + max_tag);
	}
	CHECK(!pthread_join(writer, &failure));
	CHECK(!failure);
	dms_table_destroy(t);
}

int main(void)
{
	static const struct test tests[] = {
		{ "against a list", test_oracle },
		{ "memory cap and room", test_size },
		{ "no memory", test_no_memory },
		{ "readers beside the writer", test_readers },
	};

	return test_main(tests, ARRAY_SIZE(tests));
}
