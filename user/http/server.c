/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * libmicrohttpd without threads: all its sockets are behind one epoll descriptor, which the loop
 * polls, and its timeouts are one timer.
 */

#include "http/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "http/response.h"
#include "base/log.h"

#define CONNECTIONS_MAX        64
#define CONNECTIONS_PER_IP_MAX 16
#define CONNECTION_TIMEOUT_S   10
#define CONNECTION_MEMORY      8192 /* request line and headers, and the response's */
#define LISTEN_BACKLOG         64

struct http_server {
	struct http_server_options options;
	uv_loop_t *loop;
	uv_poll_t poll;
	uv_timer_t timer;          /* before it listens: retries; then libmicrohttpd's timeouts */
	struct MHD_Daemon *daemon; /* NULL: not listening yet */
	int open_handles;
	bool is_complaint_made;
};

int http_address_parse(const char *text, struct sockaddr_storage *ret_addr)
{
	struct sockaddr_in6 *ipv6 = (struct sockaddr_in6 *)ret_addr;
	struct sockaddr_in *ipv4 = (struct sockaddr_in *)ret_addr;
	const char *colon = strrchr(text, ':');
	bool is_ipv6 = *text == '[';
	char host[INET6_ADDRSTRLEN];
	unsigned long port;
	size_t length;
	char *end;

	memset(ret_addr, 0, sizeof(*ret_addr));
	if (!colon || colon == text || colon[1] < '0' || colon[1] > '9')
		return -EINVAL;
	port = strtoul(colon + 1, &end, 10);
	length = (size_t)(colon - text) - (is_ipv6 ? 2 : 0);
	if (*end || port > UINT16_MAX || length >= sizeof(host) || (is_ipv6 && colon[-1] != ']'))
		return -EINVAL;
	memcpy(host, text + is_ipv6, length);
	host[length] = '\0';
	if (is_ipv6) {
		ipv6->sin6_family = AF_INET6;
		ipv6->sin6_port = htons((uint16_t)port);
		return inet_pton(AF_INET6, host, &ipv6->sin6_addr) == 1 ? (int)sizeof(*ipv6)
									: -EINVAL;
	}
	ipv4->sin_family = AF_INET;
	ipv4->sin_port = htons((uint16_t)port);
	return inet_pton(AF_INET, host, &ipv4->sin_addr) == 1 ? (int)sizeof(*ipv4) : -EINVAL;
}

/* Returns the descriptor of a listening socket, or a negative errno. */
static int socket_listen(const char *address)
{
	auto_cleanup(cleanup_fd) int fd = -1;
	struct sockaddr_storage addr;
	int length = http_address_parse(address, &addr);
	const int on = 1, off = 0;

	if (length < 0)
		return length;
	fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)))
		return -errno;
	if (addr.ss_family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)))
		return -errno;
	if (bind(fd, (const struct sockaddr *)&addr, (socklen_t)length) ||
	    listen(fd, LISTEN_BACKLOG))
		return -errno;
	return take_fd(fd);
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url,
				  const char *method, const char *version, const char *upload,
				  size_t *upload_size, void **request_context)
{
	static int seen;
	const struct http_server *server = context;
	struct http_response answer = {};
	const struct http_request request = {
		.path = url,
		.is_verbose =
			MHD_lookup_connection_value_n(connection, MHD_GET_ARGUMENT_KIND, "verbose",
						      strlen("verbose"), NULL, NULL) == MHD_YES,
	};

	(void)version;
	(void)upload;
	/* The first call is for the headers only; answering then would close the connection. */
	if (!*request_context) {
		*request_context = &seen;
		return MHD_YES;
	}
	*upload_size = 0;
	if (strcmp(method, "GET") && strcmp(method, "HEAD")) {
		http_respond_text(&answer, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain",
				  "only GET and HEAD are answered here\n");
		answer.headers[1] = (struct http_header){"Allow", "GET, HEAD"};
	} else {
		server->options.handler(&request, &answer, server->options.context);
	}
	return http_response_send(connection, &answer);
}

