// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writing a tree, and merging several into one stream.
 *
 * Both work on *groups*: all entries that cover one run.  The builder holds the
 * last group back, since the next may continue it; a stream of single chunks
 * out of a table becomes long runs in this way.  The merger holds a group of
 * each source and cuts them where one of the others begins or ends, so that
 * what comes out is equal or disjoint again.
 */
#include "port.h"
#include "index.h"

#define NODE_KEYS	(DMS_PAYLOAD_SIZE / sizeof(struct dms_disk_key))
#define LEAF_CSUMS	(DMS_PAYLOAD_SIZE / sizeof(__le32))
/* Groups with more checksums than this are not joined: 256 KiB. */
#define JOIN_CSUMS	65536

/*
 * Make room in the array at *@array for @need members of @size bytes, the first
 * @used of which are kept.
 */
static int array_reserve(void **array, u32 *room, u32 used, u64 need, size_t size)
{
	void *bigger;

	if (need <= *room)
		return 0;
	need = max_t(u64, need, 2ULL * *room);
	need = max_t(u64, need, 64);
	if (need > U32_MAX)
		return -ENOMEM;
	bigger = kvcalloc(need, size, GFP_KERNEL);
	if (!bigger)
		return -ENOMEM;
	if (used)
		memcpy(bigger, *array, used * size);
	kvfree(*array);
	*array = bigger;
	*room = need;
	return 0;
}

/* One entry of a group. */
struct member {
	area_chunk_t where;
	u32 tag;
	u8 kind;
	u32 csum;			/* merger: first of its checksums in the group's */
	const __le32 *csums;		/* merger, once the group is complete */
};

/* --- builder --- */

/*
 * The checksums come in pieces, one for each group that was joined: for each
 * DATA member in turn, those of the piece's chunks.
 */
struct group {
	u64 chunk;
	u32 length;			/* 0: empty */
	u32 nr, room;
	u32 nr_data;
	struct member *members;
	u32 nr_csums, csums_room;
	__le32 *csums;
	u32 nr_pieces;			/* 0 if nr_data is */
	u32 pieces[DMS_ENTRY_MAX_CSUMS];	/* chunks of each */
};

/* A block being filled; [0] of the levels is the leaf. */
struct level {
	void *block;
	u32 count;
	struct dms_position first;
	struct dms_pointer only;	/* nodes: the child, while count is 1 */
	bool written;			/* an earlier block of this level was */
};

struct dms_builder {
	struct dms_sink *sink;
	struct dms_tree tree;
	struct group *held, *next;
	struct level levels[DMS_MAX_DEPTH];
	__le32 *csums;			/* of the leaf, until their place is known */
	u32 nr_csums;
	int error;			/* sticks */
};

static struct group *group_create(void)
{
	return kvcalloc(1, sizeof(struct group), GFP_KERNEL);
}

static void group_destroy(struct group *g)
{
	if (!g)
		return;
	kvfree(g->members);
	kvfree(g->csums);
	kvfree(g);
}

struct dms_builder *dms_builder_create(struct dms_sink *s)
{
	struct dms_builder *b;
	u32 i;

	b = kzalloc(sizeof(*b), GFP_KERNEL);
	if (!b)
		return NULL;
	b->sink = s;
	b->held = group_create();
	b->next = group_create();
	b->csums = kcalloc(LEAF_CSUMS, sizeof(*b->csums), GFP_KERNEL);
	if (!b->held || !b->next || !b->csums)
		goto no_memory;
	for (i = 0; i < DMS_MAX_DEPTH; i++) {
		b->levels[i].block = kzalloc(DMS_BLOCK_SIZE, GFP_KERNEL);
		if (!b->levels[i].block)
			goto no_memory;
	}
	return b;

no_memory:
	dms_builder_destroy(b);
	return NULL;
}

void dms_builder_destroy(struct dms_builder *b)
{
	u32 i;

	if (!b)
		return;
	for (i = 0; i < DMS_MAX_DEPTH; i++)
		kfree(b->levels[i].block);
	kfree(b->csums);
	group_destroy(b->next);
	group_destroy(b->held);
	kfree(b);
}

/* Write the block of @level and begin another. */
static int level_write(struct dms_builder *b, u32 level, u16 type, u32 csums,
		       struct dms_pointer *ret)
{
	struct level *l = &b->levels[level];
	struct dms_header h = {
		.generation = b->sink->generation,
		.sequence = b->sink->sequence,
		.type = type,
		.count = l->count,
		.csums = csums,
	};
	int err;

