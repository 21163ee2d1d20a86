// SPDX-License-Identifier: GPL-2.0-only
/*
 * Background: what keeps journal, memory and diff area bounded.
 *
 * A checkpoint makes the journal so far unnecessary:
 *
 *   1. the saver turns to the other table, between two groups; what was saved
 *      up to there, and nothing else, is in the table left behind;
 *   2. that table is written out as a new tree; descriptors of the copies, if
 *      any changed, and the changed bitmap blocks, each beside its predecessor;
 *   3. a new root that leads to all this;
 *   4. flush, superblock (I5);
 *   5. readers are given the new list of trees; when those of the old one are
 *      gone, the table is emptied, and space freed before 2 may be used (I8).
 *
 * Nothing that the old superblock leads to is touched before 4, so a crash at
 * any point finds the old checkpoint with its journal, or the new one.
 *
 * Joining trees reads some of them in order and writes one: the newest few when
 * they have become many (each tree at least twice as large as all newer ones
 * together, so that there are never many), all of them when copies have gone
 * and their exceptions are dead.  Checkpoints go on in between.  What the new
 * tree drops is only remembered until it is complete, then freed with the old
 * trees by the checkpoint that puts the new one in their place.
 *
 * Locking: v->back_mutex over all of this.  v->meta is never waited for.
 */
#include <linux/sched/mm.h>

#include "volume.h"

#define SINK_BLOCKS	64		/* written at once */
#define SINK_RUN_BYTES	0x100000	/* asked of the allocator at once */
#define MERGE_MIN_TREES	4		/* not worth less */
#define MERGE_MAX_TREES	24		/* look-ups ask all of them */
#define JOIN_SLICE	4096		/* entries between looks at what else is due */

void dms_background_wake(struct dms_volume *v)
{
	if (!READ_ONCE(v->closing))
		queue_work(v->back_wq, &v->back_work);
}

/* --- a place to write trees to --- */

struct extent {
	area_chunk_t first;
	u32 length;
};

struct area_sink {
	struct dms_sink sink;
	struct dms_volume *v;
	u64 limit;			/* of area chunks in use */
	bool no_memory;
	struct extent *extent;
	u32 nr, room;
	u64 next, end;			/* blocks left of the last extent */
	u64 first;			/* block of buf's first */
	u32 filled;
	bool published;
	void *buf;
};

static u64 sink_alloc(struct dms_sink *sink)
{
	struct area_sink *s = container_of(sink, struct area_sink, sink);
	struct dms_volume *v = s->v;
	struct extent *e;

	if (s->next == s->end) {
		u32 want = max_t(u32, SINK_RUN_BYTES / DMS_BLOCK_SIZE / v->chunk_blocks, 1);

		/* Small at first: most trees are. */
		if (s->nr < 4)
			want = max_t(u32, want >> (2 * (4 - s->nr)), 1);
		if (s->nr == s->room) {
			e = krealloc(s->extent, (s->room + 64) * sizeof(*e), GFP_NOIO);
			if (!e) {
				s->no_memory = true;
				return 0;
			}
			s->extent = e;
			s->room += 64;
		}
		e = &s->extent[s->nr];
		e->length = dms_alloc_take(v->alloc, want, s->limit, &e->first);
		if (!e->length)
			return 0;
		s->nr++;
		s->next = e->first * v->chunk_blocks;
		s->end = s->next + (u64)e->length * v->chunk_blocks;
	}
	return s->next++;
}

int dms_sink_flush(struct dms_sink *sink)
{
	struct area_sink *s = container_of(sink, struct area_sink, sink);
	int r = 0;

	if (s->filled)
		r = dms_io_write(s->v->area, s->first, s->filled, s->buf, 0);
	s->filled = 0;
	return r;
}

static int sink_write(struct dms_sink *sink, u64 addr, const void *block)
{
	struct area_sink *s = container_of(sink, struct area_sink, sink);
	int r;

	if (s->filled == SINK_BLOCKS || (s->filled && addr != s->first + s->filled)) {
		r = dms_sink_flush(sink);
		if (r)
			return r;
	}
	if (!s->filled)
		s->first = addr;
	memcpy(s->buf + s->filled++ * DMS_BLOCK_SIZE, block, DMS_BLOCK_SIZE);
	return 0;
}

struct dms_sink *dms_sink_create(struct dms_volume *v, u64 limit)
{
	struct area_sink *s = kzalloc(sizeof(*s), GFP_NOIO);

	if (!s)
		return NULL;
	s->buf = __vmalloc(SINK_BLOCKS * DMS_BLOCK_SIZE, GFP_NOIO);
	if (!s->buf) {
		kfree(s);
		return NULL;
	}
	s->v = v;
	s->limit = limit;
	s->sink.alloc = sink_alloc;
	s->sink.write = sink_write;
	s->sink.chunk_blocks = v->chunk_blocks;
	s->sink.generation = v->generation;
	s->sink.sequence = v->checkpoint_seq + 1;
	memcpy(s->sink.uuid, v->super.uuid, sizeof(s->sink.uuid));
	return &s->sink;
}

