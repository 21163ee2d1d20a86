// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * attach, detach: put a volume under protection, or end it.
 *
 * All that can refuse an attach is looked at before anything is written: a
 * typing error must not cost a file system.  Then the diff area is formatted if
 * it is blank, and the volume activated.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "activate.h"
#include "cmd.h"

/* --- attach --- */

struct plan {
	dev_t origin, area;
	char *origin_path;
	const char *area_arg;		/* for messages */
	char *area_path;		/* of the block device */
	bool is_file, made_file;
	int loop_fd;
	struct identities ids;
	struct area_info info;
	struct dms_super super;
	char name[64];			/* as it fits into the superblock */
};

static const struct cmd_option attach_options[] = {
	{ "chunk-size", 0, "SIZE", "unit of saving, a power of two of 4K to 1M (16K)" },
	{ "size", 0, "SIZE", "make DIFF-AREA, a file, of that size" },
	{ "volatile", 0, NULL, "copies need not outlive a reboot: fewer writes" },
	{ "name", 0, "NAME", "of the device to mount, instead of shadow-VOLUME" },
	{ "force", 0, NULL, "overwrite what the diff area holds, without asking" },
	{ NULL, 0, NULL, NULL }
};

static int parse_chunk_size(const struct request *r, u32 *ret_blocks)
{
	const char *text = option(r, "chunk-size");
	uint64_t size;

	*ret_blocks = AREA_DEFAULT_CHUNK_BLOCKS;
	if (!text)
		return 0;
	if (parse_size(text, &size) || size & (size - 1) ||
	    size < DMS_MIN_CHUNK_BLOCKS * DMS_BLOCK_SIZE ||
	    size > DMS_MAX_CHUNK_BLOCKS * DMS_BLOCK_SIZE)
		return refuse(EINVAL, "%s: chunk size is no power of two of 4K to 1M", text);
	*ret_blocks = size >> DMS_BLOCK_SHIFT;
	return 0;
}

/* The volume: a block device that nobody uses, and not one of ours already. */
static int find_origin(const char *arg, struct plan *p)
{
	struct volumes all;
	struct volume *v;
	int rc;

	rc = device_number(arg, &p->origin);
	if (rc == -ENOTBLK)
		return refuse(-rc, "%s: is no block device", arg);
	if (rc)
		return refuse(-rc, "%s: %s", arg, strerror(-rc));
	if (device_is_node(p->origin, NODE_PREFIX))
		return refuse(EEXIST, "%s: is attached already", arg);
	rc = volumes_load(&all);
	if (rc)
		return rc;
	v = volumes_find(&all, arg);
	if (v)
		rc = refuse(EEXIST, "%s: is attached already, as %s", arg, v->node.name);
	volumes_free(&all);
	if (rc)
		return rc;
	p->origin_path = device_path(p->origin);
	if (!p->origin_path)
		return -ENOMEM;
	rc = device_claim_check(p->origin);
	if (rc)
		return rc;
	if (device_sectors(p->origin) < DMS_BLOCK_SECTORS)
		return refuse(EINVAL, "%s: is too small", arg);
	device_identities(p->origin, &p->ids);
	return 0;
}

static int make_file(const char *path, uint64_t size, struct plan *p)
{
	auto_close int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int rc;

	if (fd < 0)
		return refuse(errno, "%s: cannot be made: %s", path, strerror(errno));
	p->made_file = true;
	rc = -posix_fallocate(fd, 0, size);
	if (!rc && fsync(fd))
		rc = -errno;
	if (rc)
		return refuse(-rc, "%s: cannot be made %" PRIu64 " bytes long: %s", path, size,
			      strerror(-rc));
	return 0;
}

