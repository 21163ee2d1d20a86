// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Diff areas offline: making, recognising and finding them.
 *
 * An empty area is laid out by area chunks, everything from the start:
 *
 *   superblocks | journal ring | bitmap pairs | root | free space ...
 *
 * each part beginning on a chunk of its own, the chunks up to the root's last
 * marked used.  Formatting wipes the superblocks first and writes the new ones
 * last: interrupted, it leaves no diff area, neither the old nor half a new one.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <blkid/blkid.h>
#include <uuid/uuid.h>

#include "area.h"

#define JOURNAL_MIN_DEFAULT	256	/* blocks: 1 MiB */
#define JOURNAL_MAX_DEFAULT	2048	/* blocks: 8 MiB */
#define JOURNAL_SHARE		64	/* of the area, one part of this many */
#define MIN_FREE_CHUNKS		64	/* that an empty area offers */
#define WIPE_BYTES		(1u << 20)	/* at both ends: others' signatures */
#define IO_BYTES		(1u << 20)

#define DIV_UP(n, d)		(((n) + (d) - 1) / (d))
#define ROUND_UP(n, d)		(DIV_UP(n, d) * (d))

/* --- small things --------------------------------------------------------- */

int area_device_bytes(int fd, u64 *ret)
{
	struct stat st;
	uint64_t bytes;

	if (fstat(fd, &st))
		return -errno;
	if (S_ISREG(st.st_mode)) {
		*ret = (u64)st.st_size;
		return 0;
	}
	if (!S_ISBLK(st.st_mode))
		return -ENOTBLK;
	if (ioctl(fd, BLKGETSIZE64, &bytes))
		return -errno;
	*ret = bytes;
	return 0;
}

