// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * libdevmapper, wrapped: see dm.h.
 *
 * Why something was refused is in the kernel's log only.  So the log's end is
 * noted before each ioctl, and what device-mapper said about us since is the
 * reason given to people.
 */
#include <errno.h>
#include <fcntl.h>
#include <libdevmapper.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include "dm.h"
#include "util.h"

static char why[512];
static int log_fd = -2;		/* /dev/kmsg; -1: not to be had */
static bool holding;
static uint32_t hold_cookie;	/* what udev has to do since */

static void auto_task_fn(struct dm_task **t)
{
	if (*t)
		dm_task_destroy(*t);
}

#define auto_task __attribute__((cleanup(auto_task_fn)))

const char *node_why(void)
{
	return why;
}

/* Takes libdevmapper's own lines, which repeat what we say better. */
static void PRINTF(5, 6) log_line(int level, const char *file, int line, int err,
				  const char *fmt, ...)
{
	char text[512];
	va_list ap;

	(void)file;
	(void)line;
	(void)err;
	if (holding || verbosity < 1 || (level & 7) > 4)	/* _LOG_WARN */
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	chat("libdevmapper: %s", text);
}

static void log_mark(void)
{
	if (log_fd == -2)
		log_fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (log_fd >= 0)
		lseek(log_fd, 0, SEEK_END);
}

/* The last thing that our targets said since log_mark(), without prefixes. */
static bool log_reason(char *buf, size_t size)
{
	char record[2048], *text, *end, *p;
	bool found = false;
	ssize_t n;

	if (log_fd < 0)
		return false;
	for (;;) {
		n = read(log_fd, record, sizeof(record) - 1);
		if (n < 0 && errno == EPIPE)
			continue;	/* overrun */
		if (n <= 0)
			break;
		record[n] = 0;
		text = strchr(record, ';');
		if (!text)
			continue;
		text++;
		end = strchr(text, '\n');
		if (end)
			*end = 0;
		if (strncmp(text, "device-mapper: ", 15))
			continue;
		text += 15;
		/* "table: 253:0: shadow-origin: why (-EINVAL)", "shadow: why" */
		if (!strncmp(text, "table: ", 7)) {
			p = strstr(text + 7, ": ");
			text = p ? p + 2 : text;
		}
		p = text + strcspn(text, ": ");
		if (strncmp(text, "shadow", 6) || strncmp(p, ": ", 2) || !p[2])
			continue;
		snprintf(buf, size, "%s", p + 2);
		p = strstr(buf, " (-E");
		if (p)
			*p = 0;
		found = true;
	}
	return found;
}

static struct dm_task *task_new(int type, const char *name)
{
	static bool set_up;
	struct dm_task *t;

	if (!set_up) {
		dm_log_with_errno_init(log_line);
		set_up = true;
	}
	t = dm_task_create(type);
	if (!t)
		return NULL;
	if (name && !dm_task_set_name(t, name)) {
		dm_task_destroy(t);
		return NULL;
	}
	return t;
}

/* libdevmapper made no task, or gave up before the ioctl. */
static int no_task(void)
{
	auto_close int fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
	int err = fd >= 0 ? ENOMEM : geteuid() ? EPERM : ENODEV;

	snprintf(why, sizeof(why), "%s", err == ENODEV ? "the kernel has no device-mapper" :
		 strerror(err));
	return -err;
}

/* Runs @t, which may be NULL. */
static int task_run(struct dm_task *t)
{
	int err;

	if (!t)
		return no_task();
	log_mark();
	if (dm_task_run(t))
		return 0;
	err = dm_task_get_errno(t);
	if (!err && access("/dev/mapper/control", R_OK | W_OK))
		return no_task();
	if (!err)
		err = EIO;
	if (!log_reason(why, sizeof(why)))
		snprintf(why, sizeof(why), "%s", strerror(err));
	return -err;
}

/* The same with udev: returns when its rules have run. */
static int task_run_udev(struct dm_task *t, uint16_t flags)
{
	uint32_t cookie = 0;
	int rc;

	if (!t || !dm_task_set_cookie(t, &cookie, flags))
		return task_run(NULL);
	rc = task_run(t);
	dm_udev_wait(cookie);
	return rc;
}

int node_info(const char *name, struct node *ret)
{
	auto_task struct dm_task *t = task_new(DM_DEVICE_INFO, name);
	struct dm_info info;
	const char *uuid;
	int rc;

	rc = task_run(t);
	if (rc)
		return rc;
	if (!dm_task_get_info(t, &info))
		return -EIO;
	if (!info.exists) {
		snprintf(why, sizeof(why), "%s", strerror(ENXIO));
		return -ENXIO;
	}
	memset(ret, 0, sizeof(*ret));
	uuid = dm_task_get_uuid(t);
	snprintf(ret->name, sizeof(ret->name), "%s", name);
	snprintf(ret->uuid, sizeof(ret->uuid), "%s", uuid ? uuid : "");
	ret->dev = makedev(info.major, info.minor);
	ret->suspended = info.suspended;
	ret->has_table = info.live_table;
	ret->opens = info.open_count;
	return 0;
}

