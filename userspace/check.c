// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Checking a diff area.
 *
 *   1. superblocks: both whole, of one area
 *   2. root, descriptors, the journal's tail as a replay takes it: these give
 *      the copies that there are
 *   3. each tree: every block whole, where its parent says, in order; every
 *      entry inside the area and the tree's bounds
 *   4. every area chunk that 2 and 3 name is named once
 *   5. the bitmap says used where the checkpoint names a chunk, and nowhere
 *      else: a chunk too few will be overwritten, one too many is lost space
 *   6. on demand, all saved data against their checksums
 *
 * A finding names what it costs.  An index block that is lost takes with it
 * all that the copies up to the tree's newest tag had in its range; a saved
 * chunk concerns those copies that resolve to it, found by looking it up for
 * each as the kernel would.
 *
 * Input is hostile: every block is visited once, whatever points to it, so
 * the work is bounded by the size of the area.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bitset.h"
#include "check.h"
#include "image.h"
#include "scan.h"

/* --- state ---------------------------------------------------------------- */

struct check {
	const struct check_params *params;
	struct check_summary *sum;
	struct image image;
	struct image_journal journal;
	struct image_copies copies;
	bool have_copies;
	u32 *ids;			/* room for all copies: who is affected */
	struct dms_tree *trees;		/* of the root; depth 0 for nonsense */
	struct dms_exception *saves;	/* of the journal's tail */
	u64 nr_saves, room_saves;
	struct bitset data, meta;	/* chunks, by use */
	struct bitset checkpoint, tail;	/* chunks, by who names them */
	struct bitset blocks;		/* of metadata */
	bool in_tail;			/* claims are the journal's */
	struct scan_source source;
	int error;			/* first -errno that ends the check */
};

static void fail(struct check *c, int error)
{
	if (!c->error)
		c->error = error;
}

static void report_finding(struct check *c, struct check_finding *f, const char *fmt, va_list ap)
{
	char fact[256];
	u64 count;

	vsnprintf(fact, sizeof(fact), fmt, ap);
	f->fact = fact;
	if (f->level == CHECK_DAMAGE)
		c->sum->damage++;
	else if (f->level == CHECK_WARNING)
		c->sum->warnings++;
	else
		c->sum->notes++;
	count = c->sum->damage + c->sum->warnings + c->sum->notes;
	if (!c->params->max_findings || count <= c->params->max_findings)
		c->params->report(c->params->context, f);
}

__attribute__((format(printf, 5, 6)))
static void report(struct check *c, enum check_level level, const char *object, u64 block,
		   const char *fmt, ...)
{
	struct check_finding f = { .level = level, .object = object, .block = block };
	va_list ap;

	va_start(ap, fmt);
	report_finding(c, &f, fmt, ap);
	va_end(ap);
}

/* Damage that costs copies c->ids[0..nr) these chunks (0: all). */
__attribute__((format(printf, 7, 8)))
static void report_loss(struct check *c, const char *object, u64 block, u64 chunk, u64 chunks,
			u32 nr, const char *fmt, ...)
{
	struct check_finding f = {
		.level = CHECK_DAMAGE, .object = object, .block = block, .chunk = chunk,
		.chunks = chunks, .copies = c->ids, .nr_copies = nr,
	};
	va_list ap;

	va_start(ap, fmt);
	report_finding(c, &f, fmt, ap);
	va_end(ap);
}

static u64 copy_chunks(const struct check *c, const struct dms_shadow_info *info)
{
	u64 sectors = (u64)c->image.chunk_blocks * DMS_BLOCK_SECTORS;

	return (info->origin_sectors + sectors - 1) / sectors;
}

/* Copies up to id @last that reach as far as @chunk, into c->ids. */
static u32 copies_until(struct check *c, u32 last, u64 chunk)
{
	u32 i, nr = 0;

	for (i = 0; i < c->copies.count && c->copies.item[i].id <= last; i++) {
		if (copy_chunks(c, &c->copies.item[i]) > chunk)
			c->ids[nr++] = c->copies.item[i].id;
	}
	return nr;
}

