// SPDX-License-Identifier: GPL-2.0-only
/* Messages and status of the origin node: Documentation/dm-shadow.rst. */
#include <linux/kernel.h>
#include <linux/sched/mm.h>
#include <linux/uuid.h>

#include "volume.h"

struct request {
	struct dms_volume *v;
	unsigned int argc;		/* behind the message's name */
	char **argv;
	char *result;
	unsigned int maxlen;
};

static const struct {
	int error;
	const char *why;
} reasons[] = {
	{ -EINVAL,	"not a valid argument" },
	{ -ERANGE,	"out of range, or not in ascending order" },
	{ -ENOENT,	"no such shadow copy" },
	{ -EBUSY,	"in use, or the origin is not suspended" },
	{ -EPERM,	"the shadow copy is locked" },
	{ -EALREADY,	"already done or under way" },
	{ -EEXIST,	"exists already" },
	{ -ENODATA,	"no exempt runs of that copy are being loaded: begin first" },
	{ -ESRCH,	"no merge is under way" },
	{ -EROFS,	"the diff area can't be written any more" },
	{ -ENOSPC,	"the diff area is full" },
	{ -EFBIG,	"the origin has grown since that shadow copy was taken" },
	{ -ENOMEM,	"out of memory" },
	{ -EOVERFLOW,	"no ids left" },
};

static int parse_id(const char *word, u32 *id)
{
	return kstrtou32(word, 10, id) || !*id ? -EINVAL : 0;
}

static int parse_uuid(const char *word, u8 *ret)
{
	uuid_t u;

	if (uuid_parse(word, &u))
		return -EINVAL;
	memcpy(ret, u.b, 16);
	return 0;
}

static int parse_attr(const char *hex, struct dms_shadow_info *info)
{
	size_t length = strlen(hex);

	memset(info->attr, 0, sizeof(info->attr));
	info->attr_size = 0;
	if (!strcmp(hex, "-"))
		return 0;
	if (length % 2 || length / 2 > DMS_ATTR_SIZE || hex2bin(info->attr, hex, length / 2))
		return -EINVAL;
	info->attr_size = length / 2;
	return 0;
}

/* --- copies --- */

static int parse_create(struct request *q, struct dms_shadow_info *info)
{
	unsigned int i;
	int r;

	r = parse_uuid(q->argv[0], info->uuid);
	memcpy(info->set_uuid, info->uuid, sizeof(info->set_uuid));
	info->set_members = 1;
	if (q->argc % 2 == 0)
		return -EINVAL;
	for (i = 1; !r && i < q->argc; i += 2) {
		const char *key = q->argv[i], *value = q->argv[i + 1];

		if (!strcasecmp(key, "set"))
			r = parse_uuid(value, info->set_uuid);
		else if (!strcasecmp(key, "members"))
			r = parse_id(value, &info->set_members);
		else if (!strcasecmp(key, "attr"))
			r = parse_attr(value, info);
		else if (!strcasecmp(key, "state") && !strcasecmp(value, "preparing"))
			info->flags |= DMS_SHADOW_PREPARING;
		else
			r = -EINVAL;
	}
	return r;
}

static int do_create(struct request *q)
{
	struct dms_shadow_info *info = kzalloc(sizeof(*info), GFP_NOIO);
	int r;

	if (!info)
		return -ENOMEM;
	r = parse_create(q, info);
	if (!r) {
		mutex_lock(&q->v->meta);
		r = dms_shadow_create(q->v, info);
		mutex_unlock(&q->v->meta);
	}
	if (!r) {
		scnprintf(q->result, q->maxlen, "%u", info->id);
		r = 1;
	}
	kfree(info);
	return r;
}

static int do_delete(struct request *q)
{
	unsigned int i;
	u32 id;
	int r = 0;

	mutex_lock(&q->v->meta);
	for (i = 0; !r && i < q->argc; i++) {
		r = parse_id(q->argv[i], &id);
		if (!r)
			r = dms_shadow_may_delete(q->v, id);
	}
	for (i = 0; !r && i < q->argc; i++) {
		parse_id(q->argv[i], &id);
		r = dms_shadow_delete(q->v, id);
		if (r == -ENOENT)	/* named twice */
			r = 0;
	}
	mutex_unlock(&q->v->meta);
	return r;
}

