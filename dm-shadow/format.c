// SPDX-License-Identifier: GPL-2.0-only
#include "port.h"
#include "format-core.h"

#define CRC_SKIP	sizeof(__le32)		/* .crc does not cover itself */
#define MAX_SECTORS	(DMS_MAX_BLOCKS * DMS_BLOCK_SECTORS)

static const char super_name[16] = "dm-shadow";

u32 dms_crc(const void *data, size_t size)
{
	return ~crc32c(~0u, data, size);
}

bool dms_is_zero(const void *data, size_t size)
{
	const u64 *end = data + size;
	const u64 *p = data;

	for (; end - p >= 8; p += 8)
		if (p[0] | p[1] | p[2] | p[3] | p[4] | p[5] | p[6] | p[7])
			return false;
	for (; p < end; p++)
		if (*p)
			return false;
	return true;
}

/* Is the run of @length from @first on inside [@from, @to)? */
static bool run_inside(u64 first, u64 length, u64 from, u64 to)
{
	return length && first >= from && first < to && length <= to - first;
}

static bool runs_overlap(u64 first, u64 length, u64 first2, u64 length2)
{
	return first < first2 + length2 && first2 < first + length;
}

bool dms_exception_valid(const struct dms_exception *e, u32 chunk_blocks, u64 area_chunks)
{
	if (!run_inside(e->chunk, e->length, 0, DMS_MAX_BLOCKS))
		return false;
	switch (e->kind) {
	case DMS_KIND_DATA:
		return run_inside(e->where, e->length,
				  DIV_ROUND_UP(DMS_RESERVED_BLOCKS, chunk_blocks), area_chunks);
	case DMS_KIND_ZERO:
	case DMS_KIND_UNREADABLE:
	case DMS_KIND_HOME:
	case DMS_KIND_EXEMPT:
		return !e->where;
	default:
		return false;
	}
}

/* --- blocks --- */

u32 dms_block_seal(void *block, const struct dms_header *h, const u8 uuid[16])
{
	struct dms_disk_header *d = block;
	u32 crc;

	d->magic = cpu_to_le32(DMS_MAGIC);
	d->block = cpu_to_le64(h->block);
	memcpy(d->uuid, uuid, sizeof(d->uuid));
	d->generation = cpu_to_le64(h->generation);
	d->sequence = cpu_to_le64(h->sequence);
	d->version = cpu_to_le16(DMS_FORMAT_VERSION);
	d->type = cpu_to_le16(h->type);
	d->count = cpu_to_le32(h->count);
	d->csums = cpu_to_le32(h->csums);
	d->reserved = 0;

	crc = dms_crc(block + CRC_SKIP, DMS_BLOCK_SIZE - CRC_SKIP);
	d->crc = cpu_to_le32(crc);
	return crc;
}

/* What the counts of a header promise must be inside the block. */
static bool counts_fit(const struct dms_header *h)
{
	switch (h->type) {
	case DMS_BLOCK_JOURNAL:
		return h->count <= DMS_JOURNAL_SPACE;
	case DMS_BLOCK_ROOT:
		return h->count <= DMS_ROOT_PART_SIZE;
	case DMS_BLOCK_LEAF:
		return h->count && (u64)h->count * sizeof(struct dms_disk_entry) +
				   (u64)h->csums * sizeof(__le32) <= DMS_PAYLOAD_SIZE;
	case DMS_BLOCK_NODE:
		return h->count &&
		       h->count <= DMS_PAYLOAD_SIZE / sizeof(struct dms_disk_key);
	default:
		return true;
	}
}

int dms_block_check(const void *block, u64 addr, u16 type, const u8 uuid[16],
		    const u32 *crc, struct dms_header *ret)
{
	const struct dms_disk_header *d = block;
	struct dms_header h;

	if (le32_to_cpu(d->magic) != DMS_MAGIC)
		return -EUCLEAN;
	if (crc && le32_to_cpu(d->crc) != *crc)
		return -EUCLEAN;
	if (le32_to_cpu(d->crc) != dms_crc(block + CRC_SKIP, DMS_BLOCK_SIZE - CRC_SKIP))
		return -EUCLEAN;
	if (le16_to_cpu(d->version) != DMS_FORMAT_VERSION)
		return -EPROTONOSUPPORT;
	if (uuid && memcmp(d->uuid, uuid, sizeof(d->uuid)))
		return -ESTALE;

	h.block = le64_to_cpu(d->block);
	h.generation = le64_to_cpu(d->generation);
	h.sequence = le64_to_cpu(d->sequence);
	h.type = le16_to_cpu(d->type);
	h.count = le32_to_cpu(d->count);
	h.csums = le32_to_cpu(d->csums);
	if (h.block != addr || h.type != type || !counts_fit(&h))
		return -EUCLEAN;

	if (ret)
		*ret = h;
	return 0;
}

