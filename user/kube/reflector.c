/* SPDX-License-Identifier: BSD-2-Clause */
#include "kube/reflector.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "kube/json_room.h"
#include "kube/json_stream.h"
#include "log.h"

#define PAGE_ITEMS          500
#define LIST_SILENCE_S      30
#define LIST_TOTAL_S        600
#define MARK_PATIENCE_S     5 /* see stream_is_unmarked */
#define BACKOFF_MIN_MS      500
#define ABSENT_MIN_MS       1000
#define BACKOFF_MAX_MS      30000
#define WATCH_WORTH_NS      5000000000ULL /* a watch that lasted so long was no failure */
#define WATCH_GRACE_S       15
#define NS_PER_S            1000000000ULL
#define ANNOTATION_LIST_END "k8s.io/initial-events-end"

enum step {
	STEP_LIST,   /* pages */
	STEP_STREAM, /* a list as events, which then is a watch */
	STEP_WATCH,
};

struct reflector {
	uv_timer_t timer;    /* until the next attempt */
	uv_timer_t patience; /* with a server that says nothing */
	unsigned int open_handles;
	struct kube_client *client;
	const struct reflector_resource *resource;
	const struct reflector_events *events;
	const struct reflector_limits *limits;
	void *context;
	enum step step; /* now, or next when the timer rings */
	struct kube_call *call;
	struct json_stream stream;
	char version[64];     /* resourceVersion of the last thing heard; "": none */
	char *continue_token; /* of the next page, or NULL */
	char broken[160];     /* what was wrong with the answer; "" */
	char problem[512];    /* what has been logged and is not over */
	uint64_t begun_ns, heard_ns;
	uint32_t backoff_ms, absent_ms, watch_s;
	bool has_listed;
	bool in_list;   /* list_begun was called, listed was not */
	bool no_stream; /* the server does not stream lists */
	bool no_query;  /* the server refuses the selectors */
	bool whole;     /* no pages: the last page's token expired */
	bool newest;    /* not from the server's cache, for that is too old or too young */
	bool is_gone;   /* the version is too old */
	bool had_events;
	bool is_closing;
};

static void attempt(struct reflector *reflector);

static void on_timer(uv_timer_t *timer)
{
	attempt(timer->data);
}

static uint32_t random_below(uint32_t limit)
{
	uint32_t value = 0;

	(void)uv_random(NULL, NULL, &value, sizeof(value), 0, NULL);
	return limit ? value % limit : 0;
}

static void attempt_in(struct reflector *reflector, uint64_t wait_ms)
{
	(void)uv_timer_start(&reflector->timer, on_timer, wait_ms, 0);
}

/* Exponential with jitter: thousands of agents shall not come back at the same moment. */
static void attempt_later(struct reflector *reflector, uint32_t retry_after_s)
{
	uint32_t wait_ms = reflector->backoff_ms / 2 + random_below(reflector->backoff_ms);

	if (wait_ms < retry_after_s * 1000)
		wait_ms = retry_after_s * 1000 + random_below(1000);
	attempt_in(reflector, wait_ms);
	reflector->backoff_ms *= 2;
	if (reflector->backoff_ms > BACKOFF_MAX_MS)
		reflector->backoff_ms = BACKOFF_MAX_MS;
}

static void backoff_reset(struct reflector *reflector)
{
	reflector->backoff_ms = BACKOFF_MIN_MS;
}

static void problem_log(struct reflector *reflector, const char *verb, const char *why)
{
	if (!strcmp(reflector->problem, why))
		return;
	(void)snprintf(reflector->problem, sizeof(reflector->problem), "%s", why);
	log_warning("cannot %s %s: %s; trying on, the datapath stays as it is", verb,
		    reflector->resource->name, why);
}

static void problem_over(struct reflector *reflector)
{
	if (*reflector->problem)
		log_info("%s are %s again", reflector->resource->name,
			 reflector->step == STEP_LIST ? "listed" : "watched");
	reflector->problem[0] = '\0';
}

static int answer_is_broken(struct reflector *reflector, const char *why)
{
	(void)snprintf(reflector->broken, sizeof(reflector->broken), "%s", why);
	return -EINVAL;
}

