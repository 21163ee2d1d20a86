// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Reading a diff area as activation would, see image.h.
 *
 * Activation takes the newest valid superblock, its root, and replays the
 * journal from there.  Where replay has to stop says little by itself: after a
 * power cut the last blocks, or their data, may be torn, and nobody was
 * promised them.  Something is lost only if a block further on says that what
 * replay can't reach was durable (.stable): image_journal() looks for that in
 * the whole ring.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image.h"

/* --- blocks --------------------------------------------------------------- */

int image_open(const char *path, struct image *ret)
{
	struct image *m = ret;
	int r;

	memset(m, 0, sizeof(*m));
	m->super = &m->info.super;
	m->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (m->fd < 0)
		return -errno;
	r = area_probe_fd(m->fd, &m->info);
	if (!r)
		r = area_state_errno(&m->info);
	if (r)
		return r;
	m->chunks = dms_super_chunks(m->super);
	m->chunk_blocks = m->super->chunk_blocks;
	return 0;
}

void image_close(struct image *m)
{
	if (m->fd >= 0)
		close(m->fd);
	free(m->root_data);
	free(m->root_block);
	m->fd = -1;
	m->root_data = NULL;
	m->root_block = NULL;
}

int image_read(const struct image *m, u64 addr, void *buf)
{
	return area_pread(m->fd, buf, DMS_BLOCK_SIZE, addr << DMS_BLOCK_SHIFT);
}

int image_block(const struct image *m, u64 addr, u16 type, const u32 *crc,
		void *buf, struct dms_header *ret)
{
	int r;

	if (addr >= m->super->area_blocks)
		return -EUCLEAN;
	r = image_read(m, addr, buf);
	return r ? r : dms_block_check(buf, addr, type, m->super->uuid, crc, ret);
}

/* Do chunks [@first, @last] have blocks of the @length from @block on? */
static bool overlap(const struct image *m, u64 first, u64 last, u64 block, u64 length)
{
	return first <= (block + length - 1) / m->chunk_blocks && last >= block / m->chunk_blocks;
}

/* The bitmap of an area that has grown lies anywhere. */
static bool chunks_fixed(const struct image *m, u64 first, u64 last)
{
	const struct dms_super *s = m->super;

	return overlap(m, first, last, 0, s->journal_block + s->journal_blocks) ||
	       overlap(m, first, last, s->bitmap_block, 2 * (u64)s->bitmap_pairs);
}

bool image_chunk_fixed(const struct image *m, u64 chunk)
{
	return chunks_fixed(m, chunk, chunk);
}

bool image_inside(const struct image *m, u64 block, u64 count)
{
	u64 end = m->chunks * m->chunk_blocks;

	return block < end && count && count <= end - block &&
	       !chunks_fixed(m, block / m->chunk_blocks, (block + count - 1) / m->chunk_blocks);
}

/* --- the root ------------------------------------------------------------- */

static int root_blocks(struct image *m, u64 *bad)
{
	const struct dms_disk_root_part *part;
	struct dms_pointer p = m->super->root;
	struct dms_header h;
	u8 *block;
	u32 i;
	int r = 0;

	m->root_data = malloc((size_t)m->super->root_blocks * DMS_ROOT_PART_SIZE);
	m->root_block = calloc(m->super->root_blocks, sizeof(*m->root_block));
	block = malloc(DMS_BLOCK_SIZE);
	if (!m->root_data || !m->root_block || !block)
		r = -ENOMEM;
	for (i = 0; i < m->super->root_blocks && !r; i++) {
		*bad = p.block;
		r = image_block(m, p.block, DMS_BLOCK_ROOT, &p.crc, block, &h);
		if (r)
			break;
		m->root_block[i] = p.block;
		p = dms_root_next(block);
		/* All but the last are full, and no others follow. */
		if (h.sequence > m->super->sequence || h.generation > m->super->generation ||
		    (p.block && h.count != DMS_ROOT_PART_SIZE) ||
		    !p.block != (i + 1 == m->super->root_blocks))
			r = -EUCLEAN;
		if (!r) {
			part = image_payload(block);
			memcpy(m->root_data + m->root_size, part->data, h.count);
			m->root_size += h.count;
		}
	}
	free(block);
	return r;
}

/* Cut @size bytes off the front of what is left of the root. */
static const void *root_part(const struct image *m, size_t *offset, size_t size)
{
	const void *p = m->root_data + *offset;

	if (size > m->root_size - *offset)
		return NULL;
	*offset += size;
	return p;
}

