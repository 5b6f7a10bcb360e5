/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A call is one API request: it is sent to the current server with the current credentials, sent
 * once more if a 401 leads to new credentials, and ends with a report to its caller. The client has
 * what calls share: the servers, the credentials, the connections, and the calls that wait.
 */

#include "kube/client/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "kube/client/answer.h"
#include "kube/client/credentials.h"
#include "kube/client/transfer.h"

/* Interval at which a request that waits for a credential plugin is retried. */
#define CREDENTIALS_WAIT_MS 50
/* How long a server counts as just started, see kube_client_was_away. */
#define AWAY_NS (10 * NS_PER_S)

struct kube_call {
	struct kube_client *client;
	struct kube_call_events events;
	void *context;
	char *path, *body;
	const char *verb;
	uint32_t total_s;
	struct transfer *transfer; /* NULL: waits for credentials, or to be sent again */
	char *server;              /* the name of the server it was sent to */
	/* The credentials it was sent with. */
	char *bearer;
	uint64_t tls_revision;
	bool is_resent; /* after the server refused the first credentials */
	bool has_begun; /* the response headers have arrived */
	bool is_observed;
	struct kube_call *prev, *next;
};

struct kube_client {
	uv_timer_t timer; /* sends the calls that wait */
	struct kube_config *config;
	struct kube_credentials *credentials;
	struct transfer_pool *transfers;
	struct servers servers;
	struct kube_client_events events;
	struct kube_call *calls;
	bool has_reported; /* `reachable` was called; `problem` is what it said */
	char *problem;     /* why no server can be used; NULL: one can */
	bool is_cut_off;   /* no server is reached */
	uint64_t back_ns;  /* the end of the last time when none was; 0: there was none */
};

static void client_on_timer(uv_timer_t *timer);

/* Sends the waiting calls in the loop's next turn. */
static void client_send_soon(struct kube_client *client)
{
	(void)uv_timer_start(&client->timer, client_on_timer, 0, 0);
}

/* The server with that name, or NULL if the list no longer has it. */
static const struct server *client_server_named(const struct kube_client *client, const char *name)
{
	const struct servers *servers = &client->servers;

	for (size_t i = 0; i < servers->count; i++) {
		if (!strcmp(servers->items[i].name, name))
			return &servers->items[i];
	}
	return NULL;
}

/* Reports a change of reachability to the receiver. `why` is NULL: a server can be used. */
static void client_report_reachable(struct kube_client *client, const char *why)
{
	bool is_same = why ? client->problem && !strcmp(client->problem, why) : !client->problem;

	if (client->has_reported && is_same)
		return;
	client->has_reported = true;
	free(client->problem);
	client->problem = why ? strdup(why) : NULL;
	if (client->events.reachable)
		client->events.reachable(why, client->events.context);
}

/*
 * Moves the calls that have no response yet from a failed server to the next one. Otherwise those
 * that share its connection would each have to time out in turn.
 */
static void client_move_calls(struct kube_client *client, const char *server)
{
	struct kube_call *call;

	DL_FOREACH(client->calls, call)
	{
		if (call->transfer && !call->has_begun && !strcmp(call->server, server)) {
			transfer_cancel(take_ptr(call->transfer));
			client_send_soon(client);
		}
	}
}

/*
 * A server has not answered, or has answered with a status that says it cannot serve; `why` is the
 * reason as text. Logs.
 */
static void client_fail_server(struct kube_client *client, const struct server *server,
			       const char *why)
{
	servers_record_failure(&client->servers, server, why);
	if (servers_problem(&client->servers))
		client_report_reachable(client, servers_problem(&client->servers));
	else if (servers_current(&client->servers) != server)
		client_move_calls(client, server->name);
}

/*
 * Opens new connections for later requests: HTTP/2 would keep the connection of a cancelled request
 * and send the next one into the same silence. Responses that have begun may continue on the old
 * connections.
 */
