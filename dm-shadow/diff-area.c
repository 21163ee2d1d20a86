// SPDX-License-Identifier: GPL-2.0-only
/*
 * Opening and closing a diff area.
 *
 * Opening reads the newer superblock, the root, the copies' descriptors and the
 * allocation bitmap, replays the journal unless the area was closed cleanly,
 * and writes a superblock with a new generation: from then on blocks that the
 * previous activation left in the journal are history.
 *
 * A clean close records what some blocks of the origin hold.  If they hold
 * something else when the area is opened again, the origin was written while
 * nobody saved anything, and the copies are marked suspect.  After a crash that
 * can't be told.
 */
#include <linux/blkdev.h>
#include <linux/sched/mm.h>

#include "volume.h"

#define USUAL_PRINTS	32		/* head, end, and spread between */
#define HEAD_PRINTS	8

/* --- superblock --- */

static int read_super(struct dms_volume *v, char **error)
{
	static const u64 addr[] = { DMS_SUPER_A_BLOCK, DMS_SUPER_B_BLOCK };
	bool blank = true, newer = false, found = false;
	struct dms_super s;
	void *block;
	int r, i;

	block = (void *)__get_free_page(GFP_KERNEL);
	if (!block)
		return -ENOMEM;
	for (i = 0; i < ARRAY_SIZE(addr); i++) {
		r = dms_io_read(v->area, addr[i], 1, block);
		if (r)
			continue;
		blank &= dms_is_zero(block, DMS_BLOCK_SIZE);
		r = dms_super_unpack(block, addr[i], &s);
		newer |= r == -EPROTONOSUPPORT;
		if (!r && (!found || s.sequence > v->super.sequence)) {
			v->super = s;
			found = true;
		}
	}
	free_page((unsigned long)block);
	if (newer) {
		*error = "Diff area has features that this version does not know";
		return -EPROTONOSUPPORT;
	}
	if (!found) {
		*error = blank ? "Diff area is blank: format it first" :
				 "Device holds no diff area, or both superblocks are damaged";
		return -EINVAL;
	}
	return 0;
}

static int check_super(struct dms_volume *v, char **error)
{
	struct dms_super *s = &v->super;

	/* There is no read-only activation. */
	if (s->ro_compat & ~DMS_RO_COMPAT_KNOWN) {
		*error = "Diff area has features that this version can only read";
		return -EPROTONOSUPPORT;
	}
	if (bdev_nr_sectors(v->area) < s->area_blocks * DMS_BLOCK_SECTORS) {
		*error = "Diff device is smaller than the diff area on it";
		return -ENOSPC;
	}
	if (bdev_logical_block_size(v->area) > DMS_BLOCK_SIZE ||
	    bdev_logical_block_size(v->origin) > DMS_BLOCK_SIZE) {
		*error = "Logical blocks larger than 4096 bytes are not supported";
		return -EINVAL;
	}
	return 0;
}

/* --- root --- */

/* The parts of the root joined; *@size in bytes. */
static void *read_root(struct dms_volume *v, size_t *size, char **error)
{
	struct dms_super *s = &v->super;
	struct dms_pointer p = s->root;
	struct dms_header h;
	u8 *block, *blob;
	u32 i;
	int r;

	*error = "Out of memory";
	block = (void *)__get_free_page(GFP_KERNEL);
	blob = vzalloc(array_size(s->root_blocks, DMS_ROOT_PART_SIZE));
	r = block && blob ? dms_blocks_init(&v->root_place, s->root_blocks, GFP_KERNEL) : -ENOMEM;
	*size = 0;
	for (i = 0; !r && i < s->root_blocks; i++) {
		*error = "Root of the diff area is damaged";
		if (!dms_super_elsewhere(s, p.block)) {
			r = -EUCLEAN;
			break;
		}
		r = dms_io_read(v->area, p.block, 1, block);
		if (r) {
			*error = "Root of the diff area can't be read";
			break;
		}
		r = dms_block_check(block, p.block, DMS_BLOCK_ROOT, s->uuid, &p.crc, &h);
		if (r)
			break;
		v->root_place.block[i] = p.block;
		p = dms_root_next(block);
		memcpy(blob + *size, block + DMS_BLOCK_SIZE - DMS_ROOT_PART_SIZE, h.count);
		*size += h.count;
	}
	free_page((unsigned long)block);
	if (!r && p.block)
		r = -EUCLEAN;
	if (!r)
		return blob;
	vfree(blob);
	return ERR_PTR(r);
}