void dms_sink_publish(struct dms_sink *sink)
{
	struct area_sink *s = container_of(sink, struct area_sink, sink);
	struct dms_volume *v = s->v;
	u32 i;

	/* Whole chunks behind the last block written go back. */
	if (s->nr) {
		struct extent *last = &s->extent[s->nr - 1];
		u32 spare = div_u64(s->end - s->next, v->chunk_blocks);

		if (spare)
			dms_alloc_cancel(v->alloc, last->first + last->length - spare, spare);
		last->length -= spare;
	}
	for (i = 0; i < s->nr; i++)
		if (s->extent[i].length)
			dms_alloc_publish(v->alloc, s->extent[i].first, s->extent[i].length);
	s->published = true;
}

void dms_sink_destroy(struct dms_sink *sink)
{
	struct area_sink *s;
	u32 i;

	if (!sink)
		return;
	s = container_of(sink, struct area_sink, sink);
	for (i = 0; !s->published && i < s->nr; i++)
		dms_alloc_cancel(s->v->alloc, s->extent[i].first, s->extent[i].length);
	kfree(s->extent);
	vfree(s->buf);
	kfree(s);
}

/* --- space for metadata that is not a tree --- */

static u32 blocks_to_chunks(const struct dms_volume *v, u32 blocks)
{
	return DIV_ROUND_UP(blocks, v->chunk_blocks);
}

void dms_blocks_exit(struct dms_blocks *b)
{
	kvfree(b->block);
	*b = (struct dms_blocks){};
}

int dms_blocks_init(struct dms_blocks *b, u32 nr)
{
	b->block = kvcalloc(max(nr, 1U), sizeof(*b->block), GFP_KERNEL);
	b->nr = b->block ? nr : 0;
	return b->block ? 0 : -ENOMEM;
}

/* Give the space back and forget it. */
static void blocks_free(struct dms_volume *v, struct dms_blocks *b)
{
	u32 i;

	/* Several share a chunk; it goes once. */
	for (i = 0; i < b->nr; i++)
		dms_alloc_free(v->alloc, div_u64(b->block[i], v->chunk_blocks), 1);
	dms_blocks_exit(b);
}

/* Space for @nr blocks, in whole chunks. */
static int blocks_take(struct dms_volume *v, struct dms_blocks *ret, u32 nr)
{
	u32 i = 0, got, k;
	u64 first;

	if (dms_blocks_init(ret, nr))
		return -ENOMEM;
	while (i < nr) {
		got = dms_alloc_take(v->alloc, blocks_to_chunks(v, nr - i), 0, &first);
		if (!got) {
			ret->nr = i;
			blocks_free(v, ret);
			return -ENOSPC;
		}
		dms_alloc_publish(v->alloc, first, got);
		for (k = 0; i < nr && k < got * v->chunk_blocks; k++)
			ret->block[i++] = first * v->chunk_blocks + k;
	}
	return 0;
}

/* Write @buf there, as far as possible in one go. */
static int blocks_write(struct dms_volume *v, const struct dms_blocks *b, void *buf)
{
	u32 i, n;
	int r = 0;

	for (i = 0; !r && i < b->nr; i += n) {
		for (n = 1; i + n < b->nr && b->block[i + n] == b->block[i] + n; n++)
			;
		r = dms_io_write(v->area, b->block[i], n, buf + i * DMS_BLOCK_SIZE, 0);
	}
	return r;
}

static int free_block(void *context, u64 block)
{
	struct dms_volume *v = context;
	u64 chunk = div_u64(block, v->chunk_blocks);

	if (dms_alloc_is_live(v->alloc, chunk))
		dms_alloc_free(v->alloc, chunk, 1);
	return 0;
}

static int tree_free(struct dms_volume *v, struct dms_source *source, const struct dms_tree *t)
{
	return t->depth ? dms_tree_walk(source, t, free_block, v) : 0;
}

/* Exempt trees of copies that have gone. */
static void free_gone_trees(struct dms_volume *v, struct list_head *gone)
{
	struct dms_gone_tree *g, *n;
	struct dms_source *source;

	if (list_empty(gone))
		return;
	source = dms_stream_create(v);
	list_for_each_entry_safe(g, n, gone, list) {
		list_del(&g->list);
		/* A damaged one leaks its space until the area is repaired. */
		if (!source || tree_free(v, source, &g->tree))
			DMWARN("%s: space of a deleted copy's exempt runs is not given back",
			       v->name);
		kfree(g);
	}
	if (source)
		dms_stream_destroy(source);
}

/* --- the root --- */

