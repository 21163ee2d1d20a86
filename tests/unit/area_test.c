// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Diff areas offline: formatting, recognising, checking and dumping them.
 *
 *	[SEED=n] [ROUNDS=n] area_test
 *
 * Builds diff areas in memory with everything in them (copies, exempt runs, an
 * index of several levels, a journal to replay), damages them in each place,
 * and compares what check says with what was done.  Then at random, with all
 * checksums put right again, so that the damage gets past them: nothing may
 * crash or hang.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "area.h"
#include "check.h"
#include "dump.h"
#include "emit.h"
#include "image.h"
#include "index.h"
#include "util.h"

static const char *doing = "nothing";

#define expect(condition)							\
	do {									\
		if (!(condition)) {						\
			printf("FAIL: %s:%d: %s (doing: %s)\n", __FILE__,	\
			       __LINE__, #condition, doing);			\
			exit(1);						\
		}								\
	} while (0)

static u64 random_state = 1;

static u64 rnd(u64 below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return below ? random_state % below : 0;
}

/* --- a device in memory --------------------------------------------------- */

struct device {
	int fd;
	u8 *data;
	u64 bytes;
	char path[64];
};

static void device_open(struct device *d, u64 bytes)
{
	d->fd = memfd_create("area", MFD_CLOEXEC);
	expect(d->fd >= 0 && !ftruncate(d->fd, (off_t)bytes));
	d->bytes = bytes;
	d->data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, d->fd, 0);
	expect(d->data != MAP_FAILED);
	snprintf(d->path, sizeof(d->path), "/proc/self/fd/%d", d->fd);
}

static void device_close(struct device *d)
{
	munmap(d->data, d->bytes);
	close(d->fd);
}

static u8 *block_at(struct device *d, u64 block)
{
	return d->data + (block << DMS_BLOCK_SHIFT);
}

/* --- checking ------------------------------------------------------------- */

struct seen {
	u32 count;
	char object[16];		/* of the first damage */
	u64 block, chunk, chunks;
	u32 copies[16], nr_copies;
	bool print;
};

static void see(void *context, const struct check_finding *f)
{
	struct seen *s = context;

	if (s->print)
		printf("  %d %s: %s\n", f->level, f->object, f->fact);
	expect(strlen(f->fact) > 0);
	if (f->level != CHECK_DAMAGE || s->count++)
		return;
	snprintf(s->object, sizeof(s->object), "%s", f->object);
	s->block = f->block;
	s->chunk = f->chunk;
	s->chunks = f->chunks;
	s->nr_copies = f->nr_copies;
	memcpy(s->copies, f->copies ? f->copies : s->copies,
	       min_t(u32, f->nr_copies, 16) * sizeof(u32));
}

static int run_check(struct device *d, bool data, struct seen *seen, struct check_summary *sum)
{
	struct check_params p = { .data = data, .report = see, .context = seen };
	struct area_info info;
	bool print = seen->print;

	memset(seen, 0, sizeof(*seen));
	seen->print = print;
	return check_area(d->path, &p, &info, sum);
}

static int run_dump(struct device *d, bool json, char **text)
{
	struct area_info info;
	struct emit e;
	size_t size;
	FILE *f = open_memstream(text, &size);
	int r;

	expect(f);
	emit_begin(&e, f, json);
	r = dump_area(d->path, &e, &info);
	emit_end(&e);
	fclose(f);
	return r;
}

static void expect_clean(struct device *d)
{
	struct check_summary sum;
	struct seen seen = { .print = true };

	expect(!run_check(d, true, &seen, &sum));
	expect(!sum.damage && !sum.warnings);
}

/* --- formatting ----------------------------------------------------------- */

static bool same_super(const struct dms_super *a, const struct dms_super *b)
{
	static u8 x[DMS_BLOCK_SIZE], y[DMS_BLOCK_SIZE];

	dms_super_pack(x, 0, a);
	dms_super_pack(y, 0, b);
	return !memcmp(x, y, sizeof(x));
}

/* That and no more is damaged then. */
static void lose_super(struct device *d, u64 addr)
{
	struct check_summary sum;
	struct seen seen = { .print = false };

	block_at(d, addr)[1000] ^= 1;
	expect(!run_check(d, true, &seen, &sum));
	expect(sum.damage == 1 && seen.block == addr);
	block_at(d, addr)[1000] ^= 1;
}

