/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Results on stdout.  A table of fields says what a record has; values are set
 * by place in it; output_print() makes of the records a table or blocks for
 * people (libsmartcols) or JSON for programs, as the global option wants.
 *
 * JSON: {"version": 1, "<name>": [ {...}, ... ]}; or for OUTPUT_ONE the one
 * record itself, {"version": 1, ...}.  Sizes are bytes, times seconds since
 * 1970, a value that is not there is left out.
 */
#ifndef SHADOWCTL_OUTPUT_H
#define SHADOWCTL_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum field_type {
	FIELD_TEXT,
	FIELD_NUMBER,
	FIELD_BYTES,
	FIELD_TIME,
	FIELD_PERCENT,
	FIELD_MICROSECONDS,
	FIELD_BOOL,
};

/* In which of the text forms a field appears; JSON always has it. */
#define IN_TABLE	1u
#define IN_BLOCK	2u
#define IN_BOTH		3u

struct field {
	const char *key;	/* JSON */
	const char *title;	/* text: "Created" in a block, CREATED over a column */
	enum field_type type;
	unsigned int where;
};

enum output_form { OUTPUT_TABLE, OUTPUT_BLOCKS, OUTPUT_ONE };

struct output;

/* Never NULL: without memory the program ends, there is nothing to clean up. */
struct output *output_new(const char *name, const struct field *fields, size_t nr,
			  enum output_form form);
void output_record(struct output *o);
void output_text(struct output *o, int field, const char *value);	/* NULL: leave out */
void output_number(struct output *o, int field, uint64_t value);
void output_bool(struct output *o, int field, bool value);
/* A list of words, JSON array; comma separated for people. */
void output_word(struct output *o, int field, const char *word);
int output_print(struct output *o);	/* and frees it */

/* One line of JSON at once, for events: {"version":1,"event":...,key:number}. */
void output_event(const char *event, const char *volume, const char *const keys[],
		  const uint64_t *values, size_t nr);

#endif