	h.block = b->sink->alloc(b->sink);
	if (!h.block)
		return -ENOSPC;
	ret->block = h.block;
	ret->crc = dms_block_seal(l->block, &h, b->sink->uuid);
	err = b->sink->write(b->sink, h.block, l->block);
	if (err)
		return err;

	memset(l->block, 0, DMS_BLOCK_SIZE);
	l->count = 0;
	l->written = true;
	b->tree.blocks++;
	return 0;
}

/* Enter a child, written at @p and beginning at @first, in the node of @level. */
static int node_add(struct dms_builder *b, u32 level, struct dms_position first,
		    struct dms_pointer p)
{
	struct dms_disk_key *key;
	struct dms_pointer full;
	struct level *l;
	int err;

	/* Recursion is bounded by the depth of a tree. */
	if (level == DMS_MAX_DEPTH)
		return -EFBIG;
	l = &b->levels[level];
	if (l->count == NODE_KEYS) {
		err = level_write(b, level, DMS_BLOCK_NODE, 0, &full);
		if (!err)
			err = node_add(b, level + 1, l->first, full);
		if (err)
			return err;
	}

	if (!l->count) {
		l->first = first;
		l->only = p;
	}
	key = l->block + sizeof(struct dms_disk_header) + l->count * sizeof(*key);
	key->chunk = cpu_to_le64(first.chunk);
	key->tag = cpu_to_le32(first.tag);
	key->block = cpu_to_le64(p.block);
	key->crc = cpu_to_le32(p.crc);
	l->count++;
	return 0;
}

static struct dms_disk_entry *leaf_entry(struct dms_builder *b, u32 index)
{
	struct dms_disk_entry *entries = b->levels[0].block + sizeof(struct dms_disk_header);

	return &entries[index];
}

static int leaf_write(struct dms_builder *b)
{
	struct level *l = &b->levels[0];
	struct dms_pointer p;
	int err;

	memcpy(leaf_entry(b, l->count), b->csums, b->nr_csums * sizeof(*b->csums));
	err = level_write(b, 0, DMS_BLOCK_LEAF, b->nr_csums, &p);
	if (err)
		return err;
	b->nr_csums = 0;
	return node_add(b, 1, l->first, p);
}

static bool leaf_has_room(const struct dms_builder *b, u32 entries, u32 csums)
{
	return (b->levels[0].count + entries) * sizeof(struct dms_disk_entry) +
	       (b->nr_csums + csums) * sizeof(__le32) <= DMS_PAYLOAD_SIZE;
}

/* The checksums of chunks [@offset, @offset + @length) of DATA member @nr, to the leaf's. */
static void leaf_add_csums(struct dms_builder *b, const struct group *g, u32 nr,
			   u32 offset, u32 length)
{
	const u32 chunk_blocks = b->sink->chunk_blocks;
	const __le32 *piece = g->csums;
	u32 begin = 0, end, from, to;
	u32 i;

	for (i = 0; i < g->nr_pieces; i++, begin = end) {
		end = begin + g->pieces[i];
		from = max(begin, offset);
		to = min(end, offset + length);
		if (from < to) {
			memcpy(b->csums + b->nr_csums,
			       piece + ((size_t)nr * g->pieces[i] + from - begin) * chunk_blocks,
			       (size_t)(to - from) * chunk_blocks * sizeof(*piece));
			b->nr_csums += (to - from) * chunk_blocks;
		}
		piece += (size_t)g->nr_data * g->pieces[i] * chunk_blocks;
	}
}

/* Write out chunks [@offset, @offset + @length) of the held group. */
static int group_emit(struct dms_builder *b, u32 offset, u32 length)
{
	const struct group *g = b->held;
	u32 csums = length * b->sink->chunk_blocks;
	const struct member *m;
	struct dms_disk_entry *d;
	u32 nr_data = 0;
	bool data;
	u32 i, twins;
	int err;

	for (i = 0; i < g->nr; i++) {
		m = &g->members[i];
		data = m->kind == DMS_KIND_DATA;
		/* HOME stays with the entry of equal tag: keys have no room for a kind. */
		twins = i + 1 < g->nr && m[1].tag == m->tag ? 2 : 1;
		if (!leaf_has_room(b, twins, data ? csums : 0)) {
			if (!i || m[-1].tag != m->tag) {
				err = leaf_write(b);
				if (err)
					return err;
			}
		}

		if (!b->levels[0].count) {
			b->levels[0].first.chunk = g->chunk + offset;
			b->levels[0].first.tag = m->tag;
		}
		d = leaf_entry(b, b->levels[0].count++);
		d->chunk = cpu_to_le64(g->chunk + offset);
		d->length = cpu_to_le32(length);
		d->tag = cpu_to_le32(m->tag);
		d->kind = m->kind;
		if (data) {
			d->where = cpu_to_le64(m->where + offset);
			d->csum = cpu_to_le16(b->nr_csums);
			leaf_add_csums(b, g, nr_data++, offset, length);
		}
		b->tree.entries++;
		b->tree.min_tag = min(b->tree.min_tag, m->tag);
		b->tree.max_tag = max(b->tree.max_tag, m->tag);
	}
	return 0;
}

