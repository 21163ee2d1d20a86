// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * format, check, dump: a diff area offline, without the module.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "activate.h"
#include "area.h"
#include "check.h"
#include "cmd.h"
#include "device.h"
#include "dump.h"
#include "emit.h"
#include "output.h"
#include "repair.h"

/* --- what a diff area is on ----------------------------------------------- */

/*
 * For us alone until it is closed; says what is wrong.  A file is locked, as
 * loop_attach() does.
 */
static int open_area(const char *path, int flags, int *ret)
{
	auto_close int fd = -1;
	bool busy = false;
	struct stat st;
	int rc;

	if (stat(path, &st))
		return refuse(errno, "%s: %s", path, strerror(errno));
	if (!S_ISBLK(st.st_mode) && !S_ISREG(st.st_mode))
		return refuse(ENOTBLK, "%s: is neither a block device nor a file", path);
	fd = open(path, flags | O_CLOEXEC | (S_ISBLK(st.st_mode) ? O_EXCL : 0));
	if (fd < 0 && errno == EBUSY)
		return refuse(EBUSY, "%s: is in use", path);
	if (fd < 0)
		return refuse(errno, "%s: %s", path, strerror(errno));
	if (S_ISREG(st.st_mode) && flock(fd, LOCK_EX | LOCK_NB))
		busy = errno == EWOULDBLOCK;
	/* losetup asks for no lock. */
	rc = loop_check_none(path);
	if (!rc && busy)
		rc = refuse(EBUSY, "%s: is in use", path);
	if (rc)
		return rc;
	*ret = fd;
	fd = -1;
	return 0;
}

static int refuse_state(const char *path, const struct area_info *info)
{
	char text[160];

	return refuse(-area_state_errno(info), "%s: %s", path,
		      area_state_text(info, text, sizeof(text)));
}

/* --- format --------------------------------------------------------------- */

static const struct cmd_option format_options[] = {
	{ "origin", 0, "VOLUME", "the volume whose copies it will hold (needed)" },
	{ "chunk-size", 0, "SIZE", "unit of saving, 4K to 1M (16K)" },
	{ "journal-size", 0, "SIZE", "1/64 of the diff area, 1M to 8M, unless given" },
	{ "limit", 0, "SIZE", "use no more than this" },
	{ "when-full", 0, "POLICY", "drop-oldest, invalidate or block:SECONDS" },
	{ "low-space", 0, "PERCENT", "raise an event when so much is used (80; 0: never)" },
	{ "volatile", 0, NULL, "faster, but copies do not outlive a restart" },
	{ "uuid", 0, "UUID", "of the diff area, instead of a random one" },
	{ "force", 0, NULL, "overwrite what is there without asking" },
	{ NULL, 0, NULL, NULL }
};

static int parse_blocks(const struct request *r, const char *name, u64 *ret)
{
	uint64_t bytes;

	if (!given(r, name))
		return 0;
	if (parse_size(option(r, name), &bytes) || !bytes || bytes % DMS_BLOCK_SIZE)
		return refuse(EINVAL, "--%s %s: not a size, or not a multiple of 4K", name,
			      option(r, name));
	*ret = bytes / DMS_BLOCK_SIZE;
	return 0;
}

static int parse_format(const struct request *r, struct area_params *p)
{
	u64 chunk = p->chunk_blocks, journal = 0, limit = 0;
	uint64_t percent;
	int rc;

	rc = parse_blocks(r, "chunk-size", &chunk);
	if (!rc && (chunk > DMS_MAX_CHUNK_BLOCKS || (chunk & (chunk - 1))))
		rc = refuse(EINVAL, "--chunk-size %s: not a power of two from 4K to 1M",
			    option(r, "chunk-size"));
	if (!rc)
		rc = parse_blocks(r, "journal-size", &journal);
	if (!rc && journal && (journal < DMS_MIN_JOURNAL_BLOCKS || journal > DMS_MAX_JOURNAL_BLOCKS))
		rc = refuse(EINVAL, "--journal-size %s: not from 64K to 1G",
			    option(r, "journal-size"));
	if (!rc)
		rc = parse_blocks(r, "limit", &limit);
	if (!rc && given(r, "when-full"))
		rc = parse_policy(option(r, "when-full"), &p->when_full, &p->full_timeout);
	if (rc)
		return rc;
	p->chunk_blocks = (u32)chunk;
	p->journal_blocks = journal;
	p->limit_chunks = limit / chunk;
	if (limit && !p->limit_chunks)
		return refuse(EINVAL, "--limit %s: less than a chunk", option(r, "limit"));
	if (given(r, "low-space")) {
		if (parse_number(option(r, "low-space"), 100, &percent))
			return refuse(EINVAL, "--low-space %s: not a percentage",
				      option(r, "low-space"));
		p->low_space = (u32)percent;
	}
	if (given(r, "uuid") && area_uuid_parse(option(r, "uuid"), p->uuid))
		return refuse(EINVAL, "--uuid %s: not a UUID", option(r, "uuid"));
	p->is_volatile = given(r, "volatile");
	return 0;
}