int area_pread(int fd, void *buf, size_t size, u64 offset)
{
	char *p = buf;

	while (size) {
		ssize_t n = pread(fd, p, size, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		offset += (u64)n;
		size -= (size_t)n;
	}
	return 0;
}

int area_pwrite(int fd, const void *buf, size_t size, u64 offset)
{
	const char *p = buf;

	while (size) {
		ssize_t n = pwrite(fd, p, size, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENOSPC;
		p += n;
		offset += (u64)n;
		size -= (size_t)n;
	}
	return 0;
}

void area_uuid_text(const u8 uuid[16], char buf[37])
{
	uuid_unparse_lower(uuid, buf);
}

int area_uuid_parse(const char *text, u8 uuid[16])
{
	return uuid_parse(text, uuid) ? -EINVAL : 0;
}

static bool all_zero(const void *data, size_t size)
{
	const unsigned char *p = data;

	return !size || (!p[0] && !memcmp(p, p + 1, size - 1));
}

/* --- planning ------------------------------------------------------------- */

void area_params_init(struct area_params *p)
{
	memset(p, 0, sizeof(*p));
	p->chunk_blocks = AREA_DEFAULT_CHUNK_BLOCKS;
	p->when_full = DMS_FULL_DROP_OLDEST;
	p->low_space = AREA_DEFAULT_LOW_SPACE;
}

static bool chunk_blocks_valid(u32 chunk_blocks)
{
	return chunk_blocks >= DMS_MIN_CHUNK_BLOCKS && chunk_blocks <= DMS_MAX_CHUNK_BLOCKS &&
	       !(chunk_blocks & (chunk_blocks - 1));
}

static int params_check(const struct area_params *p)
{
	if (!chunk_blocks_valid(p->chunk_blocks) || !p->origin_sectors)
		return -EINVAL;
	if (p->journal_blocks && (p->journal_blocks < DMS_MIN_JOURNAL_BLOCKS ||
				  p->journal_blocks > DMS_MAX_JOURNAL_BLOCKS))
		return -EINVAL;
	if (p->when_full > DMS_FULL_BLOCK || p->full_timeout > DMS_MAX_FULL_TIMEOUT ||
	    p->low_space > 100)
		return -EINVAL;
	if (!memchr(p->origin_id, 0, sizeof(p->origin_id)))
		return -EINVAL;
	return 0;
}

static u64 journal_default(u64 area_blocks)
{
	u64 blocks = area_blocks / JOURNAL_SHARE;

	if (blocks < JOURNAL_MIN_DEFAULT)
		blocks = JOURNAL_MIN_DEFAULT;
	if (blocks > JOURNAL_MAX_DEFAULT)
		blocks = JOURNAL_MAX_DEFAULT;
	/* A small area is for data all the same. */
	if (blocks > area_blocks / 8)
		blocks = area_blocks / 8;
	if (blocks < DMS_MIN_JOURNAL_BLOCKS)
		blocks = DMS_MIN_JOURNAL_BLOCKS;
	return blocks;
}

/* Blocks of a root without copies, trees and prints. */
static u32 root_blocks(u32 pairs)
{
	return DIV_UP((u32)sizeof(struct dms_disk_root) + DIV_UP(pairs, 8u),
		      (u32)DMS_ROOT_PART_SIZE);
}

/* Chunks in use in an empty area: everything up to the root's end. */
static u64 used_chunks(const struct dms_super *s)
{
	return DIV_UP(s->root.block + s->root_blocks, (u64)s->chunk_blocks);
}

int area_plan(const struct area_params *p, u64 bytes, struct dms_super *ret)
{
	u64 chunk = p->chunk_blocks, journal, chunks;
	struct dms_super s;
	int r;

	r = params_check(p);
	if (r)
		return r;
	memset(&s, 0, sizeof(s));
	chunks = (bytes >> DMS_BLOCK_SHIFT) / chunk;
	if (DIV_UP(chunks, (u64)DMS_BITMAP_BITS) > UINT32_MAX / 2)
		return -EFBIG;
	s.generation = 1;
	s.sequence = 1;
	s.flags = DMS_SUPER_CLEAN | (p->is_volatile ? DMS_SUPER_VOLATILE : 0);
	s.chunk_blocks = p->chunk_blocks;
	s.area_blocks = chunks * chunk;
	journal = p->journal_blocks ? p->journal_blocks : journal_default(s.area_blocks);
	s.journal_block = ROUND_UP((u64)DMS_RESERVED_BLOCKS, chunk);
	s.journal_blocks = ROUND_UP(journal, chunk);
	s.bitmap_block = s.journal_block + s.journal_blocks;
	s.bitmap_pairs = (u32)DIV_UP(chunks, (u64)DMS_BITMAP_BITS);
	s.root.block = ROUND_UP(s.bitmap_block + 2 * (u64)s.bitmap_pairs, chunk);
	s.root_blocks = root_blocks(s.bitmap_pairs);
	s.origin_sectors = p->origin_sectors;
	memcpy(s.origin_id, p->origin_id, sizeof(s.origin_id));
	s.when_full = p->when_full;
	s.full_timeout = p->full_timeout;
	s.limit_chunks = p->limit_chunks;
	s.low_space = p->low_space;
	s.created = p->created;
	memcpy(s.uuid, p->uuid, sizeof(s.uuid));
	if (chunks < used_chunks(&s) + MIN_FREE_CHUNKS)
		return -ENOSPC;
	if (p->limit_chunks && (p->limit_chunks > chunks || p->limit_chunks <= used_chunks(&s)))
		return -EINVAL;
	*ret = s;
	return 0;
}

u64 area_min_bytes(u32 chunk_blocks)
{
	u64 chunk = (u64)chunk_blocks << DMS_BLOCK_SHIFT, chunks;
	struct area_params p;
	struct dms_super s;

	area_params_init(&p);
	p.chunk_blocks = chunk_blocks;
	p.origin_sectors = 1;
	for (chunks = MIN_FREE_CHUNKS; chunks < 16 * MIN_FREE_CHUNKS; chunks++) {
		if (!area_plan(&p, chunks * chunk, &s))
			return chunks * chunk;
	}
	return 0;
}

/* --- formatting ----------------------------------------------------------- */

struct formatter {
	int fd;
	u64 bytes;
	struct dms_super super;
	void *block;			/* one, aligned */
	void *zeros;			/* IO_BYTES of them */
};

static int write_zeros(struct formatter *f, u64 offset, u64 size)
{
	int r = 0;

	while (size && !r) {
		size_t n = size < IO_BYTES ? size : IO_BYTES;

		r = area_pwrite(f->fd, f->zeros, n, offset);
		offset += n;
		size -= n;
	}
	return r;
}

static struct dms_header header(const struct formatter *f, u64 addr, u16 type, u32 count)
{
	return (struct dms_header){
		.block = addr, .generation = f->super.generation, .type = type, .count = count,
	};
}

static int write_block(struct formatter *f, u64 addr)
{
	return area_pwrite(f->fd, f->block, DMS_BLOCK_SIZE, addr << DMS_BLOCK_SHIFT);
}

/* Slot 0 of each pair is current; the other is sealed too, as good as empty. */
static int write_bitmaps(struct formatter *f)
{
	u8 *bits = (u8 *)f->block + sizeof(struct dms_disk_header);
	u64 used = used_chunks(&f->super), pair, slot, n;
	struct dms_header h;
	int r = 0;

	for (pair = 0; pair < f->super.bitmap_pairs && !r; pair++) {
		for (slot = 0; slot < 2 && !r; slot++) {
			u64 addr = f->super.bitmap_block + 2 * pair + slot;

			memset(f->block, 0, DMS_BLOCK_SIZE);
			for (n = pair * DMS_BITMAP_BITS;
			     n < used && n < (pair + 1) * DMS_BITMAP_BITS; n++)
				bits[n % DMS_BITMAP_BITS / 8] |= 1u << n % 8;
			h = header(f, addr, DMS_BLOCK_BITMAP, DMS_PAYLOAD_SIZE);
			dms_block_seal(f->block, &h, f->super.uuid);
			r = write_block(f, addr);
		}
	}
	return r;
}

/* From the last block to the first, as each names the next. */
static int write_root(struct formatter *f)
{
	u64 size = sizeof(struct dms_disk_root) + DIV_UP(f->super.bitmap_pairs, 8);
	const struct dms_root root = {
		.journal_sequence = 1,
		.used_chunks = used_chunks(&f->super),
	};
	struct dms_pointer next = { 0 };
	u64 first = f->super.root.block;
	u32 i;
	int r = 0;

	for (i = f->super.root_blocks; i-- > 0 && !r;) {
		u64 left = size - (u64)i * DMS_ROOT_PART_SIZE;
		struct dms_header h = header(f, first + i, DMS_BLOCK_ROOT,
					     left < DMS_ROOT_PART_SIZE ? (u32)left :
								(u32)DMS_ROOT_PART_SIZE);

		memset(f->block, 0, DMS_BLOCK_SIZE);
		if (!i)
			dms_root_pack((struct dms_disk_root *)((u8 *)f->block +
							       DMS_BLOCK_SIZE - DMS_ROOT_PART_SIZE),
				      &root);
		next.crc = dms_root_seal(f->block, &h, &next, f->super.uuid);
		next.block = first + i;
		r = write_block(f, first + i);
	}
	f->super.root = next;
	return r;
}

static int write_super(struct formatter *f, u64 addr, u64 sequence)
{
	struct dms_super s = f->super;

	s.sequence = sequence;
	memset(f->block, 0, DMS_BLOCK_SIZE);
	dms_super_pack(f->block, addr, &s);
	return write_block(f, addr);
}

static int sync_area(struct formatter *f)
{
	return fdatasync(f->fd) ? -errno : 0;
}

static int write_area(struct formatter *f)
{
	u64 tail = f->bytes < 2 * (u64)WIPE_BYTES ? f->bytes / 2 : WIPE_BYTES;
	int r;

	/* What was there ends here, ours or another's. */
	r = write_zeros(f, 0, DMS_RESERVED_BLOCKS << DMS_BLOCK_SHIFT);
	if (!r)
		r = sync_area(f);
	if (!r)
		r = write_zeros(f, f->bytes - tail, tail);
	if (!r)
		r = write_zeros(f, DMS_RESERVED_BLOCKS << DMS_BLOCK_SHIFT,
				(f->super.bitmap_block - DMS_RESERVED_BLOCKS) << DMS_BLOCK_SHIFT);
	if (!r)
		r = write_bitmaps(f);
	if (!r)
		r = write_root(f);
	if (!r)
		r = sync_area(f);
	/* Odd sequences are B's: the kernel goes on with 2 in A, the older. */
	if (!r)
		r = write_super(f, DMS_SUPER_A_BLOCK, 0);
	if (!r)
		r = write_super(f, DMS_SUPER_B_BLOCK, 1);
	if (!r)
		r = sync_area(f);
	return r;
}

static int random_uuid(u8 uuid[16])
{
	if (getrandom(uuid, 16, 0) != 16)
		return -EIO;
	uuid[6] = (uuid[6] & 0x0f) | 0x40;	/* RFC 4122: version 4 */
	uuid[8] = (uuid[8] & 0x3f) | 0x80;
	return 0;
}

int area_format(int fd, const struct area_params *p, struct dms_super *ret)
{
	struct formatter f = { .fd = fd };
	int r;

	r = area_device_bytes(fd, &f.bytes);
	if (!r)
		r = area_plan(p, f.bytes, &f.super);
	if (!r && all_zero(p->uuid, sizeof(p->uuid)))
		r = random_uuid(f.super.uuid);
	if (r)
		return r;
	if (!f.super.created)
		f.super.created = (u64)time(NULL);
	f.block = aligned_alloc(DMS_BLOCK_SIZE, DMS_BLOCK_SIZE);
	f.zeros = calloc(1, IO_BYTES);
	r = f.block && f.zeros ? write_area(&f) : -ENOMEM;
	free(f.block);
	free(f.zeros);
	if (!r)
		*ret = f.super;
	return r;
}

/* --- recognising ---------------------------------------------------------- */

/* What libblkid sees there; "" for nothing it knows. */
static int foreign_type(int fd, char *buf, size_t size)
{
	const char *value = NULL;
	blkid_probe pr;
	int found;

	buf[0] = '\0';
	pr = blkid_new_probe();
	if (!pr)
		return -ENOMEM;
	if (!blkid_probe_set_device(pr, fd, 0, 0)) {
		blkid_probe_enable_superblocks(pr, 1);
		blkid_probe_set_superblocks_flags(pr, BLKID_SUBLKS_TYPE);
		blkid_probe_enable_partitions(pr, 1);
		found = blkid_do_safeprobe(pr);
		if (found == -2)
			snprintf(buf, size, "several file systems");
		else if (!found && !blkid_probe_lookup_value(pr, "TYPE", &value, NULL))
			snprintf(buf, size, "%s", value);
		else if (!found && !blkid_probe_lookup_value(pr, "PTTYPE", &value, NULL))
			snprintf(buf, size, "a partition table (%s)", value);
	}
	blkid_free_probe(pr);
	return 0;
}

static int probe_foreign(int fd, struct area_info *info)
{
	size_t size = DMS_RESERVED_BLOCKS << DMS_BLOCK_SHIFT;
	void *head;
	int r;

	r = foreign_type(fd, info->what, sizeof(info->what));
	if (r)
		return r;
	info->state = info->what[0] ? AREA_FOREIGN : AREA_BLANK;
	if (info->state == AREA_FOREIGN || !info->bytes)
		return 0;
	head = malloc(size);
	if (!head)
		return -ENOMEM;
	if (size > info->bytes)
		size = info->bytes;
	r = area_pread(fd, head, size, 0);
	if (!r && !all_zero(head, size)) {
		info->state = AREA_FOREIGN;
		snprintf(info->what, sizeof(info->what), "unknown data");
	}
	free(head);
	return r;
}

/* Does it look like a superblock of ours, of whatever version? */
static bool super_ours(const void *block)
{
	const struct dms_disk_super *d = block;

	return le32_to_cpu(d->header.magic) == DMS_MAGIC &&
	       !strncmp((const char *)d->name, "dm-shadow", sizeof(d->name));
}

/* Of a superblock refused as unsupported: say which way. */
static void probe_unsupported(const void *block, struct area_info *info)
{
	const struct dms_disk_super *d = block;

	info->version = le16_to_cpu(d->header.version);
	info->incompat = le32_to_cpu(d->incompat) & ~DMS_INCOMPAT_KNOWN;
	info->state = info->version != DMS_FORMAT_VERSION ? AREA_VERSION : AREA_FEATURES;
}

/* Both superblocks; true if this is, or was, a diff area. */
static bool probe_supers(const void *blocks[2], struct area_info *info)
{
	static const u64 addr[2] = { DMS_SUPER_A_BLOCK, DMS_SUPER_B_BLOCK };
	bool ours = false, unsupported = false;
	struct dms_super s;
	unsigned int i;

	info->state = AREA_DAMAGED;
	for (i = 0; i < 2; i++) {
		int r;

		if (!super_ours(blocks[i]))
			continue;
		ours = true;
		r = dms_super_unpack(blocks[i], addr[i], &s);
		if (r == -EPROTONOSUPPORT) {
			probe_unsupported(blocks[i], info);
			unsupported = true;
		}
		if (r)
			continue;
		if (!info->supers_valid || s.sequence > info->super.sequence) {
			info->super = s;
			info->super_slot = i;
		}
		info->supers_valid++;
	}
	/* One that we don't understand may be the newer. */
	if (info->supers_valid && !unsupported)
		info->state = info->super.area_blocks > info->bytes >> DMS_BLOCK_SHIFT ?
			      AREA_TRUNCATED : AREA_VALID;
	return ours;
}

/* @thorough: tell blank from foreign too. */
static int probe(int fd, bool thorough, struct area_info *ret)
{
	struct area_info info;
	const void *blocks[2];
	char *buf;
	bool ours = false;
	int r;

	memset(&info, 0, sizeof(info));
	r = area_device_bytes(fd, &info.bytes);
	if (r)
		return r;
	/* Leave no page in the cache that the kernel module may outdate. */
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	buf = aligned_alloc(DMS_BLOCK_SIZE, 2 * DMS_BLOCK_SIZE);
	if (!buf)
		return -ENOMEM;
	blocks[0] = buf;
	blocks[1] = buf + DMS_BLOCK_SIZE;
	if (info.bytes >= DMS_RESERVED_BLOCKS << DMS_BLOCK_SHIFT) {
		/* An unreadable one is as bad as a damaged one, unless both are. */
		int a = area_pread(fd, buf, DMS_BLOCK_SIZE, 0);
		int b = area_pread(fd, buf + DMS_BLOCK_SIZE, DMS_BLOCK_SIZE,
				   DMS_SUPER_B_BLOCK << DMS_BLOCK_SHIFT);

		if (a)
			memset(buf, 0, DMS_BLOCK_SIZE);
		if (b)
			memset(buf + DMS_BLOCK_SIZE, 0, DMS_BLOCK_SIZE);
		if (a && b)
			r = a;
		else
			ours = probe_supers(blocks, &info);
	}
	free(buf);
	if (!r && !ours) {
		info.state = AREA_FOREIGN;
		if (thorough)
			r = probe_foreign(fd, &info);
	}
	if (!r)
		*ret = info;
	return r;
}

int area_probe_fd(int fd, struct area_info *ret)
{
	return probe(fd, true, ret);
}

int area_probe(const char *path, struct area_info *ret)
{
	int fd, r;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = area_probe_fd(fd, ret);
	close(fd);
	return r;
}

int area_state_errno(const struct area_info *info)
{
	switch (info->state) {
	case AREA_VALID:
		return 0;
	case AREA_BLANK:
	case AREA_FOREIGN:
		return -ENODEV;
	case AREA_VERSION:
	case AREA_FEATURES:
		return -EPROTONOSUPPORT;
	case AREA_DAMAGED:
	case AREA_TRUNCATED:
		break;
	}
	return -EUCLEAN;
}

const char *area_state_text(const struct area_info *info, char *buf, size_t size)
{
	switch (info->state) {
	case AREA_VALID:
		snprintf(buf, size, "holds a diff area");
		break;
	case AREA_BLANK:
		snprintf(buf, size, "is blank, no diff area");
		break;
	case AREA_FOREIGN:
		snprintf(buf, size, "holds %s, not a diff area",
			 info->what[0] ? info->what : "something else");
		break;
	case AREA_VERSION:
		snprintf(buf, size, "holds a diff area of version %u, this program knows %d",
			 info->version, DMS_FORMAT_VERSION);
		break;
	case AREA_FEATURES:
		snprintf(buf, size, "holds a diff area with unknown features 0x%x", info->incompat);
		break;
	case AREA_DAMAGED:
		snprintf(buf, size, "holds a diff area without a valid superblock");
		break;
	case AREA_TRUNCATED:
		snprintf(buf, size, "holds a diff area of %llu bytes, but has only %llu",
			 (unsigned long long)info->super.area_blocks << DMS_BLOCK_SHIFT,
			 (unsigned long long)info->bytes);
		break;
	}
	return buf;
}

/* --- finding -------------------------------------------------------------- */

#define SYS_BLOCK "/sys/class/block"

struct found {
	char *name, *path;
	struct area_info info;
};

struct finder {
	struct found *item;
	size_t count, room;
};

static bool read_sys(const char *name, const char *file, char *buf, size_t size)
{
	char path[512];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), SYS_BLOCK "/%s/%s", name, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, buf, size - 1);
	close(fd);
	if (n < 0)
		return false;
	buf[n] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	return true;
}

