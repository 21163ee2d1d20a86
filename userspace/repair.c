// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Repair: a new checkpoint is made of what can be proved, see rebuild.c for how
 * it is written.  What of a damaged area can be proved?
 *
 * superblock	The other one, unless the journal is of a later activation:
 *		then a newer one was lost, and with it what happened since.
 * root		The one before and the journal from there on, if both are of the
 *		same activation and the journal has no gap.
 * journal	Its end may be torn, nobody was promised that.  Where a block is
 *		missing, any chunk of any copy may have been in it.
 * descriptor	Nothing else says when a copy was taken and what was exempt: it
 *		goes.  Unless the journal has it again, exempt runs included.
 * index tree	Every entry in a sound block.  What is lost lies between two
 *		sound entries; the copies that may have had something there get
 *		UNREADABLE exceptions, but where another tree has an exception
 *		of exactly their epoch: no lost one can come before it.
 * exempt tree	Only as a whole: a chunk that was exempt reads as zeros, and the
 *		format has no way to say "unknown" for one copy alone.
 * bitmap	Made anew from all that is named.
 * data		By its checksum.  An area chunk that is used twice is whose data
 *		it is; both, if both fit, and then each gets one of its own.
 *
 * A merge under way is different: which chunks are home decides what the origin
 * is, and nothing may be guessed there.  So a loss is not repaired then.
 *
 * Copies that lost everything are marked INVALID, others SUSPECT.  The journal is
 * folded into the checkpoint: its records could take the marks off again.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "repair-core.h"

/* --- talking -------------------------------------------------------------- */

void repair_told(struct repair *r, const char *object, u64 chunk, u64 chunks, u32 nr,
		 const char *fmt, ...)
{
	struct deed *d;
	va_list ap;

	if (r->nr_deeds == MAX_DEEDS) {
		r->more_deeds++;
		return;
	}
	if (r->nr_deeds == r->deeds_room) {
		size_t room = r->deeds_room ? 2 * r->deeds_room : 64;
		struct deed *more = reallocarray(r->deed, room, sizeof(*more));

		if (!more)
			return;
		r->deed = more;
		r->deeds_room = room;
	}
	d = &r->deed[r->nr_deeds++];
	d->finding = (struct check_finding){
		.level = CHECK_REPAIR, .object = object, .block = CHECK_NO_BLOCK, .chunk = chunk,
		.chunks = chunks,
	};
	d->copies = nr ? calloc(nr, sizeof(*d->copies)) : NULL;
	if (d->copies) {
		memcpy(d->copies, r->ids, nr * sizeof(*d->copies));
		d->finding.nr_copies = nr;
	}
	va_start(ap, fmt);
	vsnprintf(d->fact, sizeof(d->fact), fmt, ap);
	va_end(ap);
}

static void tell(struct repair *r, bool done)
{
	struct check_finding more = { .level = CHECK_REPAIR, .object = "area",
				      .block = CHECK_NO_BLOCK };
	char text[64];
	size_t i;

	for (i = 0; i < r->nr_deeds; i++) {
		struct deed *d = &r->deed[i];

		d->finding.fact = d->fact;
		d->finding.copies = d->copies;
		if (done)
			r->params->report(r->params->context, &d->finding);
		free(d->copies);
	}
	snprintf(text, sizeof(text), "and %llu more of these", (unsigned long long)r->more_deeds);
	more.fact = text;
	if (done && r->more_deeds)
		r->params->report(r->params->context, &more);
	free(r->deed);
}

int repair_no_way(struct repair *r, const char *why)
{
	snprintf(r->why, 160, "%s", why);
	return -EUCLEAN;
}

/* --- copies --------------------------------------------------------------- */

static struct dms_shadow_info *copy_of(struct repair *r, u32 id)
{
	u32 i;

	for (i = 0; i < r->copies.count; i++)
		if (r->copies.item[i].id == id)
			return &r->copies.item[i];
	return NULL;
}

static void invalidate(struct repair *r, struct dms_shadow_info *info, const char *why)
{
	info->flags |= DMS_SHADOW_INVALID;
	r->ids[0] = info->id;
	repair_told(r, "copy", 0, 0, 1, "marked invalid, %s", why);
}

static void invalidate_all(struct repair *r, const char *why)
{
	u32 i;

	for (i = 0; i < r->copies.count; i++) {
		r->copies.item[i].flags |= DMS_SHADOW_INVALID;
		r->ids[i] = r->copies.item[i].id;
	}
	if (i)
		repair_told(r, "copy", 0, 0, i, "marked invalid, %s", why);
}

