// SPDX-License-Identifier: GPL-2.0-only
/* Trees by themselves: built and searched. */
#include "index_model.h"

static void test_tree(void)
{
	u32 deepest = 0;

	for (int round = 0; round < 30; round++) {
		struct dms_tree t;

		store_init(1u << rnd_below(9));
		memset(model, 0, sizeof(model));
		model_random(model, rnd_once(4) ? rnd_below(4) : rnd_below(800), true);
		model_build(model, &t);
		check_tree(model, &t, DMS_RESERVED_BLOCKS);
		deepest = max(deepest, t.depth);
	}
	CHECK(deepest >= 3);
}

/* Single chunks in sequence come out as long runs, long runs as bearable ones. */
static void test_runs(void)
{
	for (u32 chunk_blocks = 1; chunk_blocks <= 256; chunk_blocks *= 2) {
		static __le32 csums[5000 * 256];
		struct dms_exception e = { .chunk = 7, .where = 1000, .length = 1, .tag = 3,
					   .kind = DMS_KIND_DATA };
		struct dms_builder *b;
		struct dms_cursor c;
		struct dms_tree t, u;
		const __le32 *got;
		u64 next = 7;

		store_init(chunk_blocks);
		b = dms_builder_create(&store.sink);
		for (u32 i = 0; i < 5000; i++, e.chunk++, e.where++) {
			csums_fill(csums, e.where, 1);
			CHECK_EQ(dms_builder_add(b, &e, csums), 0);
		}
		CHECK_EQ(dms_builder_finish(b, &t), 0);
		dms_builder_destroy(b);
		CHECK_EQ(t.entries, DIV_ROUND_UP(5000, DMS_ENTRY_MAX_CSUMS / chunk_blocks));
		CHECK_EQ(t.first_chunk, 7);
		CHECK_EQ(t.last_chunk, 5006);

		dms_cursor_init(&c, &store.source, &t, 0);
		while (dms_cursor_next(&c, &e, &got) > 0) {
			CHECK_EQ(e.chunk, next);
			CHECK_EQ(e.where, next + 993);
			CHECK(csums_right(got, e.where, e.length));
			next += e.length;
		}
		CHECK_EQ(next, 5007);

		e = (struct dms_exception){ .chunk = 7, .where = 1000, .length = 5000, .tag = 3,
					    .kind = DMS_KIND_DATA };
		csums_fill(csums, e.where, e.length);
		b = dms_builder_create(&store.sink);
		CHECK_EQ(dms_builder_add(b, &e, csums), 0);
		CHECK_EQ(dms_builder_finish(b, &u), 0);
		dms_builder_destroy(b);
		CHECK_EQ(u.entries, t.entries);
		CHECK_EQ(u.blocks, t.blocks);
	}
}

static void test_builder_order(void)
{
	static const struct {
		struct dms_exception e;
		int ret;
	} cases[] = {
		{ { .chunk = 10, .length = 5, .tag = 2, .kind = DMS_KIND_ZERO }, 0 },
		{ { .chunk = 10, .length = 5, .tag = 2, .kind = DMS_KIND_ZERO }, -EINVAL },
		{ { .chunk = 10, .length = 5, .tag = 2, .kind = DMS_KIND_HOME }, 0 },
		{ { .chunk = 10, .length = 5, .tag = 2, .kind = DMS_KIND_ZERO }, -EINVAL },
		{ { .chunk = 10, .length = 5, .tag = 1, .kind = DMS_KIND_ZERO }, -EINVAL },
		{ { .chunk = 10, .length = 4, .tag = 3, .kind = DMS_KIND_ZERO }, -EINVAL },
		{ { .chunk = 14, .length = 5, .tag = 3, .kind = DMS_KIND_ZERO }, -EINVAL },
		{ { .chunk = 9, .length = 1, .tag = 3, .kind = DMS_KIND_ZERO }, -EINVAL },
		{ { .chunk = 15, .length = 0, .tag = 3, .kind = DMS_KIND_ZERO }, -EINVAL },
		{ { .chunk = 15, .length = 1, .tag = 3, .kind = DMS_KIND_DATA }, -EINVAL },
		{ { .chunk = U64_MAX, .length = 1, .tag = 3, .kind = DMS_KIND_ZERO }, -EINVAL },
		{ { .chunk = 15, .length = 1, .tag = 1, .kind = DMS_KIND_ZERO }, 0 },
	};
	struct dms_builder *b;
	struct dms_tree t;

	store_init(1);
	for (size_t bad = 0; bad < ARRAY_SIZE(cases); bad++) {
		b = dms_builder_create(&store.sink);
		for (size_t i = 0; i <= bad; i++)
			if (i == bad || !cases[i].ret)
				CHECK_EQ(dms_builder_add(b, &cases[i].e, NULL), cases[i].ret);
		CHECK_EQ(dms_builder_finish(b, &t), cases[bad].ret);
		dms_builder_destroy(b);
	}

	b = dms_builder_create(&store.sink);
	CHECK_EQ(dms_builder_finish(b, &t), 0);
	CHECK(!t.depth && !t.blocks && !t.entries && !t.root.block);
	dms_builder_destroy(b);
	dms_builder_destroy(NULL);
}

/* --- one chunk with thousands of tags --- */

#define MANY		5000