static void test_format(void)
{
	struct area_params p;
	struct area_info info;
	struct dms_super s;
	struct device d;
	u64 sizes[5];
	u32 cb, i;

	for (cb = 1; cb <= DMS_MAX_CHUNK_BLOCKS; cb *= 2) {
		area_params_init(&p);
		p.chunk_blocks = cb;
		p.origin_sectors = 12345;
		sizes[0] = area_min_bytes(cb);
		sizes[1] = sizes[0] + 4096 * cb - 1;
		sizes[2] = sizes[0] * 3 + 512;
		sizes[3] = (300ull << 20) + 5 * 4096;	/* several bitmap pairs of 4 KiB chunks */
		sizes[4] = (600ull << 20) + 4096;
		expect(sizes[0]);
		expect(area_plan(&p, sizes[0] - 1, &s) == -ENOSPC);
		for (i = 0; i < ARRAY_SIZE(sizes); i++) {
			doing = "format, check";
			device_open(&d, sizes[i]);
			expect(!area_format(d.fd, &p, &s));
			expect(!area_probe(d.path, &info) && info.state == AREA_VALID);
			expect(info.supers_valid == 2 && info.super.sequence == 1);
			expect(same_super(&info.super, &s));
			expect(s.area_blocks % cb == 0 && s.area_blocks * 4096 <= sizes[i]);
			expect(s.journal_block % cb == 0 && s.journal_blocks % cb == 0);
			expect_clean(&d);
			doing = "doing without a superblock";
			lose_super(&d, DMS_SUPER_A_BLOCK);
			lose_super(&d, DMS_SUPER_B_BLOCK);
			device_close(&d);
		}
	}
	area_params_init(&p);
	expect(area_plan(&p, 1 << 30, &s) == -EINVAL);		/* no origin */
	p.origin_sectors = 1;
	p.chunk_blocks = 3;
	expect(area_plan(&p, 1 << 30, &s) == -EINVAL);
	p.chunk_blocks = 512;
	expect(area_plan(&p, 1 << 30, &s) == -EINVAL);
	p.chunk_blocks = 4;
	p.limit_chunks = 1 << 30;
	expect(area_plan(&p, 1 << 30, &s) == -EINVAL);
	p.limit_chunks = 0;
	p.low_space = 101;
	expect(area_plan(&p, 1 << 30, &s) == -EINVAL);
}

static void super_set(struct device *d, u64 addr, size_t offset, u32 value)
{
	u8 *block = block_at(d, addr);
	u32 crc;

	value = htole32(value);
	memcpy(block + offset, &value, sizeof(value));
	crc = htole32(dms_crc(block + 4, DMS_BLOCK_SIZE - 4));
	memcpy(block, &crc, sizeof(crc));
}

static enum area_state state_of(struct device *d)
{
	struct area_info info;
	char text[160];

	expect(!area_probe(d->path, &info));
	expect(strlen(area_state_text(&info, text, sizeof(text))));
	return info.state;
}

static void test_probe(void)
{
	const size_t incompat = offsetof(struct dms_disk_super, incompat);
	const size_t version = offsetof(struct dms_disk_header, version);
	struct area_copies copies;
	struct area_params p;
	struct dms_super s;
	struct device d;
	u8 uuid[16] = { 0xab, 1 }, back[16];
	char text[37];

	doing = "probe";
	device_open(&d, 8 << 20);
	expect(state_of(&d) == AREA_BLANK);
	d.data[20000] = 1;
	expect(state_of(&d) == AREA_FOREIGN);
	d.data[20000] = 0;
	memcpy(d.data + 3, "NTFS    ", 8);
	expect(state_of(&d) == AREA_FOREIGN);
	area_params_init(&p);
	p.origin_sectors = 1000;
	memcpy(p.uuid, uuid, 16);
	strcpy(p.origin_id, "test");
	expect(!area_format(d.fd, &p, &s) && !memcmp(s.uuid, uuid, 16));
	expect(state_of(&d) == AREA_VALID);
	expect(!area_read_copies(d.path, &copies) && !copies.count && !copies.damaged);
	area_copies_free(&copies);

	memset(block_at(&d, DMS_SUPER_A_BLOCK), 0, DMS_BLOCK_SIZE);
	expect(state_of(&d) == AREA_VALID);
	block_at(&d, DMS_SUPER_B_BLOCK)[300] ^= 1;
	expect(state_of(&d) == AREA_DAMAGED);
	memset(block_at(&d, DMS_SUPER_B_BLOCK), 0, DMS_BLOCK_SIZE);
	expect(state_of(&d) == AREA_BLANK);
	expect(area_read_copies(d.path, &copies) == -ENODEV);

	expect(!area_format(d.fd, &p, &s));
	super_set(&d, DMS_SUPER_B_BLOCK, incompat, 0x80000000);
	expect(state_of(&d) == AREA_FEATURES);
	expect(!area_format(d.fd, &p, &s));
	super_set(&d, DMS_SUPER_B_BLOCK, version, DMS_FORMAT_VERSION + 1 + (DMS_BLOCK_SUPER << 16));
	expect(state_of(&d) == AREA_VERSION);
	expect(area_read_copies(d.path, &copies) == -EPROTONOSUPPORT);
	expect(!area_format(d.fd, &p, &s));
	expect(!ftruncate(d.fd, 7 << 20));
	expect(state_of(&d) == AREA_TRUNCATED);
	expect(area_read_copies(d.path, &copies) == -EUCLEAN);
	expect(!ftruncate(d.fd, 5000));
	expect(state_of(&d) == AREA_FOREIGN);
	expect(!ftruncate(d.fd, 0));
	expect(state_of(&d) == AREA_BLANK);
	device_close(&d);

	area_uuid_text(uuid, text);
	expect(!strcmp(text, "ab010000-0000-0000-0000-000000000000"));
	expect(!area_uuid_parse(text, back) && !memcmp(uuid, back, 16));
	expect(area_uuid_parse("ab01", back) == -EINVAL);
	expect(area_uuid_parse("ab010000-0000-0000-0000-0000000000000", back) == -EINVAL);
	expect(area_uuid_parse("ab010000-0000-0000-0000-00000000000g", back) == -EINVAL);
}

