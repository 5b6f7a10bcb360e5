/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/hook_guard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/event_posts.h"
#include "agent/node_port_addresses.h"
#include "agent/node_port_range.h"
#include "agent/plane.h"
#include "agent/telemetry.h"
#include "base/clock.h"
#include "base/log.h"
#include "datapath/datapath.h"
#include "fairlead/agent.h"
#include "link/hooks/cgroup.h"
#include "link/hooks/other_instance.h"
#include "link/link_watch.h"
#include "metrics/fairlead_metrics.h"
#include "node/forward_policy.h"

#define NOTE_SIZE 256

struct hook_guard {
	uv_timer_t timer;
	struct hook_guard_options options;
	struct plane *plane; /* NULL: none */
	unsigned int other_hooks;
	bool drops_forwarded;
	bool has_local_node_ports; /* NodePorts that sockets of the node may get as their port */
	int pins_err; /* why the pins cannot be reached, as it was logged; 0: they can */
};

/* Hooks of another instance, and the first of them in words. */
struct other_hooks {
	unsigned int count;
	char first[OTHER_HOOK_TEXT_SIZE];
};

/* Called by link_watch_check(), which logs it and attaches the hook again. */
static void hook_guard_on_link_lost(const char *link, const char *hook, void *context)
{
	const struct hook_guard *guard = context;
	char note[NOTE_SIZE];

	(void)snprintf(
		note, sizeof(note),
		"Somebody has removed or replaced the %s hook of link %s; it is attached again",
		hook, link);
	fairlead_metrics_hooks_lost(guard->options.telemetry->fairlead,
				    strcmp(hook, "XDP") ? "tc" : "xdp", 1);
	event_post_hook_lost(guard->options.source, note);
}

static void socket_hooks_report_lost(const struct hook_guard_options *options, int missing)
{
	char note[NOTE_SIZE];

	(void)snprintf(
		note, sizeof(note),
		"Somebody has removed or replaced %d socket hook%s of the cgroup %s; %s attached again",
		missing, missing == 1 ? "" : "s", options->cgroup,
		missing == 1 ? "it is" : "they are");
	log_warning("%s", note);
	fairlead_metrics_hooks_lost(options->telemetry->fairlead, "socket", (unsigned int)missing);
	event_post_hook_lost(options->source, note);
}

static void socket_hooks_check(const struct hook_guard *guard)
{
	const struct hook_guard_options *options = &guard->options;
	struct cgroup_program programs[SOCKET_PROGRAM_COUNT];
	int count = (int)datapath_socket_programs(guard->plane->datapath, programs), missing;

	missing = cgroup_count_missing(options->cgroup, options->pin_dir, programs, (size_t)count);
	if (missing > 0) {
		socket_hooks_report_lost(options, missing);
		/* cgroup_attach() logs its own errors. */
		if (!cgroup_attach(options->cgroup, options->pin_dir, programs, (size_t)count))
			missing = 0;
	} else if (missing < 0) {
		(void)log_err(missing, "cannot check the socket hooks of the cgroup %s",
			      options->cgroup);
		missing = count;
	}
	telemetry_socket_hooks(options->telemetry, (unsigned int)(count - missing),
			       (unsigned int)missing);
}

static bool other_hooks_add(void *context, int link, const struct bpf_link_info *info)
{
	struct other_hooks *others = context;

	(void)link;
	if (!others->count++)
		(void)other_hook_text(info, others->first);
	return true;
}

static void other_hooks_check(struct hook_guard *guard)
{
	const struct hook_guard_options *options = &guard->options;
	struct other_hooks others = {};

	/* Without CAP_SYS_ADMIN the agent cannot tell; `fairlead status` can, if root runs it. */
	if (other_instance_find(options->pin_dir, options->cgroup, 0, other_hooks_add, &others) ||
	    others.count == guard->other_hooks)
		return;
	guard->other_hooks = others.count;
	if (others.count)
		log_warning("%u hook%s of another fairlead %s where ours are (%s), and serve%s "
			    "Services as it last knew them: stop its agent if one runs, and run "
			    "`fairlead cleanup --others --pin-dir %s%s%s`",
			    others.count, others.count == 1 ? "" : "s",
			    others.count == 1 ? "is" : "are", others.first,
			    others.count == 1 ? "s" : "", options->pin_dir,
			    options->cgroup ? " --cgroup " : "",
			    options->cgroup ? options->cgroup : "");
	else
		log_info("the hooks of another fairlead are gone");
	options->degraded_changed(options->context);
}

