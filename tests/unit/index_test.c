// SPDX-License-Identifier: GPL-2.0-only
/*
 * Trees live in an array of blocks; the model is a map from (chunk, tag, HOME
 * or not) to what was saved there.
 */
#include "host.h"
#include "index.h"
#include "test.h"

#define AREA_BLOCKS	(1 << 16)
#define CHUNKS		600		/* of the origin */
#define TAGS		12		/* 1 to TAGS */

/* --- a device of blocks --- */

struct store {
	struct dms_source source;
	struct dms_sink sink;
	void *blocks[AREA_BLOCKS];
	u64 next;			/* to hand out */
	u64 fail_alloc;			/* no space from this block on */
	int held;			/* get() without put() */
	u64 gets;
	u32 again;			/* one get() in so many says -EAGAIN; 0: none */
};

static struct store store;
static u64 next_where = 100;		/* area chunk to save to */

static const void *store_get(struct dms_source *s, struct dms_pointer p, u16 type)
{
	struct store *st = container_of(s, struct store, source);
	int err = -EUCLEAN;
	void *copy;

	st->gets++;
	if (st->again && rnd_once(st->again))
		return ERR_PTR(-EAGAIN);
	CHECK(p.block < AREA_BLOCKS);
	if (st->blocks[p.block])
		err = dms_block_check(st->blocks[p.block], p.block, type, NULL, &p.crc, NULL);
	if (err)
		return ERR_PTR(err);
	st->held++;
	CHECK(st->held <= 64);
	/* A copy, so that whoever uses it after put() is caught. */
	copy = aligned_alloc(8, DMS_BLOCK_SIZE);
	return memcpy(copy, st->blocks[p.block], DMS_BLOCK_SIZE);
}

static void store_put(struct dms_source *s, const void *block)
{
	container_of(s, struct store, source)->held--;
	free((void *)block);
}

static u64 store_alloc(struct dms_sink *s)
{
	struct store *st = container_of(s, struct store, sink);

	return st->next >= st->fail_alloc ? 0 : st->next++;
}

static int store_write(struct dms_sink *s, u64 addr, const void *block)
{
	struct store *st = container_of(s, struct store, sink);

	CHECK(addr < AREA_BLOCKS);
	if (!st->blocks[addr])
		st->blocks[addr] = aligned_alloc(8, DMS_BLOCK_SIZE);
	memcpy(st->blocks[addr], block, DMS_BLOCK_SIZE);
	return 0;
}

static void store_init(u32 chunk_blocks)
{
	for (u64 i = 0; i < AREA_BLOCKS; i++) {
		free(store.blocks[i]);
		store.blocks[i] = NULL;
	}
	store.source.get = store_get;
	store.source.put = store_put;
	store.source.chunk_blocks = chunk_blocks;
	store.source.area_chunks = DMS_MAX_BLOCKS / chunk_blocks;
	store.sink.alloc = store_alloc;
	store.sink.write = store_write;
	store.sink.chunk_blocks = chunk_blocks;
	store.next = DMS_RESERVED_BLOCKS;
	store.fail_alloc = AREA_BLOCKS;
	store.held = 0;
	store.again = 0;
	next_where = 100;
}

/* --- the model --- */

struct fact {
	bool is;
	u8 kind;
	u64 where;
};

/* What there is of one chunk; a model has CHUNKS of them. */
struct column {
	struct fact at[TAGS + 1][2];	/* [tag][HOME or not] */
};

/* The checksum of a block of an area chunk follows from its address. */
static __le32 csum_of(u64 where, u32 block)
{
	return cpu_to_le32((u32)(where * 2654435761u) ^ block);
}

static void csums_fill(__le32 *csums, u64 where, u32 length)
{
	for (u32 i = 0; i < length; i++)
		for (u32 b = 0; b < store.sink.chunk_blocks; b++)
			*csums++ = csum_of(where + i, b);
}

static bool csums_right(const __le32 *csums, u64 where, u32 length)
{
	for (u32 i = 0; i < length; i++)
		for (u32 b = 0; b < store.sink.chunk_blocks; b++)
			if (*csums++ != csum_of(where + i, b))
				return false;
	return true;
}

static const struct fact *model_find(struct column *m, u64 chunk, u32 tag, u32 *found)
{
	for (*found = tag; chunk < CHUNKS && *found <= TAGS; ++*found)
		if (m[chunk].at[*found][0].is)
			return &m[chunk].at[*found][0];
	return NULL;
}

/* Put a random run into the model, where it is free. */
static void model_add(struct column *m, u64 chunk, u32 length, u32 tag, u8 kind)
{
	bool home = kind == DMS_KIND_HOME;

	for (u64 c = chunk; c < min_t(u64, chunk + length, CHUNKS); c++) {
		struct fact *f = &m[c].at[tag][home];

		if (f->is)
			continue;
		f->is = true;
		f->kind = kind;
		f->where = kind == DMS_KIND_DATA ? next_where++ : 0;
	}
	if (rnd_once(4))
		next_where += 10;
}

