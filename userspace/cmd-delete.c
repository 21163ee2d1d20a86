// SPDX-License-Identifier: GPL-2.0-or-later
/* delete, rename, lock, unlock. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cmd.h"
#include "output.h"
#include "volume.h"

static const struct cmd_option delete_options[] = {
	{ "oldest", 0, NULL, "the oldest copy of each VOLUME given instead" },
	{ "all", 0, NULL, "all copies of each VOLUME given instead" },
	{ "force", 0, NULL, "do not ask" },
	{ NULL, 0, NULL, NULL }
};

/* A copy by number: pointers do not outlive a refresh. */
struct target {
	struct volume *volume;
	uint32_t id;
};

struct targets {
	size_t count, room;
	struct target *list;
};

static int add_target(struct targets *t, const struct copy *c)
{
	size_t i;

	for (i = 0; i < t->count; i++)
		if (t->list[i].volume == c->volume && t->list[i].id == c->id)
			return 0;
	if (t->count == t->room) {
		size_t room = t->room ? 2 * t->room : 16;
		struct target *more = realloc(t->list, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		t->list = more;
		t->room = room;
	}
	t->list[t->count++] = (struct target) { c->volume, c->id };
	return 0;
}

static int add_volume(struct targets *t, const struct volumes *all, const char *spec, bool oldest)
{
	struct volume *v;
	size_t k;
	int rc;

	rc = volumes_get(all, spec, &v);
	if (!rc && oldest && !v->nr_copies)
		return refuse(ENOENT, "%s: has no shadow copies", v->node.name);
	for (k = 0; !rc && k < v->nr_copies && !(oldest && k); k++)
		rc = add_target(t, &v->copies[k]);
	return rc;
}

/* A copy, or all members of a set. */
static int add_spec(struct targets *t, const struct volumes *all, const char *spec)
{
	bool found = false;
	struct copy *c;
	size_t i, k;
	int rc = 0;

	for (i = 0; i < all->count; i++) {
		for (k = 0; !rc && k < all->list[i].nr_copies; k++) {
			if (strcasecmp(all->list[i].copies[k].set, spec))
				continue;
			found = true;
			rc = add_target(t, &all->list[i].copies[k]);
		}
	}
	if (rc || found)
		return rc;
	rc = volumes_get_copy(all, spec, &c);
	return rc ? rc : add_target(t, c);
}

static int lock_targets(const struct volumes *all, const struct targets *t)
{
	auto_free struct volume **list = calloc(all->count + 1, sizeof(*list));
	size_t i, k, count = 0;

	if (!list)
		return -ENOMEM;
	for (i = 0; i < all->count; i++) {
		for (k = 0; k < t->count; k++) {
			if (t->list[k].volume == &all->list[i]) {
				list[count++] = &all->list[i];
				break;
			}
		}
	}
	return volumes_lock(list, count);
}

static int check_target(const struct target *t)
{
	struct copy *c = volume_copy(t->volume, t->id);
	auto_free char *mount = NULL;

	if (!c)
		return 0;		/* gone meanwhile, which is what is wanted */
	mount = copy_mounted_on(c);
	if (mount)
		return refuse(EBUSY, "%s@%u: is mounted on %s, unmount it first",
			      t->volume->node.name, t->id, mount);
	if (c->merging)
		return refuse(EBUSY, "%s@%u: is being merged", t->volume->node.name, t->id);
	return copy_check_lock(c);
}

static int delete_target(const struct target *t)
{
	struct copy *c = volume_copy(t->volume, t->id);
	int rc;

	if (!c)
		return 0;
	rc = copy_hide(c);
	if (rc)
		return rc;
	rc = node_message(t->volume->node.name, NULL, "delete %u", t->id);
	if (!rc)
		return 0;
	refuse(-rc, "%s@%u: is not deleted: %s", t->volume->node.name, t->id, node_why());
	if (!c->invalid && !c->preparing)
		copy_show(c, NULL);
	return rc;
}

static int confirm_delete(const struct request *r, const struct targets *t)
{
	if (t->count == 1)
		return confirm(given(r, "force"), "delete %s@%u", t->list[0].volume->node.name,
			       t->list[0].id);
	return confirm(given(r, "force"), "delete %zu shadow copies", t->count);
}

static int run_delete(const struct request *r)
{
	struct volumes all = { 0 };
	struct targets t = { 0 };
	size_t k;
	int rc, i, first = 0;

	if (given(r, "oldest") && given(r, "all"))
		return refuse(EINVAL, "either --oldest or --all");
	rc = volumes_load(&all);
	for (i = 0; !rc && i < r->nr_args; i++) {
		if (given(r, "oldest") || given(r, "all"))
			rc = add_volume(&t, &all, r->args[i], given(r, "oldest"));
		else
			rc = add_spec(&t, &all, r->args[i]);
	}
	if (!rc)
		rc = lock_targets(&all, &t);
	/* All or nothing, as far as it can be known beforehand */
	for (k = 0; !rc && k < t.count; k++)
		rc = check_target(&t.list[k]);
	if (!rc && t.count)
		rc = confirm_delete(r, &t);
	for (k = 0; !rc && k < t.count; k++)
		first = first_error(first, delete_target(&t.list[k]));
	free(t.list);
	volumes_free(&all);
	return first_error(rc, first);
}

const struct command cmd_delete = {
	"delete", "COPY|SET...", 1, CMD_ANY_NUMBER, "delete shadow copies, in any order",
	delete_options, run_delete
};

/* --- one copy at a time --- */

/* The copy @spec, its volume locked. */
static int get_locked(struct volumes *all, const char *spec, struct copy **ret)
{
	struct volume *v;
	struct copy *c;
	uint32_t id;
	int rc;

	rc = volumes_load(all);
	if (!rc)
		rc = volumes_get_copy(all, spec, &c);
	if (rc)
		return rc;
	v = c->volume;
	id = c->id;
	rc = volumes_lock(&v, 1);
	if (rc)
		return rc;
	c = volume_copy(v, id);
	if (!c)
		return refuse(ENOENT, "%s: there is no such copy", spec);
	*ret = c;
	return 0;
}

static int run_rename(const struct request *r)
{
	struct volumes all = { 0 };
	struct copy *c;
	int rc;

	rc = get_locked(&all, r->args[0], &c);
	if (!rc) {
		if (!c->attr.json)
			attr_init(&c->attr);
		attr_set_text(&c->attr, ATTR_NAME, r->args[1]);
		rc = copy_set_attr(c);
	}
	volumes_free(&all);
	return rc;
}

const struct command cmd_rename = {
	"rename", "COPY NAME", 2, 2, "give a shadow copy another name", NULL, run_rename
};

static int set_lock(const char *spec, uint64_t until)
{
	struct volumes all = { 0 };
	struct copy *c;
	int rc;

	rc = get_locked(&all, spec, &c);
	if (!rc) {
		rc = node_message(c->volume->node.name, NULL, "lock %u %" PRIu64, c->id, until);
		if (rc)
			refuse(-rc, "%s: its lock is as it was: %s", spec, node_why());
	}
	volumes_free(&all);
	return rc;
}

static int run_lock(const struct request *r)
{
	uint64_t until;

	if (parse_time(r->args[1], &until) || until <= (uint64_t)time(NULL))
		return refuse(EINVAL, "%s: is no time to come", r->args[1]);
	return set_lock(r->args[0], until);
}

const struct command cmd_lock = {
	"lock", "COPY TIME", 2, 2, "refuse to delete or drop a shadow copy until then", NULL, run_lock
};

static int run_unlock(const struct request *r)
{
	return set_lock(r->args[0], 0);
}

const struct command cmd_unlock = {
	"unlock", "COPY", 1, 1, "allow deletion again", NULL, run_unlock
};
