/* SPDX-License-Identifier: BSD-2-Clause */
#include "health/ready.h"

#include <stdio.h>

#define NS_PER_S 1000000000ULL

static struct health_check check(const char *name, bool is_passed, const char *why)
{
	struct health_check made = {.name = name, .is_passed = is_passed};

	(void)snprintf(made.why, sizeof(made.why), "%s", why);
	return made;
}

size_t ready_checks(const struct ready_facts *facts, const struct agent_options *options,
		    const struct agent_status *status,
		    struct health_check ret_checks[HEALTH_CHECKS_MAX])
{
	char pending[HEALTH_WHY_SIZE];
	size_t count = 0;

	(void)snprintf(pending, sizeof(pending),
		       "changes wait for %llu s; the agent's log says what fails",
		       (unsigned long long)(facts->pending_ns / NS_PER_S));
	ret_checks[count++] = check("source synced", facts->is_source_complete,
				    "the source is not read completely yet");
	ret_checks[count] = check("source reachable", !*facts->unreachable, facts->unreachable);
	/* Once synced, the node keeps working without the source. */
	ret_checks[count++].is_informative = status->synced_ns != 0;
	ret_checks[count++] = check("first publish", status->synced_ns != 0,
				    "what the source holds is not programmed yet");
	ret_checks[count++] = check("socket hooks", facts->is_hooked || !options->with_socket,
				    "they are not attached yet");
	ret_checks[count++] = check("link hooks", !(status->degraded & DEGRADED_LINK_FAILED),
				    "a link has no hook: `fairlead links` says which and why");
	ret_checks[count++] = check("map room", !(status->degraded & DEGRADED_MAP_FULL),
				    "service ports do not fit: `fairlead services` names them and "
				    "the option that makes room");
	ret_checks[count++] =
		check("publish pending", facts->pending_ns < HEALTH_TIMEOUT_NS, pending);
	return count;
}