/* --- what there is -------------------------------------------------------- */

static void descriptor_damaged(void *context, u32 id, u64 block, int error)
{
	struct repair *r = context;

	(void)block;
	(void)error;
	r->gone[r->nr_gone++] = id;
}

/* As the kernel's replay: of a save that was repeated the first counts. */
static int take_save(struct repair *r, const struct dms_record *rec)
{
	struct dms_exception e = rec->save;
	const u32 cb = r->image.chunk_blocks;
	u32 i, n = e.length;

	for (i = 0, e.length = 1; i < n; i++, e.chunk++) {
		if (!dms_table_knows(r->saves, &e) &&
		    !dms_table_add(r->saves, &e, rec->csums ? rec->csums + i * cb : NULL))
			return -ENOMEM;
		if (e.kind == DMS_KIND_DATA)
			e.where++;
	}
	return 0;
}

static int take_record(void *context, u64 sequence, const struct dms_record *rec)
{
	struct repair *r = context;
	struct dms_shadow_info *info, *copy;
	int rc = 0;

	(void)sequence;
	if (rec->type == DMS_RECORD_SAVE)
		return take_save(r, rec);
	if (rec->type != DMS_RECORD_SHADOW)
		return 0;
	info = malloc(sizeof(*info));
	copy = copy_of(r, rec->id);
	if (!info)
		rc = -ENOMEM;
	else if (dms_shadow_unpack(rec->shadow, r->image.super->area_blocks, info) && copy)
		invalidate(r, copy, "what the journal says of it makes no sense");
	free(info);
	return rc;
}

static int count_saves(void *context, u64 sequence, const struct dms_record *rec)
{
	(void)sequence;
	if (rec->type == DMS_RECORD_SAVE)
		*(u64 *)context += rec->save.length;
	return 0;
}

static int load_journal(struct repair *r)
{
	u64 chunks = 0;
	int rc;

	rc = image_journal(&r->image, &r->journal);
	if (!rc)
		rc = image_copies(&r->image, &r->journal, descriptor_damaged, r, &r->copies);
	if (!rc)
		rc = image_journal_each(&r->image, &r->journal, count_saves, &chunks);
	if (rc)
		return rc;
	/* 64 bytes a slot and what it has of checksums are more than enough. */
	r->saves = dms_table_create(r->image.chunk_blocks,
				    (chunks + 64) * (64 + r->image.chunk_blocks * sizeof(__le32)));
	if (!r->saves)
		return -ENOMEM;
	return image_journal_each(&r->image, &r->journal, take_record, r);
}

/* The kernel would do it at the next activation.  With a merge under way it must. */
static void judge_super(struct repair *r)
{
	struct dms_super *s = &r->image.info.super;

	if (!(s->flags & DMS_SUPER_LOST) || r->copies.merge_shadow)
		return;
	invalidate_all(r, "the diff area failed in use");
	s->flags &= ~(DMS_SUPER_LOST | DMS_SUPER_MERGED);
}

/* What the journal, or the lack of it, means for the copies. */
static void judge_journal(struct repair *r)
{
	const struct image_journal *j = &r->journal;

	if (j->newest > r->image.super->generation)
		invalidate_all(r, "the newest superblock was lost");
	else if (j->lost || j->why == JOURNAL_UNREADABLE || j->why == JOURNAL_BAD_RECORD)
		invalidate_all(r, "part of the journal was lost");
	else if (r->image.super->flags & DMS_SUPER_CLEAN && j->end != j->begin)
		invalidate_all(r, "the journal contradicts the superblock");
}

static bool journal_whole(const struct repair *r)
{
	const struct image_journal *j = &r->journal;

	return j->newest <= r->image.super->generation && !j->lost &&
	       (j->why == JOURNAL_END || j->why == JOURNAL_TORN);
}

static void judge_descriptors(struct repair *r)
{
	struct dms_shadow_info *info;
	u32 i;

	for (i = 0; i < r->nr_gone; i++) {
		info = copy_of(r, r->gone[i]);
		r->ids[0] = r->gone[i];
		if (!info)
			repair_told(r, "copy", 0, 0, 1, "gone, its descriptor was lost");
		else if (!(info->flags & DMS_SHADOW_EXEMPT))
			invalidate(r, info, "its descriptor was lost");
		else
			repair_told(r, "copy", 0, 0, 1, "its descriptor taken from the journal");
	}
}

