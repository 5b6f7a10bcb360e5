/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/hook_guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "link/hooks/cgroup.h"
#include "base/log.h"

#define NOTE_SIZE  256
#define MSEC_PER_S 1000ULL

struct hook_guard {
	uv_timer_t timer;
	struct hook_guard_sources sources;
};

static void link_lost(const char *link, const char *hook, void *context)
{
	const struct hook_guard_sources *sources = &((struct hook_guard *)context)->sources;
	char note[NOTE_SIZE];

	(void)snprintf(
		note, sizeof(note),
		"Somebody has removed or replaced the %s hook of link %s; it is attached again",
		hook, link);
	observe_hooks_lost(sources->observe, strcmp(hook, "XDP") ? "tc" : "xdp", 1);
	sources->lost(note, sources->context);
}

static void sockets_lost(const struct hook_guard_sources *sources, int missing)
{
	char note[NOTE_SIZE];

	(void)snprintf(
		note, sizeof(note),
		"Somebody has removed or replaced %d socket hooks of the cgroup %s; they are "
		"attached again",
		missing, sources->cgroup);
	log_warning("%s", note);
	observe_hooks_lost(sources->observe, "socket", (unsigned int)missing);
	sources->lost(note, sources->context);
}

static void sockets_check(const struct hook_guard_sources *sources)
{
	struct cgroup_program programs[SOCKET_PROGRAM_COUNT];
	int count = (int)datapath_socket_programs(*sources->datapath, programs), missing;

	missing = cgroup_count_missing(sources->cgroup, sources->pin_dir, programs, (size_t)count);
	if (missing > 0) {
		sockets_lost(sources, missing);
		/* cgroup_attach() logs its own errors. */
		if (!cgroup_attach(sources->cgroup, sources->pin_dir, programs, (size_t)count))
			missing = 0;
	} else if (missing < 0) {
		(void)log_err(missing, "cannot look after the socket hooks of the cgroup %s",
			      sources->cgroup);
		missing = count;
	}
	observe_socket_hooks(sources->observe, (unsigned int)(count - missing),
			     (unsigned int)missing);
}

static void on_timer(uv_timer_t *timer)
{
	struct hook_guard *guard = timer->data;
	const struct hook_guard_sources *sources = &guard->sources;

	if (*sources->links)
		link_watch_check(*sources->links, link_lost, guard);
	if (sources->cgroup && *sources->datapath && *sources->are_hooked)
		sockets_check(sources);
}

struct hook_guard *hook_guard_new(uv_loop_t *loop, const struct hook_guard_sources *sources)
{
	struct hook_guard *guard = calloc(1, sizeof(*guard));
	uint64_t interval_ms = sources->interval_s * MSEC_PER_S;

	if (!guard)
		return NULL;
	guard->sources = *sources;
	(void)uv_timer_init(loop, &guard->timer);
	guard->timer.data = guard;
	(void)uv_timer_start(&guard->timer, on_timer, interval_ms, interval_ms);
	return guard;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void hook_guard_close(struct hook_guard *guard)
{
	if (guard)
		uv_close((uv_handle_t *)&guard->timer, on_closed);
}
