/* SPDX-License-Identifier: BSD-2-Clause */
#include "kube/client/client.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/cleanup.h"
#include "kube/client/client_state.h"
#include "kube/client/credentials.h"
#include "kube/client/transfer.h"
#include "base/log.h"

/* Interval at which a request that waits for a credential plugin is retried. */
#define CREDENTIALS_WAIT_MS 50

static struct kube_call *call_waiting(const struct kube_client *client)
{
	struct kube_call *call;

	DL_FOREACH(client->calls, call)
	{
		if (!call->transfer)
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

void client_wake(struct kube_client *client)
{
	(void)uv_timer_start(&client->timer, on_timer, 0, 0);
}

const struct server *client_server_named(const struct kube_client *client, const char *name)
{
	const struct servers *servers = &client->servers;

	for (size_t i = 0; i < servers->count; i++) {
		if (!strcmp(servers->items[i].name, name))
			return &servers->items[i];
	}
	return NULL;
}

void client_tell_reachable(struct kube_client *client, const char *why)
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

void client_move_calls(struct kube_client *client, const char *server)
{
	struct kube_call *call;

	DL_FOREACH(client->calls, call)
	{
		if (call->transfer && !call->has_begun && !strcmp(call->server, server)) {
			transfer_cancel(take_ptr(call->transfer));
			client_wake(client);
		}
	}
}

void client_fail_server(struct kube_client *client, const struct server *server, const char *why)
{
	servers_failed(&client->servers, server, why);
	if (servers_problem(&client->servers))
		client_tell_reachable(client, servers_problem(&client->servers));
	else if (servers_current(&client->servers) != server)
		client_move_calls(client, server->name);
}

void client_renew_connections(struct kube_client *client)
{
	struct transfer_pool *fresh;

	if (transfer_pool_open(client->timer.loop, client->events.socket_made,
			       client->events.context, &fresh))
		return;
	transfer_pool_retire(client->transfers);
	client->transfers = fresh;
}

/*
 * Called from the plugin's callback, so it sends nothing itself: the timer sends the waiting calls.
 */
static void on_credentials(void *context)
{
	struct kube_client *client = context;

	client_wake(client);
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
		err = transfer_pool_open(loop, events->socket_made, events->context,
					 &client->transfers);
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
	return transfer_pool_woken_ns(client->transfers);
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
	transfer_pool_close(client->transfers);
	kube_credentials_close(client->credentials);
	servers_fini(&client->servers);
	free(client->problem);
	kube_config_free(client->config);
	uv_close((uv_handle_t *)&client->timer, on_closed);
}
