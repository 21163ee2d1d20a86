// SPDX-License-Identifier: GPL-2.0-only
/* Trees together: merged, and as the index of a volume. */
#include "index_model.h"

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

/* What is said to be held by each copy is what would be dead without the oldest ones. */
static void check_held(const u64 *held, const u32 *epochs, u32 nr_epochs, u32 merge_epoch)
{
	static struct column without[CHUNKS];
	static u8 dead[MAX_WHERE];
	u32 gone = rnd_below(nr_epochs + 1);
	u64 sum = 0;

	memcpy(without, model, sizeof(model));
	memset(dead, 0, sizeof(dead));
	model_sift(without, epochs + gone, nr_epochs - gone, merge_epoch, dead);
	for (u32 i = 0; i < gone; i++)
		sum += held[i];
	for (u32 i = 0; i < MAX_WHERE; i++)
		sum -= dead[i];
	CHECK_EQ(sum, 0);
}

static void test_merge(void)
{
	static struct column models[MAX_SOURCES][CHUNKS];
	static u8 dead[MAX_WHERE];
	u32 epochs[TAGS];

	for (int round = 0; round < 40; round++) {
		u64 held[TAGS] = { 0 };
		struct dms_merge_spec spec = { .source = &store.source, .epochs = epochs,
					       .held = held, .drop = drop };
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
		check_held(held, epochs, spec.nr_epochs, spec.merge_epoch);
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

static int look(void *context)
{
	u32 *left = context;

	return (*left)-- ? 0 : -EINTR;
}

static void test_look(void)
{
	static const u32 nr = 3000;
	struct dms_builder *b;
	struct dms_tree tree, result;
	u32 left;
	struct dms_merge_spec spec = {
		.source = &store.source, .trees = &tree, .nr_trees = 1,
		.look = look, .context = &left,
	};

	store_init(1);
	b = dms_builder_create(&store.sink);
	CHECK(b);
	for (u32 i = 0; i < nr; i++) {
		struct dms_exception e = {
			.chunk = 2 * i, .tag = 1, .kind = DMS_KIND_ZERO, .length = 1,
		};

		CHECK_EQ(dms_builder_add(b, &e, NULL), 0);
	}
	CHECK_EQ(dms_builder_finish(b, &tree), 0);
	dms_builder_destroy(b);
	/* There is no copy: not one of them is kept. */
	left = nr;
	CHECK_EQ(merge_build(&spec, &result), 0);
	CHECK_EQ(left, 0);
	CHECK_EQ(result.depth, 0);
	left = nr - 1;
	CHECK_EQ(merge_build(&spec, &result), -EINTR);
}

int main(void)
{
	static const struct test tests[] = {
		{ "merge against a map", test_merge },
		{ "each run is told, kept or not", test_look },
		{ "a volume's life", test_life },
	};

	return store_exit(test_main(tests, ARRAY_SIZE(tests)));
}