static bool suspended(const char *name, unsigned int depth)
{
	char path[512], value[16];
	bool found = false;
	struct dirent *e;
	DIR *dir;

	if (read_sys(name, "dm/suspended", value, sizeof(value)) && value[0] == '1')
		return true;
	snprintf(path, sizeof(path), SYS_BLOCK "/%s/slaves", name);
	dir = depth < 8 ? opendir(path) : NULL;
	if (!dir)
		return false;
	while (!found && (e = readdir(dir))) {
		if (e->d_name[0] != '.')
			found = suspended(e->d_name, depth + 1);
	}
	closedir(dir);
	return found;
}

bool area_device_suspended(const char *name)
{
	return suspended(name, 0);
}

static char *device_path(const char *name)
{
	char dm[256], *path = NULL, *p;
	struct stat st;

	if (read_sys(name, "dm/name", dm, sizeof(dm))) {
		if (asprintf(&path, "/dev/mapper/%s", dm) < 0)
			return NULL;
		if (!stat(path, &st) && S_ISBLK(st.st_mode))
			return path;
		free(path);
	}
	if (asprintf(&path, "/dev/%s", name) < 0)
		return NULL;
	for (p = path; *p; p++) {
		if (*p == '!')
			*p = '/';
	}
	return path;
}

static int finder_add(struct finder *f, const char *name, char *path, const struct area_info *info)
{
	if (f->count == f->room) {
		size_t room = f->room ? 2 * f->room : 16;
		struct found *item = reallocarray(f->item, room, sizeof(*item));

		if (!item)
			return -ENOMEM;
		f->item = item;
		f->room = room;
	}
	f->item[f->count].name = strdup(name);
	if (!f->item[f->count].name)
		return -ENOMEM;
	f->item[f->count].path = path;
	f->item[f->count].info = *info;
	f->count++;
	return 0;
}

