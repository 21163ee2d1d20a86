/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A diff area in memory, and what each copy in it shows: chunk by chunk, as the
 * writes went.  Two checkpoints of one activation, one in each superblock, and a
 * journal from before the first to the present.
 *
 * Knows the engine's formats and builder, and nothing of what it is to test.
 */
#ifndef REPAIR_MODEL_H
#define REPAIR_MODEL_H

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "area.h"
#include "image.h"
#include "index.h"

#define CHUNKS		1500		/* of the origin */
#define MAX_COPIES	8
#define ZERO_VERSION	0		/* reads as zeros */
#define NO_VERSION	(~0u)		/* gives an error */

struct save {
	struct dms_exception e;
	__le32 csums[4];
};

struct model_copy {
	struct dms_shadow_info info;
	u32 version[CHUNKS];		/* that it shows */
	u64 block;			/* of the descriptor */
	bool deleted;
};

struct model {
	int fd;
	u8 *data;
	u64 bytes;
	char path[64];
	u32 cb;
	struct dms_super super[2];	/* of A, the older, and B */
	struct dms_root root[2];
	u64 next;			/* area chunk */
	u64 block, left;		/* of a chunk of metadata */
	u64 old, old_end;		/* chunks of the older root and its descriptors alone */
	u64 meta[1024];			/* of the newer checkpoint, and the journal */
	u32 nr_meta;
	struct dms_tree tree[8];
	u32 nr_trees;
	struct save *save;		/* since the last checkpoint */
	u32 nr_saves;
	u64 sequence;			/* of the next journal block */
	u32 version[CHUNKS];		/* of the origin */
	u32 saved[CHUNKS];		/* highest tag */
	u32 counter, epoch;
	struct model_copy copy[MAX_COPIES];
	u32 nr_copies;
	struct dms_sink sink;
};

static u64 model_random = 1;

static u64 rnd(u64 below)
{
	model_random ^= model_random << 13;
	model_random ^= model_random >> 7;
	model_random ^= model_random << 17;
	return model_random % below;
}

