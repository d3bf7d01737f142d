// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Any bytes as a policy: the loader accepts or refuses with a place and a sentence, and what it
 * accepts reads back. With clang -fsanitize=fuzzer -DPILE_FUZZ_ENGINE: a fuzzer. Without: a runner
 * of the files given as arguments.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "policy/load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "broken: %s\n", what);
	abort();
}

static void check_refusal(int r, const struct pile_error *err)
{
	expect(r == -EINVAL || r == -EFBIG, "a refusal is -EINVAL or -EFBIG");
	expect(err->text[0], "a refusal says why");
	expect(r == -EFBIG || (err->line && err->column), "a refusal says where");
}

static void check_acceptance(const struct pile_policy *policy)
{
	static struct pile_policy again;
	struct pile_error err = { 0 };
	char *text = NULL;

	expect(pile_load_format(policy, &text) == 0, "what was read can be written");
	expect(pile_load_text(text, strlen(text), "again", &again, &err) == 0,
	       "what was written can be read");
	expect(!strcmp(policy->hash, again.hash), "the hash stays");
	expect(!memcmp(policy->groups, again.groups, sizeof(again.groups)), "the groups stay");
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct pile_policy policy;
	struct pile_error err = { 0 };
	int r = pile_load_text((const char *)data, size, "fuzz", &policy, &err);

	if (r < 0)
		check_refusal(r, &err);
	else
		check_acceptance(&policy);
	return 0;
}

#ifndef PILE_FUZZ_ENGINE
int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		struct pile_error err = { 0 };
		char *text = NULL;
		size_t size;

		if (pile_files_read_one(AT_FDCWD, argv[i], PILE_FILES_SIZE_MAX, &text, &size,
					&err) < 0) {
			fprintf(stderr, "%s: %s\n", argv[i], err.text);
			return EXIT_FAILURE;
		}
		LLVMFuzzerTestOneInput((const uint8_t *)text, size);
		free(text);
	}
	printf("fuzz_policy: %d inputs ok\n", argc - 1);
	return EXIT_SUCCESS;
}
#endif