static int find_one(struct finder *f, const char *name)
{
	struct area_info info;
	char size[32], *path;
	int fd, r;

	if (!read_sys(name, "size", size, sizeof(size)) || !strtoull(size, NULL, 10))
		return 0;
	/* A floppy drive without one in it takes its time. */
	if (!strncmp(name, "fd", 2) && name[2] >= '0' && name[2] <= '9')
		return 0;
	if (area_device_suspended(name))
		return 0;
	path = device_path(name);
	if (!path)
		return -ENOMEM;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0) {
		r = probe(fd, false, &info);
		close(fd);
		if (!r && (info.state == AREA_VALID || info.state == AREA_TRUNCATED)) {
			r = finder_add(f, name, path, &info);
			if (!r)
				return 0;
			free(path);
			return r;
		}
	}
	free(path);
	return 0;
}

/* Is the same area seen through a device on top of @i? */
static bool seen_above(const struct finder *f, size_t i)
{
	char path[512];
	struct stat st;
	size_t j;

	for (j = 0; j < f->count; j++) {
		if (j == i || memcmp(f->item[i].info.super.uuid, f->item[j].info.super.uuid, 16))
			continue;
		snprintf(path, sizeof(path), SYS_BLOCK "/%s/holders/%s",
			 f->item[i].name, f->item[j].name);
		if (!stat(path, &st))
			return true;
	}
	return false;
}

