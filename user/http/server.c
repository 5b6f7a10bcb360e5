/* SPDX-License-Identifier: BSD-2-Clause */
#include "http/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "http/daemon.h"

#define CONNECTIONS_MAX        64
#define CONNECTIONS_PER_IP_MAX 16
#define CONNECTION_MEMORY      8192

struct http_server {
	struct http_server_options options;
	uv_loop_t *loop;
	uv_timer_t retry;
	struct http_daemon *daemon; /* NULL: not listening yet */
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

static int server_on_request(void *context, struct MHD_Connection *connection, const char *method,
			     const char *path)
{
	const struct http_server *server = context;
	struct http_response response = {};
	const struct http_request request = {
		.path = path,
		.is_verbose =
			MHD_lookup_connection_value_n(connection, MHD_GET_ARGUMENT_KIND, "verbose",
						      strlen("verbose"), NULL, NULL) == MHD_YES,
	};

	if (strcmp(method, "GET") && strcmp(method, "HEAD")) {
		http_respond_text(&response, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain",
				  "only GET and HEAD are answered here\n");
		response.headers[1] = (struct http_header){"Allow", "GET, HEAD"};
	} else {
		server->options.handler(&request, &response, server->options.context);
	}
	return http_response_send(connection, &response);
}

static void server_on_retry(uv_timer_t *timer);

/* Listens, or schedules a retry if the address is taken. */
static int server_listen(struct http_server *server)
{
	const struct http_server_options *options = &server->options;
	struct sockaddr_storage addr;
	int length = http_address_parse(options->address, &addr);
	const struct http_daemon_options daemon = {
		.listen_fd =
			length < 0 ? length : http_listen((struct sockaddr *)&addr, true, false),
		.connections_max = CONNECTIONS_MAX,
		.connections_per_ip_max = CONNECTIONS_PER_IP_MAX,
		.connection_memory = CONNECTION_MEMORY,
		.on_request = server_on_request,
		.context = server,
	};
	const bool is_bound = daemon.listen_fd >= 0;
	int err = is_bound ? http_daemon_open(server->loop, &daemon, &server->daemon)
			   : daemon.listen_fd;

	if (!err) {
		log_info("serving %s at %s", options->what, options->address);
		return 0;
	}
	if (!server->is_complaint_made && options->failed)
		options->failed(strerror(-err), options->failed_context);
	/* A failure after bind(), or an invalid address, will not go away by waiting. */
	if (options->is_bind_fatal || is_bound || err == -EINVAL)
		return log_err(err,
			       "cannot serve %s at %s: free the address, or give another with "
			       "--%s-bind-address",
			       options->what, options->address, options->what);
	if (!server->is_complaint_made)
		log_warning("cannot serve %s at %s: %s; trying again every %d s", options->what,
			    options->address, strerror(-err), HTTP_BIND_RETRY_MS / 1000);
	server->is_complaint_made = true;
	return uv_timer_start(&server->retry, server_on_retry, HTTP_BIND_RETRY_MS, 0);
}

static void server_on_retry(uv_timer_t *timer)
{
	(void)server_listen(timer->data);
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
	(void)uv_timer_init(loop, &server->retry);
	server->retry.data = server;
	err = server_listen(server);
	if (err) {
		http_server_close(server);
		return err;
	}
	*ret_server = server;
	return 0;
}

static void server_on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void http_server_close(struct http_server *server)
{
	if (!server)
		return;
	http_daemon_close(take_ptr(server->daemon));
	uv_close((uv_handle_t *)&server->retry, server_on_closed);
}
