// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * NTFS, by libntfs-3g; other file systems by libblkid.
 *
 * libntfs-3g gets a device of ours (reader_ops): it can't write whatever it
 * thinks, takes no lock (its own would fail beside a running ntfs-3g), and a
 * failed read is told from a damaged volume.
 *
 * What may be left out of a copy is decided by $Bitmap, so all depends on
 * $Bitmap telling the truth:
 *
 *   1. the log must be closed or empty, the volume neither dirty nor
 *      hibernated: else clusters that the log's replay would give to files may
 *      still count as free (settled());
 *   2. $Bitmap must be there in full, without holes, for a volume that fits
 *      the device;
 *   3. the clusters of the system files must be marked used: a bitmap that
 *      contradicts the rest of the volume is not believed for the rest.
 *
 * A volume that fails any of it keeps all its chunks.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <linux/fs.h>

#include <blkid/blkid.h>

/* What libntfs-3g's headers ask of a config.h. */
#define HAVE_STDINT_H 1
#define HAVE_SYS_STAT_H 1
#define HAVE_SYS_TYPES_H 1
#define HAVE_TIME_H 1
#include <ntfs-3g/attrib.h>
#include <ntfs-3g/device.h>
#include <ntfs-3g/dir.h>
#include <ntfs-3g/inode.h>
#include <ntfs-3g/layout.h>
#include <ntfs-3g/logfile.h>
#include <ntfs-3g/logging.h>
#include <ntfs-3g/volume.h>

#include "ntfs.h"

#define FINGERPRINT_BLOCK	4096u
#define BITMAP_WINDOW		(256u << 10)	/* bytes of $Bitmap read at a time */

/* --- libblkid ------------------------------------------------------------- */

static void probe_value(blkid_probe pr, const char *name, char *buf, size_t size)
{
	const char *value;

	buf[0] = '\0';
	if (!blkid_probe_lookup_value(pr, name, &value, NULL))
		snprintf(buf, size, "%s", value);
}

int fs_info(const char *path, struct fs_info *ret)
{
	struct fs_info info = { "", "", "" };
	blkid_probe pr;
	int fd, r;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	pr = blkid_new_probe();
	if (!pr) {
		close(fd);
		return -ENOMEM;
	}
	errno = 0;
	if (blkid_probe_set_device(pr, fd, 0, 0)) {
		r = errno ? -errno : -EIO;
		goto out;
	}
	blkid_probe_enable_superblocks(pr, 1);
	blkid_probe_set_superblocks_flags(pr, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL |
					      BLKID_SUBLKS_UUID);
	/* 1: nothing found, -2: several; both mean "unknown". */
	if (!blkid_do_safeprobe(pr)) {
		probe_value(pr, "TYPE", info.type, sizeof(info.type));
		probe_value(pr, "LABEL", info.label, sizeof(info.label));
		probe_value(pr, "UUID", info.uuid, sizeof(info.uuid));
	}
	*ret = info;
	r = 0;
out:
	blkid_free_probe(pr);
	close(fd);
	return r;
}

/* --- a device for libntfs-3g ---------------------------------------------- */

struct reader {
	int fd;
	s64 position;
	int error;			/* -errno of the first read that failed */
};

static struct reader *reader_of(struct ntfs_device *dev)
{
	return dev->d_private;
}

static int reader_open(struct ntfs_device *dev, int flags)
{
	if (NDevOpen(dev)) {
		errno = EBUSY;
		return -1;
	}
	if ((flags & O_ACCMODE) != O_RDONLY) {
		errno = EROFS;
		return -1;
	}
	NDevSetReadOnly(dev);
	NDevSetOpen(dev);
	return 0;
}

static int reader_close(struct ntfs_device *dev)
{
	NDevClearOpen(dev);
	return 0;
}

static s64 reader_seek(struct ntfs_device *dev, s64 offset, int whence)
{
	struct reader *r = reader_of(dev);
	s64 base = 0;

	if (whence == SEEK_CUR)
		base = r->position;
	else if (whence == SEEK_END)
		base = lseek(r->fd, 0, SEEK_END);
	if (base < 0 || __builtin_add_overflow(base, offset, &base) || base < 0) {
		errno = EINVAL;
		return -1;
	}
	r->position = base;
	return base;
}