/* --- first pass: who uses what, which trees are not as they should be ------- */

struct pass {
	struct scan scan;
	struct repair *r;
	struct plan *plan;		/* NULL: exempt */
	bool again;			/* only: does it touch what is used twice? */
};

static struct pass *of_scan(struct scan *s)
{
	return container_of(s, struct pass, scan);
}

static int use_twice(struct repair *r, u64 chunk)
{
	r->any_twice = true;
	return bitset_set(&r->twice, chunk);
}

static int use_block(struct repair *r, u64 block)
{
	u64 chunk = block / r->image.chunk_blocks;
	int rc = 0;

	if (bitset_test(&r->data, chunk))
		rc = use_twice(r, chunk);
	if (!rc)
		rc = bitset_set(&r->blocks, block);
	if (!rc)
		rc = bitset_set(&r->meta, chunk);
	return rc ? rc : bitset_set(&r->out.used, chunk);
}

static int use_data(struct repair *r, const struct dms_exception *e)
{
	const u32 cb = r->image.chunk_blocks;
	u64 chunk, end = e->where + e->length;
	int rc = 0;

	for (chunk = e->where; chunk < end && !rc; chunk++) {
		if (!image_inside(&r->image, chunk * cb, cb) || bitset_test(&r->data, chunk) ||
		    bitset_test(&r->meta, chunk))
			rc = use_twice(r, chunk);
		if (!rc)
			rc = bitset_set(&r->data, chunk);
		if (!rc)
			rc = bitset_set(&r->out.used, chunk);
	}
	return rc;
}

static bool pass_block(struct scan *s, u64 block)
{
	struct repair *r = of_scan(s)->r;

	if (of_scan(s)->again)
		return true;
	if (bitset_test(&r->blocks, block))
		return false;
	s->error = use_block(r, block);
	return !s->error;
}

static void pass_entry(struct scan *s, const struct dms_exception *e, const __le32 *csums)
{
	struct pass *p = of_scan(s);

	if (!csums)
		return;
	if (p->again) {
		p->plan->dirty |= repair_touches_twice(p->r, e);
		return;
	}
	s->error = use_data(p->r, e);
	if (!s->error && p->r->params->data && !p->plan->dirty) {
		int rc = image_verify(&p->r->image, e->where, e->length, csums);

		if (rc == -ENOMEM)
			s->error = rc;
		else if (rc == -EUCLEAN)
			p->plan->dirty = true;
	}
}

static void pass_lost(struct scan *s, const struct scan_loss *l)
{
	struct pass *p = of_scan(s);
	struct repair *r = p->r;

	if (!p->plan || p->again)
		return;
	if (r->nr_loss == r->loss_room) {
		size_t room = r->loss_room ? 2 * r->loss_room : 16;
		struct loss *more = reallocarray(r->loss, room, sizeof(*more));

		if (!more) {
			s->error = -ENOMEM;
			return;
		}
		r->loss = more;
		r->loss_room = room;
	}
	r->loss[r->nr_loss++] = (struct loss){ *l, s->tree };
}

static int pass_tree(struct repair *r, struct plan *plan, bool again)
{
	struct pass p = {
		.scan = { .image = &r->image, .tree = &plan->tree, .block = pass_block,
			  .entry = pass_entry, .lost = pass_lost },
		.r = r, .plan = plan, .again = again,
	};
	int rc = scan_tree(&p.scan);

	if (p.scan.partial || p.scan.entries != plan->tree.entries ||
	    p.scan.blocks != plan->tree.blocks)
		plan->dirty |= plan->tree.depth;
	return rc;
}

/* The runs of a copy: whole, or it is worth nothing. */
static int pass_exempt(struct repair *r, struct dms_shadow_info *info)
{
	struct pass p = {
		.scan = { .image = &r->image, .tree = &info->exempt, .exempt = info->id,
			  .block = pass_block, .entry = pass_entry, .lost = pass_lost },
		.r = r,
	};
	int rc;

	if (!info->exempt.depth)
		return 0;
	rc = scan_tree(&p.scan);
	if (rc)
		return rc;
	if (!(info->flags & DMS_SHADOW_EXEMPT)) {
		invalidate(r, info, "its flags deny that it has exempt runs");
	} else if (p.scan.partial || p.scan.entries != info->exempt.entries ||
		   p.scan.blocks != info->exempt.blocks) {
		invalidate(r, info, "part of its exempt runs was lost");
	} else if (p.scan.chunks != info->exempt_chunks) {
		info->exempt_chunks = p.scan.chunks;
		r->ids[0] = info->id;
		repair_told(r, "exempt", 0, 0, 1, "number of exempt chunks put right");
		return 0;
	} else {
		return 0;
	}
	memset(&info->exempt, 0, sizeof(info->exempt));
	info->exempt_chunks = 0;
	info->flags &= ~DMS_SHADOW_EXEMPT;
	return 0;
}

