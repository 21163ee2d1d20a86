// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * mount, unmount: the files of a shadow copy, read-only.
 *
 * The device is read-only itself, so a driver that wants to replay a journal
 * must be told not to; the variants are tried in turn.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "cmd.h"
#include "device.h"
#include "ntfs.h"
#include "output.h"
#include "volume.h"

#define MOUNT_DIR "/run/shadowctl"

struct variant {
	const char *type;		/* as libblkid calls it */
	const char *driver;		/* kernel's name; NULL: the program ntfs-3g */
	const char *options;
};

static const struct variant variants[] = {
	{ "ntfs", "ntfs3", "iocharset=utf8" },
	{ "ntfs", NULL, "ro" },
	{ "ext2", "ext4", "" },
	{ "ext3", "ext4", "" },
	{ "ext3", "ext4", "noload" },
	{ "ext4", "ext4", "" },
	{ "ext4", "ext4", "noload" },
	/* The volume has the same UUID, and may be mounted. */
	{ "xfs", "xfs", "nouuid" },
	{ "xfs", "xfs", "nouuid,norecovery" },
	{ "vfat", "vfat", "iocharset=utf8" },
	{ "vfat", "vfat", "" },
	{ "exfat", "exfat", "" },
};

static bool have_driver(const char *name)
{
	auto_free char *text = read_text("/proc/filesystems");
	char *line, *rest = text, *tab;

	while (rest && (line = strsep(&rest, "\n"))) {
		tab = strchr(line, '\t');
		if (tab && !strcmp(tab + 1, name))
			return true;
	}
	return false;
}

static bool load_driver(const char *name)
{
	auto_free char *alias = format_string("fs-%s", name);
	const char *const modprobe[] = { "modprobe", "-q", "-b", alias, NULL };

	if (have_driver(name))
		return true;
	if (alias)
		run_program(modprobe, true);
	return have_driver(name);
}

static int try_variant(const struct variant *v, const char *type, const char *device,
		       const char *dir)
{
	const char *const ntfs_3g[] = { "ntfs-3g", "-o", v->options, device, dir, NULL };
	int rc;

	if (!v->driver) {
		rc = run_program(ntfs_3g, verbosity < 1);
		/* Its exit status tells no errno. */
		return rc > 0 ? -EIO : rc == -ENOENT ? -ENODEV : rc;
	}
	if (!load_driver(v->driver))
		return -ENODEV;
	if (mount(device, dir, v->driver, MS_RDONLY | MS_NODEV | MS_NOSUID, v->options))
		return -errno;
	chat("%s: mounted by %s as %s", device, v->driver, type);
	return 0;
}

static int mount_device(const char *spec, const char *device, const char *dir)
{
	const struct variant generic = { NULL, NULL, "" };
	int rc = -ENODEV, last = -ENODEV;
	struct fs_info fs;
	bool known = false;
	size_t i;

	rc = fs_info(device, &fs);
	if (rc)
		return refuse(-rc, "%s: cannot be read: %s", spec, strerror(-rc));
	if (!fs.type[0])
		return refuse(ENODEV, "%s: holds no file system that is known", spec);
	for (i = 0; i < ARRAY_SIZE(variants); i++) {
		if (strcmp(variants[i].type, fs.type))
			continue;
		known = true;
		rc = try_variant(&variants[i], fs.type, device, dir);
		if (!rc)
			return 0;
		if (rc != -ENODEV)
			last = rc;
	}
	if (!known) {
		struct variant v = generic;

		v.driver = fs.type;
		last = try_variant(&v, fs.type, device, dir);
		if (!last)
			return 0;
	}
	if (last == -ENODEV)
		return refuse(ENODEV, "%s: no driver for %s is there", spec, fs.type);
	return refuse(-last, "%s: cannot be mounted on %s: %s", spec, dir, strerror(-last));
}

static int make_mount_point(const char *spec, const char *arg, char **ret)
{
	struct stat st;
	char *dir;

	if (arg) {
		if (stat(arg, &st))
			return refuse(errno, "%s: %s", arg, strerror(errno));
		if (!S_ISDIR(st.st_mode))
			return refuse(ENOTDIR, "%s: is no directory", arg);
		*ret = realpath(arg, NULL);
		return *ret ? 0 : -ENOMEM;
	}
	dir = format_string("%s/%s", MOUNT_DIR, spec);
	if (!dir)
		return -ENOMEM;
	if ((mkdir(MOUNT_DIR, 0755) && errno != EEXIST) ||
	    (mkdir(dir, 0755) && errno != EEXIST)) {
		int err = errno;

		free(dir);
		return refuse(err, "%s: %s", MOUNT_DIR, strerror(err));
	}
	*ret = dir;
	return 0;
}

