// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE
#include "host.h"

#define CRC32C_POLYNOMIAL	0x82f63b78u	/* bits reversed */

long host_alloc_left = -1;

void *host_alloc(size_t n, size_t size, bool zero)
{
	if (!host_alloc_left)
		return NULL;
	if (host_alloc_left > 0)
		host_alloc_left--;

	size = array_size(n, size);
	if (size == SIZE_MAX)
		return NULL;
	return zero ? calloc(1, size ? size : 1) : malloc(size ? size : 1);
}

struct sort_call {
	cmp_r_func_t cmp;
	const void *priv;
};

static int sort_cmp(const void *a, const void *b, void *context)
{
	const struct sort_call *call = context;

	return call->cmp(a, b, call->priv);
}

void sort_r(void *base, size_t num, size_t size, cmp_r_func_t cmp,
	    swap_r_func_t swap __always_unused, const void *priv)
{
	struct sort_call call = { cmp, priv };

	if (num > 1)
		qsort_r(base, num, size, sort_cmp, &call);
}

#if defined(__x86_64__)
__attribute__((target("sse4.2")))
static u32 crc32c_sse42(u32 crc, const u8 *data, size_t size)
{
	u64 crc64 = crc;
	u64 word;

	for (; size >= sizeof(word); size -= sizeof(word), data += sizeof(word)) {
		memcpy(&word, data, sizeof(word));
		crc64 = __builtin_ia32_crc32di(crc64, word);
	}
	crc = crc64;
	while (size--)
		crc = __builtin_ia32_crc32qi(crc, *data++);
	return crc;
}
#endif

static u32 crc32c_table[256];

static void __attribute__((constructor)) crc32c_init(void)
{
	for (u32 i = 0; i < ARRAY_SIZE(crc32c_table); i++) {
		u32 crc = i;

		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? CRC32C_POLYNOMIAL : 0);
		crc32c_table[i] = crc;
	}
}

u32 crc32c(u32 crc, const void *data, unsigned int size)
{
	const u8 *bytes = data;

#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2"))
		return crc32c_sse42(crc, bytes, size);
#endif
	while (size--)
		crc = crc >> 8 ^ crc32c_table[(crc ^ *bytes++) & 0xff];
	return crc;
}
