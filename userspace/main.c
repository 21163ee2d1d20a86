// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * shadowctl: global options, the table of commands, the exit status.
 *
 * Options and number of arguments are checked here against the command's table
 * before its handler runs; the handler returns -errno, and only main() makes an
 * exit status of it.  The parser is ours because getopt_long() takes any
 * unambiguous beginning of an option's name, which freezes the name space.
 */
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "cmd.h"

#ifndef VERSION
#define VERSION "unknown"
#endif

static const struct command *const commands[] = {
	&cmd_attach, &cmd_detach, &cmd_activate, &cmd_deactivate,
	&cmd_create, &cmd_list, &cmd_show, &cmd_status,
	&cmd_mount, &cmd_unmount, &cmd_delete, &cmd_rename, &cmd_lock, &cmd_unlock,
	&cmd_merge, &cmd_scrub,
	&cmd_storage, &cmd_storage_list, &cmd_storage_limit, &cmd_storage_resize,
	&cmd_storage_policy,
	&cmd_format, &cmd_check, &cmd_dump,
};

enum global { GLOBAL_FORMAT, GLOBAL_QUIET, GLOBAL_VERBOSE, GLOBAL_HELP, GLOBAL_VERSION,
	      GLOBAL_WORDS };

static const struct cmd_option global_options[] = {
	[GLOBAL_FORMAT] = { "output-format", 'o', "text|json", "how results are printed" },
	[GLOBAL_QUIET] = { "quiet", 'q', NULL, "results, warnings and errors only" },
	[GLOBAL_VERBOSE] = { "verbose", 'v', NULL, "say what is done" },
	[GLOBAL_HELP] = { "help", 0, NULL, "this text, or the command's" },
	[GLOBAL_VERSION] = { "version", 0, NULL, "print the version" },
	[GLOBAL_WORDS] = { "words", 0, NULL, NULL },	/* for the completion */
	{ NULL, 0, NULL, NULL }
};

static const struct {
	int err, status;
} exit_table[] = {
	{ 0, 0 },
	{ EINVAL, 1 }, { ERANGE, 1 }, { ECANCELED, 1 }, { EOPNOTSUPP, 1 }, { ENAMETOOLONG, 1 },
	{ EPERM, 2 }, { EACCES, 2 },
	{ ENOMEM, 3 },
	{ ENODEV, 4 }, { ENOENT, 4 }, { ENXIO, 4 }, { ENOTBLK, 4 }, { ENOTDIR, 4 },
	{ ESTALE, 4 }, { EPROTONOSUPPORT, 4 },
	{ EBUSY, 5 }, { EEXIST, 5 }, { EAGAIN, 5 }, { ETXTBSY, 5 }, { ETIMEDOUT, 5 },
	{ EALREADY, 5 },
	{ EUCLEAN, 6 }, { EBADMSG, 6 }, { EILSEQ, 6 },
	{ ENOSPC, 7 }, { EFBIG, 7 }, { EDQUOT, 7 },
	{ EIO, 8 },
};

static int exit_status(int rc)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(exit_table); i++)
		if (exit_table[i].err == -rc)
			return exit_table[i].status;
	return 8;
}

/* --- usage --- */

static void print_options(FILE *f, const struct cmd_option *o)
{
	for (; o && o->name; o++) {
		char left[64], letter[8] = "";

		if (!o->help)
			continue;
		if (o->letter)
			snprintf(letter, sizeof(letter), ", -%c", o->letter);
		snprintf(left, sizeof(left), "--%s%s%s%s", o->name, o->argument ? " " : "",
			 o->argument ? o->argument : "", letter);
		fprintf(f, "  %-30s %s\n", left, o->help);
	}
}

