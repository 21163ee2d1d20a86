/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block devices as sysfs, the mount table and libblkid show them; files as
 * block devices by loop.
 */
#ifndef SHADOWCTL_DEVICE_H
#define SHADOWCTL_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* --- one device --- */

/* Of a path that is a block device: -ENOTBLK if it is something else. */
int device_number(const char *path, dev_t *ret);
/* "/dev/sda1", "/dev/mapper/name"; "8:1" if there is no node.  free(); NULL: no memory. */
char *device_path(dev_t dev);
char *device_kernel_name(dev_t dev);	/* "sda1"; NULL: gone */
uint64_t device_sectors(dev_t dev);
bool device_is_node(dev_t dev, const char *uuid_prefix);	/* of device-mapper */
/* Where it is mounted, a mount point for each; free() them and the list. */
int device_mounts(dev_t dev, char ***ret, size_t *ret_count);
char *device_mounted_on(dev_t dev);	/* the first; NULL: nowhere */
void free_strings(char **list, size_t count);

/*
 * May we have it for us alone?  Else says who has it: -EBUSY.  Also -EACCES for
 * one that cannot be written.
 */
int device_claim_check(dev_t dev);
/* Is @upper made of @lower: a partition of it, stacked on it, in a file on it? */
bool device_depends(dev_t upper, dev_t lower);

/* --- which device it is, across reboots --- */

#define IDENTITY_SIZE 48

/*
 * The ways to know it again, the best first: "ntfs:<serial>", "part:<PARTUUID>",
 * "uuid:<of the file system>", "dm:", "disk:", "file:" with a path or its hash.
 */
struct identities {
	unsigned int count;
	char id[6][IDENTITY_SIZE];
};

void device_identities(dev_t dev, struct identities *ret);
bool identities_have(const struct identities *ids, const char *id);
/* By which a loop device on @file will be known. */
int file_identity(const char *file, char ret[IDENTITY_SIZE]);

/* All of this machine's with a size above zero; free() *@ret. */
int device_list(dev_t **ret, size_t *ret_count);

/* --- files --- */

/*
 * The loop device for @file: one is made unless there is one already.  It goes
 * away by itself with its last user, *@ret_fd being one.  -EBUSY: the file is being
 * checked, repaired or formatted.
 */
int loop_attach(const char *file, dev_t *ret_dev, int *ret_fd);
char *loop_file(dev_t dev);	/* NULL: no loop device; free() */
/* Refuses, said, a file that a loop device has open. */
int loop_check_none(const char *file);
int loop_resize(dev_t dev);	/* takes the file's new size */
/* Of the file system that holds @path, or its folder; says what is wrong. */
int device_of_file(const char *path, dev_t *ret);

#endif
