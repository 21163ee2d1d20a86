// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * scrub: all saved data of a volume is read and compared with its checksums.
 *
 * The kernel does it, by itself once begun; here it is started, watched, stopped.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cmd.h"
#include "output.h"
#include "volume.h"

#define POLL_MS 500
#define DEFAULT_RATE_KIB (32u << 10)

static const struct cmd_option scrub_options[] = {
	{ "rate", 0, "SIZE", "read no more than that a second, 0: no limit; 32M if not given" },
	{ "no-wait", 0, NULL, "return at once, the scrub goes on" },
	{ "progress", 0, NULL, "show progress even if this is no terminal" },
	{ "status", 0, NULL, "tell how far the scrub is, or how the last one ended, and no more" },
	{ "stop", 0, NULL, "end a scrub that is under way" },
	{ NULL, 0, NULL, NULL }
};

static unsigned int percent(const struct status *s)
{
	return s->scrub_total ? 100.0 * s->scrub_done / s->scrub_total : 0;
}

/* --- waiting --- */

static void print_event(const char *event, const char *volume, const struct status *s)
{
	static const char *const keys[] = { "done", "total", "bytes", "damaged_chunks" };
	const uint64_t values[] = {
		s->scrub_done, s->scrub_total, s->scrub_kib << 10, s->scrub_damaged
	};

	output_event(event, volume, keys, values, ARRAY_SIZE(keys));
}

static void print_line(const struct status *s)
{
	char bytes[16];

	print_size(s->scrub_kib << 10, bytes);
	fprintf(stderr, "\rscrubbing: %3u%%, %s verified", percent(s), bytes);
	if (s->scrub_damaged)
		fprintf(stderr, ", %" PRIu64 " chunks are damaged", s->scrub_damaged);
	fputs("\033[K", stderr);
	fflush(stderr);
}

/* What the end of it means. */
static int judge(const char *node, const struct status *s)
{
	char bytes[16];

	print_size(s->scrub_kib << 10, bytes);
	if (s->scrub_damaged)
		return refuse(EILSEQ, "%s: %" PRIu64 " chunks of saved data are damaged, see shadowctl list",
			      node, s->scrub_damaged);
	if (!strcmp(s->scrub_state, "stopped"))
		return refuse(EINTR, "%s: the scrub was stopped at %u%%", node, percent(s));
	if (strcmp(s->scrub_state, "done"))
		return refuse(EIO, "%s: the scrub ended at %u%%: the diff area failed, or the volume was deactivated",
			      node, percent(s));
	inform("%s: %s of saved data are verified, there is no damage", node, bytes);
	return 0;
}

/* Until it is over.  The kernel needs nobody to wait. */
static int wait_for_scrub(const struct request *r, const char *node)
{
	bool json = output_format == FORMAT_JSON || (given(r, "progress") && !isatty(STDERR_FILENO));
	bool line = !json && verbosity >= 0 && isatty(STDERR_FILENO);
	struct timespec nap = { .tv_nsec = POLL_MS * 1000000L };
	struct status s, last = { 0 };
	int rc;

	for (;;) {
		rc = volume_status(node, &s);
		if (rc)
			return refuse(-rc, "%s: no status: %s", node, node_why());
		if (strcmp(s.scrub_state, "running"))
			break;
		if (json && (s.scrub_done != last.scrub_done || s.scrub_kib != last.scrub_kib))
			print_event("scrubbing", node, &s);
		else if (line)
			print_line(&s);
		last = s;
		nanosleep(&nap, NULL);
	}
	if (line)
		fputs("\r\033[K", stderr);
	if (json)
		print_event("scrubbed", node, &s);
	return judge(node, &s);
}

/* --- scrub --status --- */

enum { F_VOLUME, F_STATE, F_DONE, F_TOTAL, F_PERCENT, F_BYTES, F_DAMAGED };

static const struct field fields[] = {
	[F_VOLUME] = { "volume", "Volume", FIELD_TEXT, IN_BOTH },
	[F_STATE] = { "state", "Scrub", FIELD_TEXT, IN_BOTH },
	[F_DONE] = { "done", "Chunks done", FIELD_NUMBER, IN_BOTH },
	[F_TOTAL] = { "total", "Chunks", FIELD_NUMBER, IN_BOTH },
	[F_PERCENT] = { "percent", "Percent", FIELD_PERCENT, IN_BOTH },
	[F_BYTES] = { "bytes", "Verified", FIELD_BYTES, IN_BOTH },
	[F_DAMAGED] = { "damaged_chunks", "Damaged chunks", FIELD_NUMBER, IN_BOTH },
};

static int print_scrub_status(const struct volume *v)
{
	const struct status *s = &v->status;
	struct output *o = output_new("scrub", fields, ARRAY_SIZE(fields), OUTPUT_ONE);

	output_record(o);
	output_text(o, F_VOLUME, v->node.name);
	output_text(o, F_STATE, s->scrub_state);
	if (strcmp(s->scrub_state, "none")) {
		output_number(o, F_DONE, s->scrub_done);
		output_number(o, F_TOTAL, s->scrub_total);
		output_number(o, F_PERCENT, percent(s));
		output_number(o, F_BYTES, s->scrub_kib << 10);
		output_number(o, F_DAMAGED, s->scrub_damaged);
	}
	return output_print(o);
}

/* --- scrub --- */

static int check_options(const struct request *r, uint32_t *ret_kib)
{
	const char *rate = option(r, "rate");
	bool start = rate || given(r, "no-wait") || given(r, "progress");
	uint64_t bytes;

	if (given(r, "status") + given(r, "stop") + start > 1)
		return refuse(EINVAL, "--status and --stop go with no other option");
	*ret_kib = DEFAULT_RATE_KIB;
	if (!rate)
		return 0;
	if (parse_size(rate, &bytes) || (bytes && bytes < 1024) || bytes >> 10 > UINT32_MAX)
		return refuse(EINVAL, "--rate: %s: wanted a size of 1K or more, or 0", rate);
	*ret_kib = bytes >> 10;
	return 0;
}

static int run_scrub(const struct request *r)
{
	struct volumes all = { 0 };
	struct volume *v;
	uint32_t kib;
	int rc;

	rc = check_options(r, &kib);
	if (rc)
		return rc;
	rc = volumes_load(&all);
	if (!rc)
		rc = volumes_get(&all, r->args[0], &v);
	if (rc)
		goto out;
	if (given(r, "status")) {
		rc = print_scrub_status(v);
		goto out;
	}
	if (given(r, "stop")) {
		rc = node_message(v->node.name, NULL, "scrub stop");
		if (rc)
			refuse(-rc, "%s: the scrub is not stopped: %s", v->node.name, node_why());
		goto out;
	}
	rc = node_message(v->node.name, NULL, "scrub start %u", kib);
	if (rc == -EALREADY)
		rc = refuse(EBUSY, "%s: a scrub is under way already", v->node.name);
	else if (rc)
		refuse(-rc, "%s: is not scrubbed: %s", v->node.name, node_why());
	if (!rc && !given(r, "no-wait"))
		rc = wait_for_scrub(r, v->node.name);
out:
	volumes_free(&all);
	return rc;
}

const struct command cmd_scrub = {
	"scrub", "VOLUME", 1, 1, "verify all saved data of a volume", scrub_options, run_scrub
};
