// SPDX-License-Identifier: GPL-2.0-or-later
/* Active volumes and their copies: see volume.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "device.h"
#include "util.h"
#include "volume.h"

/* The target's interface that this tool was written for. */
#define TARGET_MAJOR 1
#define RUN_DIR "/run/shadowctl"		/* mount points too */
#define LOCK_DIR RUN_DIR "/lock"
#define LOCK_WAIT_SECONDS 60

/* --- reading what the kernel prints --- */

/* Words of a line, one after the other; NULL behind the last. */
static const char *next_word(char **rest)
{
	char *word;

	do {
		word = strsep(rest, " ");
	} while (word && !*word);
	return word;
}

static bool next_number(char **rest, uint64_t max, uint64_t *ret)
{
	const char *word = next_word(rest);

	return word && !parse_number(word, max, ret);
}

static bool next_u32(char **rest, uint32_t *ret)
{
	uint64_t n;

	if (!next_number(rest, UINT32_MAX, &n))
		return false;
	*ret = n;
	return true;
}

/* "<a><sep><b>" */
static bool next_pair(char **rest, char sep, uint64_t *a, uint64_t *b)
{
	auto_free char *copy = copy_string(next_word(rest));
	char *second = copy ? strchr(copy, sep) : NULL;

	if (!second)
		return false;
	*second++ = 0;
	return !parse_number(copy, UINT64_MAX, a) && !parse_number(second, UINT64_MAX, b);
}

static bool next_text(char **rest, char *ret, size_t size)
{
	const char *word = next_word(rest);

	if (!word || strlen(word) >= size)
		return false;
	strcpy(ret, word);
	return true;
}

static bool parse_merge(const char *word, struct status *s)
{
	unsigned int id;
	char junk;

	if (!word)
		return false;
	if (!strcmp(word, "-"))
		return true;
	if (sscanf(word, "%u:%" SCNu64 "/%" SCNu64 "%c", &id, &s->merge_done, &s->merge_total,
		   &junk) != 3)
		return false;
	s->merge_id = id;
	return true;
}

/* A module from before an upgrade that is still loaded prints fewer fields. */
static bool parse_later_fields(char **rest, struct status *s)
{
	strcpy(s->scrub_state, "none");
	strcpy(s->merge_state, s->merge_id ? "running" : "none");
	if (!*rest)
		return true;
	if (!next_text(rest, s->scrub_state, sizeof(s->scrub_state)) ||
	    !next_pair(rest, '/', &s->scrub_done, &s->scrub_total) ||
	    !next_number(rest, UINT64_MAX, &s->scrub_kib) ||
	    !next_number(rest, UINT64_MAX, &s->scrub_damaged))
		return false;
	if (!strcmp(s->scrub_state, "-"))
		strcpy(s->scrub_state, "none");
	if (!*rest)
		return true;
	if (!next_text(rest, s->merge_state, sizeof(s->merge_state)))
		return false;
	if (!strcmp(s->merge_state, "-"))
		strcpy(s->merge_state, "none");
	return !*rest || next_number(rest, UINT64_MAX, &s->merge_skipped);
}

/* By position, as Documentation/dm-shadow.rst has it. */
static bool parse_status(const char *text, struct status *ret)
{
	auto_free char *line = copy_string(text);
	struct status s = { 0 };
	char mode[8], kind[16];
	char *r = line;

	if (!line || !next_text(&r, mode, sizeof(mode)) || !next_text(&r, kind, sizeof(kind)))
		return false;
	s.mode = !strcmp(mode, "rw") ? VOLUME_RW : VOLUME_RO;
	s.is_volatile = !strcmp(kind, "volatile");
	if (!next_u32(&r, &s.chunk_sectors) || !s.chunk_sectors ||
	    !next_pair(&r, '/', &s.used, &s.total) ||
	    !next_number(&r, UINT64_MAX, &s.limit) ||
	    !next_u32(&r, &s.copies) || !next_u32(&r, &s.oldest) ||
	    !next_u32(&r, &s.newest) || !next_u32(&r, &s.epoch) ||
	    !next_text(&r, s.policy, sizeof(s.policy)) || !next_u32(&r, &s.low_space) ||
	    !next_pair(&r, '/', &s.journal_used, &s.journal_total) ||
	    !next_pair(&r, ':', &s.trees, &s.entries) ||
	    !next_pair(&r, '/', &s.exceptions, &s.exceptions_room) ||
	    !next_pair(&r, '/', &s.cache_kib, &s.cap_kib) ||
	    !next_number(&r, UINT64_MAX, &s.bitmap_kib) ||
	    !next_number(&r, UINT64_MAX, &s.saved) || !next_number(&r, UINT64_MAX, &s.zero) ||
	    !next_number(&r, UINT64_MAX, &s.dropped) ||
	    !next_number(&r, UINT64_MAX, &s.checksum_errors) ||
	    !next_number(&r, UINT64_MAX, &s.area_errors) ||
	    !next_number(&r, UINT64_MAX, &s.unreadable) ||
	    !next_number(&r, UINT64_MAX, &s.checkpoints) || !parse_merge(next_word(&r), &s) ||
	    !next_text(&r, s.uuid, sizeof(s.uuid)) || !next_text(&r, s.found, sizeof(s.found)) ||
	    !parse_later_fields(&r, &s))
		return false;
	*ret = s;
	return true;
}

