/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Which Services of a model claim a ClusterIP or a NodePort that only one can have: an API server
 * refuses the second.
 */

#include "base/lookup.h"
#include "model/model.h"

struct claims {
	struct lookup table;
};

/* A ClusterIP, or with its address unspecified a NodePort. */
struct claimed {
	struct ip_addr addr;
	__u16 node_port;
	__u8 proto;
};

/*
 * Collects the claims of all Services that are ours to serve; they are borrowed, so the model must
 * not change. Returns 0 or -ENOMEM. Silent.
 */
int claims_collect(struct claims *claims, struct model *model);
void claims_fini(struct claims *claims);

/* A Service other than `service` with the claim, or NULL. */
const struct object *claims_other(const struct claims *claims, const struct claimed *key,
				  const struct object *service);

/* The NodePort of a Service's port; false: it has none, or not with that type of Service. */
bool node_port_claimed(const struct service_object *service, size_t port,
		       struct claimed *ret_claimed);