static int compare_nodes(const void *a, const void *b)
{
	const struct node *x = a, *y = b;

	return x->dev < y->dev ? -1 : x->dev > y->dev;
}

int node_list(const char *prefix, struct node **ret, size_t *ret_count)
{
	auto_task struct dm_task *t = task_new(DM_DEVICE_LIST, NULL);
	struct node *list = NULL;
	struct dm_names *names;
	size_t count = 0;
	int rc;

	rc = task_run(t);
	if (rc)
		return rc;
	names = dm_task_get_names(t);
	if (!names)
		return -EIO;
	while (names->dev) {
		struct node node, *more;

		/* One that goes away meanwhile is no error. */
		if (!node_info(names->name, &node) &&
		    !strncmp(node.uuid, prefix, strlen(prefix))) {
			more = realloc(list, (count + 1) * sizeof(*list));
			if (!more) {
				free(list);
				return -ENOMEM;
			}
			list = more;
			list[count++] = node;
		}
		if (!names->next)
			break;
		names = (struct dm_names *)((char *)names + names->next);
	}
	if (count)
		qsort(list, count, sizeof(*list), compare_nodes);
	*ret = list;
	*ret_count = count;
	return 0;
}

int node_remove(const char *name)
{
	auto_task struct dm_task *t = task_new(DM_DEVICE_REMOVE, name);

	/* udev's probing keeps a node open for a moment */
	if (!t || !dm_task_retry_remove(t))
		return task_run(NULL);
	return task_run_udev(t, 0);
}

void node_remove_half_made(const char *uuid)
{
	auto_task struct dm_task *t = task_new(DM_DEVICE_INFO, NULL);
	struct dm_info info;

	if (t && dm_task_set_uuid(t, uuid) && !task_run(t) && dm_task_get_info(t, &info) &&
	    info.exists && !info.live_table)
		node_remove(dm_task_get_name(t));
}

static int load_table(const char *name, uint64_t sectors, const char *target, const char *params,
		      unsigned int flags)
{
	auto_task struct dm_task *t = task_new(DM_DEVICE_RELOAD, name);

	if (!t || !dm_task_add_target(t, 0, sectors, target, params) ||
	    ((flags & NODE_READ_ONLY) && !dm_task_set_ro(t)))
		return task_run(NULL);
	return task_run(t);
}

void node_forget_table(const char *name)
{
	auto_task struct dm_task *t = task_new(DM_DEVICE_CLEAR, name);
	char reason[sizeof(why)];

	memcpy(reason, why, sizeof(reason));
	task_run(t);
	memcpy(why, reason, sizeof(why));
}

static int resume(const char *name, uint16_t udev)
{
	auto_task struct dm_task *t = task_new(DM_DEVICE_RESUME, name);

	/* For a live node with a new table, which this suspends by itself */
	if (t && !dm_task_skip_lockfs(t))
		return task_run(NULL);
	return task_run_udev(t, udev);
}

/* In steps of our own: libdevmapper's, being one, loses the errno of the load. */
int node_create(const char *name, const char *uuid, uint64_t sectors, const char *target,
		const char *params, unsigned int flags)
{
	auto_task struct dm_task *t = task_new(DM_DEVICE_CREATE, name);
	char reason[sizeof(why)];
	uint16_t udev = 0;
	int rc;

	if (flags & NODE_HIDDEN)
		udev = DM_UDEV_DISABLE_DISK_RULES_FLAG | DM_UDEV_DISABLE_OTHER_RULES_FLAG |
		       DM_UDEV_LOW_PRIORITY_FLAG;
	if (!t || !dm_task_set_uuid(t, uuid))
		return task_run(NULL);
	rc = task_run(t);
	if (rc)
		return rc;
	rc = load_table(name, sectors, target, params, flags);
	if (!rc)
		rc = resume(name, udev);
	if (!rc)
		return 0;
	memcpy(reason, why, sizeof(reason));
	node_remove(name);
	memcpy(why, reason, sizeof(why));
	return rc;
}

