// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * shadowctl's offline parts, for the scripts beside: see usage().  Prints
 * numbers and names an error by its negative number; exit status 1 then.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>

#include "area.h"
#include "complete.h"
#include "ntfs.h"

static int usage(void)
{
	fputs("offline.bin info PATH\n"
	      "offline.bin exempt PATH CHUNK-SECTORS 1|2|3\n"
	      "offline.bin used PATH GAP\n"
	      "offline.bin fingerprint PATH MAX\n"
	      "offline.bin compare PATH PATH		used runs of the first\n"
	      "offline.bin complete SOURCE TARGET UUID-BYTE [rate=N] [meta=TEXT] [stop=BYTES]\n"
	      "	[corrupt=OFFSET] [force] [all]\n"
	      "offline.bin unfinished TARGET\n"
	      "offline.bin abandon TARGET\n", stderr);
	return 2;
}

static int print_pair(void *context, uint64_t a, uint64_t b)
{
	(void)context;
	printf("%" PRIu64 " %" PRIu64 "\n", a, b);
	return 0;
}

static int info(const char *path)
{
	struct ntfs_info n;
	struct fs_info f;
	uint64_t count = 0;
	int r;

	r = fs_info(path, &f);
	if (r)
		return r;
	printf("type=%s\nlabel=%s\nuuid=%s\n", f.type, f.label, f.uuid);
	r = ntfs_info(path, &n);
	if (!r)
		r = ntfs_free_clusters(path, &count);
	if (r)
		return r;
	printf("ntfs_label=%s\nserial=%016" PRIX64 "\ncluster=%u\nclusters=%" PRIu64 "\n"
	       "free=%" PRIu64 "\nbytes=%" PRIu64 "\ndirty=%d\nlog_clean=%d\nhibernated=%d\n"
	       "version=%d.%d\n", n.label, n.serial, n.cluster_bytes, n.clusters, count, n.bytes,
	       n.dirty, n.log_clean, n.hibernated, n.major, n.minor);
	return 0;
}

static uint64_t file_bytes(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	u64 bytes = 0;

	if (fd >= 0) {
		area_device_bytes(fd, &bytes);
		close(fd);
	}
	return bytes;
}

static int fingerprint(const char *path, unsigned int max)
{
	uint64_t *block = calloc(max + 1, sizeof(*block));
	int n, i;

	n = ntfs_fingerprint_blocks(path, block, max);
	for (i = 0; i < n; i++)
		printf("%" PRIu64 "\n", block[i]);
	free(block);
	return n < 0 ? n : 0;
}

static int compare_fd[2];

static int compare_run(void *context, uint64_t offset, uint64_t length)
{
	static char a[1 << 16], b[1 << 16];
	uint64_t *bytes = context;
	size_t n;

	for (; length; offset += n, length -= n) {
		n = length < sizeof(a) ? length : sizeof(a);
		if (area_pread(compare_fd[0], a, n, offset) ||
		    area_pread(compare_fd[1], b, n, offset))
			return -EIO;
		if (memcmp(a, b, n)) {
			printf("differs within %zu bytes from %" PRIu64 "\n", n, offset);
			return -EILSEQ;
		}
		*bytes += n;
	}
	return 0;
}

static int compare(const char *a, const char *b)
{
	uint64_t bytes = 0;
	int r;

	compare_fd[0] = open(a, O_RDONLY);
	compare_fd[1] = open(b, O_RDONLY);
	r = ntfs_used_runs(a, file_bytes(a), 0, compare_run, &bytes);
	if (!r)
		printf("%" PRIu64 "\n", bytes);
	return r;
}

struct script {
	const char *target;
	uint64_t stop;
	int64_t corrupt;
	bool verified;
};

static int on_progress(void *context, const struct complete_progress *p)
{
	struct script *s = context;
	char byte;
	int fd;

	s->verified |= p->phase == COMPLETE_VERIFYING;
	if (s->corrupt >= 0 && p->done_bytes > (uint64_t)s->corrupt) {
		/* As if the device had written something else. */
		fd = open(s->target, O_RDWR);
		if (fd < 0 || area_pread(fd, &byte, 1, (uint64_t)s->corrupt))
			return -EIO;
		byte = ~byte;
		if (area_pwrite(fd, &byte, 1, (uint64_t)s->corrupt))
			return -EIO;
		close(fd);
		s->corrupt = -1;
	}
	return s->stop && p->done_bytes >= s->stop ? -EINTR : 0;
}

static int complete(int argc, char **argv)
{
	struct script script = { .target = argv[1], .corrupt = -1 };
	struct complete_params p = { .source = argv[0], .target = argv[1],
				     .progress = on_progress, .context = &script };
	struct complete_result result;
	int i, r;

	memset(p.uuid, atoi(argv[2]), sizeof(p.uuid));
	for (i = 3; i < argc; i++) {
		if (!strncmp(argv[i], "rate=", 5))
			p.bytes_per_second = strtoull(argv[i] + 5, NULL, 0);
		else if (!strncmp(argv[i], "meta=", 5))
			p.meta = argv[i] + 5;
		else if (!strncmp(argv[i], "stop=", 5))
			script.stop = strtoull(argv[i] + 5, NULL, 0);
		else if (!strncmp(argv[i], "corrupt=", 8))
			script.corrupt = strtoll(argv[i] + 8, NULL, 0);
		else if (!strcmp(argv[i], "force"))
			p.force = true;
		else if (!strcmp(argv[i], "all"))
			p.all = true;
		else
			return usage();
	}
	r = complete_copy(&p, &result);
	if (r) {
		printf("why=%s\n", complete_why());
		return r;
	}
	printf("copied=%" PRIu64 "\ntotal=%" PRIu64 "\nresumed=%d\nused_by=%s\nverified=%d\n",
	       (uint64_t)result.copied_bytes, (uint64_t)result.total_bytes, result.resumed,
	       result.used_by, script.verified);
	return 0;
}

static int unfinished(const char *target)
{
	u8 uuid[16];
	int r;

	r = complete_unfinished(target, uuid);
	if (r > 0)
		printf("%d\n", uuid[0]);
	return r > 0 ? 0 : r < 0 ? r : -ENOENT;
}

int main(int argc, char **argv)
{
	int r;

	if (argc < 3)
		return usage();
	if (!strcmp(argv[1], "info"))
		r = info(argv[2]);
	else if (!strcmp(argv[1], "exempt") && argc == 5)
		r = ntfs_exempt(argv[2], (uint32_t)atoi(argv[3]), (unsigned int)atoi(argv[4]),
				print_pair, NULL);
	else if (!strcmp(argv[1], "used") && argc == 4)
		r = ntfs_used_runs(argv[2], file_bytes(argv[2]), strtoull(argv[3], NULL, 0),
				   print_pair, NULL);
	else if (!strcmp(argv[1], "fingerprint") && argc == 4)
		r = fingerprint(argv[2], (unsigned int)atoi(argv[3]));
	else if (!strcmp(argv[1], "compare") && argc == 4)
		r = compare(argv[2], argv[3]);
	else if (!strcmp(argv[1], "complete") && argc >= 5)
		r = complete(argc - 2, argv + 2);
	else if (!strcmp(argv[1], "unfinished"))
		r = unfinished(argv[2]);
	else
		return usage();
	if (r)
		printf("error=%d\n", r);
	return r != 0;
}
