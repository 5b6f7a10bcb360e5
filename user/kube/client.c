/* SPDX-License-Identifier: BSD-2-Clause */
#include "kube/client.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "cleanup.h"
#include "kube/credentials.h"
#include "kube/http.h"
#include "log.h"

/* How soon an exchange that waits for a credential plugin looks again. */
#define CREDENTIALS_WAIT_MS 50

struct kube_call {
	struct kube_client *client;
	struct kube_call_events events;
	void *context;
	char *path, *body;
	const char *verb;
	uint32_t total_s;
	struct http_call *http; /* NULL: waits for credentials */
	char *server;           /* the name of the one that is asked */
	bool is_observed;
	struct kube_call *prev, *next;
};

struct kube_client {
	uv_timer_t timer; /* of calls that wait */
	struct kube_config *config;
	struct kube_credentials *credentials;
	struct http *http;
	struct servers servers;
	struct kube_client_events events;
	struct kube_call *calls;
	bool is_connected, is_failed; /* neither: nothing was tried yet */
};

static void call_free(struct kube_call *call)
{
	DL_DELETE(call->client->calls, call);
	free(call->path);
	free(call->body);
	free(call->server);
	free(call);
}

static void call_end(struct kube_call *call, const struct kube_answer *answer)
{
	const struct kube_call_events events = call->events;
	void *context = call->context;

	call_free(call);
	events.done(answer, context);
}

/* A Status says it in its message; a proxy or a filter may say it in plain text. */
static void refusal_describe(const struct http_outcome *outcome, char *buf, size_t size)
{
	cJSON *status = cJSON_Parse(outcome->body);
	const char *message =
		cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(status, "message"));
	int len = (int)strcspn(outcome->body, "\r\n");

	if (message)
		(void)snprintf(buf, size, "HTTP %ld: %.400s", outcome->status, message);
	else if (len && *outcome->body != '<' && *outcome->body != '{')
		(void)snprintf(buf, size, "HTTP %ld: %.*s", outcome->status, len < 200 ? len : 200,
			       outcome->body);
	else
		(void)snprintf(buf, size, "HTTP %ld", outcome->status);
	for (char *at = buf; *at; at++) {
		if (*at < ' ' || *at > '~')
			*at = '?';
	}
	cJSON_Delete(status);
}

static void answer_describe(const struct http_outcome *outcome, struct kube_answer *ret_answer)
{
	bool is_success = outcome->status >= 200 && outcome->status <= 299;

	*ret_answer = (struct kube_answer){
		.ok = is_success && !outcome->error,
		.is_abort = outcome->is_abort,
		.status = outcome->status,
		.retry_after_s = outcome->retry_after_s,
	};
	if (ret_answer->ok || outcome->is_abort)
		return;
	if (outcome->status && !is_success)
		refusal_describe(outcome, ret_answer->why, sizeof(ret_answer->why));
	else
		(void)snprintf(ret_answer->why, sizeof(ret_answer->why), "%s", outcome->error);
}

static const struct server *server_named(const struct servers *servers, const char *name)
{
	for (size_t i = 0; i < servers->count; i++) {
		if (!strcmp(servers->items[i].name, name))
			return &servers->items[i];
	}
	return NULL;
}

/* A server that cannot serve is as bad as none, except that it may be too young for the question. */
static bool is_server_failure(const struct http_outcome *outcome)
{
	if (outcome->is_abort)
		return false;
	return !outcome->status || outcome->status == 500 || outcome->status == 502 ||
	       outcome->status == 503;
}

static void observe(struct kube_call *call, long status, double seconds)
{
	const struct kube_client_events *events = &call->client->events;
	const char *host = call->server;
	const struct kube_observation observation = {
		.method = call->body ? "POST" : "GET",
		.verb = call->verb,
		.host = strstr(host, "://") ? strstr(host, "://") + 3 : host,
		.status = status,
		.seconds = seconds,
	};

	call->is_observed = true;
	if (events->observed)
		events->observed(&observation, events->context);
}

/* `why`: no server can be asked; NULL: one has answered. */
static void reached_note(struct kube_client *client, const char *why)
{
	bool is_news = why ? !client->is_failed : !client->is_connected;

	client->is_connected = !why;
	client->is_failed = why != NULL;
	if (is_news && client->events.reached)
		client->events.reached(why, client->events.context);
}

static void on_answered(long status, double seconds, void *context)
{
	struct kube_call *call = context;

	observe(call, status, seconds);
	reached_note(call->client, NULL);
}

static void on_done(const struct http_outcome *outcome, void *context)
{
	struct kube_call *call = context;
	struct kube_client *client = call->client;
	const struct server *server = server_named(&client->servers, call->server);
	struct kube_answer answer;

	answer_describe(outcome, &answer);
	if (!call->is_observed)
		observe(call, outcome->status, outcome->seconds);
	if (!outcome->status)
		reached_note(client, answer.why);
	if (server && is_server_failure(outcome))
		servers_failed(&client->servers, server, answer.why);
	else if (server && outcome->status)
		servers_answered(&client->servers, server);
	if (outcome->status == 401)
		kube_credentials_refuse(client->credentials);
	call_end(call, &answer);
}

static int on_data(const char *bytes, size_t size, void *context)
{
	const struct kube_call *call = context;

	return call->events.data ? call->events.data(bytes, size, call->context) : 0;
}

