/* SPDX-License-Identifier: BSD-2-Clause */
#include "kube/post/event_poster.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

#define EVENTS_PATH       "/apis/events.k8s.io/v1/namespaces/%s/events"
#define CONTROLLER        "fairlead"
#define INSTANCE_SIZE     129 /* the API server's limit, plus the NUL */
#define POST_S            10
#define TIME_TEXT_SIZE    64
#define HTTP_UNKNOWN      401
#define HTTP_FORBIDDEN    403
#define HTTP_MANY         429
#define HTTP_SERVER_ERROR 500

struct post {
	struct event_poster *poster;
	struct kube_call *call; /* NULL: no post is in flight */
	/* What it is about, for the log: at its end, the entry may be about another Service. */
	char object[2 * NAME_SIZE + 16];
};

struct event_poster {
	uv_timer_t timer;
	struct kube_client *client;
	struct event_poster_options options;
	struct event_book book;
	struct post posts[EVENT_ENTRIES_MAX]; /* one per entry of the book */
};

/* The time in the API's MicroTime format. */
static const char *time_text(const struct event_time *time, char buf[TIME_TEXT_SIZE])
{
	time_t seconds = (time_t)(time->realtime_ns / NS_PER_S);
	char date[32];
	struct tm parts;

	(void)gmtime_r(&seconds, &parts);
	(void)strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &parts);
	(void)snprintf(buf, TIME_TEXT_SIZE, "%s.%06uZ", date,
		       (unsigned int)(time->realtime_ns % NS_PER_S / NS_PER_US));
	return buf;
}

/* The namespace of an Event is its object's; a Node has none, its Events are in "default". */
static const char *event_namespace(const struct event_entry *entry)
{
	return *entry->service_name ? entry->service_namespace : "default";
}

/*
 * Names the object of an Event as kube-proxy does: the uid is a Node's name (kubectl finds the
 * Node's Events by it, the kubelet's too) or a Service's namespace/name.
 */
static void regarding_add(cJSON *event, const char *node_name, const struct event_entry *entry)
{
	cJSON *regarding = cJSON_AddObjectToObject(event, "regarding");
	bool is_service = *entry->service_name;
	char uid[2 * NAME_SIZE];

	(void)snprintf(uid, sizeof(uid), "%s/%s", entry->service_namespace, entry->service_name);
	(void)cJSON_AddStringToObject(regarding, "kind", is_service ? "Service" : "Node");
	(void)cJSON_AddStringToObject(regarding, "apiVersion", "v1");
	if (is_service)
		(void)cJSON_AddStringToObject(regarding, "namespace", entry->service_namespace);
	(void)cJSON_AddStringToObject(regarding, "name",
				      is_service ? entry->service_name : node_name);
	(void)cJSON_AddStringToObject(regarding, "uid", is_service ? uid : node_name);
}

/* The Event as JSON. The caller frees it; NULL if memory is short. */
static char *event_write(const struct event_poster *poster, const struct event_entry *entry)
{
	const char *node_name = poster->options.node_name;
	char name[320], instance[INSTANCE_SIZE], text[TIME_TEXT_SIZE];
	cJSON *event = cJSON_CreateObject();
	cJSON *metadata = cJSON_AddObjectToObject(event, "metadata");
	char *body;

	(void)snprintf(name, sizeof(name), "%s.%llx", node_name,
		       (unsigned long long)clock_realtime_ns());
	(void)snprintf(instance, sizeof(instance), CONTROLLER "-%s", node_name);
	(void)cJSON_AddStringToObject(event, "kind", "Event");
	(void)cJSON_AddStringToObject(event, "apiVersion", "events.k8s.io/v1");
	(void)cJSON_AddStringToObject(metadata, "name", name);
	(void)cJSON_AddStringToObject(metadata, "namespace", event_namespace(entry));
	(void)cJSON_AddStringToObject(event, "eventTime", time_text(&entry->posting_first, text));
	(void)cJSON_AddStringToObject(event, "reportingController", CONTROLLER);
	(void)cJSON_AddStringToObject(event, "reportingInstance", instance);
	(void)cJSON_AddStringToObject(event, "type", entry->type);
	(void)cJSON_AddStringToObject(event, "reason", entry->reason);
	(void)cJSON_AddStringToObject(event, "action", entry->action);
	(void)cJSON_AddStringToObject(event, "note", entry->note);
	regarding_add(event, node_name, entry);
	if (entry->posting > 1) {
		cJSON *series = cJSON_AddObjectToObject(event, "series");

		(void)cJSON_AddNumberToObject(series, "count", entry->posting);
		(void)cJSON_AddStringToObject(series, "lastObservedTime",
					      time_text(&entry->last, text));
	}
	body = cJSON_PrintUnformatted(event);
	cJSON_Delete(event);
	return body;
}

