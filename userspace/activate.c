// SPDX-License-Identifier: GPL-2.0-or-later
/* From a diff area and an origin to nodes, and back: see activate.h. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "activate.h"
#include "ntfs.h"
#include "output.h"
#include "util.h"

#define STATE_DIR "/var/lib/shadowctl"
#define MAX_PRINTS 64

/* --- names --- */

void split_origin_id(const char *origin_id, char ret_id[64], char ret_name[64])
{
	const char *blank = strchr(origin_id, ' ');
	size_t len = blank ? (size_t)(blank - origin_id) : strlen(origin_id);

	snprintf(ret_id, 64, "%.*s", (int)(len < 63 ? len : 63), origin_id);
	snprintf(ret_name, 64, "%s", blank ? blank + 1 : "");
}

static bool plain_name(const char *name)
{
	const char *p;

	for (p = name; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("_.+-", *p))
			return false;
	return *name && *name != '-' && *name != '.';
}

int check_name(const char *name, const char *id)
{
	size_t room = 62 - strlen(id);

	if (!plain_name(name))
		return refuse(EINVAL, "%s: a name has letters, digits and _.+- only", name);
	if (strlen(name) > room)
		return refuse(EINVAL, "%s: name is too long, there is room for %zu characters",
			      name, room);
	return 0;
}

char *default_name(dev_t origin, const char *id)
{
	auto_free char *path = device_path(origin);
	const char *base = path ? strrchr(path, '/') : NULL;
	char *name = base ? format_string("shadow-%s", base + 1) : NULL;
	size_t room = 62 - strlen(id);
	char *p;

	for (p = name; p && *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("_.+-", *p))
			*p = '_';
	if (name && strlen(name) > room)
		name[room] = 0;
	return name;
}

/* --- hints --- */

static const char *state_dir(void)
{
	const char *dir = getenv("SHADOWCTL_STATE_DIR");

	return dir && *dir ? dir : STATE_DIR;
}

void registry_add(const char *uuid, const char *file)
{
	auto_free char *dir = format_string("%s/areas", state_dir());
	auto_free char *link = dir ? format_string("%s/%s", dir, uuid) : NULL;
	auto_free char *temp = link ? format_string("%s.new", link) : NULL;
	auto_free char *full = realpath(file, NULL);

	if (!temp || !full)
		return;
	mkdir(state_dir(), 0755);
	mkdir(dir, 0755);
	unlink(temp);
	if (symlink(full, temp) || rename(temp, link))
		warn("%s: cannot be written (%s), activate will not find the diff area in %s by itself",
		     link, strerror(errno), full);
}

void registry_remove(const char *uuid)
{
	auto_free char *link = format_string("%s/areas/%s", state_dir(), uuid);

	if (link)
		unlink(link);
}

struct area_list {
	struct area_source *list;
	size_t count;
};

