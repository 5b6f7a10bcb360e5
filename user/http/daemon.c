/* SPDX-License-Identifier: BSD-2-Clause */
#include "http/daemon.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/cleanup.h"

#define CONNECTION_TIMEOUT_S 10
#define LISTEN_BACKLOG       64
/*
 * Connections beyond the limit that libmicrohttpd may have while older ones are being closed. At a
 * limit of its own it would take the listening socket out of its poll.
 */
#define CONNECTIONS_SPARE 64

/* An open connection; the list is in the order of their last use. */
struct http_connection {
	int fd; /* libmicrohttpd's */
	struct sockaddr_in6 peer;
	bool is_being_answered; /* a whole request has been read, its answer is not sent yet */
	bool is_ending;         /* shut down; libmicrohttpd has yet to close it */
	struct http_connection *prev, *next;
};

struct http_daemon {
	struct MHD_Daemon *mhd;
	uv_poll_t poll;
	uv_timer_t timer; /* for libmicrohttpd's timeouts */
	int open_handles;
	struct http_daemon_options options;
	struct http_connection *connections;
	bool has_closed; /* a connection, in the last run */
};

static bool connections_are_of_one_peer(const struct http_connection *a,
					const struct http_connection *b)
{
	const struct sockaddr_in *ipv4_a = (const struct sockaddr_in *)&a->peer;
	const struct sockaddr_in *ipv4_b = (const struct sockaddr_in *)&b->peer;

	if (a->peer.sin6_family != b->peer.sin6_family)
		return false;
	if (a->peer.sin6_family == AF_INET)
		return ipv4_a->sin_addr.s_addr == ipv4_b->sin_addr.s_addr;
	return !memcmp(&a->peer.sin6_addr, &b->peer.sin6_addr, sizeof(a->peer.sin6_addr));
}

/*
 * Makes room for a new connection if there are more than `max`, of all or of its peer: the one
 * that was answered longest ago ends, whether its next request has begun or not; if all are being
 * answered, the oldest of them. So whoever holds connections open, or sends a request that never
 * ends, cannot keep a probe from being answered.
 */
static void connections_limit(struct http_daemon *daemon, const struct http_connection *added,
			      bool is_of_peer, unsigned int max)
{
	struct http_connection *connection, *oldest = NULL, *oldest_idle = NULL;
	unsigned int count = 0;

	DL_FOREACH(daemon->connections, connection)
	{
		if (connection->is_ending ||
		    (is_of_peer && !connections_are_of_one_peer(connection, added)))
			continue;
		count++;
		if (!oldest)
			oldest = connection;
		if (!oldest_idle && !connection->is_being_answered)
			oldest_idle = connection;
	}
	if (count <= max)
		return;
	connection = oldest_idle && oldest_idle != added ? oldest_idle : oldest;
	/* libmicrohttpd reads the end of the connection, and closes it. */
	(void)shutdown(connection->fd, SHUT_RDWR);
	connection->is_ending = true;
}

static struct http_connection *connection_add(struct http_daemon *daemon,
					      struct MHD_Connection *mhd)
{
	auto_cleanup(cleanup_free) struct http_connection *connection =
		calloc(1, sizeof(*connection));
	const union MHD_ConnectionInfo *info;

	/* Since libmicrohttpd 1.0 each call overwrites what the one before returned. */
	info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
	if (!connection || !info)
		return NULL;
	connection->fd = info->connect_fd;
	info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	if (!info)
		return NULL;
	memcpy(&connection->peer, info->client_addr,
	       info->client_addr->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
							: sizeof(struct sockaddr_in));
	DL_APPEND(daemon->connections, connection);
	return take_ptr(connection);
}

static void daemon_on_connection(void *context, struct MHD_Connection *mhd, void **socket_context,
				 enum MHD_ConnectionNotificationCode code)
{
	struct http_daemon *daemon = context;
	struct http_connection *connection = *socket_context;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		/* Without memory it is served all the same, and counts for nothing. */
		connection = connection_add(daemon, mhd);
		*socket_context = connection;
		if (!connection)
			return;
		connections_limit(daemon, connection, true, daemon->options.connections_per_ip_max);
		connections_limit(daemon, connection, false, daemon->options.connections_max);
		return;
	}
	daemon->has_closed = true;
	if (!connection)
		return;
	DL_DELETE(daemon->connections, connection);
	free(connection);
}