/* --- who names what ------------------------------------------------------- */

static void claim_chunk(struct check *c, u64 chunk)
{
	if (bitset_set(c->in_tail ? &c->tail : &c->checkpoint, chunk))
		fail(c, -ENOMEM);
}

/* A block of metadata; false if something else is there already. */
static bool claim_block(struct check *c, u64 block)
{
	u64 chunk = block / c->image.chunk_blocks;

	if (bitset_test(&c->blocks, block) || bitset_test(&c->data, chunk))
		return false;
	if (bitset_set(&c->blocks, block) || bitset_set(&c->meta, chunk))
		fail(c, -ENOMEM);
	claim_chunk(c, chunk);
	return !c->error;
}

/* The same, and reported, for one that belongs to no tree. */
static void claim_single(struct check *c, const char *object, u64 block)
{
	if (!image_inside(&c->image, block, 1))
		report(c, CHECK_DAMAGE, object, block, "block %llu is outside the area's free part",
		       (unsigned long long)block);
	else if (!claim_block(c, block) && !c->error)
		report(c, CHECK_DAMAGE, object, block, "block %llu is used twice",
		       (unsigned long long)block);
}

/* A run of saved chunks. */
static void claim_data(struct check *c, const char *object, const struct dms_exception *e)
{
	u64 chunk, end = e->where + e->length, doubly = 0, first = 0;

	for (chunk = e->where; chunk < end && !c->error; chunk++) {
		if (!image_inside(&c->image, chunk * c->image.chunk_blocks, c->image.chunk_blocks) ||
		    bitset_test(&c->data, chunk) || bitset_test(&c->meta, chunk)) {
			if (!doubly++)
				first = chunk;
			continue;
		}
		if (bitset_set(&c->data, chunk))
			fail(c, -ENOMEM);
		claim_chunk(c, chunk);
	}
	if (doubly)
		report_loss(c, object, CHECK_NO_BLOCK, e->chunk, e->length,
			    copies_until(c, e->tag, e->chunk),
			    "area chunk %llu and %llu more are something else, too",
			    (unsigned long long)first, (unsigned long long)doubly - 1);
}

/* --- look-ups ------------------------------------------------------------- */

/*
 * The tag that copy @info finds at @chunk; 0: none, it reads the origin, or
 * zeros.  Where an index can't tell it is @otherwise.
 */
static u32 resolve(struct check *c, const struct dms_shadow_info *info, u64 chunk, u32 otherwise)
{
	struct dms_exception e;
	u32 i, best = 0;
	u64 k;
	int r;

	if (info->exempt.depth &&
	    dms_tree_find(&c->source.source, &info->exempt, chunk, 0, 1, &e, NULL) == 1)
		return 0;
	for (i = 0; i < c->image.root.nr_trees; i++) {
		if (!c->trees[i].depth)
			continue;
		r = dms_tree_find(&c->source.source, &c->trees[i], chunk, info->id, 1, &e, NULL);
		if (r < 0)
			return otherwise;
		if (r && (!best || e.tag < best))
			best = e.tag;
	}
	for (k = 0; k < c->nr_saves; k++) {
		const struct dms_exception *s = &c->saves[k];

		if (chunk >= s->chunk && chunk - s->chunk < s->length && s->tag >= info->id &&
		    s->kind != DMS_KIND_HOME && (!best || s->tag < best))
			best = s->tag;
	}
	return best;
}

/* The copies that need what was saved of @chunk with @tag, into @ids. */
static u32 copies_of(struct check *c, u64 chunk, u32 tag, u32 *ids)
{
	u32 i, nr = 0;

	for (i = 0; i < c->copies.count && c->copies.item[i].id <= tag; i++) {
		const struct dms_shadow_info *info = &c->copies.item[i];

		if (copy_chunks(c, info) > chunk && resolve(c, info, chunk, tag) == tag)
			ids[nr++] = info->id;
	}
	return nr;
}

