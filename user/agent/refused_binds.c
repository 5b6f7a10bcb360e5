/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/refused_binds.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "fairlead/types.h"
#include "base/log.h"

/*
 * Each process is logged at most once a minute for the same port, and at most TOLD_MAX attempts per
 * minute: a process can retry faster than a log is read.
 */
#define TOLD_MAX      16
#define TELL_AGAIN_NS 60000000000ULL

struct told {
	struct frontend wanted;
	char process[PROCESS_NAME_SIZE];
	uint64_t at_ns; /* 0: nothing yet */
};

struct bind_watch {
	uv_poll_t poll;
	struct ring_buffer *ring;
	int service_names;
	struct told told[TOLD_MAX];
};

/* True once a minute for one process name and port. */
static bool is_news(struct bind_watch *watch, const struct bind_attempt *attempt)
{
	struct told *oldest = watch->told;
	uint64_t now_ns = uv_hrtime();

	for (size_t i = 0; i < TOLD_MAX; i++) {
		struct told *told = &watch->told[i];

		if (told->at_ns && now_ns - told->at_ns < TELL_AGAIN_NS &&
		    !memcmp(&told->wanted, &attempt->wanted, sizeof(told->wanted)) &&
		    !memcmp(told->process, attempt->process, sizeof(told->process)))
			return false;
		if (told->at_ns < oldest->at_ns)
			oldest = told;
	}
	if (oldest->at_ns && now_ns - oldest->at_ns < TELL_AGAIN_NS)
		return false;
	oldest->wanted = attempt->wanted;
	memcpy(oldest->process, attempt->process, sizeof(oldest->process));
	oldest->at_ns = now_ns;
	return true;
}

/* A process name may contain any bytes. */
static void process_format(const char process[PROCESS_NAME_SIZE], char text[PROCESS_NAME_SIZE])
{
	memcpy(text, process, PROCESS_NAME_SIZE);
	text[PROCESS_NAME_SIZE - 1] = '\0';
	for (; *text; text++) {
		if (*text < ' ' || *text > '~')
			*text = '?';
	}
}

static int on_attempt(void *context, void *data, size_t size)
{
	struct bind_watch *watch = context;
	struct bind_attempt attempt;
	struct service_name name = {};
	char place[ADDRESS_TEXT_SIZE], process[PROCESS_NAME_SIZE];

	if (size < sizeof(attempt))
		return 0;
	memcpy(&attempt, data, sizeof(attempt));
	if (!is_news(watch, &attempt))
		return 0;
	if (bpf_map_lookup_elem(watch->service_names, &attempt.service, &name))
		(void)snprintf(name.name, sizeof(name.name), "(gone since)");
	process_format(attempt.process, process);
	log_warning("process %s (pid %u) was refused to bind %s/%s: it is the NodePort of service "
		    "%.63s%s%.63s",
		    process, attempt.pid,
		    endpoint_format(&attempt.wanted.vip, attempt.wanted.port, place),
		    proto_name(attempt.wanted.proto), name.namespace_, *name.namespace_ ? "/" : "",
		    name.name);
	return 0;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct bind_watch *watch = poll->data;

	(void)events;
	if (status < 0)
		(void)log_err(status, "cannot go on reading who is refused NodePorts");
	else
		(void)ring_buffer__consume(watch->ring);
}

static void watch_free(struct bind_watch *watch)
{
	ring_buffer__free(watch->ring);
	free(watch);
}

static void watch_freep(struct bind_watch **watch)
{
	if (*watch)
		watch_free(*watch);
}

static void on_closed(uv_handle_t *handle)
{
	watch_free(handle->data);
}

int bind_watch_open(uv_loop_t *loop, int bind_attempts, int service_names,
		    struct bind_watch **ret_watch)
{
	auto_cleanup(watch_freep) struct bind_watch *watch = calloc(1, sizeof(*watch));
	int err;

	if (!watch)
		return log_err(-ENOMEM, "cannot read who is refused NodePorts");
	watch->service_names = service_names;
	watch->ring = ring_buffer__new(bind_attempts, on_attempt, watch, NULL);
	if (!watch->ring)
		return log_err(-errno, "cannot read who is refused NodePorts");
	err = uv_poll_init(loop, &watch->poll, ring_buffer__epoll_fd(watch->ring));
	if (err)
		return log_err(err, "cannot poll who is refused NodePorts");
	watch->poll.data = watch;
	err = uv_poll_start(&watch->poll, UV_READABLE, on_readable);
	if (err) {
		bind_watch_close(take_ptr(watch));
		return log_err(err, "cannot poll who is refused NodePorts");
	}
	/* Also log the attempts that were recorded before this start. */
	(void)ring_buffer__consume(watch->ring);
	*ret_watch = take_ptr(watch);
	return 0;
}

void bind_watch_close(struct bind_watch *watch)
{
	if (watch)
		uv_close((uv_handle_t *)&watch->poll, on_closed);
}
