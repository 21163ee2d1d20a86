// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * create: a shadow copy of each volume, all of one instant.
 *
 *   1  lock the diff areas, settle what an earlier creation left
 *   2  sync the mounted file systems: what is on disk need not be flushed while
 *      everybody waits
 *   3  start the guard (guard.c)
 *   4  suspend the origins; device-mapper freezes the file systems on them
 *   5  message create to each: final if it is one volume, preparing if several
 *   6  resume all: the hold is over
 *   7  several: unless the guard had to act, commit each (settle.c tells what a
 *      crash before the last commit means)
 *   8  at leisure: exempt runs, how long it took, the copies' nodes
 *
 * Until 7 is through any failure deletes all that was made.  From 4 to 6 nothing
 * is printed and no memory is asked for, as either may need what is suspended.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "create.h"
#include "device.h"
#include "guard.h"
#include "output.h"

#define EXEMPT_BATCH 48			/* runs a message */

static const struct cmd_option create_options[] = {
	{ "name", 0, "TEXT", "what the copies are called" },
	{ "lock-until", 0, "TIME", "refuse deletion until then (2030-12-31, +7d)" },
	{ "no-exempt", 0, NULL, "keep free space and page files too" },
	{ "nolockfs", 0, NULL, "do not freeze the file systems: crash-consistent only" },
	{ "complete", 0, "TARGET", "copy all data to that device or file, then delete the shadow copy" },
	{ "force", 0, NULL, "overwrite what TARGET holds" },
	{ NULL, 0, NULL, NULL }
};

uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * UINT64_C(1000000) + ts.tv_nsec / 1000;
}

/* --- before --- */

static int find_members(struct creation *c)
{
	struct volume *list[MAX_SET];
	size_t i, k;
	int rc;

	if (c->r->nr_args > MAX_SET)
		return refuse(EINVAL, "a set has at most %d volumes", MAX_SET);
	for (i = 0; i < (size_t)c->r->nr_args; i++) {
		rc = volumes_get(&c->all, c->r->args[i], &list[i]);
		if (rc)
			return rc;
		for (k = 0; k < i; k++)
			if (list[k] == list[i])
				return refuse(EINVAL, "%s: given twice", c->r->args[i]);
		c->members[i].volume = list[i];
	}
	c->count = i;
	rc = volumes_lock(list, c->count);
	if (!rc)
		rc = volumes_settle(&c->all, list, c->count);
	return rc;
}

static int check_member(const struct creation *c, const struct member *m)
{
	const struct volume *v = m->volume;
	size_t i;

	if (v->status.mode != VOLUME_RW)
		return refuse(EIO, "%s: the diff area is read-only, no copy is taken",
			      v->node.name);
	if (v->node.suspended)
		return refuse(EBUSY, "%s: is suspended by somebody else, no copy is taken",
			      v->node.name);
	if (v->status.merge_id)
		return refuse(EBUSY, "%s: a merge is under way, no copy is taken until it is over",
			      v->node.name);
	/* The copy's record goes to the diff area while all of them are held. */
	for (i = 0; i < c->count; i++)
		if (device_depends(v->area, c->members[i].volume->node.dev))
			return refuse(EINVAL, "%s: its diff area lies on %s, which cannot be held at the same time",
				      v->node.name, c->members[i].volume->node.name);
	return 0;
}

/* What is stacked on another volume of the set is frozen before that. */
static void order_members(struct creation *c)
{
	size_t i, k;

	for (i = 0; i < c->count; i++) {
		for (k = i + 1; k < c->count; k++) {
			struct member swap = c->members[i];

			if (!device_depends(c->members[k].volume->origin,
					    c->members[i].volume->node.dev))
				continue;
			c->members[i] = c->members[k];
			c->members[k] = swap;
			k = i;			/* again, for the new one */
		}
	}
}