static s64 reader_pread(struct ntfs_device *dev, void *buf, s64 count, s64 offset)
{
	struct reader *r = reader_of(dev);
	ssize_t n;

	if (count < 0 || offset < 0) {
		errno = EINVAL;
		return -1;
	}
	do {
		n = pread(r->fd, buf, (size_t)count, offset);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && !r->error)
		r->error = -errno;
	return n;
}

static s64 reader_read(struct ntfs_device *dev, void *buf, s64 count)
{
	s64 n = reader_pread(dev, buf, count, reader_of(dev)->position);

	if (n > 0)
		reader_of(dev)->position += n;
	return n;
}

static s64 reader_write(struct ntfs_device *dev, const void *buf, s64 count)
{
	(void)dev;
	(void)buf;
	(void)count;
	errno = EROFS;
	return -1;
}

static s64 reader_pwrite(struct ntfs_device *dev, const void *buf, s64 count, s64 offset)
{
	(void)offset;
	return reader_write(dev, buf, count);
}

static int reader_sync(struct ntfs_device *dev)
{
	(void)dev;
	return 0;
}

static int reader_stat(struct ntfs_device *dev, struct stat *buf)
{
	return fstat(reader_of(dev)->fd, buf);
}

static int reader_ioctl(struct ntfs_device *dev, unsigned long request, void *arg)
{
	(void)dev;
	(void)request;
	(void)arg;
	errno = ENOTTY;
	return -1;
}

static struct ntfs_device_operations reader_ops = {
	.open	= reader_open,
	.close	= reader_close,
	.seek	= reader_seek,
	.read	= reader_read,
	.write	= reader_write,
	.pread	= reader_pread,
	.pwrite	= reader_pwrite,
	.sync	= reader_sync,
	.stat	= reader_stat,
	.ioctl	= reader_ioctl,
};

/* --- a volume ------------------------------------------------------------- */

struct volume {
	struct reader reader;
	ntfs_volume *vol;
	NTFS_BOOT_SECTOR boot;
	uint64_t device_bytes;
	uint64_t bytes;			/* backup boot sector included */
};

static int device_bytes(int fd, uint64_t *ret)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (S_ISBLK(st.st_mode))
		return ioctl(fd, BLKGETSIZE64, ret) ? -errno : 0;
	if (!S_ISREG(st.st_mode))
		return -ENODEV;
	*ret = (uint64_t)st.st_size;
	return 0;
}

static void volume_close(struct volume *v)
{
	if (v->vol)
		ntfs_umount(v->vol, FALSE);
	v->vol = NULL;
	if (v->reader.fd >= 0)
		close(v->reader.fd);
	v->reader.fd = -1;
}

/* A damaged volume, unless the device is to blame. */
static int volume_error(const struct volume *v)
{
	if (v->reader.error)
		return v->reader.error;
	return errno == ENOMEM ? -ENOMEM : -EUCLEAN;
}

static int volume_mount(struct volume *v, const char *path)
{
	struct ntfs_device *dev;

	ntfs_log_set_handler(ntfs_log_handler_null);
	dev = ntfs_device_alloc(path, 0, &reader_ops, &v->reader);
	if (!dev)
		return -ENOMEM;
	v->vol = ntfs_device_mount(dev, NTFS_MNT_RDONLY | NTFS_MNT_FORENSIC);
	if (v->vol)
		return 0;
	ntfs_device_free(dev);
	return volume_error(v);
}

static int volume_open(const char *path, struct volume *v)
{
	u64 sectors;
	ssize_t n;
	int r;

	memset(v, 0, sizeof(*v));
	v->reader.fd = open(path, O_RDONLY | O_CLOEXEC);
	if (v->reader.fd < 0)
		return -errno;
	r = device_bytes(v->reader.fd, &v->device_bytes);
	if (r)
		goto bad;
	n = pread(v->reader.fd, &v->boot, sizeof(v->boot), 0);
	if (n < 0) {
		r = -errno;
		goto bad;
	}
	r = -ENODEV;
	if (n != sizeof(v->boot) || memcmp(&v->boot.oem_id, "NTFS    ", 8))
		goto bad;
	r = volume_mount(v, path);
	if (r)
		goto bad;

	sectors = (u64)sle64_to_cpu(v->boot.number_of_sectors);
	r = -EUCLEAN;
	if (sectors >= (u64)INT64_MAX / v->vol->sector_size)
		goto bad;
	v->bytes = (sectors + 1) * v->vol->sector_size;
	if (v->vol->nr_clusters <= 0 ||
	    (u64)v->vol->nr_clusters > v->bytes >> v->vol->cluster_size_bits)
		goto bad;
	return 0;
bad:
	volume_close(v);
	return r;
}

