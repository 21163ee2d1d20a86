/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands.  Each is a struct command, defined in a cmd-*.c beside its handler
 * and listed in main.c.  This one table feeds the parser, the usage text and
 * the completion; main() checks options and number of arguments before the
 * handler runs, and alone turns its -errno into an exit status.
 */
#ifndef SHADOWCTL_CMD_H
#define SHADOWCTL_CMD_H

#include "util.h"

#define CMD_MAX_OPTIONS 16
#define CMD_ANY_NUMBER 1000000

struct cmd_option {
	const char *name;	/* without the dashes */
	char letter;		/* short form, or 0 */
	const char *argument;	/* what follows it, as in the usage; NULL: nothing */
	const char *help;
};

struct request {
	const struct command *command;
	int nr_args;
	char **args;
	const char *values[CMD_MAX_OPTIONS];	/* by place in command->options */
};

struct command {
	const char *name;	/* "create", or two words: "storage limit" */
	const char *arguments;	/* "VOLUME DIFF-AREA" */
	int min_args, max_args;
	const char *help;	/* one line */
	const struct cmd_option *options;	/* ends with a name NULL; or NULL */
	int (*run)(const struct request *r);	/* 0 or -errno, after refuse() */
};

/* The option's value, "" for one without; NULL: not given. */
const char *option(const struct request *r, const char *name);
bool given(const struct request *r, const char *name);

/* "drop-oldest", "invalidate", "block:SECONDS" as in the superblock; says what is wrong. */
int parse_policy(const char *text, uint32_t *ret_when_full, uint32_t *ret_seconds);

extern const struct command cmd_attach, cmd_detach, cmd_activate, cmd_deactivate;
extern const struct command cmd_create;
extern const struct command cmd_list, cmd_show, cmd_status;
extern const struct command cmd_mount, cmd_unmount;
extern const struct command cmd_delete, cmd_rename, cmd_lock, cmd_unlock;
extern const struct command cmd_merge, cmd_scrub;
extern const struct command cmd_storage, cmd_storage_list, cmd_storage_limit;
extern const struct command cmd_storage_resize, cmd_storage_policy;
/* cmd-area.c */
extern const struct command cmd_format, cmd_check, cmd_dump;

#endif