/* syncfs() where it is mounted, and the node's own cache, which ntfs-3g uses. */
static int sync_member(struct member *m)
{
	auto_free char *path = device_path(m->volume->node.dev);
	size_t count, i;
	struct node node;
	char **mounts;
	int rc, fd;

	rc = device_mounts(m->volume->node.dev, &mounts, &count);
	if (rc)
		return rc;
	m->mounted = count > 0;
	m->used = !node_info(m->volume->node.name, &node) && node.opens;
	for (i = 0; i < count; i++) {
		fd = open(mounts[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		rc = fd >= 0 ? syncfs(fd) : -1;
		if (fd >= 0)
			close(fd);
		if (!rc)
			break;
	}
	free_strings(mounts, count);
	fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	rc = fd >= 0 && fsync(fd) ? -errno : 0;
	if (fd >= 0)
		close(fd);
	return rc ? refuse(-rc, "%s: cannot be synced: %s", m->volume->node.name, strerror(-rc)) : 0;
}

static void set_creator(struct attr *a)
{
	auto_free char *command = NULL;
	char host[256] = "";
	char buf[512];
	ssize_t n;
	int fd;

	if (!gethostname(host, sizeof(host) - 1))
		attr_set_text(a, ATTR_MACHINE, host);
	attr_set_number(a, ATTR_UID, getuid());
	fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	n = fd >= 0 ? read(fd, buf, sizeof(buf) - 1) : 0;
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return;
	for (ssize_t i = 0; i + 1 < n; i++)
		if (!buf[i])
			buf[i] = ' ';
	buf[n] = 0;
	command = clean_string(buf);
	attr_set_text(a, ATTR_COMMAND, command);
}

static int make_attributes(struct creation *c, struct member *m, const char *areas)
{
	auto_free char *mount = device_mounted_on(m->volume->node.dev);
	struct attr a;
	int rc;

	attr_init(&a);
	set_creator(&a);
	attr_set_text(&a, ATTR_NAME, option(c->r, "name"));
	if (c->count > 1)
		attr_set_text(&a, ATTR_AREAS, areas);
	attr_set_text(&a, ATTR_MOUNTED, mount);
	/* What is used but not mounted has no file system to freeze, as an exported LUN. */
	attr_set_text(&a, ATTR_CONSISTENCY,
		      m->mounted ? c->freeze ? "filesystem" : "crash" :
		      m->used ? "crash" : "filesystem");
	if (given(c->r, "complete"))
		attr_set_bool(&a, ATTR_UNUSED, true);
	rc = attr_print(&a, &m->attr);
	attr_free(&a);
	return rc;
}

int creation_prepare(struct creation *c)
{
	auto_free char *areas = strdup("");
	size_t i;
	int rc = 0;

	for (i = 0; !rc && i < c->count; i++)
		rc = check_member(c, &c->members[i]);
	if (rc)
		return rc;
	order_members(c);
	make_uuid(c->set);
	for (i = 0; areas && i < c->count; i++) {
		char *more = format_string("%s%s%.8s", areas, i ? "," : "",
					   c->members[i].volume->uuid);

		free(areas);
		areas = more;
		make_uuid(c->members[i].uuid);
	}
	if (!areas)
		return -ENOMEM;
	test_stop("locked");
	for (i = 0; !rc && i < c->count; i++) {
		rc = sync_member(&c->members[i]);
		if (!rc)
			rc = make_attributes(c, &c->members[i], areas);
	}
	test_stop("synced");
	return rc;
}

/* --- the instant --- */

struct failure {
	int rc;
	const char *what;		/* format, with the volume's name */
	const struct member *member;
	char why[256];
};

static void note_failure(struct failure *f, int rc, const char *what, const struct member *m,
			 const char *why)
{
	if (f->rc)
		return;
	f->rc = rc;
	f->what = what;
	f->member = m;
	snprintf(f->why, sizeof(f->why), "%s", why);
}

/* The step's name with a number, for tests. */
static void test_stop_at(const char *step, size_t i)
{
	char name[32];

	snprintf(name, sizeof(name), "%s-%zu", step, i + 1);
	test_stop(name);
}

static int send_create(const struct creation *c, struct member *m)
{
	char *reply;
	uint64_t id;
	int rc;

	rc = node_message(m->volume->node.name, &reply, "create %s set %s members %zu %sattr %s",
			  m->uuid, c->set, c->count, c->count > 1 ? "state preparing " : "",
			  m->attr);
	if (rc)
		return rc;
	reply[strcspn(reply, "\n ")] = 0;
	rc = parse_number(reply, UINT32_MAX, &id) ? -EPROTONOSUPPORT : 0;
	free(reply);
	if (!rc)
		m->id = id;
	return rc;
}

/* Steps 4 to 6.  All is resumed on return, whatever happened; false: not all. */
static bool hold(struct creation *c, struct guard *guard, struct failure *f)
{
	bool resumed = true;
	struct member *m;
	size_t i;
	int rc;

	node_hold_begin();
	guard_arm(guard);
	for (i = 0; !f->rc && i < c->count; i++) {
		m = &c->members[i];
		m->suspended_at = now_us();
		m->suspended = true;	/* even if it says that it failed */
		rc = node_suspend(m->volume->node.name, c->freeze);
		if (rc)
			note_failure(f, rc, "cannot be suspended", m, node_why());
		test_stop_at("suspended", i);
	}
	test_stop("suspended");
	for (i = 0; !f->rc && i < c->count; i++) {
		m = &c->members[i];
		rc = send_create(c, m);
		if (rc)
			note_failure(f, rc, "no copy was taken", m, node_why());
		test_stop_at("created", i);
	}
	test_stop("created");
	if (!f->rc && guard_fired(guard))
		note_failure(f, -ETIMEDOUT, "no copy was taken", &c->members[0],
			     "the volumes could not be held in time");
	/* In the opposite order: what is below runs before what is on it. */
	for (i = c->count; i; i--) {
		m = &c->members[i - 1];
		if (!m->suspended)
			continue;
		rc = node_resume(m->volume->node.name);
		if (rc)
			note_failure(f, rc, "cannot be resumed", m, node_why());
		resumed &= !rc;
		m->resumed_at = now_us();
		test_stop_at("resumed", i - 1);
	}
	node_hold_end();
	return resumed;
}

static void delete_all(struct creation *c)
{
	size_t i;

	for (i = 0; i < c->count; i++) {
		struct member *m = &c->members[i];

		if (m->id && node_message(m->volume->node.name, NULL, "delete %u", m->id))
			warn("%s@%u: part of the creation that failed, and cannot be deleted: %s",
			     m->volume->node.name, m->id, node_why());
	}
}

int creation_take(struct creation *c)
{
	const char *names[MAX_SET];
	struct failure f = { 0 };
	struct guard *guard;
	size_t i;
	int rc;

	for (i = 0; i < c->count; i++) {
		names[i] = c->members[i].volume->node.name;
		node_forget_table(names[i]);
	}
	guard = guard_start(names, c->count);
	if (!guard)
		return -ENOMEM;
	test_stop("guarded");
	if (hold(c, guard, &f))
		guard_end(guard);
	else
		guard_leave(guard);
	test_stop("resumed");
	for (i = 0; !f.rc && c->count > 1 && i < c->count; i++) {
		struct member *m = &c->members[i];

		rc = node_message(m->volume->node.name, NULL, "commit %u", m->id);
		if (rc)
			note_failure(&f, rc, "the copy was not made final", m, node_why());
		test_stop_at("committed", i);
	}
	if (!f.rc)
		return 0;
	delete_all(c);
	return refuse(-f.rc, "%s: %s%s: %s", f.member->volume->node.name, f.what,
		      c->count > 1 ? ", nor of the other volumes" : "", f.why);
}

/* --- afterwards --- */

struct batch {
	struct member *m;
	char *text;
	size_t size, used;
	unsigned int runs;
	uint64_t chunks;
	int rc;
};

static int flush_batch(struct batch *b)
{
	if (b->runs)
		b->rc = node_message(b->m->volume->node.name, NULL, "exempt %u run%s", b->m->id,
				     b->text);
	b->runs = 0;
	b->used = 0;
	return b->rc;
}

static int add_run(void *context, uint64_t chunk, uint64_t count)
{
	struct batch *b = context;

	b->used += snprintf(b->text + b->used, b->size - b->used, " %" PRIu64 " %" PRIu64, chunk,
			    count);
	b->chunks += count;
	return ++b->runs < EXEMPT_BATCH ? 0 : flush_batch(b);
}

/* What the copy need not keep.  That it cannot be told is no failure. */
static void load_exempt(struct member *m, const char *path)
{
	struct batch b = { .m = m, .size = EXEMPT_BATCH * 44 };
	const char *node = m->volume->node.name;
	int rc;

	b.text = malloc(b.size);
	if (!b.text)
		return;
	rc = node_message(node, NULL, "exempt %u begin", m->id);
	if (!rc) {
		rc = ntfs_exempt(path, m->volume->status.chunk_sectors,
				 NTFS_EXEMPT_FREE | NTFS_EXEMPT_FILES, add_run, &b);
		if (!rc)
			rc = flush_batch(&b);
		if (!rc && b.chunks)
			rc = node_message(node, NULL, "exempt %u end", m->id);
		else
			node_message(node, NULL, "exempt %u abort", m->id);
	}
	if (!rc)
		m->exempt_chunks = b.chunks;
	else if (rc == -EAGAIN)
		chat("%s@%u: NTFS is dirty or hibernated, free space is kept too", node, m->id);
	else
		inform("%s@%u: free space is kept too: %s", node, m->id,
		       b.rc ? node_why() : strerror(-rc));
	free(b.text);
}

/* File system, hold time: into the attributes, once it is known. */
static void complete_attributes(struct member *m, const char *path)
{
	struct attr *a = &m->copy->attr;
	const char *consistency;
	struct fs_info fs;

	attr_set_number(a, ATTR_HOLD, m->resumed_at - m->suspended_at);
	if (!fs_info(path, &fs) && fs.type[0]) {
		attr_set_text(a, ATTR_FS_TYPE, fs.type);
		attr_set_text(a, ATTR_FS_LABEL, fs.label);
		attr_set_text(a, ATTR_FS_UUID, fs.uuid);
	}
	m->is_ntfs = !ntfs_info(path, &m->ntfs);
	if (m->is_ntfs) {
		attr_set_number(a, ATTR_CLUSTER, m->ntfs.cluster_bytes);
		attr_set_bool(a, ATTR_DIRTY, m->ntfs.dirty);
		consistency = attr_text(a, ATTR_CONSISTENCY);
		/* Nothing was frozen, and it shows. */
		if (!m->mounted && consistency && !strcmp(consistency, "filesystem") &&
		    (m->ntfs.dirty || !m->ntfs.log_clean))
			attr_set_text(a, ATTR_CONSISTENCY, "crash");
	}
	copy_set_attr(m->copy);
}

int creation_finish(struct creation *c, struct member *m)
{
	auto_free char *path = NULL;
	int rc;

	rc = volume_refresh(m->volume);
	if (rc)
		return rc;
	m->copy = volume_copy(m->volume, m->id);
	if (!m->copy)
		return refuse(ENOENT, "%s@%u: the copy was taken, and lost again already",
			      m->volume->node.name, m->id);
	if (c->locked_until) {
		rc = node_message(m->volume->node.name, NULL, "lock %u %" PRIu64, m->id,
				  c->locked_until);
		if (rc)
			return refuse(-rc, "%s@%u: was taken but cannot be locked: %s",
				      m->volume->node.name, m->id, node_why());
		m->copy->locked_until = c->locked_until;
	}
	rc = copy_show(m->copy, &path);
	if (rc)
		return rc;
	complete_attributes(m, path);
	if (m->is_ntfs && !given(c->r, "no-exempt"))
		load_exempt(m, path);
	return 0;
}

/* --- the result --- */

enum { F_COPY, F_ID, F_UUID, F_SET, F_MEMBERS, F_VOLUME, F_DEVICE, F_CREATED, F_CREATED_NSEC,
	F_CONSISTENCY, F_HOLD, F_SIZE, F_EXEMPT };

static const struct field fields[] = {
	[F_COPY] = { "copy", "Shadow copy", FIELD_TEXT, IN_BLOCK },
	[F_ID] = { "id", "Number", FIELD_NUMBER, 0 },
	[F_UUID] = { "uuid", "Shadow copy ID", FIELD_TEXT, IN_BLOCK },
	[F_SET] = { "set", "Set ID", FIELD_TEXT, IN_BLOCK },
	[F_MEMBERS] = { "members", "Members of the set", FIELD_NUMBER, IN_BLOCK },
	[F_VOLUME] = { "volume", "Volume", FIELD_TEXT, IN_BLOCK },
	[F_DEVICE] = { "device", "Device", FIELD_TEXT, IN_BLOCK },
	[F_CREATED] = { "created", "Created", FIELD_TIME, IN_BLOCK },
	[F_CREATED_NSEC] = { "created_nsec", "", FIELD_NUMBER, 0 },
	[F_CONSISTENCY] = { "consistency", "Consistency", FIELD_TEXT, IN_BLOCK },
	[F_HOLD] = { "hold_us", "Writes held for", FIELD_MICROSECONDS, IN_BLOCK },
	[F_SIZE] = { "size", "Size", FIELD_BYTES, IN_BLOCK },
	[F_EXEMPT] = { "exempt_bytes", "Free, not kept", FIELD_BYTES, IN_BLOCK },
};

static void print_member(struct output *o, const struct member *m)
{
	const struct volume *v = m->volume;
	const struct copy *c = m->copy;
	char spec[COPY_SPEC_SIZE], node[NODE_NAME_SIZE];
	auto_free char *path = NULL;

	copy_spec(c, spec);
	copy_node_name(c, node);
	path = format_string("/dev/mapper/%s", node);
	output_record(o);
	output_text(o, F_COPY, spec);
	output_number(o, F_ID, c->id);
	output_text(o, F_UUID, c->uuid);
	output_text(o, F_SET, c->set);
	output_number(o, F_MEMBERS, c->members);
	output_text(o, F_VOLUME, v->node.name);
	output_text(o, F_DEVICE, path);
	output_number(o, F_CREATED, c->created);
	output_number(o, F_CREATED_NSEC, c->created_nsec);
	output_text(o, F_CONSISTENCY, attr_text(&c->attr, ATTR_CONSISTENCY));
	output_number(o, F_HOLD, m->resumed_at - m->suspended_at);
	output_number(o, F_SIZE, c->sectors << 9);
	output_number(o, F_EXEMPT, m->exempt_chunks * v->status.chunk_sectors << 9);
}

static int print_members(const struct creation *c)
{
	struct output *o;
	size_t i;
	int k;

	/* In the order of the arguments, whatever the order of the hold was */
	if (output_format == FORMAT_TEXT && verbosity < 1) {
		for (k = 0; k < c->r->nr_args; k++)
			for (i = 0; i < c->count; i++)
				if (volumes_find(&c->all, c->r->args[k]) == c->members[i].volume)
					printf("%s@%u\n", c->members[i].volume->node.name,
					       c->members[i].id);
		return 0;
	}
	o = output_new("copies", fields, ARRAY_SIZE(fields), OUTPUT_BLOCKS);
	for (i = 0; i < c->count; i++)
		if (c->members[i].copy)
			print_member(o, &c->members[i]);
	return output_print(o);
}

static int run_differential(struct creation *c)
{
	int rc, first = 0;
	size_t i;

	rc = creation_prepare(c);
	if (!rc)
		rc = creation_take(c);
	if (rc)
		return rc;
	for (i = 0; i < c->count; i++) {
		first = first_error(first, creation_finish(c, &c->members[i]));
		test_stop_at("finished", i);
	}
	return first_error(first, print_members(c));
}

static int run_create(const struct request *r)
{
	static struct creation c;	/* large */
	const char *until = option(r, "lock-until");
	size_t i;
	int rc;

	c.r = r;
	c.freeze = !given(r, "nolockfs");
	if (until && (parse_time(until, &c.locked_until) ||
		      c.locked_until <= (uint64_t)time(NULL)))
		return refuse(EINVAL, "%s: is no time to come", until);
	if (given(r, "complete") && r->nr_args > 1)
		return refuse(EINVAL, "--complete copies one volume, %d are given", r->nr_args);
	if (given(r, "complete") && until)
		return refuse(EINVAL, "--complete deletes the shadow copy in the end, --lock-until forbids it");
	if (given(r, "force") && !given(r, "complete"))
		return refuse(EINVAL, "--force is of use with --complete only");
	rc = volumes_load(&c.all);
	if (!rc)
		rc = find_members(&c);
	if (!rc)
		rc = given(r, "complete") ? create_complete(&c) : run_differential(&c);
	for (i = 0; i < c.count; i++)
		free(c.members[i].attr);
	volumes_free(&c.all);
	return rc;
}

const struct command cmd_create = {
	"create", "VOLUME...", 1, CMD_ANY_NUMBER, "take a shadow copy of each volume, all of one instant",
	create_options, run_create
};
