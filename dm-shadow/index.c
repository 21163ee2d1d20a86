// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reading a tree: look-up, cursor, walk.
 *
 * A block that passed its checksum may still be forged, so nothing it says is
 * believed.  Entries and keys are checked as they are used.  The first entry of
 * a block must be the one that the key above it names, and keys ascend: no
 * block can then stand in two places of a tree, and whoever goes from leaf to
 * leaf ends after at most as many steps as the area has blocks.
 *
 * One block is held at a time, so that any number of readers gets by with a
 * small cache: the way from a leaf to the next leads over the root again,
 * which costs little as the nodes are cached.
 */
#include "port.h"
#include "index.h"

#define NODE_KEYS	(DMS_PAYLOAD_SIZE / sizeof(struct dms_disk_key))

/* -1, 0 or 1 as @a is before, at or behind @b. */
static int position_cmp(struct dms_position a, struct dms_position b)
{
	if (a.chunk != b.chunk)
		return a.chunk < b.chunk ? -1 : 1;
	if (a.tag != b.tag)
		return a.tag < b.tag ? -1 : 1;
	return 0;
}

static struct dms_position position(u64 chunk, u32 tag)
{
	struct dms_position p = { .chunk = chunk, .tag = tag };

	return p;
}

/* Step back to the position before; false if there is none. */
static bool position_before(struct dms_position *p)
{
	if (p->tag) {
		p->tag--;
		return true;
	}
	if (!p->chunk)
		return false;
	p->chunk--;
	p->tag = U32_MAX;
	return true;
}

static const void *block_payload(const void *block)
{
	return block + sizeof(struct dms_disk_header);
}

/* --- nodes --- */

static u32 node_count(const void *block)
{
	const struct dms_disk_header *header = block;

	return le32_to_cpu(header->count);
}

static struct dms_position key_position(const struct dms_disk_key *key)
{
	return position(le64_to_cpu(key->chunk), le32_to_cpu(key->tag));
}

/* The block that @key points to; false if it cannot be there. */
static bool key_pointer(const struct dms_source *s, const struct dms_disk_key *key,
			struct dms_pointer *ret)
{
	ret->block = le64_to_cpu(key->block);
	ret->crc = le32_to_cpu(key->crc);
	return ret->block >= DMS_RESERVED_BLOCKS && ret->block < s->area_chunks * s->chunk_blocks;
}

/* Is @block a node that begins at @first?  At the root only the chunk is known. */
static bool node_valid(const void *block, struct dms_position first, bool root)
{
	const struct dms_disk_key *keys = block_payload(block);
	u32 count = node_count(block);

	if (!count || count > NODE_KEYS)
		return false;
	if (root)
		return le64_to_cpu(keys[0].chunk) == first.chunk;
	return !position_cmp(key_position(&keys[0]), first);
}

/*
 * Choose the child of @node to look for @at in: the last that begins at or
 * before it, else the first.  Replaces *@p and *@first by the child's, and
 * @leaf's successor if the node knows one.
 */
static int node_choose(const struct dms_source *s, const void *node, struct dms_position at,
		       struct dms_pointer *p, struct dms_position *first, struct dms_leaf *leaf)
{
	const struct dms_disk_key *keys = block_payload(node);
	u32 count = node_count(node);
	u32 low = 0, high = count - 1;
	u32 middle;

	while (low < high) {
		middle = (low + high + 1) / 2;
		if (position_cmp(key_position(&keys[middle]), at) <= 0)
			low = middle;
		else
			high = middle - 1;
	}

	if (!key_pointer(s, &keys[low], p))
		return -EUCLEAN;
	*first = key_position(&keys[low]);
	if (low + 1 < count) {
		leaf->next = key_position(&keys[low + 1]);
		leaf->more = true;
		if (position_cmp(*first, leaf->next) >= 0)
			return -EUCLEAN;
	}
	return 0;
}

/* --- leaves --- */

static const struct dms_disk_entry *leaf_entry(const struct dms_leaf *leaf, u32 index)
{
	const struct dms_disk_entry *entries = block_payload(leaf->block);

	return &entries[index];
}

static struct dms_position leaf_position(const struct dms_leaf *leaf, u32 index)
{
	const struct dms_disk_entry *d = leaf_entry(leaf, index);

	return position(le64_to_cpu(d->chunk), le32_to_cpu(d->tag));
}