static void on_timeout(uv_timer_t *timer);

static void serve(struct http_server *server)
{
	http_daemon_run(server->daemon, &server->timer, on_timeout);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	serve(poll->data);
}

static int daemon_start(struct http_server *server, int fd)
{
	const union MHD_DaemonInfo *info;
	int err;

	/*
	 * If this fails the socket is left open: libmicrohttpd does not document whether it closes
	 * it.
	 */
	server->daemon = MHD_start_daemon(
		MHD_USE_EPOLL, 0, NULL, NULL, on_request, server, MHD_OPTION_LISTEN_SOCKET, fd,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned int)CONNECTIONS_MAX,
		MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned int)CONNECTIONS_PER_IP_MAX,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int)CONNECTION_TIMEOUT_S,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_END);
	if (!server->daemon)
		return -ENOMEM;
	info = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info)
		return -ENOTSUP;
	err = uv_poll_init(server->loop, &server->poll, info->epoll_fd);
	if (err)
		return err;
	server->poll.data = server;
	server->open_handles++;
	return uv_poll_start(&server->poll, UV_READABLE, on_readable);
}

/* Listens, or schedules a retry if the address is taken. */
static int server_listen(struct http_server *server)
{
	const struct http_server_options *options = &server->options;
	int fd = socket_listen(options->address);
	int err = fd < 0 ? fd : daemon_start(server, fd);

	if (!err) {
		log_info("serving %s at %s", options->what, options->address);
		return 0;
	}
	if (!server->is_complaint_made && options->failed)
		options->failed(strerror(-err), options->failed_context);
	/* A failure after bind(), or an invalid address, will not go away by waiting. */
	if (options->is_bind_fatal || fd >= 0 || err == -EINVAL)
		return log_err(err,
			       "cannot serve %s at %s: free the address, or give another with "
			       "--%s-bind-address",
			       options->what, options->address, options->what);
	if (!server->is_complaint_made)
		log_warning("cannot serve %s at %s: %s; trying again every %d s", options->what,
			    options->address, strerror(-err), HTTP_BIND_RETRY_MS / 1000);
	server->is_complaint_made = true;
	return uv_timer_start(&server->timer, on_timeout, HTTP_BIND_RETRY_MS, 0);
}

static void on_timeout(uv_timer_t *timer)
{
	struct http_server *server = timer->data;

	if (server->daemon)
		serve(server);
	else
		(void)server_listen(server);
}

int http_server_open(uv_loop_t *loop, const struct http_server_options *options,
		     struct http_server **ret_server)
{
	struct http_server *server = calloc(1, sizeof(*server));
	int err;

	if (!server)
		return log_err(-ENOMEM, "cannot allocate the server of %s", options->what);
	server->options = *options;
	server->loop = loop;
	(void)uv_timer_init(loop, &server->timer);
	server->timer.data = server;
	server->open_handles = 1;
	err = server_listen(server);
	if (err) {
		http_server_close(server);
		return err;
	}
	*ret_server = server;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct http_server *server = handle->data;

	if (!--server->open_handles)
		free(server);
}

void http_server_close(struct http_server *server)
{
	if (!server)
		return;
	/* The loop must stop polling the descriptor before the library closes it. */
	if (server->open_handles > 1)
		uv_close((uv_handle_t *)&server->poll, on_closed);
	uv_close((uv_handle_t *)&server->timer, on_closed);
	if (server->daemon)
		MHD_stop_daemon(take_ptr(server->daemon));
}

unsigned int http_server_port(const struct http_server *server)
{
	const union MHD_DaemonInfo *info =
		server->daemon ? MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_LISTEN_FD)
			       : NULL;
	struct sockaddr_in6 addr = {};
	socklen_t length = sizeof(addr);

	/* The port has the same offset in both address structs. */
	if (!info || getsockname(info->listen_fd, (struct sockaddr *)&addr, &length))
		return 0;
	return ntohs(addr.sin6_port);
}