static bool log_is_clean(ntfs_volume *vol)
{
	RESTART_PAGE_HEADER *rp = NULL;
	bool clean = false;
	ntfs_inode *ni;
	ntfs_attr *na;

	ni = ntfs_inode_open(vol, FILE_LogFile);
	if (!ni)
		return false;
	na = ntfs_attr_open(ni, AT_DATA, AT_UNNAMED, 0);
	if (na) {
		/* An empty log has no restart page: Linux' drivers leave it so. */
		clean = ntfs_check_logfile(na, &rp) && ntfs_is_logfile_clean(na, rp);
		free(rp);
		ntfs_attr_close(na);
	}
	ntfs_inode_close(ni);
	return clean;
}

int ntfs_info(const char *path, struct ntfs_info *ret)
{
	struct ntfs_info info;
	struct volume v;
	int r;

	r = volume_open(path, &v);
	if (r)
		return r;
	memset(&info, 0, sizeof(info));
	if (v.vol->vol_name)
		snprintf(info.label, sizeof(info.label), "%s", v.vol->vol_name);
	info.serial = le64_to_cpu(v.boot.volume_serial_number);
	info.cluster_bytes = v.vol->cluster_size;
	info.sector_bytes = v.vol->sector_size;
	info.clusters = (uint64_t)v.vol->nr_clusters;
	info.bytes = v.bytes;
	info.flags = le16_to_cpu(v.vol->flags);
	info.dirty = v.vol->flags & VOLUME_IS_DIRTY;
	info.log_clean = log_is_clean(v.vol);
	info.hibernated = ntfs_volume_check_hiberfile(v.vol, 0) < 0 && errno == EPERM;
	info.major = v.vol->major_ver;
	info.minor = v.vol->minor_ver;
	volume_close(&v);
	*ret = info;
	return 0;
}

/* Can $Bitmap be believed?  Rules 1 and 2 above. */
static int settled(struct volume *v)
{
	const ntfs_attr *na = v->vol->lcnbmp_na;
	s64 need = (v->vol->nr_clusters + 7) / 8;
	const runlist_element *rl;

	if (v->bytes > v->device_bytes)
		return -EUCLEAN;
	if (na->data_size < need || na->initialized_size < need)
		return -EUCLEAN;
	if (NAttrNonResident(na)) {
		if (ntfs_attr_map_whole_runlist(v->vol->lcnbmp_na))
			return volume_error(v);
		for (rl = na->rl; rl && rl->length; rl++) {
			if (rl->lcn < 0)
				return -EUCLEAN;
		}
	}
	if (v->vol->flags & VOLUME_IS_DIRTY || !log_is_clean(v->vol) ||
	    ntfs_volume_check_hiberfile(v->vol, 0) < 0)
		return v->reader.error ? v->reader.error : -EAGAIN;
	return 0;
}

/* --- extents of files ----------------------------------------------------- */

struct extent {
	u64 lcn, length;
	bool needless;			/* else a system file's: must be marked used */
};

struct extents {
	struct extent *item;
	size_t count, room;
};

static int extents_add(struct extents *x, u64 lcn, u64 length, bool needless)
{
	if (x->count == x->room) {
		size_t room = x->room ? 2 * x->room : 64;
		struct extent *item = reallocarray(x->item, room, sizeof(*item));

		if (!item)
			return -ENOMEM;
		x->item = item;
		x->room = room;
	}
	x->item[x->count++] = (struct extent){ lcn, length, needless };
	return 0;
}

static int extent_order(const void *a, const void *b)
{
	const struct extent *x = a, *y = b;

	return x->lcn < y->lcn ? -1 : x->lcn > y->lcn;
}

/* Sort; two files in one cluster are a damaged volume. */
static int extents_sort(struct extents *x)
{
	size_t i;

	if (x->count)
		qsort(x->item, x->count, sizeof(*x->item), extent_order);
	for (i = 1; i < x->count; i++) {
		if (x->item[i - 1].lcn + x->item[i - 1].length > x->item[i].lcn)
			return -EUCLEAN;
	}
	return 0;
}

