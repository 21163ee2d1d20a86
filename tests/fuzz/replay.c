// SPDX-License-Identifier: GPL-2.0-only
/* Run a target on files and on all files of folders, without libFuzzer. */
#define _GNU_SOURCE
#include "fuzz.h"
#include <ftw.h>

static unsigned int nr_inputs;

static int run(const char *path, const struct stat *st __always_unused, int type)
{
	static uint8_t data[1 << 20];
	uint8_t *exact;
	size_t size;
	FILE *f;

	if (type != FTW_F)
		return 0;
	f = fopen(path, "rb");
	if (!f)
		return -1;
	size = fread(data, 1, sizeof(data), f);
	fclose(f);
	/* Its own allocation, for the sanitizer to know its end. */
	exact = malloc(size + !size);
	memcpy(exact, data, size);
	LLVMFuzzerTestOneInput(exact, size);
	free(exact);
	nr_inputs++;
	return 0;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (ftw(argv[i], run, 16)) {
			perror(argv[i]);
			return 1;
		}
	}
	printf("%s: %u inputs\n", argv[0], nr_inputs);
	return 0;
}

/* Only libFuzzer mutates. */
size_t LLVMFuzzerMutate(uint8_t *data __always_unused, size_t size,
			size_t max_size __always_unused)
{
	return size;
}
