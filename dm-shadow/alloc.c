// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bitmaps are kept as the blocks they are on disk, one set of words for each
 * pair, and three levels speed up the search for space: a bit for each pair
 * that has any, a count of it, and a bound for its longest run.
 *
 * take() goes round from a cursor (next fit), so that consecutive saves lie
 * side by side, and gives up looking for a perfect run after SEARCH_STEPS.  In
 * an area full of holes that would be so each time; what it found then is good
 * enough for the next EASY_TAKES.
 */
#include "port.h"
#include "alloc.h"

#define WORD_BITS	64
#define PAIR_WORDS	(DMS_BITMAP_BITS / WORD_BITS)
/* Runs looked at, or pairs passed over, under the lock: well below a millisecond. */
#define SEARCH_STEPS	2048
#define PAIR_STEPS	64		/* what reading a pair's words counts for */
#define EASY_TAKES	64

struct pair {
	u64 *used;
	u64 *live;			/* same allocation as used */
	u64 *freed;			/* since block(); NULL: nothing */
	u64 *releasing;			/* freed before block(), until commit() */
	u32 free;			/* zero bits in used */
	u32 longest;			/* run of zero bits, at most */
};

struct dms_alloc {
	spinlock_t lock;		/* all below */
	u64 chunks;
	u64 nr_used, nr_live, nr_freed;
	u64 nr_extra;			/* bitmaps allocated for freed */
	u64 cursor;			/* where take() goes on */
	u32 enough;			/* length that take() has to do with, */
	u32 easy_takes;			/* so many times yet */
	u32 nr_pairs;
	struct pair *pairs;
	u64 *roomy;			/* bit for each pair: free != 0 */
	u64 *dirty;			/* bit for each pair: live differs from the disk */
};

/* --- words of bits --- */

static u32 bit_words(u64 bits)
{
	return div_u64(bits + WORD_BITS - 1, WORD_BITS);
}

/* The first bit in [@from, @end) that is @value, or @end. */
static u32 find_bit(const u64 *words, u32 from, u32 end, bool value)
{
	u64 flip = value ? 0 : ~0ULL;
	u32 index = from / WORD_BITS;
	u64 word;

	if (from >= end)
		return end;
	word = (words[index] ^ flip) & (~0ULL << from % WORD_BITS);
	while (!word) {
		if (++index * WORD_BITS >= end)
			return end;
		word = words[index] ^ flip;
	}
	return min_t(u32, index * WORD_BITS + __ffs64(word), end);
}

static void bit_assign(u64 *words, u32 bit, bool value)
{
	if (value)
		words[bit / WORD_BITS] |= 1ULL << bit % WORD_BITS;
	else
		words[bit / WORD_BITS] &= ~(1ULL << bit % WORD_BITS);
}

/* The part of a run of chunks that lies in one word. */
struct span {
	u32 pair, word;
	u64 mask;
};

/* Cut the next span off [*@from, @end); false at the end. */
static bool span_next(u64 *from, u64 end, struct span *ret)
{
	u32 bit, nr;

	if (*from >= end)
		return false;
	ret->pair = div_u64_rem(*from, DMS_BITMAP_BITS, &bit);
	ret->word = bit / WORD_BITS;
	bit %= WORD_BITS;
	nr = min_t(u64, WORD_BITS - bit, end - *from);
	ret->mask = (nr == WORD_BITS ? ~0ULL : (1ULL << nr) - 1) << bit;
	*from += nr;
	return true;
}

/* --- pairs --- */

u32 dms_alloc_pairs(u64 chunks)
{
	return div_u64(chunks + DMS_BITMAP_BITS - 1, DMS_BITMAP_BITS);
}

/* How many chunks of an area of @chunks are in @pair. */
static u32 pair_chunks(u64 chunks, u32 pair)
{
	return min_t(u64, chunks - (u64)pair * DMS_BITMAP_BITS, DMS_BITMAP_BITS);
}

static bool pair_init(struct pair *pair)
{
	pair->used = kcalloc(2 * PAIR_WORDS, sizeof(u64), GFP_KERNEL);
	if (!pair->used)
		return false;
	pair->live = pair->used + PAIR_WORDS;
	return true;
}

static void pair_exit(struct pair *pair)
{
	kfree(pair->used);
	kfree(pair->freed);
	kfree(pair->releasing);
}