enum { F_COPY, F_DEVICE, F_DIR };

static const struct field fields[] = {
	[F_COPY] = { "copy", "Shadow copy", FIELD_TEXT, 0 },
	[F_DEVICE] = { "device", "Device", FIELD_TEXT, 0 },
	[F_DIR] = { "mounted", "Mounted on", FIELD_TEXT, 0 },
};

static void print_mounted(const char *spec, const char *device, const char *dir)
{
	struct output *o;

	if (output_format == FORMAT_TEXT) {
		puts(dir);
		return;
	}
	o = output_new("mount", fields, ARRAY_SIZE(fields), OUTPUT_ONE);
	output_record(o);
	output_text(o, F_COPY, spec);
	output_text(o, F_DEVICE, device);
	output_text(o, F_DIR, dir);
	output_print(o);
}

static int run_mount(const struct request *r)
{
	auto_free char *device = NULL, *dir = NULL, *before = NULL;
	const char *arg = r->nr_args > 1 ? r->args[1] : NULL;
	struct volumes all = { 0 };
	char spec[COPY_SPEC_SIZE];
	struct volume *v;
	struct copy *c;
	uint32_t id;
	int rc;

	rc = volumes_load(&all);
	if (!rc)
		rc = volumes_get_copy(&all, r->args[0], &c);
	if (rc)
		goto out;
	v = c->volume;
	id = c->id;
	rc = volumes_lock(&v, 1);	/* not to be deleted meanwhile */
	c = rc ? NULL : volume_copy(v, id);
	if (!rc && !c)
		rc = refuse(ENOENT, "%s: there is no such copy", r->args[0]);
	if (rc)
		goto out;
	copy_spec(c, spec);
	before = copy_mounted_on(c);
	if (before && !arg) {
		inform("%s: is mounted on %s already", spec, before);
		print_mounted(spec, NULL, before);
		goto out;
	}
	if (c->preparing)
		rc = refuse(EAGAIN, "%s: its creation was not finished", spec);
	if (!rc && c->suspect)
		warn("%s: the volume was written while it was not active, or part of the copy was lost; what is read here may be wrong",
		     spec);
	if (!rc)
		rc = copy_show(c, &device);
	if (!rc)
		rc = make_mount_point(spec, arg, &dir);
	if (rc)
		goto out;
	rc = mount_device(spec, device, dir);
	if (!rc)
		print_mounted(spec, device, dir);
	else if (!arg)
		rmdir(dir);
out:
	volumes_free(&all);
	return rc;
}

const struct command cmd_mount = {
	"mount", "COPY [DIR]", 1, 2, "mount a shadow copy read-only, on DIR or below /run/shadowctl",
	NULL, run_mount
};

static int run_unmount(const struct request *r)
{
	struct volumes all = { 0 };
	char **mounts = NULL;
	char name[NODE_NAME_SIZE];
	size_t count = 0, i;
	struct node node;
	struct copy *c;
	int rc;

	rc = volumes_load(&all);
	if (!rc)
		rc = volumes_get_copy(&all, r->args[0], &c);
	if (rc)
		goto out;
	copy_node_name(c, name);
	if (!node_info(name, &node))
		rc = device_mounts(node.dev, &mounts, &count);
	if (!rc && !count)
		rc = refuse(EINVAL, "%s: is not mounted", r->args[0]);
	/* Newest first, should they be stacked */
	for (i = count; !rc && i; i--) {
		if (umount2(mounts[i - 1], UMOUNT_NOFOLLOW))
			rc = refuse(errno, "%s: cannot be unmounted: %s", mounts[i - 1],
				    errno == EBUSY ? "it is in use" : strerror(errno));
		else if (!strncmp(mounts[i - 1], MOUNT_DIR "/", strlen(MOUNT_DIR) + 1))
			rmdir(mounts[i - 1]);
	}
	free_strings(mounts, count);
out:
	volumes_free(&all);
	return rc;
}

const struct command cmd_unmount = {
	"unmount", "COPY", 1, 1, "unmount a shadow copy, wherever it is mounted", NULL, run_unmount
};