static bool parse_copy(char *line, struct copy *ret)
{
	struct copy c = { 0 };
	uint64_t nsec, opens;
	char flags[16];
	const char *p;

	if (!next_u32(&line, &c.id) || !next_text(&line, c.uuid, sizeof(c.uuid)) ||
	    !next_text(&line, c.set, sizeof(c.set)) || !next_u32(&line, &c.members) ||
	    !next_pair(&line, '.', &c.created, &nsec) ||
	    !next_number(&line, UINT64_MAX, &c.sectors) ||
	    !next_text(&line, flags, sizeof(flags)) ||
	    !next_number(&line, UINT64_MAX, &c.locked_until) ||
	    !next_number(&line, UINT64_MAX, &c.exempt_chunks) ||
	    !next_number(&line, UINT32_MAX, &opens))
		return false;
	c.created_nsec = nsec;
	c.opens = opens;
	for (p = flags; *p; p++) {
		c.preparing |= *p == 'p';
		c.suspect |= *p == 's';
		c.invalid |= *p == 'i';
		c.exempt |= *p == 'e';
		c.merging |= *p == 'm';
	}
	p = next_word(&line);
	/* See parse_later_fields(). */
	if (!p || (line && !next_u32(&line, &c.damaged)))
		return false;
	attr_parse(strcmp(p, "-") ? p : "", &c.attr);
	*ret = c;
	return true;
}

static void free_copies(struct volume *v)
{
	while (v->nr_copies)
		attr_free(&v->copies[--v->nr_copies].attr);
	free(v->copies);
	v->copies = NULL;
}

int volume_status(const char *node, struct status *ret)
{
	auto_free char *text = NULL;
	int rc = node_status(node, &text);

	if (rc)
		return rc;
	return parse_status(text, ret) ? 0 : -EPROTONOSUPPORT;
}

int volume_refresh(struct volume *v)
{
	auto_free char *reply = NULL;
	char *rest, *line;
	int rc;

	rc = volume_status(v->node.name, &v->status);
	if (rc == -EPROTONOSUPPORT)
		return refuse(-rc, "%s: the module's status is of another version", v->node.name);
	if (rc)
		return refuse(-rc, "%s: no status: %s", v->node.name, node_why());
	free_copies(v);
	rc = node_message(v->node.name, &reply, "list");
	if (rc)
		return refuse(-rc, "%s: no list of copies: %s", v->node.name, node_why());
	rest = reply;
	while ((line = strsep(&rest, "\n"))) {
		struct copy *more;

		if (!*line)
			continue;
		more = realloc(v->copies, (v->nr_copies + 1) * sizeof(*more));
		if (!more)
			return -ENOMEM;
		v->copies = more;
		if (!parse_copy(line, &v->copies[v->nr_copies]))
			return refuse(EPROTONOSUPPORT, "%s: the module's list is of another version",
				      v->node.name);
		v->copies[v->nr_copies++].volume = v;
	}
	return 0;
}

/* --- finding --- */