static void model_random(struct column *m, u32 runs, bool home)
{
	for (u32 i = 0; i < runs; i++)
		model_add(m, rnd_below(CHUNKS), rnd_once(3) ? 1 : rnd_range(1, 60),
			  rnd_range(1, TAGS),
			  rnd_range(DMS_KIND_DATA, home ? DMS_KIND_HOME : DMS_KIND_UNREADABLE));
}

/* Feed the model, chunk by chunk, to @add. */
static void model_feed(struct column *m, void (*add)(void *context, const struct dms_exception *e,
					      const __le32 *csums), void *context)
{
	__le32 csums[256];

	for (u64 c = 0; c < CHUNKS; c++)
		for (u32 tag = 0; tag <= TAGS; tag++)
			for (int home = 0; home < 2; home++) {
				const struct fact *f = &m[c].at[tag][home];
				struct dms_exception e = { .chunk = c, .where = f->where,
							   .length = 1, .tag = tag,
							   .kind = f->kind };

				if (!f->is)
					continue;
				csums_fill(csums, f->where, 1);
				add(context, &e, f->kind == DMS_KIND_DATA ? csums : NULL);
			}
}

static void add_to_builder(void *context, const struct dms_exception *e, const __le32 *csums)
{
	CHECK_EQ(dms_builder_add(context, e, csums), 0);
}

static void add_to_table(void *context, const struct dms_exception *e, const __le32 *csums)
{
	CHECK(dms_table_add(context, e, csums));
}

static void model_build(struct column *m, struct dms_tree *t)
{
	struct dms_builder *b = dms_builder_create(&store.sink);

	CHECK(b);
	model_feed(m, add_to_builder, b);
	CHECK_EQ(dms_builder_finish(b, t), 0);
	dms_builder_destroy(b);
}

/* --- checks of a tree --- */

static void check_find(struct column *m, const struct dms_tree *t)
{
	static __le32 csums[64 * 256];

	for (u64 c = 0; c < CHUNKS + 3; c++) {
		for (u32 tag = 0; tag <= TAGS + 1; tag++) {
			u32 most = rnd_once(2) ? rnd_range(1, 60) : 1;
			struct dms_exception e;
			const struct fact *f;
			u32 found;
			int ret;

			ret = dms_tree_find(&store.source, t, c, tag, most, &e, csums);
			CHECK_EQ(store.held, 0);
			f = model_find(m, c, tag, &found);
			CHECK_EQ(ret, !!f);
			CHECK(e.length >= 1 && e.length <= most);
			for (u32 i = 0; i < e.length; i++) {
				const struct fact *g;
				u32 at;

				g = model_find(m, c + i, tag, &at);
				CHECK_EQ(!g, !f);
				if (!f)
					continue;
				CHECK_EQ(at, e.tag);
				CHECK_EQ(g->kind, e.kind);
				CHECK_EQ(g->where, e.kind == DMS_KIND_DATA ? e.where + i : 0);
			}
			if (f)
				CHECK_EQ(e.chunk, c);
			if (f && e.kind == DMS_KIND_DATA)
				CHECK(csums_right(csums, e.where, e.length));
			CHECK_EQ(dms_tree_is_home(&store.source, t, c, tag),
				 c < CHUNKS && tag <= TAGS && m[c].at[tag][1].is);
		}
	}
}

static void check_max_tag(struct column *m, const struct dms_tree *t)
{
	for (u64 c = 0; c < CHUNKS + 3; c++) {
		u32 expect = 0, got;

		for (u32 tag = 0; c < CHUNKS && tag <= TAGS; tag++)
			if (m[c].at[tag][0].is)
				expect = tag;
		CHECK_EQ(dms_tree_max_tag(&store.source, t, c, &got), 0);
		CHECK_EQ(got, expect);
	}
	CHECK_EQ(store.held, 0);
}

