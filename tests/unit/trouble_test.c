// SPDX-License-Identifier: GPL-2.0-only
/* Trees in trouble: damaged, forged, cut short. */
#include "index_model.h"

/* Whatever byte of whatever block changes: it shows. */
static void test_flips(void)
{
	struct dms_tree t;
	u64 first;

	store_init(1);
	memset(model, 0, sizeof(model));
	model_random(model, 300, true);
	first = store.next;
	model_build(model, &t);
	CHECK(t.depth >= 2);
	for (u64 b = first; b < store.next; b++) {
		u8 *data = store.blocks[b];

		for (u32 at = 0; at < DMS_BLOCK_SIZE; at++) {
			struct dms_disk_header *d = store.blocks[b];
			u16 type = le16_to_cpu(d->type);
			u8 flip = rnd_range(1, 255);

			data[at] ^= flip;
			CHECK_EQ(dms_block_check(data, b, type, NULL, NULL, NULL), -EUCLEAN);
			data[at] ^= flip;
		}
	}
	check_find(model, &t);
}

static int visit_any(void *context __always_unused, u64 block)
{
	CHECK(block >= DMS_RESERVED_BLOCKS && block < AREA_BLOCKS);
	return 0;
}

/* Everything there is to do with a tree; whatever it returns, it returns. */
static void use_tree(const struct dms_tree *t, int allowed)
{
	static __le32 csums[DMS_ENTRY_MAX_CSUMS];
	struct dms_merge_spec spec = { .source = &store.source, .trees = t, .nr_trees = 1,
				       .epochs = (const u32[]){ 3, 7 }, .nr_epochs = 2 };
	struct dms_exception e, last = {};
	struct dms_cursor c;
	const __le32 *from;
	struct dms_merger *m;
	u32 max_tag;
	int err;

#define ALLOWED()	CHECK(err >= 0 || err == -EUCLEAN || err == allowed)
	for (int i = 0; i < 40; i++) {
		u64 chunk = rnd_once(8) ? rnd() : rnd_below(CHUNKS);
		u32 tag = rnd_once(8) ? rnd() : rnd_below(TAGS + 2);

		err = dms_tree_find(&store.source, t, chunk, tag, rnd(), &e, csums);
		ALLOWED();
		CHECK(err < 0 || e.length);
		err = dms_tree_max_tag(&store.source, t, chunk, &max_tag);
		ALLOWED();
		err = dms_tree_is_home(&store.source, t, chunk, tag);
		ALLOWED();
	}
	err = dms_tree_walk(&store.source, t, visit_any, NULL);
	ALLOWED();
	CHECK_EQ(store.held, 0);
	dms_cursor_init(&c, &store.source, t, rnd_below(CHUNKS));
	while ((err = dms_cursor_next(&c, &e, &from)) > 0) {
		CHECK(dms_exception_valid(&e, store.source.chunk_blocks, store.source.area_chunks));
		CHECK(!last.length || e.chunk >= last.chunk + last.length ||
		      (e.chunk == last.chunk && e.length == last.length &&
		       (e.tag > last.tag || (e.tag == last.tag && e.kind == DMS_KIND_HOME &&
					     last.kind != DMS_KIND_HOME))));
		last = e;
	}
	ALLOWED();
	CHECK_EQ(dms_cursor_next(&c, &e, &from), err);
	dms_cursor_exit(&c);
	CHECK_EQ(store.held, 0);
	m = dms_merger_create(&spec);
	while ((err = dms_merger_next(m, &e, &from)) > 0)
		;
	ALLOWED();
	dms_merger_destroy(m);
	CHECK_EQ(store.held, 0);
#undef ALLOWED
}