static int add_area(struct area_list *a, const char *path, bool is_file,
		    const struct area_info *info)
{
	struct area_source *more;
	size_t i;

	for (i = 0; i < a->count; i++)
		if (!memcmp(a->list[i].info.super.uuid, info->super.uuid, 16))
			return 0;
	more = realloc(a->list, (a->count + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	a->list = more;
	more[a->count] = (struct area_source) { .path = strdup(path), .is_file = is_file,
						.info = *info };
	if (!more[a->count].path)
		return -ENOMEM;
	a->count++;
	return 0;
}

static int add_scanned(void *context, const char *path, const struct area_info *info)
{
	return add_area(context, path, false, info);
}

static int add_registered(struct area_list *a)
{
	auto_free char *dir = format_string("%s/areas", state_dir());
	DIR *d = dir ? opendir(dir) : NULL;
	struct area_info info;
	struct dirent *e;
	int rc = 0;

	while (d && !rc && (e = readdir(d))) {
		auto_free char *link = NULL, *file = NULL;
		char uuid[37];

		if (!is_uuid(e->d_name))
			continue;
		link = format_string("%s/%s", dir, e->d_name);
		file = link ? realpath(link, NULL) : NULL;
		if (!file || area_probe(file, &info)) {
			chat("%s: the diff area's file is not there", e->d_name);
			continue;
		}
		if (info.state != AREA_VALID && info.state != AREA_TRUNCATED)
			continue;
		area_uuid_text(info.super.uuid, uuid);
		if (!strcmp(uuid, e->d_name))
			rc = add_area(a, file, true, &info);
	}
	if (d)
		closedir(d);
	return rc;
}

int find_areas(struct area_source **ret, size_t *ret_count)
{
	struct area_list a = { 0 };
	int rc;

	rc = area_scan(add_scanned, &a);
	if (!rc)
		rc = add_registered(&a);
	if (rc) {
		free_areas(a.list, a.count);
		return refuse(-rc, "cannot look for diff areas: %s", strerror(-rc));
	}
	*ret = a.list;
	*ret_count = a.count;
	return 0;
}

void free_areas(struct area_source *list, size_t count)
{
	while (count)
		free(list[--count].path);
	free(list);
}

/* --- activation --- */

/* Which blocks tell whether somebody else wrote to the volume. */
static void send_fingerprint(const struct volume *v)
{
	auto_free char *path = device_path(v->node.dev), *text = NULL;
	uint64_t blocks[MAX_PRINTS];
	int i, n;

	n = path ? ntfs_fingerprint_blocks(path, blocks, MAX_PRINTS) : 0;
	for (i = 0; i < n; i++) {
		char *more = format_string("%s %" PRIu64, text ? text : "", blocks[i]);

		free(text);
		text = more;
		if (!text)
			return;
	}
	if (n > 0 && node_message(v->node.name, NULL, "fingerprint%s", text))
		chat("%s: no fingerprint: %s", v->node.name, node_why());
}

void warn_not_grown(const struct volume *v)
{
	warn("%s: has grown; the larger size is taken by activate or storage resize when the merge is over",
	     v->node.name);
}

int show_copies(const struct volume *v)
{
	int rc, first = 0;
	size_t k;

	for (k = 0; k < v->nr_copies; k++) {
		if (v->copies[k].invalid || v->copies[k].preparing)
			continue;
		rc = copy_show(&v->copies[k], NULL);
		first = first_error(first, rc);
	}
	return first;
}

/* The node exists: everything else that belongs to an active volume. */
static int complete_activation(const struct activation *a, struct volume *v)
{
	int rc, first = 0;

	rc = volumes_lock(&v, 1);
	if (rc)
		return rc;
	if (a->trust) {
		first = node_message(v->node.name, NULL, "trust");
		if (first)
			refuse(-first, "%s: copies not trusted: %s", v->node.name, node_why());
		else
			first = volume_refresh(v);
	} else if (!strcmp(v->status.found, "changed")) {
		warn("%s: the volume was written while it was not active, its copies are suspect; activate --trust if you know better",
		     v->node.name);
	}
	if (device_sectors(v->origin) > v->sectors)
		warn_not_grown(v);
	else if (v->sectors > a->super->origin_sectors)
		first = first_error(first, volume_record_size(v));
	if (v->status.mode != VOLUME_RW)
		warn("%s: the diff area is read-only, no copies can be taken", v->node.name);
	send_fingerprint(v);
	return first_error(first, show_copies(v));
}

int activate_volume(const struct activation *a, bool *ret_active)
{
	auto_free char *origin = device_path(a->origin), *area = device_path(a->area);
	char uuid[37], node_uuid[NODE_UUID_SIZE], params[64];
	uint64_t sectors = device_sectors(a->origin);
	struct area_info info;
	struct volumes all;
	struct volume *v;
	struct node node;
	int rc;

	*ret_active = false;
	if (!origin || !area)
		return -ENOMEM;
	area_uuid_text(a->super->uuid, uuid);
	if (sectors < a->super->origin_sectors)
		return refuse(ESTALE, "%s: has %" PRIu64 " sectors, its diff area on %s is for %" PRIu64 ", not activated",
			      origin, sectors, area, (uint64_t)a->super->origin_sectors);
	snprintf(node_uuid, sizeof(node_uuid), NODE_PREFIX "%s", uuid);
	node_remove_half_made(node_uuid);
	if (!node_info(a->name, &node))
		return refuse(EEXIST, "%s: a device of that name exists already", a->name);
	rc = module_load();
	if (rc)
		return rc;
	snprintf(params, sizeof(params), "%u:%u %u:%u", major(a->origin), minor(a->origin),
		 major(a->area), minor(a->area));
	rc = node_create(a->name, node_uuid, sectors, TARGET_ORIGIN, params, 0);
	/* With a merge under way it does not take a larger size than it has recorded by now. */
	if (rc == -EBUSY && !area_probe(area, &info) && sectors > info.super.origin_sectors)
		rc = node_create(a->name, node_uuid, info.super.origin_sectors, TARGET_ORIGIN,
				 params, 0);
	if (rc)
		return refuse(-rc, "%s: not activated with the diff area %s: %s", origin, area,
			      node_why());
	rc = volumes_load(&all);
	if (!rc) {
		v = volumes_find(&all, uuid);
		*ret_active = v;
		if (!v)
			rc = refuse(EPROTONOSUPPORT, "%s: not activated, its state cannot be understood",
				    a->name);
		else
			rc = complete_activation(a, v);
		volumes_free(&all);
	}
	if (!*ret_active)
		node_remove(a->name);
	return rc;
}

static bool has_preparing(const struct volume *v)
{
	size_t k;

	for (k = 0; k < v->nr_copies; k++)
		if (v->copies[k].preparing)
			return true;
	return false;
}

int settle_active(void)
{
	auto_free struct volume **list = NULL;
	struct volumes all;
	size_t count = 0, i;
	int rc;

	rc = volumes_load(&all);
	if (rc)
		return rc;
	list = calloc(all.count + 1, sizeof(*list));
	for (i = 0; list && i < all.count; i++)
		if (has_preparing(&all.list[i]))
			list[count++] = &all.list[i];
	rc = list ? volumes_lock(list, count) : -ENOMEM;
	if (!rc)
		rc = volumes_settle(&all, list, count);
	for (i = 0; !rc && i < count; i++)
		rc = show_copies(list[i]);
	volumes_free(&all);
	return rc;
}

int deactivate_volume(struct volume *v)
{
	auto_free char *mount = device_mounted_on(v->node.dev);
	size_t k, shown;
	int rc = 0;

	if (mount)
		return refuse(EBUSY, "%s: is mounted on %s, unmount it first", v->node.name, mount);
	if (v->node.opens) {
		struct node node;
		size_t opens = 0;

		/* udev opens things for a moment: ask again. */
		for (int tries = 0; tries < 10; tries++) {
			opens = node_info(v->node.name, &node) ? 0 : node.opens;
			if (!opens)
				break;
			usleep(100000);
		}
		if (opens)
			return refuse(EBUSY, "%s: is in use", v->node.name);
	}
	for (k = 0; k < v->nr_copies; k++) {
		auto_free char *where = copy_mounted_on(&v->copies[k]);

		if (where)
			return refuse(EBUSY, "%s@%u: is mounted on %s, unmount it first",
				      v->node.name, v->copies[k].id, where);
	}
	for (shown = 0; !rc && shown < v->nr_copies; shown++)
		rc = copy_hide(&v->copies[shown]);
	if (!rc) {
		send_fingerprint(v);
		rc = node_remove(v->node.name);
		if (!rc)
			return 0;
		refuse(-rc, "%s: stays active: %s", v->node.name, node_why());
	}
	while (shown)
		if (!v->copies[--shown].invalid)
			copy_show(&v->copies[shown], NULL);
	return rc;
}

enum { F_VOLUME, F_DEVICE, F_ORIGIN, F_AREA, F_UUID, F_COPIES };

static const struct field fields[] = {
	[F_VOLUME] = { "volume", "Volume", FIELD_TEXT, 0 },
	[F_DEVICE] = { "device", "Device", FIELD_TEXT, 0 },
	[F_ORIGIN] = { "origin", "Origin", FIELD_TEXT, 0 },
	[F_AREA] = { "area", "Diff area", FIELD_TEXT, 0 },
	[F_UUID] = { "uuid", "UUID", FIELD_TEXT, 0 },
	[F_COPIES] = { "copies", "Copies", FIELD_NUMBER, 0 },
};

int print_activated(char *const uuids[], size_t count)
{
	struct volumes all;
	struct output *o;
	size_t i;
	int rc;

	rc = volumes_load(&all);
	if (rc)
		return rc;
	o = output_new("volumes", fields, ARRAY_SIZE(fields), OUTPUT_BLOCKS);
	for (i = 0; i < count; i++) {
		struct volume *v = volumes_find(&all, uuids[i]);
		auto_free char *device = NULL, *origin = NULL, *area = NULL;

		if (!v)
			continue;
		device = device_path(v->node.dev);
		origin = device_path(v->origin);
		if (output_format == FORMAT_TEXT) {
			puts(device);
			continue;
		}
		area = loop_file(v->area) ?: device_path(v->area);
		output_record(o);
		output_text(o, F_VOLUME, v->node.name);
		output_text(o, F_DEVICE, device);
		output_text(o, F_ORIGIN, origin);
		output_text(o, F_AREA, area);
		output_text(o, F_UUID, v->uuid);
		output_number(o, F_COPIES, v->nr_copies);
	}
	rc = output_print(o);
	volumes_free(&all);
	return rc;
}
