// SPDX-License-Identifier: GPL-2.0-only
/*
 * A tree of forged leaves and nodes.  The input is a dms_disk_tree, whose
 * reserved word chooses the chunk size, and up to MAX_BLOCKS blocks, which lie
 * from FIRST_BLOCK on.  Pointers need not know checksums.
 */
#include "fuzz.h"

#define FIRST_BLOCK	16
#define MAX_BLOCKS	12
#define AREA_BLOCKS	(1 << 20)
#define ORIGIN_CHUNKS	4096
/* No look-up reads more; a cursor takes a way down for each leaf. */
#define MAX_GETS	(100 * MAX_BLOCKS * DMS_MAX_DEPTH)

struct image {
	struct dms_source source;
	void *blocks[MAX_BLOCKS];
	u32 nr_blocks;
	u32 gets;
	int held;
};

static const void *image_get(struct dms_source *s, struct dms_pointer p, u16 type)
{
	struct image *image = container_of(s, struct image, source);
	void *copy;

	MUST(++image->gets < MAX_GETS);
	MUST(p.block >= FIRST_BLOCK && p.block < AREA_BLOCKS);
	if (p.block >= FIRST_BLOCK + image->nr_blocks ||
	    dms_block_check(image->blocks[p.block - FIRST_BLOCK], p.block, type, NULL, NULL, NULL))
		return ERR_PTR(-EUCLEAN);
	image->held++;
	copy = aligned_alloc(8, DMS_BLOCK_SIZE);
	return memcpy(copy, image->blocks[p.block - FIRST_BLOCK], DMS_BLOCK_SIZE);
}

static void image_put(struct dms_source *s, const void *block)
{
	container_of(s, struct image, source)->held--;
	free((void *)block);
}

static void sum_csums(const __le32 *csums, u64 nr)
{
	u32 sum = 0;

	while (nr--)
		sum += le32_to_cpu(csums[nr]);
	/* For the reads not to be left out. */
	__asm__ volatile("" : : "r"(sum));
}

static void check_entry(const struct image *image, const struct dms_exception *e,
			const __le32 *csums)
{
	MUST(dms_exception_valid(e, image->source.chunk_blocks, image->source.area_chunks));
	MUST(!csums == (e->kind != DMS_KIND_DATA));
	if (csums)
		sum_csums(csums, (u64)e->length * image->source.chunk_blocks);
}

/* Returns the error at the end of it, or 0. */
static int read_all(struct image *image, const struct dms_tree *t, u64 start)
{
	struct dms_exception e, last = {};
	struct dms_cursor c;
	const __le32 *csums;
	int ret;

	dms_cursor_init(&c, &image->source, t, start);
	while ((ret = dms_cursor_next(&c, &e, &csums)) > 0) {
		check_entry(image, &e, csums);
		MUST(!last.length || e.chunk > last.chunk ||
		     (e.chunk == last.chunk && e.tag >= last.tag && e.length == last.length));
		last = e;
	}
	dms_cursor_exit(&c);
	return ret;
}

static void merge_twice(struct image *image, const struct dms_tree *t)
{
	static const u32 epochs[] = { 1, 3, 1000 };
	struct dms_tree trees[2] = { *t, *t };
	struct dms_merge_spec spec = {
		.source = &image->source, .trees = trees, .nr_trees = 2,
		.epochs = epochs, .nr_epochs = ARRAY_SIZE(epochs), .merge_epoch = 2,
	};
	struct dms_merger *m = dms_merger_create(&spec);
	struct dms_exception e, last = {};
	const __le32 *csums;

	while (dms_merger_next(m, &e, &csums) > 0) {
		check_entry(image, &e, csums);
		MUST(!last.length || e.chunk >= last.chunk + last.length ||
		     (e.chunk == last.chunk && e.length == last.length && e.tag >= last.tag));
		last = e;
	}
	dms_merger_destroy(m);
}

static int visit(void *context, u64 block)
{
	u64 *left = context;

	MUST(block >= FIRST_BLOCK && block < AREA_BLOCKS && *left);
	--*left;
	return 0;
}

