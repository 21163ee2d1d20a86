// SPDX-License-Identifier: GPL-2.0-only
#include "host.h"
#include "format-core.h"
#include "test.h"

#define CRC_SKIP	4	/* .crc itself */

static u8 block[DMS_BLOCK_SIZE] __attribute__((aligned(8)));
static u8 uuid[16];

static void reseal(void *data)
{
	struct dms_disk_header *d = data;

	d->crc = cpu_to_le32(dms_crc(data + CRC_SKIP, DMS_BLOCK_SIZE - CRC_SKIP));
}

/* --- checksums --- */

static void test_crc(void)
{
	u8 data[300];
	u32 crc;

	CHECK_EQ(dms_crc("123456789", 9), 0xe3069283);
	CHECK_EQ(dms_crc("", 0), 0);
	for (int round = 0; round < 200; round++) {
		size_t size = rnd_below(sizeof(data));

		rnd_fill(data, sizeof(data));
		crc = ~0u;
		for (size_t i = 0; i < size; i++) {
			crc ^= data[i];
			for (int bit = 0; bit < 8; bit++)
				crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
		}
		CHECK_EQ(dms_crc(data, size), ~crc);
	}
}

static void test_zero(void)
{
	u64 data[100] = {};
	size_t size, at;

	for (size = 0; size <= sizeof(data); size += 8) {
		CHECK(dms_is_zero(data, size));
		for (at = 0; at < size; at++) {
			((u8 *)data)[at] = 1 << rnd_below(8);
			CHECK(!dms_is_zero(data, size));
			CHECK(dms_is_zero(data, at & ~7));
			((u8 *)data)[at] = 0;
		}
	}
}

/* --- blocks --- */

static void test_block(void)
{
	struct dms_header h = { .block = 4711, .generation = 3, .sequence = ~0ULL,
				.type = DMS_BLOCK_LEAF, .count = 2, .csums = 7 };
	struct dms_disk_header *d = (void *)block;
	struct dms_header got;
	u8 other[16];
	u32 crc, wrong;

	rnd_fill(block, sizeof(block));
	rnd_fill(uuid, sizeof(uuid));
	memcpy(other, uuid, sizeof(other));
	other[rnd_below(16)] ^= 1;

	crc = dms_block_seal(block, &h, uuid);
	wrong = crc ^ 1;
	CHECK_EQ(dms_block_check(block, 4711, DMS_BLOCK_LEAF, uuid, &crc, &got), 0);
	CHECK(got.block == h.block && got.generation == h.generation &&
	      got.sequence == h.sequence && got.type == h.type && got.count == h.count &&
	      got.csums == h.csums);
	CHECK_EQ(dms_block_check(block, 4711, DMS_BLOCK_LEAF, NULL, NULL, NULL), 0);
	CHECK_EQ(dms_block_check(block, 4711, DMS_BLOCK_LEAF, uuid, &wrong, NULL), -EUCLEAN);
	CHECK_EQ(dms_block_check(block, 4712, DMS_BLOCK_LEAF, uuid, &crc, NULL), -EUCLEAN);
	CHECK_EQ(dms_block_check(block, 4711, DMS_BLOCK_NODE, uuid, &crc, NULL), -EUCLEAN);
	CHECK_EQ(dms_block_check(block, 4711, DMS_BLOCK_LEAF, other, &crc, NULL), -ESTALE);

	d->version = cpu_to_le16(DMS_FORMAT_VERSION + 1);
	reseal(block);
	CHECK_EQ(dms_block_check(block, 4711, DMS_BLOCK_LEAF, uuid, NULL, NULL),
		 -EPROTONOSUPPORT);
}