/* Bits [@from, @to) of @index join the area. */
static void pair_extend(struct dms_alloc *a, u32 index, u32 from, u32 to)
{
	struct pair *pair = &a->pairs[index];

	if (from >= to)
		return;
	pair->free += to - from;
	pair->longest = DMS_BITMAP_BITS;
	bit_assign(a->roomy, index, true);
}

/* Mark bits of @span used or not. */
static void span_use(struct dms_alloc *a, const struct span *span, u64 bits, bool use)
{
	struct pair *pair = &a->pairs[span->pair];
	u32 nr = hweight64(bits);

	if (!nr)
		return;
	if (use) {
		pair->used[span->word] |= bits;
		pair->free -= nr;
		a->nr_used += nr;
	} else {
		pair->used[span->word] &= ~bits;
		pair->free += nr;
		pair->longest = DMS_BITMAP_BITS;
		a->nr_used -= nr;
	}
	bit_assign(a->roomy, span->pair, pair->free);
}

static void span_set_live(struct dms_alloc *a, const struct span *span, u64 bits, bool live)
{
	struct pair *pair = &a->pairs[span->pair];
	u32 nr = hweight64(bits);

	if (!nr)
		return;
	if (live) {
		pair->live[span->word] |= bits;
		a->nr_live += nr;
	} else {
		pair->live[span->word] &= ~bits;
		a->nr_live -= nr;
	}
	bit_assign(a->dirty, span->pair, true);
}

/* --- life --- */

static void arrays_free(struct pair *pairs, u64 *roomy, u64 *dirty)
{
	kvfree(pairs);
	kvfree(roomy);
	kvfree(dirty);
}

struct dms_alloc *dms_alloc_create(u64 chunks)
{
	struct dms_alloc *a;

	a = kzalloc(sizeof(*a), GFP_KERNEL);
	if (!a)
		return NULL;
	spin_lock_init(&a->lock);
	if (dms_alloc_grow(a, chunks)) {
		dms_alloc_destroy(a);
		return NULL;
	}
	return a;
}

void dms_alloc_destroy(struct dms_alloc *a)
{
	u32 i;

	if (!a)
		return;
	for (i = 0; i < a->nr_pairs; i++)
		pair_exit(&a->pairs[i]);
	arrays_free(a->pairs, a->roomy, a->dirty);
	kfree(a);
}

int dms_alloc_grow(struct dms_alloc *a, u64 chunks)
{
	u32 old_pairs = a->nr_pairs;
	struct pair *pairs;
	u64 *roomy, *dirty;
	unsigned long flags;
	u32 nr_pairs, i;

	if (chunks < a->chunks || chunks > DMS_MAX_BLOCKS ||
	    div_u64(chunks, DMS_BITMAP_BITS) >= U32_MAX)
		return -EINVAL;
	nr_pairs = dms_alloc_pairs(chunks);
	pairs = kvcalloc(nr_pairs, sizeof(*pairs), GFP_KERNEL);
	roomy = kvcalloc(bit_words(nr_pairs), sizeof(*roomy), GFP_KERNEL);
	dirty = kvcalloc(bit_words(nr_pairs), sizeof(*dirty), GFP_KERNEL);
	if (!pairs || !roomy || !dirty)
		goto no_memory;
	for (i = old_pairs; i < nr_pairs; i++) {
		if (!pair_init(&pairs[i]))
			goto no_memory;
		cond_resched();
	}

	spin_lock_irqsave(&a->lock, flags);
	if (old_pairs) {
		memcpy(pairs, a->pairs, old_pairs * sizeof(*pairs));
		memcpy(roomy, a->roomy, bit_words(old_pairs) * sizeof(*roomy));
		memcpy(dirty, a->dirty, bit_words(old_pairs) * sizeof(*dirty));
	}
	swap(a->pairs, pairs);
	swap(a->roomy, roomy);
	swap(a->dirty, dirty);
	for (i = max_t(u32, old_pairs, 1) - 1; i < nr_pairs; i++)
		pair_extend(a, i, i < old_pairs ? pair_chunks(a->chunks, i) : 0,
			    pair_chunks(chunks, i));
	a->nr_pairs = nr_pairs;
	a->chunks = chunks;
	spin_unlock_irqrestore(&a->lock, flags);
	arrays_free(pairs, roomy, dirty);
	return 0;

no_memory:
	if (pairs)
		for (i = old_pairs; i < nr_pairs; i++)
			pair_exit(&pairs[i]);
	arrays_free(pairs, roomy, dirty);
	return -ENOMEM;
}