/* Write the held group out, in runs that are short enough. */
static int group_flush(struct dms_builder *b)
{
	struct group *g = b->held;
	u32 length, offset;
	u32 most = U32_MAX;
	int err;

	if (!g->length)
		return 0;
	if (g->nr_data)
		most = DMS_ENTRY_MAX_CSUMS / b->sink->chunk_blocks;
	if (!b->tree.entries) {
		b->tree.first_chunk = g->chunk;
		b->tree.min_tag = U32_MAX;
	}
	for (offset = 0; offset < g->length; offset += length) {
		length = min(g->length - offset, most);
		err = group_emit(b, offset, length);
		if (err)
			return err;
	}
	b->tree.last_chunk = g->chunk + g->length - 1;
	g->length = 0;
	return 0;
}

/* Does the next group continue the held one, member by member? */
static bool group_continues(const struct dms_builder *b)
{
	const struct group *g = b->held, *n = b->next;
	u64 length = (u64)g->length + n->length;
	u32 i;

	if (!g->length || g->nr != n->nr || g->chunk + g->length != n->chunk ||
	    length > U32_MAX)
		return false;
	if (g->nr_data && (length * b->sink->chunk_blocks > DMS_ENTRY_MAX_CSUMS ||
			   length * b->sink->chunk_blocks * g->nr_data > JOIN_CSUMS))
		return false;
	for (i = 0; i < g->nr; i++)
		if (g->members[i].tag != n->members[i].tag ||
		    g->members[i].kind != n->members[i].kind ||
		    (g->members[i].kind == DMS_KIND_DATA &&
		     g->members[i].where + g->length != n->members[i].where))
			return false;
	return true;
}

/* The next group is complete: it joins the held one or takes its place. */
static int group_close(struct dms_builder *b)
{
	struct group *g = b->held, *n = b->next;
	int err;

	if (!n->length)
		return 0;
	if (!group_continues(b)) {
		err = group_flush(b);
		if (err)
			return err;
		swap(b->held, b->next);
		return 0;
	}

	err = array_reserve((void **)&g->csums, &g->csums_room, g->nr_csums,
			    (u64)g->nr_csums + n->nr_csums, sizeof(*g->csums));
	if (err)
		return err;
	if (n->nr_csums) {
		memcpy(g->csums + g->nr_csums, n->csums, n->nr_csums * sizeof(*n->csums));
		g->nr_csums += n->nr_csums;
		g->pieces[g->nr_pieces++] = n->length;
	}
	g->length += n->length;
	n->length = 0;
	return 0;
}

static int group_add(struct group *g, const struct dms_exception *e, const __le32 *csums,
		     u32 chunk_blocks)
{
	u64 nr_csums = e->kind == DMS_KIND_DATA ? (u64)e->length * chunk_blocks : 0;
	int err;

	if (!g->length) {
		g->chunk = e->chunk;
		g->length = e->length;
		g->nr = 0;
		g->nr_data = 0;
		g->nr_csums = 0;
		g->nr_pieces = 0;
	}
	err = array_reserve((void **)&g->members, &g->room, g->nr, (u64)g->nr + 1,
			    sizeof(*g->members));
	if (err)
		return err;
	err = array_reserve((void **)&g->csums, &g->csums_room, g->nr_csums,
			    g->nr_csums + nr_csums, sizeof(*g->csums));
	if (err)
		return err;

	g->members[g->nr].where = e->where;
	g->members[g->nr].tag = e->tag;
	g->members[g->nr].kind = e->kind;
	g->nr++;
	if (nr_csums) {
		memcpy(g->csums + g->nr_csums, csums, nr_csums * sizeof(*csums));
		g->nr_csums += nr_csums;
		g->nr_data++;
		g->pieces[0] = e->length;
		g->nr_pieces = 1;
	}
	return 0;
}