int image_load_root(struct image *m, u64 *bad)
{
	const struct dms_disk_root *d;
	size_t offset = 0;
	int r;

	*bad = m->super->root.block;
	if (!m->super->root_blocks)
		return -EUCLEAN;
	r = root_blocks(m, bad);
	if (r)
		return r;
	*bad = m->super->root.block;
	d = root_part(m, &offset, sizeof(*d));
	if (!d)
		return -EUCLEAN;
	r = dms_root_unpack(d, &m->root);
	if (!r) {
		m->refs = root_part(m, &offset, m->root.nr_shadows * sizeof(*m->refs));
		m->trees = m->refs ? root_part(m, &offset, m->root.nr_trees * sizeof(*m->trees)) :
				     NULL;
		m->prints = m->trees ? root_part(m, &offset,
						 m->root.nr_prints * sizeof(*m->prints)) : NULL;
		m->slots = m->prints ? root_part(m, &offset, (m->super->bitmap_pairs + 7) / 8) :
				       NULL;
		r = m->slots ? 0 : -EUCLEAN;
	}
	if (r) {
		memset(&m->root, 0, sizeof(m->root));
		m->refs = NULL;
		m->trees = NULL;
		m->prints = NULL;
	}
	return r;
}

int image_load_root_before(struct image *m)
{
	u64 addr = m->info.super_slot ? DMS_SUPER_A_BLOCK : DMS_SUPER_B_BLOCK, bad;
	struct dms_super *s = &m->info.super, before = { .sequence = 0 };
	u8 *block;
	int r;

	block = malloc(DMS_BLOCK_SIZE);
	if (!block)
		return -ENOMEM;
	r = image_read(m, addr, block);
	if (!r)
		r = dms_super_unpack(block, addr, &before);
	free(block);
	if (r || memcmp(before.uuid, s->uuid, sizeof(s->uuid)) ||
	    before.sequence + 1 != s->sequence || before.generation != s->generation ||
	    before.flags & (DMS_SUPER_CLEAN | DMS_SUPER_VOLATILE) ||
	    before.chunk_blocks != s->chunk_blocks || before.area_blocks != s->area_blocks ||
	    before.journal_block != s->journal_block ||
	    before.journal_blocks != s->journal_blocks ||
	    before.bitmap_block != s->bitmap_block)
		return -EUCLEAN;
	free(m->root_data);
	free(m->root_block);
	m->root_data = NULL;
	m->root_block = NULL;
	m->root_size = 0;
	s->root = before.root;
	s->root_blocks = before.root_blocks;
	/* What is in the journal counts now. */
	s->flags &= ~DMS_SUPER_CLEAN;
	return image_load_root(m, &bad);
}

u64 image_bitmap_block(const struct image *m, u32 pair)
{
	return m->super->bitmap_block + 2 * (u64)pair + (m->slots[pair / 8] >> pair % 8 & 1);
}

int image_descriptor(const struct image *m, const struct dms_disk_shadow_ref *ref,
		     struct dms_shadow_info *ret)
{
	u64 addr = le64_to_cpu(ref->block);
	u32 crc = le32_to_cpu(ref->crc);
	u8 *block;
	int r;

	block = malloc(DMS_BLOCK_SIZE);
	if (!block)
		return -ENOMEM;
	r = image_block(m, addr, DMS_BLOCK_SHADOW, &crc, block, NULL);
	if (!r)
		r = dms_shadow_unpack(image_payload(block), m->super->area_blocks, ret);
	if (!r && ret->id != le32_to_cpu(ref->id))
		r = -EUCLEAN;
	free(block);
	return r;
}

int image_verify(const struct image *m, u64 where, u32 length, const __le32 *csums)
{
	u64 blocks = (u64)length * m->chunk_blocks, first = where * m->chunk_blocks, i, n;
	const u64 most = 256;
	u8 *buf;
	int r = 0;

	buf = malloc(min(blocks, most) << DMS_BLOCK_SHIFT);
	if (!buf)
		return -ENOMEM;
	for (; blocks && !r; blocks -= n, first += n, csums += n) {
		n = min(blocks, most);
		r = area_pread(m->fd, buf, n << DMS_BLOCK_SHIFT, first << DMS_BLOCK_SHIFT);
		for (i = 0; i < n && !r; i++) {
			if (dms_crc(buf + (i << DMS_BLOCK_SHIFT), DMS_BLOCK_SIZE) !=
			    le32_to_cpu(csums[i]))
				r = -EUCLEAN;
		}
	}
	free(buf);
	return r;
}

/* --- the journal ---------------------------------------------------------- */

u64 image_journal_block(const struct image *m, u64 sequence)
{
	return m->super->journal_block + sequence % m->super->journal_blocks;
}

/* The journal block with @sequence of this generation. */
static int journal_read(const struct image *m, u64 sequence, void *buf)
{
	struct dms_header h;
	int r;

	r = image_block(m, image_journal_block(m, sequence), DMS_BLOCK_JOURNAL, NULL, buf, &h);
	if (!r && (h.sequence != sequence || h.generation != m->super->generation))
		r = -ESTALE;
	return r;
}

