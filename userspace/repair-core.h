/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What repair.c and repair-index.c share. */
#ifndef SHADOWCTL_REPAIR_CORE_H
#define SHADOWCTL_REPAIR_CORE_H

#include "rebuild.h"
#include "repair.h"
#include "scan.h"

#define MAX_DEEDS	10000		/* kept to be told */
#define KERNEL_TREES	64		/* that the kernel module takes */

/* One tree of the old checkpoint. */
struct plan {
	struct dms_tree tree;
	bool dirty;			/* to be written anew */
};

struct deed {
	struct check_finding finding;
	char fact[160];
	u32 *copies;
};

struct loss {
	struct scan_loss where;
	const struct dms_tree *tree;	/* the old one */
};

struct repair {
	const struct repair_params *params;
	char *why;
	struct image image;
	struct image_journal journal;
	struct image_copies copies;
	struct rebuild out;
	struct scan_source source;
	struct dms_table *saves;	/* the journal's */
	struct plan *plan;		/* image.root.nr_trees */
	struct loss *loss;
	size_t nr_loss, loss_room;
	struct bitset data, meta;	/* chunks */
	struct bitset blocks;		/* of metadata */
	struct bitset twice;		/* chunks with more than one use, or none possible */
	bool any_twice;
	u32 *ids;			/* room for all copies, for reports */
	u32 *gone, nr_gone;		/* ids of copies whose descriptor is damaged */
	u64 unreadable;			/* chunks given up */
	struct deed *deed;
	size_t nr_deeds, deeds_room;
	u64 more_deeds;			/* not kept */
};

/* Keep for the end, when it is true: copies r->ids[0..nr) and chunks of theirs (0: all). */
__attribute__((format(printf, 6, 7)))
void repair_told(struct repair *r, const char *object, u64 chunk, u64 chunks, u32 nr,
		 const char *fmt, ...);
/* -EUCLEAN, for that reason. */
int repair_no_way(struct repair *r, const char *why);

/* The trees of the new checkpoint, into r->out. */
int repair_index(struct repair *r);
/* Is an area chunk of @e used for something else, too? */
bool repair_touches_twice(const struct repair *r, const struct dms_exception *e);

#endif
