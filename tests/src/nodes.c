// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the guest tests do with dm-shadow's nodes most often, in one process
 * each: in an emulated machine starting dmsetup, awk and their like costs more
 * than all else that a test does.
 */
#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dm.h"
#include "stamp.h"

static const char usage_text[] =
	"usage: nodes make NAME SECTORS|DEVICE TARGET [PARAMETER...]\n"
	"                                  a node with one target; a DEVICE gives its size\n"
	"       nodes drop NAME...         remove nodes, except those that don't exist\n"
	"       nodes take NAME [WORD...]  suspend, create, resume; prints the id\n"
	"       nodes takes NAME COUNT [DEVICE]\n"
	"                                  so many; before number n write n goes to block n of\n"
	"                                  DEVICE\n"
	"       nodes exempt NAME START COUNT ID...\n"
	"                                  those chunks, in each of those copies\n"
	"       nodes merge NAME ID        suspend, merge, resume\n"
	"       nodes status NAME FIELD... fields of its status, counted from 1\n"
	"       nodes ids NAME             of its copies, in one line\n"
	"       nodes listed NAME ID FIELD one field of a line of the list\n"
	"       nodes holds NAME ORIGIN AREA ID SEQ [SEED [SECTORS]]\n"
	"                                  is all of a copy write SEQ (see stomp)?\n"
	"       nodes bad-table PATTERN SECTORS|DEVICE TARGET [PARAMETER...]\n"
	"       nodes bad-message PATTERN NAME WORD...\n"
	"                                  it must be refused, for a reason that fits PATTERN\n"
	"                                  in the kernel log, and change nothing\n";

static void usage(void)
{
	fputs(usage_text, stderr);
	exit(2);
}

static char *join(char **words)
{
	size_t size = 1;
	char **w, *text;

	for (w = words; *w; w++)
		size += strlen(*w) + 1;
	text = xmalloc(size);
	for (w = words; *w; w++) {
		if (w > words)
			strcat(text, " ");
		strcat(text, *w);
	}
	return text;
}

static u64 size_of(const char *text)
{
	u64 sectors;
	int fd;

	if (*text != '/')
		return xnumber(text);
	fd = open(text, O_RDONLY);
	if (fd < 0)
		die("%s: %s", text, strerror(errno));
	sectors = device_sectors(fd);
	close(fd);
	return sectors;
}

/* As dmsetup does where no udev runs */
static void link_node(const struct dm_node *node)
{
	struct stat st;
	char path[100];

	snprintf(path, sizeof(path), "/dev/mapper/%s", node->name);
	unlink(path);
	if (stat(node->path, &st) || mknod(path, S_IFBLK | 0600, st.st_rdev))
		die("%s: %s", path, strerror(errno));
}

static int make(const char *name, const char *size, const char *target, char **words)
{
	char *params = join(words);
	struct dm_node node;
	int rc;

	rc = dm_make(&node, name, size_of(size), target, params);
	if (rc)
		die("%s: %s %s: %s", name, target, params, strerror(-rc));
	link_node(&node);
	free(params);
	return 0;
}

static int drop(char **names)
{
	struct dm_node node;
	char path[100];
	int rc, bad = 0;

	for (; *names; names++) {
		snprintf(node.name, sizeof(node.name), "%s", *names);
		rc = dm_drop(&node);
		if (rc == -ENXIO)
			continue;
		if (rc) {
			fprintf(stderr, "nodes: remove %s: %s\n", *names, strerror(-rc));
			bad = 1;
			continue;
		}
		snprintf(path, sizeof(path), "/dev/mapper/%s", *names);
		unlink(path);
	}
	return bad;
}

/* Send a message while @name is suspended; what it says is returned. */
static char *suspended(const char *name, const char *text)
{
	char *reply;
	int rc, back;

	rc = dm_suspend(name);
	if (rc)
		die("suspend %s: %s", name, strerror(-rc));
	rc = dm_message(name, &reply, "%s", text);
	back = dm_resume(name);
	if (back)
		die("resume %s: %s", name, strerror(-back));
	if (rc)
		die("%s: %s: %s", name, text, strerror(-rc));
	return reply;
}

