/* SPDX-License-Identifier: BSD-2-Clause */
#include "kube/watch/reflector.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "kube/watch/reflector_state.h"
#include "base/log.h"

#define PAGE_ITEMS      500
#define LIST_SILENCE_S  30
#define LIST_TOTAL_S    600
#define MARK_PATIENCE_S 5 /* see is_mark_missing */
#define BACKOFF_MIN_MS  500
#define BACKOFF_MAX_MS  30000
#define WATCH_GRACE_S   15
#define NS_PER_S        1000000000ULL

static void attempt(struct reflector *reflector);

static void on_timer(uv_timer_t *timer)
{
	attempt(timer->data);
}

uint32_t reflector_random(uint32_t limit)
{
	uint32_t value = 0;

	(void)uv_random(NULL, NULL, &value, sizeof(value), 0, NULL);
	return limit ? value % limit : 0;
}

void reflector_attempt_in(struct reflector *reflector, uint64_t wait_ms)
{
	(void)uv_timer_start(&reflector->timer, on_timer, wait_ms, 0);
}

void reflector_attempt_later(struct reflector *reflector, uint32_t retry_after_s)
{
	uint32_t wait_ms = reflector->backoff_ms / 2 + reflector_random(reflector->backoff_ms);

	if (wait_ms < retry_after_s * 1000)
		wait_ms = retry_after_s * 1000 + reflector_random(1000);
	reflector_attempt_in(reflector, wait_ms);
	reflector->backoff_ms *= 2;
	if (reflector->backoff_ms > BACKOFF_MAX_MS)
		reflector->backoff_ms = BACKOFF_MAX_MS;
}

void reflector_reset_backoff(struct reflector *reflector)
{
	reflector->backoff_ms = BACKOFF_MIN_MS;
}

static void on_done(const struct kube_answer *answer, void *context)
{
	struct reflector *reflector = context;

	reflector->call = NULL;
	(void)uv_timer_stop(&reflector->patience);
	log_debug("%s: %s ended: %ld %s", reflector->resource->name,
		  reflector->step == STEP_WATCH ? "watch" : "list", answer->status, answer->why);
	if (reflector->step == STEP_WATCH)
		reflector_watch_done(reflector, answer);
	else
		reflector_list_done(reflector, answer);
	json_stream_fini(&reflector->stream);
}

/* True while a streamed list has begun but its end mark has not arrived. */
static bool is_mark_missing(const struct reflector *reflector)
{
	return reflector->step == STEP_STREAM && reflector->call &&
	       kube_call_has_begun(reflector->call);
}

static uint32_t silence_limit(const struct reflector *reflector)
{
	if (is_mark_missing(reflector))
		return MARK_PATIENCE_S;
	return reflector->step == STEP_WATCH ? reflector->limits->silence_s : LIST_SILENCE_S;
}

/*
 * The server has been silent for too long. A server without streamed lists treats the request as a
 * plain watch: it sends objects, but never the mark that ends the list.
 */
static void on_patience(uv_timer_t *timer)
{
	struct reflector *reflector = timer->data;
	uint64_t now_ns = uv_now(timer->loop) * 1000000ULL;
	uint64_t due_ns = reflector->heard_ns + silence_limit(reflector) * NS_PER_S;
	char why[64];

	if (now_ns < due_ns) {
		(void)uv_timer_start(timer, on_patience, (due_ns - now_ns) / 1000000 + 1, 0);
		return;
	}
	(void)snprintf(why, sizeof(why), "it has said nothing for %u s", silence_limit(reflector));
	if (is_mark_missing(reflector)) {
		reflector->no_stream = true;
		kube_call_cancel(take_ptr(reflector->call));
		reflector->step = STEP_LIST;
	} else {
		log_info("%s: the server has said nothing for %u s, asking anew",
			 reflector->resource->name, silence_limit(reflector));
		kube_call_give_up(take_ptr(reflector->call), why);
		free(take_ptr(reflector->continue_token));
	}
	json_stream_fini(&reflector->stream);
	reflector_attempt_in(reflector, 0);
}

static int list_path(const struct reflector *reflector, const char *query, char **ret_path)
{
	const char *path = reflector->resource->path;
	const char *version = *reflector->version ? reflector->version : "0";

	if (reflector->continue_token) {
		return asprintf(ret_path, "%s?%slimit=%d&continue=%s", path, query, PAGE_ITEMS,
				reflector->continue_token);
	}
	if (reflector->newest && reflector->whole)
		return asprintf(ret_path, "%s?%sresourceVersion=", path, query);
	if (reflector->newest)
		return asprintf(ret_path, "%s?%slimit=%d", path, query, PAGE_ITEMS);
	return asprintf(ret_path,
			"%s?%slimit=%d&resourceVersion=%s&resourceVersionMatch=NotOlderThan", path,
			query, PAGE_ITEMS, version);
}