/* Which volume it will belong to.  An image file will do, by its path. */
static int parse_origin(const char *volume, const char *area, struct area_params *p)
{
	auto_free char *name = NULL;
	struct identities ids;
	struct stat st, area_st;
	int rc;

	if (stat(volume, &st))
		return refuse(errno, "%s: %s", volume, strerror(errno));
	if (!stat(area, &area_st) &&
	    ((st.st_dev == area_st.st_dev && st.st_ino == area_st.st_ino) ||
	     (S_ISBLK(st.st_mode) && S_ISBLK(area_st.st_mode) &&
	      (device_depends(area_st.st_rdev, st.st_rdev) ||
	       device_depends(st.st_rdev, area_st.st_rdev)))))
		return refuse(EINVAL, "%s: is (part of) the volume itself", area);
	if (S_ISREG(st.st_mode)) {
		p->origin_sectors = (u64)st.st_size >> 9;
		rc = file_identity(volume, p->origin_id);
		if (rc)
			return refuse(-rc, "%s: %s", volume, strerror(-rc));
	} else if (S_ISBLK(st.st_mode)) {
		p->origin_sectors = device_sectors(st.st_rdev);
		device_identities(st.st_rdev, &ids);
		/* A device with nothing to know it by is activated by table only. */
		if (!ids.count)
			strcpy(ids.id[0], "unknown");
		name = default_name(st.st_rdev, ids.id[0]);
		if (!name)
			return -ENOMEM;
		snprintf(p->origin_id, sizeof(p->origin_id), "%s %s", ids.id[0], name);
	} else {
		return refuse(ENOTBLK, "%s: is not a block device", volume);
	}
	return p->origin_sectors ? 0 : refuse(ENODEV, "%s: has no content", volume);
}

static int confirm_format(const struct request *r, const char *path, int fd)
{
	struct area_info info;
	char text[160];
	int rc;

	rc = area_probe_fd(fd, &info);
	if (rc)
		return refuse(-rc, "%s: %s", path, strerror(-rc));
	if (info.state == AREA_BLANK)
		return 0;
	return confirm(given(r, "force"), "%s %s, all of it will be lost", path,
		       area_state_text(&info, text, sizeof(text)));
}

static int print_format(const char *path, const struct dms_super *s)
{
	static const struct field fields[] = {
		{ "device", "Diff area", FIELD_TEXT, IN_BOTH },
		{ "uuid", "UUID", FIELD_TEXT, IN_BOTH },
		{ "size", "Size", FIELD_BYTES, IN_BOTH },
		{ "chunk_size", "Chunk size", FIELD_BYTES, IN_BOTH },
		{ "journal_size", "Journal", FIELD_BYTES, IN_BOTH },
		{ "origin", "Origin", FIELD_TEXT, IN_BOTH },
	};
	struct output *o = output_new("diff_area", fields, ARRAY_SIZE(fields), OUTPUT_ONE);
	char uuid[37];

	area_uuid_text(s->uuid, uuid);
	output_record(o);
	output_text(o, 0, path);
	output_text(o, 1, uuid);
	output_number(o, 2, s->area_blocks << DMS_BLOCK_SHIFT);
	output_number(o, 3, area_chunk_bytes(s));
	output_number(o, 4, s->journal_blocks << DMS_BLOCK_SHIFT);
	output_text(o, 5, s->origin_id);
	return output_print(o);
}