static int extents_add_attr(struct volume *v, struct extents *x, ntfs_attr *na, bool needless)
{
	u64 clusters = (u64)v->vol->nr_clusters;
	const runlist_element *rl;
	int r = 0;

	if (!NAttrNonResident(na))
		return 0;
	if (ntfs_attr_map_whole_runlist(na))
		return volume_error(v);
	for (rl = na->rl; rl && rl->length && !r; rl++) {
		if (rl->lcn < 0)
			continue;
		if (rl->length < 0 || (u64)rl->lcn >= clusters ||
		    (u64)rl->length > clusters - (u64)rl->lcn)
			return -EUCLEAN;
		r = extents_add(x, (u64)rl->lcn, (u64)rl->length, needless);
	}
	return r;
}

static int extents_add_file(struct volume *v, struct extents *x, MFT_REF ref, bool needless)
{
	ntfs_inode *ni = ntfs_inode_open(v->vol, ref);
	ntfs_attr *na;
	int r = 0;

	if (!ni)
		return volume_error(v);
	na = ntfs_attr_open(ni, AT_DATA, AT_UNNAMED, 0);
	if (na) {
		r = extents_add_attr(v, x, na, needless);
		ntfs_attr_close(na);
	} else if (errno != ENOENT) {
		r = volume_error(v);
	}
	ntfs_inode_close(ni);
	return r;
}

/* For rule 3. */
static int extents_add_system(struct volume *v, struct extents *x)
{
	static const MFT_REF files[] = {
		FILE_MFT, FILE_MFTMirr, FILE_LogFile, FILE_AttrDef, FILE_Bitmap,
		FILE_Boot, FILE_UpCase,
	};
	size_t i;
	int r;

	for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		r = extents_add_file(v, x, files[i], false);
		if (r)
			return r;
	}
	return extents_add_attr(v, x, v->vol->mftbmp_na, false);
}

/* --- files that no copy needs --------------------------------------------- */

/* Does the UTF-16 @name equal the ASCII @text, letter case aside? */
static bool name_is(const ntfschar *name, int length, const char *text)
{
	int i;

	for (i = 0; i < length && text[i]; i++) {
		unsigned int c = le16_to_cpu(name[i]), t = (unsigned char)text[i];

		if (c >= 'A' && c <= 'Z')
			c += 'a' - 'A';
		if (t >= 'A' && t <= 'Z')
			t += 'a' - 'A';
		if (c != t)
			return false;
	}
	return i == length && !text[i];
}

struct needless_search {
	MFT_REF file[1024];		/* 512 diff areas, and room */
	unsigned int count;
	MFT_REF svi;			/* System Volume Information, or 0 */
};

static void found_file(struct needless_search *s, MFT_REF ref)
{
	unsigned int i;

	/* Its DOS name comes too. */
	for (i = 0; i < s->count; i++) {
		if (MREF(s->file[i]) == MREF(ref))
			return;
	}
	/* More than we have room for are merely kept. */
	if (s->count < sizeof(s->file) / sizeof(s->file[0]))
		s->file[s->count++] = ref;
}

static int look_in_root(void *context, const ntfschar *name, const int length,
			const int name_type, const s64 pos, const MFT_REF ref,
			const unsigned int type)
{
	struct needless_search *s = context;

	(void)name_type;
	(void)pos;
	if (type == NTFS_DT_DIR) {
		if (name_is(name, length, "System Volume Information"))
			s->svi = ref;
	} else if (type == NTFS_DT_REG) {
		if (name_is(name, length, "pagefile.sys") ||
		    name_is(name, length, "swapfile.sys") ||
		    name_is(name, length, "hiberfil.sys"))
			found_file(s, ref);
	}
	return 0;
}

/* {..any GUID..}{3808876b-c176-4e48-b7ae-04046e6cc752}: one copy's diff area. */
static int look_in_svi(void *context, const ntfschar *name, const int length,
		       const int name_type, const s64 pos, const MFT_REF ref,
		       const unsigned int type)
{
	static const char vss[] = "{3808876b-c176-4e48-b7ae-04046e6cc752}";
	const int guid = sizeof(vss) - 1;

	(void)name_type;
	(void)pos;
	if (type == NTFS_DT_REG && length == 2 * guid && name[0] == const_cpu_to_le16('{') &&
	    name[guid - 1] == const_cpu_to_le16('}') && name_is(name + guid, guid, vss))
		found_file(context, ref);
	return 0;
}

