// SPDX-License-Identifier: GPL-2.0-only
/*
 * Looks into a diff area and damages it, for tests.  Knows format.h and none
 * of the code that reads or writes areas.
 */
#include <endian.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../dm-shadow/format.h"
#include "util.h"

static const char usage_text[] =
	"usage: blocks list DEV             TYPE BLOCK of each block that is in use: those the\n"
	"                                   newest superblock leads to, and journal blocks to\n"
	"                                   replay\n"
	"       blocks get DEV BLOCK OFFSET BYTES\n"
	"       blocks set DEV BLOCK OFFSET BYTES VALUE\n"
	"                                   change a field, and the checksum with it\n"
	"       blocks damage DEV BLOCK [OFFSET]\n"
	"                                   change a byte, and no checksum\n"
	"       blocks zero DEV BLOCK\n"
	"       blocks copy DEV FROM TO     a write that went to the wrong place\n"
	"       blocks mutate DEV SEED      change some fields of some blocks that are in use, and\n"
	"                                   all checksums that tell; prints which\n"
	"BYTES is 1, 2, 4 or 8.\n";

static int fd;
static u32 crc_table[256];
static const struct dms_disk_super *super;
static u64 super_block;

static void crc_init(void)
{
	u32 i, j, c;

	for (i = 0; i < 256; i++) {
		for (c = i, j = 0; j < 8; j++)
			c = c >> 1 ^ (c & 1 ? 0x82f63b78 : 0);
		crc_table[i] = c;
	}
}

static u32 crc(const void *data, size_t size)
{
	const u8 *p = data;
	u32 c = ~0u;

	while (size--)
		c = c >> 8 ^ crc_table[(c ^ *p++) & 255];
	return ~c;
}

static void *get_block(u64 block)
{
	void *p = xbuffer(DMS_BLOCK_SIZE);
	int rc = read_sectors(fd, p, block * DMS_BLOCK_SECTORS, DMS_BLOCK_SECTORS);

	if (rc)
		die("block %llu: %s", (unsigned long long)block, strerror(-rc));
	return p;
}

static void put_block(u64 block, const void *p)
{
	int rc = write_sectors(fd, p, block * DMS_BLOCK_SECTORS, DMS_BLOCK_SECTORS);

	if (rc || fsync(fd))
		die("block %llu: %s", (unsigned long long)block, strerror(-rc));
}

/* Is it whole, where it should be, and of this type? */
static bool sound(const void *data, u64 block, u16 type)
{
	const struct dms_disk_header *h = data;
	const u8 *p = data;

	return le32toh(h->magic) == DMS_MAGIC && le64toh(h->block) == block &&
	       le16toh(h->type) == type && le32toh(h->crc) == crc(p + 4, DMS_BLOCK_SIZE - 4);
}

static void *get_sound(u64 block, u16 type, const char *what)
{
	void *p = get_block(block);

	if (!sound(p, block, type))
		die("block %llu is no sound %s", (unsigned long long)block, what);
	return p;
}

/* The blocks in use, as they were found */
static struct used {
	char type[16];
	u64 block;
} *used;
static u32 nr_used;

static void add(const char *type, u64 block)
{
	if (!(nr_used & (nr_used - 1)))
		used = xrealloc(used, sizeof(*used) * (nr_used ? 2 * nr_used : 1));
	snprintf(used[nr_used].type, sizeof(used->type), "%s", type);
	used[nr_used++].block = block;
}

static void find_super(void)
{
	static const u64 where[] = { DMS_SUPER_A_BLOCK, DMS_SUPER_B_BLOCK };
	u32 i;

	for (i = 0; i < ARRAY_SIZE(where); i++) {
		const struct dms_disk_super *s = get_block(where[i]);

		if (!sound(s, where[i], DMS_BLOCK_SUPER))
			continue;
		if (super && le64toh(super->header.sequence) > le64toh(s->header.sequence))
			continue;
		super = s;
		super_block = where[i];
	}
	if (!super)
		die("no sound superblock");
}

static void list_tree(const char *kind, u64 block, u32 depth)
{
	const struct dms_disk_header *h;
	const struct dms_disk_key *key;
	char text[32];
	u32 i;

	snprintf(text, sizeof(text), "%s%s", kind, depth > 1 ? "node" : "leaf");
	add(text, block);
	if (depth <= 1)
		return;
	h = get_sound(block, DMS_BLOCK_NODE, "node");
	key = (const void *)(h + 1);
	for (i = 0; i < le32toh(h->count); i++)
		list_tree(kind, le64toh(key[i].block), depth - 1);
}

