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

/*
 * Priority and handle of our filters on a clsact qdisc: they keep clear of others' filters, and let
 * us find ours again.
 */
#define CLSACT_PRIORITY 0xFA1
#define CLSACT_HANDLE   0xFA1

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
bool hook_is_there(const struct hooks *hooks, int ifindex, const struct link_info *info);

/*
 * Our program on one direction of a link, as a descriptor that the caller closes, or a negative
 * errno; -ENOENT: there is none. Silent.
 */
int hook_program(const char *pin_dir, int ifindex, enum link_hook hook, bool is_egress);

/* tcx.c: one bpf_link per direction, kept alive by its pin. */
int tcx_attach(const char *pin_dir, int ifindex, int ingress_program, int egress_program);
int tcx_detach(const char *pin_dir, int ifindex);
bool tcx_is_there(const char *pin_dir, int ifindex, int ingress_program, int egress_program);
int tcx_program(const char *pin_dir, int ifindex, bool is_egress);

/*
 * Removes the pins of links that `is_managed` does not know: devices that disappeared while no
 * agent was running.
 */
int tcx_sweep(const char *pin_dir, bool (*is_managed)(void *context, int ifindex), void *context);

/*
 * xdp.c: a bpf_link kept alive by its pin, in addition to the TC hooks, which are complete without
 * it.
 *
 * Brings XDP on a link to what the mode requires for the link's role. `is_new`: the link's state is
 * unknown, and an earlier run may have left a program. Such a program is replaced in place,
 * atomically. `info` holds the current state (xdp, xdp_err) and is updated. Silent.
 */
void xdp_settle(struct hooks *hooks, const struct link_facts *facts, bool is_new,
		struct link_info *info);

/*
 * Checks again whether frames may be redirected to a link that runs our program; a veth whose peer
 * no longer accepts them loses XDP. Silent.
 */
void xdp_check_targets(const struct hooks *hooks, const struct link_facts *facts,
		       struct link_info *info);

/* Whether a link that runs our program according to `info` still does. Silent. */
bool xdp_is_there(const struct hooks *hooks, int ifindex, const struct link_info *info);

/* Detaches XDP from a link that must not have it, or is gone. Returns 0 or a negative errno. */
int xdp_detach(const struct hooks *hooks, int ifindex);

/* clsact.c. `*made_clsact` is set if the qdisc had to be created, and unchanged otherwise. */
int clsact_attach(int ifindex, int ingress_program, int egress_program, __u8 *made_clsact);
int clsact_detach(int ifindex, bool made_clsact);
bool clsact_is_there(int ifindex);
int clsact_program(int ifindex, bool is_egress);

/*
 * Removes all our hooks from every link of this namespace: tcx and XDP links pinned in `pin_dir`,
 * and clsact filters with our priority and handle whose program name is ours. Other programs are
 * not touched; a clsact qdisc is removed only if we created it and no other filter is left on it.
 * Logs.
 */
int link_detach_all(const char *pin_dir);
