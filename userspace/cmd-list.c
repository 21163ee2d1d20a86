// SPDX-License-Identifier: GPL-2.0-or-later
/* list, show, status: what there is. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "cmd.h"
#include "device.h"
#include "ntfs.h"
#include "output.h"
#include "volume.h"

/* --- list, show: shadow copies --- */

enum { F_COPY, F_CREATED, F_CREATED_NSEC, F_STATE, F_SIZE, F_CONSISTENCY, F_NAME, F_LABEL, F_MOUNT,
	F_ID, F_UUID, F_SET, F_MEMBERS, F_VOLUME, F_DEVICE, F_ORIGIN, F_SUSPECT, F_MERGING, F_DAMAGED,
	F_LOCKED, F_EXEMPT, F_OPENS, F_FS, F_SERIAL, F_CLUSTER, F_DIRTY, F_WAS_MOUNTED, F_MACHINE,
	F_UID, F_COMMAND, F_HOLD, F_NOTE };

static const struct field copy_fields[] = {
	[F_COPY] = { "copy", "Shadow copy", FIELD_TEXT, IN_BOTH },
	[F_CREATED] = { "created", "Created", FIELD_TIME, IN_BOTH },
	[F_CREATED_NSEC] = { "created_nsec", "", FIELD_NUMBER, 0 },
	[F_STATE] = { "state", "State", FIELD_TEXT, IN_BOTH },
	[F_SIZE] = { "size", "Size", FIELD_BYTES, IN_BOTH },
	[F_CONSISTENCY] = { "consistency", "Consistency", FIELD_TEXT, IN_BOTH },
	[F_NAME] = { "name", "Name", FIELD_TEXT, IN_BOTH },
	[F_LABEL] = { "label", "Label", FIELD_TEXT, IN_BOTH },
	[F_MOUNT] = { "mounted", "Mounted on", FIELD_TEXT, IN_BOTH },
	[F_ID] = { "id", "Number", FIELD_NUMBER, 0 },
	[F_UUID] = { "uuid", "Shadow copy ID", FIELD_TEXT, IN_BLOCK },
	[F_SET] = { "set", "Set ID", FIELD_TEXT, IN_BLOCK },
	[F_MEMBERS] = { "members", "Members of the set", FIELD_NUMBER, IN_BLOCK },
	[F_VOLUME] = { "volume", "Volume", FIELD_TEXT, IN_BLOCK },
	[F_DEVICE] = { "device", "Device", FIELD_TEXT, IN_BLOCK },
	[F_ORIGIN] = { "origin", "Origin", FIELD_TEXT, IN_BLOCK },
	[F_SUSPECT] = { "suspect", "Suspect", FIELD_BOOL, 0 },
	[F_MERGING] = { "merging", "Being merged", FIELD_BOOL, 0 },
	[F_DAMAGED] = { "damaged_chunks", "Damaged chunks", FIELD_NUMBER, IN_BLOCK },
	[F_LOCKED] = { "locked_until", "Locked until", FIELD_TIME, IN_BLOCK },
	[F_EXEMPT] = { "exempt_bytes", "Free, not kept", FIELD_BYTES, IN_BLOCK },
	[F_OPENS] = { "opens", "Opened", FIELD_NUMBER, 0 },
	[F_FS] = { "filesystem", "File system", FIELD_TEXT, IN_BLOCK },
	[F_SERIAL] = { "serial", "Serial number", FIELD_TEXT, IN_BLOCK },
	[F_CLUSTER] = { "cluster_size", "Cluster size", FIELD_BYTES, IN_BLOCK },
	[F_DIRTY] = { "dirty", "Dirty", FIELD_BOOL, IN_BLOCK },
	[F_WAS_MOUNTED] = { "volume_mounted", "Volume was on", FIELD_TEXT, IN_BLOCK },
	[F_MACHINE] = { "machine", "Machine", FIELD_TEXT, IN_BLOCK },
	[F_UID] = { "uid", "Made by uid", FIELD_NUMBER, IN_BLOCK },
	[F_COMMAND] = { "command", "Made with", FIELD_TEXT, IN_BLOCK },
	[F_HOLD] = { "hold_us", "Writes held for", FIELD_MICROSECONDS, IN_BLOCK },
	[F_NOTE] = { "note", "Note", FIELD_TEXT, IN_BLOCK },
};

