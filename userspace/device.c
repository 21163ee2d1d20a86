// SPDX-License-Identifier: GPL-2.0-or-later
/* Block devices and loop files: see device.h. */
#include <blkid/blkid.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libmount/libmount.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <uuid/uuid.h>

#include "device.h"
#include "ntfs.h"
#include "util.h"

/* --- sysfs --- */

static char *sys_path(dev_t dev, const char *what)
{
	return format_string("/sys/dev/block/%u:%u/%s", major(dev), minor(dev), what);
}

static char *sys_text(dev_t dev, const char *what)
{
	auto_free char *path = sys_path(dev, what);
	char *text = path ? read_text(path) : NULL;

	if (text && !*text) {
		free(text);
		text = NULL;
	}
	return text;
}

static bool parse_dev(const char *text, dev_t *ret)
{
	unsigned int ma, mi;

	if (!text || sscanf(text, "%u:%u", &ma, &mi) != 2)
		return false;
	*ret = makedev(ma, mi);
	return true;
}

int device_number(const char *path, dev_t *ret)
{
	struct stat st;

	if (stat(path, &st))
		return -errno;
	if (!S_ISBLK(st.st_mode))
		return -ENOTBLK;
	*ret = st.st_rdev;
	return 0;
}

char *device_kernel_name(dev_t dev)
{
	auto_free char *path = format_string("/sys/dev/block/%u:%u", major(dev), minor(dev));
	char target[PATH_MAX];
	ssize_t n;

	n = path ? readlink(path, target, sizeof(target) - 1) : -1;
	if (n <= 0)
		return NULL;
	target[n] = 0;
	return strrchr(target, '/') ? strdup(strrchr(target, '/') + 1) : NULL;
}

char *device_path(dev_t dev)
{
	auto_free char *dm = sys_text(dev, "dm/name"), *kernel = NULL;
	char *path = NULL;
	dev_t found;

	if (dm)
		path = format_string("/dev/mapper/%s", dm);
	if (path && !device_number(path, &found) && found == dev)
		return path;
	free(path);
	kernel = device_kernel_name(dev);
	path = kernel ? format_string("/dev/%s", kernel) : NULL;
	/* Slashes are exclamation marks there: cciss!c0d0 */
	for (char *p = path; p && *p; p++)
		if (*p == '!')
			*p = '/';
	if (path && !device_number(path, &found) && found == dev)
		return path;
	free(path);
	return format_string("%u:%u", major(dev), minor(dev));
}

uint64_t device_sectors(dev_t dev)
{
	auto_free char *text = sys_text(dev, "size");
	uint64_t n;

	return text && !parse_number(text, UINT64_MAX, &n) ? n : 0;
}

bool device_is_node(dev_t dev, const char *uuid_prefix)
{
	auto_free char *uuid = sys_text(dev, "dm/uuid");

	return uuid && !strncmp(uuid, uuid_prefix, strlen(uuid_prefix));
}

/* --- mounts --- */

void free_strings(char **list, size_t count)
{
	while (count)
		free(list[--count]);
	free(list);
}

int device_mounts(dev_t dev, char ***ret, size_t *ret_count)
{
	struct libmnt_table *table = mnt_new_table_from_file("/proc/self/mountinfo");
	struct libmnt_iter *it = mnt_new_iter(MNT_ITER_FORWARD);
	struct libmnt_fs *fs;
	char **list = NULL;
	size_t count = 0;
	int rc = 0;

	if (!table || !it)
		rc = -ENOMEM;
	while (!rc && !mnt_table_next_fs(table, it, &fs)) {
		const char *source = mnt_fs_get_source(fs);
		dev_t from;
		char **more;

		/* btrfs has device numbers of its own: look at the source too */
		if (mnt_fs_get_devno(fs) != dev &&
		    (!source || device_number(source, &from) || from != dev))
			continue;
		more = realloc(list, (count + 1) * sizeof(*list));
		if (!more) {
			rc = -ENOMEM;
			break;
		}
		list = more;
		list[count] = strdup(mnt_fs_get_target(fs));
		if (!list[count++])
			rc = -ENOMEM;
	}
	mnt_free_iter(it);
	mnt_unref_table(table);
	if (rc) {
		free_strings(list, count);
		return rc;
	}
	*ret = list;
	*ret_count = count;
	return 0;
}

