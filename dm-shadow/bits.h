/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One bit for each origin chunk, memory only where bits are set.
 *
 * No lock: readers may be in any context.  dms_bits_set() sleeps, as it may
 * allocate a leaf; that allocation does not fail.
 */
#ifndef DM_SHADOW_BITS_H
#define DM_SHADOW_BITS_H

#include <linux/srcu.h>
#include <linux/types.h>

struct dms_bits;

struct dms_bits *dms_bits_create(u64 nr);	/* all clear; NULL: no memory */
void dms_bits_destroy(struct dms_bits *b);	/* NULL is fine */
/* Destroy when the readers of @srcu that may know it are gone.  NULL is fine. */
void dms_bits_retire(struct dms_bits *b, struct srcu_struct *srcu);
bool dms_bits_test(const struct dms_bits *b, u64 bit);
/* Are all of first...last set?  Bits at or beyond nr count as clear. */
bool dms_bits_all(const struct dms_bits *b, u64 first, u64 last);
/* First clear bit in first...last, or last + 1. */
u64 dms_bits_next_clear(const struct dms_bits *b, u64 first, u64 last);
/* First set bit at or behind @first, or nr. */
u64 dms_bits_next(const struct dms_bits *b, u64 first);
void dms_bits_set(struct dms_bits *b, u64 first, u64 length);
size_t dms_bits_bytes(const struct dms_bits *b);
/* A larger map that takes over the leaves of @b; @b is left empty. */
struct dms_bits *dms_bits_grow(struct dms_bits *b, u64 nr);

#endif
