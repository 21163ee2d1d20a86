/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Putting a damaged diff area right, see repair.c: what can be proved comes back,
 * all else becomes an error or a mark on the copies that it was of.
 */
#ifndef SHADOWCTL_REPAIR_H
#define SHADOWCTL_REPAIR_H

#include "check.h"

struct repair_params {
	bool data;			/* verify saved data, too, and give up what is bad */
	/* Told in the end what was done; .level is CHECK_REPAIR. */
	void (*report)(void *context, const struct check_finding *f);
	void *context;
};

/*
 * Repair the area on @path, which @fd has open for writing and nobody else.
 * 0: done, durable; check_area() finds nothing any more.  -EUCLEAN: there is
 * no way, @why says the reason.  Unless 0 is returned nothing has changed, but that
 * after an error of the device the new state may hold all the same.
 */
int repair_area(const char *path, int fd, const struct repair_params *p, char why[160]);

#endif
