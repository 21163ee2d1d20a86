// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * merge: a volume becomes what one of its copies shows.
 *
 * From the kernel's word on it reads as the copy; the data follows in the
 * background, over a reboot if need be.  What is in the page cache of the node
 * belongs to the past then: written back before, dropped after.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "cmd.h"
#include "device.h"
#include "guard.h"
#include "output.h"
#include "volume.h"

#define POLL_MS 500

static const struct cmd_option merge_options[] = {
	{ "force", 0, NULL, "do not ask" },
	{ "no-wait", 0, NULL, "return at once, the merge goes on" },
	{ "progress", 0, NULL, "show progress even if this is no terminal" },
	{ "status", 0, NULL, "tell how far the merge of a VOLUME is, and no more" },
	{ "skip-damaged", 0, NULL, "let the merge of a VOLUME go on over what can't be read" },
	{ NULL, 0, NULL, NULL }
};

/* --- progress --- */

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static unsigned int percent(const struct status *s)
{
	return s->merge_total ? 100.0 * s->merge_done / s->merge_total : 0;
}

static void print_event(const char *event, const char *volume, const struct status *s)
{
	static const char *const keys[] = { "id", "done", "total" };
	const uint64_t values[] = { s->merge_id, s->merge_done, s->merge_total };

	output_event(event, volume, keys, values, ARRAY_SIZE(keys));
}

static void print_line(const struct status *s, const struct status *first, double elapsed)
{
	uint64_t chunk = (uint64_t)s->chunk_sectors << 9;
	double rate = elapsed > 0 && s->merge_done > first->merge_done ?
		      (s->merge_done - first->merge_done) / elapsed : 0;
	char done[16], total[16], speed[16];

	print_size(s->merge_done * chunk, done);
	print_size(s->merge_total * chunk, total);
	print_size(rate * chunk, speed);
	fprintf(stderr, "\rmerging: %3u%%, %s of %s, %s/s", percent(s), done, total, speed);
	if (rate > 0)
		fprintf(stderr, ", %.0f s left", (s->merge_total - s->merge_done) / rate);
	fputs("\033[K", stderr);
	fflush(stderr);
}

/* Until it is over.  The kernel needs nobody to wait, nor a diff area to record it. */
static int wait_for_merge(const struct request *r, const char *node)
{
	bool json = output_format == FORMAT_JSON || (given(r, "progress") && !isatty(STDERR_FILENO));
	bool line = !json && verbosity >= 0 && isatty(STDERR_FILENO);
	struct timespec nap = { .tv_nsec = POLL_MS * 1000000L };
	struct status s, first = { 0 }, last = { 0 };
	double start = now();
	bool any = false, failed = false;
	int rc;

	for (;;) {
		rc = volume_status(node, &s);
		if (rc)
			return refuse(-rc, "%s: no status: %s", node, node_why());
		if (!s.merge_id)
			break;
		if (!any)
			first = s;
		if (json && (!any || s.merge_done != last.merge_done))
			print_event("merging", node, &s);
		else if (line)
			print_line(&s, &first, now() - start);
		last = s;
		any = true;
		if (s.mode != VOLUME_RW && !failed) {
			if (line)
				fputc('\n', stderr);
			warn("%s: the diff area failed; the merge goes on, without progress to be seen: do not deactivate the volume nor shut down before it is over",
			     node);
			failed = true;
		}
		if (!strcmp(s.merge_state, "stopped"))
			return refuse(EIO, "%s: the merge stopped at %u%% by errors, see the kernel log; it is tried again now and then, see also --skip-damaged",
				      node, percent(&s));
		nanosleep(&nap, NULL);
	}
	if (line && any)
		fputs("\rmerging: done\033[K\n", stderr);
	if (json) {
		s.merge_id = last.merge_id;
		s.merge_total = s.merge_done = last.merge_total;
		print_event("merged", node, &s);
	}
	rc = 0;
	if (s.merge_skipped)
		rc = refuse(EILSEQ, "%s: is merged but for %" PRIu64 " chunks that could not be read, see the kernel log",
			    node, s.merge_skipped);
	if (s.mode != VOLUME_RW)
		rc = first_error(rc, refuse(EIO, "%s: is merged, but the diff area failed: detach it and do not use it again unformatted",
					    node));
	return rc;
}

