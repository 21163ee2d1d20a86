// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Repairing the index: see repair.c for what can be proved.
 *
 *   1. trees that are not as they should be are written anew, of what is sound
 *      in them; chunks that are used twice, or bad, as their checksums say
 *   2. the journal's saves, as a tree
 *   3. for what was lost, a tree of UNREADABLE exceptions
 *
 * In 3 it is asked for each copy: with which tag, at least, may something be lost
 * that the copy would read?  An UNREADABLE exception with this tag stands for
 * all of them: a sound one with a lower tag is found before it, and is right.
 * No older copy is concerned by it that is not concerned by the loss itself.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "repair-core.h"

bool repair_touches_twice(const struct repair *r, const struct dms_exception *e)
{
	u32 i;

	for (i = 0; e->kind == DMS_KIND_DATA && r->any_twice && i < e->length; i++)
		if (bitset_test(&r->twice, e->where + i))
			return true;
	return false;
}

/* --- second pass: trees written anew ---------------------------------------- */

/* All entries of one run: they can be cut only together. */
struct member {
	struct dms_exception e;
	__le32 *csums;			/* a copy */
};

struct group {
	struct member *m;
	u32 nr, room;
};

struct writer {
	struct scan scan;
	struct repair *r;
	struct dms_builder *builder;
	struct group group;
};

static void group_clear(struct group *g)
{
	while (g->nr)
		free(g->m[--g->nr].csums);
}

static void group_exit(struct group *g)
{
	group_clear(g);
	free(g->m);
}

/* Is all of it as its checksums say, and its own? */
static int entry_sound(struct repair *r, const struct dms_exception *e, const __le32 *csums)
{
	int rc;

	if (e->kind != DMS_KIND_DATA)
		return 1;
	if (repair_touches_twice(r, e))
		return 0;
	if (!r->params->data)
		return 1;
	rc = image_verify(&r->image, e->where, e->length, csums);
	/* What can't be read today is an error anyway. */
	return rc == -ENOMEM ? rc : rc != -EUCLEAN;
}

/* One chunk goes to a place of its own. */
static int move_chunk(struct repair *r, struct dms_exception *e)
{
	u64 bytes = (u64)r->image.chunk_blocks << DMS_BLOCK_SHIFT, to;
	void *buf = malloc(bytes);
	int rc = buf ? rebuild_chunk(&r->out, &to) : -ENOMEM;

	if (!rc)
		rc = area_pread(r->image.fd, buf, bytes, e->where * bytes);
	if (!rc)
		rc = area_pwrite(r->out.fd, buf, bytes, to * bytes);
	free(buf);
	if (!rc) {
		repair_told(r, "data", e->chunk, 1, 0,
			    "chunk %llu moved from area chunk %llu to %llu",
			    (unsigned long long)e->chunk, (unsigned long long)e->where,
			    (unsigned long long)to);
		e->where = to;
	}
	return rc;
}

/* Copies up to id @last, into r->ids: one of them, at least, needed what is lost. */
static u32 copies_until(struct repair *r, u32 last)
{
	u32 i;

	for (i = 0; i < r->copies.count && r->copies.item[i].id <= last; i++)
		r->ids[i] = r->copies.item[i].id;
	return i;
}

/* One chunk of a group that is not sound. */
static int put_chunk(struct writer *w, struct dms_exception e, const __le32 *csums)
{
	struct repair *r = w->r;
	int rc = 0;

	if (e.kind == DMS_KIND_DATA && entry_sound(r, &e, csums) <= 0) {
		rc = image_verify(&r->image, e.where, 1, csums);
		if (rc == -ENOMEM)
			return rc;
		if (!rc) {
			rc = move_chunk(r, &e);
		} else {
			repair_told(r, "data", e.chunk, 1, copies_until(r, e.tag),
				    "unreadable now, area chunk %llu doesn't fit its checksums",
				    (unsigned long long)e.where);
			e.kind = DMS_KIND_UNREADABLE;
			e.where = 0;
			r->unreadable++;
			rc = 0;
		}
	}
	return rc ? rc : dms_builder_add(w->builder, &e, csums);
}

static int group_put(struct writer *w)
{
	const u32 cb = w->r->image.chunk_blocks;
	struct group *g = &w->group;
	bool sound = true;
	int rc = 0;
	u32 i, k;

	for (k = 0; k < g->nr && rc >= 0; k++) {
		rc = entry_sound(w->r, &g->m[k].e, g->m[k].csums);
		sound &= rc;
	}
	rc = min(rc, 0);
	for (k = 0; k < g->nr && sound && !rc; k++)
		rc = dms_builder_add(w->builder, &g->m[k].e, g->m[k].csums);
	for (i = 0; g->nr && i < g->m[0].e.length && !sound && !rc; i++) {
		for (k = 0; k < g->nr && !rc; k++) {
			struct dms_exception e = g->m[k].e;
			const __le32 *csums = g->m[k].csums;

			e.chunk += i;
			e.where += e.kind == DMS_KIND_DATA ? i : 0;
			e.length = 1;
			rc = put_chunk(w, e, csums ? csums + (size_t)i * cb : NULL);
		}
	}
	group_clear(g);
	return rc;
}

