// SPDX-License-Identifier: GPL-2.0-or-later
/* activate, deactivate: after a boot from what is in the diff areas, and back. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "activate.h"
#include "cmd.h"

static const struct cmd_option activate_options[] = {
	{ "all", 0, NULL, "all volumes whose diff area is found, as without VOLUME" },
	{ "trust", 0, NULL, "take the suspect mark off the copies of a volume that was written meanwhile" },
	{ NULL, 0, NULL, NULL }
};

struct device {
	dev_t dev;
	struct identities ids;
};

struct machine {
	size_t nr_devices, nr_areas;
	struct device *devices;		/* those that may be origins */
	struct area_source *areas;
	struct volumes active;
};

static void free_machine(struct machine *m)
{
	free(m->devices);
	free_areas(m->areas, m->nr_areas);
	volumes_free(&m->active);
}

/* Is @dev one of our nodes, or built on one? */
static bool is_ours(const struct volumes *active, dev_t dev)
{
	size_t i;

	if (device_is_node(dev, NODE_PREFIX))
		return true;
	for (i = 0; i < active->count; i++)
		if (device_depends(dev, active->list[i].node.dev))
			return true;
	return false;
}

static int look_around(struct machine *m)
{
	auto_free dev_t *list = NULL;
	size_t count, i;
	int rc;

	rc = volumes_load(&m->active);
	if (!rc)
		rc = find_areas(&m->areas, &m->nr_areas);
	if (rc)
		return rc;
	if (!m->nr_areas)
		return 0;
	rc = device_list(&list, &count);
	if (rc)
		return refuse(-rc, "no list of block devices: %s", strerror(-rc));
	m->devices = calloc(count + 1, sizeof(*m->devices));
	if (!m->devices)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		struct device *d = &m->devices[m->nr_devices];
		auto_free char *name = NULL;

		if (is_ours(&m->active, list[i]))
			continue;
		name = device_kernel_name(list[i]);
		if (!name)
			continue;
		if (area_device_suspended(name)) {
			auto_free char *path = device_path(list[i]);

			inform("%s: is suspended, not looked at", path);
			continue;
		}
		d->dev = list[i];
		device_identities(d->dev, &d->ids);
		m->nr_devices++;
	}
	return 0;
}

static bool device_has(const struct machine *m, dev_t dev, const char *id)
{
	size_t i;

	for (i = 0; i < m->nr_devices; i++)
		if (m->devices[i].dev == dev)
			return identities_have(&m->devices[i].ids, id);
	return false;
}

/* The one device that the area's superblock means. */
static int find_origin(const struct machine *m, const struct area_source *area, const char *id,
		       dev_t *ret)
{
	const struct device *found = NULL;
	size_t i;

	for (i = 0; i < m->nr_devices; i++) {
		const struct device *d = &m->devices[i];

		if (!identities_have(&d->ids, id) ||
		    device_sectors(d->dev) < area->info.super.origin_sectors)
			continue;
		/* Of a multipath device and its paths, the one on top. */
		if (!found || device_depends(d->dev, found->dev)) {
			found = d;
		} else if (!device_depends(found->dev, d->dev)) {
			auto_free char *a = device_path(found->dev), *b = device_path(d->dev);

			return refuse(EEXIST, "%s: %s and %s both look like its volume (%s), attach the right one yourself",
				      area->path, a, b, id);
		}
	}
	if (!found)
		return refuse(ENODEV, "%s: the volume of this diff area (%s) is not there",
			      area->path, *id ? id : "unknown");
	*ret = found->dev;
	return 0;
}

/* Does @spec, what the user called it, mean this area? */
static bool is_meant(const struct area_source *area, const char *name, const char *uuid,
		     dev_t origin, const char *spec)
{
	struct stat a, b;

	if (!strcmp(spec, name) || !strcasecmp(spec, uuid))
		return true;
	if (stat(spec, &a))
		return false;
	if (S_ISBLK(a.st_mode) && a.st_rdev == origin)
		return true;
	return !stat(area->path, &b) && (S_ISBLK(a.st_mode) ? S_ISBLK(b.st_mode) &&
	       a.st_rdev == b.st_rdev : a.st_dev == b.st_dev && a.st_ino == b.st_ino);
}

/* What an active volume may want: grown devices, copies not shown, trust. */
static int freshen(struct volume *v, bool trust)
{
	uint64_t sectors = device_sectors(v->origin);
	int rc = 0;

	if (volumes_lock(&v, 1))
		return -EBUSY;
	if (trust) {
		rc = node_message(v->node.name, NULL, "trust");
		if (rc)
			return refuse(-rc, "%s: copies not trusted: %s", v->node.name, node_why());
	}
	if (sectors > v->sectors && v->status.merge_id)
		warn_not_grown(v);
	else
		rc = volume_grow(v);
	return first_error(rc, show_copies(v));
}

