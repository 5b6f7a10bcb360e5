/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/stale_sockets.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/uthash.h"
#include "fairlead/agent.h"
#include "link/sockets/sockets.h"

/*
 * The time that answers of a departed backend are given to arrive, and the shortest interval
 * between two walks over all sockets.
 */
#define ANSWERS_MS 500

struct departed_backend {
	struct socket_target target;
	uint64_t left_ns; /* uv_hrtime() */
	UT_hash_handle hh;
};

struct stale_sockets {
	uv_timer_t timer; /* runs while there are backends */
	int socket_state_map;
	struct publisher *publisher;
	struct departed_backend *backends; /* uthash */
	bool is_unsupported;
};

int stale_sockets_new(uv_loop_t *loop, int socket_state_map, struct publisher *publisher,
		      struct stale_sockets **ret_stale)
{
	struct stale_sockets *stale = calloc(1, sizeof(*stale));
	int err;

	if (!stale)
		return -ENOMEM;
	stale->socket_state_map = socket_state_map;
	stale->publisher = publisher;
	err = uv_timer_init(loop, &stale->timer);
	if (err) {
		free(stale);
		return err;
	}
	stale->timer.data = stale;
	*ret_stale = stale;
	return 0;
}

static void backend_forget(struct stale_sockets *stale, struct departed_backend *backend)
{
	HASH_DEL(stale->backends, backend);
	free(backend);
}

static void stale_sockets_on_closed(uv_handle_t *handle)
{
	struct stale_sockets *stale = handle->data;
	struct departed_backend *backend, *next;

	HASH_ITER (hh, stale->backends, backend, next)
		backend_forget(stale, backend);
	free(stale);
}

void stale_sockets_close(struct stale_sockets *stale)
{
	if (stale)
		uv_close((uv_handle_t *)&stale->timer, stale_sockets_on_closed);
}

static void backend_add(uint32_t service, const struct ip_addr *addr, __be16 port, void *context)
{
	struct stale_sockets *stale = context;
	struct socket_target target;
	struct departed_backend *backend;
	bool no_memory = false;

	if (stale->is_unsupported)
		return;
	memset(&target, 0, sizeof(target)); /* used as a hash key: padding must be zero */
	target.addr = *addr;
	target.port = port;
	target.service = service;
	HASH_FIND(hh, stale->backends, &target, sizeof(target), backend);
	if (!backend) {
		backend = calloc(1, sizeof(*backend));
		if (backend) {
			backend->target = target;
			HASH_ADD(hh, stale->backends, target, sizeof(backend->target), backend);
		}
		if (!backend || no_memory) {
			free(backend);
			(void)log_err(-ENOMEM,
				      "sockets of a backend that left are not aborted, continuing");
			return;
		}
	}
	backend->left_ns = uv_hrtime();
}

/*
 * Removes the backends that left until `until_ns` from the table, and returns those that have not
 * come back.
 */
static size_t targets_dequeue(struct stale_sockets *stale, uint64_t until_ns,
			      struct socket_target *ret_targets)
{
	struct departed_backend *backend, *next;
	size_t count = 0;

	HASH_ITER (hh, stale->backends, backend, next) {
		if (backend->left_ns > until_ns)
			continue;
		if (!publisher_serves_udp(stale->publisher, backend->target.service,
					  &backend->target.addr, backend->target.port))
			ret_targets[count++] = backend->target;
		backend_forget(stale, backend);
	}
	return count;
}

static void targets_abort(struct stale_sockets *stale, const struct socket_target *targets,
			  size_t count)
{
	unsigned int aborted = 0;
	int err = sockets_abort_udp(stale->socket_state_map, targets, count, &aborted);

	if (err == -EOPNOTSUPP) {
		stale->is_unsupported = true;
		log_warning(
			"this kernel cannot abort sockets (CONFIG_INET_DIAG_DESTROY): "
			"connected UDP sockets stay with a backend that left until they connect again");
	} else if (err) {
		(void)log_err(err, "cannot abort sockets whose backend has left, continuing");
	}
	if (aborted)
		log_info("aborted %u connected UDP sockets whose backend has left", aborted);
}

static void abort_until(struct stale_sockets *stale, uint64_t until_ns)
{
	size_t count = HASH_COUNT(stale->backends);
	auto_cleanup(cleanup_free) struct socket_target *targets = NULL;

	if (!count)
		return;
	targets = calloc(count, sizeof(*targets));
	if (!targets) {
		(void)log_err(-ENOMEM,
			      "sockets of backends that left are aborted later, continuing");
		return;
	}
	count = targets_dequeue(stale, until_ns, targets);
	if (count)
		targets_abort(stale, targets, count);
}

static void stale_sockets_on_timer(uv_timer_t *timer)
{
	struct stale_sockets *stale = timer->data;

	abort_until(stale, uv_hrtime() - ANSWERS_MS * NS_PER_MS);
	if (!stale->backends)
		(void)uv_timer_stop(timer);
}

void stale_sockets_collect(struct stale_sockets *stale)
{
	publisher_drain_departures(stale->publisher, backend_add, stale);
	if (stale->backends && !uv_is_active((uv_handle_t *)&stale->timer))
		(void)uv_timer_start(&stale->timer, stale_sockets_on_timer, ANSWERS_MS, ANSWERS_MS);
}

void stale_sockets_abort_all(struct stale_sockets *stale)
{
	if (stale)
		abort_until(stale, UINT64_MAX);
}

uint32_t stale_sockets_degraded(const struct stale_sockets *stale)
{
	return stale->is_unsupported ? DEGRADED_NO_SOCKET_DESTROY : 0;
}
