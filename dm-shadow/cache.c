// SPDX-License-Identifier: GPL-2.0-only
/*
 * Index blocks in memory.
 *
 * Index blocks are immutable: there is nothing dirty here, and a block is
 * known by its address and the crc its parent expects, so that a reused
 * address can't yield an old block.  dm-bufio would do the reading as well,
 * but its memory has one limit for the whole machine and none for a client;
 * ours has a cap that holds.
 *
 * Frames are divided among shards by address, each with a lock and a clock
 * hand; a lock is never held across I/O.  What is in memory is found and pinned
 * without it, as all look-ups of a tree begin at one block: frames are never
 * freed, one that is pinned keeps its block, and whether it is the right one is
 * looked at again then.
 */
#include <linux/hash.h>
#include <linux/mm.h>
#include <linux/wait.h>

#include "volume.h"

#define SHARDS		8
#define MIN_FRAMES	16	/* of a shard: more than all its users can pin */
#define FILLING		(-1)	/* in place of pins: somebody reads the block */

/* All but pins and recent change under the lock, while FILLING. */
struct frame {
	struct frame *next;	/* in its chain */
	u64 block;		/* 0: none */
	u32 crc;
	atomic_t pins;
	bool recent;
	void *data;		/* a page, whose private field leads back */
};

struct shard {
	spinlock_t lock;	/* guards hand and the chains */
	wait_queue_head_t wait;
	u32 nr, hand;
	struct frame *frames;
	struct frame **chains;	/* heads */
	unsigned int hash_bits;
};

struct cache_source {
	struct dms_source source;
	struct dms_cache *cache;
	bool may_block;
};

struct dms_cache {
	struct dms_volume *v;
	atomic_t pages;
	struct cache_source blocking, nonblocking;
	struct shard shard[SHARDS];
};

static struct frame **chain(struct shard *s, u64 block)
{
	return &s->chains[hash_64(block, s->hash_bits)];
}

static bool holds(const struct frame *f, struct dms_pointer p)
{
	return READ_ONCE(f->block) == p.block && READ_ONCE(f->crc) == p.crc;
}

/* Without the lock it may miss one, being led astray by one that moves. */
static struct frame *find(struct shard *s, struct dms_pointer p)
{
	struct frame *f = READ_ONCE(*chain(s, p.block));

	while (f && !holds(f, p))
		f = READ_ONCE(f->next);
	return f;
}

static void chain_add(struct shard *s, struct frame *f)
{
	struct frame **head = chain(s, f->block);

	WRITE_ONCE(f->next, *head);
	WRITE_ONCE(*head, f);
}

static void chain_del(struct shard *s, struct frame *f)
{
	struct frame **at = chain(s, f->block);

	while (*at && *at != f)
		at = &(*at)->next;
	if (*at)
		WRITE_ONCE(*at, f->next);
}

static bool pin(struct frame *f)
{
	if (!atomic_inc_unless_negative(&f->pins))
		return false;
	if (!READ_ONCE(f->recent))
		WRITE_ONCE(f->recent, true);
	return true;
}

static void unpin(struct shard *s, struct frame *f)
{
	if (atomic_dec_and_test(&f->pins) && wq_has_sleeper(&s->wait))
		wake_up_all(&s->wait);
}

static struct frame *pin_cached(struct shard *s, struct dms_pointer p)
{
	struct frame *f = find(s, p);

	if (!f || !pin(f))
		return NULL;
	/* Fully ordered behind pin(); pairs with atomic_set_release() in filled(). */
	if (holds(f, p))
		return f;
	unpin(s, f);
	return NULL;
}

static struct frame *victim(struct shard *s)
{
	u32 i;

	for (i = 0; i < 2 * s->nr; i++) {
		struct frame *f = &s->frames[s->hand];

		s->hand = (s->hand + 1) % s->nr;
		if (atomic_read(&f->pins))
			continue;
		if (READ_ONCE(f->recent))
			WRITE_ONCE(f->recent, false);
		else if (!atomic_cmpxchg(&f->pins, 0, FILLING))
			return f;
	}
	return NULL;
}

/* A frame pinned for @p; *@claimed: the caller fills it.  NULL: all are busy. */
static struct frame *pin_or_claim(struct shard *s, struct dms_pointer p, bool *claimed)
{
	struct frame *f;

