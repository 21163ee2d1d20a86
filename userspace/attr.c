// SPDX-License-Identifier: GPL-2.0-or-later
/* A shadow copy's attributes: see attr.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "attr.h"
#include "util.h"

#define ATTR_VERSION 1
#define ATTR_FLAGS (JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)

void attr_init(struct attr *a)
{
	a->json = json_object_new_object();
	attr_set_number(a, "v", ATTR_VERSION);
}

void attr_free(struct attr *a)
{
	json_object_put(a->json);
	a->json = NULL;
}

void attr_parse(const char *hex, struct attr *ret)
{
	char text[ATTR_MAX + 1];
	struct json_object *o;
	size_t size;

	ret->json = NULL;
	if (parse_hex(hex, text, ATTR_MAX, &size))
		return;
	text[size] = 0;
	o = json_tokener_parse(text);
	if (json_object_is_type(o, json_type_object))
		ret->json = o;
	else
		json_object_put(o);
}

/* Cuts the longest text of @o to half, at a character's border. */
static bool shorten(struct json_object *o)
{
	struct json_object_iterator it = json_object_iter_begin(o), end = json_object_iter_end(o);
	const char *longest = NULL;
	size_t len = 0;
	char *s;

	for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
		struct json_object *value = json_object_iter_peek_value(&it);

		if (json_object_is_type(value, json_type_string) &&
		    (size_t)json_object_get_string_len(value) > len) {
			len = json_object_get_string_len(value);
			longest = json_object_iter_peek_name(&it);
		}
	}
	if (len < 8)
		return false;
	s = copy_string(json_object_get_string(json_object_object_get(o, longest)));
	if (!s)
		return false;
	for (len /= 2; len && ((unsigned char)s[len] & 0xc0) == 0x80; len--)
		;
	s[len] = 0;
	json_object_object_add(o, longest, json_object_new_string(s));
	free(s);
	return true;
}

int attr_print(const struct attr *a, char **ret)
{
	struct json_object *o = NULL;
	const char *text;
	uint64_t version;
	int rc = -EINVAL;

	if (!attr_number(a, "v", &version) || version != ATTR_VERSION)
		return -EOPNOTSUPP;
	if (json_object_deep_copy(a->json, &o, NULL))
		return -ENOMEM;
	for (;;) {
		text = json_object_to_json_string_ext(o, ATTR_FLAGS);
		if (text && strlen(text) <= ATTR_MAX) {
			*ret = print_hex(text, strlen(text));
			rc = *ret ? 0 : -ENOMEM;
			break;
		}
		if (!text || !shorten(o))
			break;
	}
	json_object_put(o);
	return rc;
}

void attr_set_text(struct attr *a, const char *key, const char *value)
{
	auto_free char *clean = value ? clean_string(value) : NULL;

	if (clean && *clean)
		json_object_object_add(a->json, key, json_object_new_string(clean));
	else
		json_object_object_del(a->json, key);
}

void attr_set_number(struct attr *a, const char *key, uint64_t value)
{
	json_object_object_add(a->json, key, json_object_new_uint64(value));
}

void attr_set_bool(struct attr *a, const char *key, bool value)
{
	json_object_object_add(a->json, key, json_object_new_boolean(value));
}

static struct json_object *member(const struct attr *a, const char *key, enum json_type type)
{
	struct json_object *o;

	if (!a->json || !json_object_object_get_ex(a->json, key, &o) ||
	    !json_object_is_type(o, type))
		return NULL;
	return o;
}

const char *attr_text(const struct attr *a, const char *key)
{
	struct json_object *o = member(a, key, json_type_string);

	return o ? json_object_get_string(o) : NULL;
}

bool attr_number(const struct attr *a, const char *key, uint64_t *ret)
{
	struct json_object *o = member(a, key, json_type_int);

	if (!o)
		return false;
	*ret = json_object_get_uint64(o);
	return true;
}

int attr_bool(const struct attr *a, const char *key)
{
	struct json_object *o = member(a, key, json_type_boolean);

	return o ? json_object_get_boolean(o) : -1;
}
