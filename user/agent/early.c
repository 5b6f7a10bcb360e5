/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/early.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/log.h"

/* Frontends that come in this time share one look through the sockets. */
#define GATHER_MS 100

struct early {
	uv_timer_t timer;
	struct early_sockets_options options;
	struct publisher *publisher;
	bool is_unsupported;
};

int early_new(uv_loop_t *loop, const struct early_sockets_options *options,
	      struct publisher *publisher, struct early **ret_early)
{
	struct early *early = calloc(1, sizeof(*early));
	int err;

	if (!early)
		return -ENOMEM;
	early->options = *options;
	early->publisher = publisher;
	err = uv_timer_init(loop, &early->timer);
	if (err) {
		free(early);
		return err;
	}
	early->timer.data = early;
	*ret_early = early;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void early_close(struct early *early)
{
	if (early)
		uv_close((uv_handle_t *)&early->timer, on_closed);
}

static void look(uv_timer_t *timer)
{
	struct early *early = timer->data;
	unsigned int count = 0;
	int err = early_sockets_reconnect(&early->options, &count);

	if (err == -EOPNOTSUPP) {
		early->is_unsupported = true;
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
		log_info("connected %u UDP sockets again: a Service has come to where they were "
			 "connected",
			 count);
}

void early_note(struct early *early)
{
	if (!early || !publisher_take_new_udp(early->publisher) || early->is_unsupported)
		return;
	(void)uv_timer_start(&early->timer, look, GATHER_MS, 0);
}