static int run_format(const struct request *r)
{
	auto_close int fd = -1;
	const char *path = r->args[0];
	struct area_params params;
	struct dms_super super;
	char least[16];
	int rc;

	area_params_init(&params);
	if (!given(r, "origin"))
		return refuse(EINVAL, "format: needs --origin VOLUME");
	rc = parse_format(r, &params);
	if (!rc)
		rc = parse_origin(option(r, "origin"), path, &params);
	if (!rc)
		rc = open_area(path, O_RDWR, &fd);
	if (!rc)
		rc = confirm_format(r, path, fd);
	if (!rc)
		rc = loop_check_none(path);
	if (rc)
		return rc;
	rc = area_format(fd, &params, &super);
	print_size(area_min_bytes(params.chunk_blocks), least);
	if (rc == -ENOSPC)
		return refuse(ENOSPC, "%s: too small for a diff area, it takes %s", path, least);
	if (rc == -EINVAL)
		return refuse(EINVAL, "%s: the limit or the journal does not fit its size", path);
	if (rc)
		return refuse(-rc, "%s: %s", path, strerror(-rc));
	return print_format(path, &super);
}

const struct command cmd_format = {
	"format", "DIFF-AREA", 1, 1,
	"lay out an empty diff area for a volume",
	format_options, run_format
};

/* --- check ---------------------------------------------------------------- */

static const struct cmd_option check_options[] = {
	{ "data", 0, NULL, "verify all saved data, too" },
	{ "repair", 0, NULL, "put right what can be proved, mark what is lost" },
	{ "force", 0, NULL, "repair without asking" },
	{ NULL, 0, NULL, NULL }
};

static const char *const level_name[] = {
	[CHECK_NOTE] = "note", [CHECK_WARNING] = "warning", [CHECK_DAMAGE] = "damage",
	[CHECK_REPAIR] = "repair",
};

/* "copies 1-3,7 chunks 10-20" */
static void print_loss(const struct check_finding *f)
{
	u32 i, end;

	if (!f->nr_copies)
		return;
	printf(": %s", f->nr_copies == 1 ? "copy " : "copies ");
	for (i = 0; i < f->nr_copies; i = end) {
		for (end = i + 1; end < f->nr_copies && f->copies[end] == f->copies[end - 1] + 1;)
			end++;
		printf("%s%u", i ? "," : "", f->copies[i]);
		if (end - i > 1)
			printf("-%u", f->copies[end - 1]);
	}
	if (f->chunks > 1)
		printf(" chunks %" PRIu64 "-%" PRIu64, (uint64_t)f->chunk,
		       (uint64_t)(f->chunk + f->chunks - 1));
	else if (f->chunks)
		printf(" chunk %" PRIu64, (uint64_t)f->chunk);
}

static void print_finding(void *context, const struct check_finding *f)
{
	struct emit *e = context;
	u32 i;

	if (!e->json) {
		printf("%s: %s: %s", level_name[f->level], f->object, f->fact);
		print_loss(f);
		putchar('\n');
		return;
	}
	emit_object(e, NULL);
	emit_text(e, "level", level_name[f->level]);
	emit_text(e, "object", f->object);
	if (f->block != CHECK_NO_BLOCK)
		emit_number(e, "block", f->block);
	emit_text(e, "fact", f->fact);
	if (f->nr_copies) {
		emit_list(e, "copies");
		for (i = 0; i < f->nr_copies; i++)
			emit_number(e, NULL, f->copies[i]);
		emit_close(e);
		if (f->chunks) {
			emit_number(e, "first_chunk", f->chunk);
			emit_number(e, "chunks", f->chunks);
		}
	}
	emit_close(e);
}

static void print_short(const struct check_summary *s)
{
	printf("%s: %" PRIu32 " copies, %" PRIu64 " saved chunks, %" PRIu64 " of %" PRIu64
	       " area chunks used", s->damage ? "damaged" : "sound", s->copies,
	       (uint64_t)s->saved_chunks, (uint64_t)s->used_chunks, (uint64_t)s->area_chunks);
	if (s->journal_blocks)
		printf(", %" PRIu64 " journal blocks to replay", (uint64_t)s->journal_blocks);
	if (s->verified_blocks)
		printf(", %" PRIu64 " blocks of data verified", (uint64_t)s->verified_blocks);
	putchar('\n');
}