static int find_area(const struct request *r, u32 chunk_blocks, struct plan *p)
{
	const char *arg = r->args[1], *size_text = option(r, "size");
	uint64_t size = 0;
	struct stat st;
	dev_t holder;
	bool exists;
	int rc;

	p->area_arg = arg;
	exists = !stat(arg, &st);
	if (!exists && errno != ENOENT)
		return refuse(errno, "%s: %s", arg, strerror(errno));
	if (!exists && !size_text)
		return refuse(ENOENT, "%s: there is no such device or file; to make a file, give its --size",
			      arg);
	if (size_text && exists)
		return refuse(EEXIST, "%s: exists already, --size is for a file to be made", arg);
	if (exists && S_ISBLK(st.st_mode)) {
		p->area = st.st_rdev;
		if (device_is_node(p->area, NODE_PREFIX))
			return refuse(EBUSY, "%s: is a device of dm-shadow, no place for a diff area",
				      arg);
	} else {
		if (exists && !S_ISREG(st.st_mode))
			return refuse(ENOTBLK, "%s: is neither a block device nor a file", arg);
		rc = device_of_file(arg, &holder);
		if (rc)
			return rc;
		if (device_depends(holder, p->origin))
			return refuse(EINVAL, "%s: lies on %s itself, a diff area must not", arg,
				      p->origin_path);
		if (!exists) {
			if (parse_size(size_text, &size))
				return refuse(EINVAL, "%s: is no size", size_text);
			size &= ~(uint64_t)(DMS_BLOCK_SIZE - 1);
			if (size < area_min_bytes(chunk_blocks))
				return refuse(ENOSPC, "%s: too small for a diff area, %" PRIu64 " bytes are the least",
					      size_text, (uint64_t)area_min_bytes(chunk_blocks));
			rc = make_file(arg, size, p);
			if (rc)
				return rc;
		}
		p->is_file = true;
		rc = loop_attach(arg, &p->area, &p->loop_fd);
		if (rc)
			return refuse(-rc, "%s: no loop device for it: %s", arg, strerror(-rc));
	}
	if (p->area == p->origin)
		return refuse(EINVAL, "%s: volume and diff area are the same device", arg);
	if (device_depends(p->area, p->origin) || device_depends(p->origin, p->area))
		return refuse(EINVAL, "%s: shares its space with %s, a diff area must not", arg,
			      p->origin_path);
	p->area_path = device_path(p->area);
	if (!p->area_path)
		return -ENOMEM;
	return device_claim_check(p->area);
}

/* Is the area to be formatted?  Refuses what must not be. */
static int judge_area(const struct request *r, struct plan *p, bool *ret_format)
{
	char text[128], id[64], name[64];
	int rc;

	*ret_format = true;
	rc = area_probe(p->area_path, &p->info);
	if (rc)
		return refuse(-rc, "%s: cannot be read: %s", p->area_arg, strerror(-rc));
	switch (p->info.state) {
	case AREA_BLANK:
		return 0;
	case AREA_VALID:
		split_origin_id(p->info.super.origin_id, id, name);
		if (*id && identities_have(&p->ids, id)) {
			*ret_format = false;
			return 0;
		}
		if (given(r, "force"))
			return 0;
		return refuse(ESTALE, "%s: is the diff area of another volume (%s), nothing was done",
			      p->area_arg, *id ? id : "unknown");
	default:
		area_state_text(&p->info, text, sizeof(text));
		if (given(r, "force"))
			return 0;
		return refuse(-area_state_errno(&p->info), "%s: %s, nothing was done", p->area_arg,
			      text);
	}
}

static int choose_name(const struct request *r, const char *id, const char *recorded,
		       struct plan *p)
{
	const char *wanted = option(r, "name");
	char uuid[37], node_uuid[NODE_UUID_SIZE];
	auto_free char *derived = NULL;
	struct node node;
	int rc;