#define must(c)								\
do {									\
	if (!(c)) {							\
		printf("FAIL: %s:%d: %s\n", __FILE__, __LINE__, #c);	\
		exit(1);						\
	}								\
} while (0)

static inline u8 *block_at(struct model *m, u64 block)
{
	must(block << DMS_BLOCK_SHIFT < m->bytes);
	return m->data + (block << DMS_BLOCK_SHIFT);
}

static u64 take_block(struct model *m)
{
	if (!m->left) {
		m->block = m->next++ * m->cb;
		m->left = m->cb;
	}
	m->left--;
	must(m->nr_meta < ARRAY_SIZE(m->meta));
	m->meta[m->nr_meta++] = m->block;
	return m->block++;
}

static u64 model_alloc(struct dms_sink *s)
{
	return take_block(container_of(s, struct model, sink));
}

static int model_write(struct dms_sink *s, u64 addr, const void *block)
{
	memcpy(block_at(container_of(s, struct model, sink), addr), block, DMS_BLOCK_SIZE);
	return 0;
}

static u32 model_seal(struct model *m, u64 addr, u64 sequence, u16 type, u32 count)
{
	struct dms_header h = { .block = addr, .generation = 2, .sequence = sequence,
				.type = type, .count = count };

	return dms_block_seal(block_at(m, addr), &h, m->super[1].uuid);
}

/* --- history --------------------------------------------------------------- */

static void journal_block(struct model *m, const struct save *save,
			  const struct dms_shadow_info *info, u32 deleted)
{
	u64 addr = m->super[1].journal_block + m->sequence % m->super[1].journal_blocks;
	struct dms_journal_block j;

	dms_journal_begin(&j, block_at(m, addr));
	if (save)
		must(dms_journal_add_save(&j, &save->e, save->csums, m->cb));
	if (info)
		must(dms_journal_add_shadow(&j, info));
	if (deleted)
		must(dms_journal_add_delete(&j, deleted));
	dms_journal_seal(&j, addr, m->sequence, 2, m->sequence, m->super[1].uuid);
	m->sequence++;
	must(m->sequence < m->super[1].journal_blocks);
}

static void fill_chunk(struct model *m, u8 *to, u64 chunk, u32 version)
{
	u32 i;

	for (i = 0; i < m->cb; i++, to += DMS_BLOCK_SIZE) {
		memcpy(to, &chunk, 8);
		memcpy(to + 8, &version, 4);
	}
}

/* The origin is written: save first what the newest copy needs. */
static void overwrite(struct model *m, u64 chunk)
{
	struct save *s = &m->save[m->nr_saves];
	u32 i;

	if (m->saved[chunk] < m->epoch) {
		*s = (struct save){ .e = { .chunk = chunk, .length = 1, .tag = m->epoch } };
		s->e.kind = m->version[chunk] == ZERO_VERSION ? DMS_KIND_ZERO : DMS_KIND_DATA;
		if (s->e.kind == DMS_KIND_DATA) {
			s->e.where = m->next++;
			fill_chunk(m, block_at(m, s->e.where * m->cb), chunk, m->version[chunk]);
			for (i = 0; i < m->cb; i++)
				s->csums[i] = cpu_to_le32(dms_crc(block_at(m, s->e.where * m->cb + i),
								  DMS_BLOCK_SIZE));
		}
		m->saved[chunk] = m->epoch;
		journal_block(m, s, NULL, 0);
		m->nr_saves++;
	}
	m->version[chunk] = rnd(9) ? ++m->counter : ZERO_VERSION;
}

static void overwrite_some(struct model *m, u32 nr, bool journalled)
{
	u64 chunk = rnd(CHUNKS);

	/* What is to be in trees alone would fill the ring. */
	while (nr--) {
		u64 sequence = m->sequence;

		overwrite(m, chunk);
		if (!journalled)
			m->sequence = sequence;
		chunk = (chunk + 1 + rnd(6)) % CHUNKS;
	}
}

static void take_copy(struct model *m, bool exempt)
{
	struct model_copy *c = &m->copy[m->nr_copies++];
	struct dms_exception e = { .kind = DMS_KIND_EXEMPT };
	struct dms_builder *b;
	u32 i;

	memset(c, 0, sizeof(*c));
	memcpy(c->version, m->version, sizeof(m->version));
	c->info.id = ++m->epoch;
	c->info.origin_sectors = (u64)CHUNKS * m->cb * DMS_BLOCK_SECTORS;
	c->info.set_members = 1;
	memset(c->info.uuid, (int)c->info.id, 16);
	memset(c->info.set_uuid, 100 + (int)c->info.id, 16);
	if (!exempt)
		return;
	b = dms_builder_create(&m->sink);
	e.tag = c->info.id;
	for (e.chunk = 1; e.chunk + 4 < CHUNKS; e.chunk += 5 + rnd(4)) {
		e.length = 1 + (u32)rnd(3);
		must(!dms_builder_add(b, &e, NULL));
		c->info.exempt_chunks += e.length;
		for (i = 0; i < e.length; i++)
			c->version[e.chunk + i] = ZERO_VERSION;
	}
	must(!dms_builder_finish(b, &c->info.exempt));
	dms_builder_destroy(b);
	c->info.flags = DMS_SHADOW_EXEMPT;
}

/* --- checkpoints ------------------------------------------------------------ */

static int by_position(const void *a, const void *b)
{
	const struct save *s = a, *t = b;

	if (s->e.chunk != t->e.chunk)
		return s->e.chunk < t->e.chunk ? -1 : 1;
	return s->e.tag < t->e.tag ? -1 : s->e.tag > t->e.tag;
}

static void write_index(struct model *m)
{
	struct dms_builder *b = dms_builder_create(&m->sink);
	u32 i;

	qsort(m->save, m->nr_saves, sizeof(*m->save), by_position);
	for (i = 0; i < m->nr_saves; i++)
		must(!dms_builder_add(b, &m->save[i].e, m->save[i].csums));
	must(!dms_builder_finish(b, &m->tree[m->nr_trees++]));
	dms_builder_destroy(b);
	m->nr_saves = 0;
}

/* Into superblock @slot, its root and the bitmap's blocks of that number. */
static void checkpoint(struct model *m, u32 slot)
{
	struct dms_super *s = &m->super[slot];
	struct dms_disk_shadow_ref *ref;
	struct dms_root *root = &m->root[slot];
	u32 i, crc;
	u8 *p, *bits;
	u64 addr, n;

	write_index(m);
	s->sequence = 6 + slot;
	m->left = 0;
	m->old = slot ? m->old : m->next;
	addr = take_block(m);
	s->root.block = addr;
	s->root_blocks = 1;
	p = block_at(m, addr) + 80 + sizeof(struct dms_disk_root);
	for (i = 0; i < m->nr_copies; i++) {
		ref = (struct dms_disk_shadow_ref *)p + i;
		m->copy[i].block = take_block(m);
		dms_shadow_pack((void *)(block_at(m, m->copy[i].block) + 64), &m->copy[i].info);
		crc = model_seal(m, m->copy[i].block, s->sequence, DMS_BLOCK_SHADOW, 1);
		*ref = (struct dms_disk_shadow_ref){ cpu_to_le32(m->copy[i].info.id),
						     cpu_to_le32(crc),
						     cpu_to_le64(m->copy[i].block) };
	}
	m->left = 0;
	m->old_end = slot ? m->old_end : m->next;
	*root = (struct dms_root){ .journal_sequence = m->sequence, .epoch = m->epoch,
				   .nr_shadows = m->nr_copies, .nr_trees = m->nr_trees,
				   .used_chunks = m->next -
						  (slot ? m->old_end - m->old : 0) };
	dms_root_pack((struct dms_disk_root *)(p - sizeof(struct dms_disk_root)), root);
	p += m->nr_copies * sizeof(*ref);
	for (i = 0; i < m->nr_trees; i++, p += sizeof(struct dms_disk_tree))
		dms_tree_pack((struct dms_disk_tree *)p, &m->tree[i]);
	*p++ = slot ? 0xff : 0;
	must(s->bitmap_pairs == 1);
	s->root.crc = model_seal(m, addr, s->sequence, DMS_BLOCK_ROOT,
				 (u32)(p - block_at(m, addr) - 80));
	bits = block_at(m, s->bitmap_block + slot) + 64;
	memset(bits, 0, DMS_PAYLOAD_SIZE);
	for (n = 0; n < m->next; n++)
		if (!slot || n < m->old || n >= m->old_end)
			bits[n / 8] |= 1u << n % 8;
	model_seal(m, s->bitmap_block + slot, s->sequence, DMS_BLOCK_BITMAP, DMS_PAYLOAD_SIZE);
	dms_super_pack(block_at(m, slot ? DMS_SUPER_B_BLOCK : DMS_SUPER_A_BLOCK),
		       slot ? DMS_SUPER_B_BLOCK : DMS_SUPER_A_BLOCK, s);
}

static void model_build(struct model *m, u32 cb)
{
	struct area_params p;

	memset(m, 0, sizeof(*m));
	m->cb = cb;
	m->bytes = (u64)6000 * cb * DMS_BLOCK_SIZE;
	m->fd = memfd_create("area", MFD_CLOEXEC);
	must(m->fd >= 0 && !ftruncate(m->fd, (off_t)m->bytes));
	m->data = mmap(NULL, m->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	must(m->data != MAP_FAILED);
	snprintf(m->path, sizeof(m->path), "/proc/self/fd/%d", m->fd);
	m->save = calloc(4 * CHUNKS, sizeof(*m->save));
	area_params_init(&p);
	p.chunk_blocks = cb;
	p.journal_blocks = 512;
	p.origin_sectors = (u64)CHUNKS * cb * DMS_BLOCK_SECTORS;
	p.created = 1700000000;
	must(!area_format(m->fd, &p, &m->super[0]));
	m->super[0].generation = 2;
	m->super[0].flags = 0;
	m->super[1] = m->super[0];
	m->sink = (struct dms_sink){ .alloc = model_alloc, .write = model_write,
				     .chunk_blocks = cb, .generation = 2, .sequence = 6 };
	memcpy(m->sink.uuid, m->super[0].uuid, 16);
	m->next = m->super[0].root.block / cb;
	m->sequence = 3;

	overwrite_some(m, 400, false);		/* no copy yet: nothing is saved */
	take_copy(m, false);
	overwrite_some(m, 500, false);
	take_copy(m, true);
	overwrite_some(m, 600, false);
	take_copy(m, false);
	overwrite_some(m, 500, false);
	write_index(m);				/* several leaves, tags 1 to 3 */
	take_copy(m, true);
	overwrite_some(m, 500, false);
	checkpoint(m, 0);
	overwrite_some(m, 100, true);
	take_copy(m, false);
	journal_block(m, NULL, &m->copy[m->nr_copies - 1].info, 0);
	overwrite_some(m, 60, true);
	checkpoint(m, 1);
	overwrite_some(m, 40, true);
	take_copy(m, false);
	journal_block(m, NULL, &m->copy[m->nr_copies - 1].info, 0);
	m->copy[0].deleted = true;
	journal_block(m, NULL, NULL, m->copy[0].info.id);
	overwrite_some(m, 60, true);
}

static void model_free(struct model *m)
{
	munmap(m->data, m->bytes);
	close(m->fd);
	free(m->save);
}

/* --- reading as the kernel does ---------------------------------------------- */

struct reader {
	struct dms_source source;
	struct model *m;
	struct image image;
	struct image_journal journal;
	struct image_copies copies;
	struct dms_tree tree[64];
	struct save *save;
	u32 nr_saves;
};

static const void *reader_get(struct dms_source *s, struct dms_pointer p, u16 type)
{
	struct reader *r = container_of(s, struct reader, source);
	const u8 *block = block_at(r->m, p.block);

	return dms_block_check(block, p.block, type, r->m->super[0].uuid, &p.crc, NULL) ?
	       ERR_PTR(-EUCLEAN) : block;
}

static void reader_put(struct dms_source *s, const void *block)
{
	(void)s;
	(void)block;
}

static int reader_save(void *context, u64 sequence, const struct dms_record *rec)
{
	struct reader *r = context;

	(void)sequence;
	if (rec->type == DMS_RECORD_SAVE) {
		r->save[r->nr_saves].e = rec->save;
		if (rec->csums)
			memcpy(r->save[r->nr_saves].csums, rec->csums, r->m->cb * 4);
		r->nr_saves++;
	}
	return 0;
}

/* 0 if the kernel would activate it. */
static int reader_open(struct reader *r, struct model *m)
{
	u64 bad;
	u32 i;
	int rc;

	memset(r, 0, sizeof(*r));
	r->m = m;
	r->source = (struct dms_source){ .get = reader_get, .put = reader_put,
					 .chunk_blocks = m->cb,
					 .area_chunks = dms_super_chunks(&m->super[0]) };
	r->save = calloc(1000, sizeof(*r->save));
	rc = image_open(m->path, &r->image);
	if (!rc)
		rc = image_load_root(&r->image, &bad);
	if (!rc)
		rc = image_journal(&r->image, &r->journal);
	if (!rc)
		rc = image_copies(&r->image, &r->journal, NULL, NULL, &r->copies);
	if (!rc)
		rc = image_journal_each(&r->image, &r->journal, reader_save, r);
	for (i = 0; !rc && i < r->image.root.nr_trees; i++)
		rc = dms_tree_unpack(&r->image.trees[i], r->image.super->area_blocks, &r->tree[i]);
	return rc;
}

static void reader_close(struct reader *r)
{
	image_copies_free(&r->copies);
	image_close(&r->image);
	free(r->save);
}

/* How many trees have an exception of @chunk with just @tag?  Of two, a join keeps any. */
static u32 reader_exact(struct reader *r, u32 tag, u64 chunk)
{
	struct dms_exception e;
	u32 i, nr = 0;

	for (i = 0; i < r->image.root.nr_trees; i++)
		nr += dms_tree_find(&r->source, &r->tree[i], chunk, tag, 1, &e, NULL) == 1 &&
		      e.tag == tag;
	return nr;
}

/* The version that @info shows at @chunk, or NO_VERSION. */
static u32 reader_version(struct reader *r, const struct dms_shadow_info *info, u64 chunk)
{
	struct save best = { .e = { .tag = 0 } }, s;
	u64 where_chunk;
	u32 i, version;
	u8 *p;
	int rc;

	if (info->flags & DMS_SHADOW_EXEMPT) {
		rc = dms_tree_find(&r->source, &info->exempt, chunk, 0, 1, &s.e, NULL);
		if (rc)
			return rc < 0 ? NO_VERSION : ZERO_VERSION;
	}
	for (i = 0; i < r->nr_saves; i++)
		if (r->save[i].e.chunk == chunk && r->save[i].e.tag >= info->id &&
		    (!best.e.tag || r->save[i].e.tag < best.e.tag))
			best = r->save[i];
	for (i = 0; i < r->image.root.nr_trees; i++) {
		rc = dms_tree_find(&r->source, &r->tree[i], chunk, info->id, 1, &s.e, s.csums);
		if (rc < 0)
			return NO_VERSION;
		if (rc && (!best.e.tag || s.e.tag < best.e.tag))
			best = s;
	}
	if (!best.e.tag)
		return r->m->version[chunk];
	if (best.e.kind == DMS_KIND_ZERO)
		return ZERO_VERSION;
	if (best.e.kind != DMS_KIND_DATA)
		return NO_VERSION;
	for (i = 0; i < r->m->cb; i++) {
		p = block_at(r->m, best.e.where * r->m->cb + i);
		if (dms_crc(p, DMS_BLOCK_SIZE) != le32_to_cpu(best.csums[i]))
			return NO_VERSION;
	}
	p = block_at(r->m, best.e.where * r->m->cb);
	memcpy(&where_chunk, p, 8);
	memcpy(&version, p + 8, 4);
	return where_chunk == chunk ? version : NO_VERSION - 1;
}

#endif