/* Do its records make sense?  @data: are their saves whole, too? */
static int journal_check(const struct image *m, const void *block, bool data)
{
	struct dms_record record;
	u32 pos = 0;
	int r;

	for (;;) {
		r = dms_journal_next(block, m->chunk_blocks, m->chunks, &pos, &record);
		if (r <= 0)
			return r;
		if (!data || record.type != DMS_RECORD_SAVE ||
		    record.save.kind != DMS_KIND_DATA)
			continue;
		r = image_verify(m, record.save.where, record.save.length, record.csums);
		if (r)
			return r == -ENOMEM ? r : -EILSEQ;
	}
}

/* Whole blocks of this generation at and behind j->end: what do they promise? */
static void journal_look_ahead(const struct image *m, struct image_journal *j, void *buf)
{
	u64 sequence;

	for (sequence = j->end; sequence - j->begin < m->super->journal_blocks; sequence++) {
		if (journal_read(m, sequence, buf))
			continue;
		if (dms_journal_stable(buf) > j->end && !j->lost) {
			j->lost = true;
			j->next_whole = sequence;
		}
		if (dms_journal_stable(buf) > j->stable)
			j->stable = dms_journal_stable(buf);
	}
}

/* The highest generation of all that is in the ring. */
static u64 journal_newest(const struct image *m, void *buf)
{
	const struct dms_super *s = m->super;
	struct dms_header h;
	u64 i, newest = 0;

	for (i = 0; i < s->journal_blocks; i++)
		if (!image_block(m, s->journal_block + i, DMS_BLOCK_JOURNAL, NULL, buf, &h))
			newest = max(newest, h.generation);
	return newest;
}

int image_journal(const struct image *m, struct image_journal *ret)
{
	struct image_journal j = { .begin = m->root.journal_sequence, .why = JOURNAL_END };
	u64 sequence, whole, stable;
	u8 *buf;
	int r = 0;

	buf = malloc(DMS_BLOCK_SIZE);
	if (!buf)
		return -ENOMEM;
	/* Which blocks fit ... */
	j.stable = j.begin;
	for (whole = j.begin; whole - j.begin < m->super->journal_blocks; whole++) {
		r = journal_read(m, whole, buf);
		if (r)
			break;
		stable = dms_journal_stable(buf);
		if (stable > j.stable && stable <= whole)
			j.stable = stable;
	}
	if (r == -EIO)
		j.why = JOURNAL_UNREADABLE;
	/* ... and as far as that goes, which have sense and data. */
	for (sequence = j.begin; sequence < whole; sequence++) {
		r = journal_read(m, sequence, buf);
		if (!r)
			r = journal_check(m, buf, sequence >= j.stable);
		if (r) {
			j.why = r == -EILSEQ ? JOURNAL_TORN :
				r == -EIO ? JOURNAL_UNREADABLE : JOURNAL_BAD_RECORD;
			break;
		}
	}
	j.end = sequence;
	if (r != -ENOMEM) {
		journal_look_ahead(m, &j, buf);
		j.newest = journal_newest(m, buf);
	}
	free(buf);
	if (r == -ENOMEM)
		return r;
	*ret = j;
	return 0;
}

int image_journal_each(const struct image *m, const struct image_journal *j,
		       int (*fn)(void *context, u64 sequence, const struct dms_record *r),
		       void *context)
{
	struct dms_record record;
	u64 sequence;
	u8 *buf;
	int r = 0;

	buf = malloc(DMS_BLOCK_SIZE);
	if (!buf)
		return -ENOMEM;
	for (sequence = j->begin; sequence < j->end && !r; sequence++) {
		u32 pos = 0;

		r = journal_read(m, sequence, buf);
		while (!r) {
			r = dms_journal_next(buf, m->chunk_blocks, m->chunks, &pos, &record);
			if (r <= 0)
				break;
			r = fn(context, sequence, &record);
		}
	}
	free(buf);
	return r;
}

/* --- copies --------------------------------------------------------------- */

void image_copies_free(struct image_copies *c)
{
	free(c->item);
	memset(c, 0, sizeof(*c));
}