static int volume_load(const struct node *node, struct volume *ret)
{
	auto_free char *target = NULL, *params = NULL;
	struct volume v = { .node = *node, .lock = -1 };
	unsigned int oma, omi, ama, ami;
	int rc;

	rc = node_table(node->name, &v.sectors, &target, &params);
	if (rc)
		return refuse(-rc, "%s: no table: %s", node->name, node_why());
	snprintf(v.uuid, sizeof(v.uuid), "%.36s", node->uuid + strlen(NODE_PREFIX));
	if (strcmp(target, TARGET_ORIGIN) ||
	    sscanf(params, "%u:%u %u:%u", &oma, &omi, &ama, &ami) != 4)
		return refuse(EPROTONOSUPPORT, "%s: is not what its uuid says, left alone",
			      node->name);
	v.origin = makedev(oma, omi);
	v.area = makedev(ama, ami);
	*ret = v;
	rc = volume_refresh(ret);
	if (rc)
		free_copies(ret);
	return rc;
}

int volumes_load(struct volumes *ret)
{
	auto_free struct node *nodes = NULL;
	struct volumes v = { 0 };
	size_t count, i, k;
	int rc;

	rc = node_list(NODE_PREFIX, &nodes, &count);
	if (rc)
		return refuse(-rc, "device-mapper does not answer: %s", node_why());
	v.list = calloc(count + 1, sizeof(*v.list));
	if (!v.list)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		/* Copies have more behind the uuid; half-made nodes no table. */
		if (strlen(nodes[i].uuid) != strlen(NODE_PREFIX) + 36 || !nodes[i].has_table)
			continue;
		/* One that cannot be understood does not hide the others. */
		if (!volume_load(&nodes[i], &v.list[v.count]))
			v.count++;
	}
	for (i = 0; i < v.count; i++)
		for (k = 0; k < v.list[i].nr_copies; k++)
			v.list[i].copies[k].volume = &v.list[i];
	*ret = v;
	return 0;
}

void volumes_free(struct volumes *v)
{
	while (v->count) {
		struct volume *one = &v->list[--v->count];

		free_copies(one);
		if (one->lock >= 0)
			close(one->lock);
	}
	free(v->list);
	v->list = NULL;
}

struct volume *volumes_find(const struct volumes *v, const char *spec)
{
	struct stat st;
	dev_t dev = 0;
	size_t i;

	for (i = 0; i < v->count; i++)
		if (!strcmp(v->list[i].node.name, spec) || !strcasecmp(v->list[i].uuid, spec))
			return &v->list[i];
	if (!stat(spec, &st))
		dev = S_ISBLK(st.st_mode) ? st.st_rdev : S_ISDIR(st.st_mode) ? st.st_dev : 0;
	for (i = 0; dev && i < v->count; i++)
		if (v->list[i].node.dev == dev || v->list[i].origin == dev)
			return &v->list[i];
	return NULL;
}

int volumes_get(const struct volumes *v, const char *spec, struct volume **ret)
{
	struct volume *found = volumes_find(v, spec);

	if (!found)
		return refuse(ENODEV, access(spec, F_OK) && strchr(spec, '/') ?
			      "%s: there is no such device" :
			      "%s: is no active volume, see shadowctl attach and activate", spec);
	*ret = found;
	return 0;
}

int volumes_get_copy(const struct volumes *v, const char *spec, struct copy **ret)
{
	const char *at = strrchr(spec, '@');
	struct stat st;
	size_t i, k;

	if (at) {
		auto_free char *name = strndup(spec, at - spec);
		struct volume *volume;
		uint64_t id;
		int rc;

		if (!name)
			return -ENOMEM;
		if (parse_number(at + 1, UINT32_MAX, &id))
			return refuse(EINVAL, "%s: no number of a copy behind the @", spec);
		rc = volumes_get(v, name, &volume);
		if (rc)
			return rc;
		*ret = volume_copy(volume, id);
		return *ret ? 0 : refuse(ENOENT, "%s: there is no such copy", spec);
	}
	for (i = 0; i < v->count; i++) {
		for (k = 0; k < v->list[i].nr_copies; k++) {
			struct copy *c = &v->list[i].copies[k];
			char node[NODE_NAME_SIZE];
			struct node info;

			copy_node_name(c, node);
			if (!strcasecmp(c->uuid, spec) || !strcmp(node, spec) ||
			    (!stat(spec, &st) && S_ISBLK(st.st_mode) && !node_info(node, &info) &&
			     info.dev == st.st_rdev)) {
				*ret = c;
				return 0;
			}
		}
	}
	return refuse(ENOENT, "%s: there is no such copy, see shadowctl list", spec);
}

/* --- growth --- */

int volume_record_size(const struct volume *v)
{
	int rc;

	test_stop("grown");
	/* Without its diff area it has no copies that could be merged. */
	if (v->status.mode != VOLUME_RW)
		return 0;
	rc = node_message(v->node.name, NULL, "checkpoint");
	return rc ? refuse(-rc, "%s: has grown, but the diff area does not say so: %s",
			   v->node.name, node_why()) : 0;
}

