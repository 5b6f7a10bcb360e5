/* SPDX-License-Identifier: BSD-2-Clause */
#include "health/health.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "config/options.h"
#include "fairlead/agent.h"

#define STATUS_OK        200
#define STATUS_UNHEALTHY 503
#define TIME_TEXT_SIZE   48

struct family_health {
	const char *name;
	bool is_updated, is_pending;
	uint64_t updated_ns; /* wall clock, of the last publish */
	uint64_t pending_ns; /* monotonic clock, of the oldest pending change */
};

struct health {
	struct health_options options;
	struct family_health families[2];
};

static struct health_clock health_clock_now(void)
{
	return (struct health_clock){
		.monotonic_ns = clock_now_ns(),
		.realtime_ns = clock_realtime_ns(),
	};
}

struct health *health_new(const struct health_options *options)
{
	struct health *health = calloc(1, sizeof(*health));

	if (!health)
		return NULL;
	health->options = *options;
	if (!health->options.now)
		health->options.now = health_clock_now;
	health->families[0].name = "IPv4";
	health->families[1].name = "IPv6";
	return health;
}

void health_free(struct health *health)
{
	free(health);
}

static struct family_health *family_of(struct health *health, enum ip_family family)
{
	return &health->families[family == FAMILY_IPV6];
}

void health_queued(struct health *health, enum ip_family family)
{
	struct family_health *state = family_of(health, family);

	if (state->is_pending)
		return;
	state->is_pending = true;
	state->pending_ns = health->options.now().monotonic_ns;
}

void health_updated(struct health *health, enum ip_family family)
{
	struct family_health *state = family_of(health, family);

	state->is_pending = false;
	state->is_updated = true;
	state->updated_ns = health->options.now().realtime_ns;
}

static bool family_is_alive(const struct family_health *state, const struct health_clock *now)
{
	return !state->is_updated || !state->is_pending ||
	       now->monotonic_ns - state->pending_ns < HEALTH_TIMEOUT_NS;
}

static bool health_is_alive_at(const struct health *health, const struct health_clock *now)
{
	return family_is_alive(&health->families[0], now) &&
	       family_is_alive(&health->families[1], now);
}

bool health_is_alive(const struct health *health)
{
	const struct health_clock now = health->options.now();

	return health_is_alive_at(health, &now);
}

/* RFC 3339 as Go writes it: no trailing zeros, and the year 1 for "never". */
static const char *time_format(uint64_t realtime_ns, char buf[TIME_TEXT_SIZE])
{
	time_t seconds = (time_t)(realtime_ns / NS_PER_S);
	char fraction[16];
	size_t length;
	struct tm parts;

	if (!realtime_ns)
		return "0001-01-01T00:00:00Z";
	(void)gmtime_r(&seconds, &parts);
	length = strftime(buf, TIME_TEXT_SIZE, "%Y-%m-%dT%H:%M:%S", &parts);
	(void)snprintf(fraction, sizeof(fraction), ".%09u", (unsigned int)(realtime_ns % NS_PER_S));
	for (size_t end = strlen(fraction); end && strchr(".0", fraction[end - 1]); end--)
		fraction[end - 1] = '\0';
	(void)snprintf(buf + length, TIME_TEXT_SIZE - length, "%sZ", fraction);
	return buf;
}

static const char *truth(bool is_true)
{
	return is_true ? "true" : "false";
}

/* Writes the families that have been published at least once, in kube-proxy's format. */
static void status_write(FILE *out, const struct health *health, const struct health_clock *now)
{
	char text[TIME_TEXT_SIZE];
	bool any = false;

	for (int i = 0; i < 2; i++) {
		const struct family_health *state = &health->families[i];

		if (!state->is_updated)
			continue;
		(void)fprintf(out, "%s\"%s\":{\"lastUpdated\":\"%s\",\"healthy\":%s}",
			      any ? "," : ",\"status\":{", state->name,
			      time_format(state->updated_ns, text),
			      truth(family_is_alive(state, now)));
		any = true;
	}
	if (any)
		(void)fputc('}', out);
}

/* `eligible` is NULL for /livez, which does not report the node. */
static void body_write(FILE *out, const struct health *health, const bool *eligible, bool is_well)
{
	const struct health_clock now = health->options.now();
	uint64_t updated_ns = health->families[0].updated_ns;
	char updated[TIME_TEXT_SIZE], current[TIME_TEXT_SIZE];

	if (health->families[1].updated_ns > updated_ns)
		updated_ns = health->families[1].updated_ns;
	if (is_well)
		updated_ns = now.realtime_ns;
	(void)fprintf(out, "{\"lastUpdated\":\"%s\",\"currentTime\":\"%s\"",
		      time_format(updated_ns, updated), time_format(now.realtime_ns, current));
	if (eligible)
		(void)fprintf(out, ",\"nodeEligible\":%s", truth(*eligible));
	(void)fprintf(out, ",\"healthy\":%s", truth(health_is_alive_at(health, &now)));
	status_write(out, health, &now);
	(void)fputc('}', out);
}

