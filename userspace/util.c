// SPDX-License-Identifier: GPL-2.0-or-later
/* Talking, cleaning up, reading numbers: see util.h. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <uuid/uuid.h>

#include "util.h"

extern char **environ;

#define MAX_TIME 253402300799		/* the last second of the year 9999, UTC */

enum format output_format;
int verbosity;

static bool refused;

static void say(const char *fmt, va_list ap)
{
	auto_free char *raw = NULL, *clean = NULL;

	if (vasprintf(&raw, fmt, ap) < 0)
		raw = NULL;
	clean = raw ? clean_string(raw) : NULL;
	/* One write: lines of several processes do not mix. */
	fprintf(stderr, "shadowctl: %s\n", clean ? clean : "out of memory");
	fflush(stderr);
}

void warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
}

void inform(const char *fmt, ...)
{
	va_list ap;

	if (verbosity < 0)
		return;
	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
}

void chat(const char *fmt, ...)
{
	va_list ap;

	if (verbosity < 1)
		return;
	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
}

int refuse(int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
	refused = true;
	return -abs(err);
}

bool has_refused(void)
{
	return refused;
}

int confirm(bool force, const char *fmt, ...)
{
	auto_free char *question = NULL;
	char answer[16] = "";
	va_list ap;

	if (force)
		return 0;
	va_start(ap, fmt);
	if (vasprintf(&question, fmt, ap) < 0)
		question = NULL;
	va_end(ap);
	if (!question)
		return -ENOMEM;
	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
		return refuse(EINVAL, "%s: not confirmed, --force is needed", question);
	fflush(stdout);			/* what the question is about */
	fprintf(stderr, "shadowctl: %s? [y/N] ", question);
	fflush(stderr);
	if (!fgets(answer, sizeof(answer), stdin))
		answer[0] = 0;
	if (strcasecmp(answer, "y\n") && strcasecmp(answer, "yes\n"))
		return refuse(ECANCELED, "not confirmed, nothing was done");
	return 0;
}

void test_stop(const char *step)
{
	const char *wanted = getenv("SHADOWCTL_TEST_STOP");

	if (wanted && !strcmp(wanted, step))
		raise(SIGSTOP);
}

/* --- strings and numbers --- */

char *copy_string(const char *s)
{
	return format_string("%s", s ? s : "");
}

char *format_string(const char *fmt, ...)
{
	va_list ap;
	char *s;
	int rc;

	va_start(ap, fmt);
	rc = vasprintf(&s, fmt, ap);
	va_end(ap);
	return rc < 0 ? NULL : s;
}

int parse_number(const char *s, uint64_t max, uint64_t *ret)
{
	unsigned long long n;
	char *end;

	/* strtoull takes signs and blanks; we don't. */
	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	errno = 0;
	n = strtoull(s, &end, 10);
	if (errno || n > max)
		return -ERANGE;
	if (*end)
		return -EINVAL;
	*ret = n;
	return 0;
}

int parse_size(const char *s, uint64_t *ret)
{
	static const char units[] = "KMGTPE";
	uint64_t whole = 0, part = 0, scale = 1;
	unsigned int shift = 0;
	const char *u;

	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	for (; isdigit((unsigned char)*s); s++) {
		if (whole > (UINT64_MAX - 9) / 10)
			return -ERANGE;
		whole = whole * 10 + (*s - '0');
	}
	if (*s == '.') {
		if (!isdigit((unsigned char)*++s))
			return -EINVAL;
		for (; isdigit((unsigned char)*s); s++) {
			if (scale >= 1000000)
				continue;
			part = part * 10 + (*s - '0');
			scale *= 10;
		}
	}
	u = *s ? strchr(units, toupper((unsigned char)*s)) : NULL;
	if (u) {
		shift = 10 * (u - units + 1);
		s++;
		if (s[0] == 'i' && toupper((unsigned char)s[1]) == 'B')
			s += 2;
	} else if (scale > 1) {
		return -EINVAL;			/* half a byte */
	} else if (!strcmp(s, "B")) {
		s++;
	}
	if (*s)
		return -EINVAL;
	if (shift && whole >> (64 - shift))
		return -ERANGE;
	whole <<= shift;
	if (scale > 1)
		whole += (uint64_t)((double)part / scale * ((uint64_t)1 << shift));
	*ret = whole;
	return 0;
}

int parse_time(const char *s, uint64_t *ret)
{
	static const char *const forms[] = { "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S",
					     "%Y-%m-%d %H:%M", "%Y-%m-%d" };
	uint64_t n;
	size_t i;

	if (*s == '@')
		return parse_number(s + 1, MAX_TIME, ret);
	if (*s == '+') {
		static const uint64_t seconds[] = { 1, 60, 3600, 86400, 7 * 86400 };
		static const char units[] = "smhdw";
		auto_free char *digits = copy_string(s + 1);
		size_t len = digits ? strlen(digits) : 0;
		const char *u = len ? strchr(units, digits[len - 1]) : NULL;

		if (!u)
			return -EINVAL;
		digits[len - 1] = 0;
		if (parse_number(digits, INT32_MAX, &n))
			return -EINVAL;
		n = time(NULL) + n * seconds[u - units];
		if (n > MAX_TIME)
			return -ERANGE;
		*ret = n;
		return 0;
	}
	for (i = 0; i < ARRAY_SIZE(forms); i++) {
		struct tm tm = { .tm_isdst = -1 };
		const char *end = strptime(s, forms[i], &tm);
		time_t t;

		if (!end || *end)
			continue;
		t = mktime(&tm);
		if (t < 0)
			return -ERANGE;
		*ret = t;
		return 0;
	}
	return -EINVAL;
}