static void print_usage(FILE *f)
{
	size_t i;

	fputs("Usage: shadowctl [GLOBAL OPTIONS] COMMAND [OPTIONS] ARGUMENTS\n\n"
	      "Shadow copies of live volumes.\n\nCommands:\n", f);
	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		char left[64];

		snprintf(left, sizeof(left), "%s %s", commands[i]->name, commands[i]->arguments);
		fprintf(f, "  %-34s %s\n", left, commands[i]->help);
	}
	fputs("\nGlobal options:\n", f);
	print_options(f, global_options);
	fputs("\nshadowctl COMMAND --help tells a command's options; see also shadowctl(8).\n", f);
}

static void print_command_usage(FILE *f, const struct command *c)
{
	fprintf(f, "Usage: shadowctl %s%s%s%s\n\n%c%s.\n", c->name,
		c->options && c->options->name ? " [OPTIONS]" : "", *c->arguments ? " " : "",
		c->arguments, c->help[0] - 'a' + 'A', c->help + 1);
	if (c->options && c->options->name) {
		fputs("\nOptions:\n", f);
		print_options(f, c->options);
	}
	fputs("\nGlobal options:\n", f);
	print_options(f, global_options);
}

/* A line for each command: its name, a tab, its options; for the completion. */
static void print_words(void)
{
	const struct cmd_option *o;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		printf("%s\t", commands[i]->name);
		for (o = commands[i]->options; o && o->name; o++)
			printf("--%s%s ", o->name, o->argument ? "=" : "");
		putchar('\n');
	}
	printf("-\t");
	for (o = global_options; o->name; o++)
		if (o->help)
			printf("--%s%s ", o->name, o->argument ? "=" : "");
	putchar('\n');
}

/* --- the command line --- */

const char *option(const struct request *r, const char *name)
{
	const struct cmd_option *o = r->command->options;
	int i;

	for (i = 0; o && o[i].name; i++)
		if (!strcmp(o[i].name, name))
			return r->values[i];
	abort();			/* a handler asks for what it does not have */
}

bool given(const struct request *r, const char *name)
{
	return option(r, name) != NULL;
}

/* @word is "--name", "--name=value" or "-x[value]". */
static const struct cmd_option *match_option(const struct cmd_option *table, const char *word,
					     const char **ret_value)
{
	const struct cmd_option *o;
	size_t len;

	for (o = table; o && o->name; o++) {
		len = strlen(o->name);
		if (word[1] == '-' && !strncmp(word + 2, o->name, len) &&
		    (!word[2 + len] || word[2 + len] == '=')) {
			*ret_value = word[2 + len] ? word + 3 + len : NULL;
			return o;
		}
		if (word[1] != '-' && o->letter && word[1] == o->letter) {
			*ret_value = word[2] ? word + 2 : NULL;
			return o;
		}
	}
	return NULL;
}

struct line {
	int argc;
	char **argv;
	int at;
	bool help, version, words;
};

/* Take the option at l->at from @table.  1: taken, 0: not in it, -errno. */
static int take_option(struct line *l, const struct cmd_option *table, const char **values)
{
	const char *word = l->argv[l->at], *value;
	const struct cmd_option *o = match_option(table, word, &value);

	if (!o)
		return 0;
	if (!o->argument && value)
		return refuse(EINVAL, "%s: option takes no value", word);
	if (o->argument && !value) {
		if (l->at + 1 >= l->argc)
			return refuse(EINVAL, "%s: option needs a value: %s", word, o->argument);
		value = l->argv[++l->at];
	}
	l->at++;
	if (table != global_options) {
		if (values[o - table])
			return refuse(EINVAL, "--%s: given twice", o->name);
		values[o - table] = value ? value : "";
		return 1;
	}
	switch (o - table) {
	case GLOBAL_FORMAT:
		if (!strcmp(value, "json"))
			output_format = FORMAT_JSON;
		else if (!strcmp(value, "text"))
			output_format = FORMAT_TEXT;
		else
			return refuse(EINVAL, "%s: no such output format, text and json are", value);
		break;
	case GLOBAL_QUIET:
		verbosity = -1;
		break;
	case GLOBAL_VERBOSE:
		verbosity = 1;
		break;
	case GLOBAL_HELP:
		l->help = true;
		break;
	case GLOBAL_VERSION:
		l->version = true;
		break;
	case GLOBAL_WORDS:
		l->words = true;
		break;
	}
	return 1;
}