char *device_mounted_on(dev_t dev)
{
	char **list, *first = NULL;
	size_t count;

	if (device_mounts(dev, &list, &count))
		return NULL;
	if (count)
		first = strdup(list[0]);
	free_strings(list, count);
	return first;
}

/* --- who has it --- */

static bool is_swap(dev_t dev)
{
	auto_free char *text = read_text("/proc/swaps");
	char *line, *rest = text;
	dev_t from;

	while (rest && (line = strsep(&rest, "\n"))) {
		line[strcspn(line, " \t")] = 0;
		if (!device_number(line, &from) && from == dev)
			return true;
	}
	return false;
}

/* The first entry of a directory in sysfs, as a device's path; NULL: empty. */
static char *first_holder(dev_t dev)
{
	auto_free char *path = sys_path(dev, "holders");
	DIR *dir = path ? opendir(path) : NULL;
	struct dirent *e;
	char *found = NULL;

	while (dir && !found && (e = readdir(dir))) {
		auto_free char *file = NULL, *text = NULL;
		dev_t holder;

		if (e->d_name[0] == '.')
			continue;
		file = format_string("%s/%s/dev", path, e->d_name);
		text = file ? read_text(file) : NULL;
		found = parse_dev(text, &holder) ? device_path(holder) : strdup(e->d_name);
	}
	if (dir)
		closedir(dir);
	return found;
}

int device_claim_check(dev_t dev)
{
	auto_close int fd = -1;
	auto_free char *path = device_path(dev), *mount = device_mounted_on(dev);
	auto_free char *holder = first_holder(dev);

	if (!path)
		return -ENOMEM;
	if (mount)
		return refuse(EBUSY, "%s: is mounted on %s, unmount it first", path, mount);
	if (is_swap(dev))
		return refuse(EBUSY, "%s: is used as swap space", path);
	if (holder)
		return refuse(EBUSY, "%s: is in use by %s", path, holder);
	fd = open(path, O_RDWR | O_EXCL | O_CLOEXEC);
	if (fd < 0 && errno == EBUSY)
		return refuse(EBUSY, "%s: is in use", path);
	if (fd < 0)
		return refuse(errno == EROFS ? EACCES : errno, "%s: cannot be opened for writing: %s",
			      path, strerror(errno));
	return 0;
}

/* --- what it is made of --- */

static bool depends(dev_t upper, dev_t lower, int depth)
{
	auto_free char *slaves = sys_path(upper, "slaves"), *parent = NULL, *parent_dev = NULL;
	auto_free char *file = NULL;
	bool found = false;
	struct dirent *e;
	struct stat st;
	dev_t dev;
	DIR *dir;

	if (upper == lower)
		return true;
	if (depth > 16)
		return false;		/* sysfs has no such stacks */
	dir = slaves ? opendir(slaves) : NULL;
	while (dir && !found && (e = readdir(dir))) {
		auto_free char *path = NULL, *text = NULL;

		if (e->d_name[0] == '.')
			continue;
		path = format_string("%s/%s/dev", slaves, e->d_name);
		text = path ? read_text(path) : NULL;
		found = parse_dev(text, &dev) && depends(dev, lower, depth + 1);
	}
	if (dir)
		closedir(dir);
	if (found)
		return true;
	parent = sys_path(upper, "partition");
	if (parent && !access(parent, F_OK)) {
		parent_dev = sys_text(upper, "../dev");
		if (parse_dev(parent_dev, &dev) && depends(dev, lower, depth + 1))
			return true;
	}
	file = loop_file(upper);
	return file && !stat(file, &st) &&
	       depends(S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev, lower, depth + 1);
}

bool device_depends(dev_t upper, dev_t lower)
{
	return depends(upper, lower, 0);
}