u64 dms_alloc_chunks(const struct dms_alloc *a)
{
	return READ_ONCE(a->chunks);
}

u64 dms_alloc_used(const struct dms_alloc *a)
{
	return READ_ONCE(a->nr_used);
}

u64 dms_alloc_live(const struct dms_alloc *a)
{
	return READ_ONCE(a->nr_live);
}

u64 dms_alloc_freed(const struct dms_alloc *a)
{
	return READ_ONCE(a->nr_freed);
}

size_t dms_alloc_bytes(const struct dms_alloc *a)
{
	u64 nr_pairs = READ_ONCE(a->nr_pairs);

	return sizeof(*a) + nr_pairs * sizeof(struct pair) +
	       2 * bit_words(nr_pairs) * sizeof(u64) +
	       (2 * nr_pairs + READ_ONCE(a->nr_extra)) * DMS_PAYLOAD_SIZE;
}

/* --- taking --- */

struct search {
	u32 want;
	u32 enough;			/* at most want */
	u32 steps;
	u32 length;			/* best run so far */
	area_chunk_t first;
};

/* Look for a run in bits [@from, @end) of @index.  True: no need to look further. */
static bool pair_search(struct dms_alloc *a, u32 index, u32 from, u32 end, struct search *search)
{
	struct pair *pair = &a->pairs[index];
	bool whole = !from && end == pair_chunks(a->chunks, index);
	u32 longest = 0;
	u32 run_end;

	search->steps++;
	if (pair->longest <= search->length)
		return search->steps > SEARCH_STEPS && search->length;

	search->steps += PAIR_STEPS;
	for (;; from = run_end) {
		from = find_bit(pair->used, from, end, false);
		if (from == end)
			break;
		run_end = find_bit(pair->used, from,
				   min_t(u64, (u64)from + search->want, end), true);
		longest = max(longest, run_end - from);
		if (run_end - from > search->length) {
			search->length = run_end - from;
			search->first = (u64)index * DMS_BITMAP_BITS + from;
		}
		if (search->length >= search->enough || ++search->steps > SEARCH_STEPS)
			return true;
	}
	if (whole)
		pair->longest = longest;
	return search->steps > SEARCH_STEPS && search->length;
}

/*
 * Go round once from the cursor.  A pair with room always yields something, so
 * that the bound on steps cannot miss the last free chunk.
 */
static void search_area(struct dms_alloc *a, struct search *search)
{
	u32 start, offset, index;

	start = div_u64_rem(a->cursor < a->chunks ? a->cursor : 0, DMS_BITMAP_BITS, &offset);
	if (pair_search(a, start, offset, pair_chunks(a->chunks, start), search))
		return;
	for (index = find_bit(a->roomy, start + 1, a->nr_pairs, true); index < a->nr_pairs;
	     index = find_bit(a->roomy, index + 1, a->nr_pairs, true))
		if (pair_search(a, index, 0, pair_chunks(a->chunks, index), search))
			return;
	for (index = find_bit(a->roomy, 0, start + 1, true); index <= start;
	     index = find_bit(a->roomy, index + 1, start + 1, true))
		if (pair_search(a, index, 0, pair_chunks(a->chunks, index), search))
			return;
}

u32 dms_alloc_take(struct dms_alloc *a, u32 want, u64 limit, area_chunk_t *first)
{
	struct search search = {};
	unsigned long flags;
	struct span span;
	u64 from, room;

	spin_lock_irqsave(&a->lock, flags);
	room = a->chunks - a->nr_used;
	if (limit)
		room = min(room, limit > a->nr_used ? limit - a->nr_used : 0);
	search.want = min_t(u64, want, room);
	search.enough = search.want;
	if (a->easy_takes) {
		a->easy_takes--;
		search.enough = min(search.want, a->enough);
	}
	if (search.want)
		search_area(a, &search);
	if (search.steps > SEARCH_STEPS) {
		a->enough = search.length;
		a->easy_takes = EASY_TAKES;
	}
	if (search.length) {
		from = search.first;
		a->cursor = from + search.length;
		while (span_next(&from, search.first + search.length, &span))
			span_use(a, &span, span.mask, true);
		*first = search.first;
	}
	spin_unlock_irqrestore(&a->lock, flags);
	return search.length;
}

