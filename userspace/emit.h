/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Nested results, printed as they come: for dump and check, whose output may be
 * longer than memory.  Text is "key: value" lines, indented, and rows on one
 * line; JSON is the same tree.  Keys are JSON's; text shows them with blanks
 * for underscores.
 */
#ifndef SHADOWCTL_EMIT_H
#define SHADOWCTL_EMIT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define EMIT_DEPTH 8

struct emit {
	FILE *file;
	bool json;
	bool row;			/* inside one */
	unsigned int depth;
	bool list[EMIT_DEPTH];		/* else an object */
	bool filled[EMIT_DEPTH];	/* has a member */
};

void emit_begin(struct emit *e, FILE *file, bool json);	/* with "version": 1 */
void emit_end(struct emit *e);
void emit_object(struct emit *e, const char *key);	/* key NULL: in a list */
void emit_list(struct emit *e, const char *key);
void emit_row(struct emit *e);				/* an object in a list */
void emit_close(struct emit *e);			/* object, list or row */

void emit_number(struct emit *e, const char *key, uint64_t value);
void emit_bool(struct emit *e, const char *key, bool value);
/* Any bytes: what is not printable, or no UTF-8, is escaped. */
void emit_text(struct emit *e, const char *key, const char *value);
void emit_bytes(struct emit *e, const char *key, const void *value, size_t size);

#endif
