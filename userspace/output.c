// SPDX-License-Identifier: GPL-2.0-or-later
/* Records to tables, blocks and JSON: see output.h. */
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <libsmartcols/libsmartcols.h>
#include <stdio.h>
#include <string.h>

#include "output.h"
#include "util.h"

#define OUTPUT_VERSION 1
#define JSON_FLAGS (JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE)

struct output {
	const char *name;
	const struct field *fields;
	size_t nr;
	enum output_form form;
	struct json_object *records, *record;
};

static void *need(void *p)
{
	if (!p) {
		warn("out of memory");
		exit(3);
	}
	return p;
}

struct output *output_new(const char *name, const struct field *fields, size_t nr,
			  enum output_form form)
{
	struct output *o = need(calloc(1, sizeof(*o)));

	o->name = name;
	o->fields = fields;
	o->nr = nr;
	o->form = form;
	o->records = need(json_object_new_array());
	return o;
}

void output_record(struct output *o)
{
	o->record = need(json_object_new_object());
	if (json_object_array_add(o->records, o->record))
		need(NULL);
}

void output_text(struct output *o, int field, const char *value)
{
	auto_free char *clean = NULL;

	if (!value)
		return;
	clean = need(clean_string(value));
	json_object_object_add(o->record, o->fields[field].key,
			       need(json_object_new_string(clean)));
}

void output_number(struct output *o, int field, uint64_t value)
{
	json_object_object_add(o->record, o->fields[field].key,
			       need(json_object_new_uint64(value)));
}

void output_bool(struct output *o, int field, bool value)
{
	json_object_object_add(o->record, o->fields[field].key,
			       need(json_object_new_boolean(value)));
}

void output_word(struct output *o, int field, const char *word)
{
	const char *key = o->fields[field].key;
	auto_free char *clean = NULL;
	struct json_object *list;

	if (!json_object_object_get_ex(o->record, key, &list)) {
		list = need(json_object_new_array());
		json_object_object_add(o->record, key, list);
	}
	if (!word)
		return;			/* an empty list */
	clean = need(clean_string(word));
	json_object_array_add(list, need(json_object_new_string(clean)));
}

/* --- for people --- */

/* A value as text, or NULL if it is not there; @brief in tables. */
static char *value_text(const struct field *f, struct json_object *record, bool brief)
{
	struct json_object *v;
	char buf[64];
	uint64_t n;

	if (!json_object_object_get_ex(record, f->key, &v))
		return NULL;
	if (json_object_is_type(v, json_type_array)) {
		char *all = strdup("");
		size_t i;

		for (i = 0; all && i < json_object_array_length(v); i++) {
			char *more = format_string("%s%s%s", all, i ? "," : "",
				json_object_get_string(json_object_array_get_idx(v, i)));

			free(all);
			all = more;
		}
		return need(all);
	}
	n = json_object_get_uint64(v);
	switch (f->type) {
	case FIELD_TEXT:
		return need(strdup(json_object_get_string(v)));
	case FIELD_BOOL:
		return need(strdup(json_object_get_boolean(v) ? "yes" : "no"));
	case FIELD_BYTES:
		print_size(n, buf);
		if (!brief && n >= 1024)
			return need(format_string("%s (%" PRIu64 " bytes)", buf, n));
		break;
	case FIELD_TIME:
		print_time(n, !brief, buf);
		break;
	case FIELD_PERCENT:
		snprintf(buf, sizeof(buf), "%" PRIu64 "%%", n);
		break;
	case FIELD_MICROSECONDS:
		snprintf(buf, sizeof(buf), "%" PRIu64 ".%03" PRIu64 " ms", n / 1000, n % 1000);
		break;
	case FIELD_NUMBER:
		snprintf(buf, sizeof(buf), "%" PRIu64, n);
		break;
	}
	return need(strdup(buf));
}

static void upper(char *s)
{
	for (; *s; s++)
		if (*s >= 'a' && *s <= 'z')
			*s -= 'a' - 'A';
}

