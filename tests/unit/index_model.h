/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * For tests of the index: trees live in an array of blocks, and the model is a
 * map from (chunk, tag, HOME or not) to what was saved there.
 */
#ifndef DM_SHADOW_INDEX_MODEL_H
#define DM_SHADOW_INDEX_MODEL_H

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

static inline const void *store_get(struct dms_source *s, struct dms_pointer p, u16 type)
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

static inline void store_put(struct dms_source *s, const void *block)
{
	container_of(s, struct store, source)->held--;
	free((void *)block);
}

static inline u64 store_alloc(struct dms_sink *s)
{
	struct store *st = container_of(s, struct store, sink);

	return st->next >= st->fail_alloc ? 0 : st->next++;
}

static inline int store_write(struct dms_sink *s, u64 addr, const void *block)
{
	struct store *st = container_of(s, struct store, sink);

	CHECK(addr < AREA_BLOCKS);
	if (!st->blocks[addr])
		st->blocks[addr] = aligned_alloc(8, DMS_BLOCK_SIZE);
	memcpy(st->blocks[addr], block, DMS_BLOCK_SIZE);
	return 0;
}

static inline void store_init(u32 chunk_blocks)
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
static inline __le32 csum_of(u64 where, u32 block)
{
	return cpu_to_le32((u32)(where * 2654435761u) ^ block);
}

static inline void csums_fill(__le32 *csums, u64 where, u32 length)
{
	for (u32 i = 0; i < length; i++)
		for (u32 b = 0; b < store.sink.chunk_blocks; b++)
			*csums++ = csum_of(where + i, b);
}

static inline bool csums_right(const __le32 *csums, u64 where, u32 length)
{
	for (u32 i = 0; i < length; i++)
		for (u32 b = 0; b < store.sink.chunk_blocks; b++)
			if (*csums++ != csum_of(where + i, b))
				return false;
	return true;
}

static inline const struct fact *model_find(struct column *m, u64 chunk, u32 tag, u32 *found)
{
	for (*found = tag; chunk < CHUNKS && *found <= TAGS; ++*found)
		if (m[chunk].at[*found][0].is)
			return &m[chunk].at[*found][0];
	return NULL;
}

/* Put a random run into the model, where it is free. */
static inline void model_add(struct column *m, u64 chunk, u32 length, u32 tag, u8 kind)
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

static inline void model_random(struct column *m, u32 runs, bool home)
{
	for (u32 i = 0; i < runs; i++)
		model_add(m, rnd_below(CHUNKS), rnd_once(3) ? 1 : rnd_range(1, 60),
			  rnd_range(1, TAGS),
			  rnd_range(DMS_KIND_DATA, home ? DMS_KIND_HOME : DMS_KIND_UNREADABLE));
}

/* Feed the model, chunk by chunk, to @add. */
static inline void model_feed(struct column *m, void (*add)(void *context, const struct dms_exception *e,
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

static inline void add_to_builder(void *context, const struct dms_exception *e, const __le32 *csums)
{
	CHECK_EQ(dms_builder_add(context, e, csums), 0);
}

static inline void add_to_table(void *context, const struct dms_exception *e, const __le32 *csums)
{
	CHECK(dms_table_add(context, e, csums));
}

static inline void model_build(struct column *m, struct dms_tree *t)
{
	struct dms_builder *b = dms_builder_create(&store.sink);

	CHECK(b);
	model_feed(m, add_to_builder, b);
	CHECK_EQ(dms_builder_finish(b, t), 0);
	dms_builder_destroy(b);
}

/* Merge into a new tree, as a checkpoint does. */
static inline int merge_build(const struct dms_merge_spec *spec, struct dms_tree *ret)
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

/* --- checks of a tree --- */

static inline void check_find(struct column *m, const struct dms_tree *t)
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

static inline void check_max_tag(struct column *m, const struct dms_tree *t)
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
static inline void check_cursor(struct column *m, const struct dms_tree *t, u64 start)
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

static inline int visit(void *context, u64 block)
{
	u64 *nr = context;

	CHECK(block < AREA_BLOCKS && !visited[block]++);
	++*nr;
	return 0;
}

static inline int visit_stop(void *context, u64 block __always_unused)
{
	u64 *left = context;

	return --*left ? 0 : 77;
}

/* All blocks written from @first on are the tree's, and no others. */
static inline void check_walk(const struct dms_tree *t, u64 first)
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

static inline void check_tree(struct column *m, const struct dms_tree *t, u64 first_block)
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

static inline int store_exit(int ret)
{
	for (u64 i = 0; i < AREA_BLOCKS; i++)
		free(store.blocks[i]);
	return ret;
}

#endif