int device_list(dev_t **ret, size_t *ret_count)
{
	DIR *dir = opendir("/sys/class/block");
	size_t count = 0;
	dev_t *list = NULL, dev;
	struct dirent *e;

	if (!dir)
		return -errno;
	while ((e = readdir(dir))) {
		auto_free char *path = NULL, *text = NULL;
		dev_t *more;

		if (e->d_name[0] == '.')
			continue;
		path = format_string("/sys/class/block/%s/dev", e->d_name);
		text = path ? read_text(path) : NULL;
		if (!parse_dev(text, &dev) || !device_sectors(dev))
			continue;
		more = realloc(list, (count + 1) * sizeof(*list));
		if (!more) {
			closedir(dir);
			free(list);
			return -ENOMEM;
		}
		list = more;
		list[count++] = dev;
	}
	closedir(dir);
	*ret = list;
	*ret_count = count;
	return 0;
}

/* --- identity --- */

/* @text as it is if it is short and plain, else 16 digits of its hash. */
static void print_identity(const char *kind, const char *text, char out[IDENTITY_SIZE])
{
	bool plain = strlen(text) <= 36;
	const char *p;

	for (p = text; plain && *p; p++)
		plain = isalnum((unsigned char)*p) || strchr("-_./:", *p);
	if (plain) {
		snprintf(out, IDENTITY_SIZE, "%s:%s", kind, text);
	} else {
		uuid_t hash, space;

		uuid_copy(space, *uuid_get_template("oid"));
		uuid_generate_sha1(hash, space, text, strlen(text));
		snprintf(out, IDENTITY_SIZE, "%s:%02x%02x%02x%02x%02x%02x%02x%02x", kind,
			 hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[10], hash[11]);
	}
}

static void add_identity(struct identities *ids, const char *kind, const char *text)
{
	if (ids->count < ARRAY_SIZE(ids->id))
		print_identity(kind, text, ids->id[ids->count++]);
}

int file_identity(const char *file, char ret[IDENTITY_SIZE])
{
	auto_free char *full = realpath(file, NULL);

	if (!full)
		return -errno;
	print_identity("file", full, ret);
	return 0;
}

static void add_partition(struct identities *ids, const char *path)
{
	blkid_probe pr = blkid_new_probe_from_filename(path);
	const char *value;

	if (!pr)
		return;
	blkid_probe_enable_superblocks(pr, 0);
	blkid_probe_enable_partitions(pr, 1);
	blkid_probe_set_partitions_flags(pr, BLKID_PARTS_ENTRY_DETAILS);
	if (blkid_do_safeprobe(pr) >= 0 &&
	    !blkid_probe_lookup_value(pr, "PART_ENTRY_UUID", &value, NULL))
		add_identity(ids, "part", value);
	blkid_free_probe(pr);
}

void device_identities(dev_t dev, struct identities *ret)
{
	static const char *const serials[] = { "wwid", "device/wwid", "serial", "device/serial" };
	auto_free char *path = device_path(dev), *dm = sys_text(dev, "dm/uuid");
	auto_free char *partition = sys_path(dev, "partition"), *file = loop_file(dev);
	struct fs_info fs = { .type = "" };
	struct identities ids = { 0 };
	bool is_partition;
	size_t i;

	ret->count = 0;
	if (!path || !partition)
		return;
	is_partition = !access(partition, F_OK);
	if (fs_info(path, &fs))
		fs.uuid[0] = 0;
	if (fs.uuid[0] && !strcmp(fs.type, "ntfs"))
		add_identity(&ids, "ntfs", fs.uuid);
	if (is_partition)
		add_partition(&ids, path);
	if (fs.uuid[0] && strcmp(fs.type, "ntfs"))
		add_identity(&ids, "uuid", fs.uuid);
	if (dm)
		add_identity(&ids, "dm", dm);
	for (i = 0; i < ARRAY_SIZE(serials) && !is_partition; i++) {
		auto_free char *serial = sys_text(dev, serials[i]);

		if (serial) {
			add_identity(&ids, "disk", serial);
			break;
		}
	}
	if (file)
		add_identity(&ids, "file", file);
	*ret = ids;
}

bool identities_have(const struct identities *ids, const char *id)
{
	unsigned int i;

	for (i = 0; i < ids->count; i++)
		if (!strcmp(ids->id[i], id))
			return true;
	return false;
}

/* --- loop --- */

char *loop_file(dev_t dev)
{
	return sys_text(dev, "loop/backing_file");
}