static void leaf_close(struct dms_source *s, struct dms_leaf *leaf)
{
	if (leaf->block)
		s->put(s, leaf->block);
	leaf->block = NULL;
}

/* Get the leaf where @at is, or would be.  On error no block is held. */
static int leaf_open(struct dms_source *s, const struct dms_tree *t, struct dms_position at,
		     struct dms_leaf *leaf)
{
	struct dms_position first = position(t->first_chunk, 0);
	const struct dms_disk_header *header;
	struct dms_pointer p = t->root;
	const void *block;
	bool root = true;
	u32 level;
	int err;

	memset(leaf, 0, sizeof(*leaf));
	if (!t->depth || t->depth > DMS_MAX_DEPTH)
		return -EUCLEAN;

	for (level = t->depth; level > 1; level--, root = false) {
		block = s->get(s, p, DMS_BLOCK_NODE);
		if (IS_ERR(block))
			return PTR_ERR(block);
		err = -EUCLEAN;
		if (node_valid(block, first, root))
			err = node_choose(s, block, at, &p, &first, leaf);
		s->put(s, block);
		if (err)
			return err;
	}

	block = s->get(s, p, DMS_BLOCK_LEAF);
	if (IS_ERR(block))
		return PTR_ERR(block);
	header = block;
	leaf->block = block;
	leaf->count = le32_to_cpu(header->count);
	leaf->csums = le32_to_cpu(header->csums);
	if (!leaf->count || (u64)leaf->count * sizeof(struct dms_disk_entry) +
			    (u64)leaf->csums * sizeof(__le32) > DMS_PAYLOAD_SIZE)
		goto bad;
	if (root)
		first.tag = leaf_position(leaf, 0).tag;
	if (position_cmp(leaf_position(leaf, 0), first))
		goto bad;
	return 0;

bad:
	leaf_close(s, leaf);
	return -EUCLEAN;
}

/* Go on to the next leaf, if @leaf->more.  On error no block is held. */
static int leaf_next(struct dms_source *s, const struct dms_tree *t, struct dms_leaf *leaf)
{
	struct dms_position last = leaf_position(leaf, leaf->count - 1);
	struct dms_position next = leaf->next;
	int err;

	leaf_close(s, leaf);
	if (position_cmp(last, next) >= 0)
		return -EUCLEAN;
	err = leaf_open(s, t, next, leaf);
	if (err)
		return err;
	if (position_cmp(leaf_position(leaf, 0), next)) {
		leaf_close(s, leaf);
		return -EUCLEAN;
	}
	return 0;
}

