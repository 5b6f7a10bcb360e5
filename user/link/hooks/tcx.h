/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The TC hooks of a link through tcx (Linux 6.6): one BPF link per direction, pinned in the pin
 * directory as link_<ifindex>_<ingress|egress>. All functions are silent.
 */

#include <linux/bpf.h>
#include <stdbool.h>

/*
 * Attaches both programs before all others, or replaces those of an earlier run in place. If one
 * direction fails, both are detached. Returns 0 or a negative errno.
 */
int tcx_attach(const char *pin_dir, int ifindex, int ingress_program, int egress_program);

/* Returns 0, also if nothing is attached, or the first error. */
int tcx_detach(const char *pin_dir, int ifindex);

/* Whether both directions still run these programs. */
bool tcx_is_attached(const char *pin_dir, int ifindex, int ingress_program, int egress_program);

/* Whether a BPF link, whoever holds it, is a tcx link to a link of this network namespace. */
bool tcx_link_is_in_netns(const struct bpf_link_info *info);

/* The program of one direction as a descriptor that the caller closes, or a negative errno. */
int tcx_program(const char *pin_dir, int ifindex, bool is_egress);
