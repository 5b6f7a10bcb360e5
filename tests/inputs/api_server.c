/* SPDX-License-Identifier: BSD-2-Clause */
#include "api_server.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>
#include <uv.h>

#include "kube/client/answer.h"
#include "kube/client/client.h"
#include "kube/post/event_poster.h"
#include "model/model.h"
#include "plan_model.h"
#include "source/source.h"

/*
 * The input is a list of answers, each ended by this byte. An answer begins with three bytes: its
 * status and how it ends, into pieces of which size it is cut, and which timer runs before a
 * request is sent where none is waiting for an answer.
 */
#define ANSWER_END  0x1e
#define HEAD_SIZE   3
#define HEAD_BROKEN 0x40 /* the connection breaks after the answer */
#define TIMERS_MAX  32
#define TURNS_MAX   20000

static const long statuses[] = {200, 0,   201, 400, 401, 403, 404, 405,
				409, 410, 422, 429, 500, 502, 503, 504};

struct kube_call {
	struct kube_call *prev, *next;
	struct kube_client *client;
	struct kube_call_events events;
	void *context;
	bool has_begun;
};

struct kube_client {
	struct kube_client_events events;
	struct kube_call *calls; /* in the order in which they are answered */
	bool is_away, was_away;
};

static uv_loop_t loop;
static struct kube_client *client;
static const char *const servers[] = {"https://10.0.0.1:6443"};

/* The client's interface (kube/client/client.h), in place of the real one. */

int kube_client_open(uv_loop_t *of, struct kube_config *config, const char *state_dir,
		     const struct kube_client_events *events, struct kube_client **ret_client)
{
	(void)of;
	(void)state_dir;
	kube_config_free(config);
	client = calloc(1, sizeof(*client));
	if (!client)
		abort();
	client->events = *events;
	*ret_client = client;
	return 0;
}

struct kube_call *kube_client_send(struct kube_client *of, const struct kube_request *request,
				   const struct kube_call_events *events, void *context)
{
	struct kube_call *call = calloc(1, sizeof(*call));

	if (!call || *request->path != '/')
		abort();
	*call = (struct kube_call){.client = of, .events = *events, .context = context};
	DL_APPEND(of->calls, call);
	return call;
}

bool kube_call_has_begun(const struct kube_call *call)
{
	return call->has_begun;
}

void kube_call_cancel(struct kube_call *call)
{
	DL_DELETE(call->client->calls, call);
	free(call);
}

void kube_call_give_up(struct kube_call *call, const char *why)
{
	(void)why;
	kube_call_cancel(call);
}

void kube_client_learn_servers(struct kube_client *of, const struct server_address *addresses,
			       size_t count)
{
	(void)of;
	for (size_t i = 0; i < count; i++) {
		if (!addresses[i].port)
			abort();
	}
}

void kube_client_prefer_learned_servers(struct kube_client *of)
{
	(void)of;
}

bool kube_client_was_away(const struct kube_client *of)
{
	return of->was_away;
}

const char *kube_client_server(const struct kube_client *of)
{
	(void)of;
	return servers[0];
}

uint64_t kube_client_woken_ns(const struct kube_client *of)
{
	(void)of;
	return 1;
}

void kube_client_close(struct kube_client *of)
{
	if (of->calls)
		abort(); /* whoever has sent them has to cancel them first */
	free(of);
	client = NULL;
}

/* What the source says of the model. */

static void on_change(uint64_t woken_ns, void *context)
{
	(void)woken_ns;
	model_plan_changes(context);
}

static void on_rejected(void *context)
{
	(void)context;
}

static void on_reachable(const char *why, void *context)
{
	(void)context;
	if (why && !*why)
		abort();
}

/* Answers. */

struct answers {
	const uint8_t *at, *end;
};

/* The next answer, behind its head; false if there is none. */
static bool answer_next(struct answers *answers, const uint8_t **ret_head, size_t *ret_size)
{
	const uint8_t *end;
	const size_t left = (size_t)(answers->end - answers->at);

	if (left < HEAD_SIZE)
		return false;
	*ret_head = answers->at;
	end = memchr(answers->at + HEAD_SIZE, ANSWER_END, left - HEAD_SIZE);
	*ret_size = (end ? (size_t)(end - answers->at) : left) - HEAD_SIZE;
	answers->at = end ? end + 1 : answers->end;
	return true;
}