/* What comes from a diff area does nothing to a terminal. */
static void test_text(void)
{
	static const char hostile[] = "\x1b[2J\xe2\x80\xae\xe2\x81\xa6\xc2\x9b\x7f\xc3\xbc\xff\xe2\x80";
	static const char wanted[] = "\\x1b[2J\\xe2\\x80\\xae\\xe2\\x81\\xa6\\xc2\\x9b\\x7f\xc3\xbc\\xff\\xe2\\x80";
	auto_free char *clean = clean_string(hostile), *out = NULL;
	struct emit e;
	size_t size;
	FILE *f;

	doing = "text";
	expect(!strcmp(clean, wanted));
	f = open_memstream(&out, &size);
	emit_begin(&e, f, false);
	emit_text(&e, "t", hostile);
	emit_end(&e);
	fclose(f);
	expect(!strncmp(out, "t: ", 3) && !strncmp(out + 3, wanted, strlen(wanted)));
}

/* --- an area with everything in it ---------------------------------------- */

#define ENTRIES		400		/* of the large tree, two levels */
#define COPIES		3		/* ids 1 to 3; 4 is in the journal, 1 deleted there */

struct built {
	struct device dev;
	struct dms_super super;
	u32 cb;
	u64 next;			/* area chunk to use next */
	u64 meta_block, meta_left;	/* within the present metadata chunk */
	/* metadata blocks, for damaging */
	u64 meta[512];
	u32 nr_meta;
	u64 journal[8];
	u32 nr_journal;
};

static u64 built_block(struct built *b)
{
	if (!b->meta_left) {
		b->meta_block = b->next++ * b->cb;
		b->meta_left = b->cb;
	}
	b->meta_left--;
	expect(b->nr_meta < ARRAY_SIZE(b->meta));
	b->meta[b->nr_meta++] = b->meta_block;
	return b->meta_block++;
}

struct built_sink {
	struct dms_sink sink;
	struct built *b;
};

static u64 sink_alloc(struct dms_sink *s)
{
	return built_block(container_of(s, struct built_sink, sink)->b);
}

static int sink_write(struct dms_sink *s, u64 addr, const void *block)
{
	memcpy(block_at(&container_of(s, struct built_sink, sink)->b->dev, addr), block,
	       DMS_BLOCK_SIZE);
	return 0;
}

/* A run of saved chunks with some content; csums[length * cb]. */
static u64 built_data(struct built *b, u32 length, __le32 *csums)
{
	u64 where = b->next, i, n = (u64)length * b->cb;
	u8 *p = block_at(&b->dev, where * b->cb);

	b->next += length;
	for (i = 0; i < n * DMS_BLOCK_SIZE; i += 512)
		p[i] = (u8)rnd(256);
	for (i = 0; i < n; i++)
		csums[i] = cpu_to_le32(dms_crc(p + i * DMS_BLOCK_SIZE, DMS_BLOCK_SIZE));
	return where;
}

static struct built_sink new_sink(struct built *b)
{
	struct built_sink s = {
		.sink = { .alloc = sink_alloc, .write = sink_write, .chunk_blocks = b->cb,
			  .generation = b->super.generation, .sequence = b->super.sequence },
		.b = b,
	};

	memcpy(s.sink.uuid, b->super.uuid, 16);
	return s;
}