int dms_super_write(struct dms_volume *v)
{
	u64 addr;
	void *block;
	int r;

	if (v->is_volatile)
		return 0;
	block = (void *)__get_free_page(GFP_NOIO | __GFP_NOFAIL);
	v->super.sequence = ++v->checkpoint_seq;
	v->super.generation = v->generation;
	addr = v->checkpoint_seq & 1 ? DMS_SUPER_B_BLOCK : DMS_SUPER_A_BLOCK;
	dms_super_pack(block, addr, &v->super);
	r = dms_io_write(v->area, addr, 1, block, REQ_PREFLUSH | REQ_FUA); /* I5 */
	free_page((unsigned long)block);
	return r;
}

static int write_shadows(struct dms_volume *v)
{
	struct dms_disk_shadow_ref *refs = NULL;
	struct dms_shadow_info *info;
	struct dms_copies *c;
	struct dms_blocks place = {};
	void *buf = NULL;
	u32 nr, i;
	int r = -ENOMEM, idx;

	info = kmalloc(sizeof(*info), GFP_NOIO);
	if (!info)
		return -ENOMEM;
	/* Cleared first: who changes something from here on sets it again. */
	WRITE_ONCE(v->shadows_dirty, false);
	idx = srcu_read_lock(&v->srcu);
	c = srcu_dereference(v->copies, &v->srcu);
	nr = c->nr;
	refs = __vmalloc(array_size(max(nr, 1U), sizeof(*refs)), GFP_NOIO | __GFP_ZERO);
	buf = __vmalloc(array_size(max(nr, 1U), DMS_BLOCK_SIZE), GFP_NOIO | __GFP_ZERO);
	if (refs && buf)
		r = blocks_take(v, &place, nr);
	for (i = 0; !r && i < nr; i++) {
		struct dms_header h = {
			.block = place.block[i], .generation = v->generation,
			.sequence = v->checkpoint_seq + 1, .type = DMS_BLOCK_SHADOW, .count = 1,
		};
		void *p = buf + i * DMS_BLOCK_SIZE;

		spin_lock(&v->info_lock);
		*info = c->shadow[i]->info;
		spin_unlock(&v->info_lock);
		if (v->override && v->override->id == info->id)
			*info = *v->override;
		if (info->id <= v->invalidate_upto)
			info->flags |= DMS_SHADOW_INVALID;
		dms_shadow_pack(p + sizeof(struct dms_disk_header), info);
		refs[i].id = cpu_to_le32(info->id);
		refs[i].crc = cpu_to_le32(dms_block_seal(p, &h, v->super.uuid));
		refs[i].block = cpu_to_le64(place.block[i]);
	}
	srcu_read_unlock(&v->srcu, idx);
	if (!r)
		r = blocks_write(v, &place, buf);
	if (r) {
		WRITE_ONCE(v->shadows_dirty, true);
		blocks_free(v, &place);
	} else {
		blocks_free(v, &v->shadows_place);
		v->shadows_place = place;
		vfree(v->refs);
		v->refs = refs;
		v->nr_refs = nr;
		refs = NULL;
	}
	vfree(refs);
	vfree(buf);
	kfree(info);
	return r;
}

static int write_bitmap(struct dms_volume *v)
{
	void *block = (void *)__get_free_page(GFP_NOIO);
	s64 pair = 0;
	int r = 0;

	if (!block)
		return -ENOMEM;
	for (pair = dms_alloc_dirty(v->alloc, 0); !r && pair >= 0;
	     pair = dms_alloc_dirty(v->alloc, pair + 1)) {
		struct dms_header h = {
			.generation = v->generation, .sequence = v->checkpoint_seq + 1,
			.type = DMS_BLOCK_BITMAP, .count = DMS_PAYLOAD_SIZE,
		};

		if (v->is_volatile) {	/* only for the account of what is freed */
			dms_alloc_block(v->alloc, pair, block);
			continue;
		}
		/* Beside its predecessor: that one stays until the superblock. */
		change_bit(pair, v->slots);
		h.block = v->super.bitmap_block + 2 * pair + test_bit(pair, v->slots);
		dms_alloc_block(v->alloc, pair, block + sizeof(struct dms_disk_header));
		dms_block_seal(block, &h, v->super.uuid);
		r = dms_io_write(v->area, h.block, 1, block, 0);
	}
	free_page((unsigned long)block);
	return r;
}

/* Bytes of the root's parts joined. */
static size_t root_size(const struct dms_volume *v, const struct dms_trees *trees)
{
	return sizeof(struct dms_disk_root) + v->nr_refs * sizeof(struct dms_disk_shadow_ref) +
	       trees->nr * sizeof(struct dms_disk_tree) +
	       v->nr_prints * sizeof(struct dms_disk_print) +
	       DIV_ROUND_UP(v->super.bitmap_pairs, 8);
}

