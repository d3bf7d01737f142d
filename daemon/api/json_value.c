// SPDX-License-Identifier: GPL-2.0-or-later
#include "api/json_value.h"

#include <string.h>
#include <time.h>

/* Nine digits: microseconds over a quarter of an hour, and no 0.29999999999999999. */
#define DUMP_FLAGS (JSON_COMPACT | JSON_REAL_PRECISION(9) | JSON_ENCODE_ANY)

json_t *pile_json_value_text(const char *text)
{
	json_t *value = json_string(text);
	_cleanup_free_ char *copy = NULL;

	if (value)
		return value;
	copy = strdup(text);
	if (!copy)
		return NULL;
	for (char *c = copy; *c; c++)
		if ((unsigned char)*c >= 0x80)
			*c = '?';
	return json_string(copy);
}

json_t *pile_json_value_text_or_null(const char *text)
{
	return text[0] ? pile_json_value_text(text) : json_null();
}

json_t *pile_json_value_endpoint(const struct pile_endpoint *endpoint)
{
	char text[PILE_ENDPOINT_TEXT_MAX];

	return pile_json_value_text(pile_endpoint_format(endpoint, text, sizeof(text)));
}

json_t *pile_json_value_seconds(uint64_t ns)
{
	if (ns == UINT64_MAX)
		return json_null();
	return json_real((double)(ns / NS_PER_US) / 1e6);
}

json_t *pile_json_value_left(uint64_t until_ns, uint64_t now_ns)
{
	return until_ns > now_ns ? pile_json_value_seconds(until_ns - now_ns) : json_null();
}

json_t *pile_json_value_seconds_or_null(uint64_t ns)
{
	return ns ? pile_json_value_seconds(ns) : json_null();
}

json_t *pile_json_value_milli(uint64_t milli)
{
	return json_real((double)milli / 1000);
}

json_t *pile_json_value_known(uint64_t value)
{
	return value ? json_integer((json_int_t)value) : json_null();
}

json_t *pile_json_value_time(uint64_t realtime_ns)
{
	time_t seconds = (time_t)(realtime_ns / NS_PER_SEC);
	char date[64], text[80];
	struct tm tm;

	if (!realtime_ns || !gmtime_r(&seconds, &tm) ||
	    !strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm))
		return json_null();
	snprintf(text, sizeof(text), "%s.%03uZ", date,
		 (unsigned int)(realtime_ns % NS_PER_SEC / NS_PER_MS));
	return json_string(text);
}

static int dump_append(const char *bytes, size_t n, void *text)
{
	pile_text_append(text, bytes, n);
	return 0;
}

void pile_json_value_emit(json_t *value, struct pile_text *ret)
{
	if (!value || json_dump_callback(value, dump_append, ret, DUMP_FLAGS) != 0)
		ret->failed = true;
	json_decref(value);
}