/* From anywhere, everything from the run there on; runs equal or disjoint. */
static void check_cursor(struct column *m, const struct dms_tree *t, u64 start)
{
	struct dms_exception e, last = {};
	struct dms_cursor c;
	const __le32 *csums;
	u64 expected = 0, got = 0, begin = start;
	int ret;

	dms_cursor_init(&c, &store.source, t, start);
	while ((ret = dms_cursor_next(&c, &e, &csums)) > 0) {
		if (!last.length)
			begin = min(begin, e.chunk);
		else
			CHECK(e.chunk >= last.chunk + last.length ||
			      (e.chunk == last.chunk && e.length == last.length &&
			       (e.tag > last.tag || (e.tag == last.tag && last.kind < e.kind))));
		CHECK(e.chunk + e.length > start);
		for (u32 i = 0; i < e.length; i++) {
			const struct fact *f = &m[e.chunk + i].at[e.tag][e.kind == DMS_KIND_HOME];

			CHECK(f->is && f->kind == e.kind);
			CHECK_EQ(f->where, e.kind == DMS_KIND_DATA ? e.where + i : 0);
		}
		CHECK(!csums == (e.kind != DMS_KIND_DATA));
		if (csums)
			CHECK(csums_right(csums, e.where, e.length));
		got += e.length;
		last = e;
	}
	CHECK_EQ(ret, 0);
	CHECK_EQ(dms_cursor_next(&c, &e, &csums), 0);
	CHECK_EQ(store.held, 0);
	for (u64 chunk = begin; chunk < CHUNKS; chunk++)
		for (u32 tag = 0; tag <= TAGS; tag++)
			expected += m[chunk].at[tag][0].is + m[chunk].at[tag][1].is;
	CHECK_EQ(got, expected);
	dms_cursor_exit(&c);
	dms_cursor_exit(&c);
}

static u8 visited[AREA_BLOCKS];

static int visit(void *context, u64 block)
{
	u64 *nr = context;

	CHECK(block < AREA_BLOCKS && !visited[block]++);
	++*nr;
	return 0;
}

static int visit_stop(void *context, u64 block __always_unused)
{
	u64 *left = context;

	return --*left ? 0 : 77;
}

/* All blocks written from @first on are the tree's, and no others. */
static void check_walk(const struct dms_tree *t, u64 first)
{
	u64 nr = 0, left;

	memset(visited, 0, sizeof(visited));
	CHECK_EQ(dms_tree_walk(&store.source, t, visit, &nr), 0);
	CHECK_EQ(nr, t->blocks);
	CHECK_EQ(nr, store.next - first);
	for (u64 i = first; i < store.next; i++)
		CHECK(visited[i]);
	if (t->blocks) {
		left = rnd_range(1, t->blocks);
		CHECK_EQ(dms_tree_walk(&store.source, t, visit_stop, &left), 77);
	}
	CHECK_EQ(store.held, 0);
}

static void check_tree(struct column *m, const struct dms_tree *t, u64 first_block)
{
	struct dms_disk_tree d;
	struct dms_tree copy;

	dms_tree_pack(&d, t);
	CHECK_EQ(dms_tree_unpack(&d, AREA_BLOCKS, &copy), 0);
	check_find(m, t);
	check_max_tag(m, t);
	for (int i = 0; i < 8; i++)
		check_cursor(m, t, i ? rnd_below(CHUNKS + 2) : 0);
	check_walk(t, first_block);
}

static struct column model[CHUNKS];

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

	for (u32 tag = 1; tag <= 2 * MANY + 2; tag += rnd_range(1, 20)) {
		u32 expect = tag + tag % 2;	/* the even ones are saved */
		u64 c = chunk + rnd_below(length);

		CHECK_EQ(dms_tree_find(&store.source, t, c, tag, 1, &e, csums),
			 expect <= 2 * MANY);
		if (expect <= 2 * MANY) {
			CHECK_EQ(e.tag, expect);
			CHECK_EQ(e.where, 1000ULL * expect + c - chunk);
			CHECK(csums_right(csums, e.where, 1));
		}
		CHECK_EQ(dms_tree_is_home(&store.source, t, c, tag), tag % 3 == 0 && tag <= 2 * MANY);
	}
	CHECK_EQ(dms_tree_max_tag(&store.source, t, chunk, &got), 0);
	CHECK_EQ(got, 2 * MANY);
	CHECK_EQ(dms_tree_find(&store.source, t, chunk - 1, 1, 5, &e, csums), 0);
	CHECK_EQ(e.length, 1);
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
	static const u32 lengths[] = { 1, 3, 40 };
	static __le32 csums[100 * 16];
	static u32 epochs[2 * MANY];

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		struct dms_exception e = { .chunk = 99, .length = lengths[i] };
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
		check_many(&t, 99, lengths[i]);
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
		CHECK_EQ(nr, MANY / 2 * lengths[i]);
		CHECK_EQ(dropped, MANY / 2 * lengths[i]);
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

/* --- merging --- */

#define MAX_SOURCES	6
#define MAX_WHERE	400000

static u8 dropped[MAX_WHERE];

static void drop(void *context __always_unused, area_chunk_t first, u32 length)
{
	CHECK(length && first + length <= MAX_WHERE);
	for (u32 i = 0; i < length; i++)
		CHECK(!dropped[first + i]++);
}

