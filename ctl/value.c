// SPDX-License-Identifier: GPL-2.0-or-later
#include "value.h"

#include <string.h>
#include <time.h>

#include "util/macro.h"
#include "util/quantity.h"

const json_t *pile_value_get(const json_t *value, const char *path)
{
	while (value && *path) {
		size_t n = strcspn(path, ".");
		char key[64];

		if (n >= sizeof(key))
			return NULL;
		memcpy(key, path, n);
		key[n] = '\0';
		value = json_object_get(value, key);
		path += path[n] ? n + 1 : n;
	}
	return value;
}

const char *pile_value_text(const json_t *value, const char *path)
{
	const char *text = json_string_value(pile_value_get(value, path));

	return text ? text : "";
}

double pile_value_number(const json_t *value, const char *path)
{
	return json_number_value(pile_value_get(value, path));
}

bool pile_value_is(const json_t *value, const char *path)
{
	return json_is_true(pile_value_get(value, path));
}

bool pile_value_known(const json_t *value, const char *path)
{
	const json_t *at = pile_value_get(value, path);

	return at && !json_is_null(at);
}

const char *pile_value_clean(const char *text, char *buf, size_t size)
{
	size_t len = 0;

	for (const unsigned char *c = (const unsigned char *)text; *c && len + 1 < size; c++) {
		/* C0 and DEL; C1 as UTF-8 is 0xc2 0x80..0x9f, which terminals obey as well. */
		bool c1 = c[0] == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f;

		buf[len++] = *c < 0x20 || *c == 0x7f || c1 ? '?' : (char)*c;
		c += c1;
	}
	if (size)
		buf[len] = '\0';
	return buf;
}

const char *pile_value_format_text(const json_t *value, const char *path, char *buf, size_t size)
{
	const char *text = pile_value_text(value, path);

	return pile_value_clean(text[0] ? text : "-", buf, size);
}

const char *pile_value_format_count(const json_t *value, const char *path, char *buf, size_t size)
{
	if (pile_value_known(value, path))
		snprintf(buf, size, "%.0f", pile_value_number(value, path));
	else
		snprintf(buf, size, "-");
	return buf;
}

const char *pile_value_format_seconds(const json_t *value, const char *path, char *buf, size_t size)
{
	double seconds = pile_value_number(value, path);

	if (!pile_value_known(value, path) || seconds < 0 || seconds > 1e9) {
		snprintf(buf, size, "-");
		return buf;
	}
	return pile_quantity_format_duration((uint64_t)(seconds * 1e9 + 0.5), buf, size);
}

const char *pile_value_format_bytes(const json_t *value, const char *path, char *buf, size_t size)
{
	double bytes = pile_value_number(value, path);

	if (!pile_value_known(value, path) || bytes < 0 || bytes > 1e18) {
		snprintf(buf, size, "-");
		return buf;
	}
	return pile_quantity_format_size((uint64_t)bytes, buf, size);
}

const char *pile_value_format_time(const json_t *value, const char *path, char *buf, size_t size)
{
	struct tm utc = { 0 }, local;
	time_t t;

	if (!strptime(pile_value_text(value, path), "%Y-%m-%dT%H:%M:%S", &utc)) {
		snprintf(buf, size, "-");
		return buf;
	}
	t = timegm(&utc);
	if (!localtime_r(&t, &local) || !strftime(buf, size, "%Y-%m-%d %H:%M:%S", &local))
		snprintf(buf, size, "-");
	return buf;
}