static int builder_add(struct dms_builder *b, const struct dms_exception *e, const __le32 *csums)
{
	const struct member *last;
	struct group *g = b->next;
	int err;

	if (!e->length || e->chunk >= DMS_MAX_BLOCKS || e->length > DMS_MAX_BLOCKS - e->chunk ||
	    (e->kind == DMS_KIND_DATA && !csums))
		return -EINVAL;
	if (g->length && e->chunk == g->chunk) {
		last = &g->members[g->nr - 1];
		if (e->length != g->length || e->tag < last->tag ||
		    (e->tag == last->tag &&
		     (last->kind == DMS_KIND_HOME || e->kind != DMS_KIND_HOME)))
			return -EINVAL;
	} else if (g->length) {
		if (e->chunk < g->chunk + g->length)
			return -EINVAL;
		err = group_close(b);
		if (err)
			return err;
	}
	return group_add(b->next, e, csums, b->sink->chunk_blocks);
}

int dms_builder_add(struct dms_builder *b, const struct dms_exception *e, const __le32 *csums)
{
	if (!b->error)
		b->error = builder_add(b, e, csums);
	return b->error;
}

/* Everything is in leaves and nodes: write what is not full, up to the root. */
static int builder_write_levels(struct dms_builder *b)
{
	struct dms_pointer p;
	struct level *l;
	u32 level;
	int err;

	err = leaf_write(b);
	for (level = 1; !err && level < DMS_MAX_DEPTH; level++) {
		l = &b->levels[level];
		if (l->count == 1 && !l->written) {
			b->tree.root = l->only;
			b->tree.depth = level;
			return 0;
		}
		err = level_write(b, level, DMS_BLOCK_NODE, 0, &p);
		if (!err)
			err = node_add(b, level + 1, l->first, p);
	}
	return err ? err : -EFBIG;
}

int dms_builder_finish(struct dms_builder *b, struct dms_tree *ret)
{
	if (!b->error)
		b->error = group_close(b);
	if (!b->error)
		b->error = group_flush(b);
	if (!b->error && b->tree.entries)
		b->error = builder_write_levels(b);
	if (!b->error)
		*ret = b->tree;
	return b->error;
}

/* --- merger --- */

/* A source of the merger and its current group. */
struct merge_source {
	struct dms_cursor cursor;	/* a tree's */
	const struct dms_table *table;	/* or a table: */
	u32 rank;			/* of the next to read */

	/* read ahead: the first entry of the next group; length 0: none */
	struct dms_exception ahead;
	const __le32 *ahead_csums;

	u64 chunk, end;			/* what is left of the group; none if equal */
	u64 begin;			/* of the group */
	u32 nr, room;
	struct member *members;
	u32 nr_csums, csums_room;
	__le32 *csums;			/* a copy, as a cursor's do not stay */
};

struct merged {
	struct dms_exception e;
	const __le32 *csums;
	u32 source;
};

struct dms_merger {
	struct dms_merge_spec spec;
	u32 chunk_blocks;
	u32 nr_sources;
	struct merge_source *sources;
	struct merged *out;		/* the entries of one run */
	u32 nr, room;
	u32 next;			/* of out, to be returned */
	bool begun;
	int error;			/* sticks */
};

struct dms_merger *dms_merger_create(const struct dms_merge_spec *spec)
{
	struct dms_merger *m;
	u32 i;

	m = kzalloc(sizeof(*m), GFP_KERNEL);
	if (!m)
		return NULL;
	m->spec = *spec;
	m->chunk_blocks = spec->source->chunk_blocks;
	m->sources = kvcalloc(spec->nr_trees + 1, sizeof(*m->sources), GFP_KERNEL);
	if (!m->sources) {
		kfree(m);
		return NULL;
	}
	for (i = 0; i < spec->nr_trees; i++)
		dms_cursor_init(&m->sources[i].cursor, spec->source, &spec->trees[i], 0);
	m->nr_sources = spec->nr_trees;
	if (spec->table)
		m->sources[m->nr_sources++].table = spec->table;
	return m;
}

