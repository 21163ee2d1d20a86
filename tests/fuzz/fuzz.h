/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A target takes an input for blocks, seals them as if they had been written
 * like that, and hands them to the engine: what matters is behind the checksum.
 */
#ifndef DM_SHADOW_FUZZ_H
#define DM_SHADOW_FUZZ_H

#include "host.h"
#include "index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

#define MUST(c)								\
do {									\
	if (!(c)) {							\
		fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #c); \
		abort();						\
	}								\
} while (0)

/* An aligned block of @size bytes of @data and zeros, sealed for @addr and @type. */
static inline void *fuzz_block(const uint8_t *data, size_t size, u64 addr, u16 type)
{
	struct dms_disk_header *d = aligned_alloc(8, DMS_BLOCK_SIZE);

	memset(d, 0, DMS_BLOCK_SIZE);
	memcpy(d, data, min_t(size_t, size, DMS_BLOCK_SIZE));
	d->magic = cpu_to_le32(DMS_MAGIC);
	d->block = cpu_to_le64(addr);
	d->version = cpu_to_le16(DMS_FORMAT_VERSION);
	d->type = cpu_to_le16(type);
	d->crc = cpu_to_le32(dms_crc(&d->magic, DMS_BLOCK_SIZE - sizeof(d->crc)));
	return d;
}

#endif
