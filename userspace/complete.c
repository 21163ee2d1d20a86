// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Complete copies: copying a shadow copy to a place of its own.
 *
 * A shadow copy never changes, so a copy of it can be interrupted and go on
 * any time later; all that has to be remembered is how far it got.  That is
 * kept in the target itself: its first sector, until the very end, holds not
 * the volume's boot sector but ours (struct state).
 *
 *   1. the state is written, position 0, and made durable: from now on the
 *      target is nobody's file system
 *   2. in batches, upwards: used runs are copied, made durable, read back past
 *      the page cache and compared by checksum; then position moves on, and
 *      the state is written again
 *   3. the JSON beside an image is written, and last the boot sector takes the
 *      state's place
 *
 * A crash in 2 costs at most a batch: what lies behind position is copied
 * again, and it is the same data.  A sector is written whole or not at all, so
 * that at any moment the target is either an unfinished copy that says of what,
 * or a finished one.  Nothing half done can be mounted by mistake.
 *
 * What is in use NTFS says (ntfs_used_runs()); where it can't be believed, and
 * for other file systems, everything is copied.  The runs are found anew each
 * time; should they differ from the first time's, copying begins again.
 *
 * In an image, blocks of zeros become holes: the file was empty in 1.  On a
 * device they are written.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "area.h"
#include "complete.h"
#include "ntfs.h"

#define SECTOR		512u
#define PIECE		(1u << 20)	/* one read and write, one checksum */
#define BATCH		64		/* pieces between two states, at most */
#define BATCH_SECONDS	2		/* the same in time */
#define DIRECT_ALIGN	4096u
#define JOIN_GAP	(64u << 10)	/* free clusters copied rather than skipped */
#define HOLE_UNIT	4096u
#define TAIL_WIPE	(1u << 20)	/* behind the volume, on a device */

struct state {
	char magic[16];
	__le32 crc;			/* of the sector with this field zero */
	__le32 version;
	u8 uuid[16];			/* of the shadow copy */
	__le64 source_bytes;
	__le64 plan_bytes;
	__le32 plan_crc;
	__le32 reserved;
	__le64 position;		/* bytes of the volume below are done */
	u8 pad[SECTOR - 72];
};

_Static_assert(sizeof(struct state) == SECTOR, "the state fits a sector");

static const char state_magic[16] = "dm-shadow copy";
#define STATE_VERSION 1

static char why_text[512];

const char *complete_why(void)
{
	return why_text;
}

/* Remember object and fact, hand the error on. */
__attribute__((format(printf, 2, 3)))
static int because(int error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why_text, sizeof(why_text), fmt, ap);
	va_end(ap);
	return error;
}

/* --- the plan ------------------------------------------------------------- */

struct run {
	u64 offset, length;
};

struct plan {
	struct run *run;
	size_t count, room;
	u64 bytes;			/* in all runs */
	u32 crc;
};

static int plan_add(void *context, uint64_t offset, uint64_t length)
{
	struct plan *plan = context;

	if (plan->count == plan->room) {
		size_t room = plan->room ? 2 * plan->room : 1024;
		struct run *run = reallocarray(plan->run, room, sizeof(*run));

		if (!run)
			return -ENOMEM;
		plan->run = run;
		plan->room = room;
	}
	plan->run[plan->count++] = (struct run){ offset, length };
	plan->bytes += length;
	return 0;
}

static int plan_make(const struct complete_params *p, u64 bytes, struct plan *plan, char *used_by,
		     size_t used_by_size)
{
	int r = -ENODEV;

	used_by[0] = '\0';
	if (!p->all)
		r = ntfs_used_runs(p->source, bytes, JOIN_GAP, plan_add, plan);
	if (r == -ENOMEM)
		return r;
	if (r) {
		plan->count = 0;
		plan->bytes = 0;
		r = plan_add(plan, 0, bytes);
	} else {
		snprintf(used_by, used_by_size, "ntfs");
	}
	if (!r)
		plan->crc = dms_crc(plan->run, plan->count * sizeof(*plan->run));
	return r;
}

/* --- the state ------------------------------------------------------------ */

static u32 state_crc(const struct state *s)
{
	struct state copy = *s;

	copy.crc = 0;
	return dms_crc(&copy, sizeof(copy));
}