static void client_renew_connections(struct kube_client *client)
{
	struct transfer_pool *fresh;

	if (transfer_pool_open(client->timer.loop, client->events.socket_made,
			       client->events.context, &fresh))
		return;
	transfer_pool_retire(client->transfers);
	client->transfers = fresh;
}

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

/*
 * One observation per attempt. A watch is observed when its response begins, not when it ends (as
 * client-go does).
 */
static void call_observe(struct kube_call *call, long status, double seconds)
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

static bool call_was_sent_with(const struct kube_call *call, const struct kube_secrets *secrets)
{
	const char *bearer = secrets->bearer ? secrets->bearer : "";

	return call->tls_revision == secrets->tls_revision && !strcmp(call->bearer, bearer);
}

/*
 * After a 401: if the credentials have changed since the request was sent, or can be renewed,
 * queues the request once more and returns true; the caller does not see the 401.
 */
static bool call_queue_again(struct kube_call *call)
{
	struct kube_client *client = call->client;
	struct kube_secrets secrets;
	int err = kube_credentials_get(client->credentials, &secrets);

	if (!err && call_was_sent_with(call, &secrets)) {
		kube_credentials_refuse(client->credentials);
		err = kube_credentials_get(client->credentials, &secrets);
	}
	if (call->is_resent || (err && err != -EAGAIN) ||
	    (!err && call_was_sent_with(call, &secrets)))
		return false;
	call->is_resent = true;
	client_send_soon(client);
	return true;
}

/* An API server has answered, with that status. */
static void call_record_answer(const struct kube_call *call, long status)
{
	struct kube_client *client = call->client;
	const struct server *server = client_server_named(client, call->server);

	if (client->is_cut_off)
		client->back_ns = uv_hrtime();
	client->is_cut_off = false;
	if (!server || status_is_of_broken_server(status))
		return;
	servers_record_answer(&client->servers, server);
	if (status != 401)
		client_report_reachable(client, NULL);
}

/* The response headers have arrived; a watch goes on long after that. */
static void call_on_begun(long status, double seconds, void *context)
{
	struct kube_call *call = context;

	call->has_begun = true;
	call_observe(call, status, seconds);
	if (!status_may_be_of_gateway(status)) /* else its body will tell */
		call_record_answer(call, status);
}

static int call_on_data(const char *bytes, size_t size, void *context)
{
	const struct kube_call *call = context;

	return call->events.data ? call->events.data(bytes, size, call->context) : 0;
}

static void call_on_done(const struct transfer_outcome *outcome, void *context)
{
	struct kube_call *call = context;
	struct kube_client *client = call->client;
	const struct server *server = client_server_named(client, call->server);
	struct kube_answer answer;

	call->transfer = NULL;
	answer_describe(outcome, client->config->origin, &answer);
	if (!call->is_observed)
		call_observe(call, outcome->status, outcome->seconds);
	if (outcome->status == 401 && call_queue_again(call))
		return;
	if (status_may_be_of_gateway(outcome->status) && !answer.is_unreached)
		call_record_answer(call, outcome->status);
	if (outcome->status == 401)
		client_report_reachable(client, answer.why);
	else if (server && !outcome->is_abort &&
		 (answer.is_unreached || status_is_of_broken_server(outcome->status)))
		client_fail_server(client, server, answer.why);
	if (answer.is_unreached && servers_problem(&client->servers))
		client->is_cut_off = true;
	call_end(call, &answer);
}

