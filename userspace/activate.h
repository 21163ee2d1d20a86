/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a diff area and an origin to nodes, and back.
 *
 * The superblock's origin_id is "<identity> <name>": by what the origin is known
 * again (device.h), and what its node is called.  So a diff area on a device is
 * all that activation needs.  For one in a file there is a hint in the state
 * directory, a symbolic link named by its uuid.
 */
#ifndef SHADOWCTL_ACTIVATE_H
#define SHADOWCTL_ACTIVATE_H

#include "area.h"
#include "device.h"
#include "volume.h"

/* A diff area, and how to get at it. */
struct area_source {
	char *path;			/* device, or file */
	bool is_file;
	struct area_info info;
};

struct activation {
	dev_t origin;
	dev_t area;
	const struct dms_super *super;
	const char *name;
	bool trust;
};

/* Letters, digits, "_.+-": at most what fits beside @id.  Says what is wrong. */
int check_name(const char *name, const char *id);
/* "<id> <name>" apart; @ret_name is "" if there is none. */
void split_origin_id(const char *origin_id, char ret_id[64], char ret_name[64]);
/* "shadow-sda1"; cut to fit beside @id. */
char *default_name(dev_t origin, const char *id);

/*
 * Make the node and show the copies; says what is odd.
 * *@ret_active, always set: the volume can be used, whatever else failed.
 */
int activate_volume(const struct activation *a, bool *ret_active);
/*
 * What a crash left of sets, once all volumes that can be are active: a member may
 * have waited for another.  The caller has no volume locked.
 */
int settle_active(void);
/* Take away the nodes.  -EBUSY, said, and nothing done, if one is in use. */
int deactivate_volume(struct volume *v);
/* All that can be; one that cannot does not keep the others away. */
int show_copies(const struct volume *v);
/* A merge is under way, and the raw device larger. */
void warn_not_grown(const struct volume *v);
/* As JSON or, for people, the nodes' paths. */
int print_activated(char *const uuids[], size_t count);

/* The hints; errors are warned of only, they are hints. */
void registry_add(const char *uuid, const char *file);
void registry_remove(const char *uuid);
/* All areas that can be found: on devices, and in files that are registered. */
int find_areas(struct area_source **ret, size_t *ret_count);
void free_areas(struct area_source *list, size_t count);

#endif
