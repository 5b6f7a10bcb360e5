/* SPDX-License-Identifier: BSD-2-Clause */

/* Handles the data that the server sends during a list or a watch. */

#include "kube/watch/reflector_state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "decode/json_arena.h"
#include "base/log.h"

#define ANNOTATION_LIST_END "k8s.io/initial-events-end"

static void problem_end(struct reflector *reflector)
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

static void cleanup_room(cJSON **tree)
{
	json_arena_release(*tree);
}

void reflector_note_version(struct reflector *reflector, const cJSON *metadata)
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

void reflector_end_list(struct reflector *reflector)
{
	reflector->in_list = false;
	reflector->has_listed = true;
	reflector->whole = false;
	reflector->newest = false;
	reflector_reset_backoff(reflector);
	reflector->absent_ms = ABSENT_MIN_MS;
	problem_end(reflector);
	reflector->events->listed(reflector->context);
}

int reflector_item(char *text, size_t size, void *context)
{
	struct reflector *reflector = context;
	auto_cleanup(cleanup_room) cJSON *item = json_arena_parse(text, size);

	if (!item)
		return answer_is_broken(reflector, "an item of the list is no JSON");
	return reflector->events->put(item, reflector->context);
}

/* The server ends the watch with an error; 410: it no longer has the events after our version. */
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

	reflector_note_version(reflector, metadata);
	if (reflector->step == STEP_STREAM && mark && !strcmp(mark, "true")) {
		reflector->step = STEP_WATCH;
		reflector_end_list(reflector);
	}
}

int reflector_event(char *text, size_t size, void *context)
{
	struct reflector *reflector = context;
	auto_cleanup(cleanup_room) cJSON *event = json_arena_parse(text, size);
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
	 * The events of a streamed list are in no order; only the mark at its end has a version to
	 * watch from.
	 */
	if (!err && reflector->step == STEP_WATCH)
		reflector_note_version(reflector, metadata);
	return err;
}

int reflector_data(const char *bytes, size_t size, void *context)
{
	struct reflector *reflector = context;
	int err;

	reflector->heard_ns = uv_now(reflector->timer.loop) * 1000000ULL;
	if (reflector->step != STEP_WATCH)
		list_begin(reflector);
	else if (*reflector->problem)
		problem_end(reflector);
	err = json_stream_feed(&reflector->stream, bytes, size);
	if (err == -EINVAL && !*reflector->broken)
		return answer_is_broken(reflector, "the answer is not JSON");
	if (err == -EFBIG)
		return answer_is_broken(reflector, "an object is larger than 16 MiB");
	if (err == -ENOMEM)
		return answer_is_broken(reflector, "memory is short");
	return err;
}