static void list_root(const void *payload)
{
	const struct dms_disk_root *root = payload;
	u32 nr_shadows = le32toh(root->nr_shadows), nr_trees = le32toh(root->nr_trees), i;
	const struct dms_disk_shadow_ref *ref = (const void *)(root + 1);
	const struct dms_disk_tree *tree = (const void *)(ref + nr_shadows);
	const struct dms_disk_print *print = (const void *)(tree + nr_trees);
	const u8 *bits = (const void *)(print + le32toh(root->nr_prints));
	u64 jb = le64toh(super->journal_block), jn = le64toh(super->journal_blocks), seq;
	const struct dms_disk_header *h;

	for (i = 0; i < nr_shadows; i++) {
		const struct dms_disk_shadow *s;

		add("shadow", le64toh(ref[i].block));
		h = get_sound(le64toh(ref[i].block), DMS_BLOCK_SHADOW, "descriptor");
		s = (const void *)(h + 1);
		if (le32toh(s->exempt.depth))
			list_tree("exempt-", le64toh(s->exempt.root.block),
				  le32toh(s->exempt.depth));
	}
	for (i = 0; i < nr_trees; i++) {
		if (le32toh(tree[i].depth))
			list_tree("", le64toh(tree[i].root.block), le32toh(tree[i].depth));
	}
	for (i = 0; i < le32toh(super->bitmap_pairs); i++)
		add("bitmap", le64toh(super->bitmap_block) + 2 * i + (bits[i / 8] >> i % 8 & 1));
	for (seq = le64toh(root->journal_sequence);; seq++) {
		h = get_block(jb + seq % jn);
		if (!sound(h, jb + seq % jn, DMS_BLOCK_JOURNAL) || le64toh(h->sequence) != seq)
			break;
		add("journal", jb + seq % jn);
	}
}

static void find_used(void)
{
	u32 blocks, i, size;
	u64 at, block;
	u8 *payload;

	find_super();
	add("super", super_block);
	blocks = le32toh(super->root_blocks);
	payload = xmalloc((blocks + 1) * DMS_PAYLOAD_SIZE);
	block = le64toh(super->root.block);
	for (i = 0, at = 0; i < blocks; i++) {
		const struct dms_disk_header *h = get_sound(block, DMS_BLOCK_ROOT, "root");
		const struct dms_disk_root_part *part = (const void *)(h + 1);

		add("root", block);
		size = le32toh(h->count);
		memcpy(payload + at, part->data, min(size, (u32)DMS_ROOT_PART_SIZE));
		at += size;
		block = le64toh(part->next.block);
	}
	list_root(payload);
}

static void list(void)
{
	u32 i;

	find_used();
	for (i = 0; i < nr_used; i++)
		printf("%s %llu\n", used[i].type, (unsigned long long)used[i].block);
}

static u64 field(const u8 *p, u64 offset, u64 bytes)
{
	u64 value = 0;

	if (offset + bytes > DMS_BLOCK_SIZE || bytes > 8)
		die("no such field");
	while (bytes--)
		value = value << 8 | p[offset + bytes];
	return value;
}

static void set(u64 block, u64 offset, u64 bytes, u64 value)
{
	struct dms_disk_header *h = get_block(block);
	u8 *p = (u8 *)h;

	if (offset + bytes > DMS_BLOCK_SIZE || bytes > 8)
		die("no such field");
	for (; bytes--; value >>= 8)
		p[offset++] = value;
	h->crc = htole32(crc(p + 4, DMS_BLOCK_SIZE - 4));
	put_block(block, p);
}

/* --- mutation ---------------------------------------------------------------- */

static void replace(u64 block, u8 *p);

static u32 get32(const u8 *p)
{
	return le32toh(*(const __le32 *)p);
}

static u64 get64(const u8 *p)
{
	return get32(p) | (u64)get32(p + 4) << 32;
}

/*
 * @block had the checksum @old and has @new: tell those who point to it.  The checksum
 * stands before the address in some structures, behind it in others.
 */
static void tell_parents(u64 block, u32 old, u32 new)
{
	u32 i, at;

	for (i = 0; i < nr_used; i++) {
		u8 *p = get_block(used[i].block);
		bool changed = false;

		for (at = 8; at + 12 <= DMS_BLOCK_SIZE; at += 4) {
			u8 *crc_at = get32(p + at - 4) == old ? p + at - 4 : p + at + 8;

			if (get64(p + at) != block || get32(crc_at) != old)
				continue;
			*(__le32 *)crc_at = htole32(new);
			changed = true;
		}
		if (changed)
			replace(used[i].block, p);
		free(p);
	}
}

