// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * pileguardctl metrics: the Prometheus text, printed, or kept in a file for node_exporter's textfile collector.
 * The file is there only while it is true: written aside and renamed, and removed as soon as pileguard does
 * not answer, the file cannot be written, or this command ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ctl.h"
#include "http.h"
#include "pileguard/api.h"
#include "util/macro.h"

#define ASK_SECONDS 5
#define SUFFIX ".prom" /* node_exporter reads no other names */
#define STATUS_OK 200
/* After a failure: a guard that was restarted is back within a second or two. */
#define AGAIN_NS NS_PER_SEC

/** What kept a round from its end; told when it is another than that of the round before. */
struct trouble {
	int request; /* of pile_http_request, or an HTTP status */
	int file;    /* negative errno */
};

static bool same(const struct trouble *a, const struct trouble *b)
{
	return a->request == b->request && a->file == b->file;
}

/** Asks for the text. Returns false and fills @ret_trouble, or leaves the text in @ret. */
static bool text_take(const struct pile_ctl *ctl, struct pile_http_answer *ret,
		      struct trouble *ret_trouble)
{
	int r = pile_http_request(ctl->socket, "/metrics", NULL, ASK_SECONDS, ret);

	if (r == 0 && ret->status == STATUS_OK)
		return true;
	ret_trouble->request = r ? r : ret->status;
	return false;
}

static int file_fill(const char *path, const char *text, size_t size)
{
	_cleanup_close_ int fd = -1;
	ssize_t n;

	/* one that was left behind; never through a link that somebody put there */
	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0 || fchmod(fd, 0644) != 0)
		return -errno;
	for (; size > 0; text += n, size -= (size_t)n) {
		n = write(fd, text, size);
		if (n < 0 && errno != EINTR)
			return -errno;
		n = MAX(n, 0);
	}
	return close(TAKE_FD(fd)) != 0 ? -errno : 0;
}

/** Written aside and renamed: a reader sees the old text, the new one, or none. Returns 0 or negative errno. */
static int file_replace(const char *path, const char *text, size_t size)
{
	_cleanup_free_ char *aside = NULL;
	int r;

	if (asprintf(&aside, "%s.new", path) < 0) {
		aside = NULL;
		return -ENOMEM;
	}
	r = file_fill(aside, text, size);
	if (r == 0 && rename(aside, path) != 0)
		r = -errno;
	if (r != 0) {
		unlink(aside);
		unlink(path);
	}
	return r;
}

/** One sentence. Returns the exit status that it means. */
static int trouble_tell(const struct pile_ctl *ctl, const struct trouble *trouble)
{
	if (trouble->file) {
		fprintf(stderr, "%s cannot be written: %s\n", ctl->textfile,
			strerror(-trouble->file));
		return PILE_EXIT_FAILURE;
	}
	if (trouble->request < 0)
		return pile_http_complain(ctl, trouble->request);
	fprintf(stderr, "pileguard answered with HTTP status %d\n", trouble->request);
	return PILE_EXIT_UNREACHABLE;
}

/** One round. Returns an exit status; tells of trouble unless it is that of the round before (@last). */
static int file_update(const struct pile_ctl *ctl, struct trouble *last)
{
	struct pile_http_answer answer = { 0 };
	_cleanup_free_ char *body = NULL;
	struct trouble now = { 0 };
	bool told;

	if (text_take(ctl, &answer, &now))
		now.file = file_replace(ctl->textfile, answer.body, answer.size);
	else
		unlink(ctl->textfile);
	body = answer.body;
	told = same(&now, last);
	*last = now;
	if (!now.request && !now.file)
		return PILE_EXIT_OK;
	return told ? PILE_EXIT_FAILURE : trouble_tell(ctl, &now);
}

/** Until a signal says that it is enough; then no file is left. */
static int file_keep(const struct pile_ctl *ctl)
{
	struct trouble last = { 0 };
	struct timespec pause;
	uint64_t wait;
	sigset_t stop;
	int got;

	sigemptyset(&stop);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGINT);
	sigaddset(&stop, SIGHUP);
	sigprocmask(SIG_BLOCK, &stop, NULL);
	do {
		wait = file_update(ctl, &last) == PILE_EXIT_OK ? ctl->every_ns
							       : MIN(ctl->every_ns, AGAIN_NS);
		pause = (struct timespec){ .tv_sec = (time_t)(wait / NS_PER_SEC),
					   .tv_nsec = (long)(wait % NS_PER_SEC) };
		got = sigtimedwait(&stop, NULL, &pause);
	} while (got < 0);
	unlink(ctl->textfile);
	return PILE_EXIT_OK;
}

static int text_print(const struct pile_ctl *ctl)
{
	struct pile_http_answer answer = { 0 };
	_cleanup_free_ char *body = NULL;
	struct trouble trouble = { 0 };
	bool taken = text_take(ctl, &answer, &trouble);

	body = answer.body;
	if (!taken)
		return trouble_tell(ctl, &trouble);
	fwrite(answer.body, 1, answer.size, stdout);
	return PILE_EXIT_OK;
}

int pile_metrics_command(const struct pile_ctl *ctl)
{
	struct trouble none = { 0 };
	size_t len = ctl->textfile ? strlen(ctl->textfile) : 0;

	if (ctl->every_ns && !ctl->textfile) {
		fprintf(stderr, "--every needs --textfile PATH: what is to be written again\n");
		return PILE_EXIT_USAGE;
	}
	if (!ctl->textfile)
		return text_print(ctl);
	if (len <= strlen(SUFFIX) || strcmp(ctl->textfile + len - strlen(SUFFIX), SUFFIX) != 0) {
		fprintf(stderr, "--textfile %s: node_exporter reads names that end in " SUFFIX "\n",
			ctl->textfile);
		return PILE_EXIT_USAGE;
	}
	return ctl->every_ns ? file_keep(ctl) : file_update(ctl, &none);
}