static bool state_valid(const struct state *s)
{
	return !memcmp(s->magic, state_magic, sizeof(s->magic)) &&
	       le32_to_cpu(s->version) == STATE_VERSION && le32_to_cpu(s->crc) == state_crc(s);
}

static bool state_fits(const struct state *s, const struct complete_params *p,
		       const struct plan *plan, u64 bytes)
{
	return !memcmp(s->uuid, p->uuid, sizeof(s->uuid)) &&
	       le64_to_cpu(s->source_bytes) == bytes &&
	       le64_to_cpu(s->plan_bytes) == plan->bytes &&
	       le32_to_cpu(s->plan_crc) == plan->crc;
}

/* --- a copy under way ----------------------------------------------------- */

struct copy {
	const struct complete_params *p;
	int source, target, direct;	/* direct: the target for reading back, or -1 */
	bool is_device;
	u64 bytes, target_bytes;
	struct plan plan;
	u64 position, done;		/* of the volume; of the plan's bytes */
	u8 *buf;			/* PIECE + 2 * DIRECT_ALIGN, aligned */
	u64 copied;			/* by this call */
	struct timespec began, batch_began;
};

static double seconds_since(const struct timespec *then)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - then->tv_sec) + (double)(now.tv_nsec - then->tv_nsec) / 1e9;
}

static int write_state(struct copy *c, u64 position)
{
	struct state s;
	int r;

	memset(&s, 0, sizeof(s));
	memcpy(s.magic, state_magic, sizeof(s.magic));
	s.version = cpu_to_le32(STATE_VERSION);
	memcpy(s.uuid, c->p->uuid, sizeof(s.uuid));
	s.source_bytes = cpu_to_le64(c->bytes);
	s.plan_bytes = cpu_to_le64(c->plan.bytes);
	s.plan_crc = cpu_to_le32(c->plan.crc);
	s.position = cpu_to_le64(position);
	s.crc = cpu_to_le32(state_crc(&s));
	r = area_pwrite(c->target, &s, sizeof(s), 0);
	if (!r && fdatasync(c->target))
		r = -errno;
	if (r)
		return because(r, "%s: %s", c->p->target, strerror(-r));
	c->position = position;
	clock_gettime(CLOCK_MONOTONIC, &c->batch_began);
	return 0;
}

static int report(struct copy *c, enum complete_phase phase)
{
	const struct complete_progress progress = {
		.done_bytes = c->done, .total_bytes = c->plan.bytes,
		.source_bytes = c->bytes, .phase = phase,
	};
	int r;

	if (!c->p->progress)
		return 0;
	r = c->p->progress(c->p->context, &progress);
	return r ? because(r, "%s: stopped, can be resumed", c->p->target) : 0;
}

/* Sleep as long as what this call copied is ahead of the rate. */
static int throttle(struct copy *c)
{
	const struct timespec pause = { .tv_nsec = 50 * 1000 * 1000 };
	double due;
	int r = 0;

	if (!c->p->bytes_per_second)
		return 0;
	due = (double)c->copied / (double)c->p->bytes_per_second;
	while (!r && seconds_since(&c->began) < due) {
		nanosleep(&pause, NULL);
		r = report(c, COMPLETE_COPYING);
	}
	return r;
}

/* Part of a run, at most PIECE bytes, and what it should hold. */
struct piece {
	u64 offset;
	u32 length;
	u32 crc;
};

static bool is_zero(const u8 *p, size_t size)
{
	return !size || (!p[0] && !memcmp(p, p + 1, size - 1));
}

/* An image: leave holes where zeros are.  A device: write it all. */
static int write_piece(struct copy *c, const u8 *data, u64 offset, u32 length)
{
	u32 at = 0, end;
	int r = 0;

	if (c->is_device)
		return area_pwrite(c->target, data, length, offset);
	while (at < length && !r) {
		u32 n = min_t(u32, length - at, HOLE_UNIT - (u32)((offset + at) % HOLE_UNIT));

		if (is_zero(data + at, n)) {
			at += n;
			continue;
		}
		for (end = at + n; end < length; end += n) {
			n = min_t(u32, length - end, HOLE_UNIT);
			if (is_zero(data + end, n))
				break;
		}
		r = area_pwrite(c->target, data + at, end - at, offset + at);
		at = end;
	}
	return r;
}

