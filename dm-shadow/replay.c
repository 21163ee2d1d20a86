// SPDX-License-Identifier: GPL-2.0-only
/*
 * Replay: what became durable since the last checkpoint.
 *
 *   1. follow the journal from the root's sequence while blocks fit; the
 *      highest .stable among them says which are beyond doubt;
 *   2. of the others (the last group before the crash, or two) read the data they
 *      name: the journal ends before the first block where a checksum differs
 *      (I4).  Writes that depend on it were not released (I1, I2);
 *   3. apply what remains.
 *
 * If the table can't take it all, as it was larger in the last activation,
 * checkpoints are made on the way; for them to find free space, all that the
 * journal names is claimed first.
 */
#include "volume.h"

#define WINDOW	256		/* blocks read at once */

struct replay {
	struct dms_volume *v;
	u64 first, nr;		/* sequences in the window */
	void *window;
	void *data;		/* of one save */
	bool lost;		/* part of the journal is damaged */
};

/* The block with @sequence, or an error; valid until the next call. */
static const void *journal_block(struct replay *p, u64 sequence)
{
	struct dms_super *s = &p->v->super;
	u64 slot;
	int r;

	if (sequence - p->first >= p->nr) {
		div64_u64_rem(sequence, s->journal_blocks, &slot);
		p->first = sequence;
		p->nr = min_t(u64, WINDOW, s->journal_blocks - slot);
		r = dms_io_read(p->v->area, s->journal_block + slot, p->nr, p->window);
		if (r) {
			p->nr = 0;
			return ERR_PTR(r);
		}
	}
	return p->window + (sequence - p->first) * DMS_BLOCK_SIZE;
}

static bool fits(struct replay *p, const void *block, u64 sequence)
{
	struct dms_super *s = &p->v->super;
	struct dms_header h;
	u64 slot;

	div64_u64_rem(sequence, s->journal_blocks, &slot);
	return !dms_block_check(block, s->journal_block + slot, DMS_BLOCK_JOURNAL, s->uuid,
				NULL, &h) &&
	       h.sequence == sequence && h.generation == p->v->generation;
}

/* Call @fn for each record from @from to before @to. */
static int each_record(struct replay *p, u64 from, u64 to,
		       int (*fn)(struct replay *p, u64 sequence, const struct dms_record *rec))
{
	struct dms_record rec;
	const void *block;
	u32 pos;
	int r;

	for (; from < to; from++) {
		block = journal_block(p, from);
		if (IS_ERR(block))
			return PTR_ERR(block);
		pos = 0;
		while ((r = dms_journal_next(block, p->v->chunk_blocks, p->v->area_chunks,
					     &pos, &rec)) > 0) {
			r = fn(p, from, &rec);
			if (r)
				return r;
			/* fn may have moved the window on */
			block = journal_block(p, from);
			if (IS_ERR(block))
				return PTR_ERR(block);
		}
		if (r)
			return r;
	}
	return 0;
}

/* 1 if the data of a save is not what its checksums say. */
static int torn(struct replay *p, u64 sequence, const struct dms_record *rec)
{
	struct dms_volume *v = p->v;
	u32 nr, i;
	int r;

	if (rec->type != DMS_RECORD_SAVE || rec->save.kind != DMS_KIND_DATA)
		return 0;
	nr = rec->save.length * v->chunk_blocks;
	r = dms_io_read(v->area, rec->save.where * v->chunk_blocks, nr, p->data);
	if (r)
		return r;
	for (i = 0; i < nr; i++)
		if (dms_crc(p->data + i * DMS_BLOCK_SIZE, DMS_BLOCK_SIZE) !=
		    le32_to_cpu(rec->csums[i]))
			return 1;
	return 0;
}

/*
 * Nothing fits at @sequence: is that the end, or was there a block that is
 * damaged?  Then one behind it says that everything before itself was durable.
 */
static int is_gap(struct replay *p, u64 sequence)
{
	struct dms_super *s = &p->v->super;
	const void *block;
	u64 i;

	for (i = sequence + 1; i < sequence + s->journal_blocks; i++) {
		block = journal_block(p, i);
		if (IS_ERR(block))
			return PTR_ERR(block);
		if (fits(p, block, i) && dms_journal_stable(block) > sequence)
			return 1;
	}
	return 0;
}

/* Where does the journal that counts end? */
static int find_end(struct replay *p, u64 from, u64 *end)
{
	u64 stable = from, sequence = from;
	const void *block;
	int r;

	/* A ring holds each sequence once. */
	for (; sequence - from < p->v->super.journal_blocks; sequence++) {
		block = journal_block(p, sequence);
		if (IS_ERR(block))
			return PTR_ERR(block);
		if (!fits(p, block, sequence))
			break;
		stable = max(stable, dms_journal_stable(block));
	}
	r = is_gap(p, sequence);
	if (r < 0)
		return r;
	if (r) {
		DMERR("%s: journal block %llu is damaged: all shadow copies are lost",
		      p->v->name, (unsigned long long)sequence);
		p->lost = true;
	}
	for (*end = min(stable, sequence); *end < sequence; ++*end) {
		r = each_record(p, *end, *end + 1, torn);
		if (r == 1)
			break;
		if (r)
			return r;
	}
	return 0;
}

