/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * libcurl chooses the sockets and timeouts, libuv waits for them. A request that has ended is
 * reported only after libcurl has returned, because libcurl must not be called from its own
 * callbacks.
 */

#include "kube/client/transfer.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "kube/client/transfer_easy.h"
#include "kube/client/http_error.h"
#include "base/log.h"

/* Keepalive: after 15 s of silence three probes, 5 s apart. */
#define KEEPALIVE_IDLE_S     15
#define KEEPALIVE_INTERVAL_S 5
#define KEEPALIVE_PROBES     3

struct http_call {
	struct http *http;
	struct http_easy easy;
	struct http_events events;
	void *context;
	bool is_abort, has_proxy;
	bool is_waiting;   /* not handed to libcurl yet: another call is connecting */
	bool is_connected; /* the connection is established and the request is being sent */
	struct http_outcome outcome;
	size_t kept;
	struct http_call *prev, *next;
};

struct watched_socket {
	uv_poll_t poll;
	struct http *http;
	curl_socket_t fd;
};

struct http {
	uv_timer_t timer;
	uv_timer_t next_call; /* a call ended while it was connecting: starts the next one */
	CURLM *multi;
	http_socket_fn own_socket;
	void *context;
	struct http_call *calls;
	uint64_t woken_ns; /* 0: outside the callbacks of our handles */
	unsigned int open_handles;
	bool is_closing, is_retired;
};

static void http_release(struct http *http)
{
	if (--http->open_handles == 0)
		free(http);
}

static void on_next_call(uv_timer_t *timer);

static void call_free(struct http_call *call)
{
	struct http *http = call->http;

	if (!http->is_closing && !call->is_connected)
		(void)uv_timer_start(&http->next_call, on_next_call, 0, 0);

	DL_DELETE(http->calls, call);
	if (call->easy.curl)
		(void)curl_multi_remove_handle(http->multi, call->easy.curl);
	http_easy_close(&call->easy);
	free(call);
	if (http->is_retired && !http->calls && !http->is_closing)
		http_close(http);
}

static void call_finish(struct http_call *call, CURLcode code)
{
	struct http_outcome outcome;
	const struct http_events events = call->events;
	void *context = call->context;
	curl_off_t retry_after = 0;
	char error[CURL_ERROR_SIZE];

	(void)curl_easy_getinfo(call->easy.curl, CURLINFO_RESPONSE_CODE, &call->outcome.status);
	(void)curl_easy_getinfo(call->easy.curl, CURLINFO_RETRY_AFTER, &retry_after);
	(void)curl_easy_getinfo(call->easy.curl, CURLINFO_TOTAL_TIME, &call->outcome.seconds);
	call->outcome.retry_after_s =
		retry_after > 0 && retry_after < 3600 ? (uint32_t)retry_after : 0;
	call->outcome.is_abort = call->is_abort;
	http_error_describe(call->easy.curl, code, call->easy.error, call->has_proxy, error,
			    sizeof(error));
	outcome = call->outcome;
	outcome.is_distrust = http_error_is_distrust(code);
	outcome.error = code == CURLE_OK ? NULL : error;
	call_free(call);
	events.done(&outcome, context);
}

static void ended_tell(struct http *http)
{
	const CURLMsg *message;
	int left;

	while (!http->is_closing && (message = curl_multi_info_read(http->multi, &left))) {
		struct http_call *call = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		(void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&call);
		call_finish(call, message->data.result);
	}
}

static bool is_connecting(const struct http *http)
{
	const struct http_call *call;

	DL_FOREACH(http->calls, call)
	{
		if (!call->is_waiting && !call->is_connected)
			return true;
	}
	return false;
}

static struct http_call *call_waiting(const struct http *http)
{
	struct http_call *call;

	DL_FOREACH(http->calls, call)
	{
		if (call->is_waiting)
			return call;
	}
	return NULL;
}

/*
 * Whether a connection carries several requests at once (HTTP/2) is known only once it is
 * established. So one call connects at a time, and the others follow, on the same connection if
 * they can. libcurl can do that itself (CURLOPT_PIPEWAIT), but in 8.14 some requests then wait for
 * ever if the server speaks HTTP/1.1.
 */
static void waiting_send(struct http *http)
{
	struct http_call *call;

	while (!http->is_closing && !is_connecting(http) && (call = call_waiting(http))) {
		call->is_waiting = false;
		if (curl_multi_add_handle(http->multi, call->easy.curl))
			call_finish(call, CURLE_OUT_OF_MEMORY);
	}
}