static void test_block_counts(void)
{
	static const struct {
		u16 type;
		u32 count, csums;
		bool fits;
	} samples[] = {
		{ DMS_BLOCK_LEAF, 126, 0, true },
		{ DMS_BLOCK_LEAF, 127, 0, false },
		{ DMS_BLOCK_LEAF, 0, 0, false },
		{ DMS_BLOCK_LEAF, 2, 992, true },
		{ DMS_BLOCK_LEAF, 2, 993, false },
		{ DMS_BLOCK_LEAF, 2, 0xfffffff0, false },
		{ DMS_BLOCK_LEAF, 0x8000000, 0, false },
		{ DMS_BLOCK_NODE, 168, 0, true },
		{ DMS_BLOCK_NODE, 169, 0, false },
		{ DMS_BLOCK_NODE, 0, 0, false },
		{ DMS_BLOCK_ROOT, 4016, 0, true },
		{ DMS_BLOCK_ROOT, 4017, 0, false },
		{ DMS_BLOCK_JOURNAL, 4016, 0, true },
		{ DMS_BLOCK_JOURNAL, 4017, 0, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		struct dms_header h = { .block = 20, .type = samples[i].type,
					.count = samples[i].count, .csums = samples[i].csums };

		dms_block_seal(block, &h, uuid);
		CHECK_EQ(dms_block_check(block, 20, samples[i].type, uuid, NULL, NULL),
			 samples[i].fits ? 0 : -EUCLEAN);
	}
}

/* Whatever single byte is changed, in whatever block: it shows. */
static void test_flips(void)
{
	for (u16 type = DMS_BLOCK_SUPER; type <= DMS_BLOCK_NODE; type++) {
		struct dms_header h = { .block = 16 + type, .type = type, .count = 1 };

		rnd_fill(block, sizeof(block));
		dms_block_seal(block, &h, uuid);
		for (u32 at = 0; at < DMS_BLOCK_SIZE; at++) {
			u8 flip = rnd_range(1, 255);

			block[at] ^= flip;
			CHECK_EQ(dms_block_check(block, h.block, type, uuid, NULL, NULL),
				 -EUCLEAN);
			block[at] ^= flip;
		}
		CHECK_EQ(dms_block_check(block, h.block, type, uuid, NULL, NULL), 0);
	}
}

/* --- superblock --- */

static void super_example(struct dms_super *s)
{
	memset(s, 0, sizeof(*s));
	rnd_fill(s->uuid, sizeof(s->uuid));
	s->generation = rnd();
	s->sequence = rnd();
	s->compat = rnd();
	s->ro_compat = rnd();
	s->flags = DMS_SUPER_CLEAN;
	s->chunk_blocks = 16;
	s->bitmap_pairs = 3;
	s->area_blocks = 1000000;
	s->journal_block = 16;
	s->journal_blocks = 4096;
	s->bitmap_block = 5000;
	s->origin_sectors = rnd_below(1ULL << 54);
	snprintf(s->origin_id, sizeof(s->origin_id), "volume-%08" PRIx64, (uint64_t)rnd());
	s->when_full = rnd_below(3);
	s->full_timeout = rnd_below(DMS_MAX_FULL_TIMEOUT + 1);
	s->limit_chunks = rnd();
	s->low_space = rnd_below(101);
	s->created = rnd();
	s->root.block = 6000;
	s->root.crc = rnd();
	s->root_blocks = 2;
}

static int super_pass(const struct dms_super *s, struct dms_super *ret)
{
	memset(ret, 0, sizeof(*ret));
	dms_super_pack(block, DMS_SUPER_B_BLOCK, s);
	return dms_super_unpack(block, DMS_SUPER_B_BLOCK, ret);
}

static void test_super(void)
{
	struct dms_disk_super *d = (void *)block;
	struct dms_super s, got;

	for (int round = 0; round < 100; round++) {
		super_example(&s);
		CHECK_EQ(super_pass(&s, &got), 0);
		CHECK(!memcmp(&s, &got, sizeof(s)));
		CHECK_EQ(dms_super_chunks(&s), 62500);
		CHECK_EQ(dms_super_unpack(block, DMS_SUPER_A_BLOCK, &got), -EUCLEAN);
	}

	super_example(&s);
	s.root.block = s.root.crc = s.root_blocks = 0;
	CHECK_EQ(super_pass(&s, &got), 0);

	/* A wait of years is one of a day. */
	s.full_timeout = U32_MAX;
	CHECK_EQ(super_pass(&s, &got), 0);
	CHECK_EQ(got.full_timeout, DMS_MAX_FULL_TIMEOUT);

	super_example(&s);
	s.incompat = 1u << 31;
	CHECK_EQ(super_pass(&s, &got), -EPROTONOSUPPORT);

	super_example(&s);
	dms_super_pack(block, 0, &s);
	d->name[15] = 'x';
	reseal(block);
	CHECK_EQ(dms_super_unpack(block, 0, &got), -EUCLEAN);

	dms_super_pack(block, 0, &s);
	memset(d->origin_id, 'x', sizeof(d->origin_id));
	reseal(block);
	CHECK_EQ(dms_super_unpack(block, 0, &got), -EUCLEAN);

	/* An id that is too long is cut, not run over. */
	memset(s.origin_id, 'x', sizeof(s.origin_id));
	CHECK_EQ(super_pass(&s, &got), 0);
	CHECK_EQ(strlen(got.origin_id), 63);
}

/* Mark @length blocks from @first on; false if one is outside or taken. */
static bool mark(u8 *map, u64 area, u64 first, u64 length)
{
	for (u64 i = 0; i < length; i++)
		if (first + i >= area || map[first + i]++)
			return false;
	return true;
}

/* Random small geometries, against marking every block in a map. */
static void test_geometry(void)
{
	u32 valid = 0;

	for (int round = 0; round < 20000; round++) {
		struct dms_super s, got;
		u8 map[400] = {};
		bool good;

		super_example(&s);
		s.area_blocks = rnd_range(0, 200);
		s.chunk_blocks = rnd_once(4) ? rnd_below(260) : 1u << rnd_below(5);
		s.bitmap_pairs = rnd_once(8) ? rnd_below(40) : rnd_range(0, 2);
		s.journal_block = rnd_range(8, 150);
		s.journal_blocks = rnd_range(14, 60);
		s.bitmap_block = rnd_range(8, 200);
		s.root.block = rnd_once(8) ? 0 : rnd_range(10, 200);
		s.root_blocks = rnd_range(0, 20);

		good = s.chunk_blocks && s.chunk_blocks <= 256 &&
		       !(s.chunk_blocks & (s.chunk_blocks - 1)) && s.bitmap_pairs &&
		       s.journal_blocks >= 16 && mark(map, s.area_blocks, 0, 16) &&
		       mark(map, s.area_blocks, s.journal_block, s.journal_blocks) &&
		       mark(map, s.area_blocks, s.bitmap_block, 2 * s.bitmap_pairs);
		if (good && s.root.block)
			good = s.root_blocks && mark(map, s.area_blocks, s.root.block, 1);
		else if (good)
			good = !s.root_blocks;
		CHECK_EQ(super_pass(&s, &got), good ? 0 : -EUCLEAN);
		valid += good;
	}
	CHECK(valid > 20);
}

static void test_geometry_limits(void)
{
	static const u64 huge[] = { U64_MAX, U64_MAX - 15, 1ULL << 63, 1ULL << 52, 1ULL << 32 };
	struct dms_super s, got;

#define REFUSED(change)							\
	do {								\
		super_example(&s);					\
		change;							\
		CHECK_EQ(super_pass(&s, &got), -EUCLEAN);		\
	} while (0)

	for (size_t i = 0; i < ARRAY_SIZE(huge); i++) {
		REFUSED(s.area_blocks = huge[i]);
		REFUSED(s.journal_block = huge[i]);
		REFUSED(s.journal_blocks = huge[i]);
		REFUSED(s.bitmap_block = huge[i]);
		REFUSED(s.root.block = huge[i]);
	}
	REFUSED(s.bitmap_pairs = U32_MAX);
	REFUSED(s.bitmap_pairs = 1);		/* too few for the chunks */
	REFUSED(s.root_blocks = U32_MAX);
	REFUSED(s.root_blocks = DMS_MAX_ROOT_BLOCKS + 1);
	REFUSED(s.origin_sectors = U64_MAX);
	REFUSED(s.chunk_blocks = 0);
	REFUSED(s.chunk_blocks = 512);
	REFUSED(s.when_full = 3);
	REFUSED(s.low_space = 101);
#undef REFUSED
}

/* --- root, trees, shadow copies --- */

static void test_root_part(void)
{
	struct dms_disk_root_part *part = (void *)(block + sizeof(struct dms_disk_header));
	struct dms_header h = { .block = 33, .type = DMS_BLOCK_ROOT, .count = 4016 }, got;
	struct dms_pointer next = { .block = rnd(), .crc = rnd() }, read;
	u32 crc;

	CHECK_EQ(sizeof(*part), DMS_PAYLOAD_SIZE);
	memset(part->data, 0x5a, sizeof(part->data));
	crc = dms_root_seal(block, &h, &next, uuid);
	CHECK_EQ(dms_block_check(block, 33, DMS_BLOCK_ROOT, uuid, &crc, &got), 0);
	read = dms_root_next(block);
	CHECK_EQ(read.block, next.block);
	CHECK_EQ(read.crc, next.crc);
	CHECK_EQ(part->data[0], 0x5a);
	CHECK_EQ(part->data[4015], 0x5a);
}

static void tree_example(struct dms_tree *t)
{
	memset(t, 0, sizeof(*t));
	if (rnd_once(4))
		return;
	t->root.block = rnd_range(16, 999);
	t->root.crc = rnd();
	t->depth = rnd_range(1, DMS_MAX_DEPTH);
	t->blocks = t->depth == 1 ? 1 : rnd_range(t->depth, 1000);
	t->entries = rnd_range(1, U64_MAX);
	t->first_chunk = rnd_below(1000);
	t->last_chunk = rnd_range(t->first_chunk, DMS_MAX_BLOCKS - 1);
	t->min_tag = rnd_below(1000);
	t->max_tag = rnd_range(t->min_tag, U32_MAX);
}

static void test_root(void)
{
	struct dms_root r = {}, got;
	struct dms_disk_root d;

	for (int round = 0; round < 100; round++) {
		r.journal_sequence = rnd();
		r.epoch = rnd_range(10, U32_MAX);
		r.nr_shadows = rnd_below(DMS_MAX_SHADOWS + 1);
		r.nr_trees = rnd_below(DMS_MAX_TREES + 1);
		r.nr_prints = rnd_below(DMS_MAX_PRINTS + 1);
		r.used_chunks = rnd_below(DMS_MAX_BLOCKS);
		r.merge_shadow = rnd_below(10);
		r.merge_epoch = r.merge_shadow ? rnd_range(1, r.epoch) : 0;
		r.merge_cursor = rnd_below(DMS_MAX_BLOCKS);
		dms_root_pack(&d, &r);
		CHECK_EQ(dms_root_unpack(&d, &got), 0);
		CHECK(!memcmp(&r, &got, sizeof(r)));
	}

#define REFUSED(field, value)						\
	do {								\
		struct dms_root bad = r;				\
		bad.merge_shadow = bad.merge_epoch = 1;			\
		bad.field = value;					\
		dms_root_pack(&d, &bad);				\
		CHECK_EQ(dms_root_unpack(&d, &got), -EUCLEAN);		\
	} while (0)

	REFUSED(nr_shadows, DMS_MAX_SHADOWS + 1);
	REFUSED(nr_trees, U32_MAX);
	REFUSED(nr_prints, U32_MAX);
	REFUSED(used_chunks, U64_MAX);
	REFUSED(merge_epoch, 0);
	REFUSED(merge_cursor, U64_MAX);
	REFUSED(epoch, 0);
#undef REFUSED
}

static void test_tree(void)
{
	struct dms_tree t, got;
	struct dms_disk_tree d;

	for (int round = 0; round < 200; round++) {
		tree_example(&t);
		dms_tree_pack(&d, &t);
		CHECK_EQ(dms_tree_unpack(&d, 1000, &got), 0);
		CHECK(!memcmp(&t, &got, sizeof(t)));
	}

	do {
		tree_example(&t);
	} while (t.depth < 2);
#define REFUSED(field, value)						\
	do {								\
		struct dms_tree bad = t;				\
		bad.field = value;					\
		dms_tree_pack(&d, &bad);				\
		CHECK_EQ(dms_tree_unpack(&d, 1000, &got), -EUCLEAN);	\
	} while (0)

	REFUSED(depth, DMS_MAX_DEPTH + 1);
	REFUSED(depth, U32_MAX);
	REFUSED(depth, 1);
	REFUSED(root.block, 15);
	REFUSED(root.block, 1000);
	REFUSED(root.block, U64_MAX);
	REFUSED(blocks, 1);
	REFUSED(blocks, 1001);
	REFUSED(entries, 0);
	REFUSED(first_chunk, t.last_chunk + 1);
	REFUSED(last_chunk, U64_MAX);
	if (t.max_tag != U32_MAX)
		REFUSED(min_tag, t.max_tag + 1);
#undef REFUSED
	dms_tree_pack(&d, &t);
	d.depth = 0;
	CHECK_EQ(dms_tree_unpack(&d, 1000, &got), -EUCLEAN);
}

static void shadow_example(struct dms_shadow_info *s)
{
	memset(s, 0, sizeof(*s));
	s->id = rnd_range(1, U32_MAX);
	s->flags = rnd();
	s->origin_sectors = rnd_below(1ULL << 54);
	s->created = rnd();
	s->created_nsec = rnd_below(1000000000);
	s->set_members = rnd();
	rnd_fill(s->uuid, sizeof(s->uuid));
	rnd_fill(s->set_uuid, sizeof(s->set_uuid));
	s->locked_until = rnd();
	s->exempt_chunks = rnd_below(DMS_MAX_BLOCKS);
	tree_example(&s->exempt);
	s->attr_size = rnd_below(DMS_ATTR_SIZE + 1);
	rnd_fill(s->attr, s->attr_size);
}

static void test_shadow(void)
{
	struct dms_shadow_info s, got;
	struct dms_disk_shadow d;

	for (int round = 0; round < 100; round++) {
		shadow_example(&s);
		memset(&got, 0, sizeof(got));
		dms_shadow_pack(&d, &s);
		CHECK_EQ(dms_shadow_unpack(&d, 1000, &got), 0);
		CHECK(!memcmp(&s, &got, sizeof(s)));
	}
	d.attr_size = cpu_to_le32(DMS_ATTR_SIZE + 1);
	CHECK_EQ(dms_shadow_unpack(&d, 1000, &got), -EUCLEAN);
	dms_shadow_pack(&d, &s);
	d.id = 0;
	CHECK_EQ(dms_shadow_unpack(&d, 1000, &got), -EUCLEAN);
	dms_shadow_pack(&d, &s);
	d.created_nsec = cpu_to_le32(1000000000);
	CHECK_EQ(dms_shadow_unpack(&d, 1000, &got), -EUCLEAN);
	dms_shadow_pack(&d, &s);
	d.exempt.depth = cpu_to_le32(9);
	CHECK_EQ(dms_shadow_unpack(&d, 1000, &got), -EUCLEAN);
}

/* --- journal --- */

#define AREA_CHUNKS	100000

struct expected {
	struct dms_record record;
	u32 csums[1024];
	struct dms_shadow_info shadow;
	u32 epoch;
	u64 cursor;
};

static bool record_add(struct dms_journal_block *j, struct expected *x, u32 chunk_blocks)
{
	struct dms_exception *e = &x->record.save;

	memset(&x->record, 0, sizeof(x->record));
	x->record.type = rnd_once(3) ? rnd_range(DMS_RECORD_SHADOW, DMS_RECORD_MERGE) :
				       DMS_RECORD_SAVE;
	x->record.id = rnd_range(1, U32_MAX);
	switch (x->record.type) {
	case DMS_RECORD_SAVE:
		e->chunk = rnd_below(1ULL << 40);
		e->tag = x->record.id;
		e->kind = rnd_range(DMS_KIND_DATA, DMS_KIND_HOME);
		e->length = rnd_range(1, U32_MAX);
		if (e->kind == DMS_KIND_DATA) {
			e->length = rnd_range(1, rnd_once(4) ? dms_journal_save_max(chunk_blocks) : 3);
			e->where = rnd_range(16, AREA_CHUNKS - e->length);
			for (u32 i = 0; i < e->length * chunk_blocks; i++)
				x->csums[i] = rnd();
		}
		return dms_journal_add_save(j, e, x->csums, chunk_blocks);
	case DMS_RECORD_SHADOW:
		shadow_example(&x->shadow);
		x->record.id = x->shadow.id;
		return dms_journal_add_shadow(j, &x->shadow);
	case DMS_RECORD_DELETE:
		return dms_journal_add_delete(j, x->record.id);
	default:
		x->record.id = rnd_below(3);
		x->epoch = rnd_range(1, U32_MAX);
		x->cursor = rnd_below(DMS_MAX_BLOCKS);
		return dms_journal_add_merge(j, x->record.id, x->epoch, x->cursor);
	}
}

static void record_check(const struct expected *x, const struct dms_record *got, u32 chunk_blocks)
{
	struct dms_shadow_info shadow;

	memset(&shadow, 0, sizeof(shadow));	/* padding, too */
	CHECK_EQ(got->type, x->record.type);
	CHECK_EQ(got->id, x->record.id);
	switch (got->type) {
	case DMS_RECORD_SAVE:
		CHECK(!memcmp(&got->save, &x->record.save, sizeof(got->save)));
		CHECK(!got->csums == (got->save.kind != DMS_KIND_DATA));
		for (u32 i = 0; got->csums && i < got->save.length * chunk_blocks; i++)
			CHECK_EQ(le32_to_cpu(got->csums[i]), x->csums[i]);
		break;
	case DMS_RECORD_SHADOW:
		CHECK_EQ(dms_shadow_unpack(got->shadow, 1000, &shadow), 0);
		CHECK(!memcmp(&shadow, &x->shadow, sizeof(shadow)));
		break;
	case DMS_RECORD_MERGE:
		CHECK_EQ(got->merge_epoch, x->epoch);
		CHECK_EQ(got->merge_cursor, x->cursor);
	}
}

static void test_journal(void)
{
	static struct expected expected[600];
	struct dms_journal_block j;
	struct dms_record got;
	u32 pos, nr, i;

	for (int round = 0; round < 300; round++) {
		u32 chunk_blocks = 1u << rnd_below(9);

		rnd_fill(block, sizeof(block));
		dms_journal_begin(&j, block);
		for (nr = 0; nr < ARRAY_SIZE(expected); nr++)
			if (!record_add(&j, &expected[nr], chunk_blocks))
				break;
		dms_journal_seal(&j, 100, 5, 6, 7, uuid);
		CHECK_EQ(dms_block_check(block, 100, DMS_BLOCK_JOURNAL, uuid, NULL, NULL), 0);
		CHECK_EQ(dms_journal_stable(block), 7);
		pos = 0;
		for (i = 0; i < nr; i++) {
			CHECK_EQ(dms_journal_next(block, chunk_blocks, AREA_CHUNKS, &pos, &got), 1);
			record_check(&expected[i], &got, chunk_blocks);
		}
		CHECK_EQ(dms_journal_next(block, chunk_blocks, AREA_CHUNKS, &pos, &got), 0);
		CHECK_EQ(pos, j.used);
	}
}

/* The longest run fits an empty block, and one more chunk does not. */
static void test_journal_save_max(void)
{
	static u32 csums[2048];

	for (u32 chunk_blocks = 1; chunk_blocks <= 256; chunk_blocks *= 2) {
		struct dms_exception e = { .where = 500, .tag = 1, .kind = DMS_KIND_DATA };
		struct dms_journal_block j;

		e.length = dms_journal_save_max(chunk_blocks);
		CHECK(e.length >= 1);
		dms_journal_begin(&j, block);
		CHECK(dms_journal_add_save(&j, &e, csums, chunk_blocks));
		dms_journal_begin(&j, block);
		e.length++;
		CHECK(!dms_journal_add_save(&j, &e, csums, chunk_blocks));
		CHECK_EQ(j.used, 0);
	}
}

/* Records changed at random: refused, or within the block and the area. */
static void test_journal_hostile(void)
{
	static struct expected x;
	struct dms_journal_block j;
	struct dms_record got;
	u32 pos, last, steps, bad = 0;
	int err;

	for (int round = 0; round < 20000; round++) {
		u32 chunk_blocks = 1u << rnd_below(9);

		dms_journal_begin(&j, block);
		while (rnd_below(20) && record_add(&j, &x, chunk_blocks))
			;
		if (!j.used)
			continue;
		dms_journal_seal(&j, 100, 5, 6, 7, uuid);
		for (u32 n = rnd_below(4); n; n--)
			block[80 + rnd_below(j.used)] = rnd_once(2) ? 0xff : rnd();
		if (rnd_once(10))
			((struct dms_disk_header *)block)->count = cpu_to_le32(rnd());
		for (pos = steps = 0;; steps++) {
			last = pos;
			err = dms_journal_next(block, chunk_blocks, AREA_CHUNKS, &pos, &got);
			if (err <= 0)
				break;
			CHECK(pos > last && pos <= DMS_JOURNAL_SPACE && steps < 502);
			if (got.csums)
				CHECK((const u8 *)(got.csums + (u64)got.save.length * chunk_blocks) <=
				      block + DMS_BLOCK_SIZE);
			if (got.type == DMS_RECORD_SAVE)
				CHECK(dms_exception_valid(&got.save, chunk_blocks, AREA_CHUNKS));
		}
		CHECK(err == 0 || err == -EUCLEAN);
		bad += err != 0;
	}
	CHECK(bad > 1000);

	/* Records that go on behind their end. */
	for (u32 missing = 8; missing; missing += 8) {
		struct dms_exception e = { .where = 500, .length = 20, .tag = 1,
					   .kind = DMS_KIND_DATA };

		dms_journal_begin(&j, block);
		CHECK(dms_journal_add_save(&j, &e, x.csums, 1));
		if (missing >= j.used)
			break;
		j.used -= missing;
		dms_journal_seal(&j, 100, 5, 6, 7, uuid);
		pos = 0;
		CHECK_EQ(dms_journal_next(block, 1, AREA_CHUNKS, &pos, &got), -EUCLEAN);
	}
}

static void test_exception_valid(void)
{
	struct dms_exception e = { .chunk = 5, .where = 100, .length = 10, .tag = 1,
				   .kind = DMS_KIND_DATA };

#define REFUSED(field, value)						\
	do {								\
		struct dms_exception bad = e;				\
		bad.field = value;					\
		CHECK(!dms_exception_valid(&bad, 1, 110));		\
	} while (0)

	CHECK(dms_exception_valid(&e, 1, 110));
	REFUSED(chunk, U64_MAX);
	REFUSED(chunk, DMS_MAX_BLOCKS - 9);
	REFUSED(where, 101);
	REFUSED(where, 15);
	REFUSED(where, U64_MAX - 5);
	REFUSED(length, 0);
	REFUSED(length, U32_MAX);
	REFUSED(kind, 0);
	REFUSED(kind, 6);
	REFUSED(kind, DMS_KIND_ZERO);		/* with a place */
#undef REFUSED
}

int main(void)
{
	static const struct test tests[] = {
		{ "crc-32c", test_crc },
		{ "all zeros", test_zero },
		{ "seal and check a block", test_block },
		{ "counts fit the block", test_block_counts },
		{ "every flipped byte shows", test_flips },
		{ "superblock there and back", test_super },
		{ "geometry against a map of blocks", test_geometry },
		{ "geometry beyond all bounds", test_geometry_limits },
		{ "part of a root", test_root_part },
		{ "root there and back", test_root },
		{ "tree there and back", test_tree },
		{ "shadow copy there and back", test_shadow },
		{ "journal there and back", test_journal },
		{ "longest run of a journal block", test_journal_save_max },
		{ "hostile journal", test_journal_hostile },
		{ "exceptions out of bounds", test_exception_valid },
	};

	return test_main(tests, ARRAY_SIZE(tests));
}