/* -errno also for what is not quite right with a volume that is active now. */
static int activate_area(const struct machine *m, const struct area_source *area,
			 const char *spec, bool trust, bool *ret_active)
{
	char uuid[37], id[64], name[64];
	auto_free char *derived = NULL;
	struct activation a;
	dev_t origin = 0;
	int rc, loop_fd = -1;

	*ret_active = false;
	area_uuid_text(area->info.super.uuid, uuid);
	split_origin_id(area->info.super.origin_id, id, name);
	if (volumes_find(&m->active, uuid))
		return 0;
	if (spec && !is_meant(area, name, uuid, 0, spec)) {
		/* Perhaps by its volume, if that is there. */
		dev_t dev;

		if (device_number(spec, &dev) || !device_has(m, dev, id))
			return 0;
	}
	if (area->info.state == AREA_TRUNCATED)
		return refuse(EUCLEAN, "%s: is shorter than its diff area, not activated", area->path);
	rc = find_origin(m, area, id, &origin);
	if (rc)
		return rc;
	if (spec && !is_meant(area, name, uuid, origin, spec))
		return 0;
	if (!*name) {
		derived = default_name(origin, id);
		snprintf(name, sizeof(name), "%s", derived ?: "shadow");
	}
	a = (struct activation) { .origin = origin, .super = &area->info.super, .name = name,
				  .trust = trust };
	if (area->is_file)
		rc = loop_attach(area->path, &a.area, &loop_fd);
	else
		rc = device_number(area->path, &a.area);
	if (rc)
		return refuse(-rc, "%s: %s", area->path, strerror(-rc));
	rc = device_claim_check(origin);
	if (!rc)
		rc = device_claim_check(a.area);
	if (!rc)
		rc = activate_volume(&a, ret_active);
	if (loop_fd >= 0)
		close(loop_fd);
	return rc;
}

static int run_activate(const struct request *r)
{
	auto_close int lock = -1;
	auto_free char **done = NULL;
	const char *spec = r->nr_args ? r->args[0] : NULL;
	struct machine m = { 0 };
	size_t i, count = 0;
	int rc, first;

	if (spec && given(r, "all"))
		return refuse(EINVAL, "either a VOLUME or --all");
	rc = lock_all(&lock);
	if (!rc)
		rc = look_around(&m);
	if (rc)
		goto out;
	first = 0;
	done = calloc(m.nr_areas + m.active.count + 1, sizeof(*done));
	if (!done) {
		rc = -ENOMEM;
		goto out;
	}
	for (i = 0; i < m.active.count; i++) {
		if (spec && volumes_find(&m.active, spec) != &m.active.list[i])
			continue;
		rc = freshen(&m.active.list[i], given(r, "trust"));
		first = first_error(first, rc);
		close(m.active.list[i].lock);
		m.active.list[i].lock = -1;
		done[count++] = strdup(m.active.list[i].uuid);
	}
	for (i = 0; i < m.nr_areas && !(spec && count); i++) {
		char uuid[37];
		bool active;

		rc = activate_area(&m, &m.areas[i], spec, given(r, "trust"), &active);
		first = first_error(first, rc);
		if (!active)
			continue;
		area_uuid_text(m.areas[i].info.super.uuid, uuid);
		if (m.areas[i].is_file)
			registry_add(uuid, m.areas[i].path);
		done[count++] = strdup(uuid);
	}
	first = first_error(first, settle_active());
	if (spec && !count && !first)
		first = refuse(ENODEV, "%s: no diff area of it was found", spec);
	rc = first;
	if (count || !spec)
		rc = first_error(first, print_activated(done, count));
	while (count)
		free(done[--count]);
out:
	free_machine(&m);
	return rc;
}

const struct command cmd_activate = {
	"activate", "[VOLUME]", 0, 1, "make volumes available again after a boot", activate_options,
	run_activate
};

/* --- deactivate --- */

static const struct cmd_option deactivate_options[] = {
	{ "all", 0, NULL, "all volumes" },
	{ "files", 0, NULL, "all volumes whose diff area is in a file" },
	{ NULL, 0, NULL, NULL }
};

/* What is built on another volume goes before it. */
static void order_from_top(struct volume **list, size_t count)
{
	size_t i, k;

	for (i = 0; i < count; i++) {
		for (k = i + 1; k < count; k++) {
			struct volume *swap = list[i];

			if (!device_depends(list[k]->node.dev, swap->node.dev))
				continue;
			list[i] = list[k];
			list[k] = swap;
			k = i;			/* again, for the new one */
		}
	}
}

static int deactivate_all(const struct volumes *all, bool files_only)
{
	auto_free struct volume **list = calloc(all->count + 1, sizeof(*list));
	size_t count = 0, i;
	int rc, first = 0;

	if (!list)
		return -ENOMEM;
	for (i = 0; i < all->count; i++) {
		auto_free char *file = loop_file(all->list[i].area);

		if (file || !files_only)
			list[count++] = &all->list[i];
	}
	order_from_top(list, count);
	for (i = 0; i < count; i++) {
		rc = volumes_lock(&list[i], 1);
		if (!rc)
			rc = deactivate_volume(list[i]);
		/* Others lock in another order: no two at a time. */
		close(list[i]->lock);
		list[i]->lock = -1;
		first = first_error(first, rc);
	}
	return first;
}

static int run_deactivate(const struct request *r)
{
	struct volumes all = { 0 };
	auto_close int lock = -1;
	struct volume *v;
	int rc;

	if (r->nr_args + given(r, "all") + given(r, "files") != 1)
		return refuse(EINVAL, "either a VOLUME, --all or --files");
	rc = lock_all(&lock);
	if (!rc)
		rc = volumes_load(&all);
	if (rc)
		return rc;
	if (r->nr_args) {
		rc = volumes_get(&all, r->args[0], &v);
		if (!rc)
			rc = volumes_lock(&v, 1);
		if (!rc)
			rc = deactivate_volume(v);
	} else {
		rc = deactivate_all(&all, given(r, "files"));
	}
	volumes_free(&all);
	return rc;
}

const struct command cmd_deactivate = {
	"deactivate", "[VOLUME]", 0, 1, "take the devices away, keeping all data",
	deactivate_options, run_deactivate
};
