/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Inside of the reflector: reflector.c asks, reflector_receive.c takes what comes, and
 * reflector_done.c says what follows when the answer has ended.
 */

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "kube/client/client.h"
#include "decode/json_stream.h"
#include "kube/watch/reflector.h"

#define ABSENT_MIN_MS 1000

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

/* reflector.c */

/* The next question, after so long. */
void reflector_attempt_in(struct reflector *reflector, uint64_t wait_ms);

/*
 * The next question after a failure: exponential with jitter, for thousands of agents shall not
 * come back at the same moment.
 */
void reflector_attempt_later(struct reflector *reflector, uint32_t retry_after_s);

/* What was asked has worked. */
void reflector_reset_backoff(struct reflector *reflector);

/* A number below `limit`; 0 where that is 0. */
uint32_t reflector_random(uint32_t limit);

/* reflector_receive.c */

/* An answer's bytes; not 0 ends it, and `broken` says why. `context`: the reflector. */
int reflector_data(const char *bytes, size_t size, void *context);

/* An item of a list, an event of a watch; for json_stream_init. */
int reflector_item(char *text, size_t size, void *context);
int reflector_event(char *text, size_t size, void *context);

/* Goes on from the version that these metadata have, if they have one. */
void reflector_note_version(struct reflector *reflector, const cJSON *metadata);

/* A complete list was given. */
void reflector_end_list(struct reflector *reflector);

/* reflector_done.c: both choose the next step and when it is; they log. */
void reflector_list_done(struct reflector *reflector, const struct kube_answer *answer);
void reflector_watch_done(struct reflector *reflector, const struct kube_answer *answer);
