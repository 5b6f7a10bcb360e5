/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Private to the reflector: reflector.c sends requests, reflector_receive.c handles the data, and
 * reflector_done.c chooses the next step when a response has ended.
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
	uint32_t backoff_ms, absent_ms, watch_s;
	bool has_listed;
	bool in_list;   /* list_begun was called, listed was not */
	bool no_stream; /* the server does not stream lists */
	bool no_query;  /* the server refuses the selectors */
	bool whole;     /* without pages, because a page's token has expired */
	bool newest;    /* bypass the server's cache, which may be too old or too new */
	bool is_gone;   /* the server no longer has our version */
	bool had_events;
	bool is_closing;
};

/* reflector.c */

/* Starts the next attempt after `wait_ms`. */
void reflector_attempt_in(struct reflector *reflector, uint64_t wait_ms);

/*
 * Starts the next attempt after a failure, with exponential backoff and jitter, so that thousands
 * of agents do not return at the same moment.
 */
void reflector_attempt_later(struct reflector *reflector, uint32_t retry_after_s);

/* Call after a success. */
void reflector_reset_backoff(struct reflector *reflector);

/* A random number below `limit`; 0 if `limit` is 0. */
uint32_t reflector_random(uint32_t limit);

/* reflector_receive.c */

/*
 * Takes bytes of a response. Returns 0, or an error that aborts it, with the reason in `broken`.
 * `context` is the reflector.
 */
int reflector_data(const char *bytes, size_t size, void *context);

/* Take an item of a list or an event of a watch; for json_stream_init. */
int reflector_item(char *text, size_t size, void *context);
int reflector_event(char *text, size_t size, void *context);

/* Remembers the resourceVersion in this metadata, if there is one. */
void reflector_note_version(struct reflector *reflector, const cJSON *metadata);

/* The list is complete: tells the receiver, and resets backoff and problem. */
void reflector_end_list(struct reflector *reflector);

/* reflector_done.c: both choose the next step and its time. Log. */
void reflector_list_done(struct reflector *reflector, const struct kube_answer *answer);
void reflector_watch_done(struct reflector *reflector, const struct kube_answer *answer);