/* --- merge --status --- */

enum { F_VOLUME, F_STATE, F_COPY, F_DONE, F_TOTAL, F_PERCENT, F_SKIPPED };

static const struct field fields[] = {
	[F_VOLUME] = { "volume", "Volume", FIELD_TEXT, IN_BOTH },
	[F_STATE] = { "state", "State", FIELD_TEXT, IN_BOTH },
	[F_COPY] = { "id", "Copy", FIELD_NUMBER, IN_BOTH },
	[F_DONE] = { "done", "Chunks done", FIELD_NUMBER, IN_BOTH },
	[F_TOTAL] = { "total", "Chunks", FIELD_NUMBER, IN_BOTH },
	[F_PERCENT] = { "percent", "Percent", FIELD_PERCENT, IN_BOTH },
	[F_SKIPPED] = { "skipped", "Chunks skipped", FIELD_NUMBER, IN_BLOCK },
};

static int print_merge_status(const char *spec)
{
	struct volumes all = { 0 };
	struct volume *v;
	struct output *o;
	int rc;

	rc = volumes_load(&all);
	if (!rc)
		rc = volumes_get(&all, spec, &v);
	if (!rc) {
		o = output_new("merge", fields, ARRAY_SIZE(fields), OUTPUT_ONE);
		output_record(o);
		output_text(o, F_VOLUME, v->node.name);
		output_text(o, F_STATE, v->status.merge_state);
		output_number(o, F_COPY, v->status.merge_id);
		if (v->status.merge_id) {
			output_number(o, F_DONE, v->status.merge_done);
			output_number(o, F_TOTAL, v->status.merge_total);
			output_number(o, F_PERCENT, percent(&v->status));
		} else {
			inform("%s: no merge is under way", v->node.name);
		}
		output_number(o, F_SKIPPED, v->status.merge_skipped);
		rc = output_print(o);
	}
	volumes_free(&all);
	return rc;
}

/* --- merge --- */

static int check_merge(const struct volume *v, const struct copy *c)
{
	auto_free char *mount = device_mounted_on(v->node.dev);
	struct node node;
	int tries;

	if (v->status.merge_id)
		return refuse(EBUSY, "%s: a merge is under way already, of %s@%u", v->node.name,
			      v->node.name, v->status.merge_id);
	if (mount)
		return refuse(EBUSY, "%s: is mounted on %s, unmount it first", v->node.name, mount);
	/* udev opens things for a moment */
	for (tries = 0; !node_info(v->node.name, &node) && node.opens; tries++) {
		if (tries == 10)
			return refuse(EBUSY, "%s: is in use", v->node.name);
		usleep(100000);
	}
	if (c->sectors != v->sectors)
		return refuse(EINVAL, "%s@%u: the volume has grown since, it cannot be merged",
			      v->node.name, c->id);
	if (c->invalid)
		return refuse(EIO, "%s@%u: the copy is lost, the volume stays as it is",
			      v->node.name, c->id);
	if (c->preparing)
		return refuse(EAGAIN, "%s@%u: its creation was not finished", v->node.name, c->id);
	return 0;
}