int volume_grow(const struct volume *v)
{
	uint64_t sectors = device_sectors(v->origin);
	auto_free char *target = NULL, *params = NULL;
	int rc;

	if (sectors <= v->sectors)
		return 0;
	rc = node_table(v->node.name, NULL, &target, &params);
	if (!rc)
		rc = node_reload(v->node.name, sectors, TARGET_ORIGIN, params);
	if (rc)
		return refuse(-rc, "%s: has grown, but the larger size was not taken: %s",
			      v->node.name, node_why());
	return volume_record_size(v);
}

/* --- locks --- */

static bool is_ours(const char *dir, mode_t others)
{
	struct stat st;

	return !lstat(dir, &st) && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
	       !(st.st_mode & others);
}

/* A folder of our own: in one for all anybody could be first and keep us waiting. */
static int make_lock_dir(void)
{
	/* Whatever the umask: copies are mounted below it, for others too. */
	if ((mkdir(RUN_DIR, 0755) ? errno != EEXIST : chmod(RUN_DIR, 0755)) ||
	    (mkdir(LOCK_DIR, 0700) && errno != EEXIST))
		return refuse(errno, LOCK_DIR ": %s", strerror(errno));
	if (!is_ours(RUN_DIR, 022) || !is_ours(LOCK_DIR, 077))
		return refuse(EPERM, LOCK_DIR ": is not ours alone, no lock is safe there");
	return 0;
}

static int lock_file(const char *name, int *ret_fd)
{
	auto_free char *path = format_string(LOCK_DIR "/%s", name);
	struct timespec nap = { .tv_nsec = 50 * 1000 * 1000 };
	int fd, tries, rc;

	if (!path)
		return -ENOMEM;
	rc = make_lock_dir();
	if (rc)
		return rc;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return refuse(errno, "%s: %s", path, strerror(errno));
	for (tries = 0; flock(fd, LOCK_EX | LOCK_NB); tries++) {
		if (errno != EWOULDBLOCK && errno != EINTR) {
			int err = errno;

			close(fd);
			return refuse(err, "%s: %s", path, strerror(err));
		}
		if (tries == 10)
			inform("waiting for another shadowctl");
		if (tries >= LOCK_WAIT_SECONDS * 20) {
			close(fd);
			return refuse(EBUSY, "%s: another shadowctl is at work for a minute already",
				      path);
		}
		nanosleep(&nap, NULL);
	}
	*ret_fd = fd;
	return 0;
}

int lock_area(const char *uuid, int *ret_fd)
{
	return lock_file(uuid, ret_fd);
}

int lock_all(int *ret_fd)
{
	return lock_file("all", ret_fd);
}

static int compare_uuids(const void *a, const void *b)
{
	return strcmp((*(struct volume *const *)a)->uuid, (*(struct volume *const *)b)->uuid);
}

int volumes_lock(struct volume **list, size_t count)
{
	auto_free struct volume **sorted = calloc(count + 1, sizeof(*sorted));
	size_t i;
	int rc;

	if (!sorted)
		return -ENOMEM;
	memcpy(sorted, list, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), compare_uuids);
	for (i = 0; i < count; i++) {
		if (sorted[i]->lock >= 0)
			continue;
		rc = lock_area(sorted[i]->uuid, &sorted[i]->lock);
		if (!rc)
			rc = volume_refresh(sorted[i]);
		if (rc)
			return rc;
	}
	return 0;
}

/* --- copies --- */

void copy_spec(const struct copy *c, char ret[COPY_SPEC_SIZE])
{
	snprintf(ret, COPY_SPEC_SIZE, "%s@%u", c->volume->node.name, c->id);
}

void copy_node_name(const struct copy *c, char ret[NODE_NAME_SIZE])
{
	snprintf(ret, NODE_NAME_SIZE, "%.100s-shadow-%u", c->volume->node.name, c->id);
}

static void copy_node_uuid(const struct copy *c, char ret[NODE_UUID_SIZE])
{
	snprintf(ret, NODE_UUID_SIZE, NODE_PREFIX "%s-%u", c->volume->uuid, c->id);
}