/* --- data ----------------------------------------------------------------- */

static void report_data(struct check *c, const struct dms_exception *e, u64 from, u64 to, u32 nr)
{
	u64 where = e->where + (from - e->chunk);
	const char *fact = "area chunks %llu to %llu don't fit their checksums";
	const char *dead = "area chunks %llu to %llu don't fit their checksums, no copy needs them";

	if (nr)
		report_loss(c, "data", where * c->image.chunk_blocks, from, to - from, nr, fact,
			    (unsigned long long)where, (unsigned long long)(where + (to - from) - 1));
	else
		report(c, CHECK_NOTE, "data", where * c->image.chunk_blocks, dead,
		       (unsigned long long)where, (unsigned long long)(where + (to - from) - 1));
}

/* Some of @e does not fit: say which chunks, and join those of the same copies. */
static void find_bad_data(struct check *c, const struct dms_exception *e, const __le32 *csums)
{
	u32 nr = 0, next_nr, *next, i;
	u64 from = 0, to = 0;		/* a run of bad chunks; to 0: none */

	next = calloc(c->copies.count + 1, sizeof(*next));
	if (!next) {
		fail(c, -ENOMEM);
		return;
	}
	for (i = 0; i < e->length && !c->error; i++) {
		u64 chunk = e->chunk + i;
		int r = image_verify(&c->image, e->where + i, 1,
				     csums + (size_t)i * c->image.chunk_blocks);

		if (r == -ENOMEM)
			fail(c, r);
		if (!r)
			continue;
		next_nr = copies_of(c, chunk, e->tag, next);
		if (to == chunk && next_nr == nr && !memcmp(next, c->ids, nr * sizeof(*next))) {
			to++;
			continue;
		}
		if (to)
			report_data(c, e, from, to, nr);
		from = chunk;
		to = chunk + 1;
		nr = next_nr;
		memcpy(c->ids, next, nr * sizeof(*next));
	}
	if (to)
		report_data(c, e, from, to, nr);
	free(next);
}

static void check_data(struct check *c, const struct dms_exception *e, const __le32 *csums)
{
	int r;

	if (!c->params->data || c->error)
		return;
	r = image_verify(&c->image, e->where, e->length, csums);
	c->sum->verified_blocks += (u64)e->length * c->image.chunk_blocks;
	if (r == -ENOMEM)
		fail(c, r);
	else if (r)
		find_bad_data(c, e, csums);
}

/* --- trees ---------------------------------------------------------------- */

struct tree_check {
	struct scan scan;
	struct check *check;
	const char *object;		/* "index" or "exempt" */
	const struct dms_shadow_info *copy;	/* exempt: whose */
};

static struct tree_check *of_scan(struct scan *s)
{
	return container_of(s, struct tree_check, scan);
}

static bool tree_block(struct scan *s, u64 block)
{
	struct check *c = of_scan(s)->check;
	bool whose = claim_block(c, block);

	s->error = c->error;
	return whose;
}

static void tree_entry(struct scan *s, const struct dms_exception *e, const __le32 *csums)
{
	struct tree_check *t = of_scan(s);

	if (csums) {
		claim_data(t->check, t->object, e);
		t->check->sum->saved_chunks += e->length;
	}
	s->error = t->check->error;
}

/* Into c->ids, those that a loss in the tree concerns. */
static u32 tree_copies(struct tree_check *t, u64 from)
{
	struct check *c = t->check;

	if (!t->copy)
		return copies_until(c, t->scan.tree->max_tag, from);
	c->ids[0] = t->copy->id;
	return 1;
}

static void tree_lost(struct scan *s, const struct scan_loss *l)
{
	struct tree_check *t = of_scan(s);

	report_loss(t->check, t->object, l->block, l->from, l->to - l->from,
		    tree_copies(t, l->from), "%s", l->wrong);
}

