// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Walking a tree that is not trusted, see scan.h.
 *
 * A block that is not sound becomes a loss.  How far it reaches shows when the
 * next sound entry comes, or the next such block, or the end.  Leaves may split
 * the tags of one run between them: so the run that the sound entry before
 * belongs to has lost its higher tags at most, the one behind its lower tags.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scan.h"

const char *scan_error_text(int r)
{
	switch (r) {
	case -EIO:
		return "can't be read";
	case -ESTALE:
		return "is of another diff area, or an old one";
	case -EPROTONOSUPPORT:
		return "is of an unknown version";
	}
	return "is damaged";
}

void scan_lost_tags(const struct scan_loss *l, const struct dms_tree *t, u64 chunk,
		    u32 *low, u32 *high)
{
	*low = chunk < l->head_to ? max(l->head_tag, t->min_tag) : t->min_tag;
	*high = chunk >= l->tail_from ? min(l->tail_tag - 1, t->max_tag) : t->max_tag;
}

/* --- losses --------------------------------------------------------------- */

/* The pending loss ends before @to, or with the run of @e. */
static void loss_close(struct scan *s, u64 to, const struct dms_exception *e)
{
	struct scan_loss *l = &s->loss;

	if (!s->pending)
		return;
	s->pending = false;
	l->to = max(to, l->from + 1);
	l->tail_from = l->to;
	if (e && e->tag > s->tree->min_tag && e->chunk >= l->from) {
		l->tail_from = e->chunk;
		l->tail_tag = e->tag;
		l->to = e->chunk + e->length;
	}
	if (s->lost && !s->error)
		s->lost(s, l);
}

struct position {
	u64 chunk;
	u32 tag;
	bool known;			/* of a root only the chunk is */
};

/*
 * What @block held is lost, which began at @first; NULL: anywhere behind the
 * last sound entry.
 */
__attribute__((format(printf, 4, 5)))
static void loss_open(struct scan *s, u64 block, const struct position *first, const char *fmt, ...)
{
	bool after_loss = s->pending;
	struct scan_loss l = { .block = block, .wrong = s->wrong };
	va_list ap;

	l.from = first ? first->chunk :
		 after_loss ? s->loss.from :
		 s->last.length ? s->last.chunk : s->tree->first_chunk;
	loss_close(s, l.from, NULL);
	l.head_to = l.from;
	if (!after_loss && s->last.length && l.from == s->last.chunk) {
		l.head_to = l.from + s->last.length;
		l.head_tag = first && first->known ? first->tag : s->last.tag + 1;
	}
	va_start(ap, fmt);
	vsnprintf(s->wrong, sizeof(s->wrong), fmt, ap);
	va_end(ap);
	s->loss = l;
	s->pending = true;
	s->partial = true;
}

/* --- entries -------------------------------------------------------------- */

/* May @e come behind @last in a tree? */
static bool follows(const struct dms_exception *last, const struct dms_exception *e)
{
	if (!last->length)
		return true;
	if (e->chunk != last->chunk)
		return e->chunk > last->chunk && e->chunk - last->chunk >= last->length;
	if (e->length != last->length)
		return false;
	if (e->tag == last->tag)
		return last->kind != DMS_KIND_HOME && e->kind == DMS_KIND_HOME;
	return e->tag > last->tag;
}

static const char *entry_wrong(const struct scan *s, const struct dms_exception *e)
{
	const struct dms_tree *tree = s->tree;

	if (!dms_exception_valid(e, s->image->chunk_blocks, s->image->chunks))
		return "makes no sense";
	if ((e->kind == DMS_KIND_EXEMPT) != !!s->exempt)
		return "is of the wrong kind";
	if (!follows(&s->last, e))
		return "is out of order";
	if (e->chunk < tree->first_chunk || e->chunk + (e->length - 1) > tree->last_chunk)
		return "is outside the tree's bounds";
	if (!s->exempt && (e->tag < tree->min_tag || e->tag > tree->max_tag || !e->tag ||
			   e->tag > s->image->root.epoch))
		return "has a tag that can't be";
	return NULL;
}

static void scan_entry(struct scan *s, u64 block, u32 index, const struct dms_disk_entry *d,
		       const __le32 *csums, u32 nr_csums)
{
	const struct dms_exception e = {
		.chunk = le64_to_cpu(d->chunk), .where = le64_to_cpu(d->where),
		.length = le32_to_cpu(d->length), .tag = le32_to_cpu(d->tag), .kind = d->kind,
	};
	u64 nr = (u64)e.length * s->image->chunk_blocks, first = le16_to_cpu(d->csum);
	const char *wrong = entry_wrong(s, &e);

	if (!wrong && e.kind == DMS_KIND_DATA &&
	    (nr > DMS_ENTRY_MAX_CSUMS || first + nr > nr_csums))
		wrong = "has no checksums";
	s->entries++;
	if (wrong) {
		loss_open(s, block, NULL, "entry %u of block %llu %s", index,
			  (unsigned long long)block, wrong);
		return;
	}
	loss_close(s, e.chunk, &e);
	s->chunks += e.length;
	s->last = e;
	s->entry(s, &e, e.kind == DMS_KIND_DATA ? csums + first : NULL);
}

