// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a merge has brought home, in memory and in the diff area: see merge.c, steps
 * 5 and 6.  Below the cursor all is, above it what the bitmap says.
 */
#include "merge.h"

#define HOME_RUN	32		/* chunks of one HOME record */

bool dms_merge_home(struct dms_volume *v, u64 first, u64 last)
{
	/* Pairs with dms_merge_set_cursor(): what was brought home before is seen. */
	u64 cursor = smp_load_acquire(&v->merge_cursor);

	if (last < cursor)
		return true;
	return dms_bits_all(v->home, max(first, cursor), last);
}

void dms_merge_set_cursor(struct dms_volume *v, u64 cursor)
{
	/* Pairs with dms_merge_home(). */
	smp_store_release(&v->merge_cursor, cursor);
}

struct dms_shadow *dms_merge_copy(struct dms_volume *v)
{
	struct dms_copies *copies = srcu_dereference_notrace(v->copies, &v->srcu);
	u32 id = READ_ONCE(v->merge_shadow), i;

	for (i = 0; i < copies->nr; i++)
		if (copies->shadow[i]->info.id == id)
			return copies->shadow[i];
	return NULL;
}

struct dms_shadow *dms_merge_source(struct dms_volume *v, u64 first, u32 max, u32 *n)
{
	struct dms_shadow *s = dms_merge_copy(v);
	bool home;

	if (!s) {			/* just over */
		*n = max;
		return NULL;
	}
	home = dms_merge_home(v, first, first);
	for (*n = 1; *n < max; ++*n)
		if (dms_merge_home(v, first + *n, first + *n) != home)
			break;
	return home ? NULL : s;
}

bool dms_merge_add_record(struct dms_op *op, struct dms_journal_block *j)
{
	return dms_journal_add_merge(j, op->id, op->epoch, op->cursor);
}

static void apply_cursor(struct dms_volume *v, struct dms_op *op)
{
	dms_merge_set_cursor(v, op->cursor);
	if (!op->id)
		WRITE_ONCE(v->merge_shadow, 0);	/* all is home, and seen to be */
}

int dms_merge_record_cursor(struct dms_volume *v, u32 id, u64 cursor)
{
	struct dms_op op = {
		.add = dms_merge_add_record, .apply = apply_cursor,
		.id = id, .epoch = v->merge_epoch, .cursor = cursor,
	};

	return dms_saver_commit(v, &op);
}

static bool add_home(struct dms_op *op, struct dms_journal_block *j)
{
	return dms_journal_add_save(j, op->home, NULL, 1);
}

static void apply_home(struct dms_volume *v, struct dms_op *op)
{
	/* Room was seen to before the record was made. */
	WARN_ON_ONCE(!dms_table_add(v->table[v->active], op->home, NULL));
	dms_bits_set(v->home, op->home->chunk, op->home->length);
}

int dms_merge_record_home(struct dms_volume *v, u64 first, u64 last)
{
	while (first <= last) {
		struct dms_exception e = { .tag = v->merge_epoch, .kind = DMS_KIND_HOME };
		struct dms_op op = { .add = add_home, .apply = apply_home, .home = &e };
		int r;

		first = dms_bits_next_clear(v->home, first, last);
		if (first > last)
			break;
		e.chunk = first;
		e.length = min_t(u64, HOME_RUN, last - first + 1);
		e.length = min_t(u64, e.length, dms_bits_next(v->home, first) - first);
		r = dms_saver_commit(v, &op);
		if (r)
			return r;
		first += e.length;
	}
	return 0;
}

static int load_table(struct dms_volume *v, struct dms_table *t)
{
	struct dms_exception e;
	const __le32 *csums;
	u32 i;

	dms_table_sort(t);
	for (i = 0; i < dms_table_count(t); i++) {
		dms_table_get(t, i, &e, &csums);
		if (e.kind == DMS_KIND_HOME && e.tag == v->merge_epoch)
			dms_bits_set(v->home, e.chunk, e.length);
	}
	return 0;
}

static int load_tree(struct dms_volume *v, struct dms_source *source, const struct dms_tree *t)
{
	struct dms_exception e;
	const __le32 *csums;
	struct dms_cursor c;
	int r;

	dms_cursor_init(&c, source, t, 0);
	while ((r = dms_cursor_next(&c, &e, &csums)) > 0)
		if (e.kind == DMS_KIND_HOME && e.tag == v->merge_epoch)
			dms_bits_set(v->home, e.chunk, e.length);
	dms_cursor_exit(&c);
	return r;
}

int dms_merge_load(struct dms_volume *v)
{
	struct dms_trees *trees = rcu_dereference_protected(v->trees, 1);
	struct dms_source *source;
	int r;
	u32 i;

	if (!dms_shadow_find(v, v->merge_shadow))
		return -EUCLEAN;
	v->home = dms_bits_create(v->origin_chunks);
	source = dms_stream_create(v);
	r = v->home && source ? load_table(v, v->table[v->active]) : -ENOMEM;
	/* Trees from before the merge have none. */
	for (i = 0; !r && i < trees->nr; i++)
		if (trees->tree[i].max_tag >= v->merge_epoch)
			r = load_tree(v, source, &trees->tree[i]);
	if (source)
		dms_stream_destroy(source);
	return r;
}
