/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include "kube/client/client.h"
#include "kube/client/http.h"

/*
 * What an exchange came to, with what to do about a refusal. `origin` names where the credentials
 * come from. Silent.
 */
void answer_describe(const struct http_outcome *outcome, const char *origin,
		     struct kube_answer *ret_answer);

/* True for a status of a server that cannot serve, so that another is to be asked. */
bool answer_is_of_broken_server(long status);
