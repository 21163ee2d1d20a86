/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Complete copies: all data of a shadow copy, on a device or in an image file
 * that then stands alone.  How, and why a crash does no harm: complete.c.
 */
#ifndef SHADOWCTL_COMPLETE_H
#define SHADOWCTL_COMPLETE_H

#include "host.h"

enum complete_phase {
	COMPLETE_COPYING,
	COMPLETE_VERIFYING,
	COMPLETE_FINISHING,		/* once: all is there, the state goes now */
};

struct complete_progress {
	u64 done_bytes;			/* copied, or verified, so far */
	u64 total_bytes;		/* in use, to be copied */
	u64 source_bytes;		/* size of the volume */
	enum complete_phase phase;
};

struct complete_params {
	const char *source;		/* a shadow copy's node, or an image */
	const char *target;		/* a device, or the path of an image file */
	const char *meta;		/* JSON object to keep beside an image, or NULL */
	u8 uuid[16];			/* of the shadow copy: resumes only its own */
	u64 bytes_per_second;		/* 0: as fast as can be */
	bool force;			/* a target with something on it is overwritten */
	bool all;			/* free clusters too */
	/*
	 * Returns 0 to go on; else the copy stops with that, resumable.  First called
	 * when the target has its state.
	 */
	int (*progress)(void *context, const struct complete_progress *p);
	void *context;
};

struct complete_result {
	u64 copied_bytes;		/* by this call */
	u64 total_bytes;
	bool resumed;
	char used_by[32];		/* what told free from used: "ntfs", or "" */
};

/*
 * Would a copy of @bytes to @p->target, one without a state, begin?  Errors as
 * of complete_copy(), for which nothing is changed.  @p: target and force.
 */
int complete_check(const struct complete_params *p, u64 bytes);
/*
 * Copy, verify, finish.  -EEXIST: the target holds something else (see
 * complete_why()); -ENOSPC: it is too small; -EILSEQ: what was read back is not
 * what was written; -EBUSY: in use.  After any error but -EEXIST, or a crash,
 * the same call goes on where it was; after success it finds an image done.
 */
int complete_copy(const struct complete_params *p, struct complete_result *ret);
/* Object and fact of the last error of complete_copy(), for a message. */
const char *complete_why(void);

/*
 * Is @target a complete copy that was not finished?  1 and its uuid, 0; -ENOENT if it
 * is not there, another -errno if it can't be read.
 */
int complete_unfinished(const char *target, u8 uuid[16]);

#endif
