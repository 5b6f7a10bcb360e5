/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/event_posts.h"

#include <stdio.h>

#include "base/log.h"
#include "kube/post/event_book.h"
#include "node/other_proxy.h"
#include "publish/publisher.h"
#include "source/source.h"

#define FLUSH_MS 3000

static void warning_post(struct source *source, const char *reason, const char *action,
			 const char *note)
{
	source_post_event(source, &(struct event_text){.type = "Warning",
						       .reason = reason,
						       .action = action,
						       .note = note});
}

void event_post_map_full(struct source *source, uint32_t unfitting)
{
	char note[256];

	(void)snprintf(note, sizeof(note),
		       "%u service ports do not fit into the maps; `fairlead services` on the node "
		       "names them and the option that makes room",
		       unfitting);
	warning_post(source, "MapFull", "Publish", note);
}

void event_post_healthz_failed(struct source *source, const char *address, const char *why)
{
	char note[256];

	(void)snprintf(note, sizeof(note), "failed to start proxy healthz on %s: %s", address, why);
	warning_post(source, "FailedToStartProxierHealthcheck", "StartProxy", note);
}

void event_post_health_check_failed(struct source *source, const char *namespace_, const char *name,
				    const char *note)
{
	source_post_event(source, &(struct event_text){.type = "Warning",
						       .reason = "FailedToStartServiceHealthcheck",
						       .action = "Listen",
						       .note = note,
						       .service_namespace = namespace_,
						       .service_name = name});
}

void event_post_taken(struct source *source, const char *namespace_, const char *name,
		      const char *detail)
{
	char note[384];

	(void)snprintf(note, sizeof(note), "taken: %s. " TAKEN_RULE, detail);
	source_post_event(source, &(struct event_text){.type = "Warning",
						       .reason = "AddressTaken",
						       .action = "Publish",
						       .note = note,
						       .service_namespace = namespace_,
						       .service_name = name});
}

void event_post_hook_lost(struct source *source, const char *note)
{
	warning_post(source, "HookLost", "AttachHook", note);
}

void event_post_start(struct source *source)
{
	char found[OTHER_PROXY_SIZE], note[2 * OTHER_PROXY_SIZE];

	source_post_event(source, &(struct event_text){.type = "Normal",
						       .reason = "Starting",
						       .action = "StartProxy",
						       .note = ""});
	/*
	 * Two proxies can serve the same Services without harm, but running both for long is a
	 * mistake.
	 */
	if (!other_proxy_find(found))
		return;
	(void)snprintf(note, sizeof(note), OTHER_PROXY_NOTE, found);
	log_warning("%s", note);
	warning_post(source, "OtherProxyFound", "StartProxy", note);
}

static void event_posts_on_timeout(uv_timer_t *timer)
{
	uv_stop(timer->loop);
}

void event_posts_flush(struct source *source, uv_loop_t *loop)
{
	uv_timer_t timeout;

	if (!source_is_posting_events(source))
		return;
	(void)uv_timer_init(loop, &timeout);
	(void)uv_timer_start(&timeout, event_posts_on_timeout, FLUSH_MS, 0);
	while (source_is_posting_events(source) && uv_is_active((uv_handle_t *)&timeout))
		(void)uv_run(loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&timeout, NULL);
	(void)uv_run(loop, UV_RUN_NOWAIT);
}