static void check_tree(struct check *c, const struct dms_tree *tree,
		       const struct dms_shadow_info *copy)
{
	struct tree_check t = {
		.scan = { .image = &c->image, .tree = tree, .exempt = copy ? copy->id : 0,
			  .block = tree_block, .entry = tree_entry, .lost = tree_lost },
		.check = c, .object = copy ? "exempt" : "index", .copy = copy,
	};

	if (!tree->depth || c->error)
		return;
	if (scan_tree(&t.scan)) {
		fail(c, t.scan.error);
		return;
	}
	if (!t.scan.partial && (t.scan.entries != tree->entries || t.scan.blocks != tree->blocks))
		report_loss(c, t.object, tree->root.block, tree->first_chunk,
			    tree->last_chunk - tree->first_chunk + 1,
			    tree_copies(&t, tree->first_chunk),
			    "tree at block %llu has %llu entries in %llu blocks, should be %llu in %llu",
			    (unsigned long long)tree->root.block,
			    (unsigned long long)t.scan.entries, (unsigned long long)t.scan.blocks,
			    (unsigned long long)tree->entries, (unsigned long long)tree->blocks);
	if (copy && !t.scan.partial && t.scan.chunks != copy->exempt_chunks)
		report(c, CHECK_DAMAGE, "exempt", tree->root.block,
		       "copy %u has %llu exempt chunks, should be %llu", copy->id,
		       (unsigned long long)t.scan.chunks, (unsigned long long)copy->exempt_chunks);
	c->sum->tree_blocks += t.scan.blocks;
	if (!copy)
		c->sum->entries += t.scan.entries;
}

static bool any_block(struct scan *s, u64 block)
{
	(void)s;
	(void)block;
	return true;
}

static void data_entry(struct scan *s, const struct dms_exception *e, const __le32 *csums)
{
	struct check *c = of_scan(s)->check;

	if (csums)
		check_data(c, e, csums);
	s->error = c->error;
}

/* Second pass: what is wrong with the tree itself was said before. */
static void check_tree_data(struct check *c, const struct dms_tree *tree)
{
	struct tree_check t = {
		.scan = { .image = &c->image, .tree = tree, .block = any_block,
			  .entry = data_entry },
		.check = c,
	};

	if (tree->depth && !c->error && scan_tree(&t.scan))
		fail(c, t.scan.error);
}

static void check_index(struct check *c)
{
	u32 i;

	for (i = 0; i < c->image.root.nr_trees && !c->error; i++) {
		if (dms_tree_unpack(&c->image.trees[i], c->image.super->area_blocks, &c->trees[i])) {
			memset(&c->trees[i], 0, sizeof(c->trees[i]));
			report_loss(c, "root", c->image.super->root.block, 0, 0,
				    copies_until(c, U32_MAX, 0), "tree %u makes no sense", i);
			continue;
		}
		check_tree(c, &c->trees[i], NULL);
	}
	c->sum->trees = c->image.root.nr_trees;
	for (i = 0; i < c->image.root.nr_trees && c->params->data && !c->error; i++)
		check_tree_data(c, &c->trees[i]);
}

/* --- superblocks ---------------------------------------------------------- */

static void check_super(struct check *c, u64 addr, char name)
{
	const struct dms_super *best = c->image.super;
	struct dms_super s;
	u8 *buf;
	int r;

	buf = malloc(DMS_BLOCK_SIZE);
	if (!buf) {
		fail(c, -ENOMEM);
		return;
	}
	r = image_read(&c->image, addr, buf);
	if (!r)
		r = dms_super_unpack(buf, addr, &s);
	free(buf);
	if (r)
		report(c, CHECK_DAMAGE, "superblock", addr, "superblock %c %s, the other is used",
		       name, scan_error_text(r));
	else if (memcmp(s.uuid, best->uuid, sizeof(s.uuid)) ||
		 s.chunk_blocks != best->chunk_blocks || s.created != best->created)
		report(c, CHECK_DAMAGE, "superblock", addr,
		       "superblock %c is of another diff area, the other is used", name);
}