static int copy_piece(struct copy *c, struct piece *piece)
{
	int r;

	r = area_pread(c->source, c->buf, piece->length, piece->offset);
	if (r)
		return because(r, "%s: reading at %llu: %s", c->p->source,
			       (unsigned long long)piece->offset, strerror(-r));
	piece->crc = dms_crc(c->buf, piece->length);
	r = write_piece(c, c->buf, piece->offset, piece->length);
	if (r)
		return because(r, "%s: writing at %llu: %s", c->p->target,
			       (unsigned long long)piece->offset, strerror(-r));
	c->copied += piece->length;
	c->done += piece->length;
	r = throttle(c);
	return r ? r : report(c, COMPLETE_COPYING);
}

/* From the medium, not from what we just wrote into memory. */
static int read_back(struct copy *c, u64 offset, u32 length, const u8 **ret)
{
	u64 from = offset & ~(u64)(DIRECT_ALIGN - 1), got = 0;
	u64 want = offset + length - from;
	u64 size = (want + DIRECT_ALIGN - 1) & ~(u64)(DIRECT_ALIGN - 1);
	ssize_t n;

	*ret = c->buf + (offset - from);
	while (c->direct >= 0 && got < want) {
		n = pread(c->direct, c->buf + got, size - got, (off_t)(from + got));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EINVAL) {		/* not on this file system */
			close(c->direct);
			c->direct = -1;
			break;
		}
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		got += (u64)n;
		/* Only the end of a file may be odd, and then all is there. */
		if (got < want && got % DIRECT_ALIGN)
			return -EIO;
	}
	if (c->direct >= 0)
		return 0;
	posix_fadvise(c->target, (off_t)offset, length, POSIX_FADV_DONTNEED);
	return area_pread(c->target, c->buf + (offset - from), length, offset);
}

static int verify_piece(struct copy *c, const struct piece *piece)
{
	const u8 *data;
	int r;

	r = read_back(c, piece->offset, piece->length, &data);
	if (!r && dms_crc(data, piece->length) != piece->crc)
		return because(-EILSEQ, "%s: at %llu something else is read than was written",
			       c->p->target, (unsigned long long)piece->offset);
	if (r)
		return because(r, "%s: reading back at %llu: %s", c->p->target,
			       (unsigned long long)piece->offset, strerror(-r));
	return 0;
}

/* Step 2: durable, read back, and only then the position moves. */
static int finish_batch(struct copy *c, const struct piece *piece, unsigned int count)
{
	unsigned int i;
	int r = 0;

	if (!count)
		return 0;
	if (fdatasync(c->target))
		return because(-errno, "%s: %s", c->p->target, strerror(errno));
	for (i = 0; i < count && !r; i++) {
		r = verify_piece(c, &piece[i]);
		if (!r && (i % 8 == 7 || i + 1 == count))
			r = report(c, COMPLETE_VERIFYING);
	}
	if (r)
		return r;
	posix_fadvise(c->source, 0, 0, POSIX_FADV_DONTNEED);
	posix_fadvise(c->target, 0, 0, POSIX_FADV_DONTNEED);
	return write_state(c, piece[count - 1].offset + piece[count - 1].length);
}

static int copy_runs(struct copy *c)
{
	struct piece batch[BATCH];
	unsigned int count = 0;
	size_t i;
	int r = 0;

	for (i = 0; i < c->plan.count && !r; i++) {
		u64 at = c->plan.run[i].offset, end = at + c->plan.run[i].length;

		if (at < c->position) {
			c->done += min_t(u64, end, c->position) - at;
			at = min_t(u64, end, c->position);
		}
		while (at < end && !r) {
			struct piece *piece = &batch[count];

			if (!at) {		/* the state's place */
				c->done += SECTOR;
				at = SECTOR;
				continue;
			}
			piece->offset = at;
			piece->length = (u32)min_t(u64, end - at, PIECE - at % PIECE);
			r = copy_piece(c, piece);
			at += piece->length;
			if (!r)
				count++;
			if (!r && (count == BATCH ||
				   seconds_since(&c->batch_began) >= BATCH_SECONDS)) {
				r = finish_batch(c, batch, count);
				count = 0;
			}
		}
	}
	return r ? r : finish_batch(c, batch, count);
}

