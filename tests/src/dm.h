/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Device-mapper by ioctl: starting dmsetup costs more than what it does, where
 * processors are emulated.  Nodes are opened as /dev/dm-MINOR, which the
 * kernel makes.  All return 0 or -errno unless stated.
 */
#ifndef TESTS_DM_H
#define TESTS_DM_H

#include "util.h"

/*
 * If not 0: in each ioctl the allocation of that number fails, if there are so many
 * (CONFIG_FAULT_INJECTION); dm_failed is set then.
 */
extern unsigned int dm_fail_nth;
extern bool dm_failed;

struct dm_node {
	char name[64];			/* empty: there is none */
	char path[32];
};

/* Make the node @name with one target over @sectors; on failure there is none. */
int dm_make(struct dm_node *node, const char *name, u64 sectors, const char *target,
	    const char *params);
/* Load another table, to be live at the next resume. */
int dm_load(const char *name, u64 sectors, const char *target, const char *params);
int dm_suspend(const char *name);
int dm_resume(const char *name);
/* Waits for a short-lived user.  Nothing happens to a node that isn't. */
int dm_drop(struct dm_node *node);
/*
 * Send a message to sector 0; what it prints goes to *@reply, if that is given
 * and it prints something (free() it), else *@reply is NULL.
 */
int dm_message(const char *name, char **reply, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Parameters of the first target's status: free() them.  Dies. */
char *dm_status(const char *name);
/* Field of the status, counted from 1: free() it.  Dies. */
char *dm_field(const char *name, unsigned int field);

#endif
