/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A plugin's result is used until it expires. Shortly before that the plugin is run again while the
 * old result is still in use; the caller has to wait only if there is no usable result or the
 * server has refused it. A pause follows each run that did not help (it failed, it replaced a
 * refused result, or its result is about to expire), so that a broken plugin or server does not
 * make us run the plugin all the time.
 */

#include "kube/client/plugin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

#define RUN_TIMEOUT_MS 60000U
#define RENEW_BEFORE_S 60
#define PAUSE_S        10

struct plugin {
	uv_loop_t *loop;
	const struct kube_config *config;
	void (*ready)(void *context);
	void *context;

	struct kube_exec_run *run; /* NULL: no run */
	struct kube_exec_result *result;
	struct kube_exec_result *arrived; /* replaces `result` at the next plugin_get */
	uint64_t revision;                /* counts changes of the result's certificate and key */
	uint64_t paused_until_ns;
	bool is_refused;   /* the server refused the result, no run has begun since */
	bool is_replacing; /* the run replaces a refused result */
	bool is_awaited;   /* plugin_get returned -EAGAIN: call `ready` */
	bool has_failed;   /* the last run has failed, which was logged */
};

struct plugin *plugin_open(uv_loop_t *loop, const struct kube_config *config,
			   void (*ready)(void *context), void *context)
{
	struct plugin *plugin = calloc(1, sizeof(*plugin));

	if (plugin)
		*plugin = (struct plugin){
			.loop = loop, .config = config, .ready = ready, .context = context};
	return plugin;
}

/* Time until `result` expires, at most RENEW_BEFORE_S. */
static time_t result_left_s(const struct kube_exec_result *result)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (!result->expires || result->expires_at >= now.tv_sec + RENEW_BEFORE_S)
		return RENEW_BEFORE_S;
	return result->expires_at > now.tv_sec ? result->expires_at - now.tv_sec : 0;
}

static bool text_differs(const char *a, const char *b)
{
	return !a != !b || (a && strcmp(a, b));
}

/* Replaces the result, which nobody borrows any more, by the one that has arrived. */
static void plugin_use_arrived(struct plugin *plugin)
{
	auto_cleanup(cleanup_kube_exec_result) struct kube_exec_result *old = NULL;

	if (!plugin->arrived)
		return;
	old = plugin->result;
	plugin->result = take_ptr(plugin->arrived);
	if (!old || text_differs(old->cert_pem, plugin->result->cert_pem) ||
	    text_differs(old->key_pem, plugin->result->key_pem))
		plugin->revision++;
}

/* The pause after a run before the next one. */
static time_t plugin_pause_s(const struct plugin *plugin, const struct kube_exec_result *result)
{
	time_t left = result ? result_left_s(result) : 0;

	if (!left || plugin->is_replacing)
		return PAUSE_S;
	if (left == RENEW_BEFORE_S)
		return 0;
	return left < PAUSE_S ? left : PAUSE_S;
}

static void plugin_log_failure(struct plugin *plugin, const char *why)
{
	const struct kube_exec_result *kept = plugin->arrived ? plugin->arrived : plugin->result;

	if (plugin->has_failed)
		return;
	plugin->has_failed = true;
	log_error("the credential plugin %s of %s %s%s", plugin->config->exec->command,
		  plugin->config->origin, why,
		  kept && result_left_s(kept) ? ", continuing with what it said before" : "");
}

static void plugin_on_done(struct kube_exec_result *result, const char *why, void *context)
{
	struct plugin *plugin = context;
	bool is_awaited = plugin->is_awaited;

	plugin->run = NULL;
	plugin->paused_until_ns = uv_hrtime() + (uint64_t)plugin_pause_s(plugin, result) * NS_PER_S;
	plugin->is_replacing = false;
	plugin->is_awaited = false;
	if (result) {
		if (plugin->has_failed)
			log_info("the credential plugin %s of %s works again",
				 plugin->config->exec->command, plugin->config->origin);
		plugin->has_failed = false;
		kube_exec_result_free(plugin->arrived);
		plugin->arrived = result;
	} else {
		plugin_log_failure(plugin, why);
	}
	if (is_awaited)
		plugin->ready(plugin->context);
}

static bool plugin_is_due(const struct plugin *plugin)
{
	if (plugin->run || uv_hrtime() < plugin->paused_until_ns)
		return false;
	return !plugin->result || plugin->is_refused ||
	       result_left_s(plugin->result) < RENEW_BEFORE_S;
}

int plugin_get(struct plugin *plugin, const char *ca_pem,
	       const struct kube_exec_result **ret_result)
{
	bool is_expired;
	int err;

	plugin_use_arrived(plugin);
	if (plugin_is_due(plugin)) {
		err = kube_exec_start(plugin->loop, plugin->config, ca_pem, RUN_TIMEOUT_MS,
				      plugin_on_done, plugin, &plugin->run);
		if (err)
			return log_err(err, "cannot run the credential plugin %s of %s",
				       plugin->config->exec->command, plugin->config->origin);
		plugin->is_replacing = plugin->is_refused;
		plugin->is_refused = false;
	}
	is_expired = !plugin->result || !result_left_s(plugin->result);
	if (plugin->run && (is_expired || plugin->is_replacing)) {
		plugin->is_awaited = true;
		return -EAGAIN;
	}
	/* A result that had expired on arrival is still the best available: clocks differ. */
	if (is_expired && (!plugin->result || plugin->has_failed))
		return -EIO;
	*ret_result = plugin->result;
	return 0;
}

uint64_t plugin_revision(const struct plugin *plugin)
{
	return plugin->revision;
}

void plugin_refuse(struct plugin *plugin)
{
	if (plugin->run)
		plugin->is_replacing = true;
	else if (plugin->result && !plugin->arrived)
		plugin->is_refused = true;
}

void plugin_close(struct plugin *plugin)
{
	if (!plugin)
		return;
	kube_exec_cancel(plugin->run);
	kube_exec_result_free(plugin->result);
	kube_exec_result_free(plugin->arrived);
	free(plugin);
}
