// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where trees are written to: free space of the area, taken as it is needed and
 * given back unless the tree is published.  Blocks are gathered into longer writes.
 */
#include "volume.h"

#define SINK_BLOCKS	64		/* written at once */
#define SINK_RUN_BYTES	0x100000	/* asked of the allocator at once */

struct extent {
	area_chunk_t first;
	u32 length;
};

struct area_sink {
	struct dms_sink sink;
	struct dms_volume *v;
	u64 limit;			/* of area chunks in use */
	bool no_memory;
	struct extent *extent;
	u32 nr, room;
	u64 next, end;			/* blocks left of the last extent */
	u64 first;			/* block of buf's first */
	u32 filled;
	bool published;
	void *buf;
};

static u64 sink_alloc(struct dms_sink *sink)
{
	struct area_sink *s = container_of(sink, struct area_sink, sink);
	struct dms_volume *v = s->v;
	struct extent *e;
	u32 room;

	if (s->next == s->end) {
		u32 want = max_t(u32, SINK_RUN_BYTES / DMS_BLOCK_SIZE / v->chunk_blocks, 1);

		/* Small at first: most trees are. */
		if (s->nr < 4)
			want = max_t(u32, want >> (2 * (4 - s->nr)), 1);
		if (s->nr == s->room) {
			room = s->room ? 2 * s->room : 64;
			e = kvmalloc_array(room, sizeof(*e), GFP_NOIO);
			if (!e) {
				s->no_memory = true;
				return 0;
			}
			if (s->nr)
				memcpy(e, s->extent, s->nr * sizeof(*e));
			kvfree(s->extent);
			s->extent = e;
			s->room = room;
		}
		e = &s->extent[s->nr];
		e->length = dms_alloc_take(v->alloc, want, s->limit, &e->first);
		if (!e->length)
			return 0;
		s->nr++;
		s->next = e->first * v->chunk_blocks;
		s->end = s->next + (u64)e->length * v->chunk_blocks;
	}
	return s->next++;
}

int dms_sink_flush(struct dms_sink *sink)
{
	struct area_sink *s = container_of(sink, struct area_sink, sink);
	int r = 0;

	if (s->filled)
		r = dms_io_write(s->v->area, s->first, s->filled, s->buf, 0);
	s->filled = 0;
	return r;
}

static int sink_write(struct dms_sink *sink, u64 addr, const void *block)
{
	struct area_sink *s = container_of(sink, struct area_sink, sink);
	int r;

	if (s->filled == SINK_BLOCKS || (s->filled && addr != s->first + s->filled)) {
		r = dms_sink_flush(sink);
		if (r)
			return r;
	}
	if (!s->filled)
		s->first = addr;
	memcpy(s->buf + s->filled++ * DMS_BLOCK_SIZE, block, DMS_BLOCK_SIZE);
	return 0;
}

struct dms_sink *dms_sink_create(struct dms_volume *v, u64 limit)
{
	struct area_sink *s = kzalloc(sizeof(*s), GFP_NOIO);

	if (!s)
		return NULL;
	s->buf = __vmalloc(SINK_BLOCKS * DMS_BLOCK_SIZE, GFP_NOIO);
	if (!s->buf) {
		kfree(s);
		return NULL;
	}
	s->v = v;
	s->limit = limit;
	s->sink.alloc = sink_alloc;
	s->sink.write = sink_write;
	s->sink.chunk_blocks = v->chunk_blocks;
	s->sink.generation = v->generation;
	s->sink.sequence = v->checkpoint_seq + 1;
	memcpy(s->sink.uuid, v->super.uuid, sizeof(s->sink.uuid));
	return &s->sink;
}

void dms_sink_publish(struct dms_sink *sink)
{
	struct area_sink *s = container_of(sink, struct area_sink, sink);
	struct dms_volume *v = s->v;
	u32 i;

	/* Whole chunks behind the last block written go back. */
	if (s->nr) {
		struct extent *last = &s->extent[s->nr - 1];
		u32 spare = div_u64(s->end - s->next, v->chunk_blocks);

		if (spare)
			dms_alloc_cancel(v->alloc, last->first + last->length - spare, spare);
		last->length -= spare;
	}
	for (i = 0; i < s->nr; i++)
		if (s->extent[i].length)
			dms_alloc_publish(v->alloc, s->extent[i].first, s->extent[i].length);
	s->published = true;
}

void dms_sink_destroy(struct dms_sink *sink)
{
	struct area_sink *s;
	u32 i;

	if (!sink)
		return;
	s = container_of(sink, struct area_sink, sink);
	for (i = 0; !s->published && i < s->nr; i++)
		dms_alloc_cancel(s->v->alloc, s->extent[i].first, s->extent[i].length);
	kvfree(s->extent);
	vfree(s->buf);
	kfree(s);
}

int dms_sink_error(const struct dms_sink *sink, int error)
{
	return error == -ENOSPC && container_of(sink, struct area_sink, sink)->no_memory ?
	       -ENOMEM : error;
}
