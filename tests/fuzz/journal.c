// SPDX-License-Identifier: GPL-2.0-only
/* A journal block, behind a byte that chooses the chunk size. */
#include "fuzz.h"

#define AREA_BLOCKS	1000000

static void check(const struct dms_record *r, const u8 *block, u32 chunk_blocks)
{
	static struct dms_shadow_info shadow;
	const u8 *csums = (const u8 *)r->csums;
	u64 nr = (u64)r->save.length * chunk_blocks;
	u32 sum = 0;
	int err;

	switch (r->type) {
	case DMS_RECORD_SAVE:
		MUST(r->id && r->save.tag == r->id);
		MUST(dms_exception_valid(&r->save, chunk_blocks, AREA_BLOCKS / chunk_blocks));
		MUST(!csums == (r->save.kind != DMS_KIND_DATA));
		if (!csums)
			break;
		MUST(csums > block && nr <= 1024);
		MUST(csums + nr * sizeof(__le32) <= block + DMS_BLOCK_SIZE);
		for (u64 i = 0; i < nr; i++)
			sum += le32_to_cpu(r->csums[i]);
		break;
	case DMS_RECORD_SHADOW:
		MUST((const u8 *)(r->shadow + 1) <= block + DMS_BLOCK_SIZE);
		err = dms_shadow_unpack(r->shadow, AREA_BLOCKS, &shadow);
		MUST(err == -EUCLEAN || (!err && shadow.id == r->id));
		break;
	case DMS_RECORD_DELETE:
		MUST(r->id);
		break;
	default:
		MUST(r->type == DMS_RECORD_MERGE && (!r->id || r->merge_epoch));
	}
	/* For the reads not to be left out. */
	__asm__ volatile("" : : "r"(sum));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	u32 chunk_blocks = size ? 1u << data[0] % 9 : 1;
	struct dms_header h;
	struct dms_record r;
	u32 pos = 0, last;
	void *block;
	int ret;

	block = fuzz_block(data + !!size, size - !!size, 100, DMS_BLOCK_JOURNAL);
	if (!dms_block_check(block, 100, DMS_BLOCK_JOURNAL, NULL, NULL, &h)) {
		do {
			last = pos;
			ret = dms_journal_next(block, chunk_blocks, AREA_BLOCKS / chunk_blocks,
					       &pos, &r);
			if (ret > 0) {
				MUST(pos > last && pos <= h.count && h.count <= DMS_JOURNAL_SPACE);
				check(&r, block, chunk_blocks);
			}
		} while (ret > 0);
		MUST(ret == 0 || ret == -EUCLEAN);
		dms_journal_stable(block);
	}
	free(block);
	return 0;
}

/* The beginning of a block is where the heads of records are; .count ends them. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	size_t at = seed / 8 % 4 ? 1 + seed / 32 % 600 : 1 + offsetof(struct dms_disk_header, count);

	if (size < 700 || seed % 8 == 0)
		return LLVMFuzzerMutate(data, size, min_t(size_t, max_size, DMS_BLOCK_SIZE + 1));
	LLVMFuzzerMutate(data + at, 4, 4);
	return size;
}
