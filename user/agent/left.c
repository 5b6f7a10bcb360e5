/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/left.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "fairlead/agent.h"
#include "link/sockets/sockets.h"
#include "base/log.h"

/* How long answers of a backend that left may take, and how often sockets are looked through at
 * most. */
#define ANSWERS_MS 500
#define NS_PER_MS  1000000ULL

struct left_backend {
	struct socket_target target;
	uint64_t left_ns; /* uv_hrtime() */
	UT_hash_handle hh;
};

struct left_sockets {
	uv_timer_t timer; /* runs while there are backends */
	int socket_state_map;
	struct publisher *publisher;
	struct left_backend *backends; /* uthash */
	bool is_unsupported;
};

int left_new(uv_loop_t *loop, int socket_state_map, struct publisher *publisher,
	     struct left_sockets **ret_left)
{
	struct left_sockets *left = calloc(1, sizeof(*left));
	int err;

	if (!left)
		return -ENOMEM;
	left->socket_state_map = socket_state_map;
	left->publisher = publisher;
	err = uv_timer_init(loop, &left->timer);
	if (err) {
		free(left);
		return err;
	}
	left->timer.data = left;
	*ret_left = left;
	return 0;
}

static void backend_forget(struct left_sockets *left, struct left_backend *backend)
{
	HASH_DEL(left->backends, backend);
	free(backend);
}

static void on_closed(uv_handle_t *handle)
{
	struct left_sockets *left = handle->data;
	struct left_backend *backend, *next;

	HASH_ITER (hh, left->backends, backend, next)
		backend_forget(left, backend);
	free(left);
}

void left_close(struct left_sockets *left)
{
	if (left)
		uv_close((uv_handle_t *)&left->timer, on_closed);
}

static void backend_note(uint32_t service, const struct ip_addr *addr, __be16 port, void *context)
{
	struct left_sockets *left = context;
	struct socket_target target;
	struct left_backend *backend;

	if (left->is_unsupported)
		return;
	memset(&target, 0, sizeof(target)); /* it is a key, padding and all */
	target.addr = *addr;
	target.port = port;
	target.service = service;
	HASH_FIND(hh, left->backends, &target, sizeof(target), backend);
	if (!backend) {
		backend = calloc(1, sizeof(*backend));
		if (!backend) {
			(void)log_err(-ENOMEM,
				      "sockets of a backend that left are not told, continuing");
			return;
		}
		backend->target = target;
		HASH_ADD(hh, left->backends, target, sizeof(backend->target), backend);
	}
	backend->left_ns = uv_hrtime();
}

/* Takes those that left until `until_ns` out of the table, and gives those that have not come back.
 */
static size_t targets_take(struct left_sockets *left, uint64_t until_ns,
			   struct socket_target *ret_targets)
{
	struct left_backend *backend, *next;
	size_t count = 0;

	HASH_ITER (hh, left->backends, backend, next) {
		if (backend->left_ns > until_ns)
			continue;
		if (!publisher_serves_udp(left->publisher, backend->target.service,
					  &backend->target.addr, backend->target.port))
			ret_targets[count++] = backend->target;
		backend_forget(left, backend);
	}
	return count;
}

static void targets_tell(struct left_sockets *left, const struct socket_target *targets,
			 size_t count)
{
	unsigned int told = 0;
	int err = sockets_destroy_udp(left->socket_state_map, targets, count, &told);

	if (err == -EOPNOTSUPP) {
		left->is_unsupported = true;
		log_warning("this kernel cannot abort sockets (CONFIG_INET_DIAG_DESTROY): "
			    "connected UDP "
			    "sockets stay with a backend that left until they connect again");
	} else if (err) {
		(void)log_err(err, "cannot tell sockets that their backend left, continuing");
	}
	if (told)
		log_info("aborted %u connected UDP sockets whose backend has left", told);
}

static void tell(struct left_sockets *left, uint64_t until_ns)
{
	size_t count = HASH_COUNT(left->backends);
	struct socket_target *targets;

	if (!count)
		return;
	targets = calloc(count, sizeof(*targets));
	if (!targets) {
		(void)log_err(-ENOMEM, "sockets of backends that left are told later, continuing");
		return;
	}
	count = targets_take(left, until_ns, targets);
	if (count)
		targets_tell(left, targets, count);
	free(targets);
}

static void timer_rang(uv_timer_t *timer)
{
	struct left_sockets *left = timer->data;

	tell(left, uv_hrtime() - ANSWERS_MS * NS_PER_MS);
	if (!left->backends)
		(void)uv_timer_stop(timer);
}

void left_note(struct left_sockets *left)
{
	publisher_drain_left(left->publisher, backend_note, left);
	if (left->backends && !uv_is_active((uv_handle_t *)&left->timer))
		(void)uv_timer_start(&left->timer, timer_rang, ANSWERS_MS, ANSWERS_MS);
}

void left_tell_all(struct left_sockets *left)
{
	if (left)
		tell(left, UINT64_MAX);
}

uint32_t left_degraded(const struct left_sockets *left)
{
	return left->is_unsupported ? DEGRADED_NO_SOCKET_DESTROY : 0;
}
