/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * One request at a time: `step` says which, or which comes next while the timer runs. The functions
 * are in this order: when the next request is sent, what its response delivers, which step follows
 * its end, and the request itself.
 */

#include "kube/watch/reflector.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "decode/cjson.h"
#include "decode/decode.h"
#include "decode/json_arena.h"
#include "decode/json_stream.h"

#define PAGE_ITEMS          500
#define LIST_SILENCE_S      30
#define LIST_TOTAL_S        600
#define MARK_PATIENCE_S     5 /* see reflector_lacks_mark */
#define BACKOFF_MIN_MS      500
#define BACKOFF_MAX_MS      30000
#define ABSENT_MIN_MS       1000
#define RETRY_SOON_MS       250 /* with the pause after a 410, a second at most */
#define EARLY_ATTEMPTS      8   /* see reflector_attempt_early */
#define WATCH_GRACE_S       15
#define WATCH_WORTH_NS      (5 * NS_PER_S)    /* a watch that lasted so long was not a failure */
#define WATCH_KEPT_NS       NS_PER_S          /* a watch that ended sooner was never followed */
#define FORGETTING_NS       (200 * NS_PER_MS) /* by then, a 410 has followed the watch's 200 */
#define ANNOTATION_LIST_END "k8s.io/initial-events-end"

enum step {
	STEP_LIST,   /* a list in pages */
	STEP_STREAM, /* a list as events, which continues as a watch */
	STEP_WATCH,
};

struct reflector {
	uv_timer_t timer;    /* runs until the next attempt */
	uv_timer_t patience; /* limits the server's silence */
	unsigned int open_handles;
	struct kube_client *client;
	const struct reflector_resource *resource;
	const struct reflector_events *events;
	const struct reflector_limits *limits;
	void *context;
	enum step step; /* the current step, or the next one while the timer runs */
	struct kube_call *call;
	struct json_stream stream;
	char version[64];     /* the latest resourceVersion; "": none */
	char *continue_token; /* of the next page, or NULL */
	char broken[160];     /* what is wrong with the response; "": nothing */
	char problem[512];    /* the problem that was logged and persists; "": none */
	uint64_t begun_ns, heard_ns;
	uint64_t watched_ns; /* when the watch began: the request, or the end of a streamed list */
	uint32_t backoff_ms, absent_ms, watch_s;
	uint32_t gone_ms;        /* the next wait after a 410; see reflector_list_after_gone */
	uint32_t early_attempts; /* after an outage, since the last success */
	bool has_listed;
	bool in_list;      /* list_begun was called, listed was not */
	bool no_stream;    /* the server does not stream lists */
	bool no_query;     /* the server refuses the selectors */
	bool whole;        /* without pages, because a page's token has expired */
	bool newest;       /* bypass the server's cache, which may be too old or too new */
	bool is_gone;      /* the server no longer has our version */
	bool is_unreached; /* no server answered the last attempt; see reflector_retry_soon */
	bool had_events;
};

static void cleanup_arena(cJSON **tree)
{
	json_arena_release(*tree);
}

/* A random number below `limit`; 0 if `limit` is 0. */
static uint32_t random_below(uint32_t limit)
{
	uint32_t value = 0;

	(void)uv_random(NULL, NULL, &value, sizeof(value), 0, NULL);
	return limit ? value % limit : 0;
}

static void reflector_on_timer(uv_timer_t *timer);

/* Starts the next attempt after `wait_ms`. */
static void reflector_attempt_in(struct reflector *reflector, uint64_t wait_ms)
{
	(void)uv_timer_start(&reflector->timer, reflector_on_timer, wait_ms, 0);
}

/*
 * Starts the next attempt after a failure, with exponential backoff and jitter, so that thousands
 * of agents do not return at the same moment.
 */
static void reflector_attempt_later(struct reflector *reflector, uint32_t retry_after_s)
{
	uint32_t wait_ms = reflector->backoff_ms / 2 + random_below(reflector->backoff_ms);

	if (wait_ms < retry_after_s * MS_PER_S)
		wait_ms = retry_after_s * (uint32_t)MS_PER_S + random_below(MS_PER_S);
	reflector_attempt_in(reflector, wait_ms);
	reflector->backoff_ms *= 2;
	if (reflector->backoff_ms > BACKOFF_MAX_MS)
		reflector->backoff_ms = BACKOFF_MAX_MS;
}