/* Seal everything again, and let the pointers follow. */
static void reseal(struct dms_tree *t)
{
	static u32 crcs[AREA_BLOCKS];
	struct dms_disk_key *key;
	struct dms_disk_header *d;

	/* Children come before their parents. */
	for (u64 b = DMS_RESERVED_BLOCKS; b < store.next; b++) {
		d = store.blocks[b];
		key = store.blocks[b] + sizeof(*d);
		for (u32 i = 0; le16_to_cpu(d->type) == DMS_BLOCK_NODE &&
				i < min_t(u32, le32_to_cpu(d->count), 168); i++)
			if (le64_to_cpu(key[i].block) < b)
				key[i].crc = cpu_to_le32(crcs[le64_to_cpu(key[i].block)]);
		crcs[b] = dms_crc(store.blocks[b] + 4, DMS_BLOCK_SIZE - 4);
		d->crc = cpu_to_le32(crcs[b]);
	}
	t->root.crc = crcs[t->root.block];
}

/* A forger who knows about checksums. */
static void mutate(struct dms_tree *t)
{
	static const u64 favourites[] = { 0, 1, 2, 15, 16, 17, 126, 168, 0x7f, 0xff, 0xffff,
					  U32_MAX, 1ULL << 32, 1ULL << 51, U64_MAX, U64_MAX - 1 };

	for (u32 n = rnd_range(1, 6); n; n--) {
		u64 b = rnd_range(DMS_RESERVED_BLOCKS, store.next - 1);
		u64 value = favourites[rnd_below(ARRAY_SIZE(favourites))];
		struct dms_disk_header *d = store.blocks[b];
		u32 used = sizeof(*d) + le32_to_cpu(d->count) % 127 * 32;
		u32 at = rnd_range(64, min_t(u32, max_t(u32, used, 80), DMS_BLOCK_SIZE) - 8);
		u64 other;

		switch (rnd_below(8)) {
		case 0:
			d->count = cpu_to_le32(value);
			break;
		case 1:
			d->csums = cpu_to_le32(value);
			break;
		case 2:		/* point to another block that is there */
			other = cpu_to_le64(rnd_range(DMS_RESERVED_BLOCKS, store.next - 1));
			memcpy(store.blocks[b] + 64 + 16 + rnd_below(168) * 24, &other, 8);
			break;
		case 4:		/* checksums from elsewhere */
		case 5:
			value = rnd_once(2) ? value : rnd_below(2000);
			memcpy(store.blocks[b] + 64 + rnd_below(8) * 32 + 24, &value, 2);
			break;
		case 3:		/* a copy of another key or entry */
			memmove(store.blocks[b] + 64 + rnd_below(100) * 32,
				store.blocks[b] + 64 + rnd_below(100) * 32, 32);
			break;
		default:
			memcpy(store.blocks[b] + at, &value, 1u << rnd_below(4));
		}
	}
	if (rnd_once(6))
		t->depth = rnd_below(10);
	if (rnd_once(6))
		t->first_chunk = rnd_below(CHUNKS);
	reseal(t);
}

static int visit_some(void *context, u64 block)
{
	u64 *left = context;

	CHECK(*left);
	--*left;
	return visit_any(NULL, block);
}

/* A tree of more blocks than it says is not walked to its end. */
static void check_walk_bound(const struct dms_tree *t)
{
	struct dms_tree forged = *t;
	u64 left;

	left = forged.blocks = rnd_below(t->blocks);
	CHECK_EQ(dms_tree_walk(&store.source, &forged, visit_some, &left), -EUCLEAN);
	left = forged.blocks = t->blocks + 1;
	CHECK_EQ(dms_tree_walk(&store.source, &forged, visit_some, &left), -EUCLEAN);
}

static void test_hostile(void)
{
	for (int round = 0; round < 300; round++) {
		struct dms_tree t, forged;
		u64 gets = store.gets;

		store_init(1u << rnd_below(4));
		memset(model, 0, sizeof(model));
		model_random(model, rnd_below(400), true);
		model_build(model, &t);
		if (!t.depth)
			continue;
		check_walk_bound(&t);
		for (int i = 0; i < 5; i++) {
			forged = t;
			mutate(&forged);
			store.source.area_chunks = AREA_BLOCKS / store.source.chunk_blocks;
			use_tree(&forged, -EUCLEAN);
		}
		CHECK(store.gets - gets < 2000000);
	}
}

