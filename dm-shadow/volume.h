/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A volume: an origin, its diff area and their shadow copies.
 *
 * One struct dms_volume stands for all nodes that name the same diff area.
 * Targets own none of its state: they find the volume at construction and
 * drop it at destruction, and the last one to go writes the final checkpoint.
 *
 * Three contexts work on a volume:
 *
 *   map          any submitter; reads bitmaps and looks up, never waits for I/O
 *   the saver    cow.c, one work item: owns detained bios, saves under way, the
 *                journal, the active exception table; does not wait for anything
 *                that needs the next
 *   background   background.c, one work item: trees, bitmaps on disk and
 *                superblocks; may wait for the saver to turn to the other table
 *   merge        merge*.c, one work item: brings chunks home; may wait for the
 *                saver, which may wait for the background
 *   scrub        scrub.c, one work item: reads what copies would read; waits for
 *                none of the others
 *
 * Messages run in the caller's context under v->meta and hand journal records
 * to the saver.
 *
 * Ordering, each rule enforced at the lines that carry its number:
 *
 *   I1  a saved chunk and the record that names it are on stable media before
 *       the exception is published (one step: the record holds the data's crc)
 *   I2  the exception is published before the origin chunk is overwritten
 *   I3  a shadow read sent to the origin completes before its chunk is
 *       overwritten
 *   I4  replay stops at the first block or save that does not fit, and loses
 *       nothing that was released
 *   I5  the superblock is the last write of a checkpoint, and everything it
 *       leads to is stable before it is written
 *   I6  trouble in the diff area costs shadow copies, never origin data; the
 *       mode only gets worse: rw, ro
 *   I7  of a set, after a crash, all members can be read or none
 *   I8  area space is written again only after the checkpoint that no longer
 *       names it is stable and the reads that may still use it are over
 */
#ifndef DM_SHADOW_VOLUME_H
#define DM_SHADOW_VOLUME_H

#include <linux/bio.h>
#include <linux/completion.h>
#include <linux/device-mapper.h>
#include <linux/mempool.h>
#include <linux/ktime.h>
#include <linux/llist.h>
#include <linux/mutex.h>
#include <linux/refcount.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include "alloc.h"
#include "bits.h"
#include "compat.h"
#include "exception.h"
#include "index.h"

#define DM_MSG_PREFIX "shadow"

#if PAGE_SIZE != DMS_BLOCK_SIZE
#error "dm-shadow needs pages of 4096 bytes"
#endif

#define DMS_VOLUME_TREES		64
#define DMS_VOLUME_PRINTS		96	/* origin blocks sampled for a fingerprint */
#define DMS_EXTRA_PRINTS	64	/* of them chosen by a message */
#define DMS_SAVE_MAX_BLOCKS	256	/* of one read: a bio's worth */
#define DMS_GROUP_RUNS		1024
#define DMS_GROUP_JOURNAL	32	/* journal blocks of all groups under way */
#define DMS_GROUPS		2	/* under way at once */
#define DMS_JOURNAL_RESERVE	4	/* journal blocks kept free of saves */
#define DMS_JOURNAL_URGENT	2	/* and of what the background does not wait for */
#define DMS_HOME_WANTED		64
#define DMS_DAMAGE_KNOWN	128
#define DMS_DEFAULT_CACHE_KIB	16384
#define DMS_MIN_CACHE_KIB	1024

struct dms_bio;
struct dms_cache;
struct dms_merge;
struct dms_read;
struct dms_scrub;
struct dms_volume;

enum dms_mode {			/* I6: never back */
	DMS_MODE_RW,
	DMS_MODE_RO,		/* the diff area takes no more writes */
};

enum dms_found {
	DMS_FOUND_NEW,
	DMS_FOUND_CLEAN,
	DMS_FOUND_RECOVERED,
	DMS_FOUND_CHANGED,
};

/*
 * A shadow copy.  Its info changes under v->info_lock; id never.  Freed when out
 * of the list, unopened and after an SRCU grace period.
 */
struct dms_shadow {
	struct dms_shadow_info info;
	u64 chunks;			/* origin chunks it covers, the last may be partial */
	bool dead;			/* deleted or dropped, still open */
	unsigned int opens;		/* targets, under v->info_lock */
	atomic_t errors;		/* checksum errors */
	atomic_t damaged;		/* chunks known to be */
	struct list_head dead_list;
};

/* Readable and in need of saves? */
static inline bool dms_shadow_valid(const struct dms_shadow *s)
{
	return !(READ_ONCE(s->info.flags) & DMS_SHADOW_INVALID) && !READ_ONCE(s->dead);
}

/* An exempt tree whose copy has gone, to be freed by the next checkpoint. */
struct dms_gone_tree {
	struct list_head list;
	struct dms_tree tree;
};

/* The copies, ascending id; replaced as a whole, read under v->srcu. */
struct dms_copies {
	struct rcu_head rcu;
	u32 nr;
	struct dms_shadow *shadow[];
};

/* The trees, oldest first; replaced as a whole, read under v->srcu. */
struct dms_trees {
	u32 nr;
	struct dms_tree tree[DMS_VOLUME_TREES];
};

/* In trees from number @from on. */
static inline u64 dms_trees_entries(const struct dms_trees *t, u32 from)
{
	u64 entries = 0;

	for (; from < t->nr; from++)
		entries += t->tree[from].entries;
	return entries;
}

/* Where something of several blocks lies, in order: perhaps nowhere two side by side. */
struct dms_blocks {
	u64 *block;
	u32 nr;
};

/* What the constructor tells the engine. */
struct dms_config {
	struct mapped_device *md;
	struct block_device *origin, *area;
	sector_t origin_sectors;
	unsigned int cache_kib;
};

/*
 * A record to be journalled, or another thing to be done between two groups.
 * What a record says becomes true in memory in apply(), that is in the saver and
 * before anything of a later group: a checkpoint, which turns to the other table
 * by such an op, then never misses what it cuts off the journal.
 */
struct dms_op {
	struct list_head list;
	struct completion done;
	int error;
	bool urgent;			/* may use the last journal blocks */
	/* NULL: there is no record */
	bool (*add)(struct dms_op *op, struct dms_journal_block *j);
	/* when durable; may be NULL */
	void (*apply)(struct dms_volume *v, struct dms_op *op);
	const struct dms_shadow_info *info;
	struct dms_shadow *shadow;
	struct dms_copies *copies;	/* the list as it will be */
	struct dms_bits *bits;
	struct dms_gone_tree *gone;
	const struct dms_exception *home;
	u32 id, epoch;
	u64 cursor;
};

struct dms_stats {
	atomic64_t saved, zeroes, unreadable, dropped;
	atomic64_t checksum_errors, area_errors, checkpoints;
};

struct dms_range {
	u64 first, last;		/* chunks */
};

/* An exception whose data is damaged.  Tags are never used again, so it stays true. */
struct dms_damage {
	u64 chunk;
	u32 tag;
};

/* A CPU's reads of copies, see map.c. */
struct dms_tracker {
	spinlock_t lock;		/* guards reads */
	struct list_head reads;		/* on their way to the origin, I3 */
	struct llist_head done;		/* from the area, to be verified */
	struct work_struct verify;
};

struct dms_volume {
	struct list_head list;		/* dms_volumes */
	unsigned int users;		/* targets, under the list's mutex */
	unsigned int origins;		/* of them origin targets */
	struct mapped_device *md;	/* of the origin node */
	struct mutex event_mutex;	/* guards the next two */
	struct dm_target *ti;		/* origin target that is live; NULL while suspended */
	bool event_pending;
	struct work_struct event_work;
	bool opened, closing;
	struct block_device *origin, *area;
	char name[32];	/* of the origin, for messages */
	unsigned int cache_kib;

	/* geometry */
	struct dms_super super;
	bool is_volatile;
	bool fua, volatile_cache;	/* of the area device */
	u32 chunk_blocks;
	unsigned int chunk_shift;	/* sectors */
	u64 area_chunks;
	sector_t origin_sectors;
	u64 origin_chunks;

	enum dms_mode mode;
	enum dms_found found;
	bool suspended;			/* origin node; create and merge need it */

	/*
	 * Control plane.  Whoever holds meta may wait for the saver, which may
	 * wait for a checkpoint: the background must never wait for meta.
	 */
	struct mutex back_mutex;	/* trees, checkpoints, superblock; dms_back_lock() */
	atomic_t back_users;		/* others than the background, waiting or in it */
	struct mutex meta;		/* one message about copies at a time */
	spinlock_t info_lock;		/* contents of infos, opens, dead, damage */
	u32 epoch;
	struct dms_exempt_load *exempt_load;	/* NULL: none; under back_mutex */
	u64 prints[DMS_VOLUME_PRINTS];	/* origin blocks to sample */
	u32 print_crcs[DMS_VOLUME_PRINTS];	/* what they held, when last looked at */
	u32 nr_prints;
	struct list_head dead;		/* dropped copies that are still open */
	struct list_head gone_trees;	/* exempt trees of deleted copies, to be freed */
	struct list_head gone_before;	/* those whose deletion the last rotation cut off */
	/* what a checkpoint shall store before it is true in memory */
	u32 invalidate_upto;		/* copies up to this id, as invalid; 0: none */
	const struct dms_shadow_info *override;

	/* read under srcu */
	struct srcu_struct srcu;	/* also held by reads of the area until they end */
	struct dms_copies __rcu *copies;
	struct dms_trees __rcu *trees;
	struct dms_table *table[2];	/* both always searched */

	/*
	 * Origin chunks whose present content no copy needs.  The pointers change
	 * in the saver, with the origin suspended; also read under srcu.
	 */
	struct dms_bits *saved;
	struct dms_bits *saved_before;	/* as it was at the last creation */
	bool before_all;		/* there was no copy then: all set */
	u32 saved_epoch;		/* of that creation, in this activation */
	bool exact;			/* a clear bit is proof of need */
	u32 nr_needy;			/* valid copies; 0: nothing to save */

	/*
	 * The saver, in cache lines of its own: what stands above is read by each
	 * write, what follows is written for each that is detained.
	 */
	struct workqueue_struct *save_wq ____cacheline_aligned_in_smp;
	struct work_struct save_work;
	atomic_t save_wakes;		/* since its last pass began, and before */
	struct delayed_work stall_work;	/* retries what was short of something */
	spinlock_t lock;		/* guards up to the blank line */
	struct bio_list incoming;
	struct list_head ops;
	struct list_head read_done;	/* saves whose reads are over */

	struct list_head waiting;	/* detained bios, in order of arrival */
	struct rb_root pending;		/* saves, by chunk */
	struct list_head ready;		/* saves to be committed */
	u32 nr_reading;			/* saves being read */
	struct dms_group *group[DMS_GROUPS];
	u32 oldest_group, nr_groups;	/* under way, a ring */
	u32 group_retries;		/* of those */
	u32 min_journal;		/* blocks that attempts that failed may have left */
	void *journal_page[DMS_GROUP_JOURNAL];	/* of sequences modulo that */
	unsigned int active;		/* table[] being filled */
	u32 pages_held;
	struct list_head spare_pages, spare_saves;
	u32 nr_spare_pages, nr_spare_saves;
	u32 spares_idle;		/* the fewest spare pages since they were trimmed */
	unsigned long trim_at;		/* jiffies */
	struct bio_set bs;		/* the merge's and the scrub's, too */
	u64 journal_head;		/* next sequence; saver's, read by others */
	u64 journal_tail;		/* first sequence a replay needs */
	u64 journal_stable;
	enum {
		DMS_WANT_NOTHING,
		DMS_WANT_CHECKPOINT,	/* journal or table is full */
		DMS_WANT_SPACE,		/* area is full */
	} want;
	unsigned long want_since;	/* jiffies */
	bool growing;			/* no space is taken: the area's size changes */
	wait_queue_head_t idle_wait;	/* pending is empty */

	/* reads of copies; not beside what the saver writes */
	struct workqueue_struct *read_wq ____cacheline_aligned_in_smp, *verify_wq;
	u32 bridge_sectors;		/* gaps up to this are read, too: map.c */
	mempool_t read_pool, bounce_pool;
	struct dms_tracker __percpu *trackers;
	wait_queue_head_t drain_wait;
	struct dms_cache *cache;

	/* background */
	struct workqueue_struct *back_wq;
	struct work_struct back_work;
	spinlock_t pace_lock;		/* guards the next two; inside lock */
	struct task_struct *gives_way;	/* the worker, at the lowest priority; NULL: not */
	int own_nice;
	bool reclaim;			/* copies went: look for dead exceptions */
	u32 join_floor;			/* trees before have a damaged one among them */
	bool unsure;			/* no reclaim since the activation */
	bool low_space_told, full_told;
	u64 entries;			/* of trees that can be joined */
	bool drop_vain;			/* nothing to be dropped early, for now */
	u32 nr_held;			/* of the next two; 0: not known */
	u32 *held_epochs;		/* the copies, when all trees were last joined, */
	u64 *held_chunks;		/* and what no newer one than that needed */
	u32 held_asked;			/* the newest copy when they last should have been */
	struct dms_alloc *alloc;
	u64 reserve;			/* area chunks only metadata may take */
	u64 generation, checkpoint_seq;
	unsigned long *slots;		/* current block of each bitmap pair */
	struct dms_disk_shadow_ref *refs; /* to the descriptors last written */
	u32 nr_refs;
	struct dms_blocks root_place, shadows_place;
	bool shadows_dirty;
	u64 rotate_seq;			/* journal position of the last rotation */

	/* merge */
	struct workqueue_struct *merge_wq;
	struct delayed_work merge_work;
	struct dms_merge *merge;	/* its memory, the work item's own; NULL: none yet */
	bool merge_stop;		/* the volume is about to close */
	u32 merge_shadow;		/* 0: none */
	u32 merge_epoch;
	u64 merge_cursor;		/* origin chunks below are home, durably */
	struct dms_bits *home;		/* others that are, durably */
	spinlock_t home_lock;		/* guards the next six */
	u32 nr_wanted, nr_serving, nr_failed;	/* DMS_HOME_WANTED in all, at most */
	struct dms_range wanted[DMS_HOME_WANTED]; /* detained writes wait for these */
	struct dms_range serving[DMS_HOME_WANTED]; /* taken by the merge */
	struct dms_range failed[DMS_HOME_WANTED]; /* by the merge; the saver ends the writes */
	u32 merge_errors;		/* in a row */
	bool merge_stuck;		/* by errors */
	u64 merge_stuck_at;		/* chunk */
	unsigned long merge_retry;	/* jiffies, after an error */
	bool merge_skip;		/* what can't be read is given up */
	u64 merge_skipped;		/* chunks given up */
	bool merged;			/* a merge has ended since activation */

	struct dms_scrub *scrub;
	u32 nr_damage;
	struct dms_damage damage[DMS_DAMAGE_KNOWN];	/* each counted once; more: as met */

	struct dms_stats stats;
};

/* Per-bio data of both targets. */
struct dms_bio {
	struct list_head list;		/* v->waiting */
	struct bio *bio;		/* NULL: the merge waits on done */
	struct completion *done;
	struct dms_volume *v;
	u64 first, last;		/* chunks */
	u64 next;			/* chunks before are saved (and home) */
	u64 issued;			/* chunks before are saved or being saved */
	bool wanted;			/* asked the merge to bring it home */
	/* reads of a copy or of the origin under a merge */
	struct dms_shadow *shadow;	/* NULL: the origin */
	struct bvec_iter iter;		/* what is not yet under way */
	struct dms_read *held;		/* on its way to the origin, may get longer; NULL */
	atomic_t pieces;
	blk_status_t status;
	struct work_struct work;
};

/* Partitions of one disk? */
static inline bool dms_one_disk(const struct dms_volume *v)
{
	return v->origin->bd_disk == v->area->bd_disk;
}

/* --- volume.c --- */

/*
 * Find or make the volume of @c->area and take a reference.  Sleeps, reads the
 * diff area, replays.  On failure *@error says why in words.
 */
struct dms_volume *dms_volume_get(const struct dms_config *c, char **error);
/* The volume of @area if active, with a reference; NULL if not. */
struct dms_volume *dms_volume_find(struct block_device *origin, struct block_device *area,
				   char **error);
/* @origin: the reference is from dms_volume_get().  The last one closes. */
void dms_volume_put(struct dms_volume *v, bool origin);
/* @ti is live now, NULL: none is.  Events go there, or wait. */
void dms_volume_live(struct dms_volume *v, struct dm_target *ti);
/* The origin node got longer; suspended.  0 or -errno. */
int dms_volume_grow_origin(struct dms_volume *v, sector_t sectors);
/* Wake whoever waits for an event.  Any context. */
void dms_volume_event(struct dms_volume *v);
/* The diff area failed: copies are lost, the origin goes on (I6).  Any context. */
void dms_volume_fail(struct dms_volume *v, const char *what, int error);

static inline u64 dms_sector_chunk(const struct dms_volume *v, sector_t sector)
{
	return sector >> v->chunk_shift;
}

/* --- io.c: synchronous metadata I/O; process context, never from map --- */

/* @buf is page aligned, kmalloc'd or vmalloc'd; @nr blocks at @block. */
int dms_io_read(struct block_device *bdev, u64 block, u32 nr, void *buf);
int dms_io_write(struct block_device *bdev, u64 block, u32 nr, void *buf, blk_opf_t flags);
int dms_io_flush(struct block_device *bdev);

/* --- cache.c --- */

struct dms_cache *dms_cache_create(struct dms_volume *v, unsigned int kib);
void dms_cache_destroy(struct dms_cache *c);
unsigned int dms_cache_used_kib(const struct dms_cache *c);
/* @may_block: read what is missing, else get() answers -EAGAIN. */
struct dms_source *dms_cache_source(struct dms_cache *c, bool may_block);
void dms_cache_resize(struct dms_cache *c);	/* the area has grown */

/* A source that streams past the cache, one user at a time; background only. */
struct dms_source *dms_stream_create(struct dms_volume *v);
void dms_stream_destroy(struct dms_source *s);

/*
 * --- shadow.c ---
 * All under v->meta unless said otherwise; 0 or -errno.
 */

/* Under v->meta or v->back_mutex: the latter alone frees copies. */
struct dms_shadow *dms_shadow_find(struct dms_volume *v, u32 id);
/* Take a copy; the origin is suspended.  Fills in id, times and size of @info. */
int dms_shadow_create(struct dms_volume *v, struct dms_shadow_info *info);
/* 0, or why dms_shadow_delete() would refuse. */
int dms_shadow_may_delete(struct dms_volume *v, u32 id);
int dms_shadow_delete(struct dms_volume *v, u32 id);
/* Make @info, of an existing copy, durable and then current: flags, lock, attributes. */
int dms_shadow_update(struct dms_volume *v, const struct dms_shadow_info *info);
/*
 * Drop the oldest copy for want of space; *@id says which.  -ENOENT: nothing left to drop.
 * @early: there is some space yet.  Then not the newest, nor one that is locked, nor what
 * is newer than one that stays: that may need what it holds.
 */
int dms_shadow_drop(struct dms_volume *v, bool early, u32 *id);
/* Neither locked nor being merged?  Under v->back_mutex. */
bool dms_shadow_may_drop(const struct dms_volume *v, const struct dms_shadow *s);
/* An empty list with room for so many; NULL: no memory. */
struct dms_copies *dms_copies_alloc(u32 room);
/* Put @new in place of the list of copies. */
void dms_shadows_install(struct dms_volume *v, struct dms_copies *new);
/* Put @add in, take @remove out (either may be NULL). */
int dms_shadows_replace(struct dms_volume *v, struct dms_shadow *add, struct dms_shadow *remove);
/* All copies become invalid on disk, then in memory; under v->back_mutex. */
int dms_shadows_invalidate(struct dms_volume *v);
struct dms_shadow *dms_shadow_alloc(const struct dms_volume *v, const struct dms_shadow_info *info);
void dms_shadows_recount(struct dms_volume *v);
void dms_shadows_free(struct dms_volume *v);
/* Any context: from now on no copy can be read. */
void dms_shadows_lost(struct dms_volume *v);
/* For a target; takes v->meta.  Close before the volume is put. */
struct dms_shadow *dms_shadow_open(struct dms_volume *v, u32 id, char **error);
void dms_shadow_close(struct dms_volume *v, struct dms_shadow *s);
/* Exempt runs; under v->back_mutex, which covers meta here. */
int dms_exempt_begin(struct dms_volume *v, u32 id);
int dms_exempt_run(struct dms_volume *v, u32 id, u64 chunk, u64 count);
int dms_exempt_end(struct dms_volume *v, u32 id);
int dms_exempt_cancel(struct dms_volume *v, u32 id);
void dms_exempt_abort(struct dms_volume *v);
/* An exempt tree to be freed by the next checkpoint.  Any lock or none. */
void dms_tree_gone(struct dms_volume *v, const struct dms_tree *t);
struct dms_gone_tree *dms_tree_gone_prepare(void);

/* --- map.c --- */

/* A dm map function each; the bio is relative to the start of the volume. */
int dms_map_origin(struct dms_volume *v, struct bio *bio);
int dms_map_shadow(struct dms_volume *v, struct dms_shadow *s, struct bio *bio);
/*
 * Where is @chunk of copy @s?  Under v->srcu.  1: @ret (kind, where, length <=
 * @max) and for DATA its checksums; 0: on the origin, for ret->length chunks;
 * -EAGAIN if !@may_block and a block is not cached; or an error.  Tags from
 * @before on do not count (merge); 0: all do.
 */
int dms_lookup(struct dms_volume *v, const struct dms_shadow *s, u64 chunk, u32 max,
	       u32 before, bool may_block, struct dms_exception *ret, __le32 *csums);
/* Wait until no shadow read is under way on the origin in these chunks (I3). */
void dms_drain_reads(struct dms_volume *v, u64 first, u64 last);
int dms_readers_init(struct dms_volume *v);
void dms_readers_exit(struct dms_volume *v);

/* --- cow.c --- */

int dms_saver_init(struct dms_volume *v);
void dms_saver_exit(struct dms_volume *v);
void dms_detain(struct dms_volume *v, struct bio *bio);
void dms_saver_wake(struct dms_volume *v);
/* Journal a record and wait; process context, not from the saver. */
int dms_saver_commit(struct dms_volume *v, struct dms_op *op);
/* From the saver: what is being saved is of no use to the copies to come. */
void dms_saver_stale(struct dms_volume *v);
/* Area chunks that data may take in all.  In commit.c. */
u64 dms_data_limit(const struct dms_volume *v);

/* --- diff-area.c --- */

/* Read the area of a new volume and bring it to life.  On failure *@error says why. */
int dms_area_open(struct dms_volume *v, const struct dms_config *c, char **error);
/* Last checkpoint, with a fingerprint of the origin. */
void dms_area_close(struct dms_volume *v);
void dms_area_free(struct dms_volume *v);
/* Use what the diff device has grown by; under v->back_mutex. */
int dms_area_resize(struct dms_volume *v);
/* Sample the usual blocks and @extra; under v->back_mutex.  0 or -ERANGE. */
int dms_area_set_prints(struct dms_volume *v, const u64 *extra, u32 nr);

/* --- replay.c --- */

/* Apply the journal; v->journal_head is set to its end.  *@any: there was something. */
int dms_replay(struct dms_volume *v, bool *any);

/* --- checkpoint.c: all under v->back_mutex, but the space ceiling --- */

/*
 * Write out the table, the copies, bitmap and root, then the superblock with
 * @flags (0 or DMS_SUPER_CLEAN).  On failure the volume has been failed too.
 */
int dms_checkpoint(struct dms_volume *v, u32 flags);
/* The same for table @t, which nobody adds to; replay is to begin at @replay_from. */
int dms_checkpoint_table(struct dms_volume *v, struct dms_table *t, u64 replay_from, u32 flags);
/*
 * The same without a table, @new being the list of trees; takes it over.  @gone:
 * exempt trees of copies whose deletion is not in the journal from @replay_from on.
 */
int dms_commit(struct dms_volume *v, struct dms_trees *new, u64 replay_from, u32 flags,
	       struct list_head *gone);
/* The blocks of @t are free after the checkpoint to come. */
int dms_tree_free(struct dms_volume *v, struct dms_source *source, const struct dms_tree *t);
/* Write v->super as it is, into the older of the two blocks. */
int dms_super_write(struct dms_volume *v);
/* Area chunks that the next one takes beside its predecessor, with @more copies. */
u64 dms_checkpoint_need(struct dms_volume *v, u32 more);
/* How many area chunks may be in use, so that it finds them. */
u64 dms_space_ceiling(struct dms_volume *v, u32 more);
int dms_blocks_init(struct dms_blocks *b, u32 nr, gfp_t gfp);
void dms_blocks_exit(struct dms_blocks *b);

/* --- sink.c --- */

/*
 * Builder's sink that allocates as it goes, while less than @limit area chunks (0:
 * all) are in use.  destroy() cancels what was not published.
 */
struct dms_sink *dms_sink_create(struct dms_volume *v, u64 limit);
int dms_sink_flush(struct dms_sink *s);
/* What the builder made of a failure here, put right. */
int dms_sink_error(const struct dms_sink *s, int error);
void dms_sink_publish(struct dms_sink *s);
void dms_sink_destroy(struct dms_sink *s);

/* --- background.c --- */

int dms_background_init(struct dms_volume *v);
void dms_background_exit(struct dms_volume *v);
void dms_background_wake(struct dms_volume *v);
/* Somebody waits, or will, for what the background does: at its own priority now. */
void dms_back_hurry(struct dms_volume *v);
/* v->back_mutex, for all but the background itself, which makes haste meanwhile. */
void dms_back_lock(struct dms_volume *v);
void dms_back_unlock(struct dms_volume *v);
/* A checkpoint during replay: no saver yet; replay shall go on at @sequence. */
int dms_checkpoint_replay(struct dms_volume *v, u64 sequence);
/*
 * Make room for one more copy, as the policy says.  Under v->meta; usually there
 * is and nothing happens.  0 or -ENOSPC.
 */
int dms_room_for_copy(struct dms_volume *v);
/* Is the mark passed at which an event is raised? */
bool dms_low_space(const struct dms_volume *v);
/*
 * Should copies be dropped early?  Joining all trees, which frees their space, would take
 * long, and less is free than might be saved meanwhile.  @ceiling as of
 * dms_space_ceiling().  Any context.
 */
bool dms_drop_due(const struct dms_volume *v, u64 ceiling);
/*
 * The area could not be written: try to leave a mark there that its copies are lost.
 * Under v->back_mutex.  False: it is not there yet.
 */
bool dms_mark_lost(struct dms_volume *v);

/* --- merge.c, merge-home.c --- */

int dms_merge_init(struct dms_volume *v);
/* At activation, with a merge under way: what is home already. */
int dms_merge_load(struct dms_volume *v);
void dms_merge_exit(struct dms_volume *v);
void dms_merge_wake(struct dms_volume *v);
int dms_merge_start(struct dms_volume *v, u32 id);
bool dms_merge_home(struct dms_volume *v, u64 first, u64 last);
/*
 * Under v->srcu: the copy that a read of the origin from chunk @first on must
 * look at, or NULL for the origin; valid for *@n chunks, at most @max.
 */
struct dms_shadow *dms_merge_source(struct dms_volume *v, u64 first, u32 max, u32 *n);
void dms_merge_want(struct dms_volume *v, struct dms_bio *b);
/* Is there no hope for @b?  The saver's; yes is said once. */
bool dms_merge_failed(struct dms_volume *v, const struct dms_bio *b);
/* Let what can't be read of the copy stay as it is on the origin.  -ESRCH: no merge. */
int dms_merge_skip(struct dms_volume *v);
bool dms_merge_busy(const struct dms_volume *v);
/* Of the merge under way, or of the last since activation: a word for the status. */
const char *dms_merge_state(const struct dms_volume *v);

/* --- scrub.c --- */

int dms_scrub_init(struct dms_volume *v);
void dms_scrub_exit(struct dms_volume *v);
/* -EALREADY, -EROFS or -ENOMEM.  Sleeps, as do the next three, for a batch at most. */
int dms_scrub_start(struct dms_volume *v, u32 kib_per_second);	/* 0: no limit */
void dms_scrub_stop(struct dms_volume *v);
/* While the origin is suspended the scrub reads nothing. */
void dms_scrub_pause(struct dms_volume *v);
void dms_scrub_resume(struct dms_volume *v);
/* Its fields of the status; returns their length. */
int dms_scrub_status(struct dms_volume *v, char *result, unsigned int maxlen);
/*
 * The saved data of @chunk with tag @tag is damaged: tell, and count it once for
 * each copy that sees it.  Under v->srcu; may read index blocks.
 */
void dms_damaged(struct dms_volume *v, u64 chunk, u32 tag);

/* --- message.c --- */

int dms_message(struct dms_volume *v, unsigned int argc, char **argv,
		char *result, unsigned int maxlen);
void dms_status(struct dms_volume *v, char *result, unsigned int maxlen);

#endif