static void check_geometry(struct check *c)
{
	const struct dms_super *s = c->image.super;

	if (s->limit_chunks > c->image.chunks)
		report(c, CHECK_WARNING, "superblock", CHECK_NO_BLOCK,
		       "the limit of %llu chunks is above the area's %llu",
		       (unsigned long long)s->limit_chunks, (unsigned long long)c->image.chunks);
	if (c->image.info.bytes >> DMS_BLOCK_SHIFT >= s->area_blocks + s->chunk_blocks)
		report(c, CHECK_NOTE, "superblock", CHECK_NO_BLOCK,
		       "the device is larger than the area, resize would use it");
}

/* --- copies --------------------------------------------------------------- */

static void descriptor_damaged(void *context, u32 id, u64 block, int error)
{
	struct check *c = context;

	c->ids[0] = id;
	report_loss(c, "copy", block, 0, 0, 1, "copy %u: its descriptor %s", id, scan_error_text(error));
}

static void check_references(struct check *c)
{
	u32 i, id, last = 0;

	for (i = 0; i < c->image.root.nr_shadows && !c->error; i++) {
		id = le32_to_cpu(c->image.refs[i].id);
		if (id <= last || id > c->image.root.epoch)
			report(c, CHECK_DAMAGE, "root", c->image.super->root.block,
			       "copy %u is out of order", id);
		last = max(last, id);
		claim_single(c, "copy", le64_to_cpu(c->image.refs[i].block));
	}
}

static void check_copy(struct check *c, const struct dms_shadow_info *info)
{
	const u32 known = DMS_SHADOW_PREPARING | DMS_SHADOW_SUSPECT | DMS_SHADOW_INVALID |
			  DMS_SHADOW_EXEMPT | DMS_SHADOW_RESTORABLE;

	if (info->flags & ~known)
		report(c, CHECK_WARNING, "copy", CHECK_NO_BLOCK, "copy %u has unknown flags 0x%x",
		       info->id, info->flags & ~known);
	if (info->exempt.depth && !(info->flags & DMS_SHADOW_EXEMPT))
		report(c, CHECK_DAMAGE, "copy", CHECK_NO_BLOCK,
		       "copy %u has exempt runs that its flags deny", info->id);
	if (info->flags & DMS_SHADOW_PREPARING)
		report(c, CHECK_NOTE, "copy", CHECK_NO_BLOCK,
		       "copy %u belongs to a set that was not committed", info->id);
	if (info->flags & DMS_SHADOW_SUSPECT)
		report(c, CHECK_NOTE, "copy", CHECK_NO_BLOCK,
		       "copy %u is suspect, the origin was changed outside or part of it was lost", info->id);
	if (info->flags & DMS_SHADOW_INVALID)
		report(c, CHECK_NOTE, "copy", CHECK_NO_BLOCK, "copy %u was lost before", info->id);
}

/* All that is not lost already will be at the next activation. */
static void check_lost(struct check *c)
{
	u32 i, nr = 0;

	for (i = 0; i < c->copies.count; i++)
		if (!(c->copies.item[i].flags & DMS_SHADOW_INVALID))
			c->ids[nr++] = c->copies.item[i].id;
	if (c->image.super->flags & DMS_SUPER_LOST && nr)
		report_loss(c, "superblock", CHECK_NO_BLOCK, 0, 0, nr,
			    "the diff area failed in use, what was to be saved then is lost");
}

/* Exempt trees as the checkpoint has them; the journal may have new ones. */
static void check_exempt(struct check *c)
{
	struct dms_shadow_info *info = malloc(sizeof(*info));
	u32 i;

	if (!info) {
		fail(c, -ENOMEM);
		return;
	}
	for (i = 0; i < c->image.root.nr_shadows && !c->error; i++) {
		if (!image_descriptor(&c->image, &c->image.refs[i], info))
			check_tree(c, &info->exempt, info);
	}
	free(info);
}

