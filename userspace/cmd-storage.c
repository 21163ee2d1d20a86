// SPDX-License-Identifier: GPL-2.0-or-later
/* storage list, limit, resize, policy: the space of diff areas. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "area.h"
#include "cmd.h"
#include "device.h"
#include "output.h"
#include "volume.h"

/* --- list --- */

enum { F_VOLUME, F_AREA, F_SIZE, F_USED, F_PERCENT, F_LIMIT, F_COPIES, F_POLICY, F_LOW, F_CHUNK };

static const struct field fields[] = {
	[F_VOLUME] = { "volume", "Volume", FIELD_TEXT, IN_BOTH },
	[F_AREA] = { "area", "Diff area", FIELD_TEXT, IN_BOTH },
	[F_SIZE] = { "size", "Size", FIELD_BYTES, IN_BOTH },
	[F_USED] = { "used", "Used", FIELD_BYTES, IN_BOTH },
	[F_PERCENT] = { "used_percent", "Used%", FIELD_PERCENT, IN_BOTH },
	[F_LIMIT] = { "limit", "Limit", FIELD_BYTES, IN_BOTH },
	[F_COPIES] = { "copies", "Copies", FIELD_NUMBER, IN_BOTH },
	[F_POLICY] = { "when_full", "When full", FIELD_TEXT, IN_BOTH },
	[F_LOW] = { "low_space", "Warn at", FIELD_PERCENT, IN_BOTH },
	[F_CHUNK] = { "chunk_size", "Chunk size", FIELD_BYTES, 0 },
};

static void storage_record(struct output *o, const struct volume *v)
{
	auto_free char *area = loop_file(v->area) ?: device_path(v->area);
	const struct status *s = &v->status;
	uint64_t chunk = (uint64_t)s->chunk_sectors << 9;
	uint64_t most = s->limit && s->limit < s->total ? s->limit : s->total;

	output_record(o);
	output_text(o, F_VOLUME, v->node.name);
	output_text(o, F_AREA, area);
	output_number(o, F_SIZE, s->total * chunk);
	output_number(o, F_USED, s->used * chunk);
	output_number(o, F_PERCENT, most ? (uint64_t)(100.0 * s->used / most) : 0);
	if (s->limit)
		output_number(o, F_LIMIT, s->limit * chunk);
	output_number(o, F_COPIES, s->copies);
	output_text(o, F_POLICY, s->policy);
	output_number(o, F_LOW, s->low_space);
	output_number(o, F_CHUNK, chunk);
}

static int run_storage_list(const struct request *r)
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
		o = output_new("storage", fields, ARRAY_SIZE(fields), OUTPUT_TABLE);
		for (i = 0; i < all.count; i++)
			if (!only || only == &all.list[i])
				storage_record(o, &all.list[i]);
		rc = output_print(o);
	}
	volumes_free(&all);
	return rc;
}

const struct command cmd_storage = {
	"storage", "", 0, 0, "the same as storage list", NULL, run_storage_list
};

const struct command cmd_storage_list = {
	"storage list", "[VOLUME]", 0, 1, "list diff areas, how full they are and their limits", NULL,
	run_storage_list
};

/* --- the rest change one volume --- */

static int get_locked(struct volumes *all, const char *spec, struct volume **ret)
{
	int rc;

	rc = volumes_load(all);
	if (!rc)
		rc = volumes_get(all, spec, ret);
	if (!rc)
		rc = volumes_lock(ret, 1);
	return rc;
}

static const struct cmd_option limit_options[] = {
	{ "force", 0, NULL, "even if copies are dropped for it" },
	{ NULL, 0, NULL, NULL }
};

/* "none", "50%", "10G" as area chunks; 0: no limit. */
static int parse_limit(const char *text, const struct status *s, uint64_t *ret)
{
	uint64_t chunk = (uint64_t)s->chunk_sectors << 9, n;
	auto_free char *number = copy_string(text);
	size_t len = strlen(text);

	if (!number)
		return -ENOMEM;
	if (!strcmp(text, "none")) {
		*ret = 0;
		return 0;
	}
	if (len && text[len - 1] == '%') {
		number[len - 1] = 0;
		if (parse_number(number, 100, &n) || !n)
			return refuse(EINVAL, "%s: is no percentage of 1 to 100", text);
		*ret = max_t(uint64_t, s->total * n / 100, 1);	/* 0 is no limit */
	} else {
		if (parse_size(text, &n) || n < chunk)
			return refuse(EINVAL, "%s: is no limit; a size, a percentage or none is", text);
		*ret = n / chunk;
	}
	if (*ret > s->total)
		return refuse(EINVAL, "%s: is more than the diff area has", text);
	return 0;
}

static int run_storage_limit(const struct request *r)
{
	struct volumes all = { 0 };
	struct volume *v;
	uint64_t limit = 0;
	int rc;

	rc = get_locked(&all, r->args[0], &v);
	if (!rc)
		rc = parse_limit(r->args[1], &v->status, &limit);
	if (!rc && limit && limit < v->status.used && v->status.copies)
		rc = confirm(given(r, "force"), "%s: more is in use already, limit it and lose the oldest copies",
			     v->node.name);
	if (!rc) {
		rc = node_message(v->node.name, NULL, "limit %" PRIu64, limit);
		if (rc)
			refuse(-rc, "%s: the limit is as it was: %s", v->node.name, node_why());
	}
	volumes_free(&all);
	return rc;
}

