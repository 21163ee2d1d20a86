// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Sets whose creation was cut short: all members or none.
 *
 * create makes every member "preparing" while all volumes are held, and commits
 * them one by one afterwards.  Whoever finds a preparing member and has the lock
 * of its diff area knows that its maker is gone, for a maker holds the locks of
 * the whole set.  If any member was committed, all had been made: commit the
 * rest.  If none was, nobody was told of the set: delete them.  To know that
 * none was, each area of the set must be looked at; every member names them all.
 */
#include <errno.h>
#include <string.h>

#include "area.h"
#include "device.h"
#include "util.h"
#include "volume.h"

#define AREA_PREFIX 8		/* characters of an area's uuid in ATTR_AREAS */

enum fate { FATE_COMMIT, FATE_DELETE, FATE_UNKNOWN };

static bool committed_in(const struct volume *v, const char *set)
{
	size_t k;

	for (k = 0; k < v->nr_copies; k++)
		if (!strcmp(v->copies[k].set, set) && !v->copies[k].preparing)
			return true;
	return false;
}

struct search {
	const char *prefix;
	u8 set[16];
	bool found, committed;
};

/* An inactive area: is it the one, and is its member of the set committed? */
static int look_offline(void *context, const char *path, const struct area_info *info)
{
	struct search *s = context;
	struct area_copies copies;
	char uuid[37];
	u32 i;

	area_uuid_text(info->super.uuid, uuid);
	if (strncmp(uuid, s->prefix, AREA_PREFIX) || area_read_copies(path, &copies))
		return 0;
	s->found = true;
	for (i = 0; i < copies.count; i++)
		if (!memcmp(copies.copies[i].set_uuid, s->set, 16) &&
		    !(copies.copies[i].flags & DMS_SHADOW_PREPARING))
			s->committed = true;
	area_copies_free(&copies);
	return 1;
}

static enum fate fate_of(const struct volumes *all, const struct copy *c)
{
	auto_free char *areas = copy_string(attr_text(&c->attr, ATTR_AREAS));
	char *prefix, *rest = areas;
	enum fate fate = FATE_DELETE;
	size_t i;

	while (rest && (prefix = strsep(&rest, ","))) {
		struct search s = { .prefix = prefix };
		struct volume *v = NULL;

		if (strlen(prefix) != AREA_PREFIX)
			continue;
		for (i = 0; i < all->count && !v; i++)
			if (!strncmp(all->list[i].uuid, prefix, AREA_PREFIX))
				v = &all->list[i];
		if (v) {
			/* What we loaded before we had the lock may be old. */
			if (v != c->volume && v->lock < 0 && volume_refresh(v))
				fate = FATE_UNKNOWN;
			if (committed_in(v, c->set))
				return FATE_COMMIT;
			continue;
		}
		if (area_uuid_parse(c->set, s.set))
			continue;
		area_scan(look_offline, &s);
		if (s.committed)
			return FATE_COMMIT;
		if (!s.found)
			fate = FATE_UNKNOWN;
	}
	return fate;
}

static int settle_copy(struct volume *v, struct copy *c, enum fate fate)
{
	int rc;

	if (fate == FATE_DELETE) {
		rc = copy_hide(c);
		if (rc)
			return rc;
	}
	rc = node_message(v->node.name, NULL, "%s %u",
			  fate == FATE_COMMIT ? "commit" : "delete", c->id);
	if (rc)
		return refuse(-rc, "%s@%u: its creation was interrupted, and it can be neither completed nor deleted: %s",
			      v->node.name, c->id, node_why());
	inform(fate == FATE_COMMIT ?
	       "%s@%u: its creation was interrupted, it is complete now" :
	       "%s@%u: its creation was interrupted, what there was of it is deleted",
	       v->node.name, c->id);
	return 0;
}

int volumes_settle(const struct volumes *all, struct volume **list, size_t count)
{
	int rc, first = 0;
	size_t i, k;

	for (i = 0; i < count; i++) {
		bool changed = false;

		for (k = 0; k < list[i]->nr_copies; k++) {
			struct copy *c = &list[i]->copies[k];
			enum fate fate;

			if (!c->preparing)
				continue;
			fate = fate_of(all, c);
			if (fate == FATE_UNKNOWN) {
				warn("%s@%u: its creation was interrupted, other volumes of the set are not there to tell whether it counts",
				     list[i]->node.name, c->id);
				continue;
			}
			rc = settle_copy(list[i], c, fate);
			first = first_error(first, rc);
			changed = true;
		}
		rc = changed ? volume_refresh(list[i]) : 0;
		first = first_error(first, rc);
	}
	return first;
}
