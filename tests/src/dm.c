// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "dm.h"

static int control(void)
{
	static int fd = -1;

	if (fd < 0) {
		fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
		if (fd < 0)
			die("/dev/mapper/control: %s", strerror(errno));
	}
	return fd;
}

unsigned int dm_fail_nth;
bool dm_failed;

/*
 * Let allocation @n of what follows in this thread fail; 0: none.  Returns what is
 * left of the count before: 0 if it has failed.
 */
static unsigned int fail_nth(unsigned int n)
{
	static int fd = -1;
	char text[20] = "", set[20];

	if (fd < 0)
		fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	snprintf(set, sizeof(set), "%u", n);
	if (fd < 0 || pread(fd, text, sizeof(text) - 1, 0) <= 0 ||
	    pwrite(fd, set, strlen(set), 0) < 0)
		die("fail-nth: %s", strerror(errno));
	return atoi(text);
}

static int faulty_ioctl(unsigned long command, void *data)
{
	/* A new node without a table is no business of a target's. */
	bool faulty = dm_fail_nth && command != DM_DEV_CREATE;
	int fd = control(), rc;

	if (faulty)
		fail_nth(dm_fail_nth);
	rc = ioctl(fd, command, data) ? -errno : 0;
	if (faulty && !fail_nth(0))
		dm_failed = true;
	return rc;
}

/*
 * Run @command on @name with @size bytes behind the header, in a buffer of at
 * least @room bytes behind it for the answer.  *@ret, if given, is the whole
 * of it: free() it.
 */
static int run(unsigned long command, const char *name, u32 flags, const void *data,
	       size_t size, size_t room, struct dm_ioctl **ret)
{
	struct dm_ioctl *io;
	size_t total;
	int rc;

again:
	total = sizeof(*io) + max(size, room);
	io = xmalloc(total);
	io->version[0] = DM_VERSION_MAJOR;
	io->data_size = total;
	io->data_start = sizeof(*io);
	io->flags = flags;
	snprintf(io->name, sizeof(io->name), "%s", name);
	if (size)
		memcpy(io + 1, data, size);
	if (command == DM_TABLE_LOAD)
		io->target_count = 1;
	rc = faulty_ioctl(command, io);
	/* Nothing that we ask has been done twice by asking again. */
	if (!rc && ret && io->flags & DM_BUFFER_FULL_FLAG && room < 16 * MIB) {
		room = max(room, 64 << 10) * 4;
		free(io);
		goto again;
	}
	if (ret && !rc)
		*ret = io;
	else
		free(io);
	return rc;
}

int dm_load(const char *name, u64 sectors, const char *target, const char *params)
{
	size_t size = sizeof(struct dm_target_spec) + strlen(params) + 1;
	struct dm_target_spec *spec;
	int rc;

	size = (size + 7) & ~7ul;
	spec = xmalloc(size);
	spec->length = sectors;
	spec->next = size;
	snprintf(spec->target_type, sizeof(spec->target_type), "%s", target);
	strcpy((char *)(spec + 1), params);
	rc = run(DM_TABLE_LOAD, name, 0, spec, size, 0, NULL);
	free(spec);
	return rc;
}

int dm_suspend(const char *name)
{
	return run(DM_DEV_SUSPEND, name, DM_SUSPEND_FLAG, NULL, 0, 0, NULL);
}

int dm_resume(const char *name)
{
	return run(DM_DEV_SUSPEND, name, 0, NULL, 0, 0, NULL);
}

static int drop(const char *name)
{
	unsigned int tries;
	int rc;

	for (tries = 0; tries < 100; tries++) {
		rc = run(DM_DEV_REMOVE, name, 0, NULL, 0, 0, NULL);
		if (rc != -EBUSY)
			break;
		usleep(50000);
	}
	return rc;
}

int dm_make(struct dm_node *node, const char *name, u64 sectors, const char *target,
	    const char *params)
{
	struct dm_ioctl *io;
	unsigned int tries;
	u64 dev;
	int rc;

	rc = run(DM_DEV_CREATE, name, 0, NULL, 0, 0, &io);
	if (rc)
		return rc;
	dev = io->dev;
	free(io);
	rc = dm_load(name, sectors, target, params);
	if (!rc)
		rc = dm_resume(name);
	if (rc) {
		drop(name);
		return rc;
	}
	snprintf(node->name, sizeof(node->name), "%s", name);
	snprintf(node->path, sizeof(node->path), "/dev/dm-%u",
		 (unsigned int)((dev & 0xff) | ((dev >> 12) & 0xfff00)));
	for (tries = 0; tries < 100 && access(node->path, F_OK); tries++)
		usleep(20000);
	return 0;
}

int dm_drop(struct dm_node *node)
{
	int rc = 0;

	if (node->name[0])
		rc = drop(node->name);
	if (!rc)
		node->name[0] = 0;
	return rc;
}

int dm_message(const char *name, char **reply, const char *format, ...)
{
	struct dm_target_msg *msg;
	struct dm_ioctl *io;
	va_list args;
	char *text;
	int rc, n;

	if (reply)
		*reply = NULL;
	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	if (n < 0)
		die("no memory");
	msg = xmalloc(sizeof(*msg) + n + 1);
	memcpy(msg->message, text, n + 1);
	free(text);
	rc = run(DM_TARGET_MSG, name, 0, msg, sizeof(*msg) + n + 1, 64 << 10, &io);
	free(msg);
	if (rc)
		return rc;
	if (io->flags & DM_BUFFER_FULL_FLAG)
		die("%s: answer too long", name);
	if (reply && io->flags & DM_DATA_OUT_FLAG)
		*reply = strdup((char *)io + io->data_start);
	free(io);
	return 0;
}

char *dm_status(const char *name)
{
	struct dm_target_spec *spec;
	struct dm_ioctl *io;
	char *text;
	int rc;

	/* No flush of what is in memory, only the state */
	rc = run(DM_TABLE_STATUS, name, DM_NOFLUSH_FLAG, NULL, 0, 64 << 10, &io);
	if (rc)
		die("status of %s: %s", name, strerror(-rc));
	if (!io->target_count)
		die("status of %s: no table", name);
	spec = (void *)((char *)io + io->data_start);
	text = strdup((char *)(spec + 1));
	free(io);
	return text;
}

char *dm_field(const char *name, unsigned int field)
{
	char *text = dm_status(name), *save, *word;
	unsigned int n = 1;

	for (word = strtok_r(text, " ", &save); word && n < field; n++)
		word = strtok_r(NULL, " ", &save);
	if (!word)
		die("status of %s has no field %u", name, field);
	word = strdup(word);
	free(text);
	return word;
}