static void build_index(struct built *b, struct dms_tree tree[2])
{
	__le32 csums[8 * DMS_MAX_CHUNK_BLOCKS];
	struct built_sink s = new_sink(b);
	struct dms_builder *builder;
	struct dms_exception e;
	u32 i;

	doing = "building an index";
	builder = dms_builder_create(&s.sink);
	for (i = 0; i < ENTRIES; i++) {
		/* Gaps, so that nothing is joined; some chunks have two tags. */
		e = (struct dms_exception){ .chunk = 10 * i, .length = 1, .tag = 1 + i % 3 };
		e.kind = i % 7 == 3 ? DMS_KIND_ZERO : i % 31 == 9 ? DMS_KIND_UNREADABLE :
						     DMS_KIND_DATA;
		if (e.kind == DMS_KIND_DATA)
			e.where = built_data(b, e.length, csums);
		expect(!dms_builder_add(builder, &e, csums));
		if (i == 100) {		/* tag 2 now; copy 3 needs tag 3 */
			expect(e.tag == 2 && e.kind == DMS_KIND_DATA);
			e.tag = 3;
			e.where = built_data(b, e.length, csums);
			expect(!dms_builder_add(builder, &e, csums));
		}
	}
	expect(!dms_builder_finish(builder, &tree[0]));
	expect(tree[0].depth == 2);
	dms_builder_destroy(builder);

	s = new_sink(b);
	builder = dms_builder_create(&s.sink);
	/* Before tag 2 of chunk 1000 there is tag 1: only copy 2 needs the former. */
	e = (struct dms_exception){ .chunk = 1000, .length = 1, .tag = 1, .kind = DMS_KIND_DATA };
	e.where = built_data(b, 1, csums);
	expect(!dms_builder_add(builder, &e, csums));
	e = (struct dms_exception){ .chunk = 5005, .length = 3, .tag = 3, .kind = DMS_KIND_DATA };
	e.where = built_data(b, 3, csums);
	expect(!dms_builder_add(builder, &e, csums));
	expect(!dms_builder_finish(builder, &tree[1]));
	dms_builder_destroy(builder);
}

static void build_exempt(struct built *b, struct dms_shadow_info *info)
{
	struct built_sink s = new_sink(b);
	struct dms_builder *builder = dms_builder_create(&s.sink);
	struct dms_exception e = { .length = 5, .tag = info->id, .kind = DMS_KIND_EXEMPT };
	u32 i;

	doing = "building an exempt tree";
	for (i = 0; i < 300; i++) {
		e.chunk = 6000 + 10 * i;
		expect(!dms_builder_add(builder, &e, NULL));
	}
	expect(!dms_builder_finish(builder, &info->exempt));
	dms_builder_destroy(builder);
	info->exempt_chunks = 1500;
	info->flags |= DMS_SHADOW_EXEMPT;
}

static void fill_info(struct dms_shadow_info *info, u32 id)
{
	memset(info, 0, sizeof(*info));
	info->id = id;
	info->origin_sectors = 1 << 20;
	info->created = 1700000000 + id;
	info->set_members = 1;
	memset(info->uuid, (int)id, 16);
	memcpy(info->set_uuid, info->uuid, 16);
	info->attr_size = (u32)sprintf((char *)info->attr, "{\"name\":\"copy %u \\\"\"}\x01\xff", id);
}

static u32 seal_block(struct built *b, u64 addr, u16 type, u32 count)
{
	struct dms_header h = {
		.block = addr, .generation = b->super.generation, .sequence = b->super.sequence,
		.type = type, .count = count,
	};

	return dms_block_seal(block_at(&b->dev, addr), &h, b->super.uuid);
}

static void build_root(struct built *b, const struct dms_tree tree[2])
{
	static struct dms_shadow_info info;
	struct dms_disk_shadow_ref ref[COPIES];
	struct dms_root root = {
		.journal_sequence = 5, .epoch = COPIES, .nr_shadows = COPIES, .nr_trees = 2,
		.nr_prints = 1,
	};
	u8 *payload;
	u64 addr;
	u32 i, crc;

	doing = "building the root";
	for (i = 0; i < COPIES; i++) {
		fill_info(&info, i + 1);
		if (info.id == 2)
			build_exempt(b, &info);
		addr = built_block(b);
		dms_shadow_pack((struct dms_disk_shadow *)(block_at(&b->dev, addr) + 64), &info);
		crc = seal_block(b, addr, DMS_BLOCK_SHADOW, 1);
		ref[i] = (struct dms_disk_shadow_ref){ cpu_to_le32(info.id), cpu_to_le32(crc),
						       cpu_to_le64(addr) };
	}
	addr = built_block(b);
	root.used_chunks = b->next;
	payload = block_at(&b->dev, addr) + 64 + sizeof(struct dms_disk_pointer);
	dms_root_pack((struct dms_disk_root *)payload, &root);
	payload += sizeof(struct dms_disk_root);
	memcpy(payload, ref, sizeof(ref));
	payload += sizeof(ref);
	for (i = 0; i < 2; i++) {
		dms_tree_pack((struct dms_disk_tree *)payload, &tree[i]);
		payload += sizeof(struct dms_disk_tree);
	}
	payload += sizeof(struct dms_disk_print);
	memset(payload, 0xff, (b->super.bitmap_pairs + 7) / 8);	/* the second of each pair */
	payload += (b->super.bitmap_pairs + 7) / 8;
	b->super.root.block = addr;
	b->super.root_blocks = 1;
	b->super.root.crc = seal_block(b, addr, DMS_BLOCK_ROOT,
				       (u32)(payload - block_at(&b->dev, addr) - 80));
}

