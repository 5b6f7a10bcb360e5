/* SPDX-License-Identifier: BSD-2-Clause */
#include "http/daemon.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "base/cleanup.h"

#define CONNECTION_TIMEOUT_S 10
#define LISTEN_BACKLOG       64

struct http_daemon {
	struct MHD_Daemon *mhd;
	uv_poll_t poll;
	uv_timer_t timer; /* for libmicrohttpd's timeouts */
	int open_handles;
};

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
	MHD_UNSIGNED_LONG_LONG timeout_ms;

	(void)MHD_run(daemon->mhd);
	if (MHD_get_timeout(daemon->mhd, &timeout_ms) == MHD_YES)
		(void)uv_timer_start(&daemon->timer, daemon_on_timeout, timeout_ms, 0);
	else
		(void)uv_timer_stop(&daemon->timer);
}

static struct MHD_Daemon *mhd_start(const struct http_daemon_options *options)
{
	const unsigned int no_socket = options->listen_fd < 0 ? MHD_USE_NO_LISTEN_SOCKET : 0;

	/* The list of options ends before the descriptor if there is none. */
	return MHD_start_daemon(MHD_USE_EPOLL | no_socket, 0, NULL, NULL, options->on_request,
				options->context, MHD_OPTION_CONNECTION_LIMIT,
				options->connections_max, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
				options->connections_per_ip_max, MHD_OPTION_CONNECTION_TIMEOUT,
				(unsigned int)CONNECTION_TIMEOUT_S,
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
	daemon->mhd = mhd_start(options);
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

unsigned int http_daemon_port(const struct http_daemon *daemon)
{
	const union MHD_DaemonInfo *info =
		MHD_get_daemon_info(daemon->mhd, MHD_DAEMON_INFO_LISTEN_FD);
	struct sockaddr_in6 addr = {};
	socklen_t length = sizeof(addr);

	/* The port has the same offset in both address structs. */
	if (!info || getsockname(info->listen_fd, (struct sockaddr *)&addr, &length))
		return 0;
	return ntohs(addr.sin6_port);
}
