/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Which values of kube-proxy's settings are refused (rules N164 and N169). */

#include <stdbool.h>
#include <stddef.h>

#include "config/kube_proxy_settings.h"

struct setting_problem {
	size_t id;     /* of the setting that cannot be used */
	char why[256]; /* what is wrong and what helps: "must be a number from 0 to 31" */
};

/*
 * Fills in what follows from other settings: the addresses of the servers (by the family of
 * bindAddress; a port where there is none; nothing where --healthz-port or --metrics-port is 0).
 * Returns 0 or -ENOMEM. Silent.
 */
int settings_complete(struct setting_values *values);

/*
 * Looks at all values, which must be complete. `has_ipv6`: the kernel does. Returns 0, or -EINVAL
 * with `ret_problem`. Silent.
 */
int settings_check(const struct setting_values *values, bool has_ipv6,
		   struct setting_problem *ret_problem);