static int print_table(struct output *o)
{
	struct libscols_table *table = need(scols_new_table());
	size_t i, r, records = json_object_array_length(o->records);

	for (i = 0; i < o->nr; i++) {
		const struct field *f = &o->fields[i];
		auto_free char *title = NULL;

		if (!(f->where & IN_TABLE))
			continue;
		title = need(strdup(f->title));
		upper(title);
		need(scols_table_new_column(table, title, 0,
			f->type == FIELD_TEXT || f->type == FIELD_TIME || f->type == FIELD_BOOL ?
			0 : SCOLS_FL_RIGHT));
	}
	for (r = 0; r < records; r++) {
		struct json_object *record = json_object_array_get_idx(o->records, r);
		struct libscols_line *line = need(scols_table_new_line(table, NULL));
		size_t column = 0;

		for (i = 0; i < o->nr; i++) {
			char *text;

			if (!(o->fields[i].where & IN_TABLE))
				continue;
			text = value_text(&o->fields[i], record, true);
			if (text)
				scols_line_refer_data(line, column, text);
			column++;
		}
	}
	/* Nothing to show: no heading either. */
	if (records)
		scols_print_table(table);
	scols_unref_table(table);
	return 0;
}

static int print_blocks(struct output *o)
{
	size_t i, r, width = 0;

	for (i = 0; i < o->nr; i++)
		if ((o->fields[i].where & IN_BLOCK) && strlen(o->fields[i].title) > width)
			width = strlen(o->fields[i].title);
	for (r = 0; r < json_object_array_length(o->records); r++) {
		struct json_object *record = json_object_array_get_idx(o->records, r);

		if (r)
			putchar('\n');
		for (i = 0; i < o->nr; i++) {
			auto_free char *text = NULL;

			if (!(o->fields[i].where & IN_BLOCK))
				continue;
			text = value_text(&o->fields[i], record, false);
			if (text)
				printf("%s:%*s %s\n", o->fields[i].title,
				       (int)(width - strlen(o->fields[i].title)), "", text);
		}
	}
	return 0;
}

static int print_json(struct output *o)
{
	struct json_object *top = need(json_object_new_object()), *one;
	struct json_object_iterator it, end;

	json_object_object_add(top, "version", need(json_object_new_int(OUTPUT_VERSION)));
	one = json_object_array_get_idx(o->records, 0);
	if (o->form != OUTPUT_ONE) {
		json_object_object_add(top, o->name, json_object_get(o->records));
	} else if (one) {
		end = json_object_iter_end(one);
		for (it = json_object_iter_begin(one); !json_object_iter_equal(&it, &end);
		     json_object_iter_next(&it))
			json_object_object_add(top, json_object_iter_peek_name(&it),
					       json_object_get(json_object_iter_peek_value(&it)));
	}
	puts(json_object_to_json_string_ext(top, JSON_FLAGS));
	json_object_put(top);
	return 0;
}

int output_print(struct output *o)
{
	int rc;

	if (output_format == FORMAT_JSON)
		rc = print_json(o);
	else if (o->form == OUTPUT_TABLE)
		rc = print_table(o);
	else
		rc = print_blocks(o);
	json_object_put(o->records);
	free(o);
	return rc;
}

void output_event(const char *event, const char *volume, const char *const keys[],
		  const uint64_t *values, size_t nr)
{
	struct json_object *o = need(json_object_new_object());
	auto_free char *clean = need(clean_string(volume));
	size_t i;

	json_object_object_add(o, "version", need(json_object_new_int(OUTPUT_VERSION)));
	json_object_object_add(o, "event", need(json_object_new_string(event)));
	json_object_object_add(o, "volume", need(json_object_new_string(clean)));
	for (i = 0; i < nr; i++)
		json_object_object_add(o, keys[i], need(json_object_new_uint64(values[i])));
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
					       JSON_C_TO_STRING_NOSLASHESCAPE));
	fflush(stdout);
	json_object_put(o);
}