static char *take(const char *name, char **words)
{
	char uuid[40] = "", text[8192];
	int fd = open("/proc/sys/kernel/random/uuid", O_RDONLY);

	if (fd < 0 || read(fd, uuid, 36) != 36)
		die("no uuid");
	close(fd);
	snprintf(text, sizeof(text), "create %s %s", uuid, join(words));
	return suspended(name, text);
}

static int takes(const char *name, u32 count, const char *device)
{
	int fd = device ? open_device(device, O_RDWR) : -1, rc;
	char *none[] = { NULL };
	u8 *buf = xbuffer(4096);
	u32 i;

	for (i = 1; i <= count; i++) {
		stamp(buf, 1, 8 * i, 8, i);
		rc = device ? write_sectors(fd, buf, 8 * i, 8) : 0;
		if (rc)
			die("%s: %s", device, strerror(-rc));
		free(take(name, none));
	}
	free(buf);
	return 0;
}

static int exempt(const char *name, const char *start, const char *count, char **ids)
{
	int rc;

	for (; *ids; ids++) {
		rc = dm_message(name, NULL, "exempt %s begin", *ids) ?:
		     dm_message(name, NULL, "exempt %s run %s %s", *ids, start, count) ?:
		     dm_message(name, NULL, "exempt %s end", *ids);
		if (rc)
			die("%s: exempt %s: %s", name, *ids, strerror(-rc));
	}
	return 0;
}

static int status(const char *name, char **fields)
{
	char **f;

	for (f = fields; *f; f++)
		printf("%s%s", f > fields ? " " : "", dm_field(name, xnumber(*f)));
	puts("");
	return 0;
}

/* A line of the list in words: 12 of them, @id 0 for the whole list. */
static char *list(const char *name, const char *id)
{
	char *text;
	int rc;

	rc = dm_message(name, &text, "list%s%s", id ? " " : "", id ?: "");
	if (rc)
		die("%s: list %s: %s", name, id ?: "", strerror(-rc));
	return text ?: strdup("");
}

static int ids(const char *name)
{
	char *line, *save, *text = list(name, NULL);
	const char *gap = "";

	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		printf("%s%d", gap, atoi(line));
		gap = " ";
	}
	puts("");
	return 0;
}

static char *listed(const char *name, const char *id, u64 field)
{
	char *word, *save, *text = list(name, id);

	for (word = strtok_r(text, " \n", &save); word && --field; )
		word = strtok_r(NULL, " \n", &save);
	if (!word)
		die("%s: list %s has no such field", name, id);
	return word;
}

static int holds(char **a, u64 seed, const char *sectors)
{
	u64 size = xnumber(sectors ?: listed(a[0], a[3], 6)), at, n, i;
	u8 *buf = xbuffer(MIB);
	u32 seq = xnumber(a[4]);
	struct dm_node node;
	char text[400];
	int fd, rc;

	snprintf(text, sizeof(text), "%s %s %s", a[1], a[2], a[3]);
	rc = dm_make(&node, "nodes-holds", size, "shadow", text);
	if (rc)
		die("copy %s can't be opened: %s", a[3], strerror(-rc));
	fd = open_device(node.path, O_RDONLY);
	*text = 0;
	for (at = 0; at < size && !*text; at += n) {
		n = min(size - at, (u64)MIB / SECTOR);
		rc = read_sectors(fd, buf, at, n);
		if (rc)
			snprintf(text, sizeof(text), "copy %s, sector %llu: %s", a[3],
				 (unsigned long long)at, strerror(-rc));
		for (i = 0; !rc && i < n && stamp_is(buf + i * SECTOR, seed, at + i, seq); i++)
			;
		if (!rc && i < n) {
			char found[100];

			snprintf(text, sizeof(text),
				 "MISMATCH copy %s, sector %llu: expected write %u, found %s", a[3],
				 (unsigned long long)(at + i), seq,
				 stamp_describe(buf + i * SECTOR, seed, at + i, found,
						sizeof(found)));
		}
	}
	close(fd);
	rc = dm_drop(&node);
	if (*text)
		die("%s", text);
	if (rc)
		die("copy %s: remove: %s", a[3], strerror(-rc));
	free(buf);
	return 0;
}

/* --- refusals --------------------------------------------------------------- */

