/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/refused_binds.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/rate_limit.h"
#include "base/text.h"
#include "fairlead/types.h"

#define LINES_A_MINUTE 16

struct refused_binds {
	uv_poll_t poll;
	struct ring_buffer *ring;
	int service_names;
	struct rate_limit_entry logged[LINES_A_MINUTE];
};

/* One process and port. */
struct limit_key {
	struct frontend wanted;
	char process[PROCESS_NAME_SIZE];
};
_Static_assert(sizeof(struct limit_key) <= RATE_LIMIT_KEY_SIZE, "it is a key of a rate limit");

/* A process name may contain any bytes. */
static void process_format(const char process[PROCESS_NAME_SIZE], char text[PROCESS_NAME_SIZE])
{
	memcpy(text, process, PROCESS_NAME_SIZE);
	text[PROCESS_NAME_SIZE - 1] = '\0';
	text_make_plain(text);
}

static int refused_binds_on_attempt(void *context, void *data, size_t size)
{
	struct refused_binds *binds = context;
	struct bind_attempt attempt;
	struct limit_key key;
	struct service_name name = {};
	char place[ADDRESS_TEXT_SIZE], process[PROCESS_NAME_SIZE];

	if (size < sizeof(attempt))
		return 0;
	memcpy(&attempt, data, sizeof(attempt));
	key.wanted = attempt.wanted;
	memcpy(key.process, attempt.process, sizeof(key.process));
	if (!rate_limit_allows(binds->logged, LINES_A_MINUTE, &key, sizeof(key), uv_hrtime()))
		return 0;
	if (bpf_map_lookup_elem(binds->service_names, &attempt.service, &name))
		(void)snprintf(name.name, sizeof(name.name), "(gone since)");
	process_format(attempt.process, process);
	log_warning(
		"process %s (pid %u) was not allowed to bind %s/%s: it is the NodePort of service "
		"%.63s%s%.63s",
		process, attempt.pid,
		endpoint_format(&attempt.wanted.vip, attempt.wanted.port, place),
		proto_name(attempt.wanted.proto), name.namespace_, *name.namespace_ ? "/" : "",
		name.name);
	return 0;
}

static void refused_binds_on_readable(uv_poll_t *poll, int status, int events)
{
	struct refused_binds *binds = poll->data;

	(void)events;
	if (status < 0)
		(void)log_err(status,
			      "cannot go on reading which processes are refused a NodePort");
	else
		(void)ring_buffer__consume(binds->ring);
}

static void refused_binds_free(struct refused_binds *binds)
{
	ring_buffer__free(binds->ring);
	free(binds);
}

static void refused_binds_freep(struct refused_binds **binds)
{
	if (*binds)
		refused_binds_free(*binds);
}

static void refused_binds_on_closed(uv_handle_t *handle)
{
	refused_binds_free(handle->data);
}

int refused_binds_open(uv_loop_t *loop, int bind_attempts, int service_names,
		       struct refused_binds **ret_binds)
{
	auto_cleanup(refused_binds_freep) struct refused_binds *binds = calloc(1, sizeof(*binds));
	int err;

	if (!binds)
		return log_err(-ENOMEM, "cannot read which processes are refused a NodePort");
	binds->service_names = service_names;
	binds->ring = ring_buffer__new(bind_attempts, refused_binds_on_attempt, binds, NULL);
	if (!binds->ring)
		return log_err(-errno, "cannot read which processes are refused a NodePort");
	err = uv_poll_init(loop, &binds->poll, ring_buffer__epoll_fd(binds->ring));
	if (err)
		return log_err(err, "cannot poll which processes are refused a NodePort");
	binds->poll.data = binds;
	err = uv_poll_start(&binds->poll, UV_READABLE, refused_binds_on_readable);
	if (err) {
		refused_binds_close(take_ptr(binds));
		return log_err(err, "cannot poll which processes are refused a NodePort");
	}
	/* Also log the attempts that were recorded before this start. */
	(void)ring_buffer__consume(binds->ring);
	*ret_binds = take_ptr(binds);
	return 0;
}

void refused_binds_close(struct refused_binds *binds)
{
	if (binds)
		uv_close((uv_handle_t *)&binds->poll, refused_binds_on_closed);
}
