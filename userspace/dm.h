/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * All that shadowctl says to device-mapper.  A *node* is a dm device.
 *
 * Functions return 0 or the -errno of the ioctl and say nothing; after a
 * failure node_why() tells the reason as the kernel logged it, as half a
 * sentence, or else the errno in words.
 */
#ifndef SHADOWCTL_DM_H
#define SHADOWCTL_DM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define NODE_NAME_SIZE 128
#define NODE_UUID_SIZE 129

#define TARGET_ORIGIN "shadow-origin"
#define TARGET_SHADOW "shadow"

struct node {
	char name[NODE_NAME_SIZE];
	char uuid[NODE_UUID_SIZE];
	dev_t dev;
	bool suspended;
	bool has_table;
	unsigned int opens;
};

const char *node_why(void);

/* Those whose uuid begins with @prefix, by device number; free() *@ret. */
int node_list(const char *prefix, struct node **ret, size_t *ret_count);
int node_info(const char *name, struct node *ret);	/* -ENXIO: there is none */

#define NODE_READ_ONLY	1u
/* udev: no by-uuid and by-label links, not for desktops; a copy's are its origin's. */
#define NODE_HIDDEN	2u

int node_create(const char *name, const char *uuid, uint64_t sectors, const char *target,
		const char *params, unsigned int flags);
/* A new table for a live node, without freezing; the old one again if it fails. */
int node_reload(const char *name, uint64_t sectors, const char *target, const char *params);
/* Forgets a table that was loaded and never made live, by who was killed in between. */
void node_forget_table(const char *name);
int node_remove(const char *name);	/* waits a little while it is busy */
/* One without a table: who made it was killed.  None may be in the making. */
void node_remove_half_made(const char *uuid);
int node_suspend(const char *name, bool freeze);
int node_resume(const char *name);
/* The one target of a node; free() the strings. */
int node_table(const char *name, uint64_t *ret_sectors, char **ret_target, char **ret_params);
int node_status(const char *name, char **ret_params);
/* @ret_reply may be NULL; else what it printed, "" if nothing; free(). */
int node_message(const char *name, char **ret_reply, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* -ENOENT: the kernel has no such target. */
int node_target_version(const char *target, unsigned int ret[3]);

/*
 * Between these no line is printed and no memory is paged in: stderr may lead
 * to, and memory have been swapped to, what is suspended.
 */
void node_hold_begin(void);
void node_hold_end(void);

#endif
