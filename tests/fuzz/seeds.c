// SPDX-License-Identifier: GPL-2.0-only
/* Valid inputs to begin with: seeds DIRECTORY, which has one for each target. */
#include "fuzz.h"

#define FIRST_BLOCK	16
#define MAX_BLOCKS	12

static const char *directory;

static void emit(const char *target, const char *name, const void *data, size_t size)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s/seed-%s", directory, target, name);
	f = fopen(path, "wb");
	if (!f || fwrite(data, 1, size, f) != size || fclose(f)) {
		perror(path);
		exit(1);
	}
}

static void emit_super(void)
{
	struct dms_super s = {
		.generation = 1, .sequence = 5, .flags = DMS_SUPER_CLEAN, .chunk_blocks = 16,
		.bitmap_pairs = 2, .area_blocks = 1000000, .journal_block = 16,
		.journal_blocks = 1024, .bitmap_block = 2000, .origin_sectors = 1 << 20,
		.origin_id = "volume", .when_full = DMS_FULL_BLOCK, .full_timeout = 5,
		.low_space = 90, .root = { .block = 3000, .crc = 1 }, .root_blocks = 1,
	};
	u64 block[DMS_BLOCK_SIZE / 8];

	dms_super_pack(block, 0, &s);
	emit("super", "plain", block, sizeof(block));
	memset(&s.root, 0, sizeof(s.root));
	s.root_blocks = 0;
	dms_super_pack(block, 0, &s);
	emit("super", "new", block, sizeof(block));
}

static const struct dms_shadow_info shadow = {
	.id = 7, .origin_sectors = 1 << 20, .created = 1700000000, .set_members = 1,
	.exempt = { .root = { 5000, 1 }, .entries = 10, .blocks = 1, .last_chunk = 99,
		    .min_tag = 7, .max_tag = 7, .depth = 1 },
	.attr_size = 5, .attr = "attrs",
};

static void emit_root(void)
{
	struct dms_root root = { .journal_sequence = 9, .epoch = 8, .nr_shadows = 1, .nr_trees = 1,
				 .used_chunks = 100, .merge_shadow = 3, .merge_epoch = 8 };
	struct dms_tree tree = { .root = { 6000, 2 }, .entries = 1000, .blocks = 12,
				 .first_chunk = 5, .last_chunk = 5000, .min_tag = 1, .max_tag = 7,
				 .depth = 2 };
	struct {
		struct dms_disk_root root;
		struct dms_disk_tree tree;
		struct dms_disk_shadow shadow;
	} d;

	dms_root_pack(&d.root, &root);
	dms_tree_pack(&d.tree, &tree);
	dms_shadow_pack(&d.shadow, &shadow);
	emit("root", "plain", &d, sizeof(d));
}

static void emit_journal(void)
{
	static const u8 uuid[16];
	u8 data[1 + DMS_BLOCK_SIZE];
	struct dms_exception e = { .chunk = 100, .where = 200, .length = 3, .tag = 4,
				   .kind = DMS_KIND_DATA };
	struct dms_journal_block j;
	u64 block[DMS_BLOCK_SIZE / 8];
	u32 csums[48] = { 1, 2, 3 };

	dms_journal_begin(&j, block);
	dms_journal_add_save(&j, &e, csums, 16);
	for (e.kind = DMS_KIND_ZERO; e.kind <= DMS_KIND_HOME; e.kind++)
		dms_journal_add_save(&j, &e, NULL, 16);
	dms_journal_add_delete(&j, 3);
	dms_journal_add_merge(&j, 3, 8, 1000);
	dms_journal_add_merge(&j, 0, 0, 0);
	dms_journal_add_shadow(&j, &shadow);
	dms_journal_seal(&j, 100, 1, 1, 0, uuid);
	data[0] = 4;
	memcpy(data + 1, block, sizeof(block));
	emit("journal", "plain", data, sizeof(data));
}

/* --- trees --- */

static u8 tree_data[sizeof(struct dms_disk_tree) + MAX_BLOCKS * DMS_BLOCK_SIZE];
static u64 next_block;

static u64 tree_alloc(struct dms_sink *s __always_unused)
{
	return next_block < FIRST_BLOCK + MAX_BLOCKS ? next_block++ : 0;
}

static int tree_write(struct dms_sink *s __always_unused, u64 addr, const void *block)
{
	memcpy(tree_data + sizeof(struct dms_disk_tree) + (addr - FIRST_BLOCK) * DMS_BLOCK_SIZE,
	       block, DMS_BLOCK_SIZE);
	return 0;
}

/* @nr runs of @tags tags each; every third is DATA, every fifth tag HOME, too. */
static void emit_tree(const char *name, u32 nr, u32 tags, u32 length, u32 shift)
{
	struct dms_sink sink = { .alloc = tree_alloc, .write = tree_write,
				 .chunk_blocks = 1u << shift };
	__le32 csums[DMS_ENTRY_MAX_CSUMS] = {};
	struct dms_disk_tree *d = (void *)tree_data;
	struct dms_builder *b;
	struct dms_tree t;
	u32 i, tag;
	int err = 0;

	next_block = FIRST_BLOCK;
	b = dms_builder_create(&sink);
	for (i = 0; i < nr && !err; i++)
		for (tag = 1; tag <= tags && !err; tag++) {
			struct dms_exception e = { .chunk = 5ULL + i * (length + 2),
						   .length = length, .tag = tag,
						   .kind = DMS_KIND_ZERO };

			if ((i + tag) % 3 == 0) {
				e.kind = DMS_KIND_DATA;
				e.where = 100 + (u64)length * (i * tags + tag);
			}
			err = dms_builder_add(b, &e, csums);
			if (!err && tag % 5 == 0) {
				e.kind = DMS_KIND_HOME;
				e.where = 0;
				err = dms_builder_add(b, &e, NULL);
			}
		}
	if (!err)
		err = dms_builder_finish(b, &t);
	dms_builder_destroy(b);
	MUST(!err);
	dms_tree_pack(d, &t);
	d->reserved = cpu_to_le32(shift);
	emit("tree", name, tree_data,
	     sizeof(*d) + (next_block - FIRST_BLOCK) * DMS_BLOCK_SIZE);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
		return 1;
	}
	directory = argv[1];
	emit_super();
	emit_root();
	emit_journal();
	emit_tree("leaf", 10, 3, 4, 0);
	emit_tree("node", 150, 3, 5, 0);
	emit_tree("large-chunks", 12, 2, 1, 8);
	emit_tree("many-tags", 2, 300, 3, 1);
	return 0;
}
