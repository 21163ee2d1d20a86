/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guard: a small process that resumes what shadowctl holds suspended, when
 * shadowctl dies or the hold lasts too long.
 */
#ifndef SHADOWCTL_GUARD_H
#define SHADOWCTL_GUARD_H

#include <stdbool.h>
#include <stddef.h>

/* What VSS allows a hold to last; less, so that it is over by then. */
#define GUARD_SECONDS 9

struct guard;

/*
 * Forks the guard over the nodes @names; it is ready on return.  The seconds
 * begin with guard_arm(), just before the first suspend.  NULL, said, if it
 * cannot be started.
 */
struct guard *guard_start(const char *const names[], size_t count);
void guard_arm(struct guard *g);
/* Has it resumed anything?  Then what was done since may not be of one instant. */
bool guard_fired(const struct guard *g);
/* All is resumed: the guard ends.  NULL is fine. */
void guard_end(struct guard *g);
/* Not all is: the guard goes on trying, for ten seconds, and ends; returns then. */
void guard_leave(struct guard *g);

#endif
