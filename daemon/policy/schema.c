// SPDX-License-Identifier: GPL-2.0-or-later
#include "policy/schema.h"

#include <errno.h>
#include <string.h>

/* Longer than what a value may be in the end, so that convert.c can say it in words of its own. */
#define TEXT_MAX 1024

#define OPTIONAL_ENUM (CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT)
#define OPTIONAL_LIST (CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER_NULL)

#define GROUP_TEXT(key)                                                                     \
	CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_OPTIONAL, struct pile_schema_group, key, 1, \
			       TEXT_MAX)
#define MATCH_TEXT(key)                                                                     \
	CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_OPTIONAL, struct pile_schema_match, key, 1, \
			       TEXT_MAX)
#define GROUP_LIST(key)                                                                         \
	CYAML_FIELD_SEQUENCE_COUNT(#key, OPTIONAL_LIST, struct pile_schema_group, key, n_##key, \
				   &list_entry, 0, PILE_SCHEMA_LIST_MAX)
#define GROUP_ENUM(key, words)                                                      \
	CYAML_FIELD_ENUM(#key, OPTIONAL_ENUM, struct pile_schema_group, key, words, \
			 ARRAY_LEN(words))

#define ROOT_TEXT(key) \
	CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_OPTIONAL, struct pile_schema_root, key, 1, TEXT_MAX)

const cyaml_strval_t pile_schema_modes[2] = {
	{ "observe", PILE_MODE_OBSERVE },
	{ "enforce", PILE_MODE_ENFORCE },
};

const cyaml_strval_t pile_schema_workers[4] = {
	{ "unknown", PILE_WORKERS_UNKNOWN },
	{ "prefork", PILE_WORKERS_PREFORK },
	{ "threads", PILE_WORKERS_THREADS },
	{ "events", PILE_WORKERS_EVENTS },
};

const cyaml_strval_t pile_schema_places[2] = {
	{ "no", 0 },
	{ "yes", 1 },
};

const cyaml_strval_t pile_schema_fail_fasts[2] = {
	{ "at_risk", PILE_FAIL_FAST_AT_RISK },
	{ "always", PILE_FAIL_FAST_ALWAYS },
};

/* What connect() may say of itself, and clients are written to expect. */
const cyaml_strval_t pile_schema_errnos[4] = {
	{ "ECONNREFUSED", ECONNREFUSED },
	{ "ENETUNREACH", ENETUNREACH },
	{ "EHOSTUNREACH", EHOSTUNREACH },
	{ "ETIMEDOUT", ETIMEDOUT },
};

static const cyaml_schema_value_t list_entry = {
	CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 1, TEXT_MAX),
};

static const cyaml_schema_field_t match_fields[] = {
	MATCH_TEXT(exe), MATCH_TEXT(user), MATCH_TEXT(cgroup), MATCH_TEXT(port), CYAML_FIELD_END,
};

static const cyaml_schema_field_t group_fields[] = {
	CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_DEFAULT, struct pile_schema_group, name, 1,
			       TEXT_MAX),
	GROUP_TEXT(unit),
	GROUP_TEXT(cgroup),
	CYAML_FIELD_MAPPING_PTR("match", CYAML_FLAG_OPTIONAL, struct pile_schema_group, match,
				match_fields),
	GROUP_ENUM(place, pile_schema_places),
	GROUP_TEXT(listen),
	GROUP_ENUM(workers, pile_schema_workers),
	GROUP_TEXT(workers_max),
	GROUP_TEXT(memory_budget),
	GROUP_LIST(enforce),
	GROUP_ENUM(fail_fast, pile_schema_fail_fasts),
	GROUP_TEXT(dead_after),
	GROUP_TEXT(probe_every),
	GROUP_TEXT(connect_deadline),
	GROUP_ENUM(refuse_with, pile_schema_errnos),
	GROUP_LIST(exempt),
	GROUP_LIST(server_speaks_first),
	GROUP_TEXT(baseline_waiting),
	GROUP_TEXT(connections_max),
	GROUP_TEXT(shed_share),
	GROUP_LIST(shed_exempt),
	GROUP_TEXT(stop_hold),
	GROUP_TEXT(cache_life),
	CYAML_FIELD_END,
};

static const cyaml_schema_value_t group_entry = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct pile_schema_group, group_fields),
};

static const cyaml_schema_field_t root_fields[] = {
	CYAML_FIELD_ENUM_PTR("mode", OPTIONAL_ENUM, struct pile_schema_root, mode,
			     pile_schema_modes, ARRAY_LEN(pile_schema_modes)),
	ROOT_TEXT(revision),
	ROOT_TEXT(enforce_share),
	ROOT_TEXT(memory_reserve),
	ROOT_TEXT(leak_notice),
	CYAML_FIELD_SEQUENCE_COUNT("fingerprints", OPTIONAL_LIST, struct pile_schema_root,
				   fingerprints, n_fingerprints, &list_entry, 0,
				   PILE_FINGERPRINTS_MAX),
	CYAML_FIELD_SEQUENCE_COUNT("protect", OPTIONAL_LIST, struct pile_schema_root, protect,
				   n_protect, &list_entry, 0, PILE_PROTECT_MAX),
	CYAML_FIELD_SEQUENCE_COUNT("groups", OPTIONAL_LIST, struct pile_schema_root, groups,
				   n_groups, &group_entry, 0, PILE_GROUPS_MAX),
	CYAML_FIELD_END,
};

const cyaml_schema_value_t pile_schema_policy = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct pile_schema_root, root_fields),
};

/* libcyaml says what is wrong first, and where in the backtrace below it: keep the first of each.
 */
static void keep_first(cyaml_log_t level, void *ctx, const char *fmt, va_list args)
{
	struct pile_error *err = ctx;
	const char *place;
	char line[256];

	(void)level;
	if (!err)
		return;
	vsnprintf(line, sizeof(line), fmt, args);
	line[strcspn(line, "\n")] = '\0';
	place = strstr(line, "(line: ");
	if (!err->text[0])
		pile_error_set(err, EINVAL, "%s", line);
	else if (place && !err->line)
		(void)!sscanf(place, "(line: %u, column: %u)", &err->line, &err->column);
}

static cyaml_config_t config_for(struct pile_error *err)
{
	return (cyaml_config_t){
		.log_fn = keep_first,
		.log_ctx = err,
		.log_level = CYAML_LOG_ERROR,
		.mem_fn = cyaml_mem,
		.flags = CYAML_CFG_NO_ALIAS,
	};
}

int pile_schema_load(const char *text, size_t size, struct pile_schema_root **ret,
		     struct pile_error *err)
{
	struct pile_error own = { 0 };
	const cyaml_config_t config = config_for(&own);
	struct pile_schema_root *root = NULL;
	cyaml_err_t e;

	e = cyaml_load_data((const uint8_t *)text, size, &config, &pile_schema_policy,
			    (cyaml_data_t **)&root, NULL);
	if (e == CYAML_ERR_OOM)
		return pile_error_set(err, ENOMEM, "out of memory");
	if (e == CYAML_OK && root) {
		*ret = root;
		return 0;
	}
	return pile_error_set_at(err, EINVAL, NULL, own.line, own.column, "%s",
				 own.text[0] ? own.text : cyaml_strerror(e));
}

void pile_schema_free(struct pile_schema_root *root)
{
	const cyaml_config_t config = config_for(NULL);

	if (root)
		cyaml_free(&config, &pile_schema_policy, root, 0);
}