/* Opens a stream that writes to the response's body. */
static FILE *body_open(struct http_response *response, const char *content_type)
{
	response->headers[0] = (struct http_header){"Content-Type", content_type};
	response->headers[1] = (struct http_header){"X-Content-Type-Options", "nosniff"};
	response->status = STATUS_OK;
	return open_memstream(&response->body, &response->body_size);
}

static void probe_answer(struct health *health, const char *probe, const bool *eligible,
			 struct http_response *response)
{
	bool is_well = health_is_alive(health) && (!eligible || *eligible);
	FILE *out = body_open(response, "application/json");

	response->status = is_well ? STATUS_OK : STATUS_UNHEALTHY;
	if (out) {
		body_write(out, health, eligible, is_well);
		(void)fclose(out);
	}
	if (health->options.answered)
		health->options.answered(probe, response->status, health->options.context);
}

/* Like the API server's /readyz: lists the checks if one has failed or with ?verbose. */
static void readyz_answer(struct health *health, bool is_verbose, struct http_response *response)
{
	struct health_check checks[HEALTH_CHECKS_MAX] = {};
	size_t count = health->options.checks(checks, health->options.context);
	FILE *out = body_open(response, "text/plain; charset=utf-8");
	bool is_ready = true;

	for (size_t i = 0; i < count; i++)
		is_ready = is_ready && (checks[i].is_passed || checks[i].is_informative);
	response->status = is_ready ? STATUS_OK : STATUS_UNHEALTHY;
	if (!out)
		return;
	for (size_t i = 0; i < count && (is_verbose || !is_ready); i++) {
		if (checks[i].is_passed)
			(void)fprintf(out, "[+]%s ok\n", checks[i].name);
		else
			(void)fprintf(out, "[-]%s failed: %s%s\n", checks[i].name, checks[i].why,
				      checks[i].is_informative ? " (not fatal)" : "");
	}
	if (is_ready && !is_verbose)
		(void)fputs("ok", out);
	else
		(void)fprintf(out, "readyz check %s\n", is_ready ? "passed" : "failed");
	(void)fclose(out);
}

void health_handle(const struct http_request *request, struct http_response *response,
		   void *context)
{
	struct health *health = context;
	bool eligible;

	if (!strcmp(request->path, "/healthz")) {
		eligible = health->options.is_node_eligible(health->options.context);
		probe_answer(health, "healthz", &eligible, response);
	} else if (!strcmp(request->path, "/livez")) {
		probe_answer(health, "livez", NULL, response);
	} else if (!strcmp(request->path, "/readyz")) {
		readyz_answer(health, request->is_verbose, response);
	}
}

static struct health_check ready_check(const char *name, bool is_passed, const char *why)
{
	struct health_check made = {.name = name, .is_passed = is_passed};

	(void)snprintf(made.why, sizeof(made.why), "%s", why);
	return made;
}

size_t health_ready_checks(const struct health_ready_facts *facts,
			   const struct agent_options *options, const struct agent_status *status,
			   struct health_check ret_checks[HEALTH_CHECKS_MAX])
{
	char pending[HEALTH_WHY_SIZE];
	size_t count = 0;

	(void)snprintf(pending, sizeof(pending),
		       "changes wait for %llu s; the agent's log says what fails",
		       (unsigned long long)(facts->pending_ns / NS_PER_S));
	ret_checks[count++] = ready_check("source synced", facts->is_source_complete,
					  "the source is not read completely yet");
	ret_checks[count] =
		ready_check("source reachable", !*facts->unreachable, facts->unreachable);
	/* Once synced, the node keeps working without the source. */
	ret_checks[count++].is_informative = status->synced_ns != 0;
	ret_checks[count++] = ready_check("first publish", status->synced_ns != 0,
					  "what the source holds is not programmed yet");
	ret_checks[count++] = ready_check("socket hooks", facts->is_hooked || !options->with_socket,
					  "they are not attached yet");
	ret_checks[count++] =
		ready_check("link hooks", !(status->degraded & DEGRADED_LINK_FAILED),
			    "a link has no hook: `fairlead links` says which and why");
	ret_checks[count++] =
		ready_check("map room", !(status->degraded & DEGRADED_MAP_FULL),
			    "service ports do not fit: `fairlead services` names them and "
			    "the option that makes room");
	ret_checks[count++] =
		ready_check("publish pending", facts->pending_ns < HEALTH_TIMEOUT_NS, pending);
	return count;
}
