// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * check --repair against a damage generator.
 *
 *	[SEED=n] [ROUNDS=n] repair_test [KIND...]
 *
 * Plants each kind of damage in a diff area of which it is known what every copy
 * shows, and demands: check finds it, in the object named here; what is repaired
 * is sound, and can be activated; each chunk of each copy is right, or an error
 * where check named this copy and chunk, or the copy is marked invalid or gone
 * and check named it; what can be proved comes back; where nothing need be lost,
 * nothing is; what can't be repaired is refused and not touched.  Then several
 * kinds at once.
 */
#include <time.h>

#include "repair_model.h"
#include "check.h"
#include "repair.h"

/* --- what check names ------------------------------------------------------- */

struct named {
	u32 damage;			/* findings */
	bool object;			/* one of them is of the object wanted */
	const char *want;
	bool whole[MAX_COPIES + 1];	/* by id */
	bool chunk[MAX_COPIES + 1][CHUNKS];
	bool forgets;			/* records were lost: of copies that nothing tells of */
	bool print;
};

static void name(void *context, const struct check_finding *f)
{
	struct named *n = context;
	u32 i;
	u64 c;

	if (n->print) {
		printf("  %d %s: %s: copies", f->level, f->object, f->fact);
		for (i = 0; i < f->nr_copies; i++)
			printf(" %u", f->copies[i]);
		printf(" chunks %llu+%llu\n", (unsigned long long)f->chunk,
		       (unsigned long long)f->chunks);
	}
	if (f->level == CHECK_REPAIR)
		return;
	if (f->level != CHECK_DAMAGE && f->level != CHECK_WARNING)
		return;
	n->damage++;
	n->forgets |= f->nr_copies && (!strcmp(f->object, "journal") ||
				       (!strcmp(f->object, "superblock") && !f->chunks));
	n->object |= n->want && !strcmp(f->object, n->want);
	for (i = 0; i < f->nr_copies; i++) {
		must(f->copies[i] <= MAX_COPIES);
		n->whole[f->copies[i]] |= !f->chunks;
		for (c = f->chunk; c < f->chunk + f->chunks && c < CHUNKS; c++)
			n->chunk[f->copies[i]][c] = true;
	}
}

static void check(struct model *m, bool data, struct named *n)
{
	struct check_params p = { .data = data, .report = name, .context = n };
	struct check_summary sum;
	struct area_info info;

	must(!check_area(m->path, &p, &info, &sum));
}

/* --- the damage -------------------------------------------------------------- */

static void corrupt(struct model *m, u64 block)
{
	u8 *p = block_at(m, block);

	switch (rnd(3)) {
	case 0:
		p[rnd(DMS_BLOCK_SIZE)] ^= (u8)(1u << rnd(8));
		break;
	case 1:
		memset(p, 0, DMS_BLOCK_SIZE);
		break;
	case 2:
		memset(p + 2048, 0x77, 2048);
		break;
	}
}

/* Put the checksum of @addr right, and all that leads to it. */
static void reseal(struct model *m, u64 addr)
{
	__le64 wanted = cpu_to_le64(addr);
	u8 *block = block_at(m, addr), *p;
	__le32 old, crc;
	u32 i, at;

	memcpy(&old, block, 4);
	crc = cpu_to_le32(dms_crc(block + 4, DMS_BLOCK_SIZE - 4));
	memcpy(block, &crc, 4);
	if (old == crc)
		return;
	for (i = 0; i <= m->nr_meta; i++) {
		u64 from = i < m->nr_meta ? m->meta[i] : DMS_SUPER_B_BLOCK;
		bool found = false;

		p = block_at(m, from);
		for (at = 64; at + 16 <= DMS_BLOCK_SIZE; at += 4) {
			if (memcmp(p + at, &wanted, 8))
				continue;
			/* A pointer has the crc behind, keys and refs before. */
			if (!memcmp(p + at + 8, &old, 4)) {
				memcpy(p + at + 8, &crc, 4);
				found = true;
			} else if (!memcmp(p + at - 4, &old, 4)) {
				memcpy(p + at - 4, &crc, 4);
				found = true;
			}
		}
		if (found && from != addr)
			reseal(m, from);
	}
}

static u16 type_of(struct model *m, u64 block)
{
	return le16_to_cpu(((struct dms_disk_header *)block_at(m, block))->type);
}