static void check_copies(struct check *c)
{
	bool found = !c->copies.merge_shadow;
	u32 i;

	for (i = 0; i < c->copies.count; i++) {
		check_copy(c, &c->copies.item[i]);
		if (c->copies.item[i].id == c->copies.merge_shadow)
			found = true;
	}
	c->sum->copies = c->copies.count;
	if (!found)
		report(c, CHECK_DAMAGE, "root", CHECK_NO_BLOCK,
		       "copy %u is being merged, but there is none", c->copies.merge_shadow);
}

/* --- the journal ---------------------------------------------------------- */

static int count_save(void *context, u64 sequence, const struct dms_record *r)
{
	struct check *c = context;

	(void)sequence;
	if (r->type != DMS_RECORD_SAVE)
		return 0;
	if (c->nr_saves == c->room_saves) {
		u64 room = c->room_saves ? 2 * c->room_saves : 1024;
		struct dms_exception *saves = reallocarray(c->saves, room, sizeof(*saves));

		if (!saves)
			return -ENOMEM;
		c->saves = saves;
		c->room_saves = room;
	}
	c->saves[c->nr_saves++] = r->save;
	return 0;
}

/* What a record says must go together with the rest. */
static int check_record(void *context, u64 sequence, const struct dms_record *r)
{
	u64 block = image_journal_block(&((struct check *)context)->image, sequence);
	struct check *c = context;
	struct dms_shadow_info *info;

	if (r->type == DMS_RECORD_SAVE) {
		if (r->save.tag > c->copies.epoch)
			report(c, CHECK_DAMAGE, "journal", block,
			       "a save in block %llu has a tag that can't be",
			       (unsigned long long)block);
		if (r->save.kind == DMS_KIND_DATA) {
			claim_data(c, "journal", &r->save);
			c->sum->saved_chunks += r->save.length;
			check_data(c, &r->save, r->csums);
		}
	} else if (r->type == DMS_RECORD_SHADOW) {
		info = malloc(sizeof(*info));
		if (!info)
			return -ENOMEM;
		if (dms_shadow_unpack(r->shadow, c->image.super->area_blocks, info)) {
			c->ids[0] = r->id;
			report_loss(c, "journal", block, 0, 0, 1,
				    "copy %u in block %llu makes no sense", r->id,
				    (unsigned long long)block);
		} else if (info->exempt.depth && image_inside(&c->image, info->exempt.root.block, 1) &&
			   !bitset_test(&c->blocks, info->exempt.root.block)) {
			/* New here.  Copies' records come again with other changes. */
			check_tree(c, &info->exempt, info);
		}
		free(info);
	}
	return c->error;
}

static void report_journal(struct check *c)
{
	const struct image_journal *j = &c->journal;
	u64 block = image_journal_block(&c->image, j->end);
	unsigned long long end = j->end;

	/* An activation writes a superblock before anything else. */
	if (j->newest > c->image.super->generation)
		report_loss(c, "superblock", CHECK_NO_BLOCK, 0, 0, copies_until(c, U32_MAX, 0),
			    "the newest was lost, this one is of activation %llu, the journal of %llu",
			    (unsigned long long)c->image.super->generation,
			    (unsigned long long)j->newest);
	if (j->lost)
		report_loss(c, "journal", block, 0, 0, copies_until(c, U32_MAX, 0),
			    "sequence %llu is damaged, all that came later is lost, at least up to %llu",
			    end, (unsigned long long)j->next_whole);
	else if (j->why == JOURNAL_UNREADABLE)
		report_loss(c, "journal", block, 0, 0, copies_until(c, U32_MAX, 0),
			    "sequence %llu can't be read", end);
	else if (j->why == JOURNAL_BAD_RECORD)
		report_loss(c, "journal", block, 0, 0, copies_until(c, U32_MAX, 0),
			    "sequence %llu is whole, but makes no sense", end);
	else if (j->why == JOURNAL_TORN)
		report(c, CHECK_NOTE, "journal", block,
		       "the save with sequence %llu was under way at a crash, it does not count", end);
	if (c->image.super->flags & DMS_SUPER_CLEAN && j->end != j->begin)
		report(c, CHECK_WARNING, "journal", block,
		       "marked clean, but there is a journal to replay");
}

