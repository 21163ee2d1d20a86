// SPDX-License-Identifier: GPL-2.0-only
/* A superblock: refused, or its regions are apart and it survives a rewrite. */
#include "fuzz.h"

static void inside(u64 first, u64 length, const struct dms_super *s)
{
	MUST(first >= DMS_RESERVED_BLOCKS && length);
	MUST(first + length > first && first + length <= s->area_blocks);
}

static void apart(u64 first, u64 length, u64 first2, u64 length2)
{
	MUST(first + length <= first2 || first2 + length2 <= first);
}

static void check(const struct dms_super *s)
{
	u64 bitmap_blocks = 2ULL * s->bitmap_pairs;

	MUST(is_power_of_2(s->chunk_blocks) && s->chunk_blocks <= 256);
	MUST((u64)s->bitmap_pairs * DMS_BITMAP_BITS >= dms_super_chunks(s));
	inside(s->journal_block, s->journal_blocks, s);
	inside(s->bitmap_block, bitmap_blocks, s);
	apart(s->journal_block, s->journal_blocks, s->bitmap_block, bitmap_blocks);
	if (s->root.block) {
		MUST(s->root_blocks);
		inside(s->root.block, 1, s);
		apart(s->root.block, 1, s->bitmap_block, bitmap_blocks);
		apart(s->root.block, 1, s->journal_block, s->journal_blocks);
	}
	MUST(memchr(s->origin_id, 0, sizeof(s->origin_id)));
	MUST(s->full_timeout <= DMS_MAX_FULL_TIMEOUT);
	MUST(s->when_full <= DMS_FULL_BLOCK && s->low_space <= 100 && !s->incompat);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dms_super s, again;
	void *block;
	int err;

	block = fuzz_block(data, size, 0, DMS_BLOCK_SUPER);
	memset(&s, 0, sizeof(s));
	memset(&again, 0, sizeof(again));
	err = dms_super_unpack(block, 0, &s);
	MUST(!err || err == -EUCLEAN || err == -EPROTONOSUPPORT);
	if (!err) {
		check(&s);
		/* What is behind the end of the id is not kept. */
		memset(s.origin_id + strlen(s.origin_id), 0,
		       sizeof(s.origin_id) - strlen(s.origin_id));
		dms_super_pack(block, 8, &s);
		MUST(!dms_super_unpack(block, 8, &again));
		MUST(!memcmp(&s, &again, sizeof(s)));
	}
	free(block);
	return 0;
}

/* One field or a few; random bytes at random places hit too rarely. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	size_t at = offsetof(struct dms_disk_super, compat) + seed % 248 / 4 * 4;
	size_t length = seed / 248 % 4 ? 8 : 32;

	if (size < 512 || seed % 16 == 0)
		return LLVMFuzzerMutate(data, size, min_t(size_t, max_size, DMS_BLOCK_SIZE));
	LLVMFuzzerMutate(data + at, length, length);
	return size;
}
