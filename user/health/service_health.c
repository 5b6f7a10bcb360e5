/* SPDX-License-Identifier: BSD-2-Clause */
#include "health/service_health.h"

#include <stdio.h>

bool service_health_is_good(const struct service_health *health)
{
	return health->local_endpoints && health->is_proxy_healthy;
}

void service_health_answer(const struct service_health *health, struct http_response *ret_response)
{
	int size;

	*ret_response = (struct http_response){
		.status = service_health_is_good(health) ? 200 : 503,
		.headers = {{"Content-Type", "application/json"},
			    {"X-Content-Type-Options", "nosniff"},
			    {"X-Load-Balancing-Endpoint-Weight", ret_response->number_text}},
	};
	(void)snprintf(ret_response->number_text, sizeof(ret_response->number_text), "%zu",
		       health->local_endpoints);
	/* Names need no escaping: they are DNS labels. */
	size = asprintf(&ret_response->body,
			"{\n"
			"\t\"service\": {\n"
			"\t\t\"namespace\": \"%s\",\n"
			"\t\t\"name\": \"%s\"\n"
			"\t},\n"
			"\t\"localEndpoints\": %zu,\n"
			"\t\"serviceProxyHealthy\": %s\n"
			"}",
			health->namespace_, health->name, health->local_endpoints,
			health->is_proxy_healthy ? "true" : "false");
	if (size < 0)
		ret_response->body = NULL;
	else
		ret_response->body_size = (size_t)size;
}
