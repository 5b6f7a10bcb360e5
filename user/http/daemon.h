/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * libmicrohttpd without threads, in the event loop: all its sockets are behind one epoll
 * descriptor, which the loop polls, and its timeouts are one timer.
 */

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <uv.h>

#define HTTP_ADDS_MAX 32

/*
 * Opens a listening socket that does not block. `is_dual_stack`: an IPv6 one serves IPv4 too.
 * `is_freebind`: the address need not exist yet. Silent. Returns its descriptor or a negative
 * errno.
 */
int http_listen(const struct sockaddr *addr, bool is_dual_stack, bool is_freebind);

/*
 * Queues the answer to a request, whose body has been read and thrown away; on the loop's thread.
 * Returns 0 or a negative errno, which closes the connection.
 */
typedef int (*http_request_fn)(void *context, struct MHD_Connection *mhd, const char *method,
			       const char *path);

struct http_daemon_options {
	int listen_fd; /* a listening socket; -1: connections come from http_daemon_add */
	/*
	 * A connection beyond these ends the one, of all or of its peer, that was answered longest
	 * ago.
	 */
	unsigned int connections_max, connections_per_ip_max;
	size_t connection_memory; /* bytes for request line and headers, and the response's */
	http_request_fn on_request;
	void *context; /* passed to on_request; borrowed */
};

struct http_daemon;

/*
 * Starts a daemon, which then owns the listening socket. If the start fails, the socket is left
 * open: libmicrohttpd does not document whether it closes it. Silent. Returns 0 or a negative
 * errno.
 */
int http_daemon_open(uv_loop_t *loop, const struct http_daemon_options *options,
		     struct http_daemon **ret_daemon);

/*
 * Closes all connections at once, after which on_request is not called any more; the loop's next
 * turn frees the daemon. NULL is fine.
 */
void http_daemon_close(struct http_daemon *daemon);

/*
 * Serves an accepted connection, and owns its descriptor from then on, whatever happens. Call
 * http_daemon_run after HTTP_ADDS_MAX of them: the connections that they end close in there.
 */
void http_daemon_add(struct http_daemon *daemon, int fd, const struct sockaddr *peer,
		     socklen_t length);

/* Serves whatever is ready. */
void http_daemon_run(struct http_daemon *daemon);
