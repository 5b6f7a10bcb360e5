/* SPDX-License-Identifier: BSD-2-Clause */
#include "kube/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "cleanup.h"
#include "kube/answer.h"
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
	/* What it was sent with. */
	char *bearer;
	uint64_t tls_revision;
	bool is_resent; /* for the first credentials were refused */
	bool has_begun; /* the head of the answer is there */
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
	bool is_told;  /* the receiver knows whether a server can be reached: */
	char *problem; /* why none can; NULL: one can */
};

static void call_free(struct kube_call *call)
{
	DL_DELETE(call->client->calls, call);
	free(call->path);
	free(call->body);
	free(call->server);
	free(call->bearer);
	free(call);
}

static void call_end(struct kube_call *call, const struct kube_answer *answer)
{
	const struct kube_call_events events = call->events;
	void *context = call->context;

	call_free(call);
	events.done(answer, context);
}

static const struct server *server_named(const struct servers *servers, const char *name)
{
	for (size_t i = 0; i < servers->count; i++) {
		if (!strcmp(servers->items[i].name, name))
			return &servers->items[i];
	}
	return NULL;
}

/*
 * Once for each time it is sent: a watch when it is answered, not when it ends (as client-go does).
 */
static void observe(struct kube_call *call, long status, double seconds)
{
	const struct kube_client_events *events = &call->client->events;
	const char *host = call->server ? call->server : "";
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

static void on_timer(uv_timer_t *timer);

/* Tells the receiver where that is news. `why`: NULL: a server can be used. */
static void reachable_tell(struct kube_client *client, const char *why)
{
	bool is_same = why ? client->problem && !strcmp(client->problem, why) : !client->problem;

	if (client->is_told && is_same)
		return;
	client->is_told = true;
	free(client->problem);
	client->problem = why ? strdup(why) : NULL;
	if (client->events.reachable)
		client->events.reachable(why, client->events.context);
}

/*
 * Exchanges that wait for a server which is given up go to the next one: those that would share its
 * connection would else wait for it one after the other.
 */
static void calls_move(struct kube_client *client, const char *server)
{
	struct kube_call *call;

	DL_FOREACH(client->calls, call)
	{
		if (call->http && !call->has_begun && !strcmp(call->server, server)) {
			http_cancel(take_ptr(call->http));
			(void)uv_timer_start(&client->timer, on_timer, 0, 0);
		}
	}
}

static void server_fail(struct kube_client *client, const struct server *server, const char *why)
{
	servers_failed(&client->servers, server, why);
	if (servers_problem(&client->servers))
		reachable_tell(client, servers_problem(&client->servers));
	else if (servers_current(&client->servers) != server)
		calls_move(client, server->name);
}

/* The head of an answer is there, long before a watch ends. */
static void on_begun(long status, double seconds, void *context)
{
	struct kube_call *call = context;
	struct kube_client *client = call->client;
	const struct server *server = server_named(&client->servers, call->server);

	call->has_begun = true;
	observe(call, status, seconds);
	if (!server || answer_is_of_broken_server(status))
		return;
	servers_answered(&client->servers, server);
	if (status != 401)
		reachable_tell(client, NULL);
}

static bool was_sent_with(const struct kube_call *call, const struct kube_secrets *secrets)
{
	const char *bearer = secrets->bearer ? secrets->bearer : "";

	return call->tls_revision == secrets->tls_revision && !strcmp(call->bearer, bearer);
}

/*
 * The server does not take the credentials. Where others have come since, or may be had, it is
 * asked again with them, once; nobody hears of it.
 */
static bool call_renews(struct kube_call *call)
{
	struct kube_client *client = call->client;
	struct kube_secrets secrets;
	int err = kube_credentials_get(client->credentials, &secrets);

	if (!err && was_sent_with(call, &secrets)) {
		kube_credentials_refuse(client->credentials);
		err = kube_credentials_get(client->credentials, &secrets);
	}
	if (call->is_resent || (err && err != -EAGAIN) || (!err && was_sent_with(call, &secrets)))
		return false;
	call->is_resent = true;
	(void)uv_timer_start(&client->timer, on_timer, 0, 0);
	return true;
}

static void on_done(const struct http_outcome *outcome, void *context)
{
	struct kube_call *call = context;
	struct kube_client *client = call->client;
	const struct server *server = server_named(&client->servers, call->server);
	struct kube_answer answer;

	call->http = NULL;
	answer_describe(outcome, client->config->origin, &answer);
	if (!call->is_observed)
		observe(call, outcome->status, outcome->seconds);
	if (outcome->status == 401 && call_renews(call))
		return;
	if (outcome->status == 401)
		reachable_tell(client, answer.why);
	else if (server && !outcome->is_abort &&
		 (!outcome->status || answer_is_of_broken_server(outcome->status)))
		server_fail(client, server, answer.why);
	call_end(call, &answer);
}

bool kube_call_has_begun(const struct kube_call *call)
{
	return call->has_begun;
}

static int on_data(const char *bytes, size_t size, void *context)
{
	const struct kube_call *call = context;

	return call->events.data ? call->events.data(bytes, size, call->context) : 0;
}

static int call_begin(struct kube_call *call, const struct kube_secrets *secrets)
{
	static const struct http_events events = {
		.begun = on_begun, .data = on_data, .done = on_done};
	struct kube_client *client = call->client;
	const struct server *server = servers_current(&client->servers);
	auto_cleanup(cleanup_free) char *url = NULL;

	if (asprintf(&url, "%s%s", server->url, call->path) < 0)
		return -ENOMEM;
	free(call->server);
	free(call->bearer);
	call->server = strdup(server->name);
	call->has_begun = false;
	call->is_observed = false;
	call->bearer = strdup(secrets->bearer ? secrets->bearer : "");
	call->tls_revision = secrets->tls_revision;
	if (!call->server || !call->bearer)
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
	if (err)
		reachable_tell(client, answer.why);
	if (err)
		call_end(call, &answer);
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

/*
 * HTTP/2 keeps a connection whose exchange was cancelled, and would take the next one to the same
 * silence. What has begun to be answered there may go on.
 */
static void connections_renew(struct kube_client *client)
{
	struct http *fresh;

	if (http_open(client->timer.loop, client->events.socket_made, client->events.context,
		      &fresh))
		return;
	http_retire(client->http);
	client->http = fresh;
}

void kube_call_give_up(struct kube_call *call, const char *why)
{
	struct kube_client *client = call->client;
	const struct server *server =
		call->server ? server_named(&client->servers, call->server) : NULL;
	bool was_sent = call->http;

	if (was_sent && !call->is_observed)
		observe(call, 0, 0);
	kube_call_cancel(call);
	if (!was_sent)
		return;
	connections_renew(client);
	if (!server)
		return;
	calls_move(client, server->name);
	server_fail(client, server, why);
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

uint64_t kube_client_woken_ns(const struct kube_client *client)
{
	return http_woken_ns(client->http);
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
	DL_FOREACH_SAFE(client->calls, call, next)
	{
		kube_call_cancel(call);
	}
	http_close(client->http);
	kube_credentials_close(client->credentials);
	servers_fini(&client->servers);
	free(client->problem);
	kube_config_free(client->config);
	uv_close((uv_handle_t *)&client->timer, on_closed);
}
