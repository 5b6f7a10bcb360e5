/* SPDX-License-Identifier: BSD-2-Clause */
#include "link/link_watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "link/link_watch_internal.h"

#define MESSAGE_BUFFER_SIZE 32768

/*
 * Most datagrams read before their changes are reconciled; the rest wait for the next poll event.
 */
#define DATAGRAMS_MAX 4096

/* The first retry of a hook whose place is still taken, and the last; each waits twice as long. */
#define RETRY_FIRST_MS 10
#define RETRY_MAX_MS   640

static void messages_read(struct link_watch *watch)
{
	char buf[MESSAGE_BUFFER_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct netlink_events events = link_tables_events(watch);

	for (int i = 0; i < DATAGRAMS_MAX; i++) {
		ssize_t len = mnl_socket_recvfrom(watch->socket, buf, sizeof(buf));

		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		/* ENOBUFS: the receive buffer overflowed; ENOSPC: a message was too large. */
		if (len < 0 || mnl_cb_run(buf, (size_t)len, 0, 0, netlink_message, &events) < 0)
			watch->messages_lost = true;
		if (len == 0)
			return;
	}
}

static void retry_on_timer(uv_timer_t *timer);

/*
 * The kernel detaches a link whose pin somebody has removed later, from a work queue, and refuses
 * the same program until then. That is over long before the next check of the hooks.
 */
static void retry_occupied(struct link_watch *watch)
{
	if (uv_is_active((uv_handle_t *)&watch->retry) || watch->retry_ms > RETRY_MAX_MS ||
	    !reconcile_mark_occupied(watch))
		return;
	(void)uv_timer_start(&watch->retry, retry_on_timer, watch->retry_ms, 0);
	watch->retry_ms *= 2;
}

static void changes_notify(struct link_watch *watch)
{
	bool addresses_changed = reconcile_marked(watch);

	retry_occupied(watch);
	if (watch->links_changed && watch->events.links_changed)
		watch->events.links_changed(watch->events.context);
	if (addresses_changed && watch->events.addresses_changed)
		watch->events.addresses_changed(watch->events.context);
}

static void retry_on_timer(uv_timer_t *timer)
{
	struct link_watch *watch = timer->data;

	watch->links_changed = false;
	changes_notify(watch);
}

void link_watch_check(struct link_watch *watch, link_lost_fn lost, void *context)
{
	watch->links_changed = false;
	watch->retry_ms = RETRY_FIRST_MS;
	reconcile_check_hooks(watch, lost, context);
	changes_notify(watch);
}

static void link_watch_on_readable(uv_poll_t *poll, int status, int events)
{
	struct link_watch *watch = poll->data;

	(void)events;
	/*
	 * After an overflow the socket reports an error, which makes libuv stop polling it
	 * (UV_EBADF): start again.
	 */
	if (status < 0) {
		watch->messages_lost = true;
		status = uv_poll_start(poll, UV_READABLE, link_watch_on_readable);
	}
	if (status < 0)
		(void)log_err(status, "cannot go on watching links; restart the agent");
	watch->links_changed = false;
	messages_read(watch);
	if (watch->messages_lost) {
		log_warning("messages about links were lost, reading all links again");
		(void)link_tables_read_all(watch);
	}
	changes_notify(watch);
}

static bool ifindex_is_managed(void *context, int ifindex)
{
	const struct watched_link *link = link_find(context, ifindex);

	return link && link_is_managed(link);
}

static void watch_free(struct link_watch **watch)
{
	struct watched_link *link, *next;

	if (!*watch)
		return;
	HASH_ITER (hh, (*watch)->links, link, next) {
		HASH_DEL((*watch)->links, link);
		free(link);
	}
	address_table_fini(&(*watch)->addresses);
	netlink_closep(&(*watch)->socket);
	free(*watch);
}

int link_watch_open(uv_loop_t *loop, const struct link_options *options,
		    const struct link_events *events, struct link_watch **ret_watch)
{
	auto_cleanup(watch_free) struct link_watch *watch = calloc(1, sizeof(*watch));
	int err;

	if (!watch)
		return log_err(-ENOMEM, "cannot watch links");
	watch->options = *options;
	watch->events = *events;
	watch->hooks = (struct hooks){
		.pin_dir = options->pin_dir,
		.programs = options->programs,
		.xdp_program = options->xdp_program,
		.targets_map = options->targets_map,
		.xdp_mode = options->xdp_mode,
		.programs_context = options->programs_context,
		.force_clsact = options->force_clsact,
	};
	/*
	 * Subscribe before the first dump: a change in between is then seen twice rather than
	 * missed.
	 */
	watch->socket = netlink_open_watch();
	if (!watch->socket)
		return log_err(-errno, "cannot listen to rtnetlink");
	err = link_tables_read_all(watch);
	if (err)
		return err;
	reconcile_load_programs(watch);
	err = uv_poll_init(loop, &watch->poll, mnl_socket_get_fd(watch->socket));
	if (err)
		return log_err(err, "cannot poll rtnetlink");
	(void)uv_timer_init(loop, &watch->retry);
	watch->poll.data = watch->retry.data = watch;
	watch->open_handles = 2;
	watch->retry_ms = RETRY_FIRST_MS;
	*ret_watch = take_ptr(watch);
	return 0;
}

int link_watch_begin(struct link_watch *watch)
{
	const struct link_options *options = &watch->options;
	int err;

	(void)reconcile_marked(watch);
	link_maps_sweep(watch);
	/* Hooks of an earlier run: all, or those of links that are gone or no longer managed. */
	err = options->attach ? hook_remove_pins(options->pin_dir, ifindex_is_managed, watch)
			      : hook_detach_all(options->pin_dir);
	if (err)
		return err;
	err = uv_poll_start(&watch->poll, UV_READABLE, link_watch_on_readable);
	if (err)
		return log_err(err, "cannot poll rtnetlink");
	retry_occupied(watch);
	return 0;
}

static void link_watch_on_closed(uv_handle_t *handle)
{
	struct link_watch *watch = handle->data;

	if (!--watch->open_handles)
		watch_free(&watch);
}

void link_watch_close(struct link_watch *watch)
{
	if (!watch)
		return;
	uv_close((uv_handle_t *)&watch->poll, link_watch_on_closed);
	uv_close((uv_handle_t *)&watch->retry, link_watch_on_closed);
}

const struct ip_addr *link_watch_addresses(const struct link_watch *watch, size_t *ret_count)
{
	*ret_count = watch->addresses.count;
	return watch->addresses.addresses;
}

const char *link_watch_owner(const struct link_watch *watch, const struct ip_addr *addr)
{
	const struct watched_link *link =
		link_find(watch, address_table_owner(&watch->addresses, addr));

	return link ? link->facts.name : NULL;
}

struct ip_addr link_watch_node_address(const struct link_watch *watch, enum ip_family family)
{
	return family == FAMILY_IPV4 ? watch->address4 : watch->address6;
}

uint32_t link_watch_degraded(const struct link_watch *watch)
{
	const struct watched_link *link, *next;
	uint32_t degraded = 0;

	if (!watch->options.attach)
		degraded |= DEGRADED_NO_TC_HOOKS;
	if (watch->hooks.lacks_tcx || watch->hooks.force_clsact)
		degraded |= DEGRADED_NO_TCX;
	HASH_ITER (hh, watch->links, link, next) {
		if (link->info.hook == LINK_HOOK_FAILED)
			degraded |= DEGRADED_LINK_FAILED;
		if (link->info.is_strict)
			degraded |= DEGRADED_STRICT_OVERLAY;
		if (link->info.doubt)
			degraded |= DEGRADED_DOUBTFUL_POD;
	}
	return degraded;
}
