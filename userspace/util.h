/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What every file of shadowctl uses: talking, cleaning up, reading numbers.
 *
 * stdout carries results and is written by output.c and the commands alone;
 * all the talk here goes to stderr.  A function that fails returns -errno, and
 * whoever meets the failure first says so, with object, fact and consequence:
 * callers only pass it on.  ret_ parameters are written on success only.
 */
#ifndef SHADOWCTL_UTIL_H
#define SHADOWCTL_UTIL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define PRINTF(f, a) __attribute__((format(printf, f, a)))

/* --- cleaning up: auto_free char *s = NULL; --- */

static inline void auto_free_fn(void *p)
{
	free(*(void **)p);
}

static inline void auto_close_fn(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

#define auto_free __attribute__((cleanup(auto_free_fn)))
#define auto_close __attribute__((cleanup(auto_close_fn)))

/* Of two results, the earlier failure. */
static inline int first_error(int first, int then)
{
	return first ? first : then;
}

/* --- talking --- */

enum format { FORMAT_TEXT, FORMAT_JSON };

/* Of the global options; set by main. */
extern enum format output_format;
extern int verbosity;			/* -1: -q, 1: -v */

/* Each prints one line, "shadowctl: " and the text, without a full stop. */
void warn(const char *fmt, ...) PRINTF(1, 2);
void inform(const char *fmt, ...) PRINTF(1, 2);		/* not with -q */
void chat(const char *fmt, ...) PRINTF(1, 2);		/* with -v only */
/* Says what is wrong and returns -err. */
int refuse(int err, const char *fmt, ...) PRINTF(2, 3);
bool has_refused(void);

/*
 * Before something that cannot be undone.  @force answers yes; else asks on a
 * terminal; else refuses.  0: go on.
 */
int confirm(bool force, const char *fmt, ...) PRINTF(2, 3);

/* Stops here (SIGSTOP) if the environment's SHADOWCTL_TEST_STOP is @step. */
void test_stop(const char *step);

/* --- strings and numbers --- */

/* strdup of NULL is "". */
char *copy_string(const char *s);
/* asprintf that returns NULL when out of memory. */
char *format_string(const char *fmt, ...) PRINTF(1, 2);
/* "4096", "16K", "1.5G": powers of 1024; KiB and iB are understood too. */
int parse_size(const char *s, uint64_t *ret);
int parse_number(const char *s, uint64_t max, uint64_t *ret);
/* "2026-03-01[ 12:00[:00]]" local, "@1772366400", "+36h" (s m h d w); seconds since 1970. */
int parse_time(const char *s, uint64_t *ret);
/* Local, with the difference to UTC if @zone; "@<seconds>" after the year 9999. */
void print_time(uint64_t seconds, bool zone, char ret[40]);
/* Human-readable, e.g. "1.5G". */
void print_size(uint64_t bytes, char ret[16]);
int parse_hex(const char *hex, void *ret, size_t max, size_t *ret_size);
char *print_hex(const void *data, size_t size);
/*
 * Bytes of the UTF-8 sequence at @s, of at most @size; 0 if it is none, controls the
 * terminal or turns the direction of writing.
 */
size_t printable_length(const void *s, size_t size);
/* A copy of @s without control characters and broken UTF-8: \x1b instead. */
char *clean_string(const char *s);
bool is_uuid(const char *s);
void make_uuid(char ret[37]);

/* Whole transfers; 0 or -errno, -EIO at the end of the file. */
int read_all(int fd, void *buf, size_t size, off_t offset);
int write_all(int fd, const void *buf, size_t size, off_t offset);
/* A small text file without its last newline; NULL if there is none. */
char *read_text(const char *path);

/* Runs a program (no shell), waits; its exit status, or -errno. */
int run_program(const char *const argv[], bool quiet);

#endif