static void build_bitmap(struct built *b)
{
	u64 pair, n;

	for (pair = 0; pair < b->super.bitmap_pairs; pair++) {
		u64 addr = b->super.bitmap_block + 2 * pair + 1;
		u8 *bits = block_at(&b->dev, addr) + 64;

		memset(bits, 0, DMS_PAYLOAD_SIZE);
		for (n = 0; n < DMS_BITMAP_BITS; n++) {
			if (pair * DMS_BITMAP_BITS + n < b->next)
				bits[n / 8] |= 1u << n % 8;
		}
		seal_block(b, addr, DMS_BLOCK_BITMAP, DMS_PAYLOAD_SIZE);
		b->meta[b->nr_meta++] = addr;
	}
}

/* Blocks 5 to 8; all but the last are promised by the one behind. */
static void build_journal(struct built *b)
{
	static struct dms_shadow_info info;
	__le32 csums[2 * DMS_MAX_CHUNK_BLOCKS];
	u32 host[2 * DMS_MAX_CHUNK_BLOCKS], i;
	struct dms_journal_block j;
	struct dms_exception e;
	u64 sequence;

	doing = "building a journal";
	for (sequence = 5; sequence < 9; sequence++) {
		u64 addr = b->super.journal_block + sequence % b->super.journal_blocks;

		dms_journal_begin(&j, block_at(&b->dev, addr));
		e = (struct dms_exception){ .chunk = 20000 + 10 * sequence, .length = 2, .tag = 3,
					    .kind = DMS_KIND_DATA };
		e.where = built_data(b, 2, csums);
		for (i = 0; i < 2 * b->cb; i++)
			host[i] = le32_to_cpu(csums[i]);
		expect(dms_journal_add_save(&j, &e, host, b->cb));
		if (sequence == 6) {
			fill_info(&info, 4);
			expect(dms_journal_add_shadow(&j, &info));
			expect(dms_journal_add_delete(&j, 1));
		} else if (sequence == 7 && b->cb < 64) {
			/* From before the checkpoint's descriptor had exempt runs. */
			fill_info(&info, 2);
			expect(dms_journal_add_shadow(&j, &info));
		}
		dms_journal_seal(&j, addr, sequence, b->super.generation, sequence,
				 b->super.uuid);
		b->journal[b->nr_journal++] = addr;
	}
}

static void build(struct built *b, u32 cb)
{
	struct dms_tree tree[2];
	struct area_params p;
	u64 bytes = (u64)cb * DMS_BLOCK_SIZE * 2048 + area_min_bytes(cb);

	memset(b, 0, sizeof(*b));
	b->cb = cb;
	doing = "formatting";
	device_open(&b->dev, bytes);
	area_params_init(&p);
	p.chunk_blocks = cb;
	p.origin_sectors = 1 << 20;
	p.created = 1700000000;
	memset(p.uuid, 0x5a, 16);
	strcpy(p.origin_id, "disk:test name");
	expect(!area_format(b->dev.fd, &p, &b->super));
	/* Where the empty area's root was there is space now. */
	b->next = b->super.root.block / cb;
	b->super.generation = 2;
	b->super.sequence = 7;
	b->super.flags = 0;
	build_index(b, tree);
	build_root(b, tree);
	build_bitmap(b);
	build_journal(b);
	dms_super_pack(block_at(&b->dev, DMS_SUPER_B_BLOCK), DMS_SUPER_B_BLOCK, &b->super);
	b->meta[b->nr_meta++] = DMS_SUPER_A_BLOCK;
	b->meta[b->nr_meta++] = DMS_SUPER_B_BLOCK;
}

/* --- damage --------------------------------------------------------------- */