const struct command cmd_storage_limit = {
	"storage limit", "VOLUME SIZE|PERCENT%|none", 2, 2, "limit what may be used of a diff area",
	limit_options, run_storage_limit
};

/* --- resize --- */

static int grow_file(const char *file, dev_t loop, uint64_t size)
{
	auto_close int fd = open(file, O_RDWR | O_CLOEXEC);
	struct stat st;
	int rc;

	if (fd < 0 || fstat(fd, &st))
		return refuse(errno, "%s: %s", file, strerror(errno));
	if (size < (uint64_t)st.st_size)
		return refuse(EINVAL, "%s: is larger already, a diff area is not made smaller", file);
	rc = -posix_fallocate(fd, 0, size);
	if (!rc && fsync(fd))
		rc = -errno;
	if (rc)
		return refuse(-rc, "%s: cannot be made larger: %s", file, strerror(-rc));
	rc = loop_resize(loop);
	return rc ? refuse(-rc, "%s: its loop device does not grow: %s", file, strerror(-rc)) : 0;
}

static int run_storage_resize(const struct request *r)
{
	auto_free char *file = NULL;
	struct volumes all = { 0 };
	struct volume *v;
	uint64_t size = 0;
	int rc;

	if (r->nr_args > 1 && parse_size(r->args[1], &size))
		return refuse(EINVAL, "%s: is no size", r->args[1]);
	rc = get_locked(&all, r->args[0], &v);
	if (rc)
		goto out;
	file = loop_file(v->area);
	if (size && !file)
		rc = refuse(EINVAL, "%s: its diff area is a device: make that larger, then resize without a size",
			    v->node.name);
	if (!rc && size)
		rc = grow_file(file, v->area, size & ~UINT64_C(4095));
	if (!rc && file && !size)
		loop_resize(v->area);	/* grown by somebody else */
	if (!rc) {
		rc = node_message(v->node.name, NULL, "resize");
		if (rc)
			refuse(-rc, "%s: its diff area is as it was: %s", v->node.name, node_why());
	}
	if (!rc)
		rc = volume_grow(v);	/* the origin may have grown as well */
out:
	volumes_free(&all);
	return rc;
}

const struct command cmd_storage_resize = {
	"storage resize", "VOLUME [SIZE]", 1, 2, "use what the diff area or the volume has grown by, or grow a file",
	NULL, run_storage_resize
};

/* --- policy --- */

static const struct cmd_option policy_options[] = {
	{ "when-full", 0, "POLICY", "drop-oldest, invalidate (all), or block:SECONDS" },
	{ "low-space", 0, "PERCENT", "raise an event when that much is used; 0: never" },
	{ NULL, 0, NULL, NULL }
};

int parse_policy(const char *text, uint32_t *ret_when_full, uint32_t *ret_seconds)
{
	uint64_t seconds = 0;

	if (!strcmp(text, "drop-oldest"))
		*ret_when_full = DMS_FULL_DROP_OLDEST;
	else if (!strcmp(text, "invalidate"))
		*ret_when_full = DMS_FULL_INVALIDATE;
	else if (!strncmp(text, "block:", 6) &&
		 !parse_number(text + 6, DMS_MAX_FULL_TIMEOUT, &seconds) && seconds)
		*ret_when_full = DMS_FULL_BLOCK;
	else
		return refuse(EINVAL, "%s: is no policy; drop-oldest, invalidate and block:SECONDS (up to a day) are",
			      text);
	*ret_seconds = seconds;
	return 0;
}

static int run_storage_policy(const struct request *r)
{
	const char *full = option(r, "when-full"), *low = option(r, "low-space");
	struct volumes all = { 0 };
	uint32_t policy, seconds;
	struct volume *v;
	uint64_t percent;
	int rc;

	if (!full && !low)
		return refuse(EINVAL, "either --when-full or --low-space, or both");
	if (full && parse_policy(full, &policy, &seconds))
		return -EINVAL;
	if (low && parse_number(low, 100, &percent))
		return refuse(EINVAL, "%s: is no percentage", low);
	rc = get_locked(&all, r->args[0], &v);
	if (!rc && full && policy == DMS_FULL_BLOCK)
		rc = node_message(v->node.name, NULL, "when_full block %" PRIu32, seconds);
	else if (!rc && full)
		rc = node_message(v->node.name, NULL, "when_full %s", full);
	if (!rc && low)
		rc = node_message(v->node.name, NULL, "low_space %" PRIu64, percent);
	if (rc && !has_refused())
		refuse(-rc, "%s: the policy is as it was: %s", v->node.name, node_why());
	volumes_free(&all);
	return rc;
}

const struct command cmd_storage_policy = {
	"storage policy", "VOLUME", 1, 1, "choose what happens when a diff area is full", policy_options,
	run_storage_policy
};
