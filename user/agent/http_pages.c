/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/http_pages.h"

#include <string.h>

#include "agent/event_posts.h"
#include "base/cleanup.h"
#include "config/configz.h"
#include "http/server.h"
#include "metrics/metrics.h"
#include "metrics/sli_metrics.h"

static void page_metrics(struct telemetry *telemetry, struct http_response *response)
{
	telemetry_count_changes(telemetry);
	kube_proxy_metrics_changes(telemetry->kube_proxy, &telemetry->service_changes,
				   &telemetry->endpoint_changes);
	response->status = 200;
	response->headers[0] = (struct http_header){"Content-Type", EXPOSITION_CONTENT_TYPE};
	response->body = metrics_write(telemetry->metrics, &response->body_size);
}

static void page_slis(struct telemetry *telemetry, struct http_response *response)
{
	struct health_check checks[HEALTH_CHECKS_MAX] = {};
	size_t count = telemetry_ready_checks(telemetry, checks);

	for (size_t i = 0; i < count; i++)
		sli_metrics_state(telemetry->slis, "readyz", checks[i].name, checks[i].is_passed);
	sli_metrics_state(telemetry->slis, "livez", "sync", health_is_alive(telemetry->health));
	response->status = 200;
	response->headers[0] = (struct http_header){"Content-Type", EXPOSITION_CONTENT_TYPE};
	response->body = sli_metrics_write(telemetry->slis, &response->body_size);
}

static void page_configz(struct telemetry *telemetry, struct http_response *response)
{
	auto_cleanup(cleanup_free) char *text = configz_write(telemetry->options);

	http_respond_text(response, 200, "application/json", text ? text : "{}");
}

static void page_proxy_mode(struct telemetry *telemetry, struct http_response *response)
{
	(void)telemetry;
	http_respond_text(response, 200, "text/plain; charset=utf-8", "fairlead");
}

/* Like kube-proxy's answer on this port: it only says that the process answers. */
static void page_ping(struct telemetry *telemetry, struct http_response *response)
{
	sli_metrics_checked(telemetry->slis, "healthz", "ping", true);
	http_respond_text(response, 200, "text/plain; charset=utf-8", "ok");
}

static const struct {
	const char *path;
	void (*write)(struct telemetry *telemetry, struct http_response *response);
} metrics_pages[] = {
	{"/metrics", page_metrics},      {"/metrics/slis", page_slis}, {"/configz", page_configz},
	{"/proxyMode", page_proxy_mode}, {"/healthz", page_ping},
};

static void metrics_handle(const struct http_request *request, struct http_response *response,
			   void *context)
{
	for (size_t i = 0; i < sizeof(metrics_pages) / sizeof(metrics_pages[0]); i++) {
		if (!strcmp(request->path, metrics_pages[i].path))
			metrics_pages[i].write(context, response);
	}
}

static void health_on_bind_failed(const char *why, void *context)
{
	const struct http_pages *pages = context;

	event_post_healthz_failed(pages->source, pages->telemetry->options->healthz_bind_address,
				  why);
}

int http_pages_open(struct http_pages *pages, uv_loop_t *loop, struct telemetry *telemetry,
		    struct source *source)
{
	const struct agent_options *options = telemetry->options;
	const struct http_server_options health = {
		.what = "healthz",
		.address = options->healthz_bind_address,
		.is_bind_fatal = options->bind_address_hard_fail,
		.handler = health_handle,
		.context = telemetry->health,
		.failed = health_on_bind_failed,
		.failed_context = pages,
	};
	const struct http_server_options metrics = {
		.what = "metrics",
		.address = options->metrics_bind_address,
		.is_bind_fatal = options->bind_address_hard_fail,
		.handler = metrics_handle,
		.context = telemetry,
	};
	int err;

	pages->telemetry = telemetry;
	pages->source = source;
	if (*health.address) {
		err = http_server_open(loop, &health, &pages->health_server);
		if (err)
			return err;
	}
	return *metrics.address ? http_server_open(loop, &metrics, &pages->metrics_server) : 0;
}

void http_pages_close(struct http_pages *pages)
{
	http_server_close(take_ptr(pages->health_server));
	http_server_close(take_ptr(pages->metrics_server));
}