static void poster_count(const struct event_poster *poster, const char *result)
{
	if (poster->options.counted)
		poster->options.counted(result, poster->options.context);
}

static void poster_on_timer(uv_timer_t *timer);

/* Posts from the timer, not from the caller, which may be the end of another post. */
static void poster_post_soon(struct event_poster *poster, uint64_t wait_ns)
{
	(void)uv_timer_start(&poster->timer, poster_on_timer, (wait_ns + NS_PER_MS - 1) / NS_PER_MS,
			     0);
}

static enum event_result result_of(const struct kube_answer *answer,
				   const struct kube_client *client)
{
	if (answer->ok)
		return EVENT_POSTED;
	if (answer->status == HTTP_FORBIDDEN && kube_client_was_away(client))
		return EVENT_TRY_AGAIN;
	if (!answer->status || answer->status == HTTP_UNKNOWN || answer->status == HTTP_MANY ||
	    answer->status >= HTTP_SERVER_ERROR)
		return EVENT_TRY_AGAIN;
	return EVENT_REFUSED;
}

static void poster_end_post(struct post *post, enum event_result result, const char *why)
{
	struct event_poster *poster = post->poster;
	struct event_entry *entry = &poster->book.entries[post - poster->posts];

	bool is_given_up = !event_book_record_result(entry, result, clock_now_ns());

	post->call = NULL;
	if (result == EVENT_POSTED)
		poster_count(poster, "posted");
	else
		log_write(event_book_is_news(entry, is_given_up, why) ? LOG_WARNING : LOG_DEBUG,
			  "cannot post the Event %s of %s: %s; %s", entry->reason, post->object,
			  why, is_given_up ? "continuing without it" : "trying again");
	if (is_given_up)
		poster_count(poster, "failed");
	poster_post_soon(poster, 0);
}

static void poster_on_done(const struct kube_answer *answer, void *context)
{
	struct post *post = context;

	poster_end_post(post, result_of(answer, post->poster->client), answer->why);
}

static void poster_begin_post(struct event_poster *poster, struct event_entry *entry)
{
	static const struct kube_call_events call_events = {.done = poster_on_done};
	struct post *post = &poster->posts[entry - poster->book.entries];
	auto_cleanup(cleanup_free) char *body = event_write(poster, entry);
	char path[sizeof(EVENTS_PATH) + NAME_SIZE];
	const struct kube_request request = {
		.verb = "create", .path = path, .body = body, .total_s = POST_S};

	(void)snprintf(path, sizeof(path), EVENTS_PATH, event_namespace(entry));
	if (*entry->service_name)
		(void)snprintf(post->object, sizeof(post->object), "Service %s/%s",
			       entry->service_namespace, entry->service_name);
	else
		(void)snprintf(post->object, sizeof(post->object), "Node %s",
			       poster->options.node_name);
	if (body)
		post->call = kube_client_send(poster->client, &request, &call_events, post);
	if (!post->call)
		poster_end_post(post, EVENT_REFUSED, "memory is short");
}

static void poster_on_timer(uv_timer_t *timer)
{
	struct event_poster *poster = timer->data;
	struct event_entry *entry;
	uint64_t wait_ns;

	while ((entry = event_book_dequeue(&poster->book, clock_now_ns(), &wait_ns)))
		poster_begin_post(poster, entry);
	if (wait_ns)
		poster_post_soon(poster, wait_ns);
}

struct event_poster *event_poster_new(uv_loop_t *loop, struct kube_client *client,
				      const struct event_poster_options *options)
{
	struct event_poster *poster = calloc(1, sizeof(*poster));

	if (!poster)
		return NULL;
	poster->client = client;
	poster->options = *options;
	for (size_t i = 0; i < EVENT_ENTRIES_MAX; i++)
		poster->posts[i].poster = poster;
	(void)uv_timer_init(loop, &poster->timer);
	poster->timer.data = poster;
	return poster;
}

void event_poster_post(struct event_poster *poster, const struct event_text *text)
{
	const struct event_time now = {clock_now_ns(), clock_realtime_ns()};
	const struct event_entry *entry;

	if (!poster)
		return;
	entry = event_book_add(&poster->book, text, &now);
	if (!entry)
		log_debug("the Event %s is not posted: there are too many kinds", text->reason);
	else if (entry->count > 1)
		poster_count(poster, "folded");
	poster_post_soon(poster, 0);
}

bool event_poster_is_busy(const struct event_poster *poster)
{
	return poster && event_book_is_busy(&poster->book);
}

static void poster_on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void event_poster_close(struct event_poster *poster)
{
	if (!poster)
		return;
	for (size_t i = 0; i < EVENT_ENTRIES_MAX; i++) {
		if (poster->posts[i].call)
			kube_call_cancel(poster->posts[i].call);
	}
	uv_close((uv_handle_t *)&poster->timer, poster_on_closed);
}