/* Is the run inside the area?  With the lock. */
static bool run_inside(const struct dms_alloc *a, area_chunk_t first, u64 length)
{
	return first <= a->chunks && length <= a->chunks - first;
}

/* Bits of @span that have been freed and not yet released. */
static u64 span_freed(const struct dms_alloc *a, const struct span *span)
{
	const struct pair *pair = &a->pairs[span->pair];

	return (pair->freed ? pair->freed[span->word] : 0) |
	       (pair->releasing ? pair->releasing[span->word] : 0);
}

void dms_alloc_publish(struct dms_alloc *a, area_chunk_t first, u64 length)
{
	unsigned long flags;
	struct span span;
	u64 end = first + length;
	u64 taken;

	spin_lock_irqsave(&a->lock, flags);
	if (WARN_ON_ONCE(!run_inside(a, first, length)))
		end = first;
	while (span_next(&first, end, &span)) {
		taken = a->pairs[span.pair].used[span.word] & ~a->pairs[span.pair].live[span.word] &
			~span_freed(a, &span) & span.mask;
		WARN_ON_ONCE(taken != span.mask);
		span_set_live(a, &span, taken, true);
	}
	spin_unlock_irqrestore(&a->lock, flags);
}

void dms_alloc_cancel(struct dms_alloc *a, area_chunk_t first, u64 length)
{
	unsigned long flags;
	struct span span;
	u64 end = first + length;
	u64 taken;

	spin_lock_irqsave(&a->lock, flags);
	if (WARN_ON_ONCE(!run_inside(a, first, length)))
		end = first;
	while (span_next(&first, end, &span)) {
		taken = a->pairs[span.pair].used[span.word] & ~a->pairs[span.pair].live[span.word] &
			~span_freed(a, &span) & span.mask;
		WARN_ON_ONCE(taken != span.mask);
		span_use(a, &span, taken, false);
	}
	spin_unlock_irqrestore(&a->lock, flags);
}

int dms_alloc_claim(struct dms_alloc *a, area_chunk_t first, u64 length)
{
	unsigned long flags;
	struct span span;
	u64 from = first;
	int err = 0;

	spin_lock_irqsave(&a->lock, flags);
	if (!run_inside(a, first, length))
		err = -EINVAL;
	while (!err && span_next(&from, first + length, &span))
		if (a->pairs[span.pair].used[span.word] & span.mask)
			err = -EEXIST;
	from = first;
	while (!err && span_next(&from, first + length, &span)) {
		span_use(a, &span, span.mask, true);
		span_set_live(a, &span, span.mask, true);
	}
	spin_unlock_irqrestore(&a->lock, flags);
	return err;
}

/* The freed bits of @pair; NULL if there is no memory for them. */
static u64 *pair_freed(struct dms_alloc *a, struct pair *pair)
{
	if (!pair->freed) {
		pair->freed = kcalloc(PAIR_WORDS, sizeof(u64), GFP_ATOMIC | __GFP_NOWARN);
		if (pair->freed)
			a->nr_extra++;
	}
	return pair->freed;
}

void dms_alloc_free(struct dms_alloc *a, area_chunk_t first, u64 length)
{
	unsigned long flags;
	struct pair *pair;
	struct span span;
	u64 end = first + length;
	u64 *freed;
	u64 bits;

	spin_lock_irqsave(&a->lock, flags);
	if (!run_inside(a, first, length))
		end = first;
	while (span_next(&first, end, &span)) {
		pair = &a->pairs[span.pair];
		bits = pair->live[span.word] & span.mask;
		if (!bits)
			continue;
		span_set_live(a, &span, bits, false);
		freed = pair_freed(a, pair);
		if (freed) {
			freed[span.word] |= bits;
			a->nr_freed += hweight64(bits);
		}
	}
	spin_unlock_irqrestore(&a->lock, flags);
}