void dms_merger_destroy(struct dms_merger *m)
{
	u32 i;

	if (!m)
		return;
	for (i = 0; i < m->nr_sources; i++) {
		if (!m->sources[i].table)
			dms_cursor_exit(&m->sources[i].cursor);
		kvfree(m->sources[i].members);
		kvfree(m->sources[i].csums);
	}
	kvfree(m->sources);
	kvfree(m->out);
	kfree(m);
}

static int source_read(struct merge_source *src)
{
	int err;

	src->ahead.length = 0;
	if (!src->table) {
		err = dms_cursor_next(&src->cursor, &src->ahead, &src->ahead_csums);
		if (err <= 0)
			src->ahead.length = 0;
		return min(err, 0);
	}
	if (src->rank < dms_table_count(src->table))
		dms_table_get(src->table, src->rank++, &src->ahead, &src->ahead_csums);
	return 0;
}

/* Add the entry read ahead to the group. */
static int source_add(struct merge_source *src, u32 chunk_blocks)
{
	u64 nr_csums = src->ahead_csums ? (u64)src->ahead.length * chunk_blocks : 0;
	struct member *member;
	int err;

	err = array_reserve((void **)&src->members, &src->room, src->nr, (u64)src->nr + 1,
			    sizeof(*src->members));
	if (err)
		return err;
	member = &src->members[src->nr];
	member->where = src->ahead.where;
	member->tag = src->ahead.tag;
	member->kind = src->ahead.kind;
	member->csum = src->nr_csums;
	member->csums = src->ahead_csums;
	if (nr_csums && !src->table) {
		err = array_reserve((void **)&src->csums, &src->csums_room, src->nr_csums,
				    src->nr_csums + nr_csums, sizeof(*src->csums));
		if (err)
			return err;
		memcpy(src->csums + src->nr_csums, src->ahead_csums,
		       nr_csums * sizeof(*src->csums));
		src->nr_csums += nr_csums;
	}
	src->nr++;
	return 0;
}

/* Read the next group; src->chunk == src->end if there is none. */
static int source_advance(struct merge_source *src, u32 chunk_blocks)
{
	int err;
	u32 i;

	src->nr = 0;
	src->nr_csums = 0;
	src->begin = src->ahead.chunk;
	src->chunk = src->begin;
	src->end = src->begin + src->ahead.length;
	while (src->ahead.length && src->ahead.chunk == src->begin) {
		err = source_add(src, chunk_blocks);
		if (!err)
			err = source_read(src);
		if (err)
			return err;
	}
	/* The copies of the checksums move no more. */
	for (i = 0; i < src->nr; i++)
		if (src->members[i].csums && !src->table)
			src->members[i].csums = src->csums + src->members[i].csum;
	return 0;
}

/* The next run, [*@begin, *@end), over which no source changes; false at the end. */
static bool merger_run(const struct dms_merger *m, u64 *begin, u64 *end)
{
	const struct merge_source *src;
	u32 i;

	*begin = U64_MAX;
	*end = U64_MAX;
	for (i = 0; i < m->nr_sources; i++) {
		src = &m->sources[i];
		if (src->chunk < src->end)
			*begin = min(*begin, src->chunk);
	}
	for (i = 0; i < m->nr_sources; i++) {
		src = &m->sources[i];
		if (src->chunk < src->end)
			*end = min(*end, src->chunk == *begin ? src->end : src->chunk);
	}
	return *begin != U64_MAX;
}

/* Put [@begin, @end) of @source's group out, if it is there. */
static int merger_take(struct dms_merger *m, u32 source, u64 begin, u64 end)
{
	struct merge_source *src = &m->sources[source];
	const struct member *member;
	struct merged *out;
	u32 offset = begin - src->begin;
	int err;
	u32 i;

	if (src->chunk != begin || src->chunk == src->end)
		return 0;
	err = array_reserve((void **)&m->out, &m->room, m->nr, (u64)m->nr + src->nr,
			    sizeof(*m->out));
	if (err)
		return err;
	for (i = 0; i < src->nr; i++) {
		member = &src->members[i];
		out = &m->out[m->nr++];
		out->e.chunk = begin;
		out->e.where = 0;
		out->e.length = end - begin;
		out->e.tag = member->tag;
		out->e.kind = member->kind;
		out->csums = NULL;
		out->source = source;
		if (member->kind == DMS_KIND_DATA) {
			out->e.where = member->where + offset;
			out->csums = member->csums + (size_t)offset * m->chunk_blocks;
		}
	}
	src->chunk = end;
	return 0;
}

