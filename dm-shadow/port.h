/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the host-built part of the engine (format, exception, index, alloc)
 * needs of its surroundings.  In the kernel that is the kernel; elsewhere
 * userspace/host/host.h gives the same names.  Only those files include this.
 */
#ifndef DM_SHADOW_PORT_H
#define DM_SHADOW_PORT_H

#ifdef __KERNEL__
#include <linux/bitops.h>
#include <linux/crc32.h>
#include <linux/err.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/types.h>
#include <linux/vmalloc.h>
#include "compat.h"
#else
#include "host.h"
#endif

#endif
