// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "history.h"

#define MAGIC	0x31796f7473696864ull

struct header {
	u64 magic, seed;
	u32 sectors, nr_ops, nr_copies, reserved;
};

static void put(FILE *f, const void *data, size_t size)
{
	if (size && fwrite(data, size, 1, f) != 1)
		die("history: %s", strerror(errno));
}

static void get(FILE *f, void *data, size_t size)
{
	if (size && fread(data, size, 1, f) != 1)
		die("history: it ends early");
}

void history_save(const struct history *h, const char *path)
{
	struct header d = {
		MAGIC, h->seed, h->sectors, h->nr_ops, h->nr_copies, 0,
	};
	const struct history_copy *c;
	FILE *f = fopen(path, "w");

	if (!f)
		die("%s: %s", path, strerror(errno));
	put(f, &d, sizeof(d));
	put(f, h->first, h->sectors * sizeof(u32));
	put(f, h->ops, h->nr_ops * sizeof(*h->ops));
	for (c = h->copies; c < h->copies + h->nr_copies; c++) {
		u32 head[2] = { c->id, !!c->before };

		put(f, head, sizeof(head));
		put(f, c->map, h->sectors * sizeof(u32));
		if (c->before)
			put(f, c->before, h->sectors * sizeof(u32));
	}
	if (fclose(f))
		die("%s: %s", path, strerror(errno));
}

void history_load(struct history *h, const char *path)
{
	FILE *f = fopen(path, "r");
	struct header d;
	u32 i, head[2];

	if (!f)
		die("%s: %s", path, strerror(errno));
	get(f, &d, sizeof(d));
	if (d.magic != MAGIC)
		die("%s: no history", path);
	*h = (struct history) {
		.seed = d.seed, .sectors = d.sectors,
		.nr_ops = d.nr_ops, .nr_copies = d.nr_copies,
	};
	h->first = xmalloc(h->sectors * sizeof(u32));
	get(f, h->first, h->sectors * sizeof(u32));
	h->ops = xmalloc(h->nr_ops * sizeof(*h->ops));
	get(f, h->ops, h->nr_ops * sizeof(*h->ops));
	h->copies = xmalloc(h->nr_copies * sizeof(*h->copies));
	for (i = 0; i < h->nr_copies; i++) {
		struct history_copy *c = h->copies + i;

		get(f, head, sizeof(head));
		c->id = head[0];
		c->exempt = head[1];
		c->map = xmalloc(h->sectors * sizeof(u32));
		get(f, c->map, h->sectors * sizeof(u32));
		if (!c->exempt)
			continue;
		c->before = xmalloc(h->sectors * sizeof(u32));
		get(f, c->before, h->sectors * sizeof(u32));
	}
	fclose(f);
}

struct history_copy *history_copy(const struct history *h, u32 id)
{
	u32 i;

	for (i = 0; i < h->nr_copies; i++) {
		if (h->copies[i].id == id)
			return h->copies + i;
	}
	return NULL;
}
