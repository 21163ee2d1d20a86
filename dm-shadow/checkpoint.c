// SPDX-License-Identifier: GPL-2.0-only
/*
 * Checkpoints: what is in memory goes to its place in the diff area.
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
 * Locking: v->back_mutex over all of this.
 */
#include "volume.h"

/*
 * A checkpoint that is half written can't be begun again, and one that fails costs
 * all copies: it waits for memory instead.
 */
#define GFP_PATIENT	(GFP_NOIO | __GFP_NOFAIL)

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

int dms_blocks_init(struct dms_blocks *b, u32 nr, gfp_t gfp)
{
	b->block = kvcalloc(max(nr, 1U), sizeof(*b->block), gfp);
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

	dms_blocks_init(ret, nr, GFP_PATIENT);
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

int dms_tree_free(struct dms_volume *v, struct dms_source *source, const struct dms_tree *t)
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
	if (!source)
		return;			/* by the next checkpoint */
	list_for_each_entry_safe(g, n, gone, list) {
		list_del(&g->list);
		/* A damaged one leaks its space until the area is repaired. */
		if (dms_tree_free(v, source, &g->tree))
			DMWARN("%s: space of a deleted copy's exempt runs is not given back",
			       v->name);
		kfree(g);
	}
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
	block = (void *)__get_free_page(GFP_PATIENT);
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
	struct dms_disk_shadow_ref *refs;
	struct dms_shadow_info *info;
	struct dms_copies *c;
	struct dms_blocks place = {};
	void *buf;
	u32 nr, i;
	int r, idx;

	info = kmalloc(sizeof(*info), GFP_PATIENT);
	/* Cleared first: who changes something from here on sets it again. */
	WRITE_ONCE(v->shadows_dirty, false);
	idx = srcu_read_lock(&v->srcu);
	c = srcu_dereference(v->copies, &v->srcu);
	nr = c->nr;
	refs = __vmalloc(array_size(max(nr, 1U), sizeof(*refs)), GFP_PATIENT | __GFP_ZERO);
	buf = __vmalloc(array_size(max(nr, 1U), DMS_BLOCK_SIZE), GFP_PATIENT | __GFP_ZERO);
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
		cond_resched();
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
		WRITE_ONCE(v->nr_refs, nr);
		refs = NULL;
	}
	vfree(refs);
	vfree(buf);
	kfree(info);
	return r;
}

static int write_bitmap(struct dms_volume *v)
{
	void *block = (void *)__get_free_page(GFP_PATIENT);
	s64 pair = 0;
	int r = 0;

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
	blob = __vmalloc(*size, GFP_PATIENT | __GFP_ZERO);
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
	u32 i;
	int r;

	blob = root_blob(v, trees, replay_from, &size);
	buf = __vmalloc(array_size(place->nr, DMS_BLOCK_SIZE), GFP_PATIENT | __GFP_ZERO);
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

/* Steps 2 to 5. */
int dms_commit(struct dms_volume *v, struct dms_trees *new, u64 replay_from, u32 flags,
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
		dms_volume_fail(v, "can't write a checkpoint", r);
		return r;
	}
	rcu_assign_pointer(v->trees, new);
	spin_lock(&v->info_lock);
	list_splice_init(&v->dead, &dead);
	spin_unlock(&v->info_lock);
	/* Expedited, as writes may wait for this: else it is some ticks on an idle machine. */
	synchronize_srcu_expedited(&v->srcu);	/* I8 */
	kfree(old);
	free_dead(v, &dead);
	dms_alloc_commit(v->alloc);
	WRITE_ONCE(v->journal_tail, replay_from);
	WRITE_ONCE(v->entries, dms_trees_entries(new, v->join_floor));
	WRITE_ONCE(v->drop_vain, false);
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
	else if (sink)
		r = dms_sink_error(sink, r);
	dms_builder_destroy(b);
	dms_sink_destroy(sink);
	return r;
}

/* Steps 2 to 5 for table @t, which nobody adds to. */
int dms_checkpoint_table(struct dms_volume *v, struct dms_table *t, u64 replay_from, u32 flags)
{
	struct dms_trees *old = rcu_dereference_protected(v->trees, 1), *new;
	int r;

	new = kmemdup(old, sizeof(*old), GFP_NOIO | __GFP_NOFAIL);
	if (dms_table_count(t)) {
		if (WARN_ON_ONCE(new->nr == DMS_VOLUME_TREES))
			r = -EMFILE;
		else
			r = write_table(v, t, &new->tree[new->nr]);
		while (r == -ENOMEM) {		/* as GFP_PATIENT */
			schedule_timeout_uninterruptible(HZ / 20);
			r = write_table(v, t, &new->tree[new->nr]);
		}
		if (r) {
			kfree(new);
			dms_volume_fail(v, "can't write the index", r);
			return r;
		}
		new->nr++;
	}
	r = dms_commit(v, new, replay_from, flags, &v->gone_before);
	if (r)
		return r;
	dms_table_reset(t);
	/* Who came before the reset may hold a slot, which is not to be filled again yet. */
	synchronize_srcu_expedited(&v->srcu);
	return 0;
}

int dms_checkpoint(struct dms_volume *v, u32 flags)
{
	struct dms_op op = { .apply = rotate };
	int r;

	lockdep_assert_held(&v->back_mutex);
	r = dms_saver_commit(v, &op);
	if (r)
		return r;
	return dms_checkpoint_table(v, v->table[!v->active], v->rotate_seq, flags);
}

/* --- what a checkpoint needs --- */

u64 dms_checkpoint_need(struct dms_volume *v, u32 more)
{
	u64 slots = dms_table_count(v->table[0]) + dms_table_count(v->table[1]);
	u32 refs = READ_ONCE(v->nr_refs);
	u64 blocks;
	int idx;

	idx = srcu_read_lock(&v->srcu);
	more += srcu_dereference(v->copies, &v->srcu)->nr;
	srcu_read_unlock(&v->srcu, idx);
	/* Those without a descriptor take one now, and another when all are written again. */
	if (more > refs)
		more += more - refs;
	/* The index of what is in memory, no leaf emptier than half, and groups under way. */
	blocks = 2 * div_u64((slots + DMS_GROUP_RUNS) *
			     (sizeof(struct dms_disk_entry) + v->chunk_blocks * sizeof(__le32)),
			     DMS_PAYLOAD_SIZE);
	return min(DIV_ROUND_UP_ULL(blocks, v->chunk_blocks) + blocks_to_chunks(v, more) +
		   blocks_to_chunks(v, v->super.root_blocks + 1) + 4, v->area_chunks - 1);
}

u64 dms_space_ceiling(struct dms_volume *v, u32 more)
{
	return v->area_chunks - clamp(dms_checkpoint_need(v, more), v->reserve / 2,
				      v->area_chunks - 1);
}