/* A block of @type, of an exempt tree or not. */
static u64 some_block(struct model *m, u16 type, bool exempt)
{
	u32 i, k, start = (u32)rnd(m->nr_meta);

	for (i = 0; i < m->nr_meta; i++) {
		u64 block = m->meta[(start + i) % m->nr_meta];
		const struct dms_disk_entry *e = (void *)(block_at(m, block) + 64);
		bool alive = true;

		if (type_of(m, block) != type)
			continue;
		if (type == DMS_BLOCK_LEAF && (e->kind == DMS_KIND_EXEMPT) != exempt)
			continue;
		/* Of nodes the key's tag tells: those of exempt trees are not many. */
		for (k = 0; type == DMS_BLOCK_NODE && k < m->nr_copies; k++)
			alive &= m->copy[k].info.exempt.root.block != block;
		if (alive)
			return block;
	}
	must(!"there is such a block");
	return 0;
}

static struct dms_disk_entry *some_data(struct model *m, u64 *leaf, u64 other)
{
	for (;;) {
		struct dms_disk_header *h;
		struct dms_disk_entry *e;
		u32 i;

		*leaf = some_block(m, DMS_BLOCK_LEAF, false);
		h = (void *)block_at(m, *leaf);
		i = (u32)rnd(le32_to_cpu(h->count));
		e = (struct dms_disk_entry *)(h + 1) + i;
		if (e->kind == DMS_KIND_DATA && le64_to_cpu(e->where) != other)
			return e;
	}
}

static void plant_super_newest(struct model *m)
{
	corrupt(m, DMS_SUPER_B_BLOCK);
}

static void plant_super_older(struct model *m)
{
	corrupt(m, DMS_SUPER_A_BLOCK);
}

static void plant_super_stale(struct model *m)
{
	struct dms_super s = m->super[0];

	s.generation = 1;
	s.flags |= rnd(2) ? DMS_SUPER_CLEAN : 0;
	/* Its root is of that activation, too. */
	((struct dms_disk_header *)block_at(m, s.root.block))->generation = cpu_to_le64(1);
	s.root.crc = dms_crc(block_at(m, s.root.block) + 4, DMS_BLOCK_SIZE - 4);
	memcpy(block_at(m, s.root.block), &s.root.crc, 4);
	dms_super_pack(block_at(m, DMS_SUPER_A_BLOCK), DMS_SUPER_A_BLOCK, &s);
	corrupt(m, DMS_SUPER_B_BLOCK);
}

/* The area failed in use, and a merge was ended without a record. */
static void plant_super_lost(struct model *m)
{
	const u64 root = m->super[1].root.block;
	struct dms_disk_root *d = (void *)(block_at(m, root) + 80);
	u64 addr;

	d->merge_shadow = cpu_to_le32(3);
	d->merge_epoch = d->epoch;
	reseal(m, root);
	for (addr = DMS_SUPER_A_BLOCK; addr <= DMS_SUPER_B_BLOCK; addr += DMS_SUPER_B_BLOCK) {
		((struct dms_disk_super *)block_at(m, addr))->flags |=
			cpu_to_le32(DMS_SUPER_LOST | DMS_SUPER_MERGED);
		reseal(m, addr);
	}
}

static void plant_root(struct model *m)
{
	corrupt(m, m->super[1].root.block);
}

static void plant_root_only(struct model *m)
{
	corrupt(m, m->super[1].root.block);
	corrupt(m, DMS_SUPER_A_BLOCK);
}

static void plant_descriptor(struct model *m)
{
	corrupt(m, m->copy[rnd(m->root[1].nr_shadows)].block);
}

static void plant_bitmap_block(struct model *m)
{
	corrupt(m, m->super[1].bitmap_block + 1);
}

static u8 *bits_of(struct model *m)
{
	return block_at(m, m->super[1].bitmap_block + 1) + 64;
}

static void plant_bitmap_free(struct model *m)
{
	u64 n = rnd(m->root[1].used_chunks - 100), end = n + 1 + rnd(50);

	for (; n < end; n++)
		bits_of(m)[n / 8] &= (u8)~(1u << n % 8);
	bits_of(m)[0] &= 0xfe;
	model_seal(m, m->super[1].bitmap_block + 1, 7, DMS_BLOCK_BITMAP, DMS_PAYLOAD_SIZE);
}

static void plant_bitmap_leak(struct model *m)
{
	u64 n = m->next + rnd(100), end = n + 1 + rnd(50);

	for (; n < end; n++)
		bits_of(m)[n / 8] |= (u8)(1u << n % 8);
	model_seal(m, m->super[1].bitmap_block + 1, 7, DMS_BLOCK_BITMAP, DMS_PAYLOAD_SIZE);
}