static bool epoch_between(const u32 *epochs, u32 nr, u32 prev, u32 tag)
{
	for (u32 i = 0; i < nr; i++)
		if (epochs[i] > prev && epochs[i] <= tag)
			return true;
	return false;
}

/* Leave in @m what is live; what is not goes to @dead. */
static void model_sift(struct column *m, const u32 *epochs, u32 nr_epochs, u32 merge_epoch, u8 *dead)
{
	for (u64 c = 0; c < CHUNKS; c++) {
		u32 prev = 0;

		for (u32 tag = 0; tag <= TAGS; tag++) {
			struct fact *f = m[c].at[tag];

			if (tag != merge_epoch || !merge_epoch)
				f[1].is = false;
			if (!f[0].is)
				continue;
			if (epoch_between(epochs, nr_epochs, prev, tag)) {
				prev = tag;
			} else {
				if (f[0].kind == DMS_KIND_DATA)
					dead[f[0].where] = 1;
				f[0].is = false;
			}
		}
	}
}

/* Add @from to @to; what is in both stays as in @from. */
static void model_join(struct column *to, struct column *from, u8 *dead)
{
	for (u64 c = 0; c < CHUNKS; c++)
		for (u32 tag = 0; tag <= TAGS; tag++)
			for (int home = 0; home < 2; home++) {
				struct fact *t = &to[c].at[tag][home], *f = &from[c].at[tag][home];

				if (!f->is)
					continue;
				if (t->is && t->kind == DMS_KIND_DATA &&
				    (f->kind != DMS_KIND_DATA || f->where != t->where))
					dead[t->where] = 1;
				*t = *f;
			}
}

/* Some of what @older has is in @newer, too: the same, or saved anew. */
static void model_repeat(struct column *newer, struct column *older)
{
	for (u64 c = 0; c < CHUNKS; c++)
		for (u32 tag = 0; tag <= TAGS; tag++) {
			struct fact *f = &older[c].at[tag][0];

			if (!f->is || newer[c].at[tag][0].is || !rnd_once(10))
				continue;
			newer[c].at[tag][0] = *f;
			if (f->kind == DMS_KIND_DATA && rnd_once(2))
				newer[c].at[tag][0].where = next_where++;
			else if (rnd_once(4))
				newer[c].at[tag][0] = (struct fact){ true, DMS_KIND_ZERO, 0 };
		}
}

static u32 random_epochs(u32 *epochs)
{
	u32 nr = 0, one_in = rnd_range(1, 5);

	for (u32 e = 1; e <= TAGS; e++)
		if (rnd_once(one_in))
			epochs[nr++] = e;
	return nr;
}

/* Merge into a new tree, as a checkpoint does. */
static int merge_build(const struct dms_merge_spec *spec, struct dms_tree *ret)
{
	struct dms_builder *b = dms_builder_create(&store.sink);
	struct dms_merger *m = dms_merger_create(spec);
	struct dms_exception e;
	const __le32 *csums;
	int err = -ENOMEM;

	if (b && m) {
		while ((err = dms_merger_next(m, &e, &csums)) > 0) {
			err = dms_builder_add(b, &e, csums);
			if (err)
				break;
		}
	}
	if (!err)
		err = dms_builder_finish(b, ret);
	dms_merger_destroy(m);
	dms_builder_destroy(b);
	CHECK_EQ(store.held, 0);
	return err;
}

static void test_merge(void)
{
	static struct column models[MAX_SOURCES][CHUNKS];
	static u8 dead[MAX_WHERE];
	u32 epochs[TAGS];

	for (int round = 0; round < 40; round++) {
		struct dms_merge_spec spec = { .source = &store.source, .epochs = epochs,
					       .drop = drop };
		struct dms_tree trees[MAX_SOURCES], result;
		struct dms_table *table = NULL;
		u32 nr = rnd_below(MAX_SOURCES);
		u64 first;

		store_init(1u << rnd_below(5));
		memset(models, 0, sizeof(models));
		memset(model, 0, sizeof(model));
		memset(dead, 0, sizeof(dead));
		memset(dropped, 0, sizeof(dropped));
		for (u32 i = 0; i <= nr; i++) {
			model_random(models[i], rnd_below(rnd_once(3) ? 5 : 60), true);
			if (i)
				model_repeat(models[i], models[i - 1]);
		}
		for (u32 i = 0; i < nr; i++) {
			model_build(models[i], &trees[i]);
			model_join(model, models[i], dead);
		}
		if (!nr || rnd_once(2)) {
			table = dms_table_create(store.sink.chunk_blocks, 4 << 20);
			model_feed(models[nr], add_to_table, table);
			dms_table_sort(table);
			model_join(model, models[nr], dead);
		}
		spec.trees = trees;
		spec.nr_trees = nr;
		spec.table = table;
		spec.nr_epochs = random_epochs(epochs);
		spec.merge_epoch = rnd_once(2) ? rnd_range(1, TAGS) : 0;
		model_sift(model, epochs, spec.nr_epochs, spec.merge_epoch, dead);

		first = store.next;
		CHECK_EQ(merge_build(&spec, &result), 0);
		check_tree(model, &result, first);
		/* A chunk that is saved again at its old place is not dead. */
		for (u64 c = 0; c < CHUNKS; c++)
			for (u32 tag = 0; tag <= TAGS; tag++)
				if (model[c].at[tag][0].is && model[c].at[tag][0].kind == DMS_KIND_DATA)
					CHECK(!dropped[model[c].at[tag][0].where]);
		for (u32 i = 0; i < MAX_WHERE; i++)
			CHECK_EQ(dropped[i], dead[i]);
		dms_table_destroy(table);
	}
	dms_merger_destroy(NULL);
}

