// SPDX-License-Identifier: GPL-2.0-or-later
#include "notice.h"

#include <stdio.h>
#include <sys/uio.h>
#include <syslog.h>
#include <systemd/sd-journal.h>

#include "util/macro.h"

/* tests/package compares these with the catalog */
static const struct {
	const char *id;
	int priority;
} notices[PILE_NOTICES] = {
	[PILE_NOTICE_START] = { "41bcb3c1820d41c39642693ea8604afa", LOG_INFO },
	[PILE_NOTICE_STOP] = { "b387f744a5aa4ec1b84dc48880f16495", LOG_INFO },
	[PILE_NOTICE_POLICY] = { "fc0e26f7da6d4d079054b3dc706ff1c5", LOG_NOTICE },
	[PILE_NOTICE_GROUP] = { "77ee4c3129734045b615a2e235c2f72b", LOG_INFO },
	[PILE_NOTICE_STAGE] = { "ea8ed85f0da148bca875db99e18e34b3", LOG_INFO },
	[PILE_NOTICE_REFUSED] = { "5cb1acddaa7e4a67a74749aa7ede361f", LOG_WARNING },
	[PILE_NOTICE_WOULD_REFUSE] = { "52b15ba3b9c543dfb2224c8e3190674a", LOG_WARNING },
	[PILE_NOTICE_PROBING] = { "e31ddbcb8bb34307b05440533ad58b6c", LOG_WARNING },
	[PILE_NOTICE_HALF_OPEN] = { "3a61690646cd4fe3a93db9a515316f96", LOG_NOTICE },
	[PILE_NOTICE_ALLOWED] = { "49715080b472484cad5ed6386344a30a", LOG_NOTICE },
	[PILE_NOTICE_WOULD_ALLOW] = { "578b0b5b28aa4092833d832895fb17c6", LOG_NOTICE },
	[PILE_NOTICE_NETWORK] = { "cdd2203ed1064e87862a059584bd249f", LOG_WARNING },
	[PILE_NOTICE_NETWORK_OVER] = { "686a982d579e4dd896489303727d4afb", LOG_WARNING },
	[PILE_NOTICE_HAND] = { "6502abb877f74e39ae7fb05c654fbd9c", LOG_NOTICE },
	[PILE_NOTICE_TROUBLE] = { "028fe4b5e940431ca63e5485964e9834", LOG_WARNING },
	[PILE_NOTICE_SCOUT] = { "a8ff721537cf4942bd7f7619be19d7d8", LOG_INFO },
	[PILE_NOTICE_DISARMED] = { "f1abc1052b0b49c78fe4f43c1352359d", LOG_WARNING },
	[PILE_NOTICE_ARMED] = { "8fe0b4865ae94a089f29946240c1eb13", LOG_NOTICE },
	[PILE_NOTICE_DROPPED] = { "1d7443eea5ff4eca8b7a2beebd8e0ffc", LOG_WARNING },
	[PILE_NOTICE_FILES] = { "acabf95fb63640028fff2dfda696e47c", LOG_WARNING },
	[PILE_NOTICE_LEAK] = { "34a96034f5434df0a7370d91a786824d", LOG_WARNING },
	[PILE_NOTICE_SHED] = { "6bfe5d3e62674e03b9c6db018f5be1b7", LOG_WARNING },
	[PILE_NOTICE_SHED_OVER] = { "967e6ba07d764d4086cedcf92e575ffc", LOG_NOTICE },
	[PILE_NOTICE_LEAK_OVER] = { "2d98527e24414b28a0b1d2f3e15b3afb", LOG_NOTICE },
	[PILE_NOTICE_EVICT] = { "94125e4ffac042e89e01c35241d448cd", LOG_WARNING },
	[PILE_NOTICE_EVICT_OVER] = { "4b2a5b2bf7d9473ea55720a713691323", LOG_NOTICE },
	[PILE_NOTICE_WOULD_EVICT] = { "1e13751c490b40988f7ff999d91d9890", LOG_WARNING },
	[PILE_NOTICE_STOPPED] = { "5c9d8b4d61cf4802a81f9b12e5abf44b", LOG_WARNING },
	[PILE_NOTICE_STOPPED_OVER] = { "95f9658562194c39bef36f35dbc6ccc6", LOG_NOTICE },
	[PILE_NOTICE_WOULD_STOP] = { "b7bc4619d7e1413d8d06d82451a05c89", LOG_WARNING },
	[PILE_NOTICE_WOULD_STOP_OVER] = { "bc0ae73a6e664a2588ffc2b00b479e23", LOG_NOTICE },
	[PILE_NOTICE_WOULD_EVICT_OVER] = { "9604038d33b34247ab9cb31628824f94", LOG_NOTICE },
	[PILE_NOTICE_THROTTLE] = { "390c9d7e6b2a43c2aba37772a0119fe9", LOG_WARNING },
	[PILE_NOTICE_THROTTLE_OVER] = { "df0fc18b74104b1fb58de82c03741fb9", LOG_NOTICE },
	[PILE_NOTICE_WOULD_THROTTLE] = { "a5e0dea94e834eaf911ccca58acb0b93", LOG_WARNING },
	[PILE_NOTICE_WOULD_THROTTLE_OVER] = { "7d94a21e29bf46f08119b29a74faa3d5", LOG_NOTICE },
	[PILE_NOTICE_FORKS] = { "f971a12e25dc4af9b4191a3038cd0e1c", LOG_WARNING },
	[PILE_NOTICE_FORKS_OVER] = { "d843cd5a678e4224b4577cf2b0dce936", LOG_NOTICE },
};

