/* SPDX-License-Identifier: BSD-2-Clause */

/* Events of the Node or of a Service, for operators who look at the cluster. */

#include "agent/agent_state.h"

#include <stdio.h>
#include <uv.h>

#include "agent/other_proxy.h"
#include "kube/post/event_book.h"
#include "base/log.h"
#include "source/source.h"

/* How long the shutdown waits for pending Events to be sent. */
#define LAST_WORDS_MS 3000

static void warning_tell(struct agent *agent, const char *reason, const char *action,
			 const char *note)
{
	source_tell(agent->source,
		    &(struct event_text){
			    .type = "Warning", .reason = reason, .action = action, .note = note});
}

void agent_tell_map_full(struct agent *agent, uint32_t unfitting)
{
	char note[256];

	(void)snprintf(note, sizeof(note),
		       "%u service ports do not fit into the maps; `fairlead services` on the node "
		       "names them and the option that makes room",
		       unfitting);
	warning_tell(agent, "MapFull", "Publish", note);
}

void agent_tell_unserved(const char *note, void *context)
{
	warning_tell(context, "FailedToStartProxierHealthcheck", "StartProxy", note);
}

void agent_tell_service_unserved(const char *namespace_, const char *name, const char *note,
				 void *context)
{
	const struct agent *agent = context;

	source_tell(agent->source, &(struct event_text){.type = "Warning",
							.reason = "FailedToStartServiceHealthcheck",
							.action = "Listen",
							.note = note,
							.service_namespace = namespace_,
							.service_name = name});
}

void agent_tell_hook_lost(const char *note, void *context)
{
	warning_tell(context, "HookLost", "AttachHook", note);
}

/* Two proxies can serve the same Services without harm, but running both for long is a mistake. */
static void other_proxy_tell(struct agent *agent)
{
	char found[OTHER_PROXY_SIZE], note[2 * OTHER_PROXY_SIZE];

	if (!other_proxy_find(found))
		return;
	(void)snprintf(note, sizeof(note),
		       "kube-proxy has programmed this node too (%s): stop it, then run "
		       "`kube-proxy --cleanup`",
		       found);
	log_warning("%s", note);
	warning_tell(agent, "OtherProxyFound", "StartProxy", note);
}

void agent_tell_start(struct agent *agent)
{
	source_tell(agent->source, &(struct event_text){.type = "Normal",
							.reason = "Starting",
							.action = "StartProxy",
							.note = ""});
	other_proxy_tell(agent);
}

static void on_patience_ends(uv_timer_t *timer)
{
	uv_stop(timer->loop);
}

void agent_tell_last_words(struct agent *agent)
{
	uv_timer_t patience;

	if (!source_is_telling(agent->source))
		return;
	(void)uv_timer_init(&agent->loop, &patience);
	(void)uv_timer_start(&patience, on_patience_ends, LAST_WORDS_MS, 0);
	while (source_is_telling(agent->source) && uv_is_active((uv_handle_t *)&patience))
		(void)uv_run(&agent->loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&patience, NULL);
	(void)uv_run(&agent->loop, UV_RUN_NOWAIT);
}