/* --- the end -------------------------------------------------------------- */

static int sync_folder(const char *path)
{
	char *copy = strdup(path);
	int fd, r = 0;

	if (!copy)
		return -ENOMEM;
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(copy);
	if (fd < 0)
		return -errno;
	if (fsync(fd))
		r = -errno;
	close(fd);
	return r;
}

static char *meta_path(const char *target, const char *suffix)
{
	char *path;

	return asprintf(&path, "%s.json%s", target, suffix) < 0 ? NULL : path;
}

/* Whole or not at all: by another name first. */
static int write_meta(struct copy *c)
{
	char *path = meta_path(c->p->target, ""), *temp = meta_path(c->p->target, ".new");
	size_t size = strlen(c->p->meta);
	int fd = -1, r = -ENOMEM;

	if (!path || !temp)
		goto out;
	fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	r = fd < 0 ? -errno : area_pwrite(fd, c->p->meta, size, 0);
	if (!r && fdatasync(fd))
		r = -errno;
	if (!r && rename(temp, path))
		r = -errno;
	if (!r)
		r = sync_folder(path);
out:
	if (fd >= 0)
		close(fd);
	if (r) {
		because(r, "%s.json: %s", c->p->target, strerror(-r));
		if (fd >= 0)
			unlink(temp);
	}
	free(path);
	free(temp);
	return r;
}

/* Is the JSON beside @target the one that we would write? */
static bool meta_same(const struct complete_params *p)
{
	char *path = meta_path(p->target, ""), *have = NULL;
	size_t size = p->meta ? strlen(p->meta) : 0;
	bool same = false;
	struct stat st;
	int fd = path && p->meta ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	if (fd >= 0) {
		have = malloc(size + 1);
		same = have && !fstat(fd, &st) && (u64)st.st_size == size &&
		       !area_pread(fd, have, size, 0) && !memcmp(have, p->meta, size);
		close(fd);
	}
	free(have);
	free(path);
	return same;
}

/* What another use left behind the volume must not be found there. */
static int wipe_tail(struct copy *c)
{
	u64 length = c->target_bytes - c->bytes;
	int r = 0;

	if (!c->is_device || !length)
		return 0;
	if (length > TAIL_WIPE)
		length = TAIL_WIPE;
	memset(c->buf, 0, PIECE);
	r = area_pwrite(c->target, c->buf, length, c->target_bytes - length);
	return r ? because(r, "%s: %s", c->p->target, strerror(-r)) : 0;
}

static int finish(struct copy *c)
{
	struct piece boot = { .offset = 0, .length = SECTOR };
	u8 sector[SECTOR];
	char why[sizeof(why_text)];
	int r;

	r = wipe_tail(c);
	if (!r && c->p->meta && !c->is_device)
		r = write_meta(c);
	if (r)
		return r;
	r = area_pread(c->source, sector, SECTOR, 0);
	if (r)
		return because(r, "%s: %s", c->p->source, strerror(-r));
	if (fdatasync(c->target))
		return because(-errno, "%s: %s", c->p->target, strerror(errno));
	r = report(c, COMPLETE_FINISHING);
	if (r)
		return r;
	boot.crc = dms_crc(sector, SECTOR);
	r = area_pwrite(c->target, sector, SECTOR, 0);
	if (!r && fsync(c->target))
		r = -errno;
	if (r)
		because(r, "%s: %s", c->p->target, strerror(-r));
	else
		r = verify_piece(c, &boot);
	if (r) {
		/* Nobody knows what is there now: unfinished, if that can be written. */
		memcpy(why, why_text, sizeof(why));
		write_state(c, c->position);
		return because(r, "%s", why);
	}
	if (!c->is_device)
		sync_folder(c->p->target);
	return 0;
}

/* --- the beginning -------------------------------------------------------- */

static int open_source(struct copy *c)
{
	int r;

	c->source = open(c->p->source, O_RDONLY | O_CLOEXEC);
	if (c->source < 0)
		return because(-errno, "%s: %s", c->p->source, strerror(errno));
	r = area_device_bytes(c->source, &c->bytes);
	if (!r && c->bytes < DIRECT_ALIGN)
		r = -ENODEV;
	if (r)
		return because(r, "%s: %s", c->p->source, strerror(-r));
	posix_fadvise(c->source, 0, 0, POSIX_FADV_SEQUENTIAL);
	return 0;
}

