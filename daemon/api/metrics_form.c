// SPDX-License-Identifier: GPL-2.0-or-later
#include "api/metrics_form.h"

#include <inttypes.h>
#include <string.h>

uint64_t pile_metric_get(const struct metric *m, const void *base)
{
	const char *at = (const char *)base + m->offset;
	uint64_t u64;
	uint32_t u32;

	if (m->form == FORM_BOOL)
		return *(const bool *)at;
	if (m->form == FORM_U32 || m->form == FORM_MILLI) {
		memcpy(&u32, at, sizeof(u32));
		return u32;
	}
	memcpy(&u64, at, sizeof(u64));
	return u64;
}

void pile_metric_head(const char *name, const char *help, const char *type, struct pile_text *ret)
{
	pile_text_printf(ret, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void pile_metric_value(enum metric_form form, uint64_t value, struct pile_text *ret)
{
	if (form == FORM_NS)
		pile_text_printf(ret, " %llu.%09llu\n", (unsigned long long)(value / NS_PER_SEC),
				 (unsigned long long)(value % NS_PER_SEC));
	else if (form == FORM_MILLI)
		pile_text_printf(ret, " %" PRIu64 ".%03" PRIu64 "\n", value / 1000, value % 1000);
	else
		pile_text_printf(ret, " %" PRIu64 "\n", value);
}

void pile_metric_label(const char *key, const char *value, struct pile_text *ret)
{
	pile_text_printf(ret, "%s=\"", key);
	for (const char *c = value; *c; c++) {
		if (*c == '\\' || *c == '"')
			pile_text_printf(ret, "\\%c", *c);
		else if (*c == '\n')
			pile_text_printf(ret, "\\n");
		else
			pile_text_printf(ret, "%c", (unsigned char)*c < 0x80 ? *c : '?');
	}
	pile_text_printf(ret, "\"");
}