static int pass_singles(struct repair *r)
{
	u64 block;
	int rc = 0;
	u32 i;

	for (i = 0; i < r->image.super->root_blocks && !rc; i++)
		if (image_inside(&r->image, r->image.root_block[i], 1))
			rc = use_block(r, r->image.root_block[i]);
	for (i = 0; i < r->image.root.nr_shadows && !rc; i++) {
		block = le64_to_cpu(r->image.refs[i].block);
		if (image_inside(&r->image, block, 1))
			rc = use_block(r, block);
	}
	return rc;
}

static int pass_saves(struct repair *r)
{
	struct dms_exception e;
	const __le32 *csums;
	int rc = 0;
	u32 i;

	dms_table_sort(r->saves);
	for (i = 0; i < dms_table_count(r->saves) && !rc; i++) {
		dms_table_get(r->saves, i, &e, &csums);
		if (csums)
			rc = use_data(r, &e);
	}
	return rc;
}

static int first_pass(struct repair *r)
{
	u32 nr = r->image.root.nr_trees, i;
	int rc = pass_singles(r);

	for (i = 0; i < r->copies.count && !rc; i++)
		rc = pass_exempt(r, &r->copies.item[i]);
	for (i = 0; i < nr && !rc; i++) {
		if (dms_tree_unpack(&r->image.trees[i], r->image.super->area_blocks,
				    &r->plan[i].tree)) {
			memset(&r->plan[i].tree, 0, sizeof(r->plan[i].tree));
			r->plan[i].dirty = true;
			invalidate_all(r, "a tree of the index was lost");
		}
		rc = pass_tree(r, &r->plan[i], false);
	}
	if (!rc)
		rc = pass_saves(r);
	for (i = 0; i < nr && !rc && r->any_twice; i++)
		if (!r->plan[i].dirty)
			rc = pass_tree(r, &r->plan[i], true);
	return rc;
}

/* --- all of it -------------------------------------------------------------- */

/* What is damaged beside superblocks? */
struct found {
	u64 supers, others;
};

static void find(void *context, const struct check_finding *f)
{
	struct found *found = context;

	if (f->level != CHECK_DAMAGE && f->level != CHECK_WARNING)
		return;
	/* That a newer one was lost is more than a superblock. */
	if (strcmp(f->object, "superblock") ||
	    (f->level == CHECK_DAMAGE && f->block == CHECK_NO_BLOCK))
		found->others++;
	else
		found->supers++;
}

static int load_root(struct repair *r)
{
	u64 bad;
	int rc;

	rc = image_load_root(&r->image, &bad);
	if (!rc || rc == -ENOMEM)
		return rc;
	rc = image_load_root_before(&r->image);
	if (rc == -ENOMEM)
		return rc;
	if (rc)
		return repair_no_way(r, "its root is damaged, and there is no other of the same activation");
	rc = image_journal(&r->image, &r->journal);
	if (rc)
		return rc;
	if (!journal_whole(r))
		return repair_no_way(r, "its root is damaged, and so is the journal behind the one before");
	repair_told(r, "root", 0, 0, 0, "made anew from the one before and the journal");
	return 0;
}

/* A merge must know what is home; it can't be told "unknown". */
static int check_merge(struct repair *r)
{
	u32 i;

	if (!r->copies.merge_shadow)
		return 0;
	if (!copy_of(r, r->copies.merge_shadow) || r->nr_loss || r->unreadable ||
	    !journal_whole(r))
		return repair_no_way(r, "a merge is under way, and what is lost may be the volume's content");
	for (i = 0; i < r->copies.count; i++)
		if (r->copies.item[i].id == r->copies.merge_shadow && r->copies.item[i].flags & DMS_SHADOW_INVALID)
			return repair_no_way(r, "the copy that is being merged is not whole any more");
	return 0;
}