static void http_serve(struct http *http, curl_socket_t fd, int flags)
{
	int running;

	http->woken_ns = uv_hrtime();
	(void)curl_multi_socket_action(http->multi, fd, flags, &running);
	ended_tell(http);
	waiting_send(http);
	http->woken_ns = 0;
}

uint64_t http_woken_ns(const struct http *http)
{
	return http->woken_ns ? http->woken_ns : uv_hrtime();
}

static void on_timer(uv_timer_t *timer)
{
	http_serve(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static void on_next_call(uv_timer_t *timer)
{
	waiting_send(timer->data);
}

static int on_timeout_set(CURLM *multi, long timeout_ms, void *context)
{
	struct http *http = context;

	(void)multi;
	if (http->is_closing)
		return 0;
	if (timeout_ms < 0)
		(void)uv_timer_stop(&http->timer);
	else
		(void)uv_timer_start(&http->timer, on_timer, (uint64_t)timeout_ms, 0);
	return 0;
}

static void on_socket(uv_poll_t *poll, int status, int events)
{
	const struct watched_socket *socket = poll->data;
	int flags = 0;

	if (status < 0)
		flags = CURL_CSELECT_ERR;
	if (events & UV_READABLE)
		flags |= CURL_CSELECT_IN;
	if (events & UV_WRITABLE)
		flags |= CURL_CSELECT_OUT;
	http_serve(socket->http, socket->fd, flags);
}

static void on_socket_closed(uv_handle_t *handle)
{
	struct watched_socket *socket = handle->data;

	http_release(socket->http);
	free(socket);
}

static struct watched_socket *socket_watch(struct http *http, curl_socket_t fd)
{
	struct watched_socket *socket = calloc(1, sizeof(*socket));

	if (!socket)
		return NULL;
	socket->http = http;
	socket->fd = fd;
	if (uv_poll_init_socket(http->timer.loop, &socket->poll, fd)) {
		free(socket);
		return NULL;
	}
	socket->poll.data = socket;
	http->open_handles++;
	(void)curl_multi_assign(http->multi, fd, socket);
	return socket;
}

static int on_socket_wanted(CURL *easy, curl_socket_t fd, int what, void *context, void *assigned)
{
	struct watched_socket *socket = assigned;
	struct http *http = context;
	int events = 0;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (socket) {
			(void)curl_multi_assign(http->multi, fd, NULL);
			(void)uv_poll_stop(&socket->poll);
			uv_close((uv_handle_t *)&socket->poll, on_socket_closed);
		}
		return 0;
	}
	if (!socket)
		socket = socket_watch(http, fd);
	if (!socket)
		return -1;
	if (what & CURL_POLL_IN)
		events |= UV_READABLE;
	if (what & CURL_POLL_OUT)
		events |= UV_WRITABLE;
	return uv_poll_start(&socket->poll, events, on_socket) ? -1 : 0;
}

int http_open(uv_loop_t *loop, http_socket_fn own_socket, void *context, struct http **ret_http)
{
	struct http *http = calloc(1, sizeof(*http));

	if (!http || curl_global_init(CURL_GLOBAL_SSL)) {
		free(http);
		return log_err(-ENOMEM, "cannot set up HTTP");
	}
	http->multi = curl_multi_init();
	if (!http->multi) {
		free(http);
		return log_err(-ENOMEM, "cannot set up HTTP");
	}
	(void)uv_timer_init(loop, &http->timer);
	http->timer.data = http;
	(void)uv_timer_init(loop, &http->next_call);
	http->next_call.data = http;
	http->open_handles = 2;
	http->own_socket = own_socket;
	http->context = context;
	(void)curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, on_socket_wanted);
	(void)curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
	(void)curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_timeout_set);
	(void)curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
	(void)curl_multi_setopt(http->multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
	*ret_http = http;
	return 0;
}

/* Keeps the beginning of an error response from a server or proxy, for messages. */
static void body_keep(struct http_call *call, const char *bytes, size_t size)
{
	size_t room = sizeof(call->outcome.body) - 1 - call->kept;

	if (size > room)
		size = room;
	memcpy(call->outcome.body + call->kept, bytes, size);
	call->kept += size;
}

static size_t on_data(char *bytes, size_t size, size_t count, void *context)
{
	struct http_call *call = context;
	long status = 0;

	(void)curl_easy_getinfo(call->easy.curl, CURLINFO_RESPONSE_CODE, &status);
	if (status < 200 || status > 299) {
		body_keep(call, bytes, size * count);
		return size * count;
	}
	if (call->events.data && call->events.data(bytes, size * count, call->context)) {
		call->is_abort = true;
		return 0; /* consuming fewer bytes makes libcurl fail the transfer */
	}
	return size * count;
}

