// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A checkpoint written offline, see rebuild.h.
 *
 *   1. trees, by the caller through .sink, then descriptors and root, into
 *      free space
 *   2. the bitmap, made anew from what 1 names; of a pair that changes, the block
 *      that is not current
 *   3. a flush
 *   4. the new superblock in the place of the one that is not used, a flush
 *   5. once more in the other place, a flush: nothing leads to the old state
 *
 * A crash before 4 changes nothing, one before 5 nothing that counts.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rebuild.h"
#include "scan.h"

/* --- space ---------------------------------------------------------------- */

static int load_marked(struct rebuild *b)
{
	const struct image *m = b->image;
	u32 pair;
	u8 *block;
	int r = 0;

	block = malloc(DMS_BLOCK_SIZE);
	if (!block)
		return -ENOMEM;
	for (pair = 0; pair < b->marked.pages && !r; pair++) {
		u8 **page = &b->marked.page[pair];

		*page = malloc(DMS_PAYLOAD_SIZE);
		if (!*page)
			r = -ENOMEM;
		else if (image_block(m, image_bitmap_block(m, pair), DMS_BLOCK_BITMAP, NULL,
				     block, NULL))
			memset(*page, 0xff, DMS_PAYLOAD_SIZE);
		else
			memcpy(*page, image_payload(block), DMS_PAYLOAD_SIZE);
	}
	free(block);
	return r;
}

/*
 * What is marked and named by nobody is taken last: it may be all there is left
 * of what a damaged block led to.
 */
int rebuild_chunk(struct rebuild *b, u64 *ret)
{
	u64 chunk;

	for (;; b->next = 0, b->all = true) {
		for (chunk = b->next; chunk < b->image->chunks; chunk++) {
			if (bitset_test(&b->used, chunk) || image_chunk_fixed(b->image, chunk) ||
			    (!b->all && bitset_test(&b->marked, chunk)))
				continue;
			b->next = chunk + 1;
			*ret = chunk;
			return bitset_set(&b->used, chunk);
		}
		if (b->all)
			return -ENOSPC;
	}
}

static u64 block_take(struct rebuild *b)
{
	u64 chunk;

	if (!b->left) {
		if (rebuild_chunk(b, &chunk))
			return 0;
		b->block = chunk * b->image->chunk_blocks;
		b->left = b->image->chunk_blocks;
	}
	b->left--;
	return b->block++;
}

static int block_write(struct rebuild *b, u64 addr, const void *block)
{
	return area_pwrite(b->fd, block, DMS_BLOCK_SIZE, addr << DMS_BLOCK_SHIFT);
}

static u64 sink_alloc(struct dms_sink *s)
{
	return block_take(container_of(s, struct rebuild, sink));
}

static int sink_write(struct dms_sink *s, u64 addr, const void *block)
{
	return block_write(container_of(s, struct rebuild, sink), addr, block);
}

int rebuild_init(struct rebuild *b, struct image *image, int fd)
{
	int r;

	b->image = image;
	b->fd = fd;
	r = bitset_init(&b->used, image->chunks);
	if (!r)
		r = bitset_init(&b->marked, image->chunks);
	return r ? r : load_marked(b);
}

void rebuild_exit(struct rebuild *b)
{
	bitset_exit(&b->used);
	bitset_exit(&b->marked);
}

/* The place of the superblock with @sequence: 0 is A. */
static unsigned int super_slot(u64 sequence)
{
	return sequence & 1;
}

void rebuild_begin(struct rebuild *b, u64 generation)
{
	struct dms_super *s = &b->image->info.super;

	b->sequence = s->sequence + 1;
	if (super_slot(b->sequence) == b->image->info.super_slot)
		b->sequence++;
	b->generation = generation;
	s->generation = generation;	/* so that what is written is believed */
	b->sink = (struct dms_sink){
		.alloc = sink_alloc, .write = sink_write,
		.chunk_blocks = b->image->chunk_blocks,
		.generation = generation, .sequence = b->sequence,
	};
	memcpy(b->sink.uuid, s->uuid, sizeof(b->sink.uuid));
}

/* --- descriptors and root ------------------------------------------------- */

static struct dms_header header(const struct rebuild *b, u64 addr, u16 type, u32 count)
{
	return (struct dms_header){
		.block = addr, .generation = b->generation, .sequence = b->sequence,
		.type = type, .count = count,
	};
}