const char *pile_notice_undo(const struct pile_event *e, char *buf, size_t size)
{
	switch (e->notice) {
	case PILE_NOTICE_REFUSED:
	case PILE_NOTICE_SHED:
	case PILE_NOTICE_PROBING:
	case PILE_NOTICE_HALF_OPEN:
		snprintf(buf, size, "pileguardctl release %s %s", e->group, e->destination);
		break;
	case PILE_NOTICE_STOPPED:
		snprintf(buf, size, "systemctl start %s", e->unit);
		break;
	case PILE_NOTICE_THROTTLE:
	case PILE_NOTICE_FORKS:
		snprintf(buf, size, "pileguardctl disarm");
		break;
	case PILE_NOTICE_DISARMED:
		snprintf(buf, size, "pileguardctl arm");
		break;
	default:
		snprintf(buf, size, "nothing");
	}
	return buf;
}

#define FIELDS_MAX 9

/* One field after the other, in one buffer. */
struct fields {
	struct iovec iov[FIELDS_MAX];
	int n;
	char text[FIELDS_MAX][320]; /* the longest: a line of 255, a command of two names */
};

static void _printf_(2, 3) field(struct fields *f, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(f->text[f->n], sizeof(f->text[0]), fmt, ap);
	va_end(ap);
	f->iov[f->n] =
		(struct iovec){ f->text[f->n], MIN((size_t)MAX(n, 0), sizeof(f->text[0]) - 1) };
	f->n++;
}

/* OBJECT_SYSTEMD_UNIT puts the line into `journalctl -u` of the service that it is about. */
void pile_notice_write(const struct pile_event *e, bool to_journal)
{
	uint32_t notice = e->notice < PILE_NOTICES ? e->notice : 0;
	struct fields f = {};
	char undo[256];

	if (!to_journal) {
		fprintf(stderr, "%s\n", e->text);
		return;
	}
	field(&f, "MESSAGE=%s", e->text);
	field(&f, "PRIORITY=%d", notices[notice].id ? notices[notice].priority : LOG_INFO);
	field(&f, "SYSLOG_IDENTIFIER=pileguardd");
	if (notices[notice].id)
		field(&f, "MESSAGE_ID=%s", notices[notice].id);
	if (e->unit[0])
		field(&f, "OBJECT_SYSTEMD_UNIT=%s", e->unit);
	field(&f, "PILEGUARD_GROUP=%s", e->group);
	field(&f, "PILEGUARD_DESTINATION=%s", e->destination);
	field(&f, "PILEGUARD_EXPLAIN=%u", e->explain_id);
	field(&f, "PILEGUARD_UNDO=%s", pile_notice_undo(e, undo, sizeof(undo)));
	sd_journal_sendv(f.iov, f.n);
}
