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
 * hand; a lock is never held across I/O.
 */
#include <linux/hash.h>
#include <linux/wait.h>

#include "volume.h"

#define SHARDS		8
#define MIN_FRAMES	16	/* of a shard: more than all its users can pin */

struct frame {
	struct hlist_node hash;
	u64 block;
	u32 crc;
	u32 pins;
	bool reading;
	bool recent;
	void *data;
};

struct shard {
	spinlock_t lock;	/* guards all but the data of pinned frames */
	wait_queue_head_t wait;
	u32 nr, hand;
	struct frame *frames;
	struct hlist_head *hash;
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

static struct frame *find(struct shard *s, struct dms_pointer p)
{
	struct frame *f;

	hlist_for_each_entry(f, &s->hash[hash_64(p.block, s->hash_bits)], hash)
		if (f->block == p.block && f->crc == p.crc)
			return f;
	return NULL;
}

static struct frame *victim(struct shard *s)
{
	u32 i;

	for (i = 0; i < 2 * s->nr; i++) {
		struct frame *f = &s->frames[s->hand];

		s->hand = (s->hand + 1) % s->nr;
		if (f->pins)
			continue;
		if (!f->recent)
			return f;
		f->recent = false;
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
	if (f && f->reading) {
		f = NULL;
	} else if (!f) {
		f = victim(s);
		if (f) {
			hlist_del_init(&f->hash);
			f->block = p.block;
			f->crc = p.crc;
			f->reading = true;
			hlist_add_head(&f->hash, &s->hash[hash_64(p.block, s->hash_bits)]);
			*claimed = true;
		}
	}
	if (f) {
		f->pins++;
		f->recent = true;
	}
	spin_unlock(&s->lock);
	return f;
}

static struct frame *pin_cached(struct shard *s, struct dms_pointer p)
{
	struct frame *f;

	spin_lock(&s->lock);
	f = find(s, p);
	if (f && !f->reading) {
		f->pins++;
		f->recent = true;
	} else {
		f = NULL;
	}
	spin_unlock(&s->lock);
	return f;
}

static int fill(struct dms_cache *c, struct frame *f, struct dms_pointer p, u16 type)
{
	struct dms_volume *v = c->v;
	int r;

	if (!f->data) {
		/* What can't be looked up is lost for the copies. */
		f->data = (void *)__get_free_page(GFP_NOIO | __GFP_NOFAIL);
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

	if (!cs->may_block) {
		f = pin_cached(s, p);
		return f ? f->data : ERR_PTR(-EAGAIN);
	}
	wait_event(s->wait, (f = pin_or_claim(s, p, &claimed)) != NULL);
	if (claimed) {
		r = fill(cs->cache, f, p, type);
		spin_lock(&s->lock);
		f->reading = false;
		if (r) {
			hlist_del_init(&f->hash);
			f->pins--;
			f->recent = false;
		}
		spin_unlock(&s->lock);
		wake_up_all(&s->wait);
	}
	return r ? ERR_PTR(r) : f->data;
}

static void cache_put(struct dms_source *source, const void *data)
{
	struct cache_source *cs = container_of(source, struct cache_source, source);
	u64 block = le64_to_cpu(((const struct dms_disk_header *)data)->block);
	struct shard *s = &cs->cache->shard[hash_64(block, 32) % SHARDS];
	struct frame *f;

	spin_lock(&s->lock);
	hlist_for_each_entry(f, &s->hash[hash_64(block, s->hash_bits)], hash) {
		if (f->data == data) {
			f->pins--;
			break;
		}
	}
	spin_unlock(&s->lock);
	if (wq_has_sleeper(&s->wait))
		wake_up_all(&s->wait);
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
	u32 i, k;

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
		s->hash = kvcalloc(1UL << s->hash_bits, sizeof(*s->hash), GFP_KERNEL);
		if (!s->frames || !s->hash)
			goto bad;
		for (k = 0; k < nr; k++)
			INIT_HLIST_NODE(&s->frames[k].hash);
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
			WARN_ON_ONCE(s->frames[k].pins);
			free_page((unsigned long)s->frames[k].data);
		}
		kvfree(s->frames);
		kvfree(s->hash);
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
