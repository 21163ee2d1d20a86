/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's names for what the host-built part of the engine uses (see
 * dm-shadow/port.h), for shadowctl, tests and fuzzers.  One thread: spinlocks
 * are nothing here.
 */
#ifndef DM_SHADOW_HOST_H
#define DM_SHADOW_HOST_H

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- types --- */

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s8 s8;
typedef __s16 s16;
typedef __s32 s32;
typedef __s64 s64;

#define U8_MAX			UINT8_MAX
#define U16_MAX			UINT16_MAX
#define U32_MAX			UINT32_MAX
#define U64_MAX			((u64)~0ULL)

#ifdef __CHECKER__
#define __force			__attribute__((force))
#else
#define __force
#endif

#define cpu_to_le16(x)		((__force __le16)htole16(x))
#define cpu_to_le32(x)		((__force __le32)htole32(x))
#define cpu_to_le64(x)		((__force __le64)htole64(x))
#define le16_to_cpu(x)		((u16)le16toh((__force u16)(x)))
#define le32_to_cpu(x)		((u32)le32toh((__force u32)(x)))
#define le64_to_cpu(x)		((u64)le64toh((__force u64)(x)))

/* --- compiler --- */

#define likely(x)		__builtin_expect(!!(x), 1)
#define unlikely(x)		__builtin_expect(!!(x), 0)
#define __always_unused		__attribute__((unused))
#define __maybe_unused		__attribute__((unused))
#ifndef fallthrough
#define fallthrough		__attribute__((fallthrough))
#endif

#define READ_ONCE(x)		__atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_ONCE(x, v)	__atomic_store_n(&(x), v, __ATOMIC_RELAXED)
/* Partners are where these are used. */
#define smp_load_acquire(p)	__atomic_load_n(p, __ATOMIC_ACQUIRE)	/* see above */
#define smp_store_release(p, v)	__atomic_store_n(p, v, __ATOMIC_RELEASE)	/* see above */

