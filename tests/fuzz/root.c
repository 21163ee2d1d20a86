// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a root leads to: itself, trees, descriptors.  The input is a root, then
 * trees and descriptors by turns as far as it goes.
 */
#include "fuzz.h"

#define AREA_BLOCKS	100000

static void try_root(const struct dms_disk_root *d)
{
	struct dms_root r = {}, again = {};
	struct dms_disk_root packed;

	if (dms_root_unpack(d, &r))
		return;
	MUST(r.nr_shadows <= DMS_MAX_SHADOWS && r.nr_trees <= DMS_MAX_TREES &&
	     r.nr_prints <= DMS_MAX_PRINTS);
	MUST(!r.merge_shadow || (r.merge_epoch && r.merge_epoch <= r.epoch));
	dms_root_pack(&packed, &r);
	MUST(!dms_root_unpack(&packed, &again) && !memcmp(&r, &again, sizeof(r)));
}

static void try_tree(const struct dms_disk_tree *d)
{
	struct dms_disk_tree packed;
	struct dms_tree t, again;

	if (dms_tree_unpack(d, AREA_BLOCKS, &t))
		return;
	MUST(t.depth <= DMS_MAX_DEPTH && t.blocks <= AREA_BLOCKS);
	MUST(!t.depth == !t.root.block && t.root.block < AREA_BLOCKS);
	dms_tree_pack(&packed, &t);
	MUST(!dms_tree_unpack(&packed, AREA_BLOCKS, &again) && !memcmp(&t, &again, sizeof(t)));
}

static void try_shadow(const struct dms_disk_shadow *d)
{
	static struct dms_shadow_info s, again;
	struct dms_disk_shadow packed;

	if (dms_shadow_unpack(d, AREA_BLOCKS, &s))
		return;
	MUST(s.id && s.attr_size <= DMS_ATTR_SIZE);
	/* What is behind the end of the attributes is not kept. */
	memset(s.attr + s.attr_size, 0, DMS_ATTR_SIZE - s.attr_size);
	dms_shadow_pack(&packed, &s);
	MUST(!dms_shadow_unpack(&packed, AREA_BLOCKS, &again));
	MUST(!memcmp(&s, &again, sizeof(s)));
}

/* Take @want bytes off the input, filled up with zeros; false if it is at its end. */
static bool take(const uint8_t **data, size_t *size, void *to, size_t want)
{
	size_t have = min_t(size_t, *size, want);

	memset(to, 0, want);
	memcpy(to, *data, have);
	*data += have;
	*size -= have;
	return have;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dms_disk_shadow shadow;
	struct dms_disk_root root;
	struct dms_disk_tree tree;

	take(&data, &size, &root, sizeof(root));
	try_root(&root);
	while (take(&data, &size, &tree, sizeof(tree))) {
		try_tree(&tree);
		if (!take(&data, &size, &shadow, sizeof(shadow)))
			break;
		try_shadow(&shadow);
	}
	return 0;
}