	*claimed = false;
	spin_lock(&s->lock);
	f = find(s, p);
	if (f) {
		if (!pin(f))
			f = NULL;
	} else {
		f = victim(s);
		if (f) {
			chain_del(s, f);
			WRITE_ONCE(f->block, p.block);
			WRITE_ONCE(f->crc, p.crc);
			chain_add(s, f);
			*claimed = true;
		}
	}
	spin_unlock(&s->lock);
	return f;
}

/* The claimed frame @f is good, and pinned, or not. */
static void filled(struct shard *s, struct frame *f, bool good)
{
	spin_lock(&s->lock);
	WRITE_ONCE(f->recent, good);
	if (!good) {
		chain_del(s, f);
		WRITE_ONCE(f->block, 0);
	}
	atomic_set_release(&f->pins, good ? 1 : 0);	/* pairs with pin() */
	spin_unlock(&s->lock);
	wake_up_all(&s->wait);
}

static int fill(struct dms_cache *c, struct frame *f, struct dms_pointer p, u16 type)
{
	struct dms_volume *v = c->v;
	int r;

	if (!f->data) {
		/* What can't be looked up is lost for the copies. */
		f->data = (void *)__get_free_page(GFP_NOIO | __GFP_NOFAIL);
		set_page_private(virt_to_page(f->data), (unsigned long)f);
		atomic_inc(&c->pages);
	}
	if (p.block >= v->super.area_blocks)
		return -EUCLEAN;
	r = dms_io_read(v->area, p.block, 1, f->data);
	if (r) {
		atomic64_inc(&v->stats.area_errors);
		return r;
	}
	r = dms_block_check(f->data, p.block, type, v->super.uuid, &p.crc, NULL);
	if (r) {
		atomic64_inc(&v->stats.checksum_errors);
		DMERR_LIMIT("%s: index block %llu of the diff area is damaged",
			    v->name, (unsigned long long)p.block);
		dms_volume_event(v);
	}
	return r;
}

static const void *cache_get(struct dms_source *source, struct dms_pointer p, u16 type)
{
	struct cache_source *cs = container_of(source, struct cache_source, source);
	struct shard *s = &cs->cache->shard[hash_64(p.block, 32) % SHARDS];
	struct frame *f;
	bool claimed;
	int r = 0;

	f = pin_cached(s, p);
	if (f)
		return f->data;
	if (!cs->may_block)
		return ERR_PTR(-EAGAIN);
	wait_event(s->wait, (f = pin_or_claim(s, p, &claimed)) != NULL);
	if (claimed) {
		r = fill(cs->cache, f, p, type);
		filled(s, f, !r);
	}
	return r ? ERR_PTR(r) : f->data;
}

static void cache_put(struct dms_source *source, const void *data)
{
	struct cache_source *cs = container_of(source, struct cache_source, source);
	struct frame *f = (struct frame *)page_private(virt_to_page(data));

	unpin(&cs->cache->shard[hash_64(f->block, 32) % SHARDS], f);
}

static void source_init(struct cache_source *cs, struct dms_cache *c, bool may_block)
{
	cs->source.get = cache_get;
	cs->source.put = cache_put;
	cs->source.chunk_blocks = c->v->chunk_blocks;
	cs->source.area_chunks = c->v->area_chunks;
	cs->cache = c;
	cs->may_block = may_block;
}

struct dms_cache *dms_cache_create(struct dms_volume *v, unsigned int kib)
{
	u32 nr = max_t(u32, kib / (DMS_BLOCK_SIZE / 1024) / SHARDS, MIN_FRAMES);
	struct dms_cache *c;
	u32 i;

	c = kzalloc(sizeof(*c), GFP_KERNEL);
	if (!c)
		return NULL;
	c->v = v;
	source_init(&c->blocking, c, true);
	source_init(&c->nonblocking, c, false);
	for (i = 0; i < SHARDS; i++) {
		struct shard *s = &c->shard[i];

		spin_lock_init(&s->lock);
		init_waitqueue_head(&s->wait);
		s->nr = nr;
		s->hash_bits = max(ilog2(nr), 1);
		s->frames = kvcalloc(nr, sizeof(*s->frames), GFP_KERNEL);
		s->chains = kvcalloc(1UL << s->hash_bits, sizeof(*s->chains), GFP_KERNEL);
		if (!s->frames || !s->chains)
			goto bad;
	}
	return c;
bad:
	dms_cache_destroy(c);
	return NULL;
}