	if (wanted) {
		rc = check_name(wanted, id);
		if (rc)
			return rc;
	} else if (!*recorded) {
		derived = default_name(p->origin, id);
		if (!derived)
			return -ENOMEM;
	}
	snprintf(p->name, sizeof(p->name), "%s", wanted ?: *recorded ? recorded : derived);
	area_uuid_text(p->info.super.uuid, uuid);
	snprintf(node_uuid, sizeof(node_uuid), NODE_PREFIX "%s", uuid);
	node_remove_half_made(node_uuid);
	if (!node_info(p->name, &node))
		return refuse(EEXIST, "%s: a device of that name exists already, choose another --name",
			      p->name);
	return 0;
}

static int format_area(const struct request *r, u32 chunk_blocks, const char *id,
		       struct plan *p)
{
	auto_close int fd = open(p->area_path, O_RDWR | O_EXCL | O_CLOEXEC);
	struct area_params params;
	int rc;

	if (fd < 0)
		return refuse(errno, "%s: %s", p->area_arg, strerror(errno));
	area_params_init(&params);
	params.chunk_blocks = chunk_blocks;
	params.origin_sectors = device_sectors(p->origin);
	params.is_volatile = given(r, "volatile");
	snprintf(params.origin_id, sizeof(params.origin_id), "%s %s", id, p->name);
	rc = area_format(fd, &params, &p->super);
	if (rc == -ENOSPC)
		return refuse(-rc, "%s: too small for a diff area, %" PRIu64 " bytes are the least",
			      p->area_arg, (uint64_t)area_min_bytes(chunk_blocks));
	if (rc)
		return refuse(-rc, "%s: cannot be formatted: %s", p->area_arg, strerror(-rc));
	chat("%s: formatted as diff area of %s", p->area_arg, p->origin_path);
	return 0;
}

static int prepare_area(const struct request *r, u32 chunk_blocks, struct plan *p)
{
	char id[64], recorded[64] = "";
	bool format;
	int rc;

	rc = judge_area(r, p, &format);
	if (rc)
		return rc;
	if (!format) {
		split_origin_id(p->info.super.origin_id, id, recorded);
		if (given(r, "chunk-size") && p->info.super.chunk_blocks != chunk_blocks)
			return refuse(EINVAL, "%s: is this volume's diff area already, with another chunk size",
				      p->area_arg);
		if (given(r, "volatile") &&
		    !(p->info.super.flags & DMS_SUPER_VOLATILE))
			return refuse(EINVAL, "%s: is this volume's diff area already, and not volatile",
				      p->area_arg);
		if (given(r, "name") && *recorded && strcmp(recorded, option(r, "name")))
			warn("%s: the name counts until the next activation, the diff area has %s recorded",
			     option(r, "name"), recorded);
		p->super = p->info.super;
		return choose_name(r, id, recorded, p);
	}
	snprintf(id, sizeof(id), "%s", p->ids.count ? p->ids.id[0] : "unknown");
	if (!p->ids.count)
		warn("%s: has nothing to know it again by, activate will need an attach",
		     p->origin_path);
	rc = choose_name(r, id, "", p);
	if (!rc && p->info.state != AREA_BLANK) {
		char text[128] = "is the diff area of another volume";

		if (p->info.state != AREA_VALID)
			area_state_text(&p->info, text, sizeof(text));
		rc = confirm(given(r, "force"), "%s %s: overwrite it", p->area_arg, text);
	}
	if (!rc)
		rc = module_load();	/* before anything is written */
	if (!rc)
		rc = format_area(r, chunk_blocks, id, p);
	return rc;
}