static int start_merge(const struct volume *v, uint32_t id)
{
	auto_close int fd = -1;
	auto_free char *path = device_path(v->node.dev), *why = NULL;
	const char *const names[] = { v->node.name };
	struct guard *guard;
	const char *what = NULL;
	int rc, rc2;

	/* For ourselves alone: nobody mounts it in between. */
	fd = path ? open(path, O_RDWR | O_EXCL | O_CLOEXEC) : -1;
	if (fd < 0)
		return refuse(errno, "%s: is in use", v->node.name);
	if (fsync(fd) || ioctl(fd, BLKFLSBUF))
		return refuse(errno, "%s: cannot be flushed: %s", path, strerror(errno));
	/* A table that resuming would bring in, of another size, is refused from then on. */
	node_forget_table(v->node.name);
	guard = guard_start(names, 1);
	if (!guard)
		return -ENOMEM;
	node_hold_begin();
	guard_arm(guard);
	rc = node_suspend(v->node.name, true);
	if (rc)
		what = "cannot be suspended";
	test_stop("suspended");
	if (!rc) {
		rc = node_message(v->node.name, NULL, "merge %u", id);
		if (rc)
			what = "is not merged";
	}
	if (rc)
		why = strdup(node_why());
	test_stop("merging");
	rc2 = node_resume(v->node.name);
	node_hold_end();
	if (rc2) {
		guard_leave(guard);
		rc2 = node_resume(v->node.name);	/* is it now? */
	} else {
		guard_end(guard);
	}
	if (rc)
		return refuse(-rc, "%s: %s: %s", v->node.name, what, why ? why : "");
	if (rc2)
		return refuse(-rc2, "%s: cannot be resumed: %s", v->node.name, node_why());
	ioctl(fd, BLKFLSBUF);
	return 0;
}

/* Of a merge under way: what can't be read of the copy stays as it is on the volume. */
static int skip_damaged(const struct request *r)
{
	struct volumes all = { 0 };
	struct volume *v;
	int rc;

	rc = volumes_load(&all);
	if (!rc)
		rc = volumes_get(&all, r->args[0], &v);
	if (!rc && !v->status.merge_id)
		rc = refuse(ENOENT, "%s: no merge is under way", v->node.name);
	if (!rc)
		rc = confirm(given(r, "force"), "%s: where %s@%u can't be read, leave the volume with what was written since",
			     v->node.name, v->node.name, v->status.merge_id);
	if (!rc) {
		rc = node_message(v->node.name, NULL, "merge skip");
		if (rc)
			refuse(-rc, "%s: %s", v->node.name, node_why());
	}
	if (!rc && !given(r, "no-wait"))
		rc = wait_for_merge(r, v->node.name);
	volumes_free(&all);
	return rc;
}

static int run_merge(const struct request *r)
{
	struct volumes all = { 0 };
	char spec[COPY_SPEC_SIZE];
	struct volume *v;
	struct copy *c;
	uint32_t id;
	int rc;

	if (given(r, "status")) {
		if (given(r, "force") || given(r, "no-wait") || given(r, "skip-damaged"))
			return refuse(EINVAL, "--status goes with no other option");
		return print_merge_status(r->args[0]);
	}
	if (given(r, "skip-damaged"))
		return skip_damaged(r);
	rc = volumes_load(&all);
	if (!rc)
		rc = volumes_get_copy(&all, r->args[0], &c);
	if (rc)
		goto out;
	v = c->volume;
	id = c->id;
	rc = volumes_lock(&v, 1);
	c = rc ? NULL : volume_copy(v, id);
	if (!rc && !c)
		rc = refuse(ENOENT, "%s: there is no such copy", r->args[0]);
	if (!rc)
		rc = check_merge(v, c);
	if (rc)
		goto out;
	copy_spec(c, spec);
	if (c->suspect)
		warn("%s: is suspect, its content may be wrong", spec);
	if (c->damaged)
		warn("%s: is damaged, the merge will stop at the first damaged chunk", spec);
	rc = confirm(given(r, "force"), "%s: lose what was written since and make the volume what %s shows",
		     v->node.name, spec);
	if (!rc)
		rc = start_merge(v, id);
	if (rc)
		goto out;
	/* The others may work meanwhile. */
	close(v->lock);
	v->lock = -1;
	if (!given(r, "no-wait"))
		rc = wait_for_merge(r, v->node.name);
out:
	volumes_free(&all);
	return rc;
}

const struct command cmd_merge = {
	"merge", "COPY|VOLUME", 1, 1, "make the volume what a shadow copy shows, at once", merge_options,
	run_merge
};