/* Where the copy with @id is, or would be. */
static u32 copies_place(const struct image_copies *c, u32 id)
{
	u32 low = 0, high = c->count;

	while (low < high) {
		u32 middle = low + (high - low) / 2;

		if (c->item[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int copies_put(struct image_copies *c, const struct dms_shadow_info *info)
{
	u32 at = copies_place(c, info->id);

	if (at < c->count && c->item[at].id == info->id) {
		c->item[at] = *info;
		return 0;
	}
	if (c->count == DMS_MAX_SHADOWS)
		return -EUCLEAN;
	if (c->count == c->room) {
		u32 room = c->room ? 2 * c->room : 16;
		struct dms_shadow_info *item = reallocarray(c->item, room, sizeof(*item));

		if (!item)
			return -ENOMEM;
		c->item = item;
		c->room = room;
	}
	memmove(&c->item[at + 1], &c->item[at], (c->count - at) * sizeof(*c->item));
	c->item[at] = *info;
	c->count++;
	return 0;
}

static void copies_remove(struct image_copies *c, u32 id)
{
	u32 at = copies_place(c, id);

	if (at == c->count || c->item[at].id != id)
		return;
	c->count--;
	memmove(&c->item[at], &c->item[at + 1], (c->count - at) * sizeof(*c->item));
}

/* Exempt runs never go again; a record may be older than they. */
static void keep_exempt(const struct image_copies *c, struct dms_shadow_info *info)
{
	u32 at = copies_place(c, info->id);
	const struct dms_shadow_info *have = &c->item[at];

	if (at == c->count || have->id != info->id || !(have->flags & DMS_SHADOW_EXEMPT))
		return;
	info->flags |= DMS_SHADOW_EXEMPT;
	info->exempt = have->exempt;
	info->exempt_chunks = have->exempt_chunks;
}

struct replay {
	const struct image *image;
	struct image_copies *copies;
	struct dms_shadow_info *info;	/* too large for the stack of everyone */
};

static int replay_record(void *context, u64 sequence, const struct dms_record *record)
{
	struct replay *p = context;
	struct image_copies *c = p->copies;
	int r = 0;

	(void)sequence;
	switch (record->type) {
	case DMS_RECORD_SHADOW:
		if (dms_shadow_unpack(record->shadow, p->image->super->area_blocks, p->info))
			return 0;	/* check.c complains */
		keep_exempt(c, p->info);
		r = copies_put(c, p->info);
		c->epoch = max(c->epoch, record->id);
		break;
	case DMS_RECORD_DELETE:
		copies_remove(c, record->id);
		break;
	case DMS_RECORD_MERGE:
		c->merge_shadow = record->id;
		c->merge_epoch = record->id ? record->merge_epoch : 0;
		c->merge_cursor = record->id ? record->merge_cursor : 0;
		c->epoch = max(c->epoch, record->merge_epoch);
		break;
	}
	return r;
}

int image_copies(const struct image *m, const struct image_journal *j,
		 void (*damaged)(void *context, u32 id, u64 block, int error), void *context,
		 struct image_copies *ret)
{
	struct image_copies c = {
		.epoch = m->root.epoch,
		.merge_shadow = m->root.merge_shadow,
		.merge_epoch = m->root.merge_epoch,
		.merge_cursor = m->root.merge_cursor,
	};
	struct replay p = { .image = m, .copies = &c };
	u32 i;
	int r = 0;

	p.info = malloc(sizeof(*p.info));
	if (!p.info)
		return -ENOMEM;
	for (i = 0; i < m->root.nr_shadows && !r; i++) {
		r = image_descriptor(m, &m->refs[i], p.info);
		if (!r) {
			r = copies_put(&c, p.info);
		} else if (r != -ENOMEM) {
			if (damaged)
				damaged(context, le32_to_cpu(m->refs[i].id),
					le64_to_cpu(m->refs[i].block), r);
			r = 0;
		}
	}
	if (!r)
		r = image_journal_each(m, j, replay_record, &p);
	if (m->super->flags & DMS_SUPER_LOST && m->super->flags & DMS_SUPER_MERGED)
		c.merge_shadow = 0;
	free(p.info);
	if (r) {
		image_copies_free(&c);
		return r;
	}
	*ret = c;
	return 0;
}

/* --- for those who only list ---------------------------------------------- */

static void count_damaged(void *context, u32 id, u64 block, int error)
{
	u32 *count = context;

	(void)id;
	(void)block;
	(void)error;
	(*count)++;
}

int area_read_copies(const char *path, struct area_copies *ret)
{
	struct image_copies copies = { .count = 0 };
	struct image_journal journal;
	struct image m;
	u32 damaged = 0;
	u64 bad;
	int r;

	r = image_open(path, &m);
	if (!r)
		r = image_load_root(&m, &bad);
	if (!r)
		r = image_journal(&m, &journal);
	if (!r)
		r = image_copies(&m, &journal, count_damaged, &damaged, &copies);
	if (!r) {
		ret->info = m.info;
		ret->root = m.root;
		ret->root.epoch = copies.epoch;
		ret->root.merge_shadow = copies.merge_shadow;
		ret->root.merge_epoch = copies.merge_epoch;
		ret->root.merge_cursor = copies.merge_cursor;
		ret->count = copies.count;
		ret->copies = copies.item;
		ret->damaged = damaged;
	}
	image_close(&m);
	return r;
}

void area_copies_free(struct area_copies *c)
{
	free(c->copies);
	c->copies = NULL;
	c->count = 0;
}
