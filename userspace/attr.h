/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The attributes of a shadow copy that the kernel keeps but does not read: who
 * made it, how consistent it is, what it is called.
 *
 * On disk they are a JSON object, {"v":1,...}, of at most ATTR_MAX bytes;
 * docs and the kernel's dump show it as it is.  Unknown members are kept when
 * one is changed, an unknown version is left alone.
 */
#ifndef SHADOWCTL_ATTR_H
#define SHADOWCTL_ATTR_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#define ATTR_MAX 2048

struct attr {
	struct json_object *json;	/* NULL: nothing known of this copy */
};

/* What attr_set() takes, and what the members are called on disk. */
#define ATTR_NAME		"name"		/* free text */
#define ATTR_MACHINE		"machine"	/* host name */
#define ATTR_UID		"uid"		/* of who made it */
#define ATTR_COMMAND		"command"	/* that made it, cut short */
#define ATTR_CONSISTENCY	"consistency"	/* application, filesystem, crash */
#define ATTR_HOLD		"hold_us"	/* how long writes were held */
#define ATTR_FS_TYPE		"fs"		/* as blkid calls it */
#define ATTR_FS_LABEL		"label"
#define ATTR_FS_UUID		"fs_uuid"	/* NTFS: the serial number */
#define ATTR_CLUSTER		"cluster"	/* bytes */
#define ATTR_DIRTY		"dirty"		/* NTFS: wants chkdsk */
#define ATTR_AREAS		"areas"		/* of the set: begins of their uuids, "3f2a9c81,..." */
#define ATTR_MOUNTED		"mounted"	/* where the volume was */
#define ATTR_UNUSED		"unused"	/* of create --complete, no target needs it */

void attr_init(struct attr *a);		/* empty, of our version */
void attr_free(struct attr *a);
/* From the hex of the kernel's list; whatever it is, @ret is usable. */
void attr_parse(const char *hex, struct attr *ret);
/*
 * As hex for the kernel's messages.  Too long: the longest texts are cut.
 * -EOPNOTSUPP for one that a newer shadowctl made.
 */
int attr_print(const struct attr *a, char **ret);

void attr_set_text(struct attr *a, const char *key, const char *value);	/* NULL: remove */
void attr_set_number(struct attr *a, const char *key, uint64_t value);
void attr_set_bool(struct attr *a, const char *key, bool value);
const char *attr_text(const struct attr *a, const char *key);	/* NULL: not there */
bool attr_number(const struct attr *a, const char *key, uint64_t *ret);
int attr_bool(const struct attr *a, const char *key);		/* -1: not there */

#endif