static const char *copy_note(const struct copy *c)
{
	const char *fs = attr_text(&c->attr, ATTR_FS_TYPE);

	if (c->invalid)
		return "the copy is lost and can only be deleted";
	if (c->damaged)
		return "saved data is damaged, reading those chunks gives an error";
	if (c->suspect)
		return "the volume was written while it was not active, what is read here may be wrong";
	if (c->preparing)
		return "its creation was not finished";
	if (fs && strcmp(fs, "ntfs"))
		return "not NTFS: free space is kept, too";
	return NULL;
}

static void copy_record(struct output *o, const struct copy *c)
{
	static const struct {
		int field;
		const char *key;
	} texts[] = {
		{ F_CONSISTENCY, ATTR_CONSISTENCY }, { F_NAME, ATTR_NAME }, { F_LABEL, ATTR_FS_LABEL },
		{ F_FS, ATTR_FS_TYPE }, { F_SERIAL, ATTR_FS_UUID }, { F_WAS_MOUNTED, ATTR_MOUNTED },
		{ F_MACHINE, ATTR_MACHINE }, { F_COMMAND, ATTR_COMMAND },
	}, numbers[] = {
		{ F_CLUSTER, ATTR_CLUSTER }, { F_UID, ATTR_UID }, { F_HOLD, ATTR_HOLD },
	};
	auto_free char *mount = copy_mounted_on(c), *origin = device_path(c->volume->origin);
	char spec[COPY_SPEC_SIZE], name[NODE_NAME_SIZE];
	auto_free char *device = NULL;
	struct node node;
	uint64_t n;
	size_t i;

	copy_spec(c, spec);
	copy_node_name(c, name);
	output_record(o);
	output_text(o, F_COPY, spec);
	output_number(o, F_ID, c->id);
	output_text(o, F_UUID, c->uuid);
	output_text(o, F_SET, c->set);
	output_number(o, F_MEMBERS, c->members);
	output_text(o, F_VOLUME, c->volume->node.name);
	if (!node_info(name, &node))
		device = format_string("/dev/mapper/%s", name);
	output_text(o, F_DEVICE, device);
	output_text(o, F_ORIGIN, origin);
	output_number(o, F_CREATED, c->created);
	output_number(o, F_CREATED_NSEC, c->created_nsec);
	output_text(o, F_STATE, copy_state(c));
	output_bool(o, F_SUSPECT, c->suspect);
	output_bool(o, F_MERGING, c->merging);
	output_number(o, F_DAMAGED, c->damaged);
	output_number(o, F_SIZE, c->sectors << 9);
	output_text(o, F_MOUNT, mount);
	if (c->locked_until)
		output_number(o, F_LOCKED, c->locked_until);
	if (c->exempt)
		output_number(o, F_EXEMPT,
			      c->exempt_chunks * c->volume->status.chunk_sectors << 9);
	output_number(o, F_OPENS, c->opens);
	for (i = 0; i < ARRAY_SIZE(texts); i++)
		output_text(o, texts[i].field, attr_text(&c->attr, texts[i].key));
	for (i = 0; i < ARRAY_SIZE(numbers); i++)
		if (attr_number(&c->attr, numbers[i].key, &n))
			output_number(o, numbers[i].field, n);
	if (attr_bool(&c->attr, ATTR_DIRTY) >= 0)
		output_bool(o, F_DIRTY, attr_bool(&c->attr, ATTR_DIRTY));
	output_text(o, F_NOTE, copy_note(c));
}

static int run_list(const struct request *r)
{
	struct volumes all = { 0 };
	struct volume *only = NULL;
	struct output *o;
	size_t i, k;
	int rc;

	rc = volumes_load(&all);
	if (!rc && r->nr_args)
		rc = volumes_get(&all, r->args[0], &only);
	if (!rc) {
		o = output_new("copies", copy_fields, ARRAY_SIZE(copy_fields), OUTPUT_TABLE);
		for (i = 0; i < all.count; i++) {
			const struct volume *v = &all.list[i];

			if (only && v != only)
				continue;
			for (k = 0; k < v->nr_copies; k++)
				copy_record(o, &v->copies[k]);
			if (v->status.dropped)
				inform("%s: %llu copies were dropped for want of space since activation",
				       v->node.name, (unsigned long long)v->status.dropped);
			if (!strcmp(v->status.found, "changed"))
				warn("%s: the volume was written while it was not active, copies taken before are suspect",
				     v->node.name);
		}
		rc = output_print(o);
	}
	volumes_free(&all);
	return rc;
}