static int claim(struct replay *p, u64 sequence, const struct dms_record *rec)
{
	const struct dms_exception *e = &rec->save;
	struct dms_volume *v = p->v;
	u32 i;

	if (rec->type != DMS_RECORD_SAVE || e->kind != DMS_KIND_DATA)
		return 0;
	/* The bitmap may know of it already: it is written after the root's sequence. */
	for (i = 0; i < e->length; i++)
		if (!dms_alloc_is_live(v->alloc, e->where + i))
			if (dms_alloc_claim(v->alloc, e->where + i, 1))
				return -EUCLEAN;
	return 0;
}

static int apply_shadow(struct dms_volume *v, const struct dms_record *rec)
{
	struct dms_shadow_info *info = kmalloc(sizeof(*info), GFP_KERNEL);
	struct dms_shadow *s;
	int r;

	if (!info)
		return -ENOMEM;
	r = dms_shadow_unpack(rec->shadow, v->super.area_blocks, info);
	if (r)
		goto out;
	v->shadows_dirty = true;
	v->epoch = max(v->epoch, info->id);
	s = dms_shadow_find(v, info->id);
	if (s) {
		/* Exempt runs never go again; the record may be older than they. */
		if (s->info.flags & DMS_SHADOW_EXEMPT) {
			info->flags |= DMS_SHADOW_EXEMPT;
			info->exempt = s->info.exempt;
			info->exempt_chunks = s->info.exempt_chunks;
		}
		s->info = *info;
		goto out;
	}
	s = dms_shadow_alloc(v, info);
	r = s ? dms_shadows_replace(v, s, NULL) : -ENOMEM;
	if (r)
		kfree(s);
out:
	kfree(info);
	return r;
}

static int apply_delete(struct dms_volume *v, u32 id)
{
	struct dms_shadow *s = dms_shadow_find(v, id);
	int r;

	if (!s)
		return 0;
	r = dms_shadows_replace(v, NULL, s);
	if (r)
		return r;
	dms_tree_gone(v, &s->info.exempt);
	list_add(&s->dead_list, &v->dead);
	v->shadows_dirty = true;
	v->reclaim = true;
	return 0;
}

static int apply_save(struct replay *p, u64 sequence, const struct dms_record *rec)
{
	struct dms_table *t = p->v->table[p->v->active];
	struct dms_record one = *rec;
	u32 i;
	int r;

	one.save.length = 1;
	for (i = 0; i < rec->save.length; i++) {
		if (!dms_table_knows(t, &one.save)) {
			r = claim(p, sequence, &one);
			if (r)
				return r;
			if (!dms_table_add(t, &one.save, one.csums))
				return -ENOSPC;
		}
		one.save.chunk++;
		if (one.save.kind == DMS_KIND_DATA) {
			one.save.where++;
			one.csums += p->v->chunk_blocks;
		}
	}
	return 0;
}

static int apply(struct replay *p, u64 sequence, const struct dms_record *rec)
{
	struct dms_volume *v = p->v;

	switch (rec->type) {
	case DMS_RECORD_SAVE:
		return apply_save(p, sequence, rec);
	case DMS_RECORD_SHADOW:
		return apply_shadow(v, rec);
	case DMS_RECORD_DELETE:
		return apply_delete(v, rec->id);
	case DMS_RECORD_MERGE:
		v->merge_shadow = rec->id;
		v->merge_cursor = rec->merge_cursor;
		if (rec->id) {
			v->merge_epoch = rec->merge_epoch;
			v->epoch = max(v->epoch, rec->merge_epoch);
		}
		return 0;
	}
	return -EUCLEAN;
}

/* Chunks that the saves of one block add to a table, at most. */
static u32 block_chunks(struct replay *p, const void *block)
{
	struct dms_record rec;
	u32 pos = 0, n = 0;

	while (dms_journal_next(block, p->v->chunk_blocks, p->v->area_chunks, &pos, &rec) > 0)
		if (rec.type == DMS_RECORD_SAVE)
			n += rec.save.length;
	return n;
}

static int apply_all(struct replay *p, u64 from, u64 end)
{
	struct dms_volume *v = p->v;
	bool claimed = false;
	const void *block;
	u64 sequence;
	int r;

	for (sequence = from; sequence < end; sequence++) {
		block = journal_block(p, sequence);
		if (IS_ERR(block))
			return PTR_ERR(block);
		if (block_chunks(p, block) > dms_table_room(v->table[v->active])) {
			r = claimed ? 0 : each_record(p, sequence, end, claim);
			claimed = true;
			if (!r)
				r = dms_checkpoint_replay(v, sequence);
			if (r)
				return r;
		}
		r = each_record(p, sequence, sequence + 1, apply);
		if (r)
			return r;
	}
	return 0;
}

int dms_replay(struct dms_volume *v, bool *any)
{
	struct replay p = { .v = v };
	u64 from = v->journal_tail, end;
	int r = -ENOMEM;

	p.window = vmalloc(WINDOW * DMS_BLOCK_SIZE);
	p.data = vmalloc(dms_journal_save_max(v->chunk_blocks) * v->chunk_blocks *
			 DMS_BLOCK_SIZE);
	if (p.window && p.data)
		r = find_end(&p, from, &end);
	if (!r)
		r = apply_all(&p, from, end);
	if (!r) {
		v->journal_head = end;
		*any = end > from || p.lost;
		if (p.lost)
			v->super.flags |= DMS_SUPER_LOST;
	}
	vfree(p.window);
	vfree(p.data);
	return r;
}