static void plant_leaf(struct model *m)
{
	corrupt(m, some_block(m, DMS_BLOCK_LEAF, false));
}

static void plant_leaves(struct model *m)
{
	u32 n = 2 + (u32)rnd(4);

	while (n--)
		corrupt(m, some_block(m, DMS_BLOCK_LEAF, false));
}

static void plant_node(struct model *m)
{
	corrupt(m, some_block(m, DMS_BLOCK_NODE, false));
}

/* A write that went to the wrong place: whole, but another leaf. */
static void plant_leaf_misdirected(struct model *m)
{
	u64 a = some_block(m, DMS_BLOCK_LEAF, false), b = a;

	while (b == a)
		b = some_block(m, DMS_BLOCK_LEAF, false);
	memcpy(block_at(m, a), block_at(m, b), DMS_BLOCK_SIZE);
}

static void plant_entry(struct model *m)
{
	struct dms_disk_entry *e;
	u64 leaf;

	e = some_data(m, &leaf, 0);
	if (rnd(2))
		e->kind = 77;
	else
		e->where = cpu_to_le64(~0ull);
	reseal(m, leaf);
}

static void plant_twice(struct model *m)
{
	struct dms_disk_entry *e, *of;
	u64 leaf, other;

	of = some_data(m, &other, 0);
	e = some_data(m, &leaf, le64_to_cpu(of->where));
	e->where = of->where;
	reseal(m, leaf);
}

static void plant_count(struct model *m)
{
	const u64 root = m->super[1].root.block;
	struct dms_disk_tree *t = (void *)(block_at(m, root) + 80 + sizeof(struct dms_disk_root) +
					   m->root[1].nr_shadows *
					   sizeof(struct dms_disk_shadow_ref));

	t += rnd(m->root[1].nr_trees);
	t->entries = cpu_to_le64(le64_to_cpu(t->entries) + 1);
	reseal(m, root);
}

static void plant_exempt(struct model *m)
{
	corrupt(m, some_block(m, DMS_BLOCK_LEAF, true));
}

static void plant_exempt_count(struct model *m)
{
	struct dms_disk_shadow *d = (void *)(block_at(m, m->copy[1].block) + 64);

	d->exempt_chunks = cpu_to_le64(le64_to_cpu(d->exempt_chunks) + 1);
	reseal(m, m->copy[1].block);
}

static void plant_data(struct model *m)
{
	const struct dms_disk_entry *e;
	u64 leaf, where;

	/* One that copy 3 needs: it has no exempt runs. */
	do
		e = some_data(m, &leaf, 0);
	while (le32_to_cpu(e->tag) != 3);
	where = le64_to_cpu(e->where);
	block_at(m, where * m->cb + rnd(m->cb))[rnd(DMS_BLOCK_SIZE)] ^= 0x10;
}

static void plant_journal(struct model *m)
{
	u64 from = m->root[1].journal_sequence;

	corrupt(m, m->super[1].journal_block + from + rnd(m->sequence - from - 1));
}

static void plant_journal_nonsense(struct model *m)
{
	u64 from = m->root[1].journal_sequence;
	u64 addr = m->super[1].journal_block + from + rnd(m->sequence - from - 1);

	((struct dms_disk_record *)(block_at(m, addr) + 80))->type = cpu_to_le16(99);
	reseal(m, addr);
}

/* A merge is under way, and a leaf is lost that may say what is home. */
static void plant_merge(struct model *m)
{
	const u64 root = m->super[1].root.block;
	struct dms_disk_root *d = (void *)(block_at(m, root) + 80);

	d->merge_shadow = cpu_to_le32(3);
	d->merge_epoch = d->epoch;
	reseal(m, root);
	plant_leaf(m);
}

enum outcome {
	LOSSLESS,		/* everything is right afterwards */
	LOSSY,
	REFUSED,
};