const struct command cmd_list = {
	"list", "[VOLUME]", 0, 1, "list shadow copies", NULL, run_list
};

static int run_show(const struct request *r)
{
	struct volumes all = { 0 };
	struct output *o;
	struct copy *c;
	int rc;

	rc = volumes_load(&all);
	if (!rc)
		rc = volumes_get_copy(&all, r->args[0], &c);
	if (!rc) {
		o = output_new("copy", copy_fields, ARRAY_SIZE(copy_fields), OUTPUT_ONE);
		copy_record(o, c);
		rc = output_print(o);
	}
	volumes_free(&all);
	return rc;
}

const struct command cmd_show = {
	"show", "COPY", 1, 1, "show everything about a shadow copy", NULL, run_show
};

/* --- status: volumes --- */

enum { S_VOLUME, S_MODE, S_DEVICE, S_MOUNT, S_ORIGIN, S_AREA, S_UUID, S_FS, S_LABEL, S_SERIAL,
	S_CLUSTER, S_DIRTY, S_SIZE, S_COPIES, S_OLDEST, S_NEWEST, S_CHUNK, S_AREA_SIZE, S_USED,
	S_LIMIT, S_POLICY, S_LOW, S_VOLATILE, S_FOUND, S_SAVED, S_ZERO, S_DROPPED, S_CSUM,
	S_AREA_ERRORS, S_UNREADABLE, S_CHECKPOINTS, S_JOURNAL, S_JOURNAL_SIZE, S_TREES, S_ENTRIES,
	S_EXCEPTIONS, S_CACHE, S_CACHE_LIMIT, S_BITMAPS, S_MERGE_STATE, S_MERGE, S_MERGE_DONE,
	S_MERGE_TOTAL, S_MERGE_SKIPPED, S_SCRUB, S_SCRUB_DONE, S_SCRUB_TOTAL, S_SCRUB_BYTES,
	S_SCRUB_DAMAGED, S_NOTE };