/* Change what is said of a copy: @change edits a draft, which then becomes durable. */
static int update(struct dms_volume *v, u32 id,
		  int (*change)(struct dms_shadow_info *info, const char *arg), const char *arg)
{
	struct dms_shadow_info *info = NULL;
	struct dms_shadow *s;
	int r = -ENOENT;

	mutex_lock(&v->meta);
	s = dms_shadow_find(v, id);
	if (s) {
		info = kmemdup(&s->info, sizeof(*info), GFP_NOIO);
		r = info ? change(info, arg) : -ENOMEM;
	}
	if (!r)
		r = dms_shadow_update(v, info);
	mutex_unlock(&v->meta);
	kfree(info);
	return r;
}

static int change_commit(struct dms_shadow_info *info, const char *arg)
{
	if (!(info->flags & DMS_SHADOW_PREPARING))
		return -EALREADY;
	info->flags &= ~DMS_SHADOW_PREPARING;
	return 0;
}

static int change_attr(struct dms_shadow_info *info, const char *arg)
{
	return parse_attr(arg, info);
}

static int change_lock(struct dms_shadow_info *info, const char *arg)
{
	return kstrtou64(arg, 10, &info->locked_until) ? -EINVAL : 0;
}

static int change_trust(struct dms_shadow_info *info, const char *arg)
{
	info->flags &= ~DMS_SHADOW_SUSPECT;
	return 0;
}

static int with_id(struct request *q, int (*change)(struct dms_shadow_info *, const char *))
{
	u32 id;

	if (parse_id(q->argv[0], &id))
		return -EINVAL;
	return update(q->v, id, change, q->argc > 1 ? q->argv[1] : NULL);
}

static int do_commit(struct request *q)
{
	return with_id(q, change_commit);
}

static int do_attr(struct request *q)
{
	return with_id(q, change_attr);
}

static int do_lock(struct request *q)
{
	return with_id(q, change_lock);
}

static int do_trust(struct request *q)
{
	struct dms_copies *c;
	u32 i, id;
	int idx, r = 0;

	for (i = 0; !r; i++) {
		idx = srcu_read_lock(&q->v->srcu);
		c = srcu_dereference(q->v->copies, &q->v->srcu);
		while (i < c->nr && !(c->shadow[i]->info.flags & DMS_SHADOW_SUSPECT))
			i++;
		id = i < c->nr ? c->shadow[i]->info.id : 0;
		srcu_read_unlock(&q->v->srcu, idx);
		if (!id)
			break;
		r = update(q->v, id, change_trust, NULL);
	}
	return r;
}

static int do_exempt(struct request *q)
{
	const char *verb = q->argv[1];
	struct dms_volume *v = q->v;
	unsigned int i;
	u64 chunk, count;
	u32 id;
	int r = 0;

	if (parse_id(q->argv[0], &id))
		return -EINVAL;
	dms_back_lock(v);
	if (!strcasecmp(verb, "begin") && q->argc == 2) {
		r = dms_exempt_begin(v, id);
	} else if (!strcasecmp(verb, "end") && q->argc == 2) {
		r = dms_exempt_end(v, id);
	} else if (!strcasecmp(verb, "abort") && q->argc == 2) {
		r = dms_exempt_cancel(v, id);
	} else if (!strcasecmp(verb, "run") && q->argc > 2 && q->argc % 2 == 0) {
		for (i = 2; !r && i < q->argc; i += 2) {
			r = -EINVAL;
			if (!kstrtou64(q->argv[i], 10, &chunk) &&
			    !kstrtou64(q->argv[i + 1], 10, &count))
				r = dms_exempt_run(v, id, chunk, count);
		}
	} else {
		r = -EINVAL;
	}
	dms_back_unlock(v);
	return r;
}