void print_time(uint64_t seconds, bool zone, char ret[40])
{
	time_t t = seconds;
	struct tm tm;

	if (seconds > MAX_TIME || !localtime_r(&t, &tm))
		snprintf(ret, 40, "@%" PRIu64, seconds);
	else
		strftime(ret, 40, zone ? "%Y-%m-%d %H:%M:%S %z" : "%Y-%m-%d %H:%M:%S", &tm);
}

void print_size(uint64_t bytes, char ret[16])
{
	static const char units[] = "BKMGTPE";
	unsigned int u = 0;
	double d = bytes;

	while (d >= 1024 && u < sizeof(units) - 2) {
		d /= 1024;
		u++;
	}
	if (!u)
		snprintf(ret, 16, "%u", (unsigned int)bytes);
	else
		snprintf(ret, 16, d < 9.95 ? "%.1f%c" : "%.0f%c", d, units[u]);
}

static unsigned char hex_digit(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
}

int parse_hex(const char *hex, void *ret, size_t max, size_t *ret_size)
{
	size_t n = strlen(hex), i;
	unsigned char *out = ret;

	if (n % 2 || n / 2 > max)
		return -EINVAL;
	for (i = 0; i < n; i += 2) {
		if (!isxdigit((unsigned char)hex[i]) || !isxdigit((unsigned char)hex[i + 1]))
			return -EINVAL;
		out[i / 2] = hex_digit(hex[i]) << 4 | hex_digit(hex[i + 1]);
	}
	*ret_size = n / 2;
	return 0;
}

char *print_hex(const void *data, size_t size)
{
	const unsigned char *p = data;
	char *s = malloc(2 * size + 1);
	size_t i;

	if (!s)
		return NULL;
	for (i = 0; i < size; i++)
		sprintf(s + 2 * i, "%02x", p[i]);
	s[2 * size] = 0;
	return s;
}

size_t printable_length(const void *s, size_t size)
{
	const unsigned char *p = s;
	uint32_t c;
	size_t n, i;

	if (p[0] < 0x80)
		return p[0] >= 0x20 && p[0] != 0x7f;
	if (p[0] >= 0xc2 && p[0] < 0xe0)
		n = 2;
	else if ((p[0] & 0xf0) == 0xe0)
		n = 3;
	else if (p[0] >= 0xf0 && p[0] < 0xf5)
		n = 4;
	else
		return 0;
	if (n > size)
		return 0;
	c = p[0] & (0x7f >> n);
	for (i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if ((n == 3 && c < 0x800) || (n == 4 && (c < 0x10000 || c > 0x10ffff)) ||
	    (c >= 0xd800 && c < 0xe000))
		return 0;
	/* C1 controls, and what reverses the direction of writing */
	if (c < 0xa0 || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069))
		return 0;
	return n;
}

char *clean_string(const char *s)
{
	size_t size = strlen(s), n;
	char *out = malloc(4 * size + 1), *o = out;

	if (!out)
		return NULL;
	for (; size; s += n, size -= n) {
		n = printable_length(s, size);
		if (n) {
			o = mempcpy(o, s, n);
		} else {
			o += sprintf(o, "\\x%02x", (unsigned char)*s);
			n = 1;
		}
	}
	*o = 0;
	return out;
}

bool is_uuid(const char *s)
{
	uuid_t u;

	return strlen(s) == 36 && !uuid_parse(s, u);
}

void make_uuid(char ret[37])
{
	uuid_t u;

	uuid_generate_random(u);
	uuid_unparse_lower(u, ret);
}

int read_all(int fd, void *buf, size_t size, off_t offset)
{
	char *p = buf;

	while (size) {
		ssize_t n = pread(fd, p, size, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return -EIO;
		p += n;
		offset += n;
		size -= n;
	}
	return 0;
}

int write_all(int fd, const void *buf, size_t size, off_t offset)
{
	const char *p = buf;

	while (size) {
		ssize_t n = pwrite(fd, p, size, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		offset += n;
		size -= n;
	}
	return 0;
}

char *read_text(const char *path)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	char buf[4097];
	ssize_t n;

	if (fd < 0)
		return NULL;
	n = read(fd, buf, sizeof(buf) - 1);
	if (n < 0)
		return NULL;
	buf[n] = 0;
	if (n && buf[n - 1] == '\n')
		buf[n - 1] = 0;
	return strdup(buf);
}

int run_program(const char *const argv[], bool quiet)
{
	posix_spawn_file_actions_t actions;
	int status, rc;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	/* stdout carries our result only */
	if (quiet) {
		posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
		posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	} else {
		posix_spawn_file_actions_adddup2(&actions, 2, 1);
	}
	rc = posix_spawnp(&pid, argv[0], &actions, NULL, (char **)(uintptr_t)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (rc)
		return -rc;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (!WIFEXITED(status))
		return -EINTR;
	return WEXITSTATUS(status);
}
