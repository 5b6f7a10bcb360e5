/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The map `unprogrammed`, which shows operators what is not programmed, and why. */

#include <stddef.h>
#include <stdint.h>

#include "fairlead/types.h"
#include "publish/frontend_set.h"
#include "publish/publisher.h"
#include "publish/service_set.h"

/* What is not programmed of one Service. Zeroed, it is empty. */
struct reasons {
	struct unprogrammed_key *keys;
	struct unprogrammed *values;
	uint32_t count;
};

/* Makes room for so many reasons. Returns 0 or -ENOMEM; reasons_fini is needed in any case. */
int reasons_init(struct reasons *reasons, size_t room);
void reasons_fini(const struct reasons *reasons);

void reasons_add(struct reasons *reasons, const struct service_name *name,
		 enum unprogrammed_reason reason, const char *detail);

/*
 * Makes the map hold these reasons, and no others, for the Service, except for what
 * reasons_write_taken writes. Returns 0 or -ENOMEM; logs what cannot be written.
 */
int reasons_write(const struct reasons *reasons, int map, struct service_record *service);

/* Sorts the reasons that the Service's record has; to be called when all are adopted. */
void reasons_sort(struct service_record *service);

/*
 * Makes the map say which of the Services' ports do not answer at some of their addresses, because
 * another Service has them. Where a port has another reason, that stands. Logs each that begins and
 * ends.
 */
void reasons_write_taken(const struct service_set *services, const struct frontend_set *frontends,
			 int map);

/* publisher_drain_taken() */
void reasons_drain_taken(const struct service_set *services, const struct frontend_set *frontends,
			 publisher_taken_fn fn, void *context);

/* Removes that of a service port, which is about to be removed. */
void reasons_forget_taken(const struct service_set *services, int map, struct port_record *port);