/* An empty line ends the headers. Interim responses (100 Continue and other 1xx) are skipped. */
static size_t on_header(char *line, size_t size, size_t count, void *context)
{
	const struct http_call *call = context;
	double seconds = 0;
	long status = 0;

	if (size && count && isspace((unsigned char)*line)) {
		(void)curl_easy_getinfo(call->easy.curl, CURLINFO_RESPONSE_CODE, &status);
		(void)curl_easy_getinfo(call->easy.curl, CURLINFO_STARTTRANSFER_TIME, &seconds);
		if (status >= 200 && call->events.begun)
			call->events.begun(status, seconds, call->context);
	}
	return size * count;
}

/*
 * The kernel detects a dead peer: by keepalive while nothing is sent, as in a watch, and by
 * TCP_USER_TIMEOUT while data is unacknowledged.
 */
static int on_socket_made(void *context, curl_socket_t fd, curlsocktype purpose)
{
	const struct http *http = context;
	const int on = 1, idle = KEEPALIVE_IDLE_S, interval = KEEPALIVE_INTERVAL_S;
	const int probes = KEEPALIVE_PROBES;
	const unsigned int unacknowledged_ms =
		(KEEPALIVE_IDLE_S + KEEPALIVE_INTERVAL_S * KEEPALIVE_PROBES) * 1000;

	if (purpose != CURLSOCKTYPE_IPCXN)
		return CURL_SOCKOPT_OK;
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms,
			 sizeof(unacknowledged_ms));
	if (http->own_socket)
		http->own_socket(fd, http->context);
	return CURL_SOCKOPT_OK;
}

static int on_connected(void *context, char *peer, char *own, int peer_port, int own_port)
{
	struct http_call *call = context;

	(void)peer, (void)own, (void)peer_port, (void)own_port;
	call->is_connected = true;
	return CURL_PREREQFUNC_OK;
}

static void call_prepare(struct http_call *call)
{
	CURL *curl = call->easy.curl;

	(void)curl_easy_setopt(curl, CURLOPT_PRIVATE, call);
	(void)curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	(void)curl_easy_setopt(curl, CURLOPT_HEADERDATA, call);
	(void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
	(void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, call);
	(void)curl_easy_setopt(curl, CURLOPT_SOCKOPTFUNCTION, on_socket_made);
	(void)curl_easy_setopt(curl, CURLOPT_SOCKOPTDATA, call->http);
	(void)curl_easy_setopt(curl, CURLOPT_PREREQFUNCTION, on_connected);
	(void)curl_easy_setopt(curl, CURLOPT_PREREQDATA, call);
}

int http_send(struct http *http, const struct http_request *request,
	      const struct http_events *events, void *context, struct http_call **ret_call)
{
	struct http_call *call = calloc(1, sizeof(*call));
	int err;

	if (!call)
		return -ENOMEM;
	call->http = http;
	call->has_proxy = request->proxy_url;
	call->events = *events;
	call->context = context;
	/* Only TLS negotiates HTTP/2 (ALPN); without TLS no call waits for another. */
	call->is_waiting = !strncmp(request->url, "https:", 6) && is_connecting(http);
	DL_APPEND(http->calls, call);
	err = http_easy_open(&call->easy, request);
	if (!err)
		call_prepare(call);
	if (!err && !call->is_waiting && curl_multi_add_handle(http->multi, call->easy.curl))
		err = -ENOMEM;
	if (err) {
		call_free(call);
		return err;
	}
	*ret_call = call;
	return 0;
}

void http_cancel(struct http_call *call)
{
	call_free(call);
}

void http_retire(struct http *http)
{
	if (!http)
		return;
	http->is_retired = true;
	if (!http->calls)
		http_close(http);
}

static void on_timer_closed(uv_handle_t *handle)
{
	http_release(handle->data);
}

void http_close(struct http *http)
{
	struct http_call *call, *next;

	if (!http)
		return;
	http->is_closing = true;
	DL_FOREACH_SAFE(http->calls, call, next)
	{
		call_free(call);
	}
	(void)curl_multi_cleanup(http->multi);
	curl_global_cleanup();
	uv_close((uv_handle_t *)&http->timer, on_timer_closed);
	uv_close((uv_handle_t *)&http->next_call, on_timer_closed);
}