/* Descriptor @block of the copy that @ref leads to: put it in @c, which has room. */
static int load_shadow(struct dms_volume *v, const struct dms_disk_shadow_ref *ref,
		       const void *block, struct dms_shadow_info *info, struct dms_copies *c)
{
	u32 crc = le32_to_cpu(ref->crc);
	struct dms_shadow *s;
	int r;

	r = dms_block_check(block, le64_to_cpu(ref->block), DMS_BLOCK_SHADOW, v->super.uuid, &crc,
			    NULL);
	if (!r)
		r = dms_shadow_unpack(block + sizeof(struct dms_disk_header),
				      v->super.area_blocks, info);
	if (!r && info->id != le32_to_cpu(ref->id))
		r = -EUCLEAN;
	if (r)
		return r;
	s = dms_shadow_alloc(v, info);
	if (!s)
		return -ENOMEM;
	c->shadow[c->nr++] = s;
	return 0;
}

/* They were written in as few pieces as possible: read them so. */
static int load_shadows(struct dms_volume *v, const struct dms_disk_shadow_ref *refs, u32 nr,
			struct dms_copies *c)
{
	struct dms_shadow_info *info = kmalloc(sizeof(*info), GFP_KERNEL);
	void *buf = vmalloc(array_size(min_t(u32, nr, BIO_MAX_VECS), DMS_BLOCK_SIZE));
	int r = info && buf ? 0 : -ENOMEM;
	u32 i, n, k;
	u64 first;

	for (i = 0; !r && i < nr; i += n) {
		first = le64_to_cpu(refs[i].block);
		for (n = 0; i + n < nr && n < BIO_MAX_VECS; n++)
			if (le64_to_cpu(refs[i + n].block) != first + n ||
			    !dms_super_elsewhere(&v->super, first + n))
				break;
		r = n ? dms_io_read(v->area, first, n, buf) : -EUCLEAN;
		for (k = 0; !r && k < n; k++)
			r = load_shadow(v, &refs[i + k], buf + k * DMS_BLOCK_SIZE, info, c);
	}
	vfree(buf);
	kfree(info);
	return r;
}

static int read_shadows(struct dms_volume *v, const struct dms_disk_shadow_ref *refs, u32 nr)
{
	struct dms_copies *c;
	u32 i;
	int r;

	if (!nr)
		return 0;
	c = dms_copies_alloc(nr);
	if (!c)
		return -ENOMEM;
	r = load_shadows(v, refs, nr, c);
	dms_shadows_install(v, c);
	if (r)
		return r;
	v->refs = vmalloc(array_size(nr, sizeof(*refs)));
	if (!v->refs)
		return -ENOMEM;
	memcpy(v->refs, refs, nr * sizeof(*refs));
	v->nr_refs = nr;
	r = dms_blocks_init(&v->shadows_place, nr, GFP_KERNEL);
	for (i = 0; !r && i < nr; i++)
		v->shadows_place.block[i] = le64_to_cpu(refs[i].block);
	return r;
}

static int read_bitmap(struct dms_volume *v, const u8 *slots)
{
	struct dms_super *s = &v->super;
	u32 pair, i, n;
	void *buf;
	int r = 0;

	buf = vmalloc(BIO_MAX_VECS * DMS_BLOCK_SIZE);
	if (!buf)
		return -ENOMEM;
	for (pair = 0; !r && pair < s->bitmap_pairs; pair += n) {
		n = min_t(u32, s->bitmap_pairs - pair, BIO_MAX_VECS / 2);
		r = dms_io_read(v->area, s->bitmap_block + 2 * pair, 2 * n, buf);
		for (i = 0; !r && i < n; i++) {
			bool slot = slots[(pair + i) / 8] & (1 << (pair + i) % 8);
			u64 addr = s->bitmap_block + 2 * (pair + i) + slot;
			void *block = buf + (2 * i + slot) * DMS_BLOCK_SIZE;

			r = dms_block_check(block, addr, DMS_BLOCK_BITMAP, s->uuid, NULL, NULL);
			if (r)
				break;
			dms_alloc_load(v->alloc, pair + i, block + sizeof(struct dms_disk_header));
			if (slot)
				set_bit(pair + i, v->slots);
		}
	}
	vfree(buf);
	return r;
}