/* --- superblock --- */

static void pointer_pack(struct dms_disk_pointer *d, const struct dms_pointer *p)
{
	d->block = cpu_to_le64(p->block);
	d->crc = cpu_to_le32(p->crc);
	d->reserved = 0;
}

static struct dms_pointer pointer_unpack(const struct dms_disk_pointer *d)
{
	struct dms_pointer p = {
		.block = le64_to_cpu(d->block),
		.crc = le32_to_cpu(d->crc),
	};

	return p;
}

u64 dms_super_chunks(const struct dms_super *s)
{
	return div_u64(s->area_blocks, s->chunk_blocks);
}

void dms_super_pack(void *block, u64 addr, const struct dms_super *s)
{
	struct dms_header h = {
		.block = addr,
		.generation = s->generation,
		.sequence = s->sequence,
		.type = DMS_BLOCK_SUPER,
	};
	struct dms_disk_super *d = block;

	memset(d, 0, sizeof(*d));
	memcpy(d->name, super_name, sizeof(d->name));
	d->compat = cpu_to_le32(s->compat);
	d->ro_compat = cpu_to_le32(s->ro_compat);
	d->incompat = cpu_to_le32(s->incompat);
	d->flags = cpu_to_le32(s->flags);
	d->chunk_blocks = cpu_to_le32(s->chunk_blocks);
	d->bitmap_pairs = cpu_to_le32(s->bitmap_pairs);
	d->area_blocks = cpu_to_le64(s->area_blocks);
	d->journal_block = cpu_to_le64(s->journal_block);
	d->journal_blocks = cpu_to_le64(s->journal_blocks);
	d->bitmap_block = cpu_to_le64(s->bitmap_block);
	d->origin_sectors = cpu_to_le64(s->origin_sectors);
	memcpy(d->origin_id, s->origin_id, strnlen(s->origin_id, sizeof(d->origin_id) - 1));
	d->when_full = cpu_to_le32(s->when_full);
	d->full_timeout = cpu_to_le32(s->full_timeout);
	d->limit_chunks = cpu_to_le64(s->limit_chunks);
	d->low_space = cpu_to_le32(s->low_space);
	d->created = cpu_to_le64(s->created);
	pointer_pack(&d->root, &s->root);
	d->root_blocks = cpu_to_le32(s->root_blocks);
	dms_block_seal(block, &h, s->uuid);
}

bool dms_super_elsewhere(const struct dms_super *s, u64 block)
{
	return run_inside(block, 1, DMS_RESERVED_BLOCKS, s->area_blocks) &&
	       !runs_overlap(block, 1, s->journal_block, s->journal_blocks) &&
	       !runs_overlap(block, 1, s->bitmap_block, 2ULL * s->bitmap_pairs);
}

/* Does every region lie inside the area, apart from all others? */
static bool geometry_valid(const struct dms_super *s)
{
	u64 bitmap_blocks = 2ULL * s->bitmap_pairs;

	if (s->chunk_blocks < DMS_MIN_CHUNK_BLOCKS || s->chunk_blocks > DMS_MAX_CHUNK_BLOCKS ||
	    s->chunk_blocks & (s->chunk_blocks - 1))
		return false;
	if (s->area_blocks > DMS_MAX_BLOCKS)
		return false;

	if (s->journal_blocks < DMS_MIN_JOURNAL_BLOCKS ||
	    s->journal_blocks > DMS_MAX_JOURNAL_BLOCKS ||
	    !run_inside(s->journal_block, s->journal_blocks, DMS_RESERVED_BLOCKS, s->area_blocks))
		return false;
	if ((u64)s->bitmap_pairs * DMS_BITMAP_BITS < dms_super_chunks(s) ||
	    !run_inside(s->bitmap_block, bitmap_blocks, DMS_RESERVED_BLOCKS, s->area_blocks) ||
	    runs_overlap(s->bitmap_block, bitmap_blocks, s->journal_block, s->journal_blocks))
		return false;

	if (!s->root.block)
		return !s->root_blocks;
	return s->root_blocks && s->root_blocks <= DMS_MAX_ROOT_BLOCKS &&
	       dms_super_elsewhere(s, s->root.block) &&
	       s->bitmap_pairs <= (u64)s->root_blocks * DMS_BITMAP_BITS;
}