/* These parts; *@size in bytes. */
static void *root_blob(struct dms_volume *v, const struct dms_trees *trees, u64 replay_from,
		       size_t *size)
{
	u32 pairs = v->super.bitmap_pairs, i;
	struct dms_root root = {
		.journal_sequence = replay_from,
		.epoch = v->epoch,
		.nr_shadows = v->nr_refs,
		.nr_trees = trees->nr,
		.nr_prints = v->nr_prints,
		.used_chunks = dms_alloc_live(v->alloc),
		.merge_shadow = v->merge_shadow,
		.merge_epoch = v->merge_epoch,
		.merge_cursor = v->merge_cursor,
	};
	u8 *blob, *p;

	*size = root_size(v, trees);
	blob = __vmalloc(*size, GFP_NOIO | __GFP_ZERO);
	if (!blob)
		return NULL;
	p = blob;
	dms_root_pack((void *)p, &root);
	p += sizeof(struct dms_disk_root);
	if (v->nr_refs)
		memcpy(p, v->refs, v->nr_refs * sizeof(*v->refs));
	p += v->nr_refs * sizeof(*v->refs);
	for (i = 0; i < trees->nr; i++, p += sizeof(struct dms_disk_tree))
		dms_tree_pack((void *)p, &trees->tree[i]);
	for (i = 0; i < v->nr_prints; i++, p += sizeof(struct dms_disk_print)) {
		struct dms_disk_print *d = (void *)p;

		d->block = cpu_to_le64(v->prints[i]);
		d->crc = cpu_to_le32(v->print_crcs[i]);
	}
	for (i = 0; i < pairs; i++)
		if (test_bit(i, v->slots))
			p[i / 8] |= 1 << (i % 8);
	return blob;
}

/* Written from the last block to the first, as each names the next. */
static int write_root(struct dms_volume *v, const struct dms_trees *trees, u64 replay_from,
		      const struct dms_blocks *place)
{
	struct dms_pointer next = {};
	size_t size;
	u8 *blob, *buf;
	int r = -ENOMEM;
	u32 i;

	blob = root_blob(v, trees, replay_from, &size);
	buf = __vmalloc(array_size(place->nr, DMS_BLOCK_SIZE), GFP_NOIO | __GFP_ZERO);
	if (blob && buf) {
		for (i = place->nr; i-- > 0;) {
			size_t done = (size_t)i * DMS_ROOT_PART_SIZE;
			struct dms_header h = {
				.block = place->block[i], .generation = v->generation,
				.sequence = v->checkpoint_seq + 1, .type = DMS_BLOCK_ROOT,
				.count = min_t(size_t, size - done, DMS_ROOT_PART_SIZE),
			};
			u8 *p = buf + (size_t)i * DMS_BLOCK_SIZE;

			memcpy(p + DMS_BLOCK_SIZE - DMS_ROOT_PART_SIZE, blob + done, h.count);
			next.crc = dms_root_seal(p, &h, &next, v->super.uuid);
			next.block = h.block;
		}
		r = blocks_write(v, place, buf);
	}
	if (!r) {
		v->super.root = next;
		v->super.root_blocks = place->nr;
	}
	vfree(blob);
	vfree(buf);
	return r;
}

/* Steps 2 to 4, but for the new tree itself. */
static int write_all(struct dms_volume *v, const struct dms_trees *trees, u64 replay_from,
		     u32 flags)
{
	struct dms_blocks place;
	int r = 0;

	if (v->is_volatile)
		return write_bitmap(v);
	if (v->shadows_dirty)
		r = write_shadows(v);
	if (!r)
		r = blocks_take(v, &place, DIV_ROUND_UP(root_size(v, trees), DMS_ROOT_PART_SIZE));
	if (r)
		return r;
	blocks_free(v, &v->root_place);
	v->root_place = place;
	r = write_bitmap(v);
	if (!r)
		r = write_root(v, trees, replay_from, &place);
	if (r)
		return r;
	v->super.flags = (v->super.flags & ~DMS_SUPER_CLEAN) | flags;
	r = dms_super_write(v);
	if (r)
		v->super.flags &= ~DMS_SUPER_CLEAN;
	return r;
}

static void free_trees(struct rcu_head *rcu)
{
	kfree(container_of(rcu, struct dms_trees, rcu));
}

/* Copies that were dropped while open, and have been closed since. */
static void free_dead(struct dms_volume *v, struct list_head *dead)
{
	struct dms_shadow *s, *n;

	spin_lock(&v->info_lock);
	list_for_each_entry_safe(s, n, dead, dead_list)
		if (!s->opens) {
			list_del(&s->dead_list);
			kfree(s);
		}
	list_splice(dead, &v->dead);
	spin_unlock(&v->info_lock);
}

/*
 * Steps 2 to 5 with @new as the list of trees; takes it over.  @gone: exempt
 * trees of copies whose deletion is not in the journal from @replay_from on.
 */
