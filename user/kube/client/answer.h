/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include "kube/client/client.h"
#include "kube/client/transfer.h"

/*
 * Describes the result of a request and, where it was refused, the remedy. `origin` names the
 * source of the credentials. Silent.
 */
void answer_describe(const struct transfer_outcome *outcome, const char *origin,
		     struct kube_answer *ret_answer);