/* --- a volume's life: write, create, delete, checkpoint, merge --- */

static u32 content[CHUNKS];			/* of the origin */
static u32 taken[TAGS + 1][CHUNKS];		/* of each copy, when it was made */
static u32 stored[MAX_WHERE];			/* of the area */

struct life {
	struct dms_tree trees[MAX_SOURCES];
	u32 nr_trees;
	struct dms_table *table;
	u32 epochs[TAGS];
	u32 nr_epochs;
	u32 epoch;
};

/* What copy @epoch reads at @chunk: the smallest tag of all trees and the table. */
static u32 life_read(struct life *l, u32 epoch, u64 chunk)
{
	struct dms_exception best = { .tag = U32_MAX }, e;
	const __le32 *csums;

	for (u32 i = 0; i < l->nr_trees; i++)
		if (dms_tree_find(&store.source, &l->trees[i], chunk, epoch, 1, &e, NULL) == 1 &&
		    e.tag < best.tag)
			best = e;
	if (dms_table_find(l->table, chunk, epoch, &e, &csums) && e.tag < best.tag)
		best = e;
	if (best.tag == U32_MAX)
		return content[chunk];
	return best.kind == DMS_KIND_ZERO ? 0 : stored[best.where];
}

static void life_write(struct life *l, u64 chunk)
{
	struct dms_exception e = { .chunk = chunk, .length = 1, .tag = l->epoch };
	__le32 csum;
	u32 tag, max_tag;

	max_tag = dms_table_max_tag(l->table, chunk);
	for (u32 i = 0; i < l->nr_trees; i++) {
		CHECK_EQ(dms_tree_max_tag(&store.source, &l->trees[i], chunk, &tag), 0);
		max_tag = max(max_tag, tag);
	}
	/* Saved already, or no copy to save it for. */
	if (l->nr_epochs && l->epochs[l->nr_epochs - 1] > max_tag) {
		e.kind = content[chunk] ? DMS_KIND_DATA : DMS_KIND_ZERO;
		if (content[chunk]) {
			e.where = next_where++;
			stored[e.where] = content[chunk];
			csum = csum_of(e.where, 0);
		}
		CHECK(dms_table_add(l->table, &e, &csum));
	}
	content[chunk] = rnd_once(8) ? 0 : rnd();
}

/* The table and a suffix of the trees become one. */
static void life_checkpoint(struct life *l)
{
	u32 keep = rnd_range(l->nr_trees == MAX_SOURCES ? 2 : 0, l->nr_trees);
	struct dms_merge_spec spec = {
		.source = &store.source, .trees = l->trees + keep,
		.nr_trees = l->nr_trees - keep, .table = l->table,
		.epochs = l->epochs, .nr_epochs = l->nr_epochs, .drop = drop,
	};
	struct dms_tree result;

	dms_table_sort(l->table);
	CHECK_EQ(merge_build(&spec, &result), 0);
	dms_table_reset(l->table);
	l->nr_trees = keep;
	if (result.depth)
		l->trees[l->nr_trees++] = result;
}

/* With all in one tree: dropped or named by the tree, and never both. */
static void life_check_space(struct life *l)
{
	struct dms_merge_spec spec = {
		.source = &store.source, .trees = l->trees, .nr_trees = l->nr_trees,
		.table = l->table, .epochs = l->epochs, .nr_epochs = l->nr_epochs, .drop = drop,
	};
	u8 *named = calloc(1, MAX_WHERE);
	struct dms_exception e;
	struct dms_tree result;
	struct dms_cursor c;
	const __le32 *csums;

	dms_table_sort(l->table);
	CHECK_EQ(merge_build(&spec, &result), 0);
	dms_table_reset(l->table);
	l->nr_trees = result.depth ? 1 : 0;
	l->trees[0] = result;
	dms_cursor_init(&c, &store.source, &result, 0);
	while (dms_cursor_next(&c, &e, &csums) > 0)
		for (u32 i = 0; e.kind == DMS_KIND_DATA && i < e.length; i++)
			CHECK(!named[e.where + i]++);
	for (u32 i = 100; i < next_where; i++)
		CHECK_EQ(named[i], !dropped[i]);
	free(named);
}