static int path_of_step(struct reflector *reflector, char **ret_path)
{
	const struct reflector_resource *resource = reflector->resource;
	const char *query = reflector->no_query ? resource->plain_query : resource->query;

	if (reflector->step == STEP_LIST)
		return list_path(reflector, query, ret_path);
	reflector->watch_s =
		reflector->limits->watch_s + reflector_random(reflector->limits->watch_s);
	return asprintf(ret_path, "%s?%swatch=true&allowWatchBookmarks=true&timeoutSeconds=%u%s%s",
			resource->path, query, reflector->watch_s,
			reflector->step == STEP_STREAM
				? "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
				: "&resourceVersion=",
			reflector->step == STEP_STREAM ? "" : reflector->version);
}

/* A new list may be streamed; one that must be the newest state is fetched in pages. */
static void step_choose(struct reflector *reflector)
{
	if (reflector->step == STEP_LIST && !reflector->no_stream && !reflector->continue_token &&
	    !reflector->newest)
		reflector->step = STEP_STREAM;
}

static void attempt(struct reflector *reflector)
{
	static const struct kube_call_events events = {.data = reflector_data, .done = on_done};
	auto_cleanup(cleanup_free) char *path = NULL;
	struct kube_request request;
	uint32_t patience_s;

	step_choose(reflector);
	patience_s = silence_limit(reflector);
	if (path_of_step(reflector, &path) < 0) {
		path = NULL;
		reflector_attempt_later(reflector, 0);
		return;
	}
	if (!reflector->continue_token)
		reflector->in_list = false; /* discards what an earlier attempt delivered */
	reflector->broken[0] = '\0';
	reflector->is_gone = false;
	reflector->had_events = false;
	reflector->begun_ns = uv_hrtime();
	reflector->heard_ns = uv_now(reflector->timer.loop) * 1000000ULL;
	json_stream_fini(&reflector->stream);
	json_stream_init(&reflector->stream, reflector->step == STEP_LIST ? JSON_LIST : JSON_EVENTS,
			 reflector->step == STEP_LIST ? reflector_item : reflector_event,
			 reflector);
	request = (struct kube_request){
		.verb = reflector->step == STEP_LIST ? "list" : "watch",
		.path = path,
		.total_s = reflector->step == STEP_LIST ? LIST_TOTAL_S
							: reflector->watch_s + WATCH_GRACE_S,
	};
	reflector->call = kube_client_send(reflector->client, &request, &events, reflector);
	if (!reflector->call) {
		reflector_attempt_later(reflector, 0);
		return;
	}
	/* The limit depends on whether the response has begun, so it is checked again by then. */
	if (patience_s > MARK_PATIENCE_S)
		patience_s = MARK_PATIENCE_S;
	(void)uv_timer_start(&reflector->patience, on_patience, patience_s * 1000ULL, 0);
}

struct reflector *reflector_new(uv_loop_t *loop, struct kube_client *client,
				const struct reflector_resource *resource,
				const struct reflector_events *events,
				const struct reflector_limits *limits, void *context)
{
	struct reflector *reflector = calloc(1, sizeof(*reflector));

	if (!reflector)
		return NULL;
	*reflector = (struct reflector){
		.client = client,
		.resource = resource,
		.events = events,
		.limits = limits,
		.context = context,
		.open_handles = 2,
		.backoff_ms = BACKOFF_MIN_MS,
		.absent_ms = ABSENT_MIN_MS,
	};
	(void)uv_timer_init(loop, &reflector->timer);
	(void)uv_timer_init(loop, &reflector->patience);
	reflector->timer.data = reflector;
	reflector->patience.data = reflector;
	reflector_attempt_in(reflector, 0);
	return reflector;
}

bool reflector_has_listed(const struct reflector *reflector)
{
	return reflector->has_listed;
}

static void on_closed(uv_handle_t *handle)
{
	struct reflector *reflector = handle->data;

	if (--reflector->open_handles)
		return;
	json_stream_fini(&reflector->stream);
	free(reflector->continue_token);
	free(reflector);
}

void reflector_close(struct reflector *reflector)
{
	if (!reflector)
		return;
	if (reflector->call)
		kube_call_cancel(take_ptr(reflector->call));
	uv_close((uv_handle_t *)&reflector->timer, on_closed);
	uv_close((uv_handle_t *)&reflector->patience, on_closed);
}