static const struct kind {
	const char *name, *object;
	void (*plant)(struct model *m);
	enum outcome outcome;
	bool data;			/* seen only where data is verified */
	bool alone;			/* not to be combined */
	bool suspect;			/* copies are marked, and only if they lost something */
} kinds[] = {
	{ "superblock-newest", "superblock", plant_super_newest, LOSSLESS, false, true, false },
	{ "superblock-older", "superblock", plant_super_older, LOSSLESS, false, true, false },
	{ "superblock-stale", "superblock", plant_super_stale, LOSSY, false, true, false },
	{ "superblock-lost", "superblock", plant_super_lost, LOSSY, false, true, false },
	{ "root", "root", plant_root, LOSSLESS, false, true, false },
	{ "root-only", "root", plant_root_only, REFUSED, false, true, false },
	{ "descriptor", "copy", plant_descriptor, LOSSY, false, false, false },
	{ "bitmap-block", "bitmap", plant_bitmap_block, LOSSLESS, false, false, false },
	{ "bitmap-used-is-free", "bitmap", plant_bitmap_free, LOSSLESS, false, false, false },
	{ "bitmap-leak", "bitmap", plant_bitmap_leak, LOSSLESS, false, false, false },
	{ "index-leaf", "index", plant_leaf, LOSSY, false, false, true },
	{ "index-leaves", "index", plant_leaves, LOSSY, false, false, true },
	{ "index-node", "index", plant_node, LOSSY, false, false, true },
	{ "index-misdirected", "index", plant_leaf_misdirected, LOSSY, false, false, true },
	{ "index-entry", "index", plant_entry, LOSSY, false, false, true },
	{ "index-used-twice", "index", plant_twice, LOSSY, false, false, false },
	{ "index-count", "index", plant_count, LOSSLESS, false, false, false },
	{ "exempt-leaf", "exempt", plant_exempt, LOSSY, false, false, false },
	{ "exempt-count", "exempt", plant_exempt_count, LOSSLESS, false, false, false },
	{ "data", "data", plant_data, LOSSY, true, false, false },
	{ "journal-block", "journal", plant_journal, LOSSY, false, false, false },
	{ "journal-nonsense", "journal", plant_journal_nonsense, LOSSY, false, false, false },
	{ "merge", "index", plant_merge, REFUSED, false, true, false },
};

/* --- what must come back ------------------------------------------------------ */

/* An exception of exactly the copy's epoch, in a sound block: nothing can come before it. */
static bool provable[MAX_COPIES + 1][CHUNKS];

static void find_provable(struct model *m)
{
	struct dms_exception e;
	struct reader r;
	u32 i, k, c;

	must(!reader_open(&r, m));
	for (k = 0; k < r.copies.count; k++) {
		u32 id = r.copies.item[k].id;

		for (i = 0; i < r.image.root.nr_trees; i++)
			for (c = 0; c < CHUNKS; c++)
				if (dms_tree_find(&r.source, &r.tree[i], c, id, 1, &e, NULL) == 1 &&
				    e.tag == id)
					provable[id][c] = true;
	}
	reader_close(&r);
}

/* --- judging ------------------------------------------------------------------ */

struct losses {
	u32 chunks, copies;		/* given up */
	u32 suspect;			/* copies that say so themselves */
};

/* Every copy is right, or says that it is not and was named. */
static void compare(struct model *m, const struct named *n, struct losses *lost)
{
	const struct dms_shadow_info *info;
	struct reader r;
	u32 i, k, c, v;

	must(!reader_open(&r, m));
	for (i = 0; i < m->nr_copies; i++) {
		const struct model_copy *copy = &m->copy[i];
		u32 id = copy->info.id;

		for (k = 0, info = NULL; k < r.copies.count; k++)
			if (r.copies.item[k].id == id)
				info = &r.copies.item[k];
		if (!info || info->flags & DMS_SHADOW_INVALID) {
			must(copy->deleted || n->whole[id] || memchr(n->chunk[id], 1, CHUNKS) ||
			     (!info && n->forgets));
			lost->copies += !copy->deleted;
			continue;
		}
		must(!copy->deleted);
		lost->suspect += !!(info->flags & DMS_SHADOW_SUSPECT);
		for (c = 0; c < CHUNKS; c++) {
			must(reader_exact(&r, id, c) <= 1);
			v = reader_version(&r, info, c);
			if (v == copy->version[c])
				continue;
			if (v != NO_VERSION || !n->chunk[id][c])
				printf("copy %u chunk %u: shows %d, should be %u, %s\n", id, c, (int)v,
				       copy->version[c], n->chunk[id][c] ? "named" : "not named");
			must(v == NO_VERSION && n->chunk[id][c] && !provable[id][c]);
			lost->chunks++;
		}
	}
	reader_close(&r);
}