static void version_note(struct reflector *reflector, const cJSON *metadata)
{
	const char *version =
		cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(metadata, "resourceVersion"));

	if (version && *version)
		(void)snprintf(reflector->version, sizeof(reflector->version), "%s", version);
}

static void list_begin(struct reflector *reflector)
{
	if (!reflector->in_list) {
		log_debug("the list of %s begins", reflector->resource->name);
		reflector->events->list_begun(reflector->context);
	}
	reflector->in_list = true;
}

static void list_end(struct reflector *reflector)
{
	reflector->in_list = false;
	reflector->has_listed = true;
	reflector->whole = false;
	reflector->newest = false;
	backoff_reset(reflector);
	reflector->absent_ms = ABSENT_MIN_MS;
	problem_over(reflector);
	reflector->events->listed(reflector->context);
}

static void cleanup_json(cJSON **json)
{
	cJSON_Delete(*json);
}

static void cleanup_room(cJSON **tree)
{
	json_room_leave(*tree);
}

static int item_received(char *text, size_t size, void *context)
{
	struct reflector *reflector = context;
	auto_cleanup(cleanup_room) cJSON *item = json_room_parse(text, size);

	if (!item)
		return answer_is_broken(reflector, "an item of the list is no JSON");
	return reflector->events->put(item, reflector->context);
}

/* The server ends the watch by saying why; 410: it has forgotten what came after our version. */
static int error_received(struct reflector *reflector, const cJSON *status)
{
	const char *message =
		cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(status, "message"));
	const cJSON *code = cJSON_GetObjectItemCaseSensitive(status, "code");

	if (cJSON_IsNumber(code) && (code->valueint == 410 || code->valueint == 504))
		reflector->is_gone = true;
	return answer_is_broken(reflector, message ? message : "the server ended the watch");
}

static void bookmark_received(struct reflector *reflector, const cJSON *metadata)
{
	const cJSON *annotations = cJSON_GetObjectItemCaseSensitive(metadata, "annotations");
	const char *mark = cJSON_GetStringValue(
		cJSON_GetObjectItemCaseSensitive(annotations, ANNOTATION_LIST_END));

	version_note(reflector, metadata);
	if (reflector->step == STEP_STREAM && mark && !strcmp(mark, "true")) {
		reflector->step = STEP_WATCH;
		list_end(reflector);
	}
}

static int event_received(char *text, size_t size, void *context)
{
	struct reflector *reflector = context;
	auto_cleanup(cleanup_room) cJSON *event = json_room_parse(text, size);
	const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(event, "type"));
	const cJSON *object = cJSON_GetObjectItemCaseSensitive(event, "object");
	const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata");
	int err;

	if (!type || !cJSON_IsObject(object))
		return answer_is_broken(reflector, "an event of the watch is no event");
	if (!strcmp(type, "ERROR"))
		return error_received(reflector, object);
	reflector->had_events = true;
	if (!strcmp(type, "BOOKMARK")) {
		bookmark_received(reflector, metadata);
		return 0;
	}
	if (!strcmp(type, "DELETED"))
		err = reflector->events->deleted(object, reflector->context);
	else
		err = reflector->events->put(object, reflector->context);
	/*
	 * Only the end of a streamed list has a version to go on from: its events are in no order.
	 */
	if (!err && reflector->step == STEP_WATCH)
		version_note(reflector, metadata);
	return err;
}

static int on_data(const char *bytes, size_t size, void *context)
{
	struct reflector *reflector = context;
	int err;

	reflector->heard_ns = uv_now(reflector->timer.loop) * 1000000ULL;
	if (reflector->step != STEP_WATCH)
		list_begin(reflector);
	else if (*reflector->problem)
		problem_over(reflector);
	err = json_stream_feed(&reflector->stream, bytes, size);
	if (err == -EINVAL && !*reflector->broken)
		return answer_is_broken(reflector, "the answer is not JSON");
	if (err == -EFBIG)
		return answer_is_broken(reflector, "an object is larger than 16 MiB");
	if (err == -ENOMEM)
		return answer_is_broken(reflector, "memory is short");
	return err;
}