/* Write @block with its checksum, and those of all that lead to it. */
static void replace(u64 block, u8 *p)
{
	struct dms_disk_header *h = (void *)p;
	u32 old = le32toh(h->crc), new = crc(p + 4, DMS_BLOCK_SIZE - 4);

	h->crc = htole32(new);
	put_block(block, p);
	if (new != old)
		tell_parents(block, old, new);
}

/* What may confuse a reader where @p has @bytes */
static u64 strange_value(struct rng *r, const u8 *p, u64 bytes)
{
	u64 old = bytes == 8 ? get64(p) : bytes == 4 ? get32(p) : *p;

	switch (rng_below(r, 9)) {
	case 0: return 0;
	case 1: return ~0ull;
	case 2: return old + 1;
	case 3: return old - 1;
	case 4: return old ^ 1ull << rng_below(r, 8 * bytes);
	case 5: return 1ull << rng_below(r, 64);
	case 6: return rng_log(r, 1000);
	case 7: return used[rng_below(r, nr_used)].block;
	default: return rng_next(r);
	}
}

/* One of the used blocks, of each type as likely as of another */
static u64 some_block(struct rng *r)
{
	const char *type = used[0].type;	/* a superblock there is */
	u32 i, n = 0, types = 0;

	for (i = 0; i < nr_used; i++) {
		u32 j;

		for (j = 0; j < i && strcmp(used[i].type, used[j].type); j++)
			;
		if (j == i && rng_below(r, ++types) == 0)
			type = used[i].type;
	}
	for (i = 0; i < nr_used; i++)
		if (!strcmp(used[i].type, type) && rng_below(r, ++n) == 0)
			types = i;
	printf(" %s %llu:", type, (unsigned long long)used[types].block);
	return used[types].block;
}

static void mutate(u64 seed)
{
	u32 blocks, fields;
	struct rng r;

	find_used();
	rng_seed(&r, seed);
	for (blocks = rng_log(&r, 4); blocks; blocks--) {
		u64 block = some_block(&r);
		u8 *p = get_block(block);

		for (fields = rng_log(&r, 6); fields; fields--) {
			/* Most fields are in the first bytes; none of those is the checksum. */
			u64 space = rng_chance(&r, 60) ? 256 : DMS_BLOCK_SIZE;
			u64 bytes = 1 << rng_below(&r, 4), at, value;

			at = max(8, (int)(rng_below(&r, space) / bytes * bytes));
			value = strange_value(&r, p + at, bytes);
			printf(" %llu.%llu=%llx", (unsigned long long)at, (unsigned long long)bytes,
			       (unsigned long long)value);
			memcpy(p + at, (__le64[]){ htole64(value) }, bytes);
		}
		replace(block, p);
		free(p);
	}
	printf("\n");
}

static void damage(u64 block, u64 offset)
{
	u8 *p = get_block(block);

	p[offset % DMS_BLOCK_SIZE] ^= 0x5a;
	put_block(block, p);
}

static void usage(void)
{
	fputs(usage_text, stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	static u64 n[4];
	const char *command;
	int i;

	if (argc < 3 || argc > 7)
		usage();
	command = argv[1];
	crc_init();
	fd = open_device(argv[2], !strcmp(command, "list") || !strcmp(command, "get") ?
			 O_RDONLY : O_RDWR);
	for (i = 3; i < argc; i++)
		n[i - 3] = xnumber(argv[i]);
	if (!strcmp(command, "list") && argc == 3)
		list();
	else if (!strcmp(command, "get") && argc == 6)
		printf("%llu\n", (unsigned long long)field(get_block(n[0]), n[1], n[2]));
	else if (!strcmp(command, "set") && argc == 7)
		set(n[0], n[1], n[2], n[3]);
	else if (!strcmp(command, "damage") && (argc == 4 || argc == 5))
		damage(n[0], argc == 5 ? n[1] : 200);
	else if (!strcmp(command, "zero") && argc == 4)
		put_block(n[0], memset(get_block(n[0]), 0, DMS_BLOCK_SIZE));
	else if (!strcmp(command, "mutate") && argc == 4)
		mutate(n[0]);
	else if (!strcmp(command, "copy") && argc == 5)
		put_block(n[1], get_block(n[0]));
	else
		usage();
	return 0;
}
