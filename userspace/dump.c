// SPDX-License-Identifier: GPL-2.0-or-later
/* All metadata of a diff area: see dump.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dump.h"
#include "image.h"
#include "index.h"
#include "scan.h"

struct dump {
	struct image image;
	struct emit *e;
	struct scan_source source;
	bool damaged;
};

static void emit_uuid(struct emit *e, const char *key, const u8 uuid[16])
{
	char text[37];

	area_uuid_text(uuid, text);
	emit_text(e, key, text);
}

static void emit_error(struct dump *d, int r)
{
	d->damaged = true;
	switch (r) {
	case -EIO:
		emit_text(d->e, "error", "can't be read");
		break;
	case -ENOMEM:
		emit_text(d->e, "error", "out of memory");
		break;
	case -ESTALE:
		emit_text(d->e, "error", "of another diff area, or old");
		break;
	case -EPROTONOSUPPORT:
		emit_text(d->e, "error", "of an unknown version");
		break;
	default:
		emit_text(d->e, "error", "damaged");
	}
}

/* --- superblocks ---------------------------------------------------------- */

static const char *policy_name(u32 when_full)
{
	static const char *const name[] = {
		[DMS_FULL_DROP_OLDEST] = "drop-oldest",
		[DMS_FULL_INVALIDATE] = "invalidate",
		[DMS_FULL_BLOCK] = "block",
	};

	return when_full < ARRAY_SIZE(name) ? name[when_full] : "unknown";
}

static void dump_pointer(struct emit *e, const char *key, const struct dms_pointer *p)
{
	emit_object(e, key);
	emit_number(e, "block", p->block);
	emit_number(e, "crc", p->crc);
	emit_close(e);
}

static void dump_super(struct dump *d, const char *name, u64 addr)
{
	struct emit *e = d->e;
	struct dms_super s;
	u8 *buf;
	int r;

	emit_object(e, name);
	buf = malloc(DMS_BLOCK_SIZE);
	r = buf ? image_read(&d->image, addr, buf) : -ENOMEM;
	if (!r)
		r = dms_super_unpack(buf, addr, &s);
	free(buf);
	if (r) {
		emit_error(d, r);
		emit_close(e);
		return;
	}
	emit_uuid(e, "uuid", s.uuid);
	emit_number(e, "generation", s.generation);
	emit_number(e, "sequence", s.sequence);
	emit_number(e, "compat", s.compat);
	emit_number(e, "ro_compat", s.ro_compat);
	emit_number(e, "incompat", s.incompat);
	emit_bool(e, "clean", s.flags & DMS_SUPER_CLEAN);
	emit_bool(e, "volatile", s.flags & DMS_SUPER_VOLATILE);
	emit_bool(e, "lost", s.flags & DMS_SUPER_LOST);
	emit_bool(e, "merged", s.flags & DMS_SUPER_MERGED);
	emit_number(e, "chunk_blocks", s.chunk_blocks);
	emit_number(e, "area_blocks", s.area_blocks);
	emit_number(e, "journal_block", s.journal_block);
	emit_number(e, "journal_blocks", s.journal_blocks);
	emit_number(e, "bitmap_block", s.bitmap_block);
	emit_number(e, "bitmap_pairs", s.bitmap_pairs);
	emit_number(e, "origin_sectors", s.origin_sectors);
	emit_text(e, "origin", s.origin_id);
	emit_text(e, "when_full", policy_name(s.when_full));
	emit_number(e, "full_timeout", s.full_timeout);
	emit_number(e, "limit_chunks", s.limit_chunks);
	emit_number(e, "low_space", s.low_space);
	emit_number(e, "created", s.created);
	dump_pointer(e, "root", &s.root);
	emit_number(e, "root_blocks", s.root_blocks);
	emit_close(e);
}

/* --- trees ---------------------------------------------------------------- */

static const char *kind_name(u8 kind)
{
	static const char *const name[] = {
		[DMS_KIND_DATA] = "data",
		[DMS_KIND_ZERO] = "zero",
		[DMS_KIND_UNREADABLE] = "unreadable",
		[DMS_KIND_HOME] = "home",
		[DMS_KIND_EXEMPT] = "exempt",
	};

	return kind < ARRAY_SIZE(name) && name[kind] ? name[kind] : "unknown";
}

static void dump_exception(struct emit *e, const struct dms_exception *x)
{
	emit_number(e, "chunk", x->chunk);
	emit_number(e, "length", x->length);
	emit_number(e, "tag", x->tag);
	emit_text(e, "kind", kind_name(x->kind));
	if (x->kind == DMS_KIND_DATA)
		emit_number(e, "where", x->where);
}

static int dump_tree_block(void *context, u64 block)
{
	struct emit *e = context;

	emit_row(e);
	emit_number(e, "block", block);
	emit_close(e);
	return 0;
}