/* Not somebody else's of the same name */
static bool copy_node(const struct copy *c, struct node *ret)
{
	char name[NODE_NAME_SIZE], uuid[NODE_UUID_SIZE];

	copy_node_name(c, name);
	copy_node_uuid(c, uuid);
	return !node_info(name, ret) && !strcmp(ret->uuid, uuid);
}

const char *copy_state(const struct copy *c)
{
	return c->invalid ? "invalid" : c->damaged ? "damaged" : c->suspect ? "suspect" :
	       c->preparing ? "preparing" : c->merging ? "merging" : "valid";
}

int copy_show(const struct copy *c, char **ret_path)
{
	char name[NODE_NAME_SIZE], uuid[NODE_UUID_SIZE], params[64];
	const struct volume *v = c->volume;
	struct node node;
	int rc;

	copy_node_name(c, name);
	copy_node_uuid(c, uuid);
	snprintf(params, sizeof(params), "%u:%u %u:%u %u", major(v->origin), minor(v->origin),
		 major(v->area), minor(v->area), c->id);
	if (c->invalid)
		return refuse(EIO, "%s@%u: the copy is lost and can only be deleted",
			      v->node.name, c->id);
	node_remove_half_made(uuid);
	rc = node_info(name, &node);
	if (!rc && strcmp(node.uuid, uuid))
		return refuse(EEXIST, "%s: a device of that name is there and is not ours", name);
	if (rc) {
		rc = node_create(name, uuid, c->sectors, TARGET_SHADOW, params,
				 NODE_READ_ONLY | NODE_HIDDEN);
		if (rc == -EBUSY || rc == -EEXIST)	/* another one was faster */
			rc = node_info(name, &node);
		if (rc)
			return refuse(-rc, "%s@%u: no device for the copy: %s", v->node.name,
				      c->id, node_why());
	}
	if (!ret_path)
		return 0;
	*ret_path = format_string("/dev/mapper/%s", name);
	return *ret_path ? 0 : -ENOMEM;
}

char *copy_mounted_on(const struct copy *c)
{
	struct node node;

	return copy_node(c, &node) ? device_mounted_on(node.dev) : NULL;
}

int copy_hide(const struct copy *c)
{
	auto_free char *mount = copy_mounted_on(c);
	struct node node;
	int rc;

	if (mount)
		return refuse(EBUSY, "%s@%u: is mounted on %s, unmount it first",
			      c->volume->node.name, c->id, mount);
	if (!copy_node(c, &node))
		return 0;
	rc = node_remove(node.name);
	if (rc)
		return refuse(-rc, "%s: is in use, the copy stays: %s", node.name, node_why());
	return 0;
}

int copy_set_attr(const struct copy *c)
{
	auto_free char *hex = NULL;
	int rc;

	rc = attr_print(&c->attr, &hex);
	if (rc == -EOPNOTSUPP)
		return refuse(-rc, "%s@%u: its attributes were made by a newer shadowctl, left alone",
			      c->volume->node.name, c->id);
	if (!rc)
		rc = node_message(c->volume->node.name, NULL, "attr %u %s", c->id, hex);
	if (rc)
		return refuse(-rc, "%s@%u: attributes not written: %s", c->volume->node.name, c->id,
			      rc == -ENOMEM ? "out of memory" : node_why());
	return 0;
}

int copy_check_lock(const struct copy *c)
{
	char until[40];

	if (c->locked_until <= (uint64_t)time(NULL))
		return 0;
	print_time(c->locked_until, false, until);
	return refuse(EBUSY, "%s@%u: is locked until %s, see shadowctl unlock",
		      c->volume->node.name, c->id, until);
}

/* --- the kernel's part --- */

int module_load(void)
{
	const char *const modprobe[] = { "modprobe", "dm-shadow", NULL };
	unsigned int version[3];
	int rc;

	rc = node_target_version(TARGET_ORIGIN, version);
	if (rc == -ENOENT) {
		run_program(modprobe, verbosity < 1);
		rc = node_target_version(TARGET_ORIGIN, version);
	}
	if (rc == -ENOENT)
		return refuse(ENODEV, "the kernel module dm-shadow is not loaded and modprobe does not find it");
	if (rc)
		return refuse(-rc, "device-mapper does not answer: %s", node_why());
	if (version[0] != TARGET_MAJOR)
		return refuse(EPROTONOSUPPORT, "the kernel module dm-shadow is version %u.%u.%u, this tool is for %u.x",
			      version[0], version[1], version[2], TARGET_MAJOR);
	return 0;
}