static void scan_leaf(struct scan *s, u64 block, const u8 *buf, const struct dms_header *h)
{
	const struct dms_disk_entry *entry = image_payload(buf);
	const __le32 *csums = (const __le32 *)(entry + h->count);
	u32 i;

	for (i = 0; i < h->count && !s->error; i++)
		scan_entry(s, block, i, &entry[i], csums, h->csums);
}

/* --- blocks --------------------------------------------------------------- */

static bool first_fits(const u8 *buf, const struct dms_header *h, const struct position *first)
{
	u64 chunk;
	u32 tag;

	if (h->type == DMS_BLOCK_LEAF) {
		const struct dms_disk_entry *entry = image_payload(buf);

		chunk = le64_to_cpu(entry->chunk);
		tag = le32_to_cpu(entry->tag);
	} else {
		const struct dms_disk_key *key = image_payload(buf);

		chunk = le64_to_cpu(key->chunk);
		tag = le32_to_cpu(key->tag);
	}
	return chunk == first->chunk && (!first->known || tag == first->tag);
}

/* Read the block into the buffer of its level; false, and a loss, if it is not sound. */
static bool scan_block(struct scan *s, const struct dms_pointer *p, u32 level,
		       const struct position *first, struct dms_header *h)
{
	u16 type = level ? DMS_BLOCK_NODE : DMS_BLOCK_LEAF;
	const char *wrong = NULL;
	int r;

	r = image_inside(s->image, p->block, 1) ?
	    image_block(s->image, p->block, type, &p->crc, s->buf[level], h) : -ERANGE;
	if (r == -ERANGE)
		wrong = "is outside the area's free part";
	else if (r)
		wrong = scan_error_text(r);
	else if (h->generation > s->image->super->generation)
		wrong = "is of a later activation";
	else if (!first_fits(s->buf[level], h, first))
		wrong = "does not begin where its parent says";
	else if (!s->block(s, p->block))
		wrong = "is used twice";
	s->blocks++;
	if (wrong && !s->error)
		loss_open(s, p->block, first, "block %llu %s", (unsigned long long)p->block, wrong);
	return !wrong && !s->error;
}

static void scan_below(struct scan *s, const struct dms_pointer *p, u32 level,
		       const struct position *first)
{
	const struct dms_disk_key *key;
	struct dms_header h;
	u32 i;

	if (!scan_block(s, p, level, first, &h))
		return;
	if (!level) {
		scan_leaf(s, p->block, s->buf[0], &h);
		return;
	}
	key = image_payload(s->buf[level]);
	for (i = 0; i < h.count && !s->error; i++) {
		struct dms_pointer child = { le64_to_cpu(key[i].block), le32_to_cpu(key[i].crc) };
		struct position at = { le64_to_cpu(key[i].chunk), le32_to_cpu(key[i].tag), true };

		if (i && !(le64_to_cpu(key[i - 1].chunk) < at.chunk ||
			   (le64_to_cpu(key[i - 1].chunk) == at.chunk &&
			    le32_to_cpu(key[i - 1].tag) < at.tag)))
			loss_open(s, p->block, NULL, "key %u of block %llu is out of order", i,
				  (unsigned long long)p->block);
		else
			scan_below(s, &child, level - 1, &at);
	}
}

int scan_tree(struct scan *s)
{
	const struct dms_tree *tree = s->tree;
	struct position first = { .chunk = tree->first_chunk };
	u32 i;

	if (!tree->depth)
		return s->error;
	for (i = 0; i < tree->depth; i++) {
		s->buf[i] = malloc(DMS_BLOCK_SIZE);
		if (!s->buf[i])
			s->error = -ENOMEM;
	}
	if (!s->error)
		scan_below(s, &tree->root, tree->depth - 1, &first);
	loss_close(s, tree->last_chunk + 1, NULL);
	for (i = 0; i < tree->depth; i++)
		free(s->buf[i]);
	return s->error;
}

/* --- look-ups ------------------------------------------------------------- */

static const void *source_get(struct dms_source *s, struct dms_pointer p, u16 type)
{
	struct scan_source *c = container_of(s, struct scan_source, source);
	void *buf = malloc(DMS_BLOCK_SIZE);
	int r;

	if (!buf)
		return ERR_PTR(-ENOMEM);
	r = image_block(c->image, p.block, type, &p.crc, buf, NULL);
	if (r) {
		free(buf);
		return ERR_PTR(r);
	}
	return buf;
}

static void source_put(struct dms_source *s, const void *block)
{
	(void)s;
	free((void *)block);
}

void scan_source_init(struct scan_source *s, const struct image *m)
{
	s->image = m;
	s->source = (struct dms_source){
		.get = source_get, .put = source_put,
		.chunk_blocks = m->chunk_blocks, .area_chunks = m->chunks,
	};
}