/* Logs a problem once, until it is another one or has gone. */
static void reflector_log_problem(struct reflector *reflector, const char *verb, const char *why)
{
	if (!strcmp(reflector->problem, why))
		return;
	(void)snprintf(reflector->problem, sizeof(reflector->problem), "%s", why);
	log_warning("cannot %s %s: %s; retrying, the datapath stays as it is", verb,
		    reflector->resource->name, why);
}

static void reflector_log_success(struct reflector *reflector)
{
	if (*reflector->problem)
		log_info("%s are %s again", reflector->resource->name,
			 reflector->step == STEP_LIST ? "listed" : "watched");
	reflector->problem[0] = '\0';
}

/* Remembers the resourceVersion in this metadata, if there is one. */
static void reflector_set_version(struct reflector *reflector, const cJSON *metadata)
{
	const char *version = cjson_string(metadata, "resourceVersion");

	if (version && *version)
		(void)snprintf(reflector->version, sizeof(reflector->version), "%s", version);
}

/* The list is complete: reports it to the receiver, and resets backoff and problem. */
static void reflector_end_list(struct reflector *reflector)
{
	reflector->in_list = false;
	reflector->has_listed = true;
	reflector->whole = false;
	reflector->newest = false;
	reflector->backoff_ms = BACKOFF_MIN_MS;
	reflector->absent_ms = ABSENT_MIN_MS;
	reflector->early_attempts = 0;
	reflector_log_success(reflector);
	reflector->events->listed(reflector->context);
}

/* Returns an error that aborts the response; `broken` keeps the reason for its end. */
static int reflector_reject(struct reflector *reflector, const char *why)
{
	(void)snprintf(reflector->broken, sizeof(reflector->broken), "%s", why);
	return -EINVAL;
}

static int reflector_on_item(char *text, size_t size, void *context)
{
	struct reflector *reflector = context;
	auto_cleanup(cleanup_arena) cJSON *item = json_arena_parse(text, size);

	if (!item)
		return reflector_reject(reflector, "an item of the list is no JSON");
	return reflector->events->put(item, reflector->context);
}

/* The server ends the watch with an error; 410: it no longer has the events after our version. */
static int reflector_on_error(struct reflector *reflector, const cJSON *status)
{
	const char *message = cjson_string(status, "message");
	const cJSON *code = cJSON_GetObjectItemCaseSensitive(status, "code");

	if (cJSON_IsNumber(code) && (code->valueint == 410 || code->valueint == 504))
		reflector->is_gone = true;
	return reflector_reject(reflector, message ? message : "the server ended the watch");
}

/* A bookmark has only a version. One with a mark ends a streamed list: from here it is a watch. */
static void reflector_on_bookmark(struct reflector *reflector, const cJSON *metadata)
{
	const cJSON *annotations = cJSON_GetObjectItemCaseSensitive(metadata, "annotations");
	const char *mark = cjson_string(annotations, ANNOTATION_LIST_END);

	reflector_set_version(reflector, metadata);
	if (reflector->step == STEP_STREAM && mark && !strcmp(mark, "true")) {
		reflector->step = STEP_WATCH;
		reflector->watched_ns = uv_hrtime();
		reflector_end_list(reflector);
	}
}