/* A broken invariant is a bug: tests must see it. */
#define WARN_ON_ONCE(c)							\
({									\
	bool warn_ = (c);						\
	if (unlikely(warn_)) {						\
		fprintf(stderr, "%s:%d: warning: %s\n", __FILE__, __LINE__, #c); \
		abort();						\
	}								\
	warn_;								\
})

#define BUILD_BUG_ON(c)		_Static_assert(!(c), #c)

/* --- arithmetic --- */

#define BIT(n)			(1UL << (n))
#define BIT_ULL(n)		(1ULL << (n))
#define ARRAY_SIZE(a)		(sizeof(a) / sizeof((a)[0]))
#define DIV_ROUND_UP(n, d)	(((n) + (d) - 1) / (d))
#define round_up(x, y)		((((x) - 1) | ((__typeof__(x))((y) - 1))) + 1)
#define round_down(x, y)	((x) & ~((__typeof__(x))((y) - 1)))

#define min_t(type, a, b)						\
	({ type min_a_ = (a); type min_b_ = (b); min_a_ < min_b_ ? min_a_ : min_b_; })
#define max_t(type, a, b)						\
	({ type max_a_ = (a); type max_b_ = (b); max_a_ > max_b_ ? max_a_ : max_b_; })
#define min(a, b)							\
	({ __auto_type min_l_ = (a); __auto_type min_r_ = (b); min_l_ < min_r_ ? min_l_ : min_r_; })
#define max(a, b)							\
	({ __auto_type max_l_ = (a); __auto_type max_r_ = (b); max_l_ > max_r_ ? max_l_ : max_r_; })
#define clamp_t(type, v, lo, hi)	min_t(type, max_t(type, v, lo), hi)
#define swap(a, b)							\
	do { __typeof__(a) swap_ = (a); (a) = (b); (b) = swap_; } while (0)
#ifndef container_of
#define container_of(ptr, type, member)					\
	((type *)((char *)(ptr) - offsetof(type, member)))
#endif

static inline u64 div_u64_rem(u64 dividend, u32 divisor, u32 *remainder)
{
	*remainder = dividend % divisor;
	return dividend / divisor;
}

static inline u64 div_u64(u64 dividend, u32 divisor)
{
	return dividend / divisor;
}

static inline bool is_power_of_2(unsigned long n)
{
	return n && !(n & (n - 1));
}

static inline int ilog2(unsigned long n)
{
	return (int)(sizeof(n) * CHAR_BIT) - 1 - __builtin_clzl(n);
}

static inline unsigned long rounddown_pow_of_two(unsigned long n)
{
	return 1UL << ilog2(n);
}

static inline unsigned long roundup_pow_of_two(unsigned long n)
{
	return n <= 1 ? 1 : 1UL << (ilog2(n - 1) + 1);
}

static inline unsigned long __ffs64(u64 word)
{
	return __builtin_ctzll(word);
}

static inline unsigned int hweight64(u64 word)
{
	return __builtin_popcountll(word);
}

static inline size_t array_size(size_t a, size_t b)
{
	size_t size;

	return __builtin_mul_overflow(a, b, &size) ? SIZE_MAX : size;
}

/* --- errors in pointers --- */

#define MAX_ERRNO		4095

static inline void *ERR_PTR(long error)
{
	return (void *)error;
}

static inline long PTR_ERR(const void *ptr)
{
	return (long)ptr;
}

static inline bool IS_ERR(const void *ptr)
{
	return (unsigned long)ptr >= (unsigned long)-MAX_ERRNO;
}

static inline bool IS_ERR_OR_NULL(const void *ptr)
{
	return !ptr || IS_ERR(ptr);
}

static inline void *ERR_CAST(const void *ptr)
{
	return (void *)ptr;
}

/* --- memory --- */

#define GFP_KERNEL		0u
#define GFP_NOIO		0u
#define GFP_NOWAIT		0u
#define GFP_ATOMIC		0u
#define __GFP_NOWARN		0u
#define __GFP_ZERO		1u

/* Tests: let the allocations after the next n fail; -1: none does. */
extern long host_alloc_left;

void *host_alloc(size_t n, size_t size, bool zero);

#define kmalloc(size, gfp)	((void)(gfp), host_alloc(1, size, false))
#define kzalloc(size, gfp)	((void)(gfp), host_alloc(1, size, true))
#define kcalloc(n, size, gfp)	((void)(gfp), host_alloc(n, size, true))
#define kmalloc_array(n, size, gfp)	((void)(gfp), host_alloc(n, size, false))
#define kvmalloc(size, gfp)	kmalloc(size, gfp)
#define kvzalloc(size, gfp)	kzalloc(size, gfp)
#define kvcalloc(n, size, gfp)	kcalloc(n, size, gfp)
#define kvmalloc_array(n, size, gfp)	kmalloc_array(n, size, gfp)
#define vmalloc(size)		host_alloc(1, size, false)
#define vzalloc(size)		host_alloc(1, size, true)
#define kfree(p)		free((void *)(p))
#define kvfree(p)		free((void *)(p))
#define vfree(p)		free((void *)(p))

/* --- the rest --- */

struct host_lock {
	char unused;
};

#define spinlock_t			struct host_lock

#define spin_lock_init(l)		((void)(l))
#define spin_lock(l)			((void)(l))
#define spin_unlock(l)			((void)(l))
#define spin_lock_irqsave(l, f)		((void)(l), (f) = 0)
#define spin_unlock_irqrestore(l, f)	((void)(l), (void)(f))
#define cond_resched()			((void)0)

typedef int (*cmp_r_func_t)(const void *a, const void *b, const void *priv);
typedef void (*swap_r_func_t)(void *a, void *b, int size, const void *priv);

/* @swap must be NULL. */
void sort_r(void *base, size_t num, size_t size, cmp_r_func_t cmp, swap_r_func_t swap,
	    const void *priv);

/* As the kernel's: no inversion at either end. */
u32 crc32c(u32 crc, const void *data, unsigned int size);

#endif