static int look(struct volume *v, MFT_REF dir, ntfs_filldir_t fn, struct needless_search *s)
{
	ntfs_inode *ni = ntfs_inode_open(v->vol, dir);
	s64 pos = 0;
	int r = 0;

	if (!ni)
		return volume_error(v);
	if (ntfs_readdir(ni, &pos, s, fn))
		r = volume_error(v);
	ntfs_inode_close(ni);
	return r;
}

static int extents_add_needless(struct volume *v, struct extents *x)
{
	struct needless_search s = { .count = 0 };
	unsigned int i;
	int r;

	r = look(v, FILE_root, look_in_root, &s);
	if (!r && s.svi)
		r = look(v, s.svi, look_in_svi, &s);
	for (i = 0; i < s.count && !r; i++)
		r = extents_add_file(v, x, s.file[i], true);
	return r;
}

/* --- walking $Bitmap ------------------------------------------------------ */

enum cluster_kind { CLUSTERS_USED, CLUSTERS_FREE, CLUSTERS_NEEDLESS };

struct bitmap_walk {
	struct volume *volume;
	const struct extents *extents;
	size_t next;			/* extent not wholly behind us */
	/* A run of clusters, neighbours may be of one kind. */
	int (*fn)(void *context, enum cluster_kind kind, u64 lcn, u64 length);
	void *context;
};

/* A run of equal bits: cut it where extents begin and end. */
static int walk_run(struct bitmap_walk *w, bool used, u64 lcn, u64 end)
{
	const struct extents *x = w->extents;
	int r = 0;

	while (lcn < end && !r) {
		const struct extent *e;
		u64 stop = end;
		enum cluster_kind kind = used ? CLUSTERS_USED : CLUSTERS_FREE;

		while (w->next < x->count &&
		       x->item[w->next].lcn + x->item[w->next].length <= lcn)
			w->next++;
		e = w->next < x->count ? &x->item[w->next] : NULL;
		if (e && e->lcn < end) {
			if (!used)
				return -EUCLEAN;	/* rule 3 */
			if (e->lcn > lcn) {
				stop = e->lcn;
			} else {
				if (e->lcn + e->length < stop)
					stop = e->lcn + e->length;
				if (e->needless)
					kind = CLUSTERS_NEEDLESS;
			}
		}
		r = w->fn(w->context, kind, lcn, stop - lcn);
		lcn = stop;
	}
	return r;
}

/* First bit of @bits at or behind @i that differs from @value; @count if none. */
static u64 bits_end(const u8 *bits, u64 i, u64 count, bool value)
{
	u8 same = value ? 0xff : 0;

	while (i < count) {
		if (!(i & 7) && bits[i / 8] == same) {
			i += 8;
			continue;
		}
		if ((bits[i / 8] >> (i & 7) & 1) != value)
			return i;
		i++;
	}
	return count;
}

static int walk_bitmap(struct bitmap_walk *w)
{
	u64 clusters = (u64)w->volume->vol->nr_clusters, lcn = 0;
	u8 *bits = malloc(BITMAP_WINDOW);
	int r = 0;

	if (!bits)
		return -ENOMEM;
	while (lcn < clusters && !r) {
		u64 count = clusters - lcn, i, end;
		s64 bytes;

		if (count > BITMAP_WINDOW * 8ull)
			count = BITMAP_WINDOW * 8ull;
		bytes = (s64)(count + 7) / 8;
		if (ntfs_attr_pread(w->volume->vol->lcnbmp_na, (s64)(lcn / 8), bytes, bits) != bytes) {
			r = volume_error(w->volume);
			break;
		}
		for (i = 0; i < count && !r; i = end) {
			bool used = bits[i / 8] >> (i & 7) & 1;

			end = bits_end(bits, i, count, used);
			r = walk_run(w, used, lcn + i, lcn + end);
		}
		lcn += count;
	}
	free(bits);
	return r;
}