int dms_super_unpack(const void *block, u64 addr, struct dms_super *ret)
{
	const struct dms_disk_super *d = block;
	struct dms_header h;
	int err;

	err = dms_block_check(block, addr, DMS_BLOCK_SUPER, NULL, NULL, &h);
	if (err)
		return err;
	if (memcmp(d->name, super_name, sizeof(d->name)))
		return -EUCLEAN;

	memcpy(ret->uuid, d->header.uuid, sizeof(ret->uuid));
	ret->generation = h.generation;
	ret->sequence = h.sequence;
	ret->compat = le32_to_cpu(d->compat);
	ret->ro_compat = le32_to_cpu(d->ro_compat);
	ret->incompat = le32_to_cpu(d->incompat);
	ret->flags = le32_to_cpu(d->flags);
	ret->chunk_blocks = le32_to_cpu(d->chunk_blocks);
	ret->bitmap_pairs = le32_to_cpu(d->bitmap_pairs);
	ret->area_blocks = le64_to_cpu(d->area_blocks);
	ret->journal_block = le64_to_cpu(d->journal_block);
	ret->journal_blocks = le64_to_cpu(d->journal_blocks);
	ret->bitmap_block = le64_to_cpu(d->bitmap_block);
	ret->origin_sectors = le64_to_cpu(d->origin_sectors);
	memcpy(ret->origin_id, d->origin_id, sizeof(ret->origin_id));
	ret->when_full = le32_to_cpu(d->when_full);
	ret->full_timeout = min_t(u32, le32_to_cpu(d->full_timeout), DMS_MAX_FULL_TIMEOUT);
	ret->limit_chunks = le64_to_cpu(d->limit_chunks);
	ret->low_space = le32_to_cpu(d->low_space);
	ret->created = le64_to_cpu(d->created);
	ret->root = pointer_unpack(&d->root);
	ret->root_blocks = le32_to_cpu(d->root_blocks);

	if (ret->incompat & ~DMS_INCOMPAT_KNOWN)
		return -EPROTONOSUPPORT;
	if (!geometry_valid(ret) || ret->origin_sectors > MAX_SECTORS ||
	    strnlen(ret->origin_id, sizeof(ret->origin_id)) == sizeof(ret->origin_id) ||
	    ret->when_full > DMS_FULL_BLOCK || ret->low_space > 100)
		return -EUCLEAN;
	return 0;
}

/* --- root, trees, shadow copies --- */

u32 dms_root_seal(void *block, const struct dms_header *h, const struct dms_pointer *next,
		  const u8 uuid[16])
{
	struct dms_disk_root_part *part = block + sizeof(struct dms_disk_header);

	pointer_pack(&part->next, next);
	return dms_block_seal(block, h, uuid);
}

struct dms_pointer dms_root_next(const void *block)
{
	const struct dms_disk_root_part *part = block + sizeof(struct dms_disk_header);

	return pointer_unpack(&part->next);
}

void dms_root_pack(struct dms_disk_root *d, const struct dms_root *r)
{
	memset(d, 0, sizeof(*d));
	d->journal_sequence = cpu_to_le64(r->journal_sequence);
	d->epoch = cpu_to_le32(r->epoch);
	d->nr_shadows = cpu_to_le32(r->nr_shadows);
	d->nr_trees = cpu_to_le32(r->nr_trees);
	d->nr_prints = cpu_to_le32(r->nr_prints);
	d->used_chunks = cpu_to_le64(r->used_chunks);
	d->merge_shadow = cpu_to_le32(r->merge_shadow);
	d->merge_epoch = cpu_to_le32(r->merge_epoch);
	d->merge_cursor = cpu_to_le64(r->merge_cursor);
}