void dms_cache_destroy(struct dms_cache *c)
{
	u32 i, k;

	if (!c)
		return;
	for (i = 0; i < SHARDS; i++) {
		struct shard *s = &c->shard[i];

		for (k = 0; s->frames && k < s->nr; k++) {
			WARN_ON_ONCE(atomic_read(&s->frames[k].pins));
			if (!s->frames[k].data)
				continue;
			set_page_private(virt_to_page(s->frames[k].data), 0);
			free_page((unsigned long)s->frames[k].data);
		}
		kvfree(s->frames);
		kvfree(s->chains);
	}
	kfree(c);
}

unsigned int dms_cache_used_kib(const struct dms_cache *c)
{
	return atomic_read(&c->pages) * (DMS_BLOCK_SIZE / 1024);
}

struct dms_source *dms_cache_source(struct dms_cache *c, bool may_block)
{
	return may_block ? &c->blocking.source : &c->nonblocking.source;
}

void dms_cache_resize(struct dms_cache *c)
{
	c->blocking.source.area_chunks = c->v->area_chunks;
	c->nonblocking.source.area_chunks = c->v->area_chunks;
}

/*
 * Streaming source: the background reads whole trees once, several of them
 * side by side.  Windows of consecutive blocks are read ahead, and a caller
 * gets a copy of its block.
 */
#define WINDOWS		16
#define WINDOW_BLOCKS	16

struct stream {
	struct dms_source source;
	struct dms_volume *v;
	u64 used;
	struct {
		u64 first;
		u32 nr;
		u64 used;
	} window[WINDOWS];
	u8 *data;
};

static void *window_data(struct stream *st, u32 w)
{
	return st->data + (size_t)w * WINDOW_BLOCKS * DMS_BLOCK_SIZE;
}

static const void *stream_get(struct dms_source *source, struct dms_pointer p, u16 type)
{
	struct stream *st = container_of(source, struct stream, source);
	struct dms_volume *v = st->v;
	u32 w, oldest = 0;
	void *copy;
	int r;

	if (p.block >= v->super.area_blocks)
		return ERR_PTR(-EUCLEAN);
	for (w = 0; w < WINDOWS; w++) {
		if (p.block - st->window[w].first < st->window[w].nr)
			break;
		if (st->window[w].used < st->window[oldest].used)
			oldest = w;
	}
	if (w == WINDOWS) {
		w = oldest;
		st->window[w].first = p.block;
		st->window[w].nr = min_t(u64, WINDOW_BLOCKS, v->super.area_blocks - p.block);
		r = dms_io_read(v->area, p.block, st->window[w].nr, window_data(st, w));
		if (r) {
			st->window[w].nr = 0;
			atomic64_inc(&v->stats.area_errors);
			return ERR_PTR(r);
		}
	}
	st->window[w].used = ++st->used;
	copy = (void *)__get_free_page(GFP_NOIO | __GFP_NOFAIL);
	memcpy(copy, window_data(st, w) + (p.block - st->window[w].first) * DMS_BLOCK_SIZE,
	       DMS_BLOCK_SIZE);
	r = dms_block_check(copy, p.block, type, v->super.uuid, &p.crc, NULL);
	if (r) {
		/* Perhaps written since the window was read: once more, alone. */
		r = dms_io_read(v->area, p.block, 1, copy);
		if (!r)
			r = dms_block_check(copy, p.block, type, v->super.uuid, &p.crc, NULL);
	}
	if (r) {
		free_page((unsigned long)copy);
		atomic64_inc(&v->stats.checksum_errors);
		return ERR_PTR(r);
	}
	return copy;
}

static void stream_put(struct dms_source *source, const void *data)
{
	free_page((unsigned long)data);
}

struct dms_source *dms_stream_create(struct dms_volume *v)
{
	struct stream *st = kzalloc(sizeof(*st), GFP_NOIO);

	if (!st)
		return NULL;
	st->data = __vmalloc(WINDOWS * WINDOW_BLOCKS * DMS_BLOCK_SIZE, GFP_NOIO);
	if (!st->data) {
		kfree(st);
		return NULL;
	}
	st->v = v;
	st->source.get = stream_get;
	st->source.put = stream_put;
	st->source.chunk_blocks = v->chunk_blocks;
	st->source.area_chunks = v->area_chunks;
	return &st->source;
}

void dms_stream_destroy(struct dms_source *source)
{
	struct stream *st = container_of(source, struct stream, source);

	vfree(st->data);
	kfree(st);
}