static void dump_entries(struct dump *d, const struct dms_tree *t)
{
	struct dms_exception x;
	struct dms_cursor cursor;
	const __le32 *csums;
	int r;

	emit_list(d->e, "entries");
	dms_cursor_init(&cursor, &d->source.source, t, 0);
	while ((r = dms_cursor_next(&cursor, &x, &csums)) > 0) {
		emit_row(d->e);
		dump_exception(d->e, &x);
		emit_close(d->e);
	}
	dms_cursor_exit(&cursor);
	if (r < 0) {
		emit_row(d->e);
		emit_error(d, r);
		emit_close(d->e);
	}
	emit_close(d->e);
}

/* Into the present object. */
static void dump_tree(struct dump *d, const struct dms_tree *t)
{
	struct emit *e = d->e;
	int r;

	emit_number(e, "depth", t->depth);
	if (!t->depth)
		return;
	dump_pointer(e, "root", &t->root);
	emit_number(e, "nr_entries", t->entries);
	emit_number(e, "nr_blocks", t->blocks);
	emit_number(e, "first_chunk", t->first_chunk);
	emit_number(e, "last_chunk", t->last_chunk);
	emit_number(e, "min_tag", t->min_tag);
	emit_number(e, "max_tag", t->max_tag);
	emit_list(e, "blocks");
	r = dms_tree_walk(&d->source.source, t, dump_tree_block, e);
	if (r < 0) {
		emit_row(e);
		emit_error(d, r);
		emit_close(e);
	}
	emit_close(e);
	dump_entries(d, t);
}

/* --- root ----------------------------------------------------------------- */

static void dump_copy(struct dump *d, const struct dms_shadow_info *s)
{
	struct emit *e = d->e;

	emit_number(e, "id", s->id);
	emit_uuid(e, "uuid", s->uuid);
	emit_uuid(e, "set", s->set_uuid);
	emit_number(e, "set_members", s->set_members);
	emit_bool(e, "preparing", s->flags & DMS_SHADOW_PREPARING);
	emit_bool(e, "suspect", s->flags & DMS_SHADOW_SUSPECT);
	emit_bool(e, "invalid", s->flags & DMS_SHADOW_INVALID);
	emit_number(e, "flags", s->flags);
	emit_number(e, "origin_sectors", s->origin_sectors);
	emit_number(e, "created", s->created);
	emit_number(e, "created_nsec", s->created_nsec);
	emit_number(e, "locked_until", s->locked_until);
	emit_bytes(e, "attributes", s->attr, s->attr_size);
	emit_number(e, "exempt_chunks", s->exempt_chunks);
	emit_object(e, "exempt");
	dump_tree(d, &s->exempt);
	emit_close(e);
}

static void dump_descriptors(struct dump *d)
{
	struct dms_shadow_info *info = malloc(sizeof(*info));
	struct emit *e = d->e;
	u32 i;
	int r;

	emit_list(e, "copies");
	for (i = 0; i < d->image.root.nr_shadows; i++) {
		const struct dms_disk_shadow_ref *ref = &d->image.refs[i];

		emit_object(e, NULL);
		emit_number(e, "block", le64_to_cpu(ref->block));
		r = info ? image_descriptor(&d->image, ref, info) : -ENOMEM;
		if (r) {
			emit_number(e, "id", le32_to_cpu(ref->id));
			emit_error(d, r);
		} else {
			dump_copy(d, info);
		}
		emit_close(e);
	}
	emit_close(e);
	free(info);
}

static void dump_trees(struct dump *d)
{
	struct dms_tree tree;
	u32 i;
	int r;

	emit_list(d->e, "index");
	for (i = 0; i < d->image.root.nr_trees; i++) {
		emit_object(d->e, NULL);
		r = dms_tree_unpack(&d->image.trees[i], d->image.super->area_blocks, &tree);
		if (r)
			emit_error(d, r);
		else
			dump_tree(d, &tree);
		emit_close(d->e);
	}
	emit_close(d->e);
}

static void dump_prints(struct dump *d)
{
	u32 i;

	emit_list(d->e, "fingerprint");
	for (i = 0; i < d->image.root.nr_prints; i++) {
		emit_row(d->e);
		emit_number(d->e, "block", le64_to_cpu(d->image.prints[i].block));
		emit_number(d->e, "crc", le32_to_cpu(d->image.prints[i].crc));
		emit_close(d->e);
	}
	emit_close(d->e);
}

static int dump_root(struct dump *d)
{
	const struct dms_root *root = &d->image.root;
	struct emit *e = d->e;
	u64 bad;
	int r;

	r = image_load_root(&d->image, &bad);
	emit_object(e, "root");
	if (r) {
		emit_number(e, "block", bad);
		emit_error(d, r);
	} else {
		emit_number(e, "journal_sequence", root->journal_sequence);
		emit_number(e, "epoch", root->epoch);
		emit_number(e, "used_chunks", root->used_chunks);
		emit_number(e, "merge_copy", root->merge_shadow);
		emit_number(e, "merge_epoch", root->merge_epoch);
		emit_number(e, "merge_cursor", root->merge_cursor);
		dump_prints(d);
	}
	emit_close(e);
	return r;
}

