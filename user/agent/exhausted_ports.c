/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/exhausted_ports.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/address.h"
#include "base/cleanup.h"
#include "fairlead/limits.h"
#include "base/log.h"

struct exhausted_watch {
	uv_timer_t timer;
	int exhausted, service_names;
	struct exhausted_told told[EXHAUSTED_MAX];
};

__u64 exhausted_news(struct exhausted_told *told, const struct exhausted *seen, uint64_t now_ns)
{
	/* The entry was recreated, for another service port or after a pause. */
	__u64 before = seen->count < told->count ? 0 : told->count;
	__u64 news = seen->count - before;

	if (!news || (told->at_ns && now_ns - told->at_ns < EXHAUSTED_AGAIN_NS))
		return 0;
	told->count = seen->count;
	told->at_ns = now_ns;
	return news;
}

/* The entry of a service port; if all are in use, the one that was logged least recently. */
static struct exhausted_told *told_find(struct exhausted_watch *watch, __u32 service)
{
	struct exhausted_told *oldest = watch->told;

	for (size_t i = 0; i < EXHAUSTED_MAX; i++) {
		struct exhausted_told *told = &watch->told[i];

		if (told->service == service)
			return told;
		if (told->at_ns < oldest->at_ns)
			oldest = told;
	}
	*oldest = (struct exhausted_told){.service = service};
	return oldest;
}

static void tell(const struct exhausted_watch *watch, __u32 service, __u64 count)
{
	struct service_name name = {};

	if (bpf_map_lookup_elem(watch->service_names, &service, &name)) {
		log_warning(
			"%llu new flows of a service that is gone since were dropped: no source "
			"port was left for them",
			(unsigned long long)count);
		return;
	}
	log_warning(
		"%llu new flows of service %.63s/%.63s%s%.63s (%s) were dropped: no source port "
		"was left to tell them from others at the same endpoint; more endpoints or a "
		"wider --source-ports help",
		(unsigned long long)count, name.namespace_, name.name, *name.port_name ? ":" : "",
		name.port_name, proto_name(name.proto));
}

/* Seconds of CLOCK_MONOTONIC, the clock that the programs use. */
static __u32 now_seconds(void)
{
	struct timespec now = {};

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (__u32)now.tv_sec;
}

static void look(uv_timer_t *timer)
{
	struct exhausted_watch *watch = timer->data;
	const uint64_t now_ns = uv_hrtime();
	const __u32 now_s = now_seconds();
	__u32 service, *previous = NULL;
	struct exhausted seen;

	while (!bpf_map_get_next_key(watch->exhausted, previous, &service)) {
		struct exhausted_told *told;
		__u64 count;

		previous = &service;
		if (bpf_map_lookup_elem(watch->exhausted, &service, &seen))
			continue;
		told = told_find(watch, service);
		/* A new agent does not log what happened long before its start. */
		if (!told->at_ns && now_s - seen.last_s > EXHAUSTED_AGAIN_NS / 1000000000U) {
			told->count = seen.count;
			continue;
		}
		count = exhausted_news(told, &seen, now_ns);
		if (count)
			tell(watch, service, count);
	}
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

int exhausted_watch_open(uv_loop_t *loop, int exhausted, int service_names,
			 struct exhausted_watch **ret_watch)
{
	struct exhausted_watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return log_err(-ENOMEM, "cannot look for flows without source ports");
	watch->exhausted = exhausted;
	watch->service_names = service_names;
	(void)uv_timer_init(loop, &watch->timer);
	watch->timer.data = watch;
	uv_unref((uv_handle_t *)&watch->timer);
	(void)uv_timer_start(&watch->timer, look, EXHAUSTED_LOOK_MS, EXHAUSTED_LOOK_MS);
	*ret_watch = watch;
	return 0;
}

void exhausted_watch_close(struct exhausted_watch *watch)
{
	if (watch)
		uv_close((uv_handle_t *)&watch->timer, on_closed);
}