int dms_root_unpack(const struct dms_disk_root *d, struct dms_root *ret)
{
	ret->journal_sequence = le64_to_cpu(d->journal_sequence);
	ret->epoch = le32_to_cpu(d->epoch);
	ret->nr_shadows = le32_to_cpu(d->nr_shadows);
	ret->nr_trees = le32_to_cpu(d->nr_trees);
	ret->nr_prints = le32_to_cpu(d->nr_prints);
	ret->used_chunks = le64_to_cpu(d->used_chunks);
	ret->merge_shadow = le32_to_cpu(d->merge_shadow);
	ret->merge_epoch = le32_to_cpu(d->merge_epoch);
	ret->merge_cursor = le64_to_cpu(d->merge_cursor);

	if (ret->nr_shadows > DMS_MAX_SHADOWS || ret->nr_trees > DMS_MAX_TREES ||
	    ret->nr_prints > DMS_MAX_PRINTS || ret->used_chunks > DMS_MAX_BLOCKS)
		return -EUCLEAN;
	if (ret->merge_shadow &&
	    (ret->merge_shadow > ret->epoch || !ret->merge_epoch ||
	     ret->merge_epoch > ret->epoch || ret->merge_cursor > DMS_MAX_BLOCKS))
		return -EUCLEAN;
	return 0;
}

void dms_tree_pack(struct dms_disk_tree *d, const struct dms_tree *t)
{
	memset(d, 0, sizeof(*d));
	if (!t->depth)
		return;
	pointer_pack(&d->root, &t->root);
	d->entries = cpu_to_le64(t->entries);
	d->blocks = cpu_to_le64(t->blocks);
	d->first_chunk = cpu_to_le64(t->first_chunk);
	d->last_chunk = cpu_to_le64(t->last_chunk);
	d->min_tag = cpu_to_le32(t->min_tag);
	d->max_tag = cpu_to_le32(t->max_tag);
	d->depth = cpu_to_le32(t->depth);
}

int dms_tree_unpack(const struct dms_disk_tree *d, u64 area_blocks, struct dms_tree *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (!d->depth)
		return d->root.block || d->entries || d->blocks ? -EUCLEAN : 0;

	ret->root = pointer_unpack(&d->root);
	ret->entries = le64_to_cpu(d->entries);
	ret->blocks = le64_to_cpu(d->blocks);
	ret->first_chunk = le64_to_cpu(d->first_chunk);
	ret->last_chunk = le64_to_cpu(d->last_chunk);
	ret->min_tag = le32_to_cpu(d->min_tag);
	ret->max_tag = le32_to_cpu(d->max_tag);
	ret->depth = le32_to_cpu(d->depth);

	if (ret->depth > DMS_MAX_DEPTH ||
	    !run_inside(ret->root.block, 1, DMS_RESERVED_BLOCKS, area_blocks) ||
	    ret->blocks < ret->depth || ret->blocks > area_blocks ||
	    (ret->depth == 1 && ret->blocks != 1) || !ret->entries ||
	    ret->first_chunk > ret->last_chunk || ret->last_chunk >= DMS_MAX_BLOCKS ||
	    ret->min_tag > ret->max_tag)
		return -EUCLEAN;
	return 0;
}

void dms_shadow_pack(struct dms_disk_shadow *d, const struct dms_shadow_info *s)
{
	u32 attr_size = min_t(u32, s->attr_size, DMS_ATTR_SIZE);

	memset(d, 0, sizeof(*d));
	d->id = cpu_to_le32(s->id);
	d->flags = cpu_to_le32(s->flags);
	d->origin_sectors = cpu_to_le64(s->origin_sectors);
	d->created = cpu_to_le64(s->created);
	d->created_nsec = cpu_to_le32(s->created_nsec);
	d->set_members = cpu_to_le32(s->set_members);
	memcpy(d->uuid, s->uuid, sizeof(d->uuid));
	memcpy(d->set_uuid, s->set_uuid, sizeof(d->set_uuid));
	d->locked_until = cpu_to_le64(s->locked_until);
	d->exempt_chunks = cpu_to_le64(s->exempt_chunks);
	dms_tree_pack(&d->exempt, &s->exempt);
	d->attr_size = cpu_to_le32(attr_size);
	memcpy(d->attr, s->attr, attr_size);
}

