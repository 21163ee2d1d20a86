/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A creation under way: its steps, which are in cmd-create.c, for what goes on from
 * there to a complete copy, cmd-complete.c.
 */
#ifndef SHADOWCTL_CREATE_H
#define SHADOWCTL_CREATE_H

#include "cmd.h"
#include "ntfs.h"
#include "volume.h"

#define MAX_SET 64			/* volumes, as in VSS */

struct member {
	struct volume *volume;
	char uuid[37];
	char *attr;			/* hex */
	uint32_t id;			/* 0: not made */
	bool suspended;
	uint64_t suspended_at, resumed_at;	/* us */
	bool mounted, used;
	struct copy *copy;		/* in the refreshed volume, once made */
	uint64_t exempt_chunks;
	struct ntfs_info ntfs;
	bool is_ntfs;
};

struct creation {
	const struct request *r;
	struct volumes all;
	struct member members[MAX_SET];
	size_t count;
	char set[37];
	bool freeze;
	uint64_t locked_until;
};

/* 0 or -errno, after refuse(); the members are found and locked. */

/* Step 2, and all else that can be done before the instant. */
int creation_prepare(struct creation *c);
/* Steps 3 to 7.  On failure no copy is left. */
int creation_take(struct creation *c);
/* Step 8. */
int creation_finish(struct creation *c, struct member *m);
/* --complete: all of it. */
int create_complete(struct creation *c);

uint64_t now_us(void);			/* monotonic */

#endif
