/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * All metadata of a diff area, for people and for diff: nothing in the output
 * depends on when, where or by what name it is printed.
 */
#ifndef SHADOWCTL_DUMP_H
#define SHADOWCTL_DUMP_H

#include "area.h"
#include "emit.h"

/*
 * What can't be read is said in its place, as "error".  Like image_open() for a
 * device without a diff area; -EUCLEAN also where something was damaged.
 */
int dump_area(const char *path, struct emit *e, struct area_info *info);

#endif