static int reflector_on_event(char *text, size_t size, void *context)
{
	struct reflector *reflector = context;
	auto_cleanup(cleanup_arena) cJSON *event = json_arena_parse(text, size);
	const char *type = cjson_string(event, "type");
	const cJSON *object = cJSON_GetObjectItemCaseSensitive(event, "object");
	const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(object, "metadata");
	int err;

	if (!type || !cJSON_IsObject(object))
		return reflector_reject(reflector, "an event of the watch is no event");
	if (!strcmp(type, "ERROR"))
		return reflector_on_error(reflector, object);
	reflector->had_events = true;
	if (!strcmp(type, "BOOKMARK")) {
		reflector_on_bookmark(reflector, metadata);
		return 0;
	}
	if (!strcmp(type, "DELETED"))
		err = reflector->events->deleted(object, reflector->context);
	else
		err = reflector->events->put(object, reflector->context);
	if (err)
		return err;
	/*
	 * The events of a streamed list are in no order; only the mark at its end has a version to
	 * watch from.
	 */
	if (reflector->step == STEP_WATCH)
		reflector_set_version(reflector, metadata);
	return 0;
}

static int reflector_on_data(const char *bytes, size_t size, void *context)
{
	struct reflector *reflector = context;
	int err;

	reflector->heard_ns = uv_now(reflector->timer.loop) * NS_PER_MS;
	if (reflector->step == STEP_WATCH) {
		reflector_log_success(reflector);
	} else if (!reflector->in_list) {
		log_debug("the list of %s begins", reflector->resource->name);
		reflector->events->list_begun(reflector->context);
		reflector->in_list = true;
	}
	err = json_stream_feed(&reflector->stream, bytes, size);
	if (err == -EINVAL && !*reflector->broken)
		return reflector_reject(reflector, "the answer is not JSON");
	if (err == -EFBIG)
		return reflector_reject(reflector, "an object is larger than 16 MiB");
	if (err == -ENOMEM)
		return reflector_reject(reflector, "memory is short");
	return err;
}

/* A response cannot be used: only a new list gives a known state. Logs. */
static void reflector_list_anew(struct reflector *reflector, const char *verb, const char *why)
{
	reflector_log_problem(reflector, verb, why);
	reflector->step = STEP_LIST;
	reflector->newest = true;
	reflector_attempt_later(reflector, 0);
}

/* RFC 3986: percent-encodes all but the unreserved characters. */
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

/* A page has arrived: requests the next one, or completes the list. */
static void reflector_end_page(struct reflector *reflector)
{
	auto_cleanup(cleanup_cjson) cJSON *head = cJSON_Parse(json_stream_head(&reflector->stream));
	const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(head, "metadata");
	const char *kind = cjson_string(head, "kind");
	const char *token = cjson_string(metadata, "continue");

	free(take_ptr(reflector->continue_token));
	if (!json_stream_is_complete(&reflector->stream) || !metadata || !kind_is_list(kind)) {
		reflector_list_anew(reflector, "list", "the answer is no complete list");
		return;
	}
	if (token && *token) {
		reflector->continue_token = query_escape(token);
		if (!reflector->continue_token) {
			reflector_list_anew(reflector, "list", "memory is short");
			return;
		}
		reflector_attempt_in(reflector, 0);
		return;
	}
	reflector_set_version(reflector, metadata);
	reflector_end_list(reflector);
	reflector->step = STEP_WATCH;
	reflector_attempt_in(reflector, 0);
}

static bool status_is_client_error(long status)
{
	return status == 400 || status == 405 || status == 406 || status == 415 || status == 422;
}

/*
 * A server that has just started refuses, for some seconds, what it is not ready for: with 403
 * until it has read the roles, with 429 or 5xx until it has read the objects; and a server that
 * started too early exits again. Such refusals are not logged, and the backoff of the outage does
 * not apply. EARLY_ATTEMPTS bounds the early retries, so a server that never recovers is not
 * overloaded. Returns false if there was no outage, or the bound is reached.
 */
static bool reflector_attempt_early(struct reflector *reflector, uint32_t retry_after_s)
{
	if (!kube_client_was_away(reflector->client) || reflector->early_attempts >= EARLY_ATTEMPTS)
		return false;
	reflector->early_attempts++;
	reflector->backoff_ms = BACKOFF_MIN_MS;
	reflector_attempt_in(reflector, retry_after_s * MS_PER_S + BACKOFF_MIN_MS +
						random_below(BACKOFF_MIN_MS));
	return true;
}

/*
 * The attempt has failed, and is repeated later. A refusal is logged for its resource; servers that
 * do not answer, or say that they cannot serve, are logged by servers.c, all in one line.
 */