static void test_life(void)
{
	for (int round = 0; round < 10; round++) {
		struct life l = {};

		store_init(1);
		memset(dropped, 0, sizeof(dropped));
		memset(content, 0, sizeof(content));
		l.table = dms_table_create(1, 1 << 20);
		while (l.epoch < TAGS || !rnd_once(5)) {
			for (u64 n = rnd_below(3), from, length; n; n--) {
				from = rnd_below(CHUNKS);
				length = rnd_range(1, rnd_once(3) ? CHUNKS : 30);
				for (u64 c = from; c < min_t(u64, from + length, CHUNKS); c++)
					life_write(&l, c);
			}
			if (rnd_once(3) && l.epoch < TAGS) {
				l.epochs[l.nr_epochs++] = ++l.epoch;
				memcpy(taken[l.epoch], content, sizeof(content));
			}
			if (rnd_once(4) && l.nr_epochs) {
				u32 which = rnd_below(l.nr_epochs);

				l.nr_epochs--;
				memmove(l.epochs + which, l.epochs + which + 1,
					(l.nr_epochs - which) * sizeof(*l.epochs));
			}
			if (rnd_once(3) || dms_table_room(l.table) < 4 * CHUNKS)
				life_checkpoint(&l);
			for (int n = 0; n < 200 && l.nr_epochs; n++) {
				u32 epoch = l.epochs[rnd_below(l.nr_epochs)];
				u64 chunk = rnd_below(CHUNKS);

				CHECK_EQ(life_read(&l, epoch, chunk), taken[epoch][chunk]);
			}
		}
		life_check_space(&l);
		l.nr_epochs = 0;
		life_check_space(&l);
		CHECK_EQ(l.nr_trees, 0);
		dms_table_destroy(l.table);
	}
}

/* --- trouble --- */

/* Whatever byte of whatever block changes: an error or the same answer, never another. */
static void test_flips(void)
{
	struct dms_tree t;
	u64 first;

	store_init(1);
	memset(model, 0, sizeof(model));
	model_random(model, 300, true);
	first = store.next;
	model_build(model, &t);
	CHECK(t.depth >= 2);
	for (u64 b = first; b < store.next; b++) {
		u8 *data = store.blocks[b];

		for (u32 at = 0; at < DMS_BLOCK_SIZE; at++) {
			struct dms_disk_header *d = store.blocks[b];
			u16 type = le16_to_cpu(d->type);
			u8 flip = rnd_range(1, 255);

			data[at] ^= flip;
			CHECK_EQ(dms_block_check(data, b, type, NULL, NULL, NULL), -EUCLEAN);
			data[at] ^= flip;
		}
	}
	check_find(model, &t);
}

static int visit_any(void *context __always_unused, u64 block)
{
	CHECK(block >= DMS_RESERVED_BLOCKS && block < AREA_BLOCKS);
	return 0;
}

/* Everything there is to do with a tree; whatever it returns, it returns. */
static void use_tree(const struct dms_tree *t, int allowed)
{
	static __le32 csums[DMS_ENTRY_MAX_CSUMS];
	struct dms_merge_spec spec = { .source = &store.source, .trees = t, .nr_trees = 1,
				       .epochs = (const u32[]){ 3, 7 }, .nr_epochs = 2 };
	struct dms_exception e, last = {};
	struct dms_cursor c;
	const __le32 *from;
	struct dms_merger *m;
	u32 max_tag;
	int err;

#define ALLOWED()	CHECK(err >= 0 || err == -EUCLEAN || err == allowed)
	for (int i = 0; i < 40; i++) {
		u64 chunk = rnd_once(8) ? rnd() : rnd_below(CHUNKS);
		u32 tag = rnd_once(8) ? rnd() : rnd_below(TAGS + 2);

		err = dms_tree_find(&store.source, t, chunk, tag, rnd(), &e, csums);
		ALLOWED();
		CHECK(err < 0 || e.length);
		err = dms_tree_max_tag(&store.source, t, chunk, &max_tag);
		ALLOWED();
		err = dms_tree_is_home(&store.source, t, chunk, tag);
		ALLOWED();
	}
	err = dms_tree_walk(&store.source, t, visit_any, NULL);
	ALLOWED();
	CHECK_EQ(store.held, 0);
	dms_cursor_init(&c, &store.source, t, rnd_below(CHUNKS));
	while ((err = dms_cursor_next(&c, &e, &from)) > 0) {
		CHECK(dms_exception_valid(&e, store.source.chunk_blocks, store.source.area_chunks));
		CHECK(!last.length || e.chunk >= last.chunk + last.length ||
		      (e.chunk == last.chunk && e.length == last.length &&
		       (e.tag > last.tag || (e.tag == last.tag && e.kind == DMS_KIND_HOME &&
					     last.kind != DMS_KIND_HOME))));
		last = e;
	}
	ALLOWED();
	CHECK_EQ(dms_cursor_next(&c, &e, &from), err);
	dms_cursor_exit(&c);
	CHECK_EQ(store.held, 0);
	m = dms_merger_create(&spec);
	while ((err = dms_merger_next(m, &e, &from)) > 0)
		;
	ALLOWED();
	dms_merger_destroy(m);
	CHECK_EQ(store.held, 0);
#undef ALLOWED
}