static void print_summary(struct emit *e, const struct check_summary *s)
{
	const struct {
		const char *key;
		uint64_t value;
	} row[] = {
		{ "damage", s->damage },
		{ "warnings", s->warnings },
		{ "notes", s->notes },
		{ "copies", s->copies },
		{ "trees", s->trees },
		{ "tree_blocks", s->tree_blocks },
		{ "entries", s->entries },
		{ "saved_chunks", s->saved_chunks },
		{ "journal_blocks", s->journal_blocks },
		{ "journal_saves", s->journal_saves },
		{ "area_chunks", s->area_chunks },
		{ "used_chunks", s->used_chunks },
		{ "leaked_chunks", s->leaked_chunks },
		{ "verified_blocks", s->verified_blocks },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(row); i++)
		emit_number(e, row[i].key, row[i].value);
}

static void print_nothing(void *context, const struct check_finding *f)
{
	(void)context;
	(void)f;
}

/* What was found has been printed; print what is done, and check again. */
static int run_repair(const struct request *r, int fd, struct emit *e, struct check_summary *sum)
{
	struct repair_params params = { .data = given(r, "data"), .report = print_finding,
					.context = e };
	struct check_params again = { .data = given(r, "data"), .report = print_nothing };
	const char *path = r->args[0];
	struct area_info info;
	char why[160];
	int rc;

	rc = confirm(given(r, "force"),
		     "%s: repair it, and give up what the findings say is lost", path);
	if (!rc)
		rc = loop_check_none(path);
	if (rc)
		return rc;
	if (e->json)
		emit_list(e, "repairs");
	rc = repair_area(path, fd, &params, why);
	if (e->json)
		emit_close(e);
	if (rc == -EUCLEAN)
		return refuse(EUCLEAN, "%s: can't be repaired, %s; nothing was changed", path, why);
	if (rc == -ENOSPC)
		return refuse(ENOSPC, "%s: has no room for what repair writes, nothing was changed",
			      path);
	return rc ? rc : check_area(path, &again, &info, sum);
}

static int run_check(const struct request *r)
{
	struct check_params params = { .data = given(r, "data"), .max_findings = 10000,
				       .report = print_finding };
	const char *path = r->args[0];
	struct check_summary sum = { .damage = 0 };
	bool repair = given(r, "repair");
	struct area_info info;
	auto_close int fd = -1;
	struct emit e;
	int rc;

	if (given(r, "force") && !repair)
		return refuse(EINVAL, "--force: is for --repair only");
	/* Held open: nobody may take it into use meanwhile. */
	rc = open_area(path, repair ? O_RDWR : O_RDONLY, &fd);
	if (rc)
		return rc;
	rc = area_probe_fd(fd, &info);
	if (rc)
		return refuse(-rc, "%s: %s", path, strerror(-rc));
	if (area_state_errno(&info) && area_state_errno(&info) != -EUCLEAN)
		return refuse_state(path, &info);
	emit_begin(&e, stdout, output_format == FORMAT_JSON);
	params.context = &e;
	if (e.json)
		emit_list(&e, "findings");
	rc = check_area(path, &params, &info, &sum);
	if (e.json)
		emit_close(&e);
	if (!rc && repair && (sum.damage || sum.warnings))
		rc = run_repair(r, fd, &e, &sum);
	if (e.json)
		print_summary(&e, &sum);
	else if (!rc)
		print_short(&sum);
	emit_end(&e);
	if (rc)
		return has_refused() ? rc : refuse(-rc, "%s: %s", path, strerror(-rc));
	if (sum.damage)
		return refuse(EUCLEAN, "%s: is %sdamaged in %" PRIu64 " places", path,
			      repair ? "still " : "", (uint64_t)sum.damage);
	return 0;
}

const struct command cmd_check = {
	"check", "DIFF-AREA", 1, 1,
	"look for damage in a diff area, say what it costs, repair it",
	check_options, run_check
};

/* --- dump ----------------------------------------------------------------- */

static int run_dump(const struct request *r)
{
	const char *path = r->args[0];
	struct area_info info;
	struct emit e;
	int rc;

	rc = area_probe(path, &info);
	if (rc)
		return refuse(-rc, "%s: %s", path, strerror(-rc));
	if (area_state_errno(&info))
		return refuse_state(path, &info);
	emit_begin(&e, stdout, output_format == FORMAT_JSON);
	rc = dump_area(path, &e, &info);
	emit_end(&e);
	if (rc == -EUCLEAN)
		return refuse(EUCLEAN, "%s: is damaged, see \"error\" above", path);
	return rc ? refuse(-rc, "%s: %s", path, strerror(-rc)) : 0;
}

const struct command cmd_dump = {
	"dump", "DIFF-AREA", 1, 1,
	"print all metadata of a diff area",
	NULL, run_dump
};