int dms_shadow_unpack(const struct dms_disk_shadow *d, u64 area_blocks,
		      struct dms_shadow_info *ret)
{
	ret->id = le32_to_cpu(d->id);
	ret->flags = le32_to_cpu(d->flags);
	ret->origin_sectors = le64_to_cpu(d->origin_sectors);
	ret->created = le64_to_cpu(d->created);
	ret->created_nsec = le32_to_cpu(d->created_nsec);
	ret->set_members = le32_to_cpu(d->set_members);
	memcpy(ret->uuid, d->uuid, sizeof(ret->uuid));
	memcpy(ret->set_uuid, d->set_uuid, sizeof(ret->set_uuid));
	ret->locked_until = le64_to_cpu(d->locked_until);
	ret->exempt_chunks = le64_to_cpu(d->exempt_chunks);
	ret->attr_size = le32_to_cpu(d->attr_size);
	memcpy(ret->attr, d->attr, sizeof(ret->attr));

	if (!ret->id || ret->origin_sectors > MAX_SECTORS || ret->created_nsec >= 1000000000 ||
	    ret->exempt_chunks > DMS_MAX_BLOCKS || ret->attr_size > DMS_ATTR_SIZE)
		return -EUCLEAN;
	return dms_tree_unpack(&d->exempt, area_blocks, &ret->exempt);
}

/* --- journal --- */

/* Behind the header of a journal block: dms_disk_journal, then records. */
#define RECORDS		(sizeof(struct dms_disk_header) + sizeof(struct dms_disk_journal))

void dms_journal_begin(struct dms_journal_block *j, void *block)
{
	memset(block, 0, DMS_BLOCK_SIZE);
	j->block = block;
	j->used = 0;
}

/* Room for a record of @size bytes, its head filled in; NULL if there is none. */
static void *record_add(struct dms_journal_block *j, u16 type, u64 size, u32 id)
{
	struct dms_disk_record *d = j->block + RECORDS + j->used;

	if (size > DMS_JOURNAL_SPACE - j->used)
		return NULL;
	d->type = cpu_to_le16(type);
	d->size = cpu_to_le16(size);
	d->id = cpu_to_le32(id);
	j->used += size;
	return d;
}

/* Bytes of a save record. */
static u64 save_size(u8 kind, u32 length, u32 chunk_blocks)
{
	u64 csums = kind == DMS_KIND_DATA ? (u64)length * chunk_blocks : 0;

	return sizeof(struct dms_disk_save) + round_up(csums * sizeof(__le32), 8);
}

u32 dms_journal_save_max(u32 chunk_blocks)
{
	/* At least 3, with chunks of DMS_MAX_CHUNK_BLOCKS. */
	return (DMS_JOURNAL_SPACE - sizeof(struct dms_disk_save)) / sizeof(__le32) / chunk_blocks;
}

bool dms_journal_add_save(struct dms_journal_block *j, const struct dms_exception *e,
			  const __le32 *csums, u32 chunk_blocks)
{
	struct dms_disk_save *d;
	__le32 *to;
	u32 i;

	d = record_add(j, DMS_RECORD_SAVE, save_size(e->kind, e->length, chunk_blocks), e->tag);
	if (!d)
		return false;
	d->chunk = cpu_to_le64(e->chunk);
	d->length = cpu_to_le32(e->length);
	d->kind = e->kind;
	if (e->kind == DMS_KIND_DATA) {
		d->where = cpu_to_le64(e->where);
		to = (__le32 *)(d + 1);
		for (i = 0; i < e->length * chunk_blocks; i++)
			to[i] = csums[i];
	}
	return true;
}

bool dms_journal_add_shadow(struct dms_journal_block *j, const struct dms_shadow_info *s)
{
	struct dms_disk_record_shadow *d;

	d = record_add(j, DMS_RECORD_SHADOW, sizeof(*d), s->id);
	if (!d)
		return false;
	dms_shadow_pack(&d->shadow, s);
	return true;
}

bool dms_journal_add_delete(struct dms_journal_block *j, u32 id)
{
	return record_add(j, DMS_RECORD_DELETE, sizeof(struct dms_disk_record), id);
}