static void check_journal(struct check *c)
{
	int r;

	report_journal(c);
	c->in_tail = true;
	r = image_journal_each(&c->image, &c->journal, check_record, c);
	c->in_tail = false;
	if (r)
		fail(c, r);
	c->sum->journal_blocks = c->journal.end - c->journal.begin;
	c->sum->journal_saves = c->nr_saves;
}

/* --- the bitmap ----------------------------------------------------------- */

/* Joins neighbours into one finding; @chunk U64_MAX ends it. */
struct run {
	u64 from, to;
};

static void report_run(struct check *c, struct run *run, u64 chunk, bool leak)
{
	unsigned long long from = run->from, last = run->to - 1;

	if (run->to && run->to == chunk) {
		run->to++;
		return;
	}
	if (run->to && leak)
		report(c, CHECK_WARNING, "bitmap", CHECK_NO_BLOCK,
		       "area chunks %llu to %llu are marked used, but nothing is there", from, last);
	else if (run->to)
		report(c, CHECK_DAMAGE, "bitmap", CHECK_NO_BLOCK,
		       "area chunks %llu to %llu are in use, but marked free", from, last);
	run->from = chunk;
	run->to = chunk == U64_MAX ? 0 : chunk + 1;
}

static void check_pair(struct check *c, u64 pair, const u8 *bits, struct run *missing,
		       struct run *leaked)
{
	u64 first = pair * DMS_BITMAP_BITS;
	u32 byte, bit;

	for (byte = 0; byte < DMS_PAYLOAD_SIZE; byte++) {
		u8 named = bitset_byte(&c->checkpoint, pair, byte);
		u8 tail = bitset_byte(&c->tail, pair, byte);
		u8 wrong = (u8)((named & ~bits[byte]) | (bits[byte] & ~named & ~tail));

		for (bit = 0; bit < 8; bit++) {
			u64 chunk = first + byte * 8 + bit;

			if (chunk >= c->image.chunks)
				return;
			if (bits[byte] >> bit & 1)
				c->sum->used_chunks++;
			if (!(wrong >> bit & 1))
				continue;
			if (named >> bit & 1) {
				report_run(c, missing, chunk, false);
			} else {
				report_run(c, leaked, chunk, true);
				c->sum->leaked_chunks++;
			}
		}
	}
}

static void check_bitmap(struct check *c)
{
	struct run missing = { 0, 0 }, leaked = { 0, 0 };
	u64 pairs = (c->image.chunks + DMS_BITMAP_BITS - 1) / DMS_BITMAP_BITS, pair, chunk, addr;
	bool whole = true;
	u8 *buf;
	int r;

	for (chunk = 0; chunk < c->image.chunks && !c->error; chunk++)
		if (image_chunk_fixed(&c->image, chunk))
			claim_chunk(c, chunk);
	buf = malloc(DMS_BLOCK_SIZE);
	if (!buf)
		fail(c, -ENOMEM);
	for (pair = 0; pair < pairs && !c->error; pair++) {
		addr = image_bitmap_block(&c->image, (u32)pair);
		r = image_block(&c->image, addr, DMS_BLOCK_BITMAP, NULL, buf, NULL);
		if (r) {
			whole = false;
			report(c, CHECK_DAMAGE, "bitmap", addr, "bitmap block %llu %s",
			       (unsigned long long)addr, scan_error_text(r));
			continue;
		}
		check_pair(c, pair, image_payload(buf), &missing, &leaked);
	}
	report_run(c, &missing, U64_MAX, false);
	report_run(c, &leaked, U64_MAX, true);
	free(buf);
	/* For information only: the kernel counts the bitmap's bits itself. */
	if (whole && !c->error && c->sum->used_chunks != c->image.root.used_chunks)
		report(c, CHECK_NOTE, "root", c->image.super->root.block,
		       "says that %llu chunks are used, the bitmap says %llu",
		       (unsigned long long)c->image.root.used_chunks,
		       (unsigned long long)c->sum->used_chunks);
}

