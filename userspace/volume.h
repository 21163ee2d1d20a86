/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Active volumes and their shadow copies, as the kernel has them now.
 *
 * An origin's node has the uuid DMSHADOW-<uuid of the diff area>, a copy's that
 * and -<id>.  Nothing else is remembered anywhere: what is listed here was asked
 * of the kernel just before.
 *
 * Functions that return an int have said what is wrong (refuse()) when they
 * fail, unless stated.
 */
#ifndef SHADOWCTL_VOLUME_H
#define SHADOWCTL_VOLUME_H

#include "attr.h"
#include "dm.h"

#define NODE_PREFIX "DMSHADOW-"

struct volume;

struct copy {
	struct volume *volume;
	uint32_t id;
	char uuid[37], set[37];
	uint32_t members;		/* of the set, when it was taken */
	uint64_t created;		/* seconds since 1970 */
	uint32_t created_nsec;
	uint64_t sectors;
	bool preparing, suspect, invalid, exempt, merging;
	uint32_t damaged;		/* chunks, as found since activation */
	uint64_t locked_until;
	uint64_t exempt_chunks;
	unsigned int opens;
	struct attr attr;
};

enum volume_mode { VOLUME_RW, VOLUME_RO };

struct status {
	enum volume_mode mode;
	bool is_volatile;
	uint32_t chunk_sectors;
	uint64_t used, total, limit;	/* area chunks */
	uint32_t copies, oldest, newest, epoch;
	char policy[32];		/* "drop-oldest", "invalidate", "block:10" */
	uint32_t low_space;		/* percent */
	uint64_t journal_used, journal_total;
	uint64_t trees, entries;
	uint64_t exceptions, exceptions_room;
	uint64_t cache_kib, cap_kib, bitmap_kib;
	uint64_t saved, zero, dropped, checksum_errors, area_errors, unreadable, checkpoints;
	uint32_t merge_id;		/* 0: none */
	uint64_t merge_done, merge_total;	/* chunks */
	char merge_state[16];		/* none, running, stopped, done */
	uint64_t merge_skipped;		/* chunks left as they were */
	char uuid[37];
	char found[16];			/* new, clean, recovered, changed */
	char scrub_state[16];		/* none, running, done, stopped, failed */
	uint64_t scrub_done, scrub_total;	/* chunks of the volume */
	uint64_t scrub_kib, scrub_damaged;	/* verified; chunks */
};

struct volume {
	struct node node;
	char uuid[37];			/* of the diff area */
	dev_t origin, area;
	uint64_t sectors;
	struct status status;
	size_t nr_copies;
	struct copy *copies;		/* oldest first */
	int lock;			/* -1: not locked by us */
};

struct volumes {
	size_t count;
	struct volume *list;
};

/* --- finding --- */

/* All that are active.  An empty list where the module is not even loaded. */
int volumes_load(struct volumes *ret);
void volumes_free(struct volumes *v);
/* By node, origin device, mount point, name or uuid of the diff area.  NULL: not said yet. */
struct volume *volumes_find(const struct volumes *v, const char *spec);
/* The same, or says that there is none. */
int volumes_get(const struct volumes *v, const char *spec, struct volume **ret);
/* VOLUME@ID, the copy's uuid, its node. */
int volumes_get_copy(const struct volumes *v, const char *spec, struct copy **ret);
/* Asks the kernel again for status and copies. */
int volume_refresh(struct volume *v);
/* The same into another record, status only; quiet.  For polling. */
int volume_status(const char *node, struct status *ret);

static inline struct copy *volume_copy(const struct volume *v, uint32_t id)
{
	for (size_t i = 0; i < v->nr_copies; i++)
		if (v->copies[i].id == id)
			return &v->copies[i];
	return NULL;
}

/* Takes the size that the origin has grown to; the volume is locked. */
int volume_grow(const struct volume *v);
/* A size just taken to the superblock, where activation finds it. */
int volume_record_size(const struct volume *v);

/* --- one at a time --- */

/*
 * A lock file in /run/shadowctl/lock for each diff area, held until the process
 * ends or unlock.  Waits for others, not for ever.
 */
int lock_area(const char *uuid, int *ret_fd);
int lock_all(int *ret_fd);		/* attaching and activating */
/* Locks and refreshes all of @list, in an order that cannot deadlock. */
int volumes_lock(struct volume **list, size_t count);

/* --- copies --- */

#define COPY_SPEC_SIZE (NODE_NAME_SIZE + 12)

void copy_spec(const struct copy *c, char ret[COPY_SPEC_SIZE]);	/* NAME@ID */
void copy_node_name(const struct copy *c, char ret[NODE_NAME_SIZE]);
/* "preparing", "valid", "suspect", "damaged", "invalid", "merging" */
const char *copy_state(const struct copy *c);
/* The node is made unless it is there; its volume is locked.  free() *@ret_path, or NULL. */
int copy_show(const struct copy *c, char **ret_path);
/* The node goes, if it is there.  -EBUSY, said, if it is mounted or open. */
int copy_hide(const struct copy *c);
char *copy_mounted_on(const struct copy *c);
int copy_set_attr(const struct copy *c);	/* sends c->attr */
/* Refuses for a copy that is locked now. */
int copy_check_lock(const struct copy *c);

/* --- the kernel's part --- */

/* Loads the module if need be, and sees that it is one that we know. */
int module_load(void);
/*
 * Members of sets left preparing by a shadowctl that died: they become members
 * if any of their set is one, else they go; if a diff area of the set is not to
 * be found they stay as they are.  @list, which is part of @all, is locked and
 * refreshed; the others are only looked at.
 */
int volumes_settle(const struct volumes *all, struct volume **list, size_t count);

#endif
