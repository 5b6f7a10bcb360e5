/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* Checks kube-proxy's settings: which values are rejected (rules N164 and N169). */

#include <stdbool.h>
#include <stddef.h>

#include "config/kube_proxy_settings.h"

struct setting_problem {
	size_t id;     /* the setting with the invalid value */
	char why[256]; /* the problem and its fix: "must be a number from 0 to 31" */
};

/*
 * Fills in the values that follow from other settings: the servers' addresses (by the family of
 * bindAddress; with the port added to an address without one; empty if --healthz-port or
 * --metrics-port is 0). Returns 0 or -ENOMEM. Silent.
 */
int settings_complete(struct setting_values *values);

/*
 * Checks all values, which must be complete. `has_ipv6`: whether the kernel supports IPv6. Returns
 * 0, or -EINVAL with `ret_problem`. Silent.
 */
int settings_check(const struct setting_values *values, bool has_ipv6,
		   struct setting_problem *ret_problem);