static int run_attach(const struct request *r)
{
	struct plan p = { .loop_fd = -1 };
	struct activation a = { 0 };
	auto_close int lock = -1;
	bool active = false;
	u32 chunk_blocks;
	char uuid[37];
	int rc;

	rc = parse_chunk_size(r, &chunk_blocks);
	if (!rc && given(r, "name"))
		rc = check_name(option(r, "name"), "");
	if (!rc)
		rc = lock_all(&lock);
	if (!rc)
		rc = find_origin(r->args[0], &p);
	if (!rc)
		rc = find_area(r, chunk_blocks, &p);
	if (!rc)
		rc = prepare_area(r, chunk_blocks, &p);
	if (!rc) {
		a = (struct activation) { .origin = p.origin, .area = p.area,
					  .super = &p.super, .name = p.name };
		rc = activate_volume(&a, &active);
	}
	if (active) {
		char *const uuids[] = { uuid };

		area_uuid_text(p.super.uuid, uuid);
		if (p.is_file)
			registry_add(uuid, r->args[1]);
		rc = first_error(rc, settle_active());
		rc = first_error(rc, print_activated(uuids, 1));
	} else if (p.made_file) {
		unlink(r->args[1]);
	}
	if (p.loop_fd >= 0)
		close(p.loop_fd);
	free(p.origin_path);
	free(p.area_path);
	return rc;
}

const struct command cmd_attach = {
	"attach", "VOLUME DIFF-AREA", 2, 2, "protect a volume, with a device or file for its diff area",
	attach_options, run_attach
};

/* --- detach --- */

static const struct cmd_option detach_options[] = {
	{ "delete-copies", 0, NULL, "give up the shadow copies that there are" },
	{ "force", 0, NULL, "do not ask" },
	{ NULL, 0, NULL, NULL }
};

/* Not to be found by activate again. */
static int erase_area(const char *path)
{
	static const char zeros[DMS_RESERVED_BLOCKS * DMS_BLOCK_SIZE];
	auto_close int fd = -1;
	int tries;

	/* Its last user, device-mapper, may be letting go of it just now. */
	for (tries = 0; tries < 20; tries++) {
		fd = open(path, O_RDWR | O_EXCL | O_CLOEXEC);
		if (fd >= 0 || errno != EBUSY)
			break;
		usleep(100000);
	}
	if (fd < 0)
		return -errno;
	return write_all(fd, zeros, sizeof(zeros), 0) ?: fsync(fd) ? -errno : 0;
}

static int run_detach(const struct request *r)
{
	auto_free char *file = NULL, *area = NULL;
	struct volumes all = { 0 };
	auto_close int lock = -1;
	struct volume *v;
	size_t k;
	int rc;

	rc = lock_all(&lock);
	if (!rc)
		rc = volumes_load(&all);
	if (!rc)
		rc = volumes_get(&all, r->args[0], &v);
	if (!rc)
		rc = volumes_lock(&v, 1);
	if (rc)
		goto out;
	if (v->nr_copies && !given(r, "delete-copies")) {
		rc = refuse(EBUSY, "%s: has %zu shadow copies, detach --delete-copies gives them up; deactivate keeps them",
			    v->node.name, v->nr_copies);
		goto out;
	}
	for (k = 0; !rc && k < v->nr_copies; k++)
		rc = copy_check_lock(&v->copies[k]);
	if (!rc && v->status.merge_id)
		rc = refuse(EBUSY, "%s: a merge is under way, without it the volume is neither old nor new",
			    v->node.name);
	if (!rc && v->nr_copies)
		rc = confirm(given(r, "force"), "%s: detach and lose its %zu shadow copies",
			     v->node.name, v->nr_copies);
	if (rc)
		goto out;
	file = loop_file(v->area);
	area = file ? strdup(file) : device_path(v->area);
	rc = area ? deactivate_volume(v) : -ENOMEM;
	if (rc)
		goto out;
	rc = erase_area(area);
	if (rc)
		refuse(-rc, "%s: is no longer active, but the diff area on %s could not be erased: %s",
		       v->node.name, area, strerror(-rc));
	registry_remove(v->uuid);
	if (file && !rc)
		inform("%s: is of no use any more and can be removed", file);
out:
	volumes_free(&all);
	return rc;
}

const struct command cmd_detach = {
	"detach", "VOLUME", 1, 1, "end the protection of a volume", detach_options, run_detach
};