static int call_begin(struct kube_call *call, const struct kube_secrets *secrets)
{
	static const struct http_events events = {
		.answered = on_answered, .data = on_data, .done = on_done};
	struct kube_client *client = call->client;
	const struct server *server = servers_current(&client->servers);
	auto_cleanup(cleanup_free) char *url = NULL;

	if (asprintf(&url, "%s%s", server->url, call->path) < 0)
		return -ENOMEM;
	free(call->server);
	call->server = strdup(server->name);
	call->is_observed = false;
	if (!call->server)
		return -ENOMEM;
	return http_send(client->http,
			 &(struct http_request){
				 .method = call->body ? "POST" : "GET",
				 .url = url,
				 .connect_to = server->connect_to,
				 .host = server->host,
				 .proxy_url = client->config->proxy_url,
				 .body = call->body,
				 .secrets = *secrets,
				 .insecure = client->config->insecure,
				 .total_s = call->total_s,
			 },
			 &events, call, &call->http);
}

static void on_timer(uv_timer_t *timer);

/* Sends the call, or ends it where there is no way to. False: it waits for its credentials. */
static bool call_go(struct kube_call *call)
{
	struct kube_client *client = call->client;
	struct kube_secrets secrets;
	struct kube_answer answer = {};
	int err = kube_credentials_get(client->credentials, &secrets);

	if (err == -EAGAIN)
		return false;
	if (err)
		(void)snprintf(answer.why, sizeof(answer.why), "there are no credentials of %s: %s",
			       client->config->origin, strerror(-err));
	else
		err = call_begin(call, &secrets);
	if (err && !*answer.why)
		(void)snprintf(answer.why, sizeof(answer.why), "%s", strerror(-err));
	if (err) {
		reached_note(client, answer.why);
		call_end(call, &answer);
	}
	return true;
}

static struct kube_call *call_waiting(const struct kube_client *client)
{
	struct kube_call *call;

	DL_FOREACH(client->calls, call)
	{
		if (!call->http)
			break;
	}
	return call;
}

static void on_timer(uv_timer_t *timer)
{
	struct kube_client *client = timer->data;
	struct kube_call *call;

	while ((call = call_waiting(client))) {
		if (call_go(call))
			continue;
		(void)uv_timer_start(&client->timer, on_timer, CREDENTIALS_WAIT_MS, 0);
		return;
	}
}

/* From the plugin's callback nothing is sent at once: the calls are looked through by the timer. */
static void on_credentials(void *context)
{
	struct kube_client *client = context;

	(void)uv_timer_start(&client->timer, on_timer, 0, 0);
}

struct kube_call *kube_client_send(struct kube_client *client, const struct kube_request *request,
				   const struct kube_call_events *events, void *context)
{
	struct kube_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	*call = (struct kube_call){
		.client = client,
		.events = *events,
		.context = context,
		.path = strdup(request->path),
		.body = request->body ? strdup(request->body) : NULL,
		.verb = request->verb,
		.total_s = request->total_s,
	};
	DL_APPEND(client->calls, call);
	if (!call->path || (request->body && !call->body)) {
		call_free(call);
		return NULL;
	}
	/* Not from here, so that `done` never comes before this has returned. */
	(void)uv_timer_start(&client->timer, on_timer, 0, 0);
	return call;
}

void kube_call_cancel(struct kube_call *call)
{
	if (call->http)
		http_cancel(call->http);
	call_free(call);
}

void kube_call_give_up(struct kube_call *call, const char *why)
{
	const struct server *server =
		call->server ? server_named(&call->client->servers, call->server) : NULL;

	if (call->http && !call->is_observed)
		observe(call, 0, 0);
	reached_note(call->client, why);
	if (server && call->http)
		servers_failed(&call->client->servers, server, why);
	kube_call_cancel(call);
}

int kube_client_open(uv_loop_t *loop, struct kube_config *config, const char *state_dir,
		     const struct kube_client_events *events, struct kube_client **ret_client)
{
	struct kube_client *client = calloc(1, sizeof(*client));
	int err;

	if (!client) {
		kube_config_free(config);
		return log_err(-ENOMEM, "cannot set up the API client");
	}
	client->config = config;
	client->events = *events;
	(void)uv_timer_init(loop, &client->timer);
	client->timer.data = client;
	err = servers_init(&client->servers, config->servers, config->server_count,
			   config->tls_server_name, state_dir);
	if (!err)
		err = kube_credentials_open(loop, config, on_credentials, client,
					    &client->credentials);
	if (!err)
		err = http_open(loop, events->socket_made, events->context, &client->http);
	if (err) {
		kube_client_close(client);
		return err;
	}
	*ret_client = client;
	return 0;
}

void kube_client_learn(struct kube_client *client, const struct server_address *addresses,
		       size_t count)
{
	servers_learn(&client->servers, addresses, count);
}

void kube_client_prefer_learned(struct kube_client *client)
{
	servers_prefer_learned(&client->servers);
}

const char *kube_client_server(const struct kube_client *client)
{
	return servers_current(&client->servers)->name;
}

bool kube_client_is_connected(const struct kube_client *client)
{
	return client->is_connected;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void kube_client_close(struct kube_client *client)
{
	struct kube_call *call, *next;

	if (!client)
		return;
	http_close(client->http);
	DL_FOREACH_SAFE(client->calls, call, next)
	{
		call_free(call);
	}
	kube_credentials_close(client->credentials);
	servers_fini(&client->servers);
	kube_config_free(client->config);
	uv_close((uv_handle_t *)&client->timer, on_closed);
}