static const struct field status_fields[] = {
	[S_VOLUME] = { "volume", "Volume", FIELD_TEXT, IN_BLOCK },
	[S_MODE] = { "mode", "Mode", FIELD_TEXT, IN_BLOCK },
	[S_DEVICE] = { "device", "Device", FIELD_TEXT, IN_BLOCK },
	[S_MOUNT] = { "mounted", "Mounted on", FIELD_TEXT, IN_BLOCK },
	[S_ORIGIN] = { "origin", "Origin", FIELD_TEXT, IN_BLOCK },
	[S_AREA] = { "area", "Diff area", FIELD_TEXT, IN_BLOCK },
	[S_UUID] = { "uuid", "Diff area ID", FIELD_TEXT, IN_BLOCK },
	[S_FS] = { "filesystem", "File system", FIELD_TEXT, IN_BLOCK },
	[S_LABEL] = { "label", "Label", FIELD_TEXT, IN_BLOCK },
	[S_SERIAL] = { "serial", "Serial number", FIELD_TEXT, IN_BLOCK },
	[S_CLUSTER] = { "cluster_size", "Cluster size", FIELD_BYTES, IN_BLOCK },
	[S_DIRTY] = { "dirty", "Dirty", FIELD_BOOL, IN_BLOCK },
	[S_SIZE] = { "size", "Size", FIELD_BYTES, IN_BLOCK },
	[S_COPIES] = { "copies", "Shadow copies", FIELD_NUMBER, IN_BLOCK },
	[S_OLDEST] = { "oldest", "Oldest", FIELD_NUMBER, IN_BLOCK },
	[S_NEWEST] = { "newest", "Newest", FIELD_NUMBER, IN_BLOCK },
	[S_CHUNK] = { "chunk_size", "Chunk size", FIELD_BYTES, IN_BLOCK },
	[S_AREA_SIZE] = { "area_size", "Diff area size", FIELD_BYTES, IN_BLOCK },
	[S_USED] = { "area_used", "Diff area used", FIELD_BYTES, IN_BLOCK },
	[S_LIMIT] = { "area_limit", "Diff area limit", FIELD_BYTES, IN_BLOCK },
	[S_POLICY] = { "when_full", "When full", FIELD_TEXT, IN_BLOCK },
	[S_LOW] = { "low_space", "Warn at", FIELD_PERCENT, IN_BLOCK },
	[S_VOLATILE] = { "volatile", "Volatile", FIELD_BOOL, IN_BLOCK },
	[S_FOUND] = { "found", "Found at activation", FIELD_TEXT, IN_BLOCK },
	[S_SAVED] = { "chunks_saved", "Chunks saved", FIELD_NUMBER, IN_BLOCK },
	[S_ZERO] = { "zero_chunks", "Zero chunks", FIELD_NUMBER, IN_BLOCK },
	[S_DROPPED] = { "copies_dropped", "Copies dropped", FIELD_NUMBER, IN_BLOCK },
	[S_CSUM] = { "checksum_errors", "Checksum errors", FIELD_NUMBER, IN_BLOCK },
	[S_AREA_ERRORS] = { "area_errors", "Diff area errors", FIELD_NUMBER, IN_BLOCK },
	[S_UNREADABLE] = { "unreadable_chunks", "Unreadable chunks", FIELD_NUMBER, IN_BLOCK },
	[S_CHECKPOINTS] = { "checkpoints", "Checkpoints", FIELD_NUMBER, IN_BLOCK },
	[S_JOURNAL] = { "journal_used", "Journal used", FIELD_NUMBER, 0 },
	[S_JOURNAL_SIZE] = { "journal_blocks", "Journal", FIELD_NUMBER, 0 },
	[S_TREES] = { "index_trees", "Index trees", FIELD_NUMBER, IN_BLOCK },
	[S_ENTRIES] = { "index_entries", "Index entries", FIELD_NUMBER, IN_BLOCK },
	[S_EXCEPTIONS] = { "exceptions_in_memory", "Not yet in the index", FIELD_NUMBER, IN_BLOCK },
	[S_CACHE] = { "cache_bytes", "Cache", FIELD_BYTES, IN_BLOCK },
	[S_CACHE_LIMIT] = { "cache_limit", "Cache limit", FIELD_BYTES, IN_BLOCK },
	[S_BITMAPS] = { "bitmap_bytes", "Bitmaps", FIELD_BYTES, IN_BLOCK },
	[S_MERGE_STATE] = { "merge", "Merge", FIELD_TEXT, IN_BLOCK },
	[S_MERGE] = { "merging", "Merging", FIELD_NUMBER, IN_BLOCK },
	[S_MERGE_DONE] = { "merge_done", "Chunks merged", FIELD_NUMBER, IN_BLOCK },
	[S_MERGE_TOTAL] = { "merge_total", "Chunks to merge", FIELD_NUMBER, IN_BLOCK },
	[S_MERGE_SKIPPED] = { "merge_skipped", "Chunks not merged", FIELD_NUMBER, IN_BLOCK },
	[S_SCRUB] = { "scrub", "Scrub", FIELD_TEXT, IN_BLOCK },
	[S_SCRUB_DONE] = { "scrub_done", "Chunks scrubbed", FIELD_NUMBER, IN_BLOCK },
	[S_SCRUB_TOTAL] = { "scrub_total", "Chunks to scrub", FIELD_NUMBER, IN_BLOCK },
	[S_SCRUB_BYTES] = { "scrub_bytes", "Verified", FIELD_BYTES, IN_BLOCK },
	[S_SCRUB_DAMAGED] = { "scrub_damaged_chunks", "Found damaged", FIELD_NUMBER, IN_BLOCK },
	[S_NOTE] = { "note", "Note", FIELD_TEXT, IN_BLOCK },
};

static void add_filesystem(struct output *o, const char *device)
{
	struct fs_info fs;
	struct ntfs_info ntfs;

	if (!device || fs_info(device, &fs) || !fs.type[0]) {
		output_text(o, S_NOTE, "no file system known: free space is kept, too");
		return;
	}
	output_text(o, S_FS, fs.type);
	if (fs.label[0])
		output_text(o, S_LABEL, fs.label);
	if (fs.uuid[0])
		output_text(o, S_SERIAL, fs.uuid);
	if (strcmp(fs.type, "ntfs")) {
		output_text(o, S_NOTE, "not NTFS: free space is kept, too");
		return;
	}
	if (ntfs_info(device, &ntfs)) {
		output_text(o, S_NOTE, "NTFS, but in a state that cannot be read now");
		return;
	}
	output_number(o, S_CLUSTER, ntfs.cluster_bytes);
	output_bool(o, S_DIRTY, ntfs.dirty);
	if (ntfs.hibernated)
		output_text(o, S_NOTE, "Windows is hibernated on it");
}

