/* SPDX-License-Identifier: BSD-2-Clause */

/* The end of a list or a watch, and the choice of the next step. */

#include "kube/watch/reflector_state.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"

#define WATCH_WORTH_NS 5000000000ULL /* a watch that lasted this long was not a failure */

static void cleanup_json(cJSON **json)
{
	cJSON_Delete(*json);
}

static void problem_tell(struct reflector *reflector, const char *verb, const char *why)
{
	if (!strcmp(reflector->problem, why))
		return;
	(void)snprintf(reflector->problem, sizeof(reflector->problem), "%s", why);
	log_warning("cannot %s %s: %s; trying on, the datapath stays as it is", verb,
		    reflector->resource->name, why);
}

/* A response cannot be used: only a new list gives a known state. */
static void answer_refuse(struct reflector *reflector, const char *verb, const char *why)
{
	problem_tell(reflector, verb, why);
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
		reflector_attempt_in(reflector, 0);
		return;
	}
	reflector_note_version(reflector, metadata);
	reflector_end_list(reflector);
	reflector->step = STEP_WATCH;
	reflector_attempt_in(reflector, 0);
}

/*
 * True for a status that is logged per resource. Servers that do not answer, or say that they
 * cannot serve, are logged by servers.c, all in one line.
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
		reflector_attempt_in(reflector,
				     reflector->absent_ms + reflector_random(reflector->absent_ms));
		reflector->absent_ms *= 2;
		if (reflector->absent_ms > reflector->limits->absent_s * 1000)
			reflector->absent_ms = reflector->limits->absent_s * 1000;
		return;
	}
	if (reflector->step == STEP_STREAM && is_client_error(answer->status)) {
		reflector->no_stream = true;
		reflector_attempt_in(reflector, 0);
		return;
	}
	if (answer->status == 400 && !reflector->no_query) {
		reflector->no_query = true;
		reflector_attempt_in(reflector, 0);
		return;
	}
	if ((answer->status == 410 || answer->status == 504) && (!reflector->newest || had_token)) {
		/* Expired: a page's token, or the version given to NotOlderThan. */
		reflector->whole = had_token;
		reflector->newest = true;
		reflector_attempt_in(reflector, 0);
		return;
	}
	if (is_refusal(answer->status))
		problem_tell(reflector, "list", answer->why);
	reflector_attempt_later(reflector, answer->retry_after_s);
}

void reflector_list_done(struct reflector *reflector, const struct kube_answer *answer)
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

void reflector_watch_done(struct reflector *reflector, const struct kube_answer *answer)
{
	bool was_worth =
		reflector->had_events || uv_hrtime() - reflector->begun_ns > WATCH_WORTH_NS;

	if (reflector->is_gone || answer->status == 410) {
		log_info("%s: the server has forgotten what came after %s, listing again",
			 reflector->resource->name, reflector->version);
		reflector->step = STEP_LIST;
		if (was_worth)
			reflector_reset_backoff(reflector);
		reflector_attempt_later(reflector, 0);
	} else if (answer->is_abort) {
		answer_refuse(reflector, "watch", reflector->broken);
	} else if (answer->status >= 200 && answer->status <= 299) {
		/* The server's timeout, or a broken connection: watch on from the last version. */
		if (was_worth)
			reflector_reset_backoff(reflector);
		if (was_worth)
			reflector_attempt_in(reflector, reflector_random(100));
		else
			reflector_attempt_later(reflector, 0);
	} else if (answer->status == 404) {
		reflector->step = STEP_LIST;
		reflector_attempt_later(reflector, 0);
	} else {
		if (is_refusal(answer->status))
			problem_tell(reflector, "watch", answer->why);
		reflector_attempt_later(reflector, answer->retry_after_s);
	}
}
