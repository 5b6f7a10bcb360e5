/* SPDX-License-Identifier: BSD-2-Clause */
#include "datapath/load_error.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/log.h"
#include "fairlead/limits.h"

#define LINES_KEPT 4

static char first_complaint[1024];
/* The last lines of the verifier's log, oldest first, without its statistics. */
static char verifier_lines[LINES_KEPT][256];
static size_t line_count;

static void line_keep(const char *line, size_t length)
{
	if (!length || !strncmp(line, "processed ", strlen("processed ")) ||
	    !strncmp(line, "libbpf: ", strlen("libbpf: ")) || !strncmp(line, "-- ", strlen("-- ")))
		return;
	if (line_count == LINES_KEPT)
		memmove(verifier_lines[0], verifier_lines[1],
			sizeof(verifier_lines) - sizeof(verifier_lines[0]));
	else
		line_count++;
	(void)snprintf(verifier_lines[line_count - 1], sizeof(verifier_lines[0]), "%.*s",
		       (int)length, line);
}

/* Each load attempt of libbpf has a log of its own; the last one is kept. */
static void verifier_log_keep(const char *text)
{
	line_count = 0;
	/* The first line is libbpf's own. */
	for (const char *line = strchr(text, '\n'); line && line[1]; line = strchr(line + 1, '\n'))
		line_keep(line + 1, strcspn(line + 1, "\n"));
}

int load_error_keep(enum libbpf_print_level level, const char *format, va_list args)
{
	char *text;

	if (level != LIBBPF_WARN || vasprintf(&text, format, args) < 0)
		return 0;
	/* The second attempt tells whether there is an error, and names the map too. */
	if (!*first_complaint && !strstr(text, "Retrying without BTF"))
		(void)snprintf(first_complaint, sizeof(first_complaint), "%.*s",
			       (int)strcspn(text, "\n"), text);
	if (strstr(text, "BEGIN PROG LOAD LOG"))
		verifier_log_keep(text);
	free(text);
	return 0;
}

void load_error_reset(void)
{
	first_complaint[0] = '\0';
	line_count = 0;
}

const char *load_error_text(void)
{
	return first_complaint;
}

int load_error_log(int err, const char *what)
{
	struct utsname system;
	const char *release = uname(&system) ? "of this machine" : system.release;

	if (err == -EPERM && !line_count)
		return log_err(
			err,
			"may not load %s (%s): run as root, or with CAP_BPF, CAP_PERFMON and "
			"CAP_NET_ADMIN",
			what, first_complaint);
	if (err == -ENOMEM && !line_count)
		return log_err(err,
			       "there is no memory for %s (%s): free some, or raise the limit of "
			       "the agent's cgroup",
			       what, first_complaint);
	if (!line_count)
		return log_err(err, "the kernel %s refuses %s (%s)", release, what,
			       first_complaint);
	log_error("the verifier of the kernel %s refuses %s (%s)", release, what, first_complaint);
	for (size_t i = 0; i < line_count; i++)
		log_error("verifier: %s", verifier_lines[i]);
	log_error("fairlead supports Linux %s and newer: run such a kernel, or, if this is one, "
		  "report these lines; nothing was changed, programs of an earlier agent go on",
		  LINUX_OLDEST);
	return err;
}