bool dms_journal_add_merge(struct dms_journal_block *j, u32 id, u32 epoch, u64 cursor)
{
	struct dms_disk_merge *d;

	d = record_add(j, DMS_RECORD_MERGE, sizeof(*d), id);
	if (!d)
		return false;
	d->epoch = cpu_to_le32(epoch);
	d->cursor = cpu_to_le64(cursor);
	return true;
}

u32 dms_journal_seal(struct dms_journal_block *j, u64 addr, u64 sequence,
		     u64 generation, u64 stable, const u8 uuid[16])
{
	struct dms_header h = {
		.block = addr,
		.generation = generation,
		.sequence = sequence,
		.type = DMS_BLOCK_JOURNAL,
		.count = j->used,
	};
	struct dms_disk_journal *d = j->block + sizeof(struct dms_disk_header);

	d->stable = cpu_to_le64(stable);
	return dms_block_seal(j->block, &h, uuid);
}

u64 dms_journal_stable(const void *block)
{
	const struct dms_disk_journal *d = block + sizeof(struct dms_disk_header);

	return le64_to_cpu(d->stable);
}

static int save_decode(const struct dms_disk_record *record, u32 size, u32 chunk_blocks,
		       u64 area_chunks, struct dms_record *ret)
{
	const struct dms_disk_save *d = (const void *)record;

	if (size < sizeof(*d))
		return -EUCLEAN;
	ret->save.chunk = le64_to_cpu(d->chunk);
	ret->save.where = le64_to_cpu(d->where);
	ret->save.length = le32_to_cpu(d->length);
	ret->save.tag = ret->id;
	ret->save.kind = d->kind;
	if (!dms_exception_valid(&ret->save, chunk_blocks, area_chunks) ||
	    d->kind == DMS_KIND_EXEMPT || !ret->id ||
	    size != save_size(d->kind, ret->save.length, chunk_blocks))
		return -EUCLEAN;
	if (d->kind == DMS_KIND_DATA)
		ret->csums = (const __le32 *)(d + 1);
	return 0;
}

static int shadow_decode(const struct dms_disk_record *record, u32 size, struct dms_record *ret)
{
	const struct dms_disk_record_shadow *d = (const void *)record;

	if (size != sizeof(*d) || !ret->id || d->shadow.id != record->id)
		return -EUCLEAN;
	ret->shadow = &d->shadow;
	return 0;
}

static int merge_decode(const struct dms_disk_record *record, u32 size, struct dms_record *ret)
{
	const struct dms_disk_merge *d = (const void *)record;

	if (size != sizeof(*d))
		return -EUCLEAN;
	ret->merge_epoch = le32_to_cpu(d->epoch);
	ret->merge_cursor = le64_to_cpu(d->cursor);
	if (ret->merge_cursor > DMS_MAX_BLOCKS || (ret->id && !ret->merge_epoch))
		return -EUCLEAN;
	return 0;
}

static int record_decode(const struct dms_disk_record *d, u32 size, u32 chunk_blocks,
			 u64 area_chunks, struct dms_record *ret)
{
	switch (ret->type) {
	case DMS_RECORD_SAVE:
		return save_decode(d, size, chunk_blocks, area_chunks, ret);
	case DMS_RECORD_SHADOW:
		return shadow_decode(d, size, ret);
	case DMS_RECORD_DELETE:
		return size == sizeof(*d) && ret->id ? 0 : -EUCLEAN;
	case DMS_RECORD_MERGE:
		return merge_decode(d, size, ret);
	default:
		return -EUCLEAN;
	}
}

int dms_journal_next(const void *block, u32 chunk_blocks, u64 area_chunks,
		     u32 *pos, struct dms_record *ret)
{
	const struct dms_disk_header *header = block;
	const struct dms_disk_record *d = block + RECORDS + *pos;
	u32 used = le32_to_cpu(header->count);
	u32 size;
	int err;

	if (used > DMS_JOURNAL_SPACE || used % 8)
		return -EUCLEAN;
	if (*pos >= used)
		return 0;
	size = le16_to_cpu(d->size);
	if (size < sizeof(*d) || size % 8 || size > used - *pos)
		return -EUCLEAN;

	memset(ret, 0, sizeof(*ret));
	ret->type = le16_to_cpu(d->type);
	ret->id = le32_to_cpu(d->id);
	err = record_decode(d, size, chunk_blocks, area_chunks, ret);
	if (err)
		return err;
	*pos += size;
	return 1;
}