static int count_free(void *context, enum cluster_kind kind, u64 lcn, u64 length)
{
	u64 *free_clusters = context;

	(void)lcn;
	if (kind == CLUSTERS_FREE)
		*free_clusters += length;
	return 0;
}

int ntfs_free_clusters(const char *path, uint64_t *ret)
{
	struct extents none = { .count = 0 };
	struct volume v;
	u64 count = 0;
	int r;

	r = volume_open(path, &v);
	if (r)
		return r;
	r = walk_bitmap(&(struct bitmap_walk){ .volume = &v, .extents = &none,
					       .fn = count_free, .context = &count });
	volume_close(&v);
	if (!r)
		*ret = count;
	return r;
}

/* --- exempt runs ---------------------------------------------------------- */

struct exempt_walk {
	u32 cluster_bytes;
	u64 chunk_bytes;
	unsigned int what;
	u64 begin, end;			/* clusters gathered so far */
	int (*fn)(void *context, uint64_t first_chunk, uint64_t count);
	void *context;
};

static int exempt_emit(struct exempt_walk *w)
{
	u64 begin = w->begin * w->cluster_bytes, end = w->end * w->cluster_bytes;

	begin = (begin + w->chunk_bytes - 1) / w->chunk_bytes;
	end /= w->chunk_bytes;
	return begin < end ? w->fn(w->context, begin, end - begin) : 0;
}

static int exempt_run(void *context, enum cluster_kind kind, u64 lcn, u64 length)
{
	struct exempt_walk *w = context;
	int r;

	if (!(kind == CLUSTERS_FREE && w->what & NTFS_EXEMPT_FREE) &&
	    !(kind == CLUSTERS_NEEDLESS && w->what & NTFS_EXEMPT_FILES))
		return 0;
	if (lcn == w->end && w->begin != w->end) {
		w->end += length;
		return 0;
	}
	r = exempt_emit(w);
	w->begin = lcn;
	w->end = lcn + length;
	return r;
}

int ntfs_exempt(const char *path, uint32_t chunk_sectors, unsigned int what,
		int (*fn)(void *context, uint64_t first_chunk, uint64_t count), void *context)
{
	struct exempt_walk w = { .chunk_bytes = (u64)chunk_sectors << 9, .what = what,
				 .fn = fn, .context = context };
	struct extents x = { .count = 0 };
	struct volume v;
	int r;

	if (!chunk_sectors)
		return -EINVAL;
	r = volume_open(path, &v);
	if (r)
		return r;
	w.cluster_bytes = v.vol->cluster_size;
	r = settled(&v);
	if (!r)
		r = extents_add_system(&v, &x);
	if (!r && what & NTFS_EXEMPT_FILES)
		r = extents_add_needless(&v, &x);
	if (!r)
		r = extents_sort(&x);
	if (!r)
		r = walk_bitmap(&(struct bitmap_walk){ .volume = &v, .extents = &x,
						       .fn = exempt_run, .context = &w });
	if (!r)
		r = exempt_emit(&w);
	free(x.item);
	volume_close(&v);
	return r;
}

/* --- used runs ------------------------------------------------------------ */

struct used_walk {
	u32 cluster_bytes;
	u64 gap, limit;
	u64 begin, end;			/* bytes gathered so far */
	int (*fn)(void *context, uint64_t offset, uint64_t length);
	void *context;
};

static int used_bytes(struct used_walk *w, u64 begin, u64 end)
{
	int r = 0;

	if (end > w->limit)
		end = w->limit;
	if (begin >= end)
		return 0;
	if (w->end && begin - w->end <= w->gap) {
		w->end = end;
		return 0;
	}
	if (w->end)
		r = w->fn(w->context, w->begin, w->end - w->begin);
	w->begin = begin;
	w->end = end;
	return r;
}

static int used_run(void *context, enum cluster_kind kind, u64 lcn, u64 length)
{
	struct used_walk *w = context;

	if (kind == CLUSTERS_FREE)
		return 0;
	return used_bytes(w, lcn * w->cluster_bytes, (lcn + length) * w->cluster_bytes);
}