static void status_record(struct output *o, const struct volume *v)
{
	static const char *const modes[] = { "rw", "ro" };
	const struct status *s = &v->status;
	uint64_t chunk = (uint64_t)s->chunk_sectors << 9;
	auto_free char *device = device_path(v->node.dev), *origin = device_path(v->origin);
	auto_free char *area = loop_file(v->area) ?: device_path(v->area);
	auto_free char *mount = device_mounted_on(v->node.dev);

	output_record(o);
	output_text(o, S_VOLUME, v->node.name);
	output_text(o, S_MODE, modes[s->mode]);
	output_text(o, S_DEVICE, device);
	output_text(o, S_MOUNT, mount);
	output_text(o, S_ORIGIN, origin);
	output_text(o, S_AREA, area);
	output_text(o, S_UUID, v->uuid);
	add_filesystem(o, device);
	output_number(o, S_SIZE, v->sectors << 9);
	output_number(o, S_COPIES, s->copies);
	if (s->copies) {
		output_number(o, S_OLDEST, s->oldest);
		output_number(o, S_NEWEST, s->newest);
	}
	output_number(o, S_CHUNK, chunk);
	output_number(o, S_AREA_SIZE, s->total * chunk);
	output_number(o, S_USED, s->used * chunk);
	if (s->limit)
		output_number(o, S_LIMIT, s->limit * chunk);
	output_text(o, S_POLICY, s->policy);
	output_number(o, S_LOW, s->low_space);
	output_bool(o, S_VOLATILE, s->is_volatile);
	output_text(o, S_FOUND, s->found);
	output_number(o, S_SAVED, s->saved);
	output_number(o, S_ZERO, s->zero);
	output_number(o, S_DROPPED, s->dropped);
	output_number(o, S_CSUM, s->checksum_errors);
	output_number(o, S_AREA_ERRORS, s->area_errors);
	output_number(o, S_UNREADABLE, s->unreadable);
	output_number(o, S_CHECKPOINTS, s->checkpoints);
	output_number(o, S_JOURNAL, s->journal_used);
	output_number(o, S_JOURNAL_SIZE, s->journal_total);
	output_number(o, S_TREES, s->trees);
	output_number(o, S_ENTRIES, s->entries);
	output_number(o, S_EXCEPTIONS, s->exceptions);
	output_number(o, S_CACHE, s->cache_kib << 10);
	output_number(o, S_CACHE_LIMIT, s->cap_kib << 10);
	output_number(o, S_BITMAPS, s->bitmap_kib << 10);
	output_text(o, S_MERGE_STATE, s->merge_state);
	if (s->merge_id) {
		output_number(o, S_MERGE, s->merge_id);
		output_number(o, S_MERGE_DONE, s->merge_done);
		output_number(o, S_MERGE_TOTAL, s->merge_total);
	}
	if (s->merge_skipped)
		output_number(o, S_MERGE_SKIPPED, s->merge_skipped);
	output_text(o, S_SCRUB, s->scrub_state);
	if (strcmp(s->scrub_state, "none")) {
		output_number(o, S_SCRUB_DONE, s->scrub_done);
		output_number(o, S_SCRUB_TOTAL, s->scrub_total);
		output_number(o, S_SCRUB_BYTES, s->scrub_kib << 10);
		output_number(o, S_SCRUB_DAMAGED, s->scrub_damaged);
	}
}

static int run_status(const struct request *r)
{
	struct volumes all = { 0 };
	struct volume *only = NULL;
	struct output *o;
	size_t i;
	int rc;

	rc = volumes_load(&all);
	if (!rc && r->nr_args)
		rc = volumes_get(&all, r->args[0], &only);
	if (!rc) {
		o = output_new("volumes", status_fields, ARRAY_SIZE(status_fields), OUTPUT_BLOCKS);
		for (i = 0; i < all.count; i++)
			if (!only || only == &all.list[i])
				status_record(o, &all.list[i]);
		rc = output_print(o);
	}
	volumes_free(&all);
	return rc;
}

const struct command cmd_status = {
	"status", "[VOLUME]", 0, 1, "show the state of volumes and their diff areas", NULL, run_status
};