/* --- all of it ------------------------------------------------------------ */

static int check_prepare(struct check *c)
{
	u64 chunks = c->image.chunks;
	int r;

	scan_source_init(&c->source, &c->image);
	/* Before the copies are known, a descriptor may be reported. */
	c->ids = calloc(DMS_MAX_SHADOWS + 1, sizeof(*c->ids));
	c->trees = calloc(DMS_MAX_TREES, sizeof(*c->trees));
	if (!c->ids || !c->trees)
		return -ENOMEM;
	r = bitset_init(&c->data, chunks);
	if (!r)
		r = bitset_init(&c->meta, chunks);
	if (!r)
		r = bitset_init(&c->checkpoint, chunks);
	if (!r)
		r = bitset_init(&c->tail, chunks);
	if (!r)
		r = bitset_init(&c->blocks, chunks * c->image.chunk_blocks);
	return r;
}

static bool check_root(struct check *c)
{
	u64 bad, i;
	int r;

	r = image_load_root(&c->image, &bad);
	if (r == -ENOMEM) {
		fail(c, r);
		return false;
	}
	for (i = 0; c->image.root_block && i < c->image.super->root_blocks; i++)
		if (c->image.root_block[i])
			claim_single(c, "root", c->image.root_block[i]);
	if (r)
		report(c, CHECK_DAMAGE, "root", bad, "root block %llu %s, no copy can be read",
		       (unsigned long long)bad, scan_error_text(r));
	return !r;
}

static void check_all(struct check *c)
{
	int r;

	check_super(c, DMS_SUPER_A_BLOCK, 'A');
	check_super(c, DMS_SUPER_B_BLOCK, 'B');
	check_geometry(c);
	if (c->image.super->flags & DMS_SUPER_VOLATILE &&
	    !(c->image.super->flags & DMS_SUPER_CLEAN)) {
		report(c, CHECK_NOTE, "superblock", CHECK_NO_BLOCK,
		       "volatile, what is in it means nothing any more");
		return;
	}
	if (c->error || !check_root(c))
		return;
	r = image_journal(&c->image, &c->journal);
	if (!r)
		r = image_copies(&c->image, &c->journal, descriptor_damaged, c, &c->copies);
	if (!r)
		r = image_journal_each(&c->image, &c->journal, count_save, c);
	if (r) {
		fail(c, r);
		return;
	}
	check_references(c);
	check_copies(c);
	check_lost(c);
	check_index(c);
	check_exempt(c);
	check_journal(c);
	check_bitmap(c);
}

int check_area(const char *path, const struct check_params *p, struct area_info *info,
	       struct check_summary *ret)
{
	struct check_summary sum = { .damage = 0 };
	struct check c = { .params = p, .sum = &sum };
	int r;

	r = image_open(path, &c.image);
	*info = c.image.info;
	if (r == -EUCLEAN && info->state != AREA_VALID) {
		char text[160];

		report(&c, CHECK_DAMAGE, "superblock", CHECK_NO_BLOCK, "%s",
		       area_state_text(info, text, sizeof(text)));
		r = 0;
	} else if (!r) {
		sum.area_chunks = c.image.chunks;
		r = check_prepare(&c);
		if (!r) {
			check_all(&c);
			r = c.error;
		}
	}
	bitset_exit(&c.data);
	bitset_exit(&c.meta);
	bitset_exit(&c.checkpoint);
	bitset_exit(&c.tail);
	bitset_exit(&c.blocks);
	image_copies_free(&c.copies);
	free(c.ids);
	free(c.trees);
	free(c.saves);
	image_close(&c.image);
	if (!r)
		*ret = sum;
	return r;
}