/* Sends the call to the current server. Returns 0 or a negative errno. Silent. */
static int call_start_transfer(struct kube_call *call, const struct kube_secrets *secrets)
{
	static const struct transfer_events events = {
		.begun = call_on_begun, .data = call_on_data, .done = call_on_done};
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
	return transfer_start(client->transfers,
			      &(struct transfer_request){
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
			      &events, call, &call->transfer);
}

/*
 * Sends the call, or ends it with an error if it cannot be sent. Returns false if it still waits
 * for credentials. Silent.
 */
static bool call_send(struct kube_call *call)
{
	struct kube_client *client = call->client;
	struct kube_secrets secrets;
	struct kube_answer answer = {.is_unreached = true};
	int err = kube_credentials_get(client->credentials, &secrets);

	if (err == -EAGAIN)
		return false;
	if (err) {
		(void)snprintf(answer.why, sizeof(answer.why), "there are no credentials of %s: %s",
			       client->config->origin, strerror(-err));
	} else {
		err = call_start_transfer(call, &secrets);
		if (!err)
			return true;
		(void)snprintf(answer.why, sizeof(answer.why), "%s", strerror(-err));
	}
	client_report_reachable(client, answer.why);
	call_end(call, &answer);
	return true;
}

static struct kube_call *client_waiting_call(const struct kube_client *client)
{
	struct kube_call *call;

	DL_FOREACH(client->calls, call)
	{
		if (!call->transfer)
			break;
	}
	return call;
}

static void client_on_timer(uv_timer_t *timer)
{
	struct kube_client *client = timer->data;
	struct kube_call *call;

	while ((call = client_waiting_call(client))) {
		if (call_send(call))
			continue;
		(void)uv_timer_start(&client->timer, client_on_timer, CREDENTIALS_WAIT_MS, 0);
		return;
	}
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
	/* Sent by the timer, so that `done` is never called before this function returns. */
	client_send_soon(client);
	return call;
}

bool kube_call_has_begun(const struct kube_call *call)
{
	return call->has_begun;
}

void kube_call_cancel(struct kube_call *call)
{
	if (call->transfer)
		transfer_cancel(call->transfer);
	call_free(call);
}

void kube_call_give_up(struct kube_call *call, const char *why)
{
	struct kube_client *client = call->client;
	const struct server *server =
		call->server ? client_server_named(client, call->server) : NULL;
	bool was_sent = call->transfer;

	if (was_sent && !call->is_observed)
		call_observe(call, 0, 0);
	kube_call_cancel(call);
	if (!was_sent)
		return;
	client_renew_connections(client);
	if (!server)
		return;
	client_move_calls(client, server->name);
	client_fail_server(client, server, why);
}

/*
 * Called from the plugin's callback, so it sends nothing itself: the timer sends the waiting calls.
 */
static void client_on_credentials(void *context)
{
	client_send_soon(context);
}

static void cleanup_client(struct kube_client **client)
{
	kube_client_close(*client);
}

int kube_client_open(uv_loop_t *loop, struct kube_config *config, const char *state_dir,
		     const struct kube_client_events *events, struct kube_client **ret_client)
{
	auto_cleanup(cleanup_client) struct kube_client *client = calloc(1, sizeof(*client));
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
	if (err)
		return err;
	err = kube_credentials_open(loop, config, client_on_credentials, client,
				    &client->credentials);
	if (err)
		return err;
	err = transfer_pool_open(loop, events->socket_made, events->context, &client->transfers);
	if (err)
		return err;
	*ret_client = take_ptr(client);
	return 0;
}

void kube_client_learn_servers(struct kube_client *client, const struct server_address *addresses,
			       size_t count)
{
	servers_learn(&client->servers, addresses, count);
}

void kube_client_prefer_learned_servers(struct kube_client *client)
{
	servers_prefer_learned(&client->servers);
}

bool kube_client_was_away(const struct kube_client *client)
{
	return client->back_ns && uv_hrtime() - client->back_ns < AWAY_NS;
}

const char *kube_client_server(const struct kube_client *client)
{
	return servers_current(&client->servers)->name;
}

uint64_t kube_client_woken_ns(const struct kube_client *client)
{
	return transfer_pool_woken_ns(client->transfers);
}

static void client_on_closed(uv_handle_t *handle)
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
	transfer_pool_close(client->transfers);
	kube_credentials_close(client->credentials);
	servers_fini(&client->servers);
	free(client->problem);
	kube_config_free(client->config);
	uv_close((uv_handle_t *)&client->timer, client_on_closed);
}