static int do_merge(struct request *q)
{
	bool skip = !strcasecmp(q->argv[0], "skip");
	u32 id = 0;
	int r;

	if (!skip && parse_id(q->argv[0], &id))
		return -EINVAL;
	mutex_lock(&q->v->meta);
	r = skip ? dms_merge_skip(q->v) : dms_merge_start(q->v, id);
	mutex_unlock(&q->v->meta);
	return r;
}

static int do_scrub(struct request *q)
{
	u32 rate = 0;

	if (!strcasecmp(q->argv[0], "stop") && q->argc == 1) {
		dms_scrub_stop(q->v);
		return 0;
	}
	if (strcasecmp(q->argv[0], "start") || (q->argc > 1 && kstrtou32(q->argv[1], 10, &rate)))
		return -EINVAL;
	return dms_scrub_start(q->v, rate);
}

static int do_list(struct request *q)
{
	struct dms_volume *v = q->v;
	unsigned int sz = 0, maxlen = q->maxlen;
	char *result = q->result;
	int idx;
	struct dms_shadow_info *s;
	struct dms_copies *c;
	u32 i, k, only = 0;

	if (q->argc && parse_id(q->argv[0], &only))
		return -EINVAL;
	result[0] = 0;
	s = kmalloc(sizeof(*s), GFP_KERNEL);
	if (!s)
		return -ENOMEM;
	idx = srcu_read_lock(&v->srcu);
	c = srcu_dereference(v->copies, &v->srcu);
	for (i = 0; i < c->nr; i++) {
		spin_lock(&v->info_lock);
		*s = c->shadow[i]->info;
		spin_unlock(&v->info_lock);
		if (only && s->id != only)
			continue;
		DMEMIT("%s%u %pUb %pUb %u %llu.%09u %llu ", sz ? "\n" : "", s->id, s->uuid,
		       s->set_uuid, s->set_members, (unsigned long long)s->created,
		       s->created_nsec, (unsigned long long)s->origin_sectors);
		DMEMIT("%s%s%s%s%s%s", s->flags & DMS_SHADOW_PREPARING ? "p" : "",
		       s->flags & DMS_SHADOW_SUSPECT ? "s" : "",
		       s->flags & DMS_SHADOW_INVALID ? "i" : "",
		       s->flags & DMS_SHADOW_EXEMPT ? "e" : "",
		       s->id == v->merge_shadow ? "m" : "",
		       s->flags || s->id == v->merge_shadow ? "" : "-");
		DMEMIT(" %llu %llu %u ", (unsigned long long)s->locked_until,
		       (unsigned long long)s->exempt_chunks, c->shadow[i]->opens);
		for (k = 0; k < s->attr_size; k++)
			DMEMIT("%02x", s->attr[k]);
		if (!s->attr_size)
			DMEMIT("-");
		DMEMIT(" %u", atomic_read(&c->shadow[i]->damaged));
	}
	srcu_read_unlock(&v->srcu, idx);
	kfree(s);
	return only && !sz ? -ENOENT : 1;
}

/* --- policy and upkeep --- */

/* Under back_mutex: store the superblock, as changed. */
static int store_super(struct dms_volume *v)
{
	int r;

	if (v->mode != DMS_MODE_RW)
		return -EROFS;
	r = dms_super_write(v);
	if (r)
		dms_volume_fail(v, "can't write the superblock", r);
	dms_background_wake(v);
	return r;
}

static int do_limit(struct request *q)
{
	u64 limit;
	int r;

	if (kstrtou64(q->argv[0], 10, &limit))
		return -EINVAL;
	dms_back_lock(q->v);
	if (limit > q->v->area_chunks) {
		r = -ERANGE;
	} else {
		q->v->super.limit_chunks = limit;
		r = store_super(q->v);
	}
	dms_back_unlock(q->v);
	return r;
}