/* How many entries of @leaf are at or before @at. */
static u32 leaf_upper(const struct dms_leaf *leaf, struct dms_position at)
{
	u32 low = 0, high = leaf->count;
	u32 middle;

	while (low < high) {
		middle = (low + high) / 2;
		if (position_cmp(leaf_position(leaf, middle), at) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* How many entries of @leaf are before @at. */
static u32 leaf_lower(const struct dms_leaf *leaf, struct dms_position at)
{
	return position_before(&at) ? leaf_upper(leaf, at) : 0;
}

static int leaf_get(const struct dms_source *s, const struct dms_leaf *leaf, u32 index,
		    struct dms_exception *ret, const __le32 **csums)
{
	const struct dms_disk_entry *d = leaf_entry(leaf, index);
	u64 first, nr;

	ret->chunk = le64_to_cpu(d->chunk);
	ret->where = le64_to_cpu(d->where);
	ret->length = le32_to_cpu(d->length);
	ret->tag = le32_to_cpu(d->tag);
	ret->kind = d->kind;
	*csums = NULL;
	if (!dms_exception_valid(ret, s->chunk_blocks, s->area_chunks))
		return -EUCLEAN;
	if (ret->kind != DMS_KIND_DATA)
		return 0;

	first = le16_to_cpu(d->csum);
	nr = (u64)ret->length * s->chunk_blocks;
	if (nr > DMS_ENTRY_MAX_CSUMS || first + nr > leaf->csums)
		return -EUCLEAN;
	*csums = (const __le32 *)leaf_entry(leaf, leaf->count) + first;
	return 0;
}

/* --- look-up --- */

/* Does the run of @e cover @chunk? */
static bool covers(const struct dms_exception *e, u64 chunk)
{
	return chunk >= e->chunk && chunk - e->chunk < e->length;
}

/*
 * Open the leaf with the last entry, of any tag, of the run that covers @chunk.
 * Returns 1, the leaf and in *@upper the entries up to and with that one; or 0
 * where no run covers it, *@gap being the chunks from there to the next run.
 */
static int run_open(struct dms_source *s, const struct dms_tree *t, u64 chunk,
		    struct dms_leaf *leaf, u32 *upper, struct dms_exception *ret, u64 *gap)
{
	struct dms_position at = position(chunk, U32_MAX);
	const __le32 *csums;
	int err;

	*gap = U64_MAX;
	if (!t->depth || chunk > t->last_chunk)
		return 0;
	if (chunk < t->first_chunk) {
		*gap = t->first_chunk - chunk;
		return 0;
	}

	err = leaf_open(s, t, at, leaf);
	if (err)
		return err;
	*upper = leaf_upper(leaf, at);
	/* The tree begins at or before @chunk, so there is one. */
	err = *upper ? leaf_get(s, leaf, *upper - 1, ret, &csums) : -EUCLEAN;
	if (err)
		goto out;
	if (covers(ret, chunk))
		return 1;

	if (*upper < leaf->count)
		*gap = leaf_position(leaf, *upper).chunk - chunk;
	else if (leaf->more)
		*gap = leaf->next.chunk - chunk;
	/* An order that is none must not turn into a gap without end. */
	if (!*gap || (*gap > DMS_MAX_BLOCKS && *gap != U64_MAX))
		err = -EUCLEAN;
out:
	leaf_close(s, leaf);
	return err;
}

/*
 * With @leaf open somewhere in the tree: move to the first entry at or behind
 * @at, whose index goes to *@index (leaf->count if the tree ends before).
 */
static int leaf_seek(struct dms_source *s, const struct dms_tree *t, struct dms_leaf *leaf,
		     struct dms_position at, u32 *index)
{
	struct dms_position before = at;
	int err;

	*index = leaf_lower(leaf, at);
	if (!*index && t->depth > 1) {
		/* There may be more of them in the leaf before; at (0, 0), in the first. */
		position_before(&before);
		leaf_close(s, leaf);
		err = leaf_open(s, t, before, leaf);
		if (err)
			return err;
		*index = leaf_lower(leaf, at);
	}
	if (*index == leaf->count && leaf->more) {
		err = leaf_next(s, t, leaf);
		if (err)
			return err;
		*index = 0;
	}
	return 0;
}

/* The first entry of the run at @start with a tag >= @tag that is not HOME: 1, 0 or error. */
static int run_find(struct dms_source *s, const struct dms_tree *t, struct dms_leaf *leaf,
		    u64 start, u32 tag, struct dms_exception *ret, const __le32 **csums)
{
	u32 index;
	int err;

	err = leaf_seek(s, t, leaf, position(start, tag), &index);
	if (err)
		return err;
	for (;;) {
		if (index == leaf->count) {
			if (!leaf->more)
				return 0;
			err = leaf_next(s, t, leaf);
			if (err)
				return err;
			index = 0;
		}
		err = leaf_get(s, leaf, index, ret, csums);
		if (err)
			return err;
		if (ret->chunk != start)
			return 0;
		if (ret->tag < tag)
			return -EUCLEAN;
		if (ret->kind != DMS_KIND_HOME)
			return 1;
		index++;
	}
}

int dms_tree_find(struct dms_source *s, const struct dms_tree *t, u64 chunk, u32 tag,
		  u32 max_chunks, struct dms_exception *ret, __le32 *csums)
{
	const __le32 *from;
	struct dms_leaf leaf;
	u32 upper, left, skip;
	u64 gap;
	int err;

	max_chunks = max_t(u32, max_chunks, 1);
	memset(ret, 0, sizeof(*ret));
	ret->length = max_chunks;
	if (tag > t->max_tag)
		return 0;

	err = run_open(s, t, chunk, &leaf, &upper, ret, &gap);
	if (err < 0)
		return err;
	if (!err) {
		memset(ret, 0, sizeof(*ret));
		ret->length = min_t(u64, gap, max_chunks);
		return 0;
	}

	left = ret->length - (chunk - ret->chunk);
	err = run_find(s, t, &leaf, ret->chunk, tag, ret, &from);
	if (err > 0 && !covers(ret, chunk))
		err = -EUCLEAN;
	if (err > 0) {
		skip = chunk - ret->chunk;
		ret->chunk = chunk;
		ret->length = min(ret->length - skip, max_chunks);
		if (ret->kind == DMS_KIND_DATA) {
			ret->where += skip;
			if (csums)
				memcpy(csums, from + skip * s->chunk_blocks,
				       (size_t)ret->length * s->chunk_blocks * sizeof(*csums));
		}
	} else if (!err) {
		memset(ret, 0, sizeof(*ret));
		ret->length = min(left, max_chunks);
	}
	leaf_close(s, &leaf);
	return err;
}

int dms_tree_max_tag(struct dms_source *s, const struct dms_tree *t, u64 chunk, u32 *ret)
{
	struct dms_position before;
	struct dms_exception e;
	struct dms_leaf leaf;
	const __le32 *csums;
	u64 start, gap;
	u32 upper;
	int err;

	*ret = 0;
	err = run_open(s, t, chunk, &leaf, &upper, &e, &gap);
	if (err <= 0)
		return err;

	start = e.chunk;
	for (;;) {
		err = leaf_get(s, &leaf, upper - 1, &e, &csums);
		if (err || e.chunk != start)
			break;
		if (e.kind != DMS_KIND_HOME) {
			*ret = e.tag;
			break;
		}
		if (--upper)
			continue;

		/* HOME entries only, back to the beginning of the leaf. */
		before = leaf_position(&leaf, 0);
		if (t->depth == 1 || !position_before(&before) || before.chunk < start)
			break;
		leaf_close(s, &leaf);
		err = leaf_open(s, t, before, &leaf);
		if (err)
			return err;
		if (position_cmp(leaf_position(&leaf, 0), before) > 0) {
			/* Nothing is before it: it is the first leaf again. */
			break;
		}
		upper = leaf_upper(&leaf, before);
		if (!upper) {
			err = -EUCLEAN;
			break;
		}
	}
	leaf_close(s, &leaf);
	return err;
}

int dms_tree_is_home(struct dms_source *s, const struct dms_tree *t, u64 chunk, u32 tag)
{
	struct dms_exception e;
	struct dms_leaf leaf;
	const __le32 *csums;
	struct dms_position at;
	u64 gap;
	u32 upper;
	int err;

	if (tag < t->min_tag || tag > t->max_tag)
		return 0;
	err = run_open(s, t, chunk, &leaf, &upper, &e, &gap);
	if (err <= 0)
		return err;

	at = position(e.chunk, tag);
	upper = leaf_upper(&leaf, at);
	if (!upper && t->depth > 1) {
		leaf_close(s, &leaf);
		err = leaf_open(s, t, at, &leaf);
		if (err)
			return err;
		upper = leaf_upper(&leaf, at);
	}
	err = 0;
	if (upper)
		err = leaf_get(s, &leaf, upper - 1, &e, &csums);
	if (!err && upper)
		err = e.kind == DMS_KIND_HOME && e.tag == tag && covers(&e, chunk);
	leaf_close(s, &leaf);
	return err;
}

/* --- cursor --- */

void dms_cursor_init(struct dms_cursor *c, struct dms_source *s,
		     const struct dms_tree *t, u64 chunk)
{
	memset(c, 0, sizeof(*c));
	c->source = s;
	c->tree = t;
	c->start = chunk;
}

void dms_cursor_exit(struct dms_cursor *c)
{
	leaf_close(c->source, &c->leaf);
	c->begun = true;
}

/* Open the leaf of the first entry to return; none if there is no entry. */
static int cursor_begin(struct dms_cursor *c)
{
	const struct dms_tree *t = c->tree;
	struct dms_source *s = c->source;
	struct dms_position at = position(c->start, U32_MAX);
	const __le32 *csums;
	struct dms_exception e;
	int err;

	c->begun = true;
	if (!t->depth || c->start > t->last_chunk)
		return 0;
	err = leaf_open(s, t, at, &c->leaf);
	if (err)
		return err;
	c->index = leaf_upper(&c->leaf, at);
	if (!c->index)
		return 0;
	err = leaf_get(s, &c->leaf, c->index - 1, &e, &csums);
	if (err || !covers(&e, c->start))
		return err;
	return leaf_seek(s, t, &c->leaf, position(e.chunk, 0), &c->index);
}

/* May @e follow @last in one tree? */
static bool entry_follows(const struct dms_exception *last, const struct dms_exception *e)
{
	if (!last->length)
		return true;
	if (e->chunk != last->chunk)
		return e->chunk >= last->chunk + last->length;
	if (e->length != last->length)
		return false;
	if (e->tag == last->tag)
		return last->kind != DMS_KIND_HOME && e->kind == DMS_KIND_HOME;
	return e->tag > last->tag;
}

static int cursor_step(struct dms_cursor *c, struct dms_exception *ret, const __le32 **csums)
{
	int err = 0;

	if (!c->begun)
		err = cursor_begin(c);
	if (!err && c->leaf.block && c->index == c->leaf.count && c->leaf.more) {
		c->index = 0;
		err = leaf_next(c->source, c->tree, &c->leaf);
	}
	if (err)
		return err;
	if (!c->leaf.block || c->index == c->leaf.count)
		return 0;

	err = leaf_get(c->source, &c->leaf, c->index, ret, csums);
	if (err)
		return err;
	if (!entry_follows(&c->last, ret))
		return -EUCLEAN;
	c->last = *ret;
	c->index++;
	return 1;
}

int dms_cursor_next(struct dms_cursor *c, struct dms_exception *ret, const __le32 **csums)
{
	int err = c->error;

	if (!err)
		err = cursor_step(c, ret, csums);
	if (err < 0)
		c->error = err;
	if (err <= 0)
		leaf_close(c->source, &c->leaf);
	return err;
}

/* --- walk --- */

struct walk_step {
	struct dms_pointer p;
	struct dms_position first;
	u32 index;			/* of the next child */
};

struct walk {
	struct dms_source *source;
	const struct dms_tree *tree;
	int (*fn)(void *context, u64 block);
	void *context;
	u64 blocks;			/* passed to fn */
	u32 level;			/* of path[]; 0 is the root */
	struct walk_step path[DMS_MAX_DEPTH];
};

static int walk_visit(struct walk *w, u64 block)
{
	if (++w->blocks > w->tree->blocks)
		return -EUCLEAN;
	return w->fn(w->context, block);
}

/* @node's children: visit all if they are leaves, else step down into the next. */
static int walk_node(struct walk *w, const void *node)
{
	const struct dms_disk_key *keys = block_payload(node);
	struct walk_step *step = &w->path[w->level];
	bool leaves = w->level + 2 == w->tree->depth;
	u32 count = node_count(node);
	struct dms_pointer p;
	u32 index;
	int err;

	if (!node_valid(node, step->first, !w->level))
		return -EUCLEAN;
	while (step->index < count) {
		index = step->index++;
		if (!key_pointer(w->source, &keys[index], &p))
			return -EUCLEAN;
		if (index && position_cmp(key_position(&keys[index - 1]),
					  key_position(&keys[index])) >= 0)
			return -EUCLEAN;
		if (!leaves) {
			step[1].p = p;
			step[1].first = key_position(&keys[index]);
			step[1].index = 0;
			w->level++;
			return 1;
		}
		err = walk_visit(w, p.block);
		if (err)
			return err;
	}
	return 0;
}

/* Visit everything below path[0] and it. */
static int walk_run(struct walk *w)
{
	const void *node;
	u32 level;
	int err;

	for (;;) {
		level = w->level;
		node = w->source->get(w->source, w->path[level].p, DMS_BLOCK_NODE);
		if (IS_ERR(node))
			return PTR_ERR(node);
		err = walk_node(w, node);
		w->source->put(w->source, node);
		if (w->level > level)
			continue;
		if (!err)
			err = walk_visit(w, w->path[level].p.block);
		if (err || !level)
			return err;
		w->level--;
	}
}

int dms_tree_walk(struct dms_source *s, const struct dms_tree *t,
		  int (*fn)(void *context, u64 block), void *context)
{
	struct walk w = {
		.source = s,
		.tree = t,
		.fn = fn,
		.context = context,
		.path[0].p = t->root,
		.path[0].first = { .chunk = t->first_chunk },
	};
	int err;

	if (!t->depth)
		return 0;
	if (t->depth > DMS_MAX_DEPTH)
		return -EUCLEAN;
	err = t->depth == 1 ? walk_visit(&w, t->root.block) : walk_run(&w);
	if (!err && w.blocks != t->blocks)
		err = -EUCLEAN;
	return err;
}