/* Seal everything again, and let the pointers follow. */
static void reseal(struct dms_tree *t)
{
	static u32 crcs[AREA_BLOCKS];
	struct dms_disk_key *key;
	struct dms_disk_header *d;

	/* Children come before their parents. */
	for (u64 b = DMS_RESERVED_BLOCKS; b < store.next; b++) {
		d = store.blocks[b];
		key = store.blocks[b] + sizeof(*d);
		for (u32 i = 0; le16_to_cpu(d->type) == DMS_BLOCK_NODE &&
				i < min_t(u32, le32_to_cpu(d->count), 168); i++)
			if (le64_to_cpu(key[i].block) < b)
				key[i].crc = cpu_to_le32(crcs[le64_to_cpu(key[i].block)]);
		crcs[b] = dms_crc(store.blocks[b] + 4, DMS_BLOCK_SIZE - 4);
		d->crc = cpu_to_le32(crcs[b]);
	}
	t->root.crc = crcs[t->root.block];
}

/* A forger who knows about checksums. */
static void mutate(struct dms_tree *t)
{
	static const u64 favourites[] = { 0, 1, 2, 15, 16, 17, 126, 168, 0x7f, 0xff, 0xffff,
					  U32_MAX, 1ULL << 32, 1ULL << 51, U64_MAX, U64_MAX - 1 };

	for (u32 n = rnd_range(1, 6); n; n--) {
		u64 b = rnd_range(DMS_RESERVED_BLOCKS, store.next - 1);
		u64 value = favourites[rnd_below(ARRAY_SIZE(favourites))];
		struct dms_disk_header *d = store.blocks[b];
		u32 used = sizeof(*d) + le32_to_cpu(d->count) % 127 * 32;
		u32 at = rnd_range(64, min_t(u32, max_t(u32, used, 80), DMS_BLOCK_SIZE) - 8);
		u64 other;

		switch (rnd_below(8)) {
		case 0:
			d->count = cpu_to_le32(value);
			break;
		case 1:
			d->csums = cpu_to_le32(value);
			break;
		case 2:		/* point to another block that is there */
			other = cpu_to_le64(rnd_range(DMS_RESERVED_BLOCKS, store.next - 1));
			memcpy(store.blocks[b] + 64 + 16 + rnd_below(168) * 24, &other, 8);
			break;
		case 4:		/* checksums from elsewhere */
		case 5:
			value = rnd_once(2) ? value : rnd_below(2000);
			memcpy(store.blocks[b] + 64 + rnd_below(8) * 32 + 24, &value, 2);
			break;
		case 3:		/* a copy of another key or entry */
			memmove(store.blocks[b] + 64 + rnd_below(100) * 32,
				store.blocks[b] + 64 + rnd_below(100) * 32, 32);
			break;
		default:
			memcpy(store.blocks[b] + at, &value, 1u << rnd_below(4));
		}
	}
	if (rnd_once(6))
		t->depth = rnd_below(10);
	if (rnd_once(6))
		t->first_chunk = rnd_below(CHUNKS);
	reseal(t);
}

static int visit_some(void *context, u64 block)
{
	u64 *left = context;

	CHECK(*left);
	--*left;
	return visit_any(NULL, block);
}

/* A tree of more blocks than it says is not walked to its end. */
static void check_walk_bound(const struct dms_tree *t)
{
	struct dms_tree forged = *t;
	u64 left;

	left = forged.blocks = rnd_below(t->blocks);
	CHECK_EQ(dms_tree_walk(&store.source, &forged, visit_some, &left), -EUCLEAN);
	left = forged.blocks = t->blocks + 1;
	CHECK_EQ(dms_tree_walk(&store.source, &forged, visit_some, &left), -EUCLEAN);
}

