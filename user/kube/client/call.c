/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * One API request: sends it to the current server with the current credentials, sends it once more
 * if a 401 leads to new credentials, and reports the result to the caller.
 */

#include "kube/client/client_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "kube/client/answer.h"
#include "kube/client/credentials.h"
#include "kube/client/transfer.h"

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

/* The response headers have arrived; a watch goes on long after that. */
static void on_begun(long status, double seconds, void *context)
{
	struct kube_call *call = context;
	struct kube_client *client = call->client;
	const struct server *server = client_server_named(client, call->server);

	call->has_begun = true;
	call_observe(call, status, seconds);
	if (!server || answer_is_of_broken_server(status))
		return;
	servers_answered(&client->servers, server);
	if (status != 401)
		client_tell_reachable(client, NULL);
}

static bool was_sent_with(const struct kube_call *call, const struct kube_secrets *secrets)
{
	const char *bearer = secrets->bearer ? secrets->bearer : "";

	return call->tls_revision == secrets->tls_revision && !strcmp(call->bearer, bearer);
}

/*
 * After a 401: if the credentials have changed since the request was sent, or can be renewed,
 * queues the request once more and returns true; the caller does not see the 401.
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
	client_wake(client);
	return true;
}

static void on_done(const struct transfer_outcome *outcome, void *context)
{
	struct kube_call *call = context;
	struct kube_client *client = call->client;
	const struct server *server = client_server_named(client, call->server);
	struct kube_answer answer;

	call->transfer = NULL;
	answer_describe(outcome, client->config->origin, &answer);
	if (!call->is_observed)
		call_observe(call, outcome->status, outcome->seconds);
	if (outcome->status == 401 && call_renews(call))
		return;
	if (outcome->status == 401)
		client_tell_reachable(client, answer.why);
	else if (server && !outcome->is_abort &&
		 (!outcome->status || answer_is_of_broken_server(outcome->status)))
		client_fail_server(client, server, answer.why);
	call_end(call, &answer);
}

static int on_data(const char *bytes, size_t size, void *context)
{
	const struct kube_call *call = context;

	return call->events.data ? call->events.data(bytes, size, call->context) : 0;
}

static int call_begin(struct kube_call *call, const struct kube_secrets *secrets)
{
	static const struct transfer_events events = {
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

bool call_go(struct kube_call *call)
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
		client_tell_reachable(client, answer.why);
	if (err)
		call_end(call, &answer);
	return true;
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
	client_wake(client);
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
