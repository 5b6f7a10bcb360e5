/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The change of a service port: completed in entries that no program looks at, then swung into
 * place.
 */

#include "plan/plan.h"
#include "publish/publisher.h"
#include "publish/service_set.h"

/*
 * Makes the maps hold the service port as planned, whether the Service has it already or not.
 * Returns 0, -ENOSPC or another negative errno; on -ENOSPC, the port is as it was or absent.
 */
int port_apply(struct publisher *publisher, struct service_record *service,
	       const struct planned_port *planned);

/* Removes the service port from the maps; frees the record. */
void port_retire(struct publisher *publisher, struct service_record *service,
		 struct port_record *port);