/* @create: O_CREAT, of a file, or 0. */
static int open_target(struct copy *c, int create)
{
	int flags = O_RDWR | O_CLOEXEC;
	struct stat st;

	c->is_device = !stat(c->p->target, &st) && S_ISBLK(st.st_mode);
	flags |= c->is_device ? O_EXCL : create;
	c->target = open(c->p->target, flags, 0600);
	if (c->target < 0)
		return because(-errno, "%s: %s", c->p->target,
			       errno == EBUSY ? "is in use" : strerror(errno));
	if (fstat(c->target, &st))
		return because(-errno, "%s: %s", c->p->target, strerror(errno));
	if (!S_ISBLK(st.st_mode) && !S_ISREG(st.st_mode))
		return because(-ENODEV, "%s: is neither a device nor a file", c->p->target);
	if (!c->is_device && flock(c->target, LOCK_EX | LOCK_NB))
		return because(-EBUSY, "%s: is in use", c->p->target);
	return 0;
}

static int check_source(struct copy *c)
{
	struct stat target, source;

	if (fstat(c->target, &target) || fstat(c->source, &source))
		return because(-errno, "%s: %s", c->p->target, strerror(errno));
	if ((target.st_dev == source.st_dev && target.st_ino == source.st_ino) ||
	    (c->is_device && S_ISBLK(source.st_mode) && target.st_rdev == source.st_rdev))
		return because(-EINVAL, "%s: is the source itself", c->p->target);
	return 0;
}

static int check_size(struct copy *c)
{
	int r;

	r = area_device_bytes(c->target, &c->target_bytes);
	if (r)
		return because(r, "%s: %s", c->p->target, strerror(-r));
	if (c->is_device && c->target_bytes < c->bytes)
		return because(-ENOSPC, "%s: has %llu bytes, the volume %llu", c->p->target,
			       (unsigned long long)c->target_bytes, (unsigned long long)c->bytes);
	return 0;
}

static int set_size(struct copy *c)
{
	if (c->is_device)
		return 0;
	if (ftruncate(c->target, (off_t)c->bytes))
		return because(-errno, "%s: %s", c->p->target, strerror(errno));
	c->target_bytes = c->bytes;
	return 0;
}

/* Step 1.  An image gets its size last, so that it is never without a state. */
static int start(struct copy *c)
{
	int r;

	if (!c->is_device && ftruncate(c->target, 0))
		return because(-errno, "%s: %s", c->p->target, strerror(errno));
	r = write_state(c, 0);
	if (!r)
		r = set_size(c);
	/* Larger than a file can be there: no use in going on later. */
	if (r && !c->is_device && ftruncate(c->target, 0))
		return because(-errno, "%s: %s", c->p->target, strerror(errno));
	return r;
}

/* An unused target, or one to be overwritten? */
static int check_unused(struct copy *c)
{
	struct area_info info;
	char text[160];
	int r;

	r = area_probe_fd(c->target, &info);
	if (r)
		return because(r, "%s: %s", c->p->target, strerror(-r));
	if (!c->p->force && (c->is_device ? info.state != AREA_BLANK : info.bytes != 0))
		return because(-EEXIST, "%s: %s", c->p->target,
			       info.state == AREA_FOREIGN && info.what[0] ?
			       info.what : "is not empty");
	if (info.state == AREA_VALID || info.state == AREA_TRUNCATED)
		return because(-EEXIST, "%s: %s", c->p->target,
			       area_state_text(&info, text, sizeof(text)));
	return 0;
}