bool dms_alloc_is_live(const struct dms_alloc *a, area_chunk_t chunk)
{
	/* The lock is not part of what const promises. */
	spinlock_t *lock = (spinlock_t *)&a->lock;
	unsigned long flags;
	bool live = false;
	u32 pair, bit;

	spin_lock_irqsave(lock, flags);
	if (chunk < a->chunks) {
		pair = div_u64_rem(chunk, DMS_BITMAP_BITS, &bit);
		live = a->pairs[pair].live[bit / WORD_BITS] >> bit % WORD_BITS & 1;
	}
	spin_unlock_irqrestore(lock, flags);
	return live;
}

/* --- checkpoint --- */

s64 dms_alloc_dirty(struct dms_alloc *a, u32 pair)
{
	unsigned long flags;
	s64 ret = -1;

	spin_lock_irqsave(&a->lock, flags);
	pair = find_bit(a->dirty, pair, a->nr_pairs, true);
	if (pair < a->nr_pairs)
		ret = pair;
	spin_unlock_irqrestore(&a->lock, flags);
	return ret;
}

void dms_alloc_mark_dirty(struct dms_alloc *a, u32 pair)
{
	unsigned long flags;

	spin_lock_irqsave(&a->lock, flags);
	if (pair < a->nr_pairs)
		bit_assign(a->dirty, pair, true);
	spin_unlock_irqrestore(&a->lock, flags);
}

void dms_alloc_block(struct dms_alloc *a, u32 index, void *payload)
{
	__le64 *to = payload;
	u64 *surplus = NULL;
	unsigned long flags;
	struct pair *pair;
	u32 i;

	memset(payload, 0, DMS_PAYLOAD_SIZE);
	spin_lock_irqsave(&a->lock, flags);
	if (index < a->nr_pairs) {
		pair = &a->pairs[index];
		for (i = 0; i < PAIR_WORDS; i++)
			to[i] = cpu_to_le64(pair->live[i]);
		bit_assign(a->dirty, index, false);

		/* What is freed by now goes with this copy. */
		if (pair->freed && pair->releasing) {
			for (i = 0; i < PAIR_WORDS; i++)
				pair->releasing[i] |= pair->freed[i];
			surplus = pair->freed;
			a->nr_extra--;
		} else if (pair->freed) {
			pair->releasing = pair->freed;
		}
		pair->freed = NULL;
	}
	spin_unlock_irqrestore(&a->lock, flags);
	kfree(surplus);
}

void dms_alloc_load(struct dms_alloc *a, u32 index, const void *payload)
{
	u32 used = 0, live = 0, nr, word;
	const __le64 *from = payload;
	struct pair *pair;
	unsigned long flags;
	u64 bits;

	spin_lock_irqsave(&a->lock, flags);
	if (index >= a->nr_pairs)		/* there may be more than are of use */
		goto out;
	pair = &a->pairs[index];
	/* Of a large area these are many: nothing but what must be for each word. */
	nr = pair_chunks(a->chunks, index);
	for (word = 0; word * WORD_BITS < nr; word++) {
		bits = le64_to_cpu(from[word]);
		if (nr - word * WORD_BITS < WORD_BITS)
			bits &= (1ULL << nr % WORD_BITS) - 1;
		used += hweight64(bits & ~pair->used[word]);
		live += hweight64(bits & ~pair->live[word]);
		pair->used[word] |= bits;
		pair->live[word] |= bits;
	}
	pair->free -= used;
	a->nr_used += used;
	a->nr_live += live;
	bit_assign(a->roomy, index, pair->free);
out:
	spin_unlock_irqrestore(&a->lock, flags);
}

/* Give back what @index has to release.  With the lock. */
static void pair_release(struct dms_alloc *a, u32 index)
{
	struct pair *pair = &a->pairs[index];
	struct span span = { .pair = index };

	for (span.word = 0; span.word < PAIR_WORDS; span.word++) {
		a->nr_freed -= hweight64(pair->releasing[span.word]);
		span_use(a, &span, pair->releasing[span.word], false);
	}
	a->nr_extra--;
}

void dms_alloc_commit(struct dms_alloc *a)
{
	unsigned long flags;
	u64 *released;
	u32 i;

	for (i = 0; i < a->nr_pairs; i++) {
		spin_lock_irqsave(&a->lock, flags);
		released = a->pairs[i].releasing;
		if (released)
			pair_release(a, i);
		a->pairs[i].releasing = NULL;
		spin_unlock_irqrestore(&a->lock, flags);
		kfree(released);
	}
}