int ntfs_used_runs(const char *path, uint64_t bytes, uint64_t gap,
		   int (*fn)(void *context, uint64_t offset, uint64_t length), void *context)
{
	struct used_walk w = { .gap = gap, .limit = bytes, .fn = fn, .context = context };
	struct extents x = { .count = 0 };
	struct volume v;
	int r;

	r = volume_open(path, &v);
	if (r)
		return r;
	w.cluster_bytes = v.vol->cluster_size;
	r = v.bytes > bytes ? -EUCLEAN : settled(&v);
	if (!r)
		r = extents_add_system(&v, &x);
	if (!r)
		r = extents_sort(&x);
	if (!r)
		r = walk_bitmap(&(struct bitmap_walk){ .volume = &v, .extents = &x,
						       .fn = used_run, .context = &w });
	if (!r)		/* the other boot sector, and what is behind the volume */
		r = used_bytes(&w, (u64)v.vol->nr_clusters * w.cluster_bytes, bytes);
	if (!r && w.end)
		r = fn(context, w.begin, w.end - w.begin);
	free(x.item);
	volume_close(&v);
	return r;
}

/* --- fingerprint ---------------------------------------------------------- */

struct fingerprint {
	struct volume *volume;
	uint64_t *block;
	unsigned int count, max;
};

static void fingerprint_add(struct fingerprint *f, u64 byte)
{
	u64 block = byte / FINGERPRINT_BLOCK;
	unsigned int i;

	/* Whole blocks of the device only. */
	if (f->count == f->max ||
	    (block + 1) * FINGERPRINT_BLOCK > f->volume->device_bytes)
		return;
	for (i = 0; i < f->count; i++) {
		if (f->block[i] == block)
			return;
	}
	f->block[f->count++] = block;
}

/* The block that holds byte @offset of an attribute. */
static void fingerprint_attr(struct fingerprint *f, ntfs_attr *na, s64 offset)
{
	ntfs_volume *vol = f->volume->vol;
	LCN lcn;

	if (!NAttrNonResident(na) || offset >= na->data_size)
		return;
	lcn = ntfs_attr_vcn_to_lcn(na, offset >> vol->cluster_size_bits);
	if (lcn < 0 || lcn >= vol->nr_clusters)
		return;
	fingerprint_add(f, ((u64)lcn << vol->cluster_size_bits) +
			   ((u64)offset & (vol->cluster_size - 1)));
}

static void fingerprint_file(struct fingerprint *f, MFT_REF ref, ATTR_TYPES type,
			     ntfschar *name, u32 name_length, unsigned int blocks)
{
	ntfs_inode *ni = ntfs_inode_open(f->volume->vol, ref);
	ntfs_attr *na;
	unsigned int i;

	if (!ni)
		return;
	na = ntfs_attr_open(ni, type, name, name_length);
	if (na) {
		for (i = 0; i < blocks; i++)
			fingerprint_attr(f, na, (s64)i * FINGERPRINT_BLOCK);
		ntfs_attr_close(na);
	}
	ntfs_inode_close(ni);
}

static int block_order(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* What says most comes first, in case @max is small; samples of $Bitmap last. */
int ntfs_fingerprint_blocks(const char *path, uint64_t *blocks, unsigned int max)
{
	struct fingerprint f = { .block = blocks, .max = max };
	struct volume v;
	s64 i, step;
	int r;

	r = volume_open(path, &v);
	if (r)
		return r;
	f.volume = &v;
	fingerprint_add(&f, 0);
	for (i = 0; i < 16 * (s64)v.vol->mft_record_size; i += FINGERPRINT_BLOCK)
		fingerprint_attr(&f, v.vol->mft_na, i);
	fingerprint_file(&f, FILE_LogFile, AT_DATA, AT_UNNAMED, 0, 2);
	fingerprint_attr(&f, v.vol->mftbmp_na, 0);
	fingerprint_file(&f, FILE_root, AT_INDEX_ALLOCATION, NTFS_INDEX_I30, 4, 2);
	fingerprint_file(&f, FILE_MFTMirr, AT_DATA, AT_UNNAMED, 0, 1);
	if (f.count < max) {
		step = v.vol->lcnbmp_na->data_size / (max - f.count);
		if (step < FINGERPRINT_BLOCK)
			step = FINGERPRINT_BLOCK;
		for (i = 0; i < v.vol->lcnbmp_na->data_size; i += step)
			fingerprint_attr(&f, v.vol->lcnbmp_na, i);
	}
	volume_close(&v);
	qsort(blocks, f.count, sizeof(*blocks), block_order);
	return (int)f.count;
}
