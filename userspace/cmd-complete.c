// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * create --complete: from the instant, cmd-create.c, to a target that stands alone,
 * complete.c.
 *
 * The target is looked at before anything is taken, and the copy is taken marked as
 * unused.  The mark goes when the target has its state, which then names the copy,
 * and comes back just before the target is finished.  So a copy with the mark that
 * is met under the lock was left by a shadowctl that died, and is deleted.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <uuid/uuid.h>

#include "complete.h"
#include "create.h"
#include "device.h"
#include "output.h"

struct progress {
	struct member *m;
	bool marked;			/* the copy, as unused */
	bool begun;
	uint64_t shown_us;
};

/* The first call: the target has its state. */
static int target_begun(struct progress *s)
{
	struct volume *v = s->m->volume;
	int rc = s->marked ? copy_set_attr(s->m->copy) : 0;

	s->begun = true;
	/* What follows takes long.  The kernel keeps a copy that is open. */
	close(v->lock);
	v->lock = -1;
	return rc;
}

static int show_progress(void *context, const struct complete_progress *p)
{
	static const char *const keys[] = { "done", "total" };
	bool verifying = p->phase == COMPLETE_VERIFYING;
	struct progress *s = context;
	char done[16], total[16];
	uint64_t now = now_us();

	if (s->m->volume->lock >= 0 && target_begun(s))
		return -EIO;
	if (p->phase == COMPLETE_FINISHING) {
		if (s->m->copy->attr.json) {
			attr_set_bool(&s->m->copy->attr, ATTR_UNUSED, true);
			copy_set_attr(s->m->copy);
		}
		test_stop("finishing");
		return 0;
	}
	test_stop("copying");
	if (verbosity < 0 || (now - s->shown_us < 500000 && p->done_bytes < p->total_bytes))
		return 0;
	s->shown_us = now;
	if (output_format == FORMAT_JSON) {
		const uint64_t values[] = { p->done_bytes, p->total_bytes };

		output_event(verifying ? "verifying" : "copying", s->m->volume->node.name, keys,
			     values, 2);
	} else if (isatty(STDERR_FILENO)) {
		print_size(p->done_bytes, done);
		print_size(p->total_bytes, total);
		fprintf(stderr, "\r%s %s of %s ", verifying ? "verifying" : "copying  ", done,
			total);
		if (p->done_bytes >= p->total_bytes && verifying)
			fputc('\n', stderr);
	}
	return 0;
}

static bool same_uuid(const struct copy *copy, const u8 uuid[16])
{
	uuid_t u;

	return !uuid_parse(copy->uuid, u) && !memcmp(u, uuid, 16);
}

/*
 * A copy to TARGET that was interrupted: go on with the same shadow copy.
 * 1: @m is that, 0: there is none, begin anew.
 */
static int find_unfinished(struct creation *c, const char *target, struct member *m)
{
	const struct copy *copy, *other = NULL;
	u8 uuid[16];
	size_t i, k;
	int rc;

	rc = complete_unfinished(target, uuid);
	if (rc < 0 && rc != -ENOENT)
		return refuse(-rc, "%s", complete_why());
	if (rc <= 0)
		return 0;
	for (i = 0; i < c->all.count; i++) {
		for (k = 0; k < c->all.list[i].nr_copies; k++) {
			copy = &c->all.list[i].copies[k];
			if (same_uuid(copy, uuid) && !copy->invalid)
				other = copy;
		}
	}
	if (other && other->volume == m->volume) {
		m->copy = volume_copy(m->volume, other->id);
		m->id = other->id;
		inform("%s: going on with %s@%u", target, m->volume->node.name, m->id);
		return 1;
	}
	if (given(c->r, "force"))
		return 0;		/* stays until ours begins */
	if (other)
		return refuse(EEXIST, "%s: holds an unfinished copy of %s@%u, --force overwrites it",
			      target, other->volume->node.name, other->id);
	return refuse(EEXIST, "%s: holds an unfinished copy whose shadow copy is gone or not active, --force begins anew",
		      target);
}

/* The copy has served, or is of no use.  The lock may have been let go. */
static int delete_copy(struct volume *v, uint32_t id)
{
	struct copy *copy;
	int rc;

	rc = volumes_lock(&v, 1);
	if (!rc)
		rc = volume_refresh(v);
	copy = rc ? NULL : volume_copy(v, id);
	if (!copy)
		return rc;
	if (copy->merging)
		return refuse(EBUSY, "%s@%u: is being merged", v->node.name, id);
	rc = copy_check_lock(copy);
	if (!rc)
		rc = copy_hide(copy);
	if (rc)
		return rc;
	rc = node_message(v->node.name, NULL, "delete %u", id);
	if (!rc)
		return 0;
	refuse(-rc, "%s@%u: cannot be deleted: %s", v->node.name, id, node_why());
	if (!copy->invalid)
		copy_show(copy, NULL);
	return rc;
}