static int commit(struct dms_volume *v, struct dms_trees *new, u64 replay_from, u32 flags,
		  struct list_head *gone)
{
	struct dms_trees *old = rcu_dereference_protected(v->trees, 1);
	LIST_HEAD(dead);
	int r;

	if (gone)
		free_gone_trees(v, gone);
	r = write_all(v, new, replay_from, flags);
	if (r) {
		kfree(new);
		dms_volume_fail(v, DMS_MODE_RO, "can't write a checkpoint", r);
		return r;
	}
	rcu_assign_pointer(v->trees, new);
	if (old)
		call_srcu(&v->srcu, &old->rcu, free_trees);
	spin_lock(&v->info_lock);
	list_splice_init(&v->dead, &dead);
	spin_unlock(&v->info_lock);
	synchronize_srcu(&v->srcu);		/* I8 */
	free_dead(v, &dead);
	dms_alloc_commit(v->alloc);
	WRITE_ONCE(v->journal_tail, replay_from);
	atomic64_inc(&v->stats.checkpoints);
	return 0;
}

/* --- checkpoint --- */

static void rotate(struct dms_volume *v, struct dms_op *op)
{
	spin_lock_irq(&v->lock);
	list_splice_tail_init(&v->gone_trees, &v->gone_before);
	spin_unlock_irq(&v->lock);
	v->rotate_seq = v->journal_head;
	if (dms_table_count(v->table[v->active]) && !dms_table_count(v->table[!v->active]))
		v->active = !v->active;
}

static int write_table(struct dms_volume *v, struct dms_table *t, struct dms_tree *ret)
{
	struct dms_sink *sink = dms_sink_create(v, 0);
	struct dms_builder *b = sink ? dms_builder_create(sink) : NULL;
	struct dms_exception e;
	const __le32 *csums;
	int r = b ? 0 : -ENOMEM;
	u32 i;

	if (b)
		dms_table_sort(t);
	for (i = 0; !r && i < dms_table_count(t); i++) {
		dms_table_get(t, i, &e, &csums);
		r = dms_builder_add(b, &e, csums);
	}
	if (!r)
		r = dms_builder_finish(b, ret);
	if (!r)
		r = dms_sink_flush(sink);
	if (!r)
		dms_sink_publish(sink);
	dms_builder_destroy(b);
	dms_sink_destroy(sink);
	return r;
}

/* Steps 2 to 5 for table @t, which nobody adds to. */
static int checkpoint_table(struct dms_volume *v, struct dms_table *t, u64 replay_from, u32 flags)
{
	struct dms_trees *old = rcu_dereference_protected(v->trees, 1), *new;
	int r;

	new = kmemdup(old, sizeof(*old), GFP_NOIO | __GFP_NOFAIL);
	if (dms_table_count(t)) {
		if (WARN_ON_ONCE(new->nr == DMS_VOLUME_TREES))
			r = -EMFILE;
		else
			r = write_table(v, t, &new->tree[new->nr]);
		if (r) {
			kfree(new);
			dms_volume_fail(v, DMS_MODE_RO, "can't write the index", r);
			return r;
		}
		new->nr++;
	}
	r = commit(v, new, replay_from, flags, &v->gone_before);
	if (!r)
		dms_table_reset(t);
	return r;
}

int dms_checkpoint(struct dms_volume *v, u32 flags)
{
	struct dms_op op = { .apply = rotate };
	int r;

	lockdep_assert_held(&v->back_mutex);
	r = dms_saver_commit(v, &op);
	if (r)
		return r;
	return checkpoint_table(v, v->table[!v->active], v->rotate_seq, flags);
}

/* --- what a checkpoint needs --- */

/* Area chunks that the next one takes beside its predecessor, with @more copies. */
static u64 checkpoint_need(struct dms_volume *v, u32 more)
{
	u64 slots = dms_table_count(v->table[0]) + dms_table_count(v->table[1]);
	u64 blocks;
	int idx;

	idx = srcu_read_lock(&v->srcu);
	more += srcu_dereference(v->copies, &v->srcu)->nr;
	srcu_read_unlock(&v->srcu, idx);
	/* The index of what is in memory, no leaf emptier than half, and a group more. */
	blocks = 2 * div_u64((slots + DMS_GROUP_RUNS) *
			     (sizeof(struct dms_disk_entry) + v->chunk_blocks * sizeof(__le32)),
			     DMS_PAYLOAD_SIZE);
	return min(DIV_ROUND_UP_ULL(blocks, v->chunk_blocks) + blocks_to_chunks(v, more) +
		   blocks_to_chunks(v, v->super.root_blocks + 1) + 4, v->area_chunks - 1);
}

u64 dms_space_ceiling(struct dms_volume *v, u32 more)
{
	return v->area_chunks - clamp(checkpoint_need(v, more), v->reserve / 2,
				      v->area_chunks - 1);
}

