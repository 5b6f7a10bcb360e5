/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * libcurl chooses the sockets and timeouts, libuv waits for them. A transfer that has ended is
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

#include "base/clock.h"
#include "base/log.h"
#include "kube/client/transfer_easy.h"

/* Keepalive: after 15 s of silence three probes, 5 s apart. */
#define KEEPALIVE_IDLE_S     15
#define KEEPALIVE_INTERVAL_S 5
#define KEEPALIVE_PROBES     3

struct transfer {
	struct transfer_pool *pool;
	struct transfer_easy easy;
	struct transfer_events events;
	void *context;
	bool is_abort;
	bool is_waiting;   /* not handed to libcurl yet: another one is connecting */
	bool is_connected; /* the connection is established and the request is being sent */
	struct transfer_outcome outcome;
	size_t kept;
	struct transfer *prev, *next;
};

struct transfer_socket {
	uv_poll_t poll;
	struct transfer_pool *pool;
	curl_socket_t fd;
};

struct transfer_pool {
	uv_timer_t timer;
	uv_timer_t next_start; /* one ended while it was connecting: starts the next */
	CURLM *multi;
	transfer_socket_fn own_socket;
	void *context;
	struct transfer *transfers;
	uint64_t woken_ns; /* 0: outside the callbacks of our handles */
	unsigned int open_handles;
	bool is_closing, is_retired;
};

static void transfer_pool_release(struct transfer_pool *pool)
{
	if (--pool->open_handles == 0)
		free(pool);
}

static void transfer_pool_on_next(uv_timer_t *timer);

static void transfer_free(struct transfer *transfer)
{
	struct transfer_pool *pool = transfer->pool;

	if (!pool->is_closing && !transfer->is_connected)
		(void)uv_timer_start(&pool->next_start, transfer_pool_on_next, 0, 0);

	DL_DELETE(pool->transfers, transfer);
	if (transfer->easy.curl)
		(void)curl_multi_remove_handle(pool->multi, transfer->easy.curl);
	transfer_easy_close(&transfer->easy);
	free(transfer);
	if (pool->is_retired && !pool->transfers && !pool->is_closing)
		transfer_pool_close(pool);
}

static void transfer_finish(struct transfer *transfer, CURLcode code)
{
	struct transfer_outcome outcome;
	const struct transfer_events events = transfer->events;
	void *context = transfer->context;
	curl_off_t retry_after = 0;
	char error[CURL_ERROR_SIZE];

	(void)curl_easy_getinfo(transfer->easy.curl, CURLINFO_RESPONSE_CODE,
				&transfer->outcome.status);
	(void)curl_easy_getinfo(transfer->easy.curl, CURLINFO_RETRY_AFTER, &retry_after);
	(void)curl_easy_getinfo(transfer->easy.curl, CURLINFO_TOTAL_TIME,
				&transfer->outcome.seconds);
	transfer->outcome.retry_after_s =
		retry_after > 0 && retry_after < 3600 ? (uint32_t)retry_after : 0;
	transfer->outcome.is_abort = transfer->is_abort;
	transfer_easy_describe(&transfer->easy, code, error, sizeof(error));
	outcome = transfer->outcome;
	outcome.is_distrust = transfer_easy_is_distrust(code);
	outcome.error = code == CURLE_OK ? NULL : error;
	transfer_free(transfer);
	events.done(&outcome, context);
}

