/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/socket_reconnect.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/log.h"

/* Frontends added within this time share one walk over the sockets. */
#define GATHER_MS 100

struct socket_reconnect {
	uv_timer_t timer;
	struct early_sockets_options options;
	struct publisher *publisher;
	bool is_unsupported;
};

int socket_reconnect_new(uv_loop_t *loop, const struct early_sockets_options *options,
			 struct publisher *publisher, struct socket_reconnect **ret_reconnect)
{
	struct socket_reconnect *reconnect = calloc(1, sizeof(*reconnect));
	int err;

	if (!reconnect)
		return -ENOMEM;
	reconnect->options = *options;
	reconnect->publisher = publisher;
	err = uv_timer_init(loop, &reconnect->timer);
	if (err) {
		free(reconnect);
		return err;
	}
	reconnect->timer.data = reconnect;
	*ret_reconnect = reconnect;
	return 0;
}

static void socket_reconnect_on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void socket_reconnect_close(struct socket_reconnect *reconnect)
{
	if (reconnect)
		uv_close((uv_handle_t *)&reconnect->timer, socket_reconnect_on_closed);
}

static void socket_reconnect_on_timer(uv_timer_t *timer)
{
	struct socket_reconnect *reconnect = timer->data;
	unsigned int count = 0;
	int err = early_sockets_reconnect(&reconnect->options, &count);

	if (err == -EOPNOTSUPP) {
		reconnect->is_unsupported = true;
		log_warning("this kernel does not list UDP sockets (CONFIG_INET_UDP_DIAG): those "
			    "that were connected to a NodePort before it was there do not reach it "
			    "until they connect again");
	} else if (err == -EPERM) {
		(void)log_err(err, "UDP sockets of some processes, connected to a NodePort before "
				   "it was there, do not reach it: the agent needs CAP_SYS_PTRACE "
				   "to see them");
	} else if (err) {
		(void)log_err(err, "cannot look for UDP sockets that were connected to a NodePort "
				   "before it was there, continuing");
	}
	if (count)
		log_info("connected %u UDP sockets again: a Service now has the address that they "
			 "were connected to",
			 count);
}

void socket_reconnect_schedule(struct socket_reconnect *reconnect)
{
	if (!reconnect || !publisher_poll_new_udp(reconnect->publisher) ||
	    reconnect->is_unsupported)
		return;
	(void)uv_timer_start(&reconnect->timer, socket_reconnect_on_timer, GATHER_MS, 0);
}