static void check_many(const struct dms_tree *t, u64 chunk, u32 length)
{
	__le32 csums[DMS_ENTRY_MAX_CSUMS];
	struct dms_exception e;
	u32 got;

	for (u32 tag = 0; tag <= 2 * MANY + 2; tag += rnd_range(1, 20)) {
		u32 expect = tag ? tag + tag % 2 : 2;	/* the even ones are saved */
		u64 c = chunk + rnd_below(length);

		CHECK_EQ(dms_tree_find(&store.source, t, c, tag, 1, &e, csums),
			 expect <= 2 * MANY);
		if (expect <= 2 * MANY) {
			CHECK_EQ(e.tag, expect);
			CHECK_EQ(e.where, 1000ULL * expect + c - chunk);
			CHECK(csums_right(csums, e.where, 1));
		}
		CHECK_EQ(dms_tree_is_home(&store.source, t, c, tag),
			 tag && tag % 3 == 0 && tag <= 2 * MANY);
	}
	CHECK_EQ(dms_tree_max_tag(&store.source, t, chunk, &got), 0);
	CHECK_EQ(got, 2 * MANY);
	if (chunk) {
		CHECK_EQ(dms_tree_find(&store.source, t, chunk - 1, 1, 5, &e, csums), 0);
		CHECK_EQ(e.length, 1);
	}
}

static void many_add(struct dms_builder *b, struct dms_exception *e, __le32 *csums)
{
	for (e->tag = 1; e->tag <= 2 * MANY; e->tag++) {
		if (e->tag % 2 == 0) {
			e->kind = DMS_KIND_DATA;
			e->where = 1000ULL * e->tag;
			csums_fill(csums, e->where, e->length);
			CHECK_EQ(dms_builder_add(b, e, csums), 0);
		}
		if (e->tag % 3 == 0) {
			e->kind = DMS_KIND_HOME;
			e->where = 0;
			CHECK_EQ(dms_builder_add(b, e, NULL), 0);
		}
	}
}

static void ignore_drop(void *context, area_chunk_t first __always_unused, u32 length)
{
	*(u64 *)context += length;
}

static void test_many_tags(void)
{
	/* Where nothing is before the first position, too. */
	static const struct {
		u64 chunk;
		u32 length;
	} samples[] = { { 99, 1 }, { 0, 1 }, { 99, 3 }, { 0, 40 } };
	static __le32 csums[100 * 16];
	static u32 epochs[2 * MANY];

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		u32 length = samples[i].length;
		struct dms_exception e = { .chunk = samples[i].chunk, .length = length };
		struct dms_merge_spec spec = { .source = &store.source, .nr_trees = 1,
					       .drop = ignore_drop };
		struct dms_builder *b;
		struct dms_merger *m;
		struct dms_tree t;
		const __le32 *from;
		u64 dropped = 0, nr = 0;

		store_init(16);
		b = dms_builder_create(&store.sink);
		many_add(b, &e, csums);
		CHECK_EQ(dms_builder_finish(b, &t), 0);
		dms_builder_destroy(b);
		check_many(&t, samples[i].chunk, length);
		check_walk(&t, DMS_RESERVED_BLOCKS);

		/* Every other copy is deleted. */
		for (u32 n = 0; n < MANY / 2; n++)
			epochs[n] = 4 * n + 4;
		spec.trees = &t;
		spec.epochs = epochs;
		spec.nr_epochs = MANY / 2;
		spec.merge_epoch = 6;
		spec.context = &dropped;
		m = dms_merger_create(&spec);
		while (dms_merger_next(m, &e, &from) > 0) {
			if (e.kind == DMS_KIND_HOME) {
				CHECK_EQ(e.tag, 6);
				continue;
			}
			CHECK_EQ(e.tag % 4, 0);
			CHECK(csums_right(from, e.where, e.length));
			nr += e.length;
		}
		dms_merger_destroy(m);
		CHECK_EQ(nr, MANY / 2 * length);
		CHECK_EQ(dropped, MANY / 2 * length);
	}
}

/* HOME entries fill whole leaves around the one save of a chunk. */
static void test_many_homes(void)
{
	static const u32 saved[] = { 1, 300, 1000 };

	for (size_t i = 0; i < ARRAY_SIZE(saved); i++) {
		struct dms_exception e = { .chunk = 5, .length = 2, .kind = DMS_KIND_HOME };
		struct dms_builder *b;
		struct dms_tree t;
		u32 got;

		store_init(1);
		b = dms_builder_create(&store.sink);
		for (e.tag = 1; e.tag <= 1000; e.tag++) {
			if (e.tag == saved[i]) {
				e.kind = DMS_KIND_ZERO;
				CHECK_EQ(dms_builder_add(b, &e, NULL), 0);
				e.kind = DMS_KIND_HOME;
			}
			CHECK_EQ(dms_builder_add(b, &e, NULL), 0);
		}
		CHECK_EQ(dms_builder_finish(b, &t), 0);
		dms_builder_destroy(b);
		for (u32 tag = 0; tag <= 1001; tag++) {
			CHECK_EQ(dms_tree_find(&store.source, &t, 6, tag, 9, &e, NULL),
				 tag <= saved[i]);
			CHECK_EQ(e.length, t.max_tag < tag ? 9 : 1);
			CHECK_EQ(dms_tree_is_home(&store.source, &t, 6, tag),
				 tag >= 1 && tag <= 1000);
		}
		CHECK_EQ(dms_tree_max_tag(&store.source, &t, 6, &got), 0);
		CHECK_EQ(got, saved[i]);
		CHECK_EQ(store.held, 0);
	}
}

int main(void)
{
	static const struct test tests[] = {
		{ "build and search", test_tree },
		{ "runs are joined and split", test_runs },
		{ "builder insists on order", test_builder_order },
		{ "thousands of tags of one chunk", test_many_tags },
		{ "leaves full of HOME", test_many_homes },
	};

	return store_exit(test_main(tests, ARRAY_SIZE(tests)));
}