/* The kernel log from now on */
static int log_tail(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);

	if (fd < 0)
		die("/dev/kmsg: %s", strerror(errno));
	lseek(fd, 0, SEEK_END);
	return fd;
}

/* Has something been said since that fits @pattern?  Dies if not. */
static void said(int fd, const char *pattern, const char *what)
{
	char record[9000], all[4000] = "", *text, *end;
	bool found = false;
	regex_t regex;
	ssize_t n;

	if (regcomp(&regex, pattern, REG_EXTENDED | REG_ICASE | REG_NOSUB))
		die("strange pattern %s", pattern);
	while ((n = read(fd, record, sizeof(record) - 1)) > 0) {
		record[n] = 0;
		text = strchr(record, ';');
		if (!text)
			continue;
		end = strchr(++text, '\n');
		if (end)
			*end = 0;
		found |= !regexec(&regex, text, 0, NULL, 0);
		if (strlen(all) + strlen(text) + 4 < sizeof(all)) {
			strcat(all, "\n  ");
			strcat(all, text);
		}
	}
	close(fd);
	if (!found)
		die("'%s' was refused, as it should be, but the kernel log has nothing like "
		    "/%s/:%s", what, pattern, *all ? all : " nothing");
}

static int bad_table(const char *pattern, const char *size, const char *target, char **words)
{
	char *params = join(words), text[1000];
	int fd = log_tail(), rc;
	struct dm_node node;

	snprintf(text, sizeof(text), "%s %s", target, params);
	rc = dm_make(&node, "nodes-bad", size_of(size), target, params);
	if (!rc) {
		dm_drop(&node);
		die("the table '%s' was taken", text);
	}
	said(fd, pattern, text);
	return 0;
}

static char *snapshot(const char *name)
{
	char *copies = list(name, NULL), *text = xmalloc(strlen(copies) + 200);

	sprintf(text, "%s %s %s %s %s %s", copies, dm_field(name, 1), dm_field(name, 5),
		dm_field(name, 9), dm_field(name, 10), dm_field(name, 11));
	return text;
}

static int bad_message(const char *pattern, const char *name, char **words)
{
	char *before = snapshot(name), *after, *text = join(words);
	int fd = log_tail(), rc;

	rc = dm_message(name, NULL, "%s", text);
	if (!rc)
		die("the message '%.200s' was taken", text);
	said(fd, pattern, text);
	after = snapshot(name);
	if (strcmp(before, after))
		die("the refused message '%s' changed something: from\n%s\nto\n%s", text, before,
		    after);
	return 0;
}

int main(int argc, char **argv)
{
	const char *c = argc > 1 ? argv[1] : "";
	char **a = argv + 2;

	argc -= 2;
	if (!strcmp(c, "make") && argc >= 3)
		return make(a[0], a[1], a[2], a + 3);
	if (!strcmp(c, "drop"))
		return drop(a);
	if (!strcmp(c, "take") && argc >= 1)
		return puts(take(a[0], a + 1)) < 0;
	if (!strcmp(c, "takes") && (argc == 2 || argc == 3))
		return takes(a[0], xnumber(a[1]), argc == 3 ? a[2] : NULL);
	if (!strcmp(c, "exempt") && argc >= 4)
		return exempt(a[0], a[1], a[2], a + 3);
	if (!strcmp(c, "merge") && argc == 2)
		return free(suspended(a[0], join((char *[]) { "merge", a[1], NULL }))), 0;
	if (!strcmp(c, "status") && argc >= 2)
		return status(a[0], a + 1);
	if (!strcmp(c, "ids") && argc == 1)
		return ids(a[0]);
	if (!strcmp(c, "listed") && argc == 3)
		return puts(listed(a[0], a[1], xnumber(a[2]))) < 0;
	if (!strcmp(c, "holds") && argc >= 5 && argc <= 7)
		return holds(a, argc > 5 ? xnumber(a[5]) : 1, argc > 6 ? a[6] : NULL);
	if (!strcmp(c, "bad-table") && argc >= 3)
		return bad_table(a[0], a[1], a[2], a + 3);
	if (!strcmp(c, "bad-message") && argc >= 3)
		return bad_message(a[0], a[1], a + 2);
	usage();
}