static struct http_connection *connection_of(struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

static enum MHD_Result daemon_on_request(void *context, struct MHD_Connection *mhd, const char *url,
					 const char *method, const char *version,
					 const char *upload, size_t *upload_size,
					 void **request_context)
{
	static int is_reading; /* its address marks a request whose headers have been read */
	const struct http_daemon *daemon = context;
	struct http_connection *connection = connection_of(mhd);

	(void)version;
	(void)upload;
	/*
	 * The first call is for the headers only, then each piece of a body has a call: an answer
	 * before the last one, which has no data, would close the connection.
	 */
	if (!*request_context || *upload_size) {
		*request_context = &is_reading;
		*upload_size = 0;
		return MHD_YES;
	}
	if (connection)
		connection->is_being_answered = true;
	return daemon->options.on_request(daemon->options.context, mhd, method, url) ? MHD_NO
										     : MHD_YES;
}

static void daemon_on_answered(void *context, struct MHD_Connection *mhd, void **request_context,
			       enum MHD_RequestTerminationCode code)
{
	struct http_daemon *daemon = context;
	struct http_connection *connection = connection_of(mhd);

	(void)request_context;
	(void)code;
	if (!connection)
		return;
	connection->is_being_answered = false;
	DL_DELETE(daemon->connections, connection);
	DL_APPEND(daemon->connections, connection);
}

int http_listen(const struct sockaddr *addr, bool is_dual_stack, bool is_freebind)
{
	const bool is_ipv6 = addr->sa_family == AF_INET6;
	const int on = 1, is_ipv6_only = !is_dual_stack;
	auto_cleanup(cleanup_fd) int fd =
		socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)))
		return -errno;
	if (is_ipv6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &is_ipv6_only, sizeof(is_ipv6_only)))
		return -errno;
	if (is_freebind && setsockopt(fd, is_ipv6 ? IPPROTO_IPV6 : IPPROTO_IP,
				      is_ipv6 ? IPV6_FREEBIND : IP_FREEBIND, &on, sizeof(on)))
		return -errno;
	if (bind(fd, addr, is_ipv6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in)) ||
	    listen(fd, LISTEN_BACKLOG))
		return -errno;
	return take_fd(fd);
}

static void daemon_on_timeout(uv_timer_t *timer)
{
	http_daemon_run(timer->data);
}

static void daemon_on_readable(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	http_daemon_run(poll->data);
}

void http_daemon_run(struct http_daemon *daemon)
{
	MHD_UNSIGNED_LONG_LONG timeout_ms = 0;

	daemon->has_closed = false;
	(void)MHD_run(daemon->mhd);
	/* Where a connection has closed it listens again, but only in its next run. */
	if (daemon->has_closed || MHD_get_timeout(daemon->mhd, &timeout_ms) == MHD_YES)
		(void)uv_timer_start(&daemon->timer, daemon_on_timeout, timeout_ms, 0);
	else
		(void)uv_timer_stop(&daemon->timer);
}

static struct MHD_Daemon *mhd_start(struct http_daemon *daemon)
{
	const struct http_daemon_options *options = &daemon->options;
	const unsigned int no_socket = options->listen_fd < 0 ? MHD_USE_NO_LISTEN_SOCKET : 0;

	/* The list of options ends before the descriptor if there is none. */
	return MHD_start_daemon(MHD_USE_EPOLL | no_socket, 0, NULL, NULL, daemon_on_request, daemon,
				MHD_OPTION_NOTIFY_CONNECTION, daemon_on_connection, daemon,
				MHD_OPTION_NOTIFY_COMPLETED, daemon_on_answered, daemon,
				MHD_OPTION_CONNECTION_LIMIT,
				options->connections_max + CONNECTIONS_SPARE,
				MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int)CONNECTION_TIMEOUT_S,
				MHD_OPTION_CONNECTION_MEMORY_LIMIT, options->connection_memory,
				no_socket ? MHD_OPTION_END : MHD_OPTION_LISTEN_SOCKET,
				options->listen_fd, MHD_OPTION_END);
}

int http_daemon_open(uv_loop_t *loop, const struct http_daemon_options *options,
		     struct http_daemon **ret_daemon)
{
	auto_cleanup(cleanup_free) struct http_daemon *daemon = calloc(1, sizeof(*daemon));
	const union MHD_DaemonInfo *info;
	int err;

	if (!daemon)
		return -ENOMEM;
	daemon->options = *options;
	daemon->mhd = mhd_start(daemon);
	if (!daemon->mhd)
		return -ENOMEM;
	info = MHD_get_daemon_info(daemon->mhd, MHD_DAEMON_INFO_EPOLL_FD);
	err = info ? uv_poll_init(loop, &daemon->poll, info->epoll_fd) : -ENOTSUP;
	if (err) {
		MHD_stop_daemon(daemon->mhd);
		return err;
	}
	(void)uv_timer_init(loop, &daemon->timer);
	daemon->poll.data = daemon;
	daemon->timer.data = daemon;
	daemon->open_handles = 2;
	err = uv_poll_start(&daemon->poll, UV_READABLE, daemon_on_readable);
	if (err) {
		http_daemon_close(take_ptr(daemon));
		return err;
	}
	*ret_daemon = take_ptr(daemon);
	return 0;
}

static void daemon_on_closed(uv_handle_t *handle)
{
	struct http_daemon *daemon = handle->data;

	if (!--daemon->open_handles)
		free(daemon);
}

void http_daemon_close(struct http_daemon *daemon)
{
	if (!daemon)
		return;
	/* The loop must stop polling the descriptor before the library closes it. */
	uv_close((uv_handle_t *)&daemon->poll, daemon_on_closed);
	uv_close((uv_handle_t *)&daemon->timer, daemon_on_closed);
	MHD_stop_daemon(take_ptr(daemon->mhd));
}

void http_daemon_add(struct http_daemon *daemon, int fd, const struct sockaddr *peer,
		     socklen_t length)
{
	(void)MHD_add_connection(daemon->mhd, fd, peer, length);
}