/* An answer cannot be used: only a list tells what is true now. */
static void answer_refuse(struct reflector *reflector, const char *verb, const char *why)
{
	problem_log(reflector, verb, why);
	reflector->step = STEP_LIST;
	reflector->newest = true;
	attempt_later(reflector, 0);
}

/* RFC 3986: what is neither a letter, a digit nor a mark is written as its number. */
static char *query_escape(const char *text)
{
	char *escaped = malloc(strlen(text) * 3 + 1);
	char *at = escaped;

	for (; escaped && *text; text++) {
		if (isalnum((unsigned char)*text) || strchr("-._~", *text))
			*at++ = *text;
		else
			at += sprintf(at, "%%%02X", (unsigned char)*text);
	}
	if (at)
		*at = '\0';
	return escaped;
}

/* A page is there: more pages, or the list is complete. */
static void page_done(struct reflector *reflector)
{
	auto_cleanup(cleanup_json) cJSON *head = cJSON_Parse(json_stream_head(&reflector->stream));
	const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(head, "metadata");
	const char *kind = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(head, "kind"));
	const char *token =
		cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(metadata, "continue"));
	size_t len = kind ? strlen(kind) : 0;

	free(take_ptr(reflector->continue_token));
	if (!json_stream_is_complete(&reflector->stream) || !metadata || len < 4 ||
	    strcmp(kind + len - 4, "List") != 0) {
		answer_refuse(reflector, "list", "the answer is no complete list");
		return;
	}
	if (token && *token) {
		reflector->continue_token = query_escape(token);
		if (!reflector->continue_token) {
			answer_refuse(reflector, "list", "memory is short");
			return;
		}
		attempt_in(reflector, 0);
		return;
	}
	version_note(reflector, metadata);
	list_end(reflector);
	reflector->step = STEP_WATCH;
	attempt_in(reflector, 0);
}

/*
 * Servers that do not answer, or only that they cannot, are logged by name, all of them in one
 * line.
 */
static bool is_refusal(long status)
{
	return status && status != 500 && status != 502 && status != 503;
}

static bool is_client_error(long status)
{
	return status == 400 || status == 405 || status == 406 || status == 415 || status == 422;
}

static void list_refused(struct reflector *reflector, const struct kube_answer *answer)
{
	bool had_token = reflector->continue_token;

	free(take_ptr(reflector->continue_token));
	if (answer->status == 404) {
		reflector->problem[0] = '\0';
		reflector->events->absent(reflector->context);
		attempt_in(reflector, reflector->absent_ms + random_below(reflector->absent_ms));
		reflector->absent_ms *= 2;
		if (reflector->absent_ms > reflector->limits->absent_s * 1000)
			reflector->absent_ms = reflector->limits->absent_s * 1000;
		return;
	}
	if (reflector->step == STEP_STREAM && is_client_error(answer->status)) {
		reflector->no_stream = true;
		attempt_in(reflector, 0);
		return;
	}
	if (answer->status == 400 && !reflector->no_query) {
		reflector->no_query = true;
		attempt_in(reflector, 0);
		return;
	}
	if ((answer->status == 410 || answer->status == 504) && (!reflector->newest || had_token)) {
		/* A page's token, or the version that the list was to be no older than. */
		reflector->whole = had_token;
		reflector->newest = true;
		attempt_in(reflector, 0);
		return;
	}
	if (is_refusal(answer->status))
		problem_log(reflector, "list", answer->why);
	attempt_later(reflector, answer->retry_after_s);
}

static void list_done(struct reflector *reflector, const struct kube_answer *answer)
{
	bool is_stream = reflector->step == STEP_STREAM;

	reflector->step = STEP_LIST;
	if (answer->is_abort) {
		free(take_ptr(reflector->continue_token));
		answer_refuse(reflector, "list", reflector->broken);
	} else if (answer->ok && !is_stream) {
		page_done(reflector);
	} else if (answer->status >= 200 && answer->status <= 299) {
		free(take_ptr(reflector->continue_token));
		answer_refuse(reflector, "list",
			      *answer->why ? answer->why : "the answer ended too early");
	} else {
		reflector->step = is_stream ? STEP_STREAM : STEP_LIST;
		list_refused(reflector, answer);
		reflector->step = STEP_LIST;
	}
}

