/* SPDX-License-Identifier: BSD-2-Clause */
#include "kube/client/answer.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "decode/cjson.h"

/*
 * A Kubernetes Status carries the reason in its message; a proxy or a filter may send plain text.
 */
static int refusal_describe(const struct transfer_outcome *outcome, char *buf, size_t size)
{
	auto_cleanup(cleanup_cjson) cJSON *status = cJSON_Parse(outcome->body);
	const char *message = cjson_string(status, "message");
	int len = (int)strcspn(outcome->body, "\r\n");

	if (message)
		len = snprintf(buf, size, "HTTP %ld: %.320s", outcome->status, message);
	else if (len && *outcome->body != '<' && *outcome->body != '{')
		len = snprintf(buf, size, "HTTP %ld: %.*s", outcome->status, len < 200 ? len : 200,
			       outcome->body);
	else
		len = snprintf(buf, size, "HTTP %ld", outcome->status);
	text_make_plain(buf);
	return len < (int)size ? len : (int)size - 1;
}

static void remedy_describe(const struct transfer_outcome *outcome, const char *origin, char *buf,
			    size_t size)
{
	bool is_nobody = strstr(outcome->body, "system:anonymous");

	if (outcome->status == 401 || (outcome->status == 403 && is_nobody))
		(void)snprintf(buf, size, " (the credentials of %.160s are not accepted)", origin);
	else if (outcome->status == 403)
		(void)snprintf(buf, size,
			       " (bind that user to the ClusterRole system:node-proxier, or to one "
			       "that may list and watch this)");
}

bool status_is_of_broken_server(long status)
{
	return status == 500 || status == 502 || status == 503;
}

bool status_may_be_of_gateway(long status)
{
	return status >= 502 && status <= 504;
}

/* An API server's own error is a Status; its text may be cut off here. */
static bool outcome_is_of_gateway(const struct transfer_outcome *outcome)
{
	return status_may_be_of_gateway(outcome->status) && !strstr(outcome->body, "\"Status\"");
}

void answer_describe(const struct transfer_outcome *outcome, const char *origin,
		     struct kube_answer *ret_answer)
{
	bool is_success = outcome->status >= 200 && outcome->status <= 299;
	char *why = ret_answer->why;
	size_t size = sizeof(ret_answer->why);
	int len;

	*ret_answer = (struct kube_answer){
		.ok = is_success && !outcome->error,
		.is_abort = outcome->is_abort,
		.is_unreached = !outcome->status || outcome_is_of_gateway(outcome),
		.status = outcome->status,
		.retry_after_s = outcome->retry_after_s,
	};
	if (ret_answer->ok || outcome->is_abort)
		return;
	if (outcome->status && !is_success) {
		len = refusal_describe(outcome, why, size);
		remedy_describe(outcome, origin, why + len, size - (size_t)len);
	} else if (outcome->is_distrust) {
		(void)snprintf(why, size,
			       "%.200s; see certificate-authority and tls-server-name in %.160s",
			       outcome->error, origin);
	} else {
		(void)snprintf(why, size, "%s", outcome->error);
	}
}