/* --- joining trees --- */

static bool checkpoint_due(struct dms_volume *v)
{
	struct dms_table *t = v->table[READ_ONCE(v->active)];

	if (READ_ONCE(v->want) == DMS_WANT_CHECKPOINT)
		return true;
	if (dms_table_room(t) < dms_table_count(t) / 3)
		return true;
	return !v->is_volatile &&
	       v->journal_head - v->journal_tail > v->super.journal_blocks / 2;
}

static int checkpoint_if_due(struct dms_volume *v)
{
	int r;

	if (!checkpoint_due(v))
		return 0;
	if (v->want == DMS_WANT_CHECKPOINT)
		WRITE_ONCE(v->want, DMS_WANT_NOTHING);
	r = dms_checkpoint(v, 0);
	dms_saver_wake(v);
	return r;
}

static void doom(void *context, area_chunk_t first, u32 length)
{
	dms_bits_set(context, first, length);
}

static void free_doomed(struct dms_volume *v, struct dms_bits *doomed)
{
	u64 first = 0, end;

	for (;;) {
		first = dms_bits_next(doomed, first);
		if (first >= v->area_chunks)
			break;
		for (end = first + 1; end < v->area_chunks && end - first < 4096; end++)
			if (!dms_bits_test(doomed, end))
				break;
		dms_alloc_free(v->alloc, first, end - first);
		first = end;
		cond_resched();
	}
}

/* Epochs of the copies that can be read, or that a merge reads. */
static u32 *live_epochs(struct dms_volume *v, u32 *nr)
{
	struct dms_copies *c;
	u32 *epochs, i;
	int idx;

	idx = srcu_read_lock(&v->srcu);
	c = srcu_dereference(v->copies, &v->srcu);
	epochs = __vmalloc(array_size(c->nr + 1, sizeof(u32)), GFP_NOIO);
	*nr = 0;
	for (i = 0; epochs && i < c->nr; i++)
		if (dms_shadow_valid(c->shadow[i]) || c->shadow[i]->info.id == v->merge_shadow)
			epochs[(*nr)++] = c->shadow[i]->info.id;
	srcu_read_unlock(&v->srcu, idx);
	return epochs;
}

static bool too_many_trees(const struct dms_volume *v)
{
	return rcu_dereference_protected(v->trees, 1)->nr >= DMS_VOLUME_TREES - 8;
}

/* A join goes on for long: is there something that can't wait? */
static int slice_over(struct dms_volume *v)
{
	if (!v->opened)
		return 0;
	if (READ_ONCE(v->closing))
		return -EINTR;
	if (READ_ONCE(v->mode) != DMS_MODE_RW)
		return -EROFS;
	/* Let the small ones be joined first, or they become too many. */
	if (too_many_trees(v))
		return -EAGAIN;
	return checkpoint_if_due(v);
}

static int join_stream(struct dms_volume *v, struct dms_merger *m, struct dms_builder *b,
		       struct dms_tree *ret)
{
	struct dms_exception e;
	const __le32 *csums;
	u32 n = 0;
	int r;

	while ((r = dms_merger_next(m, &e, &csums)) > 0) {
		r = dms_builder_add(b, &e, csums);
		if (r)
			return r;
		if (++n % JOIN_SLICE == 0) {
			r = slice_over(v);
			if (r)
				return r;
			cond_resched();
		}
	}
	return r ? r : dms_builder_finish(b, ret);
}

/* The list of trees with @joined in place of @nr trees from @first on. */
static struct dms_trees *replace_trees(struct dms_volume *v, u32 first, u32 nr,
				       const struct dms_tree *joined)
{
	struct dms_trees *old = rcu_dereference_protected(v->trees, 1);
	struct dms_trees *new = kzalloc(sizeof(*new), GFP_NOIO | __GFP_NOFAIL);
	u32 i;

	for (i = 0; i < old->nr; i++) {
		if (i == first && joined->depth)
			new->tree[new->nr++] = *joined;
		if (i < first || i >= first + nr)
			new->tree[new->nr++] = old->tree[i];
	}
	return new;
}

/*
 * Join the trees from number @first on.  -EAGAIN: not possible now, nothing
 * is lost.
 */