static void test_built(struct built *b)
{
	struct check_summary sum;
	struct area_copies copies;
	struct seen seen = { .print = true };
	char *text, *again;

	doing = "checking a built area";
	expect(!run_check(&b->dev, true, &seen, &sum));
	expect(!sum.damage && !sum.warnings && !sum.notes);
	expect(sum.copies == 3 && sum.trees == 2 && sum.journal_blocks == 4);
	expect(sum.journal_saves == 4 && sum.entries == ENTRIES + 1 + 2);
	expect(sum.used_chunks && !sum.leaked_chunks && sum.verified_blocks);
	expect(!area_read_copies(b->dev.path, &copies));
	expect(copies.count == 3 && copies.copies[0].id == 2 && copies.copies[2].id == 4);
	expect(copies.root.epoch == 4 && !copies.damaged);
	expect(copies.copies[0].exempt.depth && copies.copies[0].exempt_chunks == 1500);
	area_copies_free(&copies);

	doing = "dumping";
	expect(!run_dump(&b->dev, false, &text));
	expect(strstr(text, "\n  uuid: 5a5a5a5a-5a5a-5a5a-5a5a-5a5a5a5a5a5a\n"));
	expect(strstr(text, "- chunk 0 length 1 tag 1 kind data where "));
	expect(strstr(text, "attributes: {\"name\":\"copy 2 \\\\\"\"}\\x01\\xff\n"));
	expect(!run_dump(&b->dev, false, &again) && !strcmp(text, again));
	free(again);
	free(text);
	expect(!run_dump(&b->dev, true, &text));
	expect(text[0] == '{' && strstr(text, "\"name\\\":\\\"copy 2 "));
	free(text);
}

/* Every metadata block, damaged in several ways, is found. */
static void test_each_block(struct built *b)
{
	u8 saved[DMS_BLOCK_SIZE], *block;
	struct check_summary sum;
	struct seen seen = { .print = false };
	struct area_copies copies;
	char *text, what[80];
	u32 i, way;

	for (i = 0; i < b->nr_meta + b->nr_journal - 1; i++) {
		u64 addr = i < b->nr_meta ? b->meta[i] : b->journal[i - b->nr_meta];

		block = block_at(&b->dev, addr);
		memcpy(saved, block, DMS_BLOCK_SIZE);
		for (way = 0; way < 4; way++) {
			snprintf(what, sizeof(what), "damaging block %llu, way %u",
				 (unsigned long long)addr, way);
			doing = what;
			switch (way) {
			case 0:
				block[rnd(DMS_BLOCK_SIZE)] ^= (u8)(1u << rnd(8));
				break;
			case 1:
				memset(block, 0, DMS_BLOCK_SIZE);
				break;
			case 2:		/* a write that went to the wrong place */
				memcpy(block, block_at(&b->dev, b->meta[(i + 1) % b->nr_meta]),
				       DMS_BLOCK_SIZE);
				break;
			case 3:		/* half of it is older */
				memset(block + 2048, 0x77, 2048);
				break;
			}
			expect(!run_check(&b->dev, false, &seen, &sum));
			expect(sum.damage == seen.count && seen.count);
			run_dump(&b->dev, false, &text);
			free(text);
			if (!area_read_copies(b->dev.path, &copies))
				area_copies_free(&copies);
			memcpy(block, saved, DMS_BLOCK_SIZE);
		}
	}
	doing = "putting blocks back";
	expect_clean(&b->dev);
}

/* Where is the entry for @chunk with @tag?  From the dump, as a user would. */
static u64 where_of(struct built *b, u64 chunk, u32 tag)
{
	char want[80], *text, *line;
	u64 where;

	run_dump(&b->dev, false, &text);
	snprintf(want, sizeof(want), "- chunk %llu length 1 tag %u kind data where ",
		 (unsigned long long)chunk, tag);
	line = strstr(text, want);
	expect(line);
	where = strtoull(line + strlen(want), NULL, 10);
	free(text);
	return where;
}

