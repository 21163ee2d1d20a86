// SPDX-License-Identifier: GPL-2.0-or-later
/* Nested results: see emit.h. */
#include <inttypes.h>
#include <string.h>

#include "emit.h"
#include "util.h"

static void indent(struct emit *e, unsigned int depth)
{
	fprintf(e->file, "%*s", (int)(2 * depth), "");
}

static void print_key(struct emit *e, const char *key)
{
	const char *p;

	if (e->json) {
		fprintf(e->file, "\"%s\": ", key);
		return;
	}
	for (p = key; *p; p++)
		putc(*p == '_' ? ' ' : *p, e->file);
}

/* What stands before a member of the present object or list. */
static void member(struct emit *e, const char *key)
{
	if (e->json) {
		if (e->filled[e->depth])
			fputs(e->row ? ", " : ",", e->file);
		if (!e->row) {
			putc('\n', e->file);
			indent(e, e->depth + 1);
		}
		if (key)
			print_key(e, key);
	} else if (e->row) {
		if (e->filled[e->depth])
			putc(' ', e->file);
		print_key(e, key);
		putc(' ', e->file);
	} else {
		indent(e, e->depth);
		if (key) {
			print_key(e, key);
			putc(':', e->file);
		} else {
			putc('-', e->file);
		}
	}
	e->filled[e->depth] = true;
}

static void value_end(struct emit *e)
{
	if (!e->json && !e->row)
		putc('\n', e->file);
}

static void enter(struct emit *e, bool list)
{
	e->depth++;
	e->list[e->depth] = list;
	e->filled[e->depth] = false;
}

void emit_begin(struct emit *e, FILE *file, bool json)
{
	memset(e, 0, sizeof(*e));
	e->file = file;
	e->json = json;
	if (json) {
		putc('{', file);
		emit_number(e, "version", 1);
	}
}

void emit_end(struct emit *e)
{
	if (e->json)
		fputs("\n}\n", e->file);
}

void emit_object(struct emit *e, const char *key)
{
	member(e, key);
	fputs(e->json ? "{" : "\n", e->file);
	enter(e, false);
}

void emit_list(struct emit *e, const char *key)
{
	member(e, key);
	fputs(e->json ? "[" : "\n", e->file);
	enter(e, true);
}

void emit_row(struct emit *e)
{
	member(e, NULL);
	putc(e->json ? '{' : ' ', e->file);
	enter(e, false);
	e->row = true;
}

void emit_close(struct emit *e)
{
	bool list = e->list[e->depth], filled = e->filled[e->depth];

	e->depth--;
	if (!e->json) {
		if (e->row)
			putc('\n', e->file);
	} else {
		if (filled && !e->row) {
			putc('\n', e->file);
			indent(e, e->depth + 1);
		}
		putc(list ? ']' : '}', e->file);
	}
	e->row = false;
}

void emit_number(struct emit *e, const char *key, uint64_t value)
{
	member(e, key);
	fprintf(e->file, e->json || e->row ? "%" PRIu64 : " %" PRIu64, value);
	value_end(e);
}

void emit_bool(struct emit *e, const char *key, bool value)
{
	member(e, key);
	if (!e->json && !e->row)
		putc(' ', e->file);
	fputs(e->json ? (value ? "true" : "false") : (value ? "yes" : "no"), e->file);
	value_end(e);
}

static void print_bytes(struct emit *e, const void *value, size_t size)
{
	const unsigned char *s = value;
	size_t n;

	for (; size; s += n, size -= n) {
		n = printable_length(s, size);
		if (!n) {
			fprintf(e->file, e->json ? "\\u%04x" : "\\x%02x", s[0]);
			n = 1;
		} else if (s[0] == '\\' || (e->json && s[0] == '"')) {
			fprintf(e->file, "\\%c", s[0]);
		} else {
			fwrite(s, 1, n, e->file);
		}
	}
}

void emit_bytes(struct emit *e, const char *key, const void *value, size_t size)
{
	member(e, key);
	if (e->json)
		putc('"', e->file);
	else if (!e->row)
		putc(' ', e->file);
	print_bytes(e, value, size);
	if (e->json)
		putc('"', e->file);
	value_end(e);
}

void emit_text(struct emit *e, const char *key, const char *value)
{
	emit_bytes(e, key, value, strlen(value));
}