static void test_hostile(void)
{
	for (int round = 0; round < 300; round++) {
		struct dms_tree t, forged;
		u64 gets = store.gets;

		store_init(1u << rnd_below(4));
		memset(model, 0, sizeof(model));
		model_random(model, rnd_below(400), true);
		model_build(model, &t);
		if (!t.depth)
			continue;
		check_walk_bound(&t);
		for (int i = 0; i < 5; i++) {
			forged = t;
			mutate(&forged);
			store.source.area_chunks = AREA_BLOCKS / store.source.chunk_blocks;
			use_tree(&forged, -EUCLEAN);
		}
		CHECK(store.gets - gets < 2000000);
	}
}

/*
 * Nodes whose keys all lead to one leaf: 168 to the power of 7 ways, none of
 * which may be gone twice.  @ascend: levels whose keys differ at least, a bit each.
 */
static void check_fan(u32 ascend)
{
	struct dms_exception e = { .chunk = 10, .length = 1, .tag = 1, .kind = DMS_KIND_HOME };
	struct dms_builder *b;
	struct dms_tree t;
	u64 gets;

	store_init(1);
	store.source.area_chunks = AREA_BLOCKS;
	b = dms_builder_create(&store.sink);
	CHECK_EQ(dms_builder_add(b, &e, NULL), 0);
	CHECK_EQ(dms_builder_finish(b, &t), 0);
	dms_builder_destroy(b);
	while (t.depth < DMS_MAX_DEPTH) {
		u8 node[DMS_BLOCK_SIZE] __attribute__((aligned(8))) = {};
		struct dms_disk_key *keys = (void *)(node + 64);
		struct dms_header h = { .block = store.next++, .type = DMS_BLOCK_NODE,
					.count = 168 };

		for (u32 i = 0; i < 168; i++) {
			keys[i].chunk = cpu_to_le64(10);
			keys[i].tag = cpu_to_le32(1 + (ascend >> t.depth & 1 ? i : 0));
			keys[i].block = cpu_to_le64(t.root.block);
			keys[i].crc = cpu_to_le32(t.root.crc);
		}
		t.root.block = h.block;
		t.root.crc = dms_block_seal(node, &h, store.sink.uuid);
		CHECK_EQ(store_write(&store.sink, h.block, node), 0);
		t.depth++;
		t.blocks = U64_MAX;
		t.max_tag = 200;
		gets = store.gets;
		use_tree(&t, -EUCLEAN);
		CHECK(store.gets - gets < 20000);
	}
}

static void test_hostile_fan(void)
{
	check_fan(0);
	check_fan(0xaa);
	check_fan(0x55);
	check_fan(0xff);
}

/* A source that will not block passes its -EAGAIN through, and nothing leaks. */
static void test_again(void)
{
	struct dms_tree t;

	store_init(2);
	memset(model, 0, sizeof(model));
	model_random(model, 500, true);
	model_build(model, &t);
	for (int round = 0; round < 200; round++) {
		store.again = rnd_range(1, 20);
		use_tree(&t, -EAGAIN);
	}
	store.again = 0;
	check_find(model, &t);
}

/* No space, or no memory, at any point: the error, and nothing leaks. */
static void test_no_space(void)
{
	static const u32 epochs[] = { 1, 5, 9 };
	struct dms_merge_spec spec = { .source = &store.source, .nr_trees = 1, .epochs = epochs,
				       .nr_epochs = 3 };
	struct dms_tree t, result;
	int err = -ENOMEM;
	u64 first;
	long n;

	store_init(4);
	memset(model, 0, sizeof(model));
	model_random(model, 600, true);
	model_build(model, &t);
	spec.trees = &t;
	CHECK_EQ(merge_build(&spec, &result), 0);
	first = store.next;
	for (u64 blocks = 0; blocks < result.blocks; blocks++) {
		store.next = first;
		store.fail_alloc = first + blocks;
		CHECK_EQ(merge_build(&spec, &result), -ENOSPC);
	}
	store.fail_alloc = AREA_BLOCKS;
	for (n = 0; err == -ENOMEM; n++) {
		host_alloc_left = n;
		err = merge_build(&spec, &result);
	}
	host_alloc_left = -1;
	CHECK_EQ(err, 0);
	CHECK(n > 10);
}

int main(void)
{
	static const struct test tests[] = {
		{ "build and search", test_tree },
		{ "runs are joined and split", test_runs },
		{ "builder insists on order", test_builder_order },
		{ "thousands of tags of one chunk", test_many_tags },
		{ "leaves full of HOME", test_many_homes },
		{ "merge against a map", test_merge },
		{ "a volume's life", test_life },
		{ "every flipped byte shows", test_flips },
		{ "forged blocks", test_hostile },
		{ "nodes that lead to one leaf", test_hostile_fan },
		{ "a source that does not block", test_again },
		{ "no space, no memory", test_no_space },
	};
	int ret = test_main(tests, ARRAY_SIZE(tests));

	for (u64 i = 0; i < AREA_BLOCKS; i++)
		free(store.blocks[i]);
	return ret;
}
