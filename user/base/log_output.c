/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log_output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int own_output = -1; /* a description of the agent's own, with O_NONBLOCK */
static bool is_cut;

/*
 * Not O_NONBLOCK on standard error itself: others share that description, such as the shell that
 * started the agent. A file is no matter: no write into it waits, and a second description would
 * not share its offset.
 */
void log_output_open(void)
{
	struct stat output;

	if (!fstat(fileno(stderr), &output) &&
	    (S_ISFIFO(output.st_mode) || S_ISCHR(output.st_mode)))
		own_output = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* False if a write of up to PIPE_BUF bytes into a pipe would wait for a reader. */
static bool output_has_room(void)
{
	struct pollfd output = {.fd = fileno(stderr), .events = POLLOUT};

	return poll(&output, 1, 0) == 1 && output.revents & (POLLOUT | POLLERR);
}

static ssize_t output_write(const char *piece, size_t length)
{
	ssize_t sent;

	if (own_output >= 0)
		return write(own_output, piece, length);
	sent = send(fileno(stderr), piece, length, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent >= 0 || errno != ENOTSOCK)
		return sent;
	return output_has_room() ? write(fileno(stderr), piece, length) : 0;
}

bool log_output_write(const char *line, size_t length)
{
	while (length) {
		const size_t piece = length < PIPE_BUF ? length : PIPE_BUF;
		const ssize_t written = output_write(line, piece);

		if (written > 0)
			is_cut = true;
		if (written != (ssize_t)piece)
			return false;
		line += piece;
		length -= piece;
	}
	is_cut = false;
	return true;
}

bool log_output_is_cut(void)
{
	return is_cut;
}