static int join_trees(struct dms_volume *v, u32 first)
{
	struct dms_trees *old = kmemdup(rcu_dereference_protected(v->trees, 1), sizeof(*old),
					GFP_NOIO | __GFP_NOFAIL);
	struct dms_source *source = dms_stream_create(v);
	struct dms_sink *sink = dms_sink_create(v, v->area_chunks - checkpoint_need(v, 0));
	struct dms_bits *doomed = dms_bits_create(v->area_chunks);
	struct dms_merge_spec spec = {
		.source = source, .trees = &old->tree[first], .nr_trees = old->nr - first,
		.merge_epoch = v->merge_shadow ? v->merge_epoch : 0,
		.drop = doom, .context = doomed,
	};
	struct dms_builder *b = NULL;
	struct dms_merger *m = NULL;
	struct dms_tree joined;
	u32 *epochs, i;
	int r = -ENOMEM;

	epochs = live_epochs(v, &spec.nr_epochs);
	spec.epochs = epochs;
	if (source && sink && doomed && epochs) {
		m = dms_merger_create(&spec);
		b = dms_builder_create(sink);
	}
	if (m && b)
		r = join_stream(v, m, b, &joined);
	if (!r)
		r = dms_sink_flush(sink);
	if (r == -ENOSPC && container_of(sink, struct area_sink, sink)->no_memory)
		r = -ENOMEM;
	dms_merger_destroy(m);
	dms_builder_destroy(b);
	if (!r) {
		dms_sink_publish(sink);
		free_doomed(v, doomed);
		for (i = first; i < old->nr; i++)
			if (tree_free(v, source, &old->tree[i]))
				DMWARN("%s: space of an old index tree is not given back", v->name);
		r = commit(v, replace_trees(v, first, old->nr - first, &joined),
			   v->journal_tail, 0, NULL);
	} else if (r == -EAGAIN) {
		WRITE_ONCE(v->reclaim, true);
	} else if (r == -EUCLEAN || r == -EIO) {
		/* These stay as they are; newer ones are joined without them. */
		v->join_floor = old->nr;
		DMERR_LIMIT("%s: index trees can't be joined: error %d", v->name, r);
	}
	vfree(epochs);
	dms_bits_destroy(doomed);
	dms_sink_destroy(sink);
	if (source)
		dms_stream_destroy(source);
	kfree(old);
	return r;
}

/* From where on trees should be joined; nr of them: nowhere. */
static u32 join_from(const struct dms_volume *v)
{
	struct dms_trees *trees = rcu_dereference_protected(v->trees, 1);
	u32 k = trees->nr;
	u64 sum = 0;

	while (k > v->join_floor && (trees->tree[k - 1].entries < 2 * sum || k == trees->nr)) {
		k--;
		sum += trees->tree[k].entries;
	}
	if (trees->nr - v->join_floor >= MERGE_MAX_TREES && trees->nr - k < 2)
		k = trees->nr - 2;
	return trees->nr - k >= MERGE_MIN_TREES ||
	       trees->nr - v->join_floor >= MERGE_MAX_TREES ? k : trees->nr;
}

int dms_checkpoint_replay(struct dms_volume *v, u64 sequence)
{
	struct dms_trees *trees;
	u32 from;
	int r;

	r = checkpoint_table(v, v->table[v->active], sequence, 0);
	trees = rcu_dereference_protected(v->trees, 1);
	from = join_from(v);
	/* Tables smaller than they were could make many. */
	if (!r && from < trees->nr)
		join_trees(v, from);
	return r;
}

/* --- space --- */

static void reclaim(struct dms_volume *v)
{
	WRITE_ONCE(v->reclaim, false);
	/* The table first, so that what it holds of the dead goes too. */
	if (!dms_checkpoint(v, 0) &&
	    rcu_dereference_protected(v->trees, 1)->nr > v->join_floor)
		join_trees(v, v->join_floor);
}

static int invalidate_all(struct dms_volume *v)
{
	int r;

	DMWARN("%s: diff area is full, all shadow copies are invalid", v->name);
	r = dms_shadows_invalidate(v);
	dms_volume_event(v);
	if (!r)
		reclaim(v);
	return r;
}

static bool tables_used(const struct dms_volume *v)
{
	return dms_table_count(v->table[0]) || dms_table_count(v->table[1]);
}

static bool has_room(struct dms_volume *v)
{
	return dms_alloc_used(v->alloc) < min(dms_data_limit(v), dms_space_ceiling(v, 0));
}

/* False: not now.  Who asked will ask again. */
static bool drop_oldest(struct dms_volume *v)
{
	int r;

	/* Its holder may wait for a checkpoint. */
	if (!mutex_trylock(&v->meta))
		return false;
	r = dms_shadow_drop(v);
	mutex_unlock(&v->meta);
	if (!r)
		reclaim(v);
	else if (r == -ENOENT)
		DMERR_LIMIT("%s: diff area is full and there is nothing to drop", v->name);
	return true;
}