static void finder_free(struct finder *f)
{
	size_t i;

	for (i = 0; i < f->count; i++) {
		free(f->item[i].name);
		free(f->item[i].path);
	}
	free(f->item);
}

int area_scan(int (*fn)(void *context, const char *path, const struct area_info *info),
	      void *context)
{
	struct finder f = { .count = 0 };
	struct dirent **names;
	int n, i, r = 0;
	size_t k;

	n = scandir(SYS_BLOCK, &names, NULL, alphasort);
	if (n < 0)
		return -errno;
	for (i = 0; i < n; i++) {
		if (names[i]->d_name[0] != '.' && !r)
			r = find_one(&f, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	for (k = 0; k < f.count && !r; k++) {
		if (!seen_above(&f, k))
			r = fn(context, f.item[k].path, &f.item[k].info);
	}
	finder_free(&f);
	return r;
}

struct wanted {
	const u8 *uuid;
	char *path;
};

static int match_uuid(void *context, const char *path, const struct area_info *info)
{
	struct wanted *w = context;

	if (memcmp(info->super.uuid, w->uuid, 16))
		return 0;
	w->path = strdup(path);
	return w->path ? 1 : -ENOMEM;
}

int area_find(const u8 uuid[16], char **ret)
{
	struct wanted w = { .uuid = uuid };
	int r;

	r = area_scan(match_uuid, &w);
	if (r < 0)
		return r;
	if (!r)
		return -ENODEV;
	*ret = w.path;
	return 0;
}
