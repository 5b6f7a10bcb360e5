/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* TC hooks of one link: tcx if the kernel has it, else filters on a clsact qdisc. */

#include <stdbool.h>

#include "fairlead/agent.h"
#include "fairlead/types.h"
#include "link/netlink/netlink.h"

/* The programs to attach, by file descriptor. */
struct link_programs {
	int ingress, egress;
};

/*
 * Returns the programs for links without a link-layer header (`is_layer3`) or with one. The
 * descriptors are borrowed. Returns 0 or a negative errno.
 */
typedef int (*link_programs_fn)(bool is_layer3, struct link_programs *ret_programs, void *context);

/* Looks up the XDP program; the descriptor is borrowed. Returns 0 or a negative errno. */
typedef int (*link_xdp_program_fn)(int *ret_program, void *context);

/* Which uplinks run XDP, and in which mode. */
enum xdp_mode {
	XDP_MODE_AUTO,   /* native, on physical links only */
	XDP_MODE_NATIVE, /* on any link whose driver supports it */
	XDP_MODE_GENERIC,
	XDP_MODE_OFF,
};

struct hooks {
	const char *pin_dir; /* borrowed */
	link_programs_fn programs;
	link_xdp_program_fn xdp_program;
	void *programs_context;
	int targets_map; /* `redirect_targets` */
	enum xdp_mode xdp_mode;
	bool lacks_xdp; /* the kernel has rejected the program */
	bool force_clsact;
	bool has_tcx; /* a tcx attach has succeeded */
	bool lacks_tcx;
};

/*
 * Attaches our programs to both directions of a link, or replaces those of an earlier run in place.
 * On entry `info` says what an earlier run left (hook, made_clsact) and whether the link is layer
 * 3; on return its hook, err and made_clsact are set. If one direction fails, both are detached.
 * Silent, except that the lack of tcx is logged.
 */
int hook_attach(struct hooks *hooks, int ifindex, struct link_info *info);

/* Removes what `info` says is attached. Returns 0 or the first error. Silent. */
int hook_detach(const struct hooks *hooks, int ifindex, struct link_info *info);

/*
 * Whether both directions of a link still run our programs, on the kind of hook that `info` names.
 * Silent.
 */
bool hook_is_attached(const struct hooks *hooks, int ifindex, const struct link_info *info);

/*
 * Our program on one direction of a link, as a descriptor that the caller closes, or a negative
 * errno; -ENOENT: there is none. Silent.
 */
int hook_program(const char *pin_dir, int ifindex, enum link_hook hook, bool is_egress);

/*
 * Detaches the links that are pinned in `pin_dir`, tcx and XDP, if `is_managed` (NULL: no link is)
 * does not know their ifindex: devices that disappeared while no agent was running. Returns 0 or
 * the first error. Logs.
 */
int hook_remove_pins(const char *pin_dir, bool (*is_managed)(void *context, int ifindex),
		     void *context);

/*
 * Removes all our hooks from every link of this namespace: tcx and XDP links pinned in `pin_dir`,
 * and clsact filters with our priority and handle whose program name is ours. Other programs are
 * not touched; a clsact qdisc is removed only if we created it and no other filter is left on it.
 * Logs.
 */
int hook_detach_all(const char *pin_dir);