static void search(struct image *image, const struct dms_tree *t, u64 chunk, u32 tag)
{
	__le32 csums[DMS_ENTRY_MAX_CSUMS];
	struct dms_exception e;
	u32 max_tag;
	int ret;

	image->gets = 0;
	ret = dms_tree_find(&image->source, t, chunk, tag, 1000, &e, csums);
	MUST(ret == -EUCLEAN || (ret >= 0 && e.length >= 1 && e.length <= 1000));
	if (ret > 0) {
		MUST(e.chunk == chunk && e.tag >= tag);
		check_entry(image, &e, e.kind == DMS_KIND_DATA ? csums : NULL);
	}
	ret = dms_tree_max_tag(&image->source, t, chunk, &max_tag);
	MUST(!ret || ret == -EUCLEAN);
	ret = dms_tree_is_home(&image->source, t, chunk, tag);
	MUST(ret == 0 || ret == 1 || ret == -EUCLEAN);
	MUST(!image->held);
}

static void use(struct image *image, const struct dms_tree *t)
{
	u64 left;
	int ret;

	for (u64 chunk = 0; chunk < ORIGIN_CHUNKS; chunk += 1 + chunk / 7)
		search(image, t, chunk, chunk % 5);
	search(image, t, t->first_chunk, t->min_tag);
	search(image, t, t->last_chunk, t->max_tag);
	search(image, t, U64_MAX, U32_MAX);
	image->gets = 0;
	left = t->blocks;
	ret = dms_tree_walk(&image->source, t, visit, &left);
	MUST(ret == -EUCLEAN || (!ret && !left));
	ret = read_all(image, t, 0);
	MUST(!ret || ret == -EUCLEAN);
	image->gets = 0;
	read_all(image, t, t->first_chunk + 10);
	image->gets = 0;
	merge_twice(image, t);
	MUST(!image->held);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct image image = { .source = { .get = image_get, .put = image_put } };
	struct dms_disk_header header;
	struct dms_disk_tree d;
	struct dms_tree t;

	if (size < sizeof(d))
		return 0;
	memcpy(&d, data, sizeof(d));
	data += sizeof(d);
	size -= sizeof(d);
	image.source.chunk_blocks = 1u << le32_to_cpu(d.reserved) % 9;
	image.source.area_chunks = AREA_BLOCKS / image.source.chunk_blocks;
	if (dms_tree_unpack(&d, AREA_BLOCKS, &t))
		return 0;

	while (size >= sizeof(header) && image.nr_blocks < MAX_BLOCKS) {
		size_t part = min_t(size_t, size, DMS_BLOCK_SIZE);

		memcpy(&header, data, sizeof(header));
		image.blocks[image.nr_blocks] =
			fuzz_block(data, part, FIRST_BLOCK + image.nr_blocks,
				   le16_to_cpu(header.type) & 1 ? DMS_BLOCK_NODE : DMS_BLOCK_LEAF);
		image.nr_blocks++;
		data += part;
		size -= part;
	}
	use(&image, &t);
	while (image.nr_blocks)
		free(image.blocks[--image.nr_blocks]);
	return 0;
}

/* One field or so of an entry, a key, a header or the tree itself. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	size_t nr_blocks = size < sizeof(struct dms_disk_tree) ? 0 :
			   (size - sizeof(struct dms_disk_tree)) / DMS_BLOCK_SIZE;
	u32 choice = seed % 16, rest = seed / 16;
	uint8_t *block, *other;
	size_t at;

	if (!nr_blocks)
		return LLVMFuzzerMutate(data, size, max_size);
	block = data + sizeof(struct dms_disk_tree) + rest % nr_blocks * DMS_BLOCK_SIZE;
	rest /= nr_blocks;
	other = data + sizeof(struct dms_disk_tree) + rest % nr_blocks * DMS_BLOCK_SIZE;

	switch (choice) {
	case 0:
		LLVMFuzzerMutate(data, sizeof(struct dms_disk_tree), sizeof(struct dms_disk_tree));
		break;
	case 1:		/* type, count, csums */
		at = offsetof(struct dms_disk_header, type) + rest % 3 * 4;
		LLVMFuzzerMutate(block + at, 2, 2);
		break;
	case 2:		/* entries or keys change places, or blocks do */
		memmove(block + 64 + rest % 80 * 8, block + 64 + rest / 80 % 80 * 8, 24);
		break;
	case 3:
		memmove(block, other, DMS_BLOCK_SIZE);
		break;
	case 4:
		memmove(block + 64, other + 64, 8 * (1 + rest % 8));
		break;
	default:
		at = sizeof(struct dms_disk_header) + rest % 128 * 4;
		LLVMFuzzerMutate(block + at, 4 << choice % 3, 4 << choice % 3);
	}
	return size;
}
