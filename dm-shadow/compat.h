/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The only file that knows a kernel version.  The rest is written for the
 * newest kernel; here older ones get its names.
 */
#ifndef DM_SHADOW_COMPAT_H
#define DM_SHADOW_COMPAT_H

#include <linux/blkdev.h>
#include <linux/srcu.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "dm-shadow needs Linux 6.1 or newer"
#endif

/* 6.15 declares crc32c() in <linux/crc32.h>.  Goes with 6.12 support. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 15, 0)
#include <linux/crc32c.h>
#endif

/* Newer ones declare hex2bin() here, and no longer in <linux/kernel.h>. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#include <linux/hex.h>
#endif

/* 7.0 turned this round.  Goes with 6.12 support. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
static inline bool bdev_rot(struct block_device *bdev)
{
	return !bdev_nonrot(bdev);
}
#endif

/*
 * 6.2 gave SRCU readers that end in another context than they began in.
 * Before, the untraced primitives do exactly that.  Goes with 6.1 support.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
#define srcu_down_read(s)	srcu_read_lock_notrace(s)
#define srcu_up_read(s, i)	srcu_read_unlock_notrace(s, i)
#endif

#endif
