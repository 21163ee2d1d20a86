// SPDX-License-Identifier: GPL-2.0-only
#include "port.h"
#include "exception.h"

#define MIN_SLOTS	64
#define MAX_ARRAY_BYTES	BIT(30)		/* kvcalloc() has its limit, too */

/* 24 bytes: there are many. */
struct slot {
	u64 chunk;
	u64 where_kind;			/* where << 8 | kind */
	u32 tag;
	u32 next;			/* slot + 1 of the same bucket, 0: end */
};

struct dms_table {
	u32 chunk_blocks;
	u32 nr_slots;
	u32 count;			/* written by the writer alone */
	u32 hash_shift;
	u32 nr_buckets;			/* a power of two, at most nr_slots */
	/*
	 * Slot + 1 of the newest in the bucket, 0: none.  Store-release by
	 * dms_table_add(), load-acquire by table_first().
	 */
	u32 *buckets;
	struct slot *slots;
	__le32 *csums;			/* chunk_blocks for each slot */
	u32 *ranks;			/* slots in order, after dms_table_sort() */
};

/* Of one slot and its share of everything else. */
static size_t slot_bytes(u32 chunk_blocks)
{
	return sizeof(struct slot) + 2 * sizeof(u32) + chunk_blocks * sizeof(__le32);
}

struct dms_table *dms_table_create(u32 chunk_blocks, size_t bytes)
{
	struct dms_table *t;
	size_t slots;

	slots = bytes > sizeof(*t) ? (bytes - sizeof(*t)) / slot_bytes(chunk_blocks) : 0;
	slots = min_t(size_t, slots, MAX_ARRAY_BYTES / slot_bytes(chunk_blocks));
	slots = max_t(size_t, slots, MIN_SLOTS);

	t = kzalloc(sizeof(*t), GFP_KERNEL);
	if (!t)
		return NULL;
	t->chunk_blocks = chunk_blocks;
	t->nr_slots = slots;
	t->nr_buckets = rounddown_pow_of_two(slots);
	t->hash_shift = 64 - ilog2(t->nr_buckets);
	t->buckets = kvcalloc(t->nr_buckets, sizeof(*t->buckets), GFP_KERNEL);
	t->slots = kvcalloc(slots, sizeof(*t->slots), GFP_KERNEL);
	t->csums = kvcalloc(slots, chunk_blocks * sizeof(*t->csums), GFP_KERNEL);
	t->ranks = kvcalloc(slots, sizeof(*t->ranks), GFP_KERNEL);
	if (!t->buckets || !t->slots || !t->csums || !t->ranks) {
		dms_table_destroy(t);
		return NULL;
	}
	return t;
}

void dms_table_destroy(struct dms_table *t)
{
	if (!t)
		return;
	kvfree(t->ranks);
	kvfree(t->csums);
	kvfree(t->slots);
	kvfree(t->buckets);
	kfree(t);
}

void dms_table_reset(struct dms_table *t)
{
	memset(t->buckets, 0, t->nr_buckets * sizeof(*t->buckets));
	WRITE_ONCE(t->count, 0);
}

u32 dms_table_count(const struct dms_table *t)
{
	return READ_ONCE(t->count);
}

u32 dms_table_room(const struct dms_table *t)
{
	return t->nr_slots - READ_ONCE(t->count);
}

size_t dms_table_bytes(const struct dms_table *t)
{
	return sizeof(*t) + t->nr_buckets * sizeof(*t->buckets) +
	       t->nr_slots * (slot_bytes(t->chunk_blocks) - sizeof(*t->buckets));
}

static u32 *table_bucket(const struct dms_table *t, u64 chunk)
{
	/* The golden ratio spreads neighbours; the product's top bits are the best. */
	return &t->buckets[chunk * 0x9e3779b97f4a7c15ULL >> t->hash_shift];
}

static const struct slot *table_slot(const struct dms_table *t, u32 link)
{
	return link ? &t->slots[link - 1] : NULL;
}

/* The newest slot in the bucket of @chunk; whatever it links to is complete. */
static const struct slot *table_first(const struct dms_table *t, u64 chunk)
{
	/* Pairs with dms_table_add(). */
	return table_slot(t, smp_load_acquire(table_bucket(t, chunk)));
}