/* Hands on the body in pieces, each in memory of just its size. Returns what the receiver says. */
static int body_receive(struct kube_call *call, const uint8_t *body, size_t size, size_t piece_max)
{
	int err = 0;

	for (size_t done = 0; !err && done < size;) {
		const size_t left = size - done;
		const size_t piece = piece_max && piece_max < left ? piece_max : left;
		char *bytes = malloc(piece);

		if (!bytes)
			abort();
		memcpy(bytes, body + done, piece);
		err = call->events.data ? call->events.data(bytes, piece, call->context) : 0;
		free(bytes);
		done += piece;
	}
	return err;
}

/* As client.c does before the caller hears of it. */
static void reachable_report(const struct kube_answer *answer)
{
	if (answer->is_unreached == client->is_away)
		return;
	client->is_away = answer->is_unreached;
	client->was_away = !client->is_away;
	client->events.reachable(client->is_away ? answer->why : NULL, client->events.context);
}

/* Answers the call that waits longest, which ends with it. */
static void call_answer(const uint8_t *head, size_t size)
{
	struct kube_call *call = client->calls;
	const struct kube_call_events events = call->events;
	void *context = call->context;
	const uint8_t *body = head + HEAD_SIZE;
	struct transfer_outcome outcome = {
		.status = statuses[head[0] % (sizeof(statuses) / sizeof(statuses[0]))],
		.error = head[0] & HEAD_BROKEN ? "the connection broke" : NULL,
		.retry_after_s = head[1] % 3,
	};
	struct kube_answer answer;

	if (!outcome.status) {
		outcome.error = "nobody answers";
	} else if (outcome.status < 300) {
		call->has_begun = true;
		outcome.is_abort = body_receive(call, body, size, head[1]);
	} else {
		memcpy(outcome.body, body,
		       size < sizeof(outcome.body) ? size : sizeof(outcome.body) - 1);
	}
	answer_describe(&outcome, "a file", &answer);
	if (!answer.ok && !answer.is_abort && !*answer.why)
		abort(); /* what is wrong is always said */
	reachable_report(&answer);
	DL_DELETE(client->calls, call);
	free(call);
	events.done(&answer, context);
}

struct timers {
	uv_timer_t *items[TIMERS_MAX];
	size_t count;
};

static void timer_collect(uv_handle_t *handle, void *context)
{
	struct timers *timers = context;

	if (handle->type == UV_TIMER && uv_is_active(handle) && timers->count < TIMERS_MAX)
		timers->items[timers->count++] = (uv_timer_t *)handle;
}

/* Runs one of the timers that wait now, as if its time had come. */
static void timer_run(uint8_t which)
{
	struct timers timers = {};
	uv_timer_t *timer;

	uv_walk(&loop, timer_collect, &timers);
	if (!timers.count)
		return;
	timer = timers.items[which % timers.count];
	(void)uv_timer_start(timer, timer->timer_cb, 0, uv_timer_get_repeat(timer));
}

static void event_post(struct source *source)
{
	source_post_event(source, &(struct event_text){.type = "Normal",
						       .reason = "Starting",
						       .action = "StartProxy",
						       .note = "a note"});
}

/* An answer that no request waits for has a timer run, after which one may be sent. */
static void answers_give(struct answers *answers)
{
	const uint8_t *head;
	size_t size;

	for (int turn = 0; turn < TURNS_MAX; turn++) {
		(void)uv_run(&loop, UV_RUN_NOWAIT);
		if (!answer_next(answers, &head, &size))
			return;
		if (!client->calls) {
			timer_run(head[2]);
			(void)uv_run(&loop, UV_RUN_NOWAIT);
		}
		if (client->calls)
			call_answer(head, size);
	}
}

void api_server_begin(void)
{
	if (uv_loop_init(&loop))
		abort();
}

void api_server_fuzz(const uint8_t *data, size_t size)
{
	struct answers answers = {data + 1, data + size};
	struct model *model = model_new();
	const struct source_events events = {.synced = on_change,
					     .changed = on_change,
					     .rejected = on_rejected,
					     .reachable = on_reachable,
					     .context = model};
	struct kube_source_options options = {
		.servers = servers, .server_count = 1, .node_name = "node1", .silence_s = 180};
	struct source *source = NULL;

	if (!model)
		abort();
	if (size) {
		options.with_all_nodes = *data & 1;
		if (source_kube_open(&loop, &options, model, &events, &source))
			abort();
		if (*data & 2)
			event_post(source);
		answers_give(&answers);
		source_close(source);
		(void)uv_run(&loop, UV_RUN_DEFAULT);
	}
	model_free(model);
}