static bool is_option(const char *word)
{
	return word[0] == '-' && word[1];
}

static const struct command *find_command(struct line *l)
{
	const char *first = l->argv[l->at];
	size_t i, len = strlen(first);

	/* Names of two words first */
	if (l->at + 1 < l->argc) {
		for (i = 0; i < ARRAY_SIZE(commands); i++) {
			const char *name = commands[i]->name;

			if (!strncmp(name, first, len) && name[len] == ' ' &&
			    !strcmp(name + len + 1, l->argv[l->at + 1])) {
				l->at += 2;
				return commands[i];
			}
		}
	}
	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!strcmp(commands[i]->name, first)) {
			l->at++;
			return commands[i];
		}
	}
	return NULL;
}

static int parse_request(struct line *l, struct request *r)
{
	bool only_args = false;
	int rc;

	r->args = calloc(l->argc + 1, sizeof(*r->args));
	if (!r->args)
		return -ENOMEM;
	while (l->at < l->argc) {
		char *word = l->argv[l->at];

		if (!only_args && !strcmp(word, "--")) {
			only_args = true;
			l->at++;
			continue;
		}
		if (only_args || !is_option(word)) {
			r->args[r->nr_args++] = word;
			l->at++;
			continue;
		}
		rc = take_option(l, r->command->options, r->values);
		if (!rc)
			rc = take_option(l, global_options, NULL);
		if (rc < 0)
			return rc;
		if (!rc)
			return refuse(EINVAL, "%s: %s has no such option, see shadowctl %s --help",
				      word, r->command->name, r->command->name);
	}
	if (l->help)
		return 0;
	if (r->nr_args < r->command->min_args)
		return refuse(EINVAL, "%s: too few arguments, wanted: %s", r->command->name,
			      r->command->arguments);
	if (r->nr_args > r->command->max_args)
		return refuse(EINVAL, "%s: too many arguments, wanted: %s", r->command->name,
			      *r->command->arguments ? r->command->arguments : "none");
	return 0;
}

static int run(int argc, char **argv)
{
	struct line l = { .argc = argc, .argv = argv, .at = 1 };
	struct request r = { 0 };
	int rc;

	while (l.at < argc && is_option(argv[l.at])) {
		rc = take_option(&l, global_options, NULL);
		if (rc < 0)
			return rc;
		if (!rc)
			return refuse(EINVAL, "%s: no such option, see shadowctl --help", argv[l.at]);
	}
	if (l.version) {
		puts("shadowctl " VERSION);
		return 0;
	}
	if (l.words) {
		print_words();
		return 0;
	}
	if (l.at >= argc) {
		if (!l.help)
			return refuse(EINVAL, "no command given, see shadowctl --help");
		print_usage(stdout);
		return 0;
	}
	r.command = find_command(&l);
	if (!r.command)
		return refuse(EINVAL, "%s: no such command, see shadowctl --help", argv[l.at]);
	rc = parse_request(&l, &r);
	if (!rc && l.help)
		print_command_usage(stdout, r.command);
	else if (!rc)
		rc = r.command->run(&r);
	free(r.args);
	return rc;
}

int main(int argc, char **argv)
{
	int rc;

	setlocale(LC_ALL, "");
	rc = run(argc, argv);
	if (rc && !has_refused())
		warn("%s", strerror(-rc));
	if (fflush(stdout) || ferror(stdout)) {
		warn("standard output: cannot be written, the result is lost");
		rc = rc ? rc : -EIO;
	}
	return exit_status(rc);
}