/* --- journal -------------------------------------------------------------- */

static int dump_record(void *context, u64 sequence, const struct dms_record *r)
{
	struct dump *d = context;
	struct dms_shadow_info *info;
	struct emit *e = d->e;

	if (r->type == DMS_RECORD_SHADOW) {
		info = malloc(sizeof(*info));
		if (!info)
			return -ENOMEM;
		emit_object(e, NULL);
		emit_number(e, "sequence", sequence);
		emit_text(e, "record", "copy");
		if (dms_shadow_unpack(r->shadow, d->image.super->area_blocks, info))
			emit_error(d, -EUCLEAN);
		else
			dump_copy(d, info);
		emit_close(e);
		free(info);
		return 0;
	}
	emit_row(e);
	emit_number(e, "sequence", sequence);
	switch (r->type) {
	case DMS_RECORD_SAVE:
		emit_text(e, "record", "save");
		dump_exception(e, &r->save);
		break;
	case DMS_RECORD_DELETE:
		emit_text(e, "record", "delete");
		emit_number(e, "id", r->id);
		break;
	case DMS_RECORD_MERGE:
		emit_text(e, "record", "merge");
		emit_number(e, "id", r->id);
		emit_number(e, "epoch", r->merge_epoch);
		emit_number(e, "cursor", r->merge_cursor);
		break;
	}
	emit_close(e);
	return 0;
}

static int dump_journal(struct dump *d)
{
	static const char *const why[] = {
		[JOURNAL_END] = "no more blocks",
		[JOURNAL_TORN] = "torn save",
		[JOURNAL_BAD_RECORD] = "bad record",
		[JOURNAL_UNREADABLE] = "unreadable block",
	};
	struct image_journal j;
	int r;

	r = image_journal(&d->image, &j);
	if (r)
		return r;
	emit_object(d->e, "journal");
	emit_number(d->e, "begin", j.begin);
	emit_number(d->e, "end", j.end);
	emit_number(d->e, "stable", j.stable);
	emit_text(d->e, "ended_by", why[j.why]);
	emit_bool(d->e, "lost", j.lost);
	emit_list(d->e, "records");
	r = image_journal_each(&d->image, &j, dump_record, d);
	emit_close(d->e);
	emit_close(d->e);
	if (j.lost || j.why >= JOURNAL_BAD_RECORD)
		d->damaged = true;
	return r;
}

/* --- bitmap --------------------------------------------------------------- */

static void dump_run(struct dump *d, u64 from, u64 to)
{
	emit_row(d->e);
	emit_number(d->e, "chunk", from);
	emit_number(d->e, "length", to - from);
	emit_close(d->e);
}

static int dump_bitmap(struct dump *d)
{
	u64 pairs = (d->image.chunks + DMS_BITMAP_BITS - 1) / DMS_BITMAP_BITS, pair, from = 0;
	bool used = false;
	u8 *buf;
	u32 bit;
	int r;

	buf = malloc(DMS_BLOCK_SIZE);
	if (!buf)
		return -ENOMEM;
	emit_list(d->e, "used");
	for (pair = 0; pair < pairs; pair++) {
		const u8 *bits = image_payload(buf);
		u64 first = pair * DMS_BITMAP_BITS;

		r = image_block(&d->image, image_bitmap_block(&d->image, (u32)pair),
				DMS_BLOCK_BITMAP, NULL, buf, NULL);
		if (r) {
			if (used)
				dump_run(d, from, first);
			used = false;
			emit_row(d->e);
			emit_number(d->e, "block", image_bitmap_block(&d->image, (u32)pair));
			emit_error(d, r);
			emit_close(d->e);
			continue;
		}
		for (bit = 0; bit < DMS_BITMAP_BITS && first + bit < d->image.chunks; bit++) {
			bool now = bits[bit / 8] >> bit % 8 & 1;

			if (now && !used)
				from = first + bit;
			else if (!now && used)
				dump_run(d, from, first + bit);
			used = now;
		}
	}
	if (used)
		dump_run(d, from, d->image.chunks);
	emit_close(d->e);
	free(buf);
	return 0;
}

/* --- all of it ------------------------------------------------------------ */

static int dump_all(struct dump *d)
{
	int r;

	dump_super(d, "superblock_a", DMS_SUPER_A_BLOCK);
	dump_super(d, "superblock_b", DMS_SUPER_B_BLOCK);
	emit_text(d->e, "newest", d->image.info.super_slot ? "b" : "a");
	r = dump_root(d);
	if (r)
		return r;
	dump_descriptors(d);
	dump_trees(d);
	r = dump_journal(d);
	return r ? r : dump_bitmap(d);
}

int dump_area(const char *path, struct emit *e, struct area_info *info)
{
	struct dump d = { .e = e };
	int r;

	r = image_open(path, &d.image);
	*info = d.image.info;
	if (!r) {
		scan_source_init(&d.source, &d.image);
		r = dump_all(&d);
		if (!r && d.damaged)
			r = -EUCLEAN;
	}
	image_close(&d.image);
	return r;
}