static int write_copies(struct rebuild *b, struct dms_disk_shadow_ref *refs, u8 *block)
{
	struct dms_header h;
	int r = 0;
	u32 i;

	for (i = 0; i < b->nr_copies && !r; i++) {
		u64 addr = block_take(b);

		if (!addr)
			return -ENOSPC;
		memset(block, 0, DMS_BLOCK_SIZE);
		dms_shadow_pack((void *)image_payload(block), &b->copies[i]);
		h = header(b, addr, DMS_BLOCK_SHADOW, 1);
		refs[i].id = cpu_to_le32(b->copies[i].id);
		refs[i].crc = cpu_to_le32(dms_block_seal(block, &h, b->image->super->uuid));
		refs[i].block = cpu_to_le64(addr);
		r = block_write(b, addr, block);
	}
	return r;
}

struct blob {
	u8 *data;
	size_t size;
	struct dms_disk_shadow_ref *refs;	/* in .data */
	u8 *slots;				/* in .data */
	u64 *place;				/* of its blocks */
	u32 blocks;
};

/* All of the root but what is not known yet: counts, refs, new slots. */
static int blob_init(struct rebuild *b, struct blob *blob)
{
	const struct image *m = b->image;
	size_t slots = (m->super->bitmap_pairs + 7) / 8;
	size_t prints = m->root.nr_prints * sizeof(*m->prints);
	u8 *p;
	u32 i;

	blob->size = sizeof(struct dms_disk_root) + b->nr_copies * sizeof(*blob->refs) +
		     b->nr_trees * sizeof(struct dms_disk_tree) + prints + slots;
	blob->blocks = (u32)((blob->size + DMS_ROOT_PART_SIZE - 1) / DMS_ROOT_PART_SIZE);
	if (blob->blocks > DMS_MAX_ROOT_BLOCKS)
		return -EFBIG;
	blob->data = calloc(1, blob->size);
	blob->place = calloc(blob->blocks, sizeof(*blob->place));
	if (!blob->data || !blob->place)
		return -ENOMEM;
	p = blob->data + sizeof(struct dms_disk_root);
	blob->refs = (struct dms_disk_shadow_ref *)p;
	p += b->nr_copies * sizeof(*blob->refs);
	for (i = 0; i < b->nr_trees; i++, p += sizeof(struct dms_disk_tree))
		dms_tree_pack((struct dms_disk_tree *)p, &b->trees[i]);
	memcpy(p, m->prints, prints);
	blob->slots = p + prints;
	memcpy(blob->slots, m->slots, slots);
	for (i = 0; i < blob->blocks; i++) {
		blob->place[i] = block_take(b);
		if (!blob->place[i])
			return -ENOSPC;
	}
	return 0;
}

/* From the last block to the first, as each names the next. */
static int write_root(struct rebuild *b, const struct blob *blob, u8 *block)
{
	struct dms_super *s = &b->image->info.super;
	struct dms_pointer next = { 0 };
	struct dms_header h;
	int r = 0;
	u32 i;

	dms_root_pack((struct dms_disk_root *)blob->data, &b->root);
	for (i = blob->blocks; i-- > 0 && !r;) {
		size_t done = (size_t)i * DMS_ROOT_PART_SIZE;

		h = header(b, blob->place[i], DMS_BLOCK_ROOT,
			   (u32)min_t(size_t, blob->size - done, DMS_ROOT_PART_SIZE));
		memset(block, 0, DMS_BLOCK_SIZE);
		memcpy(block + DMS_BLOCK_SIZE - DMS_ROOT_PART_SIZE, blob->data + done, h.count);
		next.crc = dms_root_seal(block, &h, &next, s->uuid);
		next.block = h.block;
		r = block_write(b, h.block, block);
	}
	s->root = next;
	s->root_blocks = blob->blocks;
	return r;
}

/* --- the bitmap ----------------------------------------------------------- */

struct named {
	struct scan scan;
	struct rebuild *b;
	struct bitset *named;
};

static bool name_block(struct scan *s, u64 block)
{
	struct named *n = container_of(s, struct named, scan);

	s->error = bitset_set(n->named, block / n->b->image->chunk_blocks);
	return !s->error;
}

static void name_entry(struct scan *s, const struct dms_exception *e, const __le32 *csums)
{
	struct named *n = container_of(s, struct named, scan);
	u32 i;

	for (i = 0; csums && i < e->length && !s->error; i++)
		s->error = bitset_set(n->named, e->where + i);
}