static void repair_refused(struct model *m)
{
	struct named done = { .print = false };
	struct repair_params p = { .report = name, .context = &done };
	u8 *before = malloc(m->bytes);
	char why[160];

	memcpy(before, m->data, m->bytes);
	must(repair_area(m->path, m->fd, &p, why) == -EUCLEAN && strlen(why));
	/* Free space aside: the blocks that something leads to. */
	for (u32 i = 0; i < m->nr_meta; i++)
		must(!memcmp(block_at(m, m->meta[i]), before + (m->meta[i] << DMS_BLOCK_SHIFT),
			     DMS_BLOCK_SIZE));
	must(!memcmp(m->data, before, (m->super[1].bitmap_block + 2) << DMS_BLOCK_SHIFT));
	free(before);
}

/* After any damage: repair, check, compare.  @data: saved data, too. */
static void repair(struct model *m, struct named *n, bool data, struct losses *lost)
{
	static struct named after;
	struct repair_params p = { .data = data, .report = name, .context = n };
	struct area_info info;
	char why[160];
	u32 damage = n->damage;
	int r;

	r = repair_area(m->path, m->fd, &p, why);
	if (r)
		printf("repair: %d, %s\n", r, why);
	must(!r && n->damage == damage);
	memset(&after, 0, sizeof(after));
	after.print = true;
	check(m, data, &after);
	must(!after.damage);
	must(!area_probe(m->path, &info) && info.supers_valid == 2);
	compare(m, n, lost);
}

/* --- tests ---------------------------------------------------------------------- */

static struct model model;
static struct named seen;

static void look(const char *want)
{
	memset(&seen, 0, sizeof(seen));
	seen.want = want;
	seen.print = getenv("VERBOSE");
	check(&model, true, &seen);
}

static void test_kind(const struct kind *k, u32 cb, u64 seed, struct losses *all)
{
	struct losses lost = { 0 };
	bool data = k->data || rnd(2);

	model_random = seed;
	memset(provable, 0, sizeof(provable));
	model_build(&model, cb);
	look(NULL);
	must(!seen.damage);
	compare(&model, &seen, &lost);
	must(!lost.chunks && !lost.copies);
	k->plant(&model);
	if (k->suspect)
		find_provable(&model);
	look(k->object);
	must(seen.damage && seen.object);
	if (k->outcome == REFUSED) {
		repair_refused(&model);
	} else {
		repair(&model, &seen, data, &lost);
		if (k->outcome == LOSSLESS)
			must(!lost.chunks && !lost.copies);
		must(!lost.suspect || k->suspect);
		must(!lost.chunks || lost.suspect || !k->suspect);
	}
	all->chunks += lost.chunks;
	all->copies += lost.copies;
	model_free(&model);
}

static void test_several(u32 cb, u64 seed, struct losses *all)
{
	u32 n;

	model_random = seed;
	memset(provable, 0, sizeof(provable));
	model_build(&model, cb);
	for (n = 2 + (u32)rnd(3); n;) {
		const struct kind *k = &kinds[rnd(ARRAY_SIZE(kinds))];

		if (k->alone)
			continue;
		if (getenv("VERBOSE"))
			printf("%s\n", k->name);
		k->plant(&model);
		n--;
	}
	look(NULL);
	repair(&model, &seen, rnd(2), all);
	model_free(&model);
}

static bool wanted(const char *what, int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++)
		if (!strcmp(argv[i], what))
			return true;
	return argc == 1;
}

int main(int argc, char **argv)
{
	static const u32 chunk_blocks[] = { 1, 4 };
	const char *env = getenv("SEED"), *count = getenv("ROUNDS");
	u64 seed = env ? strtoull(env, NULL, 0) : (u64)time(NULL);
	u32 rounds = count ? (u32)atoi(count) : 6, i, k;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct losses lost = { 0 };

		if (!wanted(kinds[k].name, argc, argv))
			continue;
		for (i = 0; i < rounds; i++) {
			printf("# SEED=%llu %s\n", (unsigned long long)(seed + i), kinds[k].name);
			test_kind(&kinds[k], chunk_blocks[i % 2], (seed + i) * 7919 + 1, &lost);
			if (env && count && rounds == 1)
				break;
		}
		printf("ok - %s: %u chunks and %u copies given up in %u rounds\n", kinds[k].name,
		       lost.chunks, lost.copies, rounds);
		/* Else the test is none. */
		if (rounds >= 6 && kinds[k].outcome == LOSSY)
			must(lost.chunks || lost.copies);
	}
	for (i = 0; i < 5 * rounds && wanted("several", argc, argv); i++) {
		struct losses lost = { 0 };

		printf("# SEED=%llu several\n", (unsigned long long)(seed + i));
		test_several(chunk_blocks[i % 2], (seed + i) * 7919 + 1, &lost);
	}
	printf("ok - all as expected\n");
	return 0;
}