static void reflector_end_refused(struct reflector *reflector, const char *verb,
				  const struct kube_answer *answer)
{
	if (!answer->is_unreached && reflector_attempt_early(reflector, answer->retry_after_s))
		return;
	if (!answer->is_unreached && !status_is_of_broken_server(answer->status))
		reflector_log_problem(reflector, verb, answer->why);
	reflector_attempt_later(reflector, answer->retry_after_s);
}

/* The server has refused the list, or has not answered. The next step is a list again. Logs. */
static void reflector_list_refused(struct reflector *reflector, bool was_stream,
				   const struct kube_answer *answer)
{
	bool had_token = reflector->continue_token;

	free(take_ptr(reflector->continue_token));
	if (answer->status == 404) {
		reflector->problem[0] = '\0';
		reflector->events->absent(reflector->context);
		reflector_attempt_in(reflector,
				     reflector->absent_ms + random_below(reflector->absent_ms));
		reflector->absent_ms *= 2;
		if (reflector->absent_ms > reflector->limits->absent_s * MS_PER_S)
			reflector->absent_ms = reflector->limits->absent_s * (uint32_t)MS_PER_S;
		return;
	}
	if (was_stream && status_is_client_error(answer->status)) {
		reflector->no_stream = true;
		reflector_attempt_in(reflector, 0);
		return;
	}
	if (answer->status == 400 && !reflector->no_query) {
		reflector->no_query = true;
		reflector_attempt_in(reflector, 0);
		return;
	}
	if ((answer->status == 410 || (answer->status == 504 && !answer->is_unreached)) &&
	    (!reflector->newest || had_token)) {
		/* Expired: a page's token, or the version given to NotOlderThan. */
		reflector->whole = had_token;
		reflector->newest = true;
		reflector_attempt_in(reflector, 0);
		return;
	}
	reflector_end_refused(reflector, "list", answer);
}

/* Chooses the next step and its time. Logs. */
static void reflector_list_done(struct reflector *reflector, const struct kube_answer *answer)
{
	bool was_stream = reflector->step == STEP_STREAM;

	reflector->step = STEP_LIST;
	if (answer->is_abort) {
		free(take_ptr(reflector->continue_token));
		reflector_list_anew(reflector, "list", reflector->broken);
	} else if (answer->ok && !was_stream) {
		reflector_end_page(reflector);
	} else if (answer->status >= 200 && answer->status <= 299) {
		free(take_ptr(reflector->continue_token));
		reflector_list_anew(reflector, "list",
				    *answer->why ? answer->why : "the answer ended too early");
	} else {
		reflector_list_refused(reflector, was_stream, answer);
	}
}

/*
 * The server no longer has our version. It answers, so the earlier backoff no longer applies and
 * it is asked for a list soon. One that says so after each list that it has just sent is asked less
 * and less often. Logs.
 */
static void reflector_list_after_gone(struct reflector *reflector)
{
	/* After an outage all resources are listed again, and servers.c has logged it. */
	log_write(kube_client_was_away(reflector->client) ? LOG_DEBUG : LOG_INFO,
		  "%s: the server has forgotten what came after %s, listing again",
		  reflector->resource->name, reflector->version);
	reflector->step = STEP_LIST;
	reflector->backoff_ms = reflector->gone_ms;
	reflector_attempt_later(reflector, 0);
	reflector->gone_ms = reflector->backoff_ms;
	reflector->backoff_ms = BACKOFF_MIN_MS;
}

/* Chooses the next step and its time. Logs. */
static void reflector_watch_done(struct reflector *reflector, const struct kube_answer *answer)
{
	bool was_worth =
		reflector->had_events || uv_hrtime() - reflector->begun_ns > WATCH_WORTH_NS;

	if (reflector->is_gone || answer->status == 410) {
		reflector_list_after_gone(reflector);
	} else if (answer->is_abort) {
		reflector_list_anew(reflector, "watch", reflector->broken);
	} else if (answer->status >= 200 && answer->status <= 299) {
		/* The server's timeout, or a broken connection: watch on from the last version. */
		if (was_worth) {
			reflector->backoff_ms = BACKOFF_MIN_MS;
			reflector->early_attempts = 0;
			reflector_attempt_in(reflector, random_below(100));
		} else if (!reflector_attempt_early(reflector, 0)) {
			reflector_attempt_later(reflector, 0);
		}
	} else if (answer->status == 404) {
		reflector->step = STEP_LIST;
		reflector_attempt_later(reflector, 0);
	} else {
		reflector_end_refused(reflector, "watch", answer);
	}
}