static void watch_done(struct reflector *reflector, const struct kube_answer *answer)
{
	bool was_worth =
		reflector->had_events || uv_hrtime() - reflector->begun_ns > WATCH_WORTH_NS;

	if (reflector->is_gone || answer->status == 410) {
		log_info("%s: the server has forgotten what came after %s, listing again",
			 reflector->resource->name, reflector->version);
		reflector->step = STEP_LIST;
		if (was_worth)
			backoff_reset(reflector);
		attempt_later(reflector, 0);
	} else if (answer->is_abort) {
		answer_refuse(reflector, "watch", reflector->broken);
	} else if (answer->status >= 200 && answer->status <= 299) {
		/* The server's timeout, or a connection that broke: on from where it was. */
		if (was_worth)
			backoff_reset(reflector);
		if (was_worth)
			attempt_in(reflector, random_below(100));
		else
			attempt_later(reflector, 0);
	} else if (answer->status == 404) {
		reflector->step = STEP_LIST;
		attempt_later(reflector, 0);
	} else {
		if (is_refusal(answer->status))
			problem_log(reflector, "watch", answer->why);
		attempt_later(reflector, answer->retry_after_s);
	}
}

static void on_done(const struct kube_answer *answer, void *context)
{
	struct reflector *reflector = context;

	reflector->call = NULL;
	(void)uv_timer_stop(&reflector->patience);
	log_debug("%s: %s ended: %ld %s", reflector->resource->name,
		  reflector->step == STEP_WATCH ? "watch" : "list", answer->status, answer->why);
	if (reflector->step == STEP_WATCH)
		watch_done(reflector, answer);
	else
		list_done(reflector, answer);
	json_stream_fini(&reflector->stream);
}

/* A server that has begun to answer, and says no more. */
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
 * A server older than streamed lists takes the question for a plain watch: objects come, the mark
 * of their end does not.
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
	attempt_in(reflector, 0);
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
	reflector->watch_s = reflector->limits->watch_s + random_below(reflector->limits->watch_s);
	return asprintf(ret_path, "%s?%swatch=true&allowWatchBookmarks=true&timeoutSeconds=%u%s%s",
			resource->path, query, reflector->watch_s,
			reflector->step == STEP_STREAM
				? "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
				: "&resourceVersion=",
			reflector->step == STEP_STREAM ? "" : reflector->version);
}

/* A list that begins anew may be streamed; one that has to be the newest is asked for in pages. */
static void step_choose(struct reflector *reflector)
{
	if (reflector->step == STEP_LIST && !reflector->no_stream && !reflector->continue_token &&
	    !reflector->newest)
		reflector->step = STEP_STREAM;
}

static void attempt(struct reflector *reflector)
{
	static const struct kube_call_events events = {.data = on_data, .done = on_done};
	auto_cleanup(cleanup_free) char *path = NULL;
	struct kube_request request;
	uint32_t patience_s;

	step_choose(reflector);
	patience_s = silence_limit(reflector);
	if (path_of_step(reflector, &path) < 0) {
		path = NULL;
		attempt_later(reflector, 0);
		return;
	}
	if (!reflector->continue_token)
		reflector->in_list = false; /* what an earlier attempt gave does not count */
	reflector->broken[0] = '\0';
	reflector->is_gone = false;
	reflector->had_events = false;
	reflector->begun_ns = uv_hrtime();
	reflector->heard_ns = uv_now(reflector->timer.loop) * 1000000ULL;
	json_stream_fini(&reflector->stream);
	json_stream_init(&reflector->stream, reflector->step == STEP_LIST ? JSON_LIST : JSON_EVENTS,
			 reflector->step == STEP_LIST ? item_received : event_received, reflector);
	request = (struct kube_request){
		.verb = reflector->step == STEP_LIST ? "list" : "watch",
		.path = path,
		.total_s = reflector->step == STEP_LIST ? LIST_TOTAL_S
							: reflector->watch_s + WATCH_GRACE_S,
	};
	reflector->call = kube_client_send(reflector->client, &request, &events, reflector);
	if (!reflector->call) {
		attempt_later(reflector, 0);
		return;
	}
	/* How long it may last is not known before the answer has begun: it is looked at again. */
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
	attempt_in(reflector, 0);
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