static int prepare(struct repair *r)
{
	u64 chunks = r->image.chunks;
	int rc;

	r->ids = calloc(2 * DMS_MAX_SHADOWS, sizeof(*r->ids));
	r->gone = calloc(DMS_MAX_SHADOWS, sizeof(*r->gone));
	r->out.trees = calloc(KERNEL_TREES, sizeof(*r->out.trees));
	if (!r->ids || !r->gone || !r->out.trees)
		return -ENOMEM;
	rc = bitset_init(&r->data, chunks);
	if (!rc)
		rc = bitset_init(&r->meta, chunks);
	if (!rc)
		rc = bitset_init(&r->twice, chunks);
	return rc ? rc : bitset_init(&r->blocks, chunks * r->image.chunk_blocks);
}

static int repair_all(struct repair *r, int fd)
{
	int rc;

	rc = prepare(r);
	if (!rc)
		rc = load_root(r);
	if (!rc)
		rc = rebuild_init(&r->out, &r->image, fd);
	if (!rc)
		rc = load_journal(r);
	if (rc)
		return rc;
	r->plan = calloc(r->image.root.nr_trees + 1, sizeof(*r->plan));
	if (!r->plan)
		return -ENOMEM;
	judge_descriptors(r);
	judge_super(r);
	judge_journal(r);
	rc = first_pass(r);
	if (!rc)
		rc = check_merge(r);
	if (rc)
		return rc;
	/* Nothing that is in the ring may ever fit again. */
	r->out.root = r->image.root;
	r->out.root.journal_sequence = r->journal.end;
	r->out.root.epoch = r->copies.epoch;
	r->out.root.merge_shadow = r->copies.merge_shadow;
	r->out.root.merge_epoch = r->copies.merge_epoch;
	r->out.root.merge_cursor = r->copies.merge_cursor;
	r->image.root.epoch = r->copies.epoch;
	rebuild_begin(&r->out, max(r->image.super->generation, r->journal.newest) + 1);
	rc = repair_index(r);
	if (!rc)
		rc = check_merge(r);
	if (rc)
		return rc;
	r->out.copies = r->copies.item;
	r->out.nr_copies = r->copies.count;
	rc = rebuild_commit(&r->out);
	if (!rc)
		repair_told(r, "bitmap", 0, 0, 0, "made anew, %llu of %llu area chunks are in use",
			    (unsigned long long)r->out.root.used_chunks,
			    (unsigned long long)r->image.chunks);
	return rc;
}

/* The rest is sound: both superblocks from the one that is used. */
static int repair_supers(struct repair *r, int fd)
{
	int rc;

	r->out.image = &r->image;
	r->out.fd = fd;
	rebuild_begin(&r->out, r->image.super->generation);
	rc = rebuild_supers(&r->out);
	if (!rc)
		repair_told(r, "superblock", 0, 0, 0, "both written anew");
	return rc;
}

int repair_area(const char *path, int fd, const struct repair_params *p, char why[160])
{
	struct repair r = { .params = p, .why = why };
	struct found found = { .supers = 0 };
	struct check_params check = { .data = p->data, .report = find, .context = &found };
	struct check_summary sum;
	struct area_info info;
	char text[160];
	int rc;

	snprintf(why, 160, "what was written can't be read back");
	rc = check_area(path, &check, &info, &sum);
	if (rc)
		return rc;
	rc = image_open(path, &r.image);
	if (rc == -EUCLEAN && r.image.info.state != AREA_VALID)
		rc = repair_no_way(&r, area_state_text(&r.image.info, text, sizeof(text)));
	else if (!rc && r.image.super->ro_compat & ~DMS_RO_COMPAT_KNOWN)
		rc = repair_no_way(&r, "it has features that this program can only read");
	else if (!rc && found.others)
		rc = repair_all(&r, fd);
	else if (!rc && found.supers)
		rc = repair_supers(&r, fd);
	tell(&r, !rc);
	rebuild_exit(&r.out);
	bitset_exit(&r.data);
	bitset_exit(&r.meta);
	bitset_exit(&r.twice);
	bitset_exit(&r.blocks);
	image_copies_free(&r.copies);
	dms_table_destroy(r.saves);
	free(r.plan);
	free(r.loss);
	free(r.ids);
	free(r.gone);
	free(r.out.trees);
	image_close(&r.image);
	return rc;
}