static bool is_home(const struct dms_exception *e)
{
	return e->kind == DMS_KIND_HOME;
}

/* By tag, HOME last, the newest source first. */
static int merged_cmp(const void *a, const void *b, const void *priv __always_unused)
{
	const struct merged *l = a, *r = b;
	bool l_home = is_home(&l->e), r_home = is_home(&r->e);

	if (l->e.tag != r->e.tag)
		return l->e.tag < r->e.tag ? -1 : 1;
	if (l_home != r_home)
		return l_home ? 1 : -1;
	if (l->source != r->source)
		return l->source > r->source ? -1 : 1;
	return 0;
}

static void merger_drop(struct dms_merger *m, const struct dms_exception *e)
{
	if (e->kind == DMS_KIND_DATA && m->spec.drop)
		m->spec.drop(m->spec.context, e->where, e->length);
}

/*
 * [@from, @to) of out are one and the same exception out of several sources;
 * the first stays.  Drop the others, unless they lie where one before does.
 */
static void merger_drop_equals(struct dms_merger *m, u32 from, u32 to)
{
	u32 i, j;

	for (i = from + 1; i < to; i++) {
		for (j = from; j < i; j++)
			if (m->out[j].e.kind == DMS_KIND_DATA &&
			    m->out[j].e.where == m->out[i].e.where)
				break;
		if (j == i)
			merger_drop(m, &m->out[i].e);
	}
}

/* The number of the newest copy with @prev < epoch <= @tag; -1: there is none. */
static s64 newest_between(const struct dms_merge_spec *spec, u32 prev, u32 tag)
{
	u32 low = 0, high = spec->nr_epochs;
	u32 middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (spec->epochs[middle] > tag)
			high = middle;
		else
			low = middle + 1;
	}
	return low && spec->epochs[low - 1] > prev ? (s64)low - 1 : -1;
}

/* Of the entries in out keep those that are live, once each. */
static void merger_sift(struct dms_merger *m)
{
	u32 from, to, kept = 0, prev = 0;
	struct dms_exception *e;
	s64 newest;		/* needs it, or the merge does */
	bool home;

	for (from = 0; from < m->nr; from = to) {
		e = &m->out[from].e;
		home = is_home(e);
		for (to = from + 1; to < m->nr; to++)
			if (m->out[to].e.tag != e->tag || is_home(&m->out[to].e) != home)
				break;
		merger_drop_equals(m, from, to);

		if (home)
			newest = m->spec.merge_epoch && e->tag == m->spec.merge_epoch ? 0 : -1;
		else
			newest = newest_between(&m->spec, prev, e->tag);
		if (newest < 0) {
			merger_drop(m, e);
			continue;
		}
		if (!home)
			prev = e->tag;
		if (e->kind == DMS_KIND_DATA && m->spec.held)
			m->spec.held[newest] += e->length;
		m->out[kept++] = m->out[from];
	}
	m->nr = kept;
}

/* Fill out with the next run's entries: 1, 0 at the end, or an error. */
static int merger_fill(struct dms_merger *m)
{
	u32 contributors = 0;
	u64 begin, end;
	u32 i, before;
	int err = 0;

	m->nr = 0;
	m->next = 0;
	for (i = 0; i < m->nr_sources && !err; i++) {
		if (!m->begun)
			err = source_read(&m->sources[i]);
		if (!err && m->sources[i].chunk == m->sources[i].end)
			err = source_advance(&m->sources[i], m->chunk_blocks);
	}
	if (err)
		return err;
	m->begun = true;

	if (!merger_run(m, &begin, &end))
		return 0;
	for (i = 0; i < m->nr_sources; i++) {
		before = m->nr;
		err = merger_take(m, i, begin, end);
		if (err)
			return err;
		if (m->nr > before)
			contributors++;
	}
	if (contributors > 1)
		sort_r(m->out, m->nr, sizeof(*m->out), merged_cmp, NULL, NULL);
	merger_sift(m);
	err = m->spec.look ? m->spec.look(m->spec.context) : 0;
	return err ?: 1;
}

int dms_merger_next(struct dms_merger *m, struct dms_exception *ret, const __le32 **csums)
{
	int err;

	if (m->error)
		return m->error;
	while (m->next == m->nr) {
		err = merger_fill(m);
		if (err < 0)
			m->error = err;
		if (err <= 0)
			return err;
	}
	*ret = m->out[m->next].e;
	*csums = m->out[m->next].csums;
	m->next++;
	return 1;
}