static int load_root(struct dms_volume *v, char **error)
{
	struct dms_trees *trees = rcu_dereference_protected(v->trees, 1);
	const struct dms_disk_shadow_ref *refs;
	const struct dms_disk_print *prints;
	const struct dms_disk_tree *disk;
	struct dms_root root;
	size_t size, need;
	u8 *blob;
	u32 i;
	int r;

	blob = read_root(v, &size, error);
	if (IS_ERR(blob))
		return PTR_ERR(blob);
	*error = "Root of the diff area is damaged";
	r = size < sizeof(struct dms_disk_root) ? -EUCLEAN :
						  dms_root_unpack((void *)blob, &root);
	if (r)
		goto out;
	need = sizeof(struct dms_disk_root) + (size_t)root.nr_shadows * sizeof(*refs) +
	       (size_t)root.nr_trees * sizeof(*disk) + (size_t)root.nr_prints * sizeof(*prints) +
	       DIV_ROUND_UP(v->super.bitmap_pairs, 8);
	if (size < need || root.nr_trees > DMS_VOLUME_TREES || root.nr_prints > DMS_VOLUME_PRINTS) {
		r = -EUCLEAN;
		goto out;
	}
	refs = (void *)(blob + sizeof(struct dms_disk_root));
	disk = (void *)(refs + root.nr_shadows);
	prints = (void *)(disk + root.nr_trees);
	v->epoch = root.epoch;
	v->journal_tail = root.journal_sequence;
	v->journal_head = root.journal_sequence;
	v->merge_shadow = root.merge_shadow;
	v->merge_epoch = root.merge_epoch;
	v->merge_cursor = root.merge_cursor;
	for (i = 0; !r && i < root.nr_trees; i++)
		r = dms_tree_unpack(&disk[i], v->super.area_blocks, &trees->tree[i]);
	if (r)
		goto out;
	trees->nr = root.nr_trees;
	for (i = 0; i < root.nr_prints; i++) {
		v->prints[i] = le64_to_cpu(prints[i].block);
		v->print_crcs[i] = le32_to_cpu(prints[i].crc);
	}
	v->nr_prints = root.nr_prints;
	*error = "Descriptor of a shadow copy is damaged";
	r = read_shadows(v, refs, root.nr_shadows);
	if (r)
		goto out;
	*error = "Allocation bitmap of the diff area is damaged";
	r = read_bitmap(v, (const u8 *)(prints + root.nr_prints));
out:
	vfree(blob);
	return r;
}

/* --- fingerprint --- */

int dms_area_set_prints(struct dms_volume *v, const u64 *extra, u32 nr)
{
	u64 blocks = v->origin_sectors / DMS_BLOCK_SECTORS, block;
	u32 i, k;

	for (i = 0; i < nr; i++)
		if (extra[i] >= blocks)
			return -ERANGE;
	v->nr_prints = 0;
	for (i = 0; blocks && i < USUAL_PRINTS + nr; i++) {
		if (i < HEAD_PRINTS)
			block = i;
		else if (i < USUAL_PRINTS - 1)
			block = div_u64(blocks * (i - HEAD_PRINTS + 1), USUAL_PRINTS - HEAD_PRINTS);
		else
			block = i < USUAL_PRINTS ? blocks - 1 : extra[i - USUAL_PRINTS];
		for (k = 0; k < v->nr_prints; k++)
			if (v->prints[k] == block)
				break;
		if (k == v->nr_prints && block < blocks && k < DMS_VOLUME_PRINTS)
			v->prints[v->nr_prints++] = block;
	}
	return 0;
}

static int take_prints(struct dms_volume *v, u32 *crcs)
{
	void *block = (void *)__get_free_page(GFP_KERNEL);
	int r = block ? 0 : -ENOMEM;
	u32 i;

	for (i = 0; !r && i < v->nr_prints; i++) {
		r = dms_io_read(v->origin, v->prints[i], 1, block);
		if (!r)
			crcs[i] = dms_crc(block, DMS_BLOCK_SIZE);
	}
	free_page((unsigned long)block);
	return r;
}

/* Was the origin written since the clean close? */
static bool origin_changed(struct dms_volume *v)
{
	u32 crcs[DMS_VOLUME_PRINTS];

	if (!v->nr_prints)
		return false;
	return take_prints(v, crcs) ||
	       memcmp(crcs, v->print_crcs, v->nr_prints * sizeof(crcs[0]));
}

static void mark_all(struct dms_volume *v, u32 flag)
{
	struct dms_copies *c = rcu_dereference_protected(v->copies, 1);
	u32 i;

	for (i = 0; i < c->nr; i++)
		c->shadow[i]->info.flags |= flag;
	v->shadows_dirty |= c->nr;
}

/* --- open and close --- */