static int name_tree(struct rebuild *b, struct bitset *named, const struct dms_tree *tree, u32 exempt)
{
	struct named n = {
		.scan = { .image = b->image, .tree = tree, .exempt = exempt,
			  .block = name_block, .entry = name_entry },
		.b = b, .named = named,
	};
	int r;

	r = scan_tree(&n.scan);
	/* What is written here is never less than sound. */
	return r ? r : n.scan.partial ? -EUCLEAN : 0;
}

/* All chunks that the new checkpoint uses. */
static int name_all(struct rebuild *b, struct bitset *named, const struct blob *blob)
{
	const u32 cb = b->image->chunk_blocks;
	u64 chunk;
	int r = 0;
	u32 i;

	for (chunk = 0; chunk < b->image->chunks && !r; chunk++)
		if (image_chunk_fixed(b->image, chunk))
			r = bitset_set(named, chunk);
	for (i = 0; i < b->nr_trees && !r; i++)
		r = name_tree(b, named, &b->trees[i], 0);
	for (i = 0; i < b->nr_copies && !r; i++) {
		r = bitset_set(named, le64_to_cpu(blob->refs[i].block) / cb);
		if (!r)
			r = name_tree(b, named, &b->copies[i].exempt, b->copies[i].id);
	}
	for (i = 0; i < blob->blocks && !r; i++)
		r = bitset_set(named, blob->place[i] / cb);
	return r;
}

static int write_bitmap(struct rebuild *b, struct blob *blob, u8 *block)
{
	const struct image *m = b->image;
	struct bitset named = { 0 };
	struct dms_header h;
	u32 pair, byte;
	int r;

	r = bitset_init(&named, m->chunks);
	if (!r)
		r = name_all(b, &named, blob);
	b->root.used_chunks = 0;
	for (pair = 0; pair < named.pages && !r; pair++) {
		u8 *bits = block + sizeof(struct dms_disk_header);
		bool same;

		same = !image_block(m, image_bitmap_block(m, pair), DMS_BLOCK_BITMAP, NULL, block,
				    NULL);
		for (byte = 0; byte < DMS_PAYLOAD_SIZE; byte++) {
			u8 want = bitset_byte(&named, pair, byte);

			b->root.used_chunks += (u32)__builtin_popcount(want);
			same &= bits[byte] == want;
			bits[byte] = want;
		}
		if (same)
			continue;
		blob->slots[pair / 8] ^= 1u << pair % 8;
		h = header(b, m->super->bitmap_block + 2 * (u64)pair +
			   (blob->slots[pair / 8] >> pair % 8 & 1), DMS_BLOCK_BITMAP,
			   DMS_PAYLOAD_SIZE);
		dms_block_seal(block, &h, m->super->uuid);
		r = block_write(b, h.block, block);
	}
	bitset_exit(&named);
	return r;
}

/* --- all of it ------------------------------------------------------------ */

static int sync_area(struct rebuild *b)
{
	return fdatasync(b->fd) ? -errno : 0;
}

static int write_super(struct rebuild *b, u64 sequence)
{
	u64 addr = super_slot(sequence) ? DMS_SUPER_B_BLOCK : DMS_SUPER_A_BLOCK;
	struct dms_super s = b->image->info.super;
	u8 *block;
	int r;

	block = malloc(DMS_BLOCK_SIZE);
	if (!block)
		return -ENOMEM;
	s.sequence = sequence;
	dms_super_pack(block, addr, &s);
	r = block_write(b, addr, block);
	free(block);
	return r ? r : sync_area(b);
}

int rebuild_supers(struct rebuild *b)
{
	struct dms_super *s = &b->image->info.super;
	int r;

	s->limit_chunks = min(s->limit_chunks, b->image->chunks);
	r = sync_area(b);
	if (!r)
		r = write_super(b, b->sequence);
	if (!r)
		r = write_super(b, b->sequence + 1);
	return r;
}

int rebuild_commit(struct rebuild *b)
{
	struct blob blob = { .size = 0 };
	u8 *block;
	int r = -ENOMEM;

	b->root.nr_shadows = b->nr_copies;
	b->root.nr_trees = b->nr_trees;
	b->root.nr_prints = b->image->root.nr_prints;
	block = calloc(1, DMS_BLOCK_SIZE);
	if (block)
		r = blob_init(b, &blob);
	if (!r)
		r = write_copies(b, blob.refs, block);
	if (!r)
		r = write_bitmap(b, &blob, block);
	if (!r)
		r = write_root(b, &blob, block);
	if (!r)
		r = rebuild_supers(b);
	free(block);
	free(blob.data);
	free(blob.place);
	return r;
}