static u8 slot_kind(const struct slot *slot)
{
	return slot->where_kind & 0xff;
}

static void slot_read(const struct dms_table *t, const struct slot *slot,
		      struct dms_exception *ret, const __le32 **csums)
{
	ret->chunk = slot->chunk;
	ret->where = slot->where_kind >> 8;
	ret->length = 1;
	ret->tag = slot->tag;
	ret->kind = slot_kind(slot);
	*csums = NULL;
	if (ret->kind == DMS_KIND_DATA)
		*csums = &t->csums[(size_t)(slot - t->slots) * t->chunk_blocks];
}

bool dms_table_add(struct dms_table *t, const struct dms_exception *e, const __le32 *csums)
{
	bool data = e->kind == DMS_KIND_DATA;
	u32 count = t->count;
	struct slot *slot;
	u32 *bucket;
	u32 i;

	if (e->length > t->nr_slots - count)
		return false;

	for (i = 0; i < e->length; i++, count++) {
		slot = &t->slots[count];
		bucket = table_bucket(t, e->chunk + i);
		slot->chunk = e->chunk + i;
		slot->where_kind = (data ? e->where + i : 0) << 8 | e->kind;
		slot->tag = e->tag;
		slot->next = *bucket;
		if (data)
			memcpy(&t->csums[(size_t)count * t->chunk_blocks],
			       &csums[(size_t)i * t->chunk_blocks],
			       t->chunk_blocks * sizeof(*csums));
		/* Pairs with table_first(): whoever sees the link sees the slot. */
		smp_store_release(bucket, count + 1);
	}
	WRITE_ONCE(t->count, count);
	return true;
}

bool dms_table_find(const struct dms_table *t, u64 chunk, u32 tag,
		    struct dms_exception *ret, const __le32 **csums)
{
	const struct slot *best = NULL;
	const struct slot *slot;

	for (slot = table_first(t, chunk); slot; slot = table_slot(t, slot->next))
		if (slot->chunk == chunk && slot->tag >= tag &&
		    slot_kind(slot) != DMS_KIND_HOME && (!best || slot->tag < best->tag))
			best = slot;
	if (!best)
		return false;
	slot_read(t, best, ret, csums);
	return true;
}

u32 dms_table_max_tag(const struct dms_table *t, u64 chunk)
{
	const struct slot *slot;
	u32 tag = 0;

	for (slot = table_first(t, chunk); slot; slot = table_slot(t, slot->next))
		if (slot->chunk == chunk && slot_kind(slot) != DMS_KIND_HOME)
			tag = max(tag, slot->tag);
	return tag;
}

bool dms_table_is_home(const struct dms_table *t, u64 chunk, u32 tag)
{
	const struct slot *slot;

	for (slot = table_first(t, chunk); slot; slot = table_slot(t, slot->next))
		if (slot->chunk == chunk && slot->tag == tag && slot_kind(slot) == DMS_KIND_HOME)
			return true;
	return false;
}

bool dms_table_knows(const struct dms_table *t, const struct dms_exception *e)
{
	if (e->kind == DMS_KIND_HOME)
		return dms_table_is_home(t, e->chunk, e->tag);
	return dms_table_max_tag(t, e->chunk) >= e->tag;
}

static int rank_cmp(const void *a, const void *b, const void *priv)
{
	const struct dms_table *t = priv;
	const struct slot *l = &t->slots[*(const u32 *)a];
	const struct slot *r = &t->slots[*(const u32 *)b];

	if (l->chunk != r->chunk)
		return l->chunk < r->chunk ? -1 : 1;
	if (l->tag != r->tag)
		return l->tag < r->tag ? -1 : 1;
	return slot_kind(l) - slot_kind(r);
}

void dms_table_sort(struct dms_table *t)
{
	u32 i;

	for (i = 0; i < t->count; i++)
		t->ranks[i] = i;
	sort_r(t->ranks, t->count, sizeof(*t->ranks), rank_cmp, NULL, t);
}

void dms_table_get(const struct dms_table *t, u32 rank, struct dms_exception *ret,
		   const __le32 **csums)
{
	slot_read(t, &t->slots[t->ranks[rank]], ret, csums);
}