static void forward_policy_check(struct hook_guard *guard)
{
	char chains[FORWARD_POLICY_SIZE];
	bool drops;

	/* Unreadable: keep the previous result. */
	if (forward_policy_read(chains))
		return;
	drops = *chains;
	if (drops == guard->drops_forwarded)
		return;
	guard->drops_forwarded = drops;
	if (drops)
		log_warning("netfilter drops forwarded packets by policy (%s): clients reach "
			    "backends on this node only where a rule accepts packets to the "
			    "backends' addresses, and replies. kube-proxy has such rules of its "
			    "own, fairlead makes none",
			    chains);
	else
		log_info("netfilter drops no forwarded packets by policy any more");
	guard->options.degraded_changed(guard->options.context);
}

static void node_port_range_check(struct hook_guard *guard)
{
	struct node_port_range range = {};

	/* Where no NodePort is served, it is a socket's like any other. */
	if (guard->options.node_ports->count && node_port_range_read(guard->options.model, &range))
		return;
	if (!range.count == !guard->has_local_node_ports)
		return;
	guard->has_local_node_ports = range.count;
	if (range.count)
		log_warning("%zu NodePort%s (%s%s) may become the port of a socket of this node, "
			    "as net.ipv4.ip_local_port_range is %u-%u: one that listens there "
			    "without having asked for that port, or an unconnected UDP socket "
			    "older than the NodePort, hears nothing from other hosts. Add the "
			    "range of NodePorts to net.ipv4.ip_local_reserved_ports",
			    range.count, range.count == 1 ? "" : "s", range.first,
			    range.count == 1 ? "" : ", ...", range.min, range.max);
	else
		log_info("no NodePort may become the port of a socket of this node any more");
	guard->options.degraded_changed(guard->options.context);
}

void hook_guard_check_surroundings(struct hook_guard *guard)
{
	other_hooks_check(guard);
	forward_policy_check(guard);
	node_port_range_check(guard);
}

uint32_t hook_guard_degraded(const struct hook_guard *guard)
{
	return (guard->other_hooks ? DEGRADED_OTHER_INSTANCE : 0) |
	       (guard->drops_forwarded ? DEGRADED_FORWARD_POLICY : 0) |
	       (guard->has_local_node_ports ? DEGRADED_NODEPORT_RANGE : 0);
}

static const char *pins_remedy(int err)
{
	switch (err) {
	case -ENODEV:
		return "no bpffs is mounted there, mount one or restart the agent";
	case -EBUSY:
		return "another agent uses what is there now, stop it";
	default:
		return "restart the agent";
	}
}

bool hook_guard_pins_are_reachable(struct hook_guard *guard)
{
	const char *pin_dir = guard->options.pin_dir;
	const int err = datapath_restore_pins(guard->plane->datapath);

	if (err > 0)
		log_warning("the pins in %s were removed, or something was unmounted or mounted "
			    "there: they are pinned again",
			    pin_dir);
	if (err < 0 && err != guard->pins_err)
		log_error("the pins in %s are out of reach (%s): %s. Until then Services work on, "
			  "but hooks are not looked after, maps do not grow, and another agent "
			  "would not find what this one has programmed",
			  pin_dir, strerror(-err), pins_remedy(err));
	guard->pins_err = err < 0 ? err : 0;
	return err >= 0;
}

static void hook_guard_on_timer(uv_timer_t *timer)
{
	struct hook_guard *guard = timer->data;

	if (!guard->plane || !hook_guard_pins_are_reachable(guard))
		return;
	link_watch_check(guard->plane->links, hook_guard_on_link_lost, guard);
	if (guard->options.cgroup && guard->plane->are_sockets_hooked)
		socket_hooks_check(guard);
	hook_guard_check_surroundings(guard);
}

struct hook_guard *hook_guard_new(uv_loop_t *loop, const struct hook_guard_options *options)
{
	struct hook_guard *guard = calloc(1, sizeof(*guard));
	uint64_t interval_ms = options->interval_s * MS_PER_S;

	if (!guard)
		return NULL;
	guard->options = *options;
	(void)uv_timer_init(loop, &guard->timer);
	guard->timer.data = guard;
	(void)uv_timer_start(&guard->timer, hook_guard_on_timer, interval_ms, interval_ms);
	return guard;
}

void hook_guard_use(struct hook_guard *guard, struct plane *plane)
{
	guard->plane = plane;
}

static void hook_guard_on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void hook_guard_close(struct hook_guard *guard)
{
	if (guard)
		uv_close((uv_handle_t *)&guard->timer, hook_guard_on_closed);
}