static int group_add(struct writer *w, const struct dms_exception *e, const __le32 *csums)
{
	size_t size = (size_t)e->length * w->r->image.chunk_blocks * sizeof(*csums);
	struct group *g = &w->group;
	struct member *m;
	int rc = 0;

	if (g->nr && g->m[0].e.chunk != e->chunk)
		rc = group_put(w);
	if (rc)
		return rc;
	if (g->nr == g->room) {
		u32 room = g->room ? 2 * g->room : 16;
		struct member *more = reallocarray(g->m, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		g->m = more;
		g->room = room;
	}
	m = &g->m[g->nr];
	m->e = *e;
	m->csums = csums ? malloc(size) : NULL;
	if (csums && !m->csums)
		return -ENOMEM;
	if (csums)
		memcpy(m->csums, csums, size);
	g->nr++;
	return 0;
}

static bool writer_block(struct scan *s, u64 block)
{
	(void)s;
	(void)block;
	return true;
}

static void writer_entry(struct scan *s, const struct dms_exception *e, const __le32 *csums)
{
	s->error = group_add(container_of(s, struct writer, scan), e, csums);
}

/* Another tree of the new checkpoint, if there is anything in it. */
static int add_tree(struct repair *r, const struct dms_tree *tree)
{
	if (!tree->depth)
		return 0;
	if (r->out.nr_trees == KERNEL_TREES)
		return repair_no_way(r, "it has too many index trees");
	r->out.trees[r->out.nr_trees++] = *tree;
	return 0;
}

static int writer_finish(struct writer *w, int rc)
{
	struct dms_tree tree;

	if (!rc)
		rc = group_put(w);
	if (!rc)
		rc = dms_builder_finish(w->builder, &tree);
	if (!rc)
		rc = add_tree(w->r, &tree);
	dms_builder_destroy(w->builder);
	group_exit(&w->group);
	return rc;
}

static int write_tree(struct repair *r, const struct plan *plan)
{
	struct writer w = {
		.scan = { .image = &r->image, .tree = &plan->tree, .block = writer_block,
			  .entry = writer_entry },
		.r = r, .builder = dms_builder_create(&r->out.sink),
	};

	if (!plan->tree.depth) {
		dms_builder_destroy(w.builder);
		return 0;
	}
	repair_told(r, "index", plan->tree.first_chunk,
		    plan->tree.last_chunk - plan->tree.first_chunk + 1, 0,
		    "tree at block %llu written anew", (unsigned long long)plan->tree.root.block);
	return writer_finish(&w, w.builder ? scan_tree(&w.scan) : -ENOMEM);
}

static int write_saves(struct repair *r)
{
	struct writer w = { .r = r, .builder = dms_builder_create(&r->out.sink) };
	struct dms_exception e;
	const __le32 *csums;
	int rc = w.builder ? 0 : -ENOMEM;
	u32 i;

	for (i = 0; i < dms_table_count(r->saves) && !rc; i++) {
		dms_table_get(r->saves, i, &e, &csums);
		rc = group_add(&w, &e, csums);
	}
	if (i)
		repair_told(r, "journal", 0, 0, 0, "%u saved chunks entered in the index", i);
	return writer_finish(&w, rc);
}

/* --- what was lost ---------------------------------------------------------- */

/* From @pos on, for @length chunks: what copies get an error, and by which tag. */
struct fill {
	u64 pos, length;
	u32 *tag;			/* of each copy, by number; 0: not concerned */
	u32 *copy, nr;			/* numbers of those to be filled in */
};

static int by_from(const void *a, const void *b)
{
	const struct loss *l = a, *m = b;

	return l->where.from < m->where.from ? -1 : l->where.from > m->where.from;
}

static void fill_end(struct fill *f, u64 at)
{
	if (at > f->pos)
		f->length = min(f->length, at - f->pos);
}

/* The copies that a loss at f->pos concerns, each with the lowest tag it may have lost. */
static bool fill_begin(const struct repair *r, struct fill *f)
{
	const struct scan_loss *w;
	bool inside = false;
	u32 low, high, k, tag;
	size_t i;

	f->nr = 0;
	f->length = 1u << 30;
	memset(f->tag, 0, r->copies.count * sizeof(*f->tag));
	for (i = 0; i < r->nr_loss; i++) {
		w = &r->loss[i].where;
		fill_end(f, w->from);
		if (w->from > f->pos)
			break;
		if (w->to <= f->pos)
			continue;
		inside = true;
		fill_end(f, w->to);
		fill_end(f, w->head_to);
		fill_end(f, w->tail_from);
		scan_lost_tags(w, r->loss[i].tree, f->pos, &low, &high);
		for (k = 0; k < r->copies.count && r->copies.item[k].id <= high && low <= high; k++) {
			tag = max(low, r->copies.item[k].id);
			if (!(r->copies.item[k].flags & DMS_SHADOW_INVALID) && (!f->tag[k] || tag < f->tag[k]))
				f->tag[k] = tag;
		}
	}
	return inside;
}

/* Has a sound tree an exception of exactly @tag?  Shortens f->length to where that holds. */
static int fill_known(struct repair *r, struct fill *f, u32 tag)
{
	struct dms_exception e;
	u32 i;
	int rc;

	for (i = 0; i < r->out.nr_trees; i++) {
		rc = dms_tree_find(&r->source.source, &r->out.trees[i], f->pos, tag,
				   (u32)f->length, &e, NULL);
		if (rc < 0)
			return rc;
		f->length = min_t(u64, f->length, e.length);
		if (rc && e.tag == tag)
			return 1;
	}
	return 0;
}

/* All tags at f->pos that are not known, in @builder; marks the copies. */
static int fill_put(struct repair *r, struct fill *f, struct dms_builder *builder)
{
	struct dms_exception e = { .chunk = f->pos, .kind = DMS_KIND_UNREADABLE };
	u32 k, i, nr = 0;
	int rc;

	/* First all, as each may shorten the run. */
	for (k = 0; k < r->copies.count; k++) {
		if (!f->tag[k])
			continue;
		rc = fill_known(r, f, f->tag[k]);
		if (rc < 0)
			return rc;
		if (!rc)
			f->copy[nr++] = k;
	}
	e.length = (u32)f->length;
	f->nr = nr;
	for (i = 0; i < nr; i++) {
		r->copies.item[f->copy[i]].flags |= DMS_SHADOW_SUSPECT;
		/* Several copies may have lost the same one. */
		if (e.tag >= f->tag[f->copy[i]])
			continue;
		e.tag = f->tag[f->copy[i]];
		rc = dms_builder_add(builder, &e, NULL);
		if (rc)
			return rc;
	}
	return 0;
}

/* What is filled in of losses side by side, for one report. */
struct lost_run {
	u64 from, to;
	bool *copy;			/* by number, those that are concerned */
	u32 nr;				/* 0: none */
};

static void lost_run_add(struct lost_run *run, const struct fill *f)
{
	u32 i;

	if (!run->nr)
		run->from = f->pos;
	run->to = f->pos + f->length;
	run->nr += f->nr;
	for (i = 0; i < f->nr; i++)
		run->copy[f->copy[i]] = true;
}

static void lost_run_tell(struct repair *r, struct lost_run *run)
{
	u32 k, nr = 0;

	for (k = 0; k < r->copies.count; k++) {
		if (run->copy[k])
			r->ids[nr++] = r->copies.item[k].id;
		run->copy[k] = false;
	}
	if (run->nr)
		repair_told(r, "index", run->from, run->to - run->from, nr,
			    "unreadable now where the index has been lost");
	run->nr = 0;
}

static int fill_all(struct repair *r, struct fill *f, struct lost_run *run,
		    struct dms_builder *builder)
{
	u64 end = 0;
	size_t i;
	int rc = 0;

	for (i = 0; i < r->nr_loss; i++)
		end = max(end, r->loss[i].where.to);
	for (f->pos = r->loss[0].where.from; f->pos < end && !rc; f->pos += f->length) {
		if (!fill_begin(r, f)) {
			lost_run_tell(r, run);
			continue;
		}
		rc = fill_put(r, f, builder);
		if (!rc && f->nr)
			lost_run_add(run, f);
	}
	lost_run_tell(r, run);
	return rc;
}

/* A tree of UNREADABLE exceptions for all that may be missing in the others. */
static int write_losses(struct repair *r)
{
	struct fill f = { .pos = 0 };
	struct lost_run run = { .from = 0 };
	struct dms_builder *builder;
	struct dms_tree tree;
	int rc = -ENOMEM;

	if (!r->nr_loss)
		return 0;
	qsort(r->loss, r->nr_loss, sizeof(*r->loss), by_from);
	scan_source_init(&r->source, &r->image);
	builder = dms_builder_create(&r->out.sink);
	f.tag = calloc(r->copies.count + 1, sizeof(*f.tag));
	f.copy = calloc(r->copies.count + 1, sizeof(*f.copy));
	run.copy = calloc(r->copies.count + 1, sizeof(*run.copy));
	if (builder && f.tag && f.copy && run.copy)
		rc = fill_all(r, &f, &run, builder);
	if (!rc)
		rc = dms_builder_finish(builder, &tree);
	if (!rc)
		rc = add_tree(r, &tree);
	dms_builder_destroy(builder);
	free(f.tag);
	free(f.copy);
	free(run.copy);
	return rc;
}

int repair_index(struct repair *r)
{
	u32 i;
	int rc = 0;

	for (i = 0; i < r->image.root.nr_trees && !rc; i++)
		rc = r->plan[i].dirty ? write_tree(r, &r->plan[i]) : add_tree(r, &r->plan[i].tree);
	if (!rc)
		rc = write_saves(r);
	return rc ? rc : write_losses(r);
}