/* Left by a call that was killed, rather than in the hands of one that runs? */
static bool is_leftover(const struct copy *copy)
{
	char name[NODE_NAME_SIZE];
	struct node node;

	copy_node_name(copy, name);
	return attr_bool(&copy->attr, ATTR_UNUSED) > 0 && !copy->merging &&
	       copy->locked_until <= (uint64_t)time(NULL) &&
	       (node_info(name, &node) || !node.opens);
}

/* By calls that were killed.  That one can't be deleted is no failure. */
static void delete_leftovers(struct volume *v)
{
	uint32_t id, next = 0;
	size_t k;

	/* The list is another one after each. */
	do {
		id = next;
		next = 0;
		for (k = v->nr_copies; k; k--)
			if (v->copies[k - 1].id > id && is_leftover(&v->copies[k - 1]))
				next = v->copies[k - 1].id;
		if (next && !delete_copy(v, next))
			inform("%s@%u: left by a create --complete that was killed, deleted",
			       v->node.name, next);
	} while (next);
}

/* What is written there must not be what the volume consists of. */
static int check_place(const char *target, const struct volume *v)
{
	dev_t dev;
	int rc = 0;

	if (device_number(target, &dev))
		rc = device_of_file(target, &dev);
	if (rc)
		return rc;
	if (device_depends(dev, v->node.dev) || device_depends(dev, v->origin) ||
	    device_depends(dev, v->area))
		return refuse(EINVAL, "%s: lies on %s itself or its diff area; no copy was taken",
			      target, v->node.name);
	return 0;
}

static int begin_complete(struct creation *c, const char *target, struct member *m)
{
	const struct complete_params params = { .target = target, .force = given(c->r, "force") };
	int rc;

	delete_leftovers(m->volume);
	rc = complete_check(&params, m->volume->sectors << 9);
	if (rc)
		return refuse(-rc, "%s; no copy was taken", complete_why());
	rc = check_place(target, m->volume);
	if (!rc)
		rc = creation_prepare(c);
	return rc ? rc : creation_take(c);
}

/*
 * Does @target say that it is an unfinished copy of @m's?  If it has @begun also when
 * that can't be read, or is away for now.
 */
static bool target_needs(const char *target, const struct member *m, bool begun)
{
	u8 uuid[16];
	int rc = complete_unfinished(target, uuid);

	return rc < 0 ? begun || rc != -ENOENT : rc && same_uuid(m->copy, uuid);
}

/* The copy's data to TARGET.  *@keep: the copy is needed to go on. */
static int copy_to_target(struct creation *c, const char *target, struct member *m, bool *keep,
			  struct complete_result *ret)
{
	struct progress progress = { .m = m };
	struct complete_params params = { .target = target, .force = given(c->r, "force"),
					  .progress = show_progress, .context = &progress };
	struct attr *a = &m->copy->attr;
	auto_free char *path = NULL, *meta = NULL;
	char why[512];
	int rc;

	rc = copy_show(m->copy, &path);
	if (rc)
		return rc;
	params.source = path;
	progress.marked = attr_bool(a, ATTR_UNUSED) > 0;
	if (progress.marked)
		attr_set_text(a, ATTR_UNUSED, NULL);
	if (a->json)
		meta = strdup(json_object_to_json_string(a->json));
	params.meta = meta;
	uuid_parse(m->copy->uuid, params.uuid);
	rc = complete_copy(&params, ret);
	test_stop("copied");
	if (!rc)
		return 0;
	snprintf(why, sizeof(why), "%s", *complete_why() ? complete_why() : strerror(-rc));
	if (!target_needs(target, m, progress.begun))
		return refuse(-rc, "%s: not complete: %s", target, why);
	*keep = true;
	if (attr_bool(a, ATTR_UNUSED) > 0) {
		attr_set_text(a, ATTR_UNUSED, NULL);
		copy_set_attr(m->copy);
	}
	return refuse(-rc, "%s: not complete, %s@%u is kept; the same command goes on: %s", target,
		      m->volume->node.name, m->id, why);
}

int create_complete(struct creation *c)
{
	static const char *const keys[] = { "bytes", "resumed" };
	const char *target = option(c->r, "complete");
	struct member *m = &c->members[0];
	struct complete_result result;
	bool keep;
	int rc;

	/* Perhaps the volume itself is in there. */
	rc = access(target, F_OK) ? 0 : loop_check_none(target);
	if (!rc)
		rc = find_unfinished(c, target, m);
	if (rc < 0)
		return rc;
	keep = rc;			/* it was there before */
	rc = keep ? 0 : begin_complete(c, target, m);
	if (rc)
		return rc;
	if (!keep)
		rc = creation_finish(c, m);
	if (!rc)
		rc = copy_to_target(c, target, m, &keep, &result);
	if (rc) {
		if (!keep)
			delete_copy(m->volume, m->id);
		return rc;
	}
	rc = delete_copy(m->volume, m->id);
	if (output_format == FORMAT_TEXT) {
		puts(target);
	} else {
		const uint64_t values[] = { result.total_bytes, result.resumed };

		output_event("complete", m->volume->node.name, keys, values, 2);
	}
	return rc;
}
