/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The TC hooks of a link where the kernel has no tcx: one filter per direction on a clsact qdisc.
 * Filters of others, and qdiscs that others made or use, stay. All functions are silent.
 */

#include <linux/types.h>
#include <stdbool.h>

/*
 * Attaches both filters, or replaces those of an earlier run. `*made_clsact` is set to 1 if the
 * qdisc had to be created, and unchanged otherwise. If one direction fails, both are detached.
 * Returns 0, -EEXIST if another program's filter has our priority and handle, or another negative
 * errno.
 */
int clsact_attach(int ifindex, int ingress_program, int egress_program, __u8 *made_clsact);

/*
 * Removes our filters; and the qdisc if `made_clsact` says that we created it and no other filter
 * is left on it. Returns 0 or the first error.
 */
int clsact_detach(int ifindex, bool made_clsact);

/* Whether both directions have a filter of ours. */
bool clsact_is_attached(int ifindex);

/* The program of one direction as a descriptor that the caller closes, or a negative errno. */
int clsact_program(int ifindex, bool is_egress);