static int alloc_all(struct dms_volume *v)
{
	size_t table_bytes = (size_t)v->cache_kib * 1024 / 4;
	struct dms_trees *trees;

	trees = kzalloc(sizeof(*trees), GFP_KERNEL);
	RCU_INIT_POINTER(v->trees, trees);
	v->table[0] = dms_table_create(v->chunk_blocks, table_bytes);
	v->table[1] = dms_table_create(v->chunk_blocks, table_bytes);
	v->cache = dms_cache_create(v, v->cache_kib / 2);
	v->alloc = dms_alloc_create(v->area_chunks);
	v->slots = kvcalloc(BITS_TO_LONGS(v->super.bitmap_pairs), sizeof(long), GFP_KERNEL);
	if (!trees || !v->table[0] || !v->table[1] || !v->cache || !v->alloc || !v->slots)
		return -ENOMEM;
	return dms_shadows_replace(v, NULL, NULL);
}

void dms_area_free(struct dms_volume *v)
{
	dms_shadows_free(v);
	kfree(rcu_dereference_protected(v->trees, 1));
	dms_table_destroy(v->table[0]);
	dms_table_destroy(v->table[1]);
	dms_cache_destroy(v->cache);
	dms_alloc_destroy(v->alloc);
	dms_bits_destroy(v->saved);
	dms_bits_destroy(v->saved_before);
	dms_bits_destroy(v->home);
	kvfree(v->slots);
	vfree(v->refs);
	dms_blocks_exit(&v->root_place);
	dms_blocks_exit(&v->shadows_place);
}

/*
 * The size the origin had at last.  The superblock tells that of a checkpoint; if the
 * origin grew after it, and copies were taken, they tell.  Growth that no copy knows of
 * need not be known here: resume takes it over again.
 */
static int take_size(struct dms_volume *v, const struct dms_config *c, char **error)
{
	struct dms_copies *copies = rcu_dereference_protected(v->copies, 1);
	u64 sectors = v->super.origin_sectors;
	u32 i;

	for (i = 0; i < copies->nr; i++)
		sectors = max(sectors, copies->shadow[i]->info.origin_sectors);
	if (c->origin_sectors < sectors) {
		*error = "Origin is smaller than the one this diff area belongs to";
		return -EINVAL;
	}
	v->super.origin_sectors = sectors;
	v->origin_sectors = sectors;
	v->origin_chunks = DIV_ROUND_UP_ULL(sectors, 1ULL << v->chunk_shift);
	*error = "Out of memory";
	v->saved = dms_bits_create(v->origin_chunks);
	return v->saved ? 0 : -ENOMEM;
}

/* A volatile area is empty at each activation; its layout keeps its place. */
static int open_volatile(struct dms_volume *v, const struct dms_config *c, char **error)
{
	u64 end = v->super.bitmap_block + 2 * v->super.bitmap_pairs;
	int r = take_size(v, c, error);

	if (r)
		return r;
	v->found = DMS_FOUND_NEW;
	return dms_alloc_claim(v->alloc, 0, DIV_ROUND_UP_ULL(end, v->chunk_blocks));
}

static int open_persistent(struct dms_volume *v, const struct dms_config *c, char **error)
{
	bool clean = v->super.flags & DMS_SUPER_CLEAN, any = false;
	int r;

	r = load_root(v, error);
	if (r)
		return r;
	v->shadows_dirty = false;	/* as loaded */
	v->generation = v->super.generation;
	v->checkpoint_seq = v->super.sequence;
	if (!clean) {
		*error = "Journal of the diff area can't be replayed";
		r = dms_replay(v, &any);
		if (r)
			return r;
	}
	r = take_size(v, c, error);
	if (r)
		return r;
	if (!clean) {
		v->found = DMS_FOUND_RECOVERED;
	} else if (origin_changed(v)) {
		DMWARN("%s: origin was written meanwhile: its shadow copies are suspect",
		       v->name);
		v->found = DMS_FOUND_CHANGED;
		mark_all(v, DMS_SHADOW_SUSPECT);
	} else {
		v->found = v->nr_prints ? DMS_FOUND_CLEAN : DMS_FOUND_NEW;
	}
	if (v->super.flags & DMS_SUPER_LOST) {
		mark_all(v, DMS_SHADOW_INVALID);
		if (v->super.flags & DMS_SUPER_MERGED)
			v->merge_shadow = 0;
	}
	v->super.flags &= ~(DMS_SUPER_LOST | DMS_SUPER_MERGED);
	if (v->merge_shadow) {
		*error = "Merge under way can't be resumed";
		r = dms_merge_load(v);
		if (r)
			return r;
	}
	dms_shadows_recount(v);

	*error = "Can't write the diff area";
	v->generation++;
	v->super.flags &= ~DMS_SUPER_CLEAN;
	r = any || v->shadows_dirty ? dms_checkpoint_replay(v, v->journal_head) :
				      dms_super_write(v);
	/*
	 * Both of them: should one be damaged later, the other must not lead back to
	 * what was before this activation, for a state that is clean perhaps.
	 */
	return r ? r : dms_super_write(v);
}

