// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Makes a large diff area in a sparse file: see usage().
 *
 * It is what a clean deactivation would have left: copies 1 to M, exceptions in trees
 * of falling size, all of them live, their data zeros that take no space.  The newer
 * the tree, the newer the tags in it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rebuild.h"
#include "scatter.h"

#define PRINTS	32

struct big {
	u64 exceptions, origin_chunks, origin_sectors;
	u32 copies, trees, chunk_blocks;
	const char *tile;		/* what the origin is made of, over and over */
	u64 where;			/* area chunk of the next save */
	struct dms_disk_print prints[PRINTS];
};

static void usage(void)
{
	fputs("usage: area FILE ORIGIN-GIB CHUNK-KIB EXCEPTIONS COPIES TILE\n"
	      "TILE: a file that the origin repeats\n", stderr);
	exit(2);
}

static void die(const char *what, int r)
{
	fprintf(stderr, "area: %s: %s\n", what, strerror(-r));
	exit(1);
}

static u64 number(const char *text)
{
	char *end;
	u64 n = strtoull(text, &end, 10);

	if (!*text || *end)
		usage();
	return n;
}

/* Trees of different age have tags of their own. */
static void tree_tags(const struct big *big, u32 tree, u32 *first, u32 *nr)
{
	*first = (u32)((u64)big->copies * tree / big->trees) + 1;
	*nr = (u32)((u64)big->copies * (tree + 1) / big->trees) - *first + 1;
}

static int make_tree(struct big *big, struct rebuild *b, u32 tree, struct dms_tree *ret)
{
	u64 entries = scatter_entries(big->exceptions, big->trees, tree), i;
	u64 chunks = scatter_chunks(entries, big->trees);
	struct dms_builder *builder = dms_builder_create(&b->sink);
	u8 *zeros = calloc(1, DMS_BLOCK_SIZE);
	__le32 csums[DMS_MAX_CHUNK_BLOCKS];
	u32 first, nr, k;
	int r = 0;

	if (!builder || !zeros)
		return -ENOMEM;
	for (k = 0; k < big->chunk_blocks; k++)
		csums[k] = cpu_to_le32(dms_crc(zeros, DMS_BLOCK_SIZE));
	tree_tags(big, tree, &first, &nr);
	for (i = 0; i < chunks && !r; i++) {
		u32 at = (u32)(i * 2654435761u % nr);
		struct dms_exception e = {
			.chunk = scatter_chunk(big->origin_chunks, chunks, tree, i),
			.where = big->where++, .length = 1, .kind = DMS_KIND_DATA,
			.tag = first + at,
		};

		r = dms_builder_add(builder, &e, csums);
		if (!r && big->trees > 1 && i % 4 == 3 && at + 1 < nr) {
			e.tag++;
			e.where = big->where++;
			r = dms_builder_add(builder, &e, csums);
		}
	}
	if (!r)
		r = dms_builder_finish(builder, ret);
	dms_builder_destroy(builder);
	free(zeros);
	return r;
}

static int make_prints(struct big *big)
{
	u64 blocks = big->origin_sectors / DMS_BLOCK_SECTORS, tile, block;
	u8 buf[DMS_BLOCK_SIZE];
	int fd = open(big->tile, O_RDONLY), r;
	u32 i;

	if (fd < 0)
		return -errno;
	r = area_device_bytes(fd, &tile);
	for (i = 0; i < PRINTS && !r; i++) {
		block = i < PRINTS - 1 ? blocks * i / PRINTS : blocks - 1;
		r = area_pread(fd, buf, sizeof(buf), (block << DMS_BLOCK_SHIFT) % tile);
		big->prints[i].block = cpu_to_le64(block);
		big->prints[i].crc = cpu_to_le32(dms_crc(buf, sizeof(buf)));
	}
	close(fd);
	return r;
}

static struct dms_shadow_info *make_copies(const struct big *big)
{
	struct dms_shadow_info *copies = calloc(big->copies, sizeof(*copies));
	u32 i;

	for (i = 0; copies && i < big->copies; i++) {
		copies[i].id = i + 1;
		copies[i].origin_sectors = big->origin_sectors;
		copies[i].created = 1700000000 + 60 * i;
		copies[i].set_members = 1;
		memcpy(copies[i].uuid, &copies[i].id, sizeof(copies[i].id));
		copies[i].uuid[15] = 1;
		memcpy(copies[i].set_uuid, copies[i].uuid, sizeof(copies[i].uuid));
	}
	return copies;
}

static int fill(struct big *big, struct image *image, int fd)
{
	struct dms_tree trees[SCATTER_TREES];
	struct rebuild b = { .trees = trees };
	u64 bad;
	u32 i;
	int r;

	r = image_load_root(image, &bad);
	if (!r)
		r = rebuild_init(&b, image, fd);
	if (r)
		return r;
	b.copies = make_copies(big);
	if (!b.copies)
		return -ENOMEM;
	b.nr_copies = big->copies;
	image->root.epoch = big->copies;	/* what tags are held against */
	b.root = image->root;
	/* Data behind the first root, all metadata behind the data. */
	big->where = image->root.used_chunks;
	b.next = big->where + big->exceptions + 1;
	rebuild_begin(&b, image->super->generation);
	for (i = 0; i < big->trees && !r; i++)
		r = make_tree(big, &b, i, &trees[b.nr_trees++]);
	image->prints = big->prints;
	image->root.nr_prints = PRINTS;
	if (!r)
		r = rebuild_commit(&b);
	for (i = 0; i < big->trees && !r; i++)
		printf("tree %u: %llu entries, %llu blocks, depth %u\n", i,
		       (unsigned long long)trees[i].entries,
		       (unsigned long long)trees[i].blocks, trees[i].depth);
	rebuild_exit(&b);
	free((void *)b.copies);
	return r;
}

int main(int argc, char **argv)
{
	struct area_params p;
	struct image image;
	struct dms_super super;
	struct big big;
	u64 chunk, leaves, bytes;
	int fd, r;

	if (argc != 7)
		usage();
	chunk = number(argv[3]) << 10;
	memset(&big, 0, sizeof(big));
	big.origin_sectors = number(argv[2]) << 21;
	big.chunk_blocks = (u32)(chunk >> DMS_BLOCK_SHIFT);
	big.exceptions = number(argv[4]);
	big.copies = (u32)number(argv[5]);
	big.tile = argv[6];
	if (!big.chunk_blocks || !big.copies || big.exceptions < 100)
		usage();
	big.trees = big.copies < SCATTER_TREES ? 1 : SCATTER_TREES;
	big.origin_chunks = (big.origin_sectors << 9) / chunk;
	if (big.origin_chunks / big.exceptions < 4)
		die("exceptions", -ERANGE);

	/* Half as much again, and room for the index twice. */
	leaves = big.exceptions * (sizeof(struct dms_disk_entry) + 4 * big.chunk_blocks);
	bytes = big.exceptions * chunk * 3 / 2 + 3 * leaves + (256ULL << 20) +
		big.copies * 2 * chunk;
	fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)bytes))
		die(argv[1], -errno);
	area_params_init(&p);
	p.chunk_blocks = big.chunk_blocks;
	p.origin_sectors = big.origin_sectors;
	p.created = 1700000000;
	r = area_format(fd, &p, &super);
	if (!r)
		r = make_prints(&big);
	if (!r)
		r = image_open(argv[1], &image);
	if (!r)
		r = fill(&big, &image, fd);
	if (r)
		die(argv[1], r);
	image_close(&image);
	close(fd);
	return 0;
}