/* After a watch that the server has kept open, a 410 is no habit of it. */
static void reflector_judge_watch(struct reflector *reflector)
{
	if (reflector->step == STEP_WATCH && uv_hrtime() - reflector->watched_ns > WATCH_KEPT_NS)
		reflector->gone_ms = BACKOFF_MIN_MS;
}

static void reflector_on_done(const struct kube_answer *answer, void *context)
{
	struct reflector *reflector = context;

	reflector->call = NULL;
	reflector_judge_watch(reflector);
	reflector->is_unreached = answer->is_unreached;
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
static bool reflector_lacks_mark(const struct reflector *reflector)
{
	return reflector->step == STEP_STREAM && reflector->call &&
	       kube_call_has_begun(reflector->call);
}

static uint32_t reflector_silence_limit_s(const struct reflector *reflector)
{
	if (reflector_lacks_mark(reflector))
		return MARK_PATIENCE_S;
	return reflector->step == STEP_WATCH ? reflector->limits->silence_s : LIST_SILENCE_S;
}

/*
 * The server has been silent for too long. A server without streamed lists treats the request as a
 * plain watch: it sends objects, but never the mark that ends the list.
 */
static void reflector_on_patience(uv_timer_t *timer)
{
	struct reflector *reflector = timer->data;
	uint32_t limit_s = reflector_silence_limit_s(reflector);
	uint64_t now_ns = uv_now(timer->loop) * NS_PER_MS;
	uint64_t due_ns = reflector->heard_ns + limit_s * NS_PER_S;
	char why[64];

	if (now_ns < due_ns) {
		(void)uv_timer_start(timer, reflector_on_patience,
				     (due_ns - now_ns) / NS_PER_MS + 1, 0);
		return;
	}
	reflector_judge_watch(reflector);
	if (reflector_lacks_mark(reflector)) {
		reflector->no_stream = true;
		kube_call_cancel(take_ptr(reflector->call));
		reflector->step = STEP_LIST;
	} else {
		(void)snprintf(why, sizeof(why), "it has said nothing for %u s", limit_s);
		log_debug("%s: the server has said nothing for %u s, asking again",
			  reflector->resource->name, limit_s);
		kube_call_give_up(take_ptr(reflector->call), why);
		free(take_ptr(reflector->continue_token));
	}
	json_stream_fini(&reflector->stream);
	reflector_attempt_in(reflector, 0);
}

/* Returns a negative number if memory is short, as asprintf does; so does reflector_path. */
static int reflector_list_path(const struct reflector *reflector, const char *query,
			       char **ret_path)
{
	const char *path = reflector->resource->path;
	const char *version = *reflector->version ? reflector->version : "0";

	if (reflector->continue_token)
		return asprintf(ret_path, "%s?%slimit=%d&continue=%s", path, query, PAGE_ITEMS,
				reflector->continue_token);
	if (reflector->newest && reflector->whole)
		return asprintf(ret_path, "%s?%sresourceVersion=", path, query);
	if (reflector->newest)
		return asprintf(ret_path, "%s?%slimit=%d", path, query, PAGE_ITEMS);
	return asprintf(ret_path,
			"%s?%slimit=%d&resourceVersion=%s&resourceVersionMatch=NotOlderThan", path,
			query, PAGE_ITEMS, version);
}

/* The path and query of the request for `step`. Chooses how long a watch lasts. */
static int reflector_path(struct reflector *reflector, char **ret_path)
{
	const struct reflector_resource *resource = reflector->resource;
	const char *query = reflector->no_query ? resource->plain_query : resource->query;

	if (reflector->step == STEP_LIST)
		return reflector_list_path(reflector, query, ret_path);
	reflector->watch_s = reflector->limits->watch_s + random_below(reflector->limits->watch_s);
	return asprintf(ret_path, "%s?%swatch=true&allowWatchBookmarks=true&timeoutSeconds=%u%s%s",
			resource->path, query, reflector->watch_s,
			reflector->step == STEP_STREAM
				? "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
				: "&resourceVersion=",
			reflector->step == STEP_STREAM ? "" : reflector->version);
}

/* Sends the request for `step`. */
static void reflector_attempt(struct reflector *reflector)
{
	static const struct kube_call_events events = {.data = reflector_on_data,
						       .done = reflector_on_done};
	auto_cleanup(cleanup_free) char *path = NULL;
	struct kube_request request;
	uint32_t patience_s;
	bool is_list;

	/* A new list may be streamed; one that must be the newest state is fetched in pages. */
	if (reflector->step == STEP_LIST && !reflector->no_stream && !reflector->continue_token &&
	    !reflector->newest)
		reflector->step = STEP_STREAM;
	is_list = reflector->step == STEP_LIST;
	patience_s = reflector_silence_limit_s(reflector);
	if (reflector_path(reflector, &path) < 0) {
		path = NULL;
		reflector_attempt_later(reflector, 0);
		return;
	}
	if (!reflector->continue_token)
		reflector->in_list = false; /* discards what an earlier attempt delivered */
	reflector->broken[0] = '\0';
	reflector->is_gone = false;
	reflector->had_events = false;
	reflector->begun_ns = reflector->watched_ns = uv_hrtime();
	reflector->heard_ns = uv_now(reflector->timer.loop) * NS_PER_MS;
	json_stream_fini(&reflector->stream);
	json_stream_init(&reflector->stream, is_list ? JSON_LIST : JSON_EVENTS,
			 is_list ? reflector_on_item : reflector_on_event, reflector);
	request = (struct kube_request){
		.verb = is_list ? "list" : "watch",
		.path = path,
		.total_s = is_list ? LIST_TOTAL_S : reflector->watch_s + WATCH_GRACE_S,
	};
	reflector->call = kube_client_send(reflector->client, &request, &events, reflector);
	if (!reflector->call) {
		reflector_attempt_later(reflector, 0);
		return;
	}
	/* The limit depends on whether the response has begun, so it is checked again by then. */
	if (patience_s > MARK_PATIENCE_S)
		patience_s = MARK_PATIENCE_S;
	(void)uv_timer_start(&reflector->patience, reflector_on_patience, patience_s * MS_PER_S, 0);
}

static void reflector_on_timer(uv_timer_t *timer)
{
	reflector_attempt(timer->data);
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
		.gone_ms = BACKOFF_MIN_MS,
	};
	(void)uv_timer_init(loop, &reflector->timer);
	(void)uv_timer_init(loop, &reflector->patience);
	reflector->timer.data = reflector;
	reflector->patience.data = reflector;
	reflector_attempt_in(reflector, 0);
	return reflector;
}

void reflector_retry_soon(struct reflector *reflector)
{
	if (reflector->call || !reflector->is_unreached)
		return;
	if (uv_timer_get_due_in(&reflector->timer) > RETRY_SOON_MS)
		reflector_attempt_in(reflector, random_below(RETRY_SOON_MS));
}

bool reflector_has_listed(const struct reflector *reflector)
{
	return reflector->has_listed;
}

bool reflector_is_watching(const struct reflector *reflector)
{
	return reflector->step == STEP_WATCH && reflector->call &&
	       kube_call_has_begun(reflector->call) &&
	       uv_hrtime() - reflector->begun_ns > FORGETTING_NS;
}

bool reflector_has_problem(const struct reflector *reflector)
{
	return *reflector->problem;
}

static void reflector_on_closed(uv_handle_t *handle)
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
	uv_close((uv_handle_t *)&reflector->timer, reflector_on_closed);
	uv_close((uv_handle_t *)&reflector->patience, reflector_on_closed);
}
