// SPDX-License-Identifier: GPL-2.0-only
/*
 * Synchronous I/O of whole blocks, for metadata.  What fails is tried again: one error
 * that passes should not cost all copies.
 */
#include "volume.h"

#define IO_TRIES	3

static int transfer_once(struct block_device *bdev, u64 block, u32 nr, void *buf, blk_opf_t opf)
{
	while (nr) {
		u32 count = min_t(u32, nr, BIO_MAX_VECS);
		struct bio *bio;
		u32 i;
		int r;

		bio = bio_alloc(bdev, count, opf, GFP_NOIO);
		bio->bi_iter.bi_sector = block * DMS_BLOCK_SECTORS;
		for (i = 0; i < count; i++) {
			void *p = buf + i * DMS_BLOCK_SIZE;
			struct page *page = is_vmalloc_addr(p) ? vmalloc_to_page(p) :
								 virt_to_page(p);

			__bio_add_page(bio, page, DMS_BLOCK_SIZE, offset_in_page(p));
		}
		r = submit_bio_wait(bio);
		bio_put(bio);
		if (r)
			return r;
		block += count;
		nr -= count;
		buf += count * DMS_BLOCK_SIZE;
	}
	return 0;
}

static int transfer(struct block_device *bdev, u64 block, u32 nr, void *buf, blk_opf_t opf)
{
	u32 tries = IO_TRIES;
	int r;

	/* After a flush that failed nobody knows what the next one makes durable. */
	if (opf & REQ_PREFLUSH)
		tries = 1;
	do {
		r = transfer_once(bdev, block, nr, buf, opf);
	} while (r && --tries);
	return r;
}

int dms_io_read(struct block_device *bdev, u64 block, u32 nr, void *buf)
{
	return transfer(bdev, block, nr, buf, REQ_OP_READ | REQ_META);
}

int dms_io_write(struct block_device *bdev, u64 block, u32 nr, void *buf, blk_opf_t flags)
{
	return transfer(bdev, block, nr, buf, REQ_OP_WRITE | REQ_META | flags);
}

int dms_io_flush(struct block_device *bdev)
{
	return blkdev_issue_flush(bdev);
}