static void transfer_pool_finish_ended(struct transfer_pool *pool)
{
	const CURLMsg *message;
	int left;

	while (!pool->is_closing && (message = curl_multi_info_read(pool->multi, &left))) {
		struct transfer *transfer = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		(void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
		transfer_finish(transfer, message->data.result);
	}
}

static bool transfer_pool_is_connecting(const struct transfer_pool *pool)
{
	const struct transfer *transfer;

	DL_FOREACH(pool->transfers, transfer)
	{
		if (!transfer->is_waiting && !transfer->is_connected)
			return true;
	}
	return false;
}

static struct transfer *transfer_pool_waiting(const struct transfer_pool *pool)
{
	struct transfer *transfer;

	DL_FOREACH(pool->transfers, transfer)
	{
		if (transfer->is_waiting)
			return transfer;
	}
	return NULL;
}

/*
 * Whether a connection carries several requests at once (HTTP/2) is known only once it is
 * established. So one transfer connects at a time, and the others follow, on the same connection
 * if they can. libcurl can do that itself (CURLOPT_PIPEWAIT), but in 8.14 some requests then wait
 * for ever if the server speaks HTTP/1.1.
 */
static void transfer_pool_start_waiting(struct transfer_pool *pool)
{
	struct transfer *transfer;

	while (!pool->is_closing && !transfer_pool_is_connecting(pool) &&
	       (transfer = transfer_pool_waiting(pool))) {
		transfer->is_waiting = false;
		if (curl_multi_add_handle(pool->multi, transfer->easy.curl))
			transfer_finish(transfer, CURLE_OUT_OF_MEMORY);
	}
}

static void transfer_pool_serve(struct transfer_pool *pool, curl_socket_t fd, int flags)
{
	int running;

	pool->woken_ns = uv_hrtime();
	(void)curl_multi_socket_action(pool->multi, fd, flags, &running);
	transfer_pool_finish_ended(pool);
	transfer_pool_start_waiting(pool);
	pool->woken_ns = 0;
}

uint64_t transfer_pool_woken_ns(const struct transfer_pool *pool)
{
	return pool->woken_ns ? pool->woken_ns : uv_hrtime();
}

static void transfer_pool_on_timer(uv_timer_t *timer)
{
	transfer_pool_serve(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static void transfer_pool_on_next(uv_timer_t *timer)
{
	transfer_pool_start_waiting(timer->data);
}

static int transfer_pool_on_timeout_set(CURLM *multi, long timeout_ms, void *context)
{
	struct transfer_pool *pool = context;

	(void)multi;
	if (pool->is_closing)
		return 0;
	if (timeout_ms < 0)
		(void)uv_timer_stop(&pool->timer);
	else
		(void)uv_timer_start(&pool->timer, transfer_pool_on_timer, (uint64_t)timeout_ms, 0);
	return 0;
}

static void transfer_socket_on_ready(uv_poll_t *poll, int status, int events)
{
	const struct transfer_socket *socket = poll->data;
	int flags = 0;

	if (status < 0)
		flags = CURL_CSELECT_ERR;
	if (events & UV_READABLE)
		flags |= CURL_CSELECT_IN;
	if (events & UV_WRITABLE)
		flags |= CURL_CSELECT_OUT;
	transfer_pool_serve(socket->pool, socket->fd, flags);
}

static void transfer_socket_on_closed(uv_handle_t *handle)
{
	struct transfer_socket *socket = handle->data;

	transfer_pool_release(socket->pool);
	free(socket);
}

static struct transfer_socket *transfer_socket_watch(struct transfer_pool *pool, curl_socket_t fd)
{
	struct transfer_socket *socket = calloc(1, sizeof(*socket));

	if (!socket)
		return NULL;
	socket->pool = pool;
	socket->fd = fd;
	if (uv_poll_init_socket(pool->timer.loop, &socket->poll, fd)) {
		free(socket);
		return NULL;
	}
	socket->poll.data = socket;
	pool->open_handles++;
	(void)curl_multi_assign(pool->multi, fd, socket);
	return socket;
}

static int transfer_socket_on_wanted(CURL *easy, curl_socket_t fd, int what, void *context,
				     void *assigned)
{
	struct transfer_socket *socket = assigned;
	struct transfer_pool *pool = context;
	int events = 0;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (socket) {
			(void)curl_multi_assign(pool->multi, fd, NULL);
			(void)uv_poll_stop(&socket->poll);
			uv_close((uv_handle_t *)&socket->poll, transfer_socket_on_closed);
		}
		return 0;
	}
	if (!socket)
		socket = transfer_socket_watch(pool, fd);
	if (!socket)
		return -1;
	if (what & CURL_POLL_IN)
		events |= UV_READABLE;
	if (what & CURL_POLL_OUT)
		events |= UV_WRITABLE;
	return uv_poll_start(&socket->poll, events, transfer_socket_on_ready) ? -1 : 0;
}

int transfer_pool_open(uv_loop_t *loop, transfer_socket_fn own_socket, void *context,
		       struct transfer_pool **ret_pool)
{
	struct transfer_pool *pool = calloc(1, sizeof(*pool));

	if (!pool || curl_global_init(CURL_GLOBAL_SSL)) {
		free(pool);
		return log_err(-ENOMEM, "cannot set up HTTP");
	}
	pool->multi = curl_multi_init();
	if (!pool->multi) {
		free(pool);
		return log_err(-ENOMEM, "cannot set up HTTP");
	}
	(void)uv_timer_init(loop, &pool->timer);
	pool->timer.data = pool;
	(void)uv_timer_init(loop, &pool->next_start);
	pool->next_start.data = pool;
	pool->open_handles = 2;
	pool->own_socket = own_socket;
	pool->context = context;
	(void)curl_multi_setopt(pool->multi, CURLMOPT_SOCKETFUNCTION, transfer_socket_on_wanted);
	(void)curl_multi_setopt(pool->multi, CURLMOPT_SOCKETDATA, pool);
	(void)curl_multi_setopt(pool->multi, CURLMOPT_TIMERFUNCTION, transfer_pool_on_timeout_set);
	(void)curl_multi_setopt(pool->multi, CURLMOPT_TIMERDATA, pool);
	(void)curl_multi_setopt(pool->multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
	*ret_pool = pool;
	return 0;
}

static size_t transfer_on_data(char *bytes, size_t unit, size_t count, void *context)
{
	struct transfer *transfer = context;
	const struct transfer_events *events = &transfer->events;
	size_t size = unit * count;
	long status = 0;

	(void)curl_easy_getinfo(transfer->easy.curl, CURLINFO_RESPONSE_CODE, &status);
	if (status < 200 || status > 299) {
		/* The beginning of an error response, from a server or a proxy, for messages. */
		size_t room = sizeof(transfer->outcome.body) - 1 - transfer->kept;
		size_t kept = size < room ? size : room;

		memcpy(transfer->outcome.body + transfer->kept, bytes, kept);
		transfer->kept += kept;
	} else if (events->data && events->data(bytes, size, transfer->context)) {
		transfer->is_abort = true;
		return 0; /* consuming fewer bytes makes libcurl fail the transfer */
	}
	return size;
}

/* An empty line ends the headers. Interim responses (100 Continue and other 1xx) are skipped. */
static size_t transfer_on_header(char *line, size_t size, size_t count, void *context)
{
	const struct transfer *transfer = context;
	double seconds = 0;
	long status = 0;

	if (size && count && isspace((unsigned char)*line)) {
		(void)curl_easy_getinfo(transfer->easy.curl, CURLINFO_RESPONSE_CODE, &status);
		(void)curl_easy_getinfo(transfer->easy.curl, CURLINFO_STARTTRANSFER_TIME, &seconds);
		if (status >= 200 && transfer->events.begun)
			transfer->events.begun(status, seconds, transfer->context);
	}
	return size * count;
}

/*
 * The kernel detects a dead peer: by keepalive while nothing is sent, as in a watch, and by
 * TCP_USER_TIMEOUT while data is unacknowledged.
 */
static int transfer_socket_on_made(void *context, curl_socket_t fd, curlsocktype purpose)
{
	const struct transfer_pool *pool = context;
	const int on = 1, idle = KEEPALIVE_IDLE_S, interval = KEEPALIVE_INTERVAL_S;
	const int probes = KEEPALIVE_PROBES;
	const unsigned int unacknowledged_ms =
		(KEEPALIVE_IDLE_S + KEEPALIVE_INTERVAL_S * KEEPALIVE_PROBES) * MS_PER_S;

	if (purpose != CURLSOCKTYPE_IPCXN)
		return CURL_SOCKOPT_OK;
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms,
			 sizeof(unacknowledged_ms));
	if (pool->own_socket)
		pool->own_socket(fd, pool->context);
	return CURL_SOCKOPT_OK;
}

static int transfer_on_connected(void *context, char *peer, char *own, int peer_port, int own_port)
{
	struct transfer *transfer = context;

	(void)peer, (void)own, (void)peer_port, (void)own_port;
	transfer->is_connected = true;
	return CURL_PREREQFUNC_OK;
}

static void transfer_set_callbacks(struct transfer *transfer)
{
	CURL *curl = transfer->easy.curl;

	(void)curl_easy_setopt(curl, CURLOPT_PRIVATE, transfer);
	(void)curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, transfer_on_header);
	(void)curl_easy_setopt(curl, CURLOPT_HEADERDATA, transfer);
	(void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, transfer_on_data);
	(void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer);
	(void)curl_easy_setopt(curl, CURLOPT_SOCKOPTFUNCTION, transfer_socket_on_made);
	(void)curl_easy_setopt(curl, CURLOPT_SOCKOPTDATA, transfer->pool);
	(void)curl_easy_setopt(curl, CURLOPT_PREREQFUNCTION, transfer_on_connected);
	(void)curl_easy_setopt(curl, CURLOPT_PREREQDATA, transfer);
}

int transfer_start(struct transfer_pool *pool, const struct transfer_request *request,
		   const struct transfer_events *events, void *context,
		   struct transfer **ret_transfer)
{
	struct transfer *transfer = calloc(1, sizeof(*transfer));
	int err;

	if (!transfer)
		return -ENOMEM;
	transfer->pool = pool;
	transfer->events = *events;
	transfer->context = context;
	/* Only TLS negotiates HTTP/2 (ALPN); without TLS none waits for another. */
	transfer->is_waiting =
		!strncmp(request->url, "https:", 6) && transfer_pool_is_connecting(pool);
	DL_APPEND(pool->transfers, transfer);
	err = transfer_easy_open(&transfer->easy, request);
	if (err) {
		transfer_free(transfer);
		return err;
	}
	transfer_set_callbacks(transfer);
	if (!transfer->is_waiting && curl_multi_add_handle(pool->multi, transfer->easy.curl)) {
		transfer_free(transfer);
		return -ENOMEM;
	}
	*ret_transfer = transfer;
	return 0;
}

void transfer_cancel(struct transfer *transfer)
{
	transfer_free(transfer);
}

void transfer_pool_retire(struct transfer_pool *pool)
{
	if (!pool)
		return;
	pool->is_retired = true;
	if (!pool->transfers)
		transfer_pool_close(pool);
}

static void transfer_pool_on_closed(uv_handle_t *handle)
{
	transfer_pool_release(handle->data);
}

void transfer_pool_close(struct transfer_pool *pool)
{
	struct transfer *transfer, *next;

	if (!pool)
		return;
	pool->is_closing = true;
	DL_FOREACH_SAFE(pool->transfers, transfer, next)
	{
		transfer_free(transfer);
	}
	(void)curl_multi_cleanup(pool->multi);
	curl_global_cleanup();
	uv_close((uv_handle_t *)&pool->timer, transfer_pool_on_closed);
	uv_close((uv_handle_t *)&pool->next_start, transfer_pool_on_closed);
}