static void test_data(struct built *b)
{
	struct check_summary sum;
	struct seen seen = { .print = false };
	u8 *p;

	doing = "damaging saved data";
	p = block_at(&b->dev, where_of(b, 1000, 2) * b->cb) + 100;
	*p ^= 1;
	expect(!run_check(&b->dev, false, &seen, &sum) && !sum.damage);
	expect(!run_check(&b->dev, true, &seen, &sum) && sum.damage == 1);
	expect(!strcmp(seen.object, "data") && seen.chunk == 1000 && seen.chunks == 1);
	expect(seen.nr_copies == 1 && seen.copies[0] == 2);
	*p ^= 1;

	/* Tag 1 of chunk 1000 was for copy 1, which the journal deletes. */
	p = block_at(&b->dev, where_of(b, 1000, 1) * b->cb);
	*p ^= 1;
	expect(!run_check(&b->dev, true, &seen, &sum));
	expect(!sum.damage && sum.notes == 1);
	*p ^= 1;

	/* Tag 3 is for 3 alone where 2 has its own, else for both. */
	p = block_at(&b->dev, where_of(b, 1000, 3) * b->cb);
	*p ^= 1;
	expect(!run_check(&b->dev, true, &seen, &sum) && sum.damage == 1);
	expect(seen.nr_copies == 1 && seen.copies[0] == 3);
	*p ^= 1;
	p = block_at(&b->dev, where_of(b, 20, 3) * b->cb);
	*p ^= 1;
	expect(!run_check(&b->dev, true, &seen, &sum) && sum.damage == 1);
	expect(seen.nr_copies == 2 && seen.copies[0] == 2 && seen.copies[1] == 3);
	*p ^= 1;
}

static void test_bitmap(struct built *b)
{
	u64 addr = b->super.bitmap_block + 1;
	struct check_summary sum;
	struct seen seen = { .print = false };
	u8 *bits = block_at(&b->dev, addr) + 64;
	u64 free_chunk = dms_super_chunks(&b->super) - 1;

	doing = "damaging the bitmap";
	expect(b->super.bitmap_pairs == 1);
	bits[free_chunk / 8] |= 1u << free_chunk % 8;
	seal_block(b, addr, DMS_BLOCK_BITMAP, DMS_PAYLOAD_SIZE);
	expect(!run_check(&b->dev, false, &seen, &sum));
	expect(!sum.damage && sum.leaked_chunks == 1 && sum.warnings == 1);
	bits[free_chunk / 8] &= ~(1u << free_chunk % 8);
	bits[0] &= ~1;
	seal_block(b, addr, DMS_BLOCK_BITMAP, DMS_PAYLOAD_SIZE);
	expect(!run_check(&b->dev, false, &seen, &sum));
	expect(sum.damage == 1 && !strcmp(seen.object, "bitmap"));
	bits[0] |= 1;
	seal_block(b, addr, DMS_BLOCK_BITMAP, DMS_PAYLOAD_SIZE);
	expect_clean(&b->dev);
}

static void test_journal_end(struct built *b)
{
	u64 last = b->journal[b->nr_journal - 1];
	struct check_summary sum;
	struct seen seen = { .print = false };
	u8 *p = block_at(&b->dev, last);

	/* Torn at a crash: the last block, or the data of its save. */
	doing = "tearing the journal's end";
	p[200] ^= 1;
	expect(!run_check(&b->dev, true, &seen, &sum));
	expect(!sum.damage && sum.journal_blocks == 3);
	p[200] ^= 1;
	p = block_at(&b->dev, (b->next - 1) * b->cb);
	p[0] ^= 1;
	expect(!run_check(&b->dev, false, &seen, &sum));
	expect(!sum.damage && sum.notes == 1 && sum.journal_blocks == 3);
	p[0] ^= 1;

	/* One that others promised. */
	doing = "damaging the journal";
	p = block_at(&b->dev, b->journal[1]);
	p[200] ^= 1;
	expect(!run_check(&b->dev, false, &seen, &sum));
	expect(sum.damage == 1 && !strcmp(seen.object, "journal"));
	expect(seen.nr_copies == 3 && seen.chunks == 0);
	p[200] ^= 1;
	expect_clean(&b->dev);
}

/* The newest superblock is lost, and the one before is of an older activation. */
static void test_stale(struct built *b)
{
	u64 addr = b->super.journal_block + 100 % b->super.journal_blocks;
	struct dms_journal_block j;
	u8 saved[DMS_BLOCK_SIZE];
	struct check_summary sum;
	struct seen seen = { .print = false };

	doing = "losing the newest superblock";
	memcpy(saved, block_at(&b->dev, addr), DMS_BLOCK_SIZE);
	dms_journal_begin(&j, block_at(&b->dev, addr));
	expect(dms_journal_add_delete(&j, 1));
	dms_journal_seal(&j, addr, 100, b->super.generation + 1, 100, b->super.uuid);
	expect(!run_check(&b->dev, false, &seen, &sum) && sum.damage == 1);
	expect(!strcmp(seen.object, "superblock") && seen.nr_copies == 3 && !seen.chunks);
	dms_journal_begin(&j, block_at(&b->dev, addr));
	expect(dms_journal_add_delete(&j, 1));
	dms_journal_seal(&j, addr, 100, b->super.generation - 1, 100, b->super.uuid);
	expect_clean(&b->dev);
	memcpy(block_at(&b->dev, addr), saved, DMS_BLOCK_SIZE);
}