static int do_when_full(struct request *q)
{
	u32 policy, seconds = 0;
	int r;

	if (!strcasecmp(q->argv[0], "drop-oldest") && q->argc == 1)
		policy = DMS_FULL_DROP_OLDEST;
	else if (!strcasecmp(q->argv[0], "invalidate") && q->argc == 1)
		policy = DMS_FULL_INVALIDATE;
	else if (!strcasecmp(q->argv[0], "block") && q->argc == 2)
		policy = DMS_FULL_BLOCK;
	else
		return -EINVAL;
	if (policy == DMS_FULL_BLOCK &&
	    (kstrtou32(q->argv[1], 10, &seconds) || !seconds ||
	     seconds > DMS_MAX_FULL_TIMEOUT))
		return -ERANGE;
	dms_back_lock(q->v);
	q->v->super.when_full = policy;
	q->v->super.full_timeout = seconds;
	r = store_super(q->v);
	dms_back_unlock(q->v);
	return r;
}

static int do_low_space(struct request *q)
{
	u32 percent;
	int r;

	if (kstrtou32(q->argv[0], 10, &percent) || percent > 100)
		return -ERANGE;
	dms_back_lock(q->v);
	q->v->super.low_space = percent;
	r = store_super(q->v);
	dms_back_unlock(q->v);
	return r;
}

static int do_resize(struct request *q)
{
	int r;

	dms_back_lock(q->v);
	r = q->v->mode == DMS_MODE_RW ? dms_area_resize(q->v) : -EROFS;
	dms_back_unlock(q->v);
	return r;
}

static int do_fingerprint(struct request *q)
{
	u64 blocks[DMS_EXTRA_PRINTS];
	unsigned int i;
	int r;

	for (i = 0; i < q->argc; i++)
		if (kstrtou64(q->argv[i], 10, &blocks[i]))
			return -EINVAL;
	dms_back_lock(q->v);
	r = dms_area_set_prints(q->v, blocks, q->argc);
	dms_back_unlock(q->v);
	return r;
}

static int do_checkpoint(struct request *q)
{
	int r;

	dms_back_lock(q->v);
	r = dms_checkpoint(q->v, 0);
	dms_back_unlock(q->v);
	return r;
}

static const struct {
	const char *name;
	int (*fn)(struct request *q);
	unsigned int min, max;		/* arguments */
} messages[] = {
	{ "create",	 do_create,	 1, 9 },
	{ "commit",	 do_commit,	 1, 1 },
	{ "delete",	 do_delete,	 1, UINT_MAX },
	{ "attr",	 do_attr,	 2, 2 },
	{ "lock",	 do_lock,	 2, 2 },
	{ "exempt",	 do_exempt,	 2, UINT_MAX },
	{ "merge",	 do_merge,	 1, 1 },
	{ "limit",	 do_limit,	 1, 1 },
	{ "when_full",	 do_when_full,	 1, 2 },
	{ "low_space",	 do_low_space,	 1, 1 },
	{ "resize",	 do_resize,	 0, 0 },
	{ "fingerprint", do_fingerprint, 0, DMS_EXTRA_PRINTS },
	{ "checkpoint",	 do_checkpoint,	 0, 0 },
	{ "trust",	 do_trust,	 0, 0 },
	{ "scrub",	 do_scrub,	 1, 2 },
	{ "list",	 do_list,	 0, 1 },
};

int dms_message(struct dms_volume *v, unsigned int argc, char **argv,
		char *result, unsigned int maxlen)
{
	struct request q = {
		.v = v, .argc = argc - 1, .argv = argv + 1, .result = result, .maxlen = maxlen,
	};
	unsigned int i, k, noio;
	int r;

	for (i = 0; i < ARRAY_SIZE(messages); i++)
		if (!strcasecmp(argv[0], messages[i].name))
			break;
	if (i == ARRAY_SIZE(messages)) {
		DMERR("%s: unknown message '%s'", v->name, argv[0]);
		return -EINVAL;
	}
	if (q.argc < messages[i].min || q.argc > messages[i].max) {
		DMERR("%s: message '%s': wrong number of arguments", v->name, argv[0]);
		return -EINVAL;
	}
	/* The origin may be suspended with a file system frozen on it. */
	noio = memalloc_noio_save();
	r = messages[i].fn(&q);
	memalloc_noio_restore(noio);
	if (r < 0) {
		for (k = 0; k < ARRAY_SIZE(reasons) - 1; k++)
			if (reasons[k].error == r)
				break;
		if (reasons[k].error == r)
			DMERR("%s: message '%s': %s", v->name, argv[0], reasons[k].why);
		else
			DMERR("%s: message '%s': error %d", v->name, argv[0], r);
	}
	return r;
}