/* Is it ours from before?  Then it goes on; else it begins. */
static int begin_or_resume(struct copy *c, bool *resumed)
{
	struct state s;
	int r;

	r = check_size(c);
	if (r)
		return r;
	if (!area_pread(c->target, &s, sizeof(s), 0) && state_valid(&s)) {
		if (memcmp(s.uuid, c->p->uuid, sizeof(s.uuid)) && !c->p->force)
			return because(-EEXIST, "%s: is an unfinished copy of something else",
				       c->p->target);
		if (state_fits(&s, c->p, &c->plan, c->bytes)) {
			c->position = le64_to_cpu(s.position);
			*resumed = true;
			return set_size(c);
		}
		if (!memcmp(s.uuid, c->p->uuid, sizeof(s.uuid))) {
			/* The same copy, other runs: from the beginning. */
			return start(c);
		}
	}
	r = check_unused(c);
	return r ? r : start(c);
}

static int copy_all(struct copy *c, struct complete_result *result)
{
	int r;

	r = open_source(c);
	if (!r)
		r = open_target(c, O_CREAT);
	if (!r)
		r = check_source(c);
	if (r)
		return r;
	c->direct = open(c->p->target, O_RDONLY | O_CLOEXEC | O_DIRECT);
	c->buf = aligned_alloc(DIRECT_ALIGN, PIECE + 2 * DIRECT_ALIGN);
	r = c->buf ? plan_make(c->p, c->bytes, &c->plan, result->used_by,
			       sizeof(result->used_by)) : -ENOMEM;
	if (r)
		return because(r, "%s: %s", c->p->source, strerror(-r));
	result->total_bytes = c->plan.bytes;
	clock_gettime(CLOCK_MONOTONIC, &c->began);
	c->batch_began = c->began;
	r = begin_or_resume(c, &result->resumed);
	if (!r)
		r = report(c, COMPLETE_COPYING);
	if (!r)
		r = copy_runs(c);
	if (!r)
		r = finish(c);
	result->copied_bytes = c->copied;
	return r;
}

/* Can there be a new file? */
static int check_folder(const char *target)
{
	char *copy = strdup(target), *folder;
	struct stat st;
	int r = 0;

	if (!copy)
		return -ENOMEM;
	folder = dirname(copy);
	if (stat(folder, &st))
		r = -errno;
	else if (!S_ISDIR(st.st_mode))
		r = -ENOTDIR;
	else if (access(folder, W_OK | X_OK))
		r = -errno;
	if (r)
		because(r, "%s: %s", folder, strerror(-r));
	free(copy);
	return r;
}

int complete_check(const struct complete_params *p, u64 bytes)
{
	struct copy c = { .p = p, .source = -1, .target = -1, .direct = -1, .bytes = bytes };
	int r;

	why_text[0] = '\0';
	r = open_target(&c, 0);
	if (r == -ENOENT)
		return check_folder(p->target);
	if (!r)
		r = check_size(&c);
	if (!r)
		r = check_unused(&c);
	if (c.target >= 0)
		close(c.target);
	return r;
}

int complete_copy(const struct complete_params *p, struct complete_result *ret)
{
	struct copy c = { .p = p, .source = -1, .target = -1, .direct = -1 };
	struct complete_result result = { .copied_bytes = 0 };
	int r;

	why_text[0] = '\0';
	r = copy_all(&c, &result);
	if (r == -EEXIST && !c.is_device && c.target_bytes == c.bytes && meta_same(p)) {
		/* Finished before; whoever asked did not hear of it. */
		result.resumed = true;
		r = 0;
	}
	if (c.direct >= 0)
		close(c.direct);
	if (c.target >= 0)
		close(c.target);
	if (c.source >= 0)
		close(c.source);
	free(c.buf);
	free(c.plan.run);
	if (!r)
		*ret = result;
	return r;
}

/* --- unfinished ones ------------------------------------------------------ */

int complete_unfinished(const char *target, u8 uuid[16])
{
	int fd = open(target, O_RDONLY | O_CLOEXEC), r;
	bool is_short = false;
	struct state s;
	struct stat st;

	if (fd < 0)
		return because(-errno, "%s: %s", target, strerror(errno));
	r = fstat(fd, &st) ? -errno : 0;
	if (!r)
		is_short = S_ISREG(st.st_mode) && st.st_size < (off_t)sizeof(s);
	if (!r && !is_short)
		r = area_pread(fd, &s, sizeof(s), 0);
	close(fd);
	if (r)
		return because(r, "%s: %s", target, strerror(-r));
	if (is_short || !state_valid(&s))
		return 0;
	memcpy(uuid, s.uuid, sizeof(s.uuid));
	return 1;
}