/* --- hostile -------------------------------------------------------------- */

static u64 headers[1024];
static u32 nr_headers;

/* Put the checksum of @addr right, and of all that leads to it. */
static void reseal(struct built *b, u64 addr, u32 depth)
{
	u8 *block = block_at(&b->dev, addr), *p;
	u32 old, crc, i, at;
	__le64 wanted = cpu_to_le64(addr);

	memcpy(&old, block, 4);
	crc = htole32(dms_crc(block + 4, DMS_BLOCK_SIZE - 4));
	memcpy(block, &crc, 4);
	if (old == crc || depth > 6)
		return;
	for (i = 0; i < nr_headers; i++) {
		bool found = false;

		p = block_at(&b->dev, headers[i]);
		for (at = 64; at + 16 <= DMS_BLOCK_SIZE; at += 4) {
			/* A pointer has the crc behind, keys and refs before. */
			if (!memcmp(p + at, &wanted, 8) && !memcmp(p + at + 8, &old, 4)) {
				memcpy(p + at + 8, &crc, 4);
				found = true;
			} else if (!memcmp(p + at, &wanted, 8) && !memcmp(p + at - 4, &old, 4)) {
				memcpy(p + at - 4, &crc, 4);
				found = true;
			}
		}
		if (found)
			reseal(b, headers[i], depth + 1);
	}
}

static void damage_field(struct built *b, u64 addr)
{
	static const u64 odd[] = { 0, 1, 2, 8, 15, 16, 255, 4096, 65535, 0x7fffffff, 0xffffffff,
				   1ull << 40, 1ull << 51, 1ull << 63, ~0ull };
	u8 *block = block_at(&b->dev, addr);
	u32 size = 1u << rnd(4), at = (u32)rnd(rnd(2) ? 600 : DMS_BLOCK_SIZE);
	u64 value = odd[rnd(ARRAY_SIZE(odd))];

	at &= ~(size - 1);
	if (at < 4 || at + size > DMS_BLOCK_SIZE)
		at = 64;
	if (rnd(3) == 0)
		value = rnd(b->super.area_blocks);
	memcpy(block + at, &value, size);
}

static void test_hostile(struct built *b, u32 rounds)
{
	u64 bytes = b->dev.bytes;
	u8 *whole = malloc(bytes);
	struct check_summary sum;
	struct area_copies copies;
	struct seen seen = { .print = false };
	u32 i, k;
	char *text;

	expect(whole);
	memcpy(whole, b->dev.data, bytes);
	nr_headers = 0;
	for (i = 0; i < b->nr_meta; i++)
		headers[nr_headers++] = b->meta[i];
	for (i = 0; i < b->nr_journal; i++)
		headers[nr_headers++] = b->journal[i];
	for (i = 0; i < rounds; i++) {
		doing = "hostile input";
		for (k = (u32)rnd(4); k <= 3; k++) {
			u64 addr = headers[rnd(nr_headers)];

			damage_field(b, addr);
			reseal(b, addr, 0);
		}
		run_check(&b->dev, i % 2, &seen, &sum);
		run_dump(&b->dev, i % 2, &text);
		free(text);
		if (!area_read_copies(b->dev.path, &copies))
			area_copies_free(&copies);
		for (k = 0; k < nr_headers; k++)
			memcpy(block_at(&b->dev, headers[k]),
			       whole + (headers[k] << DMS_BLOCK_SHIFT), DMS_BLOCK_SIZE);
	}
	free(whole);
	doing = "putting hostile input right";
	expect_clean(&b->dev);
}

int main(void)
{
	static const u32 chunk_blocks[] = { 1, 4, 64 };
	static struct built b;
	const char *seed = getenv("SEED"), *rounds = getenv("ROUNDS");
	u32 i;

	random_state = seed ? strtoull(seed, NULL, 0) : (u64)time(NULL);
	printf("# SEED=%llu\n", (unsigned long long)random_state);
	fflush(stdout);
	if (!random_state)
		random_state = 1;
	test_text();
	test_probe();
	test_format();
	for (i = 0; i < ARRAY_SIZE(chunk_blocks); i++) {
		build(&b, chunk_blocks[i]);
		test_built(&b);
		test_each_block(&b);
		test_data(&b);
		test_bitmap(&b);
		test_journal_end(&b);
		test_stale(&b);
		test_hostile(&b, rounds ? (u32)atoi(rounds) : chunk_blocks[i] == 64 ? 20 : 500);
		device_close(&b.dev);
	}
	printf("ok - all as expected\n");
	return 0;
}