static int loop_find(const char *file, dev_t *ret_dev, int *ret_fd)
{
	auto_free dev_t *list = NULL;
	struct loop_info64 info;
	struct stat st;
	size_t count, i;

	if (stat(file, &st))
		return -errno;
	if (device_list(&list, &count))
		return -ENOENT;
	for (i = 0; i < count; i++) {
		auto_free char *path = NULL;
		int fd;

		if (major(list[i]) != 7)	/* LOOP_MAJOR */
			continue;
		path = device_path(list[i]);
		fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
		if (fd < 0)
			continue;
		if (!ioctl(fd, LOOP_GET_STATUS64, &info) && info.lo_device == st.st_dev &&
		    info.lo_inode == st.st_ino && !info.lo_offset && !info.lo_sizelimit) {
			*ret_dev = list[i];
			*ret_fd = fd;
			return 0;
		}
		close(fd);
	}
	return -ENOENT;
}

int loop_attach(const char *file, dev_t *ret_dev, int *ret_fd)
{
	auto_close int control = -1, backing = -1;
	struct loop_config config = { 0 };
	int tries, n, fd, err;

	if (access("/dev/loop-control", F_OK)) {
		const char *const modprobe[] = { "modprobe", "-q", "loop", NULL };

		run_program(modprobe, true);
	}
	backing = open(file, O_RDWR | O_CLOEXEC);
	if (backing < 0)
		return -errno;
	/* The loop device keeps the lock: nobody repairs what is in use. */
	if (flock(backing, LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK)
		return -EBUSY;
	if (!loop_find(file, ret_dev, ret_fd))
		return 0;
	control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control < 0)
		return -errno;
	config.fd = backing;
	/* Direct I/O: saved chunks have no business in the page cache. */
	config.info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO;
	snprintf((char *)config.info.lo_file_name, LO_NAME_SIZE, "%s", file);
	/* Another process may take the one that we are offered. */
	for (tries = 0; tries < 64; tries++) {
		char path[32];

		n = ioctl(control, LOOP_CTL_GET_FREE);
		if (n < 0)
			return -errno;
		snprintf(path, sizeof(path), "/dev/loop%d", n);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			return -errno;
		if (!ioctl(fd, LOOP_CONFIGURE, &config)) {
			err = device_number(path, ret_dev);
			if (!err)
				*ret_fd = fd;
			else
				close(fd);
			return err;
		}
		err = errno;
		close(fd);
		if (err == EINVAL && (config.info.lo_flags & LO_FLAGS_DIRECT_IO))
			config.info.lo_flags &= ~LO_FLAGS_DIRECT_IO;
		else if (err != EBUSY)
			return -err;
	}
	return -EBUSY;
}

int loop_check_none(const char *file)
{
	auto_free dev_t *list = NULL;
	struct stat st, have;
	size_t count, i;

	if (stat(file, &st))
		return refuse(errno, "%s: %s", file, strerror(errno));
	if (!S_ISREG(st.st_mode) || device_list(&list, &count))
		return 0;
	for (i = 0; i < count; i++) {
		auto_free char *behind = loop_file(list[i]), *name = NULL;

		if (!behind || stat(behind, &have) || have.st_dev != st.st_dev ||
		    have.st_ino != st.st_ino)
			continue;
		name = device_path(list[i]);
		return refuse(EBUSY, "%s: is in use by %s", file, name ? name : "a loop device");
	}
	return 0;
}

int loop_resize(dev_t dev)
{
	auto_free char *path = device_path(dev);
	auto_close int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

	if (fd < 0)
		return -errno;
	return ioctl(fd, LOOP_SET_CAPACITY) ? -errno : 0;
}

int device_of_file(const char *path, dev_t *ret)
{
	auto_free char *folder = copy_string(path);
	struct stat st;
	char *slash;

	if (!folder)
		return -ENOMEM;
	if (stat(path, &st)) {
		slash = strrchr(folder, '/');
		if (slash)
			slash[slash == folder] = 0;
		if (stat(slash ? folder : ".", &st))
			return refuse(errno, "%s: %s", folder, strerror(errno));
	}
	*ret = st.st_dev;
	return 0;
}
