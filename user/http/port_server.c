/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Each port has a listening socket that the loop polls. Accepted connections go to one
 * libmicrohttpd daemon that has neither threads nor a listening socket.
 */

#include "http/port_server.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "http/daemon.h"

#define CONNECTIONS_MAX        2048
#define CONNECTIONS_PER_IP_MAX 512 /* a load balancer probes all of its Services */
#define CONNECTION_MEMORY      4096
#define ACCEPT_PAUSE_MS        1000

struct port_server {
	uv_loop_t *loop;
	port_handler_fn handler;
	void *context;
	struct http_daemon *daemon; /* NULL until the first listener is opened */
};

struct port_listener {
	struct port_server *server;
	uv_poll_t poll;
	uv_timer_t pause; /* runs while accept() lacks descriptors or memory */
	int open_handles;
	int fd;
};

/* Reads the port and the address family that the client dialled. */
static bool request_read(struct MHD_Connection *connection, struct port_request *ret_request)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct sockaddr_in6 addr = {};
	socklen_t length = sizeof(addr);

	if (!info || getsockname(info->connect_fd, (struct sockaddr *)&addr, &length))
		return false;
	/* The port has the same offset in both address structs. */
	ret_request->port = ntohs(addr.sin6_port);
	ret_request->family = addr.sin6_family == AF_INET || IN6_IS_ADDR_V4MAPPED(&addr.sin6_addr)
				      ? FAMILY_IPV4
				      : FAMILY_IPV6;
	return true;
}

static int port_server_on_request(void *context, struct MHD_Connection *connection,
				  const char *method, const char *path)
{
	const struct port_server *server = context;
	struct http_response response = {};
	struct port_request request;

	(void)method;
	(void)path;
	if (!request_read(connection, &request))
		return -ENOTCONN;
	server->handler(&request, &response, server->context);
	return http_response_send(connection, &response);
}

/* Raises the soft limit of descriptors, which thousands of ports would exceed. */
static void descriptors_allow_many(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur == limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		log_debug("cannot raise the limit of open files: %s", strerror(errno));
}

static int port_server_start(struct port_server *server)
{
	const struct http_daemon_options options = {
		.listen_fd = -1,
		.connections_max = CONNECTIONS_MAX,
		.connections_per_ip_max = CONNECTIONS_PER_IP_MAX,
		.connection_memory = CONNECTION_MEMORY,
		.on_request = port_server_on_request,
		.context = server,
	};

	descriptors_allow_many();
	return http_daemon_open(server->loop, &options, &server->daemon);
}

struct port_server *port_server_new(uv_loop_t *loop, port_handler_fn handler, void *context)
{
	struct port_server *server = calloc(1, sizeof(*server));

	if (!server)
		return NULL;
	*server = (struct port_server){.loop = loop, .handler = handler, .context = context};
	return server;
}

void port_server_close(struct port_server *server)
{
	if (!server)
		return;
	http_daemon_close(take_ptr(server->daemon));
	free(server);
}

static void listener_on_connections(uv_poll_t *poll, int status, int events);

static void listener_on_pause_end(uv_timer_t *timer)
{
	struct port_listener *listener = timer->data;

	(void)uv_poll_start(&listener->poll, UV_READABLE, listener_on_connections);
}

static void listener_on_connections(uv_poll_t *poll, int status, int events)
{
	struct port_listener *listener = poll->data;
	struct sockaddr_storage peer;
	socklen_t length;
	int fd = -1;

	(void)status;
	(void)events;
	for (int i = 0; i < HTTP_ADDS_MAX; i++) {
		length = sizeof(peer);
		fd = accept4(listener->fd, (struct sockaddr *)&peer, &length,
			     SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			break;
		http_daemon_add(listener->server->daemon, fd, (const struct sockaddr *)&peer,
				length);
	}
	/* Out of descriptors or memory: pause, or the pending connections keep waking the loop. */
	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
		(void)uv_poll_stop(&listener->poll);
		(void)uv_timer_start(&listener->pause, listener_on_pause_end, ACCEPT_PAUSE_MS, 0);
	}
	http_daemon_run(listener->server->daemon);
}

/* Returns the descriptor of a listening socket, or a negative errno. */
static int port_listen(const struct ip_addr *addr, __u16 port)
{
	struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in ipv4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd;

	if (addr && address_is_ipv4(addr)) {
		memcpy(&ipv4.sin_addr, addr->bytes + 12, sizeof(ipv4.sin_addr));
		return http_listen((const struct sockaddr *)&ipv4, false, true);
	}
	if (addr)
		memcpy(&ipv6.sin6_addr, addr->bytes, sizeof(ipv6.sin6_addr));
	fd = http_listen((const struct sockaddr *)&ipv6, !addr, true);
	if (addr || fd != -EAFNOSUPPORT)
		return fd;
	/* The kernel has no IPv6, so all addresses are those of IPv4. */
	return http_listen((const struct sockaddr *)&ipv4, false, true);
}

static int listener_poll(struct port_listener *listener)
{
	uv_loop_t *loop = listener->server->loop;
	int err = uv_poll_init(loop, &listener->poll, listener->fd);

	if (err)
		return err;
	(void)uv_timer_init(loop, &listener->pause);
	listener->poll.data = listener;
	listener->pause.data = listener;
	listener->open_handles = 2;
	return uv_poll_start(&listener->poll, UV_READABLE, listener_on_connections);
}

int port_listener_open(struct port_server *server, const struct ip_addr *addr, __u16 port,
		       struct port_listener **ret_listener)
{
	struct port_listener *listener;
	int err = server->daemon ? 0 : port_server_start(server);

	if (err)
		return err;
	listener = calloc(1, sizeof(*listener));
	if (!listener)
		return -ENOMEM;
	listener->server = server;
	listener->fd = port_listen(addr, port);
	err = listener->fd < 0 ? listener->fd : listener_poll(listener);
	if (err) {
		port_listener_close(listener);
		return err;
	}
	*ret_listener = listener;
	return 0;
}

static void listener_on_closed(uv_handle_t *handle)
{
	struct port_listener *listener = handle->data;

	if (!--listener->open_handles)
		free(listener);
}

void port_listener_close(struct port_listener *listener)
{
	int fd;

	if (!listener)
		return;
	fd = take_fd(listener->fd);
	if (listener->open_handles) {
		uv_close((uv_handle_t *)&listener->poll, listener_on_closed);
		uv_close((uv_handle_t *)&listener->pause, listener_on_closed);
	} else {
		free(listener);
	}
	if (fd >= 0)
		(void)close(fd);
}