/* --- status --- */

static const char * const modes[] = {
	[DMS_MODE_RW] = "rw", [DMS_MODE_RO] = "ro",
};

static const char * const found[] = {
	[DMS_FOUND_NEW] = "new", [DMS_FOUND_CLEAN] = "clean",
	[DMS_FOUND_RECOVERED] = "recovered", [DMS_FOUND_CHANGED] = "changed",
};

void dms_status(struct dms_volume *v, char *result, unsigned int maxlen)
{
	const struct dms_super *s = &v->super;
	u32 in_memory, room, copies, oldest, newest, nr_trees;
	size_t bytes, bitmaps;
	struct dms_copies *c;
	struct dms_trees *t;
	unsigned int sz = 0;
	u64 entries;
	int idx;

	idx = srcu_read_lock(&v->srcu);
	c = srcu_dereference(v->copies, &v->srcu);
	copies = c->nr;
	oldest = copies ? c->shadow[0]->info.id : 0;
	newest = copies ? c->shadow[copies - 1]->info.id : 0;
	t = srcu_dereference(v->trees, &v->srcu);
	nr_trees = t->nr;
	entries = dms_trees_entries(t, 0);
	bitmaps = dms_bits_bytes(READ_ONCE(v->saved)) + dms_bits_bytes(READ_ONCE(v->saved_before)) +
		  dms_bits_bytes(READ_ONCE(v->home)) + dms_alloc_bytes(v->alloc);
	srcu_read_unlock(&v->srcu, idx);
	in_memory = dms_table_count(v->table[0]) + dms_table_count(v->table[1]);
	room = dms_table_room(v->table[0]) + dms_table_room(v->table[1]);
	bytes = dms_table_bytes(v->table[0]) + dms_table_bytes(v->table[1]);

	DMEMIT("%s %s %u %llu/%llu %llu ", modes[v->mode],
	       v->is_volatile ? "volatile" : "persistent", 1U << v->chunk_shift,
	       (unsigned long long)dms_alloc_used(v->alloc), (unsigned long long)v->area_chunks,
	       (unsigned long long)s->limit_chunks);
	DMEMIT("%u %u %u %u ", copies, oldest, newest, v->epoch);
	if (s->when_full == DMS_FULL_BLOCK)
		DMEMIT("block:%u ", s->full_timeout);
	else
		DMEMIT("%s ", s->when_full == DMS_FULL_INVALIDATE ? "invalidate" : "drop-oldest");
	DMEMIT("%u %llu/%llu %u:%llu %u/%u ", s->low_space,
	       (unsigned long long)(v->journal_head - v->journal_tail),
	       (unsigned long long)s->journal_blocks, nr_trees, (unsigned long long)entries,
	       in_memory, in_memory + room);
	DMEMIT("%zu/%u %zu ", (bytes >> 10) + dms_cache_used_kib(v->cache), v->cache_kib,
	       DIV_ROUND_UP(bitmaps, 1024));
	DMEMIT("%lld %lld %lld ", atomic64_read(&v->stats.saved), atomic64_read(&v->stats.zeroes),
	       atomic64_read(&v->stats.dropped));
	DMEMIT("%lld %lld %lld %lld ", atomic64_read(&v->stats.checksum_errors),
	       atomic64_read(&v->stats.area_errors), atomic64_read(&v->stats.unreadable),
	       atomic64_read(&v->stats.checkpoints));
	if (v->merge_shadow)
		DMEMIT("%u:%llu/%llu ", v->merge_shadow, (unsigned long long)v->merge_cursor,
		       (unsigned long long)v->origin_chunks);
	else
		DMEMIT("- ");
	DMEMIT("%pUb %s ", s->uuid, found[v->found]);
	dms_scrub_status(v, result + sz, maxlen - sz);
	sz = strlen(result);
	DMEMIT(" %s %llu", dms_merge_state(v), (unsigned long long)READ_ONCE(v->merge_skipped));
}