int node_reload(const char *name, uint64_t sectors, const char *target, const char *params)
{
	auto_free char *old_target = NULL, *old_params = NULL;
	char reason[sizeof(why)];
	uint64_t old_sectors;
	struct node node;
	int rc;

	rc = node_table(name, &old_sectors, &old_target, &old_params);
	if (!rc)
		rc = load_table(name, sectors, target, params, 0);
	test_stop("loaded");
	/* One ioctl suspends, swaps and resumes: killed, we leave nothing suspended. */
	if (!rc)
		rc = resume(name, 0);
	if (!rc)
		return 0;
	node_forget_table(name);
	if (node_info(name, &node) || !node.suspended)
		return rc;
	/* It is the new table that does not let it go on. */
	memcpy(reason, why, sizeof(reason));
	if (load_table(name, old_sectors, old_target, old_params, 0) || resume(name, 0)) {
		node_forget_table(name);
		snprintf(why, sizeof(why), "%.400s; the device stays suspended", reason);
	} else {
		memcpy(why, reason, sizeof(why));
	}
	return rc;
}

int node_suspend(const char *name, bool freeze)
{
	auto_task struct dm_task *t = task_new(DM_DEVICE_SUSPEND, name);

	if (!t || (!freeze && !dm_task_skip_lockfs(t)))
		return task_run(NULL);
	return task_run(t);
}

int node_resume(const char *name)
{
	auto_task struct dm_task *t = NULL;

	if (!holding)
		return resume(name, 0);
	/*
	 * In a hold nobody waits for udev, which may need what is suspended:
	 * node_hold_end() does.  Without a cookie udev would drop the links.
	 */
	t = task_new(DM_DEVICE_RESUME, name);
	if (t && hold_cookie && !dm_task_set_cookie(t, &hold_cookie, 0))
		hold_cookie = 0;
	return task_run(t);
}

static int first_target(int type, const char *name, uint64_t *ret_sectors, char **ret_target,
			char **ret_params)
{
	auto_task struct dm_task *t = task_new(type, name);
	char *target = NULL, *params = NULL;
	uint64_t start, sectors;
	int rc;

	rc = task_run(t);
	if (rc)
		return rc;
	dm_get_next_target(t, NULL, &start, &sectors, &target, &params);
	if (!target || !params) {
		snprintf(why, sizeof(why), "it has no table");
		return -ENXIO;
	}
	if (ret_target) {
		*ret_target = strdup(target);
		if (!*ret_target)
			return -ENOMEM;
	}
	*ret_params = strdup(params);
	if (!*ret_params) {
		if (ret_target)
			free(*ret_target);
		return -ENOMEM;
	}
	if (ret_sectors)
		*ret_sectors = sectors;
	return 0;
}

int node_table(const char *name, uint64_t *ret_sectors, char **ret_target, char **ret_params)
{
	return first_target(DM_DEVICE_TABLE, name, ret_sectors, ret_target, ret_params);
}

int node_status(const char *name, char **ret_params)
{
	return first_target(DM_DEVICE_STATUS, name, NULL, NULL, ret_params);
}

int node_message(const char *name, char **ret_reply, const char *fmt, ...)
{
	auto_free char *message = NULL;
	auto_task struct dm_task *t = task_new(DM_DEVICE_TARGET_MSG, name);
	const char *reply;
	va_list ap;
	int rc;

	va_start(ap, fmt);
	rc = vasprintf(&message, fmt, ap);
	va_end(ap);
	if (rc < 0) {
		message = NULL;
		return task_run(NULL);
	}
	if (!t || !dm_task_set_sector(t, 0) || !dm_task_set_message(t, message))
		return task_run(NULL);
	rc = task_run(t);
	if (rc || !ret_reply)
		return rc;
	reply = dm_task_get_message_response(t);
	*ret_reply = strdup(reply ? reply : "");
	return *ret_reply ? 0 : -ENOMEM;
}

int node_target_version(const char *target, unsigned int ret[3])
{
	auto_task struct dm_task *t = task_new(DM_DEVICE_LIST_VERSIONS, NULL);
	struct dm_versions *v;
	int rc;

	rc = task_run(t);
	if (rc)
		return rc;
	v = dm_task_get_versions(t);
	while (v) {
		if (!strcmp(v->name, target)) {
			ret[0] = v->version[0];
			ret[1] = v->version[1];
			ret[2] = v->version[2];
			return 0;
		}
		if (!v->next)
			break;
		v = (struct dm_versions *)((char *)v + v->next);
	}
	return -ENOENT;
}

void node_hold_begin(void)
{
	if (!dm_udev_create_cookie(&hold_cookie))
		hold_cookie = 0;
	mlockall(MCL_CURRENT | MCL_FUTURE);
	holding = true;
}

void node_hold_end(void)
{
	holding = false;
	munlockall();
	if (hold_cookie)
		dm_udev_wait(hold_cookie);
	hold_cookie = 0;
}
