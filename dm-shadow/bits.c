// SPDX-License-Identifier: GPL-2.0-only
#include <linux/bitops.h>
#include <linux/gfp.h>
#include <linux/minmax.h>
#include <linux/sched.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "bits.h"

#define LEAF_SHIFT	(PAGE_SHIFT + 3)
#define LEAF_BITS	BIT(LEAF_SHIFT)

struct dms_bits {
	struct rcu_head rcu;
	u64 nr;
	u64 nr_leaves;
	atomic_long_t allocated;	/* leaves */
	unsigned long *leaf[];
};

struct dms_bits *dms_bits_create(u64 nr)
{
	u64 nr_leaves = (nr + LEAF_BITS - 1) >> LEAF_SHIFT;
	struct dms_bits *b;

	b = kvzalloc(struct_size(b, leaf, nr_leaves), GFP_KERNEL);
	if (!b)
		return NULL;
	b->nr = nr;
	b->nr_leaves = nr_leaves;
	return b;
}

void dms_bits_destroy(struct dms_bits *b)
{
	u64 i;

	if (!b)
		return;
	for (i = 0; i < b->nr_leaves; i++)
		free_page((unsigned long)b->leaf[i]);
	kvfree(b);
}

static unsigned long *leaf_of(const struct dms_bits *b, u64 bit)
{
	/* Pairs with the cmpxchg() in make_leaf(). */
	return smp_load_acquire(&b->leaf[bit >> LEAF_SHIFT]);
}

static void destroy_rcu(struct rcu_head *rcu)
{
	dms_bits_destroy(container_of(rcu, struct dms_bits, rcu));
}

void dms_bits_retire(struct dms_bits *b, struct srcu_struct *srcu)
{
	if (b)
		call_srcu(srcu, &b->rcu, destroy_rcu);
}

bool dms_bits_test(const struct dms_bits *b, u64 bit)
{
	unsigned long *leaf;

	if (bit >= b->nr)
		return false;
	leaf = leaf_of(b, bit);
	return leaf && test_bit(bit & (LEAF_BITS - 1), leaf);
}

u64 dms_bits_next_clear(const struct dms_bits *b, u64 first, u64 last)
{
	while (first <= last) {
		u64 base = first & ~(u64)(LEAF_BITS - 1);
		unsigned long end = min_t(u64, last - base + 1, LEAF_BITS);
		unsigned long *leaf;
		unsigned long n;

		if (first >= b->nr)
			return first;
		leaf = leaf_of(b, first);
		if (!leaf)
			return first;
		n = find_next_zero_bit(leaf, end, first - base);
		if (n < end)
			return base + n;
		first = base + LEAF_BITS;
	}
	return last + 1;
}

u64 dms_bits_next(const struct dms_bits *b, u64 first)
{
	while (first < b->nr) {
		u64 base = first & ~(u64)(LEAF_BITS - 1);
		unsigned long *leaf = leaf_of(b, first);
		unsigned long n = leaf ? find_next_bit(leaf, LEAF_BITS, first - base) : LEAF_BITS;

		if (n < LEAF_BITS)
			return base + n;
		first = base + LEAF_BITS;
	}
	return b->nr;
}

bool dms_bits_all(const struct dms_bits *b, u64 first, u64 last)
{
	return dms_bits_next_clear(b, first, last) > last;
}

static unsigned long *make_leaf(struct dms_bits *b, u64 bit)
{
	unsigned long *leaf = (void *)get_zeroed_page(GFP_NOIO | __GFP_NOFAIL), *other;

	/* Fully ordered: the zeros are there before the leaf. */
	other = cmpxchg(&b->leaf[bit >> LEAF_SHIFT], NULL, leaf);
	if (other) {
		free_page((unsigned long)leaf);
		return other;
	}
	atomic_long_inc(&b->allocated);
	return leaf;
}

void dms_bits_set(struct dms_bits *b, u64 first, u64 length)
{
	u64 end = min(first + length, b->nr);

	while (first < end) {
		unsigned long *leaf = leaf_of(b, first);
		unsigned long bit = first & (LEAF_BITS - 1);

		if (!leaf)
			leaf = make_leaf(b, first);
		if (bit % BITS_PER_LONG == 0 && end - first >= BITS_PER_LONG) {
			WRITE_ONCE(leaf[bit / BITS_PER_LONG], ~0UL);
			first += BITS_PER_LONG;
		} else {
			set_bit(bit, leaf);
			first++;
		}
		if (!(first & (LEAF_BITS - 1)))
			cond_resched();
	}
}

size_t dms_bits_bytes(const struct dms_bits *b)
{
	if (!b)
		return 0;
	return struct_size(b, leaf, b->nr_leaves) +
	       atomic_long_read(&b->allocated) * PAGE_SIZE;
}

struct dms_bits *dms_bits_grow(struct dms_bits *b, u64 nr)
{
	struct dms_bits *new = dms_bits_create(nr);

	if (!new)
		return NULL;
	memcpy(new->leaf, b->leaf, b->nr_leaves * sizeof(b->leaf[0]));
	atomic_long_set(&new->allocated, atomic_long_read(&b->allocated));
	memset(b->leaf, 0, b->nr_leaves * sizeof(b->leaf[0]));
	return new;
}