int dms_area_open(struct dms_volume *v, const struct dms_config *c, char **error)
{
	struct dms_super *s = &v->super;
	int r;

	r = read_super(v, error);
	if (!r)
		r = check_super(v, error);
	if (r)
		return r;
	v->is_volatile = s->flags & DMS_SUPER_VOLATILE;
	v->volatile_cache = bdev_write_cache(v->area);
	v->fua = bdev_fua(v->area) && !v->is_volatile;
	v->chunk_blocks = s->chunk_blocks;
	v->chunk_shift = ilog2(s->chunk_blocks) + DMS_BLOCK_SHIFT - SECTOR_SHIFT;
	v->area_chunks = dms_super_chunks(s);
	v->reserve = v->area_chunks / 64 + 8;

	*error = "Out of memory";
	r = alloc_all(v);
	if (r)
		return r;
	return v->is_volatile ? open_volatile(v, c, error) : open_persistent(v, c, error);
}

void dms_area_close(struct dms_volume *v)
{
	unsigned int noio = memalloc_noio_save();
	u32 flags = 0;

	dms_back_lock(v);
	dms_exempt_abort(v);
	if (v->mode == DMS_MODE_RW && !v->is_volatile) {
		if (!v->nr_prints)
			dms_area_set_prints(v, NULL, 0);
		if (!take_prints(v, v->print_crcs))
			flags = DMS_SUPER_CLEAN;
		dms_checkpoint(v, flags);
	}
	if (v->mode != DMS_MODE_RW)
		dms_mark_lost(v);
	dms_back_unlock(v);
	memalloc_noio_restore(noio);
}

int dms_area_resize(struct dms_volume *v)
{
	u64 blocks = bdev_nr_sectors(v->area) / DMS_BLOCK_SECTORS;
	u64 chunks = div_u64(blocks, v->chunk_blocks), old_chunks = v->area_chunks;
	u32 pairs = dms_alloc_pairs(chunks), old_pairs = v->super.bitmap_pairs, i;
	u32 bitmap_chunks = DIV_ROUND_UP(2 * pairs, v->chunk_blocks);
	bool bitmap_moves = pairs > old_pairs && !v->is_volatile;
	struct dms_op op = {};
	unsigned long *slots = NULL;
	int r;

	if (chunks < old_chunks)
		return -EINVAL;		/* only growth */
	if (chunks == old_chunks)
		return 0;
	if (bitmap_moves) {
		/* The bitmap moves to the front of what is new. */
		if (chunks - old_chunks < bitmap_chunks)
			return -ENOSPC;
		slots = kvcalloc(BITS_TO_LONGS(pairs), sizeof(long), GFP_KERNEL);
		if (!slots)
			return -ENOMEM;
	}
	/* Nothing saved may lie where the superblock on disk does not reach. */
	WRITE_ONCE(v->growing, true);
	/* No group that has not seen that is being made after this. */
	r = dms_saver_commit(v, &op);
	if (!r)
		r = dms_alloc_grow(v->alloc, chunks);
	if (r) {
		WRITE_ONCE(v->growing, false);
		kvfree(slots);
		return r;
	}
	v->super.area_blocks = chunks * v->chunk_blocks;
	WRITE_ONCE(v->area_chunks, chunks);
	v->reserve = chunks / 64 + 8;
	dms_cache_resize(v->cache);
	if (bitmap_moves) {
		WARN_ON_ONCE(dms_alloc_claim(v->alloc, old_chunks, bitmap_chunks));
		dms_alloc_free(v->alloc, div_u64(v->super.bitmap_block, v->chunk_blocks),
			       DIV_ROUND_UP(2 * old_pairs, v->chunk_blocks));
		v->super.bitmap_block = old_chunks * v->chunk_blocks;
		v->super.bitmap_pairs = pairs;
		kvfree(v->slots);
		v->slots = slots;
		for (i = 0; i < pairs; i++)
			dms_alloc_mark_dirty(v->alloc, i);
	}
	r = dms_checkpoint(v, 0);
	WRITE_ONCE(v->growing, false);
	dms_saver_wake(v);
	return r;
}