/*
 * Nodes whose keys all lead to one leaf: 168 to the power of 7 ways, none of
 * which may be gone twice.  @ascend: levels whose keys differ at least, a bit each.
 */
static void check_fan(u32 ascend)
{
	struct dms_exception e = { .chunk = 10, .length = 1, .tag = 1, .kind = DMS_KIND_HOME };
	struct dms_builder *b;
	struct dms_tree t;
	u64 gets;

	store_init(1);
	store.source.area_chunks = AREA_BLOCKS;
	b = dms_builder_create(&store.sink);
	CHECK_EQ(dms_builder_add(b, &e, NULL), 0);
	CHECK_EQ(dms_builder_finish(b, &t), 0);
	dms_builder_destroy(b);
	while (t.depth < DMS_MAX_DEPTH) {
		u8 node[DMS_BLOCK_SIZE] __attribute__((aligned(8))) = {};
		struct dms_disk_key *keys = (void *)(node + 64);
		struct dms_header h = { .block = store.next++, .type = DMS_BLOCK_NODE,
					.count = 168 };

		for (u32 i = 0; i < 168; i++) {
			keys[i].chunk = cpu_to_le64(10);
			keys[i].tag = cpu_to_le32(1 + (ascend >> t.depth & 1 ? i : 0));
			keys[i].block = cpu_to_le64(t.root.block);
			keys[i].crc = cpu_to_le32(t.root.crc);
		}
		t.root.block = h.block;
		t.root.crc = dms_block_seal(node, &h, store.sink.uuid);
		CHECK_EQ(store_write(&store.sink, h.block, node), 0);
		t.depth++;
		t.blocks = U64_MAX;
		t.max_tag = 200;
		gets = store.gets;
		use_tree(&t, -EUCLEAN);
		CHECK(store.gets - gets < 20000);
	}
}

static void test_hostile_fan(void)
{
	check_fan(0);
	check_fan(0xaa);
	check_fan(0x55);
	check_fan(0xff);
}

/* A source that will not block passes its -EAGAIN through, and nothing leaks. */
static void test_again(void)
{
	struct dms_tree t;

	store_init(2);
	memset(model, 0, sizeof(model));
	model_random(model, 500, true);
	model_build(model, &t);
	for (int round = 0; round < 200; round++) {
		store.again = rnd_range(1, 20);
		use_tree(&t, -EAGAIN);
	}
	store.again = 0;
	check_find(model, &t);
}

/* No space, or no memory, at any point: the error, and nothing leaks. */
static void test_no_space(void)
{
	static const u32 epochs[] = { 1, 5, 9 };
	struct dms_merge_spec spec = { .source = &store.source, .nr_trees = 1, .epochs = epochs,
				       .nr_epochs = 3 };
	struct dms_tree t, result;
	int err = -ENOMEM;
	u64 first;
	long n;

	store_init(4);
	memset(model, 0, sizeof(model));
	model_random(model, 600, true);
	model_build(model, &t);
	spec.trees = &t;
	CHECK_EQ(merge_build(&spec, &result), 0);
	first = store.next;
	for (u64 blocks = 0; blocks < result.blocks; blocks++) {
		store.next = first;
		store.fail_alloc = first + blocks;
		CHECK_EQ(merge_build(&spec, &result), -ENOSPC);
	}
	store.fail_alloc = AREA_BLOCKS;
	for (n = 0; err == -ENOMEM; n++) {
		host_alloc_left = n;
		err = merge_build(&spec, &result);
	}
	host_alloc_left = -1;
	CHECK_EQ(err, 0);
	CHECK(n > 10);
}

int main(void)
{
	static const struct test tests[] = {
		{ "every flipped byte shows", test_flips },
		{ "forged blocks", test_hostile },
		{ "nodes that lead to one leaf", test_hostile_fan },
		{ "a source that does not block", test_again },
		{ "no space, no memory", test_no_space },
	};

	return store_exit(test_main(tests, ARRAY_SIZE(tests)));
}