/* The saver found no space.  Do what the policy says, as little as helps. */
static void make_room(struct dms_volume *v)
{
	u64 before = dms_alloc_used(v->alloc);

	/* What is only in memory needs more than it will on disk. */
	if (before >= dms_space_ceiling(v, 0) && tables_used(v) && dms_checkpoint(v, 0))
		return;
	/* Deleted, raised or grown meanwhile? */
	if (has_room(v))
		goto retry;
	if (dms_alloc_freed(v->alloc) || READ_ONCE(v->reclaim) || v->unsure) {
		v->unsure = false;
		reclaim(v);
		if (dms_alloc_used(v->alloc) < before || has_room(v))
			goto retry;
	}
	if (v->super.when_full == DMS_FULL_BLOCK &&
	    time_before(jiffies, v->want_since + v->super.full_timeout * HZ)) {
		if (!v->full_told)
			dms_volume_event(v);
		v->full_told = true;
		return;			/* the saver asks again */
	}
	if (v->super.when_full == DMS_FULL_INVALIDATE) {
		invalidate_all(v);
		goto retry;
	}
	if (!drop_oldest(v))
		return;
retry:
	v->full_told = false;
	WRITE_ONCE(v->want, DMS_WANT_NOTHING);
	dms_saver_wake(v);
}

int dms_room_for_copy(struct dms_volume *v)
{
	unsigned int noio;
	int r = 0;

	/* Without the mutex, which may be held for long. */
	if (dms_alloc_used(v->alloc) < dms_space_ceiling(v, 1))
		return 0;
	noio = memalloc_noio_save();
	mutex_lock(&v->back_mutex);
	if (dms_alloc_used(v->alloc) >= dms_space_ceiling(v, 1) &&
	    (tables_used(v) || dms_alloc_freed(v->alloc) || READ_ONCE(v->reclaim)))
		reclaim(v);
	while (!r && dms_alloc_used(v->alloc) >= dms_space_ceiling(v, 1)) {
		r = -ENOSPC;
		if (v->super.when_full != DMS_FULL_DROP_OLDEST || v->mode != DMS_MODE_RW)
			break;
		r = dms_shadow_drop(v);
		if (!r)
			reclaim(v);
	}
	mutex_unlock(&v->back_mutex);
	memalloc_noio_restore(noio);
	return r == -ENOENT ? -ENOSPC : r;
}

bool dms_low_space(const struct dms_volume *v)
{
	u64 all = v->super.limit_chunks ? v->super.limit_chunks : v->area_chunks;

	return v->super.low_space && dms_alloc_used(v->alloc) * 100 >= all * v->super.low_space;
}

static void low_space(struct dms_volume *v)
{
	bool low = dms_low_space(v);

	if (low && !v->low_space_told) {
		DMWARN("%s: diff area is %u percent full", v->name, v->super.low_space);
		dms_volume_event(v);
	}
	v->low_space_told = low;
}

void dms_mark_lost(struct dms_volume *v)
{
	if (v->is_volatile || v->super.flags & DMS_SUPER_LOST)
		return;
	v->super.flags |= DMS_SUPER_LOST;
	if (dms_super_write(v)) {
		v->super.flags &= ~DMS_SUPER_LOST;
		/* Perhaps the device comes back. */
		if (!v->closing)
			mod_delayed_work(v->save_wq, &v->stall_work, 5 * HZ);
	}
}

static void background(struct work_struct *work)
{
	struct dms_volume *v = container_of(work, struct dms_volume, back_work);
	unsigned int noio = memalloc_noio_save();
	u32 from;

	mutex_lock(&v->back_mutex);
	if (READ_ONCE(v->closing))
		goto out;
	if (v->mode != DMS_MODE_RW) {
		dms_mark_lost(v);
		/* Marked or not, from here on the origin goes first (I6). */
		WRITE_ONCE(v->nr_needy, 0);
		dms_saver_wake(v);
		dms_merge_wake(v);
		goto out;
	}
	if (checkpoint_if_due(v))
		goto out;
	if (READ_ONCE(v->want) == DMS_WANT_SPACE)
		make_room(v);
	else if (READ_ONCE(v->reclaim))
		reclaim(v);
	from = join_from(v);
	if (from < rcu_dereference_protected(v->trees, 1)->nr && v->mode == DMS_MODE_RW &&
	    join_trees(v, from) == -ENOSPC && too_many_trees(v) && v->mode == DMS_MODE_RW) {
		/* It can't be put off any longer. */
		if (v->super.when_full == DMS_FULL_INVALIDATE)
			invalidate_all(v);
		else
			drop_oldest(v);
	}
	low_space(v);
out:
	mutex_unlock(&v->back_mutex);
	memalloc_noio_restore(noio);
}

int dms_background_init(struct dms_volume *v)
{
	mutex_init(&v->back_mutex);
	INIT_WORK(&v->back_work, background);
	v->back_wq = alloc_workqueue("dm-shadow-back", WQ_MEM_RECLAIM | WQ_UNBOUND, 1);
	return v->back_wq ? 0 : -ENOMEM;
}

/* Stops the background for good; tolerates a half-made one. */
void dms_background_exit(struct dms_volume *v)
{
	if (v->back_wq)
		destroy_workqueue(v->back_wq);
	v->back_wq = NULL;
}
